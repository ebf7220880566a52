//! Schedules, and the jobs of their moments.

use super::{
    Inner,
    accept::New,
    db::{Param, is_doubled, meaning},
    known::{count, parsed},
};
use crate::{
    cron_schedule::{Progress, Schedule, ScheduleId},
    domain::{InterfaceName, JobId, JobName, Kind, Place},
    store::document::Document,
    store::{Fired, Key, NewJob, Result, Saved, SavedSchedule, StoreError},
};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

const TRIES_MAX: u32 = 8;
const SAVE: &str = "
with keyed as (insert into idempotency_key (key, job, id, is_schedule, interface, sha256, bytes, refused)
  select $1::text, $2, $3::int8, true, $4, $5, $6, false where $1 is not null
  on conflict (key) do nothing returning key)
insert into schedule (id, submitter, schedule, progress, reset_asked)
select $3, $7, $8, $9, false where $1 is null or exists (select from keyed) returning 1";
const PROGRESS: &str = "update schedule set progress = $2 where id = $1";
/// Whoever fires it waits for another who does.
const TURN: &str = "select 1 from schedule where id = $1 for update";

fn number(id: ScheduleId) -> i64 {
    // Ids are below 2^53.
    id.get().get() as i64
}

fn json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value);
    text.map_err(|error| StoreError::Refused(error.to_string()))
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    let value = serde_json::from_str(text);
    value.map_err(|error| StoreError::Refused(format!("a schedule cannot be read: {error}")))
}

/// The key of a schedule's moment.
fn key_of(id: ScheduleId, moment: Timestamp) -> Key {
    Key::new(&format!("schedule/{id}"), &moment.to_string())
}

impl Inner {
    pub(super) async fn save_schedule(
        &self,
        id: ScheduleId,
        schedule: &Schedule,
        key: Option<&Key>,
    ) -> Result<Saved> {
        let name = JobName::new(id.get(), None, Kind::Json).to_string();
        let sha256 = hex::encode(Sha256::digest(&schedule.document));
        let bytes = schedule.document.len() as i64;
        let (text, progress) = (json(schedule)?, json(&Progress::default())?);
        let interface = schedule.interface.as_str();
        let (key_text, id) = (key.map(Key::as_str), number(id));
        let params: [Param<'_>; 9] = [
            &key_text,
            &name,
            &id,
            &interface,
            &sha256,
            &bytes,
            &schedule.submitter,
            &text,
            &progress,
        ];
        loop {
            if self.db.does(SAVE, &params).await? {
                return Ok(Saved::New);
            }
            if let Some(key) = key
                && let Some((earlier, is_schedule)) = self.key(key).await?
            {
                let is_same = is_schedule && earlier.sha256 == sha256;
                return Ok(match is_same {
                    true => Saved::Same(ScheduleId::new(earlier.job.id())),
                    false => Saved::Different,
                });
            }
        }
    }

    pub(super) async fn schedules(&self) -> Result<Vec<ScheduleId>> {
        let rows = self
            .db
            .rows("select id from schedule order by id", &[])
            .await?;
        let ids = rows
            .iter()
            .map(|row| JobId::from_number(count(row.get::<_, i64>(0))));
        Ok(ids.map(ScheduleId::new).collect())
    }

    pub(super) async fn schedule(&self, id: ScheduleId) -> Result<Option<SavedSchedule>> {
        let sql = "select schedule, progress, reset_asked from schedule where id = $1";
        let Some(row) = self.db.row(sql, &[&number(id)]).await? else {
            return Ok(None);
        };
        Ok(Some(SavedSchedule {
            schedule: read(row.get(0))?,
            progress: read(row.get(1))?,
            reset_asked: row.get(2),
        }))
    }

    pub(super) async fn save_progress(&self, id: ScheduleId, progress: &Progress) -> Result<()> {
        let done = self
            .db
            .rows(PROGRESS, &[&number(id), &json(progress)?])
            .await;
        done.map(drop)
    }

    pub(super) async fn reset_schedule(&self, id: ScheduleId, progress: &Progress) -> Result<()> {
        let sql = "update schedule set progress = $2, reset_asked = false where id = $1";
        self.db
            .rows(sql, &[&number(id), &json(progress)?])
            .await
            .map(drop)
    }

    pub(super) async fn ask_reset(&self, id: ScheduleId) -> Result<bool> {
        let sql = "update schedule set reset_asked = true where id = $1 returning 1";
        self.db.does(sql, &[&number(id)]).await
    }

    pub(super) async fn remove_schedule(&self, id: ScheduleId) -> Result<bool> {
        let sql = "delete from schedule where id = $1 returning 1";
        self.db.does(sql, &[&number(id)]).await
    }

    pub(super) async fn fire(
        &self,
        id: ScheduleId,
        moment: Timestamp,
        progress: &Progress,
        document: &Document,
        job: NewJob,
        interface: &InterfaceName,
    ) -> Result<Fired> {
        let key = key_of(id, moment);
        let new = New {
            document,
            job,
            place: Place::Queue(interface.into()),
            interface: Some(interface),
            key: Some(&key),
            findings: Vec::new(),
            parent: None,
            dropped: None,
        };
        let mut tries = 0;
        loop {
            match self.fire_once(id, moment, progress, &new).await {
                Err(error) if is_doubled(&error) && tries < TRIES_MAX => tries += 1,
                Err(error) => return Err(meaning(&error)),
                Ok(fired) => return fired,
            }
        }
    }

    async fn fire_once(
        &self,
        id: ScheduleId,
        moment: Timestamp,
        progress: &Progress,
        new: &New<'_>,
    ) -> Result<Result<Fired>, tokio_postgres::Error> {
        let mut client = match self.db.client().await {
            Ok(client) => client,
            Err(error) => return Ok(Err(error)),
        };
        let transaction = client.transaction().await?;
        let turn = self.db.on(&transaction, TURN, &[&number(id)]).await?;
        if turn.is_empty() {
            let text = format!("there is no schedule {id}");
            return Ok(Err(StoreError::Refused(text)));
        }
        let made = self.make(new);
        let is_new = self.accept_on(&transaction, new, &made).await?;
        let job = match is_new {
            true => made.known.name.clone(),
            false => {
                let key = new.key.map(Key::as_str);
                let sql = "select job from idempotency_key where key = $1";
                let rows = self.db.on(&transaction, sql, &[&key]).await?;
                match rows.first().map(|row| parsed::<JobName>(row.get(0))) {
                    Some(Ok(job)) => job,
                    Some(Err(error)) => return Ok(Err(error)),
                    None => {
                        let text = "the key of a moment was removed meanwhile";
                        return Ok(Err(StoreError::Unavailable(text.into())));
                    }
                }
            }
        };
        let progress = progress.ran(moment, job.clone());
        let text = match json(&progress) {
            Ok(text) => text,
            Err(error) => return Ok(Err(error)),
        };
        self.db
            .on(&transaction, PROGRESS, &[&number(id), &text])
            .await?;
        transaction.commit().await?;
        if is_new {
            self.accepted(&made);
            return Ok(Ok(Fired::New(made.stored(), progress)));
        }
        Ok(Ok(Fired::Before(job, progress)))
    }
}
