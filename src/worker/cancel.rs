//! Cancelling jobs.

use super::{Core, Handle};
use crate::{
    domain::{Job, JobName, Place},
    scheduler::{End, Event},
    store::{By, Cancelled, Lease, Of, Result, State, Viewer, Want},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// So long until a cancel that has not come to an end is answered as pending: a command has less
/// time than that to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a job that others are moving is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Handle {
    /// Cancels a job, wherever it is. A command that works on it is ended with its whole process
    /// group, and nothing of what it left is published. Answered after at most some ten seconds. What
    /// is answered as done would survive a power cut; a cancel that a crash overtakes may be
    /// forgotten.
    ///
    /// # Errors
    /// When the store cannot be read or written: ask again.
    pub async fn cancel(&self, job: JobName, by: By) -> Result<Cancelled> {
        let (by, deadline) = (Arc::new(by), Instant::now() + PATIENCE);
        loop {
            if let Some(run) = self.0.runs.of(&job) {
                run.cancel(&by);
                if tokio::time::timeout_at(deadline, run.ended())
                    .await
                    .is_err()
                {
                    return Ok(Cancelled::Pending);
                }
                if self.0.was_cancelled(&job).await? {
                    return Ok(Cancelled::Done { was_running: true });
                }
            }
            if let Some(cancelled) = self.0.cancel_waiting(&job, &by).await? {
                return Ok(cancelled);
            }
            if Instant::now() >= deadline {
                return Ok(Cancelled::Pending);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Core {
    async fn was_cancelled(&self, job: &JobName) -> Result<bool> {
        let of = Of::Name(job.clone());
        let found = self.store.find(&Viewer::all(), of, Want::RECORD).await?;
        Ok(found.is_some_and(|found| found.summary.state == State::Cancelled))
    }

    /// `None`: look again.
    async fn cancel_waiting(&self, name: &JobName, by: &By) -> Result<Option<Cancelled>> {
        let of = Of::Name(name.clone());
        let found = self.store.find(&Viewer::all(), of, Want::PLACE).await?;
        let Some(found) = found.filter(|found| !found.summary.state.is_settled()) else {
            return Ok(Some(Cancelled::NotActive));
        };
        let job = found.summary.job;
        if !self.store.cancel(&job, by).await? {
            return Ok(None);
        }
        tracing::info!(job = %name, user = %by, "cancelled");
        // Whoever waited behind it may go on.
        if let Some(interface) = job.place.interface() {
            self.hints.notify(Event::Hint(interface.clone()));
        }
        let was_running = matches!(job.place, Place::Work { .. });
        Ok(Some(Cancelled::Done { was_running }))
    }

    /// Cancels a job whose run was left behind, once its command has ended. `Some(None)`: it lives. `None`:
    /// somebody has moved the job.
    pub(super) async fn cancel_left_behind(
        &self,
        lease: &Lease,
        by: &By,
    ) -> Result<Option<Option<End>>> {
        let running = Job {
            place: Place::Work {
                interface: lease.interface.clone(),
                attempt: lease.attempt,
            },
            name: lease.job.clone(),
        };
        if self.store.cancel(&running, by).await? {
            tracing::info!(job = %lease.job, user = %by, "cancelled");
            return Ok(Some(Some(End::Unknown)));
        }
        let of = Of::Name(lease.job.clone());
        let found = self.store.find(&Viewer::all(), of, Want::PLACE).await?;
        // Should it end just now, it would be taken for cut off, and run again.
        let lives = found.is_some_and(|found| found.summary.job == running);
        Ok(lives.then_some(None))
    }
}

#[cfg(test)]
mod tests;
