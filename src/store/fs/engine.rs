//! The file engine behind the seam: what [`Store`] promises, by the calls of a [`Spool`].
//!
//! Here async meets the blocking spool: what reads or writes a disk runs on a blocking thread, and no
//! more of that at once than leave threads to the worker. Only a look at a name or two is made where it is asked for,
//! and a small document is recorded there, which touches no disk.

mod check;
mod content;
mod digest_cache;
mod failures;
mod inventory;
mod keys;
mod list;
mod look;
mod operators;
mod precedence;
mod queue_positions;
mod runs;
mod schedules;
mod tallies;
mod upload;
mod waiting;

use super::{Adopted, Moved, SealedPart, Spool, SpoolError, Ticket, WhenFull};
use crate::{
    cron_schedule::{Progress, Schedule, ScheduleId},
    domain::joblog::{JobLog, Level, Message, Status},
    domain::{InterfaceName, Job, JobName, Place, Queue, UserName},
    store::{
        Activity, Asked, Attempt, Beside, By, Capacity, Claimed, Content, Counts, DocumentWriter,
        ErrorGroup, Failing, Fate, Filter, Fired, HoldEnd, JobDetail, JobSummary, KeptRun, Key,
        Keyed, Lease, LeftBehind, NewJob, NewName, NotReady, Of, Page, Precedence, Receipt,
        Remains, Result, RunLog, Saved, SavedSchedule, Sealed, SealedBody, Settled, Settlement,
        Store, StoreError, Stored, Traces, Viewer, Waiting, Want,
        audit::{AuditHead, AuditRecord, Entry},
        check::{CheckProgress, Checked},
        error_groups::by_list,
        events::{Ending, Event, EventId, EventRecord, FailedAttempt, Outgoing, WhichEvents},
    },
    util::processors,
};
use async_trait::async_trait;
use content::FileContent;
use jiff::{Timestamp, civil::Date};
use keys::Keys;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
    sync::Arc,
    time::UNIX_EPOCH,
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use upload::{Body, FileSealed, FileUpload};

/// Blocking calls at once, whether or not someone still waits for them; the rest of the threads
/// is the worker's.
const THREADS_MAX: usize = 384;
/// Scans at once. More of them would wait for the same disk, and a start scans every queue.
const SCANS_MAX: usize = 16;
/// Commits at once: half of the blocking threads, so that processing goes on beside a flood.
const COMMITS_MAX: usize = 256;

/// A spool as a [`Store`].
pub struct FileStore(Arc<Inner>);

struct Inner {
    spool: Arc<Spool>,
    threads: Arc<Semaphore>,
    scans: Arc<Semaphore>,
    commits: Semaphore,
    small_commits: Semaphore,
    keys: Keys<Key>,
    /// Jobs that a call moves: those that were retrieved, or that an operator sends or removes.
    moving: Keys<JobName>,
    digests: digest_cache::DigestCache,
    runs: Arc<runs::Runs>,
    precedences: precedence::Precedences,
    positions: queue_positions::QueuePositions,
    tallies: tallies::Tallies,
    /// Interfaces that have been scanned once.
    scanned: Mutex<BTreeSet<InterfaceName>>,
    /// Those that were there at the last look; `None`: there was none.
    schedules: Mutex<Option<BTreeSet<ScheduleId>>>,
}

/// What is to become of a document.
struct Landing {
    job: NewJob,
    interface: Option<InterfaceName>,
    /// What is wrong with it: then it is refused.
    findings: Option<Vec<Message>>,
    key: Option<Key>,
}

/// A document that has its place, once the ticket is durable.
enum Landed {
    Now(Stored, Ticket),
    Before(Receipt),
}

impl FileStore {
    pub fn new(spool: Arc<Spool>) -> Self {
        Self(Arc::new(Inner {
            spool,
            threads: Arc::new(Semaphore::new(THREADS_MAX)),
            scans: Arc::new(Semaphore::new(SCANS_MAX)),
            commits: Semaphore::new(COMMITS_MAX),
            small_commits: Semaphore::new(processors()),
            keys: Keys::default(),
            moving: Keys::default(),
            digests: digest_cache::DigestCache::default(),
            runs: Arc::default(),
            precedences: precedence::Precedences::default(),
            positions: queue_positions::QueuePositions::default(),
            tallies: tallies::Tallies::default(),
            scanned: Mutex::default(),
            schedules: Mutex::default(),
        }))
    }

    /// Runs that recovery has found still going on, to be followed to their ends.
    pub fn adopt(&self, adopted: Vec<Adopted>) -> Vec<LeftBehind> {
        let adopted = adopted.into_iter();
        adopted.map(|run| self.0.left(run)).collect()
    }

    async fn land(&self, sealed: Sealed, landing: Landing) -> Result<Receipt> {
        let sealed = own(sealed)?;
        let inner = &self.0;
        let n_bytes = sealed
            .recorded_bytes()
            .filter(|_| landing.is_recorded_alone());
        if n_bytes.is_some_and(|n_bytes| inner.spool.keeps_up(n_bytes)) {
            let landed = inner.part_of(*sealed, &landing.job);
            return match landed.and_then(|part| inner.publish(part, &landing, WhenFull::Refuse))? {
                Landed::Now(stored, ticket) => inner.durable(stored, ticket, None).await,
                Landed::Before(receipt) => Ok(receipt),
            };
        }
        let key = landing.key.clone();
        // Commits under one key come one after the other.
        let _alone = match &key {
            None => None,
            Some(key) => Some(inner.keys.hold(key).await),
        };
        let permit = inner.permit(&sealed).await?;
        // What is synced first takes too long to be waited for.
        let expected = sealed.is_small().then(|| inner.spool.expect());
        let landed = inner.blocking(move |inner| {
            if let Some(before) = inner.before(landing.key.as_ref(), &sealed)? {
                return Ok(Landed::Before(before));
            }
            let part = inner.part_of(*sealed, &landing.job)?;
            // Its record comes now, so that a flush waits for the others only.
            drop(expected);
            inner.publish(part, &landing, WhenFull::Wait)
        });
        let landed = landed.await?;
        drop(permit);
        match landed {
            Landed::Before(receipt) => Ok(receipt),
            Landed::Now(stored, ticket) => inner.durable(stored, ticket, key).await,
        }
    }
}

impl Landing {
    /// Is nothing recorded beside the job, for which files are looked at or made?
    fn is_recorded_alone(&self) -> bool {
        self.key.is_none() && self.findings.is_none() && self.interface.is_some()
    }
}

impl Inner {
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T> {
        self.permitted(&self.threads, work).await
    }

    /// On a thread, once there is a permit for it.
    async fn permitted<T: Send + 'static>(
        self: &Arc<Self>,
        permits: &Arc<Semaphore>,
        work: impl FnOnce(&Self) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T> {
        // Nobody closes it.
        let permit = permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_| panicked())?;
        let this = self.clone();
        on_a_thread(move || {
            // Given back when the work ends, not when its caller goes.
            let _permit = permit;
            work(&this)
        })
        .await
    }

    /// The same for the worker, of whose calls there are no more than its jobs.
    async fn for_worker<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        on_a_thread(move || work(&this)).await
    }

    /// The same for the run of a lease, if it is ours; else `fenced`.
    async fn of_run<T: Send + 'static>(
        self: &Arc<Self>,
        lease: &Lease,
        fenced: T,
        work: impl FnOnce(&Self, &runs::Held) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T> {
        let held = lease.held::<runs::Held>();
        match held.filter(|held| held.is_of(&self.spool)) {
            None => Ok(fenced),
            Some(held) => self.for_worker(move |inner| work(inner, &held)).await,
        }
    }

    /// The same for what is shown afterwards: nothing is that a power cut could take back. Moves that were
    /// seen, but are not durable yet, are waited for.
    async fn looking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T> {
        let found = self.blocking(work).await?;
        self.seen().await?;
        Ok(found)
    }

    async fn seen(&self) -> Result<()> {
        Ok(self.spool.durable(self.spool.latest()).await?)
    }

    /// Waits for the right to commit. Small documents wait for no disk, and more of them at once than
    /// processors would only wait for each other's directories.
    async fn permit(&self, sealed: &FileSealed) -> Result<SemaphorePermit<'_>> {
        let permits = match sealed.is_small() {
            true => &self.small_commits,
            false => &self.commits,
        };
        // Nobody closes these.
        permits.acquire().await.map_err(|_| panicked())
    }

    /// What an earlier request with the same key led to.
    fn before(
        &self,
        key: Option<&Key>,
        sealed: &FileSealed,
    ) -> Result<Option<Receipt>, SpoolError> {
        let Some(key) = key else {
            return Ok(None);
        };
        let keyed = self.spool.find_record(key)?;
        Ok(keyed.map(|keyed| match keyed.sha256 == sealed.sha256() {
            true => Receipt::Same(keyed),
            false => Receipt::Different,
        }))
    }

    fn part_of(&self, sealed: FileSealed, job: &NewJob) -> Result<SealedPart, SpoolError> {
        let part = match sealed.body {
            Body::Part(part) => part,
            Body::Memory(bytes) => {
                let NewName { reference, kind } = sealed.name;
                let name = JobName::new(self.spool.next_id(), reference, kind);
                let mut part = self.spool.begin(name)?;
                part.write(&bytes)?;
                part
            }
        };
        part.seal(job)
    }

    fn publish(
        &self,
        part: SealedPart,
        landing: &Landing,
        when_full: WhenFull,
    ) -> Result<Landed, SpoolError> {
        let spool = &self.spool;
        let now_ms = spool.now_ms();
        let keyed = keyed(
            &part,
            landing.interface.as_ref(),
            landing.findings.is_some(),
        );
        let key = landing.key.as_ref().map(|key| (key, &keyed));
        let stored = stored(&part);
        let published = match (&landing.findings, &landing.interface) {
            (None, Some(interface)) => spool.enqueue_when(when_full, part, interface, key),
            (findings, interface) => {
                let log = JobLog {
                    job: part.name().clone(),
                    interface: interface.clone(),
                    status: Status::Error,
                    received_ms: now_ms,
                    started_ms: None,
                    finished_ms: now_ms,
                    attempts: 0,
                    bytes: part.bytes(),
                    sha256: Some(part.sha256().to_owned()),
                    messages: findings.clone().unwrap_or_default(),
                };
                spool.refuse(part, log, key)
            }
        };
        if let (Err(_), Some((key, _))) = (&published, key) {
            spool.drop_record(key);
        }
        let (_, ticket) = published?;
        Ok(Landed::Now(stored, ticket))
    }

    async fn durable(
        self: &Arc<Self>,
        stored: Stored,
        ticket: Ticket,
        key: Option<Key>,
    ) -> Result<Receipt> {
        self.durable_or_gone(ticket, &stored.job, key).await?;
        Ok(Receipt::New(stored))
    }

    /// Waits until what was published is durable; what cannot be is taken back.
    async fn durable_or_gone(
        self: &Arc<Self>,
        ticket: Ticket,
        job: &JobName,
        key: Option<Key>,
    ) -> Result<()> {
        let durable = self.spool.durable(ticket).await;
        if durable.is_ok() {
            self.spool.arrived(job);
        } else {
            let job = job.clone();
            let abandon = self.blocking(move |inner| {
                inner.spool.abandon(&job, key.as_ref());
                Ok(())
            });
            abandon.await?;
        }
        Ok(durable?)
    }

    fn fetched(&self, job: &Job, by: &By) -> Result<(), SpoolError> {
        let spool = &self.spool;
        if spool.bytes_of(job)?.is_none() {
            // Another poller was first: both have the bytes, the file moved once.
            return Ok(());
        }
        // Not by whom: whoever may see the interface reads this.
        let retrieved = Message::new(spool.now_ms(), Level::Info, "retrieved");
        let messages = spool.first_words(job).into_iter().chain([retrieved]);
        let log = JobLog {
            status: Status::Ok,
            ..spool.log_without_run(job, 0, messages.collect())
        };
        // Earlier in the journal than the move, so durable with it.
        let _ = spool.write_log(log)?;
        if let Moved::Done(archived) = spool.archive(job, by)? {
            tracing::info!(job = %archived.name, place = %archived.place, user = %by, "retrieved");
        }
        Ok(())
    }
}

#[async_trait]
impl Store for FileStore {
    fn begin(&self, name: NewName) -> Box<dyn DocumentWriter> {
        Box::new(FileUpload::new(self.0.clone(), name))
    }

    async fn commit(
        &self,
        sealed: Sealed,
        job: NewJob,
        interface: &InterfaceName,
        key: Option<&Key>,
    ) -> Result<Receipt> {
        let landing = Landing {
            job,
            interface: Some(interface.clone()),
            findings: None,
            key: key.cloned(),
        };
        self.land(sealed, landing).await
    }

    async fn refuse(
        &self,
        sealed: Sealed,
        job: NewJob,
        interface: Option<&InterfaceName>,
        findings: Vec<Message>,
        key: Option<&Key>,
    ) -> Result<Receipt> {
        let landing = Landing {
            job,
            interface: interface.cloned(),
            findings: Some(findings),
            key: key.cloned(),
        };
        self.land(sealed, landing).await
    }

    async fn find_key(&self, key: &Key) -> Result<Option<Keyed>> {
        let key = key.clone();
        let found = self.0.looking(move |inner| inner.spool.find_record(&key));
        found.await
    }

    async fn find(&self, viewer: &Viewer, of: Of, want: Want) -> Result<Option<JobDetail>> {
        // What is asked most is answered without a change of threads.
        if let Some(detail) = self.0.waiting_at(viewer, &of, want) {
            self.0.seen().await?;
            return Ok(Some(detail));
        }
        let viewer = viewer.clone();
        let found = self.0.looking(move |inner| inner.find(&viewer, of, want));
        found.await
    }

    async fn details(&self, jobs: Vec<Job>, want: Want) -> Result<Vec<JobDetail>> {
        let found = self.0.looking(move |inner| {
            let all = Viewer::all();
            let details = jobs.into_iter();
            let details = details.map(|job| inner.detail_there(&all, job, want));
            details.filter_map(std::result::Result::transpose).collect()
        });
        found.await
    }

    async fn list(
        &self,
        viewer: &Viewer,
        filter: &Filter,
        after: Option<JobName>,
        limit: usize,
    ) -> Result<Page> {
        let inner = &self.0;
        // What is asked most is answered without a change of threads.
        if inner.lists_at_once(viewer, filter) {
            let page = inner.list(viewer, filter, after.as_ref(), limit)?;
            inner.seen().await?;
            return Ok(page);
        }
        let (viewer, filter) = (viewer.clone(), filter.clone());
        let found = move |inner: &Inner| inner.list(&viewer, &filter, after.as_ref(), limit);
        self.0.looking(found).await
    }

    async fn error_groups(
        &self,
        viewer: &Viewer,
        of: Failing,
        since_ms: Option<i64>,
    ) -> Result<Vec<ErrorGroup>> {
        if !viewer.sees_all(&self.interfaces()) {
            return by_list(self, viewer, of, since_ms).await;
        }
        let groups = move |inner: &Inner| inner.error_groups(of, since_ms);
        self.0.looking(groups).await
    }

    async fn activity(&self) -> Result<Activity> {
        self.0.looking(|inner| inner.spool.activity()).await
    }

    async fn attempts(&self, job: &JobName) -> Result<Vec<Attempt>> {
        let job = job.clone();
        let ended = move |inner: &Inner| inner.spool.attempts_ended(&job);
        self.0.looking(ended).await
    }

    async fn still_waiting(&self, jobs: Vec<JobName>) -> Result<Vec<JobName>> {
        let found = self.0.blocking(move |inner| {
            let spool = &inner.spool;
            let waits = |job: &JobName| {
                let queue = spool.waits_in(job);
                queue.is_some_and(|queue| spool.is_waiting(job, &queue))
            };
            Ok(jobs.into_iter().filter(waits).collect())
        });
        found.await
    }

    async fn is_known(&self, job: &JobName) -> Result<bool> {
        let job = job.clone();
        let known = self.0.looking(move |inner| {
            let is_there = inner.spool.find(&job)?.is_some();
            Ok(is_there || inner.spool.read_log(&job).is_some())
        });
        known.await
    }

    async fn log(&self, job: &Job) -> Result<JobLog> {
        let job = job.clone();
        let found = self.0.looking(move |inner| {
            let log = inner.spool.shown_log(&job.name);
            Ok(log.unwrap_or_else(|| inner.bare_log(&job)))
        });
        found.await
    }

    async fn open(&self, job: &Job) -> Result<Option<Content>> {
        let job = job.clone();
        self.0.looking(move |inner| inner.open(&job)).await
    }

    async fn open_result(&self, job: &JobName, name: &str) -> Result<Option<Content>> {
        let (job, name) = (job.clone(), name.to_owned());
        let opened = self.0.looking(move |inner| {
            let file = inner.spool.open_result(&job, &name)?;
            let content = file.map(|file| inner.content(file, None, Path::new(&name)));
            content.transpose()
        });
        opened.await
    }

    async fn waiting_jobs(&self, interface: &InterfaceName, asked: Asked) -> Result<Waiting> {
        let interface = interface.clone();
        let inner = &self.0;
        // Broken off when its caller goes: with a hundred thousand jobs it takes longer than a restart.
        let gone = CancellationToken::new();
        let _is_asked = gone.clone().drop_guard();
        let scanned = move |inner: &Inner| {
            let wanted = || !gone.is_cancelled();
            inner.waiting_jobs(&interface, asked, &wanted)
        };
        let waiting = inner.permitted(&inner.scans, scanned).await?;
        waiting.ok_or_else(|| StoreError::Unavailable("nobody asks for it any more".into()))
    }

    async fn precedence(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        whose: bool,
    ) -> Result<Precedence> {
        let interface = interface.clone();
        let job = Job {
            place: Place::Queue((&interface).into()),
            name: job.clone(),
        };
        let read = move |inner: &Inner| inner.precedences.of(&inner.spool, &interface, &job, whose);
        self.0.for_worker(read).await
    }

    async fn claim(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        works: bool,
    ) -> Result<Claimed> {
        let (interface, job) = (interface.clone(), job.clone());
        let claimed = (self.0).for_worker(move |inner| inner.claim(&interface, &job, works));
        claimed.await
    }

    async fn check_document(&self, lease: &Lease) -> Result<Fate> {
        let checked = self.0.of_run(lease, Fate::Whole, Inner::check_document);
        checked.await
    }

    async fn check_output(&self, lease: &Lease) -> Result<Option<String>> {
        self.0.of_run(lease, None, Inner::check_output).await
    }

    async fn settle(
        &self,
        lease: &Lease,
        what: Settlement,
        log: Option<RunLog>,
    ) -> Result<Settled> {
        let settled = move |inner: &Inner, held: &runs::Held| inner.settle(held, what, log);
        self.0.of_run(lease, Settled::Fenced, settled).await
    }

    async fn left_behind(&self, interface: &InterfaceName) -> Result<Vec<LeftBehind>> {
        let interface = interface.clone();
        let left = (self.0).for_worker(move |inner| inner.left_behind(&interface));
        left.await
    }

    async fn kept(&self, lease: &Lease) -> Result<Option<KeptRun>> {
        self.0.of_run(lease, None, Inner::kept).await
    }

    async fn take_up(&self, lease: &Lease) -> Result<bool> {
        self.0.of_run(lease, false, Inner::take_up).await
    }

    async fn cut_off(&self, lease: &Lease) -> Result<bool> {
        self.0.of_run(lease, true, Inner::cut_off).await
    }

    async fn cancel_all(&self, jobs: Vec<Job>, by: &By) -> Vec<Result<bool>> {
        self.0.cancel_all(jobs, by).await
    }

    async fn release_due(&self, job: &Job) -> Result<bool> {
        let job = job.clone();
        let released = self.0.for_worker(move |inner| {
            let moved = inner.spool.release_due(&job)?;
            Ok(matches!(moved, Moved::Done(_)))
        });
        released.await
    }

    async fn is_held(&self, interface: &InterfaceName) -> Result<bool> {
        // A look at one name.
        Ok(self.0.spool.is_held(interface)?)
    }

    async fn counts(&self) -> Result<Counts> {
        self.0.looking(Inner::counts).await
    }

    async fn uploaded_bytes(&self, day: Date) -> Result<HashMap<String, u64>> {
        let day = day.to_string();
        let read = self
            .0
            .looking(move |inner| inner.spool.uploaded_bytes(&day));
        read.await
    }

    async fn served_since_ms(&self, interface: &InterfaceName) -> Result<i64> {
        let queue = Path::new("queue").join(interface.as_str());
        let created = std::fs::metadata(self.0.spool.fs().absolute(&queue))
            .and_then(|queue| queue.created().or_else(|_| queue.modified()));
        let created = (created.ok()).and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Ok(created.map_or(0, |age| i64::try_from(age.as_millis()).unwrap_or(0)))
    }

    async fn fetched(&self, job: &Job, by: &By) -> Result<()> {
        if !matches!(job.place, Place::Queue(_)) {
            return Ok(());
        }
        // Whoever comes second finds that it has moved.
        let _alone = self.0.moving.hold(&job.name).await;
        let (job, by) = (job.clone(), by.clone());
        self.0.blocking(move |inner| inner.fetched(&job, &by)).await
    }

    fn new_schedule_id(&self) -> ScheduleId {
        ScheduleId::new(self.0.spool.next_id())
    }

    async fn save_schedule(
        &self,
        id: ScheduleId,
        schedule: &Schedule,
        key: Option<&Key>,
    ) -> Result<Saved> {
        self.0.save_schedule(id, schedule, key).await
    }

    async fn schedules(&self) -> Result<Vec<ScheduleId>> {
        self.0.looking(Inner::schedules).await
    }

    async fn schedule(&self, id: ScheduleId) -> Result<Option<SavedSchedule>> {
        self.0.looking(move |inner| inner.schedule(id)).await
    }

    async fn save_progress(&self, id: ScheduleId, progress: &Progress) -> Result<()> {
        let progress = progress.clone();
        let _alone = self.0.keys.hold(&Inner::key_of_schedule(id)).await;
        let saved = (self.0).blocking(move |inner| match inner.spool.is_schedule(id.get())? {
            true => inner.spool.save_progress(id, &progress),
            false => Ok(Ticket::NONE),
        });
        let ticket = saved.await?;
        Ok(self.0.spool.durable(ticket).await?)
    }

    async fn reset_schedule(&self, id: ScheduleId, progress: &Progress) -> Result<()> {
        let progress = progress.clone();
        let _alone = self.0.keys.hold(&Inner::key_of_schedule(id)).await;
        let reset = (self.0).blocking(move |inner| match inner.spool.is_schedule(id.get())? {
            true => inner.spool.reset_schedule(id, &progress),
            false => Ok(()),
        });
        reset.await
    }

    async fn fire(
        &self,
        id: ScheduleId,
        moment: Timestamp,
        progress: &Progress,
        sealed: Sealed,
        job: NewJob,
        interface: &InterfaceName,
    ) -> Result<Fired> {
        let (progress, to) = (progress.clone(), interface.clone());
        self.0.fire((id, moment, progress), sealed, job, to).await
    }

    async fn remove_schedule(&self, id: ScheduleId, by: &By) -> Result<bool> {
        self.0.remove_schedule(id, by).await
    }

    fn interfaces(&self) -> Vec<InterfaceName> {
        self.0.spool.interfaces()
    }

    async fn find_all_anywhere(&self, jobs: Vec<JobName>) -> Result<Vec<Option<JobSummary>>> {
        let found = self.0.looking(move |inner| {
            let jobs = jobs.into_iter();
            jobs.map(|job| inner.find_anywhere(job)).collect()
        });
        found.await
    }

    async fn remains(&self, job: &JobName) -> Result<Remains> {
        let job = job.clone();
        self.0.looking(move |inner| inner.remains(&job)).await
    }

    async fn not_ready(&self, job: &Job) -> Result<Option<NotReady>> {
        let job = job.clone();
        let why = (self.0).blocking(move |inner| Ok(inner.not_ready(&job)));
        why.await
    }

    async fn astray(&self, interface: &InterfaceName) -> Result<Vec<(String, String)>> {
        let interface = interface.clone();
        let astray = self.0.blocking(move |inner| {
            let astray = inner.spool.astray(&interface)?.into_iter();
            let told = astray.map(|astray| (astray.path.display().to_string(), astray.why));
            Ok(told.collect())
        });
        astray.await
    }

    async fn said_so_far(&self, job: &Job) -> Result<Vec<Message>> {
        let job = job.clone();
        let said = (self.0).blocking(move |inner| Ok(inner.said_so_far(&job)));
        said.await
    }

    async fn restored(&self) -> Result<Option<(i64, Vec<String>)>> {
        self.0.blocking(|inner| inner.spool.restored()).await
    }

    async fn is_user(&self, user: &UserName) -> Result<bool> {
        let user = user.clone();
        let known = self.0.blocking(move |inner| Ok(inner.spool.is_user(&user)));
        known.await
    }

    async fn addressee_of(&self, job: &Job) -> Result<Option<UserName>> {
        let job = job.clone();
        let user = self.0.looking(move |inner| inner.spool.addressee_of(&job));
        user.await
    }

    async fn is_cut_off(&self, job: &Job) -> Result<bool> {
        let job = job.clone();
        let is_cut_off = self.0.looking(move |inner| inner.spool.is_cut_off(&job));
        is_cut_off.await
    }

    async fn hold_text(&self, interface: &InterfaceName) -> Result<Option<String>> {
        let interface = interface.clone();
        let text = self
            .0
            .looking(move |inner| Ok(inner.spool.hold_text(&interface)));
        text.await
    }

    async fn hold(
        &self,
        interface: &InterfaceName,
        by: &By,
        until: Option<Timestamp>,
    ) -> Result<Option<String>> {
        self.0.hold(interface, by, until).await
    }

    async fn end_hold(&self, interface: &InterfaceName) -> Result<HoldEnd> {
        self.0.end_hold(interface).await
    }

    async fn resume(&self, interface: &InterfaceName, by: &By) -> Result<bool> {
        self.0.resume(interface, by).await
    }

    async fn requeue_all(&self, jobs: Vec<(Job, Queue)>, by: &By) -> Vec<Result<Job>> {
        self.0.requeue_all(jobs, by).await
    }

    async fn remove_all(&self, jobs: Vec<Job>, by: &By) -> Vec<Result<()>> {
        self.0.remove_all(jobs, by).await
    }

    async fn refuse_again(
        &self,
        job: &Job,
        interface: &InterfaceName,
        findings: Vec<Message>,
        by: &By,
    ) -> Result<()> {
        self.0.refuse_again(job, interface, findings, by).await
    }

    async fn ask_reset(&self, id: ScheduleId, by: &By) -> Result<bool> {
        self.0.ask_reset(id, by).await
    }

    async fn traces_of(&self, submitter: &str) -> Result<Traces> {
        let submitter = submitter.to_owned();
        let found = self
            .0
            .looking(move |inner| inner.spool.traces_of(&submitter));
        found.await
    }

    async fn forget(&self, submitter: &str) -> Result<Traces> {
        let submitter = submitter.to_owned();
        let forgotten = self.0.blocking(move |inner| inner.spool.forget(&submitter));
        forgotten.await
    }

    async fn audit(&self, entry: &Entry) -> Result<u64> {
        let entry = entry.clone();
        let (number, ticket) = (self.0)
            .blocking(move |inner| inner.spool.audit(&entry))
            .await?;
        self.0.spool.durable(ticket).await?;
        Ok(number)
    }

    async fn audit_head(&self) -> Result<Option<AuditHead>> {
        self.0.looking(|inner| inner.spool.audit_head()).await
    }

    async fn audited(&self, limit: usize) -> Result<Vec<AuditRecord>> {
        let looking = self.0.looking(move |inner| inner.spool.audited(limit));
        looking.await
    }

    async fn record_event(&self, event: &Event, key: &str) -> Result<bool> {
        let (event, key) = (event.clone(), key.to_owned());
        let recorded = self
            .0
            .blocking(move |inner| inner.spool.record_event(event, &key));
        let (is_new, ticket) = recorded.await?;
        self.0.spool.durable(ticket).await?;
        Ok(is_new)
    }

    async fn waiting_events(
        &self,
        receiver: &str,
        without: &HashSet<EventId>,
        limit: usize,
    ) -> Result<Vec<Outgoing>> {
        let (receiver, without) = (receiver.to_owned(), without.clone());
        let waiting =
            (self.0).blocking(move |inner| inner.spool.waiting_events(&receiver, &without, limit));
        waiting.await
    }

    async fn end_events(&self, endings: Vec<Ending>) -> Result<()> {
        let ended = (self.0).blocking(move |inner| inner.spool.end_events(&endings).map(drop));
        ended.await
    }

    async fn note_failed_attempts(&self, failed: Vec<FailedAttempt>) -> Result<()> {
        let noted =
            (self.0).blocking(move |inner| inner.spool.note_failed_attempts(&failed).map(drop));
        noted.await
    }

    async fn event_dues(&self, receiver: &str) -> Result<Vec<(EventId, Timestamp)>> {
        Ok(self.0.spool.event_dues(receiver))
    }

    async fn bury_events(&self, before: Timestamp, bytes_max: u64) -> Result<usize> {
        let buried = (self.0).blocking(move |inner| inner.spool.bury_events(before, bytes_max));
        buried.await
    }

    async fn events(&self, which: &WhichEvents) -> Result<Vec<EventRecord>> {
        let which = which.clone();
        self.0
            .looking(move |inner| inner.spool.events(&which))
            .await
    }

    async fn redeliver(&self, which: &WhichEvents) -> Result<usize> {
        let which = which.clone();
        let redelivered = self.0.blocking(move |inner| inner.spool.redeliver(&which));
        let (n_events, ticket) = redelivered.await?;
        self.0.spool.durable(ticket).await?;
        Ok(n_events)
    }

    async fn event_recorded(&self) {
        self.0.spool.event_recorded().await;
    }

    async fn probe(&self) -> Result<Vec<String>> {
        let probed = self.0.blocking(|inner| Ok(inner.spool.probe())).await?;
        probed.map_err(|error| StoreError::Refused(error.to_string()))
    }

    async fn check(&self, progress: Arc<CheckProgress>) -> Result<Checked> {
        self.0.check(progress).await
    }

    async fn health(&self) -> Result<()> {
        self.0.blocking(|inner| Ok(inner.health())).await?
    }

    fn now_ms(&self) -> i64 {
        self.0.spool.now_ms()
    }

    fn unhealthy(&self) -> Option<String> {
        self.0.spool.unhealthy().map(str::to_owned)
    }

    fn pending_events(&self) -> usize {
        self.0.spool.pending_events()
    }

    fn waiting(&self, interface: &InterfaceName) -> usize {
        self.0.spool.ready_jobs(interface)
    }

    fn waiting_beside(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        whose: bool,
    ) -> Option<Beside> {
        let spool = &self.0.spool;
        // A hold that cannot be looked for is no reason to say nothing.
        let is_held = spool.is_held(interface).unwrap_or(false);
        let precedences = whose.then_some(&self.0.precedences);
        (!is_held).then(|| {
            let positions = &self.0.positions;
            positions.beside(spool, interface, job, precedences)
        })
    }

    fn capacity(&self) -> Option<Capacity> {
        let root = self.0.spool.fs().absolute(Path::new(""));
        let stat = rustix::fs::statvfs(root).ok()?;
        Some(Capacity {
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            // Some filesystems have no fixed number of inodes and report none.
            free_files: (stat.f_files > 0).then_some(stat.f_favail),
        })
    }

    fn is_addressed(&self, interface: &InterfaceName) -> bool {
        self.0.spool.is_addressed(interface)
    }
}

impl From<SpoolError> for StoreError {
    fn from(error: SpoolError) -> Self {
        let text = error.to_string();
        match error {
            SpoolError::Full { op, path } => Self::Full(format!("cannot {op} {}", path.display())),
            SpoolError::Illegal(_) => Self::Conflict(text),
            SpoolError::Output(_) => Self::Refused(text),
            SpoolError::Io { .. } => Self::Unavailable(text),
            SpoolError::Unhealthy { reason } => Self::Unhealthy(reason),
        }
    }
}

/// What a [`FileUpload`] has made.
fn own(sealed: Sealed) -> Result<Box<FileSealed>> {
    let own = sealed.downcast();
    own.ok_or_else(|| StoreError::Refused("it is another engine's document".into()))
}

/// Does something that blocks.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SpoolError> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(error) => {
            tracing::error!(%error, "a call of the store panicked");
            Err(panicked())
        }
    }
}

fn panicked() -> StoreError {
    StoreError::Unavailable("a call of the store panicked".into())
}

fn keyed(part: &SealedPart, interface: Option<&InterfaceName>, refused: bool) -> Keyed {
    Keyed {
        job: part.name().clone(),
        interface: interface.cloned(),
        sha256: part.sha256().to_owned(),
        bytes: part.bytes(),
        refused,
    }
}

fn stored(part: &SealedPart) -> Stored {
    Stored {
        job: part.name().clone(),
        bytes: part.bytes(),
        sha256: part.sha256().to_owned(),
        received_ms: part.received_ms(),
    }
}
