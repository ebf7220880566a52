//! What waits: scans of the queues, jobs that arrive, and due jobs on their way back.

use super::Core;
use crate::{
    job::{InterfaceName, Job, JobName, Place},
    schedule::{Event, Released},
    spool::{Accepted, Came, Moved, SpoolError},
};
use std::{sync::Arc, time::Duration};

/// A queue with files that are still being written is scanned so often.
const UNFINISHED_EVERY: Duration = Duration::from_secs(2);

impl Core {
    pub(super) fn scan(&self, interface: InterfaceName, handle: &tokio::runtime::Handle) -> Event {
        let horizon = self.spool.last_id();
        let mut scan = match self.spool.scan(&interface) {
            Ok(scan) => scan,
            Err(error) => {
                tracing::error!(%interface, %error, "the queue cannot be scanned");
                return Event::ScanFailed(interface);
            }
        };
        let first = {
            let mut scanned = self.scanned.lock().unwrap_or_else(|e| e.into_inner());
            scanned.insert(interface.clone())
        };
        scan.arrived.retain(|a| !first || a.dropped_as.is_some());
        let arrived: Vec<JobName> = scan.arrived.iter().map(|a| a.name.clone()).collect();
        if let Err(error) = self.spool.saw(&interface, &arrived) {
            tracing::error!(%interface, %error, "what was dropped may not survive a power cut");
        }
        for arrival in &scan.arrived {
            self.record_arrival(&interface, &arrival.name, arrival.dropped_as.as_deref());
        }
        let mut again = scan.unfinished > 0;
        if self
            .lanes
            .get(&interface)
            .is_some_and(|lane| lane.rules.ordered)
        {
            // A listing may show a job that came while it was read, and lack an older one.
            let n_ready = scan.ready.len();
            scan.ready.retain(|job| job.id() <= horizon);
            again |= scan.ready.len() < n_ready;
        }
        if again {
            let hints = self.hints.clone();
            let interface = interface.clone();
            handle.spawn(async move {
                tokio::time::sleep(UNFINISHED_EVERY).await;
                hints.tell(Event::Hint(interface));
            });
        }
        let deferred = scan.deferred.iter().map(|(_, job)| job);
        let found = scan.ready.iter().chain(deferred);
        self.turns.keep(&interface, horizon, found);
        self.turns.read(&self.spool, &interface, &scan.ready);
        let turn = |job| (self.turns.of(&self.spool, &interface, &job), job);
        let ready = scan.ready.into_iter().map(turn);
        let ready = ready.map(|(turn, job)| (job, turn)).collect();
        Event::Listed {
            interface,
            held: scan.held,
            ready,
            deferred: scan.deferred,
        }
    }

    /// Looks when a job that has arrived has its turn, and tells.
    pub(super) fn meet(self: Arc<Self>, interface: InterfaceName, job: JobName) {
        // A listing says it as well.
        let failed = Event::Hint(interface.clone());
        let this = self.clone();
        tokio::spawn(self.report(failed, move || {
            let turn = this.turns.of(&this.spool, &interface, &job);
            Event::Arrived(interface, job, turn)
        }));
    }

    fn record_arrival(&self, interface: &InterfaceName, name: &JobName, dropped: Option<&str>) {
        let text = match dropped {
            Some(old) => format!("taken in from queue/{interface}, where it was dropped as {old}"),
            None => format!("moved by hand to queue/{interface}"),
        };
        let job = Job {
            place: Place::Queue(interface.clone()),
            name: name.clone(),
        };
        tracing::info!(job = %name, %interface, "{text}");
        // What is recorded of it says so.
        let taken_in = |accepted: &Accepted| matches!(accepted.came, Came::Dropped { .. });
        if dropped.is_some() && matches!(self.spool.accepted(name), Ok(Some(a)) if taken_in(&a)) {
            return;
        }
        if let Err(error) = self.spool.note(&job, &text) {
            tracing::warn!(job = %name, %error, "the note could not be kept");
        }
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
        let this = self.clone();
        let of = interface.clone();
        let released = tokio::task::spawn_blocking(move || {
            Ok(match this.spool.release_due(&deferred)? {
                Moved::Done(job) => Released::Queued(this.turns.of(&this.spool, &of, &job.name)),
                Moved::Gone => Released::Gone,
            })
        });
        let end = match released.await {
            Ok(Ok(released)) => released,
            Ok(Err(error)) => {
                let error: SpoolError = error;
                tracing::error!(%job, %interface, %error, "a due job stays deferred; tried again");
                Released::Stuck
            }
            Err(_) => Released::Stuck,
        };
        let event = Event::Released(interface.clone(), job, end);
        self.hints.tell_surely(event).await;
        if end == Released::Stuck {
            self.resume_later(interface).await;
        }
    }
}
