//! Ids that rise across restarts and clock steps, also after a crash.
//!
//! `.clock` holds a moment that no id has reached yet. Before an id would pass it, a later moment
//! is written and synced; a restart begins above it. After a crash, names can therefore be up to
//! [`AHEAD_MS`] early, and never repeat. After an orderly stop the file holds the last moment used.

use super::{Fs, SpoolError, wrap};
use crate::job::{Ids, JobId, parse_stamp, stamp};
use std::path::Path;

/// How far ahead of the ids the file is written.
const AHEAD_MS: i64 = 2_000;
const FILE: &str = ".clock";

#[derive(Debug)]
pub(super) struct IdClock {
    ids: Ids,
    reserved_ms: i64,
    last_ms: i64,
}

impl IdClock {
    /// Reads the mark. A spool without one, or with one that cannot be read, starts now.
    pub(super) fn open<F: Fs>(fs: &F, now_ms: i64) -> Self {
        let mark = fs.read(Path::new(FILE)).ok();
        let mark = mark.and_then(|bytes| parse_stamp(String::from_utf8_lossy(&bytes).trim()));
        let floor_ms = mark.unwrap_or(now_ms - 1);
        Self {
            ids: Ids::above(floor_ms),
            reserved_ms: floor_ms,
            last_ms: floor_ms,
        }
    }

    /// The next id, and the mark that must be made durable before it is used.
    pub(super) fn next(&mut self, now_ms: i64) -> (JobId, Option<i64>) {
        let id = self.ids.next(now_ms);
        self.last_ms = id.unix_ms();
        if self.last_ms < self.reserved_ms {
            return (id, None);
        }
        self.reserved_ms = self.last_ms + AHEAD_MS;
        (id, Some(self.reserved_ms))
    }
}

impl<F: Fs> super::Spool<F> {
    /// A new job id. The mark is written while the source is held: an id must never be used
    /// before the mark that covers it is durable.
    pub fn next_id(&self) -> Result<JobId, SpoolError> {
        let mut ids = super::lock(&self.ids);
        let before_ms = ids.reserved_ms;
        let (id, mark) = ids.next((self.clock)());
        if let Some(mark_ms) = mark
            && let Err(error) = self.write_mark(mark_ms)
        {
            ids.reserved_ms = before_ms;
            return Err(error);
        }
        Ok(id)
    }

    /// At an orderly stop: the next start need not jump ahead.
    pub fn close_ids(&self) -> Result<(), SpoolError> {
        let mut ids = super::lock(&self.ids);
        // Whoever takes an id after this writes a mark again.
        ids.reserved_ms = ids.last_ms;
        self.write_mark(ids.last_ms)
    }

    /// The last id that was given out, or the one just before now.
    pub fn last_id(&self) -> JobId {
        let ids = super::lock(&self.ids);
        ids.ids.peek((self.clock)())
    }

    /// The moment that no id of a crashed run can have passed.
    pub(super) fn ids_floor_ms(&self) -> i64 {
        super::lock(&self.ids).reserved_ms
    }

    fn write_mark(&self, mark_ms: i64) -> Result<(), SpoolError> {
        let temp = self.write_temp("clock", format!("{}\n", stamp(mark_ms)).as_bytes())?;
        let path = Path::new(FILE);
        self.fs
            .replace(&temp, path)
            .map_err(wrap("publish", path))?;
        self.sync_dir(Path::new(""))
    }
}
