//! Events: one row for each receiver, in the order in which they are to be delivered, until they end.

use super::{
    Inner,
    db::Param,
    known::{Known, count, count32, parsed, small},
    step::columns,
};
use crate::store::{
    Result, StoreError,
    events::{
        Ending, Event, EventEnd, EventId, EventKind, EventLine, EventRecord, FailedAttempt,
        Failure, Outgoing, Recorded, WhichEvents,
    },
};
use jiff::Timestamp;
use std::{collections::HashSet, time::Duration};
use tokio_postgres::Row;

/// How often it is looked for events that another process has recorded.
const LOOK_EVERY: Duration = Duration::from_secs(2);

const RECORD: &str = "
insert into event (id, receiver, at_ms, event)
select e.id, e.receiver, $1, e.event from unnest($2::text[], $3::text[], $4::text[]) as e(id, receiver, event)
on conflict (id, receiver) do nothing returning 1";
const WAITING: &str = "
select id, event, failed_attempts from event where receiver = $1 and ended is null and not id = any($2) order by number limit $3";
const END: &str = "
update event set ended = $3, why = $4, ended_ms = $5 where id = $1 and receiver = $2 and ended is null returning 1";
const FAILED: &str = "
update event set failed_attempts = $3, failed_why = $4, next_ms = $5, failed_ms = $6
where id = $1 and receiver = $2 and ended is null";
const DUES: &str = "
select id, next_ms from event where receiver = $1 and ended is null and next_ms is not null order by number";
/// The oldest, as long as they were recorded before `$1` or there are more than `$2` bytes from them on.
const BURY: &str = "
with waiting as (select number, at_ms, sum(length(event) + coalesce(length(failed_why), 0)) over (order by number desc) as bytes from event
  where ended is null)
update event set ended = 'dead', ended_ms = $3, why = case when event.at_ms < $1 then 'it was not delivered in time'
  else 'there was no more room for it' end
from waiting where event.number = waiting.number and (waiting.at_ms < $1 or waiting.bytes > $2) returning 1";
const TOLD: &str = "
select id, receiver, event, at_ms, ended_ms, ended, why, failed_ms, failed_attempts, failed_why, next_ms from event
where ($1::text is null or receiver = $1) and ($2::text[] is null or id = any($2)) and at_ms >= $3
  and (ended is null or ended = 'dead' or $4) order by number";
const AGAIN: &str = "
update event set number = nextval(pg_get_serial_sequence('event', 'number')), at_ms = $3, ended = null, why = null,
  ended_ms = null, failed_attempts = 0, failed_why = null, failed_ms = null, next_ms = null
where id = $1 and receiver = $2 and ended is not null returning 1";

pub(super) fn text_of(line: &EventLine) -> String {
    match &line.what {
        Recorded::Event(event) => event.to_json(),
        Recorded::Ended { .. } | Recorded::Failed(_) => String::new(),
    }
}

fn name_of(end: EventEnd) -> &'static str {
    match end {
        EventEnd::Dead => "dead",
        EventEnd::Delivered => "delivered",
        EventEnd::Void => "void",
    }
}

fn event_of(text: &str) -> Result<Event> {
    let event = serde_json::from_str(text);
    event.map_err(|error| StoreError::Unavailable(format!("an event cannot be read: {error}")))
}

fn moment(unix_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(unix_ms).unwrap_or_default()
}

impl Inner {
    /// What is to be recorded of a job that comes to that end by its next step.
    pub(super) fn report(
        &self,
        kind: EventKind,
        known: &Known,
        reason: Option<&str>,
        more: impl FnOnce(Event) -> Event,
    ) -> Vec<EventLine> {
        let now_ms = self.now_ms();
        let is_failure = matches!(kind, EventKind::JobFailed | EventKind::JobRefused);
        let is_attempt = matches!(kind, EventKind::JobDone | EventKind::JobFailed);
        let event = Event::of_job(kind, now_ms, &known.name)
            .about(known.interface.as_ref())
            .with("submitter", known.new.submitter.clone())
            .with_known("attempt", is_attempt.then_some(known.attempts))
            .with_known("reason", reason.filter(|_| is_failure));
        let key = format!("{}/{}", known.name, known.fence);
        let line = more(event).line(&self.wants.load(), &key, now_ms);
        line.into_iter().collect()
    }

    /// They are there now.
    pub(super) fn recorded(&self, events: &[EventLine]) {
        if !events.is_empty() {
            self.hints
                .events(events.iter().map(|line| line.to.len()).sum());
            self.event_came.notify_one();
        }
    }

    pub(super) async fn record_event(&self, event: &Event, key: &str) -> Result<bool> {
        let now_ms = self.now_ms();
        let line = event.clone().line(&self.wants.load(), key, now_ms);
        let events: Vec<EventLine> = line.into_iter().collect();
        let (ids, receivers, texts) = columns(&events);
        let params: [Param<'_>; 4] = [&now_ms, &ids, &receivers, &texts];
        let is_new = !events.is_empty() && self.db.does(RECORD, &params).await?;
        if is_new {
            self.recorded(&events);
        }
        Ok(is_new)
    }

    pub(super) async fn waiting_events(
        &self,
        receiver: &str,
        without: &HashSet<EventId>,
        limit: usize,
    ) -> Result<Vec<Outgoing>> {
        let without: Vec<String> = without.iter().map(ToString::to_string).collect();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self
            .db
            .rows(WAITING, &[&receiver, &without, &limit])
            .await?;
        let waiting = rows.iter().map(|row| {
            Ok(Outgoing {
                id: parsed(row.get(0))?,
                event: event_of(row.get(1))?,
                attempts: count32(row.get(2)),
            })
        });
        waiting.collect()
    }

    pub(super) async fn end_events(&self, endings: &[Ending]) -> Result<()> {
        let now_ms = self.now_ms();
        for ending in endings {
            let (id, end) = (ending.id.to_string(), name_of(ending.end));
            let params: [Param<'_>; 5] = [&id, &ending.receiver, &end, &ending.why, &now_ms];
            if self.db.does(END, &params).await? {
                self.hints.fewer_events(1);
            }
        }
        Ok(())
    }

    pub(super) async fn note_failed_attempts(&self, failed: &[FailedAttempt]) -> Result<()> {
        let now_ms = self.now_ms();
        for line in failed.iter().map(|failed| failed.line(now_ms)) {
            let Recorded::Failed(failure) = &line.what else {
                continue;
            };
            let (id, next_ms) = (line.id.to_string(), failure.next.as_millisecond());
            let attempts = small(failure.attempts);
            for receiver in &line.to {
                let params: [Param<'_>; 6] =
                    [&id, receiver, &attempts, &failure.reason, &next_ms, &now_ms];
                self.db.rows(FAILED, &params).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn event_dues(&self, receiver: &str) -> Result<Vec<(EventId, Timestamp)>> {
        let rows = self.db.rows(DUES, &[&receiver]).await?;
        let dues = rows.iter();
        dues.map(|row| Ok((parsed(row.get(0))?, moment(row.get(1)))))
            .collect()
    }

    pub(super) async fn bury_events(&self, before: Timestamp, bytes_max: u64) -> Result<usize> {
        let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX);
        let params: [Param<'_>; 3] = [&before.as_millisecond(), &bytes_max, &self.now_ms()];
        let buried = self.db.rows(BURY, &params).await?.len();
        self.hints.fewer_events(buried);
        Ok(buried)
    }

    pub(super) async fn events(&self, which: &WhichEvents) -> Result<Vec<EventRecord>> {
        let ids: Vec<String> = which.ids.iter().map(ToString::to_string).collect();
        let ids = (!ids.is_empty()).then_some(ids);
        let since_ms = which.since.map_or(i64::MIN, Timestamp::as_millisecond);
        let params: [Param<'_>; 4] = [&which.receiver, &ids, &since_ms, &which.delivered];
        let rows = self.db.rows(TOLD, &params).await?;
        rows.iter().map(record).collect()
    }

    pub(super) async fn redeliver(&self, which: &WhichEvents) -> Result<usize> {
        let now_ms = self.now_ms();
        let mut n_events = 0;
        for record in self.events(which).await? {
            let wants = self.wants.load();
            let is_receiver = wants.iter().any(|of| of.receiver == record.receiver);
            let params: [Param<'_>; 3] = [&record.id.to_string(), &record.receiver, &now_ms];
            if record.ended.is_some() && is_receiver && self.db.does(AGAIN, &params).await? {
                n_events += 1;
            }
        }
        self.hints.events(n_events);
        self.event_came.notify_one();
        Ok(n_events)
    }

    pub(super) async fn event_recorded(&self) {
        let sql = "select coalesce(max(number), 0) from event";
        loop {
            tokio::select! {
                () = self.event_came.notified() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let newest = self.db.row(sql, &[]).await.ok().flatten();
            let newest = newest.map_or(0, |row| row.get::<_, i64>(0));
            if std::mem::replace(&mut *self.newest_event.lock(), newest) < newest {
                return;
            }
        }
    }

    /// Takes what is of a person out of the events that are kept.
    pub(super) async fn forget_events(&self, user: &str) -> Result<()> {
        let sql = "select number, event from event where position($1 in event) > 0";
        for row in self.db.rows(sql, &[&user]).await? {
            let number: i64 = row.get(0);
            if let Some(event) = event_of(row.get(1))?.forgotten(user) {
                let sql = "update event set event = $2 where number = $1";
                self.db.rows(sql, &[&number, &event.to_json()]).await?;
            }
        }
        Ok(())
    }

    /// How many wait, as the database knows it.
    pub(super) async fn count_events(&self) -> Result<usize> {
        let sql = "select count(*) from event where ended is null";
        let row = self.db.row(sql, &[]).await?;
        Ok(row.map_or(0, |row| count(row.get::<_, i64>(0)) as usize))
    }
}

fn record(row: &Row) -> Result<EventRecord> {
    let (ended_ms, ended): (Option<i64>, Option<&str>) = (row.get(4), row.get(5));
    let end = match ended {
        Some("delivered") => Some(EventEnd::Delivered),
        Some("void") => Some(EventEnd::Void),
        Some(_) => Some(EventEnd::Dead),
        None => None,
    };
    let ended = end.zip(ended_ms);
    let failed = |failed_ms| {
        let failure = Failure {
            attempts: count32(row.get(8)),
            reason: row.get::<_, Option<String>>(9).unwrap_or_default(),
            next: moment(row.get::<_, Option<i64>>(10).unwrap_or_default()),
        };
        (moment(failed_ms), failure)
    };
    Ok(EventRecord {
        id: parsed(row.get(0))?,
        receiver: row.get(1),
        event: event_of(row.get(2))?,
        at: moment(row.get(3)),
        failed: row.get::<_, Option<i64>>(7).map(failed),
        ended: ended.map(|(end, ended_ms)| (moment(ended_ms), end, row.get(6))),
    })
}
