//! Doing again what a crash may have undone, from the records that no checkpoint covers.
//!
//! When only the process has ended, nothing is undone: on the same mount in the same boot, what was
//! done to files is in them, and what they do not show was changed by another process since. Then only
//! the names are given that had not been given yet. Otherwise all is looked at, as follows.
//!
//! The records of one file make a [`FileHistory`]: the names that it had, in order, and what it holds.
//! A file under another name goes to its last one: what is not recorded was told to no caller. A file
//! that is nowhere is made again if its bytes were recorded, and so is one whose bytes are torn.
//! Doing it twice changes nothing, so a crash in the middle costs nothing.

use super::{
    super::{Fs, Spool, SpoolError, wrap},
    PendingRename, make_parents, publish,
    record::{Op, Record},
};
use crate::domain::{Job, JobName};
use crate::store::fs::PlacePath;
use crate::store::fs::layout::{deferred_entry, work_entry};
use bytes::Bytes;
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

/// What the records say of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FileHistory {
    /// The job that it is, if it is one.
    pub(super) job: Option<JobName>,
    /// Every name that it had, the last one last.
    pub(super) names: Vec<String>,
    /// It was removed in the end.
    pub(super) removed: bool,
    /// It was not made after all.
    pub(super) void: bool,
    /// What it holds, if that was recorded.
    pub(super) bytes: Option<Bytes>,
}

/// The job whose file has this path.
pub(in crate::store::fs) fn job_of(path: &str) -> Option<JobName> {
    let (state, rest) = path.split_once('/')?;
    let entry = rest.rsplit('/').next()?;
    match state {
        "bak" | "joberrors" | "queue" => entry.parse().ok(),
        "deferred" => deferred_entry(entry).map(|(job, _)| job),
        "tmp" => entry.strip_suffix(".part")?.parse().ok(),
        "work" => work_entry(entry).map(|(job, _)| job),
        _ => None,
    }
}

/// The histories of the files that records are about, in the order of their first record.
pub(super) fn histories(records: impl Iterator<Item = Vec<Op>>) -> Vec<FileHistory> {
    #[derive(PartialEq, Eq, Hash)]
    enum FileKey {
        Job(JobName),
        Path(String),
    }
    let key = |path: &str| match job_of(path) {
        Some(job) => FileKey::Job(job),
        None => FileKey::Path(path.to_owned()),
    };
    let mut histories: Vec<FileHistory> = Vec::new();
    let mut known: HashMap<FileKey, usize> = HashMap::new();
    let mut at = |path: &str, histories: &mut Vec<FileHistory>, from: Option<usize>| {
        let at = from.or_else(|| known.get(&key(path)).copied());
        let at = at.unwrap_or_else(|| {
            histories.push(FileHistory::default());
            histories.len() - 1
        });
        known.insert(key(path), at);
        let history = &mut histories[at];
        history.job = job_of(path);
        history.removed = false;
        history.void = false;
        if history.names.last().is_none_or(|last| last != path) {
            history.names.push(path.to_owned());
        }
        at
    };
    for op in records.flatten() {
        match op {
            Op::Move { from, to } => {
                let history = at(&from, &mut histories, None);
                at(&to, &mut histories, Some(history));
            }
            Op::Put { path, bytes } => {
                let history = at(&path, &mut histories, None);
                histories[history].bytes = Some(bytes);
            }
            Op::Remove { path } => {
                let history = at(&path, &mut histories, None);
                histories[history].removed = true;
            }
            Op::Seen { path } => {
                at(&path, &mut histories, None);
            }
            Op::Void { path } => {
                let history = at(&path, &mut histories, None);
                let void = FileHistory {
                    job: histories[history].job.take(),
                    void: true,
                    ..FileHistory::default()
                };
                histories[history] = void;
            }
            // Of no file: see `Spool::complete_records`.
            Op::Accepted(_) | Op::Audited(_) | Op::Ended(_) | Op::Event(_) => {}
        }
    }
    histories
}

/// The names that may not have been given yet: what a later record says of either name was done after
/// that, or takes it back.
fn last_renames(records: &[Record]) -> Vec<&PendingRename> {
    let mut last: HashMap<&Path, usize> = HashMap::new();
    for (at, record) in records.iter().enumerate() {
        let paths = record.ops.iter().flat_map(Op::paths).map(Path::new);
        last.extend(paths.map(|path| (path, at)));
    }
    let mut found = Vec::new();
    for (at, record) in records.iter().enumerate() {
        let is_past = |path: &Path| last.get(path).is_some_and(|last| *last > at);
        let renames = record.renames.iter();
        found.extend(renames.filter(|pending| !is_past(&pending.from) && !is_past(&pending.to)));
    }
    found
}

impl<F: Fs> Spool<F> {
    /// Gives the names that were recorded and not given, in order; says how many. A file that is not
    /// where it was to get its name has got it, or belongs to a step that was told to no caller.
    ///
    /// # Errors
    /// When a name cannot be given for another reason than that it is taken. The journal is as it
    /// was, and the next start goes on.
    pub(super) fn publish_missing(&self, records: &[Record]) -> Result<usize, SpoolError> {
        let mut n_given = 0;
        for pending in last_renames(records) {
            if self.stat(&pending.from)?.is_none() {
                continue;
            }
            match publish(&*self.fs, pending) {
                Ok(_) => n_given += 1,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    tracing::warn!(path = %pending.to.display(), "another file has this name");
                }
                Err(error) => return Err(wrap("publish", &pending.to)(error)),
            }
        }
        Ok(n_given)
    }

    /// Makes the files what the records say; gives the paths of those that were not so.
    ///
    /// # Errors
    /// When a file cannot be restored. The journal is as it was, and the next start does all of it
    /// again.
    pub(super) fn restore_all(&self, records: Vec<Record>) -> Result<Vec<PathBuf>, SpoolError> {
        let mut restored = Vec::new();
        for history in histories(records.into_iter().map(|record| record.ops)) {
            if self.repair(&history)?
                && let Some(path) = history.names.last()
            {
                tracing::warn!(path, removed = history.removed, "restored after a crash");
                restored.push(PathBuf::from(path));
            }
        }
        Ok(restored)
    }

    /// Makes the file what its history says. True when something was to be done.
    fn repair(&self, history: &FileHistory) -> Result<bool, SpoolError> {
        if history.void {
            return Ok(false);
        }
        if history.removed {
            return self.remove_again(history);
        }
        let Some(last) = history.names.last() else {
            return Ok(false);
        };
        let path = PathBuf::from(last);
        let mut repaired = false;
        if self.stat(&path)?.is_none() {
            match self.earlier_name(history)? {
                Some(earlier) => {
                    self.put_at(&earlier, &path)?;
                    repaired = true;
                }
                None => match self.elsewhere(history)? {
                    Some(job) => {
                        self.put_at(&job.place.path(&job.name), &path)?;
                        repaired = true;
                    }
                    None if history.bytes.is_none() => return Ok(false),
                    None => {}
                },
            }
        }
        repaired |= self.repair_content(history, &path)?;
        Ok(repaired)
    }

    fn remove_again(&self, history: &FileHistory) -> Result<bool, SpoolError> {
        let mut removed = false;
        for name in &history.names {
            let path = Path::new(name);
            match self.fs.unlink(path) {
                Ok(()) => removed = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(wrap("remove", path)(error)),
            }
        }
        // A move by hand before it may be undone.
        while let Some(job) = self.elsewhere(history)? {
            let path = job.place.path(&job.name);
            self.fs.unlink(&path).map_err(wrap("remove", &path))?;
            removed = true;
        }
        Ok(removed)
    }

    fn earlier_name(&self, history: &FileHistory) -> Result<Option<PathBuf>, SpoolError> {
        for name in history.names.iter().rev().skip(1) {
            let path = PathBuf::from(name);
            if self.stat(&path)?.is_some() {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Where a job is that is under none of its recorded names.
    fn elsewhere(&self, history: &FileHistory) -> Result<Option<Job>, SpoolError> {
        let Some(name) = history.job.clone() else {
            return Ok(None);
        };
        Ok(self.find(&name)?.map(|place| Job { place, name }))
    }

    fn put_at(&self, from: &Path, to: &Path) -> Result<(), SpoolError> {
        make_parents(&*self.fs, to).map_err(wrap("make directories of", to))?;
        self.fs.rename(from, to).map_err(wrap("move", from))
    }

    fn repair_content(&self, history: &FileHistory, path: &Path) -> Result<bool, SpoolError> {
        if let Some(bytes) = &history.bytes {
            let whole = match self.fs.read(path) {
                Ok(found) => found == *bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(wrap("read", path)(error)),
            };
            if !whole {
                self.make_again(bytes, path)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn make_again(&self, bytes: &[u8], path: &Path) -> Result<(), SpoolError> {
        make_parents(&*self.fs, path).map_err(wrap("make directories of", path))?;
        let temp = self.write_temp("again", bytes)?;
        self.fs.replace(&temp, path).map_err(wrap("publish", path))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::How, *};

    const JOB: &str = "20261122T045748.123Z-00042.xml";

    fn put(path: &str, bytes: &str) -> Op {
        Op::Put {
            path: path.into(),
            bytes: Bytes::copy_from_slice(bytes.as_bytes()),
        }
    }

    fn moved(from: &str, to: &str) -> Op {
        Op::Move {
            from: from.into(),
            to: to.into(),
        }
    }

    #[test]
    fn a_job_is_followed_through_its_places() {
        let (queue, work) = (format!("queue/a/{JOB}"), format!("work/a/{JOB}.a1"));
        let due = format!("deferred/a/20261122T050000.000Z@{JOB}");
        let records = [
            vec![put(&queue, "body"), put("joblog/x.xml", "1")],
            vec![moved(&queue, &work)],
            vec![put("joblog/x.xml", "2"), moved(&work, &due)],
            vec![Op::Seen {
                path: queue.clone(),
            }],
        ];
        let found = histories(records.into_iter());
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].names, [&*queue, &*work, &*due, &*queue]);
        assert_eq!(found[0].bytes.as_deref(), Some(b"body".as_slice()));
        assert_eq!(found[1].bytes.as_deref(), Some(b"2".as_slice()));
        assert_eq!(found[1].names, ["joblog/x.xml"]);
    }

    #[test]
    fn a_name_is_given_unless_later_records_speak_of_it() {
        let (queue, work) = (format!("queue/a/{JOB}"), format!("work/a/{JOB}.a1"));
        let failed = format!("joberrors/20261122/{JOB}");
        let named = |from: &str, to: &str, ops: Vec<Op>| Record {
            ops,
            renames: vec![PendingRename {
                from: from.into(),
                to: to.into(),
                how: How::Moved,
                content: None,
                step: None,
            }],
        };
        let done = |op: Op| Record {
            ops: vec![op],
            renames: Vec::new(),
        };
        let settled = named(&work, &failed, vec![moved(&work, &failed)]);
        let given = |later: Vec<Op>| {
            let later = later.into_iter().map(done);
            let records: Vec<Record> = [settled.clone()].into_iter().chain(later).collect();
            last_renames(&records).len()
        };
        assert_eq!(given(vec![]), 1);
        assert_eq!(given(vec![moved("queue/a/x", "work/a/x.a1")]), 1);
        // Taken back; moved by hand, seen in the queue, and claimed again; moved on; removed.
        assert_eq!(given(vec![moved(&failed, &work)]), 0);
        let seen = Op::Seen {
            path: queue.clone(),
        };
        assert_eq!(given(vec![seen, moved(&queue, &work)]), 0);
        assert_eq!(given(vec![moved(&failed, &queue)]), 0);
        assert_eq!(
            given(vec![Op::Remove {
                path: failed.clone()
            }]),
            0
        );
        let log = [1, 2].map(|n| named(&format!("tmp/{n}"), "joblog/x", vec![put("joblog/x", "")]));
        assert_eq!(last_renames(&log)[0].from, Path::new("tmp/2"));
    }

    #[test]
    fn a_file_that_becomes_a_job_stays_one_thread() {
        let queue = format!("queue/a/{JOB}");
        let records = [
            vec![moved("queue/a/x.xml", &queue)],
            vec![Op::Remove {
                path: queue.clone(),
            }],
        ];
        let found = histories(records.into_iter());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].names, ["queue/a/x.xml", &*queue]);
        assert!(found[0].removed);
        assert_eq!(found[0].job, Some(JOB.parse().unwrap()));
    }
}
