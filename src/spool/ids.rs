//! Ids that rise across restarts and clock steps, also after a crash.
//!
//! Every id that anybody was told of is in the journal's records or below its mark, so a start
//! that has read both begins above them.

use super::Fs;
use crate::job::{JobId, JobName};
use std::sync::atomic::Ordering;

impl<F: Fs> super::Spool<F> {
    /// A new job id.
    pub fn next_id(&self) -> JobId {
        let id = super::lock(&self.ids).next((self.clock)());
        self.used_id(id.get());
        id
    }

    /// The last id that was given out, or the one just before now.
    pub fn last_id(&self) -> JobId {
        super::lock(&self.ids).peek((self.clock)())
    }

    /// The id of a job of an earlier run, which no new one may reach.
    pub(super) fn saw_id(&self, id: u64) {
        super::lock(&self.ids).skip(id);
        self.earlier_id.fetch_max(id, Ordering::Relaxed);
    }

    /// The last id of earlier runs, or of now when there was none.
    pub(super) fn earlier_id(&self) -> JobId {
        match self.earlier_id.load(Ordering::Relaxed) {
            0 => self.last_id(),
            id => JobId::from_number(id),
        }
    }

    pub(super) fn saw_job(&self, job: Option<&JobName>) {
        if let Some(job) = job {
            self.saw_id(job.id().get());
        }
    }
}
