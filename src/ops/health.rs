//! What keeps partners from being served, or soon will: facts in, findings out.
//!
//! The service's `/readyz`, `spoolgate status` and `spoolgate check` say the same, because all
//! three ask here. Each finding is one sentence with the remedy. What is checked, and where, is
//! in [`gather`]; here nothing is read.

pub mod gather;

use crate::{http, store::Capacity};
use std::{fmt, pin::Pin};

const DAY_S: i64 = 24 * 60 * 60;
/// How long before its end a certificate that is not renewed by itself is warned of.
const RENEWAL_DAYS: i64 = 30;
/// How long a renewal may be overdue before it is reported.
const GRACE_DAYS: i64 = 3;
/// How many entries of a queue that are for no one are named.
const ASTRAY_NAMED_MAX: usize = 5;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Partners fail, or the service would not start again.
    Failed,
    /// No one fails yet, or it is meant to be so.
    Warning,
    /// Checked and found good.
    Fine,
}

/// Which service a finding stops altogether.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stops {
    Nothing,
    /// The one for the tenant with this number.
    Tenant(usize),
    Everything,
}

/// What a finding is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The process that serves; its sentences name what they are of themselves.
    Process,
    /// An interface, by its name.
    Interface(String),
    /// That this interface is held.
    Hold(String),
    /// The directory of a tenant's schemas, by its path.
    Schemas(String),
    /// Anything else, by its path or name.
    Other(String),
}

impl<T: AsRef<str> + ?Sized> From<&T> for Subject {
    fn from(name: &T) -> Self {
        Self::Other(name.as_ref().to_owned())
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("service"),
            Self::Interface(name) | Self::Hold(name) => write!(f, "interface {name}"),
            Self::Schemas(path) | Self::Other(path) => f.write_str(path),
        }
    }
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthFinding {
    pub grade: Grade,
    pub stops: Stops,
    /// Whose it is; none: the default tenant's, or the service's.
    pub tenant: Option<String>,
    pub of: Subject,
    /// A remark, or what is wrong and what to do.
    pub text: String,
}

impl HealthFinding {
    /// What the process that serves says of itself, in a sentence.
    pub fn of_process(grade: Grade, text: String) -> Self {
        Self {
            grade,
            stops: Stops::Nothing,
            tenant: None,
            of: Subject::Process,
            text,
        }
    }

    /// What it is of, with the tenant's name before it, except for the default tenant.
    pub fn what(&self) -> String {
        match &self.tenant {
            Some(tenant) => format!("{tenant}: {}", self.of),
            None => self.of.to_string(),
        }
    }

    fn is_hold(&self) -> bool {
        matches!(self.of, Subject::Hold(_))
    }
}

impl fmt::Display for HealthFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.of == Subject::Process {
            return f.write_str(&self.text);
        }
        write!(f, "{}: {}", self.what(), self.text)
    }
}

/// How the service is.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Why no partner can be served.
    pub down: Option<HealthFinding>,
    /// What else is wrong.
    pub warnings: Vec<HealthFinding>,
}

/// Reports how the service is. Whoever waits no longer leaves it to its end.
pub type Readiness = dyn Fn() -> Pin<Box<dyn Future<Output = Report> + Send>> + Send + Sync;

impl Report {
    /// When no partner can be served, for a reason of the process that serves.
    pub fn down(reason: impl Into<String>) -> Self {
        Self {
            down: Some(HealthFinding::of_process(Grade::Failed, reason.into())),
            warnings: Vec::new(),
        }
    }

    /// What of it is for the operators of this tenant, who need not know how others are.
    pub fn of_tenant(mut self, name: &str) -> Self {
        let is_own = |finding: &HealthFinding| finding.tenant.as_deref() == Some(name);
        self.warnings.retain(is_own);
        let is_told = |finding: &HealthFinding| finding.of == Subject::Process || is_own(finding);
        self.down = self.down.filter(is_told);
        self
    }

    /// In sentences.
    pub(crate) fn said(&self) -> http::Report {
        let (holds, others): (Vec<_>, Vec<_>) = self.warnings.iter().partition(|f| f.is_hold());
        let said = |of: Vec<&HealthFinding>| of.into_iter().map(ToString::to_string).collect();
        http::Report {
            down: self.down.as_ref().map(ToString::to_string),
            warnings: said(others),
            holds: said(holds),
        }
    }
}

/// Everything that is checked.
#[derive(Clone, Debug)]
pub struct ServiceFacts {
    /// Seconds of the Unix epoch.
    pub now_s: i64,
    pub certificate: CertificateFacts,
    pub connections_max: usize,
    /// How many open files the process may have; none: no limit.
    pub open_files_max: Option<u64>,
    pub tenants: Vec<TenantFacts>,
}

/// The certificate that clients see.
#[derive(Clone, Debug, Default)]
pub struct CertificateFacts {
    pub path: String,
    /// Why the files cannot be used.
    pub trouble: Option<String>,
    /// From and to, in seconds of the Unix epoch; none: there is no certificate yet.
    pub valid_s: Option<(i64, i64)>,
    /// By the service itself.
    pub is_renewed: bool,
    /// Those of the tenants' hosts that a client would not find in it.
    pub missing_hosts: Vec<String>,
    /// What it has.
    pub names: Vec<String>,
    /// Whether one of them is this machine's name, or a tenant's host.
    pub has_a_name: bool,
    /// Whether a tenant takes every other name, so that the right one cannot be known.
    pub any_name_will_do: bool,
}

/// One tenant.
#[derive(Clone, Debug, Default)]
pub struct TenantFacts {
    /// None: the default one, which needs no name.
    pub name: Option<String>,
    pub root: String,
    /// Why nothing is accepted or started, with what to do.
    pub stopped: Option<String>,
    pub free: Option<Capacity>,
    pub bytes_min: u64,
    pub inodes_min: u64,
    pub users: UsersFacts,
    /// Why the directory of the schemas cannot be read.
    pub unreadable_schemas: Option<String>,
    /// Stylesheets that cannot be used, and whether the version before is in force.
    pub broken_stylesheets: Vec<(String, bool)>,
    /// Directories in which everyone may replace what the service trusts.
    pub open_dirs: Vec<String>,
    /// Receivers of events to which nothing can be sent, and why.
    pub receivers: Vec<(String, String)>,
    pub interfaces: Vec<InterfaceFacts>,
}

#[derive(Clone, Debug, Default)]
pub struct UsersFacts {
    pub path: String,
    /// Why the file cannot be used.
    pub trouble: Option<String>,
    /// Why the files of single users do not count as they are.
    pub broken: Vec<String>,
    /// Whether anyone has a right or a role.
    pub anybody_may: bool,
    /// Those to whom the configuration gives limits of their own, and who are not in it.
    pub unknown_partners: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct InterfaceFacts {
    pub name: String,
    /// The schema's name and how it is; none: it needs none.
    pub schema: Option<(String, SchemaFacts)>,
    pub queued: usize,
    pub queue_jobs_max: usize,
    /// Why it is held, which may be an empty text.
    pub held: Option<String>,
    /// Why its processor cannot be started.
    pub processor: Option<String>,
    /// What lies in its queue and is for no one, and why.
    pub astray: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaFacts {
    Good,
    /// The file is broken; an earlier version serves until the next start, or none does.
    Broken {
        in_force: bool,
    },
    /// The file is not there; the same.
    Missing {
        in_force: bool,
    },
}

/// What is wrong, the worst first, in a stable order.
pub fn judge(facts: &ServiceFacts) -> Vec<HealthFinding> {
    let mut found = certificate(facts);
    if let Some(most) = facts.open_files_max
        && facts.connections_max as u64 > most
    {
        let text = format!(
            "limits.connections_max is {} and the process may have {most} open files; raise that \
             limit (LimitNOFILE of the unit, ulimit -n), or lower the number",
            facts.connections_max
        );
        found.push(warning("open files", text));
    }
    if facts.tenants.is_empty() {
        let text = "no tenant is served; add an interface and restart".to_owned();
        found.push(stop("tenants", Stops::Everything, text));
    }
    for (n, facts) in facts.tenants.iter().enumerate() {
        let own = tenant(n, facts).into_iter();
        found.extend(own.map(|finding| HealthFinding {
            tenant: facts.name.clone(),
            ..finding
        }));
    }
    found.sort_by_key(|finding| finding.grade);
    found
}

/// Why no partner of any tenant can be served, if so.
pub fn down(findings: &[HealthFinding], tenants: usize) -> Option<&HealthFinding> {
    let everything = findings.iter().find(|f| f.stops == Stops::Everything);
    let stopped = |n| findings.iter().find(|f| f.stops == Stops::Tenant(n));
    let all = (0..tenants).all(|n| stopped(n).is_some());
    everything.or_else(|| all.then(|| stopped(0)).flatten())
}

fn failed(of: impl Into<Subject>, text: String) -> HealthFinding {
    stop(of, Stops::Nothing, text)
}

fn stop(of: impl Into<Subject>, stops: Stops, text: String) -> HealthFinding {
    HealthFinding {
        grade: Grade::Failed,
        stops,
        tenant: None,
        of: of.into(),
        text,
    }
}

fn warning(of: impl Into<Subject>, text: String) -> HealthFinding {
    HealthFinding {
        grade: Grade::Warning,
        ..failed(of, text)
    }
}

fn certificate(facts: &ServiceFacts) -> Vec<HealthFinding> {
    let (of, now_s) = (&facts.certificate, facts.now_s);
    let what = &of.path;
    let mut found = Vec::new();
    if let Some(trouble) = &of.trouble {
        found.push(failed(what, trouble.clone()));
    }
    let Some((from_s, to_s)) = of.valid_s else {
        return found;
    };
    let new = "put a new pair in its place";
    let days = (to_s - now_s).div_euclid(DAY_S);
    if now_s < from_s {
        let text = format!(
            "it is not valid before {}, so every partner refuses the connection; {new}, or put the \
             clock right",
            date(from_s)
        );
        found.push(stop(what, Stops::Everything, text));
    } else if now_s >= to_s {
        let text = format!(
            "it expired on {}, so every partner refuses the connection; {new}",
            date(to_s)
        );
        found.push(stop(what, Stops::Everything, text));
    } else if days < RENEWAL_DAYS && !(of.is_renewed && days > RENEWAL_DAYS - GRACE_DAYS) {
        let text = format!(
            "it expires in {}, on {}; {new}",
            count(days, "day"),
            date(to_s)
        );
        found.push(warning(what, text));
    }
    if !of.has_a_name {
        let names = match of.names.is_empty() {
            true => "it has no names".to_owned(),
            false => format!("its names are {}", of.names.join(", ")),
        };
        let text = format!(
            "{names}, none of them this machine's or a tenant's: partners who call another refuse \
             the connection; {new} with the names that they call"
        );
        found.push(match of.any_name_will_do && !of.names.is_empty() {
            true => warning(what, text),
            false => failed(what, text),
        });
    } else if !of.missing_hosts.is_empty() {
        let hosts = of.missing_hosts.join(", ");
        let text =
            format!("{hosts} is not among its names; partners who call that refuse the connection");
        found.push(warning(what, text));
    }
    found
}

fn tenant(n: usize, facts: &TenantFacts) -> Vec<HealthFinding> {
    let mut found = Vec::new();
    if let Some(reason) = &facts.stopped {
        found.push(stop(&facts.root, Stops::Tenant(n), reason.clone()));
    }
    if let Some(free) = facts.free {
        found.extend(room(facts, free));
    }
    let users = &facts.users;
    if let Some(trouble) = &users.trouble {
        found.push(failed(&users.path, trouble.clone()));
    } else if !users.anybody_may {
        let text =
            "no one in it has a right, so every partner is refused; spoolgate user add NAME \
                    --right INTERFACE=upload"
                .to_owned();
        found.push(failed(&users.path, text));
    }
    for broken in &users.broken {
        let text = format!("not everyone in the files beside it counts: {broken}");
        found.push(failed(&users.path, text));
    }
    for name in &users.unknown_partners {
        let text = format!(
            "it has no user {name}, so the limits of partners.{name} are no one's; correct the name, \
             or add the user"
        );
        found.push(warning(&users.path, text));
    }
    if let Some(error) = &facts.unreadable_schemas {
        let text = format!("it cannot be read: {error}; let the service's user in");
        let schemas = Subject::Schemas(format!("{}/schemas", facts.root));
        found.push(failed(schemas, text));
    }
    for (name, why) in &facts.receivers {
        let text = format!("it gets no events: {why}");
        found.push(warning(&format!("receiver {name}"), text));
    }
    for (name, in_force) in &facts.broken_stylesheets {
        let what = format!("stylesheet {name}");
        found.push(match in_force {
            true => warning(&what, format!("the file is broken; {LAST_VERSION}")),
            false => failed(
                &what,
                "it is broken: requests for it get 400; repair the file".into(),
            ),
        });
    }
    for dir in &facts.open_dirs {
        let text = format!("everyone may write in it; run: chmod o-w {dir}");
        found.push(warning(dir, text));
    }
    found.extend(facts.interfaces.iter().flat_map(interface));
    found
}

/// Said of what is good in memory and broken on the disk.
const LAST_VERSION: &str = "the version before serves until the next start; `spoolgate check` says \
                            where it is broken";

fn room(facts: &TenantFacts, free: Capacity) -> Vec<HealthFinding> {
    let mut found = Vec::new();
    if free.free_bytes < facts.bytes_min {
        let text = format!(
            "the disk has {} free and limits.free_bytes_min keeps {}, so uploads get 503; make room",
            mib(free.free_bytes),
            mib(facts.bytes_min)
        );
        found.push(failed(&facts.root, text));
    }
    if let Some(inodes) = free.free_files
        && inodes < facts.inodes_min
    {
        let text = format!(
            "the disk has {} free and limits.free_inodes_min keeps {}, so uploads get 503; remove \
             small files",
            count(inodes.cast_signed(), "inode"),
            facts.inodes_min
        );
        found.push(failed(&facts.root, text));
    }
    found
}

fn interface(facts: &InterfaceFacts) -> Vec<HealthFinding> {
    let this = || Subject::Interface(facts.name.clone());
    let mut found = Vec::new();
    if let Some((schema, state)) = &facts.schema {
        let file = format!("schemas/{schema}.xsd");
        let next = "uploads get 503 after the next start";
        found.extend(match state {
            SchemaFacts::Good => None,
            SchemaFacts::Broken { in_force: true } => Some(warning(
                this(),
                format!("{file} is broken: {next}; {LAST_VERSION}"),
            )),
            SchemaFacts::Missing { in_force: true } => Some(warning(
                this(),
                format!("{file} is gone: {next}; put it back, or set schema = \"\""),
            )),
            SchemaFacts::Broken { in_force: false } => Some(failed(
                this(),
                format!(
                    "{file} is broken: uploads get 503; repair it, `spoolgate check` says where"
                ),
            )),
            SchemaFacts::Missing { in_force: false } => Some(failed(
                this(),
                format!("{file} is missing: uploads get 503; add it, or set schema = \"\""),
            )),
        });
    }
    if facts.queued >= facts.queue_jobs_max {
        let text = format!(
            "{} are queued and limits.queue_jobs_max is {}, so uploads get 503; see why they wait, \
             or raise the limit",
            count(i64::try_from(facts.queued).unwrap_or(i64::MAX), "job"),
            facts.queue_jobs_max
        );
        found.push(failed(this(), text));
    }
    if let Some(reason) = &facts.processor {
        found.push(failed(this(), reason.clone()));
    }
    let named = facts.astray.iter().take(ASTRAY_NAMED_MAX);
    found.extend(named.map(|(path, why)| warning(path, why.clone())));
    let more = facts.astray.len().saturating_sub(ASTRAY_NAMED_MAX);
    if more > 0 {
        let text = format!("{more} more that lie in its queue are for no one");
        found.push(warning(this(), text));
    }
    if let Some(reason) = &facts.held {
        let because = match reason.trim() {
            "" => String::new(),
            reason => format!(" ({reason})"),
        };
        let name = &facts.name;
        let text = format!("it is held{because}; spoolgate release {name}");
        found.push(warning(Subject::Hold(name.clone()), text));
    }
    found
}

/// `1 user`, `2 users`.
pub fn count(n: i64, noun: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{s}")
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// The day in UTC.
fn date(unix_s: i64) -> String {
    let moment = jiff::Timestamp::from_second(unix_s);
    moment.map_or("an unknown day".into(), |moment| {
        moment.strftime("%Y-%m-%d").to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_astray_is_told_up_to_a_number() {
        let mut facts = fine();
        let of = &mut facts.tenants[1].interfaces[0];
        of.astray = (0..7)
            .map(|n| (format!("queue/a/{n}"), "no user is shown it".to_owned()))
            .collect();
        let found = judge(&facts);
        assert!(found.iter().all(|finding| finding.grade == Grade::Warning));
        assert_eq!(found.len(), 6);
        assert_eq!(
            found[0].to_string(),
            "north: queue/a/0: no user is shown it"
        );
        assert!(found[5].text.starts_with("2 more"), "{}", found[5]);
    }

    #[test]
    fn operators_of_a_tenant_are_told_of_theirs() {
        let of = |tenant: Option<&str>| HealthFinding {
            tenant: tenant.map(str::to_owned),
            ..warning("spool", "is full".into())
        };
        let process = || HealthFinding::of_process(Grade::Failed, "stopping".into());
        let report = |down| Report {
            down: Some(down),
            warnings: vec![process(), of(None), of(Some("south")), of(Some("north"))],
        };
        let north = report(process()).of_tenant("north");
        assert_eq!(north.warnings, [of(Some("north"))]);
        assert_eq!(north.down, Some(process()));
        for (down, told) in [(Some("north"), true), (Some("south"), false), (None, false)] {
            let is_told = report(of(down)).of_tenant("north").down.is_some();
            assert_eq!(is_told, told, "{down:?}");
        }
    }

    const NOW_S: i64 = 1_800_000_000;

    /// Nothing is wrong here.
    fn fine() -> ServiceFacts {
        ServiceFacts {
            now_s: NOW_S,
            certificate: CertificateFacts {
                path: "cert.pem".into(),
                valid_s: Some((NOW_S - DAY_S, NOW_S + 300 * DAY_S)),
                has_a_name: true,
                ..CertificateFacts::default()
            },
            connections_max: 100,
            open_files_max: Some(1000),
            tenants: vec![fine_tenant(None), fine_tenant(Some("north"))],
        }
    }

    fn fine_tenant(name: Option<&str>) -> TenantFacts {
        TenantFacts {
            name: name.map(str::to_owned),
            root: "spool".into(),
            free: Some(Capacity {
                free_bytes: 10 << 20,
                free_files: Some(10),
            }),
            bytes_min: 10 << 20,
            inodes_min: 10,
            users: UsersFacts {
                path: "users.toml".into(),
                anybody_may: true,
                ..UsersFacts::default()
            },
            interfaces: vec![InterfaceFacts {
                name: "a".into(),
                schema: Some(("s".into(), SchemaFacts::Good)),
                queued: 4,
                queue_jobs_max: 5,
                ..InterfaceFacts::default()
            }],
            ..TenantFacts::default()
        }
    }

    #[test]
    fn nothing_is_said_of_what_is_good() {
        assert_eq!(judge(&fine()), []);
        assert_eq!(down(&[], 2), None);
    }

    type Change = fn(&mut ServiceFacts);

    /// What is changed, the grade that it has, and words of the sentence.
    #[rustfmt::skip]
    const CASES: &[(Change, Grade, &str)] = &[
        (|f| f.certificate.valid_s = Some((0, NOW_S)), Grade::Failed,
            "cert.pem: it expired on 2027-01-15, so every partner refuses"),
        (|f| f.certificate.valid_s = Some((NOW_S + 1, i64::MAX)), Grade::Failed,
            "cert.pem: it is not valid before 2027-01-15"),
        (|f| f.certificate.valid_s = Some((0, NOW_S + 2 * DAY_S)), Grade::Warning,
            "cert.pem: it expires in 2 days, on 2027-01-17; put a new pair"),
        (|f| f.certificate.valid_s = Some((0, NOW_S + DAY_S)), Grade::Warning, "in 1 day, on"),
        (|f| f.certificate.trouble = Some("no fit".into()), Grade::Failed, "cert.pem: no fit"),
        (|f| f.certificate.has_a_name = false, Grade::Failed, "it has no names, none of them"),
        (|f| other_name(f, false), Grade::Failed, "its names are x.example, none of them"),
        (|f| other_name(f, true), Grade::Warning, "its names are x.example, none of them"),
        (|f| f.certificate.missing_hosts = vec!["h".into()], Grade::Warning, "h is not among"),
        (|f| f.connections_max = 2000, Grade::Warning, "may have 1000 open files"),
        (|f| f.tenants.clear(), Grade::Failed, "no tenant is served"),
        (|f| f.tenants[1].stopped = Some("bad disk".into()), Grade::Failed, "north: spool: bad disk"),
        (|f| f.tenants[0].bytes_min += 1 << 20, Grade::Failed, "10 MiB free and limits.free_bytes_min keeps 11 MiB"),
        (|f| f.tenants[0].inodes_min += 1, Grade::Failed, "10 inodes free"),
        (|f| f.tenants[0].users.trouble = Some("gone".into()), Grade::Failed, "users.toml: gone"),
        (|f| f.tenants[0].users.anybody_may = false, Grade::Failed, "users.toml: no one in it"),
        (|f| f.tenants[0].users.broken = vec!["torn".into()], Grade::Failed, "users.toml: not everyone in the files beside it counts: torn"),
        (|f| f.tenants[0].users.unknown_partners = vec!["shpo".into()], Grade::Warning, "users.toml: it has no user shpo"),
        (|f| f.tenants[0].unreadable_schemas = Some("denied".into()), Grade::Failed, "spool/schemas: it cannot be read"),
        (|f| f.tenants[0].receivers = vec![("x".into(), "no".into())], Grade::Warning, "receiver x: it gets no events: no"),
        (|f| f.tenants[0].broken_stylesheets = vec![("x".into(), false)], Grade::Failed, "stylesheet x: it is broken"),
        (|f| f.tenants[0].broken_stylesheets = vec![("x".into(), true)], Grade::Warning, "stylesheet x: the file is broken"),
        (|f| f.tenants[0].open_dirs = vec!["d".into()], Grade::Warning, "run: chmod o-w d"),
        (|f| f.tenants[1].interfaces[0].queued = 5, Grade::Failed, "north: interface a: 5 jobs are queued"),
        (|f| f.tenants[0].interfaces[0].held = Some(" why ".into()), Grade::Warning, "it is held (why); spoolgate release a"),
        (|f| f.tenants[0].interfaces[0].processor = Some("no".into()), Grade::Failed, "interface a: no"),
        (|f| schema(f, SchemaFacts::Broken { in_force: false }), Grade::Failed, "s.xsd is broken: uploads get 503; repair"),
        (|f| schema(f, SchemaFacts::Missing { in_force: false }), Grade::Failed, "s.xsd is missing: uploads get 503"),
        (|f| schema(f, SchemaFacts::Broken { in_force: true }), Grade::Warning, "after the next start"),
        (|f| schema(f, SchemaFacts::Missing { in_force: true }), Grade::Warning, "s.xsd is gone"),
    ];

    fn other_name(facts: &mut ServiceFacts, any_name_will_do: bool) {
        facts.certificate.names = vec!["x.example".into()];
        facts.certificate.has_a_name = false;
        facts.certificate.any_name_will_do = any_name_will_do;
    }

    fn schema(facts: &mut ServiceFacts, state: SchemaFacts) {
        facts.tenants[0].interfaces[0].schema = Some(("s".into(), state));
    }

    #[test]
    fn holds_are_told_apart_by_tenant_and_interface() {
        let mut facts = fine();
        for tenant in &mut facts.tenants {
            tenant.interfaces[0].held = Some("why".into());
        }
        facts.tenants[1].interfaces[0].processor = Some("it is held up".into());
        let warnings = judge(&facts);
        let held = warnings.iter().filter(|finding| finding.is_hold());
        let held: Vec<_> = held.map(|f| (f.tenant.as_deref(), f.of.clone())).collect();
        let hold = || Subject::Hold("a".into());
        assert_eq!(held, [(None, hold()), (Some("north"), hold())]);
        let down = None;
        let said = Report { down, warnings }.said();
        assert_eq!(said.warnings, ["north: interface a: it is held up"]);
        assert_eq!(
            said.holds,
            [
                "interface a: it is held (why); spoolgate release a",
                "north: interface a: it is held (why); spoolgate release a"
            ]
        );
    }

    #[test]
    fn what_the_process_says_of_itself_has_no_word_before_it() {
        let said = Report::down("stopping").said();
        assert_eq!(said.down.as_deref(), Some("stopping"));
    }

    #[test]
    fn each_fault_is_one_finding_of_its_grade_in_its_words() {
        for (change, grade, words) in CASES {
            let mut facts = fine();
            change(&mut facts);
            let found = judge(&facts);
            assert_eq!(found.len(), 1, "{words}: {found:?}");
            assert_eq!(found[0].grade, *grade, "{found:?}");
            assert!(
                found[0].to_string().contains(words),
                "{words}: {}",
                found[0]
            );
        }
        let mut facts = fine();
        facts.certificate.is_renewed = true;
        facts.certificate.valid_s = Some((0, NOW_S + 28 * DAY_S));
        assert_eq!(judge(&facts), [], "the service renews it");
        facts.certificate.valid_s = Some((0, NOW_S + 20 * DAY_S));
        assert_eq!(judge(&facts).len(), 1, "it should have been renewed");
    }

    #[test]
    fn all_at_once_the_failed_ones_come_first() {
        let mut facts = fine();
        for (change, ..) in CASES
            .iter()
            .filter(|(.., words)| !words.starts_with("no tenant"))
        {
            change(&mut facts);
        }
        let found = judge(&facts);
        assert!(found.is_sorted_by_key(|finding| finding.grade), "{found:?}");
    }

    #[test]
    fn it_is_down_only_when_nobody_can_be_served() {
        let is_down = |change: &dyn Fn(&mut ServiceFacts)| {
            let mut facts = fine();
            change(&mut facts);
            down(&judge(&facts), facts.tenants.len()).is_some()
        };
        let stopped = |f: &mut ServiceFacts, n: usize| f.tenants[n].stopped = Some("x".into());
        assert!(!is_down(&|f| stopped(f, 0)), "another tenant is served");
        assert!(is_down(&|f| (stopped(f, 0), stopped(f, 1)).0));
        assert!(is_down(&|f| f.certificate.valid_s = Some((0, NOW_S))));
        assert!(is_down(
            &|f| f.certificate.valid_s = Some((NOW_S + 1, i64::MAX))
        ));
        assert!(is_down(&|f| f.tenants.clear()));
        assert!(!is_down(&|f| f.tenants[0].users.anybody_may = false));
        assert!(!is_down(&|f| f.certificate.trouble = Some("x".into())));
    }
}
