//! How many jobs are in a directory, counted again only once it has changed: days that are over cost one look each.

use crate::{
    domain::JobName,
    store::{
        AtPlace,
        fs::{EntryKind, Fs as _, Spool, SpoolError, listings::TICK_MS, wrap},
    },
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// By directory: the time of its last change, and what was counted.
type Known = HashMap<PathBuf, (i64, AtPlace)>;

#[derive(Debug, Default)]
pub(super) struct Tallies(Mutex<Known>);

/// One count of all. What it did not ask for is forgotten at its end.
pub(super) struct Round<'t> {
    tallies: &'t Tallies,
    spool: &'t Spool,
    before: Known,
    after: Known,
}

impl Tallies {
    pub(super) fn round<'t>(&'t self, spool: &'t Spool) -> Round<'t> {
        Round {
            tallies: self,
            spool,
            // Another count at the same time knows nothing, and counts all.
            before: std::mem::take(&mut *self.0.lock()),
            after: Known::new(),
        }
    }
}

impl<'t> Round<'t> {
    pub(super) fn spool(&self) -> &'t Spool {
        self.spool
    }

    /// The jobs in a directory, which `job` finds in the names of its files.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub(super) fn of(
        &mut self,
        dir: &Path,
        job: impl Fn(&str) -> Option<JobName>,
    ) -> Result<AtPlace, SpoolError> {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let Some(stat) = self.spool.stat(dir)? else {
            return Ok(AtPlace::default());
        };
        let known = self.before.get(dir);
        let known = known.filter(|(modified_ms, _)| *modified_ms == stat.modified_ms);
        let tally = match known {
            Some((_, tally)) => *tally,
            None => self.count(dir, job)?,
        };
        if stat.modified_ms + TICK_MS < now_ms {
            self.after.insert(dir.to_owned(), (stat.modified_ms, tally));
        }
        Ok(tally)
    }

    fn count(
        &self,
        dir: &Path,
        job: impl Fn(&str) -> Option<JobName>,
    ) -> Result<AtPlace, SpoolError> {
        let mut tally = AtPlace::default();
        let each = &mut |name: &OsStr, kind| {
            if kind == EntryKind::File
                && let Some(job) = name.to_str().and_then(&job)
            {
                tally.add(job.id());
            }
        };
        let listed = self.spool.fs().list(dir, each);
        listed.map_err(wrap("list", dir))?;
        Ok(tally)
    }

    pub(super) fn end(self) {
        *self.tallies.0.lock() = self.after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fs::testing::TestSpool;
    use std::{
        fs::{self, File},
        time::{Duration, SystemTime},
    };

    #[test]
    fn a_directory_is_counted_again_once_it_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let spool = TestSpool::at(dir.path()).interface("a").open().unwrap();
        let day = Path::new("bak/a/2026-11-22");
        let path = dir.path().join(day);
        fs::create_dir_all(&path).unwrap();
        let add =
            |n: u32| fs::write(path.join(format!("20261122T045748.123Z-0000{n}.xml")), "").unwrap();
        let age = |s| {
            let at = SystemTime::now() - Duration::from_secs(s);
            File::open(&path).unwrap().set_modified(at).unwrap();
        };
        let tallies = Tallies::default();
        let counted = || {
            let mut round = tallies.round(&spool);
            let found = round.of(day, |entry| entry.parse().ok()).unwrap();
            round.end();
            found.jobs
        };
        add(1);
        assert_eq!(counted(), 1);
        add(2);
        assert_eq!(counted(), 2, "it may have changed in the same moment");
        age(100);
        assert_eq!(counted(), 2);
        fs::remove_file(path.join("20261122T045748.123Z-00001.xml")).unwrap();
        age(100);
        let known = tallies.0.lock().get(day).copied().unwrap();
        File::open(&path)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(known.0.cast_unsigned()))
            .unwrap();
        assert_eq!(counted(), 2, "it is not listed again");
        age(50);
        assert_eq!(counted(), 1);
        fs::remove_dir_all(&path).unwrap();
        assert_eq!(counted(), 0);
        assert!(tallies.0.lock().is_empty(), "what is gone is forgotten");
    }
}
