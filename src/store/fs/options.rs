//! What a job's submitter asked for, as the record says it: priority, worker, how often it is tried
//! again (which takes the place of the interface's attempts). Only JSON dialects ask for anything, so
//! for an XML job nothing is read.

use super::{Accepted, Fs, Spool};
use crate::domain::{Job, Kind, Priority, WorkerTag};
use std::sync::Arc;

impl<F: Fs> Spool<F> {
    pub fn priority_of(&self, job: &Job) -> Priority {
        self.options(job)
            .map_or_else(Priority::default, |options| options.priority)
    }

    /// The kind of worker that alone may run the job.
    pub fn worker_of(&self, job: &Job) -> Option<WorkerTag> {
        self.options(job)?.worker.clone()
    }

    /// How often the job is to be tried again, if it says so itself.
    pub fn retries_of(&self, job: &Job) -> Option<u32> {
        self.options(job)?.retries
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

    fn options(&self, job: &Job) -> Option<Arc<Accepted>> {
        match job.name.kind() {
            Kind::Json => self.known_of(job),
            Kind::Xml => None,
        }
    }
}
