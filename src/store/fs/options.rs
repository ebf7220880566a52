//! How often a job is tried, as its submitter asked for it and the record says it, which takes the place of
//! the interface's attempts. Only JSON dialects ask for anything, so for an XML job nothing is read.

use super::{Fs, Spool};
use crate::domain::{Job, Kind};

impl<F: Fs> Spool<F> {
    /// How often the job is to be tried again, if it says so itself.
    pub fn retries_of(&self, job: &Job) -> Option<u32> {
        match job.name.kind() {
            Kind::Json => self.known_of(job)?.retries,
            Kind::Xml => None,
        }
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
}
