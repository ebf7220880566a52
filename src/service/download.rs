//! A job on its way to a client, whole or in part.

use super::{Service, lock};
use crate::domain::{InterfaceName, Job, Kind};
use std::{fs::File, io, ops::Range, os::unix::fs::MetadataExt, sync::Arc, time::Duration};
use tokio::sync::watch;

/// So long until archiving a retrieved job is tried again.
const ARCHIVE_AGAIN: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });

/// A job's bytes, from an open file: the job may move while they are sent.
#[derive(Debug)]
pub struct Download {
    /// What a client may save it as.
    pub name: String,
    pub bytes: u64,
    pub file: File,
    /// In hex; `None` when it is not known to be that of these bytes.
    pub sha256: Option<String>,
    /// What the file holds, if it is a job's own document.
    pub kind: Option<Kind>,
    /// Only the headers are wanted.
    pub head: bool,
    /// To be told when the client has got the last byte.
    pub completion: Option<Completion>,
}

impl Download {
    pub(super) fn new(name: String, file: File, sha256: Option<String>) -> io::Result<Self> {
        Ok(Self {
            name,
            bytes: file.metadata()?.size(),
            file,
            sha256,
            kind: None,
            head: false,
            completion: None,
        })
    }
}

/// What is to happen once a job has been retrieved completely, perhaps in parts: it is archived.
/// Dropping it before [`Completion::completed`] means that the download broke off, and nothing
/// happens.
pub struct Completion {
    service: Arc<Service>,
    job: Job,
    interface: InterfaceName,
    user: Arc<str>,
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
        user: Arc<str>,
        bytes: u64,
    ) -> Self {
        Self {
            service,
            job,
            interface,
            user,
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
        if taken.would_be_all(&self.job.name, &self.user, &self.part, self.bytes) {
            self.announce();
        }
    }

    fn announce(&mut self) {
        let (ended, receiver) = watch::channel(false);
        let mut archiving = lock(&self.service.archiving);
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
        if !taken.add(&self.job.name, &self.user, &self.part, self.bytes) {
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
                if self.service.spool.unhealthy().is_some() {
                    return;
                }
                tokio::time::sleep(ARCHIVE_AGAIN).await;
            }
        });
    }

    /// Tries to archive the job. False when that can succeed later.
    async fn archived(&self) -> bool {
        let (service, job) = (self.service.clone(), self.job.clone());
        let user = self.user.clone();
        let archived = tokio::task::spawn_blocking(move || service.archive(&job, &user)).await;
        match archived {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(job = %self.job.name, %error, "a retrieved job stays queued for now");
                false
            }
            Err(error) => {
                tracing::error!(job = %self.job.name, %error, "archiving broke down");
                true
            }
        }
    }

    /// Nobody waits for the outcome any more.
    fn let_go(&mut self) {
        if self.ended.take().is_some() {
            lock(&self.service.archiving).remove(&self.job.name);
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
