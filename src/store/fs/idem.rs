//! Idempotency records: the same key from the same user gives the first answer again.
//!
//! `idem/<key>.json` says which job the first request made. It is durable before the job is
//! published, so no acknowledged job is without it; the same holds for a schedule. A record whose job never came (a crash in
//! between, so no answer was sent) is removed at the next start.

use super::{EntryKind, Fs, Op, PendingRename, Spool, SpoolError, text, wrap};
use crate::{
    domain::JobName,
    store::{Key, Keyed},
};
use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

/// A commit takes less than this, so younger records at a crash may be of one that never ended.
const COMMIT_MS_MAX: i64 = 30 * 60 * 1000;

/// A record says little.
const RECORD_BYTES_MAX: u64 = 64 * 1024;

fn record_path(key: &Key) -> PathBuf {
    Path::new("idem").join(format!("{}.json", key.as_str()))
}

impl<F: Fs> Spool<F> {
    pub fn find_record(&self, key: &Key) -> Result<Option<Keyed>, SpoolError> {
        let path = record_path(key);
        match self.fs.read_small(&path, RECORD_BYTES_MAX) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrap("read", &path)(error)),
        }
    }

    /// Writes the record under `tmp`. What it gives is to be recorded and named together with the
    /// job, so that one is durable when the other is.
    pub(super) fn write_record(
        &self,
        key: &Key,
        record: &Keyed,
    ) -> Result<(Op, PendingRename), SpoolError> {
        let bytes = serde_json::to_vec(record).unwrap_or_default();
        self.replacement(key.as_str(), record_path(key), bytes)
    }

    /// After a commit that failed: the client may try again.
    pub fn drop_record(&self, key: &Key) {
        // Best effort: recovery drops records without a job.
        let path = record_path(key);
        let op = Op::Remove { path: text(&path) };
        let _ = self.record(&[op], || self.fs.unlink(&path));
    }

    pub(super) fn drop_unanswered_records(&self) -> Result<usize, SpoolError> {
        // Ids of a false future tell no time that has been.
        let floor_ms = self.earlier_id().unix_ms().min(self.now_ms());
        let mut removed = 0;
        self.each_record(|path, job| {
            let recent = job.id().unix_ms() > floor_ms - COMMIT_MS_MAX;
            if recent && self.find(job)?.is_none() && !self.is_schedule(job.id())? {
                self.fs.unlink(path).map_err(wrap("remove", path))?;
                removed += 1;
            }
            Ok(())
        })?;
        Ok(removed)
    }

    /// Calls `each` with the path and the job of every record that can be read.
    pub(super) fn each_record(
        &self,
        mut each: impl FnMut(&Path, &JobName) -> Result<(), SpoolError>,
    ) -> Result<(), SpoolError> {
        let dir = Path::new("idem");
        let mut paths = Vec::new();
        let entry = &mut |name: &OsStr, kind| {
            if kind == EntryKind::File {
                paths.push(dir.join(name));
            }
        };
        self.fs.list(dir, entry).map_err(wrap("list", dir))?;
        for path in paths {
            let bytes = match self.fs.read_small(&path, RECORD_BYTES_MAX) {
                Ok(bytes) => bytes,
                // A commit that failed has taken it back meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "left alone: cannot be read");
                    continue;
                }
            };
            let record: Option<Keyed> = serde_json::from_slice(&bytes).ok();
            match record {
                Some(record) => each(&path, &record.job)?,
                None => tracing::warn!(path = %path.display(), "left alone: not a record"),
            }
        }
        Ok(())
    }
}
