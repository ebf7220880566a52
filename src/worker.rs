//! The worker: carries out what the scheduler decides, one task for a spool.
//!
//! It scans, claims, runs processors and settles, each on its own task or blocking thread, and
//! feeds what became of it back to the scheduler. A run that panics costs one job's attempt.
//! Nothing here is a record: a restart rebuilds all of it from the directories.

mod cancel;
mod estimate;
mod query;
mod run;
mod runs;
mod settle;
mod stranded;
mod waits;

use crate::{
    domain::{InterfaceName, JobName, OrderBy, WorkerTags},
    metrics::{Rescan, Tenant},
    processor::{PartnersSee, Processor, Retry, Starter},
    scheduler::{Action, End, Event, LaneRules, Partners, Ruled, RunStats, Scheduler, Turn},
    store::{DROPS_REST, LeftBehind, Store},
};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use query::Rescans;
use runs::{Registered, Runs};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use waits::{Clocks, Waits};

/// Events on their way to the scheduler. Hints beyond that become one rescan.
const EVENTS_MAX: usize = 16 * 1024;
/// Everything is scanned so often, whatever the watcher says.
const RESCAN_EVERY: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });
/// How long a lane rests after a job of it could not be started or released.
const STUCK_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 5000 });

/// An interface as the worker sees it.
#[derive(Clone, Debug)]
pub struct Lane {
    /// `None`: its jobs wait for a poller or an operator.
    pub processor: Option<Processor>,
    pub retry: Retry,
    pub rules: LaneRules,
    /// What keys are, where order is by them.
    pub order_by: Option<OrderBy>,
    /// A run of unknown outcome is not repeated.
    pub at_most_once: bool,
}

impl Lane {
    /// Only what a command says as JSON is for partners.
    pub fn shows_only_json(&self) -> bool {
        match &self.processor {
            Some(Processor::Command(command)) => command.partners_see == PartnersSee::Json,
            Some(Processor::Archive | Processor::Post(_)) | None => false,
        }
    }
}

/// By what a worker decides, and what it runs.
#[derive(Clone, Debug)]
pub struct Rules {
    pub lanes: BTreeMap<InterfaceName, Arc<Lane>>,
    /// Jobs at once, over all lanes.
    pub running_max: usize,
    pub partners: Partners,
    /// Jobs of other tags wait.
    pub tags: WorkerTags,
}

impl Rules {
    /// The interfaces of which jobs may have other turns by these rules than by those before.
    fn changed_from(&self, before: &Self) -> BTreeSet<InterfaceName> {
        let of_all = self.partners != before.partners || self.tags != before.tags;
        let is_same = |name: &InterfaceName, lane: &Lane| {
            let before = before.lanes.get(name);
            before.is_some_and(|l| l.rules == lane.rules && l.order_by == lane.order_by)
        };
        let lanes = self.lanes.iter();
        let changed = lanes.filter(|(name, lane)| of_all || !is_same(name, lane));
        changed.map(|(name, _)| name.clone()).collect()
    }
}

/// What a worker is made of.
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub rules: Rules,
    /// What starts commands.
    pub starter: Starter,
    /// What recovery found still running.
    pub adopted: Vec<LeftBehind>,
    pub metrics: Tenant,
    /// Start nothing more, and end once nothing runs.
    pub stop: CancellationToken,
    /// Running commands are to end now.
    pub kill: CancellationToken,
}

/// What the worker is told.
#[derive(Debug)]
enum Notification {
    /// A job is complete in its queue; nobody has looked yet when it has its turn.
    Arrived(InterfaceName, JobName),
    /// Others have dropped something into this queue, where it rests for a moment.
    Dropped(InterfaceName),
    Event(Event),
}

/// Where hints are told. Never blocks: what does not fit becomes one rescan.
#[derive(Clone, Debug)]
pub struct Hints {
    notifications: mpsc::Sender<Notification>,
    lost: Arc<AtomicBool>,
}

impl Hints {
    /// A job is complete in its queue.
    pub fn arrived(&self, interface: &InterfaceName, job: &JobName) {
        self.try_notify(Notification::Arrived(interface.clone(), job.clone()));
    }

    /// Others have dropped something into this queue: it is scanned once that has rested.
    pub fn dropped(&self, interface: InterfaceName) {
        self.try_notify(Notification::Dropped(interface));
    }

    pub fn notify(&self, event: Event) {
        self.try_notify(Notification::Event(event));
    }

    fn try_notify(&self, notification: Notification) {
        if self.notifications.try_send(notification).is_err() {
            self.lost.store(true, Ordering::Release);
        }
    }

    /// Waits until there is room. What is told to a worker that has gone is of no use any more.
    async fn notify_surely(&self, event: Event) {
        let _ = self.notifications.send(Notification::Event(event)).await;
    }
}

/// What others can ask of a worker. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Core>);

impl Handle {
    /// A job is complete in its queue. Never blocks.
    pub fn arrived(&self, interface: &InterfaceName, job: &JobName) {
        self.0.hints.arrived(interface, job);
    }

    /// Ends what runs now, as when the service stops.
    pub fn end_runs(&self) {
        self.0.runs.end_all();
    }

    /// Works by other rules from now on. What runs goes on by those with which it was started.
    pub async fn take(&self, rules: Rules) {
        let core = &self.0;
        let lanes = rules.lanes.iter();
        let lanes = lanes.map(|(name, lane)| (name.clone(), lane.rules));
        let (lanes, partners) = (lanes.collect(), rules.partners.clone());
        let running_max = rules.running_max;
        let rules = Arc::new(rules);
        let before = core.rules.swap(rules.clone());
        let ruled = Event::Ruled(Ruled {
            lanes,
            changed: rules.changed_from(&before),
            running_max,
            partners,
        });
        core.hints.notify_surely(ruled).await;
    }
}

pub struct Worker {
    core: Arc<Core>,
    scheduler: Scheduler,
    notifications: mpsc::Receiver<Notification>,
    lost: Arc<AtomicBool>,
    /// With their places in the register: they can be cancelled before anybody follows them.
    adopted: Vec<(LeftBehind, Registered)>,
}

/// What the tasks of a worker share.
struct Core {
    store: Arc<dyn Store>,
    rules: ArcSwap<Rules>,
    hints: Hints,
    starter: Starter,
    metrics: Tenant,
    runs: Arc<Runs>,
    paces: Mutex<BTreeMap<InterfaceName, RunStats>>,
    waits: Mutex<Waits>,
    /// Where the steady clock begins.
    begun: tokio::time::Instant,
    /// When a queue is scanned next for what was not complete: one timer each.
    rescans: Arc<Rescans>,
    /// Why queues cannot be scanned, as it was said.
    troubles: Mutex<BTreeMap<InterfaceName, String>>,
    stop: CancellationToken,
    /// Running commands are to end now.
    kill: CancellationToken,
    /// Every queue has been looked at.
    scanned: CancellationToken,
}

impl Worker {
    pub fn new(parts: Parts) -> Self {
        let (sender, notifications) = mpsc::channel(EVENTS_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        let rules = parts.rules;
        let lanes = rules.lanes.iter();
        let lanes = lanes.map(|(name, lane)| (name.clone(), lane.rules));
        let scheduler = Scheduler::new(lanes, rules.running_max, rules.partners.clone());
        let core = Core {
            store: parts.store,
            rules: ArcSwap::from_pointee(rules),
            hints: Hints {
                notifications: sender,
                lost: lost.clone(),
            },
            starter: parts.starter,
            metrics: parts.metrics,
            runs: Arc::default(),
            paces: Mutex::default(),
            waits: Mutex::default(),
            begun: tokio::time::Instant::now(),
            rescans: Arc::default(),
            troubles: Mutex::default(),
            stop: parts.stop,
            kill: parts.kill,
            scanned: CancellationToken::new(),
        };
        let adopted = parts.adopted.into_iter().map(|adopted| {
            let lease = &adopted.lease;
            let entry = core.runs.register(&lease.interface, &lease.job, &core.kill);
            (adopted, entry)
        });
        let adopted = adopted.collect();
        Self {
            core: Arc::new(core),
            scheduler,
            notifications,
            lost,
            adopted,
        }
    }

    pub fn hints(&self) -> Hints {
        self.core.hints.clone()
    }

    pub fn handle(&self) -> Handle {
        Handle(self.core.clone())
    }

    /// Cancelled once every queue has been looked at since the start, with success or without.
    pub fn scanned(&self) -> CancellationToken {
        self.core.scanned.clone()
    }

    /// Runs until stopped and nothing runs any more. `poll`: scan so often, as nobody watches.
    pub async fn run(mut self, poll: Option<Duration>) {
        let rescan_every = poll.unwrap_or(RESCAN_EVERY);
        let mut actions = Vec::new();
        for (adopted, entry) in std::mem::take(&mut self.adopted) {
            let lease = &adopted.lease;
            let known = adopted.precedence.as_ref();
            let turn = self.core.turn(&lease.interface, &lease.job, known);
            let event = Event::Adopted(lease.interface.clone(), lease.job.clone(), turn);
            self.scheduler.on(event, &mut actions);
            tokio::spawn(self.core.clone().follow(adopted, entry));
        }
        self.scheduler.on(Event::Rescan, &mut actions);
        let mut rescan_at = tokio::time::Instant::now() + rescan_every;
        let stop = self.core.stop.clone();
        let mut draining = false;
        let mut unscanned: BTreeSet<InterfaceName> = self.core.interfaces();
        loop {
            if unscanned.is_empty() {
                self.core.scanned.cancel();
            }
            for action in actions.drain(..) {
                if action == Action::Exit {
                    return;
                }
                self.core.act(action);
            }
            let due = self.due_in();
            let event = tokio::select! {
                notification = self.notifications.recv() => self.event_of(notification),
                () = tokio::time::sleep(due) => Some(Event::Tick(self.core.clocks().steady_ms)),
                () = tokio::time::sleep_until(rescan_at) => {
                    rescan_at = tokio::time::Instant::now() + rescan_every;
                    tokio::spawn(self.core.clone().reclaim_all());
                    Some(Event::Rescan)
                }
                () = stop.cancelled(), if !draining => {
                    draining = true;
                    Some(Event::Drain)
                }
            };
            if let Some(event) = event {
                if let Event::Listed { interface, .. } | Event::ScanFailed(interface) = &event {
                    unscanned.remove(interface);
                }
                if let Event::Ruled(rules) = &event {
                    unscanned.retain(|interface| rules.lanes.contains_key(interface));
                }
                self.scheduler.on(event, &mut actions);
            }
            if self.lost.swap(false, Ordering::AcqRel) {
                self.core.metrics.rescanned(Rescan::Backlog);
                self.scheduler.on(Event::Rescan, &mut actions);
            }
        }
    }

    /// What the scheduler is to know of this already.
    fn event_of(&self, notification: Option<Notification>) -> Option<Event> {
        match notification {
            None => Some(Event::Drain),
            Some(Notification::Event(event)) => Some(self.core.timed(event)),
            Some(Notification::Dropped(interface)) => {
                self.core.scan_after(interface, DROPS_REST);
                None
            }
            Some(Notification::Arrived(interface, job)) => {
                if !self.core.has_to_be_met(&interface, &job) {
                    return Some(Event::Arrived(interface, job, Turn::default()));
                }
                tokio::spawn(self.core.clone().meet(interface, job));
                None
            }
        }
    }

    /// Until the next deferred job is due.
    fn due_in(&self) -> Duration {
        let most = Duration::from_secs(10);
        match self.scheduler.next_due_ms() {
            None => most,
            Some(due_ms) => {
                let wait_ms = due_ms.saturating_sub(self.core.clocks().steady_ms).max(0);
                Duration::from_millis(wait_ms.cast_unsigned()).min(most)
            }
        }
    }
}

impl Core {
    fn lane(&self, interface: &InterfaceName) -> Option<Arc<Lane>> {
        self.rules.load().lanes.get(interface).cloned()
    }

    fn interfaces(&self) -> BTreeSet<InterfaceName> {
        self.rules.load().lanes.keys().cloned().collect()
    }

    /// The wall clock, and one that is never set.
    fn clocks(&self) -> Clocks {
        let steady_ms = self.begun.elapsed().as_millis();
        Clocks {
            wall_ms: self.store.now_ms(),
            steady_ms: i64::try_from(steady_ms).unwrap_or(i64::MAX),
        }
    }

    /// The same event as the scheduler is to see it: with due moments by the steady clock.
    fn timed(&self, event: Event) -> Event {
        let now = self.clocks();
        let mut waits = self.waits();
        let mut due = |interface: &InterfaceName, job: &JobName, named_ms| {
            let lane = self.lane(interface);
            let wait_ms_max = lane.map_or(i64::MAX, |lane| lane.retry.wait_ms_max());
            waits.due_ms(interface, job, named_ms, now, wait_ms_max)
        };
        match event {
            Event::Ended(interface, job, End::Deferred { due_ms }) => {
                let due_ms = due(&interface, &job, due_ms);
                Event::Ended(interface, job, End::Deferred { due_ms })
            }
            Event::Listed {
                interface,
                held,
                ready,
                deferred,
            } => {
                let timed = deferred.into_iter();
                let timed = timed.map(|(ms, job, turn)| (due(&interface, &job, ms), job, turn));
                let timed: Vec<_> = timed.collect();
                waits.keep(&interface, timed.iter().map(|(_, job, _)| job));
                Event::Listed {
                    interface,
                    held,
                    ready,
                    deferred: timed,
                }
            }
            other @ (Event::Adopted(..)
            | Event::Arrived(..)
            | Event::Drain
            | Event::Ended(..)
            | Event::Hint(_)
            | Event::Released(..)
            | Event::Rescan
            | Event::Resume(_)
            | Event::Ruled(_)
            | Event::ScanFailed(_)
            | Event::Settling(..)
            | Event::Tick(_)) => other,
        }
    }

    fn waits(&self) -> parking_lot::MutexGuard<'_, Waits> {
        self.waits.lock()
    }

    fn act(self: &Arc<Self>, action: Action) {
        let this = self.clone();
        match action {
            Action::Exit => {}
            Action::Release(interface, job, due_ms) => {
                // Known of every deferred job that the scheduler was told of.
                let named_ms = self.waits().named_ms(&interface, &job).unwrap_or(due_ms);
                tokio::spawn(this.release(interface, job, named_ms));
            }
            Action::Scan(interface) => {
                tokio::spawn(this.scan(interface));
            }
            Action::Start(interface, job) => {
                tokio::spawn(this.start(interface, job));
            }
        }
    }

    /// How long the jobs of an interface have taken recently.
    fn pace_of(&self, interface: &InterfaceName) -> RunStats {
        let paces = self.paces.lock();
        paces.get(interface).cloned().unwrap_or_default()
    }

    /// A run of an interface has ended after so long.
    fn ran(&self, interface: &InterfaceName, ms: i64) {
        let mut paces = self.paces.lock();
        paces.entry(interface.clone()).or_default().ran(ms);
    }

    /// What could not be done for now is tried again after a pause.
    async fn resume_later(&self, interface: InterfaceName) {
        tokio::time::sleep(STUCK_PAUSE).await;
        self.hints.notify_surely(Event::Resume(interface)).await;
    }
}
