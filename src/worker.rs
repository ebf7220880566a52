//! The worker: carries out what the scheduler decides, one task for a spool.
//!
//! It scans, claims, runs processors and settles, each on its own task or blocking thread, and
//! feeds what became of it back to the scheduler. A run that panics costs one job's attempt.
//! Nothing here is a record: a restart rebuilds all of it from the directories.

use crate::{
    job::{InterfaceName, Job, JobName, Place},
    joblog::{JobLog, Level, Message, Status},
    processor::{Ended, Ending, Outcome, Processor, Retry, Run},
    schedule::{Action, End, Event, LaneRules, Released, Scheduler},
    spool::{Adopted, Claim, Fs, Moved, Published, Settlement, Spool, SpoolError},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events on their way to the scheduler. Hints beyond that become one rescan.
const EVENTS_MAX: usize = 16 * 1024;
/// Everything is scanned so often, whatever the watcher says.
const RESCAN_EVERY: Duration = Duration::from_secs(60);
/// A queue with files that are still being written is scanned so often.
const UNFINISHED_EVERY: Duration = Duration::from_secs(2);
/// How often an adopted command's lock is looked at.
const ADOPTED_EVERY: Duration = Duration::from_millis(200);
/// How long a lane rests after a job of it could not be started or released.
const STUCK_PAUSE: Duration = Duration::from_secs(5);
/// How long to wait before settling is tried again on a full disk.
const FULL_EVERY: Duration = Duration::from_secs(1);

/// An interface as the worker sees it.
#[derive(Clone, Debug)]
pub struct Lane {
    /// `None`: its jobs wait for a poller or an operator.
    pub processor: Option<Processor>,
    pub retry: Retry,
    pub rules: LaneRules,
    /// A run of unknown outcome is not repeated.
    pub at_most_once: bool,
}

/// Where hints are told. Never blocks: what does not fit becomes one rescan.
#[derive(Clone, Debug)]
pub struct Hints {
    events: mpsc::Sender<Event>,
    lost: Arc<AtomicBool>,
}

impl Hints {
    pub fn tell(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.lost.store(true, Ordering::Release);
        }
    }
}

pub struct Worker {
    core: Arc<Core>,
    scheduler: Scheduler,
    events: mpsc::Receiver<Event>,
    lost: Arc<AtomicBool>,
    adopted: Vec<Adopted>,
}

/// What the tasks of a worker share.
struct Core {
    spool: Arc<Spool>,
    lanes: BTreeMap<InterfaceName, Lane>,
    hints: Hints,
    /// Interfaces that have been scanned once: before that, nobody knows what is new.
    scanned: std::sync::Mutex<BTreeSet<InterfaceName>>,
    stop: CancellationToken,
    /// Running commands are to end now.
    kill: CancellationToken,
}

/// What came of the beginning of a run.
enum Begun {
    Claimed(Box<(Claim, Run)>),
    /// It is not for us any more, or its interface is held.
    Gone,
    /// It waits, and somebody else has its lock.
    Locked,
}

impl Worker {
    /// `adopted` is what recovery found still running. `stop` drains, `kill` ends what runs.
    pub fn new(
        spool: Arc<Spool>,
        lanes: BTreeMap<InterfaceName, Lane>,
        running_max: usize,
        adopted: Vec<Adopted>,
        stop: CancellationToken,
        kill: CancellationToken,
    ) -> Self {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        let rules = lanes.iter().map(|(name, lane)| (name.clone(), lane.rules));
        let scheduler = Scheduler::new(rules, running_max);
        let core = Core {
            spool,
            lanes,
            hints: Hints {
                events: sender,
                lost: lost.clone(),
            },
            scanned: std::sync::Mutex::default(),
            stop,
            kill,
        };
        Self {
            core: Arc::new(core),
            scheduler,
            events,
            lost,
            adopted,
        }
    }

    pub fn hints(&self) -> Hints {
        self.core.hints.clone()
    }

    /// Runs until stopped and nothing runs any more. `poll`: scan so often, as nobody watches.
    pub async fn run(mut self, poll: Option<Duration>) {
        let rescan_every = poll.unwrap_or(RESCAN_EVERY);
        let mut actions = Vec::new();
        for adopted in std::mem::take(&mut self.adopted) {
            let event = Event::Adopted(adopted.interface.clone(), adopted.name.clone());
            self.scheduler.on(event, &mut actions);
            tokio::spawn(self.core.clone().follow(adopted));
        }
        self.scheduler.on(Event::Rescan, &mut actions);
        let mut rescan_at = tokio::time::Instant::now() + rescan_every;
        let stop = self.core.stop.clone();
        let mut draining = false;
        loop {
            for action in actions.drain(..) {
                if action == Action::Exit {
                    return;
                }
                self.core.act(action);
            }
            let due = self.due_in();
            let event = tokio::select! {
                event = self.events.recv() => event.unwrap_or(Event::Drain),
                () = tokio::time::sleep(due) => Event::Tick(self.core.spool.now_ms()),
                () = tokio::time::sleep_until(rescan_at) => {
                    rescan_at = tokio::time::Instant::now() + rescan_every;
                    Event::Rescan
                }
                () = stop.cancelled(), if !draining => {
                    draining = true;
                    Event::Drain
                }
            };
            self.scheduler.on(event, &mut actions);
            if self.lost.swap(false, Ordering::AcqRel) {
                self.scheduler.on(Event::Rescan, &mut actions);
            }
        }
    }

    /// Until the next deferred job is due; looked at again now and then, as clocks step.
    fn due_in(&self) -> Duration {
        let most = Duration::from_secs(10);
        match self.scheduler.next_due_ms() {
            None => most,
            Some(due_ms) => {
                let wait_ms = due_ms.saturating_sub(self.core.spool.now_ms()).max(0);
                Duration::from_millis(wait_ms.cast_unsigned()).min(most)
            }
        }
    }
}

impl Core {
    fn act(self: &Arc<Self>, action: Action) {
        let this = self.clone();
        match action {
            Action::Exit => {}
            Action::Release(interface, job, due_ms) => {
                tokio::spawn(this.release(interface, job, due_ms));
            }
            Action::Scan(interface) => {
                let failed = Event::ScanFailed(interface.clone());
                let handle = tokio::runtime::Handle::current();
                tokio::spawn(
                    self.clone()
                        .report(failed, move || this.scan(interface, &handle)),
                );
            }
            Action::Start(interface, job) => {
                tokio::spawn(this.start(interface, job));
            }
        }
    }

    /// Does something on a blocking thread and tells what came of it: `failed` if it broke down.
    async fn report(self: Arc<Self>, failed: Event, work: impl FnOnce() -> Event + Send + 'static) {
        let event = tokio::task::spawn_blocking(work).await.unwrap_or(failed);
        // An error: the worker has gone, and with it the need to know.
        let _ = self.hints.events.send(event).await;
    }

    fn scan(&self, interface: InterfaceName, handle: &tokio::runtime::Handle) -> Event {
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
        Event::Listed {
            interface,
            held: scan.held,
            ready: scan.ready,
            deferred: scan.deferred,
        }
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
        if self.spool.was_requeued(&job) {
            tracing::info!(job = %name, %interface, "requeued");
            return;
        }
        tracing::info!(job = %name, %interface, "{text}");
        if let Err(error) = self.spool.note(&job, &text) {
            tracing::warn!(job = %name, %error, "the note could not be kept");
        }
    }

    async fn release(self: Arc<Self>, interface: InterfaceName, job: JobName, due_ms: i64) {
        let deferred = Job {
            place: Place::Deferred {
                interface: interface.clone(),
                due_ms,
            },
            name: job.clone(),
        };
        let this = self.clone();
        let released = tokio::task::spawn_blocking(move || this.spool.release_due(&deferred));
        let end = match released.await {
            Ok(Ok(Moved::Done(_))) => Released::Queued,
            Ok(Ok(Moved::Gone)) => Released::Gone,
            Ok(Err(error)) => {
                tracing::error!(%job, %interface, %error, "a due job stays deferred; tried again");
                Released::Stuck
            }
            Err(_) => Released::Stuck,
        };
        let event = Event::Released(interface.clone(), job, end);
        let _ = self.hints.events.send(event).await;
        if end == Released::Stuck {
            self.resume_later(interface).await;
        }
    }

    /// Waits for the end of a command that outlived the service which started it.
    async fn follow(self: Arc<Self>, adopted: Adopted) {
        let Adopted {
            interface,
            name,
            attempt,
        } = adopted.clone();
        tracing::info!(job = %name, %interface, attempt, "adopted: its command still runs");
        let mut ending = self.ending(&adopted);
        loop {
            tokio::time::sleep(ADOPTED_EVERY).await;
            let (this, job) = (self.clone(), adopted.clone());
            let looked = tokio::task::spawn_blocking(move || {
                ending.look(this.spool.now_ms(), this.kill.is_cancelled());
                (ending, this.spool.end_of(&job))
            });
            match looked.await {
                Ok((again, Ok(None))) => ending = again,
                Ok((_, Ok(Some(_)))) => break,
                Ok((_, Err(error))) => {
                    tracing::error!(job = %name, %error, "the adopted job stays in work");
                    break;
                }
                Err(_) => break,
            }
        }
        let ended = Event::Ended(interface.clone(), name, End::Unknown);
        let _ = self.hints.events.send(ended).await;
        self.hints.tell(Event::Hint(interface));
    }

    fn ending(&self, adopted: &Adopted) -> Ending {
        let (output, started_ms) = self.spool.run_of(adopted);
        let processor = self.lanes.get(&adopted.interface);
        let processor = processor.and_then(|lane| lane.processor.as_ref());
        let limit = processor.and_then(Processor::timeout);
        let started_ms = started_ms.unwrap_or_else(|| self.spool.now_ms());
        Ending::new(self.spool.fs().absolute(&output), started_ms, limit)
    }

    /// Claims, runs and settles one job, and tells how it ended whatever happens.
    async fn start(self: Arc<Self>, interface: InterfaceName, job: JobName) {
        let this = self.clone();
        let (i, j) = (interface.clone(), job.clone());
        // On a task of its own: a panic costs this job an attempt, not the service.
        let run = tokio::spawn(async move { this.work(&i, &j).await });
        let end = match run.await {
            Ok(end) => end,
            Err(error) => {
                tracing::error!(%job, %error, "the run of a job broke down");
                let this = self.clone();
                let (i, j) = (interface.clone(), job.clone());
                let left = tokio::task::spawn_blocking(move || this.left_in_work(i, &j)).await;
                if let Ok(Some(left)) = left {
                    return self.follow(left).await;
                }
                End::Unknown
            }
        };
        let ended = Event::Ended(interface.clone(), job, end);
        let _ = self.hints.events.send(ended).await;
        if end == End::Stuck {
            self.resume_later(interface).await;
        }
    }

    /// What could not be done for now is tried again after a pause.
    async fn resume_later(&self, interface: InterfaceName) {
        tokio::time::sleep(STUCK_PAUSE).await;
        let _ = self.hints.events.send(Event::Resume(interface)).await;
    }

    /// A job whose run broke down after its command was started: as after a crash of ours.
    fn left_in_work(&self, interface: InterfaceName, job: &JobName) -> Option<Adopted> {
        let working = self.spool.working(&interface).unwrap_or_default();
        let (name, attempt) = working.into_iter().find(|(name, _)| name == job)?;
        Some(Adopted {
            interface,
            name,
            attempt,
        })
    }

    async fn work(self: Arc<Self>, interface: &InterfaceName, job: &JobName) -> End {
        let processor = self
            .lanes
            .get(interface)
            .and_then(|lane| lane.processor.as_ref());
        let Some(processor) = processor else {
            return End::Unknown;
        };
        let this = self.clone();
        let (i, j) = (interface.clone(), job.clone());
        let command = matches!(processor, Processor::Command(_));
        let begun = tokio::task::spawn_blocking(move || this.begin(&i, &j, command)).await;
        let (claim, run) = match begun {
            Ok(Ok(Begun::Claimed(begun))) => *begun,
            Ok(Ok(Begun::Gone)) => return End::Unknown,
            Ok(Ok(Begun::Locked)) => return End::Stuck,
            Ok(Err(error)) => {
                tracing::error!(%job, %interface, %error, "the job cannot be started; tried again");
                return End::Stuck;
            }
            Err(_) => return End::Stuck,
        };
        let started_ms = self.spool.now_ms();
        tracing::info!(%job, %interface, attempt = claim.attempt(), "started");
        let ended = processor.run(run, &self.kill).await;
        let this = self.clone();
        let settled = tokio::task::spawn_blocking(move || this.settle(claim, ended, started_ms));
        settled.await.unwrap_or(End::Unknown)
    }

    /// Claims a job and lays out what its run needs.
    fn begin(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        command: bool,
    ) -> Result<Begun, SpoolError> {
        let Some(mut claim) = self.spool.claim(interface, job)? else {
            let waits = self.spool.is_ready(interface, job) && !self.spool.is_held(interface)?;
            return Ok(if waits { Begun::Locked } else { Begun::Gone });
        };
        let io = |op, path: &PathBuf| {
            let path = path.clone();
            move |source| SpoolError::Io { op, path, source }
        };
        let path = claim.path();
        let fs = self.spool.fs();
        let file = fs.absolute(&path);
        let dir = fs.absolute(&claim.run_dir());
        if command {
            claim.prepare()?;
            let params = claim.attribute("params").unwrap_or_else(|| "{}".into());
            let params_path = dir.join("params.json");
            std::fs::write(&params_path, params).map_err(io("write", &params_path))?;
        }
        let run = Run {
            job: job.clone(),
            interface: interface.clone(),
            attempt: claim.attempt(),
            submitter: claim.attribute("submitter").unwrap_or_default(),
            body: fs.update(&path).map_err(io("open", &path))?,
            lock: claim.lock().try_clone().map_err(io("open", &path))?,
            file,
            dir,
        };
        if command {
            claim.begin();
        }
        Ok(Begun::Claimed(Box::new((claim, run))))
    }

    fn settle(&self, mut claim: Claim, ended: Ended, started_ms: i64) -> End {
        let Ended {
            mut outcome,
            mut messages,
        } = ended;
        if outcome == Outcome::Done
            && let Err(SpoolError::Output(reason)) = claim.check_output()
        {
            messages.push(Message::new(self.spool.now_ms(), Level::Error, &reason));
            outcome = Outcome::Failed { reason };
        }
        let lane = &self.lanes[claim.interface()];
        let now_ms = self.spool.now_ms();
        let unknown = matches!(outcome, Outcome::Cut { .. } | Outcome::Stopped);
        if unknown && lane.at_most_once {
            let reason = "the outcome is unknown; this interface delivers at most once, so the \
                          job is not run again";
            messages.push(Message::new(now_ms, Level::Error, reason));
            let reason = reason.to_owned();
            outcome = Outcome::Failed { reason };
        }
        let (what, mut reason) = match outcome {
            Outcome::Done => (Settlement::Done, None),
            Outcome::Failed { reason } => (Settlement::Failed, Some(reason)),
            Outcome::Cut { reason } | Outcome::Retry { reason } => {
                match lane.retry.wait_ms(claim.attempt(), chance()) {
                    Some(wait_ms) => {
                        let due_ms = now_ms + wait_ms;
                        (Settlement::Deferred { due_ms }, Some(reason))
                    }
                    None => {
                        let text = format!("given up after {} attempts", claim.attempt());
                        messages.push(Message::new(now_ms, Level::Error, text));
                        (Settlement::Failed, Some(reason))
                    }
                }
            }
            Outcome::Stopped => (Settlement::GivenBack, None),
        };
        let log = (what != Settlement::GivenBack)
            .then(|| self.log_of(&claim, what, messages, started_ms));
        let settled = self.settle_patiently(&mut claim, what, log.clone());
        // What cannot be settled as it should be fails, so that it does not run for ever.
        let (what, settled) = match settled {
            Err(error) if self.spool.unhealthy().is_none() && what != Settlement::GivenBack => {
                let told = format!("the job could not be settled: {error}");
                tracing::error!(job = %claim.job(), "{told}");
                reason = Some(told.clone());
                let log = log.map(|mut log| {
                    log.status = Status::Error;
                    log.messages = vec![Message::new(now_ms, Level::Error, told)];
                    log
                });
                let mut failed = self.settle_patiently(&mut claim, Settlement::Failed, log);
                if failed.is_err() {
                    // It may be the log that cannot be written.
                    failed = self.settle_patiently(&mut claim, Settlement::Failed, None);
                }
                (Settlement::Failed, failed)
            }
            settled => (what, settled),
        };
        match settled {
            Ok(published) => self.told(&claim, what, reason, published, started_ms),
            Err(error) => {
                tracing::error!(job = %claim.job(), %error, "the job cannot be settled");
                End::Unknown
            }
        }
    }

    /// A full disk is waited for: the work is done, and doing it again would do it twice.
    fn settle_patiently(
        &self,
        claim: &mut Claim,
        what: Settlement,
        log: Option<JobLog>,
    ) -> Result<Published, SpoolError> {
        loop {
            match claim.settle(what, log.clone()) {
                Err(SpoolError::Full { op, path }) if !self.kill.is_cancelled() => {
                    let path = path.display();
                    tracing::error!(job = %claim.job(), "disk full: cannot {op} {path}; waiting");
                    std::thread::sleep(FULL_EVERY);
                }
                other => return other,
            }
        }
    }

    fn told(
        &self,
        claim: &Claim,
        what: Settlement,
        reason: Option<String>,
        published: Published,
        started_ms: i64,
    ) -> End {
        let (job, interface) = (claim.job(), claim.interface());
        let ms = self.spool.now_ms() - started_ms;
        let attempt = claim.attempt();
        let reason = reason.unwrap_or_default();
        if published.moved == Moved::Gone {
            tracing::warn!(%job, %interface, attempt, ms, "moved by hand while its command ran");
            return End::Unknown;
        }
        match what {
            Settlement::Deferred { due_ms } => {
                let due = crate::job::stamp(due_ms);
                tracing::warn!(%job, %interface, attempt, ms, due, reason, "deferred");
            }
            Settlement::Done => tracing::info!(%job, %interface, attempt, ms, "done"),
            Settlement::Failed => tracing::error!(%job, %interface, attempt, ms, reason, "failed"),
            Settlement::GivenBack => tracing::info!(%job, %interface, attempt, ms, "given back"),
        }
        for emitted in published.emitted {
            tracing::info!(job = %emitted.name, place = %emitted.place, parent = %job, "emitted");
            if let Some(interface) = emitted.place.interface() {
                let event = Event::Arrived(interface.clone(), emitted.name.clone());
                self.hints.tell(event);
            }
        }
        match what {
            Settlement::Deferred { due_ms } => End::Deferred { due_ms },
            Settlement::Done | Settlement::Failed => End::Left,
            Settlement::GivenBack => End::Unknown,
        }
    }

    fn log_of(
        &self,
        claim: &Claim,
        what: Settlement,
        mut messages: Vec<Message>,
        started_ms: i64,
    ) -> JobLog {
        // A job that has a log has its notes there, and this run is not its first.
        if self.spool.read_log(claim.job()).is_some() {
            let text = format!("attempt {} started", claim.attempt());
            messages.insert(0, Message::new(started_ms, Level::Info, text));
        } else if let Some(note) = claim.attribute("note") {
            let received_ms = self.spool.received_ms(claim.place());
            let note = Message::new(received_ms, Level::Info, note);
            messages.insert(0, note);
        }
        let stat = self.spool.fs().stat(&claim.path()).ok().flatten();
        JobLog {
            job: claim.job().clone(),
            interface: Some(claim.interface().clone()),
            status: match what {
                Settlement::Done => Status::Ok,
                Settlement::Deferred { .. } | Settlement::Failed | Settlement::GivenBack => {
                    Status::Error
                }
            },
            received_ms: self.spool.received_ms(claim.place()),
            started_ms: Some(started_ms),
            finished_ms: self.spool.now_ms(),
            attempts: claim.attempt(),
            bytes: stat.map_or(0, |stat| stat.bytes),
            sha256: self.spool.checksum_of(claim.place()),
            messages,
        }
    }
}

/// From 0 to 1, for jitter.
fn chance() -> f64 {
    let random = getrandom::u32().unwrap_or(0);
    f64::from(random) / f64::from(u32::MAX)
}
