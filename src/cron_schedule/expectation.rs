//! Expected arrivals: on which days, and by when, so many documents of a partner are to have come.
//!
//! Each deadline has a window, from the one before to its own, both later by the grace; so every document counts for
//! exactly one deadline, and a deadline is judged once its window has closed.

use super::cron::{Changes, Cron};
use super::{CronError, Zone};
use crate::domain::InterfaceName;
use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, Time},
};
use std::{collections::BTreeSet, fmt, iter};

/// So far back a deadline is looked for. Holidays may follow each other, but not for ever.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(24 * 400);

/// After a long time without a service, so many deadlines are judged, the newest ones.
const JUDGED_MAX: usize = 100;

/// What is to come from a partner, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    pub interface: InterfaceName,
    pub submitter: String,
    pub deadlines: Deadlines,
    /// Fewer documents are too few …
    pub at_least: u64,
    /// … and more are too many.
    pub at_most: Option<u64>,
}

impl Expectation {
    /// How many documents are to come, in words.
    pub fn wanted(&self) -> String {
        match self.at_most {
            None => format!("{} or more", self.at_least),
            Some(most) => format!("{} to {most}", self.at_least),
        }
    }

    /// What becomes of a deadline in whose window so many documents came.
    pub fn judge(&self, documents: u64) -> Verdict {
        if documents < self.at_least {
            Verdict::TooFew
        } else if self.at_most.is_some_and(|most| documents > most) {
            Verdict::TooMany
        } else {
            Verdict::Met
        }
    }
}

/// By its text an expectation is known again after a restart: what it expects may change without its being another.
impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            interface,
            submitter,
            deadlines: Deadlines { by, days, zone, .. },
            ..
        } = self;
        let by = by.strftime("%H:%M");
        write!(f, "{interface} of {submitter} by {by} {days} {zone}")
    }
}

/// How many came, against how many were to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Met,
    TooFew,
    TooMany,
}

impl Verdict {
    /// As events, metrics and JSON call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::TooFew => "too_few",
            Self::TooMany => "too_many",
        }
    }

    /// As people are told.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::TooFew => "too few",
            Self::TooMany => "too many",
        }
    }
}

/// The moments by which something is to have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlines {
    by: Time,
    /// As they were written.
    days: String,
    zone: Zone,
    /// Days without a deadline.
    holidays: BTreeSet<Date>,
    grace: SignedDuration,
    moments: Cron,
}

/// The time in which documents count for one deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// What came at this moment counts for the deadline before.
    pub from: Timestamp,
    pub deadline: Timestamp,
    /// What came at this moment counts still. From then on the deadline can be judged.
    pub until: Timestamp,
}

impl Deadlines {
    /// A deadline at `by` on each of the `days`, which are days of the week as a Quartz cron expression has them
    /// (`MON-FRI`, `MON,THU`, `*`), in `zone`, but on no day of `holidays`.
    ///
    /// # Errors
    /// When `days` are no such days.
    pub fn new(
        by: Time,
        days: &str,
        zone: Zone,
        holidays: BTreeSet<Date>,
        grace: SignedDuration,
    ) -> Result<Self, CronError> {
        let (hour, minute) = (by.hour(), by.minute());
        let moments = Cron::parse(&format!("0 {minute} {hour} ? * {days}"))?;
        Ok(Self {
            by,
            days: days.to_owned(),
            zone,
            holidays,
            grace,
            moments,
        })
    }

    /// The window that is open at a moment; `None` when there is no deadline any more.
    pub fn open_at(&self, now: Timestamp) -> Option<Window> {
        self.after(now - self.grace)
    }

    /// The window that has closed last at a moment, if there is one of the last year.
    pub fn last_closed(&self, now: Timestamp) -> Option<Window> {
        let deadline = self.last_until(now - self.grace)?;
        Some(self.of(deadline))
    }

    /// The windows that have closed until `now` of the deadlines after `through`, the oldest first.
    pub fn closed_between(&self, through: Timestamp, now: Timestamp) -> Vec<Window> {
        let last = now - self.grace;
        let newest_first = iter::successors(self.last_until(last), |deadline| {
            self.last_until(*deadline - SignedDuration::from_millis(1))
        });
        let judged = newest_first.take_while(|deadline| *deadline > through);
        let mut judged: Vec<_> = judged.take(JUDGED_MAX).collect();
        judged.reverse();
        judged
            .into_iter()
            .map(|deadline| self.of(deadline))
            .collect()
    }

    /// The window of the first deadline after a moment.
    fn after(&self, moment: Timestamp) -> Option<Window> {
        let next = |after: &Timestamp| self.next(*after);
        let mut deadlines = iter::successors(self.next(moment), next);
        let deadline = deadlines.find(|deadline| self.is_working_day(*deadline))?;
        Some(self.of(deadline))
    }

    fn of(&self, deadline: Timestamp) -> Window {
        let before = self.last_until(deadline - SignedDuration::from_millis(1));
        Window {
            from: before.map_or(Timestamp::MIN, |before| before + self.grace),
            deadline,
            until: deadline + self.grace,
        }
    }

    /// The last deadline that is not later than a moment.
    fn last_until(&self, moment: Timestamp) -> Option<Timestamp> {
        let earliest = moment - LOOK_BACK;
        let last = |until: Timestamp| {
            let zone = self.zone.time_zone();
            self.moments
                .last_between(earliest, until, zone, Changes::Once)
        };
        let before = |deadline: &Timestamp| last(*deadline - SignedDuration::from_millis(1));
        let mut deadlines = iter::successors(last(moment), before);
        deadlines.find(|deadline| self.is_working_day(*deadline))
    }

    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let zone = self.zone.time_zone();
        self.moments.next_after(after, zone, Changes::Once)
    }

    fn is_working_day(&self, deadline: Timestamp) -> bool {
        let day = self.zone.time_zone().to_datetime(deadline).date();
        !self.holidays.contains(&day)
    }
}

/// The days of a file of holidays: a date such as `2026-12-25` a line, with what follows a `#` for people.
///
/// # Errors
/// The number of the first line, from 1, that is no date, and the line.
pub fn holidays(text: &str) -> Result<BTreeSet<Date>, (usize, String)> {
    let lines = text.lines().enumerate().filter_map(|(n, line)| {
        let said = line.split('#').next().unwrap_or_default().trim();
        let day = || said.parse().map_err(|_| (n + 1, said.to_owned()));
        (!said.is_empty()).then(day)
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn deadlines(days: &str, zone: &str, holidays: &[&str], grace_min: i64) -> Deadlines {
        let holidays = holidays.iter().map(|day| day.parse().unwrap()).collect();
        let grace = SignedDuration::from_mins(grace_min);
        let by = "06:00".parse().unwrap();
        Deadlines::new(by, days, zone.parse().unwrap(), holidays, grace).unwrap()
    }

    /// The open window at a moment, as text.
    fn open(deadlines: &Deadlines, now: &str) -> String {
        let Window {
            from,
            deadline,
            until,
        } = deadlines.open_at(at(now)).unwrap();
        format!("{from} {deadline} {until}")
    }

    #[test]
    fn a_window_goes_from_one_deadline_to_the_next() {
        // 2026-11-27 is a Friday.
        let every_working_day = deadlines("MON-FRI", "UTC", &[], 0);
        assert_eq!(
            open(&every_working_day, "2026-11-27T05:59:59Z"),
            "2026-11-26T06:00:00Z 2026-11-27T06:00:00Z 2026-11-27T06:00:00Z"
        );
        assert_eq!(
            open(&every_working_day, "2026-11-27T06:00:00Z"),
            "2026-11-27T06:00:00Z 2026-11-30T06:00:00Z 2026-11-30T06:00:00Z",
            "over the weekend"
        );
    }

    #[test]
    fn grace_moves_both_ends_so_that_each_document_counts_once() {
        let deadlines = deadlines("*", "UTC", &[], 30);
        assert_eq!(
            open(&deadlines, "2026-11-27T06:29:00Z"),
            "2026-11-26T06:30:00Z 2026-11-27T06:00:00Z 2026-11-27T06:30:00Z"
        );
        assert_eq!(
            open(&deadlines, "2026-11-27T06:30:00Z"),
            "2026-11-27T06:30:00Z 2026-11-28T06:00:00Z 2026-11-28T06:30:00Z"
        );
    }

    #[test]
    fn a_holiday_has_no_deadline_and_its_documents_count_for_the_next() {
        let deadlines = deadlines("MON-FRI", "UTC", &["2026-12-24", "2026-12-25"], 0);
        assert_eq!(
            open(&deadlines, "2026-12-24T12:00:00Z"),
            "2026-12-23T06:00:00Z 2026-12-28T06:00:00Z 2026-12-28T06:00:00Z"
        );
    }

    #[test]
    fn deadlines_are_on_the_clock_of_their_zone() {
        // Clocks go forward on 2026-03-29.
        let deadlines = deadlines("*", "Europe/Berlin", &["2026-03-30"], 0);
        assert_eq!(
            open(&deadlines, "2026-03-29T12:00:00Z"),
            "2026-03-29T04:00:00Z 2026-03-31T04:00:00Z 2026-03-31T04:00:00Z",
            "the holiday is the zone's, too"
        );
        assert_eq!(
            open(&deadlines, "2026-03-28T00:00:00Z"),
            "2026-03-27T05:00:00Z 2026-03-28T05:00:00Z 2026-03-28T05:00:00Z"
        );
    }

    #[test]
    fn each_closed_deadline_is_judged_once_and_the_newest_after_a_long_time() {
        let deadlines = deadlines("MON-FRI", "UTC", &[], 30);
        let closed = |through: &str, now: &str| {
            let closed = deadlines.closed_between(at(through), at(now)).into_iter();
            closed.map(|window| window.deadline).collect::<Vec<_>>()
        };
        let friday = "2026-11-27T06:00:00Z";
        assert_eq!(closed("2026-11-26T06:00:00Z", "2026-11-27T06:29:59Z"), []);
        assert_eq!(
            closed("2026-11-26T06:00:00Z", "2026-11-27T06:30:00Z"),
            [at(friday)]
        );
        assert_eq!(closed(friday, "2026-11-29T12:00:00Z"), []);
        let both = [at(friday), at("2026-11-30T06:00:00Z")];
        assert_eq!(closed("2026-11-26T12:00:00Z", "2026-11-30T07:00:00Z"), both);
        let many = closed("2020-01-01T00:00:00Z", "2026-11-30T07:00:00Z");
        assert_eq!(many.len(), JUDGED_MAX);
        assert_eq!(many[JUDGED_MAX - 2..], both);
    }

    #[test]
    fn too_few_and_too_many_are_told_apart() {
        let expectation = Expectation {
            interface: "orders_in".parse().unwrap(),
            submitter: "shop".into(),
            deadlines: deadlines("MON-FRI", "Europe/Berlin", &[], 0),
            at_least: 2,
            at_most: Some(3),
        };
        let judged = [1, 2, 3, 4].map(|documents| expectation.judge(documents));
        use Verdict::{Met, TooFew, TooMany};
        assert_eq!(judged, [TooFew, Met, Met, TooMany]);
        let text = "orders_in of shop by 06:00 MON-FRI Europe/Berlin";
        assert_eq!(expectation.to_string(), text);
    }

    #[test]
    fn holidays_are_dates_with_remarks() {
        let text = "# of the year\n2026-12-25 # Christmas\n\n 2027-01-01\n";
        let days = ["2026-12-25", "2027-01-01"].map(|day| day.parse().unwrap());
        assert_eq!(holidays(text), Ok(days.into()));
        let wrong = holidays("2026-12-25\n2026-02-30");
        assert_eq!(wrong, Err((2, "2026-02-30".to_owned())));
    }

    #[test]
    fn days_are_days_of_the_week() {
        let by = "06:00".parse().unwrap();
        for days in ["MON-FOO", "MON ? *", ""] {
            let new = Deadlines::new(by, days, Zone::UTC, BTreeSet::new(), SignedDuration::ZERO);
            assert!(new.is_err(), "{days}");
        }
    }
}
