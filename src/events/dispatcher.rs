//! Sends what waits, until it is taken or dead. No job waits for it: it only looks at the store.

use super::{
    Missed, Receiver, Rules,
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
use tokio::{sync::watch, task::JoinSet};
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
    rules: watch::Receiver<Rules>,
    /// One that has come stays, at its place.
    couriers: Vec<Courier>,
    starter: Starter,
    metrics: metrics::Tenant,
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
    /// The rules do not have it any more: nothing is sent to it until they do again.
    is_gone: bool,
    pace: Pace,
    /// What could not be recorded, since the disk has failed.
    unrecorded: Vec<Outgoing>,
}

/// What came of sending an event to a receiver, after so many attempts that failed.
struct Sent {
    courier: usize,
    /// As it was then.
    receiver: Arc<Receiver>,
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

impl Courier {
    /// Its receiver is this one from now on. What is under way to the one before ends with that.
    fn take(&mut self, receiver: Receiver) {
        self.is_gone = false;
        if *self.receiver != receiver {
            self.pace.renew(receiver.at_once());
            self.receiver = Arc::new(receiver);
        }
    }
}

impl Dispatcher {
    pub fn new(
        store: Arc<dyn Store>,
        rules: watch::Receiver<Rules>,
        (starter, metrics): (Starter, metrics::Tenant),
    ) -> Self {
        Self {
            store,
            rules,
            couriers: Vec::new(),
            starter,
            metrics,
            delivered: Vec::new(),
            failed: Vec::new(),
            since: None,
            is_unhealthy: false,
        }
    }

    /// Sends until `stop`, by the rules as they are. What is under way then is sent again after the next start.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut under_way = JoinSet::new();
        let store = self.store.clone();
        self.follow().await;
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
                Ok(()) = self.rules.changed() => self.follow().await,
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

    /// Has a courier for each receiver of the rules as they now are.
    async fn follow(&mut self) {
        let receivers = self.rules.borrow_and_update().receivers.clone();
        for courier in &mut self.couriers {
            courier.is_gone = true;
        }
        for receiver in receivers {
            let name = &receiver.wants.receiver;
            let mut known = self.couriers.iter_mut();
            match known.find(|of| of.receiver.wants.receiver == *name) {
                Some(courier) => courier.take(receiver),
                None => {
                    let dues = dues(&*self.store, name).await;
                    self.couriers.push(Courier {
                        is_gone: false,
                        pace: Pace::new(receiver.at_once(), dues),
                        receiver: Arc::new(receiver),
                        unrecorded: Vec::new(),
                    });
                }
            }
        }
    }

    /// Ends what is too old or too much, for whomever it is.
    async fn bury(&self) {
        let before = Timestamp::now() - SENT_FOR;
        let bytes_max = self.rules.borrow().bytes_max;
        match self.store.bury_events(before, bytes_max).await {
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
            if !courier.is_gone && courier.receiver.wants.takes(kind, None) {
                courier.unrecorded.push(out.clone());
            }
        }
    }

    /// Sends to a receiver what it can take now.
    async fn send(&mut self, n: usize, under_way: &mut JoinSet<Sent>, stop: &CancellationToken) {
        let now = Instant::now();
        let courier = &mut self.couriers[n];
        let room = courier.pace.room(now);
        if courier.is_gone || room == 0 {
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
                    receiver,
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
            Err(_) if !Arc::ptr_eq(&sent.receiver, &courier.receiver) => {
                courier.pace.given_back(id);
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
        let served = self.couriers.iter().filter(|courier| !courier.is_gone);
        let next = served.filter_map(|courier| courier.pace.next(now));
        let recorded = self.since.map(|since| since + RECORD_AFTER);
        let next = next.chain(recorded).min();
        let wait = next.map(|next| next.saturating_duration_since(now));
        wait.map_or(LOOK_EVERY, |wait| wait.min(LOOK_EVERY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        events::{Post, Way},
        store::{
            events::{Wants, WhichEvents},
            memory::MemoryStore,
        },
    };

    /// A receiver of that name and URL, if any.
    fn rules(receiver: Option<(&str, &str)>) -> Rules {
        let receivers = receiver.map(|(name, url)| Receiver {
            wants: wants(name),
            way: Way::Post(Post::new(url, None, None, Duration::from_secs(9)).unwrap()),
        });
        Rules {
            receivers: receivers.into_iter().collect(),
            bytes_max: u64::MAX,
        }
    }

    fn wants(name: &str) -> Wants {
        Wants {
            receiver: name.into(),
            on: EventKind::ALL.into(),
            interfaces: [].into(),
        }
    }

    struct Bench {
        rules: watch::Sender<Rules>,
        dispatcher: Dispatcher,
        under_way: JoinSet<Sent>,
        stop: CancellationToken,
        id: EventId,
    }

    impl Bench {
        /// An event waits for `erp`, which is nobody yet.
        async fn new() -> Self {
            let store = MemoryStore::new(Arc::new(|| 0)).with_receivers(vec![wants("erp")]);
            let event = Event::new(EventKind::InterfaceHeld, 0);
            store.record_event(&event, "1").await.unwrap();
            let (sender, receiver) = watch::channel(rules(None));
            let by = (Starter::launch().unwrap(), metrics::Tenant::default());
            Self {
                dispatcher: Dispatcher::new(Arc::new(store), receiver, by),
                rules: sender,
                under_way: JoinSet::new(),
                stop: CancellationToken::new(),
                id: EventId::of(EventKind::InterfaceHeld, "1"),
            }
        }

        async fn by(&mut self, receiver: Option<(&str, &str)>) {
            self.rules.send_replace(rules(receiver));
            self.dispatcher.follow().await;
        }

        /// How many attempts were begun in all, after what can be sent now was.
        async fn begun(&mut self) -> usize {
            for n in 0..self.dispatcher.couriers.len() {
                let (under_way, stop) = (&mut self.under_way, &self.stop);
                self.dispatcher.send(n, under_way, stop).await;
            }
            self.under_way.len()
        }

        fn ends(&mut self, receiver: &Arc<Receiver>, outcome: Result<(), Missed>) {
            let sent = Sent {
                courier: 0,
                receiver: receiver.clone(),
                id: self.id,
                attempts: 0,
                outcome,
            };
            self.dispatcher.take(Some(sent), &self.stop);
        }

        fn receiver(&self) -> Arc<Receiver> {
            self.dispatcher.couriers[0].receiver.clone()
        }
    }

    fn missed() -> Result<(), Missed> {
        Err(Missed::because("it is away".into()))
    }

    const HERE: Option<(&str, &str)> = Some(("erp", "http://127.0.0.1:9/here"));
    const THERE: Option<(&str, &str)> = Some(("erp", "http://127.0.0.1:9/there"));

    #[tokio::test]
    async fn a_receiver_that_comes_gets_what_waits_for_it_and_one_that_is_gone_nothing() {
        let mut bench = Bench::new().await;
        bench.by(Some(("other", "http://127.0.0.1:9/"))).await;
        assert_eq!(bench.begun().await, 0);
        let mut bench = Bench::new().await;
        bench.by(HERE).await;
        assert_eq!(bench.begun().await, 1);
        bench.by(None).await;
        let here = bench.receiver();
        // A failure without a wait, so that nothing but that it is gone keeps it from being sent.
        bench.ends(&here, missed());
        bench.dispatcher.couriers[0].pace.renew(1);
        assert_eq!(bench.begun().await, 1);
        assert_eq!(
            bench.dispatcher.failed.len(),
            1,
            "what was under way counts"
        );
        bench.by(HERE).await;
        assert!(Arc::ptr_eq(&here, &bench.receiver()));
        assert_eq!(bench.begun().await, 2);
        bench.by(None).await;
        bench.ends(&here, Ok(()));
        bench.dispatcher.record().await;
        let waiting = WhichEvents::default();
        let waiting = bench.dispatcher.store.events(&waiting).await.unwrap();
        assert_eq!(waiting, [], "what was delivered is recorded");
    }

    #[tokio::test]
    async fn one_that_is_another_is_tried_at_once_and_what_the_one_before_missed_does_not_count() {
        let mut bench = Bench::new().await;
        bench.by(HERE).await;
        assert_eq!(bench.begun().await, 1);
        let here = bench.receiver();
        bench.by(THERE).await;
        assert_eq!(bench.begun().await, 1, "the event is under way");
        bench.ends(&here, missed());
        assert!(bench.dispatcher.failed.is_empty());
        assert_eq!(bench.begun().await, 2);
        let there = bench.receiver();
        bench.ends(&there, missed());
        assert_eq!(bench.dispatcher.failed.len(), 1);
        bench.by(THERE).await;
        assert_eq!(bench.begun().await, 2, "it rests, as before");
        bench.by(HERE).await;
        assert_eq!(bench.begun().await, 3);
    }
}
