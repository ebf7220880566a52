//! How jobs failed last, by the record of their days.

use super::{
    super::{Fs, Spool, SpoolError},
    Act, Ended, ended_path,
    files::{CHUNK_BYTES, Lines},
    fingerprint,
    line::id_of,
    unreadable,
};
use crate::{
    domain::{Job, JobId, Place},
    store::LastError,
};
use std::collections::{HashMap, HashSet};

impl<F: Fs> Spool<F> {
    /// How these jobs failed last, in their order: one look through each day. Of what has ended and is not in the
    /// record, its log says it.
    ///
    /// # Errors
    /// When the record of a day cannot be read.
    pub fn last_errors(&self, jobs: &[Job]) -> Result<Vec<LastError>, SpoolError> {
        let mut days: HashMap<String, HashSet<u64>> = HashMap::new();
        for job in jobs {
            let ids = days.entry(job.name.day()).or_default();
            ids.insert(job.name.id().get());
        }
        let mut last = HashMap::new();
        for (day, ids) in days {
            self.each_ended_of(&day, &ids, &mut |ended| tell(&mut last, ended))?;
        }
        let found = jobs.iter().filter_map(|job| {
            let recorded = last.remove(&job.name.id()).flatten();
            recorded.or_else(|| self.logged_error(job))
        });
        Ok(found.collect())
    }

    /// Those lines of a day's `ended.jsonl` that are of these jobs, in order.
    fn each_ended_of(
        &self,
        day: &str,
        ids: &HashSet<u64>,
        each: &mut dyn FnMut(Ended),
    ) -> Result<(), SpoolError> {
        let path = ended_path(day);
        let Some((file, _)) = self.opened(&path)? else {
            return Ok(());
        };
        let read = (|| {
            let mut lines = Lines::new(&*self.fs, &file, 0, CHUNK_BYTES);
            while let Some((_, line)) = lines.next()? {
                if id_of(line).is_some_and(|id| ids.contains(&id)) {
                    Ended::from_line(line).into_iter().for_each(&mut *each);
                }
            }
            Ok(())
        })();
        read.map_err(unreadable(&path))
    }

    fn logged_error(&self, job: &Job) -> Option<LastError> {
        match job.place {
            Place::Deferred { .. } | Place::JobErrors | Place::Refused => {}
            // Its log is of a life before.
            Place::Bak(_) | Place::Queue(_) | Place::Work { .. } => return None,
        }
        let log = self.read_log(&job.name)?;
        let reason = log.reason().filter(|_| !log.is_cancelled())?;
        Some(LastError {
            job: job.name.clone(),
            fingerprint: fingerprint(reason),
            at_ms: log.finished_ms,
        })
    }
}

/// `None` in it: nothing that was before counts.
fn tell(last: &mut HashMap<JobId, Option<LastError>>, ended: Ended) {
    let id = ended.job.id();
    match ended.act {
        Act::Cancelled | Act::Done | Act::Fetched | Act::Removed | Act::Requeued => {
            last.insert(id, None);
        }
        Act::CutOff | Act::Deferred | Act::Failed | Act::Refused => {
            if let Some(fingerprint) = ended.error {
                let (job, at_ms) = (ended.job, ended.at_ms);
                let error = LastError {
                    job,
                    fingerprint,
                    at_ms,
                };
                last.insert(id, Some(error));
            }
        }
        Act::GivenBack | Act::Noted => {}
    }
}
