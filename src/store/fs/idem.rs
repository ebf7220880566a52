//! Idempotency records: the same key from the same user gives the first answer again.
//!
//! `idem/<day>/<key>.json` says which job the first request made; the day is the one in the job's name, so a day
//! goes as a whole and by its name. A record is durable before the job is published, so no acknowledged job is
//! without it; the same holds for a schedule. A record whose job never came (a crash in between, so no answer was
//! sent) is removed at the next start.

use super::{EntryKind, Fs, Op, PendingRename, Spool, SpoolError, retention, text, wrap};
use crate::{
    domain::{Job, JobName, Place},
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

pub(super) const DIR: &str = "idem";

/// A key counts so long, unless the configuration says otherwise.
pub(super) const KEY_HOURS: u32 = 24;

fn record_path(day: &Path, key: &Key) -> PathBuf {
    day.join(format!("{}.json", key.as_str()))
}

fn day_of(job: &JobName) -> PathBuf {
    Path::new(DIR).join(job.day())
}

impl<F: Fs> Spool<F> {
    /// What the first request with a key led to, unless that is too long ago.
    ///
    /// # Errors
    /// When a record that is there cannot be read now.
    pub fn find_record(&self, key: &Key) -> Result<Option<Keyed>, SpoolError> {
        for day in self.record_days()? {
            let path = record_path(&day, key);
            match self.fs.read_small(&path, RECORD_BYTES_MAX) {
                Ok(bytes) => {
                    let record: Option<Keyed> = serde_json::from_slice(&bytes).ok();
                    let oldest_ms = self.now_ms() - self.retention.load().key_ms();
                    return Ok(record.filter(|record| record.job.id().unix_ms() >= oldest_ms));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(wrap("read", &path)(error)),
            }
        }
        Ok(None)
    }

    /// The days that have records, the last one first.
    fn record_days(&self) -> Result<Vec<PathBuf>, SpoolError> {
        let dir = Path::new(DIR);
        let mut days = Vec::new();
        let each = &mut |name: &OsStr, kind| {
            if kind == EntryKind::Dir {
                days.push(dir.join(name));
            }
        };
        self.fs.list(dir, each).map_err(wrap("list", dir))?;
        days.sort_by(|one, other| other.cmp(one));
        Ok(days)
    }

    /// Writes the record under `tmp`. What it gives is to be recorded and named together with the
    /// job, so that one is durable when the other is.
    ///
    /// # Errors
    /// When its file under `tmp` cannot be written: the job must not be published without it.
    pub(super) fn write_record(
        &self,
        key: &Key,
        record: &Keyed,
    ) -> Result<(Op, PendingRename), SpoolError> {
        let day = day_of(&record.job);
        self.day_dir(&day)?;
        let bytes = serde_json::to_vec(record).unwrap_or_default();
        self.replacement(key.as_str(), record_path(&day, key), bytes)
    }

    /// After a commit that failed: the client may try again.
    pub fn drop_record(&self, key: &Key) {
        // Best effort: recovery drops records without a job.
        for day in self.record_days().unwrap_or_default() {
            let path = record_path(&day, key);
            if !matches!(self.stat(&path), Ok(None)) {
                let op = Op::Remove { path: text(&path) };
                let _ = self.record(&[op], || self.fs.unlink(&path));
            }
        }
    }

    /// Puts records that lie beside their days into them: an earlier format had no days.
    ///
    /// # Errors
    /// When one cannot be moved. The start fails, and the next one goes on with those that are
    /// left.
    pub(super) fn file_records(&self) -> Result<(), SpoolError> {
        for path in self.files_in(Path::new(DIR))? {
            let Some(record) = self.read_record(&path)? else {
                continue;
            };
            let day = day_of(&record.job);
            self.day_dir(&day)?;
            let to = day.join(path.file_name().unwrap_or_default());
            // One that is there already is of the same key, and later.
            let moved = self.move_file(&path, &to).map(drop);
            match moved {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.map_err(wrap("move", &path))?,
            }
        }
        Ok(())
    }

    /// Removes records whose job never came; says how many.
    ///
    /// # Errors
    /// When they cannot be listed or removed. The start fails, and the next one goes on.
    pub(super) fn drop_unanswered_records(&self) -> Result<usize, SpoolError> {
        // Ids of a false future tell no time that has been.
        let floor_ms = self.earlier_id().unix_ms().min(self.now_ms()) - COMMIT_MS_MAX;
        let first = Path::new(DIR).join(retention::day(floor_ms));
        let mut removed = 0;
        for day in self.record_days()? {
            if day < first {
                break;
            }
            for path in self.files_in(&day)? {
                // What was written before needs not be read.
                let written_ms = self.stat(&path)?.map_or(i64::MAX, |stat| stat.modified_ms);
                if written_ms < floor_ms {
                    continue;
                }
                let Some(record) = self.read_record(&path)? else {
                    continue;
                };
                let is_recent = record.job.id().unix_ms() > floor_ms;
                if is_recent && !self.has_come(&record)? {
                    self.fs.unlink(&path).map_err(wrap("remove", &path))?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// Is there what a record is of? Most jobs are where they came to, or done: the others are looked for everywhere.
    fn has_come(&self, record: &Keyed) -> Result<bool, SpoolError> {
        let places = match (&record.interface, record.refused) {
            (_, true) => vec![Place::Refused],
            (Some(to), false) => vec![Place::Queue(to.into()), Place::Bak(to.clone())],
            (None, false) => Vec::new(),
        };
        for place in places {
            let name = record.job.clone();
            if self.is_file(&Job { place, name })? {
                return Ok(true);
            }
        }
        Ok(self.is_schedule(record.job.id())? || self.find(&record.job)?.is_some())
    }

    /// Removes the days of which no record counts any more.
    ///
    /// # Errors
    /// When a day cannot be listed or removed; the next sweep goes on.
    pub(super) fn sweep_record_days(&self, oldest_ms: i64) -> Result<(), SpoolError> {
        let first = Path::new(DIR).join(retention::day(oldest_ms));
        for day in self.record_days()?.into_iter().filter(|day| *day < first) {
            self.fs.remove_tree(&day).map_err(wrap("remove", &day))?;
            self.days.lock().remove(&day);
        }
        Ok(())
    }

    fn files_in(&self, dir: &Path) -> Result<Vec<PathBuf>, SpoolError> {
        let mut paths = Vec::new();
        let each = &mut |name: &OsStr, kind| {
            if kind == EntryKind::File {
                paths.push(dir.join(name));
            }
        };
        self.fs.list(dir, each).map_err(wrap("list", dir))?;
        Ok(paths)
    }

    /// A record at a start; `None`: it is gone, or is left alone.
    fn read_record(&self, path: &Path) -> Result<Option<Keyed>, SpoolError> {
        let bytes = match self.fs.read_small(path, RECORD_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "left alone: cannot be read");
                return Ok(None);
            }
        };
        let record = serde_json::from_slice(&bytes).ok();
        if record.is_none() {
            tracing::warn!(path = %path.display(), "left alone: not a record");
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Kind,
        store::{NewJob, fs::faults::Faults, fs::testing::TestSpool},
    };

    /// Each record is looked at and read, and its job looked at, however many interfaces there are.
    #[test]
    fn a_key_of_a_job_that_came_costs_a_start_three_calls() {
        let calls_with = |n_jobs: u64| {
            let dir = tempfile::tempdir().unwrap();
            let faults = Faults::of(dir.path());
            let open = || {
                let mut spool = TestSpool::at(dir.path()).ticking().journal();
                for n in 0..20 {
                    spool = spool.interface(&format!("i{n}"));
                }
                spool.open().unwrap()
            };
            let spool = open();
            let to = "i19".parse().unwrap();
            for n in 0..n_jobs {
                let name = JobName::new(spool.next_id(), None, Kind::Xml);
                let sealed = spool.begin(name.clone()).unwrap();
                let sealed = sealed.seal(&NewJob::default()).unwrap();
                let (key, keyed) = (
                    Key::new("shop", &n.to_string()),
                    Keyed {
                        job: name,
                        interface: Some("i19".parse().unwrap()),
                        sha256: String::new(),
                        bytes: 0,
                        refused: false,
                    },
                );
                let (_, ticket) = spool.enqueue(sealed, &to, Some((&key, &keyed))).unwrap();
                spool.wait(ticket).unwrap();
            }
            spool.close_journal();
            let spool = open();
            let before = faults.calls();
            assert_eq!(spool.recover().unwrap().removed, 0);
            faults.calls() - before
        };
        assert_eq!(calls_with(12) - calls_with(2), 3 * 10);
    }
}
