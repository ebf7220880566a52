//! Sends what waits, until it is taken or dead. No job waits for it: it only looks at the store.

use super::{
    Missed, Receiver,
    pace::{self, Pace},
};
use crate::{
    metrics,
    processor::Starter,
    store::{
        Store, StoreError,
        events::{Ending, Event, EventEnd, EventId, EventKind, FailedAttempt, Failure, Outgoing},
    },
};
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// So long an event is sent.
const SENT_FOR: SignedDuration = SignedDuration::from_hours(3 * 24);
/// What waits, and how the store is, is looked at so often, whatever is heard.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What came of attempts is recorded so long after the first of them, or once there are so many.
const RECORD_AFTER: Duration = Duration::from_millis(200);
const RECORDED_MAX: usize = 64;

/// Sends a tenant's events.
pub struct Dispatcher {
    store: Arc<dyn Store>,
    couriers: Vec<Courier>,
    starter: Starter,
    metrics: metrics::Tenant,
    /// Beyond so many bytes the oldest are dead.
    bytes_max: u64,
    /// Delivered or not taken, and not recorded yet; since when.
    delivered: Vec<(usize, EventId)>,
    failed: Vec<FailedAttempt>,
    since: Option<Instant>,
    /// What the disk does not take any more has been told.
    is_unhealthy: bool,
}

/// A receiver, and what is on its way to it.
struct Courier {
    receiver: Arc<Receiver>,
    pace: Pace,
    /// What could not be recorded, since the disk has failed.
    unrecorded: Vec<Outgoing>,
}

/// What came of sending an event to a receiver, after so many attempts that failed.
struct Sent {
    courier: usize,
    id: EventId,
    attempts: u32,
    outcome: Result<(), Missed>,
}

/// When events of a receiver are due again, by the clock that cannot be set.
async fn dues(store: &dyn Store, receiver: &str) -> HashMap<EventId, Instant> {
    let known = store.event_dues(receiver).await;
    let known = known.unwrap_or_else(|error| {
        tracing::warn!(receiver, %error, "what was sent in vain is sent again at once");
        Vec::new()
    });
    let (now, at) = (Instant::now(), Timestamp::now());
    let dues = known.into_iter().filter_map(|(id, due)| {
        let wait = Duration::try_from(due.duration_since(at)).ok()?;
        // By a clock that was wrong it may be any moment.
        Some((id, now + wait.min(pace::EVENT_WAIT_MAX)))
    });
    dues.collect()
}

impl Dispatcher {
    pub fn new(
        store: Arc<dyn Store>,
        receivers: &[Receiver],
        bytes_max: u64,
        (starter, metrics): (Starter, metrics::Tenant),
    ) -> Self {
        let couriers = receivers.iter().map(|receiver| Courier {
            pace: Pace::new(receiver.at_once(), HashMap::new()),
            receiver: Arc::new(receiver.clone()),
            unrecorded: Vec::new(),
        });
        let couriers = couriers.collect();
        Self {
            couriers,
            store,
            starter,
            metrics,
            bytes_max,
            delivered: Vec::new(),
            failed: Vec::new(),
            since: None,
            is_unhealthy: false,
        }
    }

    /// Sends until `stop`. What is under way then is sent again after the next start.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut under_way = JoinSet::new();
        let store = self.store.clone();
        for courier in &mut self.couriers {
            let receiver = &courier.receiver;
            let dues = dues(&*store, &receiver.wants.receiver).await;
            courier.pace = Pace::new(receiver.at_once(), dues);
        }
        while !stop.is_cancelled() {
            self.bury().await;
            self.tell_of_health();
            for n in 0..self.couriers.len() {
                self.send(n, &mut under_way, &stop).await;
            }
            let wait = self.wait(Instant::now());
            tokio::select! {
                () = stop.cancelled() => break,
                Some(sent) = under_way.join_next() => self.take(sent.ok(), &stop),
                () = store.event_recorded() => {}
                () = tokio::time::sleep(wait) => {}
            }
            while let Some(sent) = under_way.try_join_next() {
                self.take(sent.ok(), &stop);
            }
            if self.is_to_be_recorded(Instant::now()) {
                self.record().await;
            }
        }
        while let Some(sent) = under_way.join_next().await {
            self.take(sent.ok(), &stop);
        }
        self.record().await;
    }

    /// Ends what is too old or too much.
    async fn bury(&self) {
        let before = Timestamp::now() - SENT_FOR;
        match self.store.bury_events(before, self.bytes_max).await {
            Ok(0) => {}
            Ok(n_dead) => {
                self.metrics.events_died(n_dead as u64);
                tracing::error!(
                    n_dead,
                    "events are dead: their receivers did not take them for three days, or \
                     limits.events_bytes_max is reached; `spoolgate events ls` shows them"
                );
            }
            Err(error) => self.not_recorded(&error),
        }
    }

    /// Once nothing can be recorded any more, that is told from memory.
    fn tell_of_health(&mut self) {
        let Some(reason) = self.store.unhealthy().filter(|_| !self.is_unhealthy) else {
            return;
        };
        self.is_unhealthy = true;
        let (kind, now_ms) = (EventKind::SpoolUnhealthy, self.store.now_ms());
        let out = Outgoing {
            id: EventId::of(kind, &now_ms.to_string()),
            event: Event::new(kind, now_ms).with("reason", reason),
            attempts: 0,
        };
        for courier in &mut self.couriers {
            if courier.receiver.wants.takes(kind, None) {
                courier.unrecorded.push(out.clone());
            }
        }
    }

    /// Sends to a receiver what it can take now.
    async fn send(&mut self, n: usize, under_way: &mut JoinSet<Sent>, stop: &CancellationToken) {
        let now = Instant::now();
        let courier = &mut self.couriers[n];
        let room = courier.pace.room(now);
        if room == 0 {
            return;
        }
        let (receiver, without) = (courier.receiver.clone(), courier.pace.without(now));
        let unrecorded = courier.unrecorded.iter();
        let mut outs: Vec<Outgoing> =
            (unrecorded.filter(|out| !without.contains(&out.id)).cloned()).collect();
        let name = &receiver.wants.receiver;
        let waiting = self.store.waiting_events(name, &without, room).await;
        match waiting {
            Ok(waiting) => outs.extend(waiting),
            Err(error) => tracing::error!(receiver = name, %error, "its events cannot be read"),
        }
        outs.truncate(room);
        for out in outs {
            courier.pace.sent(out.id);
            let (receiver, starter) = (receiver.clone(), self.starter.clone());
            let stop = stop.clone();
            under_way.spawn(async move {
                let outcome = receiver.send(&out, starter, stop).await;
                Sent {
                    courier: n,
                    id: out.id,
                    attempts: out.attempts,
                    outcome,
                }
            });
        }
    }

    fn take(&mut self, sent: Option<Sent>, stop: &CancellationToken) {
        // One that panicked stays under way until the next start; one that a stop has cut off has not failed.
        let Some(sent) = sent.filter(|sent| sent.outcome.is_ok() || !stop.is_cancelled()) else {
            return;
        };
        let (n, id) = (sent.courier, sent.id);
        let courier = &mut self.couriers[n];
        let receiver = &courier.receiver.wants.receiver;
        match sent.outcome {
            Ok(()) => {
                if courier.pace.delivered(id) {
                    tracing::info!(receiver, "takes events again");
                }
                let before = courier.unrecorded.len();
                courier.unrecorded.retain(|out| out.id != id);
                if courier.unrecorded.len() == before {
                    self.delivered.push((n, id));
                    self.since.get_or_insert_with(Instant::now);
                }
            }
            Err(Missed { reason, after }) => {
                let (now, attempts) = (Instant::now(), sent.attempts);
                let failed = courier.pace.failed((id, attempts), now, after);
                match failed.is_first {
                    true => {
                        tracing::warn!(receiver, %id, reason, "an event is not taken; tried again");
                    }
                    false => tracing::debug!(receiver, %id, reason, "an event is not taken"),
                }
                let mut unrecorded = courier.unrecorded.iter_mut();
                if let Some(out) = unrecorded.find(|out| out.id == id) {
                    out.attempts += 1;
                    return;
                }
                let failure = Failure {
                    attempts: attempts.saturating_add(1),
                    reason,
                    next: Timestamp::now() + failed.wait,
                };
                self.failed.push(FailedAttempt {
                    receiver: receiver.clone(),
                    id,
                    failure,
                });
                self.since.get_or_insert(now);
            }
        }
    }

    fn is_to_be_recorded(&self, now: Instant) -> bool {
        let is_late = |since: Instant| now.duration_since(since) >= RECORD_AFTER;
        self.delivered.len() + self.failed.len() >= RECORDED_MAX || self.since.is_some_and(is_late)
    }

    /// Records what came of attempts. What was delivered and cannot be recorded is not sent again by this process.
    async fn record(&mut self) {
        self.since = None;
        self.record_failed().await;
        self.record_delivered().await;
    }

    /// One that cannot be recorded does not count.
    async fn record_failed(&mut self) {
        let failed = std::mem::take(&mut self.failed);
        if failed.is_empty() {
            return;
        }
        if let Err(error) = self.store.note_failed_attempts(failed).await {
            self.not_recorded(&error);
        }
    }

    async fn record_delivered(&mut self) {
        let endings = self.delivered.iter().map(|(n, id)| Ending {
            receiver: self.couriers[*n].receiver.wants.receiver.clone(),
            id: *id,
            end: EventEnd::Delivered,
            why: None,
        });
        let endings: Vec<Ending> = endings.collect();
        if endings.is_empty() {
            return;
        }
        match self.store.end_events(endings).await {
            Ok(()) => {
                for (n, id) in self.delivered.drain(..) {
                    self.couriers[n].pace.recorded(id);
                }
            }
            Err(error) => {
                self.since = Some(Instant::now() + LOOK_EVERY);
                self.not_recorded(&error);
            }
        }
    }

    /// A disk that has failed is told of once, and elsewhere.
    fn not_recorded(&self, error: &StoreError) {
        if !self.is_unhealthy {
            tracing::warn!(%error, "what became of events cannot be recorded; tried again");
        }
    }

    /// How long nothing is to be done, if nothing is heard.
    fn wait(&self, now: Instant) -> Duration {
        let next = self
            .couriers
            .iter()
            .filter_map(|courier| courier.pace.next(now));
        let recorded = self.since.map(|since| since + RECORD_AFTER);
        let next = next.chain(recorded).min();
        let wait = next.map(|next| next.saturating_duration_since(now));
        wait.map_or(LOOK_EVERY, |wait| wait.min(LOOK_EVERY))
    }
}
