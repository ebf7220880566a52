//! Which moment is next, and what to do about those that are due.

use super::{Zone, text};
use crate::{
    cron_schedule::cron::{Changes, Cron},
    domain::JobName,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Later than this a moment counts as missed also while the service is up: the clock was set
/// forward, the machine slept, or the spool took no jobs.
const LATE: SignedDuration = SignedDuration::from_secs(60);

/// When each missed moment gets its job, so many do: the last ones.
pub const MISSED_MAX: usize = 1000;

/// What becomes of moments at which the service was down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// Every one gets its job, of more than [`MISSED_MAX`] the last ones.
    Each,
    /// All together get one job, that of the last of them.
    #[default]
    Once,
    /// None gets a job.
    Skip,
}

/// When to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    #[serde(
        default,
        with = "text::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub quartz: Option<Cron>,
    #[serde(default, with = "text")]
    pub time_zone: Zone,
    /// Where its clocks change.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub clock_changes: Changes,
    /// The first moment that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// The last moment that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// A single time only.
    #[serde(default)]
    pub run_once: bool,
    /// When it was made, or at its start if that is later.
    #[serde(default)]
    pub run_immediately: bool,
}

/// How far a schedule is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Moments up to this one have had their job, or are not to get one.
    pub through: Option<Timestamp>,
    /// How many jobs it has made.
    pub runs: u64,
    pub last: Option<Firing>,
}

/// A moment that had its job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    pub moment: Timestamp,
    #[serde(with = "text")]
    pub job: JobName,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing before this moment; nothing ever without one.
    Later(Option<Timestamp>),
    /// A job for this moment.
    Run(Timestamp),
    /// No job for any moment up to this one.
    Skip(Timestamp),
}

impl Progress {
    /// After a job for `moment`, which is later than those before.
    pub fn ran(&self, moment: Timestamp, job: JobName) -> Self {
        Self {
            through: self.through.max(Some(moment)),
            runs: self.runs + 1,
            last: Some(Firing { moment, job }),
        }
    }

    /// From `now` on, whatever a clock that was ahead had made of it.
    pub fn reset(&self, now: Timestamp) -> Self {
        Self {
            through: Some(now),
            ..self.clone()
        }
    }

    /// Does it wait for a clock that was set back?
    pub fn is_ahead_of(&self, now: Timestamp) -> bool {
        self.through.is_some_and(|through| through > now + LATE)
    }

    /// After moments up to this one were left out.
    pub fn skipped(&self, through: Timestamp) -> Self {
        Self {
            through: self.through.max(Some(through)),
            ..self.clone()
        }
    }
}

impl Plan {
    /// When it runs, in plain words; `None` when its expression says it better.
    pub fn in_words(&self) -> Option<String> {
        match &self.quartz {
            Some(cron) if !self.run_once => cron.in_words(),
            Some(_) | None => Some("once".into()),
        }
    }

    /// The moment that is due or comes next, for a schedule made at `created`.
    pub fn next(&self, created: Timestamp, progress: &Progress) -> Option<Timestamp> {
        if self.run_once && progress.runs > 0 {
            return None;
        }
        if self.is_immediate(progress) {
            return Some(self.start.map_or(created, |start| start.max(created)));
        }
        let through = progress
            .through
            .map_or(created, |through| through.max(created));
        let next = match &self.quartz {
            Some(cron) => {
                let zone = self.time_zone.time_zone();
                cron.next_after(self.from(through), zone, self.clock_changes)
            }
            None => self.start.filter(|start| *start > through),
        };
        next.filter(|next| self.end.is_none_or(|end| *next <= end))
    }

    /// What to do now, for a service that has been up since `since`.
    pub fn due(
        &self,
        created: Timestamp,
        progress: &Progress,
        now: Timestamp,
        since: Timestamp,
        missed: Missed,
    ) -> Due {
        let next = self.next(created, progress);
        let Some(due) = next.filter(|next| *next <= now) else {
            return Due::Later(next);
        };
        // A clock that was set back does not make later moments missed ones.
        let horizon = since.min(now).max(now - LATE);
        // What was to run immediately has been promised.
        if self.is_immediate(progress) || due >= horizon {
            return Due::Run(due);
        }
        let last = || self.last_before(horizon, due);
        match missed {
            Missed::Each if !self.is_over(now) => match self.first_of_last(horizon, due) {
                None => Due::Run(due),
                Some(first) => Due::Skip(self.last_before(first, due)),
            },
            Missed::Once if !self.is_over(now) => Due::Run(last()),
            Missed::Each | Missed::Once | Missed::Skip => Due::Skip(last()),
        }
    }

    /// Has its end passed?
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.end.is_some_and(|end| end < now)
    }

    fn is_immediate(&self, progress: &Progress) -> bool {
        self.run_immediately && progress.runs == 0
    }

    /// Moments after this one are to be looked for.
    fn from(&self, through: Timestamp) -> Timestamp {
        match self.start {
            // The start itself counts.
            Some(start) => through.max(start - SignedDuration::from_nanos(1)),
            None => through,
        }
    }

    /// The first of the last [`MISSED_MAX`] moments before `horizon`; `None`: from `first` on there are no more.
    fn first_of_last(&self, horizon: Timestamp, first: Timestamp) -> Option<Timestamp> {
        let (cron, zone) = (self.quartz.as_ref()?, self.time_zone.time_zone());
        let mut at = first;
        for _ in 0..MISSED_MAX {
            let next = cron.next_after(at, zone, self.clock_changes);
            at = next.filter(|next| *next < horizon)?;
        }
        let mut found = horizon;
        for _ in 0..MISSED_MAX {
            found = self.last_before(found, first);
        }
        Some(found)
    }

    /// The last moment before `horizon` that counts; `first` is the first one.
    fn last_before(&self, horizon: Timestamp, first: Timestamp) -> Timestamp {
        let until = horizon - SignedDuration::from_nanos(1);
        let until = self.end.map_or(until, |end| end.min(until));
        let cron = self.quartz.as_ref();
        let last = cron.and_then(|cron| {
            let zone = self.time_zone.time_zone();
            cron.last_between(first, until, zone, self.clock_changes)
        });
        last.unwrap_or(first)
    }
}
