//! What operators do to a store: requeue, remove, hold, release, end a schedule.
//!
//! One place for all of it: the running service carries out what comes through its socket, and a
//! command on a spool that no service has carries it out itself, after it has taken the lock and
//! replayed the journal. Either way it is durable before its outcome is told.

mod actor;
mod audit;
mod jobs;

pub use actor::{Sudo, group_name, operator, operator_of_process, user_name};
pub use audit::{Administration, Begun, UserAct};
pub use jobs::{Bulk, JobAct, Jobs, Outcome, Summary, Told};

use crate::{
    config::Differences,
    cron_schedule::ScheduleId,
    domain::{InterfaceName, JobName, UserName, text},
    service::{Verifier, WorkerHandle},
    store::{
        By, Store, StoreError, Traces,
        events::{EventId, WhichEvents},
    },
};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt, pin::Pin, sync::Arc};

/// Longest reason of a hold, in characters.
pub const REASON_CHARS_MAX: usize = 1000;

/// One thing that an operator wants done, beside what is done to jobs: that is a [`Bulk`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Operation {
    /// Removes what there is of a submitter whose jobs have all ended.
    Forget { submitter: String },
    /// Starts nothing more of the interface, for that reason, and until then if it is to end by itself.
    Hold {
        #[serde(with = "text")]
        interface: InterfaceName,
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// Lets these events wait again, or else all that are dead; for this receiver, or else all of them.
    Redeliver {
        events: Vec<EventId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        receiver: Option<String>,
    },
    /// Ends a hold.
    Release {
        #[serde(with = "text")]
        interface: InterfaceName,
    },
    /// Takes the configuration as it now lies there.
    Reload,
    /// Ends a schedule for ever; its jobs stay.
    RemoveSchedule {
        #[serde(with = "text")]
        schedule: ScheduleId,
    },
    /// Lets a schedule follow the clock again that waits since it was set back.
    ResetSchedule {
        #[serde(with = "text")]
        schedule: ScheduleId,
    },
}

/// What an act has done, durably. As text it is told to people, as an object to programs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Acted {
    Forgotten(Traces),
    Held,
    /// It was on hold before, as that says, and stays so.
    HeldBefore {
        hold: String,
    },
    NotHeld,
    /// So many events wait again.
    Redelivered {
        events: usize,
    },
    Released,
    /// Another configuration was taken: what of it differs, a line each.
    Reloaded {
        taken: String,
    },
    Removed,
    Reset,
}

impl fmt::Display for Acted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forgotten(traces) => f.write_str(&told(traces)),
            Self::Held => f.write_str("held"),
            Self::HeldBefore { hold } => write!(f, "was held already {hold}"),
            Self::NotHeld => f.write_str("was not held"),
            Self::Redelivered { events } => write!(f, "{events} sent again"),
            Self::Released => f.write_str("released"),
            Self::Reloaded { taken } => f.write_str(taken),
            Self::Removed => f.write_str("removed"),
            Self::Reset => f.write_str("reset"),
        }
    }
}

/// Why an act was not carried out. Nothing has changed, unless the
/// [`StoreError`] leaves that open.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    #[error("{0} was cut off when the service ended; start the service, which recovers it")]
    CutOff(JobName),
    #[error(
        "{job} belongs to {interface}, which is not configured (any more); say --to INTERFACE: {}",
        known.join(", ")
    )]
    GoneInterface {
        job: JobName,
        interface: InterfaceName,
        known: Vec<String>,
    },
    #[error("{0}")]
    Configuration(String),
    #[error("no service runs here; it takes its configuration when it starts")]
    NoService,
    #[error("{0} has moved meanwhile; look again")]
    Moved(JobName),
    #[error(
        "nothing is removed: of {submitter} {waiting} jobs wait or run, and {schedules} schedules would make \
         more; let them end, or end them first (`spoolgate rm`, `spoolgate schedule rm`)"
    )]
    NotEnded {
        submitter: String,
        waiting: usize,
        schedules: usize,
    },
    #[error("no job {0} in this spool")]
    NoJob(JobName),
    #[error("{0} has ended")]
    Ended(JobName),
    #[error("{0} is to end and has not ended yet; look again, or ask again")]
    Ending(JobName),
    #[error("{job} is still wrong for {interface}, and its log says why:\n{findings}")]
    StillWrong {
        job: JobName,
        interface: InterfaceName,
        /// A line each, the first ones.
        findings: String,
    },
    #[error("{job} cannot be validated again: {reason}; --unchecked sends it all the same")]
    Unverified { job: JobName, reason: String },
    #[error("no schedule {0} in this spool")]
    NoSchedule(ScheduleId),
    #[error("it is later than {0} already; say a moment to come")]
    Past(Timestamp),
    #[error("the reason has more than {REASON_CHARS_MAX} characters")]
    Reason,
    #[error("{job} is running; {advice}")]
    Running { job: JobName, advice: &'static str },
    #[error("the jobs of {0} are not for single users; say --to {0}")]
    NotAddressed(InterfaceName),
    #[error("there is no user {0}; `spoolgate user list` shows those that there are")]
    NoUser(UserName),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{job}: for which user of {interface} it is, is not known; say --to {interface}/@USER")]
    Unaddressed {
        job: JobName,
        interface: InterfaceName,
    },
    #[error("{job}: its interface is not known; say --to INTERFACE: {}", known.join(", "))]
    Unclaimed { job: JobName, known: Vec<String> },
    #[error("unknown interface {interface}; there are {}", known.join(", "))]
    UnknownInterface {
        interface: InterfaceName,
        known: Vec<String>,
    },
}

/// What is, or was, there of a submitter, in words.
pub fn told(traces: &Traces) -> String {
    format!(
        "{} documents, {} logs, {} results and {} keys of {} jobs",
        traces.documents, traces.logs, traces.results, traces.keys, traces.jobs
    )
}

/// What an act has changed, for those who go on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its jobs, or its hold.
    Interface(InterfaceName),
    Schedule(ScheduleId),
}

/// What to do about a configuration that is not in force.
pub const RELOAD: &str = "`spoolgate reload` takes it, or says what needs a restart";

/// What a service can be told of its configuration. Errors are for operators; nothing has changed then.
pub trait Configuration: Send + Sync {
    /// What another one would change, as it now lies there.
    fn differences(&self) -> Answer<'_, Differences>;

    /// Takes it; gives what has changed.
    fn reload(&self) -> Answer<'_, String>;
}

pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// Carries out acts in one store.
pub struct Admin {
    store: Arc<dyn Store>,
    /// Another one when the configuration is.
    verifier: Arc<ArcSwap<Verifier>>,
    configuration: Option<Arc<dyn Configuration>>,
    /// Who works on the jobs; `None`: nobody does.
    worker: Option<Arc<dyn WorkerHandle>>,
    changed: Box<dyn Fn(Change) + Send + Sync>,
}

impl Admin {
    /// `worker`: who works on the jobs, if anybody does. `changed` is told of each change; it must not block.
    pub fn new(
        store: Arc<dyn Store>,
        verifier: Arc<ArcSwap<Verifier>>,
        worker: Option<Arc<dyn WorkerHandle>>,
        changed: impl Fn(Change) + Send + Sync + 'static,
    ) -> Self {
        Self {
            store,
            verifier,
            configuration: None,
            worker,
            changed: Box::new(changed),
        }
    }

    /// The same in a service, which can take another configuration.
    #[must_use]
    pub fn with_configuration(mut self, configuration: Arc<dyn Configuration>) -> Self {
        self.configuration = Some(configuration);
        self
    }

    /// What another configuration would change.
    ///
    /// # Errors
    /// Why it would not be taken.
    pub async fn differences(&self) -> Result<Differences, ActError> {
        let configuration = self.configuration.as_ref().ok_or(ActError::NoService)?;
        configuration
            .differences()
            .await
            .map_err(ActError::Configuration)
    }

    async fn reload(&self) -> Result<Acted, ActError> {
        let configuration = self.configuration.as_ref().ok_or(ActError::NoService)?;
        let taken = configuration.reload().await;
        let taken = taken.map_err(ActError::Configuration)?;
        Ok(Acted::Reloaded { taken })
    }

    /// Carries out an act, and records it in the audit.
    ///
    /// # Errors
    /// When the act is refused, or the store fails.
    pub async fn act(&self, operation: &Operation, by: &By) -> Result<Acted, ActError> {
        let begun = self.begin(&audit::deed(operation, by)).await?;
        let acted = self.carry_out(operation, by).await;
        begun.end_as(&acted).await;
        acted
    }

    async fn carry_out(&self, operation: &Operation, by: &By) -> Result<Acted, ActError> {
        match operation {
            Operation::Forget { submitter } => self.forget(submitter).await,
            Operation::Hold {
                interface,
                reason,
                until,
            } => self.hold(interface, reason, *until, by).await,
            Operation::Redeliver { events, receiver } => {
                self.redeliver(events, receiver.clone()).await
            }
            Operation::Release { interface } => self.release(interface, by).await,
            Operation::Reload => self.reload().await,
            Operation::RemoveSchedule { schedule } => self.remove_schedule(*schedule, by).await,
            Operation::ResetSchedule { schedule } => self.reset_schedule(*schedule, by).await,
        }
    }

    async fn hold(
        &self,
        interface: &InterfaceName,
        reason: &str,
        until: Option<Timestamp>,
        by: &By,
    ) -> Result<Acted, ActError> {
        self.known(interface)?;
        if reason.chars().count() > REASON_CHARS_MAX {
            return Err(ActError::Reason);
        }
        if let Some(until) = until.filter(|until| until.as_millisecond() <= self.store.now_ms()) {
            return Err(ActError::Past(until));
        }
        let by = By {
            why: (!reason.is_empty()).then(|| reason.to_owned()),
            ..by.clone()
        };
        if let Some(hold) = self.store.hold(interface, &by, until).await? {
            return Ok(Acted::HeldBefore { hold });
        }
        (self.changed)(Change::Interface(interface.clone()));
        Ok(Acted::Held)
    }

    async fn forget(&self, submitter: &str) -> Result<Acted, ActError> {
        let traces = self.store.forget(submitter).await?;
        if traces.waiting + traces.schedules > 0 {
            return Err(ActError::NotEnded {
                submitter: submitter.to_owned(),
                waiting: traces.waiting,
                schedules: traces.schedules,
            });
        }
        Ok(Acted::Forgotten(traces))
    }

    async fn redeliver(
        &self,
        events: &[EventId],
        receiver: Option<String>,
    ) -> Result<Acted, ActError> {
        let which = WhichEvents {
            receiver,
            ids: events.iter().copied().collect(),
            // One that is named is sent once more, whatever came of it.
            delivered: !events.is_empty(),
            ..WhichEvents::default()
        };
        let n_events = self.store.redeliver(&which).await?;
        Ok(Acted::Redelivered { events: n_events })
    }

    async fn release(&self, interface: &InterfaceName, by: &By) -> Result<Acted, ActError> {
        self.known(interface)?;
        if !self.store.resume(interface, by).await? {
            return Ok(Acted::NotHeld);
        }
        (self.changed)(Change::Interface(interface.clone()));
        Ok(Acted::Released)
    }

    async fn remove_schedule(&self, schedule: ScheduleId, by: &By) -> Result<Acted, ActError> {
        if !self.store.remove_schedule(schedule, by).await? {
            return Err(ActError::NoSchedule(schedule));
        }
        (self.changed)(Change::Schedule(schedule));
        Ok(Acted::Removed)
    }

    async fn reset_schedule(&self, schedule: ScheduleId, by: &By) -> Result<Acted, ActError> {
        if !self.store.ask_reset(schedule, by).await? {
            return Err(ActError::NoSchedule(schedule));
        }
        (self.changed)(Change::Schedule(schedule));
        Ok(Acted::Reset)
    }

    fn known(&self, interface: &InterfaceName) -> Result<(), ActError> {
        match self.store.interfaces().contains(interface) {
            true => Ok(()),
            false => Err(ActError::UnknownInterface {
                interface: interface.clone(),
                known: self.interfaces(),
            }),
        }
    }

    fn interfaces(&self) -> Vec<String> {
        let all = self.store.interfaces().into_iter();
        all.map(|interface| interface.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::joblog::{JobLog, Status},
        domain::{Kind, Place},
        service::Interface,
        store::fs::{Ended, FileStore, Fs, PlacePath, RealFs, Rules, SEGMENT_BYTES_MIN, Spool},
        xml::{Schemas, XsdSchema},
    };
    use parking_lot::Mutex;
    use std::{collections::BTreeMap, path::Path};

    type Changes = Arc<Mutex<Vec<Change>>>;

    fn admin(dir: &Path, interfaces: &[&str]) -> (Admin, Arc<Spool>, Changes) {
        let rules = Rules {
            attempts_max: 3,
            at_most_once: false,
            drops: Default::default(),
            order_attribute: None,
        };
        let interfaces = interfaces.iter();
        let interfaces: BTreeMap<_, _> = interfaces
            .map(|name| (name.parse().unwrap(), rules.clone()))
            .collect();
        let clock = Box::new(|| 1_795_323_468_123);
        let spool = Arc::new(Spool::open(RealFs::new(dir), interfaces, clock).unwrap());
        spool.open_journal(SEGMENT_BYTES_MIN).unwrap();
        let changes = Changes::default();
        let told = changes.clone();
        let changed = move |change| told.lock().push(change);
        let schemas = Schemas::open(&dir.join("schemas"), Box::new(XsdSchema));
        let takes = Interface {
            root: Some("a".into()),
            ..Interface::any()
        };
        let takes = interfaces_of(&spool).map(|name| (name, takes.clone()));
        let verifier = Verifier::new(takes.collect(), Arc::new(schemas));
        let verifier = Arc::new(ArcSwap::from_pointee(verifier));
        let store = Arc::new(FileStore::new(spool.clone()));
        (Admin::new(store, verifier, None, changed), spool, changes)
    }

    fn interfaces_of(spool: &Spool) -> impl Iterator<Item = InterfaceName> {
        spool.interfaces().into_iter()
    }

    /// Does one thing to one job; gives where it is then, or an empty text.
    async fn act_on(admin: &Admin, job: &JobName, act: JobAct) -> Result<String, String> {
        let (told, mut heard) = tokio::sync::mpsc::channel(8);
        let bulk = Bulk {
            act,
            jobs: Jobs::Named(vec![job.clone()]),
            per_s: None,
        };
        let summary = admin.bulk(&bulk, &olga(), told).await.unwrap();
        assert_eq!(heard.recv().await, Some(Told::Begun { jobs: 1 }));
        let Some(Told::Job(outcome)) = heard.recv().await else {
            panic!("no outcome");
        };
        assert_eq!(&outcome.job, job);
        assert_eq!(summary.failed, usize::from(outcome.error.is_some()));
        match outcome.error {
            Some(error) => Err(error),
            None => Ok(outcome.path.unwrap_or_default()),
        }
    }

    fn requeue(to: Option<&str>, unchecked: bool) -> JobAct {
        JobAct::Requeue {
            to: to.map(|to| to.parse().unwrap()),
            unchecked,
        }
    }

    fn olga() -> By {
        By::operator("olga (uid 1000)")
    }

    fn put(dir: &Path, path: &str) {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "<a/>").unwrap();
    }

    #[tokio::test]
    async fn acts_are_told_in_logs_and_to_the_service() {
        let dir = tempfile::tempdir().unwrap();
        let (admin, spool, changes) = admin(dir.path(), &["a", "b"]);
        let name = JobName::new(spool.next_id(), None, Kind::Xml);
        let a: InterfaceName = "a".parse().unwrap();
        put(dir.path(), &format!("bak/a/{}/{name}", name.day()));
        let act = async |operation: Operation| {
            let done = admin.act(&operation, &olga()).await;
            done.map_err(|error| error.to_string())
        };
        let to_job = async |act: JobAct| act_on(&admin, &name, act).await;
        let sent = to_job(requeue(Some("b"), false)).await;
        assert_eq!(sent, Ok(format!("queue/b/{name}")));
        let again = to_job(requeue(None, false)).await.unwrap_err();
        assert!(again.contains("cannot be requeued"), "{again}");
        assert_eq!(to_job(JobAct::Remove).await, Ok(String::new()));
        let is = |name: &str| Change::Interface(name.parse().unwrap());
        assert_eq!(*changes.lock(), [is("b"), is("b")]);
        let gone = format!("no job {name} in this spool");
        assert_eq!(to_job(JobAct::Remove).await, Err(gone.clone()));
        assert_eq!(to_job(requeue(None, false)).await, Err(gone));

        let hold = |reason: &str| Operation::Hold {
            interface: a.clone(),
            reason: reason.into(),
            until: None,
        };
        assert_eq!(act(hold("audit")).await, Ok(Acted::Held));
        let text = spool.hold_text(&a).unwrap();
        assert!(text.starts_with("by olga (uid 1000) since "), "{text}");
        assert!(text.ends_with("Z: audit"), "{text}");
        let before = Acted::HeldBefore { hold: text };
        assert_eq!(act(hold("")).await, Ok(before));
        assert!(act(hold(&"x".repeat(1001))).await.is_err());
        let past = act(Operation::Hold {
            interface: a.clone(),
            reason: String::new(),
            until: Some(Timestamp::UNIX_EPOCH),
        });
        assert!(past.await.unwrap_err().contains("it is later than 1970-"));
        let release = || Operation::Release {
            interface: a.clone(),
        };
        assert_eq!(act(release()).await, Ok(Acted::Released));
        assert_eq!(act(release()).await, Ok(Acted::NotHeld));
        // What was done with the job is in the record, with by whom and from where.
        spool.close_journal();
        let record = format!("records/{}/ended.jsonl", name.day());
        let record = std::fs::read_to_string(dir.path().join(record)).unwrap();
        let acts: Vec<Ended> = (record.lines())
            .map(|line| Ended::from_line(line.as_bytes()).unwrap())
            .collect();
        assert_eq!(acts.len(), 2, "{record}");
        for act in &acts {
            let (by, from) = (act.by.as_deref(), act.from.as_deref());
            assert_eq!((by, from), (Some("olga (uid 1000)"), Some("command")));
        }
    }

    #[tokio::test]
    async fn a_job_is_never_sent_where_nothing_looks() {
        let dir = tempfile::tempdir().unwrap();
        let (admin, spool, changes) = admin(dir.path(), &["a", "b"]);
        let name = JobName::new(spool.next_id(), None, Kind::Xml);
        let path = format!("joberrors/{}/{name}", name.day());
        put(dir.path(), &path);
        let requeue = async |to: Option<&str>| act_on(&admin, &name, requeue(to, false)).await;
        let refused = requeue(None).await.unwrap_err();
        assert!(refused.ends_with("say --to INTERFACE: a, b"), "{refused}");
        let refused = requeue(Some("gone")).await.unwrap_err();
        assert_eq!(refused, "unknown interface gone; there are a, b");
        let log = JobLog {
            job: name.clone(),
            interface: Some("gone".parse().unwrap()),
            status: Status::Error,
            received_ms: 1,
            started_ms: None,
            finished_ms: 2,
            attempts: 1,
            bytes: 4,
            sha256: None,
            messages: Vec::new(),
        };
        spool.wait(spool.write_log(log).unwrap()).unwrap();
        let refused = requeue(None).await.unwrap_err();
        assert!(
            refused.contains("belongs to gone, which is not configured"),
            "{refused}"
        );
        assert!(dir.path().join(&path).exists());
        assert!(changes.lock().is_empty());
        assert_eq!(requeue(Some("a")).await, Ok(format!("queue/a/{name}")));
    }

    #[tokio::test]
    async fn a_refused_document_is_validated_again_and_a_failed_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (admin, spool, _) = admin(dir.path(), &["a"]);
        let requeue = async |job: &JobName, to: Option<&str>, unchecked| {
            act_on(&admin, job, requeue(to, unchecked)).await
        };
        let new = |place: &Place, text: &str| {
            let name = JobName::new(spool.next_id(), None, Kind::Xml);
            put(dir.path(), place.path(&name).to_str().unwrap());
            std::fs::write(dir.path().join(place.path(&name)), text).unwrap();
            name
        };
        let wrong = new(&Place::Refused, "<b/>");
        let said = requeue(&wrong, Some("a"), false).await.unwrap_err();
        assert!(
            said.contains("still wrong for a") && said.contains("takes a"),
            "{said}"
        );
        assert_eq!(spool.find(&wrong).unwrap(), Some(Place::Refused));
        let log = spool.read_log(&wrong).unwrap();
        let said: Vec<&str> = log.messages.iter().map(|m| m.text.as_str()).collect();
        assert_eq!(
            said[0],
            "validated again for a by olga (uid 1000): still wrong"
        );
        assert!(said[1].contains("the root element is b"), "{said:?}");
        for (job, to, unchecked) in [
            (wrong, Some("a"), true),
            (new(&Place::Refused, "<a/>"), Some("a"), false),
            // Of which no interface was known.
            (new(&Place::Refused, "<a/>"), None, false),
            (new(&Place::JobErrors, "<b/>"), Some("a"), false),
        ] {
            let path = format!("queue/a/{job}");
            assert_eq!(requeue(&job, to, unchecked).await, Ok(path));
        }
        let unknown = requeue(&new(&Place::Refused, "<b/>"), None, false).await;
        assert!(unknown.unwrap_err().contains("its interface is not known"));
    }

    #[tokio::test]
    async fn a_job_that_is_worked_on_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (admin, spool, _) = admin(dir.path(), &["a"]);
        let name = JobName::new(spool.next_id(), None, Kind::Xml);
        put(dir.path(), &format!("work/a/{name}.a1"));
        for act in [JobAct::Remove, JobAct::Cancel, requeue(None, false)] {
            let refused = act_on(&admin, &name, act.clone()).await;
            // A cut off run is left to the next start, unless it is to end anyway.
            match act {
                JobAct::Cancel => assert_eq!(refused, Ok(String::new())),
                JobAct::Remove | JobAct::Requeue { .. } => {
                    assert!(refused.unwrap_err().contains("was cut off"));
                }
            }
            put(dir.path(), &format!("work/a/{name}.a1"));
            let _ = std::fs::remove_dir_all(dir.path().join("joberrors"));
        }
        let _run = spool
            .fs()
            .lock(&Path::new("work/a").join(format!("{name}.lock")));
        for (act, words) in [
            (JobAct::Remove, "is running; hold its interface"),
            (JobAct::Cancel, "is running; "),
            (requeue(None, false), "is running; wait for its end"),
        ] {
            let refused = act_on(&admin, &name, act).await.unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
    }
}
