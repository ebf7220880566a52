//! Quartz cron expressions: which moments they name. Pure: the time zone is given, and so is now.
//!
//! An expression has six or seven fields, in whole seconds of civil time; [`Cron::parse`] has the
//! grammar. It is our own because no crate knows all of it (the best one lacks ranges that wrap and
//! `L-3`, and takes `? * L`, which never comes); that crate, `croner`, is the oracle of the tests
//! where the two agree. Time zones and their changes are those of `jiff`.
//!
//! What happens where clocks are set forward or back is said by [`Changes`]. A zone without such
//! changes, UTC for one, has none of this.
//!
//! Source: the Robusta contract, `quartzDef`, and Quartz's own description of the fields.

mod days;
#[cfg(test)]
mod oracle;
mod parse;
#[cfg(test)]
mod tests;
mod words;

use days::Day;
use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, DateTime, Time},
    tz::{AmbiguousOffset, TimeZone},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// Longer than clocks are ever set back by, and what they then show again.
const A_DAY: SignedDuration = SignedDuration::from_hours(25);

/// Longest expression. A list of everything in every field takes less than that.
const CHARS_MAX: usize = 1024;

/// One part of an expression, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Seconds,
    Minutes,
    Hours,
    DayOfMonth,
    Month,
    DayOfWeek,
    Year,
}

impl Field {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
            Self::Year => "year",
        }
    }

    /// The least and the greatest value.
    fn range(self) -> (i16, i16) {
        match self {
            Self::Seconds | Self::Minutes => (0, 59),
            Self::Hours => (0, 23),
            Self::DayOfMonth => (1, 31),
            Self::Month => (1, 12),
            // Sunday is 1.
            Self::DayOfWeek => (1, 7),
            Self::Year => (1970, 2099),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is not an expression. The message says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}, character {position}: {message}")]
pub struct CronError {
    pub field: Field,
    /// The character in the whole expression, counted from 1.
    pub position: usize,
    pub message: String,
}

/// What becomes of moments that do not exist because clocks are set forward, or that exist twice
/// because they are set back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Changes {
    /// Those that do not exist come at the next moment that does, and together with others that go
    /// there they are one. Those that exist twice come the first time only. So what runs every
    /// minute rests in the hour that is doubled.
    #[default]
    Once,
    /// As often as a clock on the wall shows them: never, or twice.
    Wall,
}

/// A set of small numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Set(u64);

impl Set {
    fn add(&mut self, value: i16) {
        self.0 |= 1 << value;
    }

    fn has(self, value: i8) -> bool {
        self.first_from(value) == Some(value)
    }

    /// The least of them that is not less than `from`.
    fn first_from(self, from: i8) -> Option<i8> {
        let rest = self.0.checked_shr(u32::try_from(from).ok()?)?;
        let more = i8::try_from(rest.trailing_zeros()).ok()?;
        (rest != 0).then_some(from + more)
    }
}

/// A Quartz cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    text: Box<str>,
    seconds: Set,
    minutes: Set,
    hours: Set,
    /// Together.
    days: Vec<Day>,
    months: Set,
    years: BTreeSet<i16>,
}

impl Cron {
    /// Seconds, minutes, hours, day of month, month, day of week and, if wanted, a year between
    /// 1970 and 2099, with white space in between. Each is a list, by commas, of values, ranges
    /// `a-b` (which may go over the end: `22-2`, `FRI-MON`) and steps `a/n`, `a-b/n`, `*/n`, or `*`.
    /// Months and days of the week have English names of three letters, the latter also of two,
    /// and Sunday is 1. One of the two day fields is `?`. The day of month knows `L` (the last),
    /// `L-3` (three before it), `15W` (the working day nearest to the 15th, in its month), `LW` and
    /// `L-3W`; the day of week `6L` (the last Friday of the month), `6#3` (the third) and `L`
    /// (Saturday).
    ///
    /// # Errors
    /// When the text is not such an expression; the error says where and why.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        if let Some((at, _)) = text.char_indices().nth(CHARS_MAX) {
            return Err(CronError {
                field: Field::Seconds,
                position: text[..at].chars().count() + 1,
                message: format!("an expression has at most {CHARS_MAX} characters"),
            });
        }
        parse::parse(text)
    }

    /// The first moment after `after`; `None` when there is none until the end of 2099.
    pub fn next_after(
        &self,
        after: Timestamp,
        zone: &TimeZone,
        changes: Changes,
    ) -> Option<Timestamp> {
        match changes {
            Changes::Once => self.next_once(after, zone),
            Changes::Wall => self.next_on_the_wall(after, zone),
        }
    }

    fn next_once(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut civil = zone.to_datetime(after);
        loop {
            civil = self.civil_after(civil)?;
            // Not later than `after`: its second time round, or where clocks were set forward.
            let moment = moment_of(civil, zone)?;
            if moment > after {
                return Some(moment);
            }
        }
    }

    fn next_on_the_wall(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut at = after;
        let mut civil = zone.to_datetime(after);
        loop {
            // As if this offset were to last.
            let next = self.civil_after(civil);
            let next = next.and_then(|civil| zone.to_offset(at).to_timestamp(civil).ok());
            let change = zone.following(at).next();
            let change = change.map(|change| change.timestamp());
            let change = change.filter(|change| match next {
                Some(next) => *change <= next,
                // The last one may come a second time.
                None => change.duration_since(at) < A_DAY,
            });
            let Some(change) = change else {
                return next;
            };
            // The moment of the change itself counts.
            at = change;
            let shown = zone.to_datetime(change);
            civil = shown.checked_sub(SignedDuration::from_nanos(1)).ok()?;
        }
    }

    /// The last moment after `after` that is not later than `until`.
    pub fn last_between(
        &self,
        after: Timestamp,
        until: Timestamp,
        zone: &TimeZone,
        changes: Changes,
    ) -> Option<Timestamp> {
        let comes_after = |at: Timestamp| {
            let next = self.next_after(at, zone, changes);
            next.filter(|next| *next <= until)
        };
        let mut found = comes_after(after)?;
        // One comes after `low` and not after `high`.
        let (mut low, mut high) = (after, until);
        loop {
            let half = high.duration_since(low) / 2;
            if half < SignedDuration::from_millis(1) {
                return Some(found);
            }
            let middle = low + half;
            match comes_after(middle) {
                Some(later) => (low, found) = (middle, later),
                None => high = middle,
            }
        }
    }

    /// The first civil time of the expression after `after`.
    fn civil_after(&self, after: DateTime) -> Option<DateTime> {
        let whole = after.with().subsec_nanosecond(0).build().ok()?;
        let from = whole.checked_add(SignedDuration::from_secs(1)).ok()?;
        if self.is_on(from.date())
            && let Some(time) = self.time_from(from.time())
        {
            return Some(from.date().to_datetime(time));
        }
        let date = self.date_after(from.date())?;
        Some(date.to_datetime(self.time_from(Time::midnight())?))
    }

    fn is_on(&self, date: Date) -> bool {
        self.days_in(date.year(), date.month()) & (1 << date.day()) != 0
    }

    fn date_after(&self, after: Date) -> Option<Date> {
        for year in self.years.range(after.year()..) {
            for month in 1..=12 {
                let mut days = self.days_in(*year, month);
                match (*year, month).cmp(&(after.year(), after.month())) {
                    std::cmp::Ordering::Less => continue,
                    std::cmp::Ordering::Equal => days &= u64::MAX << after.day() << 1,
                    std::cmp::Ordering::Greater => {}
                }
                if let Some(day) = Set(days).first_from(1) {
                    return Date::new(*year, month, day).ok();
                }
            }
        }
        None
    }

    /// The days of a month that are meant, as bits.
    fn days_in(&self, year: i16, month: i8) -> u64 {
        let meant = self.months.has(month) && self.years.contains(&year);
        match Date::new(year, month, 1) {
            Ok(first) if meant => (self.days.iter()).fold(0, |bits, day| bits | day.bits(first)),
            Ok(_) | Err(_) => 0,
        }
    }

    /// The first time of a day of the expression that is not before `from`.
    fn time_from(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = (from.hour(), from.minute(), from.second());
        let time = |hour, minute, second| Time::new(hour, minute, second, 0).ok();
        let (first_minute, first_second) =
            (self.minutes.first_from(0)?, self.seconds.first_from(0)?);
        if self.hours.has(hour) {
            if self.minutes.has(minute)
                && let Some(second) = self.seconds.first_from(second)
            {
                return time(hour, minute, second);
            }
            if let Some(minute) = self.minutes.first_from(minute + 1) {
                return time(hour, minute, first_second);
            }
        }
        let hour = self.hours.first_from(hour + 1)?;
        time(hour, first_minute, first_second)
    }
}

/// When a civil time is: at its first time round, or when the clocks have been set forward over it.
/// Rises, or stays, when the civil time rises.
pub fn moment_of(civil: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(civil).offset() {
        AmbiguousOffset::Fold { before: offset, .. } | AmbiguousOffset::Unambiguous { offset } => {
            offset.to_timestamp(civil).ok()
        }
        AmbiguousOffset::Gap { after, .. } => {
            let shortly_before = after.to_timestamp(civil).ok()?;
            let change = zone.following(shortly_before).next()?;
            Some(change.timestamp())
        }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for Cron {
    type Err = CronError;
    fn from_str(text: &str) -> Result<Self, CronError> {
        Self::parse(text)
    }
}
