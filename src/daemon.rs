//! The service: opens every tenant's spool, serves, and stops in order.
//!
//! Start: bind → lock → probe → replay → recover → arm the watcher → control socket → first scan → listen. A
//! listing of a queue does not need the scan: what it does not know yet it looks at itself. Stop:
//! start nothing more, and serve on → running commands finish, or are ended at the deadline and their jobs
//! given back, not counted → stop accepting → finish requests → close the journals → unlock.

mod arrivals;
mod clock;
mod configuration;
mod engine;
mod expiry;
#[cfg(test)]
mod fault_tests;
mod holds;
mod listen;
mod memory;
mod operators;
mod probe;
mod reload;
mod scrape;
mod service_manager;
mod supervise;
mod tenant;
mod timetable;
mod watcher;

pub(crate) use memory::keep_small;

pub(crate) use operators::control_places;

pub(crate) use service_manager::GivenSockets;

#[cfg(feature = "cluster")]
pub(crate) use engine::database;
pub(crate) use engine::{Engine, seal};

pub(crate) use tenant::{open_spool, schemas, take_over, verifier};

use crate::{
    config::Config,
    http::{self, tls},
    metrics::Metrics,
    ops::health::Readiness,
    processor::Starter,
    store::fs::{LockError, RealFs, SpoolLock},
    ui::{self, Ui},
    util::Heartbeat,
};
use anyhow::Context;
use arrivals::Arrivals;
use clock::ClockWatch;
use configuration::{Configuration, Followers};
use listen::{ServedBy, Sockets};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use supervise::Supervisor;
use tenant::{Prepared, Running, Served};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What is left of a service that has stopped.
pub(crate) struct Stopped {
    /// To be dropped after the runtime, whose blocking threads may still work on the spools.
    pub locks: Vec<Arc<SpoolLock>>,
    /// Why it has stopped by itself, if it has.
    pub failure: Option<String>,
}

/// Serves until `leave`, and then until the commands that run have ended. `announce` gets one line per listener
/// once it accepts.
///
/// # Errors
/// What keeps the service from starting.
pub(crate) async fn serve(
    config: Config,
    starter: Starter,
    given: GivenSockets,
    leave: CancellationToken,
    announce: impl Fn(&str),
) -> anyhow::Result<Stopped> {
    let config = fitting(config, raise_open_files());
    let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
    // Nothing is started any more; also when the service cannot go on.
    let drain = stop.child_token();
    // Whatever can keep the service from starting comes before the first command is started.
    let certificate = Arc::new(certificate(&config)?);
    check_unserved(&config)?;
    let sockets = Sockets::bind(&config, given)?;
    let metrics = Arc::new(scrape::metrics(&config));
    let shared = tenant::Shared::new(&config.limits, starter, metrics.clone());
    let supervisor = Supervisor::new(stop.clone());
    shared.keep_watching(&supervisor, &stop);
    let about = Arc::new(About::new(config.clone()));
    let common = (certificate.clone(), about.clone());
    let tenants = prepared(&config, &shared, common, &drain, &kill).await?;
    let hosts = about.configuration.hosts(&config, &tenants)?;
    let followers = Followers::new(hosts.clone(), shared, &tenants);
    let pages = tenants.iter().zip(&config.tenants);
    let pages: Vec<ui::Spool> = pages.map(|(of, tenant)| of.page(&tenant.name)).collect();
    let control = operators::Socket::bind(&config, &tenants, &about.configuration)?;
    let listeners = sockets.listen(metrics.clone())?;
    let lines = listeners.lines()?;
    let tenants = tenants.into_iter();
    let begun = tenants.map(|of| of.run(&supervisor, &stop, &drain));
    let (running, served): (Vec<Running>, Vec<Served>) = begun.unzip();
    let accepting = Arc::<Heartbeat>::default();
    let at_work = (&about, &served[..], &certificate, &*metrics);
    watch(at_work, &accepting, (&supervisor, &stop));
    follow_configuration(&about, followers, &supervisor, &stop).await;
    let configuration = about.configuration.clone();
    let stop_deadline = stop_deadline(configuration.clone());
    let watched = (about, certificate.clone());
    let (ops, readiness) = ops(served, watched, metrics, (&supervisor, &stop));
    let tasks = TaskTracker::new();
    let ui = page(
        configuration,
        &certificate,
        readiness,
        (pages, &tasks, &stop),
    );
    let served = ServedBy {
        certificate,
        hosts,
        ui,
        ops,
        accepting,
        stop_deadline: stop_deadline.clone(),
    };
    listeners.serve(&config, served, &supervisor, (&tasks, &stop));
    if let Some(control) = control {
        control.keep(&supervisor, &tasks, &stop);
    }
    lines.iter().for_each(|line| announce(line));
    let (version, tenants) = (env!("CARGO_PKG_VERSION"), running.len());
    tracing::info!(version, tenants, "serving");
    tokio::select! {
        () = leave.cancelled() => drain.cancel(),
        () = stop.cancelled() => {}
    }
    let locks = end(tasks, running, stop_deadline(), (stop, kill)).await;
    let failure = supervisor.failure();
    Ok(Stopped { locks, failure })
}

/// What is left to those at work when the service stops, by the configuration that is in force then.
fn stop_deadline(configuration: Arc<Configuration>) -> http::Deadline {
    Arc::new(move || Duration::from_secs(configuration.in_force().limits.stop_deadline_s))
}

/// What people see in a browser.
fn page(
    configuration: Arc<Configuration>,
    certificate: &Arc<tls::Certificate>,
    readiness: Arc<Readiness>,
    (spools, tasks, stop): (Vec<ui::Spool>, &TaskTracker, &CancellationToken),
) -> Arc<dyn http::Ui> {
    Arc::new(Ui {
        epoch: Box::new({
            let configuration = configuration.clone();
            move || configuration.epoch()
        }),
        config: Box::new(move || configuration.in_force()),
        certificate: certificate.clone(),
        readiness,
        spools,
        tasks: tasks.clone(),
        stop: stop.clone(),
        streams: Arc::default(),
    })
}

/// What probes and those who measure are answered, and what the page is.
fn ops(
    served: Vec<Served>,
    (about, certificate): (Arc<About>, Arc<tls::Certificate>),
    metrics: Arc<Metrics>,
    (supervisor, stop): (&Supervisor, &CancellationToken),
) -> (Arc<http::Ops>, Arc<Readiness>) {
    let scrape = scrape::scrape(about.clone(), metrics, certificate.clone(), &served);
    let probed = probe::Probed {
        certificate,
        served,
        supervisor: supervisor.clone(),
        about,
    };
    let readiness = probe::readiness(probed, stop);
    let found = readiness.clone();
    let said: Arc<http::Readiness> = Arc::new(move || {
        let report = found();
        Box::pin(async { report.await.said() })
    });
    let ops = http::Ops {
        readiness: said,
        scrape,
    };
    (Arc::new(ops), readiness)
}

/// Lets commands finish, until the deadline, after which `kill` ends them, and serves meanwhile; then, after `stop`,
/// lets requests finish.
async fn end(
    tasks: TaskTracker,
    mut running: Vec<Running>,
    deadline: Duration,
    (stop, kill): (CancellationToken, CancellationToken),
) -> Vec<Arc<SpoolLock>> {
    let deadline_s = deadline.as_secs();
    tracing::info!(deadline_s, "stopping: no more commands are started");
    let timer = tokio::spawn(async move {
        tokio::time::sleep(deadline).await;
        kill.cancel();
    });
    for tenant in &mut running {
        tenant.drained(&stop).await;
    }
    stop.cancel();
    tasks.wait().await;
    let mut locks = Vec::new();
    for tenant in running {
        locks.push(tenant.stopped().await);
    }
    timer.abort();
    tracing::info!("stopped");
    locks
}

/// Prepares each tenant; the first looks after what they have in common. One that cannot be prepared is reported, and
/// the others are served.
///
/// # Errors
/// Why none can be.
async fn prepared(
    config: &Config,
    shared: &tenant::Shared,
    common: (Arc<tls::Certificate>, Arc<About>),
    drain: &CancellationToken,
    kill: &CancellationToken,
) -> anyhow::Result<Vec<Prepared>> {
    let (mut all, mut failed) = (Vec::new(), Vec::new());
    for (n, tenant) in config.tenants.iter().enumerate() {
        let shared = shared.for_tenant(n);
        let common = all.is_empty().then(|| common.clone());
        match Prepared::new(config, tenant, shared, common, drain, kill).await {
            Ok(prepared) => all.push(prepared),
            Err(error) => failed.push((tenant.name.clone(), error)),
        }
    }
    if all.is_empty() && !failed.is_empty() {
        let (name, error) = failed.swap_remove(0);
        return Err(error.context(format!("tenant {name}")));
    }
    for (tenant, error) in &failed {
        tracing::error!(tenant, "it is not served: {error:#}");
    }
    let failed = failed
        .into_iter()
        .map(|(name, error)| (name, format!("{error:#}")));
    common.1.configuration.lacks(failed.collect());
    Ok(all)
}

/// A better answer than a port that is taken.
fn check_unserved(config: &Config) -> Result<(), LockError> {
    let mut spools = config
        .tenants
        .iter()
        .map(|tenant| RealFs::new(&tenant.root));
    match spools.find_map(|fs| SpoolLock::holder(&fs).ok().flatten()) {
        Some(holder) => Err(LockError::Taken { holder }),
        None => Ok(()),
    }
}

fn tell_service_manager(
    served: &[Served],
    accepting: &Arc<Heartbeat>,
    supervisor: &Supervisor,
    stop: &CancellationToken,
) {
    let told = Arc::new(tenant::told(served, accepting.clone()));
    let until = stop.clone();
    supervisor.keep("what the service manager is told", move || {
        told.clone().run(until.clone())
    });
}

/// What goes on beside the answering.
fn watch(
    (about, served, certificate, metrics): (
        &Arc<About>,
        &[Served],
        &Arc<tls::Certificate>,
        &Metrics,
    ),
    accepting: &Arc<Heartbeat>,
    (supervisor, stop): (&Supervisor, &CancellationToken),
) {
    tell_service_manager(served, accepting, supervisor, stop);
    watch_clock(about, supervisor, stop);
    watch_expiry(certificate, served, supervisor, stop);
    watch_arrivals(&about.configuration, served, metrics, (supervisor, stop));
}

fn watch_clock(about: &Arc<About>, supervisor: &Supervisor, stop: &CancellationToken) {
    let (watched, until) = (about.clone(), stop.clone());
    supervisor.keep("the watch of the clock", move || {
        let (watched, until) = (watched.clone(), until.clone());
        async move { watched.clock.run(until).await }
    });
}

/// Lets operators and SIGHUP change the configuration.
async fn follow_configuration(
    about: &Arc<About>,
    followers: Followers,
    supervisor: &Supervisor,
    stop: &CancellationToken,
) {
    let (configuration, until) = (about.configuration.clone(), stop.clone());
    configuration.followed_by(followers).await;
    supervisor.keep("the taking of configurations", move || {
        configuration.clone().follow_signals(until.clone())
    });
}

/// Judges in each tenant what is expected from partners.
fn watch_arrivals(
    configuration: &Arc<Configuration>,
    served: &[Served],
    metrics: &Metrics,
    (supervisor, stop): (&Supervisor, &CancellationToken),
) {
    for of in served {
        let (tenant, store, metrics) =
            (of.name.clone(), of.store.clone(), metrics.tenant(&of.name));
        let (configuration, until) = (configuration.clone(), stop.clone());
        let name = format!("the clock of expected arrivals of tenant {tenant}");
        supervisor.keep(name, move || {
            let arrivals = Arrivals {
                tenant: tenant.clone(),
                store: store.clone(),
                metrics: metrics.clone(),
                known: BTreeMap::new(),
            };
            arrivals::run(arrivals, configuration.clone(), until.clone())
        });
    }
}

fn watch_expiry(
    certificate: &Arc<tls::Certificate>,
    served: &[Served],
    supervisor: &Supervisor,
    stop: &CancellationToken,
) {
    let stores = served.iter().map(|of| of.store.clone());
    let (certificate, stores): (_, Vec<_>) = (certificate.clone(), stores.collect());
    let until = stop.clone();
    supervisor.keep("the watch of the certificate", move || {
        expiry::run(certificate.clone(), stores.clone(), until.clone())
    });
}

/// What the whole service watches.
struct About {
    clock: ClockWatch,
    configuration: Arc<Configuration>,
}

impl About {
    fn new(config: Config) -> Self {
        Self {
            clock: ClockWatch::default(),
            configuration: Arc::new(Configuration::new(config)),
        }
    }
}

/// Every connection is a descriptor, and the usual soft limit is meant for programs with few. Gives
/// how many there may be.
fn raise_open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit on open files cannot be raised");
        return limit.current;
    }
    limit.maximum
}

/// The configuration, with no more connections than there can be. The quarter that is kept is for the
/// files of uploads and downloads, and for processors.
fn fitting(mut config: Config, open_files_max: Option<u64>) -> Config {
    let Some(open_files_max) = open_files_max else {
        return config;
    };
    let most = usize::try_from(open_files_max / 4 * 3).unwrap_or(usize::MAX);
    if config.limits.connections_max > most {
        tracing::warn!(
            connections_max = config.limits.connections_max,
            most,
            open_files_max,
            "limits.connections_max is lowered: there may be too few open files for so many; raise \
             the limit on open files (LimitNOFILE of the unit, ulimit -n)",
        );
        config.limits.connections_max = most.max(1);
    }
    config
}

/// Loads the certificate, making one if there is none yet, and renewing one of our own making.
fn certificate(config: &Config) -> anyhow::Result<tls::Certificate> {
    make_certificate(config)?;
    renew_certificate(&config.certificate, &config.key);
    Ok(tls::Certificate::load(&config.certificate, &config.key)?)
}

/// Renews a certificate of our own making when it is due. Says whether it did; what went wrong
/// is for the log, since the old one serves for a month yet.
pub(crate) fn renew_certificate(certificate: &Path, key: &Path) -> bool {
    match tls::renew(certificate, key, jiff::Timestamp::now().as_second()) {
        Ok(None) => false,
        Ok(Some(facts)) => {
            tracing::info!(
                certificate = %certificate.display(),
                days = facts.days_left(jiff::Timestamp::now().as_second()),
                "the certificate is renewed",
            );
            true
        }
        Err(error) => {
            tracing::error!(%error, "the certificate cannot be renewed");
            false
        }
    }
}

/// Makes a certificate if neither file exists and they have the usual names in one directory: for
/// this machine, for the hosts of tenants, and for no one else.
///
/// # Errors
/// When the directory or the files cannot be made.
pub(crate) fn make_certificate(config: &Config) -> anyhow::Result<()> {
    let (certificate, key) = (&config.certificate, &config.key);
    let usual = certificate.file_name() == Some(tls::CERTIFICATE_FILE.as_ref())
        && key.file_name() == Some(tls::KEY_FILE.as_ref())
        && certificate.parent() == key.parent();
    if certificate.exists() || key.exists() || !usual {
        return Ok(());
    }
    let dir = certificate.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut names = vec!["localhost".to_owned()];
    let tenants = config
        .tenants
        .iter()
        .flat_map(|tenant| tenant.hosts.clone());
    for name in host_name().into_iter().chain(tenants) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(tls::generate(dir, &names)?)
}

/// What this machine is called, if it has a name.
pub(crate) fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty() && name != "(none)").then(|| name.to_owned())
}
