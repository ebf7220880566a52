//! What operators do, behind the seam.
//!
//! Of several calls for one job one comes first, and the others find that it has moved.

use super::Inner;
use crate::{
    cron_schedule::ScheduleId,
    domain::joblog::Message,
    domain::{InterfaceName, Job, JobName, Place, Queue},
    store::{
        By, Key, Result, StoreError,
        fs::{Moved, SpoolError},
    },
};
use std::sync::Arc;

impl Inner {
    pub(super) async fn hold(
        self: &Arc<Self>,
        interface: &InterfaceName,
        by: &By,
    ) -> Result<Option<String>> {
        self.interface(interface)?;
        let _alone = self.keys.hold(&Self::key_of_hold(interface)).await;
        let (interface, by) = (interface.clone(), by.clone());
        let held = self.blocking(move |inner| {
            if by.why.is_none()
                && let Some(earlier) = inner.spool.hold_text(&interface)
            {
                return Ok(Some(earlier));
            }
            let text = by.since(inner.spool.now_ms());
            inner.spool.hold(&interface, &format!("{text}\n"))?;
            tracing::info!(%interface, %by, from = %by.origin, "held");
            Ok(None)
        });
        held.await
    }

    pub(super) async fn resume(
        self: &Arc<Self>,
        interface: &InterfaceName,
        by: &By,
    ) -> Result<bool> {
        self.interface(interface)?;
        let _alone = self.keys.hold(&Self::key_of_hold(interface)).await;
        let (interface, by) = (interface.clone(), by.clone());
        let released = self.blocking(move |inner| {
            let was_held = inner.spool.release(&interface)?;
            if was_held {
                tracing::info!(%interface, %by, from = %by.origin, "released");
            }
            Ok(was_held)
        });
        released.await
    }

    pub(super) async fn requeue(self: &Arc<Self>, job: &Job, to: &Queue, by: &By) -> Result<Job> {
        self.interface(&to.interface)?;
        let _alone = self.at_rest(job).await?;
        let (job, to, by) = (job.clone(), to.clone(), by.clone());
        let requeued = self.blocking(move |inner| {
            let moved = inner.spool.requeue(&job, &to, &by)?;
            let moved = inner.outcome(&job.name, moved)?;
            if let Ok(there) = &moved {
                let (name, from) = (&there.name, &by.origin);
                tracing::info!(job = %name, was = %job.place, queue = %to, %by, %from, "requeued");
            }
            Ok(moved)
        });
        requeued.await?
    }

    pub(super) async fn remove(self: &Arc<Self>, job: &Job, by: &By) -> Result<()> {
        let _alone = self.at_rest(job).await?;
        let (job, by) = (job.clone(), by.clone());
        let removed = self.blocking(move |inner| {
            let moved = inner.spool.remove(&job, &by)?;
            let moved = inner.outcome(&job.name, moved)?;
            if moved.is_ok() {
                let (name, from) = (&job.name, &by.origin);
                tracing::info!(job = %name, was = %job.place, %by, %from, "removed");
            }
            Ok(moved.map(drop))
        });
        removed.await?
    }

    pub(super) async fn refuse_again(
        self: &Arc<Self>,
        job: &Job,
        interface: &InterfaceName,
        findings: Vec<Message>,
        by: &By,
    ) -> Result<()> {
        if job.place != Place::Refused {
            return Err(StoreError::Conflict(format!(
                "{} was not refused",
                job.name
            )));
        }
        let _alone = self.at_rest(job).await?;
        let (job, interface, by) = (job.clone(), interface.clone(), by.clone());
        let refused = self.blocking(move |inner| {
            let refused = (inner.spool).refuse_again(&job, &interface, findings, &by)?;
            Ok(inner.outcome(&job.name, refused)?.map(drop))
        });
        refused.await?
    }

    pub(super) async fn remove_schedule(self: &Arc<Self>, id: ScheduleId, by: &By) -> Result<bool> {
        let _alone = self.keys.hold(&Self::key_of_schedule(id)).await;
        let by = by.clone();
        let removed = self.blocking(move |inner| {
            let was_there = inner.spool.remove_schedule(id)?;
            if was_there {
                let why = by.why.as_deref();
                tracing::info!(schedule = %id, %by, from = %by.origin, why, "removed");
            }
            Ok(was_there)
        });
        removed.await
    }

    pub(super) async fn ask_reset(self: &Arc<Self>, id: ScheduleId, by: &By) -> Result<bool> {
        let _alone = self.keys.hold(&Self::key_of_schedule(id)).await;
        let by = by.clone();
        let asked = self.blocking(move |inner| {
            let text = by.since(inner.spool.now_ms());
            let is_there = inner.spool.ask_reset(id, &format!("{text}\n"))?;
            if is_there {
                tracing::info!(schedule = %id, %by, from = %by.origin, "to be reset");
            }
            Ok(is_there)
        });
        asked.await
    }

    /// Under which an interface is held and released, by one at a time.
    fn key_of_hold(interface: &InterfaceName) -> Key {
        Key::new("hold", interface.as_str())
    }

    fn interface(&self, interface: &InterfaceName) -> Result<()> {
        match self.spool.has_interface(interface) {
            true => Ok(()),
            false => Err(StoreError::NotFound(format!(
                "there is no interface {interface}"
            ))),
        }
    }

    /// The sole right to move a job that does not run.
    async fn at_rest(&self, job: &Job) -> Result<super::keys::KeyGuard<'_, JobName>> {
        if let Place::Work { .. } = job.place {
            return Err(StoreError::Conflict(format!("{} is running", job.name)));
        }
        Ok(self.moving.hold(&job.name).await)
    }

    /// Where a job is now, or why it did not move.
    fn outcome(&self, name: &JobName, moved: Moved) -> Result<Result<Job>, SpoolError> {
        let text = match moved {
            Moved::Done(job) => return Ok(Ok(job)),
            Moved::Gone => format!("{name} has moved meanwhile; look again"),
        };
        Ok(Err(match self.spool.find(name)? {
            Some(_) => StoreError::Conflict(text),
            None => StoreError::NotFound(format!("there is no job {name} any more")),
        }))
    }
}
