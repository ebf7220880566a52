//! The engine in memory, for tests: all that [`Store`] promises but to survive anything.
//!
//! Everything is in one map under one lock, so what a call does is one step. Beside the trait it has
//! what workers do to jobs, by which tests bring them into every state.

mod events;
mod operators;
mod runs;

use super::{
    Activity, Asked, Attempt, AttemptEnd, Beside, By, Came, Capacity, Claimed, Content, Counts,
    DocumentWriter, Failure, Fate, Filter, Fired, HoldEnd, JobDetail, JobSummary, KeptRun, Key,
    Keyed, Lease, LeftBehind, NewJob, NewName, NotReady, Now, Of, Page, Precedence, Receipt,
    Remains, Result, Results, RunLog, Saved, SavedSchedule, Sealed, Settled, Settlement, Sight,
    State, Store, StoreError, Stored, Traces, Viewer, Waiting, Want,
    activity::Happened,
    audit::{AuditHead, AuditRecord, Entry},
    check::{CheckProgress, Checked},
    events::{
        Ending, Event, EventId, EventKind, EventRecord, FailedAttempt, Outgoing, Wants, WhichEvents,
    },
    fs::fingerprint,
    until_of,
};
use crate::store::document::Document;
use crate::{
    cron_schedule::{Progress, Schedule, ScheduleId},
    domain::joblog::{JobLog, Level, Message, Status},
    domain::{Ids, InterfaceName, Job, JobName, Kind, Place, Queue, Transition, UserName},
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use jiff::{Timestamp, civil::Date};
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Bound,
    path::PathBuf,
    sync::Arc,
};
use tokio::sync::Notify;

/// Milliseconds of the Unix epoch, now.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

pub struct MemoryStore {
    clock: Clock,
    interfaces: BTreeSet<InterfaceName>,
    addressed: BTreeSet<InterfaceName>,
    /// In whose part of an addressed interface's queue jobs are for nobody.
    nobody: BTreeSet<UserName>,
    wants: Arc<[Wants]>,
    /// An event has come.
    more: Arc<Notify>,
    all: Arc<Mutex<All>>,
}

struct All {
    ids: Ids,
    served_since_ms: i64,
    jobs: BTreeMap<JobName, Known>,
    /// The days of uploads, with who sent how many bytes.
    uploads: Vec<(String, String, u64)>,
    /// What is kept of jobs that are gone.
    removed: BTreeMap<JobName, Remains>,
    keys: HashMap<Key, Keyed>,
    schedules: BTreeMap<ScheduleId, SavedSchedule>,
    /// With what each hold says.
    held: BTreeMap<InterfaceName, String>,
    audit: AuditHead,
    audited: Vec<AuditRecord>,
    events: events::Events,
    activity: Activity,
}

/// All that is known of a job.
struct Known {
    place: Place,
    /// Where it is, or was last before it failed.
    interface: Option<InterfaceName>,
    addressee: Option<UserName>,
    new: NewJob,
    received_ms: i64,
    document: Bytes,
    sha256: String,
    started_ms: Option<i64>,
    attempts: u32,
    /// For what the processor of its last run says.
    output: Option<PathBuf>,
    /// Of the lease of its run, while there is one.
    fence: Option<u64>,
    /// What its first log is to say.
    notes: Vec<Message>,
    log: Option<JobLog>,
    /// Why it ended badly last, by what was said in that run alone.
    reason: Option<String>,
    ended: Vec<Attempt>,
    results: BTreeMap<String, Bytes>,
    variables: Map<String, Value>,
}

/// A document on its way in.
struct Part {
    name: NewName,
    bytes: BytesMut,
}

#[async_trait]
impl DocumentWriter for Part {
    async fn append(&mut self, bytes: Bytes) -> Result<()> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn seal(self: Box<Self>) -> Result<Sealed> {
        Ok(Sealed::new(Box::new(self.document())))
    }
}

impl Part {
    fn document(self) -> Document {
        Document::new(self.name, self.bytes.freeze())
    }
}

fn opened(bytes: &Bytes, sha256: Option<String>) -> Content {
    Content::of_bytes(bytes.to_vec(), sha256)
}

impl Known {
    /// With whether it was cancelled while it waited.
    fn state(&self) -> (State, bool) {
        match self.place {
            Place::Deferred { .. } | Place::Queue(_) => (State::Waiting, false),
            Place::Work { .. } => (State::Running, false),
            Place::Bak(_) => (State::Done, false),
            Place::JobErrors => match &self.log {
                Some(log) if log.is_cancelled() => {
                    let last = log.messages.last().and_then(|last| last.tool.as_deref());
                    let is_deleted = last == Some("spoolgate-delete");
                    (State::Cancelled, is_deleted)
                }
                Some(_) | None => (State::Failed, false),
            },
            Place::Refused => (State::Failed, false),
        }
    }

    /// Its present attempt has ended so; its log says why.
    fn attempt_ended(&mut self, outcome: AttemptEnd, ended_ms: i64) {
        let reason = self.reason.clone();
        let reason = reason.filter(|_| outcome != AttemptEnd::Done);
        self.ended.push(Attempt {
            number: self.attempts,
            started_ms: self.started_ms,
            ended_ms,
            outcome,
            fingerprint: reason.as_deref().map(fingerprint),
            reason,
        });
    }

    /// How its last attempt failed, as its log says.
    fn failure(&self) -> Option<Failure> {
        let (log, is_cancelled) = (self.log.as_ref()?, self.state().0 == State::Cancelled);
        let reason = self.reason.as_deref().filter(|_| !is_cancelled)?;
        Failure::logged(&self.place, log.finished_ms, log.attempts, reason)
    }

    fn now(&self) -> Now {
        Now {
            bytes: self.document.len() as u64,
            sha256: Some(self.sha256.clone()),
            attempts: match self.place {
                Place::Deferred { .. } | Place::Queue(_) | Place::Work { .. } => {
                    Some(self.attempts)
                }
                Place::Bak(_) | Place::JobErrors | Place::Refused => None,
            },
            ..Now::default()
        }
    }

    /// Writes the log of an end after that of an end before it.
    fn write_log(&mut self, log: JobLog) {
        self.reason = log.reason().map(str::to_owned);
        self.log = Some(log.after(self.log.take(), Vec::new()));
    }

    /// The log of an end, without that of an end before it.
    fn log_of(
        &self,
        job: &JobName,
        status: Status,
        at_ms: i64,
        mut messages: Vec<Message>,
    ) -> JobLog {
        if self.log.is_none() {
            messages.splice(0..0, self.notes.iter().cloned());
        }
        JobLog {
            job: job.clone(),
            interface: self.interface.clone(),
            status,
            received_ms: self.received_ms,
            started_ms: self.started_ms,
            finished_ms: at_ms,
            attempts: self.attempts,
            bytes: self.document.len() as u64,
            sha256: Some(self.sha256.clone()),
            messages,
        }
    }
}

impl All {
    /// What the first request with a key led to, if this is another one.
    fn earlier(&self, key: Option<&Key>, sha256: &str) -> Option<Receipt> {
        let earlier = self.keys.get(key?)?;
        Some(match earlier.sha256 == sha256 {
            true => Receipt::Same(earlier.clone()),
            false => Receipt::Different,
        })
    }

    /// Makes a document a job.
    fn add(
        &mut self,
        document: Document,
        new: NewJob,
        place: Place,
        interface: Option<&InterfaceName>,
        key: Option<&Key>,
        now_ms: i64,
    ) -> Stored {
        let NewName { kind, reference } = document.name;
        let stored = Stored {
            job: JobName::new(self.ids.next(now_ms), reference, kind),
            bytes: document.bytes.len() as u64,
            sha256: document.sha256.clone(),
            received_ms: now_ms,
        };
        if let Some(key) = key {
            let keyed = Keyed {
                job: stored.job.clone(),
                interface: interface.cloned(),
                sha256: document.sha256.clone(),
                bytes: stored.bytes,
                refused: place == Place::Refused,
            };
            self.keys.insert(key.clone(), keyed);
        }
        self.activity.count(interface, now_ms, Happened::Came);
        if place == Place::Refused {
            self.activity.count(interface, now_ms, Happened::Refused);
        }
        if new.came == Came::Uploaded {
            let (day, user) = (stored.job.day(), new.submitter.clone());
            self.uploads.push((day, user, stored.bytes));
        }
        let known = Known {
            place,
            interface: interface.cloned(),
            addressee: None,
            new,
            received_ms: now_ms,
            document: document.bytes,
            sha256: document.sha256,
            started_ms: None,
            attempts: 0,
            output: None,
            fence: None,
            notes: Vec::new(),
            log: None,
            reason: None,
            ended: Vec::new(),
            results: BTreeMap::new(),
            variables: Map::new(),
        };
        self.jobs.insert(stored.job.clone(), known);
        stored
    }

    /// The job, if it is still there.
    fn at(&self, job: &Job) -> Option<&Known> {
        let known = self.jobs.get(&job.name);
        known.filter(|known| known.place == job.place)
    }

    /// Moves a job. A test that asks for a move that there is not is wrong.
    fn step(&mut self, job: &JobName, by: &Transition) -> &mut Known {
        let known = self.jobs.get_mut(job).expect("the job is there");
        let to = known.place.step(by).expect("the move is legal");
        known.place = to.expect("it goes on");
        if let Some(interface) = known.place.interface() {
            known.interface = Some(interface.clone());
        }
        if let Some(user) = known.place.addressee() {
            known.addressee = Some(user.clone());
        }
        known
    }

    /// Moves a job after its log is written.
    fn end(&mut self, job: &JobName, by: &Transition, status: Status, at_ms: i64, last: Message) {
        let known = self.jobs.get_mut(job).expect("the job is there");
        let log = known.log_of(job, status, at_ms, vec![last]);
        known.write_log(log);
        self.step(job, by);
    }
}

/// Making and restarting, and what workers do.
impl MemoryStore {
    pub fn new(clock: Clock) -> Self {
        let all = All {
            ids: Ids::above(clock() - 1),
            served_since_ms: clock(),
            jobs: BTreeMap::new(),
            uploads: Vec::new(),
            removed: BTreeMap::new(),
            keys: HashMap::new(),
            schedules: BTreeMap::new(),
            held: BTreeMap::new(),
            audit: AuditHead::nothing(),
            activity: Activity::default(),
            audited: Vec::new(),
            events: events::Events::default(),
        };
        Self {
            clock,
            interfaces: BTreeSet::new(),
            addressed: BTreeSet::new(),
            nobody: BTreeSet::new(),
            wants: Arc::new([]),
            more: Arc::default(),
            all: Arc::new(Mutex::new(all)),
        }
    }

    /// The store after a restart: nothing is lost, and what was not committed is not there.
    #[must_use]
    pub fn restart(&self) -> Self {
        let fresh = Self::new(self.clock.clone());
        std::mem::swap(&mut *self.lock(), &mut *fresh.lock());
        // Their leases were the process's.
        let mut all = fresh.lock();
        all.jobs.values_mut().for_each(|known| known.fence = None);
        drop(all);
        Self {
            interfaces: self.interfaces.clone(),
            addressed: self.addressed.clone(),
            nobody: self.nobody.clone(),
            wants: self.wants.clone(),
            ..fresh
        }
    }

    /// These are configured.
    #[must_use]
    pub fn with_interfaces(mut self, interfaces: impl IntoIterator<Item = InterfaceName>) -> Self {
        self.interfaces.extend(interfaces);
        self
    }

    /// Jobs of this interface are for one user each. This name is no user's: what is in his part is for
    /// nobody.
    #[must_use]
    pub fn with_addressed(mut self, interface: InterfaceName, nobody: UserName) -> Self {
        self.addressed.insert(interface);
        self.nobody.insert(nobody);
        self
    }

    /// Events are recorded for these.
    #[must_use]
    pub fn with_receivers(mut self, wants: Vec<Wants>) -> Self {
        self.wants = wants.into();
        self
    }

    fn now(&self) -> i64 {
        (self.clock)()
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock()
    }

    fn is_astray(&self, place: &Place) -> bool {
        match place {
            Place::Queue(queue) => {
                let is_user = |user: &UserName| !self.nobody.contains(user);
                self.is_addressed(&queue.interface)
                    && !queue.addressee.as_ref().is_some_and(is_user)
            }
            Place::Bak(_)
            | Place::Deferred { .. }
            | Place::JobErrors
            | Place::Refused
            | Place::Work { .. } => false,
        }
    }

    fn is_seen(&self, viewer: &Viewer, known: &Known) -> bool {
        let is_astray = self.is_astray(&known.place);
        let is_in_sight = match (viewer.sight)(known.interface.as_ref()) {
            Sight::All => true,
            Sight::Own => self.owner(known).as_deref() == Some(&*viewer.user),
            Sight::Nothing => false,
        };
        (viewer.sees_astray || !is_astray) && is_in_sight
    }

    fn owner(&self, known: &Known) -> Option<String> {
        match &known.interface {
            Some(interface) if self.is_addressed(interface) => {
                known.addressee.as_ref().map(ToString::to_string)
            }
            Some(_) | None => Some(known.new.submitter.clone()),
        }
    }

    fn summary(&self, name: &JobName, known: &Known, record: bool) -> JobSummary {
        let (state, is_deleted) = known.state();
        JobSummary {
            job: Job {
                place: known.place.clone(),
                name: name.clone(),
            },
            state,
            is_deleted,
            interface: known.interface.clone(),
            owner: record.then(|| self.owner(known)).flatten(),
            record: record.then(|| known.new.record(known.received_ms)),
            failure: None,
        }
    }

    fn detail(&self, name: &JobName, known: &Known, want: Want) -> JobDetail {
        let is_done = known.state().0 == State::Done;
        JobDetail {
            summary: self.summary(name, known, want.record),
            log: known.log.clone().filter(|_| want.log),
            results: match want.results && is_done {
                true => Results {
                    files: known.results.keys().cloned().collect(),
                    variables: known.variables.clone(),
                },
                false => Results::default(),
            },
            now: want.now.then(|| known.now()),
        }
    }
}

/// The key of a schedule's moment.
fn key_of(id: ScheduleId, moment: Timestamp) -> Key {
    Key::new(&format!("schedule/{id}"), &moment.to_string())
}

#[async_trait]
impl Store for MemoryStore {
    fn begin(&self, name: NewName) -> Box<dyn DocumentWriter> {
        let bytes = BytesMut::new();
        Box::new(Part { name, bytes })
    }

    async fn commit(
        &self,
        sealed: Sealed,
        job: NewJob,
        interface: &InterfaceName,
        key: Option<&Key>,
    ) -> Result<Receipt> {
        let (document, place) = (Document::of(sealed)?, Place::Queue(interface.into()));
        let (now_ms, mut all) = (self.now_ms(), self.lock());
        let earlier = all.earlier(key, &document.sha256);
        Ok(earlier.unwrap_or_else(|| {
            Receipt::New(all.add(document, job, place, Some(interface), key, now_ms))
        }))
    }

    async fn refuse(
        &self,
        sealed: Sealed,
        job: NewJob,
        interface: Option<&InterfaceName>,
        findings: Vec<Message>,
        key: Option<&Key>,
    ) -> Result<Receipt> {
        let document = Document::of(sealed)?;
        let (now_ms, mut all) = (self.now_ms(), self.lock());
        if let Some(earlier) = all.earlier(key, &document.sha256) {
            return Ok(earlier);
        }
        let stored = all.add(document, job, Place::Refused, interface, key, now_ms);
        if let Some(known) = all.jobs.get_mut(&stored.job) {
            known.write_log(known.log_of(&stored.job, Status::Error, now_ms, findings));
        }
        self.report(&mut all, EventKind::JobRefused, &stored.job, |event| event);
        Ok(Receipt::New(stored))
    }

    async fn find_key(&self, key: &Key) -> Result<Option<Keyed>> {
        Ok(self.lock().keys.get(key).cloned())
    }

    async fn find(&self, viewer: &Viewer, of: Of, want: Want) -> Result<Option<JobDetail>> {
        let all = self.lock();
        let found = match &of {
            Of::Name(name) => all.jobs.get_key_value(name),
            Of::Id(id) => all.jobs.iter().find(|(name, _)| name.id() == *id),
        };
        let seen = found.filter(|(_, known)| self.is_seen(viewer, known));
        Ok(seen.map(|(name, known)| self.detail(name, known, want)))
    }

    async fn details(&self, jobs: Vec<Job>, want: Want) -> Result<Vec<JobDetail>> {
        let all = self.lock();
        let there = jobs.iter().filter_map(|job| {
            let known = all.jobs.get_key_value(&job.name);
            known.map(|(name, known)| self.detail(name, known, want))
        });
        Ok(there.collect())
    }

    async fn list(
        &self,
        viewer: &Viewer,
        filter: &Filter,
        after: Option<JobName>,
        limit: usize,
    ) -> Result<Page> {
        let all = self.lock();
        let is_meant = |name: &JobName, known: &Known| {
            let state = known.state().0;
            let is_of = |of: &InterfaceName| known.interface.as_ref() == Some(of);
            filter.interface.as_ref().is_none_or(is_of)
                && (filter.at.is_empty() || filter.at.contains(&known.place.kind()))
                && (filter.states.is_empty() || filter.states.contains(&state))
                && filter.takes_ms(name.id().unix_ms())
                && self.is_seen(viewer, known)
                && filter.takes(&JobSummary {
                    failure: known.failure(),
                    ..self.summary(name, known, true)
                })
        };
        let bound = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = match filter.newest_first {
            false => (bound, Bound::Unbounded),
            true => (Bound::Unbounded, bound),
        };
        let mut meant = all
            .jobs
            .range(range)
            .filter(|(name, known)| is_meant(name, known));
        let mut next = || match filter.newest_first {
            false => meant.next(),
            true => meant.next_back(),
        };
        let mut page = Page::default();
        while let Some((name, known)) = next() {
            if page.jobs.len() == limit {
                page.next = page.jobs.last().map(|last| last.job.name.clone());
                break;
            }
            let want_failure = filter.want_failure || filter.asks_for_failures();
            page.jobs.push(JobSummary {
                failure: known.failure().filter(|_| want_failure),
                ..self.summary(name, known, filter.want_record)
            });
        }
        Ok(page)
    }

    async fn activity(&self) -> Result<Activity> {
        Ok(self.lock().activity.clone())
    }

    async fn attempts(&self, job: &JobName) -> Result<Vec<Attempt>> {
        let all = self.lock();
        let known = all.jobs.get(job);
        Ok(known.map_or(Vec::new(), |known| known.ended.clone()))
    }

    async fn still_waiting(&self, jobs: Vec<JobName>) -> Result<Vec<JobName>> {
        let all = self.lock();
        let waits = |job: &JobName| {
            let known = all.jobs.get(job);
            known.is_some_and(|known| matches!(known.place, Place::Queue(_)))
        };
        Ok(jobs.into_iter().filter(waits).collect())
    }

    async fn is_known(&self, job: &JobName) -> Result<bool> {
        let all = self.lock();
        Ok(all.jobs.contains_key(job) || all.removed.contains_key(job))
    }

    async fn log(&self, job: &Job) -> Result<JobLog> {
        let all = self.lock();
        if let Some(log) = all
            .removed
            .get(&job.name)
            .and_then(|kept| kept.log.as_ref())
        {
            return Ok(log.clone());
        }
        let gone = || StoreError::NotFound(format!("{} is not there", job.name));
        let known = all.jobs.get(&job.name).ok_or_else(gone)?;
        let moved = || {
            let text = format!("moved by hand to {}", known.place);
            let moved = Message::new(known.received_ms, Level::Info, text);
            let status = Status::at(&known.place);
            known.log_of(&job.name, status, known.received_ms, vec![moved])
        };
        Ok(known.log.clone().unwrap_or_else(moved))
    }

    async fn open(&self, job: &Job) -> Result<Option<Content>> {
        let all = self.lock();
        let known = all.at(job);
        Ok(known.map(|known| opened(&known.document, Some(known.sha256.clone()))))
    }

    async fn open_result(&self, job: &JobName, name: &str) -> Result<Option<Content>> {
        let all = self.lock();
        let result = all.jobs.get(job).and_then(|known| known.results.get(name));
        Ok(result.map(|bytes| opened(bytes, Some(hex::encode(Sha256::digest(bytes))))))
    }

    async fn waiting_jobs(&self, interface: &InterfaceName, _: Asked) -> Result<Waiting> {
        let all = self.lock();
        let mut waiting = Waiting {
            held: all.held.contains_key(interface),
            ..Waiting::default()
        };
        for (job, known) in &all.jobs {
            match &known.place {
                Place::Queue(queue) if queue.interface == *interface => {
                    waiting
                        .ready
                        .push((job.clone(), Some(known.new.precedence(job))));
                }
                Place::Deferred {
                    interface: of,
                    due_ms,
                } if of == interface => {
                    let precedence = Some(known.new.precedence(job));
                    waiting.deferred.push((*due_ms, job.clone(), precedence));
                }
                Place::Bak(_)
                | Place::Deferred { .. }
                | Place::JobErrors
                | Place::Queue(_)
                | Place::Refused
                | Place::Work { .. } => {}
            }
        }
        waiting
            .deferred
            .sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        Ok(waiting)
    }

    async fn precedence(&self, _: &InterfaceName, job: &JobName, _: bool) -> Result<Precedence> {
        let all = self.lock();
        let known = all.jobs.get(job).map(|known| known.new.precedence(job));
        Ok(known.unwrap_or_default())
    }

    async fn claim(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        works: bool,
    ) -> Result<Claimed> {
        let taken = self.take(interface, job, works);
        taken.map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    async fn check_document(&self, _: &Lease) -> Result<Fate> {
        Ok(Fate::Whole)
    }

    async fn check_output(&self, lease: &Lease) -> Result<Option<String>> {
        let held = lease.held::<runs::Held>();
        held.map_or(Ok(None), |held| held.check_output())
    }

    async fn settle(
        &self,
        lease: &Lease,
        what: Settlement,
        log: Option<RunLog>,
    ) -> Result<Settled> {
        match lease.held::<runs::Held>() {
            None => Ok(Settled::Fenced),
            Some(held) => self.settle_run(&held, what, log),
        }
    }

    async fn left_behind(&self, interface: &InterfaceName) -> Result<Vec<LeftBehind>> {
        Ok(self.left(interface))
    }

    async fn kept(&self, _: &Lease) -> Result<Option<KeptRun>> {
        // No processor outlives its service here.
        Ok(None)
    }

    async fn take_up(&self, _: &Lease) -> Result<bool> {
        Ok(true)
    }

    async fn cut_off(&self, lease: &Lease) -> Result<bool> {
        if let Some(held) = lease.held::<runs::Held>() {
            self.cut(&held);
        }
        Ok(true)
    }

    async fn cancel_all(&self, jobs: Vec<Job>, by: &By) -> Vec<Result<bool>> {
        jobs.iter().map(|job| self.cancel_job(job, by)).collect()
    }

    async fn release_due(&self, job: &Job) -> Result<bool> {
        let mut all = self.lock();
        let is_deferred = matches!(job.place, Place::Deferred { .. }) && all.at(job).is_some();
        if is_deferred {
            all.step(&job.name, &Transition::Release);
        }
        Ok(is_deferred)
    }

    async fn is_held(&self, interface: &InterfaceName) -> Result<bool> {
        Ok(self.lock().held.contains_key(interface))
    }

    async fn counts(&self) -> Result<Counts> {
        Ok(self.count())
    }

    async fn uploaded_bytes(&self, day: Date) -> Result<HashMap<String, u64>> {
        let day = day.to_string();
        let mut sent = HashMap::new();
        for (of, user, bytes) in &self.lock().uploads {
            if *of == day {
                *sent.entry(user.clone()).or_default() += bytes;
            }
        }
        Ok(sent)
    }

    async fn served_since_ms(&self, _: &InterfaceName) -> Result<i64> {
        Ok(self.lock().served_since_ms)
    }

    async fn fetched(&self, job: &Job, by: &By) -> Result<()> {
        let (now_ms, mut all) = (self.now_ms(), self.lock());
        if all.at(job).is_some() && matches!(job.place, Place::Queue(_)) {
            let last = Message::new(now_ms, Level::Info, "retrieved");
            all.end(&job.name, &Transition::Archive, Status::Ok, now_ms, last);
            let interface = job.place.interface();
            all.activity.count(interface, now_ms, Happened::Done);
            self.report(&mut all, EventKind::JobFetched, &job.name, |event| {
                event.with("by", by.to_string())
            });
        }
        Ok(())
    }

    fn new_schedule_id(&self) -> ScheduleId {
        let now_ms = self.now_ms();
        ScheduleId::new(self.lock().ids.next(now_ms))
    }

    async fn save_schedule(
        &self,
        id: ScheduleId,
        schedule: &Schedule,
        key: Option<&Key>,
    ) -> Result<Saved> {
        let mut all = self.lock();
        let keyed = Keyed {
            job: JobName::new(id.get(), None, Kind::Json),
            interface: Some(schedule.interface.clone()),
            sha256: hex::encode(Sha256::digest(&schedule.document)),
            bytes: schedule.document.len() as u64,
            refused: false,
        };
        match all.earlier(key, &keyed.sha256) {
            Some(Receipt::Same(earlier)) if !all.jobs.contains_key(&earlier.job) => {
                return Ok(Saved::Same(ScheduleId::new(earlier.job.id())));
            }
            Some(_) => return Ok(Saved::Different),
            None => {}
        }
        let saved = SavedSchedule {
            schedule: schedule.clone(),
            progress: Progress::default(),
            reset_asked: false,
        };
        all.schedules.insert(id, saved);
        all.keys.extend(key.map(|key| (key.clone(), keyed)));
        Ok(Saved::New)
    }

    async fn schedules(&self) -> Result<Vec<ScheduleId>> {
        Ok(self.lock().schedules.keys().copied().collect())
    }

    async fn schedule(&self, id: ScheduleId) -> Result<Option<SavedSchedule>> {
        Ok(self.lock().schedules.get(&id).cloned())
    }

    async fn save_progress(&self, id: ScheduleId, progress: &Progress) -> Result<()> {
        if let Some(saved) = self.lock().schedules.get_mut(&id) {
            saved.progress = progress.clone();
        }
        Ok(())
    }

    async fn reset_schedule(&self, id: ScheduleId, progress: &Progress) -> Result<()> {
        if let Some(saved) = self.lock().schedules.get_mut(&id) {
            (saved.progress, saved.reset_asked) = (progress.clone(), false);
        }
        Ok(())
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
        let (document, key) = (Document::of(sealed)?, key_of(id, moment));
        let (now_ms, mut all) = (self.now_ms(), self.lock());
        if !all.schedules.contains_key(&id) {
            return Err(StoreError::Refused(format!("there is no schedule {id}")));
        }
        let fired = match all.keys.get(&key) {
            Some(earlier) => {
                let job = earlier.job.clone();
                Fired::Before(job.clone(), progress.ran(moment, job))
            }
            None => {
                let place = Place::Queue(interface.into());
                let stored = all.add(document, job, place, Some(interface), Some(&key), now_ms);
                let progress = progress.ran(moment, stored.job.clone());
                Fired::New(stored, progress)
            }
        };
        let (Fired::New(_, progress) | Fired::Before(_, progress)) = &fired;
        if let Some(saved) = all.schedules.get_mut(&id) {
            saved.progress = progress.clone();
        }
        Ok(fired)
    }

    async fn remove_schedule(&self, id: ScheduleId, _: &By) -> Result<bool> {
        Ok(self.lock().schedules.remove(&id).is_some())
    }

    fn interfaces(&self) -> Vec<InterfaceName> {
        self.interfaces.iter().cloned().collect()
    }

    async fn find_all_anywhere(&self, jobs: Vec<JobName>) -> Result<Vec<Option<JobSummary>>> {
        let all = self.lock();
        let found = jobs.iter().map(|job| {
            let known = all.jobs.get_key_value(job);
            known.map(|(name, known)| self.summary(name, known, false))
        });
        Ok(found.collect())
    }

    async fn remains(&self, job: &JobName) -> Result<Remains> {
        let all = self.lock();
        let there = all.jobs.get(job).map(|known| Remains {
            record: Some(known.new.record(known.received_ms)),
            log: known.log.clone(),
        });
        let gone = || all.removed.get(job).cloned();
        Ok(there.or_else(gone).unwrap_or_default())
    }

    async fn not_ready(&self, job: &Job) -> Result<Option<NotReady>> {
        let why = || NotReady::Astray("no user is shown it".into());
        Ok(self.is_astray(&job.place).then(why))
    }

    async fn astray(&self, interface: &InterfaceName) -> Result<Vec<(String, String)>> {
        let all = self.lock();
        let places = all.jobs.values().map(|known| &known.place);
        let astray =
            places.filter(|place| place.interface() == Some(interface) && self.is_astray(place));
        let users: BTreeSet<&UserName> = astray.filter_map(Place::addressee).collect();
        let told = |user: &UserName| {
            let queue = Queue::of_user(interface, user.clone());
            (format!("queue/{queue}"), format!("there is no user {user}"))
        };
        Ok(users.into_iter().map(told).collect())
    }

    async fn said_so_far(&self, job: &Job) -> Result<Vec<Message>> {
        Ok(self.said_by_run(job))
    }

    async fn restored(&self) -> Result<Option<(i64, Vec<String>)>> {
        // Nothing survives a crash.
        Ok(None)
    }

    async fn is_user(&self, user: &UserName) -> Result<bool> {
        Ok(!self.nobody.contains(user))
    }

    async fn addressee_of(&self, job: &Job) -> Result<Option<UserName>> {
        let all = self.lock();
        let known = all.jobs.get(&job.name);
        Ok(known.and_then(|known| known.addressee.clone()))
    }

    async fn is_cut_off(&self, _: &Job) -> Result<bool> {
        // Whoever works on a job ends with the store.
        Ok(false)
    }

    async fn hold_text(&self, interface: &InterfaceName) -> Result<Option<String>> {
        Ok(self.lock().held.get(interface).cloned())
    }

    async fn hold(
        &self,
        interface: &InterfaceName,
        by: &By,
        until: Option<Timestamp>,
    ) -> Result<Option<String>> {
        self.interface(interface)?;
        let (now_ms, mut all) = (self.now_ms(), self.lock());
        let says_nothing = by.why.is_none() && until.is_none();
        let earlier = all.held.get(interface).filter(|_| says_nothing);
        if let Some(earlier) = earlier {
            return Ok(Some(earlier.clone()));
        }
        all.held
            .insert(interface.clone(), by.since_until(now_ms, until));
        let event = Event::new(EventKind::InterfaceHeld, now_ms)
            .about(Some(interface))
            .with("by", by.to_string())
            .with_known("reason", by.why.as_deref())
            .with_known("until", until.map(|until| until.to_string()));
        self.happened(&mut all, event, &format!("{interface}/{now_ms}"));
        Ok(None)
    }

    async fn end_hold(&self, interface: &InterfaceName) -> Result<HoldEnd> {
        self.interface(interface)?;
        let (now_ms, mut all) = (self.now_ms(), self.lock());
        let until = all.held.get(interface).and_then(|text| until_of(text));
        Ok(match until {
            Some(until) if until.as_millisecond() <= now_ms => {
                all.held.remove(interface);
                HoldEnd::Ended(until)
            }
            Some(until) => HoldEnd::At(until),
            None => HoldEnd::Never,
        })
    }

    async fn resume(&self, interface: &InterfaceName, _: &By) -> Result<bool> {
        self.interface(interface)?;
        Ok(self.lock().held.remove(interface).is_some())
    }

    async fn requeue_all(&self, jobs: Vec<(Job, Queue)>, by: &By) -> Vec<Result<Job>> {
        let sent = jobs.iter().map(|(job, to)| self.send(job, to, by));
        sent.collect()
    }

    async fn remove_all(&self, jobs: Vec<Job>, by: &By) -> Vec<Result<()>> {
        jobs.iter().map(|job| self.discard(job, by)).collect()
    }

    async fn refuse_again(
        &self,
        job: &Job,
        interface: &InterfaceName,
        findings: Vec<Message>,
        by: &By,
    ) -> Result<()> {
        self.still_wrong(job, interface, findings, by)
    }

    async fn ask_reset(&self, id: ScheduleId, _: &By) -> Result<bool> {
        let mut all = self.lock();
        let Some(saved) = all.schedules.get_mut(&id) else {
            return Ok(false);
        };
        saved.reset_asked = true;
        Ok(true)
    }

    async fn traces_of(&self, submitter: &str) -> Result<Traces> {
        Ok(self.lock().traces_of(submitter))
    }

    async fn forget(&self, submitter: &str) -> Result<Traces> {
        let mut all = self.lock();
        let traces = all.traces_of(submitter);
        if traces.waiting + traces.schedules == 0 {
            all.jobs.retain(|_, known| known.new.submitter != submitter);
            let jobs: BTreeSet<JobName> = all.jobs.keys().cloned().collect();
            all.keys.retain(|_, keyed| jobs.contains(&keyed.job));
        }
        Ok(traces)
    }

    async fn audit(&self, entry: &Entry) -> Result<u64> {
        let (now_ms, mut all) = (self.now_ms(), self.lock());
        let (head, line) = all.audit.next(entry, now_ms);
        all.audit = head;
        all.audited.extend(AuditRecord::from_line(line.as_bytes()));
        Ok(all.audit.number)
    }

    async fn audit_head(&self) -> Result<Option<AuditHead>> {
        let head = self.lock().audit.clone();
        Ok((head.number > 0).then_some(head))
    }

    async fn audited(&self, limit: usize) -> Result<Vec<AuditRecord>> {
        let audited = &self.lock().audited;
        Ok(audited[audited.len().saturating_sub(limit)..].to_vec())
    }

    async fn record_event(&self, event: &Event, key: &str) -> Result<bool> {
        let mut all = self.lock();
        let is_known = all.events.knows(EventId::of(event.kind, key));
        Ok(!is_known && self.happened(&mut all, event.clone(), key))
    }

    async fn waiting_events(
        &self,
        receiver: &str,
        without: &HashSet<EventId>,
        limit: usize,
    ) -> Result<Vec<Outgoing>> {
        Ok(self.lock().events.waiting(receiver, without, limit))
    }

    async fn end_events(&self, endings: Vec<Ending>) -> Result<()> {
        let (now_ms, mut all) = (self.now_ms(), self.lock());
        for ending in endings {
            all.events.push(ending.line(now_ms));
        }
        Ok(())
    }

    async fn note_failed_attempts(&self, failed: Vec<FailedAttempt>) -> Result<()> {
        let (now_ms, mut all) = (self.now_ms(), self.lock());
        for failed in failed {
            all.events.push(failed.line(now_ms));
        }
        Ok(())
    }

    async fn event_dues(&self, receiver: &str) -> Result<Vec<(EventId, Timestamp)>> {
        Ok(self.lock().events.dues(receiver))
    }

    async fn bury_events(&self, before: Timestamp, bytes_max: u64) -> Result<usize> {
        let (now_ms, mut all) = (self.now_ms(), self.lock());
        Ok(all.events.bury(before, bytes_max, now_ms))
    }

    async fn events(&self, which: &WhichEvents) -> Result<Vec<EventRecord>> {
        Ok(self.lock().events.told(which))
    }

    async fn redeliver(&self, which: &WhichEvents) -> Result<usize> {
        Ok(self.deliver_again(which))
    }

    async fn event_recorded(&self) {
        self.more.notified().await;
    }

    async fn probe(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn check(&self, progress: Arc<CheckProgress>) -> Result<Checked> {
        let all = self.all.lock();
        progress.begin(all.jobs.len() as u64);
        for known in all.jobs.values() {
            assert_eq!(hex::encode(Sha256::digest(&known.document)), known.sha256);
            progress.advance();
        }
        Ok(Checked {
            jobs: all.jobs.len() as u64,
            flaws: Vec::new(),
        })
    }

    async fn health(&self) -> Result<()> {
        Ok(())
    }

    fn now_ms(&self) -> i64 {
        self.now()
    }

    fn unhealthy(&self) -> Option<String> {
        None
    }

    fn pending_events(&self) -> usize {
        self.lock().events.pending()
    }

    fn waiting(&self, interface: &InterfaceName) -> usize {
        let all = self.lock();
        let waits = |known: &&Known| matches!(&known.place, Place::Queue(queue) if queue.interface == *interface);
        all.jobs.values().filter(waits).count()
    }

    fn waiting_beside(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        whose: bool,
    ) -> Option<Beside> {
        let all = self.lock();
        let waits =
            |place: &Place| matches!(place, Place::Queue(queue) if queue.interface == *interface);
        let waiting = all.jobs.iter().filter(|(_, known)| waits(&known.place));
        let mut beside = Beside {
            before: waiting.clone().filter(|(name, _)| *name < job).count(),
            ..Beside::default()
        };
        if whose {
            let of = |known: &Known| known.new.precedence(job).submitter;
            let key = all
                .jobs
                .get(job)
                .and_then(|known| known.new.order_key.clone());
            let with_key = waiting
                .clone()
                .filter(|(name, known)| *name < job && key.is_some() && known.new.order_key == key);
            beside.same_key = with_key.count();
            beside.submitter = all.jobs.get(job).and_then(of);
            let mut others = BTreeMap::new();
            for (name, known) in waiting {
                let submitter = of(known);
                if submitter == beside.submitter {
                    beside.own += usize::from(name < job);
                } else if let Some(other) = submitter {
                    *others.entry(other).or_default() += 1;
                }
            }
            beside.others = others.into_iter().collect();
        }
        (!all.held.contains_key(interface)).then_some(beside)
    }

    fn capacity(&self) -> Option<Capacity> {
        None
    }

    fn is_addressed(&self, interface: &InterfaceName) -> bool {
        self.addressed.contains(interface)
    }
}
