//! Undoing what a crash can leave, once, under the spool's lock, before the first scan.
//!
//! | found | done |
//! |---|---|
//! | anything in `tmp` | removed: it was never acknowledged |
//! | `work/…/<job>.a<N>`, lock held | adopted: its command outlived us; watched until it ends |
//! | the same, lock free, with `.exit`, after a crash of the process alone | its command ended while no service was there; the worker settles it by its exit status |
//! | the same, lock free | a crash is an attempt: back to the queue, or to `joberrors` at the limit or when the interface delivers at most once |
//! | `.exit`, `.lock` or `.run` in `work` without a job | removed |
//! | a running job's file at a later place, too | its entry in `work` is removed |
//! | an idempotency record of the last minutes without a job | removed: no answer was sent |
//!
//! What is not understood is left alone and reported.

use super::{
    Act, EntryKind, Fs, Spool, SpoolError,
    claim::{ERRORS, other_runs, run_file, run_owner},
    wrap,
};
use crate::store::Interrupted;
use crate::store::fs::PlacePath;
use crate::store::fs::layout::work_entry;
use crate::{
    domain::joblog::{Level, MESSAGES_MAX, Message},
    domain::{InterfaceName, Job, JobName, Place, Transition},
};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

/// A job in `work` whose run nobody follows any more, though its command may still live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    pub interface: InterfaceName,
    pub name: JobName,
    pub attempt: u32,
    pub cut: Interrupted,
}

impl Adopted {
    /// The job at its place in `work`.
    pub fn job(&self) -> Job {
        Job {
            place: Place::Work {
                interface: self.interface.clone(),
                attempt: self.attempt,
            },
            name: self.name.clone(),
        }
    }
}

/// What recovery found and did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    pub adopted: Vec<Adopted>,
    /// The interface of each attempt that ended with the service; its job is in `failed` or `requeued`.
    pub cut_off: Vec<InterfaceName>,
    pub failed: Vec<JobName>,
    pub removed: usize,
    pub requeued: Vec<JobName>,
}

/// What lies in `work/<interface>`.
#[derive(Default)]
struct Work {
    /// Jobs with their attempts.
    runs: Vec<(JobName, u32)>,
    /// Jobs without the name that they have there: moved by hand.
    orphans: Vec<JobName>,
    /// The jobs of locks, ends and directories of runs.
    owners: BTreeSet<JobName>,
}

impl<F: Fs> Spool<F> {
    /// Puts in order what a crash has left, once the journal was replayed.
    ///
    /// # Errors
    /// When a directory cannot be listed, or the spool cannot be written.
    pub fn recover(&self) -> Result<Recovery, SpoolError> {
        let mut recovery = Recovery::default();
        self.empty_tmp(&mut recovery)?;
        for interface in &self.interfaces() {
            self.recover_work(interface, &mut recovery)?;
            self.queue_orphans("deferred", interface)?;
        }
        self.file_records()?;
        recovery.removed += self.drop_unanswered_records()?;
        self.recover_schedules()?;
        self.report_strangers()?;
        self.report_misplaced()?;
        self.file_ended_orphans()?;
        Ok(recovery)
    }

    /// A job that somebody moved to `joberrors` or `bak/<interface>` itself goes to its day there,
    /// where it is looked for. One that was moved to `deferred` or `work` without the name that
    /// jobs have there is due now: it goes to its queue.
    ///
    /// # Errors
    /// When a directory cannot be listed. A single job that cannot be moved is logged and left.
    pub fn file_orphans(&self) -> Result<(), SpoolError> {
        self.healthy()?;
        for interface in &self.interfaces() {
            self.queue_orphans("deferred", interface)?;
            self.queue_orphans("work", interface)?;
        }
        self.report_misplaced()?;
        self.file_ended_orphans()
    }

    fn file_ended_orphans(&self) -> Result<(), SpoolError> {
        let settled = self.interfaces().into_iter().map(Place::Bak);
        for place in settled.chain([Place::JobErrors]) {
            let dir = match &place {
                Place::Bak(interface) => Path::new("bak").join(interface.as_str()),
                Place::Deferred { .. }
                | Place::JobErrors
                | Place::Queue(_)
                | Place::Refused
                | Place::Work { .. } => "joberrors".into(),
            };
            for name in self.entries(&dir, |text| text.parse::<JobName>().ok())? {
                let (from, to) = (dir.join(name.to_string()), place.path(&name));
                self.day_dir(&place.dir(&name))?;
                match self.move_file(&from, &to) {
                    Ok(_) => tracing::info!(job = %name, %place, "put into its day"),
                    Err(error) => {
                        tracing::warn!(job = %name, %place, %error, "cannot go to its day");
                    }
                }
            }
        }
        Ok(())
    }

    fn queue_orphans(&self, state: &str, interface: &InterfaceName) -> Result<(), SpoolError> {
        let dir = Path::new(state).join(interface.as_str());
        let orphans = self.entries(&dir, |text| text.parse().ok())?;
        self.queue_these(state, interface, &orphans);
        Ok(())
    }

    fn queue_these(&self, state: &str, interface: &InterfaceName, orphans: &[JobName]) {
        let dir = Path::new(state).join(interface.as_str());
        for name in orphans {
            let from = dir.join(name.to_string());
            let to = Place::Queue(interface.clone().into()).path(name);
            match self.move_file(&from, &to) {
                Ok(_) => tracing::info!(job = %name, %interface, "moved by hand to {state}"),
                Err(error) => self.report_odd(&from, &format!("cannot be queued: {error}")),
            }
        }
    }

    /// Jobs that lie where no interface is said are nobody's: say so, leave them.
    fn report_misplaced(&self) -> Result<(), SpoolError> {
        for dir in ["bak", "deferred", "queue", "results", "joblog", "work"].map(Path::new) {
            for name in self.entries(dir, |text| text.parse::<JobName>().ok())? {
                let why = "a job belongs into the directory of an interface";
                self.report_odd(&dir.join(name.to_string()), why);
            }
        }
        Ok(())
    }

    /// Jobs of interfaces that are no longer configured are nobody's: say so, leave them.
    fn report_strangers(&self) -> Result<(), SpoolError> {
        let mut strangers = Vec::new();
        for state in ["deferred", "queue", "work"].map(Path::new) {
            let each = &mut |name: &OsStr, kind| {
                let known = name.to_str().and_then(|name| name.parse().ok());
                let known = known.is_some_and(|name| self.has_interface(&name));
                if kind == EntryKind::Dir && !known {
                    strangers.push(state.join(name));
                }
            };
            self.fs.list(state, each).map_err(wrap("list", state))?;
        }
        for dir in strangers {
            let mut n_entries = 0;
            let count = &mut |_: &OsStr, _| n_entries += 1;
            self.fs.list(&dir, count).map_err(wrap("list", &dir))?;
            if n_entries > 0 {
                tracing::warn!(
                    dir = %dir.display(), n_entries,
                    "no interface of that name is configured; what lies there is left alone",
                );
            }
        }
        Ok(())
    }

    /// Looks at an adopted command again. `None` while it lives; otherwise its job is requeued
    /// or failed as after a crash, and the place where it went is given.
    ///
    /// # Errors
    /// When the spool cannot be read or written.
    pub fn end_of(&self, adopted: &Adopted) -> Result<Option<Place>, SpoolError> {
        let path = run_file(&adopted.interface, &adopted.name, "lock");
        if self.fs.lock(&path).map_err(wrap("lock", &path))?.is_none() {
            return Ok(None);
        }
        let place = self.after_crash(adopted)?;
        Ok(Some(place))
    }

    /// The output of an adopted command, relative to the spool, and when it was started, as far as
    /// that is known.
    pub fn run_of(&self, adopted: &Adopted) -> (PathBuf, Option<i64>) {
        let Adopted {
            interface, name, ..
        } = adopted;
        let output = run_file(interface, name, "lock");
        (output, self.run_started_ms(interface, name))
    }

    /// When the command of a run was started, of the Unix epoch, as far as that is known.
    pub fn run_started_ms(&self, interface: &InterfaceName, job: &JobName) -> Option<i64> {
        let written_before_it = run_file(interface, job, "run").join("params.json");
        let stat = self.fs.stat(&written_before_it).ok().flatten();
        stat.map(|stat| stat.modified_ms)
    }

    fn empty_tmp(&self, recovery: &mut Recovery) -> Result<(), SpoolError> {
        let tmp = Path::new("tmp");
        let mut found = Vec::new();
        let each = &mut |name: &OsStr, _| found.push(tmp.join(name));
        self.fs.list(tmp, each).map_err(wrap("list", tmp))?;
        for path in &found {
            let kind = self.stat(path)?.map(|stat| stat.kind);
            let removed = match kind {
                None => Ok(()),
                Some(EntryKind::Dir) => self.fs.remove_tree(path),
                Some(EntryKind::File | EntryKind::Other) => self.fs.unlink(path),
            };
            match removed {
                Ok(()) => recovery.removed += 1,
                Err(error) => self.tolerate(wrap("remove", path)(error))?,
            }
        }
        Ok(())
    }

    /// What cannot be repaired is reported and left alone: the other jobs must go on. A crashed
    /// machine and a failed sync are no such thing.
    fn tolerate(&self, error: SpoolError) -> Result<(), SpoolError> {
        self.healthy()?;
        if self.fs.stat(Path::new("tmp")).is_err() {
            return Err(error);
        }
        tracing::error!(%error, "left alone in recovery");
        Ok(())
    }

    fn recover_work(
        &self,
        interface: &InterfaceName,
        recovery: &mut Recovery,
    ) -> Result<(), SpoolError> {
        let work = self.look_at_work(interface)?;
        self.queue_these("work", interface, &work.orphans);
        let is_idle = work.runs.is_empty();
        for (name, attempt) in work.runs {
            let lock_path = run_file(interface, &name, "lock");
            let lock = self.fs.lock(&lock_path).map_err(wrap("lock", &lock_path))?;
            let found = Adopted {
                interface: interface.clone(),
                name,
                attempt,
                cut: Interrupted::Crash,
            };
            if !self.drop_doubles(&found.job())? {
                recovery.removed += 1;
                continue;
            }
            // If its end was kept, the worker knows what that means. After a reboot that may be on
            // the disk, and what the command has written not.
            let kept = run_file(interface, &found.name, "exit");
            let is_kept = self.intact.load(Ordering::Relaxed) && self.stat(&kept)?.is_some();
            if lock.is_none() || is_kept {
                recovery.adopted.push(found);
                continue;
            }
            match self.after_crash(&found) {
                Ok(Place::JobErrors) => recovery.failed.push(found.name),
                Ok(_) => recovery.requeued.push(found.name),
                Err(error) => {
                    self.tolerate(error)?;
                    continue;
                }
            }
            recovery.cut_off.push(found.interface);
        }
        let mut leftovers = match is_idle {
            true => work.owners,
            // Those of jobs that have moved on are gone.
            false => self.look_at_work(interface)?.owners,
        };
        for adopted in &recovery.adopted {
            leftovers.remove(&adopted.name);
        }
        for name in leftovers {
            let lock_path = run_file(interface, &name, "lock");
            // Held: somebody moved the job away by hand while its command goes on.
            if self
                .fs
                .lock(&lock_path)
                .map_err(wrap("lock", &lock_path))?
                .is_some()
            {
                for run in other_runs(interface, &name) {
                    if self.stat(&run)?.is_some() {
                        self.clear(&run);
                    }
                }
                self.clean_run(interface, &name);
                recovery.removed += 1;
            }
        }
        Ok(())
    }

    /// What lies in `work` of an interface, by one listing. What is not understood is reported, once.
    fn look_at_work(&self, interface: &InterfaceName) -> Result<Work, SpoolError> {
        let dir = Path::new("work").join(interface.as_str());
        let (mut work, mut odd) = (Work::default(), Vec::new());
        let each = &mut |name: &OsStr, kind| {
            let Some(text) = name.to_str() else { return };
            let is_file = kind == EntryKind::File;
            if let Some(owner) = run_owner(text) {
                work.owners.insert(owner);
            } else if let Some(run) = work_entry(text).filter(|_| is_file) {
                work.runs.push(run);
            } else if let Some(job) = text.parse().ok().filter(|_| is_file) {
                work.orphans.push(job);
            } else {
                odd.push(dir.join(name));
            }
        };
        self.fs.list(&dir, each).map_err(wrap("list", &dir))?;
        for path in odd {
            self.report_odd(&path, "it is nothing that a run leaves; move it away");
        }
        Ok(work)
    }

    /// A job whose attempt was cut off, with its lock in our hands.
    fn after_crash(&self, found: &Adopted) -> Result<Place, SpoolError> {
        let (interface, name, attempt) = (&found.interface, &found.name, found.attempt);
        let (job, cut) = (found.job(), found.cut);
        let interfaces = self.interfaces.load();
        let at_most_once = (interfaces.get(interface)).is_some_and(|rules| rules.at_most_once);
        let (text, by) = if cut == Interrupted::NotStarted {
            let text = format!("attempt {attempt} could not be started; queued again");
            (text, Transition::Release)
        } else if self.was_changed(found)? {
            let text = format!(
                "attempt {attempt} was cut off, and its command has changed the job's document: it is \
                 no longer what was accepted"
            );
            (text, Transition::Fail)
        } else if at_most_once {
            let text = format!(
                "attempt {attempt} was cut off and its outcome is unknown; \
                 this interface delivers at most once, so it is not run again"
            );
            (text, Transition::Fail)
        } else if attempt >= self.attempts_max(&job) {
            let end = match cut {
                Interrupted::Crash => "crashed",
                Interrupted::NotStarted | Interrupted::Stranded => "failed so",
            };
            let text = format!("attempt {attempt} was cut off {cut}: {end} {attempt} times");
            (text, Transition::Fail)
        } else {
            let text = format!("attempt {attempt} was cut off {cut}; queued again");
            (text, Transition::Release)
        };
        tracing::warn!(job = %name, %interface, attempt, "{text}");
        let act = match (&by, cut) {
            (Transition::Fail, _) => Act::Failed,
            (_, Interrupted::NotStarted) => Act::GivenBack,
            (_, Interrupted::Crash | Interrupted::Stranded) => Act::CutOff,
        };
        let mut ended = self.ended(name, act)?.with_error(Some(&text));
        ended.attempt = Some(attempt);
        ended.started_ms = self.run_of(found).1;
        // All before the move is earlier in the journal, so durable with it.
        let end = Message::new(self.now_ms(), Level::Error, text);
        let log = self.log_without_run(&job, attempt, self.last_words(&job, end));
        if let Err(error) = self.write_log(log) {
            // A full disk must not keep the job from its next attempt.
            self.tolerate(error)?;
        }
        let (moved, ticket) = self.shift(&job, &by, Some(ended))?;
        self.wait(ticket)?;
        self.arrived(name);
        self.clean_run(interface, name);
        Ok(match moved {
            super::Moved::Done(job) => job.place,
            super::Moved::Gone => Place::JobErrors,
        })
    }

    /// What the command said before the end.
    pub(super) fn last_words(&self, job: &Job, end: Message) -> Vec<Message> {
        let mut messages = self.output_so_far(job, end.time_ms);
        messages.push(end);
        messages
    }

    /// What the command of a job in `work` has said, as messages of the moment `time_ms`: its output
    /// is in the lock file.
    pub fn output_so_far(&self, job: &Job, time_ms: i64) -> Vec<Message> {
        let mut messages = Vec::new();
        if let Some(interface) = job.place.interface() {
            let run = run_file(interface, &job.name, "run");
            let output = self.read_small(&run_file(interface, &job.name, "lock"));
            let errors = self.read_small(&run.join(ERRORS));
            for (said, level) in [(output, Level::Info), (errors, Level::Warning)] {
                let text = String::from_utf8_lossy(&said);
                // Of a line that was written over and over the last state counts.
                let last = |line| str::rsplit(line, '\r').next();
                let lines = text.lines().filter_map(last);
                let lines = lines.filter(|line| !line.trim().is_empty());
                let message = |line: &str| {
                    let plain = || {
                        let shown = !self.only_json.load().contains(interface);
                        shown.then(|| Message::new(time_ms, level, line))
                    };
                    Message::structured(time_ms, line).or_else(plain)
                };
                messages.extend(lines.take(MESSAGES_MAX).filter_map(message));
            }
            // How it ended must find room in the log.
            messages.truncate(MESSAGES_MAX - 10);
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use crate::store::fs::{faults::Faults, testing::TestSpool};

    /// One listing each of `work`, `deferred` and `bak`.
    #[test]
    fn an_interface_at_rest_costs_a_start_three_calls() {
        let calls_with = |n_interfaces: u64| {
            let dir = tempfile::tempdir().unwrap();
            let faults = Faults::of(dir.path());
            let open = || {
                let mut spool = TestSpool::at(dir.path());
                for n in 0..n_interfaces {
                    spool = spool.interface(&format!("i{n}"));
                }
                spool.open().unwrap()
            };
            // The first start makes the directories.
            open().recover().unwrap();
            let before = faults.calls();
            open().recover().unwrap();
            faults.calls() - before
        };
        assert_eq!(calls_with(12) - calls_with(2), 3 * 10);
    }
}
