//! What operators do: send, remove, hold; and what there is of a submitter.

use super::{
    Inner,
    db::Param,
    known::{End, Known, count},
    look::gone,
    step::{Step, columns},
};
use crate::{
    domain::joblog::{Level, Message, Status},
    domain::{InterfaceName, Job, Place, Queue, Transition},
    store::{
        By, HoldEnd, Result, StoreError, Traces,
        events::{Event, EventKind},
        until_of,
    },
};
use jiff::Timestamp;

/// What is held anew stays as it was when `$3`: nothing is said. Gives what is in force, and whether that is new.
const HOLD: &str = "
with held as (insert into hold (interface, text) values ($1, $2)
    on conflict (interface) do update set text = case when $3 then hold.text else excluded.text end
  returning text, xmax = 0 as is_new),
reported as (insert into event (id, receiver, at_ms, event)
  select e.id, e.receiver, $4, e.event
  from held, unnest($5::text[], $6::text[], $7::text[]) as e(id, receiver, event)
  where held.is_new or not $3 on conflict (id, receiver) do nothing)
select text from held where not is_new and $3";
const TRACES: &str = "
with his as (select id from record where submitter = $1)
select (select count(*) from his),
  (select count(*) from ended where id in (select id from his)),
  (select count(*) from log where id in (select id from his)),
  (select count(distinct id) from result where id in (select id from his)),
  (select count(*) from idempotency_key where not is_schedule and id in (select id from his)),
  (select count(*) from job where id in (select id from his)),
  (select count(*) from schedule where submitter = $1)";

fn said(at_ms: i64, text: String) -> Message {
    Message::new(at_ms, Level::Info, text)
}

impl Inner {
    fn configured(&self, interface: &InterfaceName) -> Result<()> {
        match self.interfaces.load().contains_key(interface) {
            true => Ok(()),
            false => {
                let text = format!("there is no interface {interface}");
                Err(StoreError::NotFound(text))
            }
        }
    }

    /// The job where it was seen.
    async fn seen(&self, job: &Job) -> Result<Known> {
        let known = self.known(&job.name).await?;
        let known = known.ok_or_else(|| gone(&job.name))?;
        match known.place == job.place {
            true => Ok(known),
            false => Err(moved(job)),
        }
    }

    /// A step of a job that was seen, and is not to have moved since.
    async fn act(&self, job: &Job, step: &Step<'_>) -> Result<()> {
        match self.step(step).await? {
            true => Ok(()),
            // Where to, or whether it is there at all, is looked up for the answer.
            false => Err(match self.known(&job.name).await? {
                Some(_) => moved(job),
                None => gone(&job.name),
            }),
        }
    }

    pub(super) async fn requeue(&self, job: &Job, to: &Queue, by: &By) -> Result<Job> {
        self.configured(&to.interface)?;
        let known = self.seen(job).await?;
        let at_ms = self.now_ms();
        let mut step = Step::by(&known, &Transition::Requeue(to.clone()), at_ms)?;
        (step.attempts, step.started_ms) = (0, None);
        let text = format!("requeued to {} by {by}", to.interface);
        match known.log {
            Some(_) => step.add_to_log(vec![said(at_ms, text)]),
            None => step.notes.push((at_ms, text)),
        }
        self.act(job, &step).await?;
        Ok(Job {
            place: Place::Queue(to.clone()),
            name: job.name.clone(),
        })
    }

    pub(super) async fn remove(&self, job: &Job, by: &By) -> Result<()> {
        let known = self.seen(job).await?;
        let at_ms = self.now_ms();
        let mut step = Step::by(&known, &Transition::Discard, at_ms)?;
        let message = said(at_ms, format!("removed by {by}"));
        match known.log {
            Some(_) => step.add_to_log(vec![message]),
            None => {
                step.write_log(Status::Error, vec![message]);
            }
        }
        self.act(job, &step).await
    }

    pub(super) async fn refuse_again(
        &self,
        job: &Job,
        interface: &InterfaceName,
        findings: Vec<Message>,
        by: &By,
    ) -> Result<()> {
        let known = self.seen(job).await?;
        if known.place != Place::Refused {
            let text = format!("{} was not refused", job.name);
            return Err(StoreError::Conflict(text));
        }
        let at_ms = self.now_ms();
        let mut step = Step::said(&known, at_ms);
        let text = format!("validated again for {interface} by {by}: still wrong");
        step.add_to_log([said(at_ms, text)].into_iter().chain(findings).collect());
        self.act(job, &step).await
    }

    pub(super) async fn release_due(&self, job: &Job) -> Result<bool> {
        let known = self.known(&job.name).await?;
        let is_meant =
            |known: &Known| known.place == job.place && matches!(job.place, Place::Deferred { .. });
        match known.filter(is_meant) {
            None => Ok(false),
            Some(known) => {
                let step = Step::by(&known, &Transition::Release, self.now_ms())?;
                self.step(&step).await
            }
        }
    }

    pub(super) async fn fetched(&self, job: &Job, by: &By) -> Result<()> {
        let known = self.known(&job.name).await?;
        let waits =
            |known: &Known| known.place == job.place && matches!(job.place, Place::Queue(_));
        let Some(known) = known.filter(waits) else {
            return Ok(());
        };
        let at_ms = self.now_ms();
        let mut step = Step::by(&known, &Transition::Archive, at_ms)?;
        step.end = End::Done;
        step.write_log(Status::Ok, vec![said(at_ms, "retrieved".into())]);
        step.is_retrieval();
        step.events = self.report(EventKind::JobFetched, &known, None, |event| {
            event.with("by", by.to_string())
        });
        self.step(&step).await.map(drop)
    }

    pub(super) async fn hold_text(&self, interface: &InterfaceName) -> Result<Option<String>> {
        let sql = "select text from hold where interface = $1";
        let row = self.db.row(sql, &[&interface.as_str()]).await?;
        self.hints.held(interface, row.is_some());
        Ok(row.map(|row| row.get(0)))
    }

    pub(super) async fn is_held(&self, interface: &InterfaceName) -> Result<bool> {
        Ok(self.hold_text(interface).await?.is_some())
    }

    pub(super) async fn hold(
        &self,
        interface: &InterfaceName,
        by: &By,
        until: Option<Timestamp>,
    ) -> Result<Option<String>> {
        self.configured(interface)?;
        let now_ms = self.now_ms();
        let says_nothing = by.why.is_none() && until.is_none();
        let text = by.since_until(now_ms, until);
        let event = Event::new(EventKind::InterfaceHeld, now_ms)
            .about(Some(interface))
            .with("by", by.to_string())
            .with_known("reason", by.why.as_deref())
            .with_known("until", until.map(|until| until.to_string()));
        let key = format!("{interface}/{now_ms}");
        let events: Vec<_> = event
            .line(&self.wants.load(), &key, now_ms)
            .into_iter()
            .collect();
        let (ids, receivers, texts) = columns(&events);
        let name = interface.as_str();
        let params: [Param<'_>; 7] = [
            &name,
            &text,
            &says_nothing,
            &now_ms,
            &ids,
            &receivers,
            &texts,
        ];
        let earlier = self.db.row(HOLD, &params).await?;
        self.hints.held(interface, true);
        if earlier.is_none() {
            self.recorded(&events);
        }
        Ok(earlier.map(|row| row.get(0)))
    }

    pub(super) async fn end_hold(&self, interface: &InterfaceName) -> Result<HoldEnd> {
        self.configured(interface)?;
        let text = self.hold_text(interface).await?;
        let Some((until, text)) = text.and_then(|text| Some((until_of(&text)?, text))) else {
            return Ok(HoldEnd::Never);
        };
        if until.as_millisecond() > self.now_ms() {
            return Ok(HoldEnd::At(until));
        }
        // Unless somebody holds it anew meanwhile.
        let sql = "delete from hold where interface = $1 and text = $2 returning 1";
        let is_ended = self.db.does(sql, &[&interface.as_str(), &text]).await?;
        self.hints.held(interface, !is_ended);
        Ok(match is_ended {
            true => HoldEnd::Ended(until),
            false => HoldEnd::Never,
        })
    }

    pub(super) async fn resume(&self, interface: &InterfaceName) -> Result<bool> {
        self.configured(interface)?;
        let sql = "delete from hold where interface = $1 returning 1";
        let was_held = self.db.does(sql, &[&interface.as_str()]).await?;
        self.hints.held(interface, false);
        Ok(was_held)
    }

    pub(super) async fn traces_of(&self, submitter: &str) -> Result<Traces> {
        let row = self.db.row(TRACES, &[&submitter]).await?;
        let Some(row) = row else {
            return Ok(Traces::default());
        };
        let number = |n: usize| count(row.get::<_, i64>(n)) as usize;
        Ok(Traces {
            jobs: number(0),
            documents: number(1),
            logs: number(2),
            results: number(3),
            keys: number(4),
            waiting: number(5),
            schedules: number(6),
        })
    }

    pub(super) async fn forget(&self, submitter: &str) -> Result<Traces> {
        let traces = self.traces_of(submitter).await?;
        if traces.waiting + traces.schedules > 0 {
            return Ok(traces);
        }
        self.forget_events(submitter).await?;
        // The record last: it says what is his, should this be cut off.
        for sql in [
            "with gone as (delete from ended where id in (select id from record where submitter = $1)
               returning place, interface)
             insert into ended_count (place, interface, jobs)
             select place, coalesce(interface, ''), -count(*) from gone group by 1, 2",
            "delete from document where id in (select id from record where submitter = $1)",
            "delete from result where id in (select id from record where submitter = $1)",
            "delete from log where id in (select id from record where submitter = $1)",
            "delete from attempt where id in (select id from record where submitter = $1)",
            "delete from idempotency_key where not is_schedule and id in (select id from record where submitter = $1)",
            "delete from record where submitter = $1 and not exists (select from job where job.id = record.id)",
        ] {
            self.db.rows(sql, &[&submitter]).await?;
        }
        Ok(traces)
    }
}

fn moved(job: &Job) -> StoreError {
    StoreError::Conflict(format!("{} has moved meanwhile", job.name))
}
