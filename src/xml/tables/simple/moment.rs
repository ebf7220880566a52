//! Dates and times (Part 2, 3.2.7 to 3.2.14).

use std::cmp::Ordering;

/// Which parts a moment has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::xml::tables) enum Calendar {
    Date,
    DateTime,
    Day,
    Month,
    MonthDay,
    Time,
    Year,
    YearMonth,
}

impl Calendar {
    fn has_year(self) -> bool {
        match self {
            Calendar::Date | Calendar::DateTime | Calendar::Year | Calendar::YearMonth => true,
            Calendar::Day | Calendar::Month | Calendar::MonthDay | Calendar::Time => false,
        }
    }

    fn has_time(self) -> bool {
        matches!(self, Calendar::DateTime | Calendar::Time)
    }
}

pub(super) const DAY_SECONDS: i64 = 24 * 60 * 60;
/// The farthest that a time zone is from UTC.
const ZONE_MINUTES_MAX: i64 = 14 * 60;
/// Where there is no year, February has 29 days.
const LEAP_YEAR: i64 = 2000;

/// A moment on the time line, as it is written there, without its time zone.
pub(super) struct Moment<'v> {
    calendar: Calendar,
    is_negative: bool,
    seconds: i64,
    /// The digits behind the point, without zeros at the end.
    fraction: &'v [u8],
    /// Minutes east of UTC.
    zone: Option<i64>,
}

impl Moment<'_> {
    pub(super) fn parse(calendar: Calendar, value: &[u8]) -> Option<Moment<'_>> {
        let mut reader = Reader { rest: value };
        let is_negative = calendar.has_year() && reader.eat(b"-");
        let year = if calendar.has_year() {
            reader.year()?
        } else {
            LEAP_YEAR
        };
        let (month, day) = reader.month_and_day(calendar)?;
        if day > days_of(year, month) {
            return None;
        }
        let (time, fraction) = if calendar.has_time() {
            reader.time(calendar)?
        } else {
            (0, &b""[..])
        };
        let zone = reader.zone()?;
        Some(Moment {
            calendar,
            is_negative,
            seconds: days_before(year, month, day) * DAY_SECONDS + time,
            fraction,
            zone,
        })
    }

    /// Years before the first are counted in two ways, and a time of day wraps at midnight.
    pub(super) fn is_comparable(&self) -> bool {
        let wraps = self.calendar == Calendar::Time && self.zone.is_some_and(|zone| zone != 0);
        !self.is_negative && !wraps
    }

    /// Seconds in UTC, or in the zone that is not known.
    fn instant(&self) -> i64 {
        self.seconds - self.zone.unwrap_or(0) * 60
    }

    /// Part 2, 3.2.7.4: with a zone on one side only, there may be no order.
    pub(super) fn compare(&self, other: &Moment<'_>) -> Option<Ordering> {
        if !self.is_comparable() || !other.is_comparable() {
            return None;
        }
        let order = |mine: i64, its: i64| (mine, self.fraction).cmp(&(its, other.fraction));
        let (mine, its) = (self.instant(), other.instant());
        if self.zone.is_some() == other.zone.is_some() {
            return Some(order(mine, its));
        }
        let farthest = ZONE_MINUTES_MAX * 60;
        let earliest = order(mine - farthest, its);
        let latest = order(mine + farthest, its);
        (earliest == latest && earliest.is_ne()).then_some(earliest)
    }

    pub(super) fn write_key(&self, key: &mut Vec<u8>) {
        key.push(u8::from(self.zone.is_some()));
        key.extend_from_slice(&self.instant().to_le_bytes());
        key.extend_from_slice(self.fraction);
    }
}

struct Reader<'v> {
    rest: &'v [u8],
}

impl<'v> Reader<'v> {
    fn eat(&mut self, text: &[u8]) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn digits(&mut self) -> &'v [u8] {
        let is_other = |byte: &u8| !byte.is_ascii_digit();
        let end = self.rest.iter().position(is_other);
        let (digits, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        digits
    }

    /// `before` and a number of two digits.
    fn two_digits(&mut self, before: &[u8], most: i64) -> Option<i64> {
        let [tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] = self.rest.strip_prefix(before)?
        else {
            return None;
        };
        self.rest = rest;
        let number = i64::from((tens - b'0') * 10 + (ones - b'0'));
        (number <= most).then_some(number)
    }

    /// At least four digits, of which only those four may begin with zero. There is no year 0;
    /// one of more than nine digits is left to the full engine.
    fn year(&mut self) -> Option<i64> {
        let digits = self.digits();
        if !(4..=9).contains(&digits.len()) || digits.len() > 4 && digits[0] == b'0' {
            return None;
        }
        let add = |year: i64, digit: &u8| year * 10 + i64::from(digit - b'0');
        let year = digits.iter().fold(0, add);
        (year > 0).then_some(year)
    }

    fn month_and_day(&mut self, calendar: Calendar) -> Option<(i64, i64)> {
        let (month, day) = match calendar {
            Calendar::Date | Calendar::DateTime => {
                (self.two_digits(b"-", 12)?, self.two_digits(b"-", 31)?)
            }
            Calendar::Day => (1, self.two_digits(b"---", 31)?),
            Calendar::Month => (self.two_digits(b"--", 12)?, 1),
            Calendar::MonthDay => (self.two_digits(b"--", 12)?, self.two_digits(b"-", 31)?),
            Calendar::Time | Calendar::Year => (1, 1),
            Calendar::YearMonth => (self.two_digits(b"-", 12)?, 1),
        };
        (month > 0 && day > 0).then_some((month, day))
    }

    /// Seconds since midnight, and what is behind the point. 24:00:00 ends the day.
    fn time(&mut self, calendar: Calendar) -> Option<(i64, &'v [u8])> {
        let before: &[u8] = match calendar {
            Calendar::DateTime => b"T",
            Calendar::Time => b"",
            Calendar::Date
            | Calendar::Day
            | Calendar::Month
            | Calendar::MonthDay
            | Calendar::Year
            | Calendar::YearMonth => return None,
        };
        let hour = self.two_digits(before, 24)?;
        let minute = self.two_digits(b":", 59)?;
        let second = self.two_digits(b":", 59)?;
        let mut fraction = &b""[..];
        if self.eat(b".") {
            fraction = self.digits();
            if fraction.is_empty() {
                return None;
            }
            while let [rest @ .., b'0'] = fraction {
                fraction = rest;
            }
        }
        let behind = minute * 60 + second;
        if hour == 24 && (behind > 0 || !fraction.is_empty()) {
            return None;
        }
        // A time of day that ends the day is the one that begins it.
        let wraps = hour == 24 && calendar == Calendar::Time;
        let hour = if wraps { 0 } else { hour };
        Some((hour * 60 * 60 + behind, fraction))
    }

    /// The rest, which is a time zone or nothing.
    fn zone(&mut self) -> Option<Option<i64>> {
        let is_west = match self.rest {
            b"" => return Some(None),
            b"Z" => return Some(Some(0)),
            [b'-', ..] => true,
            [b'+', ..] => false,
            _ => return None,
        };
        let sign: &[u8] = if is_west { b"-" } else { b"+" };
        let minutes = self.two_digits(sign, 14)? * 60 + self.two_digits(b":", 59)?;
        if minutes > ZONE_MINUTES_MAX || !self.rest.is_empty() {
            return None;
        }
        Some(Some(if is_west { -minutes } else { minutes }))
    }
}

fn days_of(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the first one of the year 1 of the Gregorian calendar, which may be before it.
pub(super) fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let years = year - 1;
    let leap_days = years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
    let of_years = years * 365 + leap_days;
    let of_months: i64 = (1..month).map(|month| days_of(year, month)).sum();
    of_years + of_months + day - 1
}
