//! What the store takes and shows of jobs.

#[cfg(any(test, feature = "cluster"))]
use super::fs::fingerprint;
use super::run::Precedence;
use crate::domain::joblog::JobLog;
use crate::domain::{
    InterfaceName, Job, JobId, JobName, JobOptions, Kind, Place, PlaceKind, Priority, Reference,
    WorkerTag, text,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// How a job came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "came", rename_all = "snake_case")]
pub enum Came {
    /// By a request of its submitter.
    #[default]
    Uploaded,
    /// A file of that name was put into its queue.
    Dropped { dropped_as: String },
    /// The processor of that job has made it.
    Emitted {
        #[serde(with = "text")]
        parent: JobName,
    },
    /// It is of a schedule's moment; its parameters say of which.
    Scheduled,
}

impl Came {
    /// What the log of a job says first of how it came, if there is something to be said.
    pub(super) fn note(
        &self,
        job: &JobName,
        interface: Option<&InterfaceName>,
        reference_as_sent: Option<&str>,
    ) -> Option<String> {
        match self {
            Self::Uploaded => {
                // The name says the others.
                let sent = reference_as_sent.filter(|sent| job.reference() != Some(sent))?;
                Some(format!("RefName as sent: {sent}"))
            }
            Self::Scheduled => None,
            Self::Dropped { dropped_as } => {
                let interface = interface.map_or("", InterfaceName::as_str);
                Some(format!(
                    "taken in from queue/{interface}, where it was dropped as {dropped_as}"
                ))
            }
            Self::Emitted { parent } => Some(format!("emitted by {parent}")),
        }
    }
}

/// What goes into a new job's name beside its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewName {
    pub kind: Kind,
    pub reference: Option<Reference>,
}

/// What is known of a job when it is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewJob {
    pub dialect: String,
    /// The name by which the submitter asked for the interface, where that is another one.
    pub asked_as: Option<String>,
    pub submitter: String,
    pub options: JobOptions,
    pub came: Came,
    /// The reference as it was sent, before it was reduced to what a name may hold.
    pub reference_as_sent: Option<String>,
    /// What its document says that it keeps its order by, as [`OrderBy::kept`](crate::domain::OrderBy::kept) gave it.
    pub order_key: Option<String>,
}

impl NewJob {
    /// Before which others it is to be taken. A job of XML has no options.
    pub fn precedence(&self, job: &JobName) -> Precedence {
        let options = match job.kind() {
            Kind::Xml => &JobOptions::default(),
            Kind::Json => &self.options,
        };
        Precedence {
            priority: options.priority,
            worker: options.worker.clone(),
            submitter: (!self.submitter.is_empty()).then(|| self.submitter.as_str().into()),
            order_key: self.order_key.as_deref().map(Into::into),
        }
    }

    /// What is told of it, of a job that was received then.
    pub fn record(&self, received_ms: i64) -> JobRecord {
        JobRecord {
            submitter: Some(self.submitter.clone()),
            dialect: Some(self.dialect.clone()),
            asked_as: self.asked_as.clone(),
            priority: self.options.priority,
            worker: self.options.worker.clone(),
            retries: self.options.retries,
            order_key: self.order_key.clone(),
            came: Some(self.came.clone()),
            reference_as_sent: self.reference_as_sent.clone(),
            received_ms,
        }
    }
}

/// A job that was stored just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub job: JobName,
    pub bytes: u64,
    /// In hex.
    pub sha256: String,
    /// Of the Unix epoch.
    pub received_ms: i64,
}

/// A user's idempotency key, as 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    pub fn new(user: &str, key: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update((user.len() as u64).to_le_bytes());
        hash.update(user);
        hash.update(key);
        Self(hex::encode(hash.finalize()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the first request with a key led to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Keyed {
    /// Of a schedule: a name of its id.
    #[serde(with = "text")]
    pub job: JobName,
    #[serde(with = "text::option")]
    pub interface: Option<InterfaceName>,
    /// Of the body: another body under the same key is a mistake of the client.
    pub sha256: String,
    pub bytes: u64,
    /// The document was refused.
    pub refused: bool,
}

/// What has become of a job so far, in the order of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// In its queue, or deferred until its next attempt.
    Waiting,
    Running,
    Done,
    /// Or refused.
    Failed,
    /// By a user or an operator.
    Cancelled,
}

impl State {
    /// Has the job ended?
    pub fn is_settled(self) -> bool {
        match self {
            Self::Waiting | Self::Running => false,
            Self::Done | Self::Failed | Self::Cancelled => true,
        }
    }
}

/// Which jobs of an interface a viewer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    All,
    /// His own.
    Own,
    Nothing,
}

/// What is seen of the jobs of an interface, or of those of which none is known.
pub type SightOf = dyn Fn(Option<&InterfaceName>) -> Sight + Send + Sync;

/// For whom the store is read.
#[derive(Clone)]
pub struct Viewer {
    pub user: Arc<str>,
    pub sight: Arc<SightOf>,
    /// Also what lies where it is for no user.
    pub sees_astray: bool,
}

impl Viewer {
    /// Does he see all jobs of these interfaces, and those of none?
    pub fn sees_all(&self, interfaces: &[InterfaceName]) -> bool {
        let mut of = interfaces.iter().map(Some).chain([None]);
        self.sees_astray && of.all(|of| (self.sight)(of) == Sight::All)
    }

    /// One that sees everything.
    pub fn all() -> Self {
        Self {
            user: "".into(),
            sight: Arc::new(|_| Sight::All),
            sees_astray: true,
        }
    }
}

impl fmt::Debug for Viewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Viewer({:?})", self.user)
    }
}

/// Which job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    Id(JobId),
    Name(JobName),
}

/// What is asked for beside the summary; what is not is not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// What is known since it came: all of the summary that is not its place.
    pub record: bool,
    pub log: bool,
    pub results: bool,
    /// How its document and its attempts are now, for operators.
    pub now: bool,
}

impl Want {
    /// Where the job is and its state, and no more. No log is read for the state.
    pub const PLACE: Self = Self {
        record: false,
        log: false,
        results: false,
        now: false,
    };
    pub const RECORD: Self = Self {
        record: true,
        ..Self::PLACE
    };
    /// All that anybody is shown but operators.
    pub const ALL: Self = Self {
        record: true,
        log: true,
        results: true,
        now: false,
    };
}

/// What a list shows of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSummary {
    pub job: Job,
    pub state: State,
    /// It was cancelled while it waited.
    pub is_deleted: bool,
    pub interface: Option<InterfaceName>,
    /// Its owner: its addressee, where jobs are addressed, else its submitter. With the record only.
    pub owner: Option<String>,
    /// With the record only.
    pub record: Option<JobRecord>,
    /// Where a list was asked for it, of a job that is deferred, has failed or was refused.
    pub failure: Option<Failure>,
}

/// How the last attempt of a job failed, or why it was refused, as the record says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// Of the Unix epoch.
    pub at_ms: i64,
    /// Counted from 1; `None`: it was not an attempt.
    pub attempt: Option<u32>,
    /// What errors of its kind have in common: 16 hexadecimal digits.
    pub fingerprint: Option<String>,
    /// The beginning of the error.
    pub reason: Option<String>,
}

impl Failure {
    /// What the log of a last attempt says of a job that lies at a place of failures.
    #[cfg(any(test, feature = "cluster"))]
    pub(super) fn logged(place: &Place, at_ms: i64, attempts: u32, reason: &str) -> Option<Self> {
        match place {
            Place::Deferred { .. } | Place::JobErrors | Place::Refused => Some(Self {
                at_ms,
                attempt: (*place != Place::Refused).then_some(attempts),
                fingerprint: Some(fingerprint(reason)),
                reason: Some(reason.to_owned()),
            }),
            Place::Bak(_) | Place::Queue(_) | Place::Work { .. } => None,
        }
    }
}

/// An attempt at a job that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Counted from 1.
    pub number: u32,
    /// As that of its end, of the Unix epoch. `None`: nobody was there to see it.
    pub started_ms: Option<i64>,
    pub ended_ms: i64,
    pub outcome: AttemptEnd,
    /// As those of a [`Failure`]; of one that is done there is none.
    pub fingerprint: Option<String>,
    pub reason: Option<String>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    Cancelled,
    /// Nobody knows how far it got; the job was to be tried again.
    CutOff,
    /// The job was to be tried again later.
    Deferred,
    Done,
    /// For good.
    Failed,
    /// It does not count, since the service was stopped.
    GivenBack,
}

impl AttemptEnd {
    /// As JSON calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::CutOff => "cut_off",
            Self::Deferred => "deferred",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::GivenBack => "given_back",
        }
    }

    /// As people are told.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::CutOff => "cut off",
            Self::GivenBack => "given back",
            Self::Cancelled | Self::Deferred | Self::Done | Self::Failed => self.as_str(),
        }
    }
}

/// What is known of a job since it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobRecord {
    /// As far as it is known.
    pub submitter: Option<String>,
    pub dialect: Option<String>,
    pub asked_as: Option<String>,
    pub priority: Priority,
    pub worker: Option<WorkerTag>,
    /// How often it is to be tried again, if its submitter said so.
    pub retries: Option<u32>,
    /// As in [`NewJob::order_key`].
    pub order_key: Option<String>,
    /// `None`: it is not known.
    pub came: Option<Came>,
    /// As in [`NewJob::reference_as_sent`].
    pub reference_as_sent: Option<String>,
    /// Of the Unix epoch.
    pub received_ms: i64,
}

impl JobSummary {
    /// Does it lie in its queue?
    pub fn is_queued(&self) -> bool {
        matches!(self.job.place, Place::Queue(_))
    }
}

/// All that is known of a job, as far as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobDetail {
    pub summary: JobSummary,
    pub log: Option<JobLog>,
    /// Of a job that is done.
    pub results: Results,
    pub now: Option<Now>,
}

impl JobDetail {
    /// Of which no more was asked for.
    pub fn of(summary: JobSummary) -> Self {
        Self {
            summary,
            log: None,
            results: Results::default(),
            now: None,
        }
    }
}

/// How a job is now, whatever was recorded of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Of its document.
    pub bytes: u64,
    /// Of its document, in hex; `None` when it is not known to be that of these bytes.
    pub sha256: Option<String>,
    /// Of a job that waits or runs: how often it was tried since it came, or was sent to its queue, …
    pub attempts: Option<u32>,
    /// … and how often it is to be tried at most.
    pub attempts_max: Option<u32>,
    /// Of a job that runs: when its attempt began, of the Unix epoch. `None`: it is not known.
    pub started_ms: Option<i64>,
    /// Where in the spool its file lies, for people; `None`: the engine has no files.
    pub path: Option<String>,
}

/// What is kept of a job, also when it is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    pub record: Option<JobRecord>,
    pub log: Option<JobLog>,
}

/// Why a job in its queue is not taken, and shown to no partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// It is for no user, as this says to operators.
    Astray(String),
    /// Somebody still writes it.
    Incomplete,
}

/// How much there is of a submitter.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Traces {
    /// Jobs that were his, as far as is recorded.
    pub jobs: usize,
    /// Of those that have ended.
    pub documents: usize,
    pub logs: usize,
    pub results: usize,
    /// Records of idempotency keys.
    pub keys: usize,
    /// Jobs of his that wait or run.
    pub waiting: usize,
    /// Schedules of his, which would make more.
    pub schedules: usize,
}

/// How many jobs are where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of every interface.
    pub of: BTreeMap<InterfaceName, InterfaceCounts>,
    /// Of all interfaces.
    pub failed: usize,
    /// Of all interfaces and of none.
    pub refused: usize,
}

/// How many jobs of an interface are where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCounts {
    pub queued: AtPlace,
    pub running: AtPlace,
    pub deferred: AtPlace,
    pub done: AtPlace,
}

/// How many jobs are at a place, and which of them came first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtPlace {
    pub jobs: usize,
    pub oldest: Option<JobId>,
}

impl AtPlace {
    /// One more.
    pub fn add(&mut self, job: JobId) {
        self.jobs += 1;
        self.oldest = Some(self.oldest.map_or(job, |oldest| oldest.min(job)));
    }
}

impl FromIterator<JobId> for AtPlace {
    fn from_iter<I: IntoIterator<Item = JobId>>(jobs: I) -> Self {
        let mut found = Self::default();
        jobs.into_iter().for_each(|job| found.add(job));
        found
    }
}

/// What a processor made of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// The names of the files, sorted; without `result.json`.
    pub files: Vec<String>,
    /// The members of `result.json`.
    pub variables: Map<String, Value>,
}

/// What came of cancelling a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// Its log says by whom, and both would survive a power cut.
    /// `was_running`: its command was ended for that.
    Done { was_running: bool },
    /// It has ended in another way, or there is none of that name.
    NotActive,
    /// Its run is to end and has not ended yet, or others keep moving it: ask again.
    Pending,
}

/// Which jobs a list has: by default all, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `None`: of every one, and those of which none is known.
    pub interface: Option<InterfaceName>,
    /// Only those at such places; empty: wherever they are.
    pub at: Vec<PlaceKind>,
    /// Only those in one of these states; empty: in any.
    pub states: Vec<State>,
    /// Only those of this submitter.
    pub submitter: Option<String>,
    /// Only those with this in their names, in their references as they were sent, or in the names as which they were
    /// dropped; the letters of ASCII in whatever case. Of a day that has a record, those that are in it.
    pub text: Option<String>,
    /// Only those that came at this moment or later, and before the other, of the Unix epoch.
    pub since_ms: Option<i64>,
    pub before_ms: Option<i64>,
    /// Only those with a [`Failure`] whose reason has this in it, in whatever case.
    pub error: Option<String>,
    /// Only those with a [`Failure`] of this kind.
    pub fingerprint: Option<String>,
    pub newest_first: bool,
    pub want_record: bool,
    pub want_failure: bool,
}

impl Filter {
    /// Can a job that came at this moment be one of them?
    pub fn takes_ms(&self, unix_ms: i64) -> bool {
        self.since_ms.is_none_or(|since| unix_ms >= since)
            && self.before_ms.is_none_or(|before| unix_ms < before)
    }

    /// Does it depend on how a job has failed?
    pub fn asks_for_failures(&self) -> bool {
        self.error.is_some() || self.fingerprint.is_some()
    }

    /// Does it depend on what is known of a job since it came?
    pub fn asks_for_records(&self) -> bool {
        self.submitter.is_some() || self.text.is_some()
    }

    /// Is a job one of them, by what is recorded of it?
    pub fn takes(&self, job: &JobSummary) -> bool {
        let (record, failure) = (job.record.as_ref(), job.failure.as_ref());
        let submitter = record.and_then(|record| record.submitter.as_ref());
        let is_of = |of: &String| submitter == Some(of);
        let reason = || failure.and_then(|failure| failure.reason.as_ref());
        let says = |text: &String| {
            reason().is_some_and(|reason| reason.to_lowercase().contains(&text.to_lowercase()))
        };
        let fingerprint = failure.and_then(|failure| failure.fingerprint.as_ref());
        self.submitter.as_ref().is_none_or(is_of)
            && self.text.as_ref().is_none_or(|text| is_called(job, text))
            && self.error.as_ref().is_none_or(says)
            && (self.fingerprint.is_none() || self.fingerprint.as_ref() == fingerprint)
    }
}

/// Has a job this in one of the names that we or others have of it?
fn is_called(job: &JobSummary, text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let is_in = |name: &str| name.to_ascii_lowercase().contains(&text);
    let record = job.record.as_ref();
    let dropped_as = record.and_then(|record| match record.came.as_ref()? {
        Came::Dropped { dropped_as } => Some(dropped_as),
        Came::Emitted { .. } | Came::Scheduled | Came::Uploaded => None,
    });
    let as_sent = record.and_then(|record| record.reference_as_sent.as_ref());
    let by_others = dropped_as.into_iter().chain(as_sent);
    is_in(&job.job.name.to_string()) || by_others.into_iter().any(|name| is_in(name))
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub jobs: Vec<JobSummary>,
    /// After which job the next part begins; `None`: this was the last.
    pub next: Option<JobName>,
}
