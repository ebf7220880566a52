//! Events in memory.

use super::{All, MemoryStore};
use crate::{
    domain::JobName,
    store::{
        State, Store,
        events::{
            Ending, Event, EventId, EventKind, EventLine, EventRecord, Outbox, Outgoing, Recorded,
            Told, WhichEvents,
        },
    },
};
use jiff::Timestamp;
use std::collections::HashSet;

#[derive(Default)]
pub(super) struct Events {
    lines: Vec<EventLine>,
    /// By the lines.
    outbox: Outbox<usize>,
}

impl Events {
    pub(super) fn push(&mut self, line: EventLine) {
        match &line.what {
            Recorded::Event(_) => {
                let (at_ms, bytes) = (line.at.as_millisecond(), line.to_line().len() as u64);
                self.outbox
                    .add(line.id, at_ms, &line.to, bytes, &self.lines.len());
            }
            Recorded::Failed(failure) => {
                let bytes = line.to_line().len() as u64;
                self.outbox.failed(line.id, &line.to, failure, bytes);
            }
            Recorded::Ended { .. } => self.outbox.end(line.id, &line.to),
        }
        self.lines.push(line);
    }

    pub(super) fn knows(&self, id: EventId) -> bool {
        self.lines.iter().any(|line| line.id == id)
    }

    pub(super) fn pending(&self) -> usize {
        self.outbox.len()
    }

    pub(super) fn waiting(
        &self,
        receiver: &str,
        without: &HashSet<EventId>,
        limit: usize,
    ) -> Vec<Outgoing> {
        let oldest = self.outbox.oldest(receiver, without, limit).into_iter();
        let events = oldest.filter_map(|(id, at, attempts)| match &self.lines[at].what {
            Recorded::Event(event) => Some(Outgoing {
                id,
                event: event.clone(),
                attempts,
            }),
            Recorded::Failed(_) | Recorded::Ended { .. } => None,
        });
        events.collect()
    }

    pub(super) fn dues(&self, receiver: &str) -> Vec<(EventId, Timestamp)> {
        self.outbox.dues(receiver)
    }

    pub(super) fn bury(&mut self, before: Timestamp, bytes_max: u64, now_ms: i64) -> usize {
        let overdue = (self.outbox).overdue(before.as_millisecond(), bytes_max, usize::MAX);
        let n_events = overdue.len();
        for overdue in overdue {
            self.push(Ending::from(overdue).line(now_ms));
        }
        n_events
    }

    pub(super) fn told(&self, which: &WhichEvents) -> Vec<EventRecord> {
        let mut told = Told::new(which.clone());
        self.lines.iter().cloned().for_each(|line| told.take(line));
        told.records()
    }
}

impl MemoryStore {
    /// False: nobody wants to know.
    pub(super) fn happened(&self, all: &mut All, event: Event, key: &str) -> bool {
        let line = event.line(&self.wants, key, self.now_ms());
        let is_wanted = line.is_some();
        line.into_iter().for_each(|line| all.events.push(line));
        self.more.notify_one();
        is_wanted
    }

    /// Of a job that ended so.
    pub(super) fn report(
        &self,
        all: &mut All,
        kind: EventKind,
        job: &JobName,
        more: impl FnOnce(Event) -> Event,
    ) {
        let now_ms = self.now_ms();
        let known = &all.jobs[job];
        let is_failure = matches!(kind, EventKind::JobFailed | EventKind::JobRefused);
        let reason = known.reason.clone();
        let attempt = matches!(kind, EventKind::JobDone | EventKind::JobFailed);
        let event = Event::of_job(kind, now_ms, job)
            .about(known.interface.as_ref())
            .with("submitter", known.new.submitter.clone())
            .with_known("attempt", attempt.then_some(known.attempts))
            .with_known("reason", reason.filter(|_| is_failure));
        let key = format!("{job}/{now_ms}/{}", all.events.lines.len());
        self.happened(all, more(event), &key);
    }

    /// Of a job whose run has ended.
    pub(super) fn report_end(&self, all: &mut All, job: &JobName) {
        let kind = match all.jobs[job].state().0 {
            State::Done => EventKind::JobDone,
            State::Failed => EventKind::JobFailed,
            State::Cancelled | State::Running | State::Waiting => return,
        };
        self.report(all, kind, job, |event| event);
    }

    pub(super) fn deliver_again(&self, which: &WhichEvents) -> usize {
        let at = Timestamp::from_millisecond(self.now_ms()).unwrap_or_default();
        let mut all = self.lock();
        let mut n_events = 0;
        for record in all.events.told(which) {
            let is_receiver = self.wants.iter().any(|of| of.receiver == record.receiver);
            if record.ended.is_some() && is_receiver {
                n_events += 1;
                all.events.push(EventLine {
                    id: record.id,
                    at,
                    to: vec![record.receiver],
                    what: Recorded::Event(record.event),
                });
            }
        }
        self.more.notify_one();
        n_events
    }
}
