//! What a client says about when to run, and what is wrong with it.

use super::Plan;
use crate::cron_schedule::cron::{Changes, Cron, moment_of};
use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use std::{fmt, str::FromStr};

/// A time zone of the IANA database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(pub(super) TimeZone);

impl Zone {
    pub const UTC: Self = Self(TimeZone::UTC);

    pub fn time_zone(&self) -> &TimeZone {
        &self.0
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.iana_name().unwrap_or("UTC"))
    }
}

/// Why a text is not a time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time zone; use a name of the IANA database such as Europe/Berlin, or UTC")]
pub struct ZoneError(String);

impl FromStr for Zone {
    type Err = ZoneError;
    fn from_str(text: &str) -> Result<Self, ZoneError> {
        let zone = TimeZone::get(text).ok();
        let named = zone.filter(|zone| zone.iana_name().is_some() && !zone.is_unknown());
        named.map(Self).ok_or_else(|| ZoneError(text.to_owned()))
    }
}

/// When to run, as the client wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduleSpec {
    /// A Quartz cron expression.
    pub quartz: Option<String>,
    /// `yyyy-MM-dd HH:mm:ss`: the first moment that counts.
    pub start: Option<String>,
    /// `yyyy-MM-dd HH:mm:ss`: the last moment that counts.
    pub end: Option<String>,
    /// Of all these; the configured one unless given.
    pub time_zone: Option<String>,
    /// A single time only.
    pub run_once: bool,
    /// Now, or at the start if that is to come.
    pub run_immediately: bool,
}

/// A part of a [`ScheduleSpec`]. Prints as the Robusta contract calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    EndDate,
    QuartzDef,
    StartDate,
    TimeZone,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EndDate => "endDate",
            Self::QuartzDef => "quartzDef",
            Self::StartDate => "startDate",
            Self::TimeZone => "timeZone",
        })
    }
}

/// What is wrong with a spec; to be shown to whoever made it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{member}: {reason}")]
pub struct Mistake {
    pub member: Member,
    pub reason: String,
}

impl ScheduleSpec {
    /// The plan that is meant, for a schedule that is made now; or the first mistake. `zone` is the
    /// one to use when none is given. A plan has at least one moment.
    ///
    /// # Errors
    /// When a member is malformed, members contradict each other, or no moment is left.
    pub fn plan(&self, now: Timestamp, zone: &Zone, changes: Changes) -> Result<Plan, Mistake> {
        let wrong = |member, reason: String| Mistake { member, reason };
        let zone = match &self.time_zone {
            None => zone.clone(),
            Some(name) => (name.parse::<Zone>())
                .map_err(|error| wrong(Member::TimeZone, error.to_string()))?,
        };
        let quartz = match &self.quartz {
            None => None,
            Some(text) => Some(
                Cron::parse(text).map_err(|error| wrong(Member::QuartzDef, error.to_string()))?,
            ),
        };
        let moment = |member, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => match moment(text, &zone) {
                Ok(moment) => Ok(Some(moment)),
                Err(reason) => Err(wrong(member, reason)),
            },
        };
        let plan = Plan {
            start: moment(Member::StartDate, &self.start)?,
            end: moment(Member::EndDate, &self.end)?,
            time_zone: zone.clone(),
            clock_changes: changes,
            quartz,
            run_once: self.run_once,
            run_immediately: self.run_immediately,
        };
        match plan.mistake(now) {
            None => Ok(plan),
            Some((member, reason)) => Err(wrong(member, reason.to_owned())),
        }
    }
}

impl Plan {
    /// What its parts do not say together.
    fn mistake(&self, now: Timestamp) -> Option<(Member, &'static str)> {
        if self.end.is_some_and(|end| end < now) {
            return Some((Member::EndDate, "has passed already"));
        }
        if self
            .end
            .is_some_and(|end| self.start.is_some_and(|start| end < start))
        {
            return Some((Member::EndDate, "is before startDate"));
        }
        if self.next(now, &Default::default()).is_some() {
            return None;
        }
        Some(match (&self.quartz, self.start) {
            (None, None) => (
                Member::QuartzDef,
                "is missing: say when to run by quartzDef, startDate or runImmediately",
            ),
            (None, Some(_)) => (
                Member::StartDate,
                "has passed already, and no quartzDef is given",
            ),
            (Some(_), _) if self.end.is_some() => (
                Member::EndDate,
                "comes before the first moment of quartzDef: it would never run",
            ),
            (Some(_), _) => (
                Member::QuartzDef,
                "names no moment to come: it would never run",
            ),
        })
    }
}

/// A moment as clients write it. One that does not exist because clocks are set forward is the
/// next that does; of one that exists twice the first is meant.
fn moment(text: &str, zone: &Zone) -> Result<Timestamp, String> {
    const PATTERN: &str = "yyyy-MM-dd HH:mm:ss";
    let wrong = |at: usize, what: &str| format!("character {}: {what}", at + 1);
    let fits = |(found, wanted): (u8, u8)| match wanted.is_ascii_alphabetic() {
        true => found.is_ascii_digit(),
        false => found == wanted,
    };
    let n_fitting = (text.bytes().zip(PATTERN.bytes()))
        .take_while(|pair| fits(*pair))
        .count();
    if n_fitting < PATTERN.len() || text.len() > PATTERN.len() {
        return Err(wrong(n_fitting, &format!("write {PATTERN}")));
    }
    let number = |at: usize, least: i8, greatest: i8| {
        let digits = &text[at..at + 2];
        let number = digits.parse().ok();
        let number = number.filter(|number| (least..=greatest).contains(number));
        number.ok_or_else(|| wrong(at, &format!("{digits} is not within {least}-{greatest}")))
    };
    let month = number(5, 1, 12)?;
    let first = text[..4].parse().ok();
    let first = first.and_then(|year| Date::new(year, month, 1).ok());
    let first = first.ok_or_else(|| wrong(0, "there is no such year"))?;
    let day = number(8, 1, first.days_in_month())?;
    let (hour, minute) = (number(11, 0, 23)?, number(14, 0, 59)?);
    let second = number(17, 0, 59)?;
    let civil = DateTime::new(first.year(), month, day, hour, minute, second, 0).ok();
    let moment = civil.and_then(|civil| moment_of(civil, zone.time_zone()));
    moment.ok_or_else(|| wrong(0, "there is no such moment"))
}
