//! Which days of a month an expression means.

use super::Set;
use jiff::civil::Date;

const SUNDAY: i8 = 1;
const SATURDAY: i8 = 7;

/// Some days of every month. Days of the week are numbers, and Sunday is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Day {
    /// These, by their number.
    Dates(Set),
    /// This many days before the last one.
    Last { before: i8 },
    /// The last one on this day of the week.
    LastOn(i8),
    /// The working day nearest to the one this many days before the last.
    LastWorking { before: i8 },
    /// The n-th one on this day of the week.
    Nth(i8, i8),
    /// Those on these days of the week.
    Weekdays(Set),
    /// The working day nearest to this one.
    Working(i8),
}

impl Day {
    /// In the month that begins with `first`, as bits; none where the month has no such day.
    pub(super) fn bits(self, first: Date) -> u64 {
        let last = first.days_in_month();
        let all = (u64::MAX << 1) & ((1 << last << 1) - 1);
        // The first day of the month on a day of the week.
        let first_on =
            |weekday: i8| 1 + (weekday - first.weekday().to_sunday_one_offset()).rem_euclid(7);
        match self {
            Self::Dates(days) => days.0 & all,
            Self::Last { before } => bit(last - before) & all,
            Self::LastOn(weekday) => bit(first_on(weekday) + (last - first_on(weekday)) / 7 * 7),
            Self::LastWorking { before } => working(first, last - before),
            Self::Nth(weekday, n) => bit(first_on(weekday) + 7 * (n - 1)) & all,
            Self::Weekdays(days) => (1..=last)
                .filter(|day| days.has(weekday(first, *day)))
                .fold(0, |bits, day| bits | bit(day)),
            Self::Working(day) => working(first, day),
        }
    }
}

/// None for a day that no month has.
fn bit(day: i8) -> u64 {
    u32::try_from(day).map_or(0, |day| 1_u64.checked_shl(day).unwrap_or(0))
}

/// The working day nearest to a day of a month, in that month; none when the month has no such day.
fn working(first: Date, day: i8) -> u64 {
    let last = first.days_in_month();
    if !(1..=last).contains(&day) {
        return 0;
    }
    bit(match weekday(first, day) {
        SATURDAY if day == 1 => 3,
        SATURDAY => day - 1,
        SUNDAY if day == last => day - 2,
        SUNDAY => day + 1,
        _ => day,
    })
}

/// The day of the week of a day in the month that begins with `first`.
fn weekday(first: Date, day: i8) -> i8 {
    (first.weekday().to_sunday_zero_offset() + day - 1) % 7 + SUNDAY
}
