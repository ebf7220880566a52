//! What waits: scans of the queues, jobs that arrive, and due jobs on their way back.

use super::Core;
use crate::{
    domain::{InterfaceName, Job, JobName, Kind, OrderBy, Place},
    scheduler::{Event, Order, Released, Taker, Turn},
    store::{Asked, Precedence},
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// When each queue is to be scanned again. An earlier scan serves a later wish as well.
pub(super) type Rescans = Mutex<BTreeMap<InterfaceName, Instant>>;

impl Core {
    /// Lists what waits in an interface, and tells.
    pub(super) async fn scan(self: Arc<Self>, interface: InterfaceName) {
        let lane = self.lane(&interface);
        let asked = Asked {
            in_order: lane.is_some_and(|lane| lane.rules.order != Order::None),
            whose: self.asks_whose(&interface),
        };
        let waiting = self.store.waiting_jobs(&interface, asked);
        // When the service stops, nothing more is begun: nobody has to know.
        let Some(waiting) = self.stop.run_until_cancelled(waiting).await else {
            return;
        };
        let event = match waiting {
            Ok(waiting) => {
                self.cannot_scan(&interface, None);
                if let Some(after) = waiting.again {
                    self.scan_after(interface.clone(), after);
                }
                let turn = |job: &JobName, known: Option<Precedence>| {
                    self.turn(&interface, job, known.as_ref())
                };
                let ready = waiting.ready.into_iter();
                let ready = ready.map(|(job, known)| (turn(&job, known), job));
                let ready = ready.map(|(turn, job)| (job, turn)).collect();
                let deferred = waiting.deferred.into_iter();
                let deferred = deferred.map(|(due, job, known)| (due, turn(&job, known), job));
                let deferred = deferred.map(|(due, turn, job)| (due, job, turn)).collect();
                Event::Listed {
                    interface,
                    held: waiting.held,
                    ready,
                    deferred,
                }
            }
            Err(error) => {
                self.cannot_scan(&interface, Some(error.to_string()));
                Event::ScanFailed(interface)
            }
        };
        self.hints.notify_surely(event).await;
    }

    /// When a job has its turn, by what is known of it.
    pub(super) fn turn(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        precedence: Option<&Precedence>,
    ) -> Turn {
        let Some(precedence) = precedence else {
            return Turn::unknown();
        };
        let lane = self.lane(interface);
        let order_by = lane.as_ref().and_then(|lane| lane.order_by.as_ref());
        let kept = precedence.order_key.as_deref();
        let key = order_by.and_then(|by| by.key(precedence.submitter.as_deref(), job, kept));
        Turn {
            priority: precedence.priority,
            partner: precedence.submitter.clone(),
            key: key.map(Into::into),
            taker: match self.rules.load().tags.take(precedence.worker.as_ref()) {
                true => Taker::Us,
                false => Taker::Others,
            },
        }
    }

    /// Does it matter whose the jobs of an interface are?
    pub(super) fn asks_whose(&self, interface: &InterfaceName) -> bool {
        let rules = self.rules.load();
        let lane = rules.lanes.get(interface);
        lane.is_some_and(|lane| {
            let is_in_record = |by: &OrderBy| *by != OrderBy::Reference;
            let by_record = lane.order_by.as_ref().is_some_and(is_in_record);
            let is_asked = lane.rules.fair || by_record || rules.partners.are_limited();
            lane.rules.running_max > 0 && is_asked
        })
    }

    /// Does a record say when a job has its turn?
    pub(super) fn has_to_be_met(&self, interface: &InterfaceName, job: &JobName) -> bool {
        job.kind() == Kind::Json || self.asks_whose(interface)
    }

    /// The turn of a job in its queue.
    async fn turn_of(&self, interface: &InterfaceName, job: &JobName) -> Turn {
        if !self.has_to_be_met(interface, job) {
            return self.turn(interface, job, Some(&Precedence::default()));
        }
        let whose = self.asks_whose(interface);
        match self.store.precedence(interface, job, whose).await {
            Ok(precedence) => self.turn(interface, job, Some(&precedence)),
            Err(error) => {
                // Asked again by the next scan.
                tracing::warn!(%job, %error, "its record cannot be read");
                Turn::unknown()
            }
        }
    }

    /// Looks when a job that has arrived has its turn, and tells.
    pub(super) async fn meet(self: Arc<Self>, interface: InterfaceName, job: JobName) {
        let turn = self.turn_of(&interface, &job).await;
        let arrived = Event::Arrived(interface, job, turn);
        self.hints.notify_surely(arrived).await;
    }

    /// Says once why a queue cannot be scanned, and when it can be again.
    fn cannot_scan(&self, interface: &InterfaceName, why: Option<String>) {
        let mut troubles = self.troubles.lock();
        let before = match &why {
            Some(why) => troubles.insert(interface.clone(), why.clone()),
            None => troubles.remove(interface),
        };
        match (before, why) {
            (before, Some(why)) if before.as_ref() != Some(&why) => {
                tracing::error!(%interface, "the queue cannot be scanned: {why}");
            }
            (Some(_), None) => tracing::info!(%interface, "the queue can be scanned again"),
            (Some(_) | None, Some(_)) | (None, None) => {}
        }
    }

    /// Asks for a scan of a queue after a while.
    pub(super) fn scan_after(&self, interface: InterfaceName, after: Duration) {
        let at = Instant::now() + after;
        let mut rescans = self.rescans.lock();
        let earlier = rescans.get(&interface);
        if earlier.is_some_and(|earlier| *earlier <= at) {
            return;
        }
        rescans.insert(interface.clone(), at);
        let (hints, rescans) = (self.hints.clone(), self.rescans.clone());
        tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            let mut rescans = rescans.lock();
            // Else one that was asked for later comes, or has come, earlier.
            if rescans.get(&interface) == Some(&at) {
                rescans.remove(&interface);
                hints.notify(Event::Hint(interface));
            }
        });
    }

    pub(super) async fn release(
        self: Arc<Self>,
        interface: InterfaceName,
        job: JobName,
        due_ms: i64,
    ) {
        let deferred = Job {
            place: Place::Deferred {
                interface: interface.clone(),
                due_ms,
            },
            name: job.clone(),
        };
        let end = match self.store.release_due(&deferred).await {
            Ok(true) => Released::Queued(self.turn_of(&interface, &job).await),
            Ok(false) => Released::Gone,
            Err(error) => {
                tracing::error!(%job, %interface, %error, "a due job stays deferred; tried again");
                Released::Stuck
            }
        };
        let is_stuck = end == Released::Stuck;
        let event = Event::Released(interface.clone(), job, end);
        self.hints.notify_surely(event).await;
        if is_stuck {
            self.resume_later(interface).await;
        }
    }
}
