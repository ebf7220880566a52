//! `spoolgate ls`: jobs with what `ls` of the directories cannot show at a glance.

use super::{
    Common,
    jobs::path_of,
    open_spool,
    output::{safe, written},
    why,
};
use crate::{
    config::Config,
    job::{InterfaceName, Job, JobName, Place, Priority, stamp},
    spool::Spool,
};
use anyhow::bail;
use clap::Args;
use std::{io::Write, process::ExitCode};

/// Lists jobs, oldest first: what waits, runs or has failed, and with a PLACE what lies there.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Ls {
    /// queue, deferred, work, bak or joberrors, each but the last with an interface if wanted:
    /// queue/orders_in. Default: all but bak
    #[arg(value_name = "PLACE")]
    places: Vec<String>,
    /// Show the newest N of each place only
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
What waits:        spoolgate ls queue/orders_in
What has failed:   spoolgate ls joberrors --last 20";

impl Ls {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (config, tenant) = self.common.at.load()?;
        let spool = open_spool(&tenant)?;
        let usual = ["queue", "deferred", "work", "joberrors"].map(String::from);
        let places = if self.places.is_empty() {
            &usual[..]
        } else {
            &self.places[..]
        };
        let mut jobs = Vec::new();
        for place in places {
            let mut found = at(&spool, place.trim_end_matches('/'))?;
            let skip = self.last.map_or(0, |last| found.len().saturating_sub(last));
            jobs.extend(found.drain(skip..));
        }
        print(self.common.format.json, &config, &spool, &jobs)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The jobs at a place as it is typed.
fn at(spool: &Spool, place: &str) -> anyhow::Result<Vec<Job>> {
    let (state, interface) = match place.split_once('/') {
        Some((state, interface)) => (state, Some(interface)),
        None => (place, None),
    };
    let mut jobs = Vec::new();
    let mut add = |place: Place, name: JobName| jobs.push(Job { place, name });
    if state == "joberrors" && interface.is_none() {
        for place in [Place::JobErrors, Place::Refused] {
            for name in spool.settled(&place)? {
                add(place.clone(), name);
            }
        }
        return Ok(jobs);
    }
    let wanted: Vec<&InterfaceName> = (spool.interfaces())
        .filter(|name| interface.is_none_or(|wanted| wanted == name.as_str()))
        .collect();
    if wanted.is_empty() {
        bail!("{place}: no such interface; `spoolgate status` lists them");
    }
    for interface in wanted {
        match state {
            "bak" => {
                for name in spool.settled(&Place::Bak(interface.clone()))? {
                    add(Place::Bak(interface.clone()), name);
                }
            }
            "deferred" => {
                for (name, due_ms) in spool.deferred(interface)? {
                    let interface = interface.clone();
                    add(Place::Deferred { interface, due_ms }, name);
                }
            }
            "queue" => {
                for name in spool.queued(interface)? {
                    add(Place::Queue(interface.clone()), name);
                }
            }
            "work" => {
                for (name, attempt) in spool.working(interface)? {
                    let interface = interface.clone();
                    add(Place::Work { interface, attempt }, name);
                }
            }
            other => bail!("{other} is no place; use queue, deferred, work, bak or joberrors"),
        }
    }
    jobs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(jobs)
}

fn print(as_json: bool, config: &Config, spool: &Spool, jobs: &[Job]) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let outcome = if as_json {
        let all: Vec<_> = jobs.iter().map(|job| json(config, spool, job)).collect();
        writeln!(out, "{}", serde_json::Value::from(all))
    } else {
        let line = |job: &Job| {
            let bytes = spool.bytes_of(job).ok().flatten().unwrap_or(0);
            let submitter = spool.submitter_of(job);
            let submitter = submitter.unwrap_or_else(|| "-".into());
            (bytes, submitter)
        };
        jobs.iter().try_for_each(|job| {
            let (bytes, submitter) = line(job);
            let more = more(config, spool, job);
            writeln!(out, "{bytes:>10}  {submitter:<12}  {}{more}", path_of(job))
        })
    };
    written(outcome.and_then(|()| out.flush()))
}

/// What is unusual about a job, to stand behind its path.
fn more(config: &Config, spool: &Spool, job: &Job) -> String {
    let priority = spool.priority_of(job);
    let priority = (priority != Priority::Default).then(|| priority.to_string());
    let waits_for = why::in_short(config, spool, job);
    let more: Vec<String> = priority.into_iter().chain(waits_for).collect();
    match more.is_empty() {
        true => String::new(),
        false => format!("  ({})", safe(&more.join(", "))),
    }
}

/// A job with all that is known of it at a glance.
pub(super) fn json(config: &Config, spool: &Spool, job: &Job) -> serde_json::Value {
    let (state, attempt, due) = match &job.place {
        Place::Bak(_) => ("done", None, None),
        Place::Deferred { due_ms, .. } => ("deferred", None, Some(stamp(*due_ms))),
        Place::JobErrors => ("failed", None, None),
        Place::Queue(_) => ("queued", None, None),
        Place::Refused => ("refused", None, None),
        // Who may not look at the lock sees what is the rule.
        Place::Work { attempt, .. } if spool.is_cut_off(job).unwrap_or(false) => {
            ("cut off", Some(*attempt), None)
        }
        Place::Work { attempt, .. } => ("running", Some(*attempt), None),
    };
    serde_json::json!({
        "job": job.name.to_string(),
        "state": state,
        "place": job.place.to_string(),
        "path": path_of(job),
        "interface": spool.interface_of(job).map(|i| i.to_string()),
        "received": stamp(spool.received_ms(job)),
        "attempt": attempt,
        "attempts": spool.attempts_of(&job.name).ok(),
        "due": due,
        "priority": spool.priority_of(job).as_str(),
        "worker": spool.worker_of(job).map(|worker| worker.to_string()),
        "retries": spool.retries_of(job),
        "waits_for": why::in_short(config, spool, job),
        "bytes": spool.bytes_of(job).ok().flatten(),
        "submitter": spool.submitter_of(job),
        "dialect": spool.accepted_of(job).ok().flatten().map(|known| known.dialect.clone()),
        "sha256": spool.checksum_of(job),
    })
}
