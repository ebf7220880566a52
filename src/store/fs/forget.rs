//! Forgetting a submitter: documents, logs, results and idempotency records of the jobs that were his go, and
//! what the days' records say of him.
//!
//! A line of the record is written over where it stands, with as many bytes: the job's id, digest, sizes and
//! moments stay, and so does the order of the lines. First a checkpoint covers all that was recorded before,
//! so no replay brings anything back. Whatever is cut off in the middle can be done again.

use super::{
    EntryKind, Fs, Op, Spool, SpoolError, idem::DIR as KEYS, journal::job_of,
    records::DIR as RECORDS, text, wrap,
};
use crate::{domain::JobName, store::Keyed, store::Traces};
use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// An idempotency record says little.
const KEYED_BYTES_MAX: u64 = 64 * 1024;

/// The ids of a submitter's jobs, by day.
type Ids = BTreeMap<String, HashSet<u64>>;

impl<F: Fs> Spool<F> {
    /// What there is of a submitter. Changes nothing.
    ///
    /// # Errors
    /// When something cannot be listed or read.
    pub fn traces_of(&self, submitter: &str) -> Result<Traces, SpoolError> {
        self.each_trace(submitter, &self.ids_of(submitter)?, false)
    }

    /// Removes what there is of a submitter, unless a job of his waits or runs, or a schedule of his would make
    /// more; then nothing is done, and what is given says so. Durable when it returns.
    ///
    /// # Errors
    /// When something cannot be listed, read or removed. Part of it may be gone: it can be done again.
    pub fn forget(&self, submitter: &str) -> Result<Traces, SpoolError> {
        self.healthy()?;
        let ids = self.ids_of(submitter)?;
        let traces = self.each_trace(submitter, &ids, false)?;
        if traces.waiting + traces.schedules > 0 {
            return Ok(traces);
        }
        // What was recorded until now would be restored, and has his name.
        self.cover()?;
        let traces = self.each_trace(submitter, &ids, true)?;
        self.wait(self.latest())?;
        self.sync_all()?;
        self.blot_out(submitter, &ids)?;
        Ok(traces)
    }

    /// The days of the record.
    fn record_days_of_all(&self) -> Result<Vec<String>, SpoolError> {
        let dir = Path::new(RECORDS);
        let mut days = Vec::new();
        let each = &mut |name: &OsStr, kind| {
            if kind == EntryKind::Dir {
                days.extend(name.to_str().map(str::to_owned));
            }
        };
        self.fs.list(dir, each).map_err(wrap("list", dir))?;
        Ok(days)
    }

    fn ids_of(&self, submitter: &str) -> Result<Ids, SpoolError> {
        let mut ids = Ids::new();
        for day in self.record_days_of_all()? {
            let of_day = self.accepted_of_submitter(&day, submitter)?;
            if !of_day.is_empty() {
                ids.insert(day, of_day);
            }
        }
        Ok(ids)
    }

    /// Counts what there is, and removes it if that is wanted.
    fn each_trace(&self, submitter: &str, ids: &Ids, remove: bool) -> Result<Traces, SpoolError> {
        let mut traces = Traces {
            jobs: ids.values().map(HashSet::len).sum(),
            ..Traces::default()
        };
        for id in self.schedules()? {
            let schedule = self.schedule(id)?;
            traces.schedules += usize::from(schedule.is_some_and(|s| s.submitter == submitter));
        }
        let is_his = |job: &JobName| {
            let of_day = ids.get(&job.day());
            of_day.is_some_and(|of_day| of_day.contains(&job.id().get()))
        };
        for state in ["queue", "deferred", "work"] {
            for dir in self.dirs_below(Path::new(state), 2)? {
                let jobs = self.files_of(&dir, &|path| job_of(path).filter(&is_his))?;
                let jobs: HashSet<JobName> = jobs.into_iter().map(|(_, job)| job).collect();
                traces.waiting += jobs.len();
            }
        }
        for day in ids.keys() {
            self.each_trace_of_day(day, &is_his, remove, &mut traces)?;
        }
        Ok(traces)
    }

    fn each_trace_of_day(
        &self,
        day: &str,
        is_his: &dyn Fn(&JobName) -> bool,
        remove: bool,
        traces: &mut Traces,
    ) -> Result<(), SpoolError> {
        let unlink = |path: &Path| match remove {
            true => self.unlink_recorded(path),
            false => Ok(()),
        };
        let errors = Path::new("joberrors").join(day);
        let mut places = vec![errors.join("refused"), errors];
        let of_bak = self.dirs_below(Path::new("bak"), 1)?.into_iter();
        places.extend(of_bak.map(|dir| dir.join(day)));
        for dir in places {
            for (path, _) in self.files_of(&dir, &|path| job_of(path).filter(is_his))? {
                unlink(&path)?;
                traces.documents += 1;
            }
        }
        // A log that could not be read is kept beside the one that took its place.
        let logged = |path: &str| {
            let (job, _) = path.rsplit('/').next()?.rsplit_once(".xml")?;
            job.parse().ok().filter(is_his)
        };
        for (path, _) in self.files_of(&Path::new("joblog").join(day), &logged)? {
            unlink(&path)?;
            traces.logs += 1;
        }
        for dir in self.dirs_below(&Path::new("results").join(day), 1)? {
            let job = dir.file_name().and_then(OsStr::to_str);
            if job.is_some_and(|job| job.parse().is_ok_and(|job| is_his(&job))) {
                if remove {
                    self.fs.remove_tree(&dir).map_err(wrap("remove", &dir))?;
                }
                traces.results += 1;
            }
        }
        for (path, ()) in self.files_of(&Path::new(KEYS).join(day), &|_| Some(()))? {
            let bytes = self.fs.read_small(&path, KEYED_BYTES_MAX);
            let keyed: Option<Keyed> = bytes.ok().and_then(|b| serde_json::from_slice(&b).ok());
            if keyed.is_some_and(|keyed| is_his(&keyed.job)) {
                unlink(&path)?;
                traces.keys += 1;
            }
        }
        Ok(())
    }

    /// So that no replay makes it again.
    fn unlink_recorded(&self, path: &Path) -> Result<(), SpoolError> {
        let op = Op::Remove { path: text(path) };
        match self.record(&[op], || self.fs.unlink(path)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(wrap("remove", path)(error))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The files of a directory of which something is to be known, with that.
    pub(super) fn files_of<T>(
        &self,
        dir: &Path,
        known: &dyn Fn(&str) -> Option<T>,
    ) -> Result<Vec<(PathBuf, T)>, SpoolError> {
        let mut found = Vec::new();
        let each = &mut |name: &OsStr, kind| {
            let path = dir.join(name);
            if kind == EntryKind::File
                && let Some(known) = path.to_str().and_then(known)
            {
                found.push((path, known));
            }
        };
        self.fs.list(dir, each).map_err(wrap("list", dir))?;
        Ok(found)
    }

    /// The directories in one, and in those, down to so many levels.
    pub(super) fn dirs_below(&self, dir: &Path, levels: usize) -> Result<Vec<PathBuf>, SpoolError> {
        let mut found = Vec::new();
        let each = &mut |name: &OsStr, kind| {
            if kind == EntryKind::Dir {
                found.push(dir.join(name));
            }
        };
        self.fs.list(dir, each).map_err(wrap("list", dir))?;
        if levels > 1 {
            for below in found.clone() {
                found.extend(self.dirs_below(&below, levels - 1)?);
            }
        }
        Ok(found)
    }

    /// Writes over what the days' records say of him. The lines by which his jobs are known go last, when all
    /// else is durable.
    fn blot_out(&self, submitter: &str, ids: &Ids) -> Result<(), SpoolError> {
        let none = HashSet::new();
        let days = self.record_days_of_all()?;
        for day in &days {
            let of_day = ids.get(day).unwrap_or(&none);
            self.rewrite_ended(day, &|ended| {
                let is_his = of_day.contains(&ended.job.id().get());
                let is_by_him = ended.by.as_deref() == Some(submitter);
                (is_his || is_by_him).then(|| ended.forgotten(is_his, is_by_him))
            })?;
        }
        self.forget_in_events(submitter)?;
        self.sync_all()?;
        // Also those on which he has none any more, of what an earlier call has left.
        for day in &days {
            let of_day = ids.get(day).unwrap_or(&none);
            self.rewrite_accepted(day, &|accepted| {
                let is_his = of_day.contains(&accepted.job.id().get());
                is_his.then(|| accepted.forgotten())
            })?;
            self.records.forget_jobs(day, of_day);
        }
        self.sync_all()
    }
}

#[cfg(test)]
mod tests;
