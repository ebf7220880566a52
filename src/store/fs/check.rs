//! Looking whether all that is kept fits together: each job in one place, its document as it was accepted, a
//! line for each job and a job for each line.
//!
//! One look goes through the days, and holds the names of one day at a time. It is no moment: jobs move
//! meanwhile, and what does not fit is a suspect only. [`Spool::suspects_still`] looks at those again, after a while. It
//! changes nothing, beside a service or without one.
//!
//! Invariant: what the states of a job explain is no flaw. After a crash the journal has the last word on some
//! jobs, and the next start carries it out: these are left out.

use super::{
    Act, Fs, Spool, SpoolError, Stat,
    journal::job_of,
    records::{DIR as RECORDS, Said},
    retention::oldest_day,
    text,
};
use crate::{
    domain::JobName,
    store::check::{CheckProgress, Flaw, FlawKind},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
};

/// The files of jobs, by their ids.
type Files = BTreeMap<u64, Vec<(JobName, PathBuf)>>;

/// Something that did not fit when it was looked at, and the day of its record.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    day: String,
    pub(super) flaw: Flaw,
}

impl Suspect {
    fn is_same(&self, other: &Self) -> bool {
        let (one, two) = (&self.flaw, &other.flaw);
        let is_of_same = match (&one.job, &two.job) {
            (Some(one), Some(two)) => one.id() == two.id(),
            (None, None) => one.at == two.at,
            (Some(_), None) | (None, Some(_)) => false,
        };
        is_of_same && one.kind == two.kind && self.day == other.day
    }
}

/// What was recorded of a job when it came.
struct Came {
    job: JobName,
    bytes: u64,
    sha256: Option<String>,
    /// The user id of who brought it, where that is not the service.
    uid: Option<u32>,
    is_forgotten: bool,
}

/// What is recorded of the jobs of a day.
#[derive(Default)]
struct DayRecord {
    came: HashMap<u64, Came>,
    /// How each was last said to have gone on.
    last: HashMap<u64, Act>,
    /// Where a line is that is none.
    odd: Vec<String>,
}

impl DayRecord {
    fn hear(&mut self, said: Result<Said, String>) {
        match said {
            Ok(Said::Accepted(accepted)) => {
                let came = Came {
                    job: accepted.job.clone(),
                    bytes: accepted.bytes,
                    sha256: accepted.sha256.clone(),
                    uid: accepted.uid,
                    is_forgotten: accepted.submitter.is_empty(),
                };
                self.came.insert(accepted.job.id().get(), came);
            }
            Ok(Said::Ended(ended)) if ended.act != Act::Noted => {
                self.last.insert(ended.job.id().get(), ended.act);
            }
            Ok(Said::Audited(_) | Said::Ended(_) | Said::Event(_)) => {}
            Err(place) => self.odd.push(place),
        }
    }
}

/// One look.
struct Look<'s, F: Fs> {
    spool: &'s Spool<F>,
    /// Jobs that the journal puts right at the next start.
    to_replay: &'s HashSet<u64>,
    /// Only these jobs of these days, if not all.
    only: Option<&'s HashMap<String, HashSet<u64>>>,
    progress: &'s CheckProgress,
    jobs: u64,
    suspects: Vec<Suspect>,
}

impl<F: Fs> Spool<F> {
    /// Looks at everything; gives how many jobs that were, and what does not seem to fit.
    ///
    /// # Errors
    /// When a directory or a record cannot be read.
    pub(super) fn check(
        &self,
        to_replay: &HashSet<u64>,
        progress: &CheckProgress,
    ) -> Result<(u64, Vec<Suspect>), SpoolError> {
        let live = self.files_beside_days()?;
        let mut days: BTreeSet<String> = live.keys().cloned().collect();
        for dir in self.dirs_of_days()? {
            let found = self.dirs_below(&dir, 1)?;
            let names = found.iter().filter_map(|day| day.file_name()?.to_str());
            days.extend(names.map(str::to_owned));
        }
        let mut jobs = live.values().map(BTreeMap::len).sum::<usize>();
        for day in &days {
            for dir in self.settled_dirs(day)? {
                jobs += self.files_of(&dir, &job_of)?.len();
            }
        }
        progress.begin(jobs as u64);
        let mut look = Look {
            spool: self,
            to_replay,
            only: None,
            progress,
            jobs: 0,
            suspects: Vec::new(),
        };
        look.at_days(days, live)?;
        Ok((look.jobs, look.suspects))
    }

    /// Those that do not fit at another look either.
    ///
    /// # Errors
    /// As those of [`Spool::check`].
    pub(super) fn suspects_still(
        &self,
        to_replay: &HashSet<u64>,
        suspects: &[Suspect],
    ) -> Result<Vec<Suspect>, SpoolError> {
        let mut only: HashMap<String, HashSet<u64>> = HashMap::new();
        for suspect in suspects {
            let of_day = only.entry(suspect.day.clone()).or_default();
            of_day.extend(suspect.flaw.job.as_ref().map(|job| job.id().get()));
        }
        let mut look = Look {
            spool: self,
            to_replay,
            only: Some(&only),
            progress: &CheckProgress::default(),
            jobs: 0,
            suspects: Vec::new(),
        };
        let days = only.keys().cloned().collect();
        look.at_days(days, self.files_beside_days()?)?;
        let mut still = look.suspects;
        still.retain(|found| suspects.iter().any(|before| before.is_same(found)));
        Ok(still)
    }

    /// The directories in which each day has one.
    fn dirs_of_days(&self) -> Result<Vec<PathBuf>, SpoolError> {
        let mut dirs = self.dirs_below(Path::new("bak"), 1)?;
        dirs.extend(["joberrors", RECORDS, "results"].map(PathBuf::from));
        Ok(dirs)
    }

    /// The directories of jobs of a day that have ended.
    fn settled_dirs(&self, day: &str) -> Result<Vec<PathBuf>, SpoolError> {
        let errors = Path::new("joberrors").join(day);
        let of_bak = self.dirs_below(Path::new("bak"), 1)?.into_iter();
        let mut dirs: Vec<PathBuf> = of_bak.map(|dir| dir.join(day)).collect();
        dirs.extend([errors.join("refused"), errors]);
        Ok(dirs)
    }

    /// The files of jobs that lie in no directory of a day, by the days of their names: of those that wait or run, and
    /// what somebody has put beside the days.
    fn files_beside_days(&self) -> Result<BTreeMap<String, Files>, SpoolError> {
        let mut dirs = self.dirs_below(Path::new("queue"), 2)?;
        for state in ["deferred", "work", "bak"] {
            dirs.extend(self.dirs_below(Path::new(state), 1)?);
        }
        dirs.push("joberrors".into());
        let mut found: BTreeMap<String, Files> = BTreeMap::new();
        // One that was moved there by hand has its own name.
        let named = |path: &str| job_of(path).or_else(|| path.rsplit('/').next()?.parse().ok());
        for dir in dirs {
            for (path, job) in self.files_of(&dir, &named)? {
                let of_day = found.entry(job.day()).or_default();
                of_day.entry(job.id().get()).or_default().push((job, path));
            }
        }
        Ok(found)
    }

    fn record_of_day(&self, day: &str) -> Result<DayRecord, SpoolError> {
        let mut record = DayRecord::default();
        self.each_said(day, &mut |said| record.hear(said))?;
        Ok(record)
    }
}

impl<F: Fs> Look<'_, F> {
    fn at_days(
        &mut self,
        days: BTreeSet<String>,
        mut live: BTreeMap<String, Files>,
    ) -> Result<(), SpoolError> {
        for day in days {
            let files = live.remove(&day).unwrap_or_default();
            self.at_day(&day, files)?;
        }
        Ok(())
    }

    fn at_day(&mut self, day: &str, mut files: Files) -> Result<(), SpoolError> {
        let is_expired = self.has_passed(self.spool.retention.load().records_days, day);
        for dir in self.spool.settled_dirs(day)? {
            for (path, job) in self.spool.files_of(&dir, &job_of)? {
                let of_id = files.entry(job.id().get()).or_default();
                of_id.push((job, path));
            }
        }
        let record = self.spool.record_of_day(day)?;
        for (id, found) in &files {
            self.jobs += 1;
            if self.is_meant(day, *id) {
                let came = record.came.get(id);
                self.at_job(day, found, came, is_expired)?;
            }
            self.progress.advance();
        }
        for (id, came) in &record.came {
            let is_gone = !files.contains_key(id) && self.is_meant(day, *id);
            let last = record.last.get(id).copied();
            if is_gone && !came.is_forgotten && !self.is_explained(day, last) {
                let why = format!("it is nowhere, and {}", last_word(last));
                self.suspect(day, FlawKind::Lost, Some(&came.job), &[], why);
            }
        }
        self.at_results(day, &files, &record)?;
        for place in record.odd {
            let why = "it is no line of the record".to_owned();
            self.suspect(day, FlawKind::Record, None, &[Path::new(&place)], why);
        }
        Ok(())
    }

    /// Looks at the files that a job has.
    fn at_job(
        &mut self,
        day: &str,
        found: &[(JobName, PathBuf)],
        came: Option<&Came>,
        is_expired: bool,
    ) -> Result<(), SpoolError> {
        let mut there = Vec::new();
        for (job, path) in found {
            if let Some(stat) = self.spool.stat(path)? {
                there.push((job, path.as_path(), stat));
            }
        }
        let (job, path, stat) = match there[..] {
            [one] => one,
            // It moves: wherever it is, the next look finds it.
            [] => {
                let (job, path) = &found[0];
                let why = "it has gone while it was looked at".to_owned();
                self.suspect(day, FlawKind::Lost, Some(job), &[path.as_path()], why);
                return Ok(());
            }
            [(job, ..), ..] => {
                let paths: Vec<&Path> = there.iter().map(|(_, path, _)| *path).collect();
                let why = "one id, and not one file".to_owned();
                self.suspect(day, FlawKind::Doubled, Some(job), &paths, why);
                return Ok(());
            }
        };
        if let Some((kind, why)) = self.misfit_of(path, stat, came, is_expired)? {
            self.suspect(day, kind, Some(job), &[path], why);
        }
        Ok(())
    }

    /// What is wrong with the one file that a job has.
    fn misfit_of(
        &self,
        path: &Path,
        stat: Stat,
        came: Option<&Came>,
        is_expired: bool,
    ) -> Result<Option<(FlawKind, String)>, SpoolError> {
        let Some(came) = came else {
            let unrecorded = (FlawKind::Unrecorded, "nothing is recorded of it".to_owned());
            return Ok((!is_expired).then_some(unrecorded));
        };
        if !self.spool.believes_of(stat.uid, came.uid)? {
            let why = format!("its file is uid {}'s, who did not bring it", stat.uid);
            return Ok(Some((FlawKind::Unrecorded, why)));
        }
        if came.bytes != stat.bytes {
            let why = format!("it has {} bytes, and had {}", stat.bytes, came.bytes);
            return Ok(Some((FlawKind::Altered, why)));
        }
        let Some(sha256) = &came.sha256 else {
            return Ok(None);
        };
        Ok(match self.spool.fs.digest(path) {
            Ok(now) if now == *sha256 => None,
            Ok(now) => {
                let why = format!("its SHA-256 is {now}, and was {sha256}");
                Some((FlawKind::Altered, why))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Some((FlawKind::Lost, "it has gone while it was read".to_owned()))
            }
            Err(error) => Some((FlawKind::Unreadable, format!("it cannot be read: {error}"))),
        })
    }

    fn at_results(
        &mut self,
        day: &str,
        files: &Files,
        record: &DayRecord,
    ) -> Result<(), SpoolError> {
        for dir in self.spool.dirs_below(&Path::new("results").join(day), 1)? {
            let name = dir.file_name().and_then(|name| name.to_str());
            let Some(job) = name.and_then(|name| name.parse::<JobName>().ok()) else {
                continue;
            };
            let id = job.id().get();
            let is_known = files.contains_key(&id) || record.came.contains_key(&id);
            let last = record.last.get(&id).copied();
            if !is_known && self.is_meant(day, id) && !self.is_explained(day, last) {
                let why = "there is no job that they are of".to_owned();
                self.suspect(day, FlawKind::Results, Some(&job), &[&dir], why);
            }
        }
        Ok(())
    }

    fn is_meant(&self, day: &str, id: u64) -> bool {
        let is_chosen = self
            .only
            .is_none_or(|only| only.get(day).is_some_and(|ids| ids.contains(&id)));
        is_chosen && !self.to_replay.contains(&id)
    }

    /// Can a job be gone for which that was the last word? An operator has removed it, or retention.
    fn is_explained(&self, day: &str, last: Option<Act>) -> bool {
        let keep = self.spool.retention.load();
        match last {
            Some(Act::Removed) => true,
            Some(Act::Done | Act::Fetched) => self.has_passed(keep.bak_days, day),
            Some(Act::Cancelled | Act::Failed | Act::Refused) => {
                self.has_passed(keep.joberrors_days, day)
            }
            // Somebody may have moved it to either by hand.
            Some(Act::CutOff | Act::Deferred | Act::GivenBack | Act::Noted | Act::Requeued)
            | None => {
                self.has_passed(keep.bak_days, day) || self.has_passed(keep.joberrors_days, day)
            }
        }
    }

    fn has_passed(&self, keep_days: Option<u32>, day: &str) -> bool {
        let now_ms = self.spool.now_ms();
        keep_days.is_some_and(|keep_days| *day < *oldest_day(keep_days, now_ms))
    }

    fn suspect(
        &mut self,
        day: &str,
        kind: FlawKind,
        job: Option<&JobName>,
        at: &[&Path],
        why: String,
    ) {
        let at = match (at, job) {
            ([], Some(job)) => vec![job.to_string()],
            (at, _) => at.iter().map(|path| text(path)).collect(),
        };
        self.suspects.push(Suspect {
            day: day.to_owned(),
            flaw: Flaw {
                kind,
                job: job.cloned(),
                at,
                why,
            },
        });
    }
}

/// How a job went on last, as its record has it.
fn last_word(last: Option<Act>) -> &'static str {
    match last {
        None => "nothing says that it ended",
        Some(Act::Cancelled) => "was last cancelled",
        Some(Act::CutOff) => "was last cut off",
        Some(Act::Deferred) => "was last deferred",
        Some(Act::Done) => "was last done",
        Some(Act::Failed) => "has last failed",
        Some(Act::Fetched) => "was last fetched",
        Some(Act::GivenBack | Act::Noted | Act::Requeued) => "waited last",
        Some(Act::Refused) => "was last refused",
        Some(Act::Removed) => "was removed",
    }
}

#[cfg(test)]
mod tests;
