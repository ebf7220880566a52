//! `spoolgate status`: of the whole spool, or of one job.

use super::{
    Common, check,
    findings::{self, Found},
    is_unknown_to_service,
    jobs::JobArg,
    ls, open_spool,
    output::print_line,
    report,
};
use crate::{
    domain::{JobName, Place, escaped, stamp},
    ops::health::{Grade, HealthFinding, count},
    store::fs::{RealFs, Spool, SpoolLock},
};
use clap::Args;
use std::process::ExitCode;

/// Without a job: how many jobs are where, per interface, whether the service runs, and what is
/// wrong; exit code 1 when partners fail. With one: where it is and what is known of it.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Status {
    /// Job names, or the paths of their files
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
        let spool = open_spool(&tenant)?;
        if self.jobs.is_empty() {
            let holder = SpoolLock::holder(&RealFs::new(&tenant.root))?;
            let certificate = findings::certificate(&config);
            let found = [Found::look(&tenant)];
            let mut findings = findings::all(&config, certificate.as_ref(), &found, false);
            // The table says so.
            findings.retain(|finding| !finding.text.contains("it is held"));
            let is_stale = is_unknown_to_service(&config, &tenant);
            overview(as_json, &spool, holder, is_stale, &findings)?;
            for finding in findings.iter().filter(|_| !as_json) {
                let word = check::word(finding.grade);
                print_line!("{word:<7} {}", escaped(&finding.to_string()))?;
            }
            let failed = findings
                .iter()
                .any(|finding| finding.grade == Grade::Failed);
            return Ok(match failed {
                true => ExitCode::FAILURE,
                false => ExitCode::SUCCESS,
            });
        }
        let mut code = ExitCode::SUCCESS;
        for arg in &self.jobs {
            match arg.find(&spool) {
                Ok(job) if as_json => print_line!("{}", ls::json(&config, &spool, &job))?,
                Ok(job) => {
                    let known = ls::json(&config, &spool, &job);
                    let known = known.as_object().into_iter().flatten();
                    for (key, value) in known.filter(|(_, value)| !value.is_null()) {
                        let text = value.as_str().map_or(value.to_string(), str::to_owned);
                        print_line!("{key:<10} {text}")?;
                    }
                }
                Err(error) => {
                    report(&error);
                    code = ExitCode::FAILURE;
                }
            }
        }
        Ok(code)
    }
}

/// An object per interface: how many of its jobs are where, and whether it is held.
fn rows(spool: &Spool) -> anyhow::Result<Vec<serde_json::Value>> {
    let mut rows = Vec::new();
    for interface in spool.interfaces() {
        let queued = spool.queued(interface)?;
        let hold = spool.hold_text(interface);
        rows.push(serde_json::json!({
            "interface": interface.as_str(),
            "queued": queued.len(),
            "running": spool.working(interface)?.len(),
            "deferred": spool.deferred(interface)?.len(),
            "done": spool.settled(&Place::Bak(interface.clone()))?.len(),
            "oldest": queued.first().map(|job| received(&job.name)),
            "hold": hold,
        }));
    }
    Ok(rows)
}

fn overview(
    as_json: bool,
    spool: &Spool,
    holder: Option<String>,
    is_stale: bool,
    findings: &[HealthFinding],
) -> anyhow::Result<()> {
    let rows = rows(spool)?;
    let restored = spool.restored()?;
    let failed = spool.settled(&Place::JobErrors)?.len();
    let refused = spool.settled(&Place::Refused)?.len();
    if as_json {
        let all = serde_json::json!({
            "service": holder, "restart_needed": is_stale, "interfaces": rows,
            "joberrors": failed, "refused": refused,
            "restored": restored.map(|(at_ms, files)| serde_json::json!({
                "at": stamp(at_ms), "files": files,
            })),
            "findings": findings.iter().map(check::json).collect::<Vec<_>>(),
        });
        print_line!("{all}")?;
        return Ok(());
    }
    match holder {
        Some(process) => print_line!("service: running, process {process}")?,
        None => print_line!("service: not running")?,
    }
    let names = spool.interfaces().map(|interface| interface.as_str().len());
    let width = names.max().unwrap_or(0).max(16);
    print_line!(
        "{:<width$} {:>8} {:>8} {:>8} {:>8}  oldest queued",
        "interface",
        "queued",
        "running",
        "deferred",
        "done"
    )?;
    for row in &rows {
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
    print_line!("joberrors: {failed}, and {refused} refused")?;
    if let Some((at_ms, files)) = restored {
        tell_restored(at_ms, &files)?;
    }
    Ok(())
}

/// What the last replay had to restore.
fn tell_restored(at_ms: i64, files: &[String]) -> anyhow::Result<()> {
    let (at, n) = (stamp(at_ms), count(files.len() as i64, "file"));
    print_line!("restored after a crash, {at}: {n}")?;
    for file in files {
        print_line!("  {}", escaped(file))?;
    }
    Ok(())
}

fn received(name: &JobName) -> String {
    stamp(name.id().unix_ms())
}
