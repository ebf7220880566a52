//! A job on its way to a client, whole or in part.

use super::{Service, view::by};
use crate::{
    auth::Caller,
    domain::{InterfaceName, Job, Kind},
    store::Content,
};
use std::{ops::Range, sync::Arc, time::Duration};
use tokio::sync::watch;

/// So long until archiving a retrieved job is tried again.
const ARCHIVE_AGAIN: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });

/// A job's bytes, or a part of them: the job may move while they are sent.
#[derive(Debug)]
pub struct Download {
    /// What a client may save it as.
    pub name: String,
    pub content: Content,
    /// What of it is to be sent.
    pub part: Range<u64>,
    /// What the content is, if it is a job's own document.
    pub kind: Option<Kind>,
    /// Only the headers are wanted.
    pub head: bool,
    /// To be told when the client has got the last byte.
    pub completion: Option<Completion>,
}

impl Download {
    pub fn new(name: String, content: Content) -> Self {
        Self {
            name,
            part: 0..content.bytes,
            content,
            kind: None,
            head: false,
            completion: None,
        }
    }

    /// How many bytes are to be sent.
    pub fn bytes(&self) -> u64 {
        self.part.end - self.part.start
    }
}

/// What is to happen once a job has been retrieved completely, perhaps in parts: it is archived.
/// Dropping it before [`Completion::completed`] means that the download broke off, and nothing
/// happens.
pub struct Completion {
    service: Arc<Service>,
    job: Job,
    interface: InterfaceName,
    caller: Caller,
    /// The job's length.
    bytes: u64,
    /// What of it is on its way.
    part: Range<u64>,
    /// While it exists, those who ask for the job wait a little; once it says that all has
    /// arrived, they wait for the disk.
    ended: Option<watch::Sender<bool>>,
}

impl Completion {
    pub(super) fn new(
        service: Arc<Service>,
        job: Job,
        interface: InterfaceName,
        caller: Caller,
        bytes: u64,
    ) -> Self {
        Self {
            service,
            job,
            interface,
            caller,
            bytes,
            part: 0..bytes,
            ended: None,
        }
    }

    /// Only these bytes of the job are sent.
    pub fn only(&mut self, part: Range<u64>) {
        self.part = part;
    }

    /// The last byte is on its way: from now on, whoever asks where the job is waits for the
    /// outcome, so that the client which has its document does not see it queued any more.
    pub fn taken(&mut self) {
        let taken = &self.service.taken;
        if taken.would_be_all(&self.job.name, &self.caller.user, &self.part, self.bytes) {
            self.announce();
        }
    }

    fn announce(&mut self) {
        let (ended, receiver) = watch::channel(false);
        let mut archiving = self.service.archiving.lock();
        if !archiving.contains_key(&self.job.name) {
            let waiting = (self.interface.clone(), receiver);
            archiving.insert(self.job.name.clone(), waiting);
            self.ended = Some(ended);
        }
    }

    /// The client has got the last byte that was sent: if that was the last of the job, it goes to
    /// `bak`, now or as soon as the disk lets it.
    pub fn completed(mut self) {
        let taken = &self.service.taken;
        if !taken.add(&self.job.name, &self.caller.user, &self.part, self.bytes) {
            return;
        }
        if self.ended.is_none() {
            // Other parts were on their way beside it.
            self.announce();
        }
        if let Some(ended) = &self.ended {
            ended.send_replace(true);
        }
        tokio::spawn(async move {
            while !self.archived().await {
                // It is still queued, and whoever asks is told so.
                self.let_go();
                if self.service.store.unhealthy().is_some() {
                    return;
                }
                tokio::time::sleep(ARCHIVE_AGAIN).await;
            }
        });
    }

    /// Tries to archive the job. False when that can succeed later.
    async fn archived(&self) -> bool {
        let archived = (self.service.store)
            .fetched(&self.job, &by(&self.caller))
            .await;
        if let Err(error) = &archived {
            tracing::error!(job = %self.job.name, %error, "a retrieved job stays queued for now");
        }
        archived.is_ok()
    }

    /// Nobody waits for the outcome any more.
    fn let_go(&mut self) {
        if self.ended.take().is_some() {
            self.service.archiving.lock().remove(&self.job.name);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl std::fmt::Debug for Completion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Completion({})", self.job.name)
    }
}
