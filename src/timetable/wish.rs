//! What a client says about when to run, and what is wrong with it.

use super::Plan;
use crate::cron::Cron;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
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
pub struct Wish {
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

/// A part of a [`Wish`]. Prints as the Robusta contract calls it.
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

/// What is wrong with a wish; to be shown to whoever made it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{member}: {reason}")]
pub struct Mistake {
    pub member: Member,
    pub reason: String,
}

impl Wish {
    /// The plan that is meant, for a schedule that is made now; or the first mistake. `zone` is the
    /// one to use when none is given. A plan has at least one moment.
    pub fn plan(&self, now: Timestamp, zone: &Zone) -> Result<Plan, Mistake> {
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
    let wrong = || format!("{text:?} is not a date and time; write yyyy-MM-dd HH:mm:ss");
    let is_plain = text.len() == "yyyy-MM-dd HH:mm:ss".len()
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            10 => byte == b' ',
            13 | 16 => byte == b':',
            _ => byte.is_ascii_digit(),
        });
    let civil = DateTime::strptime("%Y-%m-%d %H:%M:%S", text).ok();
    let civil = civil.filter(|_| is_plain).ok_or_else(wrong)?;
    crate::cron::moment_of(civil, zone.time_zone()).ok_or_else(wrong)
}
