//! Claiming a job, and settling what became of it.
//!
//! The attempt's number is durable before the claim is given out, so that a job which brings the
//! machine down is counted. The lock file `work/<interface>/<job>.lock` is held by flock and
//! handed to the command as its output, so the kernel knows whether the command lives, whatever
//! becomes of us. `work/<interface>/<job>.run` holds what the command leaves: nothing in it is
//! visible to anyone until the job is settled as done.
//!
//! On settling, results, emitted jobs and the joblog are written and synced, then the job moves.

use super::{Attrs, EntryKind, Fs, How, Moved, Naming, Op, RealFs, Spool, SpoolError, text, wrap};
use crate::{
    job::{InterfaceName, Job, JobName, Kind, Place, Reference, Transition},
    joblog::JobLog,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The exclusive right to work on one job. Dropped unsettled, it gives the job back.
#[must_use]
pub struct Claim<F: Fs = RealFs> {
    spool: Arc<Spool<F>>,
    job: Job,
    interface: InterfaceName,
    attempt: u32,
    lock: F::Lock,
    /// Its command has been started: from now on the attempt counts whatever happens.
    begun: bool,
    settled: bool,
    /// What the command has left, as it was checked.
    output: Option<Output>,
    /// What has been published of what the command emitted.
    emitted: Vec<Job>,
}

/// What a command has left in its directories.
#[derive(Debug, Default)]
struct Output {
    /// The names of the result files.
    results: Vec<String>,
    /// The names of the files to be emitted, with their interfaces.
    emitted: Vec<(InterfaceName, String)>,
}

/// What became of a claimed job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    Deferred {
        due_ms: i64,
    },
    Done,
    Failed,
    /// Not finished and not counted as an attempt: we were asked to stop.
    GivenBack,
}

/// What settling a job has brought about.
#[derive(Debug, PartialEq, Eq)]
pub struct Published {
    pub moved: Moved,
    /// Jobs that the processor made, in their queues.
    pub emitted: Vec<Job>,
}

impl<F: Fs> Spool<F> {
    /// Claims a queued job. `None`: somebody else has it, or it is gone.
    pub fn claim(
        self: &Arc<Self>,
        interface: &InterfaceName,
        name: &JobName,
    ) -> Result<Option<Claim<F>>, SpoolError> {
        self.healthy()?;
        let queued = Job {
            place: Place::Queue(interface.clone()),
            name: name.clone(),
        };
        let from = queued.place.path(name);
        let earlier = match self.fs.attribute(&from, "attempts") {
            Ok(value) => value.and_then(|n| n.parse().ok()).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(wrap("read attributes of", &from)(error)),
        };
        let lock_path = run_file(interface, name, "lock");
        let mut locked = self.fs.lock(&lock_path);
        if matches!(&locked, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            // Somebody has taken the directory away.
            self.restore_dirs()?;
            locked = self.fs.lock(&lock_path);
        }
        let locked = locked.map_err(wrap("lock", &lock_path))?;
        let Some(lock) = locked else {
            return Ok(None);
        };
        // Looked at here, so that nothing starts once `.hold` is there.
        if self.is_held(interface)? {
            self.clean_run(interface, name);
            return Ok(None);
        }
        let attempt = u32::saturating_add(earlier, 1);
        let (moved, ticket) = self.shift(&queued, &Transition::Claim { attempt })?;
        match moved {
            Moved::Gone => {
                self.clean_run(interface, name);
                Ok(None)
            }
            Moved::Done(job) => {
                self.forget_ready(interface, name);
                // What an earlier attempt left must not be published with this one's.
                let run = run_file(interface, name, "run");
                self.fs.remove_tree(&run).map_err(wrap("remove", &run))?;
                // Only a claim that is durable counts, and only one that counts may run.
                self.wait(ticket)?;
                Ok(Some(Claim {
                    spool: self.clone(),
                    job,
                    interface: interface.clone(),
                    attempt,
                    lock,
                    begun: false,
                    settled: false,
                    output: None,
                    emitted: Vec::new(),
                }))
            }
        }
    }

    /// Removes what a run leaves besides the job. What cannot be removed is in nobody's way.
    pub(super) fn clean_run(&self, interface: &InterfaceName, name: &JobName) {
        let run = run_file(interface, name, "run");
        if let Err(error) = self.fs.remove_tree(&run) {
            tracing::warn!(path = %run.display(), %error, "cannot be removed");
        }
        let lock = run_file(interface, name, "lock");
        match self.fs.unlink(&lock) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %lock.display(), %error, "cannot be removed");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

impl<F: Fs> Claim<F> {
    pub fn job(&self) -> &JobName {
        &self.job.name
    }

    /// The job at its place in `work`.
    pub fn place(&self) -> &Job {
        &self.job
    }

    pub fn interface(&self) -> &InterfaceName {
        &self.interface
    }

    /// Counted from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The job's file, relative to the spool.
    pub fn path(&self) -> PathBuf {
        self.job.place.path(&self.job.name)
    }

    /// The lock file, to be inherited by the command.
    pub fn lock(&self) -> &F::Lock {
        &self.lock
    }

    /// The directory of this run, relative to the spool.
    pub fn run_dir(&self) -> PathBuf {
        run_file(&self.interface, &self.job.name, "run")
    }

    /// An attribute of the job, `None` when it has none.
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.spool.attribute_of(&self.job, name)
    }

    /// Makes the directories that a command writes to: `results` and `emit/<interface>`.
    pub fn prepare(&self) -> Result<(), SpoolError> {
        let run = self.run_dir();
        let emit = run.join("emit");
        for dir in [&run, &run.join("results"), &emit] {
            self.spool.make_dir(dir)?;
        }
        for interface in self.spool.interfaces.keys() {
            self.spool.make_dir(&emit.join(interface.as_str()))?;
        }
        Ok(())
    }

    /// The command is about to be started.
    pub fn begin(&mut self) {
        self.begun = true;
    }

    /// Checks what the command left before anything of it is published.
    pub fn check_output(&mut self) -> Result<(), SpoolError> {
        let results = self.run_dir().join("results");
        let emit = self.run_dir().join("emit");
        let output = self.look_at_output()?;
        let results = output.results.iter().map(|file| results.join(file));
        let emitted = output.emitted.iter();
        let emitted = emitted.map(|(interface, file)| emit.join(interface.as_str()).join(file));
        for path in results.chain(emitted) {
            if let Err(error) = self.spool.fs.update(&path) {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                return Err(SpoolError::Output(format!(
                    "the processor left {file:?}, which cannot be opened: {error}"
                )));
            }
        }
        self.output = Some(output);
        Ok(())
    }

    /// Settles the job. After an error nothing that the state table does not know has happened:
    /// it may be called again (`SpoolError::Full`), or the next start recovers the job.
    pub fn settle(
        &mut self,
        what: Settlement,
        log: Option<JobLog>,
    ) -> Result<Published, SpoolError> {
        if self.spool.stat(&self.path())?.is_none() {
            // Moved by hand while its command ran: there is nothing to be said of it.
            self.settled = true;
            self.spool.clean_run(&self.interface, &self.job.name);
            return Ok(Published {
                moved: Moved::Gone,
                emitted: Vec::new(),
            });
        }
        if what != Settlement::Done {
            // First, since it may be what fills the disk.
            let run = self.run_dir();
            let removed = self.spool.fs.remove_tree(&run);
            removed.map_err(wrap("remove", &run))?;
        }
        if what == Settlement::Done {
            // If settling fails here, what is left is looked at again.
            let output = match self.output.take() {
                Some(output) => output,
                None => self.look_at_output()?,
            };
            self.sync_output(&output)?;
            self.publish_results(&output)?;
            self.publish_emitted(output)?;
        }
        // All before the move is earlier in the journal, so durable with it.
        if let Some(log) = log {
            let _ = self.spool.write_log(log)?;
        }
        let by = match what {
            Settlement::Deferred { due_ms } => {
                let attempts = [("attempts", self.attempt.to_string())];
                let _ = self.spool.set_attributes(&self.path(), &attempts)?;
                Transition::Defer { due_ms }
            }
            Settlement::Done => Transition::Archive,
            Settlement::Failed => {
                // `joberrors` does not say.
                let interface = [("interface", self.interface.to_string())];
                let _ = self.spool.set_attributes(&self.path(), &interface)?;
                Transition::Fail
            }
            Settlement::GivenBack => Transition::Release,
        };
        let (moved, ticket) = self.spool.shift(&self.job, &by)?;
        self.spool.wait(ticket)?;
        self.spool.arrived(&self.job.name);
        self.settled = true;
        for job in &self.emitted {
            self.spool.arrived(&job.name);
        }
        if let Moved::Done(job) = &moved
            && matches!(what, Settlement::Done | Settlement::Failed)
            && self.attempt > 1
        {
            self.reset_attempts(job);
        }
        self.spool.clean_run(&self.interface, &self.job.name);
        Ok(Published {
            moved,
            emitted: std::mem::take(&mut self.emitted),
        })
    }

    /// A later life of the job counts from one. Not waited for: if it is lost, that life has one
    /// attempt less.
    fn reset_attempts(&self, job: &Job) {
        let path = job.place.path(&job.name);
        let reset = self
            .spool
            .set_attributes(&path, &[("attempts", "0".to_owned())]);
        if let Err(error) = reset {
            tracing::warn!(job = %self.job.name, %error, "the attempt count is kept");
        }
    }

    fn look_at_output(&self) -> Result<Output, SpoolError> {
        Ok(Output {
            results: self.plain_files(&self.run_dir().join("results"), "result")?,
            emitted: self.emitted()?,
        })
    }

    /// The files to be emitted, by interface.
    fn emitted(&self) -> Result<Vec<(InterfaceName, String)>, SpoolError> {
        let emit = self.run_dir().join("emit");
        let mut interfaces = Vec::new();
        let mut odd = None;
        let each = &mut |name: &std::ffi::OsStr, kind: EntryKind| {
            let interface = name.to_str().and_then(|n| n.parse::<InterfaceName>().ok());
            match interface {
                Some(i) if kind == EntryKind::Dir && self.spool.has_interface(&i) => {
                    interfaces.push(i);
                }
                Some(_) | None => odd = Some(name.to_string_lossy().into_owned()),
            }
        };
        self.spool
            .fs
            .list(&emit, each)
            .map_err(wrap("list", &emit))?;
        if let Some(odd) = odd {
            return Err(SpoolError::Output(format!(
                "the processor emitted to {odd:?}, which is no interface"
            )));
        }
        interfaces.sort();
        let mut found = Vec::new();
        for interface in interfaces {
            let files = self.plain_files(&emit.join(interface.as_str()), "emitted job")?;
            found.extend(files.into_iter().map(|file| (interface.clone(), file)));
        }
        Ok(found)
    }

    fn plain_files(&self, dir: &Path, what: &str) -> Result<Vec<String>, SpoolError> {
        let mut files = Vec::new();
        let mut odd = None;
        let each = &mut |name: &std::ffi::OsStr, kind: EntryKind| match name.to_str() {
            Some(text) if kind == EntryKind::File && !text.starts_with('.') => {
                files.push(text.to_owned());
            }
            Some(_) | None => odd = Some(name.to_string_lossy().into_owned()),
        };
        self.spool.fs.list(dir, each).map_err(wrap("list", dir))?;
        if let Some(odd) = odd {
            return Err(SpoolError::Output(format!(
                "{what} {odd:?} is not a plain file with a name that does not start with a dot"
            )));
        }
        files.sort();
        Ok(files)
    }

    /// Makes durable what the command left and the journal does not take whole.
    fn sync_output(&self, output: &Output) -> Result<(), SpoolError> {
        let emit = self.run_dir().join("emit");
        let mut large = !output.results.is_empty();
        for (interface, file) in &output.emitted {
            let path = emit.join(interface.as_str()).join(file);
            large |= self.spool.is_large(&path)?;
        }
        if large { self.spool.sync_all() } else { Ok(()) }
    }

    fn publish_results(&self, output: &Output) -> Result<(), SpoolError> {
        if output.results.is_empty() {
            return Ok(());
        }
        let spool = &self.spool;
        let from = self.run_dir().join("results");
        let day: PathBuf = ["results", &self.job.name.day()].iter().collect();
        spool.day_dir(&day)?;
        let to = day.join(self.job.name.to_string());
        // An earlier run of the same job may have left its results; this run's replace them.
        spool.fs.remove_tree(&to).map_err(wrap("remove", &to))?;
        // Durable with the job's own move.
        let _ = spool.move_file(&from, &to).map_err(wrap("publish", &to))?;
        Ok(())
    }

    fn publish_emitted(&mut self, output: Output) -> Result<(), SpoolError> {
        let spool = self.spool.clone();
        let emit = self.run_dir().join("emit");
        let submitter = match output.emitted.is_empty() {
            true => String::new(),
            false => self.attribute("submitter").unwrap_or_default(),
        };
        for (interface, file) in output.emitted {
            let from = emit.join(interface.as_str()).join(&file);
            let attributes = [
                ("dialect", "emit".to_owned()),
                ("interface", interface.to_string()),
                ("note", format!("emitted by {}", self.job.name)),
                ("parent", self.job.name.to_string()),
                ("submitter", submitter.clone()),
            ];
            let attributes: Attrs = attributes.map(|(n, v)| (n.to_owned(), v)).into();
            let opened = spool.fs.update(&from).map_err(wrap("open", &from))?;
            spool.set_all(&opened, &from, &attributes)?;
            let reference = Reference::of_dropped_file(&file);
            let name = JobName::new(spool.next_id(), reference, Kind::Xml);
            let place = Place::Queue(interface.clone());
            let to = place.path(&name);
            // Out of the command's directory, so that settling again does not emit it again.
            let part = Path::new("tmp").join(format!("{name}.part"));
            let path = text(&to);
            let ops = if spool.is_large(&from)? {
                vec![
                    Op::moved(&from, &part),
                    Op::moved(&part, &to),
                    Op::Set { path, attributes },
                ]
            } else {
                let bytes = spool.fs.read(&from).map_err(wrap("read", &from))?;
                vec![Op::Put {
                    path,
                    bytes,
                    attributes,
                }]
            };
            let taken = spool.fs.rename(&from, &part);
            taken.map_err(wrap("take", &from))?;
            spool.set_arriving(&interface, &name);
            let naming = Naming {
                from: part,
                to,
                how: How::New,
            };
            // There, and durable, with the job's own move.
            let _ = spool.publish(&ops, vec![naming])?;
            self.emitted.push(Job { place, name });
        }
        Ok(())
    }
}

impl<F: Fs> Drop for Claim<F> {
    fn drop(&mut self) {
        if self.settled || self.spool.unhealthy().is_some() {
            return;
        }
        if self.begun {
            // Its command ran: giving it back would run it again uncounted.
            tracing::error!(job = %self.job.name, "the job stays in work until restart");
            return;
        }
        // If this fails too, recovery does it.
        if let Err(error) = self.settle(Settlement::GivenBack, None) {
            tracing::error!(job = %self.job.name, %error, "the job stays in work until restart");
        }
    }
}

/// `work/<interface>/<job>.<what>`
pub(super) fn run_file(interface: &InterfaceName, name: &JobName, what: &str) -> PathBuf {
    ["work", interface.as_str(), &format!("{name}.{what}")]
        .iter()
        .collect()
}
