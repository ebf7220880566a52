//! One tenant, prepared and then at work: its spool, service, users, watcher and worker.

use super::{
    About,
    engine::{Engine, seal},
    holds,
    reload::{Reloader, Woken},
    service_manager::Told,
    supervise::{Supervisor, blocking},
    timetable::{self, Alarm},
    watcher::Watcher,
};
use crate::{
    auth::{UserFiles, Users, UsersFile},
    config::{Config, InterfaceConfig, Limits, Tenant},
    domain::{InterfaceName, Job, JobName, Queue, UserName},
    events::{self, Dispatcher},
    http::tls::Certificate,
    metrics::{Metrics, Rescan, Tenant as TenantMetrics},
    ops::admin::{Admin, Change},
    ops::health::gather::{StoreFacts, TenantSource, unknown_partners},
    processor::Starter,
    scheduler::Event,
    service::{
        self, AdmissionLimits, Cancelling, InFlight, Parts, ScheduleRules, Service, Slots,
        Verifier, WorkerHandle,
    },
    store::{
        By, LeftBehind, Store,
        events::Wants,
        fs::{Adopted, FileStore, InForce, Owner, RealFs, Rules, Spool, SpoolLock},
    },
    ui,
    util::Heartbeat,
    watch::{Identity, Seen, Watch, Watched},
    worker::{self, Hints, Worker},
    xml::{self, Room, SchemaFiles, Schemas, Source, Stylesheets, XmlLimits, XsdSchema},
};
use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Which users are familiar where, beside the spool's directories.
const FAMILIAR: &str = ".familiar";
/// Without a watcher, queues are scanned so often.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// What all tenants have together.
pub(super) struct Shared {
    in_flight: Arc<InFlight>,
    room: Arc<Room>,
    transforms: Slots,
    starter: Starter,
    metrics: Arc<Metrics>,
    /// `None`: directories cannot be watched.
    watcher: Option<Arc<Watcher>>,
}

impl Shared {
    pub(super) fn new(limits: &Limits, starter: Starter, metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            in_flight: Arc::default(),
            room: Arc::default(),
            transforms: Slots::new(limits.stylesheets_max, limits.stylesheets_per_user_max),
            starter,
            watcher: watcher(),
        }
    }

    /// Goes by other limits from now on.
    pub(super) fn take(&self, limits: &Limits) {
        let transforms = &self.transforms;
        transforms.limit(limits.stylesheets_max, limits.stylesheets_per_user_max);
    }

    /// Its part of a tenant, by the tenant's number.
    pub(super) fn for_tenant(&self, tenant: usize) -> Self {
        Self {
            in_flight: self.in_flight.clone(),
            room: self.room.clone(),
            transforms: self.transforms.for_tenant(tenant),
            starter: self.starter.clone(),
            metrics: self.metrics.clone(),
            watcher: self.watcher.clone(),
        }
    }

    /// Has the watcher begin anew when it breaks down.
    pub(super) fn keep_watching(&self, supervisor: &Supervisor, stop: &CancellationToken) {
        if let Some(watcher) = &self.watcher {
            watcher.keep(supervisor, stop.clone());
        }
    }
}

/// Watches for all tenants; without it, queues are polled.
fn watcher() -> Option<Arc<Watcher>> {
    match Watcher::begin() {
        Ok(watcher) => Some(Arc::new(watcher)),
        Err(error) => {
            tracing::warn!(
                %error,
                "directories cannot be watched; queues are scanned every second instead",
            );
            None
        }
    }
}

/// A tenant that is ready to work: its spool is ours and recovered, and nothing runs yet.
pub(super) struct Prepared {
    pub(super) service: Arc<ArcSwap<Service>>,
    verifier: Arc<ArcSwap<Verifier>>,
    pub(super) users: Arc<Users>,
    pub(super) engine: Engine,
    metrics: TenantMetrics,
    starter: Starter,
    /// By what events are sent.
    events: watch::Sender<events::Rules>,
    worker: Worker,
    alarm: Arc<Alarm>,
    reloader: Arc<Reloader>,
    woken: Arc<Woken>,
    /// A hold was set or ended.
    held: Arc<Notify>,
    lock: Arc<SpoolLock>,
}

/// What of a tenant at work decides by the configuration.
pub(super) struct Follower {
    pub(super) users: Arc<Users>,
    service: Arc<ArcSwap<Service>>,
    verifier: Arc<ArcSwap<Verifier>>,
    engine: Engine,
    worker: worker::Handle,
    events: watch::Sender<events::Rules>,
    alarm: Arc<Alarm>,
    reloader: Arc<Reloader>,
    /// Gone when the spool is somebody else's.
    lock: Weak<SpoolLock>,
}

/// A tenant at work.
pub(super) struct Running {
    engine: Engine,
    /// `None`: it has ended.
    worker: Option<JoinHandle<()>>,
    timetable: JoinHandle<()>,
    dispatcher: JoinHandle<()>,
    lock: Arc<SpoolLock>,
}

/// What the configuration says of the interfaces, as the spool wants it.
pub(crate) fn rules(tenant: &Tenant) -> BTreeMap<InterfaceName, Rules> {
    map(&tenant.interfaces, |interface| interface.rules.clone())
}

/// Opens a tenant's spool, making what is missing.
pub(crate) fn open_spool(tenant: &Tenant) -> anyhow::Result<Spool> {
    make_root(tenant)?;
    existing_spool(tenant).check_format()?;
    let clock = Box::new(|| jiff::Timestamp::now().as_millisecond());
    let spool = Spool::open(RealFs::new(&tenant.root), rules(tenant), clock)?;
    let spool = spool.with_retention(tenant.retention.clone());
    let spool = spool.with_accepted_risk(tenant.accept_risk);
    let spool = spool.with_receivers(wants(tenant));
    let spool = spool.with_attributes(|document, name| {
        let source = Source::Memory(document);
        let value = xml::root_attribute(&source, name, &XmlLimits::default());
        value.ok().flatten()
    });
    Ok(spool.with_only_json(only_json(tenant)))
}

/// For whom events are recorded.
pub(super) fn wants(tenant: &Tenant) -> Vec<Wants> {
    let receivers = tenant.events.iter();
    receivers.map(|receiver| receiver.wants.clone()).collect()
}

/// By what the events of a tenant are sent.
fn event_rules(config: &Config, tenant: &Tenant) -> events::Rules {
    events::Rules {
        receivers: tenant.events.clone(),
        bytes_max: config.limits.events_bytes_max,
    }
}

/// Makes the directory of a tenant if there is none.
pub(super) fn make_root(tenant: &Tenant) -> anyhow::Result<()> {
    let root = &tenant.root;
    std::fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))
}

/// The interfaces of whose commands partners see JSON alone.
pub(super) fn only_json(tenant: &Tenant) -> BTreeSet<InterfaceName> {
    let interfaces = tenant.interfaces.iter();
    let only_json = interfaces.filter(|(_, interface)| interface.lane.shows_only_json());
    only_json.map(|(name, _)| name.clone()).collect()
}

/// A tenant's spool as it is, to look at: nothing is made.
pub(crate) fn existing_spool(tenant: &Tenant) -> Spool {
    let clock = Box::new(|| jiff::Timestamp::now().as_millisecond());
    let spool = Spool::existing(RealFs::new(&tenant.root), rules(tenant), clock);
    let spool = spool.with_retention(tenant.retention.clone());
    let spool = spool.with_accepted_risk(tenant.accept_risk);
    know_users(&spool, tenant);
    spool
}

/// Tells a spool who is a user, where jobs are for users and as far as the file can be read.
fn know_users(spool: &Spool, tenant: &Tenant) {
    if spool.addressed_interfaces().is_empty() {
        return;
    }
    if let Some(is_user) = users_of_files(tenant) {
        spool.know_users(is_user);
    }
}

/// Who is a user, by the files as they are now; `None`: they cannot be read.
pub(super) fn users_of_files(
    tenant: &Tenant,
) -> Option<impl Fn(&UserName) -> bool + Clone + Send + Sync + use<>> {
    let users = Arc::new(UsersFile::load(&tenant.users).ok()?);
    let files = Arc::new(UserFiles::beside(&tenant.users));
    Some(move |user: &UserName| users.account(user.as_str()).is_some() || files.has_own(user))
}

/// The schemas of a tenant; nothing is loaded yet.
pub(crate) fn schemas(tenant: &Tenant) -> Schemas {
    let dir = tenant.root.join("schemas");
    Schemas::open(&dir, Box::new(XsdSchema)).with_files(schema_files(tenant))
}

/// How the configuration has them put together.
fn schema_files(tenant: &Tenant) -> SchemaFiles {
    let interfaces = tenant.interfaces.values();
    let used = interfaces.filter_map(|interface| interface.service.schema.clone());
    SchemaFiles {
        catalog: tenant.catalog.clone(),
        editions: tenant.editions.clone(),
        used: used.collect(),
    }
}

/// Knows what the interfaces of a tenant take, by their schemas as they are when it is asked.
pub(crate) fn verifier(tenant: &Tenant) -> Verifier {
    let takes = map(&tenant.interfaces, |interface| interface.service.clone());
    Verifier::new(takes, Arc::new(schemas(tenant)))
}

/// What is taken in of uploads.
fn admission(config: &Config, tenant: &Tenant) -> AdmissionLimits {
    let all = config.limits.admission();
    let partners = tenant.partners.iter();
    AdmissionLimits {
        key_hours: tenant.retention.key_hours(),
        partners: partners
            .map(|(name, partner)| (name.clone(), partner.limits(&all.user)))
            .collect(),
        ..all
    }
}

/// A tenant's directories that are ours, and the engine.
struct Taken {
    lock: Arc<SpoolLock>,
    engine: Engine,
    /// Runs that go on.
    adopted: Vec<LeftBehind>,
}

/// Takes the spool: lock → probe → replay → recover; where jobs are in a database, its life begins instead.
async fn take(config: &Config, tenant: &Tenant, metrics: &TenantMetrics) -> anyhow::Result<Taken> {
    make_root(tenant)?;
    let lock = SpoolLock::take(&RealFs::new(&tenant.root), Owner::Service)?;
    let sha256 = config.sha256.clone();
    lock.say_configuration(&InForce { sha256, epoch: 1 })?;
    let (engine, adopted) = Engine::open(tenant, metrics).await?;
    Ok(Taken {
        adopted,
        lock: Arc::new(lock),
        engine,
    })
}

/// Brings a spool that has been probed into order: replay → recover. Gives the runs that go on.
pub(super) fn recover(
    tenant: &Tenant,
    spool: &Arc<Spool>,
    metrics: &TenantMetrics,
) -> anyhow::Result<Vec<Adopted>> {
    spool.take_format()?;
    let replayed = spool.open_journal(tenant.segment_bytes)?;
    let recovery = spool.recover()?;
    for interface in &recovery.cut_off {
        metrics.cut_off(interface.as_str());
    }
    spool.start_journal();
    tracing::info!(
        tenant = tenant.name,
        records = replayed.records,
        intact = replayed.intact,
        finished = replayed.finished,
        restored = replayed.restored.len(),
        adopted = recovery.adopted.len(),
        failed = recovery.failed.len(),
        removed = recovery.removed,
        requeued = recovery.requeued.len(),
        "recovered",
    );
    Ok(recovery.adopted)
}

/// Takes a spool that no service has for an operator's command, as a service would: lock → replay →
/// recover. The engine is to be closed before the lock is given back. A database needs no lock, since all that is
/// done in it holds for everybody.
pub(crate) async fn take_over(
    tenant: &Tenant,
) -> anyhow::Result<(Option<SpoolLock>, Engine, Admin)> {
    let verifier = Arc::new(ArcSwap::from_pointee(verifier(tenant)));
    if tenant.database.is_some() {
        let engine = Engine::look(tenant).await?;
        let admin = Admin::new(engine.store.clone(), verifier, None, |_| {});
        return Ok((None, engine, admin));
    }
    let lock = SpoolLock::take(&RealFs::new(&tenant.root), Owner::Command)?;
    let spool = open_spool(tenant)?;
    spool.take_format()?;
    spool.open_journal(tenant.segment_bytes)?;
    spool.recover()?;
    know_users(&spool, tenant);
    let spool = Arc::new(spool);
    let engine = Engine::of(spool.clone(), Arc::new(FileStore::new(spool)));
    let admin = Admin::new(engine.store.clone(), verifier, None, |_| {});
    Ok((Some(lock), engine, admin))
}

/// The worker of a tenant; nothing runs yet.
fn worker_of(
    config: &Config,
    tenant: &Tenant,
    (store, adopted): (Arc<dyn Store>, Vec<LeftBehind>),
    (starter, metrics): (Starter, TenantMetrics),
    drain: &CancellationToken,
    kill: &CancellationToken,
) -> Worker {
    Worker::new(worker::Parts {
        store,
        rules: worker_rules(config, tenant),
        starter,
        adopted,
        metrics,
        stop: drain.clone(),
        kill: kill.clone(),
    })
}

/// By what the worker of a tenant decides.
fn worker_rules(config: &Config, tenant: &Tenant) -> worker::Rules {
    worker::Rules {
        lanes: map(&tenant.interfaces, |of| Arc::new(of.lane.clone())),
        running_max: config.limits.running_max,
        partners: tenant.partner_rules(&config.limits),
        tags: config.worker_tags.clone(),
    }
}

/// Ends what runs each time the engine was out of reach for long: others may soon take it over.
async fn end_out_of_reach(engine: Engine, worker: worker::Handle, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = engine.out_of_reach() => {
                tracing::error!("the database cannot be reached: what runs is ended");
                worker.end_runs();
            }
            () = stop.cancelled() => return,
        }
    }
}

/// What the service does with schedules; the clock hears of those that are saved.
fn schedule_rules(config: &Config, alarm: Arc<Alarm>) -> ScheduleRules {
    ScheduleRules {
        time_zone: config.time_zone.clone(),
        clock_changes: config.clock_changes,
        missed: config.missed_schedules,
        saved: Box::new(move |id| alarm.touch(id)),
    }
}

/// Makes the users file, with nobody in it, if there is none yet, and the directory for those with files of their own.
fn make_users_file(path: &Path) -> anyhow::Result<()> {
    if let Ok(false) = path.try_exists() {
        UsersFile::edit(path, |_| Ok(()))?;
        let path = path.display();
        tracing::info!("{path} is made; nobody is in it before `spoolgate user add`");
    }
    // Who may not make it has nobody in it; one that others may write is told by the first look.
    if let Err(error) = UserFiles::beside(path).make_dir() {
        tracing::debug!(%error, "no user has a file of his own");
    }
    Ok(())
}

/// The users, who remember from where they have logged in and are known to the spool. After the lock: what they
/// remember is in a file of the spool's owner.
fn remembering(users: Users, tenant: &Tenant, engine: &Engine) -> Arc<Users> {
    let users = Arc::new(users.remembering(&tenant.root.join(FAMILIAR)));
    let known = users.clone();
    engine.know_users(move |user| known.is_user(user.as_str()));
    users
}

impl Prepared {
    pub(super) async fn new(
        config: &Config,
        tenant: &Tenant,
        shared: Shared,
        common: Option<(Arc<Certificate>, Arc<About>)>,
        drain: &CancellationToken,
        kill: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let seal = seal(tenant).await?;
        make_users_file(&tenant.users)?;
        let users = Users::open(&tenant.users, seal.clone())?;
        let metrics = shared.metrics.tenant(&tenant.name);
        let taken = take(config, tenant, &metrics).await?;
        let (engine, store) = (taken.engine.clone(), taken.engine.store);
        let users = remembering(users, tenant, &engine);
        let of = (store.clone(), taken.adopted);
        let by = (shared.starter.clone(), metrics.clone());
        let worker = worker_of(config, tenant, of, by, drain, kill);
        let hints = worker.hints();
        // Armed before the first scan, so that nothing is missed in between.
        let alarm = Arc::new(Alarm::default());
        let watching = (shared.watcher.as_deref(), watched(config, tenant));
        let (watcher, woken) = watch(watching, &engine.spool, &hints, &alarm, &metrics);
        let reloader = Arc::new(Reloader {
            tenant: tenant.name.clone(),
            schemas: Arc::new(schemas(tenant).with_room(shared.room)),
            stylesheets: Arc::new(Stylesheets::open(&tenant.root.join("xslt"))),
            users: users.clone(),
            common,
            engine: engine.clone(),
            retention: ArcSwap::from_pointee(tenant.retention.clone()),
            watcher,
            unwatched: Mutex::default(),
            hints,
            trouble: Mutex::default(),
        });
        reloader.clone().look().await;
        let takes = map(&tenant.interfaces, |interface| interface.service.clone());
        let verifier = Verifier::new(takes.clone(), reloader.schemas.clone());
        let service = Service::new(Parts {
            seal,
            schedules: schedule_rules(config, alarm.clone()),
            store,
            interfaces: takes,
            schemas: reloader.schemas.clone(),
            stylesheets: reloader.stylesheets.clone(),
            limits: admission(config, tenant),
            in_flight: shared.in_flight,
            transforms: shared.transforms,
            worker: Box::new(worker.handle()),
            metrics: metrics.clone(),
        });
        Ok(Self {
            service: Arc::new(ArcSwap::from_pointee(service)),
            verifier: Arc::new(ArcSwap::from_pointee(verifier)),
            users,
            engine,
            metrics,
            starter: shared.starter,
            events: watch::Sender::new(event_rules(config, tenant)),
            worker,
            alarm,
            reloader,
            woken,
            held: Arc::default(),
            lock: taken.lock,
        })
    }

    /// What operators do to the tenant's spool; the worker is told.
    pub(super) fn admin(&self) -> Admin {
        let (hints, alarm) = (self.worker.hints(), self.alarm.clone());
        let held = self.held.clone();
        let worker = Arc::new(self.worker.handle());
        let changed = move |change| match change {
            Change::Interface(interface) => {
                hints.notify(Event::Hint(interface));
                held.notify_one();
            }
            Change::Schedule(id) => alarm.touch(id),
        };
        let verifier = self.verifier.clone();
        Admin::new(self.engine.store.clone(), verifier, Some(worker), changed)
    }

    pub(super) fn follower(&self) -> Follower {
        Follower {
            users: self.users.clone(),
            service: self.service.clone(),
            verifier: self.verifier.clone(),
            engine: self.engine.clone(),
            worker: self.worker.handle(),
            events: self.events.clone(),
            alarm: self.alarm.clone(),
            reloader: self.reloader.clone(),
            lock: Arc::downgrade(&self.lock),
        }
    }

    /// The tenant as the page knows it.
    pub(super) fn page(&self, name: &str) -> ui::Spool {
        let served = (self.service.clone(), self.users.clone());
        let store = self.engine.store.clone();
        ui::Spool::new(name.to_owned(), store, self.admin(), served)
    }

    /// Scans and starts what waits. Called once nothing can keep the service from starting.
    pub(super) fn run(
        self,
        supervisor: &Supervisor,
        stop: &CancellationToken,
        drain: &CancellationToken,
    ) -> (Running, Served) {
        let reloader = self.reloader;
        let named = |task: &str| format!("{task} of tenant {}", reloader.tenant);
        let engine = self.engine;
        // No directory tells what other nodes do.
        let is_watched = reloader.watcher.is_some() && !engine.is_shared();
        let poll = (!is_watched).then_some(POLL_EVERY);
        let scanned = self.worker.scanned();
        let (lost, handle, until) = (engine.clone(), self.worker.handle(), stop.clone());
        supervisor.keep(named("the end of runs out of reach"), move || {
            end_out_of_reach(lost.clone(), handle.clone(), until.clone())
        });
        let worker = self.worker.run(poll);
        let worker = supervisor.essential(named("the worker"), worker, drain.clone());
        let (service, alarm, until) = (self.service, self.alarm.clone(), stop.clone());
        let timetable = supervisor.keep(named("the clock of the schedules"), move || {
            // After one that broke down nobody knows what it had looked at.
            alarm.touch_all();
            timetable::run(service.clone(), alarm.clone(), is_watched, until.clone())
        });
        let (store, until) = (engine.store.clone(), stop.clone());
        let (starter, metrics, rules) = (self.starter, self.metrics.clone(), self.events);
        let dispatcher = supervisor.keep(named("the dispatcher of events"), move || {
            let by = (starter.clone(), metrics.clone());
            let dispatcher = Dispatcher::new(store.clone(), rules.subscribe(), by);
            dispatcher.run(until.clone())
        });
        let (store, held, until) = (engine.store.clone(), self.held, stop.clone());
        let hints = reloader.hints.clone();
        supervisor.keep(named("the clock of the holds"), move || {
            let hints = hints.clone();
            let ended = move |interface| hints.notify(Event::Hint(interface));
            holds::run(store.clone(), held.clone(), ended, until.clone())
        });
        let (reloading, woken, until) = (reloader.clone(), self.woken.clone(), stop.clone());
        supervisor.keep(named("the reloading of files"), move || {
            reloading.clone().reload(woken.clone(), until.clone())
        });
        let (sweeping, until) = (reloader.clone(), stop.clone());
        supervisor.keep(named("the sweep of old days"), move || {
            sweeping.clone().keep_days(until.clone())
        });
        let served = Served {
            name: reloader.tenant.clone(),
            store: engine.store.clone(),
            reloader,
            scanned,
            committing: engine.spool.heartbeat(),
        };
        let running = Running {
            engine,
            worker: Some(tokio::spawn(worker)),
            timetable,
            dispatcher,
            lock: self.lock,
        };
        (running, served)
    }
}

impl WorkerHandle for worker::Handle {
    fn arrived(&self, interface: &InterfaceName, job: &JobName) {
        self.arrived(interface, job);
    }

    fn cancel(&self, job: JobName, by: By) -> Cancelling<'_> {
        Box::pin(self.cancel(job, by))
    }

    fn eta_ms(&self, job: &Job) -> Option<i64> {
        self.eta_ms(job)
    }
}

fn map<T>(
    interfaces: &BTreeMap<InterfaceName, InterfaceConfig>,
    part: impl Fn(&InterfaceConfig) -> T,
) -> BTreeMap<InterfaceName, T> {
    let interfaces = interfaces.iter();
    interfaces
        .map(|(name, i)| (name.clone(), part(i)))
        .collect()
}

impl Running {
    /// Waits for the running commands, unless the service stops before they have ended.
    pub(super) async fn drained(&mut self, stop: &CancellationToken) {
        let Some(worker) = &mut self.worker else {
            return;
        };
        tokio::select! {
            // What it came to is the supervisor's to tell.
            _ = worker => self.worker = None,
            () = stop.cancelled() => {}
        }
    }

    /// Waits for the running commands, then gives the lock: the spool is free for the next owner
    /// once it is dropped, which must be after the last blocking call has ended.
    pub(super) async fn stopped(self) -> Arc<SpoolLock> {
        // What they came to is the supervisor's to tell.
        if let Some(worker) = self.worker {
            let _ = worker.await;
        }
        let _ = self.timetable.await;
        let _ = self.dispatcher.await;
        self.engine.close().await;
        self.lock
    }
}

impl Follower {
    /// Makes what another configuration needs of the spool, and tries what it says of receivers and schemas.
    ///
    /// # Errors
    /// When a directory cannot be made, nothing can be sent to a receiver that was not there, or said otherwise,
    /// before, or a schema that serves could not any more. What was made stays and does no harm.
    pub(super) async fn prepare(&self, tenant: &Tenant) -> anyhow::Result<()> {
        let mut receivers = tenant.events.clone();
        receivers.retain(|receiver| !self.events.borrow().receivers.contains(receiver));
        let checked = blocking(move || {
            (receivers.into_iter()).try_for_each(|receiver| {
                let checked = receiver.check();
                checked.map_err(|why| anyhow!("events: {}: {why}", receiver.wants.receiver))
            })
        });
        checked.await?;
        let (schemas, files) = (self.reloader.schemas.clone(), schema_files(tenant));
        let tried = blocking(move || schemas.try_files(&files)).await;
        tried.map_err(|report| anyhow!("schema {report}"))?;
        let interfaces: Vec<InterfaceName> = tenant.interfaces.keys().cloned().collect();
        let spool = self.engine.spool.clone();
        Ok(blocking(move || spool.make_room_for(&interfaces)).await?)
    }

    /// The service by another configuration.
    pub(super) fn service(&self, config: &Config, tenant: &Tenant) -> Arc<Service> {
        Arc::new(self.service.load().with(service::Rules {
            interfaces: map(&tenant.interfaces, |interface| interface.service.clone()),
            limits: admission(config, tenant),
            schedules: schedule_rules(config, self.alarm.clone()),
        }))
    }

    /// Works by another configuration from now on, with the service that [`Follower::service`] made.
    pub(super) async fn take(&self, config: &Config, tenant: &Tenant, service: Arc<Service>) {
        self.engine.take(tenant).await;
        self.events.send_replace(event_rules(config, tenant));
        let reloader = &self.reloader;
        reloader.retention.store(Arc::new(tenant.retention.clone()));
        reloader.schemas.take_files(schema_files(tenant));
        if let Some(watcher) = &reloader.watcher {
            let (watcher, watched) = (watcher.clone(), watched(config, tenant));
            if let Err(error) = blocking(move || watcher.take(watched)).await {
                tracing::error!(%error, tenant = tenant.name, "directories cannot be watched");
            }
            // What was not heard of before they were watched anew.
            self.engine.spool.forget_closed();
            reloader.hints.notify(Event::Rescan);
        }
        self.worker.take(worker_rules(config, tenant)).await;
        reloader.clone().look().await;
        let takes = map(&tenant.interfaces, |interface| interface.service.clone());
        let verifier = Verifier::new(takes, reloader.schemas.clone());
        self.verifier.store(Arc::new(verifier));
        self.service.store(service);
        self.alarm.touch_all();
    }

    /// Says in the spool's lock which configuration is in force.
    pub(super) fn say(&self, in_force: &InForce) {
        let lock = self.lock.upgrade();
        if let Some(Err(error)) = lock.map(|lock| lock.say_configuration(in_force)) {
            tracing::error!(%error, "the spool's lock cannot say which configuration is in force");
        }
    }
}

/// What the probes look at.
pub(super) struct Served {
    /// Of the tenant.
    pub(super) name: String,
    pub(super) store: Arc<dyn Store>,
    reloader: Arc<Reloader>,
    /// Its queues have been looked at.
    scanned: CancellationToken,
    /// Of the thread that writes the journal.
    committing: Option<Arc<Heartbeat>>,
}

/// What the service manager is told of the tenants and of the loop that accepts connections.
pub(super) fn told(served: &[Served], accepting: Arc<Heartbeat>) -> Told {
    let stores = served.iter().map(|of| of.store.clone());
    let committing = served.iter().filter_map(|of| of.committing.clone());
    Told {
        stores: stores.collect(),
        scanned: served.iter().map(|of| of.scanned.clone()).collect(),
        heartbeats: committing.chain([accepting]).collect(),
    }
}

impl Served {
    pub(super) async fn store_facts(&self) -> StoreFacts {
        StoreFacts::of(&*self.store, true).await
    }

    pub(super) fn source<'a>(&'a self, tenant: &'a Tenant, store: StoreFacts) -> TenantSource<'a> {
        let reloader = &self.reloader;
        let trouble = reloader.trouble.lock();
        TenantSource {
            tenant,
            store,
            users: match &trouble.users {
                Some(error) => Err(format!("{error}; the users before stay in force")),
                None => Ok(reloader.users.anybody_may()),
            },
            broken_users: reloader.users.trouble(),
            unknown_partners: unknown_partners(tenant, |name| reloader.users.is_user(name)),
            schemas: &reloader.schemas,
            stylesheets: &reloader.stylesheets,
        }
    }

    /// Why the certificate that lies there did not come into force, which is looked at with the
    /// files of one tenant.
    pub(super) fn certificate_trouble(&self) -> Option<String> {
        let trouble = self.reloader.trouble.lock();
        trouble.certificate.clone()
    }
}

/// Watches a tenant's directories; where they cannot be, its queues are polled.
fn watch(
    (watcher, watched): (Option<&Watcher>, Watched),
    spool: &Arc<Spool>,
    hints: &Hints,
    alarm: &Arc<Alarm>,
    metrics: &TenantMetrics,
) -> (Option<Arc<Watch>>, Arc<Woken>) {
    let (root, schedules) = (watched.root.clone(), watched.root.join("schedules"));
    let woken = Arc::new(Woken::default());
    let (spool, hints, wake) = (spool.clone(), hints.clone(), woken.clone());
    let (alarm, metrics) = (alarm.clone(), metrics.clone());
    let sink = move |seen| {
        if let Seen::Changed(path) = &seen
            && path.parent() == Some(&schedules)
        {
            return alarm.touch_file(path);
        }
        match seen {
            Seen::Rescan => {
                metrics.rescanned(Rescan::Lost);
                alarm.touch_all();
            }
            Seen::Restarted => {
                metrics.rescanned(Rescan::Restarted);
                alarm.touch_all();
            }
            Seen::Replaced => metrics.rescanned(Rescan::Replaced),
            Seen::Came(..)
            | Seen::Changed(_)
            | Seen::Closed(..)
            | Seen::Left(..)
            | Seen::Written(..) => {}
        }
        on_seen(seen, &spool, &hints, &wake);
    };
    let watch = match watcher.map(|watcher| watcher.of_all().watch(watched, sink)) {
        None => None,
        Some(Ok(watch)) => Some(watch),
        Some(Err(error)) => {
            tracing::warn!(
                %error, spool = %root.display(),
                "directories cannot be watched; queues are scanned every second instead",
            );
            None
        }
    };
    (watch, woken)
}

/// What is watched for a tenant.
fn watched(config: &Config, tenant: &Tenant) -> Watched {
    let root = tenant.root.canonicalize().unwrap_or(tenant.root.clone());
    let interfaces = tenant.interfaces.iter();
    let addressed = interfaces.filter(|(_, interface)| interface.rules.drops.addressed);
    let own_users = UserFiles::beside(&tenant.users).dir().to_owned();
    let own_users = own_users.canonicalize().unwrap_or(own_users);
    Watched {
        dirs: ["schedules", "schemas", "xslt"]
            .map(|dir| root.join(dir))
            .into_iter()
            .chain(Some(own_users).filter(|dir| dir.is_dir()))
            .collect(),
        files: [&tenant.users, &config.certificate, &config.key]
            .into_iter()
            .chain(&config.files)
            .map(|file| in_its_directory(file))
            .collect(),
        identity,
        root,
        interfaces: tenant.interfaces.keys().cloned().collect(),
        addressed: addressed.map(|(name, _)| name.clone()).collect(),
    }
}

/// A file by the one name of its directory: tenants that share one may know it by different names.
fn in_its_directory(file: &Path) -> PathBuf {
    let dir = file.parent().and_then(|dir| dir.canonicalize().ok());
    match (dir, file.file_name()) {
        (Some(dir), Some(name)) => dir.join(name),
        (None, _) | (_, None) => file.to_owned(),
    }
}

/// Which directory has this name; `None` when none has. No link leads to a queue: what lies behind one
/// is not the spool's.
fn identity(root: &Path, dir: &Path) -> Option<Identity> {
    let meta = match dir.strip_prefix(root) {
        Ok(inside) if inside.starts_with("queue") => {
            let own = |dir: &Path| dir.symlink_metadata().ok().filter(|meta| meta.is_dir());
            own(&root.join("queue")).and_then(|_| own(dir))
        }
        Ok(_) | Err(_) => dir.metadata().ok().filter(|meta| meta.is_dir()),
    };
    meta.map(|meta| (meta.dev(), meta.ino()))
}

fn on_seen(seen: Seen, spool: &Spool, hints: &Hints, woken: &Woken) {
    match seen {
        Seen::Came(queue, name) => came(spool, hints, queue, &name),
        Seen::Closed(queue, name) => {
            if !spool.is_ignored(&queue.interface, &name) {
                spool.closed(&queue, &name);
            }
            came(spool, hints, queue, &name);
        }
        Seen::Left(queue, name) => {
            spool.reopened(&queue, &name);
            if name == ".hold" {
                hints.notify(Event::Hint(queue.interface));
            } else if let Ok(job) = name.parse() {
                spool.left(&queue, &job);
            }
        }
        Seen::Written(queue, name) => spool.reopened(&queue, &name),
        Seen::Changed(path) => woken.changed(&path),
        Seen::Replaced => {
            woken.replaced.store(true, Ordering::Release);
            woken.notify.notify_one();
        }
        Seen::Rescan | Seen::Restarted => {
            spool.forget_closed();
            hints.notify(Event::Rescan);
            woken.changed_anywhere();
        }
    }
}

/// An entry of a queue is there, or is complete.
fn came(spool: &Spool, hints: &Hints, queue: Queue, name: &str) {
    if name == ".hold" {
        return hints.notify(Event::Hint(queue.interface));
    }
    // What we accepted ourselves is known before it is visible.
    let job = name.parse::<JobName>();
    let ours = job.is_ok_and(|job| spool.is_ready(&queue, &job));
    if !ours && !spool.is_ignored(&queue.interface, name) {
        hints.dropped(queue.interface);
    }
}
