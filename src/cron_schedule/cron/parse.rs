//! Reading an expression, with the place of the first mistake.

use super::{Cron, CronError, Field, Set, days::Day};
use std::collections::BTreeSet;

/// Sunday first, so that the number is one more than the place.
pub(super) const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// No month has a day that is further from its last.
const BEFORE_LAST_MAX: i16 = 30;
/// No month has a day of the week more often.
const NTH_MAX: i16 = 5;

pub(super) fn parse(text: &str) -> Result<Cron, CronError> {
    let mut fields = Fields { text, at: 0 };
    let seconds = fields.next(Field::Seconds)?.set()?;
    let minutes = fields.next(Field::Minutes)?.set()?;
    let hours = fields.next(Field::Hours)?.set()?;
    let of_month = fields.next(Field::DayOfMonth)?.days(Cursor::of_month)?;
    let months = fields.next(Field::Month)?.set()?;
    let week = fields.next(Field::DayOfWeek)?;
    let days = match (of_month, week.clone().days(Cursor::of_week)?) {
        (Some(days), None) | (None, Some(days)) => days,
        (None, None) => return Err(week.wrong("day of month is ? too, and says no day either")),
        (Some(_), Some(_)) => {
            return Err(week.wrong("day of month says the days already; one of the two is to be ?"));
        }
    };
    let years = match fields.is_over() {
        true => Field::Year.all(),
        false => fields.next(Field::Year)?.values()?,
    };
    if !fields.is_over() {
        return Err(fields
            .rest(Field::Year)
            .wrong("nothing may follow the year"));
    }
    Ok(Cron {
        text: text.trim().into(),
        seconds,
        minutes,
        hours,
        days,
        months,
        years,
    })
}

impl Field {
    pub(super) fn all(self) -> BTreeSet<i16> {
        let (least, greatest) = self.range();
        (least..=greatest).collect()
    }

    /// The value of a name, whole or by its first letters, without regard to case. Source: the
    /// Robusta contract, `quartzDef` and "Full names".
    fn named(self, name: &str) -> Option<i16> {
        let (names, short): (&[&str], &[usize]) = match self {
            Self::DayOfWeek => (&WEEKDAYS, &[2, 3]),
            Self::Month => (&MONTHS, &[3]),
            Self::DayOfMonth | Self::Hours | Self::Minutes | Self::Seconds | Self::Year => {
                return None;
            }
        };
        let is_it = |whole: &&str| {
            let is_short = short.contains(&name.len());
            let known = if is_short {
                &whole[..name.len()]
            } else {
                whole
            };
            known.eq_ignore_ascii_case(name)
        };
        let at = names.iter().position(is_it)?;
        i16::try_from(at + 1).ok()
    }
}

/// What is left of an expression, field by field.
struct Fields<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Fields<'t> {
    fn rest(&self, field: Field) -> Cursor<'t> {
        let rest = &self.text[self.at..];
        let start = self.at + rest.len() - rest.trim_start().len();
        Cursor {
            field,
            whole: self.text,
            at: start,
            end: self.text.len(),
        }
    }

    fn is_over(&self) -> bool {
        self.text[self.at..].trim_start().is_empty()
    }

    fn next(&mut self, field: Field) -> Result<Cursor<'t>, CronError> {
        let mut cursor = self.rest(field);
        let rest = cursor.rest();
        if rest.is_empty() {
            let missing = "is missing; there are six fields and, if wanted, a year";
            return Err(cursor.wrong(missing));
        }
        let bytes = rest.find(char::is_whitespace).unwrap_or(rest.len());
        cursor.end = cursor.at + bytes;
        self.at = cursor.end;
        Ok(cursor)
    }
}

/// A place in a field.
#[derive(Clone)]
struct Cursor<'t> {
    field: Field,
    whole: &'t str,
    at: usize,
    end: usize,
}

impl<'t> Cursor<'t> {
    fn rest(&self) -> &'t str {
        &self.whole[self.at..self.end]
    }

    fn wrong(&self, message: impl Into<String>) -> CronError {
        CronError {
            field: self.field,
            position: self.whole[..self.at].chars().count() + 1,
            message: message.into(),
        }
    }

    /// What stands here cannot.
    fn unexpected(&self) -> CronError {
        match self.rest().chars().next() {
            Some(found) => self.wrong(format!("{found} cannot stand here")),
            None => self.wrong("something is missing here"),
        }
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.rest().chars().next();
        let eaten = found.is_some_and(|found| found.eq_ignore_ascii_case(&wanted));
        if eaten {
            self.at += wanted.len_utf8();
        }
        eaten
    }

    /// The letters or digits here.
    fn word(&mut self, of: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let word = &rest[..rest.find(|c| !of(c)).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn number(&mut self, (least, greatest): (i16, i16)) -> Result<i16, CronError> {
        let start = self.clone();
        let digits = self.word(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return Err(start.unexpected());
        }
        let number = digits.parse().ok();
        let number = number.filter(|number| (least..=greatest).contains(number));
        number.ok_or_else(|| start.wrong(format!("{digits} is not within {least}-{greatest}")))
    }

    /// A number, or a name.
    fn value(&mut self) -> Result<i16, CronError> {
        let start = self.clone();
        let word = self.word(|c| c.is_ascii_alphabetic());
        if word.is_empty() {
            return self.number(self.field.range());
        }
        // `FRIL`
        let shorter = word.strip_suffix(['L', 'l']);
        let known = shorter.and_then(|name| Some((self.field.named(name)?, name)));
        let named = self.field.named(word).map(|value| (value, word)).or(known);
        let Some((value, name)) = named else {
            return Err(start.wrong(format!("{word} is not known here")));
        };
        self.at = start.at + name.len();
        Ok(value)
    }

    /// A list of plain values, for a field of small numbers.
    fn set(self) -> Result<Set, CronError> {
        self.values().map(set_of)
    }

    fn values(mut self) -> Result<BTreeSet<i16>, CronError> {
        let mut values = BTreeSet::new();
        loop {
            values.extend(self.some_values()?);
            if self.rest().is_empty() {
                return Ok(values);
            }
            self.comma()?;
        }
    }

    fn comma(&mut self) -> Result<(), CronError> {
        let start = self.clone();
        match self.eat(',') {
            true => Ok(()),
            false => Err(start.unexpected()),
        }
    }

    /// `*`, a value, a range, each with a step if wanted.
    fn some_values(&mut self) -> Result<Vec<i16>, CronError> {
        let (least, greatest) = self.field.range();
        // Quartz takes `/5` for `0/5`.
        if self.rest().starts_with('/') || self.eat('*') {
            return self.steps(least, greatest);
        }
        let from = self.value()?;
        self.values_from(from)
    }

    /// The same, its first value read already.
    fn values_from(&mut self, from: i16) -> Result<Vec<i16>, CronError> {
        let (least, greatest) = self.field.range();
        if !self.eat('-') {
            let is_stepped = self.rest().starts_with('/');
            let to = if is_stepped { greatest } else { from };
            return self.steps(from, to);
        }
        let start = self.clone();
        let mut to = self.value()?;
        if to < from {
            if self.field == Field::Year {
                return Err(start.wrong("the years end before they begin"));
            }
            // Over the end, and on from the least one.
            to += greatest - least + 1;
        }
        self.steps(from, to)
    }

    fn steps(&mut self, from: i16, to: i16) -> Result<Vec<i16>, CronError> {
        let (least, greatest) = self.field.range();
        let size = greatest - least + 1;
        let step = match self.eat('/') {
            true => self.number((1, greatest.min(size)))?,
            false => 1,
        };
        let values = (from..=to).step_by(usize::from(step.unsigned_abs()));
        Ok(values.map(|n| least + (n - least) % size).collect())
    }

    /// The days of one of the two day fields; none for `?`.
    fn days(
        mut self,
        one: impl Fn(&mut Self) -> Result<Day, CronError>,
    ) -> Result<Option<Vec<Day>>, CronError> {
        if self.eat('?') {
            return match self.rest().is_empty() {
                true => Ok(None),
                false => Err(self.wrong("? stands alone")),
            };
        }
        let mut days = Vec::new();
        loop {
            days.push(one(&mut self)?);
            if self.rest().is_empty() {
                return Ok(Some(days));
            }
            self.comma()?;
        }
    }

    fn of_month(&mut self) -> Result<Day, CronError> {
        if self.eat('L') {
            let before = match self.eat('-') {
                true => self.number((0, BEFORE_LAST_MAX))?,
                false => 0,
            };
            let before = small(before);
            return Ok(match self.eat('W') {
                true => Day::LastWorking { before },
                false => Day::Last { before },
            });
        }
        if self.rest().starts_with(['*', '/']) {
            return self.some_values().map(dates);
        }
        let day = self.value()?;
        match self.eat('W') {
            true => Ok(Day::Working(small(day))),
            false => self.values_from(day).map(dates),
        }
    }

    fn of_week(&mut self) -> Result<Day, CronError> {
        if self.eat('L') {
            // Saturday, the last day of Quartz's week.
            return Ok(weekdays(vec![7]));
        }
        if self.rest().starts_with(['*', '/']) {
            return self.some_values().map(weekdays);
        }
        let day = self.value()?;
        if self.eat('L') {
            Ok(Day::LastOn(small(day)))
        } else if self.eat('#') {
            let n = self.number((1, NTH_MAX))?;
            Ok(Day::Nth(small(day), small(n)))
        } else {
            self.values_from(day).map(weekdays)
        }
    }
}

fn dates(values: Vec<i16>) -> Day {
    Day::Dates(set_of(values))
}

fn weekdays(values: Vec<i16>) -> Day {
    Day::Weekdays(set_of(values))
}

fn set_of(values: impl IntoIterator<Item = i16>) -> Set {
    let mut set = Set::default();
    values.into_iter().for_each(|value| set.add(value));
    set
}

/// Of a number that was read within its bounds, which are small.
fn small(number: i16) -> i8 {
    i8::try_from(number).unwrap_or(i8::MAX)
}
