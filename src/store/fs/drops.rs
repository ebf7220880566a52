//! What other processes put into a queue: files dropped under any name, and jobs that are moved in.
//!
//! A scan takes in what is complete, in the order in which it came: by the inode's change time, then
//! by name. A change time in the future counts as now. A file is complete (`Spool::readiness`) when
//!
//! - it has rested: nothing is renamed sooner than [`REST`] after its last change, so that `mv`, `cp`
//!   and `install` find what they have just made when they look at it once more;
//! - no process has it open for writing, which a lease tells exactly. Where there are no leases, its
//!   writer has been seen to close it, or it has not changed for [`QUIET`] while we looked;
//! - it has no other name (hard link), by which it could still be changed.
//!
//! On an ordered interface a file waits for those before it that wait for a moment that comes by itself,
//! which takes [`QUIET`] at most. It does not wait for a file that is still being written, is linked or
//! cannot be read: that one comes when it is complete, and then its change time says so.
//!
//! Nothing here is a record: what it keeps are hints, bounded and forgotten with the files.

mod takeover;

pub use takeover::Dropped;

use super::{
    Accepted, Came, EntryKind, Fs, Op, Spool, SpoolError, Stat, TemporaryNames, Writers, text, wrap,
};
use crate::domain::{InterfaceName, Job, JobName, Kind, Place, Queue, Reference};
use crate::store::fs::PlacePath;
use crate::store::fs::layout::{deferred_entry, work_entry};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// No dropped file is renamed sooner after its last change: 50 ms, and a tick, since the kernel's
/// change times are no finer than that.
pub const REST: Duration = Duration::from_millis(60);
/// A file of which it cannot be known whether it is still being written has to be unchanged for so long.
/// Transfers that stall for a moment are not at their end.
pub const QUIET: Duration = Duration::from_secs(30);
/// A file that still has another name after so long is reported: a program that links a file into a
/// queue removes the other name at once.
const LINKED_AT_MOST: Duration = Duration::from_secs(2);
/// What waits for another process is looked at so often …
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// … and, unless it is open, after so long only by the regular scans.
const LOOK_AT_MOST: Duration = Duration::from_secs(60);
/// More names than that are not kept as closed; their files are taken in after [`QUIET`].
const CLOSED_MAX: usize = 65_536;
/// How the hidden name ends under which another user's file waits for its copy.
const ASIDE: &str = ".taken";
/// More files than that are synced by one sync of everything.
const SYNCED_ALONE_MAX: usize = 8;
const NO_FILE: &str = "only plain files with a name in UTF-8 can be jobs; move it away";

/// How files that are dropped into an interface's queue are taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DropRules {
    /// Nothing overtakes a file that came before and only waits for its time.
    pub ordered: bool,
    /// Names under which others write what they rename at the end.
    pub temporary: TemporaryNames,
    /// A file is for the user in whose directory, `@<user>`, it is dropped; one beside is for no user.
    pub addressed: bool,
}

/// What a scan of one queue found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The queue has a `.hold` file.
    pub held: bool,
    /// Complete jobs, oldest first.
    pub ready: Vec<JobName>,
    /// Jobs that wait for their next attempt, with the due moment.
    pub deferred: Vec<(i64, JobName)>,
    /// Of `ready`, those that other processes have put there since the last scan, in the order of their
    /// arrival.
    pub arrived: Vec<Arrival>,
    /// Something is not complete yet: scan again after so long.
    pub again: Option<Duration>,
}

impl Scan {
    /// Asks for a scan after so long, or earlier.
    pub fn look_again(&mut self, after: Duration) {
        self.again = Some(self.again.map_or(after, |again| again.min(after)));
    }
}

/// A job that another process has put into a queue.
#[derive(Debug, PartialEq, Eq)]
pub struct Arrival {
    pub job: Job,
    /// The name under which it was dropped, if it had to be taken in.
    pub dropped_as: Option<String>,
}

/// What tells whether a file has changed: its inode, size and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    inode: u64,
    bytes: u64,
    modified_ms: i64,
    changed_ns: i64,
}

impl FileStamp {
    fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.inode,
            bytes: stat.bytes,
            modified_ms: stat.modified_ms,
            changed_ns: stat.changed_ns,
        }
    }
}

/// A file that is not complete, and since when it has been as it is.
#[derive(Debug)]
struct Pending {
    stamp: FileStamp,
    since: Instant,
}

/// What is remembered of dropped files between scans.
#[derive(Debug, Default)]
pub(super) struct Drops {
    pending: Mutex<HashMap<Queue, HashMap<OsString, Pending>>>,
    /// Names that were renamed in, or that a writer has closed and that were not written to since.
    closed: Mutex<HashMap<Queue, HashSet<String>>>,
    /// What has been reported as left alone: how it was then, and why.
    odd: Mutex<HashMap<PathBuf, (Option<FileStamp>, String)>>,
    /// Interfaces that have been scanned once.
    scanned: Mutex<HashSet<InterfaceName>>,
    /// Interfaces that were said to have files without leases.
    warned: Mutex<HashSet<InterfaceName>>,
}

/// What a dropped file waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// It has another name. It has been so for this long.
    Linked(Duration),
    /// Whether it is being written cannot be known: it has to stay as it is for so long.
    Quiet(Duration),
    /// It changed a moment ago.
    Rest,
    /// One before it waits.
    Turn,
    /// A process has it open for writing.
    Writer,
}

impl Wait {
    /// After how long to look again.
    fn again(self) -> Option<Duration> {
        match self {
            Self::Linked(since) if since < LINKED_AT_MOST / 2 => Some(REST),
            Self::Linked(since) => (since < LOOK_AT_MOST).then_some(LOOK_EVERY),
            Self::Quiet(left) => Some(left.max(REST)),
            // Not for the first of many, but for all that are here now.
            Self::Rest => Some(REST),
            Self::Turn => None,
            Self::Writer => Some(LOOK_EVERY),
        }
    }

    /// True when time alone ends it.
    fn passes(self) -> bool {
        match self {
            Self::Quiet(_) | Self::Rest | Self::Turn => true,
            Self::Linked(_) | Self::Writer => false,
        }
    }
}

/// Can a file in a queue be taken for a job?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    Complete,
    /// Gone, or not to be opened.
    Unreadable,
    Waits(Wait),
}

/// What a file in a queue's directory is.
#[derive(Debug)]
enum Entry {
    /// Another user's file that was put aside to be copied as this job, see [`aside`].
    Aside(JobName),
    Job(JobName),
    /// A job's file under the name that it had in `work` or `deferred`.
    Misplaced(JobName),
    /// A file of any other name.
    Foreign,
    /// Not for us: hidden, or marked as unfinished by its writer.
    Ignored,
    Odd,
}

impl Entry {
    fn of(name: &OsStr, kind: EntryKind, temporary: &TemporaryNames) -> Self {
        let lossy = name.to_string_lossy();
        if lossy.starts_with('.') {
            let job = lossy.strip_prefix('.').and_then(|n| n.strip_suffix(ASIDE));
            return match job.map(str::parse) {
                Some(Ok(job)) if kind == EntryKind::File => Self::Aside(job),
                Some(_) | None => Self::Ignored,
            };
        }
        let Some(text) = name.to_str().filter(|_| kind == EntryKind::File) else {
            return match temporary.matches(&lossy) {
                true => Self::Ignored,
                false => Self::Odd,
            };
        };
        if let Ok(job) = text.parse() {
            return Self::Job(job);
        }
        let misplaced = work_entry(text).map(|(job, _)| job);
        match misplaced.or_else(|| deferred_entry(text).map(|(job, _)| job)) {
            Some(job) => Self::Misplaced(job),
            None if temporary.matches(text) => Self::Ignored,
            None => Self::Foreign,
        }
    }
}

/// An entry of a queue that is not known to be a complete job.
struct Found {
    name: OsString,
    path: PathBuf,
    entry: Entry,
    stat: Stat,
}

/// What became of a file that was to be taken in.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Job(JobName),
    /// It was written to meanwhile.
    Changing,
    /// It has gone, or its name is taken.
    Not,
}

/// Where another user's file waits for its copy. That it can be put there shows that it can be taken
/// away, so no file becomes a job again and again; and a crash leaves it to the next scan.
fn aside(dir: &Path, job: &JobName) -> PathBuf {
    dir.join(format!(".{job}{ASIDE}"))
}

/// What holds for all entries of one scan.
struct Round<'a> {
    queue: &'a Queue,
    dir: &'a Path,
    /// No scan has been made before: jobs that are here now were accepted by an earlier run.
    first: bool,
    now_ns: i64,
    wanted: &'a dyn Fn() -> bool,
}

impl<F: Fs> Spool<F> {
    /// Lists an interface's queue, takes in what others have dropped there and what is complete. What
    /// is for no user, because of where it lies, is left alone.
    ///
    /// # Errors
    /// When the queue is no directory of its own, cannot be listed, or the spool is unhealthy. What is
    /// wrong with one file is reported, once, and is no error.
    pub fn scan(&self, interface: &InterfaceName) -> Result<Scan, SpoolError> {
        self.scan_while(interface, &|| true)
    }

    /// The same, broken off between two files once it is not `wanted` any more: a stop must not wait for a hundred
    /// thousand of them. What was taken in until then is in the scan, which says nothing of the rest.
    ///
    /// # Errors
    /// As [`Self::scan`].
    pub(super) fn scan_while(
        &self,
        interface: &InterfaceName,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Scan, SpoolError> {
        self.healthy()?;
        let mut scan = Scan::default();
        // Before the queue: a job that is released meanwhile is seen in one of the two.
        let deferred = self.deferred(interface)?;
        scan.deferred = deferred
            .into_iter()
            .map(|(name, due)| (due, name))
            .collect();
        scan.deferred.sort_unstable();
        let queues = self.queues_to_scan(interface)?;
        let first = !self.drops.scanned.lock().contains(interface);
        if first {
            scan.deferred
                .retain(|(due_ms, name)| self.is_deferred(interface, name, *due_ms));
        }
        for queue in &queues {
            self.scan_queue((queue, first), wanted, &mut scan)?;
        }
        if !wanted() {
            return Ok(scan);
        }
        self.drops.scanned.lock().insert(interface.clone());
        scan.held = self.is_held(interface)?;
        scan.ready.sort_unstable();
        Ok(scan)
    }

    /// Has every interface been scanned once? Before, jobs may wait of which nothing is known.
    pub(super) fn has_scanned_all(&self) -> bool {
        self.drops.scanned.lock().len() == self.interfaces.load().len()
    }

    /// Interfaces that are gone: if they come back, that is as it was before their first scan.
    pub(super) fn forget_scans(&self) {
        let interfaces = self.interfaces.load();
        let mut scanned = self.drops.scanned.lock();
        scanned.retain(|interface| interfaces.contains_key(interface));
    }

    /// False when a deferred job's file has been given another of its job's names, which is kept.
    fn is_deferred(&self, interface: &InterfaceName, name: &JobName, due_ms: i64) -> bool {
        let interface = interface.clone();
        let place = Place::Deferred { interface, due_ms };
        let name = name.clone();
        let job = Job { place, name };
        self.drop_doubles(&job).unwrap_or_else(|error| {
            self.report_odd(&job.place.path(&job.name), &error.to_string());
            true
        })
    }

    fn scan_queue(
        &self,
        (queue, first): (&Queue, bool),
        wanted: &dyn Fn() -> bool,
        scan: &mut Scan,
    ) -> Result<(), SpoolError> {
        let dir = self.queue_dir(queue)?;
        let others = self.list_queue(queue, &dir, &mut scan.ready)?;
        let round = Round {
            queue,
            dir: &dir,
            first,
            now_ns: self.now_ms().saturating_mul(1_000_000),
            wanted,
        };
        let again = self.each_in_turn(&round, others, |found| self.meet(&round, found, scan))?;
        again.into_iter().for_each(|after| scan.look_again(after));
        Ok(())
    }

    /// Meets the entries of a queue as they came. Gives after how long one of them that waits may be complete.
    fn each_in_turn(
        &self,
        round: &Round<'_>,
        others: Vec<(OsString, Entry)>,
        mut meet: impl FnMut(&Found) -> Result<Option<Wait>, SpoolError>,
    ) -> Result<Option<Duration>, SpoolError> {
        self.forget_gone(round.queue, round.dir, &others);
        let interfaces = self.interfaces.load();
        let rules = interfaces.get(&round.queue.interface);
        let ordered = rules.is_some_and(|rules| rules.drops.ordered);
        let (mut held_up, mut again) = (false, None::<Duration>);
        let found = self.in_order(round, others).into_iter();
        for found in found.take_while(|_| (round.wanted)()) {
            let met = if held_up && ordered && matches!(found.entry, Entry::Foreign) {
                Ok(Some(Wait::Turn))
            } else {
                meet(&found)
            };
            match met {
                Ok(None) => {}
                Ok(Some(wait)) => {
                    held_up |= wait.passes();
                    again = again.into_iter().chain(wait.again()).min();
                }
                // One odd entry must not keep the others from their turn.
                Err(error) => {
                    self.healthy()?;
                    held_up |= matches!(error, SpoolError::Full { .. });
                    self.report(&found.path, Some(&found.stat), &error.to_string());
                }
            }
        }
        Ok(again)
    }

    /// Adds the jobs that are known to be complete to those that are ready, and gives the other entries.
    fn list_queue(
        &self,
        queue: &Queue,
        dir: &Path,
        ready: &mut Vec<JobName>,
    ) -> Result<Vec<(OsString, Entry)>, SpoolError> {
        let interfaces = self.interfaces.load();
        let rules = interfaces.get(&queue.interface);
        let temporary = rules.map_or_else(TemporaryNames::default, |r| r.drops.temporary.clone());
        let mut others = Vec::new();
        let known = self.ready.lock().get(queue).cloned().unwrap_or_default();
        let mut seen = HashSet::with_capacity(known.len());
        let each = &mut |name: &OsStr, kind| match Entry::of(name, kind, &temporary) {
            Entry::Job(job) if known.contains(&self.job_key(&job)) => {
                seen.insert(self.job_key(&job));
                ready.push(job);
            }
            Entry::Ignored => {}
            other @ (Entry::Aside(_)
            | Entry::Foreign
            | Entry::Job(_)
            | Entry::Misplaced(_)
            | Entry::Odd) => {
                others.push((name.to_os_string(), other));
            }
        };
        self.fs.list(dir, each).map_err(wrap("list", dir))?;
        // What was accepted during the listing may not be in it; what was there before and is
        // not any more has been moved away, by the spool or by another process.
        let mut complete = self.ready.lock();
        if let Some(jobs) = complete.get_mut(queue) {
            let arriving = self.arriving.lock();
            jobs.retain(|job| seen.contains(job) || !known.contains(job) || arriving.contains(job));
            if jobs.is_empty() {
                complete.remove(queue);
            }
        }
        Ok(others)
    }

    /// Forgets what is not here any more.
    fn forget_gone(&self, queue: &Queue, dir: &Path, here: &[(OsString, Entry)]) {
        let here: HashSet<&OsStr> = here.iter().map(|(name, _)| name.as_os_str()).collect();
        if let Some(pending) = self.drops.pending.lock().get_mut(queue) {
            pending.retain(|name, _| here.contains(name.as_os_str()));
        }
        self.forget_odd(dir, |name| here.contains(name));
    }

    /// Forgets what was reported in a directory and is not here any more.
    pub(super) fn forget_odd(&self, dir: &Path, is_here: impl Fn(&OsStr) -> bool) {
        self.drops
            .odd
            .lock()
            .retain(|path, _| path.parent() != Some(dir) || path.file_name().is_some_and(&is_here));
    }

    /// The entries as they came.
    fn in_order(&self, round: &Round<'_>, others: Vec<(OsString, Entry)>) -> Vec<Found> {
        let mut found: Vec<Found> = Vec::with_capacity(others.len());
        for (name, entry) in others.into_iter().take_while(|_| (round.wanted)()) {
            let path = round.dir.join(&name);
            match self.look_at(round, &path, &entry) {
                Ok(Some(stat)) => found.push(Found {
                    name,
                    path,
                    entry,
                    stat,
                }),
                Ok(None) => {}
                Err(error) => self.report(&path, None, &error.to_string()),
            }
        }
        let came = |found: &Found| found.stat.changed_ns.min(round.now_ns);
        found.sort_by(|a, b| (came(a), &a.name).cmp(&(came(b), &b.name)));
        found
    }

    /// What is at an entry of a queue. At first a job's file loses the other names that the job could have.
    fn look_at(
        &self,
        round: &Round<'_>,
        path: &Path,
        entry: &Entry,
    ) -> Result<Option<Stat>, SpoolError> {
        let stat = self.stat(path)?;
        match entry {
            Entry::Job(name) if round.first && stat.is_some_and(|stat| stat.links > 1) => {
                let place = Place::Queue(round.queue.clone());
                let name = name.clone();
                self.drop_doubles(&Job { place, name })?;
                self.stat(path)
            }
            Entry::Aside(_)
            | Entry::Foreign
            | Entry::Ignored
            | Entry::Job(_)
            | Entry::Misplaced(_)
            | Entry::Odd => Ok(stat),
        }
    }

    /// One entry of a queue that was not known to be a complete job. Says what it waits for.
    fn meet(
        &self,
        round: &Round<'_>,
        found: &Found,
        scan: &mut Scan,
    ) -> Result<Option<Wait>, SpoolError> {
        let job = match &found.entry {
            Entry::Ignored => return Ok(None),
            Entry::Aside(job) if self.find(job)?.is_some() => {
                // A crash came between the job and the end of its original.
                let removed = self.fs.unlink(&found.path);
                removed.map_err(wrap("remove", &found.path))?;
                return Ok(None);
            }
            // It may have been accepted by us after the set was taken.
            Entry::Job(job) if self.is_ready(round.queue, job) => {
                scan.ready.push(job.clone());
                return Ok(None);
            }
            Entry::Job(job) | Entry::Misplaced(job) if found.stat.kind == EntryKind::File => {
                // A copy for another user is another job.
                let is_copy = self.is_for_another_too(round.queue, job)?;
                (!is_copy).then(|| job.clone())
            }
            Entry::Aside(_) | Entry::Foreign if found.stat.kind == EntryKind::File => None,
            Entry::Aside(_) | Entry::Foreign | Entry::Job(_) | Entry::Misplaced(_) | Entry::Odd => {
                self.report(&found.path, Some(&found.stat), NO_FILE);
                return Ok(None);
            }
        };
        if self.rests(round, found) {
            return Ok(Some(Wait::Rest));
        }
        let of = job.as_ref();
        match self.readiness(round.queue, &found.path, &found.stat, of, round.first) {
            Readiness::Complete => {}
            Readiness::Unreadable => return Ok(None),
            Readiness::Waits(wait) => return Ok(Some(wait)),
        }
        let (mut name, dropped_as) = match (&found.entry, job) {
            (Entry::Job(_), Some(job)) => (job, None),
            (Entry::Aside(job), _) => {
                let old = job.reference().unwrap_or_default();
                (job.clone(), Some(old.to_owned()))
            }
            (_, Some(job)) => (job, Some(found.name.to_string_lossy().into_owned())),
            (_, None) => {
                let old = found.name.to_string_lossy().into_owned();
                let (kind, reference) = (Kind::of_file(&old), Reference::of_dropped_file(&old));
                (JobName::new(self.next_id(), reference, kind), Some(old))
            }
        };
        if let Some(dropped_as) = &dropped_as {
            match self.take_in(round, found, name, dropped_as)? {
                Taken::Job(taken) => name = taken,
                Taken::Changing => return Ok(Some(Wait::Writer)),
                Taken::Not => return Ok(None),
            }
        }
        self.set_ready(round.queue, &name);
        scan.ready.push(name.clone());
        let place = Place::Queue(round.queue.clone());
        let job = Job { place, name };
        scan.arrived.push(Arrival { job, dropped_as });
        Ok(None)
    }

    /// True when a file changed a moment ago. A clock that steps makes no file wait for longer.
    fn rests(&self, round: &Round<'_>, found: &Found) -> bool {
        let ours = round.first && matches!(found.entry, Entry::Job(_));
        let age_ns = round.now_ns.saturating_sub(found.stat.changed_ns);
        let is_old = u64::try_from(age_ns).is_ok_and(|ns| Duration::from_nanos(ns) >= REST);
        !ours && !is_old && self.unchanged(round.queue, &found.name, &found.stat) < REST
    }

    /// For how long a file has been seen as it is now.
    fn unchanged(&self, queue: &Queue, name: &OsStr, stat: &Stat) -> Duration {
        let stamp = FileStamp::of(stat);
        let mut pending = self.drops.pending.lock();
        let pending = pending.entry(queue.clone()).or_default();
        match pending.get(name) {
            Some(pending) if pending.stamp == stamp => pending.since.elapsed(),
            Some(_) | None => {
                let since = Instant::now();
                pending.insert(name.to_owned(), Pending { stamp, since });
                Duration::ZERO
            }
        }
    }

    /// Whether a file in a queue is complete; `job` is its name if it is that of a job.
    fn readiness(
        &self,
        queue: &Queue,
        path: &Path,
        stat: &Stat,
        job: Option<&JobName>,
        first: bool,
    ) -> Readiness {
        let Some(name) = path.file_name() else {
            return Readiness::Unreadable;
        };
        if stat.links > 1 && !job.is_some_and(|job| self.is_as_accepted(queue, job)) {
            let since = self.unchanged(queue, name, stat);
            if since >= LINKED_AT_MOST {
                let why = format!(
                    "it has {} names (hard links) and can be changed by another; remove the other \
                     names, or copy the file",
                    stat.links
                );
                self.report(path, Some(stat), &why);
            }
            return Readiness::Waits(Wait::Linked(since));
        }
        match self.fs.writers(path) {
            Ok(Writers::None) => Readiness::Complete,
            Ok(Writers::Some) => Readiness::Waits(Wait::Writer),
            Ok(Writers::Unknown) => {
                let accepted = first && job.is_some() && !self.fs.is_foreign(stat);
                if accepted || self.is_closed(queue, name) {
                    return Readiness::Complete;
                }
                let quiet = self.unchanged(queue, name, stat);
                self.warn_of_leases(&queue.interface, stat.uid);
                match QUIET.checked_sub(quiet) {
                    Some(left) if !left.is_zero() => Readiness::Waits(Wait::Quiet(left)),
                    Some(_) | None => Readiness::Complete,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Readiness::Unreadable,
            Err(error) => {
                let why = format!("cannot be read: {error}; give the service's user the right to");
                self.report(path, Some(stat), &why);
                Readiness::Unreadable
            }
        }
    }

    /// True when a queued file under a job's name is what was accepted as that job, to the byte.
    fn is_as_accepted(&self, queue: &Queue, job: &JobName) -> bool {
        let place = Place::Queue(queue.clone());
        let path = place.path(job);
        let name = job.clone();
        let accepted = self.checksum_of(&Job { place, name });
        accepted.is_some_and(|accepted| self.fs.digest(&path).is_ok_and(|now| now == accepted))
    }

    fn warn_of_leases(&self, interface: &InterfaceName, uid: u32) {
        if self.drops.warned.lock().insert(interface.clone()) {
            tracing::warn!(
                %interface, uid,
                "without CAP_LEASE the service cannot know whether this user still writes a file: it \
                 is taken in once its writer was seen to close it, or when it has not changed for {} s; \
                 give the service CAP_LEASE", QUIET.as_secs(),
            );
        }
    }

    /// True when a queued job's file is whole: no process is writing it.
    pub fn is_whole(&self, job: &Job) -> bool {
        match &job.place {
            Place::Queue(queue) => {
                self.is_ready(queue, &job.name) || self.is_complete(queue, &job.name)
            }
            Place::Bak(_)
            | Place::Deferred { .. }
            | Place::JobErrors
            | Place::Refused
            | Place::Work { .. } => true,
        }
    }

    /// True when a job's file in a queue, which no scan has met yet, can be shown.
    pub(super) fn is_complete(&self, queue: &Queue, job: &JobName) -> bool {
        let path = Place::Queue(queue.clone()).path(job);
        let Ok(Some(stat)) = self.stat(&path) else {
            return false;
        };
        stat.kind == EntryKind::File
            && self.readiness(queue, &path, &stat, Some(job), false) == Readiness::Complete
    }

    /// An entry of a queue was renamed to its name, or closed by one who wrote it.
    pub fn closed(&self, queue: &Queue, name: &str) {
        let mut closed = self.drops.closed.lock();
        let names = closed.entry(queue.clone()).or_default();
        if names.len() < CLOSED_MAX {
            names.insert(name.to_owned());
        }
    }

    /// An entry of a queue is being written, or has gone.
    pub fn reopened(&self, queue: &Queue, name: &str) {
        if let Some(names) = self.drops.closed.lock().get_mut(queue) {
            names.remove(name);
        }
    }

    /// Events were lost: what was closed may be open again.
    pub fn forget_closed(&self) {
        self.drops.closed.lock().clear();
    }

    fn is_closed(&self, queue: &Queue, name: &OsStr) -> bool {
        let closed = self.drops.closed.lock();
        let name = name.to_str();
        (closed.get(queue)).is_some_and(|names| name.is_some_and(|n| names.contains(n)))
    }

    /// True when a scan of the queue passes over this name: hidden, or a temporary one.
    pub fn is_ignored(&self, interface: &InterfaceName, name: &str) -> bool {
        let interfaces = self.interfaces.load();
        let rules = interfaces.get(interface);
        rules.is_none_or(|rules| {
            let entry = Entry::of(name.as_ref(), EntryKind::File, &rules.drops.temporary);
            matches!(entry, Entry::Aside(_) | Entry::Ignored)
        })
    }

    /// Gives a dropped file a job's name.
    fn take_in(
        &self,
        round: &Round<'_>,
        found: &Found,
        job: JobName,
        dropped_as: &str,
    ) -> Result<Taken, SpoolError> {
        let path = &*found.path;
        if matches!(found.entry, Entry::Aside(_)) {
            return self.copy_aside(round, path, &job, dropped_as);
        }
        if self.fs.is_foreign(&found.stat) {
            let aside = aside(round.dir, &job);
            match self.fs.rename(path, &aside) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Taken::Not),
                renamed => renamed.map_err(wrap("take away", path))?,
            }
            // Else a crash could bring it back beside its job.
            self.sync_dir(round.dir)?;
            return self.copy_aside(round, &aside, &job, dropped_as);
        }
        let to = Place::Queue(round.queue.clone()).path(&job);
        let is_new = !matches!(found.entry, Entry::Misplaced(_));
        let mut ops = vec![Op::moved(path, &to)];
        if is_new {
            ops.push(self.dropped(round, &job, dropped_as, (path, &found.stat))?);
        }
        match self.record(&ops, || self.fs.rename(path, &to)) {
            // No caller has been told of it, so it need not be waited for.
            Ok(_) => Ok(Taken::Job(job)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Taken::Not),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let why = format!("the job {job} is there already; remove this file or rename it");
                self.report(path, Some(&found.stat), &why);
                Ok(Taken::Not)
            }
            Err(error) => Err(wrap("take in", path)(error)),
        }
    }

    /// What is recorded of a file that becomes a job.
    fn dropped(
        &self,
        round: &Round<'_>,
        job: &JobName,
        dropped_as: &str,
        (path, stat): (&Path, &Stat),
    ) -> Result<Op, SpoolError> {
        let dropped_as = dropped_as.to_owned();
        let came = Came::Dropped { dropped_as };
        let mut accepted = Accepted::new(job.clone(), came, self.now_ms());
        accepted.dialect = "drop".to_owned();
        accepted.submitter = format!("uid {}", stat.uid);
        accepted.interface = Some(round.queue.interface.clone());
        accepted.addressee.clone_from(&round.queue.addressee);
        accepted.bytes = stat.bytes;
        accepted.uid = Some(stat.uid);
        accepted.order_key = self.order_key_in(path, job.kind(), &round.queue.interface)?;
        Ok(Op::Accepted(Box::new(accepted)))
    }

    /// Makes a job of another user's file, which its owner could still write to at any time: of a copy,
    /// if the file did not change while it was made.
    fn copy_aside(
        &self,
        round: &Round<'_>,
        path: &Path,
        job: &JobName,
        dropped_as: &str,
    ) -> Result<Taken, SpoolError> {
        let Some(before) = self.stat(path)? else {
            return Ok(Taken::Not);
        };
        // One that was a job already has its line.
        let is_new = self.accepted(job)?.is_none();
        let temp = Path::new("tmp").join(format!("{job}.part"));
        let copied = (|| {
            drop(self.fs.copy(path, &temp).map_err(wrap("copy", path))?);
            self.sync_here(&temp)?;
            self.sync_dir(Path::new("tmp"))?;
            // It has rested, so a write now changes its times.
            if self.stat(path)?.as_ref().map(FileStamp::of) != Some(FileStamp::of(&before)) {
                return Ok(None);
            }
            // A large one may have taken long.
            let name = if is_new { self.dated(job) } else { job.clone() };
            let original = aside(round.dir, &name);
            if original != path {
                // A scan that finds it after a crash looks for the job by this name.
                let renamed = self.fs.rename(path, &original);
                renamed.map_err(wrap("rename", path))?;
                self.sync_dir(round.dir)?;
            }
            let to = Place::Queue(round.queue.clone()).path(&name);
            let mut ops = vec![Op::moved(&temp, &to)];
            if is_new {
                ops.push(self.dropped(round, &name, dropped_as, (&temp, &before))?);
            }
            let moved = self.record(&ops, || self.fs.rename(&temp, &to));
            let ((), ticket) = moved.map_err(wrap("take in", path))?;
            Ok::<_, SpoolError>(Some((name, original, ticket)))
        })();
        if !matches!(copied, Ok(Some(_))) {
            // Best effort: recovery empties `tmp`.
            let _ = self.fs.unlink(&temp);
        }
        let Some((name, original, ticket)) = copied? else {
            return Ok(Taken::Changing);
        };
        self.wait(ticket)?;
        if let Err(error) = self.fs.unlink(&original) {
            let why = format!("it is the job {name} and cannot be removed: {error}");
            self.report_odd(&original, &why);
        }
        Ok(Taken::Job(name))
    }

    fn sync_here(&self, path: &Path) -> Result<(), SpoolError> {
        let file = self.fs.update(path).map_err(wrap("open", path))?;
        self.sync_file(&file, path)
    }

    /// Jobs that others have brought to a queue: makes them durable as they are, and records that
    /// they are there now, whatever was recorded of them.
    ///
    /// # Errors
    /// When a sync fails, after which the spool is unhealthy.
    pub fn saw(&self, jobs: &[Job]) -> Result<(), SpoolError> {
        if jobs.len() > SYNCED_ALONE_MAX {
            self.sync_all()?;
        }
        for job in jobs {
            let path = job.place.path(&job.name);
            if jobs.len() <= SYNCED_ALONE_MAX {
                match self.sync_here(&path) {
                    // It has moved on, with all that is recorded of that.
                    Err(SpoolError::Io { source, .. })
                        if source.kind() == io::ErrorKind::NotFound =>
                    {
                        continue;
                    }
                    other => other?,
                }
            }
            let _ = self.note_ops(&[Op::Seen { path: text(&path) }]);
        }
        Ok(())
    }

    /// Says that something is left alone, once as long as it stays as it is.
    pub(super) fn report_odd(&self, path: &Path, why: &str) {
        let stat = self.fs.stat(path).ok().flatten();
        self.report(path, stat.as_ref(), why);
    }

    fn report(&self, path: &Path, stat: Option<&Stat>, why: &str) {
        let now = (stat.map(FileStamp::of), why.to_owned());
        if self.drops.odd.lock().insert(path.to_owned(), now.clone()) != Some(now) {
            tracing::warn!(path = %path.display(), "left alone: {why}");
        }
    }
}

#[cfg(test)]
mod tests;
