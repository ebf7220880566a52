//! Timetables: what a client wants to run at moments to come, and which of them are due. Pure: no
//! files, and the clock is given.
//!
//! A saved schedule is two files, `schedules/<id>.json` and `<id>.fired`: a [`Schedule`], which never
//! changes, and its [`Progress`], which is in one record with each job that it makes. So a moment is
//! followed by exactly one job or, if a crash comes first, is still due; and removing the first file
//! is the end of it, whatever is being written just then.
//!
//! A moment is an instant, and each comes once: a clock that is set back waits until it has caught
//! up. A schedule of which no moment is left has ended.
//!
//! Source: the Robusta contract; what `[server] missed_schedules` means is ours.

pub mod cron;
mod expectation;
mod plan;
mod spec;
#[cfg(test)]
mod tests;
mod text;

pub use cron::CronError;
pub use expectation::{Deadlines, Expectation, Verdict, Window, holidays};
pub use plan::{Due, Firing, MISSED_MAX, Missed, Plan, Progress};
pub use spec::{Member, Mistake, ScheduleSpec, Zone, ZoneError};

use crate::domain::{InterfaceName, JobId, JobName, Kind, NameError, Priority, WorkerTag};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A schedule's id, of the same source as those of jobs. Printed like a job's name without its
/// extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScheduleId(JobId);

impl ScheduleId {
    pub fn new(id: JobId) -> Self {
        Self(id)
    }

    pub fn get(self) -> JobId {
        self.0
    }
}

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = JobName::new(self.0, None, Kind::Json).to_string();
        f.pad(name.trim_end_matches(".json"))
    }
}

impl FromStr for ScheduleId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let name: JobName = format!("{text}.json").parse()?;
        match name.reference() {
            None => Ok(Self(name.id())),
            Some(_) => Err(NameError::NotAJobName),
        }
    }
}

/// A saved schedule, as its file says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Where its jobs go.
    #[serde(with = "text")]
    pub interface: InterfaceName,
    /// Who saved it; the jobs are theirs.
    pub submitter: String,
    pub dialect: String,
    pub created: Timestamp,
    pub plan: Plan,
    #[serde(default, with = "text", skip_serializing_if = "is_default")]
    pub priority: Priority,
    #[serde(
        default,
        with = "text::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub worker: Option<WorkerTag>,
    /// How often a job is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// What every job holds, as it was sent: JSON.
    pub document: String,
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// When the bytes are not what [`Schedule::to_json`] writes.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    pub fn to_json(&self) -> Vec<u8> {
        pretty(self)
    }

    /// Its next moment, or the one that is due.
    pub fn next(&self, progress: &Progress) -> Option<Timestamp> {
        self.plan.next(self.created, progress)
    }

    /// Its next moment after those up to `through`, as if the one that is next now had its job by then.
    pub fn next_after(&self, progress: &Progress, through: Timestamp) -> Option<Timestamp> {
        self.next(&Progress {
            runs: progress.runs + 1,
            ..progress.skipped(through)
        })
    }
}

impl Progress {
    /// Reads how far a schedule is.
    ///
    /// # Errors
    /// When the bytes are not what [`Progress::to_json`] writes.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    pub fn to_json(&self) -> Vec<u8> {
        pretty(self)
    }
}

/// With an end of line: operators look at these files.
fn pretty(value: &impl Serialize) -> Vec<u8> {
    // Strings, numbers and moments always serialise.
    let mut json = serde_json::to_vec_pretty(value).unwrap_or_default();
    json.push(b'\n');
    json
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
