//! `spoolgate status`: of the whole spool, or of one job.

use super::{
    Common, check,
    findings::{self, Found},
    is_unknown_to_service,
    job_arg::{JobArg, Lookup},
    jobs::exit_code,
    look,
    ls::Shown,
    output::{failed, print_line},
};
use crate::{
    domain::joblog::rfc3339,
    domain::{JobId, escaped},
    ops::{
        health::{Grade, Subject, count},
        moment::midnight_ms,
        shape::Oldest,
    },
    store::{
        Recent, Store, Tally,
        audit::AuditHead,
        fs::{RealFs, SpoolLock},
    },
};
use anyhow::Context;
use clap::Args;
use jiff::tz::TimeZone;
use serde_json::Value;
use std::{collections::BTreeSet, process::ExitCode};

/// Without a job: how many jobs are where, per interface, whether the service runs, and what is
/// wrong; exit code 1 when partners fail. With one: where it is and what is known of it.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Status {
    /// Job names, unique beginnings of them, the paths of their files, or ids that partners have of them
    #[arg(value_name = "JOB")]
    jobs: Vec<JobArg>,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
All interfaces:   spoolgate status
One job:          spoolgate status 20261122T085826.976Z-00000.xml";

impl Status {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (config, tenant) = self.common.at.load()?;
        let as_json = self.common.format.json;
        if self.jobs.is_empty() {
            let zone = config.time_zone.time_zone().clone();
            let counted = look(&tenant, async |store| Counted::of(store, &zone).await);
            // Among the findings is why.
            let counted = match counted {
                Err(_) if tenant.database.is_some() => None,
                counted => Some(counted?),
            };
            let holder = SpoolLock::holder(&RealFs::new(&tenant.root))?;
            let certificate = findings::certificate(&config);
            let found = [Found::look(&tenant)?];
            let mut findings = findings::all(&config, certificate.as_ref(), &found, false);
            // The table says so.
            findings.retain(|finding| !matches!(finding.of, Subject::Hold(_)));
            let is_stale = is_unknown_to_service(&config, &tenant);
            let service = holder.map(|process| {
                let in_force = SpoolLock::configuration(&RealFs::new(&tenant.root));
                Running {
                    process,
                    config_epoch: in_force.ok().flatten().map(|in_force| in_force.epoch),
                    reload_needed: is_stale,
                }
            });
            match as_json {
                true => objects(counted, service.as_ref())?,
                false => overview(counted, service.as_ref())?,
            }
            for finding in &findings {
                let word = check::word(finding.grade);
                match as_json {
                    true => print_line!("{}", check::json(finding))?,
                    false => print_line!("{word:<7} {}", escaped(&finding.to_string()))?,
                }
            }
            let mut grades = findings.iter().map(|finding| finding.grade);
            return Ok(exit_code(grades.all(|grade| grade != Grade::Failed)));
        }
        look(&tenant, async |store| {
            let lookup = Lookup {
                config: &config,
                tenant: &tenant,
                store,
            };
            self.each(&lookup).await
        })
    }

    /// What is known of each job that was named.
    async fn each(&self, lookup: &Lookup<'_>) -> anyhow::Result<ExitCode> {
        let shown = Shown::of(lookup.config, lookup.store).await;
        let mut code = ExitCode::SUCCESS;
        for arg in &self.jobs {
            match known(arg, &shown, lookup).await {
                Ok(known) if self.common.format.json => print_line!("{known}")?,
                Ok(known) => {
                    let known = known.as_object().into_iter().flatten();
                    for (key, value) in known.filter(|(_, value)| !value.is_null()) {
                        let text = value.as_str().map_or(value.to_string(), str::to_owned);
                        print_line!("{key:<10} {text}")?;
                    }
                }
                Err(error) => {
                    failed(self.common.format.json, "job", arg, &error)?;
                    code = ExitCode::FAILURE;
                }
            }
        }
        Ok(code)
    }
}

/// What is known of a job that was named.
async fn known(arg: &JobArg, shown: &Shown<'_>, lookup: &Lookup<'_>) -> anyhow::Result<Value> {
    let job = lookup.job(arg).await?;
    let detail = shown.detail(job).await?;
    let detail = detail.with_context(|| format!("{arg} is gone"))?;
    Ok(shown.json(&detail).await)
}

/// The service that has the spool.
struct Running {
    process: String,
    /// How many configurations it has taken.
    config_epoch: Option<u64>,
    /// Is another one there than the last of them?
    reload_needed: bool,
}

/// What the store says of all its jobs.
struct Counted {
    /// An object per interface: how many of its jobs are where, and whether it is held.
    rows: Vec<Value>,
    failed: usize,
    refused: usize,
    /// What has waited for longest, and what is held.
    oldest: Oldest,
    /// Since midnight, of all interfaces.
    today: Tally,
    /// When the last replay had to restore files, and which.
    restored: Option<(i64, Vec<String>)>,
    /// The newest record of the audit.
    audit: Option<AuditHead>,
}

impl Counted {
    async fn of(store: &dyn Store, zone: &TimeZone) -> anyhow::Result<Self> {
        let counts = store.counts().await?;
        let (activity, now_ms) = (store.activity().await?, store.now_ms());
        let midnight_ms = midnight_ms(now_ms, zone);
        let today = |recent: &Recent| recent.between(midnight_ms, i64::MAX);
        let (mut rows, mut held) = (Vec::new(), BTreeSet::new());
        for (interface, of) in &counts.of {
            let hold = store.hold_text(interface).await?;
            if hold.is_some() {
                held.insert(interface.clone());
            }
            rows.push(serde_json::json!({
                "interface": interface.as_str(),
                "queued": of.queued.jobs,
                "running": of.running.jobs,
                "deferred": of.deferred.jobs,
                "done": of.done.jobs,
                "today": told(&today(&activity.of(interface))),
                "oldest": of.queued.oldest.map(received),
                "hold": hold,
            }));
        }
        Ok(Self {
            rows,
            oldest: Oldest::of(&counts, &held),
            today: today(&activity.all),
            failed: counts.failed,
            refused: counts.refused,
            restored: store.restored().await?,
            audit: store.audit_head().await?,
        })
    }
}

/// One object of the whole, and one of each interface. Of a store that does not answer there is the service alone.
fn objects(counted: Option<Counted>, service: Option<&Running>) -> anyhow::Result<()> {
    let mut whole = serde_json::json!({
        "service": service.map(|of| &of.process),
        "config_epoch": service.and_then(|of| of.config_epoch),
        "reload_needed": service.is_some_and(|of| of.reload_needed),
    });
    let mut rows = Vec::new();
    if let (Some(counted), Some(whole)) = (counted, whole.as_object_mut()) {
        let restored = counted.restored.map(|(at_ms, files)| {
            let at = rfc3339(at_ms);
            serde_json::json!({ "at": at, "files": files })
        });
        let known = serde_json::json!({
            "joberrors": counted.failed, "refused": counted.refused,
            "today": told(&counted.today),
            "oldest": counted.oldest.waiting.map(received),
            "oldest_held": counted.oldest.held.map(received),
            "restored": restored, "audit": counted.audit,
        });
        whole.extend(known.as_object().cloned().unwrap_or_default());
        rows = counted.rows;
    }
    for object in std::iter::once(&whole).chain(&rows) {
        print_line!("{object}")?;
    }
    Ok(())
}

fn overview(counted: Option<Counted>, service: Option<&Running>) -> anyhow::Result<()> {
    tell_service(service)?;
    let Some(Counted {
        rows,
        failed,
        refused,
        oldest: _,
        today,
        restored,
        audit,
    }) = counted
    else {
        return Ok(());
    };
    table(&rows)?;
    print_line!("joberrors: {failed}, and {refused} refused")?;
    let Tally {
        done,
        failed,
        refused,
        ..
    } = today;
    print_line!("today: {done} done, {failed} failed, {refused} refused")?;
    if let Some(newest) = audit {
        print_line!("audit: record {}, sha256 {}", newest.number, newest.sha256)?;
    }
    if let Some((at_ms, files)) = restored {
        tell_restored(at_ms, &files)?;
    }
    Ok(())
}

/// A line for each interface.
fn table(rows: &[Value]) -> anyhow::Result<()> {
    let names = rows.iter().filter_map(|row| row["interface"].as_str());
    let width = names.map(str::len).max().unwrap_or(0).max(16);
    print_line!(
        "{:<width$} {:>8} {:>8} {:>8} {:>8}  oldest queued",
        "interface",
        "queued",
        "running",
        "deferred",
        "done"
    )?;
    for row in rows {
        let text = |key: &str| {
            row[key]
                .as_str()
                .map_or(row[key].to_string(), str::to_owned)
        };
        let oldest = row["oldest"].as_str().unwrap_or("-");
        let hold = row["hold"]
            .as_str()
            .map_or(String::new(), |text| format!("  HELD {}", escaped(text)));
        print_line!(
            "{:<width$} {:>8} {:>8} {:>8} {:>8}  {oldest}{hold}",
            text("interface"),
            text("queued"),
            text("running"),
            text("deferred"),
            text("done"),
        )?;
    }
    Ok(())
}

fn tell_service(service: Option<&Running>) -> anyhow::Result<()> {
    let Some(service) = service else {
        print_line!("service: not running")?;
        return Ok(());
    };
    let epoch = service
        .config_epoch
        .map(|epoch| format!(", configuration {epoch}"));
    let (process, epoch) = (&service.process, epoch.unwrap_or_default());
    print_line!("service: running, process {process}{epoch}")?;
    Ok(())
}

/// What the last replay had to restore.
fn tell_restored(at_ms: i64, files: &[String]) -> anyhow::Result<()> {
    let (at, n) = (rfc3339(at_ms), count(files.len() as i64, "file"));
    print_line!("restored after a crash, {at}: {n}")?;
    for file in files {
        print_line!("  {}", escaped(file))?;
    }
    Ok(())
}

fn told(tally: &Tally) -> Value {
    serde_json::json!({
        "accepted": tally.accepted(), "done": tally.done, "failed": tally.failed, "refused": tally.refused,
        "error_rate": tally.error_rate(),
    })
}

fn received(job: JobId) -> String {
    rfc3339(job.unix_ms())
}
