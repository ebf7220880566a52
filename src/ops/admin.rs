//! What operators do to a spool: requeue, remove, hold, release, end a schedule.
//!
//! One place for all of it: the running service carries out what comes through its socket, and a
//! command on a spool that no service has carries it out itself, after it has taken the lock and
//! replayed the journal. Either way the journal has the act before its outcome is told, so what was
//! told survives a crash.
//!
//! All calls block.

mod actor;

pub use actor::{Sudo, group_name, operator, operator_of_process, user_name};

use crate::{
    cron_schedule::ScheduleId,
    domain::joblog::Message,
    domain::{InterfaceName, Job, JobName, Kind, Place, Queue, UserName, text},
    service::Verifier,
    store::{
        By,
        fs::{Moved, PlacePath, Spool, SpoolError},
    },
    xml::Source,
};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, sync::Arc};

/// Of a document that is still wrong, so many findings are told; its log has all.
const FINDINGS_TOLD_MAX: usize = 20;
/// Longest reason of a hold, in characters.
pub const REASON_CHARS_MAX: usize = 1000;

/// One thing that an operator wants done.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Operation {
    /// Starts nothing more of the interface, for that reason.
    Hold {
        #[serde(with = "text")]
        interface: InterfaceName,
        reason: String,
    },
    /// Ends a hold.
    Release {
        #[serde(with = "text")]
        interface: InterfaceName,
    },
    /// Removes a job for ever; its log stays.
    Remove {
        #[serde(with = "text")]
        job: JobName,
    },
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
    /// Sends a job to a queue, that of its own interface unless given, its attempts counted from
    /// one. Where jobs are for users and none is given, to the one for whom it was last. A document
    /// that was refused is validated again first, as at its upload.
    Requeue {
        #[serde(with = "text")]
        job: JobName,
        #[serde(
            default,
            with = "text::option",
            skip_serializing_if = "Option::is_none"
        )]
        to: Option<Queue>,
        /// Also a document that was refused and is still wrong.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unchecked: bool,
    },
}

/// Why an act was not carried out. Nothing has changed, save that of a [`SpoolError`] nobody knows.
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
    #[error("{0} has moved meanwhile; look again")]
    Moved(JobName),
    #[error("no job {0} in this spool")]
    NoJob(JobName),
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
    #[error("the reason has more than {REASON_CHARS_MAX} characters")]
    Reason,
    #[error("{job} is running; {advice}")]
    Running { job: JobName, advice: &'static str },
    #[error("the jobs of {0} are not for single users; say --to {0}")]
    NotAddressed(InterfaceName),
    #[error("there is no user {0}; `spoolgate user list` shows those that there are")]
    NoUser(UserName),
    #[error(transparent)]
    Spool(#[from] SpoolError),
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

/// What an act has changed, for those who go on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its jobs, or its hold.
    Interface(InterfaceName),
    Schedule(ScheduleId),
}

/// Carries out acts in one spool, whose journal is open.
pub struct Admin {
    spool: Arc<Spool>,
    verifier: Verifier,
    changed: Box<dyn Fn(Change) + Send + Sync>,
}

impl Admin {
    /// `changed` is told of each change; it must not block.
    pub fn new(
        spool: Arc<Spool>,
        verifier: Verifier,
        changed: impl Fn(Change) + Send + Sync + 'static,
    ) -> Self {
        Self {
            spool,
            verifier,
            changed: Box::new(changed),
        }
    }

    /// Carries out an act. The words that are given say what was done, which is durable.
    ///
    /// # Errors
    /// When the act is refused, or the disk fails.
    pub fn act(&self, operation: &Operation, by: &By) -> Result<String, ActError> {
        match operation {
            Operation::Hold { interface, reason } => self.hold(interface, reason, by),
            Operation::Release { interface } => self.release(interface, by),
            Operation::Remove { job } => self.remove(job, by),
            Operation::RemoveSchedule { schedule } => self.remove_schedule(*schedule, by),
            Operation::ResetSchedule { schedule } => self.reset_schedule(*schedule, by),
            Operation::Requeue { job, to, unchecked } => {
                self.requeue(job, to.as_ref(), *unchecked, by)
            }
        }
    }

    fn hold(&self, interface: &InterfaceName, reason: &str, by: &By) -> Result<String, ActError> {
        self.known(interface)?;
        if reason.chars().count() > REASON_CHARS_MAX {
            return Err(ActError::Reason);
        }
        // Who held it first, and why, is worth more than that it is held twice.
        if reason.is_empty()
            && let Some(earlier) = self.spool.hold_text(interface)?
        {
            return Ok(format!("was held already {earlier}"));
        }
        let by = By {
            why: (!reason.is_empty()).then(|| reason.to_owned()),
            ..by.clone()
        };
        let text = by.since(self.spool.now_ms());
        self.spool.hold(interface, &format!("{text}\n"))?;
        tracing::info!(%interface, %by, "held");
        (self.changed)(Change::Interface(interface.clone()));
        Ok("held".into())
    }

    fn release(&self, interface: &InterfaceName, by: &By) -> Result<String, ActError> {
        self.known(interface)?;
        if !self.spool.release(interface)? {
            return Ok("was not held".into());
        }
        tracing::info!(%interface, %by, "released");
        (self.changed)(Change::Interface(interface.clone()));
        Ok("released".into())
    }

    fn remove(&self, name: &JobName, by: &By) -> Result<String, ActError> {
        let job = self.find(name, "hold its interface and wait for its end")?;
        match self.spool.remove(&job, by)? {
            Moved::Done(_) => {}
            Moved::Gone => return Err(ActError::Moved(job.name)),
        }
        tracing::info!(job = %name, place = %job.place, %by, "removed");
        self.left(&job.place);
        Ok("removed".into())
    }

    fn remove_schedule(&self, schedule: ScheduleId, by: &By) -> Result<String, ActError> {
        if !self.spool.remove_schedule(schedule)? {
            return Err(ActError::NoSchedule(schedule));
        }
        tracing::info!(%schedule, %by, "removed");
        (self.changed)(Change::Schedule(schedule));
        Ok("removed".into())
    }

    fn reset_schedule(&self, schedule: ScheduleId, by: &By) -> Result<String, ActError> {
        if !self
            .spool
            .ask_reset(schedule, &by.since(self.spool.now_ms()))?
        {
            return Err(ActError::NoSchedule(schedule));
        }
        tracing::info!(%schedule, %by, "reset");
        (self.changed)(Change::Schedule(schedule));
        Ok("reset".into())
    }

    fn requeue(
        &self,
        name: &JobName,
        to: Option<&Queue>,
        unchecked: bool,
        by: &By,
    ) -> Result<String, ActError> {
        let job = self.find(name, "wait for its end")?;
        let to = self.addressed(&job, to)?;
        // What has failed was valid; and whether JSON is right only its dialect knows.
        if job.place == Place::Refused && !unchecked && name.kind() == Kind::Xml {
            self.verify(&job, &to.interface, by)?;
        }
        let moved = match self.spool.requeue(&job, &to, by)? {
            Moved::Done(moved) => moved,
            Moved::Gone => return Err(ActError::Moved(job.name)),
        };
        tracing::info!(job = %moved.name, from = %job.place, queue = %to, %by, "requeued");
        self.left(&job.place);
        (self.changed)(Change::Interface(to.interface));
        Ok(moved.place.path(&moved.name).display().to_string())
    }

    /// Validates a refused document again. One that is still wrong stays, and its log says so.
    fn verify(&self, job: &Job, to: &InterfaceName, by: &By) -> Result<(), ActError> {
        let (name, now_ms) = (&job.name, self.spool.now_ms());
        let (document, bytes) = (self.path(job), self.spool.bytes_of(job)?.unwrap_or(0));
        let document = Source::File(&document);
        let findings = self.verifier.verify(&document, bytes, to, now_ms);
        let findings = findings.map_err(|reason| ActError::Unverified {
            job: name.clone(),
            reason,
        })?;
        if findings.is_empty() {
            return Ok(());
        }
        let line = |found: &Message| match found.line {
            Some(line) => format!("  line {line}: {}", found.text),
            None => format!("  {}", found.text),
        };
        let told = findings.iter().take(FINDINGS_TOLD_MAX).map(line);
        let told: Vec<String> = told.collect();
        if let Moved::Gone = self.spool.refuse_again(job, to, findings, by)? {
            return Err(ActError::Moved(name.clone()));
        }
        Err(ActError::StillWrong {
            job: name.clone(),
            interface: to.clone(),
            findings: told.join("\n"),
        })
    }

    fn path(&self, job: &Job) -> PathBuf {
        self.spool.fs().absolute(&job.place.path(&job.name))
    }

    /// Where a job is sent, and to whom if jobs are for users there.
    fn addressed(&self, job: &Job, to: Option<&Queue>) -> Result<Queue, ActError> {
        let interface = self.target(job, to.map(|to| &to.interface))?;
        let user = to.and_then(|to| to.addressee.clone());
        match (user, self.spool.is_addressed(&interface)) {
            (None, false) => Ok(interface.into()),
            (Some(_), false) => Err(ActError::NotAddressed(interface)),
            (given, true) => {
                let last = || self.spool.addressee_of(job);
                let user = given.map_or_else(last, |user| Ok(Some(user)))?;
                let unknown = || ActError::Unaddressed {
                    job: job.name.clone(),
                    interface: interface.clone(),
                };
                let user = user.ok_or_else(unknown)?;
                match self.spool.is_user(&user) {
                    true => Ok(Queue::of_user(&interface, user)),
                    false => Err(ActError::NoUser(user)),
                }
            }
        }
    }

    /// A job that nobody looks at would wait for ever.
    fn target(&self, job: &Job, to: Option<&InterfaceName>) -> Result<InterfaceName, ActError> {
        if let Some(to) = to {
            return self.known(to).cloned();
        }
        let own = self.spool.interface_of(job);
        // Whose it is may be known by now.
        let own = own.or_else(|| match job.place {
            Place::Refused => self.verifier.recognise(&Source::File(&self.path(job))),
            Place::Bak(_)
            | Place::Deferred { .. }
            | Place::JobErrors
            | Place::Queue(_)
            | Place::Work { .. } => None,
        });
        let Some(own) = own else {
            return Err(ActError::Unclaimed {
                job: job.name.clone(),
                known: self.interfaces(),
            });
        };
        if !self.spool.has_interface(&own) {
            return Err(ActError::GoneInterface {
                job: job.name.clone(),
                interface: own,
                known: self.interfaces(),
            });
        }
        Ok(own)
    }

    /// A job that is not worked on.
    fn find(&self, name: &JobName, advice: &'static str) -> Result<Job, ActError> {
        let place = self.spool.find(name)?;
        let place = place.ok_or_else(|| ActError::NoJob(name.clone()))?;
        let name = name.clone();
        let job = Job { place, name };
        if !matches!(job.place, Place::Work { .. }) {
            return Ok(job);
        }
        // Its command has ended meanwhile, and only a service knows what that means.
        if self.spool.is_cut_off(&job)? {
            return Err(ActError::CutOff(job.name));
        }
        let job = job.name;
        Err(ActError::Running { job, advice })
    }

    /// What waited behind a job may go on.
    fn left(&self, place: &Place) {
        match place {
            Place::Deferred { interface, .. } | Place::Queue(Queue { interface, .. }) => {
                (self.changed)(Change::Interface(interface.clone()));
            }
            Place::Bak(_) | Place::JobErrors | Place::Refused | Place::Work { .. } => {}
        }
    }

    fn known<'i>(&self, interface: &'i InterfaceName) -> Result<&'i InterfaceName, ActError> {
        match self.spool.has_interface(interface) {
            true => Ok(interface),
            false => Err(ActError::UnknownInterface {
                interface: interface.clone(),
                known: self.interfaces(),
            }),
        }
    }

    fn interfaces(&self) -> Vec<String> {
        self.spool.interfaces().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Kind,
        domain::joblog::{JobLog, Status},
        service::Interface,
        store::fs::{Fs, RealFs, Rules, SEGMENT_BYTES_MIN},
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
        (Admin::new(spool.clone(), verifier, changed), spool, changes)
    }

    fn interfaces_of(spool: &Spool) -> impl Iterator<Item = InterfaceName> {
        spool.interfaces().cloned()
    }

    fn olga() -> By {
        By::operator("olga (uid 1000)")
    }

    fn put(dir: &Path, path: &str) {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "<a/>").unwrap();
    }

    #[test]
    fn acts_are_told_in_logs_and_to_the_service() {
        let dir = tempfile::tempdir().unwrap();
        let (admin, spool, changes) = admin(dir.path(), &["a", "b"]);
        let name = JobName::new(spool.next_id(), None, Kind::Xml);
        let a: InterfaceName = "a".parse().unwrap();
        put(dir.path(), &format!("bak/a/{}/{name}", name.day()));
        let act = |act: Operation| admin.act(&act, &olga()).map_err(|e| e.to_string());
        let requeue = |to: Option<&str>| Operation::Requeue {
            job: name.clone(),
            to: to.map(|to| to.parse().unwrap()),
            unchecked: false,
        };
        assert_eq!(act(requeue(Some("b"))), Ok(format!("queue/b/{name}")));
        assert!(
            act(requeue(None))
                .unwrap_err()
                .contains("cannot be requeued")
        );
        assert_eq!(
            act(Operation::Remove { job: name.clone() }),
            Ok("removed".into())
        );
        let is = |name: &str| Change::Interface(name.parse().unwrap());
        assert_eq!(*changes.lock(), [is("b"), is("b")]);
        let gone = format!("no job {name} in this spool");
        assert_eq!(
            act(Operation::Remove { job: name.clone() }),
            Err(gone.clone())
        );
        assert_eq!(act(requeue(None)), Err(gone));

        let hold = |reason: &str| Operation::Hold {
            interface: a.clone(),
            reason: reason.into(),
        };
        assert_eq!(act(hold("audit")), Ok("held".into()));
        let text = spool.hold_text(&a).unwrap().unwrap();
        assert!(text.starts_with("by olga (uid 1000) since "), "{text}");
        assert!(text.ends_with("Z: audit"), "{text}");
        assert_eq!(act(hold("")), Ok(format!("was held already {text}")));
        assert!(act(hold(&"x".repeat(1001))).is_err());
        let release = || Operation::Release {
            interface: a.clone(),
        };
        assert_eq!(act(release()), Ok("released".into()));
        assert_eq!(act(release()), Ok("was not held".into()));
    }

    #[test]
    fn a_job_is_never_sent_where_nothing_looks() {
        let dir = tempfile::tempdir().unwrap();
        let (admin, spool, changes) = admin(dir.path(), &["a", "b"]);
        let name = JobName::new(spool.next_id(), None, Kind::Xml);
        let path = format!("joberrors/{}/{name}", name.day());
        put(dir.path(), &path);
        let requeue = |to: Option<&str>| {
            let to = to.map(|to| to.parse().unwrap());
            let job = name.clone();
            let unchecked = false;
            admin
                .act(&Operation::Requeue { job, to, unchecked }, &olga())
                .map_err(|e| e.to_string())
        };
        let refused = requeue(None).unwrap_err();
        assert!(refused.ends_with("say --to INTERFACE: a, b"), "{refused}");
        let refused = requeue(Some("gone")).unwrap_err();
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
        let refused = requeue(None).unwrap_err();
        assert!(
            refused.contains("belongs to gone, which is not configured"),
            "{refused}"
        );
        assert!(dir.path().join(&path).exists());
        assert!(changes.lock().is_empty());
        assert_eq!(requeue(Some("a")), Ok(format!("queue/a/{name}")));
    }

    #[test]
    fn a_refused_document_is_validated_again_and_a_failed_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (admin, spool, _) = admin(dir.path(), &["a"]);
        let requeue = |job: &JobName, unchecked| {
            let (job, to) = (job.clone(), Some("a".parse().unwrap()));
            let act = Operation::Requeue { job, to, unchecked };
            admin.act(&act, &olga()).map_err(|error| error.to_string())
        };
        let new = |place: &Place, text: &str| {
            let name = JobName::new(spool.next_id(), None, Kind::Xml);
            put(dir.path(), place.path(&name).to_str().unwrap());
            std::fs::write(dir.path().join(place.path(&name)), text).unwrap();
            name
        };
        let wrong = new(&Place::Refused, "<b/>");
        let said = requeue(&wrong, false).unwrap_err();
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
        for (job, unchecked) in [
            (wrong, true),
            (new(&Place::Refused, "<a/>"), false),
            (new(&Place::JobErrors, "<b/>"), false),
        ] {
            let path = format!("queue/a/{job}");
            assert_eq!(requeue(&job, unchecked), Ok(path));
        }
    }

    #[test]
    fn a_job_that_is_worked_on_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (admin, spool, _) = admin(dir.path(), &["a"]);
        let name = JobName::new(spool.next_id(), None, Kind::Xml);
        put(dir.path(), &format!("work/a/{name}.a1"));
        let remove = || Operation::Remove { job: name.clone() };
        let refused = admin.act(&remove(), &olga()).unwrap_err();
        assert!(matches!(refused, ActError::CutOff(_)), "{refused}");
        let _run = spool
            .fs()
            .lock(&Path::new("work/a").join(format!("{name}.lock")));
        let refused = admin.act(&remove(), &olga()).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("is running; hold its interface")
        );
        let requeue = Operation::Requeue {
            job: name,
            to: None,
            unchecked: false,
        };
        assert!(matches!(
            admin.act(&requeue, &olga()),
            Err(ActError::Running { .. })
        ));
    }
}
