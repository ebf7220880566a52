//! What operators look at beside the jobs themselves. All of it blocks.

use super::{Inner, look::recorded, tallies::Round};
use crate::{
    domain::joblog::Message,
    domain::{InterfaceName, Job, JobId, JobName, Place},
    store::{
        AtPlace, Counts, InterfaceCounts, NotReady, Now, Remains, Result, StoreError,
        fs::{PlacePath, SpoolError, deferred_entry, work_entry},
    },
};
use std::path::Path;

impl Inner {
    pub(super) fn counts(&self) -> Result<Counts, SpoolError> {
        let spool = &self.spool;
        let mut round = self.tallies.round(spool);
        let mut counts = Counts {
            failed: settled(&mut round, &Place::JobErrors)?.jobs,
            refused: settled(&mut round, &Place::Refused)?.jobs,
            ..Counts::default()
        };
        for interface in &spool.interfaces() {
            let of = |state: &str| Path::new(state).join(interface.as_str());
            let job = |entry: &str| Some(work_entry(entry)?.0);
            let running = round.of(&of("work"), job)?;
            let job = |entry: &str| Some(deferred_entry(entry)?.0);
            let deferred = round.of(&of("deferred"), job)?;
            let of = InterfaceCounts {
                queued: self.queued(interface)?,
                running,
                deferred,
                done: settled(&mut round, &Place::Bak(interface.clone()))?,
            };
            counts.of.insert(interface.clone(), of);
        }
        round.end();
        Ok(counts)
    }

    /// Those in a queue that are complete: as they are known, once it has been scanned for a worker.
    fn queued(&self, interface: &InterfaceName) -> Result<AtPlace, SpoolError> {
        if self.scanned.lock().contains(interface) {
            let ids = self.spool.ready_ids(interface).into_iter();
            return Ok(ids.map(JobId::from_number).collect());
        }
        let queued = self.spool.queued(interface)?.into_iter();
        Ok(queued.map(|job| job.name.id()).collect())
    }

    pub(super) fn now_of(&self, job: &Job) -> Result<Now, SpoolError> {
        let (attempts, started_ms) = match &job.place {
            Place::Work { attempt, interface } => {
                let started_ms = self.spool.run_started_ms(interface, &job.name);
                (Some(*attempt), started_ms)
            }
            Place::Deferred { .. } | Place::Queue(_) => {
                (Some(self.spool.attempts_of(&job.name)?), None)
            }
            Place::Bak(_) | Place::JobErrors | Place::Refused => (None, None),
        };
        Ok(Now {
            bytes: self.spool.bytes_of(job)?.unwrap_or(0),
            sha256: self.spool.checksum_of(job),
            attempts,
            attempts_max: attempts.map(|_| self.spool.attempts_max(job)),
            started_ms,
            path: Some(job.place.path(&job.name).display().to_string()),
        })
    }

    pub(super) fn remains(&self, job: &JobName) -> Result<Remains, SpoolError> {
        let accepted = self.spool.accepted(job)?;
        Ok(Remains {
            record: accepted.as_deref().map(recorded),
            log: self.spool.shown_log(job),
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

/// Those at a place that has days.
fn settled(round: &mut Round<'_>, place: &Place) -> Result<AtPlace, SpoolError> {
    let mut all = AtPlace::default();
    for day in round.spool().days_of(place)? {
        let of_day = round.of(&day, |entry| entry.parse().ok())?;
        all.jobs += of_day.jobs;
        all.oldest = all.oldest.or(of_day.oldest);
    }
    Ok(all)
}
