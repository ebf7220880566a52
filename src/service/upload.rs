//! An upload: admitted before its body is read, collected, then committed in one blocking call.
//!
//! Small bodies stay in memory until they are known to be good; larger ones stream to a part in
//! `tmp`. Once a body is complete its commit runs to the end, even if the client has gone. An
//! upload that is dropped before leaves nothing behind.
//!
//! An XML document that is not in order is kept among the refused in `joberrors`, with what is wrong with it; a JSON
//! request that is not in order is refused, and nothing is kept.

use super::{
    AdmissionLimits, Direction, Document, Fault, Interface, JobRef, JsonCheck, RETRY_LATER_S,
    Reply, Service, Submit, admission, lock, places::Validation, spool_fault, view::View,
};
use crate::{
    auth::{Caller, Right},
    domain::joblog::{JobLog, Level, Message, Status},
    domain::{InterfaceName, JobName, JobOptions, Kind, Reference},
    store::fs::{
        Attributes, Expected, IdemKey, IdemRecord, Part, RealFs, Sealed, SpoolError, Ticket,
    },
    xml::{self, Finding, InspectError, Source, XmlLimits},
};
use bytes::Bytes;
use sha2::{Digest, Sha256, Sha512};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tokio::sync::SemaphorePermit;

/// Bodies up to this size take one blocking call and no part before they are known to be good.
const MEMORY_BYTES_MAX: usize = 256 * 1024;

/// A body on its way in.
pub struct Upload {
    service: Arc<Service>,
    caller: Caller,
    submit: Submit,
    bytes: u64,
    bytes_max: u64,
    /// What has not been written to the part yet.
    buffer: Vec<u8>,
    part: Option<Part>,
    admitted: Option<admission::Admitted>,
    /// Of what has come; only where the client says what it should be.
    sha512: Option<Sha512>,
}

/// Keys of commits that are under way, each with those who wait for it.
#[derive(Default)]
pub(super) struct Keys(Mutex<HashMap<IdemKey, Arc<tokio::sync::Mutex<()>>>>);

/// The sole right to commit under a key.
pub(super) struct KeyGuard<'k> {
    keys: &'k Keys,
    key: IdemKey,
    _held: tokio::sync::OwnedMutexGuard<()>,
}

impl Keys {
    /// Waits until no other commit under this key is under way.
    pub(super) async fn hold(&self, key: &IdemKey) -> KeyGuard<'_> {
        let mutex = {
            let mut keys = lock(&self.0);
            keys.entry(key.clone()).or_default().clone()
        };
        KeyGuard {
            keys: self,
            key: key.clone(),
            _held: mutex.lock_owned().await,
        }
    }
}

impl Drop for KeyGuard<'_> {
    fn drop(&mut self) {
        let mut keys = lock(&self.keys.0);
        // The map's, and this guard's: nobody else waits.
        if keys
            .get(&self.key)
            .is_some_and(|mutex| Arc::strong_count(mutex) <= 2)
        {
            keys.remove(&self.key);
        }
    }
}

/// A document that has its place.
enum Stored {
    /// By an earlier request; this is its answer again.
    Before(Reply),
    /// The outcome may be told once the ticket is durable.
    Now { outcome: Outcome, ticket: Ticket },
}

/// What became of a document.
pub(super) struct Outcome {
    pub(super) job: JobName,
    pub(super) interface: Option<InterfaceName>,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) user: Arc<str>,
    /// It was refused for these.
    pub(super) findings: Option<Vec<Finding>>,
}

/// The right to commit.
enum Permit<'g> {
    Large { _permit: SemaphorePermit<'g> },
    Small { _permit: SemaphorePermit<'g> },
    Validation { _place: Validation },
}

/// The document, complete.
enum Body {
    Memory(Vec<u8>),
    Part(Part),
}

impl Service {
    /// Everything that can be refused before the body is read: unknown interface, no right, too
    /// large, too many uploads, no room. `content_length` is what the client announced, if it did.
    pub async fn admit(
        self: &Arc<Self>,
        caller: &Caller,
        submit: Submit,
        content_length: Option<u64>,
    ) -> Result<Upload, Fault> {
        let candidates = self.candidates(caller, submit.interface.as_ref())?;
        check_kind(&submit, &candidates)?;
        let bytes_max = candidates
            .iter()
            .map(|(_, i)| i.bytes_max)
            .max()
            .unwrap_or(0);
        if content_length.is_some_and(|bytes| bytes > bytes_max) {
            return Err(Fault::TooLarge { bytes_max });
        }
        if self.spool.unhealthy().is_some() {
            return Err(Fault::Busy {
                retry_after_s: RETRY_LATER_S,
                reason: "the service cannot store jobs at the moment".into(),
            });
        }
        if candidates.iter().all(|(name, _)| self.is_full(name)) {
            return Err(queue_full());
        }
        self.may_submit(caller).await?;
        let announced = content_length.unwrap_or(bytes_max);
        let admitted = self.in_flight.admit(announced, &self.limits)?;
        let root = self.spool.fs().absolute(std::path::Path::new(""));
        admission::room(&root, self.in_flight.bytes(), &self.limits)?;
        Ok(Upload {
            service: self.clone(),
            caller: caller.clone(),
            sha512: submit.digests.sha512.map(|_| Sha512::new()),
            submit,
            bytes: 0,
            bytes_max,
            buffer: Vec::new(),
            part: None,
            admitted: Some(admitted),
        })
    }

    /// Has the user room for another waiting job?
    async fn may_submit(self: &Arc<Self>, caller: &Caller) -> Result<(), Fault> {
        let max = self.limits.queue_jobs_per_user_max;
        if self.quotas.wants_look(&caller.user, max) {
            let user = caller.user.clone();
            let look = self.blocking(move |this| {
                let waits = |job: &JobName| this.spool.find_waiting(job).is_some();
                this.quotas.look(&user, waits);
            });
            look.await?;
        }
        self.quotas.may_submit(&caller.user, max)
    }

    /// Takes one of the user's keys.
    pub(super) fn take_key(&self, user: &Arc<str>) -> Result<(), Fault> {
        let AdmissionLimits {
            key_hours,
            keys_per_user_max,
            ..
        } = self.limits;
        let now_ms = self.spool.now_ms();
        self.quotas
            .take_key(user, now_ms, key_hours, keys_per_user_max)
    }

    /// Tells the log, the worker and the caller what became of a document, which is durable now.
    pub(super) fn tell(&self, outcome: Outcome) -> Result<Reply, Fault> {
        let Outcome {
            job,
            interface,
            bytes,
            sha256,
            user,
            findings,
        } = outcome;
        match (interface, findings) {
            (Some(interface), None) => {
                tracing::info!(%job, %interface, bytes, sha256, %user, "accepted");
                self.spool.arrived(&job);
                self.quotas.submitted(&user, job.clone());
                *lock(&self.arrivals).entry(interface.clone()).or_default() += 1;
                self.worker.arrived(&interface, &job);
                Ok(Reply::Accepted {
                    job,
                    interface,
                    bytes,
                    sha256,
                    replayed: false,
                })
            }
            (_, findings) => {
                let findings = findings.unwrap_or_default();
                tracing::warn!(%job, %user, n_findings = findings.len(), "refused");
                Err(Fault::Refused {
                    job,
                    sha256,
                    findings,
                })
            }
        }
    }

    /// The answer to a JSON job that was accepted, now or by an earlier request. A new one is shown
    /// as it was accepted: nothing that is read meanwhile may turn that into a fault.
    async fn created(
        self: &Arc<Self>,
        reply: Reply,
        asked: Option<&InterfaceName>,
        submitter: &str,
        options: &JobOptions,
    ) -> Result<Reply, Fault> {
        let Reply::Accepted {
            job,
            interface,
            replayed,
            ..
        } = reply
        else {
            return Ok(reply);
        };
        let view = match replayed {
            false => View {
                asked_as: asked_as(asked, &interface),
                ..self.new_view(job, interface, submitter, options)
            },
            true => {
                let of = JobRef::Name(job);
                let view = self.blocking(move |this| this.view(this.job_of(&of)?));
                view.await??
            }
        };
        Ok(Reply::Created {
            view: Box::new(view),
            replayed,
        })
    }

    /// Waits for the right to commit.
    async fn permit(&self, submit: &Submit, is_large: bool) -> Result<Permit<'_>, Fault> {
        let permit = match (submit.document, is_large) {
            (Document::Xml, _) if self.validates_outside(submit) => {
                let place = self.validations.take(is_large).await;
                place.map(|_place| Permit::Validation { _place })
            }
            (Document::Json { .. } | Document::Xml, true) => {
                let permit = self.commits.acquire().await;
                permit.ok().map(|_permit| Permit::Large { _permit })
            }
            (Document::Json { .. }, false) => {
                let permit = self.small_json_commits.acquire().await;
                permit.ok().map(|_permit| Permit::Small { _permit })
            }
            (Document::Xml, false) => {
                let permit = self.small_xml_commits.acquire().await;
                permit.ok().map(|_permit| Permit::Small { _permit })
            }
        };
        // Nobody closes these semaphores.
        permit.ok_or(Fault::Internal)
    }

    /// May the document be validated by a program of its own?
    fn validates_outside(&self, submit: &Submit) -> bool {
        let chosen = submit
            .interface
            .as_ref()
            .and_then(|name| self.resolve(name));
        let has_schema = |interface: &Interface| {
            interface.direction == Direction::In && interface.schema.is_some()
        };
        self.schemas.is_outside()
            && match chosen {
                Some(name) => self.interfaces.get(name).is_some_and(has_schema),
                None => self.interfaces.values().any(has_schema),
            }
    }

    pub(super) fn is_full(&self, interface: &InterfaceName) -> bool {
        self.spool.ready_jobs(interface) >= self.limits.queue_jobs_max
    }

    /// The interfaces that this upload may turn out to be for.
    pub(super) fn candidates(
        &self,
        caller: &Caller,
        chosen: Option<&InterfaceName>,
    ) -> Result<Vec<(&InterfaceName, &Interface)>, Fault> {
        if let Some(chosen) = chosen {
            let name = self.allowed(caller, Right::Upload, chosen)?;
            let interface = &self.interfaces[name];
            if interface.direction != Direction::In {
                return Err(Fault::Invalid {
                    reason: format!("{chosen} does not accept uploads: its jobs are fetched"),
                });
            }
            return Ok(vec![(name, interface)]);
        }
        let candidates: Vec<_> = (self.interfaces.iter())
            .filter(|(name, interface)| {
                interface.direction == Direction::In && caller.may(Right::Upload, name)
            })
            .collect();
        if candidates.is_empty() {
            return Err(Fault::Forbidden {
                reason: "you have no right to upload".into(),
            });
        }
        Ok(candidates)
    }
}

impl Upload {
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), Fault> {
        self.bytes += chunk.len() as u64;
        if self.bytes > self.bytes_max {
            return Err(Fault::TooLarge {
                bytes_max: self.bytes_max,
            });
        }
        if let Some(hasher) = &mut self.sha512 {
            hasher.update(&chunk);
        }
        self.buffer.extend_from_slice(&chunk);
        if self.buffer.len() <= MEMORY_BYTES_MAX {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        let part = self.part.take();
        let (reference, kind) = (self.submit.reference.clone(), self.submit.kind());
        let written = self.service.blocking(move |service| {
            let mut part = match part {
                Some(part) => part,
                None => {
                    let id = service.spool.next_id();
                    service.spool.begin(JobName::new(id, reference, kind))?
                }
            };
            part.write(&buffer)?;
            Ok((part, buffer))
        });
        let (part, mut buffer) = written.await?.map_err(|e| spool_fault(&e))?;
        buffer.clear();
        self.buffer = buffer;
        self.part = Some(part);
        Ok(())
    }

    /// Validates, stores and publishes. Runs on its own task to the end, also when the caller of
    /// this function goes away. Commits under one idempotency key come one after the other, and
    /// no more at once than leave threads to the worker.
    pub async fn commit(mut self) -> Result<Reply, Fault> {
        let (service, document) = (self.service.clone(), self.submit.document);
        let (user, options) = (self.caller.user.clone(), self.submit.options.clone());
        let asked = self.submit.interface.clone();
        let commit = async move {
            // It is under way until it is durable.
            let _admitted = self.admitted.take();
            let key = self.submit.idem_key(&self.caller);
            let _alone = match &key {
                None => None,
                Some(key) => Some(service.keys.hold(key).await),
            };
            let permit = service.permit(&self.submit, self.part.is_some()).await?;
            // What is synced first, or validated by another program, takes too long to be waited for.
            let is_quick = matches!(permit, Permit::Small { .. });
            let expected = is_quick.then(|| service.spool.expect());
            let of_key = key.clone();
            let stored = service.blocking(move |_| self.commit_blocking(of_key, expected));
            let stored = stored.await;
            drop(permit);
            let reply = match stored?? {
                Stored::Before(reply) => reply,
                Stored::Now { outcome, ticket } => {
                    if let Err(error) = service.spool.durable(ticket).await {
                        let job = outcome.job.clone();
                        let abandon = move |this: &Arc<Service>| {
                            this.spool.abandon(&job, key.as_ref());
                        };
                        service.blocking(abandon).await?;
                        return Err(spool_fault(&error));
                    }
                    service.tell(outcome)?
                }
            };
            match document {
                Document::Json { .. } => {
                    let asked = asked.as_ref();
                    service.created(reply, asked, &user, &options).await
                }
                Document::Xml => Ok(reply),
            }
        };
        let committed = tokio::spawn(commit).await;
        committed.unwrap_or(Err(Fault::Internal))
    }

    fn commit_blocking(
        mut self,
        key: Option<IdemKey>,
        expected: Option<Expected>,
    ) -> Result<Stored, Fault> {
        let mut buffer = std::mem::take(&mut self.buffer);
        if self.bytes == 0 {
            let Document::Json {
                empty: Some(instead),
                ..
            } = self.submit.document
            else {
                return Err(invalid(
                    "the body is empty: send the document as the request's body",
                ));
            };
            buffer.extend_from_slice(instead.as_bytes());
            self.bytes = buffer.len() as u64;
        }
        let body = match self.part.take() {
            None => Body::Memory(buffer),
            Some(mut part) => {
                part.write(&buffer).map_err(|e| spool_fault(&e))?;
                Body::Part(part)
            }
        };
        let sha512 = self.sha512.take().map(|hasher| hasher.finalize());
        let wanted = &self.submit.digests;
        if wanted
            .sha256
            .is_some_and(|wanted| body.sha256() != hex::encode(wanted))
            || wanted.sha512.map(Into::into) != sha512
        {
            return Err(invalid(
                "the body does not have the digest that was sent with it; nothing was stored",
            ));
        }
        let spool = self.service.spool.clone();
        let key = key.filter(|_| !self.submit.only_check);
        if let Some(key) = &key
            && let Some(record) = spool.find_record(key).map_err(|e| spool_fault(&e))?
        {
            return self.replay(&record, &body.sha256()).map(Stored::Before);
        }
        if key.is_some() {
            self.service.take_key(&self.caller.user)?;
        }
        match self.submit.document {
            Document::Json { check, .. } => self.decide_json(body, check, key.as_ref(), expected),
            Document::Xml => self.decide(body, key.as_ref(), expected),
        }
    }

    /// Checks a JSON request and gives it its place.
    fn decide_json(
        &self,
        body: Body,
        check: JsonCheck,
        key: Option<&IdemKey>,
        expected: Option<Expected>,
    ) -> Result<Stored, Fault> {
        let checked = match &body {
            Body::Memory(bytes) => (check.0)(&mut bytes.as_slice()),
            Body::Part(part) => {
                let path = self.service.spool.fs().absolute(part.path());
                let file = std::fs::File::open(&path).map_err(|error| unreadable(&error))?;
                (check.0)(&mut std::io::BufReader::new(file))
            }
        };
        checked.map_err(|reason| Fault::Invalid { reason })?;
        let chosen = self.submit.interface.as_ref();
        let candidates = self.service.candidates(&self.caller, chosen)?;
        self.accept(body, key, candidates[0].0, expected)
    }

    /// Recognises and validates the document and gives it its place.
    fn decide(
        &self,
        body: Body,
        key: Option<&IdemKey>,
        expected: Option<Expected>,
    ) -> Result<Stored, Fault> {
        let path = match &body {
            Body::Memory(_) => PathBuf::new(),
            Body::Part(part) => self.service.spool.fs().absolute(part.path()),
        };
        let source = match &body {
            Body::Memory(bytes) => Source::Memory(bytes),
            Body::Part(_) => Source::File(&path),
        };
        let root = match xml::inspect(&source, &XmlLimits::default()) {
            Ok(root) => root,
            Err(InspectError::NotWellFormed(finding)) => {
                let chosen = self.submit.interface.clone();
                return self.refuse(body, key, chosen, vec![finding]);
            }
            Err(InspectError::Io(error)) => return Err(unreadable(&error)),
        };
        let (name, interface) = match self.recognise(&root)? {
            Ok(found) => found,
            Err(finding) => {
                let chosen = self.submit.interface.clone();
                return self.refuse(body, key, chosen, vec![finding]);
            }
        };
        if self.bytes > interface.bytes_max {
            let bytes_max = interface.bytes_max;
            return Err(Fault::TooLarge { bytes_max });
        }
        if let Some(schema) = &interface.schema {
            let findings = self.service.schemas.validate(schema, &source);
            let findings = findings.map_err(|error| {
                tracing::error!(interface = %name, schema, %error, "no validation");
                Fault::Busy {
                    retry_after_s: RETRY_LATER_S,
                    reason: format!("documents for {name} cannot be validated at the moment"),
                }
            })?;
            if !findings.is_empty() {
                return self.refuse(body, key, Some(name.clone()), findings);
            }
        }
        self.accept(body, key, name, expected)
    }

    /// The interface of a document by its root element, or why there is none.
    #[allow(clippy::type_complexity)]
    fn recognise(
        &self,
        root: &xml::Root,
    ) -> Result<Result<(&InterfaceName, &Interface), Finding>, Fault> {
        let chosen = self.submit.interface.as_ref();
        if let Some(chosen) = chosen {
            let candidates = self.service.candidates(&self.caller, Some(chosen))?;
            let (name, interface) = candidates[0];
            return Ok(match interface.misfit(name, root) {
                None => Ok((name, interface)),
                Some(finding) => Err(finding),
            });
        }
        let known = (self.service.interfaces.iter()).find(|(name, interface)| {
            interface.direction == Direction::In
                && self.caller.may_any(name)
                && interface.root.as_ref() == Some(&root.name)
                && interface.namespace == root.namespace
        });
        match known {
            Some((name, _)) => {
                let name = self.service.allowed(&self.caller, Right::Upload, name)?;
                Ok(Ok((name, &self.service.interfaces[name])))
            }
            None => {
                let namespace = match &root.namespace {
                    Some(namespace) => format!(" in namespace {namespace}"),
                    None => String::new(),
                };
                let text = format!(
                    "no interface takes documents with the root element {}{namespace}",
                    root.name
                );
                Ok(Err(Finding::new(root.line, root.column, &text)))
            }
        }
    }

    fn accept(
        &self,
        body: Body,
        key: Option<&IdemKey>,
        interface: &InterfaceName,
        expected: Option<Expected>,
    ) -> Result<Stored, Fault> {
        let spool = &self.service.spool;
        if self.submit.only_check {
            let interface = interface.clone();
            return Ok(Stored::Before(Reply::Valid { interface }));
        }
        if self.service.is_full(interface) {
            return Err(queue_full());
        }
        let asked = self.submit.interface.as_ref();
        let asked = asked.filter(|_| self.submit.kind() == Kind::Json);
        let sealed = self.seal(body, None, asked_as(asked, interface))?;
        let record = record(&sealed, Some(interface), false);
        // Its record comes now, so that a flush waits for the others only.
        drop(expected);
        let published = spool.enqueue(sealed, interface, key.map(|key| (key, &record)));
        let (job, ticket) = self.published(published, key)?;
        let outcome = Outcome {
            job: job.name,
            interface: Some(interface.clone()),
            bytes: record.bytes,
            sha256: record.sha256,
            user: self.caller.user.clone(),
            findings: None,
        };
        Ok(Stored::Now { outcome, ticket })
    }

    /// Keeps the document in `joberrors` with what is wrong with it.
    fn refuse(
        &self,
        body: Body,
        key: Option<&IdemKey>,
        interface: Option<InterfaceName>,
        findings: Vec<Finding>,
    ) -> Result<Stored, Fault> {
        if self.submit.only_check {
            return Err(Fault::NotValid { findings });
        }
        let spool = &self.service.spool;
        let interface = interface.and_then(|name| self.service.resolve(&name).cloned());
        let sealed = self.seal(body, interface.as_ref(), None)?;
        let now_ms = spool.now_ms();
        let log = JobLog {
            job: sealed.name().clone(),
            interface: interface.clone(),
            status: Status::Error,
            received_ms: now_ms,
            started_ms: None,
            finished_ms: now_ms,
            attempts: 0,
            bytes: sealed.bytes(),
            sha256: Some(sealed.sha256().to_owned()),
            messages: self.noted(now_ms, &findings),
        };
        let record = record(&sealed, interface.as_ref(), true);
        let published = spool.refuse(sealed, log, key.map(|key| (key, &record)));
        let (job, ticket) = self.published(published, key)?;
        let outcome = Outcome {
            job: job.name,
            interface,
            bytes: record.bytes,
            sha256: record.sha256,
            user: self.caller.user.clone(),
            findings: Some(findings),
        };
        Ok(Stored::Now { outcome, ticket })
    }

    /// What the log of a refused document says.
    fn noted(&self, now_ms: i64, findings: &[Finding]) -> Vec<Message> {
        let sent = self.submit.reference_as_sent.as_deref();
        let kept = self.submit.reference.as_ref().map(Reference::as_str);
        let sent = sent.filter(|sent| Some(*sent) != kept).map(|sent| {
            let text = format!("RefName as sent: {sent}");
            Message::new(now_ms, Level::Info, text)
        });
        let findings = findings.iter().map(|finding| message_of(finding, now_ms));
        sent.into_iter().chain(findings).collect()
    }

    fn seal(
        &self,
        body: Body,
        interface: Option<&InterfaceName>,
        asked_as: Option<String>,
    ) -> Result<Sealed, Fault> {
        let spool = &self.service.spool;
        let stored = || {
            let part = match body {
                Body::Part(part) => part,
                Body::Memory(bytes) => {
                    let reference = self.submit.reference.clone();
                    let name = JobName::new(spool.next_id(), reference, self.submit.kind());
                    let mut part = spool.begin(name)?;
                    part.write(&bytes)?;
                    part
                }
            };
            part.seal(&Attributes {
                dialect: self.submit.dialect.into(),
                interface: interface.cloned(),
                asked_as,
                reference_as_sent: self.submit.reference_as_sent.as_deref().map(str::to_owned),
                submitter: self.caller.user.to_string(),
                options: self.submit.options.clone(),
                ..Attributes::default()
            })
        };
        stored().map_err(|e| spool_fault(&e))
    }

    fn published<T>(
        &self,
        published: Result<T, SpoolError>,
        key: Option<&IdemKey>,
    ) -> Result<T, Fault> {
        if let (Err(_), Some(key)) = (&published, key) {
            self.service.spool.drop_record(key);
        }
        published.map_err(|e| spool_fault(&e))
    }

    /// The first answer again.
    fn replay(&self, record: &IdemRecord, sha256: &str) -> Result<Reply, Fault> {
        if record.sha256 != sha256 {
            return Err(used_key());
        }
        let job = record.job_name().ok_or(Fault::Internal)?;
        tracing::info!(%job, user = %self.caller.user, "the first answer again");
        if record.refused {
            let log = self.service.spool.read_log(&job);
            let findings = log.map_or(Vec::new(), |log| findings_of(&log));
            return Err(Fault::Refused {
                job,
                sha256: record.sha256.clone(),
                findings,
            });
        }
        Ok(Reply::Accepted {
            job,
            interface: record.interface_name().ok_or(Fault::Internal)?,
            bytes: record.bytes,
            sha256: record.sha256.clone(),
            replayed: true,
        })
    }
}

impl Submit {
    /// What the client's key stands for. The requests of JSON dialects differ by more than their
    /// bodies: there it is a key for one target.
    pub(super) fn idem_key(&self, caller: &Caller) -> Option<IdemKey> {
        let key = self.idempotency_key.as_deref()?;
        let Document::Json { .. } = self.document else {
            return Some(IdemKey::new(&caller.user, key));
        };
        let interface = self.interface.as_ref().map_or("", |i| i.as_str());
        let params = self.options.params.as_deref().unwrap_or_default();
        let key = format!("{key}\n{interface}\n{params}");
        Some(IdemKey::new(&caller.user, &key))
    }

    fn kind(&self) -> Kind {
        match self.document {
            Document::Json { .. } => Kind::Json,
            Document::Xml => Kind::Xml,
        }
    }
}

/// JSON goes to an interface that is named and asks nothing of its documents.
pub(super) fn check_kind(
    submit: &Submit,
    candidates: &[(&InterfaceName, &Interface)],
) -> Result<(), Fault> {
    match (submit.document, &submit.interface, candidates) {
        (Document::Xml, _, _) => Ok(()),
        (Document::Json { .. }, Some(_), [(name, interface)]) => match interface.takes_json() {
            true => Ok(()),
            false => Err(Fault::Invalid {
                reason: format!("{name} takes XML documents only"),
            }),
        },
        // A dialect of JSON always names one.
        (Document::Json { .. }, _, _) => Err(Fault::Internal),
    }
}

/// The name by which a job's submitter asked for its interface, where that is another one: he is
/// told of it by that name.
fn asked_as(asked: Option<&InterfaceName>, interface: &InterfaceName) -> Option<String> {
    let other = asked.filter(|asked| *asked != interface);
    other.map(InterfaceName::to_string)
}

fn unreadable(error: &std::io::Error) -> Fault {
    tracing::error!(%error, "an upload cannot be read back");
    Fault::Busy {
        retry_after_s: RETRY_LATER_S,
        reason: "the service cannot reach its spool at the moment".into(),
    }
}

impl Body {
    fn sha256(&self) -> String {
        match self {
            Self::Memory(bytes) => hex::encode(Sha256::digest(bytes)),
            Self::Part(part) => part.sha256(),
        }
    }
}

pub(super) fn used_key() -> Fault {
    invalid("this Idempotency-Key was used for another document; use a new key")
}

pub(super) fn queue_full() -> Fault {
    Fault::Busy {
        retry_after_s: RETRY_LATER_S,
        reason: "the queue is full".into(),
    }
}

fn record(sealed: &Sealed<RealFs>, interface: Option<&InterfaceName>, refused: bool) -> IdemRecord {
    IdemRecord {
        job: sealed.name().to_string(),
        interface: interface.map(InterfaceName::to_string),
        sha256: sealed.sha256().to_owned(),
        bytes: sealed.bytes(),
        refused,
    }
}

pub(super) fn message_of(finding: &Finding, now_ms: i64) -> Message {
    let text = match finding.column {
        0 => finding.message.clone(),
        column => format!("column {column}: {}", finding.message),
    };
    let mut message = Message::new(now_ms, Level::Error, text);
    message.line = (finding.line > 0).then_some(finding.line);
    message
}

/// The inverse of [`message_of`], for the errors of the log.
fn findings_of(log: &JobLog) -> Vec<Finding> {
    let errors = log.messages.iter().filter(|m| m.level == Level::Error);
    let finding = |message: &Message| {
        let split = (message.text.strip_prefix("column ")).and_then(|rest| rest.split_once(": "));
        let split = split.and_then(|(column, text)| Some((column.parse().ok()?, text)));
        let (column, text) = split.unwrap_or((0, message.text.as_str()));
        Finding::new(message.line.unwrap_or(0), column, text)
    };
    errors.map(finding).collect()
}

fn invalid(reason: &str) -> Fault {
    Fault::Invalid {
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repeat under the same key must get the very answer of the first time.
    #[test]
    fn findings_read_back_from_the_log() {
        let findings = [
            (7, 4, "one: two"),
            (3, 0, "no column"),
            (0, 0, "column x: y"),
        ];
        let findings = findings.map(|(line, column, text)| Finding::new(line, column, text));
        let log = JobLog {
            job: "20261122T045748.123Z-00042.xml".parse().unwrap(),
            interface: None,
            status: Status::Error,
            received_ms: 0,
            started_ms: None,
            finished_ms: 0,
            attempts: 0,
            bytes: 0,
            sha256: None,
            messages: findings.iter().map(|f| message_of(f, 0)).collect(),
        };
        assert_eq!(findings_of(&log), findings);
    }

    #[tokio::test]
    async fn commits_under_one_key_come_one_after_the_other() {
        let keys = Arc::new(Keys::default());
        let key = IdemKey::new("shop", "1");
        let first = keys.hold(&key).await;
        let other = keys.hold(&IdemKey::new("shop", "2")).await;
        let waiting = tokio::spawn({
            let (keys, key) = (keys.clone(), key.clone());
            async move { drop(keys.hold(&key).await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
        drop(other);
        assert!(lock(&keys.0).is_empty(), "keys are forgotten");
    }
}
