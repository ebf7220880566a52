//! Schedules behind the seam.

use super::{Fired, Inner, keyed, own, stored};
use crate::{
    cron_schedule::{Progress, Schedule, ScheduleId},
    domain::{InterfaceName, JobName, Kind},
    store::{
        Key, Keyed, NewJob, Result, Saved, SavedSchedule, Sealed, Stored,
        fs::{SpoolError, Ticket},
    },
};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, sync::Arc};

/// What came of a moment, once the ticket is durable.
enum Followed {
    New(Stored, Progress, Ticket),
    Before(JobName, Progress, Ticket),
}

impl Inner {
    pub(super) async fn save_schedule(
        self: &Arc<Self>,
        id: ScheduleId,
        schedule: &Schedule,
        key: Option<&Key>,
    ) -> Result<Saved> {
        let _alone = match key {
            None => None,
            Some(key) => Some(self.keys.hold(key).await),
        };
        let (schedule, key) = (schedule.clone(), key.cloned());
        let saved = self.blocking(move |inner| {
            let sha256 = hex::encode(Sha256::digest(&schedule.document));
            if let Some(key) = &key
                && let Some(earlier) = inner.spool.find_record(key)?
            {
                let of = earlier.job.id();
                let saved = match earlier.sha256 == sha256 && inner.spool.is_schedule(of)? {
                    true => Saved::Same(ScheduleId::new(of)),
                    false => Saved::Different,
                };
                return Ok((saved, inner.spool.latest()));
            }
            let keyed = Keyed {
                job: JobName::new(id.get(), None, Kind::Json),
                interface: Some(schedule.interface.clone()),
                sha256,
                bytes: schedule.document.len() as u64,
                refused: false,
            };
            let key = key.as_ref().map(|key| (key, &keyed));
            let ticket = inner.spool.save_schedule(id, &schedule, key)?;
            Ok((Saved::New, ticket))
        });
        let (saved, ticket) = saved.await?;
        self.spool.durable(ticket).await?;
        Ok(saved)
    }

    /// Under which a schedule is changed, by one at a time.
    pub(super) fn key_of_schedule(id: ScheduleId) -> Key {
        Key::new("schedule", &id.to_string())
    }

    /// The ids of all schedules. Others may have put some there: a replay is not to undo that.
    pub(super) fn schedules(&self) -> Result<Vec<ScheduleId>, SpoolError> {
        let ids = self.spool.schedules()?;
        let there: BTreeSet<ScheduleId> = ids.iter().copied().collect();
        let before = self.schedules.lock().replace(there.clone());
        if let Some(before) = before {
            for id in there.difference(&before) {
                self.spool.saw_schedule(*id, true);
            }
            for id in before.difference(&there) {
                self.spool.saw_schedule(*id, false);
            }
        }
        Ok(ids)
    }

    pub(super) fn schedule(&self, id: ScheduleId) -> Result<Option<SavedSchedule>, SpoolError> {
        let schedule = self.spool.schedule(id)?;
        // Also of one that there is not: who may not see a schedule is not to learn that it is there.
        let (progress, reset_asked) = (self.spool.progress(id), self.spool.is_reset_asked(id));
        let Some(schedule) = schedule else {
            let mut known = self.schedules.lock();
            if known.as_mut().is_some_and(|known| known.remove(&id)) {
                self.spool.saw_schedule(id, false);
            }
            return Ok(None);
        };
        Ok(Some(SavedSchedule {
            schedule,
            progress: progress?,
            reset_asked: reset_asked?,
        }))
    }

    pub(super) async fn fire(
        self: &Arc<Self>,
        (id, moment, progress): (ScheduleId, Timestamp, Progress),
        sealed: Sealed,
        job: NewJob,
        to: InterfaceName,
    ) -> Result<Fired> {
        let sealed = own(sealed)?;
        let key = Key::new(&format!("schedule/{id}"), &moment.to_string());
        // Neither fired by another, nor removed meanwhile.
        let _alone = self.keys.hold(&Self::key_of_schedule(id)).await;
        let followed = self.blocking(move |inner| {
            let spool = &inner.spool;
            if !spool.is_schedule(id.get())? {
                return Err(SpoolError::Output(format!("there is no schedule {id}")));
            }
            if let Some(before) = spool.find_record(&key)? {
                let progress = progress.ran(moment, before.job.clone());
                let ticket = spool.save_progress(id, &progress)?;
                return Ok(Followed::Before(before.job, progress, ticket));
            }
            let part = inner.part_of(*sealed, &job)?;
            let keyed = keyed(&part, Some(&to), false);
            let stored = stored(&part);
            let progress = progress.ran(moment, stored.job.clone());
            let (_, ticket) = spool.fire(part, &to, (&key, &keyed), (id, &progress))?;
            Ok(Followed::New(stored, progress, ticket))
        });
        match followed.await? {
            Followed::Before(job, progress, ticket) => {
                self.spool.durable(ticket).await?;
                Ok(Fired::Before(job, progress))
            }
            Followed::New(stored, progress, ticket) => {
                self.durable_or_gone(ticket, &stored.job, None).await?;
                Ok(Fired::New(stored, progress))
            }
        }
    }
}
