//! An upload: admitted before its body is read, collected, checked, then committed to the store.
//!
//! Once a body is complete its commit runs to the end, even if the client has gone. An upload that is
//! dropped before leaves nothing behind.
//!
//! An XML document that is not in order is kept among the refused in `joberrors`, with what is wrong with it; a JSON
//! request that is not in order is refused, and nothing is kept.

use super::{
    AdmissionLimits, Direction, DocumentFormat, Fault, Interface, JobRef, JsonCheck, RETRY_LATER_S,
    RETRY_SOON_S, Reply, Service, Submit, admission, admission::UserLimits, quotas::DayBytes,
    store_fault, to_its_end::to_its_end, view::View,
};
use crate::{
    auth::{Caller, Right},
    domain::joblog::{JobLog, Level, Message},
    domain::{InterfaceName, Job, Kind, OrderBy, Place, Reference},
    metrics,
    store::{Came, Key, Keyed, NewJob, NewName, Of, Receipt, Sealed, Stored, Viewer, Want},
    xml::{self, Finding, InspectError, Schemas, Source, Unavailable, XmlLimits},
};
use bytes::Bytes;
use sha2::{Digest, Sha512};
use std::{sync::Arc, time::Instant};
use tokio::sync::SemaphorePermit;

/// Documents up to this size are checked where they arrive, as far as one pass tells: that takes less than a
/// millisecond, and mostly less than a change of threads.
const QUICK_CHECK_BYTES_MAX: usize = 64 * 1024;
/// Nobody is told to wait longer for a place of his waiting jobs: the estimate is a rough one.
const WAIT_S_MAX: u32 = 60 * 60;

/// A body on its way in.
pub struct Upload {
    service: Arc<Service>,
    caller: Caller,
    submit: Submit,
    bytes: u64,
    bytes_max: u64,
    document: Box<dyn crate::store::DocumentWriter>,
    admitted: Option<admission::Admitted>,
    /// Where the user may send so many bytes a day.
    day_bytes: Option<DayBytes>,
    began: Instant,
    /// Of what has come; only where the client says what it should be.
    sha512: Option<Sha512>,
}

/// Who asks for what.
struct Request {
    service: Arc<Service>,
    caller: Caller,
    submit: Submit,
}

/// A complete upload.
struct Complete {
    request: Request,
    document: Sealed,
    day_bytes: Option<DayBytes>,
}

/// What the check of a document came to.
enum Verdict {
    Accepted(InterfaceName),
    /// For these reasons; the interface, as far as it is known.
    Refused(Option<InterfaceName>, Vec<Finding>),
}

/// The same, with what the document says that its job keeps its order by. That is kept of one that is refused
/// as well: it may be sent to its queue later.
struct Checked {
    verdict: Verdict,
    order_key: Option<String>,
}

impl From<Verdict> for Checked {
    fn from(verdict: Verdict) -> Self {
        Self {
            verdict,
            order_key: None,
        }
    }
}

/// Finds what is wrong with a document by a schema; `None`: it does not say.
type Find = fn(&Schemas, Option<&str>, &Source<'_>) -> Result<Option<Vec<Finding>>, Unavailable>;

/// What became of a document.
pub(super) struct Outcome {
    pub(super) stored: Stored,
    pub(super) interface: Option<InterfaceName>,
    pub(super) user: Arc<str>,
    /// It was refused for these.
    pub(super) findings: Option<Vec<Finding>>,
}

impl Service {
    /// Everything that can be refused before the body is read: unknown interface, no right, too
    /// large, too many uploads or bytes of this user, no room. `content_length` is what the client announced, if it did.
    ///
    /// # Errors
    /// Nothing was stored.
    /// - [`Fault::Busy`]: too many uploads are under way, the queue or the disk is full, or the
    ///   store is unhealthy; the upload can be tried again after the time that it names.
    /// - [`Fault::TooMany`]: as many of the user's jobs wait as may, or he has sent as much in this minute or day as
    ///   he may; again after the time that it names.
    /// - [`Fault::TooLarge`]: the document is larger than any interface takes that it could be for, or than all that
    ///   the user may send in a day.
    /// - [`Fault::Forbidden`], [`Fault::UnknownInterface`]: the caller needs a right that an
    ///   operator grants, or another interface.
    /// - [`Fault::Invalid`]: the interface takes no uploads, or none of this kind of document.
    pub async fn admit(
        self: &Arc<Self>,
        caller: &Caller,
        submit: Submit,
        content_length: Option<u64>,
    ) -> Result<Upload, Fault> {
        let asked = (!submit.only_check).then(|| submit.interface.clone());
        let admitted = self.admitted(caller, submit, content_length).await;
        if let (Err(fault), Some(interface)) = (&admitted, asked) {
            self.uploaded(interface.as_ref(), outcome_of(fault));
        }
        admitted
    }

    /// Counts an upload.
    fn uploaded(&self, interface: Option<&InterfaceName>, outcome: metrics::Upload) {
        let known = interface.and_then(|name| self.resolve(name));
        let known = known.map(InterfaceName::as_str);
        self.metrics.uploaded(known, outcome);
    }

    async fn admitted(
        self: &Arc<Self>,
        caller: &Caller,
        submit: Submit,
        content_length: Option<u64>,
    ) -> Result<Upload, Fault> {
        let candidates = self.candidates(caller, submit.interface.as_ref())?;
        check_kind(&submit, &candidates)?;
        let limits = self.limits.of(&caller.user);
        let bytes_max = candidates
            .iter()
            .map(|(_, i)| i.bytes_max)
            .max()
            .unwrap_or(0)
            // What is larger than a day's share fits into no day.
            .min(limits.bytes_per_day_max.unwrap_or(u64::MAX));
        if content_length.is_some_and(|bytes| bytes > bytes_max) {
            return Err(Fault::TooLarge { bytes_max });
        }
        if self.store.unhealthy().is_some() {
            return Err(Fault::Busy {
                retry_after_s: RETRY_LATER_S,
                reason: "the service cannot store jobs at the moment".into(),
            });
        }
        if candidates.iter().all(|(name, _)| self.is_full(name)) {
            return Err(queue_full());
        }
        self.may_submit(caller, &limits).await?;
        let day_bytes = match submit.only_check {
            true => None,
            false => self.take_bytes(caller, &limits, content_length).await?,
        };
        let announced = content_length.unwrap_or(bytes_max);
        let admitted = self.in_flight.admit(announced, &self.limits)?;
        admission::room(self.store.capacity(), self.in_flight.bytes(), &self.limits)?;
        // At last, so that none counts which is refused.
        if let Some(max) = limits.uploads_per_minute_max {
            self.quotas.take_upload(&caller.user, Instant::now(), max)?;
        }
        let name = NewName {
            kind: submit.kind(),
            reference: submit.reference.clone(),
        };
        Ok(Upload {
            service: self.clone(),
            caller: caller.clone(),
            sha512: submit.digests.sha512.map(|_| Sha512::new()),
            submit,
            bytes: 0,
            bytes_max,
            document: self.store.begin(name),
            admitted: Some(admitted),
            day_bytes,
            began: Instant::now(),
        })
    }

    /// Has the user room for another waiting job?
    async fn may_submit(
        self: &Arc<Self>,
        caller: &Caller,
        limits: &UserLimits,
    ) -> Result<(), Fault> {
        let max = limits.waiting_jobs_max;
        if let Some(look) = self.quotas.look(&caller.user, max) {
            let waiting = self.store.still_waiting(look.jobs().to_vec()).await;
            look.found(waiting.map_err(|e| store_fault(&e))?);
        }
        let Err(Fault::TooMany { reason, .. }) = self.quotas.may_submit(&caller.user, max) else {
            return Ok(());
        };
        Err(Fault::TooMany {
            retry_after_s: self.seconds_to_wait(&caller.user).await,
            reason,
        })
    }

    /// How long it takes until one of the user's jobs waits no more: an estimate.
    async fn seconds_to_wait(self: &Arc<Self>, user: &str) -> u32 {
        let Some(oldest) = self.quotas.oldest_job(user) else {
            return RETRY_SOON_S;
        };
        let all = Viewer::all();
        let found = self.store.find(&all, Of::Name(oldest), Want::PLACE);
        let Ok(Some(found)) = found.await else {
            return RETRY_SOON_S;
        };
        let eta_ms = self.blocking(move |this| this.worker.eta_ms(&found.summary.job));
        let eta_ms = eta_ms.await.ok().flatten();
        let left_ms = eta_ms.map(|eta_ms| eta_ms - self.store.now_ms());
        let left_s = left_ms.and_then(|left_ms| u32::try_from(left_ms / 1000 + 1).ok());
        left_s.map_or(RETRY_LATER_S, |left_s| left_s.clamp(1, WAIT_S_MAX))
    }

    /// Takes what an upload announces of the bytes that its user may send in a day, where that is limited.
    async fn take_bytes(
        &self,
        caller: &Caller,
        limits: &UserLimits,
        announced: Option<u64>,
    ) -> Result<Option<DayBytes>, Fault> {
        let Some(max) = limits.bytes_per_day_max else {
            return Ok(None);
        };
        let read = async |day| {
            let sent = self.store.uploaded_bytes(day).await;
            sent.map_err(|e| store_fault(&e))
        };
        let (days, limit) = (&self.quotas.days, (self.store.now_ms(), max));
        let taken = days.take(&caller.user, limit, announced.unwrap_or(0), read);
        taken.await.map(Some)
    }

    /// Takes one of the user's keys.
    ///
    /// # Errors
    /// [`Fault::TooMany`] when he has as many in use as he may: again once the oldest have expired.
    pub(super) fn take_key(&self, user: &Arc<str>) -> Result<(), Fault> {
        let AdmissionLimits {
            key_hours,
            keys_per_user_max,
            ..
        } = self.limits;
        let now_ms = self.store.now_ms();
        self.quotas
            .take_key(user, now_ms, key_hours, keys_per_user_max)
    }

    /// Tells the log, the worker and the caller what became of a document, which is durable now.
    ///
    /// # Errors
    /// [`Fault::Refused`] when the document was refused: that is what its caller is to be told.
    pub(super) fn tell(&self, outcome: Outcome) -> Result<Reply, Fault> {
        let Outcome {
            stored,
            interface,
            user,
            findings,
        } = outcome;
        let Stored {
            job, bytes, sha256, ..
        } = stored;
        match (interface, findings) {
            (Some(interface), None) => {
                tracing::info!(%job, %interface, bytes, sha256, %user, "accepted");
                self.quotas.submitted(&user, job.clone());
                *self.arrivals.lock().entry(interface.clone()).or_default() += 1;
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

    /// Waits for the right to check a document.
    async fn check_permit(
        &self,
        format: DocumentFormat,
        is_large: bool,
    ) -> Result<SemaphorePermit<'_>, Fault> {
        let checks = match (format, is_large) {
            (_, true) => &self.large_checks,
            (DocumentFormat::Json { .. }, false) => &self.small_json_checks,
            (DocumentFormat::Xml, false) => &self.small_xml_checks,
        };
        // Nobody closes these semaphores.
        checks.acquire().await.map_err(|_| Fault::Internal)
    }

    pub(super) fn is_full(&self, interface: &InterfaceName) -> bool {
        self.store.waiting(interface) >= self.limits.queue_jobs_max
    }

    /// The interfaces that this upload may turn out to be for.
    ///
    /// # Errors
    /// [`Fault::Forbidden`] or [`Fault::UnknownInterface`] when the caller may not upload there,
    /// [`Fault::Invalid`] when the interface takes no uploads from anyone.
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
    /// Adds the next bytes of the body.
    ///
    /// # Errors
    /// Drop the upload: it cannot be completed, and nothing of it stays.
    /// - [`Fault::TooLarge`]: the document is too large for every interface that it could be for.
    /// - [`Fault::TooMany`]: the user has sent as many bytes in this day as he may; again when the next one begins.
    /// - [`Fault::Busy`]: the disk is full or the store has failed; the whole upload can be tried
    ///   again after the time that it names.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), Fault> {
        let bytes = chunk.len() as u64;
        let appended = self.append(chunk).await;
        if !self.submit.only_check {
            self.service.metrics.came(bytes);
            if let Err(fault) = &appended {
                let interface = self.submit.interface.as_ref();
                self.service.uploaded(interface, outcome_of(fault));
            }
        }
        appended
    }

    async fn append(&mut self, chunk: Bytes) -> Result<(), Fault> {
        self.bytes += chunk.len() as u64;
        if self.bytes > self.bytes_max {
            return Err(Fault::TooLarge {
                bytes_max: self.bytes_max,
            });
        }
        if let Some(day_bytes) = &mut self.day_bytes {
            day_bytes.reach(self.bytes, self.service.store.now_ms())?;
        }
        if let Some(hasher) = &mut self.sha512 {
            hasher.update(&chunk);
        }
        let appended = self.document.append(chunk).await;
        appended.map_err(|e| store_fault(&e))
    }

    /// Validates, stores and publishes. Runs to its end, also when the caller of
    /// this function goes away.
    ///
    /// # Errors
    /// Nothing was stored, unless it says otherwise.
    /// - [`Fault::Refused`]: the document was kept among the refused, durably. A corrected one is a
    ///   new upload.
    /// - [`Fault::NotValid`]: only a check was asked for, and the document would be refused.
    /// - [`Fault::Invalid`]: the body is empty, does not have the digest that was sent with it or
    ///   is not the JSON that is wanted, or the `Idempotency-Key` was used for another document.
    ///   The request has to be changed.
    /// - [`Fault::Busy`]: the queue or the disk is full, the document cannot be checked now, or the
    ///   outcome is unknown. Repeat it after the time that it names, with the same
    ///   `Idempotency-Key`: that finds the job if there is one. Without a key there may be a second
    ///   job.
    /// - [`Fault::TooLarge`]: the interface that the document turned out to be for takes smaller
    ///   ones.
    /// - [`Fault::TooMany`]: the user has as many idempotency keys in use as he may; again once the
    ///   oldest have expired.
    /// - [`Fault::Forbidden`], [`Fault::UnknownInterface`]: the caller has no right to upload to
    ///   that interface.
    /// - [`Fault::UnknownJob`]: an earlier request with this key made a job, which is gone.
    /// - [`Fault::Internal`]: the cause is in the log, and an operator has to look at it. The
    ///   outcome is unknown, as with [`Fault::Busy`].
    pub async fn commit(mut self) -> Result<Reply, Fault> {
        // Also if the client leaves meanwhile.
        let commit = to_its_end(async move {
            // It is under way until it is durable.
            let _admitted = self.admitted.take();
            let (service, began) = (self.service.clone(), self.began);
            let is_counted = !self.submit.only_check;
            let mut interface = self.submit.interface.clone();
            let committed = match self.complete().await {
                Ok(complete) => complete.commit(&mut interface).await,
                Err(fault) => Err(fault),
            };
            if is_counted {
                let outcome = committed.as_ref().map_or_else(outcome_of, answered);
                service.uploaded(interface.as_ref(), outcome);
                service.metrics.upload_took(began.elapsed().as_secs_f64());
            }
            committed
        });
        commit.await
    }

    /// The document, if it is what the client says that it is.
    async fn complete(mut self) -> Result<Complete, Fault> {
        if self.bytes == 0 {
            let DocumentFormat::Json {
                empty: Some(instead),
                ..
            } = self.submit.document
            else {
                return Err(invalid(
                    "the body is empty: send the document as the request's body",
                ));
            };
            let appended = self.document.append(instead.as_bytes().into()).await;
            appended.map_err(|e| store_fault(&e))?;
        }
        let document = self.document.seal().await.map_err(|e| store_fault(&e))?;
        let sha512 = self.sha512.map(|hasher| hasher.finalize());
        let wanted = &self.submit.digests;
        if wanted
            .sha256
            .is_some_and(|wanted| *document.sha256() != hex::encode(wanted))
            || wanted.sha512.map(Into::into) != sha512
        {
            return Err(invalid(
                "the body does not have the digest that was sent with it; nothing was stored",
            ));
        }
        let request = Request {
            service: self.service,
            caller: self.caller,
            submit: self.submit,
        };
        Ok(Complete {
            request,
            document,
            day_bytes: self.day_bytes,
        })
    }
}

impl Complete {
    /// `interface`: the one that it is for, once that is known.
    async fn commit(self, interface: &mut Option<InterfaceName>) -> Result<Reply, Fault> {
        let key = self.request.submit.idem_key(&self.request.caller);
        let key = key.filter(|_| !self.request.submit.only_check);
        if let Some(key) = &key {
            let keyed = self.request.service.store.find_key(key).await;
            if let Some(keyed) = keyed.map_err(|e| store_fault(&e))? {
                return match keyed.sha256 == self.document.sha256() {
                    true => self.request.replay(keyed).await,
                    false => Err(used_key()),
                };
            }
            self.request.service.take_key(&self.request.caller.user)?;
        }
        let (this, checked) = self.checked().await?;
        match &checked.verdict {
            Verdict::Accepted(found) | Verdict::Refused(Some(found), _) => {
                *interface = Some(found.clone());
            }
            Verdict::Refused(None, _) => {}
        }
        this.land(checked, key).await
    }

    /// Checks the document, where that is quick at once.
    async fn checked(self) -> Result<(Self, Checked), Fault> {
        let in_memory = self.document.in_memory().map(<[u8]>::len);
        let is_quick = in_memory.is_some_and(|bytes| bytes <= QUICK_CHECK_BYTES_MAX);
        if is_quick && let Some(checked) = self.check(Schemas::check_at_once)? {
            return Ok((self, checked));
        }
        let service = self.request.service.clone();
        let permit = service.check_permit(self.request.submit.document, in_memory.is_none());
        let _permit = permit.await?;
        let checked = service.blocking(move |_| {
            let whole = |schemas: &Schemas, schema: Option<&str>, source: &Source<'_>| {
                schemas.check(schema, source).map(Some)
            };
            let checked = self.check(whole)?.ok_or(Fault::Internal)?;
            Ok((self, checked))
        });
        checked.await?
    }

    /// Is the document what an interface takes, and which one? `None`: `find` does not say. Blocks as that does.
    fn check(&self, find: Find) -> Result<Option<Checked>, Fault> {
        let begun = Instant::now();
        let checked = match self.request.submit.document {
            DocumentFormat::Json { check, .. } => {
                self.check_json(check).map(|verdict| Some(verdict.into()))
            }
            DocumentFormat::Xml => self.check_xml(find),
        };
        if !matches!(checked, Ok(None)) {
            let metrics = &self.request.service.metrics;
            metrics.validated(begun.elapsed().as_secs_f64());
        }
        checked
    }

    fn check_json(&self, check: JsonCheck) -> Result<Verdict, Fault> {
        let checked = match self.document.in_memory() {
            Some(mut bytes) => (check.0)(&mut bytes),
            None => {
                let reader = self.document.reader().map_err(|error| unreadable(&error))?;
                (check.0)(&mut std::io::BufReader::new(reader))
            }
        };
        checked.map_err(|reason| Fault::Invalid { reason })?;
        let chosen = self.request.submit.interface.as_ref();
        let candidates = self
            .request
            .service
            .candidates(&self.request.caller, chosen)?;
        Ok(Verdict::Accepted(candidates[0].0.clone()))
    }

    /// Recognises and validates the document.
    fn check_xml(&self, find: Find) -> Result<Option<Checked>, Fault> {
        let refused = |chosen, finding| {
            let verdict = Verdict::Refused(chosen, vec![finding]);
            Ok(Some(verdict.into()))
        };
        let reopen = || self.document.reader();
        let source = match self.document.in_memory() {
            Some(bytes) => Source::Memory(bytes),
            None => Source::Reader(&reopen),
        };
        let chosen = self.request.submit.interface.clone();
        let root = match xml::root_of(&source, &XmlLimits::default()) {
            Ok(root) => root,
            Err(InspectError::NotWellFormed(finding)) => {
                return refused(chosen, finding);
            }
            Err(InspectError::Io(error)) => return Err(unreadable(&error)),
        };
        let (name, interface) = match self.recognise(&root)? {
            Ok(found) => found,
            Err(finding) => return refused(chosen, finding),
        };
        let order_key = order_key_of(interface, &source)?;
        if self.document.bytes() > interface.bytes_max {
            let bytes_max = interface.bytes_max;
            return Err(Fault::TooLarge { bytes_max });
        }
        let schemas = &self.request.service.schemas;
        let findings = find(schemas, interface.schema.as_deref(), &source);
        let findings = findings.map_err(|error| {
            tracing::error!(interface = %name, schema = interface.schema, %error, "no validation");
            Fault::Busy {
                retry_after_s: RETRY_LATER_S,
                reason: format!("documents for {name} cannot be validated at the moment"),
            }
        })?;
        let Some(findings) = findings else {
            return Ok(None);
        };
        let verdict = match findings.is_empty() {
            true => Verdict::Accepted(name.clone()),
            false => Verdict::Refused(Some(name.clone()), findings),
        };
        Ok(Some(Checked { verdict, order_key }))
    }

    /// The interface of a document by its root element, or why there is none.
    #[allow(clippy::type_complexity)]
    fn recognise(
        &self,
        root: &xml::Root,
    ) -> Result<Result<(&InterfaceName, &Interface), Finding>, Fault> {
        let chosen = self.request.submit.interface.as_ref();
        if let Some(chosen) = chosen {
            let candidates = self
                .request
                .service
                .candidates(&self.request.caller, Some(chosen))?;
            let (name, interface) = candidates[0];
            return Ok(match interface.misfit(name, root) {
                None => Ok((name, interface)),
                Some(finding) => Err(finding),
            });
        }
        let known = (self.request.service.interfaces.iter()).find(|(name, interface)| {
            interface.direction == Direction::In
                && self.request.caller.may_any(name)
                && interface.root.as_ref() == Some(&root.name)
                && interface.namespace == root.namespace
        });
        match known {
            Some((name, _)) => {
                let name =
                    self.request
                        .service
                        .allowed(&self.request.caller, Right::Upload, name)?;
                Ok(Ok((name, &self.request.service.interfaces[name])))
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
                Ok(Err(root.finding(&text)))
            }
        }
    }

    /// Gives the document its place, as the verdict says.
    async fn land(self, checked: Checked, key: Option<Key>) -> Result<Reply, Fault> {
        let Checked { verdict, order_key } = checked;
        if self.request.submit.only_check {
            return match verdict {
                Verdict::Accepted(interface) => Ok(Reply::Valid { interface }),
                Verdict::Refused(_, findings) => Err(Fault::NotValid { findings }),
            };
        }
        let Self {
            request,
            document,
            day_bytes,
        } = self;
        let (service, key) = (&request.service, key.as_ref());
        let store = &service.store;
        let (interface, receipt, findings) = match verdict {
            Verdict::Accepted(interface) => {
                if service.is_full(&interface) {
                    return Err(queue_full());
                }
                let job = request.new_job(Some(&interface), order_key);
                let receipt = store.commit(document, job, &interface, key).await;
                (Some(interface), receipt, None)
            }
            Verdict::Refused(interface, findings) => {
                let interface = interface.and_then(|name| service.resolve(&name).cloned());
                let (job, noted) = (
                    request.new_job(None, order_key),
                    request.noted(store.now_ms(), &findings),
                );
                let refused = store.refuse(document, job, interface.as_ref(), noted, key);
                let refused = refused.await;
                (interface, refused, Some(findings))
            }
        };
        match receipt.map_err(|e| store_fault(&e))? {
            Receipt::New(stored) => {
                if let Some(day_bytes) = day_bytes {
                    day_bytes.keep(stored.bytes);
                }
                let outcome = Outcome {
                    stored: stored.clone(),
                    interface,
                    user: request.caller.user.clone(),
                    findings,
                };
                request.created(service.tell(outcome)?, &stored)
            }
            Receipt::Same(keyed) => request.replay(keyed).await,
            Receipt::Different => Err(used_key()),
        }
    }
}

impl Request {
    fn new_job(&self, accepted: Option<&InterfaceName>, order_key: Option<String>) -> NewJob {
        let asked = self.submit.interface.as_ref();
        let asked = asked.filter(|_| self.submit.kind() == Kind::Json);
        NewJob {
            dialect: self.submit.dialect.into(),
            asked_as: accepted.and_then(|accepted| asked_as(asked, accepted)),
            submitter: self.caller.user.to_string(),
            options: self.submit.options.clone(),
            came: Came::Uploaded,
            reference_as_sent: self.submit.reference_as_sent.as_deref().map(str::to_owned),
            order_key,
        }
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

    /// The answer to a job that was accepted now. A JSON job is shown as it was accepted: nothing that is
    /// read meanwhile may turn that into a fault.
    fn created(&self, reply: Reply, stored: &Stored) -> Result<Reply, Fault> {
        let (DocumentFormat::Json { .. }, Reply::Accepted { interface, .. }) =
            (self.submit.document, &reply)
        else {
            return Ok(reply);
        };
        let (user, options) = (&self.caller.user, &self.submit.options);
        let view = (self.service).new_view(stored, interface.clone(), user, options);
        Ok(Reply::Created {
            view: Box::new(View {
                asked_as: asked_as(self.submit.interface.as_ref(), interface),
                ..view
            }),
            replayed: false,
        })
    }

    /// The first answer again.
    async fn replay(&self, keyed: Keyed) -> Result<Reply, Fault> {
        let (service, job) = (&self.service, keyed.job);
        tracing::info!(%job, user = %self.caller.user, "the first answer again");
        if keyed.refused {
            let (place, name) = (Place::Refused, job.clone());
            let log = service.store.log(&Job { place, name }).await;
            let log = log.map_err(|e| store_fault(&e))?;
            return Err(Fault::Refused {
                job,
                sha256: keyed.sha256,
                findings: findings_of(&log),
            });
        }
        match self.submit.document {
            DocumentFormat::Json { .. } => {
                let of = JobRef::Name(job);
                let (all, wanted) = (Viewer::all(), service.of(&of)?);
                let found = service.found(&all, wanted, Want::ALL, &of);
                Ok(Reply::Created {
                    view: Box::new(service.view(found.await?)),
                    replayed: true,
                })
            }
            DocumentFormat::Xml => Ok(Reply::Accepted {
                job,
                interface: keyed.interface.ok_or(Fault::Internal)?,
                bytes: keyed.bytes,
                sha256: keyed.sha256,
                replayed: true,
            }),
        }
    }
}

impl Submit {
    /// What the client's key stands for. The requests of JSON dialects differ by more than their
    /// bodies: there it is a key for one target.
    pub(super) fn idem_key(&self, caller: &Caller) -> Option<Key> {
        let key = self.idempotency_key.as_deref()?;
        let DocumentFormat::Json { .. } = self.document else {
            return Some(Key::new(&caller.user, key));
        };
        let interface = self.interface.as_ref().map_or("", |i| i.as_str());
        let params = self.options.params.as_deref().unwrap_or_default();
        let key = format!("{key}\n{interface}\n{params}");
        Some(Key::new(&caller.user, &key))
    }

    fn kind(&self) -> Kind {
        match self.document {
            DocumentFormat::Json { .. } => Kind::Json,
            DocumentFormat::Xml => Kind::Xml,
        }
    }
}

/// What a document for an interface says that its job keeps its order by.
///
/// # Errors
/// [`Fault::Busy`] when the document cannot be read back.
fn order_key_of(interface: &Interface, source: &Source<'_>) -> Result<Option<String>, Fault> {
    let attribute = interface.order_by.as_ref().and_then(OrderBy::attribute);
    let Some(attribute) = attribute else {
        return Ok(None);
    };
    match xml::root_attribute(source, attribute, &XmlLimits::default()) {
        Ok(value) => Ok(value.and_then(|value| OrderBy::kept(attribute, &value))),
        Err(InspectError::Io(error)) => Err(unreadable(&error)),
        Err(InspectError::NotWellFormed(_)) => Ok(None),
    }
}

/// JSON goes to an interface that is named and asks nothing of its documents.
///
/// # Errors
/// [`Fault::Invalid`] when the interface takes XML only: no JSON document will do.
pub(super) fn check_kind(
    submit: &Submit,
    candidates: &[(&InterfaceName, &Interface)],
) -> Result<(), Fault> {
    match (submit.document, &submit.interface, candidates) {
        (DocumentFormat::Xml, _, _) => Ok(()),
        (DocumentFormat::Json { .. }, Some(_), [(name, interface)]) => match interface.takes_json()
        {
            true => Ok(()),
            false => Err(Fault::Invalid {
                reason: format!("{name} takes XML documents only"),
            }),
        },
        // A dialect of JSON always names one.
        (DocumentFormat::Json { .. }, _, _) => Err(Fault::Internal),
    }
}

/// The name by which a job's submitter asked for its interface, where that is another one: he is
/// told of it by that name.
fn asked_as(asked: Option<&InterfaceName>, interface: &InterfaceName) -> Option<String> {
    let other = asked.filter(|asked| *asked != interface);
    other.map(InterfaceName::to_string)
}

/// How an upload counts that has this answer.
fn answered(reply: &Reply) -> metrics::Upload {
    let is_again = matches!(
        reply,
        Reply::Accepted { replayed: true, .. } | Reply::Created { replayed: true, .. }
    );
    match is_again {
        true => metrics::Upload::Replayed,
        false => metrics::Upload::Accepted,
    }
}

/// How an upload counts that was not taken.
fn outcome_of(fault: &Fault) -> metrics::Upload {
    match fault {
        Fault::Busy { .. } | Fault::Internal | Fault::TooMany { .. } => metrics::Upload::Busy,
        Fault::Forbidden { .. }
        | Fault::Unauthorized
        | Fault::UnknownInterface { .. }
        | Fault::UnknownTenant { .. } => metrics::Upload::Denied,
        Fault::Conflict { .. }
        | Fault::Field { .. }
        | Fault::Invalid { .. }
        | Fault::MethodNotAllowed { .. }
        | Fault::NoSuchPath
        | Fault::NotValid { .. }
        | Fault::Refused { .. }
        | Fault::TimedOut
        | Fault::TooLarge { .. }
        | Fault::UnknownFile { .. }
        | Fault::UnknownJob { .. }
        | Fault::Unsupported { .. } => metrics::Upload::Refused,
    }
}

fn unreadable(error: &std::io::Error) -> Fault {
    tracing::error!(%error, "an upload cannot be read back");
    Fault::Busy {
        retry_after_s: RETRY_LATER_S,
        reason: "the service cannot reach its spool at the moment".into(),
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

pub(super) fn message_of(finding: &Finding, now_ms: i64) -> Message {
    let mut text = String::new();
    if finding.column > 0 {
        text = format!("column {}: ", finding.column);
    }
    if let Some(path) = &finding.path {
        text = text + path + ": ";
    }
    text += &finding.message;
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
        Finding::read(message.line.unwrap_or(0), column, text)
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
    use crate::domain::joblog::Status;

    /// A repeat under the same key must get the very answer of the first time.
    #[test]
    fn findings_read_back_from_the_log() {
        let findings = [
            (7, 4, "one: two"),
            (3, 0, "no column"),
            (0, 0, "column x: y"),
        ];
        let mut findings = findings.map(|(line, column, text)| Finding::new(line, column, text));
        findings[1] = findings[1].clone().with_path("/a/b[3]");
        findings[0] = findings[0].clone().with_path("/p:a");
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
}
