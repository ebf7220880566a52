//! What operators do, behind the seam.
//!
//! Of several calls for one job one comes first, and the others find that it has moved.

use super::Inner;
use crate::{
    cron_schedule::ScheduleId,
    domain::joblog::Message,
    domain::{InterfaceName, Job, JobName, Place, Queue},
    store::{
        By, HoldEnd, Key, Result, StoreError,
        fs::{Moved, SpoolError},
        until_of,
    },
};
use jiff::Timestamp;
use std::{collections::HashSet, sync::Arc};

impl Inner {
    pub(super) async fn hold(
        self: &Arc<Self>,
        interface: &InterfaceName,
        by: &By,
        until: Option<Timestamp>,
    ) -> Result<Option<String>> {
        self.interface(interface)?;
        let _alone = self.keys.hold(&Self::key_of_hold(interface)).await;
        let (interface, by) = (interface.clone(), by.clone());
        let held = self.blocking(move |inner| {
            if by.why.is_none()
                && until.is_none()
                && let Some(earlier) = inner.spool.hold_text(&interface)
            {
                return Ok(Some(earlier));
            }
            inner.spool.hold(&interface, &by, until)?;
            tracing::info!(%interface, %by, from = %by.origin, "held");
            Ok(None)
        });
        held.await
    }

    pub(super) async fn end_hold(self: &Arc<Self>, interface: &InterfaceName) -> Result<HoldEnd> {
        self.interface(interface)?;
        // A look at one name: of very many interfaces few are held.
        if matches!(self.spool.is_held(interface), Ok(false)) {
            return Ok(HoldEnd::Never);
        }
        let _alone = self.keys.hold(&Self::key_of_hold(interface)).await;
        let interface = interface.clone();
        let ended = self.blocking(move |inner| {
            let text = inner.spool.hold_text(&interface);
            let Some(until) = text.and_then(|text| until_of(&text)) else {
                return Ok(HoldEnd::Never);
            };
            if until.as_millisecond() > inner.spool.now_ms() {
                return Ok(HoldEnd::At(until));
            }
            inner.spool.release(&interface)?;
            tracing::info!(%interface, %until, "the hold has ended");
            Ok(HoldEnd::Ended(until))
        });
        ended.await
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

    pub(super) async fn requeue_all(
        self: &Arc<Self>,
        jobs: Vec<(Job, Queue)>,
        by: &By,
    ) -> Vec<Result<Job>> {
        let places = jobs.iter().map(|(job, to)| {
            self.interface(&to.interface)?;
            at_rest(job)
        });
        let places = places.collect();
        let by = by.clone();
        let sent = self.move_all(places, jobs, |(job, _)| &job.name, move |inner, jobs| {
            let moved = inner.spool.requeue_all(jobs, &by);
            let each = jobs.iter().zip(moved).map(|((job, to), moved)| {
                let moved = inner.outcome(&job.name, moved?)?;
                if let Ok(there) = &moved {
                    let (name, from) = (&there.name, &by.origin);
                    tracing::info!(job = %name, was = %job.place, queue = %to, %by, %from, "requeued");
                }
                Ok(moved)
            });
            each.collect()
        });
        sent.await
    }

    pub(super) async fn remove_all(self: &Arc<Self>, jobs: Vec<Job>, by: &By) -> Vec<Result<()>> {
        let places = jobs.iter().map(at_rest).collect();
        let by = by.clone();
        let removed = self.move_all(
            places,
            jobs,
            |job| &job.name,
            move |inner, jobs| {
                let moved = inner.spool.remove_all(jobs, &by);
                let each = jobs.iter().zip(moved).map(|(job, moved)| {
                    let moved = inner.outcome(&job.name, moved?)?;
                    if moved.is_ok() {
                        let (name, from) = (&job.name, &by.origin);
                        tracing::info!(job = %name, was = %job.place, %by, %from, "removed");
                    }
                    Ok(moved.map(drop))
                });
                each.collect()
            },
        );
        removed.await
    }

    /// Moves those of some jobs that may be moved, with the sole right to each, on one thread; gives an outcome for
    /// each of all. `may` says for each whether it may.
    async fn move_all<J, T>(
        self: &Arc<Self>,
        may: Vec<Result<()>>,
        jobs: Vec<J>,
        name: impl Fn(&J) -> &JobName,
        work: impl FnOnce(&Self, &[J]) -> Vec<Result<Result<T>, SpoolError>> + Send + 'static,
    ) -> Vec<Result<T>>
    where
        J: Send + 'static,
        T: Send + 'static,
    {
        let mut seen = HashSet::new();
        let may = may.into_iter().zip(&jobs).map(|(may, job)| {
            // Of one that is given twice the second finds that it has moved.
            let is_new = seen.insert(name(job).clone());
            let moved = || Err(StoreError::Conflict(moved_text(name(job))));
            may.and_then(|()| if is_new { Ok(()) } else { moved() })
        });
        let mut may: Vec<Result<()>> = may.collect();
        let mut flags = may.iter().map(Result::is_ok);
        let jobs: Vec<J> = (jobs.into_iter())
            .filter(|_| flags.next() == Some(true))
            .collect();
        // In one order for all who hold several.
        let mut names: Vec<&JobName> = jobs.iter().map(&name).collect();
        names.sort_unstable();
        let mut alone = Vec::with_capacity(names.len());
        for name in names {
            alone.push(self.moving.hold(name).await);
        }
        let n_jobs = jobs.len();
        let done = self.blocking(move |inner| Ok(work(inner, &jobs))).await;
        let mut done: std::vec::IntoIter<Result<T>> = match done {
            Ok(done) => done.into_iter().map(|done| done?).collect::<Vec<_>>(),
            Err(error) => (0..n_jobs).map(|_| Err(error.clone())).collect(),
        }
        .into_iter();
        let lost = || Err(StoreError::Unavailable("its outcome is unknown".into()));
        may.drain(..)
            .map(|may| may.and_then(|()| done.next().unwrap_or_else(lost)))
            .collect()
    }

    pub(super) async fn cancel_all(self: &Arc<Self>, jobs: Vec<Job>, by: &By) -> Vec<Result<bool>> {
        let (n_jobs, by) = (jobs.len(), by.clone());
        let done = self.for_worker(move |inner| Ok(inner.cancel(&jobs, &by)));
        match done.await {
            Ok(done) => done.into_iter().map(|done| Ok(done?)).collect(),
            Err(error) => (0..n_jobs).map(|_| Err(error.clone())).collect(),
        }
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
        let _alone = self.moving.hold(&job.name).await;
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

    /// Where a job is now, or why it did not move.
    fn outcome(&self, name: &JobName, moved: Moved) -> Result<Result<Job>, SpoolError> {
        let text = match moved {
            Moved::Done(job) => return Ok(Ok(job)),
            Moved::Gone => moved_text(name),
        };
        Ok(Err(match self.spool.find(name)? {
            Some(_) => StoreError::Conflict(text),
            None => StoreError::NotFound(format!("there is no job {name} any more")),
        }))
    }
}

/// Only what does not run is moved.
fn at_rest(job: &Job) -> Result<()> {
    match job.place {
        Place::Work { .. } => Err(StoreError::Conflict(format!("{} is running", job.name))),
        Place::Bak(_)
        | Place::Deferred { .. }
        | Place::JobErrors
        | Place::Queue(_)
        | Place::Refused => Ok(()),
    }
}

fn moved_text(name: &JobName) -> String {
    format!("{name} has moved meanwhile; look again")
}
