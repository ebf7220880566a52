//! Cancelling jobs.

use super::{Core, Handle};
use crate::{
    domain::{Job, JobName, Place},
    scheduler::Event,
    store::{
        Cancelled,
        fs::{Moved, SpoolError},
    },
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
    pub async fn cancel(&self, job: JobName, user: Arc<str>) -> Result<Cancelled, SpoolError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(run) = self.0.runs.of(&job) {
                run.cancel(&user);
                if tokio::time::timeout_at(deadline, run.ended())
                    .await
                    .is_err()
                {
                    return Ok(Cancelled::Pending);
                }
                if self.was_cancelled(&job).await? {
                    return Ok(Cancelled::Done { was_running: true });
                }
            }
            if let Some(cancelled) = self.cancel_waiting(&job, &user).await? {
                return Ok(cancelled);
            }
            if Instant::now() >= deadline {
                return Ok(Cancelled::Pending);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn was_cancelled(&self, name: &JobName) -> Result<bool, SpoolError> {
        let name = name.clone();
        let was = self.blocking(move |core| {
            let place = core.spool.find(&name)?;
            Ok(place.is_some_and(|place| core.spool.was_cancelled(&Job { place, name })))
        });
        Ok(was.await?.unwrap_or(false))
    }

    /// `None`: look again.
    async fn cancel_waiting(
        &self,
        name: &JobName,
        user: &Arc<str>,
    ) -> Result<Option<Cancelled>, SpoolError> {
        let (name, user) = (name.clone(), user.clone());
        let cancelled = self.blocking(move |core| {
            let Some(place) = core.spool.find(&name)? else {
                return Ok(Some(Cancelled::NotActive));
            };
            let was_running = match &place {
                Place::Bak(_) | Place::JobErrors | Place::Refused => {
                    return Ok(Some(Cancelled::NotActive));
                }
                Place::Deferred { .. } | Place::Queue(_) => false,
                Place::Work { .. } => true,
            };
            let interface = place.interface().cloned();
            let job = Job { place, name };
            let cancel = || core.spool.cancel(&job, &user);
            match core.runs.while_cancelling(&job.name, cancel)? {
                Moved::Gone => Ok(None),
                Moved::Done(_) => {
                    tracing::info!(job = %job.name, %user, "cancelled");
                    // Whoever waited behind it may go on.
                    if let Some(interface) = interface {
                        core.hints.notify(Event::Hint(interface));
                    }
                    Ok(Some(Cancelled::Done { was_running }))
                }
            }
        });
        Ok(cancelled.await?.flatten())
    }

    /// `None`: it broke down, which has been said.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Core) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<Option<T>, SpoolError> {
        let core = self.0.clone();
        match tokio::task::spawn_blocking(move || work(&core)).await {
            Ok(done) => done.map(Some),
            Err(error) => {
                tracing::error!(%error, "cancelling broke down");
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests;
