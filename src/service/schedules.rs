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
    Direction, Document, Fault, RETRY_LATER_S, Reply, ScheduleRequest, Service, Submit, Visibility,
    admission, spool_fault, unknown_interface,
    upload::{Outcome, check_kind},
    view::View,
};
use crate::{
    auth::Caller,
    cron_schedule::cron::Changes,
    cron_schedule::{Due, Missed, Progress, Schedule, ScheduleId, Zone},
    domain::{InterfaceName, Job, JobName, JobOptions, Kind},
    store::fs::{Attributes, Came, IdemKey, IdemRecord, SpoolError, Ticket},
};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, collections::BTreeSet, path::Path, sync::Arc};

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

/// A moment that has been followed by something, which is to be told once the ticket is durable.
struct Followed {
    id: ScheduleId,
    /// A job was made.
    outcome: Option<Outcome>,
    ticket: Ticket,
    next: Option<Timestamp>,
}

impl Service {
    /// Saves a schedule whose jobs hold `document`. It would survive a power cut when this returns.
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
        key: Option<IdemKey>,
    ) -> Result<ScheduleId, Fault> {
        let _alone = match &key {
            None => None,
            Some(key) => Some(self.keys.hold(key).await),
        };
        let saved = self.blocking(move |this| this.save_blocking(&schedule, key.as_ref()));
        let (id, ticket) = saved.await??;
        let durable = self.spool.durable(ticket).await;
        durable.map_err(|e| spool_fault(&e))?;
        Ok(id)
    }

    fn save_blocking(
        &self,
        schedule: &Schedule,
        key: Option<&IdemKey>,
    ) -> Result<(ScheduleId, Ticket), Fault> {
        let spool = &self.spool;
        let sha256 = hex::encode(Sha256::digest(&schedule.document));
        if let Some(key) = key
            && let Some(record) = spool.find_record(key).map_err(|e| spool_fault(&e))?
        {
            let earlier = record.job_name().ok_or(Fault::Internal)?;
            tracing::info!(schedule = %earlier, "the first answer again");
            return match record.sha256 == sha256 {
                true => Ok((ScheduleId::new(earlier.id()), spool.latest())),
                false => Err(super::upload::used_key()),
            };
        }
        let user: Arc<str> = schedule.submitter.as_str().into();
        if key.is_some() {
            self.take_key(&user)?;
        }
        let id = ScheduleId::new(spool.next_id());
        let max = self.limits.schedules_per_user_max;
        self.quotas.take_schedule(id, &user, max)?;
        let record = IdemRecord {
            job: JobName::new(id.get(), None, Kind::Json).to_string(),
            interface: Some(schedule.interface.to_string()),
            sha256,
            bytes: schedule.document.len() as u64,
            refused: false,
        };
        let saved = spool.save_schedule(id, schedule, key.map(|key| (key, &record)));
        let ticket = saved.map_err(|e| {
            self.quotas.schedule_is_gone(id);
            spool_fault(&e)
        })?;
        tracing::info!(
            schedule = %id, interface = %schedule.interface, user = %schedule.submitter,
            "schedule saved",
        );
        Ok((id, ticket))
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
        let (Document::Json { check, empty }, [(name, interface)]) =
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
        let root = self.spool.fs().absolute(Path::new(""));
        admission::room(&root, self.in_flight.bytes() + bytes as u64, &self.limits)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.spool.now_ms()).unwrap_or_default()
    }

    /// A schedule with its latest job and its next moment; `None` when there is no such schedule.
    pub(super) fn shown_schedule(
        &self,
        caller: &Caller,
        uuid: uuid::Uuid,
        visibility: Visibility,
    ) -> Result<Option<Reply>, Fault> {
        let Some(id) = self.seal.job_of_uuid(uuid).map(ScheduleId::new) else {
            return Ok(None);
        };
        let read = || match self.spool.schedule(id)? {
            Some(schedule) => Ok(Some((schedule, self.spool.progress(id)?))),
            None => Ok(None),
        };
        let Some((schedule, progress)) = read().map_err(|e| spool_fault(&e))? else {
            return Ok(None);
        };
        let interface = Some(&schedule.interface);
        if !self.reaches(caller, interface, &schedule.submitter, visibility) {
            return Ok(None);
        }
        let (latest, next) = (self.latest(&progress)?, schedule.next(&progress));
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
    fn latest(&self, progress: &Progress) -> Result<Option<View>, Fault> {
        let Some(run) = &progress.last else {
            return Ok(None);
        };
        let name = run.job.clone();
        let place = self.spool.find(&name).map_err(|e| spool_fault(&e))?;
        match place.map(|place| self.view(Job { place, name })) {
            None | Some(Err(Fault::UnknownJob { .. })) => Ok(None),
            Some(view) => view.map(Some),
        }
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
        let followed = self.blocking(move |this| {
            this.look_at(&mut agenda, &touched);
            let followed = this.follow_due(&mut agenda, since);
            (agenda, followed)
        });
        let Ok((mut agenda, followed)) = followed.await else {
            // It has broken down and said so; everything is read anew.
            return Agenda::default();
        };
        for Followed {
            id,
            outcome,
            ticket,
            next,
        } in followed
        {
            match self.spool.durable(ticket).await {
                Ok(()) => {
                    agenda.next.insert(id, next);
                    // Accepted, so there is no fault to see.
                    let _ = outcome.map(|outcome| self.tell(outcome));
                }
                Err(error) => {
                    if let Some(Outcome { job, .. }) = outcome {
                        let abandoned = self.blocking(move |this| this.spool.abandon(&job, None));
                        // One that breaks down has said so.
                        let _ = abandoned.await;
                    }
                    let later = self.later(&spool_fault(&error));
                    agenda.next.insert(id, Some(later));
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

    fn look_at(&self, agenda: &mut Agenda, touched: &Touched) {
        let ids = match touched {
            Touched::These(ids) if agenda.is_complete => ids.clone(),
            Touched::These(_) | Touched::All => match self.spool.schedules() {
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
        let was_complete = std::mem::replace(&mut agenda.is_complete, true);
        for id in ids {
            match self.read_schedule(id) {
                Ok(Some((schedule, progress))) => {
                    self.quotas.has_schedule(id, &schedule.submitter);
                    let progress = self.by_the_clock(agenda, id, progress);
                    let known = agenda.next.insert(id, schedule.next(&progress));
                    if known.is_none() && was_complete {
                        self.spool.saw_schedule(id, true);
                    }
                }
                Ok(None) => self.forget(agenda, id),
                Err(error) => {
                    tracing::error!(schedule = %id, %error, "left alone: no schedule");
                    agenda.next.remove(&id);
                }
            }
        }
    }

    fn read_schedule(&self, id: ScheduleId) -> Result<Option<(Schedule, Progress)>, SpoolError> {
        match self.spool.schedule(id)? {
            Some(schedule) => Ok(Some((schedule, self.spool.progress(id)?))),
            None => Ok(None),
        }
    }

    /// How far a schedule is, after the reset that somebody may have asked for. One that waits for a
    /// clock that was set back is told of, once.
    fn by_the_clock(&self, agenda: &mut Agenda, id: ScheduleId, progress: Progress) -> Progress {
        let now = self.now();
        if self.spool.is_reset_asked(id).unwrap_or(false) {
            let reset = progress.reset(now);
            match self.spool.reset_schedule(id, &reset) {
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
            self.spool.saw_schedule(id, false);
        }
    }

    fn follow_due(&self, agenda: &mut Agenda, since: Timestamp) -> Vec<Followed> {
        let now = self.now();
        let mut due: Vec<(Timestamp, ScheduleId)> = (agenda.next.iter())
            .filter_map(|(id, next)| Some(((*next)?, *id)))
            .filter(|(next, _)| *next <= now)
            .collect();
        due.sort();
        let mut followed = Vec::new();
        for (_, id) in due {
            match self.follow(id, now, since) {
                Ok(Some(one)) => {
                    // Not again before it is durable, and told.
                    agenda.next.insert(id, None);
                    followed.push(one);
                }
                Ok(None) => self.forget(agenda, id),
                Err(fault) => {
                    tracing::error!(schedule = %id, ?fault, "its job cannot be made now");
                    agenda.next.insert(id, Some(self.later(&fault)));
                }
            }
        }
        followed
    }

    /// Follows a schedule by one moment. `None`: it has been removed.
    fn follow(
        &self,
        id: ScheduleId,
        now: Timestamp,
        since: Timestamp,
    ) -> Result<Option<Followed>, Fault> {
        let read = self.read_schedule(id).map_err(|e| spool_fault(&e))?;
        let Some((schedule, progress)) = read else {
            return Ok(None);
        };
        let missed = self.schedules.missed;
        let due = (schedule.plan).due(schedule.created, &progress, now, since, missed);
        let (outcome, ticket, progress) = match due {
            Due::Later(_) => (None, Ticket::NONE, progress),
            Due::Run(moment) => self.fire(id, &schedule, &progress, moment)?,
            Due::Skip(through) => {
                let progress = progress.skipped(through);
                let ticket = self.spool.save_progress(id, &progress);
                tracing::warn!(schedule = %id, %through, "missed moments are left out");
                (None, ticket.map_err(|e| spool_fault(&e))?, progress)
            }
        };
        Ok(Some(Followed {
            id,
            outcome,
            ticket,
            next: schedule.next(&progress),
        }))
    }

    /// Makes the job of a moment, if it is not there yet.
    fn fire(
        &self,
        id: ScheduleId,
        schedule: &Schedule,
        progress: &Progress,
        moment: Timestamp,
    ) -> Result<(Option<Outcome>, Ticket, Progress), Fault> {
        let spool = &self.spool;
        let key = IdemKey::new(&format!("schedule/{id}"), &moment.to_string());
        let record = spool.find_record(&key).map_err(|e| spool_fault(&e))?;
        if let Some(job) = record.and_then(|record| record.job_name()) {
            tracing::info!(schedule = %id, %moment, %job, "this moment has its job already");
            let progress = progress.ran(moment, job);
            let ticket = spool.save_progress(id, &progress);
            return Ok((None, ticket.map_err(|e| spool_fault(&e))?, progress));
        }
        let interface = self.resolve(&schedule.interface).filter(|name| {
            let interface = &self.interfaces[*name];
            interface.direction == Direction::In
        });
        let interface = interface.ok_or_else(|| unknown_interface(&schedule.interface))?;
        if self.is_full(interface) {
            return Err(super::upload::queue_full());
        }
        self.has_room(schedule.document.len())?;
        let made = self.make(id, schedule, progress, moment, interface, &key);
        let (outcome, ticket, progress) = made.map_err(|e| spool_fault(&e))?;
        tracing::info!(schedule = %id, %moment, job = %outcome.job, "due");
        Ok((Some(outcome), ticket, progress))
    }

    fn make(
        &self,
        id: ScheduleId,
        schedule: &Schedule,
        progress: &Progress,
        moment: Timestamp,
        interface: &InterfaceName,
        key: &IdemKey,
    ) -> Result<(Outcome, Ticket, Progress), SpoolError> {
        let spool = &self.spool;
        let job = JobName::new(spool.next_id(), None, Kind::Json);
        let mut part = spool.begin(job.clone())?;
        part.write(schedule.document.as_bytes())?;
        let params = serde_json::json!({
            "schedule": id.to_string(),
            "moment": moment.to_string(),
        });
        let sealed = part.seal(&Attributes {
            dialect: schedule.dialect.clone(),
            interface: None,
            asked_as: None,
            submitter: schedule.submitter.clone(),
            came: Came::Scheduled,
            reference_as_sent: None,
            options: JobOptions {
                priority: schedule.priority,
                worker: schedule.worker.clone(),
                retries: schedule.retries,
                params: Some(params.to_string()),
            },
        })?;
        let record = IdemRecord {
            job: job.to_string(),
            interface: Some(interface.to_string()),
            sha256: sealed.sha256().to_owned(),
            bytes: sealed.bytes(),
            refused: false,
        };
        let progress = progress.ran(moment, job.clone());
        let (_, ticket) = spool.fire(sealed, interface, (key, &record), (id, &progress))?;
        let outcome = Outcome {
            job,
            interface: Some(interface.clone()),
            bytes: record.bytes,
            sha256: record.sha256,
            user: schedule.submitter.as_str().into(),
            findings: None,
        };
        Ok((outcome, ticket, progress))
    }

    /// Removes schedules that have ended, when nothing is left of their last job.
    pub async fn sweep_schedules(self: &Arc<Self>, mut agenda: Agenda) -> Agenda {
        let swept = self.blocking(move |this| {
            let ended = agenda.next.iter().filter(|(_, next)| next.is_none());
            let ended: Vec<ScheduleId> = ended.map(|(id, _)| *id).collect();
            for id in ended {
                match this.sweep_schedule(id) {
                    Ok(true) => {
                        tracing::info!(schedule = %id, "it has ended and is removed");
                        agenda.next.remove(&id);
                    }
                    Ok(false) => {}
                    Err(error) => tracing::error!(schedule = %id, %error, "cannot be removed"),
                }
            }
            agenda
        });
        swept.await.unwrap_or_default()
    }

    fn sweep_schedule(&self, id: ScheduleId) -> Result<bool, SpoolError> {
        let Some((schedule, progress)) = self.read_schedule(id)? else {
            return Ok(false);
        };
        let touched = progress
            .through
            .map_or(schedule.created, |through| through.max(schedule.created));
        let is_over = schedule.next(&progress).is_none();
        if !is_over || touched + KEEP_ENDED > self.now() {
            return Ok(false);
        }
        if let Some(run) = &progress.last
            && (self.spool.find(&run.job)?.is_some() || self.spool.read_log(&run.job).is_some())
        {
            return Ok(false);
        }
        self.spool.remove_schedule(id)
    }
}
