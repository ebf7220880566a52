//! `spoolgate check`: what would go wrong, before it does.

use super::{ConfigArg, Format, is_unknown_to_service, output::tell};
use crate::{
    auth::{Caller, Role, UsersFile},
    config::{Config, Engine, Tenant},
    daemon,
    http::tls,
    job::InterfaceName,
    processor::Processor,
    spool::{ProbeOptions, RealFs, SpoolLock, probe},
    xml::{ReloadOutcome, ReloadReport, Stylesheets, xmllint_present, xsltproc_present},
};
use anyhow::anyhow;
use clap::Args;
use std::{path::Path, process::ExitCode, sync::Arc};

/// So many of the users of an interface are named.
const PARTNERS_NAMED_MAX: usize = 5;

/// One thing that was looked at.
struct Finding {
    what: String,
    /// `Ok` with a remark, or what is wrong and what to do.
    outcome: Result<String, String>,
}

/// Tries everything that can be tried without serving.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Check {
    #[command(flatten)]
    file: ConfigArg,
    /// Check this tenant only
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[command(flatten)]
    format: Format,
}

const EXAMPLES: &str = "\
All of it:    spoolgate check --config d/spoolgate.toml
One tenant:   spoolgate check --tenant north";

impl Check {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let path = &self.file.config;
        let config = Config::load(path)?;
        let tenants = match &self.tenant {
            None => config.tenants.iter().collect(),
            Some(name) => vec![config.tenant(Some(name)).map_err(|text| anyhow!(text))?],
        };
        let mut findings = vec![Finding {
            what: path.display().to_string(),
            outcome: Ok(understood(&config)),
        }];
        findings.push(certificate(&config));
        for tenant in tenants {
            check_tenant(&config, tenant, &mut findings);
        }
        findings.push(programs(&config));
        print(&findings, self.format.json)
    }
}

/// What is to be known of a configuration without mistakes.
fn understood(config: &Config) -> String {
    let mut tenants = config.tenants.iter();
    match tenants.any(|tenant| is_unknown_to_service(config, tenant)) {
        true => "understood; the running service was started with another one: restart it".into(),
        false => "understood".into(),
    }
}

fn print(findings: &[Finding], as_json: bool) -> anyhow::Result<ExitCode> {
    let failed = findings.iter().filter(|f| f.outcome.is_err()).count();
    if as_json {
        let all: Vec<_> = findings.iter().map(json).collect();
        tell!("{}", serde_json::json!({"findings": all, "failed": failed}))?;
    } else {
        for finding in findings {
            match &finding.outcome {
                Ok(text) => tell!("ok      {}: {text}", finding.what)?,
                Err(text) => tell!("FAILED  {}: {text}", finding.what)?,
            }
        }
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn json(finding: &Finding) -> serde_json::Value {
    let (ok, text) = match &finding.outcome {
        Ok(text) => (true, text),
        Err(text) => (false, text),
    };
    serde_json::json!({"what": finding.what, "ok": ok, "text": text})
}

fn certificate(config: &Config) -> Finding {
    let (certificate, key) = (&config.certificate, &config.key);
    let outcome = if !certificate.exists() && !key.exists() {
        Ok("none yet; the first serve makes one".into())
    } else {
        match tls::Certificate::load(certificate, key) {
            Ok(_) => Ok("certificate and key belong together".into()),
            Err(error) => Err(error.to_string()),
        }
    };
    Finding {
        what: certificate.display().to_string(),
        outcome,
    }
}

fn programs(config: &Config) -> Finding {
    let outcome = if config.engine == Engine::Xmllint && !xmllint_present() {
        Err("xml.engine is xmllint, which is missing: apt-get install libxml2-utils".into())
    } else if xsltproc_present() {
        Ok("all found".into())
    } else {
        Ok("xsltproc is missing: requests with xslt get 503 until apt-get install xsltproc".into())
    };
    Finding {
        what: "programs".into(),
        outcome,
    }
}

fn check_tenant(config: &Config, tenant: &Tenant, findings: &mut Vec<Finding>) {
    let mut say = |what: String, outcome| {
        let what = if tenant.name == "default" {
            what
        } else {
            format!("{}: {what}", tenant.name)
        };
        findings.push(Finding { what, outcome });
    };
    let spool = daemon::open_spool(tenant);
    let root = tenant.root.display().to_string();
    match spool {
        Err(error) => say(root, Err(super::explain(&error))),
        Ok(_) => {
            let fs = RealFs::new(&tenant.root);
            let options = ProbeOptions {
                accept_risk: tenant.accept_risk,
            };
            match probe(&fs, &daemon::spool_dirs(tenant), options) {
                Err(error) => say(root.clone(), Err(error.to_string())),
                Ok(warnings) if warnings.is_empty() => {
                    say(root.clone(), Ok("keeps what is acknowledged".into()));
                }
                Ok(warnings) => say(root.clone(), Ok(warnings.join("; "))),
            }
            let key = daemon::seal(tenant).map(|_| "only its owner can use it".into());
            say(
                format!("{root}/.key"),
                key.map_err(|error| super::explain(&error)),
            );
            if let Ok(Some(holder)) = SpoolLock::holder(&fs) {
                say(root, Ok(format!("served by process {holder}")));
            }
        }
    }
    match UsersFile::load(&tenant.users) {
        Err(error) => say(tenant.users.display().to_string(), Err(error.to_string())),
        Ok(users) => {
            let text = format!("{} users", users.list().count());
            say(tenant.users.display().to_string(), Ok(text));
            for (name, note) in shared(tenant, &users) {
                say(format!("interface {name}"), Ok(note));
            }
        }
    }
    let schemas = daemon::schemas(config, tenant);
    reload("schema", &schemas.reload(), &mut say);
    let stylesheets = Stylesheets::open(&tenant.root.join("xslt"));
    reload("stylesheet", &stylesheets.reload(), &mut say);
    for (name, interface) in &tenant.interfaces {
        if let Some(schema) = &interface.gateway.schema
            && !schemas.names().contains(schema)
        {
            let file = format!("schemas/{schema}.xsd");
            let text = if tenant.root.join(&file).exists() {
                format!("{file} is broken: uploads get 503 after the next start; mend it")
            } else {
                format!("{file} is missing: uploads get 503; add it, or set schema = \"\"")
            };
            say(format!("interface {name}"), Err(text));
        }
        let checked = match &interface.lane.processor {
            None | Some(Processor::Archive) => continue,
            Some(Processor::Command(command)) => program(&command.argv[0], &command.dir),
            Some(Processor::Post(post)) => post.check().map(|()| "can be posted".into()),
        };
        say(format!("interface {name}"), checked);
    }
}

/// The interfaces where several partners see each other's jobs, and who they are.
fn shared<'t>(
    tenant: &'t Tenant,
    users: &'t UsersFile,
) -> impl Iterator<Item = (&'t InterfaceName, String)> {
    let shared = (tenant.interfaces.iter()).filter(|(_, of)| of.gateway.visible.is_shared());
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

fn reload(
    kind: &str,
    reports: &[ReloadReport],
    say: &mut impl FnMut(String, Result<String, String>),
) {
    for report in reports {
        let what = format!("{kind} {}", report.name);
        match &report.outcome {
            ReloadOutcome::Loaded => say(what, Ok("good".into())),
            ReloadOutcome::Refused { reason, .. } => say(what, Err(reason.clone())),
            ReloadOutcome::Vanished => say(what, Err("the file is gone".into())),
        }
    }
}

/// Can the processor's program be run?
fn program(program: &str, dir: &Path) -> Result<String, String> {
    use rustix::fs::{Access, access};
    let runs = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    let found = if program.contains('/') {
        runs(&dir.join(program))
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| runs(&dir.join(program)))
    };
    if found {
        Ok(format!("{program} can be run"))
    } else {
        Err(format!(
            "the command {program} is not found or not executable"
        ))
    }
}
