//! What a job's submitter asked for, as its attributes say it.
//!
//! Attributes: `priority`, `worker`, `retries` (how often it is tried again, which takes the place
//! of the interface's attempts), `params` (JSON for the processor). Only JSON dialects set them, so
//! for an XML job nothing is read. They are advice: what cannot be read counts as not there.

use super::{Fs, Spool};
use crate::job::{Job, Kind, Priority, WorkerTag};

impl<F: Fs> Spool<F> {
    pub fn priority_of(&self, job: &Job) -> Priority {
        self.term(job, "priority").unwrap_or_default()
    }

    /// The kind of worker that alone may run the job.
    pub fn worker_of(&self, job: &Job) -> Option<WorkerTag> {
        self.term(job, "worker")
    }

    /// How often the job is to be tried again, if it says so itself.
    pub fn retries_of(&self, job: &Job) -> Option<u32> {
        self.term(job, "retries")
    }

    /// How many attempts the job has in all: its own retries go before the rules of its interface.
    pub fn attempts_max(&self, job: &Job) -> u32 {
        match self.retries_of(job) {
            Some(retries) => retries.saturating_add(1),
            None => (job.place.interface())
                .and_then(|interface| self.interfaces.get(interface))
                .map_or(1, |rules| rules.attempts_max),
        }
    }

    fn term<T: std::str::FromStr>(&self, job: &Job, name: &str) -> Option<T> {
        match job.name.kind() {
            Kind::Json => self.attribute_of(job, name)?.parse().ok(),
            Kind::Xml => None,
        }
    }
}
