//! Ids that come once, across restarts and clock steps, also after a crash.
//!
//! Every id that was given out is in the journal's records or below its mark, so a start
//! that has read both begins above them.

use super::Fs;
use crate::domain::{Horizon, Ids, JobId, JobName};
use std::sync::atomic::Ordering;

impl<F: Fs> super::Spool<F> {
    /// A new job id.
    pub fn next_id(&self) -> JobId {
        self.ids.lock().next((self.clock)())
    }

    /// The last id that was given out by a clock that is nearly right, or the one just before now.
    pub fn last_id(&self) -> JobId {
        self.ids.lock().latest((self.clock)())
    }

    /// Which jobs there can be by now.
    pub fn horizon(&self) -> Horizon {
        self.ids.lock().horizon((self.clock)())
    }

    /// Puts jobs into the order in which they arrived. That is the one of their names, unless the
    /// clock was wrong in between.
    pub fn sort_by_arrival(&self, jobs: &mut [JobName]) {
        let ids = self.ids.lock().clone();
        jobs.sort_by_cached_key(|job| ids.order(job.id()));
    }

    /// The ids that earlier runs have given out, as far as the mark knows them.
    pub(super) fn saw_ids(&self, given: Ids) {
        if let Some(last) = given.ranges().last() {
            self.earlier_id.fetch_max(last.last, Ordering::Relaxed);
            *self.ids.lock() = given;
        }
    }

    /// The id of a job of an earlier run, which no new one may have.
    pub(super) fn saw_id(&self, id: JobId) {
        self.ids.lock().note(id);
        self.earlier_id.fetch_max(id.get(), Ordering::Relaxed);
    }

    /// The last id of earlier runs, or of now when there was none.
    pub(super) fn earlier_id(&self) -> JobId {
        match self.earlier_id.load(Ordering::Relaxed) {
            0 => self.last_id(),
            id => JobId::from_number(id),
        }
    }
}
