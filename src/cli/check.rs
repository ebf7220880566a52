//! `spoolgate check`: what would go wrong, before it does.

use super::{
    ConfigArg, Format,
    findings::{self, Found},
    jobs::exit_code,
    output::print_line,
};
use crate::{
    auth::{Caller, Everyone, Role, UsersFile},
    config::{Config, DEFAULT_TENANT, Differences, Tenant},
    daemon,
    domain::{InterfaceName, escaped},
    http::tls::{Certificate, TlsError},
    ops::{
        control::Client,
        health::{Grade, HealthFinding, Stops, Subject, count},
    },
    processor::Processor,
    xml::{ReloadOutcome, ReloadReport, xsltproc_present},
};
use anyhow::anyhow;
use clap::Args;
use std::{process::ExitCode, sync::Arc};

/// How many of the users of an interface are named.
const PARTNERS_NAMED_MAX: usize = 5;

/// Tries everything that can be tried without serving, and makes nothing. Exit code 1 when
/// anything FAILED, 0 with warnings only.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Check {
    #[command(flatten)]
    file: ConfigArg,
    /// Check this tenant only
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Say instead what a reload would change in the running service; exit code 1 if part of it needs a restart
    #[arg(long, conflicts_with = "tenant")]
    diff: bool,
    #[command(flatten)]
    format: Format,
}

const EXAMPLES: &str = "\
All of it:    spoolgate check --config d/spoolgate.toml
One tenant:   spoolgate check --tenant north
A reload:     spoolgate check --diff";

impl Check {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let path = &self.file.config;
        let config = Config::load(path)?;
        if self.diff {
            return differences(&config, self.format.json);
        }
        let tenants = match &self.tenant {
            None => config.tenants.iter().collect(),
            Some(name) => vec![config.tenant(Some(name)).map_err(|text| anyhow!(text))?],
        };
        let certificate = findings::certificate(&config);
        let tenants = tenants.into_iter().map(Found::look);
        let tenants = tenants.collect::<anyhow::Result<Vec<Found<'_>>>>()?;
        let mut all = findings::all(&config, certificate.as_ref(), &tenants, true);
        let files = config.files.iter();
        all.extend(files.map(|file| fine(file.display().to_string(), "understood")));
        all.extend(usable(&config, certificate.as_ref()));
        for found in &tenants {
            check_tenant(found, &mut all);
        }
        all.push(programs());
        print(all, self.format.json)
    }
}

/// What a reload would change, as the service that runs says.
fn differences(config: &Config, as_json: bool) -> anyhow::Result<ExitCode> {
    let tenant = config.tenant(None).map_err(|text| anyhow!(text))?;
    let mut service = Client::connect(&daemon::control_places(config), &tenant.root)?;
    let found = service.differences()?;
    if as_json {
        print_line!("{}", serde_json::to_string(&found)?)?;
    } else if found == Differences::default() {
        print_line!("nothing differs from what is in force")?;
    }
    for line in found.to_string().lines().filter(|_| !as_json) {
        print_line!("{}", escaped(line))?;
    }
    Ok(match found.needs_restart.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The worst first. Of what failed nothing good is said.
fn print(mut findings: Vec<HealthFinding>, as_json: bool) -> anyhow::Result<ExitCode> {
    let failed: Vec<String> = (findings.iter())
        .filter(|finding| finding.grade == Grade::Failed)
        .map(HealthFinding::what)
        .collect();
    findings.retain(|f| f.grade != Grade::Fine || !failed.contains(&f.what()));
    findings.sort_by_key(|finding| finding.grade);
    for finding in &findings {
        match as_json {
            true => print_line!("{}", json(finding))?,
            false => print_line!("{:<7} {finding}", word(finding.grade))?,
        }
    }
    Ok(exit_code(failed.is_empty()))
}

/// What a line of `check` and `status` begins with.
pub(super) fn word(grade: Grade) -> &'static str {
    match grade {
        Grade::Failed => "FAILED",
        Grade::Warning => "warning",
        Grade::Fine => "ok",
    }
}

/// The same as an object.
pub(super) fn json(finding: &HealthFinding) -> serde_json::Value {
    serde_json::json!({
        "what": finding.what(),
        "grade": word(finding.grade).to_lowercase(),
        "ok": finding.grade != Grade::Failed,
        "text": finding.text,
    })
}

fn graded(grade: Grade, what: String, text: impl Into<String>) -> HealthFinding {
    HealthFinding {
        grade,
        stops: Stops::Nothing,
        tenant: None,
        of: Subject::Other(what),
        text: text.into(),
    }
}

fn fine(what: String, text: impl Into<String>) -> HealthFinding {
    graded(Grade::Fine, what, text)
}

fn usable(
    config: &Config,
    certificate: Option<&Result<Certificate, TlsError>>,
) -> Option<HealthFinding> {
    let text = match certificate {
        None => "none yet; the first serve makes one",
        Some(Ok(_)) => "certificate and key belong together",
        Some(Err(_)) => return None,
    };
    Some(fine(config.certificate.display().to_string(), text))
}

fn programs() -> HealthFinding {
    let (grade, text) = if xsltproc_present() {
        (Grade::Fine, "all found")
    } else {
        let text = "xsltproc is missing: requests with xslt get 503 until apt-get install xsltproc";
        (Grade::Warning, text)
    };
    graded(grade, "programs".into(), text)
}

fn check_tenant(found: &Found<'_>, findings: &mut Vec<HealthFinding>) {
    let tenant = found.tenant;
    let mut say = |grade, what: String, text: String| {
        let what = if tenant.name == DEFAULT_TENANT {
            what
        } else {
            format!("{}: {what}", tenant.name)
        };
        findings.push(graded(grade, what, text));
    };
    check_spool(found, &mut say);
    if let Ok(Everyone { users, .. }) = &found.users {
        let n = i64::try_from(users.list().count()).unwrap_or(i64::MAX);
        let text = count(n, "user");
        say(Grade::Fine, tenant.users.display().to_string(), text);
        for (name, note) in shared(tenant, users) {
            say(Grade::Fine, format!("interface {name}"), note);
        }
    }
    let parts = |name: &str| {
        found
            .schema_store
            .account(name)
            .filter(|parts| !parts.is_empty())
    };
    let good = |name: &str| parts(name).map_or("good".into(), |parts| format!("good; {parts}"));
    reload("schema", &found.schemas, good, &mut say);
    for (name, warning) in found.schema_warnings() {
        say(Grade::Warning, format!("schema {name}"), warning);
    }
    for (entry, fault) in tenant.catalog.faults(&tenant.root.join("schemas")) {
        let text = format!("line {}: schemas.catalog: {fault}", entry.line);
        say(Grade::Warning, entry.file.display().to_string(), text);
    }
    reload(
        "stylesheet",
        &found.stylesheets,
        |_| "good".into(),
        &mut say,
    );
    for (name, interface) in &tenant.interfaces {
        let what = format!("interface {name}");
        match &interface.lane.processor {
            None | Some(Processor::Archive) => {}
            Some(Processor::Command(command)) => {
                let text = format!("its command is {}", command.argv[0]);
                say(Grade::Fine, what, text);
            }
            Some(Processor::Post(_)) => say(Grade::Fine, what, "its jobs are posted".into()),
        }
    }
}

/// The interfaces where several partners see each other's jobs, and who they are.
fn shared<'t>(
    tenant: &'t Tenant,
    users: &'t UsersFile,
) -> impl Iterator<Item = (&'t InterfaceName, String)> {
    let shared = (tenant.interfaces.iter()).filter(|(_, of)| of.is_shared());
    shared.filter_map(|(name, _)| Some((name, shared_by(users, name)?)))
}

/// Says who shares an interface, if several partners do.
fn shared_by(users: &UsersFile, interface: &InterfaceName) -> Option<String> {
    let is_partner = |caller: &Caller| !caller.has(Role::Operator) && caller.may_any(interface);
    let callers = (users.list()).map(|(name, account)| Caller::new(name, account.grants.clone()));
    let mut names: Vec<Arc<str>> = callers.filter(is_partner).map(|c| c.user).collect();
    let n_names = names.len();
    names.truncate(PARTNERS_NAMED_MAX);
    let more = if n_names > names.len() { ", …" } else { "" };
    (n_names > 1).then(|| {
        format!(
            "{n_names} users see each other's jobs ({}{more}); visible = \"own\" keeps them apart",
            names.join(", "),
        )
    })
}

/// Nothing is made, and nothing is tried beside a running service, which has tried it.
fn check_spool(found: &Found<'_>, say: &mut impl FnMut(Grade, String, String)) {
    let tenant = found.tenant;
    let root = tenant.root.display().to_string();
    if let Some(holder) = &found.holder {
        say(
            Grade::Fine,
            root.clone(),
            format!("served by process {holder}"),
        );
    } else if !tenant.root.join("tmp").exists() {
        let text = "not there yet; the first serve makes it";
        say(Grade::Fine, root.clone(), text.into());
    } else {
        match found.probe() {
            // That it cannot be opened is told already.
            None => {}
            Some(Err(error)) => say(Grade::Failed, root.clone(), error.to_string()),
            Some(Ok(warnings)) if warnings.is_empty() => {
                let text = "keeps what is acknowledged";
                say(Grade::Fine, root.clone(), text.into());
            }
            Some(Ok(warnings)) => say(Grade::Warning, root.clone(), warnings.join("; ")),
        }
    }
    if tenant.root.join(".key").symlink_metadata().is_ok() {
        let what = format!("{root}/.key");
        match super::runtime().and_then(|runtime| runtime.block_on(daemon::seal(tenant))) {
            Ok(_) => say(Grade::Fine, what, "only its owner can use it".into()),
            Err(error) => say(Grade::Failed, what, super::explain(&error)),
        }
    }
}

fn reload(
    kind: &str,
    reports: &[ReloadReport],
    good: impl Fn(&str) -> String,
    say: &mut impl FnMut(Grade, String, String),
) {
    // A directory that cannot be read is reported already.
    for report in reports.iter().filter(|report| report.name != "*") {
        let what = format!("{kind} {}", report.name);
        match &report.outcome {
            ReloadOutcome::Loaded => say(Grade::Fine, what, good(&report.name)),
            ReloadOutcome::Refused { reason, .. } => say(Grade::Failed, what, reason.clone()),
            ReloadOutcome::Vanished => say(Grade::Failed, what, "the file is gone".into()),
        }
    }
}
