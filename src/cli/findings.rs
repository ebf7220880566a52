//! What is wrong, for `check` and `status`: found in the files, and reported by the running service.

use super::{explain, is_unknown_to_service, runtime};
use crate::{
    auth::{Everyone, UserFiles, UsersError},
    config::{Config, Tenant},
    daemon::{self, Engine},
    http::tls::{Certificate, TlsError},
    ops::admin::RELOAD,
    ops::health::{
        self, Grade, HealthFinding, Stops, Subject,
        gather::{CertificateSource, StoreFacts, TenantSource, facts, unknown_partners},
    },
    store::{
        Result as StoreResult,
        fs::{RealFs, SpoolLock},
    },
    xml::{ReloadReport, Schemas, Stylesheets},
};
use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};
use tokio::runtime::Runtime;

/// The service itself gives up after five seconds.
const PATIENCE: Duration = Duration::from_secs(7);
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// A tenant as a start would find it. Nothing is made.
pub(super) struct Found<'a> {
    pub(super) tenant: &'a Tenant,
    pub(super) users: Result<Everyone, UsersError>,
    pub(super) schemas: Vec<ReloadReport>,
    pub(super) stylesheets: Vec<ReloadReport>,
    /// The process that serves it.
    pub(super) holder: Option<String>,
    /// `None`: it cannot be opened, as its facts say.
    engine: Option<Engine>,
    /// The one on which the store was opened.
    runtime: Runtime,
    store_facts: StoreFacts,
    pub(super) schema_store: Schemas,
    stylesheet_store: Stylesheets,
}

impl<'a> Found<'a> {
    pub(super) fn look(tenant: &'a Tenant) -> anyhow::Result<Self> {
        let runtime = runtime()?;
        let (engine, store_facts) = match runtime.block_on(Engine::look(tenant)) {
            Ok(engine) => {
                let facts = runtime.block_on(StoreFacts::of(&*engine.store, false));
                (Some(engine), facts)
            }
            Err(error) => (None, StoreFacts::unknown(explain(&error))),
        };
        let schema_store = daemon::schemas(tenant);
        let stylesheet_store = Stylesheets::open(&tenant.root.join("xslt"));
        Ok(Self {
            tenant,
            users: UserFiles::beside(&tenant.users).load(),
            schemas: schema_store.reload(),
            stylesheets: stylesheet_store.reload(),
            holder: SpoolLock::holder(&RealFs::new(&tenant.root)).ok().flatten(),
            store_facts,
            engine,
            runtime,
            schema_store,
            stylesheet_store,
        })
    }

    /// As [`crate::store::Store::probe`], where no service is at work. `None`: the store cannot be opened.
    pub(super) fn probe(&self) -> Option<StoreResult<Vec<String>>> {
        let engine = self.engine.as_ref()?;
        Some(self.runtime.block_on(engine.store.probe()))
    }

    /// What is to be known of schemas that are good, and of those that the configuration names and
    /// nobody has, by their names.
    pub(super) fn schema_warnings(&self) -> Vec<(String, String)> {
        let store = &self.schema_store;
        let is_there = |name: &str| store.is_in_force(name) || store.is_refused(name);
        let lacking = self.tenant.editions.keys().filter(|name| !is_there(name));
        let of_lacking = |name: &String| {
            let text = format!("there is none, and the configuration has schemas.{name}.xsd");
            (name.clone(), text)
        };
        let mut warnings = store.warnings();
        warnings.extend(lacking.map(of_lacking));
        warnings
    }
}

/// Everything that is wrong, the worst first. What the user may not read, and the service
/// may, is wrong only if `strict`.
pub(super) fn all(
    config: &Config,
    certificate: Option<&Result<Certificate, TlsError>>,
    tenants: &[Found<'_>],
    strict: bool,
) -> Vec<HealthFinding> {
    let sources: Vec<_> = tenants.iter().map(|found| source(found, strict)).collect();
    let host_name = daemon::host_name();
    let trouble = certificate.and_then(|certificate| certificate.as_ref().err());
    let trouble = trouble.filter(|error| {
        let denied = matches!(error, TlsError::Io { source, .. }
            if source.kind() == ErrorKind::PermissionDenied);
        strict || !denied
    });
    let certificate = CertificateSource {
        in_force: certificate.and_then(|certificate| certificate.as_ref().ok()),
        trouble: trouble.map(ToString::to_string),
        host_name: host_name.as_deref(),
    };
    let mut findings = health::judge(&facts(config, &certificate, &sources));
    if tenants
        .iter()
        .any(|found| is_unknown_to_service(config, found.tenant))
    {
        findings.push(HealthFinding {
            grade: Grade::Warning,
            stops: Stops::Nothing,
            tenant: None,
            of: Subject::Other(config.path.display().to_string()),
            text: format!("it is not what the service has taken; {RELOAD}"),
        });
    }
    // A spool that was never served has no schemas yet, nor anything else.
    let is_new = |tenant: &Tenant| !tenant.root.exists();
    if tenants.iter().all(|found| is_new(found.tenant)) {
        findings.retain(|finding| !matches!(finding.of, Subject::Schemas(_)));
    }
    if tenants.iter().any(|found| found.holder.is_some()) {
        let told = config.ops_listen.and_then(ask).unwrap_or_default();
        let known: Vec<String> = findings.iter().map(ToString::to_string).collect();
        findings.extend(told.into_iter().filter(|told| !known.contains(&told.text)));
        findings.sort_by_key(|finding| finding.grade);
    }
    findings
}

/// The certificate as a start would find it; none: a start would make one.
pub(super) fn certificate(config: &Config) -> Option<Result<Certificate, TlsError>> {
    let there = config.certificate.exists() || config.key.exists();
    there.then(|| Certificate::load(&config.certificate, &config.key))
}

fn source<'a>(found: &'a Found<'_>, strict: bool) -> TenantSource<'a> {
    let users = match &found.users {
        Ok(everyone) => Ok(everyone.users.anybody_may()),
        Err(UsersError::Io { source, .. })
            if !strict && source.kind() == ErrorKind::PermissionDenied =>
        {
            Ok(true)
        }
        Err(error) => Err(error.to_string()),
    };
    TenantSource {
        tenant: found.tenant,
        store: found.store_facts.clone(),
        users,
        unknown_partners: match &found.users {
            Ok(Everyone { users, .. }) => {
                unknown_partners(found.tenant, |name| users.account(name).is_some())
            }
            Err(_) => Vec::new(),
        },
        broken_users: match &found.users {
            Ok(everyone) => everyone.broken.iter().map(ToString::to_string).collect(),
            Err(_) => Vec::new(),
        },
        schemas: &found.schema_store,
        stylesheets: &found.stylesheet_store,
    }
}

/// What the service says of itself, but what it holds: that lies in the spool. None: it does not say anything there.
fn ask(at: SocketAddr) -> Option<Vec<HealthFinding>> {
    told(&probe(at, "/readyz?holds=no")?)
}

/// The whole answer to a probe. None: there is none.
pub(super) fn probe(mut at: SocketAddr, path: &str) -> Option<String> {
    if at.ip().is_unspecified() {
        at.set_ip(match at {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

fn told(answer: &str) -> Option<Vec<HealthFinding>> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let finding = |grade, text: &str| HealthFinding {
        of: "service".into(),
        ..HealthFinding::of_process(grade, text.to_owned())
    };
    let lines = body.lines().filter(|line| *line != "ok");
    let findings = lines.map(|line| match line.strip_prefix("warning: ") {
        Some(text) => finding(Grade::Warning, text),
        None => finding(Grade::Failed, line),
    });
    let answers = head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.1 503");
    answers.then(|| findings.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_says_is_understood() {
        let said = |answer| {
            let told = told(answer)?;
            let told = told.iter().map(|f| (f.grade, f.text.clone()));
            Some(told.collect::<Vec<_>>())
        };
        assert_eq!(said("HTTP/1.1 200 OK\r\na: b\r\n\r\nok\n"), Some(vec![]));
        assert_eq!(
            said("HTTP/1.1 503 x\r\n\r\nbad disk\nwarning: a: b\n"),
            Some(vec![
                (Grade::Failed, "bad disk".into()),
                (Grade::Warning, "a: b".into())
            ])
        );
        assert_eq!(said("HTTP/1.1 404 x\r\n\r\nno such path\n"), None);
        assert_eq!(said("220 another server"), None);
    }
}
