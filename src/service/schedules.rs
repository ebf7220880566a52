//! Schedules: saved, shown, and followed by a job at each of their moments.
//!
//! A moment's job, its idempotency record and how far the schedule is then are one record of the
//! journal. So a crash leaves a moment with its job, or due; and a moment that comes again by way
//! of a file that somebody has put back finds its job. A schedule is read again before each job, so
//! one that has been removed makes none. The [`Agenda`] in memory is a hint that a listing makes
//! anew.
//!
//! Rights are looked at when a schedule is saved. It goes on when its submitter has lost them, or
//! is no user any more: whoever takes a right away looks at `spoolgate schedule ls`.

#[cfg(test)]
mod tests;

use super::{
    Direction, DocumentFormat, Fault, RETRY_LATER_S, Reply, ScheduleRequest, Service, Submit,
    Visibility, admission, store_fault, unknown_interface,
    upload::{Outcome, check_kind},
    view::View,
};
use crate::{
    auth::Caller,
    cron_schedule::cron::Changes,
    cron_schedule::{Due, MISSED_MAX, Missed, Progress, Schedule, ScheduleId, Zone},
    domain::{InterfaceName, JobOptions, Kind},
    store::{
        By, Came, Fired, Key, NewJob, NewName, Of, Saved, SavedSchedule, StoreError, Viewer, Want,
    },
};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};
use tokio::task::JoinSet;

/// One that has ended is kept for so long, and as long as anything is known of its last job.
const KEEP_ENDED: SignedDuration = SignedDuration::from_hours(24);

/// What the service has to know of a tenant's schedules.
pub struct ScheduleRules {
    /// Of schedules that name none.
    pub time_zone: Zone,
    /// Of all.
    pub clock_changes: Changes,
    pub missed: Missed,
    /// Told when a schedule has been saved.
    pub saved: Box<dyn Fn(ScheduleId) + Send + Sync>,
}

/// Which schedules there are, and when each is to be looked at next.
#[derive(Default)]
pub struct Agenda {
    /// `None`: it has ended.
    next: BTreeMap<ScheduleId, Option<Timestamp>>,
    /// Everything has been read once.
    is_complete: bool,
    /// Those of which it was told that they wait for the clock to catch up.
    ahead: BTreeSet<ScheduleId>,
}

impl Agenda {
    /// The first moment of all.
    pub fn next(&self) -> Option<Timestamp> {
        self.next.values().flatten().min().copied()
    }
}

/// Which schedules may have been saved, changed or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    All,
    These(BTreeSet<ScheduleId>),
}

impl Service {
    /// Saves a schedule whose jobs hold `document`. It would survive a power cut when this returns.
    ///
    /// # Errors
    /// Nothing was saved, unless the outcome is unknown.
    /// - [`Fault::Field`], [`Fault::Invalid`], [`Fault::TooLarge`]: the schedule or the document of
    ///   its jobs has to be changed, or the `Idempotency-Key` was used for another request.
    /// - [`Fault::TooMany`]: the user has as many schedules or idempotency keys as he may.
    /// - [`Fault::Forbidden`], [`Fault::UnknownInterface`]: the caller may not upload to that
    ///   interface.
    /// - [`Fault::Busy`]: the disk is full, or the outcome is unknown. Repeat it after the time
    ///   that it names, with the same `Idempotency-Key`: that finds the schedule if there is one.
    /// - [`Fault::Internal`]: the cause is in the log, and an operator has to look at it. The
    ///   outcome is unknown.
    pub async fn schedule(
        self: &Arc<Self>,
        caller: &Caller,
        request: ScheduleRequest,
        document: Bytes,
    ) -> Result<Reply, Fault> {
        let ScheduleRequest { submit, spec } = request;
        let (interface, document) = self.schedulable(caller, &submit, &document)?;
        let now = self.now();
        let rules = &self.schedules;
        let plan = spec.plan(now, &rules.time_zone, rules.clock_changes);
        let plan = plan.map_err(|mistake| Fault::Field {
            field: mistake.member.to_string(),
            reason: mistake.reason,
        })?;
        let key = submit.idem_key(caller);
        let schedule = Schedule {
            interface,
            submitter: caller.user.to_string(),
            dialect: submit.dialect.to_owned(),
            created: now,
            plan,
            priority: submit.options.priority,
            worker: submit.options.worker,
            retries: submit.options.retries,
            document,
        };
        // To its end, also when the client has gone: a repetition is to find it.
        let saved = tokio::spawn(self.clone().save(schedule, key));
        let id = saved.await.unwrap_or(Err(Fault::Internal))?;
        (self.schedules.saved)(id);
        Ok(Reply::Scheduled {
            uuid: self.seal.uuid(id.get()).to_string(),
        })
    }

    /// Saves a schedule, or finds the one that was saved under the same key.
    async fn save(
        self: Arc<Self>,
        schedule: Schedule,
        key: Option<Key>,
    ) -> Result<ScheduleId, Fault> {
        let user: Arc<str> = schedule.submitter.as_str().into();
        let known = match &key {
            None => None,
            Some(key) => {
                let keyed = self.store.find_key(key).await;
                keyed.map_err(|e| store_fault(&e))?
            }
        };
        let id = self.store.new_schedule_id();
        // What is known already takes nothing of what the user may have.
        if known.is_none() {
            if key.is_some() {
                self.take_key(&user)?;
            }
            let max = self.limits.schedules_per_user_max;
            self.quotas.take_schedule(id, &user, max)?;
        }
        let saved = self.store.save_schedule(id, &schedule, key.as_ref()).await;
        if !matches!(saved, Ok(Saved::New)) {
            self.quotas.schedule_is_gone(id);
        }
        match saved.map_err(|e| store_fault(&e))? {
            Saved::New => {
                tracing::info!(
                    schedule = %id, interface = %schedule.interface, %user, "schedule saved",
                );
                Ok(id)
            }
            Saved::Same(earlier) => {
                tracing::info!(schedule = %earlier, "the first answer again");
                Ok(earlier)
            }
            Saved::Different => Err(super::upload::used_key()),
        }
    }

    /// The interface and the document of a schedule's jobs, after all that would be refused of
    /// such a job by itself.
    fn schedulable(
        &self,
        caller: &Caller,
        submit: &Submit,
        document: &Bytes,
    ) -> Result<(InterfaceName, String), Fault> {
        let candidates = self.candidates(caller, submit.interface.as_ref())?;
        check_kind(submit, &candidates)?;
        let (DocumentFormat::Json { check, empty }, [(name, interface)]) =
            (submit.document, candidates.as_slice())
        else {
            return Err(Fault::Internal);
        };
        let bytes = match (document.is_empty(), empty) {
            (true, Some(instead)) => instead.as_bytes(),
            (true, None) | (false, _) => document,
        };
        let bytes_max = interface.bytes_max;
        if bytes.len() as u64 > bytes_max {
            return Err(Fault::TooLarge { bytes_max });
        }
        let invalid = |reason| Fault::Invalid { reason };
        (check.0)(&mut &*bytes).map_err(invalid)?;
        let document = String::from_utf8(bytes.to_vec());
        let document = document.map_err(|_| invalid("the body is not UTF-8".into()))?;
        self.has_room(bytes.len())?;
        Ok(((*name).clone(), document))
    }

    fn has_room(&self, bytes: usize) -> Result<(), Fault> {
        let bytes = self.in_flight.bytes() + bytes as u64;
        admission::room(self.store.capacity(), bytes, &self.limits)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.store.now_ms()).unwrap_or_default()
    }

    /// A schedule with its latest job and its next moment; `None` when there is no such schedule.
    ///
    /// # Errors
    /// [`Fault::Busy`] when the store cannot be read: that is no answer, ask again.
    pub(super) async fn shown_schedule(
        &self,
        caller: &Caller,
        uuid: uuid::Uuid,
        visibility: Visibility,
    ) -> Result<Option<Reply>, Fault> {
        let Some(id) = self.seal.job_of_uuid(uuid).map(ScheduleId::new) else {
            return Ok(None);
        };
        let saved = self.store.schedule(id).await;
        let Some(saved) = saved.map_err(|e| store_fault(&e))? else {
            return Ok(None);
        };
        let SavedSchedule {
            schedule, progress, ..
        } = saved;
        let interface = Some(&schedule.interface);
        if !self.reaches(caller, interface, &schedule.submitter, visibility) {
            return Ok(None);
        }
        let (latest, next) = (self.latest(&progress).await?, schedule.next(&progress));
        if latest.is_none() && next.is_none() && progress.last.is_some() {
            // Nothing is known of what it did; soon it is swept.
            return Ok(None);
        }
        Ok(Some(Reply::ShownSchedule {
            uuid: uuid.to_string(),
            latest: latest.map(Box::new),
            next_ms: next.map(Timestamp::as_millisecond),
        }))
    }

    /// The last job that a schedule has made, as long as it is anywhere.
    async fn latest(&self, progress: &Progress) -> Result<Option<View>, Fault> {
        let Some(run) = &progress.last else {
            return Ok(None);
        };
        let of = Of::Name(run.job.clone());
        let found = self.store.find(&Viewer::all(), of, Want::ALL).await;
        let found = found.map_err(|e| store_fault(&e))?;
        Ok(found.map(|detail| self.view(detail)))
    }

    /// Looks at what has been touched, and follows every schedule that is due by one moment.
    /// `since` is when the service began to do so. What it gives has its next moment at once, when
    /// there is more to follow.
    pub async fn follow_schedules(
        self: &Arc<Self>,
        mut agenda: Agenda,
        touched: Touched,
        since: Timestamp,
    ) -> Agenda {
        self.look_at(&mut agenda, &touched).await;
        let now = self.now();
        let mut due: Vec<(Timestamp, ScheduleId)> = (agenda.next.iter())
            .filter_map(|(id, next)| Some(((*next)?, *id)))
            .filter(|(next, _)| *next <= now)
            .collect();
        due.sort();
        let mut following = JoinSet::new();
        for (_, id) in due {
            let this = self.clone();
            following.spawn(async move { (id, this.follow(id, now, since).await) });
        }
        while let Some(followed) = following.join_next().await {
            let Ok((id, followed)) = followed else {
                // It has panicked, which was logged; everything is read anew.
                return Agenda::default();
            };
            match followed {
                Ok(Some(next)) => {
                    agenda.next.insert(id, next);
                }
                Ok(None) => self.forget(&mut agenda, id),
                Err(fault) => {
                    tracing::error!(schedule = %id, ?fault, "its job cannot be made now");
                    agenda.next.insert(id, Some(self.later(&fault)));
                }
            }
        }
        agenda
    }

    /// When to try again what has failed.
    fn later(&self, fault: &Fault) -> Timestamp {
        let retry_after_s = if let Fault::Busy { retry_after_s, .. } = fault {
            *retry_after_s
        } else {
            RETRY_LATER_S
        };
        self.now() + SignedDuration::from_secs(retry_after_s.into())
    }

    async fn look_at(&self, agenda: &mut Agenda, touched: &Touched) {
        let ids = match touched {
            Touched::These(ids) if agenda.is_complete => ids.clone(),
            Touched::These(_) | Touched::All => match self.store.schedules().await {
                Ok(ids) => {
                    let there: BTreeSet<ScheduleId> = ids.into_iter().collect();
                    let is_over = |id: &ScheduleId| agenda.next.get(id) == Some(&None);
                    let gone = agenda.next.keys().filter(|id| !there.contains(*id));
                    let open = there.iter().filter(|id| !is_over(id));
                    gone.chain(open).copied().collect()
                }
                Err(error) => {
                    tracing::error!(%error, "schedules cannot be listed");
                    return;
                }
            },
        };
        agenda.is_complete = true;
        for id in ids {
            match self.store.schedule(id).await {
                Ok(Some(saved)) => {
                    self.quotas.has_schedule(id, &saved.schedule.submitter);
                    let schedule = saved.schedule.clone();
                    let progress = self.by_the_clock(agenda, id, saved).await;
                    agenda.next.insert(id, schedule.next(&progress));
                }
                Ok(None) => self.forget(agenda, id),
                Err(error) => {
                    tracing::error!(schedule = %id, %error, "left alone: no schedule");
                    agenda.next.remove(&id);
                }
            }
        }
    }

    /// How far a schedule is, after the reset that somebody may have asked for. One that waits for a
    /// clock that was set back is told of, once.
    async fn by_the_clock(
        &self,
        agenda: &mut Agenda,
        id: ScheduleId,
        saved: SavedSchedule,
    ) -> Progress {
        let (now, progress) = (self.now(), saved.progress);
        if saved.reset_asked {
            let reset = progress.reset(now);
            match self.store.reset_schedule(id, &reset).await {
                Ok(()) => {
                    agenda.ahead.remove(&id);
                    tracing::info!(schedule = %id, "reset: it follows the clock from now on");
                    return reset;
                }
                Err(error) => tracing::error!(schedule = %id, %error, "it cannot be reset now"),
            }
        }
        if !progress.is_ahead_of(now) {
            agenda.ahead.remove(&id);
        } else if agenda.ahead.insert(id) {
            let through = progress.through.unwrap_or(now);
            tracing::warn!(
                schedule = %id, %through,
                "the clock was set back: this schedule waits until it has caught up; \
                 `spoolgate schedule reset {id}` lets it follow the clock from now on",
            );
        }
        progress
    }

    /// Somebody has taken it away.
    fn forget(&self, agenda: &mut Agenda, id: ScheduleId) {
        self.quotas.schedule_is_gone(id);
        if agenda.next.remove(&id).is_some() {
            tracing::info!(schedule = %id, "the schedule was removed");
        }
    }

    /// Follows a schedule by one moment: its next one. `None`: it has been removed.
    #[allow(clippy::option_option)]
    async fn follow(
        &self,
        id: ScheduleId,
        now: Timestamp,
        since: Timestamp,
    ) -> Result<Option<Option<Timestamp>>, Fault> {
        let saved = self.store.schedule(id).await;
        let Some(saved) = saved.map_err(|e| store_fault(&e))? else {
            return Ok(None);
        };
        let SavedSchedule {
            schedule, progress, ..
        } = saved;
        let missed = self.schedules.missed;
        let due = (schedule.plan).due(schedule.created, &progress, now, since, missed);
        let next = schedule.next(&progress);
        let progress = match due {
            Due::Later(_) => progress,
            Due::Run(moment) => {
                let fired = self.fire(id, &schedule, &progress, moment).await?;
                if next.is_some_and(|next| next < moment) {
                    self.metrics.missed();
                }
                fired
            }
            Due::Skip(through) => {
                let progress = progress.skipped(through);
                let skipped = self.store.save_progress(id, &progress).await;
                skipped.map_err(|e| store_fault(&e))?;
                self.metrics.missed();
                match missed {
                    Missed::Each if !schedule.plan.is_over(now) => tracing::warn!(
                        schedule = %id, %through,
                        "more than {MISSED_MAX} moments were missed: the last {MISSED_MAX} get their jobs, \
                         those before are left out",
                    ),
                    Missed::Each | Missed::Once | Missed::Skip => {
                        tracing::warn!(schedule = %id, %through, "missed moments are left out");
                    }
                }
                progress
            }
        };
        Ok(Some(schedule.next(&progress)))
    }

    /// Makes the job of a moment, if it is not there yet.
    async fn fire(
        &self,
        id: ScheduleId,
        schedule: &Schedule,
        progress: &Progress,
        moment: Timestamp,
    ) -> Result<Progress, Fault> {
        let interface = self.resolve(&schedule.interface).filter(|name| {
            let interface = &self.interfaces[*name];
            interface.direction == Direction::In
        });
        let interface = interface.ok_or_else(|| unknown_interface(&schedule.interface))?;
        if self.is_full(interface) {
            return Err(super::upload::queue_full());
        }
        self.has_room(schedule.document.len())?;
        let fired = self.make(id, schedule, progress, moment, interface).await;
        match fired.map_err(|e| store_fault(&e))? {
            Fired::Before(job, progress) => {
                tracing::info!(schedule = %id, %moment, %job, "this moment has its job already");
                Ok(progress)
            }
            Fired::New(stored, progress) => {
                tracing::info!(schedule = %id, %moment, job = %stored.job, "due");
                // Accepted, so there is no fault to see.
                let _ = self.tell(Outcome {
                    stored,
                    interface: Some(interface.clone()),
                    user: schedule.submitter.as_str().into(),
                    findings: None,
                });
                Ok(progress)
            }
        }
    }

    async fn make(
        &self,
        id: ScheduleId,
        schedule: &Schedule,
        progress: &Progress,
        moment: Timestamp,
        interface: &InterfaceName,
    ) -> Result<Fired, StoreError> {
        let mut document = self.store.begin(NewName {
            kind: Kind::Json,
            reference: None,
        });
        document.append(schedule.document.clone().into()).await?;
        let params = serde_json::json!({
            "schedule": id.to_string(),
            "moment": moment.to_string(),
        });
        let job = NewJob {
            dialect: schedule.dialect.clone(),
            asked_as: None,
            submitter: schedule.submitter.clone(),
            came: Came::Scheduled,
            reference_as_sent: None,
            order_key: None,
            options: JobOptions {
                priority: schedule.priority,
                worker: schedule.worker.clone(),
                retries: schedule.retries,
                params: Some(params.to_string()),
            },
        };
        let sealed = document.seal().await?;
        let fired = self
            .store
            .fire(id, moment, progress, sealed, job, interface);
        fired.await
    }

    /// Removes schedules that have ended, when nothing is left of their last job.
    pub async fn sweep_schedules(self: &Arc<Self>, mut agenda: Agenda) -> Agenda {
        let ended = agenda.next.iter().filter(|(_, next)| next.is_none());
        let ended: Vec<ScheduleId> = ended.map(|(id, _)| *id).collect();
        for id in ended {
            match self.sweep_schedule(id).await {
                Ok(true) => drop(agenda.next.remove(&id)),
                Ok(false) => {}
                Err(error) => tracing::error!(schedule = %id, %error, "cannot be removed"),
            }
        }
        agenda
    }

    async fn sweep_schedule(&self, id: ScheduleId) -> Result<bool, StoreError> {
        let Some(saved) = self.store.schedule(id).await? else {
            return Ok(false);
        };
        let SavedSchedule {
            schedule, progress, ..
        } = saved;
        let touched = progress
            .through
            .map_or(schedule.created, |through| through.max(schedule.created));
        let is_over = schedule.next(&progress).is_none();
        if !is_over || touched + KEEP_ENDED > self.now() {
            return Ok(false);
        }
        if let Some(run) = &progress.last
            && self.store.is_known(&run.job).await?
        {
            return Ok(false);
        }
        let by = By::service("it has ended, and nothing is left of its last job");
        self.store.remove_schedule(id, &by).await
    }
}
