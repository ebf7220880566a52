//! What waits: scans of the queues, jobs that arrive, and due jobs on their way back.

use super::Core;
use crate::{
    domain::{InterfaceName, Job, JobName, Place},
    scheduler::{Event, Released},
    store::{
        Came,
        fs::{Accepted, REST, Scan},
    },
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Jobs that wait for others, which arrived before them and have later names, are looked at so often.
const HELD_BACK_EVERY: Duration = Duration::from_secs(2);

/// When each queue is to be scanned again. An earlier scan serves a later wish as well.
pub(super) type Rescans = Mutex<BTreeMap<InterfaceName, Instant>>;

impl Core {
    pub(super) fn scan(&self, interface: InterfaceName, handle: &tokio::runtime::Handle) -> Event {
        let horizon = self.spool.horizon();
        let mut scan = match self.spool.scan(&interface) {
            Ok(scan) => scan,
            Err(error) => {
                self.cannot_scan(&interface, Some(error.to_string()));
                return Event::ScanFailed(interface);
            }
        };
        self.cannot_scan(&interface, None);
        let first = {
            let mut scanned = self.scanned.lock();
            scanned.insert(interface.clone())
        };
        scan.arrived.retain(|a| !first || a.dropped_as.is_some());
        let arrived: Vec<Job> = scan.arrived.iter().map(|a| a.job.clone()).collect();
        if let Err(error) = self.spool.saw(&arrived) {
            tracing::error!(%interface, %error, "what was dropped may not survive a power cut");
        }
        for arrival in &scan.arrived {
            self.record_arrival(&arrival.job, arrival.dropped_as.as_deref());
        }
        if self
            .lanes
            .get(&interface)
            .is_some_and(|lane| lane.rules.ordered)
        {
            // A listing may show a job that came while it was read, and lack an older one.
            let n_ready = scan.ready.len();
            scan.ready.retain(|job| horizon.has(job.id()));
            if scan.ready.len() < n_ready {
                scan.look_again(REST);
            }
            if self.hold_back(&mut scan) {
                scan.look_again(HELD_BACK_EVERY);
            }
        }
        if let Some(after) = scan.again {
            self.scan_after(interface.clone(), after, handle);
        }
        let deferred = scan.deferred.iter().map(|(_, job)| job);
        let found = scan.ready.iter().chain(deferred);
        self.eligibility.keep(&interface, &horizon, found);
        self.eligibility.read(&self.spool, &interface, &scan.ready);
        let turn = |job| (self.eligibility.of(&self.spool, &interface, &job), job);
        let ready = scan.ready.into_iter().map(turn);
        let ready = ready.map(|(turn, job)| (job, turn)).collect();
        Event::Listed {
            interface,
            held: scan.held,
            ready,
            deferred: scan.deferred,
        }
    }

    /// Leaves out what arrived after jobs with later names, so that the order of the names is that of
    /// arrival. Says whether anything was left out.
    fn hold_back(&self, scan: &mut Scan) -> bool {
        let deferred = scan.deferred.iter().map(|(_, job)| job);
        let mut jobs: Vec<JobName> = scan.ready.iter().chain(deferred).cloned().collect();
        self.spool.sort_by_arrival(&mut jobs);
        let in_order = jobs.windows(2).take_while(|two| two[0] < two[1]).count() + 1;
        let later: BTreeSet<JobName> = jobs.drain(in_order.min(jobs.len())..).collect();
        scan.ready.retain(|job| !later.contains(job));
        scan.deferred.retain(|(_, job)| !later.contains(job));
        !later.is_empty()
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
    pub(super) fn scan_after(
        &self,
        interface: InterfaceName,
        after: Duration,
        handle: &tokio::runtime::Handle,
    ) {
        let at = Instant::now() + after;
        let mut rescans = self.rescans.lock();
        let earlier = rescans.get(&interface);
        if earlier.is_some_and(|earlier| *earlier <= at) {
            return;
        }
        rescans.insert(interface.clone(), at);
        let (hints, rescans) = (self.hints.clone(), self.rescans.clone());
        handle.spawn(async move {
            tokio::time::sleep_until(at).await;
            let mut rescans = rescans.lock();
            // Else one that was asked for later comes, or has come, earlier.
            if rescans.get(&interface) == Some(&at) {
                rescans.remove(&interface);
                hints.notify(Event::Hint(interface));
            }
        });
    }

    /// Looks when a job that has arrived has its turn, and tells.
    pub(super) fn meet(self: Arc<Self>, interface: InterfaceName, job: JobName) {
        // A listing says it as well.
        let failed = Event::Hint(interface.clone());
        let this = self.clone();
        tokio::spawn(self.report(failed, move || {
            let turn = this.eligibility.of(&this.spool, &interface, &job);
            Event::Arrived(interface, job, turn)
        }));
    }

    fn record_arrival(&self, job: &Job, dropped: Option<&str>) {
        let Place::Queue(queue) = &job.place else {
            return;
        };
        let (name, interface) = (&job.name, &queue.interface);
        // Without the user: another one may read the log later.
        let text = match dropped {
            Some(old) => format!("taken in from queue/{interface}, where it was dropped as {old}"),
            None => format!("moved by hand to queue/{interface}"),
        };
        let user = queue.addressee.as_ref().map(tracing::field::display);
        tracing::info!(job = %name, %interface, user, "{text}");
        // What is recorded of it says so.
        let taken_in = |accepted: &Accepted| matches!(accepted.came, Came::Dropped { .. });
        if dropped.is_some() && matches!(self.spool.accepted(name), Ok(Some(a)) if taken_in(&a)) {
            return;
        }
        if let Err(error) = self.spool.note(job, &text) {
            tracing::warn!(job = %name, %error, "the note could not be kept");
        }
    }

    /// When a job has its turn that is back in its queue.
    async fn turn_of(self: Arc<Self>, interface: &InterfaceName, job: &JobName) -> Released {
        let (interface, job) = (interface.clone(), job.clone());
        let turn =
            tokio::task::spawn_blocking(move || self.eligibility.of(&self.spool, &interface, &job));
        turn.await.map_or(Released::Gone, Released::Queued)
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
            Ok(true) => self.clone().turn_of(&interface, &job).await,
            Ok(false) => Released::Gone,
            Err(error) => {
                tracing::error!(%job, %interface, %error, "a due job stays deferred; tried again");
                Released::Stuck
            }
        };
        let event = Event::Released(interface.clone(), job, end);
        self.hints.notify_surely(event).await;
        if end == Released::Stuck {
            self.resume_later(interface).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fs::PlacePath;
    use crate::{
        domain::Kind,
        processor::Retry,
        scheduler::LaneRules,
        store::fs::{RealFs, Rules, Spool},
        worker::{Lane, Parts, Worker},
    };
    use std::{
        collections::BTreeMap,
        sync::atomic::{AtomicI64, Ordering},
    };
    use tokio_util::sync::CancellationToken;

    /// Jobs of a clock that was a year ahead, between two of the true time.
    #[tokio::test]
    async fn an_ordered_interface_keeps_the_order_of_arrival_over_a_leap() {
        const NOW_MS: i64 = 1_795_323_468_123;
        let dir = tempfile::tempdir().unwrap();
        let interface: InterfaceName = "a".parse().unwrap();
        let rules = Rules {
            attempts_max: 1,
            at_most_once: false,
            drops: Default::default(),
        };
        let clock = Arc::new(AtomicI64::new(NOW_MS));
        let shown = clock.clone();
        let spool = Spool::open(
            RealFs::new(dir.path()),
            BTreeMap::from([(interface.clone(), rules)]),
            Box::new(move || shown.load(Ordering::SeqCst)),
        );
        let spool = Arc::new(spool.unwrap());
        let queue = |ms| {
            clock.store(ms, Ordering::SeqCst);
            let name = JobName::new(spool.next_id(), None, Kind::Xml);
            let sealed = spool.begin(name.clone()).unwrap();
            let sealed = sealed.seal(&crate::store::NewJob::default()).unwrap();
            let (_, ticket) = spool.enqueue(sealed, &interface, None).unwrap();
            spool.wait(ticket).unwrap();
            name
        };
        let year_ms = 365 * 24 * 60 * 60 * 1000;
        let first = queue(NOW_MS);
        let ahead = [queue(NOW_MS + year_ms), queue(NOW_MS + year_ms + 1)];
        let last = queue(NOW_MS + 2_000);
        assert!(last < ahead[0], "the names alone tell another order");
        let lane = Lane {
            processor: None,
            retry: Retry::default(),
            rules: LaneRules {
                running_max: 1,
                ordered: true,
            },
            at_most_once: false,
        };
        let worker = Worker::new(Parts {
            spool: spool.clone(),
            store: Arc::new(crate::store::fs::FileStore::new(spool.clone())),
            lanes: BTreeMap::from([(interface.clone(), lane)]),
            running_max: 1,
            tags: crate::domain::WorkerTags::All,
            adopted: Vec::new(),
            starter: crate::processor::Starter::launch().unwrap(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
        });
        let handle = tokio::runtime::Handle::current();
        let listed = || {
            let Event::Listed { ready, .. } = worker.core.scan(interface.clone(), &handle) else {
                panic!("the queue cannot be listed");
            };
            ready.into_iter().map(|(job, _)| job).collect()
        };
        let jobs: Vec<JobName> = listed();
        assert_eq!(jobs, [first.clone(), ahead[0].clone(), ahead[1].clone()]);
        for gone in [&first, &ahead[0], &ahead[1]] {
            let path = Place::Queue(interface.clone().into()).path(gone);
            std::fs::remove_file(dir.path().join(path)).unwrap();
        }
        let jobs: Vec<JobName> = listed();
        assert_eq!(jobs, [last]);
    }
}
