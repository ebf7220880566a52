//! The service: turns a [`Command`] of a caller into a [`Reply`] or a [`Fault`], and has the
//! streaming [`Upload`] and [`Download`]. It knows neither HTTP nor a dialect, and of the store only its
//! seam. What checks or transforms a document runs on the blocking pool.
//!
//! Invariant: "not yours" and "does not exist" look alike. Invariant: no fault holds a path.

mod admission;
mod cancel;
mod command;
mod download;
mod quotas;
mod schedules;
mod sight;
mod slots;
mod taken;
mod targets;
mod to_its_end;
mod upload;
mod verify;
mod view;
mod worker_handle;

pub use crate::{
    cron_schedule::ScheduleSpec,
    store::{Content, Reading, State},
};
pub use admission::{AdmissionLimits, InFlight, UserLimits};
pub use command::{
    Command, DocumentFormat, Fault, JobRef, JsonCheck, PageRequest, Reply, ScheduleRequest, Sort,
    Submit, TokenRequest, Visibility,
};
pub use download::{Completion, Download};
pub use schedules::{Agenda, ScheduleRules, Touched};
pub use sight::Visible;
pub use slots::Slots;
pub use targets::Target;
pub use upload::Upload;
pub use verify::Verifier;
pub use view::View;
pub use worker_handle::{Cancelling, WorkerHandle};

use crate::{
    auth::{Caller, Right},
    domain::{InterfaceName, Job, JobName, OrderBy, Place, Seal},
    metrics::Tenant,
    store::{Store, StoreError, Want},
    util::processors,
    xml::{Schemas, Source, Stylesheets, Transformed, XsltError, XsltLimits},
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Semaphore, watch};

/// When a client is told to ask again: the job is not finished, or the spool is short of
/// something.
const RETRY_SOON_S: u32 = 5;
const RETRY_LATER_S: u32 = 60;
/// Transformed documents in memory, of all clients that have not taken theirs yet.
const TRANSFORMED_KIB_MAX: usize = 256 * 1024;
/// Blocking calls at once, whether or not somebody still waits for them; the rest of the threads
/// is the store's and the worker's.
const THREADS_MAX: usize = 96;
/// Checks of large documents at once.
const LARGE_CHECKS_MAX: usize = 64;
/// How long others wait for a job whose last bytes are on their way, and then for its move.
const SENDING_PATIENCE: Duration = Duration::from_millis(500);
const ARCHIVING_PATIENCE: Duration = Duration::from_secs(10);
/// How often a job that moves away while it is opened is looked for again.
const OPENS_MAX: usize = 4;

/// Which way an interface's jobs travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Partners upload, processors work.
    In,
    /// Processors and back offices fill, partners fetch; the first complete retrieval archives.
    Out,
}

/// What the service has to know of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub direction: Direction,
    /// The root element that the interface takes; `None`: any, and only by name.
    pub root: Option<String>,
    pub namespace: Option<String>,
    /// The schema's name; `None`: well-formedness is enough.
    pub schema: Option<String>,
    pub bytes_max: u64,
    pub aliases: Vec<String>,
    /// What it asks of a job, for clients that want to know.
    pub questions: Vec<serde_json::Map<String, serde_json::Value>>,
    pub visible: Visible,
    /// What its jobs keep their order by.
    pub order_by: Option<OrderBy>,
}

/// One tenant's service.
pub struct Service {
    store: Arc<dyn Store>,
    seal: Seal,
    interfaces: BTreeMap<InterfaceName, Interface>,
    /// Interfaces by the ids that are made from their names.
    made_ids: HashMap<String, InterfaceName>,
    /// Parts of jobs that have been retrieved.
    taken: Arc<taken::Taken>,
    /// Jobs since the start.
    arrivals: Arc<Mutex<HashMap<InterfaceName, u64>>>,
    schemas: Arc<Schemas>,
    stylesheets: Arc<Stylesheets>,
    limits: AdmissionLimits,
    in_flight: Arc<InFlight>,
    transforms: Slots,
    /// Kibibytes of transformed documents that are held until they are sent.
    transformed: Arc<Semaphore>,
    threads: Arc<Semaphore>,
    large_checks: Arc<Semaphore>,
    /// As many as there are processors: more would only wait for each other. JSON and XML do not.
    small_json_checks: Arc<Semaphore>,
    small_xml_checks: Arc<Semaphore>,
    quotas: Arc<quotas::Quotas>,
    worker: Arc<dyn WorkerHandle>,
    schedules: ScheduleRules,
    metrics: Tenant,
    /// Jobs that were retrieved and are on their way to `bak`: whoever asks for them waits, so
    /// that a client which has its document does not see it queued any more.
    archiving: Arc<Mutex<HashMap<JobName, Archiving>>>,
}

/// What a service is made of.
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub seal: Seal,
    pub interfaces: BTreeMap<InterfaceName, Interface>,
    pub schemas: Arc<Schemas>,
    pub stylesheets: Arc<Stylesheets>,
    pub limits: AdmissionLimits,
    pub in_flight: Arc<InFlight>,
    /// For transformations; of all tenants together.
    pub transforms: Slots,
    /// Of all tenants together.
    pub worker: Box<dyn WorkerHandle>,
    pub schedules: ScheduleRules,
    pub metrics: Tenant,
}

/// Of which interface a job is, and whether it has been moved.
type Archiving = (InterfaceName, watch::Receiver<bool>);

/// By what a service decides, where that can change while it runs.
pub struct Rules {
    pub interfaces: BTreeMap<InterfaceName, Interface>,
    pub limits: AdmissionLimits,
    pub schedules: ScheduleRules,
}

/// Interfaces by the ids that are made from their names.
fn made_ids(interfaces: &BTreeMap<InterfaceName, Interface>) -> HashMap<String, InterfaceName> {
    let names = interfaces.keys();
    names
        .map(|name| (targets::made_id(name), name.clone()))
        .collect()
}

/// A job that is open for its retrieval.
struct Opened {
    job: Job,
    content: Content,
    /// Once it has been retrieved completely it goes to `bak`.
    taken: bool,
}

impl Service {
    pub fn new(parts: Parts) -> Self {
        Self {
            made_ids: made_ids(&parts.interfaces),
            taken: Arc::default(),
            arrivals: Arc::default(),
            store: parts.store,
            seal: parts.seal,
            interfaces: parts.interfaces,
            schemas: parts.schemas,
            stylesheets: parts.stylesheets,
            limits: parts.limits,
            in_flight: parts.in_flight,
            transforms: parts.transforms,
            transformed: Arc::new(Semaphore::new(TRANSFORMED_KIB_MAX)),
            threads: Arc::new(Semaphore::new(THREADS_MAX)),
            large_checks: Arc::new(Semaphore::new(LARGE_CHECKS_MAX)),
            small_json_checks: Arc::new(Semaphore::new(processors())),
            small_xml_checks: Arc::new(Semaphore::new(processors())),
            quotas: Arc::default(),
            worker: parts.worker.into(),
            schedules: parts.schedules,
            metrics: parts.metrics,
            archiving: Arc::default(),
        }
    }

    /// The same service by other rules, for the commands to come. What is known of users and jobs, and what is under
    /// way, is that of both.
    #[must_use]
    pub fn with(&self, rules: Rules) -> Self {
        Self {
            made_ids: made_ids(&rules.interfaces),
            taken: self.taken.clone(),
            arrivals: self.arrivals.clone(),
            store: self.store.clone(),
            seal: self.seal.clone(),
            interfaces: rules.interfaces,
            schemas: self.schemas.clone(),
            stylesheets: self.stylesheets.clone(),
            limits: rules.limits,
            in_flight: self.in_flight.clone(),
            transforms: self.transforms.clone(),
            transformed: self.transformed.clone(),
            threads: self.threads.clone(),
            large_checks: self.large_checks.clone(),
            small_json_checks: self.small_json_checks.clone(),
            small_xml_checks: self.small_xml_checks.clone(),
            quotas: self.quotas.clone(),
            worker: self.worker.clone(),
            schedules: rules.schedules,
            metrics: self.metrics.clone(),
            archiving: self.archiving.clone(),
        }
    }

    /// The names of the stylesheets by which a job can be had.
    pub fn stylesheets(&self) -> Vec<String> {
        self.stylesheets.names()
    }

    /// Carries out every command but [`Command::Submit`], which goes through `admit`.
    ///
    /// # Errors
    /// Nothing has changed, except that a cancel which is answered with [`Fault::Busy`] may still
    /// take effect.
    /// - [`Fault::Busy`]: the same command can succeed after the time that it names.
    /// - [`Fault::Conflict`]: the job is not in a state for that, and asking again does not change
    ///   it.
    /// - [`Fault::Forbidden`]: the caller lacks a right, which only an operator can grant.
    /// - [`Fault::Invalid`]: the stylesheet does not exist or does not work for this job; fetch the
    ///   job without it.
    /// - [`Fault::UnknownFile`], [`Fault::UnknownInterface`], [`Fault::UnknownJob`]: it does not
    ///   exist or the caller may not know of it; asking again does not help.
    /// - [`Fault::Internal`]: the cause is in the log, and an operator has to look at it.
    pub async fn execute(
        self: &Arc<Self>,
        caller: &Caller,
        command: Command,
    ) -> Result<Reply, Fault> {
        match command {
            Command::Cancel { job } => self.cancel(caller, job).await,
            Command::Fetch {
                interface,
                job,
                stylesheet,
                head,
            } => {
                let interface = self.allowed(caller, Right::Download, &interface)?.clone();
                self.archived(|name, _| *name == job).await;
                match stylesheet {
                    None => self.fetch(caller, interface, job, head).await,
                    Some(sheet) => self.transform(caller, interface, job, sheet, head).await,
                }
            }
            Command::Jobs {
                interface,
                page,
                visibility,
            } => {
                let interface = match visibility {
                    // Whoever may run jobs there may see those, and curators see all.
                    Visibility::Own => self.known(caller, &interface)?.clone(),
                    Visibility::Curator | Visibility::Interface => {
                        self.allowed(caller, Right::List, &interface)?.clone()
                    }
                };
                let views = self.page(caller, &interface, &page, visibility).await?;
                Ok(Reply::Shows(views))
            }
            Command::List { interface } => {
                let interface = self.allowed(caller, Right::List, &interface)?.clone();
                self.archived(|_, of| *of == interface).await;
                Ok(Reply::Jobs(match self.is_withheld(&interface).await? {
                    true => Vec::new(),
                    false => self.listed(caller, &interface).await?,
                }))
            }
            Command::Log { interface, job } => {
                self.archived(|name, _| *name == job).await;
                self.log(caller, interface.as_ref(), &job).await
            }
            Command::Result {
                job,
                number,
                visibility,
            } => self.result(caller, &job, number, visibility).await,
            Command::Show { job, visibility } => self.show(caller, &job, visibility).await,
            Command::Status { job } => {
                self.archived(|name, _| *name == job).await;
                let found = self.visible(caller, &job, Want::PLACE).await?;
                Ok(Reply::Status(found.summary.job.place))
            }
            Command::Targets { interface } => {
                let targets = self.targets(caller, interface.as_ref()).await?;
                Ok(Reply::Targets(targets))
            }
            // Whoever sends these here has mixed up the commands.
            Command::Schedule(_) | Command::Submit(_) | Command::Token(_) => Err(Fault::Internal),
        }
    }

    async fn show(
        self: &Arc<Self>,
        caller: &Caller,
        job: &JobRef,
        visibility: Visibility,
    ) -> Result<Reply, Fault> {
        if let JobRef::Uuid(uuid) = job
            && let Some(reply) = self.shown_schedule(caller, *uuid, visibility).await?
        {
            return Ok(reply);
        }
        Ok(Reply::Shown(self.shown(caller, job, visibility).await?))
    }

    /// Resolves an interface's name or alias and checks a right on it. To somebody without any
    /// right there it looks like one that does not exist.
    fn allowed(
        &self,
        caller: &Caller,
        right: Right,
        name: &InterfaceName,
    ) -> Result<&InterfaceName, Fault> {
        let found = self.known(caller, name)?;
        if caller.may(right, found) {
            return Ok(found);
        }
        Err(Fault::Forbidden {
            reason: format!("you have no right to {} on {name}", right.as_str()),
        })
    }

    /// Resolves an interface's name or alias for a caller with any right on it, or a curator.
    fn known(&self, caller: &Caller, name: &InterfaceName) -> Result<&InterfaceName, Fault> {
        let found = self.resolve(name).ok_or_else(|| unknown_interface(name))?;
        match caller.may_any(found) || view::is_curator(caller) {
            true => Ok(found),
            false => Err(unknown_interface(name)),
        }
    }

    fn resolve(&self, name: &InterfaceName) -> Option<&InterfaceName> {
        match self.interfaces.get_key_value(name) {
            Some((name, _)) => Some(name),
            None => (self.interfaces.iter())
                .find(|(_, interface)| interface.aliases.iter().any(|a| a == name.as_str()))
                .map(|(name, _)| name)
                .or_else(|| self.made_ids.get(name.as_str())),
        }
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let threads = self.threads.clone();
        let permit = threads.acquire_owned().await.map_err(|_| Fault::Internal)?;
        let this = self.clone();
        let work = move || {
            // Given back when the work ends, not when its caller goes.
            let _permit = permit;
            work(&this)
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, "a request broke down");
            Fault::Internal
        })
    }

    async fn log(
        self: &Arc<Self>,
        caller: &Caller,
        interface: Option<&InterfaceName>,
        name: &JobName,
    ) -> Result<Reply, Fault> {
        let wanted = match interface {
            Some(given) => Some(self.known(caller, given)?),
            None => None,
        };
        let fits = |found: Option<&InterfaceName>| match wanted.is_none() || wanted == found {
            true => Ok(()),
            false => Err(Fault::UnknownJob {
                job: name.to_string(),
            }),
        };
        let found = self.visible(caller, name, Want::PLACE).await?;
        let job = found.summary.job;
        match &job.place {
            Place::Deferred { .. } | Place::Queue(_) | Place::Work { .. } => {
                fits(job.place.interface())?;
                Err(Fault::Busy {
                    retry_after_s: RETRY_SOON_S,
                    reason: format!(
                        "the job {name} is not finished yet; its log comes with its end"
                    ),
                })
            }
            Place::Bak(_) | Place::JobErrors | Place::Refused => {
                let log = self.store.log(&job).await;
                let log = log.map_err(|e| store_fault(&e))?;
                fits(log.interface.as_ref())?;
                Ok(Reply::Log(log))
            }
        }
    }

    async fn fetch(
        self: &Arc<Self>,
        caller: &Caller,
        interface: InterfaceName,
        name: JobName,
        head: bool,
    ) -> Result<Reply, Fault> {
        let Opened {
            job,
            content,
            taken,
        } = self.open(caller, &interface, &name).await?;
        let bytes = content.bytes;
        let mut download = Download::new(name.to_string(), content);
        download.kind = Some(name.kind());
        download.head = head;
        if !head {
            download.completion = self.completion(job, taken, caller, bytes);
        }
        Ok(Reply::Content(download))
    }

    /// Opens a file that the processor made of a job.
    async fn result(
        self: &Arc<Self>,
        caller: &Caller,
        of: &JobRef,
        number: usize,
        visibility: Visibility,
    ) -> Result<Reply, Fault> {
        let view = self.shown(caller, of, visibility).await?;
        let may_download = match (&view.interface, visibility) {
            _ if view::is_capability(of) => true,
            (Some(interface), Visibility::Interface) => caller.may(Right::Download, interface),
            // Whoever is shown such a job may have what came of it.
            (None, Visibility::Interface) | (_, Visibility::Curator | Visibility::Own) => true,
        };
        if !may_download {
            return Err(Fault::Forbidden {
                reason: "you have no right to download from this interface".into(),
            });
        }
        if view.state != State::Done {
            return Err(Fault::Conflict {
                reason: "the job has not ended well: it has no files".into(),
            });
        }
        let unknown = || Fault::UnknownFile {
            job: of.to_string(),
            number,
        };
        let name = view.files.get(number).ok_or_else(unknown)?;
        let opened = self.store.open_result(&view.job, name).await;
        let content = opened.map_err(|e| store_fault(&e))?.ok_or_else(unknown)?;
        Ok(Reply::Result {
            download: Download::new(name.clone(), content),
            job: view.job,
        })
    }

    async fn transform(
        self: &Arc<Self>,
        caller: &Caller,
        interface: InterfaceName,
        name: JobName,
        sheet: String,
        head: bool,
    ) -> Result<Reply, Fault> {
        if let Err(error) = self.stylesheets.check(&sheet) {
            return Err(xslt_fault(&sheet, &error));
        }
        let slot = self.transforms.take(&caller.user).await;
        let slot = slot.map_err(|slots::Full| Fault::Busy {
            retry_after_s: RETRY_SOON_S,
            reason: "too many transformations are under way".into(),
        })?;
        let opened = self.open(caller, &interface, &name).await?;
        let transformed = self.blocking(move |this| {
            // A client that hangs up does not end the transformation.
            let _slot = slot;
            let transformed = this.transformed(&opened, &sheet)?;
            Ok::<_, Fault>((opened, transformed))
        });
        let (
            Opened {
                job,
                content,
                taken,
            },
            transformed,
        ) = transformed.await??;
        let body = self.held(transformed.body)?;
        let completion = if head {
            None
        } else {
            self.completion(job, taken, caller, content.bytes)
        };
        Ok(Reply::Transformed {
            content_type: transformed.content_type,
            body,
            head,
            completion,
        })
    }

    fn transformed(&self, of: &Opened, sheet: &str) -> Result<Transformed, Fault> {
        let reopen = || of.content.reader();
        let (source, limits) = (Source::Reader(&reopen), XsltLimits::default());
        let transformed = self.stylesheets.transform(sheet, &source, &limits);
        transformed.map_err(|error| {
            let job = &of.job.name;
            tracing::error!(%job, stylesheet = sheet, %error, "no transformation");
            xslt_fault(sheet, &error)
        })
    }

    /// A transformed document with its place among those that are held in memory.
    fn held(&self, body: Vec<u8>) -> Result<Bytes, Fault> {
        struct Held {
            body: Vec<u8>,
            _permit: tokio::sync::OwnedSemaphorePermit,
        }
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &self.body
            }
        }
        let kib = u32::try_from(body.len() / 1024 + 1).unwrap_or(u32::MAX);
        let permit = self.transformed.clone().try_acquire_many_owned(kib);
        let permit = permit.map_err(|_| Fault::Busy {
            retry_after_s: RETRY_SOON_S,
            reason: "too many transformed documents are on their way".into(),
        })?;
        Ok(Bytes::from_owner(Held {
            body,
            _permit: permit,
        }))
    }

    /// Is an interface on hold whose jobs are fetched? Source: the dStore contract, "A hold".
    async fn is_withheld(&self, interface: &InterfaceName) -> Result<bool, Fault> {
        match self.interfaces.get(interface) {
            Some(of) if of.direction == Direction::Out => {
                let held = self.store.is_held(interface).await;
                held.map_err(|e| store_fault(&e))
            }
            Some(_) | None => Ok(false),
        }
    }

    /// Opens a job of an interface for reading, wherever it is by now.
    async fn open(
        self: &Arc<Self>,
        caller: &Caller,
        interface: &InterfaceName,
        name: &JobName,
    ) -> Result<Opened, Fault> {
        for _ in 0..OPENS_MAX {
            let (summary, taken) = self.fetchable(caller, interface, name).await?;
            if summary.is_queued() && self.is_withheld(interface).await? {
                return Err(Fault::Busy {
                    retry_after_s: RETRY_LATER_S,
                    reason: format!("{interface} is on hold: its jobs can be fetched later"),
                });
            }
            let job = summary.job;
            let opened = self.store.open(&job).await;
            if let Some(content) = opened.map_err(|e| store_fault(&e))? {
                return Ok(Opened {
                    job,
                    content,
                    taken,
                });
            }
        }
        let job = name.to_string();
        Err(Fault::UnknownJob { job })
    }

    /// What happens when a job has been retrieved completely, if anything does.
    fn completion(
        self: &Arc<Self>,
        job: Job,
        taken: bool,
        caller: &Caller,
        bytes: u64,
    ) -> Option<Completion> {
        let interface = job.place.interface().filter(|_| taken)?.clone();
        let caller = caller.clone();
        Some(Completion::new(self.clone(), job, interface, caller, bytes))
    }

    /// Waits until the jobs that `which` picks have reached `bak`.
    async fn archived(&self, which: impl Fn(&JobName, &InterfaceName) -> bool) {
        let under_way: Vec<watch::Receiver<bool>> = self
            .archiving
            .lock()
            .iter()
            .filter(|(name, (interface, _))| which(name, interface))
            .map(|(_, (_, receiver))| receiver.clone())
            .collect();
        let now = tokio::time::Instant::now();
        for mut receiver in under_way {
            // The sender is dropped when the job is there, or will not go there: that is the
            // error waited for. A client that is slow to take its last bytes holds up nobody; a
            // disk that is slow to move what was sent does.
            let sent = receiver.wait_for(|sent| *sent);
            let sent = tokio::time::timeout_at(now + SENDING_PATIENCE, sent).await;
            if sent.is_ok_and(|sent| sent.is_ok()) {
                let moved = receiver.changed();
                let _ = tokio::time::timeout_at(now + ARCHIVING_PATIENCE, moved).await;
            }
        }
    }
}

fn unknown_interface(name: &InterfaceName) -> Fault {
    Fault::UnknownInterface {
        interface: name.to_string(),
    }
}

/// What a caller is told when the store fails; the log gets the rest.
fn store_fault(error: &StoreError) -> Fault {
    tracing::error!(%error, "the store refuses");
    let reason = match error {
        StoreError::Full(_) => "the disk is full; nothing was stored",
        StoreError::Unhealthy(_) => "the service cannot store jobs at the moment",
        StoreError::Unavailable(_) => "the service cannot reach its spool at the moment",
        StoreError::Refused(_) | StoreError::NotFound(_) | StoreError::Conflict(_) => {
            return Fault::Internal;
        }
    };
    Fault::Busy {
        retry_after_s: RETRY_LATER_S,
        reason: reason.into(),
    }
}

fn xslt_fault(sheet: &str, error: &XsltError) -> Fault {
    match error {
        XsltError::Missing => Fault::Busy {
            retry_after_s: RETRY_LATER_S,
            reason: "transformations are not available: the operator has to install xsltproc"
                .into(),
        },
        XsltError::NotWellFormed(finding) => Fault::Invalid {
            reason: format!("the job cannot be transformed: {finding}"),
        },
        XsltError::TimedOut | XsltError::TooLarge => Fault::Invalid {
            reason: format!("{error}: fetch the job without xslt"),
        },
        XsltError::Unknown => Fault::Invalid {
            reason: format!("unknown stylesheet {sheet}"),
        },
        XsltError::Failed { .. } | XsltError::Refused => Fault::Internal,
    }
}
