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
//! All calls block. Async stops at the service and the worker, which call from blocking threads.
//! States and recovery: `ARCHITECTURE.md`. The reasons of each step: `docs/internals.md`.

mod accept;
mod address;
mod admin;
mod audit;
mod cancel;
mod check;
mod claim;
#[cfg(test)]
mod crash_fs;
#[cfg(test)]
mod crash_tests;
mod dir;
mod document;
mod doubles;
mod drops;
mod engine;
mod events;
mod fault_injection;
#[cfg(test)]
pub(crate) mod faults;
mod file_ops;
mod forget;
mod format;
mod health;
mod idem;
mod ids;
mod journal;
mod key;
mod layout;
mod lease;
mod listings;
mod lock;
#[cfg(test)]
mod model_tests;
mod mount;
mod options;
mod probe;
mod query;
mod records;
mod recover;
mod results;
mod retention;
#[cfg(test)]
mod schedule_tests;
mod schedules;
mod spots;
mod temporary;
#[cfg(test)]
pub(crate) mod testing;
mod tree;

pub use accept::{Part, SealedPart};
pub use address::Astray;
pub use audit::{AuditFiles, BadRecord};
pub use claim::{Claim, Published};
pub use drops::{Arrival, DropRules, Dropped, QUIET, REST, Scan};
pub use engine::FileStore;
pub use fault_injection::FaultInjection;
pub use file_ops::{EntryKind, Fs, RealFs, Stat};
pub use format::FormatError;
pub use health::Health;
pub use journal::{Durable, Expected, Replayed, SEGMENT_BYTES_MIN, Ticket};
pub use key::{KeyError, key};
pub use layout::{PlacePath, QueuePath, deferred_entry, work_entry};
pub use lease::{Writers, leases_on_any_file};
pub use lock::{InForce, LockError, Owner, SpoolLock};
pub use mount::MountId;
pub use probe::ProbeError;
pub use records::{Accepted, Act, Ended, fingerprint};
pub use recover::{Adopted, Recovery};
pub use retention::Retention;
pub use temporary::TemporaryNames;

use super::{Came, Key, Keyed, events::Wants};
use crate::{
    domain::joblog::{JobLog, Level, Message},
    domain::{Ids, Illegal, InterfaceName, Job, JobId, JobName, Place, Queue, Transition},
    metrics,
};
use arc_swap::ArcSwap;
use journal::{How, Op, PendingRename, WhenFull};
use parking_lot::Mutex;
use records::Records;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ffi::OsStr,
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Files up to this size are in the journal whole; larger ones are synced, and it has their move.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;
/// The longest joblog that is read: more than all its messages can have.
const LOG_BYTES_MAX: u64 = 256 << 20;

/// Milliseconds of the Unix epoch, now.
pub type Clock = Box<dyn Fn() -> i64 + Send + Sync>;

/// Finds the value of an attribute of the root element in the beginning of a document.
pub type ReadAttribute = fn(&[u8], &str) -> Option<String>;

/// What the spool has to know of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Attempts before a job fails for good; a crash counts as one.
    pub attempts_max: u32,
    /// After a crash of unknown outcome the job fails instead of running again.
    pub at_most_once: bool,
    /// How files that are dropped into its queue are taken in.
    pub drops: DropRules,
    /// The attribute that is kept of documents that come otherwise than by an upload: the jobs keep their
    /// order by it.
    pub order_attribute: Option<Box<str>>,
}

/// The operation that failed, for messages.
pub type Doing = &'static str;

/// Why a call of the spool failed, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// ENOSPC or EDQUOT: the same can succeed once there is space.
    #[error("no space left: cannot {op} {}", path.display())]
    Full { op: Doing, path: PathBuf },
    /// No such move begins where the job is: a mistake of the caller, which trying again does not mend.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// The system refused a call. The same can be tried again, unless the spool has become unhealthy
    /// by it, see [`Spool::unhealthy`].
    #[error("cannot {op} {}: {source}", path.display())]
    Io {
        op: Doing,
        path: PathBuf,
        source: io::Error,
    },
    /// What a processor left cannot be published; the job fails for good.
    #[error("{0}")]
    Output(String),
    /// A sync failed earlier: nothing more is accepted or started until a restart has looked at what
    /// the disk holds.
    #[error("the spool is unhealthy since a disk error: {reason}")]
    Unhealthy { reason: String },
}

/// A job among many: its id, and a hash of all of its name, since others can bring files whose names
/// differ in the rest. Of one size, however long the name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct JobKey {
    id: u64,
    name: u64,
}

/// What a move found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The job is there now. The name differs when its own was taken there.
    Done(Job),
    /// Another process or thread moved the job first; an ordinary outcome.
    Gone,
}

/// Why a log that is there cannot be used.
enum Unread {
    /// It may be read another time.
    Now(SpoolError),
    /// It is no log, or not for us to read.
    Ever(String),
}

pub struct Spool<F: Fs = RealFs> {
    fs: Arc<F>,
    clock: Clock,
    interfaces: ArcSwap<BTreeMap<InterfaceName, Rules>>,
    ids: Arc<Mutex<Ids>>,
    /// The last id that earlier runs are known to have given out.
    earlier_id: AtomicU64,
    /// Set by the spool's owner. Without it, what has to be durable costs a sync of everything.
    journal: OnceLock<Arc<journal::Journal<F>>>,
    records: Arc<Records<F>>,
    /// The end of the audit's chain, once it is known.
    audit: Mutex<Option<audit::AuditEnd>>,
    health: Health,
    /// What an earlier run did to files is in them: only its process has ended.
    intact: AtomicBool,
    injected: FaultInjection,
    /// Jobs in each queue that are known to be complete; no queue without one.
    ready: Mutex<HashMap<Queue, HashSet<JobKey>>>,
    /// Those that are on their way there.
    arriving: Mutex<HashSet<JobKey>>,
    /// Behind [`JobKey`]; those who choose the names of jobs cannot know it.
    hasher: RandomState,
    /// Counts moves, so that a look that finds nothing knows whether to look again.
    moves: Arc<AtomicU64>,
    listings: Mutex<listings::Listings>,
    /// Day directories that are known to exist, durably.
    days: Mutex<HashSet<PathBuf>>,
    temps: AtomicU64,
    drops: drops::Drops,
    /// Interfaces of which only lines that are JSON are for the joblog.
    only_json: ArcSwap<BTreeSet<InterfaceName>>,
    read_attribute: Option<ReadAttribute>,
    retention: ArcSwap<Retention>,
    metrics: metrics::Journal,
    /// Also a filesystem that loses data by its nature is taken.
    accepts_risk: bool,
    /// For whom events are recorded.
    wants: ArcSwap<Vec<Wants>>,
    /// Which names users have; until it is set, every name.
    users: OnceLock<address::IsUser>,
}

impl<F: Fs> Spool<F> {
    /// Opens a spool, making the directories that are missing. Takes no lock and repairs nothing.
    ///
    /// # Errors
    /// When a directory cannot be made or the sync after that fails.
    pub fn open(
        fs: F,
        interfaces: BTreeMap<InterfaceName, Rules>,
        clock: Clock,
    ) -> Result<Self, SpoolError> {
        let spool = Self::existing(fs, interfaces, clock);
        spool.restore_dirs()?;
        Ok(spool)
    }

    /// A spool as it is, to look at: nothing is made, neither now nor by any call that only reads.
    pub fn existing(fs: F, interfaces: BTreeMap<InterfaceName, Rules>, clock: Clock) -> Self {
        let now_ms = clock();
        Self {
            ids: Arc::new(Mutex::new(Ids::above(now_ms - 1))),
            earlier_id: AtomicU64::new(0),
            fs: Arc::new(fs),
            clock,
            interfaces: ArcSwap::from_pointee(interfaces),
            journal: OnceLock::new(),
            records: Arc::new(Records::new(now_ms)),
            audit: Mutex::default(),
            health: Health::default(),
            intact: AtomicBool::new(false),
            injected: FaultInjection::chosen(),
            ready: Mutex::default(),
            arriving: Mutex::default(),
            hasher: RandomState::default(),
            moves: Arc::default(),
            listings: Mutex::default(),
            days: Mutex::default(),
            temps: AtomicU64::new(0),
            drops: drops::Drops::default(),
            only_json: ArcSwap::default(),
            read_attribute: None,
            retention: ArcSwap::default(),
            metrics: metrics::Journal::default(),
            accepts_risk: false,
            wants: ArcSwap::default(),
            users: OnceLock::new(),
        }
    }

    /// Of what commands of these interfaces have said when a run was cut off, only lines that are
    /// JSON are for the joblog.
    #[must_use]
    pub fn with_only_json(self, interfaces: BTreeSet<InterfaceName>) -> Self {
        self.only_json.store(Arc::new(interfaces));
        self
    }

    /// By this the attributes of documents are found that their jobs keep their order by.
    #[must_use]
    pub fn with_attributes(mut self, read: ReadAttribute) -> Self {
        self.read_attribute = Some(read);
        self
    }

    /// What goes when: idempotency keys count for so long, and what is gone since is not missed.
    #[must_use]
    pub fn with_retention(self, retention: Retention) -> Self {
        self.retention.store(Arc::new(retention));
        self
    }

    /// What its journal does is counted there.
    #[must_use]
    pub fn with_metrics(mut self, metrics: metrics::Journal) -> Self {
        self.metrics = metrics;
        self
    }

    /// On a filesystem that cannot keep the promise it is served all the same (`[spool] accept_risk`).
    #[must_use]
    pub fn with_accepted_risk(mut self, accepts_risk: bool) -> Self {
        self.accepts_risk = accepts_risk;
        self
    }

    /// With a deliberate mistake, for tests that must notice it.
    #[cfg(test)]
    fn with_injected(mut self, injected: FaultInjection) -> Self {
        self.injected = injected;
        self
    }

    /// Makes the directories that are missing. What is in the place of one with jobs is left, with
    /// what would be behind it, and the others are made.
    fn make_tree(&self, interfaces: &[InterfaceName]) -> Result<(), SpoolError> {
        let mut made = false;
        for dir in [
            "audit",
            "events",
            "idem",
            "joberrors",
            "joblog",
            "records",
            "results",
            "schedules",
            "schemas",
            "tmp",
            "xslt",
        ] {
            made |= self.make_dir(Path::new(dir))?;
        }
        let mut failed = None;
        let mut make = |dir: &Path| {
            let is_new = self.make_real_dir(dir);
            made |= matches!(is_new, Ok(true));
            is_new.map_err(|error| failed.get_or_insert(error)).is_ok()
        };
        for state in ["bak", "deferred", "queue", "work"].map(Path::new) {
            if make(state) {
                // What cannot be listed is looked at one by one, which tells why.
                let there = self.dirs_in(state).unwrap_or_default();
                let is_there = |interface: &InterfaceName| there.contains(interface.as_str());
                for interface in interfaces.iter().filter(|interface| !is_there(interface)) {
                    make(&state.join(interface.as_str()));
                }
            }
        }
        if made {
            self.sync_all()?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// The names of the directories in one, in no order.
    fn dirs_in(&self, dir: &Path) -> Result<HashSet<String>, SpoolError> {
        let mut dirs = HashSet::new();
        let each = &mut |name: &OsStr, kind| {
            if kind == EntryKind::Dir {
                dirs.extend(name.to_str().map(str::to_owned));
            }
        };
        self.fs.list(dir, each).map_err(wrap("list", dir))?;
        Ok(dirs)
    }

    /// A directory in which jobs are: what is behind a link is not the spool's.
    fn make_real_dir(&self, dir: &Path) -> Result<bool, SpoolError> {
        if self.make_dir(dir)? {
            return Ok(true);
        }
        match self.stat(dir)? {
            Some(stat) if stat.kind == EntryKind::Dir => Ok(false),
            Some(_) | None => Err(wrap("use", dir)(not_a_dir())),
        }
    }

    fn make_dir(&self, dir: &Path) -> Result<bool, SpoolError> {
        self.fs.make_dir(dir).map_err(wrap("make directory", dir))
    }

    /// Makes the directories of the interfaces again if they were removed.
    ///
    /// # Errors
    /// When a directory cannot be made, or there is something else in its place; the others are
    /// made all the same. It can be called again once that is mended. After a failed sync the spool
    /// is unhealthy.
    pub fn restore_dirs(&self) -> Result<(), SpoolError> {
        self.make_tree(&self.interfaces())
    }

    pub fn interfaces(&self) -> Vec<InterfaceName> {
        self.interfaces.load().keys().cloned().collect()
    }

    /// Makes what other interfaces need, before [`Spool::take_interfaces`]. What was made stays if they are not taken.
    ///
    /// # Errors
    /// As those of [`Spool::restore_dirs`].
    pub fn make_room_for(&self, interfaces: &[InterfaceName]) -> Result<(), SpoolError> {
        self.make_tree(interfaces)
    }

    /// From now on has these interfaces, with their rules. What is under way goes on by those before; the files of
    /// one that is gone stay where they are.
    pub fn take_interfaces(&self, interfaces: BTreeMap<InterfaceName, Rules>) {
        self.interfaces.store(Arc::new(interfaces));
        self.forget_scans();
    }

    /// From now on keeps what is gone for so long, and knows of which interfaces only JSON is shown, as
    /// [`Spool::with_retention`] and [`Spool::with_only_json`].
    pub fn take_rules(&self, retention: Retention, only_json: BTreeSet<InterfaceName>) {
        self.retention.store(Arc::new(retention));
        self.only_json.store(Arc::new(only_json));
    }

    pub fn has_interface(&self, interface: &InterfaceName) -> bool {
        self.interfaces.load().contains_key(interface)
    }

    /// Why the spool accepts and starts nothing, if so.
    pub fn unhealthy(&self) -> Option<&str> {
        self.health.reason()
    }

    /// Why nothing can be accepted at the moment, if so. Of a spool that is only looked at, what is not there is made
    /// at the next start.
    pub fn unready(&self) -> Option<String> {
        if let Some(reason) = self.unhealthy() {
            return Some(reason.to_owned());
        }
        self.journal.get()?;
        match self.stat(Path::new("tmp")) {
            Ok(Some(stat)) if stat.kind == EntryKind::Dir => None,
            Ok(_) => Some("the spool's directory is not there".to_owned()),
            Err(error) => Some(error.to_string()),
        }
    }

    pub fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    pub fn fs(&self) -> &F {
        &self.fs
    }

    fn healthy(&self) -> Result<(), SpoolError> {
        self.health.check()
    }

    fn sync_all(&self) -> Result<(), SpoolError> {
        self.healthy()?;
        self.fs
            .sync_all()
            .map_err(|error| self.health.fail("sync", Path::new("the spool"), &error))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), SpoolError> {
        self.healthy()?;
        match self.fs.sync_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.health.fail("sync directory", dir, &error))
            }
            other => other.map_err(wrap("sync directory", dir)),
        }
    }

    fn sync_file(&self, file: &F::File, path: &Path) -> Result<(), SpoolError> {
        self.healthy()?;
        self.fs
            .sync_file(file)
            .map_err(|error| self.health.fail("sync", path, &error))
    }

    /// A directory that is made on demand, such as a day. A replay makes it again.
    fn day_dir(&self, dir: &Path) -> Result<(), SpoolError> {
        if self.days.lock().contains(dir) {
            return Ok(());
        }
        if let Err(error) = self.fs.make_dir(dir) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(wrap("make directory", dir)(error));
            }
            // It lies within a day, or its parent was removed.
            self.restore_dirs()?;
            if let Some(parent) = dir.parent() {
                self.make_dir(parent)?;
            }
            self.make_dir(dir)?;
        }
        self.days.lock().insert(dir.to_owned());
        Ok(())
    }

    /// True when the journal does not take the file whole.
    fn is_large(&self, path: &Path) -> Result<bool, SpoolError> {
        let stat = self.stat(path)?;
        Ok(stat.is_some_and(|stat| stat.bytes > INLINE_BYTES_MAX as u64))
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>, SpoolError> {
        self.fs.stat(path).map_err(wrap("look at", path))
    }

    /// Moves a job as the state machine says, and has the day's record say why if there is
    /// something to be said. Never replaces: if the name is taken by another file, a free variant
    /// of it is used. Durable with the ticket.
    fn shift(
        &self,
        job: &Job,
        by: &Transition,
        ended: Option<Ended>,
    ) -> Result<(Moved, Ticket), SpoolError> {
        let told = ended.map_or_else(Vec::new, |ended| self.told(job, ended));
        let Some(to) = job.place.step(by)? else {
            return self.discard(job, told);
        };
        let from = job.place.path(&job.name);
        let mut name = job.name.clone();
        if matches!(to, Place::Bak(_) | Place::JobErrors | Place::Refused) {
            self.day_dir(&to.dir(&name))?;
        }
        let from_work = matches!(job.place, Place::Work { .. });
        if let Place::Queue(queue) = &to {
            self.make_queue(queue)?;
            match from_work {
                true => self.set_arriving(queue, &name),
                false => self.set_ready(queue, &name),
            }
        }
        let settles = from_work || matches!(by, Transition::Archive);
        for variant in 1.. {
            let target = to.path(&name);
            let ops = self.ops_of(by, &from, &target, &told);
            let moved = if settles {
                self.settle_at(&ops, &from, &target, &name)
            } else {
                let renamed = self.record(&ops, || self.fs.rename(&from, &target));
                renamed.map(|((), ticket)| {
                    self.moves.fetch_add(1, Ordering::SeqCst);
                    ticket
                })
            };
            match moved {
                Ok(ticket) => return Ok((Moved::Done(Job { place: to, name }), ticket)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // The target's directory may have been taken away, or the job moved.
                    if self.stat(&from)?.is_none() {
                        break;
                    }
                    if self.stat(&to.dir(&name))?.is_some() {
                        return Err(wrap("move", &from)(error));
                    }
                    self.restore_dirs()?;
                    self.days.lock().clear();
                    self.day_dir(&to.dir(&name))?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if self.same_file(&from, &target)? {
                        // Linked there by hand.
                        let ticket = self.unlink_double(&from, &target)?;
                        return Ok((Moved::Done(Job { place: to, name }), ticket));
                    }
                    if matches!(by, Transition::Claim { .. }) {
                        return Err(wrap("move over another file", &target)(error));
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
        Ok((Moved::Gone, Ticket::NONE))
    }

    /// What the day's record is told of a job's end, with the user it was for and where it was if no line says it, and
    /// the event that reports it.
    fn told(&self, job: &Job, mut ended: Ended) -> Vec<Op> {
        ended.was_in = job.place.interface().cloned();
        if ended.interface.is_none() {
            ended.interface = self.interface_to_tell(job);
        }
        if ended.addressee.is_none() {
            ended.addressee = self.addressee_to_tell(job);
        }
        let event = self.event_of(&ended, job.place.interface(), || self.known_of(job));
        [Op::Ended(Box::new(ended))]
            .into_iter()
            .chain(event)
            .collect()
    }

    fn ops_of(&self, by: &Transition, from: &Path, to: &Path, told: &[Op]) -> Vec<Op> {
        if self.injected.forgets(by) {
            return Vec::new();
        }
        let moved = Op::moved(from, to);
        [moved].into_iter().chain(told.iter().cloned()).collect()
    }

    /// Records that a job is settled; it is there once that is durable, with all that is before it
    /// in the journal.
    fn settle_at(&self, ops: &[Op], from: &Path, to: &Path, job: &JobName) -> io::Result<Ticket> {
        if self.fs.stat(from)?.is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.fs.stat(to)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let pending = PendingRename {
            from: from.to_owned(),
            to: to.to_owned(),
            how: How::Moved,
            content: None,
            step: Some(job.id()),
        };
        self.publish(ops, vec![pending]).map_err(io::Error::other)
    }

    /// Renames a file and records it.
    fn move_file(&self, from: &Path, to: &Path) -> io::Result<Ticket> {
        let moved = self.record(&[Op::moved(from, to)], || self.fs.rename(from, to));
        moved.map(|((), ticket)| ticket)
    }

    /// Removes the one of two names of a file that it is not to have.
    fn unlink_double(&self, from: &Path, kept: &Path) -> Result<Ticket, SpoolError> {
        let unlinked = self.record(&[Op::moved(from, kept)], || self.fs.unlink(from));
        let ((), ticket) = unlinked.map_err(wrap("unlink", from))?;
        Ok(ticket)
    }

    fn discard(&self, job: &Job, told: Vec<Op>) -> Result<(Moved, Ticket), SpoolError> {
        let path = job.place.path(&job.name);
        let op = Op::Remove { path: text(&path) };
        let ops: Vec<Op> = [op].into_iter().chain(told).collect();
        match self.record(&ops, || self.fs.unlink(&path)) {
            Ok(((), ticket)) => {
                self.moves.fetch_add(1, Ordering::SeqCst);
                Ok((Moved::Done(job.clone()), ticket))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok((Moved::Gone, Ticket::NONE))
            }
            Err(error) => Err(wrap("remove", &path)(error)),
        }
    }

    fn same_file(&self, one: &Path, other: &Path) -> Result<bool, SpoolError> {
        let (one, other) = (self.stat(one)?, self.stat(other)?);
        Ok(one.is_some() && one.map(|s| s.inode) == other.map(|s| s.inode))
    }

    /// Writes a file under a name in `tmp`, and gives that name. Not synced.
    fn write_temp(&self, of: &str, bytes: &[u8]) -> Result<PathBuf, SpoolError> {
        let number = self.temps.fetch_add(1, Ordering::Relaxed);
        let path = Path::new("tmp").join(format!("{of}.{}.{number}.part", std::process::id()));
        let written = (|| {
            let file = self.fs.create(&path).map_err(wrap("create", &path))?;
            self.fs.write(&file, bytes).map_err(wrap("write", &path))
        })();
        if let Err(error) = written {
            // Best effort: recovery empties `tmp`.
            let _ = self.fs.unlink(&path);
            return Err(error);
        }
        Ok(path)
    }

    /// Writes a file that is no job in place of an earlier one. It is there, and durable, with the
    /// ticket.
    fn put(&self, of: &str, path: &Path, bytes: &[u8]) -> Result<Ticket, SpoolError> {
        self.put_for(None, of, path, bytes)
    }

    /// Writes a file under `tmp`, to be recorded and named together with others.
    fn replacement(
        &self,
        of: &str,
        to: PathBuf,
        bytes: Vec<u8>,
    ) -> Result<(Op, PendingRename), SpoolError> {
        let from = self.write_temp(of, &bytes)?;
        let op = Op::Put {
            path: text(&to),
            bytes: bytes.into(),
        };
        let pending = PendingRename {
            from,
            to,
            how: How::Replaced,
            content: None,
            step: None,
        };
        Ok((op, pending))
    }

    /// The same as [`Spool::put`], as part of the step of a job.
    fn put_for(
        &self,
        step: Option<JobId>,
        of: &str,
        path: &Path,
        bytes: &[u8],
    ) -> Result<Ticket, SpoolError> {
        let from = self.write_temp(of, bytes)?;
        let pending = PendingRename {
            from,
            to: path.to_owned(),
            how: How::Replaced,
            content: None,
            step,
        };
        if bytes.len() > INLINE_BYTES_MAX {
            self.sync_all()?;
            let ticket = self.publish(&[], vec![pending])?;
            self.wait(ticket)?;
            self.sync_all()?;
            return Ok(Ticket::NONE);
        }
        let op = Op::Put {
            path: text(path),
            bytes: bytes.to_owned().into(),
        };
        self.publish(&[op], vec![pending])
    }

    /// The path of a job's log.
    fn log_path(job: &JobName) -> PathBuf {
        ["joblog", &job.day(), &format!("{job}.xml")]
            .iter()
            .collect()
    }

    /// Writes a job's log in place of an earlier one, keeping that one's messages, with what the record has noted since.
    /// Durable with the ticket, and part of the job's step.
    ///
    /// # Errors
    ///
    /// Also when there is an earlier log, or a record of its day, that cannot be read now: the log is never written
    /// over. One that is no log, or not for us to read, is kept beside the new one.
    pub fn write_log(&self, log: JobLog) -> Result<Ticket, SpoolError> {
        let path = Self::log_path(&log.job);
        let noted = self.noted_of(&log.job)?;
        let (earlier, kept) = match self.logged(&log.job) {
            Ok(earlier) => (earlier, None),
            Err(Unread::Now(error)) => return Err(error),
            Err(Unread::Ever(why)) => (None, Some(self.keep_aside(&log.job, &path, &why)?)),
        };
        let mut log = log.after(earlier, noted);
        if let Some(kept) = kept {
            let kept = Message::new(self.now_ms(), Level::Warning, kept);
            log.messages.insert(0, kept);
        }
        let dir: PathBuf = ["joblog", &log.job.day()].iter().collect();
        self.day_dir(&dir)?;
        let (step, of) = (Some(log.job.id()), format!("{}.log", log.job));
        self.put_for(step, &of, &path, log.to_xml().as_bytes())
    }

    /// Moves a log out of the way that cannot be read; gives what is to be said of it.
    fn keep_aside(&self, job: &JobName, path: &Path, why: &str) -> Result<String, SpoolError> {
        for n in 1.. {
            let aside = path.with_extension(format!("xml.unread{n}"));
            match self.move_file(path, &aside) {
                // Durable with the log that takes its place.
                Ok(_) => {
                    tracing::warn!(%job, kept = %aside.display(), "the joblog cannot be read: {why}");
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(wrap("keep", path)(error)),
            }
        }
        Ok("an earlier log could not be read; operators find it beside this one".to_owned())
    }

    /// Has a job a log?
    ///
    /// # Errors
    /// When that cannot be looked at.
    fn has_log(&self, job: &JobName) -> Result<bool, SpoolError> {
        Ok(self.stat(&Self::log_path(job))?.is_some())
    }

    /// A job's log as it is to be shown, if it has one: with what the record has noted since it was written.
    pub fn shown_log(&self, job: &JobName) -> Option<JobLog> {
        // Before the log: a run that ends meanwhile writes it there.
        let noted = self.noted_of(job).unwrap_or_else(|error| {
            tracing::warn!(%job, %error, "what was noted is left out of the joblog");
            Vec::new()
        });
        Some(self.read_log(job)?.noted(noted))
    }

    /// A job's log as it was written last, if it has one that can be read.
    pub fn read_log(&self, job: &JobName) -> Option<JobLog> {
        match self.logged(job) {
            Ok(log) => log,
            Err(Unread::Now(error)) => {
                tracing::warn!(%job, %error, "the joblog is left out");
                None
            }
            Err(Unread::Ever(why)) => {
                tracing::warn!(%job, why, "the joblog is left out");
                None
            }
        }
    }

    fn logged(&self, job: &JobName) -> Result<Option<JobLog>, Unread> {
        let path = Self::log_path(job);
        // What no wait makes readable: it is not ours, no plain file, or huge.
        let lasting = [
            io::ErrorKind::FileTooLarge,
            io::ErrorKind::InvalidInput,
            io::ErrorKind::PermissionDenied,
        ];
        let bytes = match self.fs.read_small(&path, LOG_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) => {
                return if error.kind() == io::ErrorKind::NotFound {
                    Ok(None)
                } else if lasting.contains(&error.kind()) {
                    Err(Unread::Ever(error.to_string()))
                } else {
                    Err(Unread::Now(wrap("read", &path)(error)))
                };
            }
        };
        let parsed = JobLog::from_xml(&String::from_utf8_lossy(&bytes));
        parsed
            .map(Some)
            .map_err(|why| Unread::Ever(why.to_string()))
    }

    fn job_key(&self, job: &JobName) -> JobKey {
        JobKey {
            id: job.id().get(),
            name: self.hasher.hash_one(job),
        }
    }

    fn set_ready(&self, queue: &Queue, job: &JobName) {
        let mut ready = self.ready.lock();
        match ready.get_mut(queue) {
            Some(jobs) => {
                jobs.insert(self.job_key(job));
            }
            None => {
                ready.insert(queue.clone(), HashSet::from([self.job_key(job)]));
            }
        }
    }

    /// The job is ready once it is visible; until then a scan that misses it does not forget it.
    fn set_arriving(&self, queue: &Queue, job: &JobName) {
        self.arriving.lock().insert(self.job_key(job));
        self.set_ready(queue, job);
    }

    /// A job is durable, and so in its queue.
    pub fn arrived(&self, job: &JobName) {
        self.arriving.lock().remove(&self.job_key(job));
    }

    /// True when the job's file is known to be complete.
    pub fn is_ready(&self, queue: &Queue, job: &JobName) -> bool {
        self.ready
            .lock()
            .get(queue)
            .is_some_and(|jobs| jobs.contains(&self.job_key(job)))
    }

    /// How many jobs of an interface's queue are known to be complete.
    pub fn ready_jobs(&self, interface: &InterfaceName) -> usize {
        let mut n_jobs = 0;
        self.each_ready(interface, |jobs| n_jobs += jobs.len());
        n_jobs
    }

    /// The ids of these jobs, in no order.
    pub fn ready_ids(&self, interface: &InterfaceName) -> Vec<u64> {
        let mut ids = Vec::new();
        self.each_ready(interface, |jobs| ids.extend(jobs.iter().map(|job| job.id)));
        ids
    }

    fn each_ready(&self, interface: &InterfaceName, mut each: impl FnMut(&HashSet<JobKey>)) {
        let ready = self.ready.lock();
        if self.is_addressed(interface) {
            let of = ready
                .iter()
                .filter(|(queue, _)| queue.interface == *interface);
            of.for_each(|(_, jobs)| each(jobs));
        } else if let Some(jobs) = ready.get(&interface.into()) {
            each(jobs);
        }
    }

    /// A job is said to have left a queue: it may be back already.
    pub fn left(&self, queue: &Queue, job: &JobName) {
        let path = Place::Queue(queue.clone()).path(job);
        // Of one that we have moved ourselves that is known.
        if self.is_ready(queue, job) && matches!(self.fs.stat(&path), Ok(None)) {
            self.forget_ready(queue, job);
        }
    }

    /// A job has left a queue.
    pub fn forget_ready(&self, queue: &Queue, job: &JobName) {
        let mut ready = self.ready.lock();
        if let Some(jobs) = ready.get_mut(queue) {
            jobs.remove(&self.job_key(job));
            if jobs.is_empty() {
                ready.remove(queue);
            }
        }
    }
}

fn wrap(op: Doing, path: &Path) -> impl FnOnce(io::Error) -> SpoolError + '_ {
    move |source| {
        let path = path.to_owned();
        if is_full(&source) {
            SpoolError::Full { op, path }
        } else {
            SpoolError::Io { op, path, source }
        }
    }
}

/// There is something else in the place of a directory.
fn not_a_dir() -> io::Error {
    io::Error::other("it is a link or a file; make it a directory again")
}

fn is_full(error: &io::Error) -> bool {
    [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].contains(&error.kind())
}

/// A path in the spool as text. It is made of validated names, so nothing is lost.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
