//! One step of a job, in one statement with all that belongs to it.
//!
//! It names the fence of the job as it was seen, and does nothing when another step came before it.

use super::{
    Inner,
    db::{Param, meaning},
    known::{End, Known, id_of, place_name, small},
};
use crate::{
    domain::joblog::{JobLog, Message, Status},
    domain::{Place, Transition},
    store::{AttemptEnd, Result, StoreError, events::EventLine},
};
use deadpool_postgres::GenericClient;

/// `$3` says from which table the job goes to which: of those that wait or run, of those that have ended, or none.
const STEP: &str = "
with g as (select $1::int8 as id, $2::int8 as fence, $3::text as way, $4::text as place, $5::text as interface,
    $6::text as addressee, $7::boolean as for_user, $8::int8 as due_ms, $9::int4 as attempts, $10::int8 as started_ms,
    $11::int8 as settled, $12::int8 as life, $13::boolean as works, $14::text as notes, $15::text as state,
    $16::text as variables, $17::text as log, $18::int8 as now_ms, $19::int4 as log_attempts, $20::text as reason,
    $21::text as outcome, $22::int4 as number, $23::boolean as is_quiet, $24::text as was, $25::text as was_interface),
stayed as (update job j set place = g.place, interface = g.interface, addressee = g.addressee, for_user = g.for_user,
    due_ms = g.due_ms, attempts = g.attempts, started_ms = g.started_ms, fence = j.fence + 1, settled = g.settled,
    life = g.life, works = g.works, notes = g.notes
  from g where j.id = g.id and j.fence = g.fence and g.way = 'job to job' returning j.id),
left_job as (delete from job j using g
  where j.id = g.id and j.fence = g.fence and g.way in ('job to ended', 'job to none') returning j.id),
left_ended as (delete from ended e using g
  where e.id = g.id and e.fence = g.fence and g.way in ('ended to job', 'ended to none') returning e.id),
said as (update ended e set fence = e.fence + 1 from g
  where e.id = g.id and e.fence = g.fence and g.way = 'ended to ended' returning e.id),
won as (select id from stayed union all select id from left_job union all select id from left_ended
  union all select id from said),
waits as (insert into job (id, name, place, interface, addressee, for_user, due_ms, priority, worker, submitter,
    order_key, attempts, started_ms, fence, settled, life, works, notes)
  select r.id, r.name, g.place, g.interface, g.addressee, g.for_user, g.due_ms, r.priority, r.worker, r.submitter,
    r.order_key, g.attempts, g.started_ms, g.fence + 1, g.settled, g.life, g.works, g.notes
  from left_ended, g, record r where r.id = left_ended.id and g.way = 'ended to job'),
ends as (insert into ended (id, place, state, interface, addressee, attempts, started_ms, fence, settled, variables)
  select left_job.id, g.place, g.state, g.interface, g.addressee, g.attempts, g.started_ms, g.fence + 1, g.settled,
    g.variables
  from left_job, g where g.way = 'job to ended'),
counted as (insert into ended_count (place, interface, jobs)
  select g.place, coalesce(g.interface, ''), 1 from left_job, g where g.way = 'job to ended'
  union all select g.was, coalesce(g.was_interface, ''), -1 from left_ended, g),
no_results as (delete from result where id in (select id from left_ended)),
no_document as (delete from document where id in (select won.id from won, g where g.way like '% to none')),
removed as (update record r set removed_ms = g.now_ms from won, g where r.id = won.id and g.way like '% to none'),
logged as (insert into log (id, text, finished_ms, attempts, reason)
  select won.id, g.log, g.now_ms, g.log_attempts, g.reason from won, g where g.log is not null
  on conflict (id) do update set text = excluded.text, finished_ms = excluded.finished_ms,
    attempts = excluded.attempts, reason = excluded.reason),
unexplained as (update log set reason = null from won, g where log.id = won.id and g.log is null and g.is_quiet),
attempted as (insert into attempt (id, number, interface, started_ms, ended_ms, outcome, reason)
  select won.id, g.number, g.was_interface, g.started_ms, g.now_ms, g.outcome, g.reason
  from won, g where g.outcome is not null),
reported as (insert into event (id, receiver, at_ms, event)
  select e.id, e.receiver, g.now_ms, e.event
  from won, g, unnest($26::text[], $27::text[], $28::text[]) as e(id, receiver, event)
  on conflict (id, receiver) do nothing)
select id from won";

/// What is done to a job.
pub(super) struct Step<'k> {
    known: &'k Known,
    /// `None`: it ceases to exist.
    pub(super) to: Option<Place>,
    /// By the store's clock.
    pub(super) at_ms: i64,
    pub(super) attempts: u32,
    pub(super) started_ms: Option<i64>,
    pub(super) settled: Option<i64>,
    pub(super) life: Option<i64>,
    pub(super) works: bool,
    pub(super) notes: Vec<(i64, String)>,
    pub(super) end: End,
    pub(super) variables: Option<String>,
    log: Option<(JobLog, Option<String>, i64)>,
    /// It ends a run without a word, so the reason before it counts no more.
    pub(super) is_quiet: bool,
    outcome: Option<&'static str>,
    number: u32,
    pub(super) events: Vec<EventLine>,
}

impl<'k> Step<'k> {
    /// To where that leads.
    pub(super) fn by(known: &'k Known, by: &Transition, at_ms: i64) -> Result<Self> {
        let to = known.place.step(by);
        let to = to.map_err(|illegal| StoreError::Conflict(illegal.to_string()))?;
        Ok(Self::to(known, to, at_ms))
    }

    /// It stays where it is.
    pub(super) fn said(known: &'k Known, at_ms: i64) -> Self {
        Self::to(known, Some(known.place.clone()), at_ms)
    }

    fn to(known: &'k Known, to: Option<Place>, at_ms: i64) -> Self {
        Self {
            known,
            to,
            at_ms,
            attempts: known.attempts,
            started_ms: known.started_ms,
            settled: known.settled,
            life: None,
            works: false,
            notes: known.notes.clone(),
            end: known.end.unwrap_or(End::Failed),
            variables: None,
            log: None,
            is_quiet: false,
            outcome: None,
            number: 0,
            events: Vec::new(),
        }
    }

    /// Its log is that of an end, after that of an end before it.
    pub(super) fn write_log(&mut self, status: Status, messages: Vec<Message>) -> bool {
        let log = self.known.log_of(status, self.at_ms, messages);
        let log = JobLog {
            started_ms: self.started_ms,
            ..log
        };
        let (reason, is_cancelled) = (log.reason().map(str::to_owned), log.is_cancelled());
        let log = log.after(self.known.text().cloned(), Vec::new());
        self.log = Some((log, reason, self.at_ms));
        is_cancelled
    }

    /// More is said in the log that it has.
    pub(super) fn add_to_log(&mut self, messages: Vec<Message>) {
        let Some((last, earlier)) = self.known.log.as_ref().zip(self.known.text()) else {
            return;
        };
        let more = JobLog {
            messages,
            ..earlier.clone()
        };
        let log = more.after(Some(earlier.clone()), Vec::new());
        self.log = Some((log, last.reason.clone(), last.finished_ms));
    }

    /// Why it ends, by its new log.
    pub(super) fn reason(&self) -> Option<&str> {
        self.log.as_ref()?.1.as_deref()
    }

    /// An attempt ends so with it.
    pub(super) fn ends_attempt(&mut self, outcome: AttemptEnd) {
        (self.outcome, self.number) = (Some(outcome.as_str()), self.known.attempts);
    }

    /// It was retrieved, which is no attempt.
    pub(super) fn is_retrieval(&mut self) {
        self.outcome = Some(super::activity::FETCHED);
    }

    fn way(&self) -> &'static str {
        let waits = |place: &Place| {
            matches!(
                place,
                Place::Deferred { .. } | Place::Queue(_) | Place::Work { .. }
            )
        };
        match (waits(&self.known.place), self.to.as_ref().map(waits)) {
            (true, Some(true)) => "job to job",
            (true, Some(false)) => "job to ended",
            (true, None) => "job to none",
            (false, Some(true)) => "ended to job",
            (false, Some(false)) => "ended to ended",
            (false, None) => "ended to none",
        }
    }
}

impl Inner {
    /// False: another step came before it, and nothing has happened.
    pub(super) async fn step(&self, step: &Step<'_>) -> Result<bool> {
        let client = self.db.client().await?;
        let done = self.step_on(&client, step).await;
        let done = done.map_err(|error| meaning(&error))?;
        if done {
            self.stepped(step);
        }
        Ok(done)
    }

    /// The same within a transaction; once that is committed, [`Inner::stepped`].
    pub(super) async fn step_on(
        &self,
        client: &impl GenericClient,
        step: &Step<'_>,
    ) -> Result<bool, tokio_postgres::Error> {
        let (known, place) = (step.known, step.to.as_ref());
        let interface = place
            .and_then(Place::interface)
            .or(known.interface.as_ref());
        let interface = interface.map(ToString::to_string);
        let addressee = place.and_then(Place::addressee);
        let for_user = addressee.is_some();
        let addressee = addressee
            .or(known.addressee.as_ref())
            .map(ToString::to_string);
        let due_ms = match place {
            Some(Place::Deferred { due_ms, .. }) => Some(*due_ms),
            Some(_) | None => None,
        };
        let notes = (!step.notes.is_empty()).then(|| serde_json::to_string(&step.notes));
        let notes = notes.and_then(Result::ok);
        let log = step.log.as_ref();
        let text = log.map(|(log, ..)| log.to_xml());
        let log_attempts = log.map(|(log, ..)| small(log.attempts));
        let reason = log.and_then(|(_, reason, _)| reason.as_deref());
        // What is said later of an end does not change when it was.
        let at_ms = log.map_or(step.at_ms, |(.., finished_ms)| *finished_ms);
        let was_interface = known.interface.as_ref().map(ToString::to_string);
        let (ids, receivers, texts) = columns(&step.events);
        let params: [Param<'_>; 28] = [
            &id_of(&known.name),
            &known.fence,
            &step.way(),
            &place.map(place_name),
            &interface,
            &addressee,
            &for_user,
            &due_ms,
            &small(step.attempts),
            &step.started_ms,
            &step.settled,
            &step.life,
            &step.works,
            &notes,
            &step.end.as_str(),
            &step.variables,
            &text,
            &at_ms,
            &log_attempts,
            &reason,
            &step.outcome,
            &small(step.number),
            &step.is_quiet,
            &place_name(&known.place),
            &was_interface,
            &ids,
            &receivers,
            &texts,
        ];
        Ok(!self.db.on(client, STEP, &params).await?.is_empty())
    }

    /// A step is done: hints follow it.
    pub(super) fn stepped(&self, step: &Step<'_>) {
        let known = step.known;
        self.hints
            .moved(&known.name, &known.place, step.to.as_ref(), || {
                known.precedence()
            });
        self.recorded(&step.events);
    }
}

/// Lines of events as columns, one row for each receiver.
pub(super) fn columns(events: &[EventLine]) -> (Vec<String>, Vec<String>, Vec<String>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for line in events {
        for receiver in &line.to {
            columns.0.push(line.id.to_string());
            columns.1.push(receiver.clone());
            columns.2.push(super::events::text_of(line));
        }
    }
    columns
}
