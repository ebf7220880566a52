//! What operators look at beside the jobs themselves. All of it blocks.

use super::Inner;
use super::look::recorded;
use crate::{
    domain::joblog::Message,
    domain::{Job, JobName, Place},
    store::{Counts, InterfaceCounts, NotReady, Now, Remains, Result, StoreError, fs::SpoolError},
};

impl Inner {
    pub(super) fn counts(&self) -> Result<Counts, SpoolError> {
        let spool = &self.spool;
        let mut counts = Counts {
            failed: spool.settled(&Place::JobErrors)?.len(),
            refused: spool.settled(&Place::Refused)?.len(),
            ..Counts::default()
        };
        for interface in spool.interfaces() {
            let queued = spool.queued(interface)?;
            let of = InterfaceCounts {
                queued: queued.len(),
                running: spool.working(interface)?.len(),
                deferred: spool.deferred(interface)?.len(),
                done: spool.settled(&Place::Bak(interface.clone()))?.len(),
                oldest: queued.into_iter().next().map(|job| job.name),
            };
            counts.of.insert(interface.clone(), of);
        }
        Ok(counts)
    }

    pub(super) fn now_of(&self, job: &Job) -> Result<Now, SpoolError> {
        Ok(Now {
            bytes: self.spool.bytes_of(job)?.unwrap_or(0),
            sha256: self.spool.checksum_of(job),
            attempts: match &job.place {
                Place::Work { attempt, .. } => Some(*attempt),
                Place::Deferred { .. } | Place::Queue(_) => {
                    Some(self.spool.attempts_of(&job.name)?)
                }
                Place::Bak(_) | Place::JobErrors | Place::Refused => None,
            },
        })
    }

    pub(super) fn remains(&self, job: &JobName) -> Result<Remains, SpoolError> {
        let accepted = self.spool.accepted(job)?;
        Ok(Remains {
            record: accepted.as_deref().map(recorded),
            log: self.spool.read_log(job),
        })
    }

    pub(super) fn not_ready(&self, job: &Job) -> Option<NotReady> {
        let astray = self.spool.why_astray(job).map(NotReady::Astray);
        astray.or_else(|| (!self.spool.is_whole(job)).then_some(NotReady::Incomplete))
    }

    pub(super) fn health(&self) -> Result<()> {
        if let Err(error) = self.spool.check_format() {
            return Err(StoreError::Refused(error.to_string()));
        }
        match self.spool.unready() {
            None => Ok(()),
            Some(reason) => Err(StoreError::Unhealthy(reason)),
        }
    }

    pub(super) fn said_so_far(&self, job: &Job) -> Vec<Message> {
        match job.place {
            Place::Work { .. } => self.spool.output_so_far(job, self.spool.now_ms()),
            Place::Bak(_)
            | Place::Deferred { .. }
            | Place::JobErrors
            | Place::Queue(_)
            | Place::Refused => Vec::new(),
        }
    }
}
