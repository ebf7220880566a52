//! The store: where jobs are kept, behind one seam.
//!
//! The layers above are written once against [`Store`] and know no path, no descriptor and no ticket of a
//! journal. An engine says what its promises survive. There is one for a machine of its own, directories
//! in [`fs`], and one for several machines, tables in `pg`; the one in `memory` survives nothing and is what the
//! conformance suite is tried on first.
//! Every engine passes the same suite, `conformance`.
//!
//! The service, and so every dialect, the worker, what operators do and what the command line shows use
//! the seam.
//!
//! Invariant: what a call reports as done is done for good: it survives what the engine survives, and later calls see it.
//! Invariant: what a call shows is durable. Nothing is shown that a power cut could take back.
//! Invariant: what a viewer may not see costs, and is answered, like what does not exist.

mod activity;
pub mod audit;
mod by;
pub mod check;
#[cfg(test)]
mod conformance;
#[cfg(any(test, feature = "cluster"))]
mod document;
mod error_groups;
pub mod events;
pub mod fs;
mod job;
#[cfg(test)]
pub mod memory;
#[cfg(feature = "cluster")]
pub mod pg;
mod run;
#[cfg(any(test, feature = "cluster"))]
mod scratch;

pub use activity::{Activity, Recent, Tally};
pub use by::{By, Origin, until_of};
pub use error_groups::{ErrorGroup, Failing, HOURS};
pub use job::{
    AtPlace, Attempt, AttemptEnd, Came, Cancelled, Counts, Failure, Filter, InterfaceCounts,
    JobDetail, JobRecord, JobSummary, Key, Keyed, NewJob, NewName, NotReady, Now, Of, Page,
    Remains, Results, Sight, SightOf, State, Stored, Traces, Viewer, Want,
};

pub use fs::REST as DROPS_REST;
pub use run::{
    Asked, Beside, Claimed, Fate, Interrupted, KeptRun, Lease, LeftBehind, Precedence, RunLog,
    Settled, Settlement, Waiting, Workspace,
};

use crate::{
    cron_schedule::{Progress, Schedule, ScheduleId},
    domain::joblog::{JobLog, Message},
    domain::{InterfaceName, Job, JobName, Queue, UserName},
};
use async_trait::async_trait;
use audit::{AuditHead, AuditRecord, Entry};
use bytes::Bytes;
use check::{CheckProgress, Checked};
use events::{Ending, Event, EventId, EventRecord, FailedAttempt, Outgoing, WhichEvents};
use jiff::{Timestamp, civil::Date};
use std::{
    collections::{HashMap, HashSet},
    fmt,
    future::Future,
    io,
    ops::Range,
    pin::Pin,
    sync::Arc,
};

/// Why a call did nothing, or not surely all, by what the caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room, and nothing has happened: the same can succeed once there is some.
    #[error("no space left: {0}")]
    Full(String),
    /// Surely nothing has happened, and the same will not succeed.
    #[error("{0}")]
    Refused(String),
    /// There is nothing of that name, any more.
    #[error("{0}")]
    NotFound(String),
    /// Nothing has happened, since what was meant is in another state than that needs, or moved meanwhile: look
    /// again.
    #[error("{0}")]
    Conflict(String),
    /// The outcome is unknown, or the engine cannot be reached now: the same may be tried again, with the
    /// same key.
    #[error("{0}")]
    Unavailable(String),
    /// The engine has failed for good and accepts nothing more.
    #[error("the store is unhealthy: {0}")]
    Unhealthy(String),
}

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Something that is read while others go on.
pub type Reading<T> = Pin<Box<dyn Future<Output = Result<T>> + Send + Sync>>;

/// What came of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    New(Stored),
    /// Key and bytes are those of an earlier request: what that one led to.
    Same(Keyed),
    /// The key is that of an earlier request with other bytes; nothing has happened.
    Different,
}

/// What came of saving a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    New,
    /// By an earlier request with the same key and document.
    Same(ScheduleId),
    /// The key is that of another request; nothing has happened.
    Different,
}

/// What came of the job of a schedule's moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fired {
    New(Stored, Progress),
    /// The moment has its job already.
    Before(JobName, Progress),
}

/// A saved schedule.
#[derive(Clone, Debug)]
pub struct SavedSchedule {
    pub schedule: Schedule,
    pub progress: Progress,
    /// An operator asks that it follow the clock from now on.
    pub reset_asked: bool,
}

/// How far a hold is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldEnd {
    /// It has ended now, since it was to last until then.
    Ended(Timestamp),
    /// It ends by itself then.
    At(Timestamp),
    /// There is none, or it lasts until somebody releases it.
    Never,
}

/// What is free for new jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub free_bytes: u64,
    /// `None`: they are without number.
    pub free_files: Option<u64>,
}

/// The bytes of a job or of a result, as they were when it was opened: a move in the meantime changes
/// nothing for whoever reads.
pub trait ReadContent: Send + Sync {
    /// These bytes, all of them. An engine may begin to read before the result is polled.
    ///
    /// # Errors
    /// When they cannot be read, or are not there any more.
    fn read(&self, range: Range<u64>) -> Reading<Bytes>;

    /// The bytes from the first on. What it gives blocks, and so does this call.
    ///
    /// # Errors
    /// When they cannot be read.
    fn reader(&self) -> io::Result<Box<dyn io::Read + Send>>;
}

/// What can be read of the store.
#[derive(Clone)]
pub struct Content {
    pub bytes: u64,
    /// In hex; `None` when it is not known to be that of these bytes.
    pub sha256: Option<String>,
    reader: Arc<dyn ReadContent>,
}

impl Content {
    pub fn new(bytes: u64, sha256: Option<String>, reader: Arc<dyn ReadContent>) -> Self {
        Self {
            bytes,
            sha256,
            reader,
        }
    }

    /// These bytes of it, as [`ReadContent::read`].
    pub fn read(&self, range: Range<u64>) -> Reading<Bytes> {
        self.reader.read(range)
    }

    /// All of it from the first byte on, as [`ReadContent::reader`].
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn reader(&self) -> io::Result<Box<dyn io::Read + Send>> {
        self.reader.reader()
    }
}

impl Content {
    /// These bytes, which are in memory.
    #[cfg(any(test, feature = "cluster"))]
    pub(crate) fn of_bytes(bytes: impl Into<Bytes>, sha256: Option<String>) -> Self {
        struct Whole(Bytes);
        impl ReadContent for Whole {
            fn read(&self, range: Range<u64>) -> Reading<Bytes> {
                let range = range.start as usize..range.end as usize;
                let read = match range.end <= self.0.len() {
                    true => Ok(self.0.slice(range)),
                    false => Err(StoreError::Unavailable("it is shorter".into())),
                };
                Box::pin(std::future::ready(read))
            }

            fn reader(&self) -> io::Result<Box<dyn io::Read + Send>> {
                Ok(Box::new(io::Cursor::new(self.0.clone())))
            }
        }
        let bytes: Bytes = bytes.into();
        Self::new(bytes.len() as u64, sha256, Arc::new(Whole(bytes)))
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.bytes)
    }
}

/// A document on its way in. No call sees it before it is committed; dropped, or cut off by a crash, it
/// leaves nothing that stays.
#[async_trait]
pub trait DocumentWriter: Send {
    /// # Errors
    /// [`StoreError::Full`] among others; the upload is of no use any more.
    async fn append(&mut self, bytes: Bytes) -> Result<()>;

    /// The document is complete.
    ///
    /// # Errors
    /// As those of [`DocumentWriter::append`].
    async fn seal(self: Box<Self>) -> Result<Sealed>;
}

/// A complete document: only an [`DocumentWriter`] makes one. It is durable once it is committed.
pub struct Sealed(Box<dyn SealedBody>);

/// The document of a [`Sealed`], as its engine has it.
pub trait SealedBody: Send + Sync {
    fn bytes(&self) -> u64;

    /// Of all bytes, in hex. May take as long as hashing them does.
    fn sha256(&self) -> &str;

    /// The document, if it is in memory.
    fn in_memory(&self) -> Option<&[u8]>;

    /// The document from its first byte on, as often as it is asked for. What it gives blocks, and so does
    /// this call.
    ///
    /// # Errors
    /// When it cannot be read back.
    fn reader(&self) -> io::Result<Box<dyn io::Read + Send>>;

    /// For the engine that made it.
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send>;
}

impl Sealed {
    pub fn new(body: Box<dyn SealedBody>) -> Self {
        Self(body)
    }

    /// What the engine that made it knows of it; `None` for another engine.
    fn downcast<T: 'static>(self) -> Option<Box<T>> {
        self.0.into_any().downcast().ok()
    }
}

impl std::ops::Deref for Sealed {
    type Target = dyn SealedBody;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

#[async_trait]
pub trait Store: Send + Sync + 'static {
    // --- in

    /// The beginning of a document; nothing is written before its first bytes come.
    fn begin(&self, name: NewName) -> Box<dyn DocumentWriter>;

    /// Makes a document a job that waits in an interface. `New` and `Same` are given only when the job is
    /// durable, and visible to [`Store::find`] and [`Store::list`]. Of one key there is one job, or schedule, or
    /// refused document. What fails has made no job, unless it is [`StoreError::Unavailable`].
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn commit(
        &self,
        sealed: Sealed,
        job: NewJob,
        interface: &InterfaceName,
        key: Option<&Key>,
    ) -> Result<Receipt>;

    /// Keeps a document that is not in order among the refused, with what is wrong with it as its log. The
    /// promise is that of [`Store::commit`].
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn refuse(
        &self,
        sealed: Sealed,
        job: NewJob,
        interface: Option<&InterfaceName>,
        findings: Vec<Message>,
        key: Option<&Key>,
    ) -> Result<Receipt>;

    /// What the first request with a key led to.
    ///
    /// # Errors
    /// When that cannot be looked up now.
    async fn find_key(&self, key: &Key) -> Result<Option<Keyed>>;

    // --- looking

    /// A job in whatever state. `None`: there is none, or not for this viewer; the two cost the same.
    ///
    /// # Errors
    /// When the engine cannot be read: that is no answer, ask again.
    async fn find(&self, viewer: &Viewer, of: Of, want: Want) -> Result<Option<JobDetail>>;

    /// The same of jobs that a list has shown, in their order; without those that are gone.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn details(&self, jobs: Vec<Job>, want: Want) -> Result<Vec<JobDetail>>;

    /// Jobs by their names, `limit` of them at most and at least one, `after` a name that need not be
    /// there any more. Over a whole walk a job that is there all
    /// the while is shown once, whatever moves. Reads no document and no log; what is known of a job is looked up in
    /// the record, each day of which is read once.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn list(
        &self,
        viewer: &Viewer,
        filter: &Filter,
        after: Option<JobName>,
        limit: usize,
    ) -> Result<Page>;

    /// What the jobs that a viewer sees have failed of at that moment of the Unix epoch or later, those of one kind of
    /// error together, the largest group first. How a job failed last counts, as long as it has not gone on.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn error_groups(
        &self,
        viewer: &Viewer,
        of: Failing,
        since_ms: Option<i64>,
    ) -> Result<Vec<ErrorGroup>> {
        error_groups::by_list(self, viewer, of, since_ms).await
    }

    /// How the attempts at a job have ended, in that order, as far as it is recorded. One that was sent to its queue
    /// begins again from the first. What is recorded of a job that is gone stays.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn attempts(&self, job: &JobName) -> Result<Vec<Attempt>>;

    /// Those of these jobs that lie in their queues.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn still_waiting(&self, jobs: Vec<JobName>) -> Result<Vec<JobName>>;

    /// Is there a job of that name, or a log of one?
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn is_known(&self, job: &JobName) -> Result<bool>;

    /// The log of a job that has ended; of one that someone moved to where it is, what can be said of it. The log of
    /// a job that is gone stays.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn log(&self, job: &Job) -> Result<JobLog>;

    /// The document of a job; `None`: it is not at that place any more, or not complete yet.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn open(&self, job: &Job) -> Result<Option<Content>>;

    /// A file that the processor made of a job, one of those that [`Results`] names.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn open_result(&self, job: &JobName, name: &str) -> Result<Option<Content>>;

    /// Is an interface on hold?
    ///
    /// # Errors
    /// When that cannot be looked up.
    async fn is_held(&self, interface: &InterfaceName) -> Result<bool>;

    /// How many jobs are where, in queues as far as they are complete. Cheap enough to be asked for every few
    /// seconds, however many have ended.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn counts(&self) -> Result<Counts>;

    /// How many jobs came and ended in the last day, for operators. What happened before this process began is counted
    /// as far as it is of jobs that came on the day of its start or on the one before.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn activity(&self) -> Result<Activity>;

    /// How many bytes each user has uploaded on a UTC day, by the names of the jobs: of documents that were
    /// accepted or refused, also of those that are gone. What schedules, processors and other hands have made is no
    /// upload.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn uploaded_bytes(&self, day: Date) -> Result<HashMap<String, u64>>;

    /// When an interface was first served, in milliseconds of the Unix epoch.
    ///
    /// # Errors
    /// When that cannot be looked up.
    async fn served_since_ms(&self, interface: &InterfaceName) -> Result<i64>;

    // --- runs

    /// What waits in an interface for a worker, and what has been dropped there by hand and is complete.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn waiting_jobs(&self, interface: &InterfaceName, asked: Asked) -> Result<Waiting>;

    /// When a job that waits in an interface is taken. `whose`: as in [`Asked::whose`].
    ///
    /// # Errors
    /// When that cannot be read now.
    async fn precedence(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        whose: bool,
    ) -> Result<Precedence>;

    /// Takes a job that waits in an interface, for a run: no other claim takes it until it is settled.
    /// The attempt is counted durably before the lease is given. Held interfaces give nothing. `works`:
    /// a processor will work on it, so it needs a directory, and once it is taken the attempt counts.
    ///
    /// # Errors
    /// See [`StoreError`]. The job waits, or is found by [`Store::left_behind`].
    async fn claim(&self, interface: &InterfaceName, job: &JobName, works: bool)
    -> Result<Claimed>;

    /// What has become of the document of a run that has ended. One that was taken away is restored.
    ///
    /// # Errors
    /// When that cannot be looked up now. Nothing is to be decided before it is known.
    async fn check_document(&self, lease: &Lease) -> Result<Fate>;

    /// Checks what a processor has left, before any of it is published. Gives what is to be said of it
    /// although it can be.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when it cannot be published: the job is to fail. Any other error is the
    /// engine's: [`Store::settle`] looks again.
    async fn check_output(&self, lease: &Lease) -> Result<Option<String>>;

    /// The end of a run: the job's move, its log, and if it is done its results and the jobs that it
    /// made, as one step that is durable. `None` for the log: it is settled without one. Settling again
    /// is answered as before.
    ///
    /// # Errors
    /// See [`StoreError`]: it may be settled again, also otherwise. [`StoreError::Refused`]: what the
    /// processor left cannot be published.
    async fn settle(&self, lease: &Lease, what: Settlement, log: Option<RunLog>)
    -> Result<Settled>;

    /// Jobs of an interface with runs that no lease of this process is for: those of a service before
    /// this one, and those whose lease was lost.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn left_behind(&self, interface: &InterfaceName) -> Result<Vec<LeftBehind>>;

    /// How a run ended that was left behind, if it has and that was kept.
    ///
    /// # Errors
    /// When that cannot be looked up now.
    async fn kept(&self, lease: &Lease) -> Result<Option<KeptRun>>;

    /// Takes up a run that was left behind and has ended, so that it can be settled. False: it goes
    /// on, or the job is elsewhere.
    ///
    /// # Errors
    /// When that cannot be looked up now.
    async fn take_up(&self, lease: &Lease) -> Result<bool>;

    /// Ends a run that was left behind as one that was cut off: its job waits again, or has failed. False:
    /// it goes on.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn cut_off(&self, lease: &Lease) -> Result<bool>;

    /// Cancels jobs that wait, or whose run was left behind and has ended; one outcome for each, in their order. False: a
    /// processor works on it, or it is not at that place any more: look again. Durable when it returns; they wait
    /// for the disk together.
    ///
    /// Errors: see [`StoreError`]; [`StoreError::Conflict`] for a job that has ended.
    async fn cancel_all(&self, jobs: Vec<Job>, by: &By) -> Vec<Result<bool>>;

    /// The same with one.
    ///
    /// # Errors
    /// As those of [`Store::cancel_all`].
    async fn cancel(&self, job: &Job, by: &By) -> Result<bool> {
        one(self.cancel_all(vec![job.clone()], by).await)
    }

    /// Lets a deferred job wait in its queue again. False: it is not deferred any more.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn release_due(&self, job: &Job) -> Result<bool>;

    // --- out

    /// A user has retrieved all of a job that waits: it is done, with its log. When it does not wait any
    /// more, nothing happens.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn fetched(&self, job: &Job, by: &By) -> Result<()>;

    // --- schedules

    /// An id that nothing else has.
    fn new_schedule_id(&self) -> ScheduleId;

    /// Saves a schedule under a new id. Durable, as [`Store::commit`].
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn save_schedule(
        &self,
        id: ScheduleId,
        schedule: &Schedule,
        key: Option<&Key>,
    ) -> Result<Saved>;

    /// The ids of all schedules, oldest first.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn schedules(&self) -> Result<Vec<ScheduleId>>;

    /// # Errors
    /// When it cannot be read; one that someone has edited badly says what is wrong.
    async fn schedule(&self, id: ScheduleId) -> Result<Option<SavedSchedule>>;

    /// How far a schedule is, when it makes no job. Nothing happens when there is none.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn save_progress(&self, id: ScheduleId, progress: &Progress) -> Result<()>;

    /// Lets a schedule go on as `progress` says, as an operator has asked. Nothing happens when there is none.
    ///
    /// # Errors
    /// See [`StoreError`]; it is asked for still.
    async fn reset_schedule(&self, id: ScheduleId, progress: &Progress) -> Result<()>;

    /// Makes the job of a moment, with how far the schedule is then, in one step: `progress` is how far it was
    /// before. A moment has one job, however often this is called.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Refused`] when there is no such schedule any more.
    async fn fire(
        &self,
        id: ScheduleId,
        moment: Timestamp,
        progress: &Progress,
        sealed: Sealed,
        job: NewJob,
        interface: &InterfaceName,
    ) -> Result<Fired>;

    /// False: there is none. It makes no more jobs.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn remove_schedule(&self, id: ScheduleId, by: &By) -> Result<bool>;

    // --- operators
    //
    // What these do is durable when they return, with by whom as far as the engine records it. A job is
    // given as it was last seen: when it has moved since, nothing happens to it and nothing is said in its log.

    /// Those that are configured, by their names.
    fn interfaces(&self) -> Vec<InterfaceName>;

    /// Jobs as [`Store::find`] shows them to whoever sees everything, without their records; `None` for one that there
    /// is not. They are found wherever they are, also where somebody has put them by hand, which may take more looks.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn find_all_anywhere(&self, jobs: Vec<JobName>) -> Result<Vec<Option<JobSummary>>>;

    /// The same with one.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn find_anywhere(&self, job: &JobName) -> Result<Option<JobSummary>> {
        let found = self.find_all_anywhere(vec![job.clone()]).await?;
        Ok(found.into_iter().next().flatten())
    }

    /// What is kept of a job that there is or was.
    ///
    /// # Errors
    /// When the engine cannot be read. A log that cannot be read counts as none.
    async fn remains(&self, job: &JobName) -> Result<Remains>;

    /// Why a job that was seen in its queue is not taken, if there is a reason in itself. Nothing is said of one
    /// elsewhere.
    ///
    /// # Errors
    /// When that cannot be looked up.
    async fn not_ready(&self, job: &Job) -> Result<Option<NotReady>>;

    /// What lies in the queue of an interface for no user: where, and why it is for none.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn astray(&self, interface: &InterfaceName) -> Result<Vec<(String, String)>>;

    /// What the processor of a job that runs has said until now, as its log would say it.
    ///
    /// # Errors
    /// When the engine cannot be read; of what cannot be read of the job nothing is said.
    async fn said_so_far(&self, job: &Job) -> Result<Vec<Message>>;

    /// When files had to be restored at the last start after a crash, in milliseconds of the Unix epoch, and which.
    ///
    /// # Errors
    /// When that cannot be looked up.
    async fn restored(&self) -> Result<Option<(i64, Vec<String>)>>;

    /// Is there a user of that name, as far as is known?
    ///
    /// # Errors
    /// When that cannot be looked up.
    async fn is_user(&self, user: &UserName) -> Result<bool>;

    /// For whom a job is, or was when that was last known. `None` also when it was never addressed.
    ///
    /// # Errors
    /// When that cannot be looked up.
    async fn addressee_of(&self, job: &Job) -> Result<Option<UserName>>;

    /// Does a job look as if it ran, while its run has ended and no service is there to settle it?
    ///
    /// # Errors
    /// When that cannot be looked up.
    async fn is_cut_off(&self, job: &Job) -> Result<bool>;

    /// What the hold of an interface says: by whom, since when and why. `None`: it is not on hold.
    ///
    /// # Errors
    /// When that cannot be looked up.
    async fn hold_text(&self, interface: &InterfaceName) -> Result<Option<String>>;

    /// Holds an interface: nothing more of it is started; what runs runs on. `until`: then it ends, by
    /// [`Store::end_hold`]. `Some`: it was on hold before, as this says, and stays so, since the one who holds it again
    /// says neither a reason nor until when.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::NotFound`] when there is no such interface.
    async fn hold(
        &self,
        interface: &InterfaceName,
        by: &By,
        until: Option<Timestamp>,
    ) -> Result<Option<String>>;

    /// Ends a hold whose moment has come.
    ///
    /// # Errors
    /// As those of [`Store::hold`].
    async fn end_hold(&self, interface: &InterfaceName) -> Result<HoldEnd>;

    /// Ends a hold. False: it was not on hold.
    ///
    /// # Errors
    /// As those of [`Store::hold`].
    async fn resume(&self, interface: &InterfaceName, by: &By) -> Result<bool>;

    /// Sends jobs that do not run to queues, their attempts counted from none; one outcome for each, in their order. Their
    /// logs say by whom. Gives where each is then; its name is another one if its own was taken there. They wait for the
    /// disk together, and one that cannot be sent stops no other.
    ///
    /// Errors: see [`StoreError`]; [`StoreError::Conflict`] when it runs, waits there already or has moved,
    /// [`StoreError::NotFound`] when there is no such interface or the job is gone.
    async fn requeue_all(&self, jobs: Vec<(Job, Queue)>, by: &By) -> Vec<Result<Job>>;

    /// The same with one.
    ///
    /// # Errors
    /// As those of [`Store::requeue_all`].
    async fn requeue(&self, job: &Job, to: &Queue, by: &By) -> Result<Job> {
        one(self.requeue_all(vec![(job.clone(), to.clone())], by).await)
    }

    /// Removes, for ever, jobs that do not run; one outcome for each, in their order. Their logs stay and say by whom;
    /// one without a log gets one. They wait for the disk together.
    ///
    /// Errors: as those of [`Store::requeue_all`].
    async fn remove_all(&self, jobs: Vec<Job>, by: &By) -> Vec<Result<()>>;

    /// The same with one.
    ///
    /// # Errors
    /// As those of [`Store::remove_all`].
    async fn remove(&self, job: &Job, by: &By) -> Result<()> {
        one(self.remove_all(vec![job.clone()], by).await)
    }

    /// Adds to the log of a refused document that it was validated again for an interface and is still
    /// wrong: by whom, and what is wrong with it.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Conflict`] when it is not among the refused, or no longer.
    async fn refuse_again(
        &self,
        job: &Job,
        interface: &InterfaceName,
        findings: Vec<Message>,
        by: &By,
    ) -> Result<()>;

    /// Asks that a schedule follow the clock from now on, which [`Store::reset_schedule`] does. False: there is
    /// none.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn ask_reset(&self, id: ScheduleId, by: &By) -> Result<bool>;

    /// How much there is of a submitter.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn traces_of(&self, submitter: &str) -> Result<Traces>;

    /// Removes what there is of a submitter: documents, logs, results and keys of his jobs, and what the record
    /// says of him. While one of his jobs waits or runs, or a schedule of his is there, nothing is done; what is
    /// given says so. Durable when it returns.
    ///
    /// # Errors
    /// See [`StoreError`]. Part of it may be gone: it can be done again.
    async fn forget(&self, submitter: &str) -> Result<Traces>;

    /// Records what somebody wants done, before it is done, or what came of it; gives the number of that record.
    /// Durable when it returns.
    ///
    /// # Errors
    /// See [`StoreError`]. What could not be recorded is not to be done.
    async fn audit(&self, entry: &Entry) -> Result<u64>;

    /// The newest record of the audit; `None`: there is none.
    ///
    /// # Errors
    /// When that cannot be read.
    async fn audit_head(&self) -> Result<Option<AuditHead>>;

    /// The newest records of the audit, so many at most, oldest first. Lines that are no records are left out.
    ///
    /// # Errors
    /// When they cannot be read.
    async fn audited(&self, limit: usize) -> Result<Vec<AuditRecord>>;

    // --- events
    //
    // An event of a job, and that of a hold, is recorded in one step with what it reports, for the receivers that
    // want it. It waits for each of them until it ends, and is shown once what it reports is durable.

    /// Records an event that no change here reports; `key` tells it from all others of its kind. Called again in the
    /// days after, also by a later process, it does nothing. False: it did nothing, or nobody wants the event.
    /// Durable when it returns.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn record_event(&self, event: &Event, key: &str) -> Result<bool>;

    /// The oldest events that wait for a receiver, without these.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn waiting_events(
        &self,
        receiver: &str,
        without: &HashSet<EventId>,
        limit: usize,
    ) -> Result<Vec<Outgoing>>;

    /// Events wait no longer. That need not be durable when it returns: after a crash they may wait again.
    ///
    /// # Errors
    /// See [`StoreError`]: some of them wait still.
    async fn end_events(&self, endings: Vec<Ending>) -> Result<()>;

    /// Attempts to send events failed: they count, and the events wait on. That need not be durable when it returns:
    /// after a crash the last ones may be forgotten.
    ///
    /// # Errors
    /// See [`StoreError`]: some of them do not count.
    async fn note_failed_attempts(&self, failed: Vec<FailedAttempt>) -> Result<()>;

    /// When the events that were sent to a receiver in vain are due again.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn event_dues(&self, receiver: &str) -> Result<Vec<(EventId, Timestamp)>>;

    /// Ends, as dead, events that were recorded before a moment, and the oldest beyond so many bytes, where one that
    /// waits for two receivers counts twice. Gives how many that are; there may be more.
    ///
    /// # Errors
    /// As those of [`Store::end_events`].
    async fn bury_events(&self, before: Timestamp, bytes_max: u64) -> Result<usize>;

    /// The events that are meant, of those that are kept, oldest first.
    ///
    /// # Errors
    /// When the engine cannot be read.
    async fn events(&self, which: &WhichEvents) -> Result<Vec<EventRecord>>;

    /// Lets those of the events that are meant wait again which have ended and whose receiver there still is. Gives
    /// how many that are. Durable when it returns.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn redeliver(&self, which: &WhichEvents) -> Result<usize>;

    /// Resolves once there is an event that was not there when it resolved last. For one caller at a time.
    async fn event_recorded(&self);

    // --- the engine

    /// Tries at start whether the engine keeps what this trait promises, as far as that can be tried, and leaves
    /// nothing behind. Gives what operators should know although it does. Not beside an engine that is at work.
    ///
    /// # Errors
    /// What is not kept, and what to do: nothing may be accepted.
    async fn probe(&self) -> Result<Vec<String>>;

    /// Looks at all that is kept, and whether it fits together: each job in one place, its document as it was
    /// accepted, nothing lost, nothing that is of no job. Changes nothing, and holds up nobody; what moves meanwhile is
    /// no flaw. Takes as long as reading every document.
    ///
    /// # Errors
    /// When the engine cannot be read. What cannot be read of a job is a flaw.
    async fn check(&self, progress: Arc<CheckProgress>) -> Result<Checked>;

    /// Looks whether it is as it has to be; an engine that is not at work may lack what a start makes.
    ///
    /// # Errors
    /// Why nothing can be accepted: [`StoreError::Unhealthy`], or [`StoreError::Refused`] when this program cannot
    /// use what is stored.
    async fn health(&self) -> Result<()>;

    // None of the following waits.

    /// By the store's clock, in milliseconds of the Unix epoch.
    fn now_ms(&self) -> i64;

    /// Why nothing more can be accepted, if the engine has failed for good.
    fn unhealthy(&self) -> Option<String>;

    /// How many events wait; one that waits for two receivers counts twice.
    fn pending_events(&self) -> usize;

    /// About how many jobs wait in an interface.
    fn waiting(&self, interface: &InterfaceName) -> usize;

    /// About what waits in an interface beside this job; `whose` as in [`Asked::whose`], as far as a worker has
    /// asked for that. `None`: the interface is held.
    fn waiting_beside(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        whose: bool,
    ) -> Option<Beside>;

    /// `None`: it is not known.
    fn capacity(&self) -> Option<Capacity>;

    /// Are the jobs of an interface for one user each?
    fn is_addressed(&self, interface: &InterfaceName) -> bool;
}

/// What came of a batch of one.
fn one<T>(mut all: Vec<Result<T>>) -> Result<T> {
    let none = || StoreError::Unavailable("the engine gave no outcome".into());
    all.pop().unwrap_or_else(|| Err(none()))
}
