//! The journal: a write-ahead log of what the spool does to its files, flushed once for all
//! callers that wait.
//!
//! A step that makes a file writes it under `tmp`, unsynced, and appends its record; the file gets
//! its name once the record is flushed. What is small and has just come is in its record, and the
//! committer makes its file before it writes that. A job that is settled gets its new name in the same way,
//! after its log, its results and what it emitted. So no caller ever sees a file that a crash could
//! tear, or a job that is done without what belongs to it. Other moves are renamed first and
//! recorded then, both under one lock: a crash may undo them, and no caller has been told of them.
//! One committer writes what has been appended, flushes it and gives the names; what a [`Ticket`]
//! up to there stands for is durable then. Two segments take turns. A checkpoint
//! syncs the whole filesystem, which covers every record that was flushed before, notes that
//! durably, and so frees the segment that is not in use. While that one is not free, both grow, up to
//! their largest size. Where the disk is full they stay as they are, and what is flushed waits for a checkpoint.
//!
//! After a crash, [`Spool::open_journal`] does again what the records after the last checkpoint
//! say, see `replay.rs`. The directory stays the truth: the journal restores only what a crash has
//! taken from it.
//!
//! A name that cannot be given (the disk is full, `tmp` was emptied by hand) costs its own step and
//! no other: a record that takes the step back follows at once, and the callers that wait for the
//! step are told that it has not happened. Nothing is waited for in between.
//!
//! Invariant: when a record counts as flushed, its change has been made or is taken back by a later
//! record, so a checkpoint that begins later covers it. Invariant: a segment is written over only
//! when a durable mark covers all of it. A write, flush or checkpoint that fails is final.

mod disk;
#[cfg(test)]
mod growth_tests;
mod record;
mod replay;
#[cfg(test)]
mod thread_tests;

#[cfg(test)]
pub(super) use disk::a_segment_from;
pub(super) use record::Op;
pub(super) use replay::job_of;

use super::{
    Fs, Health, INLINE_BYTES_MAX, MountId, Spool, SpoolError,
    address::check_dirs,
    fault_injection::FaultInjection,
    records::{Act, Ended, Records, Said},
    text, wrap,
};
use crate::{
    domain::{Ids, JobId},
    metrics,
    store::events::EventLine,
    util::{HEARTBEAT_EVERY, Heartbeat},
};
use bytes::Bytes;
use disk::{DIR, MARK_BYTES, Mark, SEGMENT_HEAD_BYTES, mark_path, restored_path, segment_head};
use parking_lot::{Condvar, Mutex};
use record::{Chain, Hashed, PAYLOAD_BYTES_MAX};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashSet},
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A segment may always become so large.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// Segments grow by so much at once.
const SEGMENT_STEP_BYTES: u64 = 1 << 20;
/// Records since the last checkpoint are covered this long after the last of them …
const QUIET: Duration = Duration::from_millis(500);
/// … and at the latest so long after the one before.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);

/// A caller waits so long for a checkpoint, which comes sooner on a disk that takes what is written.
const COVERED_WITHIN: Duration = Duration::from_secs(30);

/// A flush waits for records that are on their way, for so long and for so many.
const GATHER: Duration = Duration::from_millis(2);
const GATHERED_MAX: usize = 32;

/// The names of this many bytes of restored files are told.
const RESTORED_BYTES_MAX: u64 = 256 << 20;

/// Steps that failed and that no caller has asked about yet; beyond that the oldest are forgotten.
const FAILED_MAX: usize = 4096;

/// What has been appended, and is durable once the journal has been flushed so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Ticket {
    record: u64,
    /// The step that the record is part of, if it gives names.
    step: Option<Step>,
}

/// What becomes of a record for which there is no room until the disk has taken those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenFull {
    Refuse,
    Wait,
}

/// What happens as a whole or not at all: the records about one job that give names, up to the next
/// wait for one of them; or a record by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Job(JobId),
    Record(u64),
}

impl Ticket {
    /// Durable already, or of nothing that has to be.
    pub const NONE: Self = Self::of(0);
    /// Nothing records it: all is to be synced.
    const UNRECORDED: Self = Self::of(u64::MAX);

    const fn of(record: u64) -> Self {
        Self { record, step: None }
    }
}

/// A name that a file is to get once its record is flushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PendingRename {
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
    pub(super) how: How,
    /// What is to be in the file, which the committer makes before the record is written.
    #[serde(skip)]
    pub(super) content: Option<Bytes>,
    /// The job whose step it is part of. Once a name of a step cannot be given, those that come
    /// after it are not given either, until a caller has waited for the step and was told.
    #[serde(skip)]
    pub(super) step: Option<JobId>,
}

/// How a file gets its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum How {
    /// It is a job that is settled, and stays where it is if an operator has moved it meanwhile.
    Moved,
    /// It is new under `tmp`, and nothing has that name.
    New,
    /// It is new under `tmp`, and takes the place of an earlier file.
    Replaced,
}

/// The names of a record.
struct Naming {
    step: Step,
    renames: Vec<PendingRename>,
    /// What reports that they are given.
    event: Option<EventLine>,
}

/// Appended records and how far they are.
struct State {
    /// Records that have not been written, the first of them, and the chain before it.
    buffer: Vec<u8>,
    first: u64,
    before: Chain,
    /// What fits into a segment.
    room: usize,
    /// What the days' records are to have of them.
    said: Vec<Said>,
    /// The names that their files get, by record.
    renames: Vec<Naming>,
    /// Steps of which a name could not be given, until a caller has been told.
    failed: BTreeMap<Step, Failed>,
    /// The last record appended, and the chain after it.
    last: u64,
    chain: Chain,
    /// The last record flushed.
    flushed: u64,
    /// The last record covered by a durable mark.
    checkpointed: u64,
    /// A segment is full and the other one is not free.
    full: bool,
    appended_at: Instant,
    marked_at: Instant,
    closing: bool,
    wakers: Vec<Waker>,
    /// How often those were woken.
    woken: u64,
}

impl State {
    /// Appends a record; gives its number.
    fn push(&mut self, hashed: &Hashed) -> u64 {
        self.last += 1;
        self.chain = hashed.append(self.last, &self.chain, &mut self.buffer);
        self.said.extend_from_slice(&hashed.said);
        self.appended_at = Instant::now();
        self.last
    }

    /// What came of what a ticket stands for; `None`: not known yet.
    fn outcome(&mut self, ticket: Ticket) -> Option<Result<(), Failed>> {
        if self.flushed < ticket.record {
            return None;
        }
        let Some(step) = ticket.step.filter(|step| self.failed.contains_key(step)) else {
            return Some(Ok(()));
        };
        if self.flushed < self.failed[&step].taken_back {
            return None;
        }
        self.failed.remove(&step).map(Err)
    }
}

/// Why a step has not happened.
#[derive(Debug)]
struct Failed {
    path: PathBuf,
    error: io::Error,
    /// The record by which it is taken back.
    taken_back: u64,
}

/// Why waiting has ended without what was waited for.
enum Unmet {
    /// The step has not happened, and the others go on.
    Failed(Failed),
    /// The disk has failed.
    Disk(io::Error),
}

impl Unmet {
    fn told(self, health: &Health) -> SpoolError {
        match self {
            Self::Failed(failed) => wrap("publish", &failed.path)(failed.error),
            Self::Disk(error) => health.fail("sync", Path::new(DIR), &error),
        }
    }
}

/// How far a checkpoint has come.
enum Covered {
    /// To the last record that was flushed.
    All,
    /// Not so far, since the days' records cannot be written.
    Less(io::Error),
}

impl Covered {
    fn fully(self) -> io::Result<()> {
        match self {
            Self::All => Ok(()),
            Self::Less(error) => Err(error),
        }
    }
}

/// Where the records are written; the committer's alone.
struct Segments<File> {
    files: [File; 2],
    /// Both have so much on disk.
    bytes: u64,
    /// The last record in each.
    last: [u64; 2],
    active: usize,
    offset: u64,
}

pub(super) struct Journal<F: Fs> {
    fs: Arc<F>,
    records: Arc<Records<F>>,
    health: Health,
    injected: FaultInjection,
    metrics: metrics::Journal,
    segment_bytes_max: u64,
    state: Mutex<State>,
    segments: Mutex<Segments<F::File>>,
    mark: Mutex<(F::File, usize)>,
    mount: Option<MountId>,
    /// There is something to write.
    appended: Condvar,
    /// Something has been flushed or checkpointed, or failed.
    advanced: Condvar,
    /// Of the thread that writes.
    heartbeat: Arc<Heartbeat>,
    /// What is about to be recorded: uploads whose body is complete, and steps of a batch.
    expected: AtomicUsize,
    /// There may be something to checkpoint.
    pressed: Condvar,
    /// The spool's count of moves.
    moves: Arc<AtomicU64>,
    /// The spool's source of ids.
    ids: Arc<Mutex<Ids>>,
    /// Threads write and checkpoint; without them, the caller that waits does.
    threaded: AtomicBool,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

/// What a start finds of an earlier run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Records after the last checkpoint.
    pub records: usize,
    /// Only its process had ended: all that it had done to files was in them.
    pub intact: bool,
    /// Names that had been recorded and not given, and lines of the days' records.
    pub finished: usize,
    /// Files that were missing, torn or elsewhere, by their paths in the spool.
    pub restored: Vec<PathBuf>,
}

impl<F: Fs> Spool<F> {
    /// Takes up the journal of an earlier run: does again what a crash may have undone, makes
    /// that durable, and begins to record. After a crash of the process alone, what others have done to
    /// files since then stays. To be called by the spool's owner, before recovery.
    ///
    /// # Errors
    /// When the journal, or a file that it says something of, cannot be read or written. The journal
    /// is as it was, so nothing in it is lost, and nothing may be accepted: mend it and start again.
    pub fn open_journal(&self, segment_bytes_max: u64) -> Result<Replayed, SpoolError> {
        let dir = Path::new(DIR);
        self.make_dir(dir)?;
        let mark = self.read_mark()?;
        let mount = self.fs.mount().map_err(wrap("look at", Path::new("")))?;
        let (records, end) = self.read_segments(mark.through)?;
        self.saw_ids(mark.given);
        let mut replayed = Replayed {
            records: records.len(),
            intact: self.injected.trusts(mark.mount, mount),
            ..Replayed::default()
        };
        self.intact.store(replayed.intact, Ordering::Relaxed);
        if self.injected.replays() {
            let ops = || records.iter().flat_map(|record| &record.ops);
            replayed.finished += self.complete_records(ops().filter_map(Op::said).collect())?;
            for job in ops().flat_map(Op::paths).filter_map(replay::job_of) {
                self.saw_id(job.id());
            }
            match replayed.intact {
                true => replayed.finished += self.publish_missing(&records)?,
                false => replayed.restored = self.restore_all(records)?,
            }
        }
        self.take_up_audit()?;
        self.take_up_events()?;
        self.note_restored(&replayed)?;
        self.fs.sync_all().map_err(wrap("sync", Path::new("")))?;
        let journal = Arc::new(self.lay_out(segment_bytes_max, end, mount)?);
        self.records.begin(self.horizon());
        let failed = Arc::downgrade(&journal);
        self.health.when_failed(move || {
            if let Some(journal) = failed.upgrade() {
                journal.distrust();
            }
        });
        // Without threads yet, so the only one: cannot be set already.
        let _ = self.journal.set(journal);
        Ok(replayed)
    }

    /// Notes for operators what a crash had taken, until a start that finds all in order.
    fn note_restored(&self, replayed: &Replayed) -> Result<(), SpoolError> {
        let path = restored_path();
        if !replayed.restored.is_empty() {
            let lines = replayed.restored.iter().map(|path| text(path) + "\n");
            let temp = self.write_temp("restored", lines.collect::<String>().as_bytes())?;
            return self.fs.replace(&temp, &path).map_err(wrap("write", &path));
        }
        if replayed.records == 0 {
            match self.fs.unlink(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(wrap("remove", &path)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// When files were restored after a crash, in milliseconds of the Unix epoch, and their paths;
    /// `None` once a service was stopped and started since.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn restored(&self) -> Result<Option<(i64, Vec<String>)>, SpoolError> {
        let path = restored_path();
        let Some(stat) = self.stat(&path)? else {
            return Ok(None);
        };
        match self.fs.read_small(&path, RESTORED_BYTES_MAX) {
            Ok(bytes) => {
                let lines = String::from_utf8_lossy(&bytes);
                let paths = lines.lines().map(str::to_owned).collect();
                Ok(Some((stat.modified_ms, paths)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrap("read", &path)(error)),
        }
    }

    /// Makes the files that are missing, and a mark that covers all that was found.
    fn lay_out(
        &self,
        segment_bytes_max: u64,
        end: u64,
        mount: Option<MountId>,
    ) -> Result<Journal<F>, SpoolError> {
        let mark = Mark {
            mount,
            through: end,
            given: self.ids.lock().clone(),
        };
        let mark_bytes = 2 * MARK_BYTES as u64;
        let mark_file = self.laid_out(&mark_path(), mark_bytes..=mark_bytes)?;
        let (files, bytes) = self.laid_out_segments(segment_bytes_max)?;
        let chain = Sha256::digest(end.to_le_bytes()).into();
        let now = Instant::now();
        let journal = Journal {
            fs: self.fs.clone(),
            records: self.records.clone(),
            health: self.health.clone(),
            injected: self.injected,
            metrics: self.metrics.clone(),
            segment_bytes_max,
            state: Mutex::new(State {
                buffer: Vec::new(),
                first: end + 1,
                before: chain,
                room: room_in(bytes),
                said: Vec::new(),
                renames: Vec::new(),
                failed: BTreeMap::new(),
                last: end,
                chain,
                flushed: end,
                checkpointed: end,
                full: false,
                appended_at: now,
                marked_at: now,
                closing: false,
                wakers: Vec::new(),
                woken: 0,
            }),
            segments: Mutex::new(Segments {
                files,
                bytes,
                last: [end, end],
                active: 1,
                // Full, however it grows: the first write begins the other segment.
                offset: u64::MAX,
            }),
            mark: Mutex::new((mark_file, 0)),
            mount,
            appended: Condvar::new(),
            advanced: Condvar::new(),
            heartbeat: Arc::default(),
            expected: AtomicUsize::new(0),
            pressed: Condvar::new(),
            moves: self.moves.clone(),
            ids: self.ids.clone(),
            threaded: AtomicBool::new(false),
            threads: Mutex::default(),
        };
        journal
            .write_mark(&mark)
            .map_err(wrap("write", &mark_path()))?;
        Ok(journal)
    }

    /// Lets threads write and checkpoint, so that callers that wait do not have to. Until
    /// [`Spool::close_journal`].
    pub fn start_journal(&self) {
        let Some(journal) = self.journal.get() else {
            return;
        };
        journal.threaded.store(true, Ordering::Release);
        let mut threads = journal.threads.lock();
        let committer = journal.clone();
        let commit = move || {
            committer.guarded("the committer", |journal| while journal.work() {});
            // Why it has ended, the spool's health says; it is no reason to end the process.
            committer.heartbeat.rest();
        };
        let checkpointer = journal.clone();
        let checkpoint =
            move || checkpointer.guarded("the checkpointer", |journal| while journal.keep() {});
        let named = |name: &str| std::thread::Builder::new().name(name.into());
        for spawned in [
            named("journal").spawn(commit),
            named("checkpoint").spawn(checkpoint),
        ] {
            match spawned {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    self.health
                        .fail("start a thread for", Path::new(DIR), &error);
                    journal.wake_all();
                }
            }
        }
    }

    /// Of the thread that writes the journal, once there is one.
    pub(crate) fn heartbeat(&self) -> Option<Arc<Heartbeat>> {
        let journal = self.journal.get()?;
        Some(journal.heartbeat.clone())
    }

    /// Checkpoints and ends the threads, so that the next start has nothing to do again.
    pub fn close_journal(&self) {
        let Some(journal) = self.journal.get() else {
            return;
        };
        {
            // Under the lock: who has looked waits by now and is woken, or sees that it closes.
            let mut state = journal.state.lock();
            state.closing = true;
            // From now on each caller that waits does the work, the committer too.
            journal.threaded.store(false, Ordering::Release);
        }
        for condvar in [&journal.appended, &journal.advanced, &journal.pressed] {
            condvar.notify_all();
        }
        let threads = std::mem::take(&mut *journal.threads.lock());
        for thread in threads {
            // One that broke down has said so.
            let _ = thread.join();
        }
        let closed = journal.flush().and_then(|()| journal.checkpoint());
        if let Err(error) = closed.and_then(Covered::fully) {
            tracing::warn!(%error, "the journal could not be closed; the next start reads it");
        }
    }

    /// Waits until what a ticket stands for is durable, and its names are given.
    ///
    /// # Errors
    ///
    /// [`SpoolError::Full`] or [`SpoolError::Io`] with the spool still healthy: a name could not be
    /// given. Then nothing of the step has happened, also after a crash, save that what its caller has made
    /// under `tmp` is still there. Otherwise the disk has failed.
    pub fn wait(&self, ticket: Ticket) -> Result<(), SpoolError> {
        if ticket == Ticket::NONE {
            return Ok(());
        }
        let waited = match self.journal.get() {
            Some(journal) if ticket != Ticket::UNRECORDED => journal.wait(ticket),
            Some(_) | None => self.fs.sync_all().map_err(Unmet::Disk),
        };
        waited.map_err(|unmet| unmet.told(&self.health))
    }

    /// The same, without a thread that waits.
    pub fn durable(&self, ticket: Ticket) -> Durable<F> {
        Durable {
            journal: self.journal.get().cloned(),
            fs: self.fs.clone(),
            health: self.health.clone(),
            ticket,
            waiting: None,
        }
    }

    /// Something is about to be recorded, such as an upload that is complete: a flush may wait a moment for it.
    pub fn expect(&self) -> Expected<F> {
        let journal = self.journal.get().cloned();
        if let Some(journal) = &journal {
            journal.expected.fetch_add(1, Ordering::Relaxed);
        }
        Expected(journal)
    }

    /// Is there room for a record of about so many bytes, and for others of those who ask at the same moment, since the
    /// disk takes them as they come? Where not, a thread is to wait for it.
    pub fn keeps_up(&self, n_bytes: usize) -> bool {
        let threaded = self.journal.get().filter(|journal| journal.is_threaded());
        threaded.is_some_and(|journal| {
            let state = journal.state.lock();
            state.buffer.len() + 2 * n_bytes <= state.room / 2
        })
    }

    /// Carries out steps that each record something, so that they share flushes: none begins for each of them.
    pub(super) fn together<T>(&self, steps: impl Iterator<Item = T>) -> Vec<T> {
        let _expected = self.expect();
        steps.collect()
    }

    /// What stands for every change until now: a caller that has looked at the directories may tell what
    /// it saw once this is durable. While the spool is unhealthy nothing more becomes durable, and
    /// what the directories show is told as it is.
    pub fn latest(&self) -> Ticket {
        match self.journal.get() {
            Some(journal) if self.health.reason().is_none() => {
                Ticket::of(journal.state.lock().last)
            }
            Some(_) | None => Ticket::NONE,
        }
    }

    /// Waits until a durable mark covers all that has been recorded until now, so that no replay does any of it
    /// again.
    ///
    /// # Errors
    /// When the disk has failed, or the days' records cannot be written for [`COVERED_WITHIN`].
    pub(super) fn cover(&self) -> Result<(), SpoolError> {
        let Some(journal) = self.journal.get() else {
            return self.sync_all();
        };
        let last = journal.state.lock().last;
        self.wait(Ticket::of(last))?;
        let covered = journal.covered(last);
        covered.map_err(wrap("checkpoint", Path::new(DIR)))
    }

    /// Changes the directories and records it. `change` is made under the journal's lock; what it
    /// does must not wait for a disk.
    ///
    /// # Errors
    ///
    /// Those of `change`; then nothing is recorded. On an unhealthy spool nothing is changed.
    pub(super) fn record<T>(
        &self,
        ops: &[Op],
        change: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<(T, Ticket)> {
        match self.journal.get() {
            Some(journal) => {
                let hashed = Hashed::new(ops, &[]);
                journal.append(WhenFull::Wait, &hashed, Vec::new(), change)
            }
            None => {
                let changed = change()?;
                self.say(ops);
                Ok((changed, Ticket::UNRECORDED))
            }
        }
    }

    /// Records what files are to hold that lie in `tmp`; they get their names, in this order, once
    /// that is durable.
    ///
    /// # Errors
    /// When it cannot be recorded. None of them gets its name; they stay under `tmp` for the caller.
    /// On an unhealthy spool nothing is recorded. Without a journal some may have their names.
    pub(super) fn publish(
        &self,
        ops: &[Op],
        renames: Vec<PendingRename>,
    ) -> Result<Ticket, SpoolError> {
        self.publish_when(WhenFull::Wait, ops, renames)
    }

    /// The same, by whom may not wait for the disk too.
    ///
    /// # Errors
    /// As those of [`Spool::publish`], and when there is no room and that is not waited for.
    pub(super) fn publish_when(
        &self,
        when_full: WhenFull,
        ops: &[Op],
        renames: Vec<PendingRename>,
    ) -> Result<Ticket, SpoolError> {
        self.healthy()?;
        match self.journal.get() {
            Some(journal) => {
                let path = renames.last().map(|pending| pending.to.clone());
                let hashed = Hashed::new(ops, &renames);
                let appended = journal.append(when_full, &hashed, renames, || Ok(()));
                let ((), ticket) =
                    appended.map_err(|e| wrap("record", &path.unwrap_or_default())(e))?;
                Ok(ticket)
            }
            None => {
                for pending in &renames {
                    make(&*self.fs, pending).map_err(wrap("write", &pending.from))?;
                }
                self.sync_all()?;
                self.say(ops);
                for pending in renames {
                    if pending.how == How::New {
                        check_dirs(&*self.fs, parent(&pending.to))?;
                    }
                    let _ = publish(&*self.fs, &pending).map_err(wrap("publish", &pending.to))?;
                    self.moves.fetch_add(1, Ordering::SeqCst);
                }
                Ok(Ticket::UNRECORDED)
            }
        }
    }

    /// Without a journal: what the days' records are to have. A full disk must not keep an operator
    /// from acting.
    fn say(&self, ops: &[Op]) {
        let said: Vec<Said> = ops.iter().filter_map(Op::said).collect();
        said.iter().for_each(|said| self.records.tell(said));
        if let Err(error) = self.records.append(&self.fs, &said) {
            tracing::warn!(%error, "the record of the day lacks what is done now");
        }
        self.records.events.show();
    }

    /// Records what has been done already, or is in no order with other changes.
    pub(super) fn note_ops(&self, ops: &[Op]) -> Ticket {
        match self.record(ops, || Ok(())) {
            Ok(((), ticket)) => ticket,
            // The spool is unhealthy, and has said so.
            Err(_) => Ticket::NONE,
        }
    }
}

/// What will soon be recorded, until it is dropped.
pub struct Expected<F: Fs = super::RealFs>(Option<Arc<Journal<F>>>);

impl<F: Fs> Drop for Expected<F> {
    fn drop(&mut self) {
        let Some(journal) = &self.0 else {
            return;
        };
        if journal.expected.fetch_sub(1, Ordering::Relaxed) == 1 {
            // The lock: the committer is before its look at the count, or asleep.
            drop(journal.state.lock());
            journal.appended.notify_one();
        }
    }
}

/// Resolves when what a ticket stands for is durable.
pub struct Durable<F: Fs> {
    journal: Option<Arc<Journal<F>>>,
    fs: Arc<F>,
    health: Health,
    ticket: Ticket,
    /// The task that is woken next time, if it waits already.
    waiting: Option<(u64, Waker)>,
}

impl<F: Fs> Future for Durable<F> {
    type Output = Result<(), SpoolError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        if self.ticket == Ticket::NONE {
            return Poll::Ready(Ok(()));
        }
        let Some(journal) = self.journal.clone() else {
            let synced = self.fs.sync_all().map_err(Unmet::Disk);
            return Poll::Ready(synced.map_err(|unmet| unmet.told(&self.health)));
        };
        if !journal.is_threaded() {
            let waited = journal.wait(self.ticket);
            return Poll::Ready(waited.map_err(|unmet| unmet.told(&self.health)));
        }
        let mut state = journal.state.lock();
        if let Some(outcome) = journal.outcome(&mut state, self.ticket) {
            drop(state);
            return Poll::Ready(outcome.map_err(|unmet| unmet.told(&self.health)));
        }
        let waker = context.waker();
        let waits = (self.waiting.as_ref())
            .is_some_and(|(woken, known)| *woken == state.woken && known.will_wake(waker));
        if !waits {
            state.wakers.push(waker.clone());
            self.waiting = Some((state.woken, waker.clone()));
        }
        Poll::Pending
    }
}

impl<F: Fs> Journal<F> {
    fn is_threaded(&self) -> bool {
        self.threaded.load(Ordering::Acquire)
    }

    fn append<T>(
        &self,
        when_full: WhenFull,
        hashed: &Hashed,
        renames: Vec<PendingRename>,
        change: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<(T, Ticket)> {
        if hashed.payload_bytes() > PAYLOAD_BYTES_MAX {
            // It would be written, and taken for the end of the records when they are read.
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "what is to be recorded at once is too large",
            ));
        }
        let record_bytes = hashed.record_bytes();
        let mut state = self.state.lock();
        if when_full == WhenFull::Refuse && state.buffer.len() + record_bytes > state.room {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if record_bytes > state.room {
            drop(state);
            self.make_room(record_bytes)?;
            state = self.state.lock();
        }
        // What is appended faster than the disk takes it waits here. The other half is for those who may not.
        while when_full == WhenFull::Wait
            && state.buffer.len() + record_bytes > state.room / 2
            && !state.buffer.is_empty()
            && self.health.reason().is_none()
        {
            if !self.is_threaded() {
                drop(state);
                // Its error is told to the callers that wait.
                let _ = self.flush();
                state = self.state.lock();
            } else {
                self.advanced.wait(&mut state);
            }
        }
        if let Some(reason) = self.health.reason() {
            return Err(io::Error::other(reason.to_owned()));
        }
        let changed = change()?;
        hashed.said.iter().for_each(|said| self.records.tell(said));
        let record = state.push(hashed);
        let mut step = None;
        if !renames.is_empty() {
            let of = renames.iter().find_map(|pending| pending.step);
            let of = of.map_or(Step::Record(record), Step::Job);
            let event = hashed.said.iter().find_map(Said::event).cloned();
            state.renames.push(Naming {
                step: of,
                renames,
                event,
            });
            step = Some(of);
        }
        let ticket = Ticket { record, step };
        let wakes = state.last == state.first || !self.gathers(&state);
        drop(state);
        if wakes {
            self.appended.notify_one();
        }
        Ok((changed, ticket))
    }

    /// Lets the segments grow until a record fits.
    fn make_room(&self, record_bytes: usize) -> io::Result<()> {
        let mut segments = self.segments.lock();
        let needed = (SEGMENT_HEAD_BYTES + record_bytes) as u64;
        match needed <= segments.bytes || self.grow(&mut segments, needed)? {
            true => Ok(()),
            false => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    /// Lets both segments grow by a step, or as far as is needed. False: the disk has no room for that, or they have their
    /// largest size.
    fn grow(&self, segments: &mut Segments<F::File>, needed: u64) -> io::Result<bool> {
        let by_a_step = (segments.bytes + SEGMENT_STEP_BYTES).min(self.segment_bytes_max);
        let bytes = needed.max(by_a_step);
        if bytes == segments.bytes {
            return Ok(false);
        }
        for file in &segments.files {
            if let Err(error) = self.fs.lengthen(file, bytes) {
                tracing::warn!(%error, "the journal cannot grow");
                return Ok(false);
            }
            let synced = self.fs.sync_file(file);
            synced.inspect_err(|error| drop(self.health.fail("sync", Path::new(DIR), error)))?;
        }
        segments.bytes = bytes;
        self.state.lock().room = room_in(bytes);
        Ok(true)
    }

    fn wait(&self, ticket: Ticket) -> Result<(), Unmet> {
        loop {
            if !self.is_threaded() {
                self.flush().map_err(Unmet::Disk)?;
            }
            let mut state = self.state.lock();
            if let Some(outcome) = self.outcome(&mut state, ticket) {
                return outcome;
            }
            if self.is_threaded() {
                self.advanced.wait(&mut state);
            }
        }
    }

    /// `None`: not known yet.
    fn outcome(&self, state: &mut State, ticket: Ticket) -> Option<Result<(), Unmet>> {
        if let Some(outcome) = state.outcome(ticket) {
            return Some(outcome.map_err(Unmet::Failed));
        }
        let reason = self.health.reason()?;
        Some(Err(Unmet::Disk(io::Error::other(reason.to_owned()))))
    }

    /// Runs one of the threads. A panic there is a bug, and final as a failed write is: callers that
    /// wait for the thread get an error.
    fn guarded(&self, name: &'static str, run: impl FnOnce(&Self)) {
        use std::panic::{AssertUnwindSafe, catch_unwind};
        if catch_unwind(AssertUnwindSafe(|| run(self))).is_ok() {
            return;
        }
        let error = io::Error::other(format!("{name} panicked"));
        self.health.fail("go on with", Path::new(DIR), &error);
        self.wake_all();
    }

    /// Lets all who wait look again, after the reason for it is there to be seen.
    fn wake_all(&self) {
        let wakers = {
            // Who has looked before the lock was taken waits by now; who looks later sees the reason.
            let mut state = self.state.lock();
            state.woken += 1;
            std::mem::take(&mut state.wakers)
        };
        self.advanced.notify_all();
        self.pressed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// One turn of the committer. False when it has nothing more to do.
    fn work(&self) -> bool {
        {
            let mut state = self.state.lock();
            while state.buffer.is_empty() {
                if state.closing {
                    return false;
                }
                self.heartbeat.beat();
                self.appended.wait_for(&mut state, HEARTBEAT_EVERY);
            }
            let deadline = Instant::now() + GATHER;
            while self.gathers(&state) && !state.closing {
                let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                    break;
                };
                self.appended.wait_for(&mut state, left);
            }
        }
        // A disk may take as long as it likes.
        self.heartbeat.rest();
        self.flush().is_ok()
    }

    /// More records are on their way and worth a moment: one flush serves all of them. A record
    /// that is alone is not waited for.
    fn gathers(&self, state: &State) -> bool {
        self.expected.load(Ordering::Relaxed) > 0 && state.last - state.first < GATHERED_MAX as u64
    }

    /// Writes and flushes what has been appended.
    fn flush(&self) -> io::Result<()> {
        // One at a time: the order of writing is the order of appending.
        let mut segments = self.segments.lock();
        let (batch, said, steps, first, before, last) = {
            let mut state = self.state.lock();
            if state.buffer.is_empty() {
                return Ok(());
            }
            let batch = std::mem::take(&mut state.buffer);
            let said = std::mem::take(&mut state.said);
            let steps = std::mem::take(&mut state.renames);
            let (first, before) = (state.first, state.before);
            state.first = state.last + 1;
            state.before = state.chain;
            (batch, said, steps, first, before, state.last)
        };
        for pending in steps.iter().flat_map(|naming| &naming.renames) {
            // What fails is made when it gets its name, or fails again then.
            let _ = make(&*self.fs, pending);
        }
        let begun = Instant::now();
        let written = self.write(&mut segments, &batch, first, &before, last);
        match &written {
            Ok(()) => {
                let took_s = begun.elapsed().as_secs_f64();
                self.metrics.flushed(last + 1 - first, took_s);
                // Kept if it fails: no checkpoint goes beyond it.
                let _ = self.append_records(&said);
                let mut real = HashSet::new();
                for naming in &steps {
                    self.publish_all(naming, &mut real);
                }
                self.records.events.show();
            }
            Err(error) => drop(self.health.fail("write", Path::new(DIR), error)),
        }
        let wakers = {
            let mut state = self.state.lock();
            if written.is_ok() {
                state.flushed = last;
            }
            if state.buffer.capacity() == 0 && batch.capacity() <= state.room / 2 {
                let mut batch = batch;
                batch.clear();
                state.buffer = batch;
            }
            state.woken += 1;
            std::mem::take(&mut state.wakers)
        };
        self.advanced.notify_all();
        wakers.into_iter().for_each(Waker::wake);
        written
    }

    fn write(
        &self,
        segments: &mut Segments<F::File>,
        batch: &[u8],
        first: u64,
        before: &Chain,
        last: u64,
    ) -> io::Result<()> {
        if let Some(reason) = self.health.reason() {
            return Err(io::Error::other(reason.to_owned()));
        }
        let end = segments.offset.saturating_add(batch.len() as u64);
        if end > segments.bytes && !self.outgrown(segments, end)? {
            let next = 1 - segments.active;
            self.wait_until_free(segments.last[next])?;
            let head = segment_head(first, before);
            self.fs.write_at(&segments.files[next], 0, &head)?;
            segments.active = next;
            segments.offset = SEGMENT_HEAD_BYTES as u64;
        }
        let file = &segments.files[segments.active];
        self.fs.write_at(file, segments.offset, batch)?;
        if self.injected.flushes() {
            self.fs.sync_data(file)?;
        }
        segments.offset += batch.len() as u64;
        segments.last[segments.active] = last;
        Ok(())
    }

    /// Have the segments grown so far since the next one is not free? Records come faster than checkpoints then.
    fn outgrown(&self, segments: &mut Segments<F::File>, end: u64) -> io::Result<bool> {
        let is_free = self.state.lock().checkpointed >= segments.last[1 - segments.active];
        Ok(!is_free && end <= self.segment_bytes_max && self.grow(segments, end)?)
    }

    /// Appends to the days' records what has been flushed. What cannot be appended now is kept: no
    /// checkpoint goes beyond it.
    fn append_records(&self, said: &[Said]) -> io::Result<()> {
        let appended = self.records.append(&self.fs, said);
        if let Err(error) = &appended {
            tracing::error!(%error, "the record of the day cannot be written; tried again");
        }
        appended
    }

    /// Gives the files of one record their names, whose record is durable. What cannot be given is
    /// taken back, with what was made anew by the same record before it, and nothing is waited for:
    /// the disk is full or the file was removed, and both concern this step alone. Once a job has its
    /// name the step has happened; what comes after it is repaired when it is missed.
    ///
    /// `real` are directories that have been looked at.
    fn publish_all<'n>(&self, naming: &'n Naming, real: &mut HashSet<&'n Path>) {
        let (step, renames) = (naming.step, naming.renames.as_slice());
        let mut made = Vec::new();
        for (at, pending) in renames.iter().enumerate() {
            let given = match self.state.lock().failed.contains_key(&step) {
                true => Err(io::Error::other(
                    "what comes before it could not be published",
                )),
                false => self
                    .check_place(pending, real)
                    .and_then(|()| publish(&*self.fs, pending)),
            };
            match given {
                Ok(is_new) => made.extend(is_new.then_some(pending)),
                Err(error) => {
                    let (before, left) = renames.split_at(at);
                    match before.iter().any(|pending| pending.how == How::New) {
                        true => {
                            tracing::error!(path = %pending.to.display(), %error, "cannot publish");
                            self.take_back(None, left, &[], None, error);
                        }
                        false => {
                            let event = naming.event.as_ref();
                            self.take_back(Some(step), left, &made, event, error);
                        }
                    }
                    return;
                }
            }
            self.moves.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What is behind a link is no queue: nothing new is put there.
    fn check_place<'n>(
        &self,
        pending: &'n PendingRename,
        real: &mut HashSet<&'n Path>,
    ) -> io::Result<()> {
        let dir = parent(&pending.to);
        if pending.how == How::New && !real.contains(dir) {
            check_dirs(&*self.fs, dir).map_err(io::Error::other)?;
            real.insert(dir);
        }
        Ok(())
    }

    /// Records that this has not happened, and lets the step fail, if there is one. What is to be a
    /// job stays under `tmp` for its owner.
    fn take_back(
        &self,
        step: Option<Step>,
        left: &[PendingRename],
        made: &[&PendingRename],
        event: Option<&EventLine>,
        error: io::Error,
    ) {
        let void = event.map(EventLine::void);
        let mut ops = Vec::from_iter(void.map(|line| Op::Event(Box::new(line))));
        for pending in made.iter().rev() {
            // Best effort: it names a job that is not there, and is dropped at the next start.
            let _ = self.fs.unlink(&pending.to);
            let path = text(&pending.to);
            ops.push(Op::Remove { path });
        }
        for pending in left {
            match pending.how {
                How::Moved => ops.push(Op::moved(&pending.to, &pending.from)),
                How::New => {
                    if pending.content.is_some() {
                        let _ = self.fs.unlink(&pending.from);
                    }
                    let path = text(&pending.to);
                    ops.extend(never_was(&path));
                    ops.push(Op::Void { path });
                }
                How::Replaced => {
                    let _ = self.fs.unlink(&pending.from);
                    ops.extend(self.as_it_is(&pending.to));
                }
            }
        }
        let path = left
            .first()
            .map_or(PathBuf::new(), |pending| pending.to.clone());
        let mut state = self.state.lock();
        let hashed = Hashed::new(&ops, &[]);
        hashed.said.iter().for_each(|said| self.records.tell(said));
        let taken_back = state.push(&hashed);
        self.appended.notify_one();
        let Some(step) = step else {
            return;
        };
        let is_first = !state.failed.contains_key(&step);
        if is_first {
            tracing::error!(path = %path.display(), %error, "cannot publish");
        }
        // The first reason is the one to be told.
        let failed = state.failed.entry(step).or_insert(Failed {
            path,
            error,
            taken_back,
        });
        failed.taken_back = taken_back;
        if state.failed.len() > FAILED_MAX {
            state.failed.pop_first();
        }
    }

    /// What a file that was not replaced holds, as an operation; `None` when that cannot be said.
    fn as_it_is(&self, path: &Path) -> Option<Op> {
        match self.fs.read(path) {
            Ok(bytes) if bytes.len() <= INLINE_BYTES_MAX => Some(Op::Put {
                path: text(path),
                bytes: bytes.into(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Some(Op::Remove { path: text(path) })
            }
            Ok(_) | Err(_) => None,
        }
    }

    /// Waits until a durable mark covers record `last`, without asking for one before its time.
    fn covered(&self, last: u64) -> io::Result<()> {
        if !self.is_threaded() {
            return self.checkpoint()?.fully();
        }
        let deadline = Instant::now() + COVERED_WITHIN;
        let mut state = self.state.lock();
        while state.checkpointed < last {
            if let Some(reason) = self.health.reason() {
                return Err(io::Error::other(reason.to_owned()));
            }
            if self.advanced.wait_until(&mut state, deadline).timed_out() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    /// Waits until a durable mark covers record `last`.
    fn wait_until_free(&self, last: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        while state.checkpointed < last {
            if let Some(reason) = self.health.reason() {
                return Err(io::Error::other(reason.to_owned()));
            }
            if !self.is_threaded() {
                drop(state);
                self.checkpoint()?.fully()?;
                state = self.state.lock();
                continue;
            }
            state.full = true;
            self.pressed.notify_one();
            self.advanced.wait(&mut state);
        }
        Ok(())
    }

    /// One turn of the checkpointer. False when the journal is closed or has failed.
    fn keep(&self) -> bool {
        let is_pressed = {
            let mut state = self.state.lock();
            loop {
                if state.closing {
                    return false;
                }
                let covered = state.flushed == state.checkpointed;
                let due = state.appended_at.elapsed() >= QUIET
                    || state.marked_at.elapsed() >= CHECKPOINT_EVERY;
                if state.full || (!covered && due) {
                    break std::mem::take(&mut state.full);
                }
                self.pressed.wait_for(&mut state, QUIET);
            }
        };
        match self.checkpoint() {
            Ok(Covered::All) => true,
            // There is room for more records, so there is time.
            Ok(Covered::Less(_)) if !is_pressed => {
                std::thread::sleep(QUIET);
                true
            }
            Ok(Covered::Less(error)) | Err(error) => {
                self.health.fail("checkpoint", Path::new(DIR), &error);
                self.wake_all();
                false
            }
        }
    }

    /// Makes durable in their files and directories what the records so far say, and notes that.
    fn checkpoint(&self) -> io::Result<Covered> {
        let (through, checkpointed) = {
            let state = self.state.lock();
            (state.flushed, state.checkpointed)
        };
        if through > checkpointed {
            if let Some(reason) = self.health.reason() {
                return Err(io::Error::other(reason.to_owned()));
            }
            if let Err(error) = self.append_records(&[]) {
                return Ok(Covered::Less(error));
            }
            self.records.events.show();
            self.records.close_files();
            if self.injected.syncs_checkpoints() {
                self.fs.sync_all()?;
            }
        }
        let given = self.ids.lock().clone();
        let mount = self.mount.filter(|_| self.health.reason().is_none());
        self.write_mark(&Mark {
            through,
            given,
            mount,
        })?;
        let mut state = self.state.lock();
        state.checkpointed = state.checkpointed.max(through);
        state.marked_at = Instant::now();
        drop(state);
        self.advanced.notify_all();
        Ok(Covered::All)
    }

    /// The disk has failed: what was written may be gone without a reboot, and the next start is to
    /// look at all of it. Best effort: a disk that does not take this takes nothing any more.
    fn distrust(&self) {
        let through = self.state.lock().checkpointed;
        let mark = Mark {
            through,
            given: self.ids.lock().clone(),
            mount: None,
        };
        // In both places: a mark of which the sync has failed may be there, and goes further than this one.
        let _ = self.write_mark(&mark).and_then(|()| self.write_mark(&mark));
    }

    fn write_mark(&self, mark: &Mark) -> io::Result<()> {
        let mut file = self.mark.lock();
        let offset = (file.1 * MARK_BYTES) as u64;
        file.1 = 1 - file.1;
        self.fs.write_at(&file.0, offset, &mark.to_bytes())?;
        self.fs.sync_data(&file.0)
    }
}

/// What fits into a segment of that size.
fn room_in(segment_bytes: u64) -> usize {
    usize::try_from(segment_bytes).unwrap_or(usize::MAX) - SEGMENT_HEAD_BYTES
}

/// Makes the file that is to get a name, if that is left to the committer.
fn make(fs: &impl Fs, pending: &PendingRename) -> io::Result<()> {
    let Some(content) = &pending.content else {
        return Ok(());
    };
    let made = fs.create(&pending.from);
    let made = made.and_then(|file| fs.write(&file, content));
    if made.is_err() {
        // Half of it must not get the name.
        let _ = fs.unlink(&pending.from);
    }
    made
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Gives a file its name. True when it is to take the place of another and there was none.
fn publish(fs: &impl Fs, pending: &PendingRename) -> io::Result<bool> {
    let give = || match pending.how {
        How::Moved | How::New => fs.rename(&pending.from, &pending.to).map(|()| false),
        How::Replaced => {
            let is_new = fs.stat(&pending.to)?.is_none();
            fs.replace(&pending.from, &pending.to).map(|()| is_new)
        }
    };
    match give() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if pending.how == How::Moved && fs.stat(&pending.from)?.is_none() {
                tracing::warn!(path = %pending.from.display(), "moved by hand as it was settled");
                return Ok(false);
            }
            // It could not be made before, or the directory was removed.
            if fs.stat(&pending.from)?.is_none() {
                make(fs, pending)?;
            }
            make_parents(fs, &pending.to)?;
            give()
        }
        other => other,
    }
}

/// What the day's record is to have of a job that it has a line of, and that could not be stored.
fn never_was(path: &str) -> Option<Op> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(0));
    let mut ended = Ended::new(&replay::job_of(path)?, Act::Removed, now_ms);
    ended.text = Some("it could not be stored, and was never accepted".to_owned());
    Some(Op::Ended(Box::new(ended)))
}

fn make_parents(fs: &impl Fs, path: &Path) -> io::Result<()> {
    let mut dirs: Vec<&Path> = path.ancestors().skip(1).collect();
    dirs.retain(|dir| !dir.as_os_str().is_empty());
    dirs.into_iter()
        .rev()
        .try_for_each(|dir| fs.make_dir(dir).map(drop))
}
