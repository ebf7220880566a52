//! Configuration: what was written in `spoolgate.toml`, and what was decided from it.
//!
//! [`Config::load`] checks everything before any socket opens; afterwards no value is optional
//! that the program needs. Paths are relative to `spoolgate.toml`. An unknown key is an error
//! that names the nearest known one.

mod differences;
mod expect;
mod file;
mod files;
mod mistakes;
mod partner;
mod receiver;

pub use differences::Differences;
pub use partner::Partner;

use crate::{
    cron_schedule::cron::Changes,
    cron_schedule::{Expectation, Missed, Zone},
    domain::{InterfaceName, OrderBy, WorkerTags},
    events::Receiver,
    peer::{Network, Networks},
    processor::{Command, ExitCodes, Post, Processor, Sandbox},
    scheduler::{LaneRules, Order, PartnerRules, Partners},
    service::{AdmissionLimits, Direction, Interface, UserLimits},
    store::fs::{DropRules, Retention, Rules, SEGMENT_BYTES_MIN, TemporaryNames},
    worker::Lane,
    xml::{Catalog, CatalogEntry, Edition},
};
use file::{
    ConfigFile, Fair, InterfaceFile, ProcessorFile, SchemasFile, ServerFile, StoreFile, TenantFile,
};
use files::{Files, Mistake, Unread};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// What the tenant of the interfaces outside of `tenants` is called.
pub const DEFAULT_TENANT: &str = "default";
/// How many bytes a document may have, unless its interface says otherwise.
const BODY_BYTES_MAX: u64 = 100 << 20;
const PROCESSOR_TIMEOUT_S: u64 = 300;
/// A year: a clock can be asked for no more than it can count.
const PROCESSOR_TIMEOUT_S_MAX: u64 = 31_536_000;
const OUTPUT_BYTES_MAX: u64 = 4 << 20;

/// The most of anything that is counted: more than a machine has, and less than what waits for a
/// turn may count to ([`tokio::sync::Semaphore::MAX_PERMITS`]).
const COUNT_MAX: usize = 1_000_000_000;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: {text}", path.display())]
    Invalid { path: PathBuf, text: String },
    #[error("{0}")]
    Mode(String),
    #[error("{}: {source}\nRun `spoolgate init` to make one, or name one with --config", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Everything that was decided.
#[derive(Clone, Debug)]
pub struct Config {
    pub path: PathBuf,
    /// It, and those beside it that are read with it.
    pub files: Vec<PathBuf>,
    /// Of what they say, in hexadecimal digits.
    pub sha256: String,
    /// What they say.
    written: toml::Table,
    pub listen: SocketAddr,
    pub plain_listen: Option<SocketAddr>,
    pub ops_listen: Option<SocketAddr>,
    /// The operators' socket, if it is not to be beside the spool.
    pub control: Option<PathBuf>,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub log: LogConfig,
    pub metrics: MetricsConfig,
    /// Jobs of other tags wait.
    pub worker_tags: WorkerTags,
    /// Of schedules that name none.
    pub time_zone: Zone,
    /// What becomes of moments of schedules that do not exist, or exist twice.
    pub clock_changes: Changes,
    /// What becomes of their moments while the service is down.
    pub missed_schedules: Missed,
    /// Who is believed when it says for whom it speaks.
    pub trusted_proxies: Networks,
    /// Their connections begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// For whom there is a page.
    pub ui: Ui,
    /// From where an operator is one on the page.
    pub ui_operators_from: Networks,
    pub limits: Limits,
    /// The default tenant first, if there is one.
    pub tenants: Vec<Tenant>,
}

/// For whom there is a page in the browser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ui {
    #[default]
    All,
    Off,
    /// Operators are no more than partners there.
    Partners,
}

/// Where operators are unless it is said: this machine, and networks that are not a part of the Internet.
const OPERATORS_FROM: [&str; 8] = [
    "127.0.0.0/8",
    "::1",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

/// The journal's largest size unless it is given: more saves checkpoints, less saves space and start time.
const JOURNAL_MIB: u64 = 64;
const JOURNAL_MIB_MIN: u64 = 2 * SEGMENT_BYTES_MIN / (1 << 20);
const JOURNAL_MIB_MAX: u64 = 4096;

/// One spool with its users and interfaces.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub name: String,
    /// Is it for hosts that are no other tenant's?
    pub is_default: bool,
    /// Host names that choose the tenant.
    pub hosts: Vec<String>,
    /// Names by which paths may ask for the tenant, besides its own.
    pub databases: Vec<String>,
    pub root: PathBuf,
    pub accept_risk: bool,
    /// Where its jobs are to be, if not in the spool.
    pub database: Option<DatabaseConfig>,
    /// Of each of the journal's two segments.
    pub segment_bytes: u64,
    pub users: PathBuf,
    pub retention: Retention,
    /// Which of its schemas' files lie where that others name by URL.
    pub catalog: Catalog,
    /// By which edition of XML Schema these schemas are read, whatever they say.
    pub editions: BTreeMap<String, Edition>,
    /// Users of whom something is said, by their names.
    pub partners: BTreeMap<String, Partner>,
    /// What is to come from them, and by when.
    pub expectations: Vec<Expectation>,
    pub interfaces: BTreeMap<InterfaceName, InterfaceConfig>,
    /// Who is told what happens.
    pub events: Vec<Receiver>,
}

/// `[store]`: a database of PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// The file that has its URL.
    pub url_file: PathBuf,
    /// Whose certificates are believed, in PEM; `None`: the system's.
    pub cacert: Option<PathBuf>,
}

impl Tenant {
    /// What is due to each partner.
    pub fn partner_rules(&self, limits: &Limits) -> Partners {
        let others = PartnerRules {
            running_max: limits.running_per_user_max,
            ..PartnerRules::default()
        };
        let named = self.partners.iter();
        Partners {
            named: named
                .map(|(name, partner)| (name.clone(), partner.rules(&others)))
                .collect(),
            others,
        }
    }
}

#[derive(Clone, Debug)]
pub struct InterfaceConfig {
    pub service: Interface,
    pub lane: Lane,
    pub rules: Rules,
}

impl InterfaceConfig {
    /// Do partners see each other's jobs?
    pub fn is_shared(&self) -> bool {
        self.service.visible.is_shared() && !self.rules.drops.addressed
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    pub format: LogFormat,
    /// As for `RUST_LOG`: `info`, `warn`, `spoolgate=debug`, ….
    pub level: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    #[default]
    Text,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            level: "info".into(),
        }
    }
}

/// `[metrics]`: what is measured.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Beyond so many series by interface, interfaces are not told apart.
    pub series_max: usize,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { series_max: 10_000 }
    }
}

/// `[limits]`: every number that bounds what clients and jobs can take.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    /// Jobs that run at the same time, over all interfaces of a tenant.
    pub running_max: usize,
    /// The same of one partner, unless `partners` says otherwise.
    pub running_per_user_max: Option<usize>,
    /// Seconds that running commands get to finish when the service is stopped, and then requests.
    pub stop_deadline_s: u64,
    pub uploads_max: usize,
    pub upload_bytes_max: u64,
    pub queue_jobs_max: usize,
    pub queue_jobs_per_user_max: usize,
    pub bytes_per_day_per_user_max: Option<u64>,
    pub uploads_per_minute_per_user_max: Option<usize>,
    pub keys_per_user_max: usize,
    pub schedules_per_user_max: usize,
    /// Transformations at the same time, over all tenants.
    pub stylesheets_max: usize,
    pub stylesheets_per_user_max: usize,
    /// Of events that wait for their receivers, in each tenant; beyond that the oldest are dead.
    pub events_bytes_max: u64,
    pub free_bytes_min: u64,
    pub free_inodes_min: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let admission = AdmissionLimits::default();
        Self {
            connections_max: 4096,
            connections_per_address_max: 512,
            running_max: 8,
            running_per_user_max: None,
            stop_deadline_s: 30,
            uploads_max: admission.uploads_max,
            upload_bytes_max: admission.upload_bytes_max,
            queue_jobs_max: admission.queue_jobs_max,
            queue_jobs_per_user_max: admission.user.waiting_jobs_max,
            bytes_per_day_per_user_max: admission.user.bytes_per_day_max,
            uploads_per_minute_per_user_max: admission.user.uploads_per_minute_max,
            keys_per_user_max: admission.keys_per_user_max,
            schedules_per_user_max: admission.schedules_per_user_max,
            stylesheets_max: 4,
            stylesheets_per_user_max: 2,
            events_bytes_max: 256 << 20,
            free_bytes_min: admission.free_bytes_min,
            free_inodes_min: admission.free_inodes_min,
        }
    }
}

impl Limits {
    pub fn admission(&self) -> AdmissionLimits {
        AdmissionLimits {
            uploads_max: self.uploads_max,
            upload_bytes_max: self.upload_bytes_max,
            queue_jobs_max: self.queue_jobs_max,
            user: UserLimits {
                waiting_jobs_max: self.queue_jobs_per_user_max,
                bytes_per_day_max: self.bytes_per_day_per_user_max,
                uploads_per_minute_max: self.uploads_per_minute_per_user_max,
            },
            keys_per_user_max: self.keys_per_user_max,
            schedules_per_user_max: self.schedules_per_user_max,
            free_bytes_min: self.free_bytes_min,
            free_inodes_min: self.free_inodes_min,
            ..AdmissionLimits::default()
        }
    }
}

impl Config {
    /// Reads `spoolgate.toml` and, in the order of their names, `conf.d/*.toml` beside it.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, others may write it, or something in it is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let files = Files::read(path)?;
        Self::of(&files).map_err(|mistake| {
            let (path, text) = files.told(mistake);
            ConfigError::Invalid { path, text }
        })
    }

    /// The configuration that `text` says, and no file beside it; `path` is where it stands, for relative paths.
    ///
    /// # Errors
    ///
    /// The first mistake in words, with its line, its key and what may stand there.
    pub fn parse(text: &str, path: &Path) -> Result<Self, String> {
        let files = Files::one(path, text);
        Self::of(&files).map_err(|mistake| files.told(mistake).1)
    }

    fn of(files: &Files) -> Result<Self, Mistake> {
        let file = files.parse().map_err(|error| match error {
            Unread::Mistake(mistake) => mistake,
            Unread::Unfit(error) => mistakes::explain(&error, files),
        })?;
        Self::decide(file, files).map_err(|message| mistakes::locate(&message, files))
    }

    fn decide(file: ConfigFile, files: &Files) -> Result<Self, String> {
        let absolute = files.paths().map(std::path::absolute);
        let absolute: Result<Vec<PathBuf>, _> = absolute.collect();
        let absolute = absolute.map_err(|error| error.to_string())?;
        let path = absolute.first().cloned().unwrap_or_default();
        let dir = path.parent().unwrap_or(Path::new("/")).to_owned();
        let segment_bytes = segment_bytes(file.spool.journal_mib)?;
        let worker_tags = worker_tags(file.server.worker_tags.as_deref())?;
        let time_zone = time_zone(file.server.time_zone.as_deref())?;
        let trusted_proxies = trusted_proxies(&file.server)?;
        let ui_operators_from = ui_operators_from(&file.server)?;
        check_limits(&file.limits)?;
        check_retention(&file.retention)?;
        let tenants = tenants(&Common {
            file: &file,
            dir: &dir,
            segment_bytes,
            zone: &time_zone,
            files,
        })?;
        let tls = |given: &Option<PathBuf>, usual: &str| {
            dir.join(given.as_deref().unwrap_or(Path::new(usual)))
        };
        Ok(Self {
            path,
            files: absolute,
            sha256: files.sha256(),
            written: files.parse().unwrap_or_default(),
            listen: file.server.listen.unwrap_or(([0, 0, 0, 0], 8443).into()),
            plain_listen: file.server.plain_listen,
            ops_listen: file.server.ops_listen,
            control: file.server.control.map(|path| dir.join(path)),
            certificate: tls(&file.tls.certificate, "certs/cert.pem"),
            key: tls(&file.tls.key, "certs/key.pem"),
            log: file.log,
            metrics: file.metrics,
            worker_tags,
            time_zone,
            clock_changes: file.server.clock_changes.unwrap_or_default(),
            missed_schedules: file.server.missed_schedules.unwrap_or_default(),
            trusted_proxies,
            proxy_protocol: file.server.proxy_protocol,
            ui: file.server.ui,
            ui_operators_from,
            limits: file.limits,
            tenants,
        })
    }

    /// The tenant of that name, or the first one.
    ///
    /// # Errors
    /// When there is none; the text lists those that there are.
    pub fn tenant(&self, name: Option<&str>) -> Result<&Tenant, String> {
        match name {
            None => self.tenants.first().ok_or_else(no_interfaces),
            Some(name) => {
                let known: Vec<&str> = self.tenants.iter().map(|t| t.name.as_str()).collect();
                let found = self.tenants.iter().find(|tenant| tenant.name == name);
                found.ok_or_else(|| format!("no tenant {name}; there are {}", known.join(", ")))
            }
        }
    }
}

fn no_interfaces() -> String {
    "no interface is configured: add a table such as [interfaces.orders_in]".into()
}

fn worker_tags(given: Option<&[String]>) -> Result<WorkerTags, String> {
    let tags = given.map_or(Ok(WorkerTags::All), WorkerTags::parse);
    tags.map_err(|error| format!("server.worker_tags: {error}"))
}

fn time_zone(given: Option<&str>) -> Result<Zone, String> {
    let zone = given.map_or(Ok(Zone::UTC), str::parse);
    zone.map_err(|error| format!("server.time_zone: {error}"))
}

fn trusted_proxies(server: &ServerFile) -> Result<Networks, String> {
    if server.proxy_protocol && server.trusted_proxies.is_empty() {
        return Err(
            "server.proxy_protocol is for connections of server.trusted_proxies: name them".into(),
        );
    }
    let texts = server.trusted_proxies.iter().map(String::as_str);
    networks("server.trusted_proxies", texts)
}

fn ui_operators_from(server: &ServerFile) -> Result<Networks, String> {
    let key = "server.ui_operators_from";
    match &server.ui_operators_from {
        None => networks(key, OPERATORS_FROM),
        Some(texts) => networks(key, texts.iter().map(String::as_str)),
    }
}

fn networks<'t>(key: &str, texts: impl IntoIterator<Item = &'t str>) -> Result<Networks, String> {
    let networks = texts.into_iter().map(|text| text.parse::<Network>());
    let networks: Result<Networks, _> = networks.collect();
    networks.map_err(|error| format!("{key}: {error}"))
}

/// What tenants are made by, beside what each says of itself.
struct Common<'c> {
    file: &'c ConfigFile,
    dir: &'c Path,
    segment_bytes: u64,
    /// Where none is named.
    zone: &'c Zone,
    files: &'c Files,
}

/// That of the interfaces outside of `tenants`, if there are any, and those of `tenants`.
fn tenants(common: &Common<'_>) -> Result<Vec<Tenant>, String> {
    let file = common.file;
    let mut tenants = Vec::new();
    if !file.interfaces.is_empty() {
        tenants.push(common.default_tenant()?);
    } else if !file.expect.is_empty() || !file.events.is_empty() {
        let list = if file.events.is_empty() {
            "expect"
        } else {
            "events"
        };
        return Err(format!(
            "{list} is of the interfaces outside of tenants, and there are none: use tenants.NAME.{list}"
        ));
    }
    for (name, tenant) in &file.tenants {
        if name == DEFAULT_TENANT && !tenants.is_empty() {
            return Err(format!(
                "tenants.{name} needs another name: the tenant of the interfaces outside of \
                 tenants is called {name}"
            ));
        }
        let made = common.tenant(name, tenant);
        tenants.push(made.map_err(|error| format!("tenants.{name}.{error}"))?);
    }
    distinct(&tenants)?;
    Ok(tenants)
}

impl Common<'_> {
    /// That of the interfaces outside of `tenants`.
    fn default_tenant(&self) -> Result<Tenant, String> {
        let (file, dir) = (self.file, self.dir);
        let interfaces = interfaces(&file.interfaces, dir)?;
        let own = |given: &Option<PathBuf>, usual: &str| {
            dir.join(given.as_deref().unwrap_or(Path::new(usual)))
        };
        Ok(Tenant {
            name: DEFAULT_TENANT.into(),
            is_default: true,
            hosts: Vec::new(),
            databases: file.databases.clone(),
            root: own(&file.spool.root, "spool"),
            accept_risk: file.spool.accept_risk,
            database: database(&file.store, dir)?,
            segment_bytes: self.segment_bytes,
            users: own(&file.auth.users, "users.toml"),
            retention: file.retention.clone(),
            catalog: catalog(&file.schemas, self.files)?,
            editions: editions(&file.schemas),
            partners: partner::checked(&file.partners)?,
            events: receiver::receivers(&file.events, &interfaces, dir)?,
            expectations: expect::checked(&file.expect, &interfaces, self.zone, dir)?,
            interfaces,
        })
    }

    /// One of `tenants`.
    fn tenant(&self, name: &str, tenant: &TenantFile) -> Result<Tenant, String> {
        let (file, dir) = (self.file, self.dir);
        if let Some(retention) = &tenant.retention {
            check_retention(retention)?;
        }
        let interfaces = interfaces(&tenant.interfaces, dir)?;
        let at = Path::new("tenants").join(name);
        let own = |given: &Option<PathBuf>, usual: &str| match given {
            Some(path) => dir.join(path),
            None => dir.join(&at).join(usual),
        };
        Ok(Tenant {
            name: name.to_owned(),
            is_default: false,
            hosts: tenant.hosts.clone(),
            databases: tenant.databases.clone(),
            root: own(&tenant.root, "spool"),
            accept_risk: tenant.accept_risk.unwrap_or(file.spool.accept_risk),
            database: database(&tenant.store, dir)?,
            segment_bytes: self.segment_bytes,
            users: own(&tenant.users, "users.toml"),
            retention: tenant.retention.clone().unwrap_or(file.retention.clone()),
            catalog: catalog(&tenant.schemas, self.files)?,
            editions: editions(&tenant.schemas),
            partners: partner::checked(&tenant.partners)?,
            events: receiver::receivers(&tenant.events, &interfaces, dir)?,
            expectations: expect::checked(&tenant.expect, &interfaces, self.zone, dir)?,
            interfaces,
        })
    }
}

fn database(store: &StoreFile, dir: &Path) -> Result<Option<DatabaseConfig>, String> {
    let at = |path: &PathBuf| dir.join(path);
    match (&store.url_file, &store.cacert) {
        (None, Some(_)) => Err("store.cacert is of no use without store.url_file".into()),
        (url_file, cacert) => Ok(url_file.as_ref().map(|url_file| DatabaseConfig {
            url_file: at(url_file),
            cacert: cacert.as_ref().map(at),
        })),
    }
}

fn catalog(schemas: &SchemasFile, files: &Files) -> Result<Catalog, String> {
    let entries = schemas.catalog.iter().map(|(url, path)| {
        let (file, line) = files.place(path.span().start);
        CatalogEntry {
            file: file.to_owned(),
            line,
            path: path.get_ref().clone(),
            url: url.clone(),
        }
    });
    Catalog::parse(entries).map_err(|error| format!("schemas.catalog: {error}"))
}

fn editions(schemas: &SchemasFile) -> BTreeMap<String, Edition> {
    let named = schemas.named.iter();
    named
        .map(|(name, schema)| (name.clone(), schema.xsd))
        .collect()
}

fn segment_bytes(journal_mib: Option<u64>) -> Result<u64, String> {
    let journal_mib = journal_mib.unwrap_or(JOURNAL_MIB);
    if !(JOURNAL_MIB_MIN..=JOURNAL_MIB_MAX).contains(&journal_mib) {
        return Err(format!(
            "spool.journal_mib must be {JOURNAL_MIB_MIN} to {JOURNAL_MIB_MAX}, not {journal_mib}"
        ));
    }
    Ok(journal_mib * (1 << 20) / 2)
}

fn at_least_1(name: &str, value: u64) -> Result<(), String> {
    (value > 0)
        .then_some(())
        .ok_or_else(|| format!("{name} is 0 and must be at least 1"))
}

fn at_most(name: &str, value: usize, max: usize) -> Result<(), String> {
    (value <= max)
        .then_some(())
        .ok_or_else(|| format!("{name} is {value} and must be at most {max}"))
}

/// With 0 nothing could ever be accepted, or run.
fn check_limits(limits: &Limits) -> Result<(), String> {
    for (name, count) in [
        ("connections_max", limits.connections_max),
        (
            "connections_per_address_max",
            limits.connections_per_address_max,
        ),
        ("running_max", limits.running_max),
        (
            "running_per_user_max",
            limits.running_per_user_max.unwrap_or(1),
        ),
        ("uploads_max", limits.uploads_max),
        ("queue_jobs_max", limits.queue_jobs_max),
        ("queue_jobs_per_user_max", limits.queue_jobs_per_user_max),
        ("keys_per_user_max", limits.keys_per_user_max),
        ("schedules_per_user_max", limits.schedules_per_user_max),
        ("stylesheets_max", limits.stylesheets_max),
        ("stylesheets_per_user_max", limits.stylesheets_per_user_max),
    ] {
        let name = format!("limits.{name}");
        at_least_1(&name, count as u64)?;
        at_most(&name, count, COUNT_MAX)?;
    }
    partner::check_bytes(
        "limits.bytes_per_day_per_user_max",
        limits.bytes_per_day_per_user_max,
    )?;
    partner::check_uploads(
        "limits.uploads_per_minute_per_user_max",
        limits.uploads_per_minute_per_user_max,
    )?;
    at_least_1("limits.events_bytes_max", limits.events_bytes_max)?;
    at_least_1("limits.upload_bytes_max", limits.upload_bytes_max)
}

/// Keeping nothing is more likely a mistake for keeping everything.
fn check_retention(retention: &Retention) -> Result<(), String> {
    for (name, value) in [
        ("audit_days", retention.audit_days),
        ("bak_days", retention.bak_days),
        ("events_days", retention.events_days),
        ("joberrors_days", retention.joberrors_days),
        ("joblog_days", retention.joblog_days),
        ("records_days", retention.records_days),
        ("results_days", retention.results_days),
        ("idempotency_hours", retention.idempotency_hours),
    ] {
        if value == Some(0) {
            return Err(format!(
                "retention.{name} is 0; use 1 or more, or leave it out"
            ));
        }
    }
    Ok(())
}

fn distinct(tenants: &[Tenant]) -> Result<(), String> {
    if tenants.is_empty() {
        return Err(no_interfaces());
    }
    let mut roots = BTreeSet::new();
    let mut hosts = BTreeSet::new();
    let mut names: BTreeSet<&String> = tenants.iter().map(|tenant| &tenant.name).collect();
    for tenant in tenants {
        for database in &tenant.databases {
            if !names.insert(database) {
                let name = &tenant.name;
                return Err(format!(
                    "the databases of tenant {name}: {database} is taken already"
                ));
            }
        }
        if !roots.insert(&tenant.root) {
            let root = tenant.root.display();
            return Err(format!(
                "{}: another tenant has the spool {root}; each needs its own",
                prefix(tenant, "root")
            ));
        }
        for host in &tenant.hosts {
            if !hosts.insert(host.to_ascii_lowercase()) {
                return Err(format!(
                    "{}: another tenant has the host {host}",
                    prefix(tenant, "hosts")
                ));
            }
        }
    }
    Ok(())
}

/// A tenant's key, as it is written.
fn prefix(tenant: &Tenant, key: &str) -> String {
    match tenant.hosts.is_empty() {
        true => format!("spool.{key}"),
        false => format!("tenants.{}.{key}", tenant.name),
    }
}

fn interfaces(
    files: &BTreeMap<String, InterfaceFile>,
    dir: &Path,
) -> Result<BTreeMap<InterfaceName, InterfaceConfig>, String> {
    let mut all = BTreeMap::new();
    for (name, file) in files {
        let parsed: InterfaceName = name
            .parse()
            .map_err(|e| format!("interfaces.{name}: {e}"))?;
        let config = interface(name, file, dir).map_err(|e| format!("interfaces.{name}.{e}"))?;
        all.insert(parsed, config);
    }
    let mut roots = BTreeMap::new();
    let mut names: BTreeSet<&str> = all.keys().map(InterfaceName::as_str).collect();
    for (name, config) in &all {
        for alias in &config.service.aliases {
            if !names.insert(alias) {
                return Err(format!(
                    "interfaces.{name}.aliases: {alias} is taken already"
                ));
            }
        }
        let (Direction::In, Some(root)) = (config.service.direction, &config.service.root) else {
            continue;
        };
        if let Some(other) = roots.insert((root, &config.service.namespace), name) {
            return Err(format!(
                "interfaces.{name}.root: {other} takes documents with the root element {root} \
                 already; an upload could not be told apart"
            ));
        }
    }
    Ok(all)
}

fn interface(name: &str, file: &InterfaceFile, dir: &Path) -> Result<InterfaceConfig, String> {
    let delivery_once = match file.delivery.as_deref() {
        None | Some("at-least-once") => false,
        Some("at-most-once") => true,
        Some(other) => {
            return Err(format!(
                "delivery is {other:?}; use \"at-least-once\" or \"at-most-once\""
            ));
        }
    };
    file.retry.check()?;
    let processor = match &file.processor {
        None => None,
        Some(processor) => Some(processor_of(processor, dir)?),
    };
    if let (Direction::Out, Some(Processor::Archive)) = (file.direction, &processor) {
        return Err(
            "processor.archive would take every job away from those who are to fetch it; \
             leave it out, or use direction = \"in\""
                .into(),
        );
    }
    check_addressed(file)?;
    let drops = drops(file)?;
    let order_by = order_by(file)?;
    at_least_1("max_bytes", file.max_bytes.unwrap_or(BODY_BYTES_MAX))?;
    let concurrency = concurrency(file)?;
    let running_max = processor.as_ref().map_or(0, |_| concurrency);
    // Without a schema of its own an interface uses the one of its name, unless it says "".
    let schema = match file.schema.as_deref() {
        Some("") => None,
        Some(schema) => Some(schema.to_owned()),
        None if file.direction == Direction::In => Some(name.to_owned()),
        None => None,
    };
    Ok(InterfaceConfig {
        service: Interface {
            direction: file.direction,
            root: file.root.clone(),
            namespace: file.namespace.clone(),
            schema,
            bytes_max: file.max_bytes.unwrap_or(BODY_BYTES_MAX),
            aliases: file.aliases.clone(),
            questions: file.questions.clone(),
            visible: file.visible,
            order_by: order_by.clone(),
        },
        rules: Rules {
            attempts_max: file.retry.attempts,
            at_most_once: delivery_once,
            drops,
            order_attribute: (order_by.as_ref())
                .and_then(OrderBy::attribute)
                .map(Into::into),
        },
        lane: Lane {
            processor,
            retry: file.retry.clone(),
            at_most_once: delivery_once,
            order_by,
            rules: LaneRules {
                running_max,
                order: order(file),
                fair: takes_turns(file)?,
            },
        },
    })
}

/// What the jobs keep their order by.
fn order_by(file: &InterfaceFile) -> Result<Option<OrderBy>, String> {
    let Some(text) = &file.order_by else {
        return Ok(None);
    };
    let by = text.parse();
    let by = by.map_err(|error| format!("order_by is {text:?}; {error}"))?;
    match file.ordered {
        false => Ok(Some(by)),
        true => Err(
            "order_by keeps the order of the jobs of each key, and ordered = true that of all: \
             take one of them out"
                .into(),
        ),
    }
}

/// In which order jobs stay.
fn order(file: &InterfaceFile) -> Order {
    match (file.ordered, &file.order_by) {
        (true, _) => Order::Arrival,
        (false, Some(_)) => Order::Key,
        (false, None) => Order::None,
    }
}

/// Do partners take turns?
fn takes_turns(file: &InterfaceFile) -> Result<bool, String> {
    match (file.fair, file.ordered) {
        (None, _) => Ok(false),
        (Some(Fair::Submitter), false) => Ok(true),
        (Some(Fair::Submitter), true) => Err(
            "fair lets partners take turns, and ordered = true lets nothing overtake: take one of \
             them out, or use order_by = \"submitter\" for the order of each partner's jobs"
                .into(),
        ),
    }
}

/// How many jobs of an interface run at the same time, if it has a processor.
fn concurrency(file: &InterfaceFile) -> Result<usize, String> {
    let Some(given) = file.concurrency else {
        return Ok(if file.ordered { 1 } else { 4 });
    };
    at_least_1("concurrency", given as u64)?;
    at_most("concurrency", given, COUNT_MAX)?;
    match file.ordered && given > 1 {
        true => {
            Err("concurrency must be 1 or left out when ordered = true: one job at a time".into())
        }
        false => Ok(given),
    }
}

/// Jobs that are for single users are there for them to fetch, and for no one else to see.
fn check_addressed(file: &InterfaceFile) -> Result<(), String> {
    if !file.addressed {
        return Ok(());
    }
    if file.direction != Direction::Out {
        return Err(
            "addressed is for what partners fetch: use direction = \"out\", or leave it out".into(),
        );
    }
    if file.processor.is_some() {
        return Err(
            "addressed leaves the jobs to the users who are to fetch them: take out processor, or \
             addressed"
                .into(),
        );
    }
    if !file.visible.is_shared() {
        return Err(
            "visible is decided by addressed already: each user sees what is for him; take it out"
                .into(),
        );
    }
    Ok(())
}

fn drops(file: &InterfaceFile) -> Result<DropRules, String> {
    let temporary = match &file.temporary_names {
        None => TemporaryNames::default(),
        Some(names) => TemporaryNames::new(names).map_err(|e| format!("temporary_names: {e}"))?,
    };
    Ok(DropRules {
        ordered: file.ordered || file.order_by.is_some(),
        temporary,
        addressed: file.addressed,
    })
}

fn processor_of(file: &ProcessorFile, dir: &Path) -> Result<Processor, String> {
    match (&file.command, &file.http, file.archive) {
        (None, None, true) => Ok(Processor::Archive),
        (None, None, false) => Err(
            "processor must have command = [\"…\"], http = \"https://…\" or archive = true".into(),
        ),
        (Some(argv), None, false) => {
            let command = command_of(file, argv, dir).map_err(|e| format!("processor.{e}"))?;
            Ok(Processor::Command(command))
        }
        (None, Some(url), false) => {
            let post = post_of(file, url, dir).map_err(|e| format!("processor.{e}"))?;
            Ok(Processor::Post(post))
        }
        (Some(_), Some(_), _) | (Some(_), _, true) | (_, Some(_), true) => {
            Err("processor: command, http and archive exclude each other".into())
        }
    }
}

fn timeout_of(file: &ProcessorFile) -> Result<Duration, String> {
    let timeout_s = file.timeout_s.unwrap_or(PROCESSOR_TIMEOUT_S);
    if !(1..=PROCESSOR_TIMEOUT_S_MAX).contains(&timeout_s) {
        return Err(format!(
            "timeout_s is {timeout_s} and must be 1 to {PROCESSOR_TIMEOUT_S_MAX}"
        ));
    }
    Ok(Duration::from_secs(timeout_s))
}

fn post_of(file: &ProcessorFile, url: &str, dir: &Path) -> Result<Post, String> {
    for (name, given) in [
        ("env", !file.env.is_empty()),
        ("exit_codes", file.exit_codes != ExitCodes::default()),
        ("memory_mib_max", file.memory_mib_max.is_some()),
        ("open_files_max", file.open_files_max.is_some()),
        ("sandbox", file.sandbox),
        ("readable", !file.readable.is_empty()),
        ("writable", !file.writable.is_empty()),
    ] {
        if given {
            return Err(format!("{name} is for commands; take it out"));
        }
    }
    at_least_1("output_bytes_max", file.output_bytes_max.unwrap_or(1))?;
    let at = |path: &Option<PathBuf>| path.as_ref().map(|path| dir.join(path));
    let post = Post::new(
        url,
        at(&file.cacert),
        at(&file.secret),
        timeout_of(file)?,
        file.output_bytes_max.unwrap_or(OUTPUT_BYTES_MAX),
    );
    post.map_err(|reason| format!("http: {reason}; expected https://HOST/PATH"))
}

fn command_of(file: &ProcessorFile, argv: &[String], dir: &Path) -> Result<Command, String> {
    if argv.first().is_none_or(String::is_empty) {
        return Err("command must name a program".into());
    }
    for (name, given) in [("cacert", &file.cacert), ("secret", &file.secret)] {
        if given.is_some() {
            return Err(format!("{name} is for http; take it out"));
        }
    }
    let timeout = timeout_of(file)?;
    for (name, value) in [
        ("memory_mib_max", file.memory_mib_max),
        ("open_files_max", file.open_files_max),
        ("output_bytes_max", file.output_bytes_max),
    ] {
        at_least_1(name, value.unwrap_or(1))?;
    }
    file.exit_codes.check()?;
    for (name, value) in &file.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!(
                "env has the name {name:?}; a name has a letter at least, no = and no NUL"
            ));
        }
        if value.contains('\0') {
            return Err(format!("env.{name} has a NUL in it; take it out"));
        }
    }
    if argv.iter().any(|argument| argument.contains('\0')) {
        return Err("command has a NUL in it; take it out".into());
    }
    let mebibytes = |given: Option<u64>| given.map(|n| n.saturating_mul(1 << 20));
    Ok(Command {
        argv: argv.to_owned(),
        dir: dir.into(),
        env: file.env.clone().into_iter().collect(),
        exit_codes: file.exit_codes.clone(),
        timeout,
        output_bytes_max: file.output_bytes_max.unwrap_or(OUTPUT_BYTES_MAX),
        memory_bytes_max: mebibytes(file.memory_mib_max),
        open_files_max: file.open_files_max,
        sandbox: sandbox_of(file, dir)?,
        leaves_processes: file.leaves_processes,
        partners_see: file.partners_see,
    })
}

fn sandbox_of(file: &ProcessorFile, dir: &Path) -> Result<Option<Sandbox>, String> {
    for (name, paths) in [("readable", &file.readable), ("writable", &file.writable)] {
        if !file.sandbox && !paths.is_empty() {
            return Err(format!(
                "{name} is for sandbox = true; without it a command reaches all that the service does"
            ));
        }
    }
    let absolute = |paths: &[PathBuf]| paths.iter().map(|path| dir.join(path)).collect();
    Ok(file.sandbox.then(|| Sandbox {
        readable: absolute(&file.readable),
        writable: absolute(&file.writable),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Visible;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("/etc/spoolgate/spoolgate.toml"))
    }

    const ONE: &str = "[interfaces.a]\ndirection = \"in\"\nroot = \"A\"\n";

    #[test]
    fn the_shipped_configuration_is_good_and_complete() {
        let config = parse(crate::assets::CONFIG).unwrap();
        let interfaces = &config.tenants[0].interfaces;
        let names: Vec<&str> = interfaces.keys().map(InterfaceName::as_str).collect();
        let five = [
            "items_in",
            "orders_in",
            "orders_out",
            "persons_in",
            "persons_out",
        ];
        assert_eq!(names, five);
    }

    #[test]
    fn little_is_enough() {
        let config = parse(ONE).unwrap();
        let tenant = &config.tenants[0];
        assert_eq!(tenant.root, Path::new("/etc/spoolgate/spool"));
        assert_eq!(tenant.users, Path::new("/etc/spoolgate/users.toml"));
        let a = &tenant.interfaces[&"a".parse().unwrap()];
        assert_eq!(a.service.schema.as_deref(), Some("a"));
        assert_eq!(
            a.lane.rules.running_max, 0,
            "no processor, nothing is started"
        );
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, expected) in [
            ("[server]\nlisen = \"x\"\n", "did you mean `listen`"),
            (
                "[interfaces.a]\ndirection = \"in\"\nprocesor = {}\n",
                "`processor`",
            ),
            ("[interfaces.a]\ndirection = \"sideways\"\n", "line 2"),
            (
                "[interfaces.\"../a\"]\ndirection = \"in\"\n",
                "interfaces.../a",
            ),
            ("[server]\nlisten = \"nowhere\"\n", "line 2"),
            ("", "no interface"),
            ("[server]\nworker_tags = [\"\"]\n", "server.worker_tags"),
            ("x", "line 1"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text:?} gives {error:?}");
        }
        let more = |extra: &str| parse(&format!("{ONE}{extra}")).unwrap_err();
        assert!(more("delivery = \"twice\"").contains("at-most-once"));
        assert!(more("retry = { attempts = 0 }").contains("at least 1"));
        assert!(more("processor = { command = [] }").contains("name a program"));
        assert!(more("[interfaces.b]\ndirection = \"in\"\nroot = \"A\"").contains("told apart"));
    }

    #[test]
    fn every_limit_that_counts_is_bounded() {
        let limits = serde_json::to_value(Limits::default()).unwrap();
        let counts = limits.as_object().unwrap().keys();
        // The moment of each is remembered, so its bound is another one.
        let counts = counts.filter(|name| name.ends_with("_max") && !name.contains("bytes"));
        let counts = counts.filter(|name| *name != "uploads_per_minute_per_user_max");
        let mut n_counts = 0;
        for name in counts {
            let with = |count: usize| parse(&format!("{ONE}[limits]\n{name} = {count}"));
            for (count, words) in [
                (0, "must be at least 1"),
                (COUNT_MAX + 1, "must be at most 1000000000"),
                (i64::MAX as usize, "must be at most 1000000000"),
            ] {
                let error = with(count).unwrap_err();
                assert!(
                    error.contains(&format!("limits.{name} is {count}")),
                    "{error}"
                );
                assert!(error.contains(words), "{error}");
            }
            assert!(with(COUNT_MAX).is_ok(), "{name}");
            n_counts += 1;
        }
        assert_eq!(n_counts, 11);
        const { assert!(COUNT_MAX <= tokio::sync::Semaphore::MAX_PERMITS) };
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let said = |text: &str| parse(text).map(drop).unwrap_err();
        let more = |extra: &str| said(&format!("{ONE}{extra}"));
        for (key, words) in [
            ("timeout_s = 0", "must be 1 to 31536000"),
            ("timeout_s = 9000000000000000000", "must be 1 to 31536000"),
            ("memory_mib_max = 0", "must be at least 1"),
            ("open_files_max = 0", "must be at least 1"),
            ("output_bytes_max = 0", "must be at least 1"),
            ("exit_codes = { done = [3], retry = [4, 3] }", "one of them"),
            ("exit_codes = { failed = [256] }", "0 to 255"),
            ("exit_codes = { failed = [-1] }", "0 to 255"),
            ("env = { \"\" = \"x\" }", "a letter at least"),
            ("env = { \"A=B\" = \"x\" }", "no ="),
            ("env = { \"A\\u0000\" = \"x\" }", "no NUL"),
            ("env = { A = \"\\u0000\" }", "has a NUL"),
        ] {
            let error = more(&format!("processor = {{ command = [\"true\"], {key} }}"));
            let named = key.split(' ').next().unwrap();
            let place = format!("interfaces.a.processor.{named}");
            assert!(error.contains(&place), "{key}: {error}");
            assert!(error.contains(words), "{key}: {error}");
        }
        for (keys, words) in [
            ("ordered = true\nconcurrency = 2", "must be 1 or left out"),
            (
                "ordered = true\nfair = \"submitter\"",
                "interfaces.a.fair lets partners take turns, and ordered = true",
            ),
            (
                "ordered = true\norder_by = \"submitter\"",
                "interfaces.a.order_by keeps the order of the jobs of each key, and ordered",
            ),
            (
                "order_by = \"@a:b\"",
                "interfaces.a.order_by is \"@a:b\"; use \"submitter\", \"reference\", or",
            ),
            (
                "[partners.shop]\nweight = 0",
                "partners.shop.weight is 0 and must be 1 to 1000",
            ),
            (
                "[tenants.x]\nhosts = [\"x\"]\npartners = { shop = { weight = 1001 } }",
                "tenants.x.partners.shop.weight is 1001",
            ),
            (
                "[partners.shop]\nrunning_max = 0",
                "partners.shop.running_max is 0 and must be at least 1",
            ),
            ("concurrency = 0", "at least 1"),
            ("max_bytes = 0", "at least 1"),
            (
                "[retention]\nbak_days = 0",
                "retention.bak_days is 0; use 1",
            ),
            (
                "[retention]\nidempotency_hours = 0",
                "idempotency_hours is 0; use 1",
            ),
            ("[limits]\nuploads_max = 0", "limits.uploads_max is 0"),
            ("[limits]\nrunning_max = 0", "limits.running_max is 0"),
            (
                "concurrency = 1000000001",
                "concurrency is 1000000001 and must be at most 1000000000",
            ),
            (
                "[tenants.x]\nhosts = [\"x\"]\nretention = { joblog_days = 0 }",
                "tenants.x.retention.joblog_days is 0",
            ),
        ] {
            let error = more(keys);
            assert!(error.contains(words), "{keys}: {error}");
        }
        assert!(more("addressed = true").contains("use direction = \"out\""));
        let addressed = "[interfaces.o]\ndirection = \"out\"\naddressed = true\n";
        for (key, words) in [
            ("processor = { command = [\"true\"] }", "take out processor"),
            ("visible = \"own\"", "interfaces.o.visible is decided"),
        ] {
            let error = said(&format!("{addressed}{key}"));
            assert!(error.contains(words), "{key}: {error}");
        }
        let good = parse(addressed).unwrap();
        let o = &good.tenants[0].interfaces[&"o".parse().unwrap()];
        assert!(o.rules.drops.addressed && !o.is_shared());
        let out = "[interfaces.o]\ndirection = \"out\"\nprocessor = ";
        let error = said(&format!("{out}{{ archive = true }}"));
        assert!(error.contains("interfaces.o.processor.archive"), "{error}");
        let works = "processor = { command = [\"true\"], timeout_s = 1, \
                     exit_codes = { done = [3, 3], failed = [0, 75, 255] } }";
        assert!(parse(&format!("{ONE}ordered = true\nconcurrency = 1\n{works}")).is_ok());
        assert!(parse(&format!("{out}{{ command = [\"true\"] }}")).is_ok());
    }

    #[test]
    fn each_tenant_has_a_catalogue_of_its_schemas() {
        let north =
            "[tenants.north.interfaces.a]\ndirection = \"in\"\n[tenants.north.schemas.catalog]\n";
        let of_both = |ours: &str, of_north: &str| {
            parse(&format!(
                "{ONE}[schemas.catalog]\n{ours}\n{north}{of_north}\n"
            ))
        };
        let config = of_both("\"http://h/a.xsd\" = \"a.xsd\"", "\"http://h/\" = \"h/\"").unwrap();
        let written = CatalogEntry {
            file: "/etc/spoolgate/spoolgate.toml".into(),
            line: ONE.lines().count() + 2,
            path: "a.xsd".into(),
            url: "http://h/a.xsd".into(),
        };
        assert_eq!(
            config.tenants[0].catalog,
            Catalog::parse([written]).unwrap()
        );
        assert_ne!(config.tenants[1].catalog, config.tenants[0].catalog);
        let error = of_both("\"a.xsd\" = \"a.xsd\"", "").unwrap_err();
        assert!(
            error.contains("schemas.catalog: \"a.xsd\" is not a URL"),
            "{error}"
        );
        let error = of_both("", "\"http://h/a\" = \"../a\"").unwrap_err();
        assert!(error.contains("tenants.north.schemas.catalog: "), "{error}");
        assert!(error.contains("is not a path inside"), "{error}");
    }

    #[test]
    fn partners_take_turns_where_that_is_said() {
        let turns = "fair = \"submitter\"\n[partners.shop]\nweight = 3\n[partners.\"uid 1000\"]\n";
        let config = parse(&format!("{ONE}{turns}")).unwrap();
        let tenant = &config.tenants[0];
        assert!(tenant.interfaces[&"a".parse().unwrap()].lane.rules.fair);
        let weight = |name: &str| tenant.partners[name].weight;
        assert_eq!((weight("shop"), weight("uid 1000")), (3, 1));
        let config = parse(&format!(
            "{ONE}fair = \"submitter\"\norder_by = \"@Customer\""
        ))
        .unwrap();
        let a = &config.tenants[0].interfaces[&"a".parse().unwrap()];
        assert_eq!((a.lane.rules.order, a.lane.rules.fair), (Order::Key, true));
        assert_eq!(a.rules.order_attribute.as_deref(), Some("Customer"));
        assert_eq!(a.lane.rules.running_max, 0, "there is no processor");
        let error = parse(&format!("{ONE}fair = \"jobs\"")).unwrap_err();
        assert!(
            error.contains("line 4: interfaces.a.fair is \"jobs\""),
            "{error}"
        );
    }

    #[test]
    fn partners_share_an_interface_unless_it_says_otherwise() {
        let visible = |keys: &str| {
            let config = parse(&format!("{ONE}{keys}"))?;
            let interface = &config.tenants[0].interfaces[&"a".parse().unwrap()];
            Ok::<_, String>(interface.service.visible)
        };
        assert_eq!(visible(""), Ok(Visible::Interface));
        assert_eq!(visible("visible = \"interface\""), Ok(Visible::Interface));
        assert_eq!(visible("visible = \"own\""), Ok(Visible::Own));
        let error = visible("visible = \"mine\"").unwrap_err();
        assert!(error.contains("own"), "{error}");
    }

    #[test]
    fn what_a_sandbox_opens_is_relative_to_the_configuration() {
        let keys =
            "command = [\"b\"], sandbox = true, readable = [\"c\", \"/d\"], writable = [\"e\"]";
        let config = parse(&format!("{ONE}processor = {{ {keys} }}")).unwrap();
        let lane = &config.tenants[0].interfaces[&"a".parse().unwrap()].lane;
        let Some(Processor::Command(command)) = &lane.processor else {
            panic!("{lane:?}")
        };
        let expected = Sandbox {
            readable: ["/etc/spoolgate/c", "/d"].map(PathBuf::from).into(),
            writable: vec!["/etc/spoolgate/e".into()],
        };
        assert_eq!(command.sandbox, Some(expected));
    }

    #[test]
    fn jobs_can_be_posted() {
        let with = |keys: &str| parse(&format!("{ONE}processor = {{ {keys} }}"));
        let all = "http = \"https://a.example/b\", cacert = \"ca.pem\", secret = \"s\", \
                   timeout_s = 9, output_bytes_max = 5";
        let config = with(all).unwrap();
        let lane = &config.tenants[0].interfaces[&"a".parse().unwrap()].lane;
        let Some(Processor::Post(post)) = &lane.processor else {
            panic!("{lane:?}")
        };
        assert_eq!(post.timeout, Duration::from_secs(9));
        assert_eq!(lane.rules.running_max, 4);
        for (keys, words) in [
            ("http = \"ftp://a\"", "processor.http: it is neither"),
            ("http = \"https://u:secret@a\"", "user and password"),
            ("http = \"https://a\", archive = true", "exclude each other"),
            (
                "http = \"https://a\", command = [\"b\"]",
                "exclude each other",
            ),
            ("http = \"https://a\", timeout_s = 0", "must be 1 to"),
            ("http = \"https://a\", output_bytes_max = 0", "at least 1"),
            (
                "http = \"https://a\", env = { A = \"b\" }",
                "env is for commands",
            ),
            (
                "http = \"https://a\", exit_codes = { done = [1] }",
                "exit_codes is for",
            ),
            ("http = \"https://a\", sandbox = true", "sandbox is for"),
            (
                "command = [\"b\"], readable = [\"c\"]",
                "readable is for sandbox = true",
            ),
            ("command = [\"b\"], secret = \"s\"", "secret is for http"),
            ("secret = \"s\"", "must have command"),
        ] {
            let error = with(keys).map(drop).unwrap_err();
            assert!(error.contains(words), "{keys}: {error}");
            assert!(!error.contains("u:secret"), "{error}");
        }
    }

    #[test]
    fn tenants_are_apart() {
        let tenant = |name: &str, host: &str| {
            format!(
                "[tenants.{name}]\nhosts = [\"{host}\"]\n\
                 [tenants.{name}.interfaces.a]\ndirection = \"in\"\n"
            )
        };
        let two = format!(
            "{ONE}{}{}",
            tenant("x", "x.example.org"),
            tenant("y", "y.example.org")
        );
        let config = parse(&two).unwrap();
        assert_eq!(config.tenants.len(), 3);
        assert_eq!(
            config.tenants[1].root,
            Path::new("/etc/spoolgate/tenants/x/spool")
        );
        assert!(config.tenant(Some("y")).is_ok());
        assert!(config.tenant(Some("z")).is_err());
        // By their paths alone, each under names of its own.
        let by_path = |databases: &str, other: &str| {
            parse(&format!(
                "databases = {databases}\n{ONE}[tenants.x]\ndatabases = {other}\n\
                 [tenants.x.interfaces.a]\ndirection = \"in\"\n"
            ))
        };
        let config = by_path("[\"erp\", \"crm\"]", "[\"archive\"]").unwrap();
        assert_eq!(config.tenants[0].databases, ["erp", "crm"]);
        assert_eq!(config.tenants[1].databases, ["archive"]);
        let of = |default: bool| {
            config
                .tenants
                .iter()
                .filter(move |t| t.is_default == default)
        };
        assert_eq!((of(true).count(), of(false).count()), (1, 1));
        for (databases, other) in [
            ("[\"erp\"]", "[\"erp\"]"),
            ("[\"erp\", \"erp\"]", "[]"),
            ("[\"x\"]", "[]"),
            ("[]", "[\"default\"]"),
        ] {
            let error = by_path(databases, other).unwrap_err();
            assert!(
                error.contains("is taken already"),
                "{databases} {other}: {error}"
            );
        }
        let same = format!("{}{}", tenant("x", "h"), tenant("y", "H"));
        assert!(
            parse(&same)
                .unwrap_err()
                .contains("another tenant has the host H")
        );
    }
}
