//! The spool: the only code that moves a job file, and the durability protocol around it.
//!
//! Invariant: the directory is the state. Nothing here remembers where a job is; the set of
//! ready names and the move counter are hints that a listing rebuilds.
//!
//! Invariant: what a function of this module reports as done survives a power cut: files are
//! synced before the rename that publishes them, target directories before source directories.
//!
//! Invariant: a failed sync is final. It is never tried again; the spool turns unhealthy, accepts
//! and starts nothing more, and says why. What was acknowledged stays.
//!
//! All calls block. Async stops at the gateway and the worker, which call from blocking threads.
//! States, recovery and the reasons of each step: `ARCHITECTURE.md`.

mod accept;
mod claim;
#[cfg(test)]
mod crash_fs;
#[cfg(test)]
mod crash_tests;
mod fs;
mod idem;
mod ids;
mod lease;
mod lock;
mod look;
mod operate;
mod probe;
mod recover;
mod retention;
mod sync;

pub use accept::{Attributes, Part, Sealed, hex};
pub use claim::{Claim, Published, Settlement};
pub use fs::{EntryKind, Fs, RealFs, Stat};
pub use idem::{IdemKey, IdemRecord};
pub use lock::{LockError, SpoolLock};
pub use look::{Arrival, Scan};
pub use probe::{ProbeError, ProbeOptions, probe};
pub use recover::{Adopted, Recovery};
pub use retention::Retention;

use crate::{
    job::{Illegal, InterfaceName, Job, JobName, Place, Transition},
    joblog::JobLog,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Milliseconds of the Unix epoch, now.
pub type Clock = Box<dyn Fn() -> i64 + Send + Sync>;

/// What the spool has to know of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Attempts before a job fails for good; a crash counts as one.
    pub attempts_max: u32,
    /// After a crash of unknown outcome the job fails instead of running again.
    pub at_most_once: bool,
}

/// The operation that failed, for messages.
pub type Op = &'static str;

#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// ENOSPC or EDQUOT: the same can succeed once there is space.
    #[error("no space left: cannot {op} {}", path.display())]
    Full { op: Op, path: PathBuf },
    #[error(transparent)]
    Illegal(#[from] Illegal),
    #[error("cannot {op} {}: {source}", path.display())]
    Io {
        op: Op,
        path: PathBuf,
        source: io::Error,
    },
    /// What a processor left cannot be published; the job fails for good.
    #[error("{0}")]
    Output(String),
    /// A sync failed earlier: nothing more is accepted or started.
    #[error("the spool is unhealthy since a disk error: {reason}")]
    Unhealthy { reason: String },
}

/// What a move found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The job is there now. The name differs when its own was taken there.
    Done(Job),
    /// Somebody else moved the job first; an ordinary outcome.
    Gone,
}

pub struct Spool<F: Fs = RealFs> {
    fs: F,
    clock: Clock,
    interfaces: BTreeMap<InterfaceName, Rules>,
    ids: Mutex<ids::IdClock>,
    syncs: sync::DirSyncs,
    unhealthy: OnceLock<String>,
    /// Ids of jobs in each queue that are known to be complete.
    ready: Mutex<HashMap<InterfaceName, HashSet<u64>>>,
    /// Counts moves, so that a look that finds nothing knows whether to look again.
    moves: AtomicU64,
    /// Day directories that are known to exist, durably.
    days: Mutex<HashSet<PathBuf>>,
    temps: AtomicU64,
    odd: Mutex<HashSet<PathBuf>>,
}

impl<F: Fs> Spool<F> {
    /// Opens a spool, making the directories that are missing. Takes no lock and repairs nothing:
    /// operators' commands open it beside a running service.
    pub fn open(
        fs: F,
        interfaces: BTreeMap<InterfaceName, Rules>,
        clock: Clock,
    ) -> Result<Self, SpoolError> {
        let spool = Self {
            ids: Mutex::new(ids::IdClock::open(&fs, clock())),
            fs,
            clock,
            interfaces,
            syncs: sync::DirSyncs::default(),
            unhealthy: OnceLock::new(),
            ready: Mutex::default(),
            moves: AtomicU64::new(0),
            days: Mutex::default(),
            temps: AtomicU64::new(0),
            odd: Mutex::default(),
        };
        spool.make_tree()?;
        Ok(spool)
    }

    fn make_tree(&self) -> Result<(), SpoolError> {
        let mut made = false;
        for dir in [
            "bak",
            "deferred",
            "idem",
            "joberrors",
            "joblog",
            "queue",
            "results",
            "schedules",
            "schemas",
            "tmp",
            "work",
            "xslt",
        ] {
            made |= self.make_dir(Path::new(dir))?;
        }
        if made {
            self.sync_dir(Path::new(""))?;
        }
        for state in ["bak", "deferred", "queue", "work"] {
            let state = Path::new(state);
            let mut made = false;
            for interface in self.interfaces.keys() {
                made |= self.make_dir(&state.join(interface.as_str()))?;
            }
            if made {
                self.sync_dir(state)?;
            }
        }
        Ok(())
    }

    fn make_dir(&self, dir: &Path) -> Result<bool, SpoolError> {
        self.fs.make_dir(dir).map_err(wrap("make directory", dir))
    }

    /// Makes an interface's directories anew if somebody took them away.
    pub fn restore_dirs(&self) -> Result<(), SpoolError> {
        self.make_tree()
    }

    pub fn interfaces(&self) -> impl Iterator<Item = &InterfaceName> {
        self.interfaces.keys()
    }

    pub fn has_interface(&self, interface: &InterfaceName) -> bool {
        self.interfaces.contains_key(interface)
    }

    /// Why the spool accepts and starts nothing, if so.
    pub fn unhealthy(&self) -> Option<&str> {
        self.unhealthy.get().map(String::as_str)
    }

    pub fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    pub fn fs(&self) -> &F {
        &self.fs
    }

    fn healthy(&self) -> Result<(), SpoolError> {
        match self.unhealthy.get() {
            None => Ok(()),
            Some(reason) => Err(SpoolError::Unhealthy {
                reason: reason.clone(),
            }),
        }
    }

    fn fail(&self, op: Op, path: &Path, error: io::Error) -> SpoolError {
        let reason = format!("cannot {op} {}: {error}", path.display());
        if self.unhealthy.set(reason).is_ok() {
            tracing::error!(
                path = %path.display(), %error,
                "{op} failed; the spool is unhealthy: nothing more is accepted or started. \
                 Check the disk, then restart",
            );
        }
        wrap(op, path)(error)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), SpoolError> {
        self.healthy()?;
        match self.syncs.sync(dir, || self.fs.sync_dir(dir)) {
            // Whoever shared the sync may have seen it fail for another.
            Ok(()) => self.healthy(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(wrap("sync directory", dir)(error))
            }
            Err(error) => Err(self.fail("sync directory", dir, error)),
        }
    }

    fn sync_file(&self, file: &F::File, path: &Path) -> Result<(), SpoolError> {
        self.healthy()?;
        self.fs
            .sync_file(file)
            .map_err(|error| self.fail("sync", path, error))
    }

    /// A directory that is made on demand, such as a day; durable when this returns.
    fn day_dir(&self, dir: &Path) -> Result<(), SpoolError> {
        if lock(&self.days).contains(dir) && self.stat(dir)?.is_some() {
            return Ok(());
        }
        self.make_dir(dir)?;
        if let Some(parent) = dir.parent() {
            self.sync_dir(parent)?;
        }
        lock(&self.days).insert(dir.to_owned());
        Ok(())
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>, SpoolError> {
        self.fs.stat(path).map_err(wrap("look at", path))
    }

    /// Moves a job as the state machine says, durably: target synced before source. Never
    /// replaces: if the name is taken by another file, a free variant of it is used.
    fn shift(&self, job: &Job, by: &Transition) -> Result<Moved, SpoolError> {
        let Some(to) = job.place.step(by)? else {
            return self.discard(job);
        };
        let from = job.place.path(&job.name);
        let mut name = job.name.clone();
        if matches!(to, Place::Bak(_) | Place::JobErrors) {
            self.day_dir(&to.dir(&name))?;
        }
        if let Place::Queue(interface) = &to {
            self.set_ready(interface, &name);
        }
        for variant in 1.. {
            let target = to.path(&name);
            match self.fs.rename(&from, &target) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // The target's directory may have been taken away, or the job moved.
                    if self.stat(&from)?.is_none() {
                        return Ok(Moved::Gone);
                    }
                    if self.stat(&to.dir(&name))?.is_some() {
                        return Err(wrap("move", &from)(error));
                    }
                    self.restore_dirs()?;
                    lock(&self.days).clear();
                    self.day_dir(&to.dir(&name))?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if self.same_file(&from, &target)? {
                        // A crash between the two directory syncs left both entries.
                        self.fs.unlink(&from).map_err(wrap("unlink", &from))?;
                        break;
                    }
                    if matches!(by, Transition::Claim { .. }) {
                        tracing::error!(job = %job.name, "work has a file of this name already");
                        return Ok(Moved::Gone);
                    }
                    name = job.name.variant(variant);
                    tracing::warn!(
                        job = %job.name, place = %to, kept_as = %name,
                        "the name is taken there; nothing is overwritten",
                    );
                }
                Err(error) => return Err(wrap("move", &from)(error)),
            }
        }
        self.moves.fetch_add(1, Ordering::SeqCst);
        self.sync_dir(&to.dir(&name))?;
        self.sync_dir(&job.place.dir(&job.name))?;
        Ok(Moved::Done(Job { place: to, name }))
    }

    fn discard(&self, job: &Job) -> Result<Moved, SpoolError> {
        let path = job.place.path(&job.name);
        match self.fs.unlink(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Moved::Gone),
            Err(error) => return Err(wrap("remove", &path)(error)),
        }
        self.moves.fetch_add(1, Ordering::SeqCst);
        self.sync_dir(&job.place.dir(&job.name))?;
        Ok(Moved::Done(job.clone()))
    }

    fn same_file(&self, one: &Path, other: &Path) -> Result<bool, SpoolError> {
        let (one, other) = (self.stat(one)?, self.stat(other)?);
        Ok(one.is_some() && one.map(|s| s.inode) == other.map(|s| s.inode))
    }

    /// Sets attributes of a job that lies in the spool already; durable when this returns.
    fn set_attributes(&self, path: &Path, all: &[(&str, String)]) -> Result<(), SpoolError> {
        let file = self.fs.update(path).map_err(wrap("open", path))?;
        for (name, value) in all {
            self.fs
                .set_attribute(&file, name, value)
                .map_err(wrap("set attribute of", path))?;
        }
        self.sync_file(&file, path)
    }

    /// Writes a file under a name in `tmp`, synced, and gives that name.
    fn write_temp(&self, of: &str, bytes: &[u8]) -> Result<PathBuf, SpoolError> {
        let number = self.temps.fetch_add(1, Ordering::Relaxed);
        let path = Path::new("tmp").join(format!("{of}.{}.{number}.part", std::process::id()));
        let written = (|| {
            let file = self.fs.create(&path).map_err(wrap("create", &path))?;
            self.fs.write(&file, bytes).map_err(wrap("write", &path))?;
            self.sync_file(&file, &path)
        })();
        if let Err(error) = written {
            // Best effort: recovery empties `tmp`.
            let _ = self.fs.unlink(&path);
            return Err(error);
        }
        Ok(path)
    }

    /// The path of a job's log.
    fn log_path(job: &JobName) -> PathBuf {
        ["joblog", &job.day(), &format!("{job}.xml")]
            .iter()
            .collect()
    }

    /// Writes a job's log in place of an earlier one, keeping that one's messages.
    pub fn write_log(&self, log: JobLog) -> Result<(), SpoolError> {
        let earlier = self.read_log(&log.job);
        let log = log.after(earlier);
        let path = Self::log_path(&log.job);
        let dir: PathBuf = ["joblog", &log.job.day()].iter().collect();
        self.day_dir(&dir)?;
        let temp = self.write_temp(&format!("{}.log", log.job), log.to_xml().as_bytes())?;
        self.fs
            .replace(&temp, &path)
            .map_err(wrap("publish", &path))?;
        self.sync_dir(&dir)
    }

    /// A job's log, if it has one that can be read.
    pub fn read_log(&self, job: &JobName) -> Option<JobLog> {
        let bytes = self.fs.read(&Self::log_path(job)).ok()?;
        match JobLog::from_xml(&String::from_utf8_lossy(&bytes)) {
            Ok(log) => Some(log),
            Err(error) => {
                tracing::warn!(%job, error, "the joblog cannot be read and is left out");
                None
            }
        }
    }

    fn set_ready(&self, interface: &InterfaceName, job: &JobName) {
        let mut ready = lock(&self.ready);
        match ready.get_mut(interface) {
            Some(ids) => {
                ids.insert(job.id().get());
            }
            None => {
                ready.insert(interface.clone(), HashSet::from([job.id().get()]));
            }
        }
    }

    /// True when the job's file is known to be complete.
    pub fn is_ready(&self, interface: &InterfaceName, job: &JobName) -> bool {
        lock(&self.ready)
            .get(interface)
            .is_some_and(|ids| ids.contains(&job.id().get()))
    }

    /// How many jobs of a queue are known to be complete.
    pub fn ready_jobs(&self, interface: &InterfaceName) -> usize {
        lock(&self.ready).get(interface).map_or(0, HashSet::len)
    }

    /// A job has left a queue, or is said to have.
    pub fn forget_ready(&self, interface: &InterfaceName, job: &JobName) {
        if let Some(ids) = lock(&self.ready).get_mut(interface) {
            ids.remove(&job.id().get());
        }
    }
}

fn wrap(op: Op, path: &Path) -> impl FnOnce(io::Error) -> SpoolError + '_ {
    move |source| {
        let path = path.to_owned();
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        if full.contains(&source.kind()) {
            SpoolError::Full { op, path }
        } else {
            SpoolError::Io { op, path, source }
        }
    }
}

/// The data behind these locks is consistent between statements: a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
