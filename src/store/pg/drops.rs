//! Files that people put into the directories of this node: each becomes a job of the database, once.

use super::{
    Inner,
    accept::{DOCUMENT_BYTES_MAX, New, TRIES_MAX},
    db::{is_doubled, meaning},
    known::id_of,
};
use crate::{
    domain::{InterfaceName, JobName, Place},
    store::{
        Came, NewJob, NewName, Result, StoreError,
        document::Document,
        fs::{Dropped, Spool, SpoolError},
    },
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// Directories that cannot be read now are looked at again after so long.
const LOOK_EVERY: Duration = Duration::from_secs(2);

const TAKEN: &str = "select 1 from record where id = $1 and name = $2 and dropped_on = $3";

impl Inner {
    /// Takes over what lies complete in the directories of an interface, as it came. Gives after how long there may be
    /// more. What is wrong with a file or a directory is reported, once, and is no error.
    pub(super) async fn take_drops(&self, interface: &InterfaceName) -> Result<Option<Duration>> {
        let (Some(node), Some(spool)) = (&self.node, &self.spool) else {
            return Ok(None);
        };
        let of = interface.clone();
        let listed = on(spool, move |spool| {
            spool.complete_drops(&of).unwrap_or_else(|error| {
                spool.leave_queue(&of, &error.to_string());
                (Vec::new(), Some(LOOK_EVERY))
            })
        });
        let (complete, again) = listed.await?;
        for dropped in complete {
            self.take_over(spool, &node.name, dropped).await?;
        }
        Ok(again)
    }

    /// What lies in the directories of an interface and is for no user: where, and why. A machine that only looks need
    /// not have them.
    pub(super) async fn astray_drops(
        &self,
        interface: &InterfaceName,
    ) -> Result<Vec<(String, String)>> {
        let Some(spool) = &self.spool else {
            return Ok(Vec::new());
        };
        let of = interface.clone();
        let astray = on(spool, move |spool| spool.astray(&of))
            .await??
            .into_iter();
        let told = astray.map(|astray| (astray.path.display().to_string(), astray.why));
        Ok(told.collect())
    }

    /// Makes a file a job, and removes it then. What is aside from an earlier look may be one already.
    async fn take_over(&self, spool: &Arc<Spool>, node: &str, dropped: Dropped) -> Result<()> {
        let (mut dropped, mut tries) = (dropped, 0);
        let mut job = match dropped.aside.clone() {
            Some(job) => job,
            None => self.next_name(dropped.reference.clone(), dropped.kind),
        };
        while !self.has_taken(&job, node).await? {
            let to = job.clone();
            let taken = on(spool, move |spool| {
                let taken = aside(spool, &mut dropped, &to);
                (dropped, taken)
            });
            let (of, taken) = taken.await?;
            dropped = of;
            let document = match taken {
                Ok(Some(document)) => document,
                Ok(None) => return Ok(()),
                Err(why) => return on(spool, move |spool| spool.leave(&dropped, &why)).await,
            };
            if self
                .accept_dropped(&dropped, (&job, node), document)
                .await?
            {
                break;
            }
            // Another node has given out the id, unless it was us and the answer was lost.
            if tries == TRIES_MAX {
                let text = format!("no id is free for the file of job {job}");
                return Err(StoreError::Unavailable(text));
            }
            tries += 1;
            if !self.has_taken(&job, node).await? {
                job = self.next_name(dropped.reference.clone(), dropped.kind);
            }
        }
        on(spool, move |spool| {
            if let Err(error) = spool.remove_aside(&dropped) {
                spool.leave(&dropped, &format!("it is the job {job}: {error}"));
            }
        })
        .await
    }

    /// Was a file of this node made that job?
    async fn has_taken(&self, job: &JobName, node: &str) -> Result<bool> {
        self.db
            .does(TAKEN, &[&id_of(job), &job.to_string(), &node])
            .await
    }

    /// False: its id was given out before.
    async fn accept_dropped(
        &self,
        dropped: &Dropped,
        (job, node): (&JobName, &str),
        document: Bytes,
    ) -> Result<bool> {
        let (queue, dropped_as) = (&dropped.queue, dropped.dropped_as.clone());
        let name = NewName {
            kind: job.kind(),
            reference: dropped.reference.clone(),
        };
        let order_key = self.order_key_of(&document, job.kind(), &queue.interface);
        let new = New {
            document: &Document::new(name, document),
            job: NewJob {
                dialect: "drop".into(),
                submitter: format!("uid {}", dropped.uid),
                came: Came::Dropped { dropped_as },
                order_key,
                ..NewJob::default()
            },
            place: Place::Queue(queue.clone()),
            interface: Some(&queue.interface),
            key: None,
            findings: Vec::new(),
            parent: None,
            dropped: Some((job, node)),
        };
        let made = self.make(&new);
        let client = self.db.client().await?;
        match self.accept_on(&client, &new, &made).await {
            Ok(_) => {
                self.accepted(&made);
                // Without the user: another one may read the log later.
                tracing::info!(
                    job = %job, interface = %queue.interface,
                    user = queue.addressee.as_ref().map(tracing::field::display),
                    "taken in from queue/{}, where it was dropped as {}",
                    queue.interface, dropped.dropped_as,
                );
                Ok(true)
            }
            Err(error) if is_doubled(&error) => Ok(false),
            Err(error) => Err(meaning(&error)),
        }
    }
}

/// Puts a file aside as a job to be, unless it lies there already, and reads it. `None`: it has gone, or somebody writes
/// to it. Blocks.
///
/// # Errors
/// Why it can be no job as it is.
fn aside(spool: &Spool, dropped: &mut Dropped, job: &JobName) -> Result<Option<Bytes>, String> {
    if dropped.bytes > DOCUMENT_BYTES_MAX as u64 {
        return Err(format!(
            "it has more than the {DOCUMENT_BYTES_MAX} bytes that a document in a database may have"
        ));
    }
    let said = |error: SpoolError| error.to_string();
    if dropped.aside.as_ref() != Some(job) && !spool.put_aside(dropped, job).map_err(said)? {
        return Ok(None);
    }
    let read = spool.read_aside(dropped, DOCUMENT_BYTES_MAX as u64);
    Ok(read.map_err(said)?.map(Bytes::from))
}

/// Does something with the directories, which blocks.
async fn on<T: Send + 'static>(
    spool: &Arc<Spool>,
    work: impl FnOnce(&Spool) -> T + Send + 'static,
) -> Result<T> {
    let spool = spool.clone();
    let done = tokio::task::spawn_blocking(move || work(&spool)).await;
    done.map_err(|error| StoreError::Unavailable(error.to_string()))
}
