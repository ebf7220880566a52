//! `spoolgate ls`: jobs with what `ls` of the directories cannot show at a glance.

use super::{Common, jobs::path_of, open_spool, output::written, why};
use crate::{
    config::Config,
    domain::{InterfaceName, Job, JobName, Place, Priority, UserName, escaped, stamp},
    store::fs::Spool,
};
use anyhow::bail;
use clap::Args;
use std::{io::Write, process::ExitCode};

/// Lists jobs, oldest first: what waits, runs or has failed, and with a PLACE what lies there.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Ls {
    /// queue, deferred, work, bak or joberrors, with an interface if wanted, as in
    /// queue/orders_in; queue also with a user, as in queue/orders_out/@shop; bak and joberrors also with a day, as in bak/orders_in/2026-11-22; or an
    /// interface alone. Default: all but bak
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
        let usual: Vec<String> = USUAL.iter().map(ToString::to_string).collect();
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

/// A place as it is typed: `STATE`, `STATE/INTERFACE`, `INTERFACE`, behind `queue/INTERFACE` also a
/// user, and behind `bak/INTERFACE` and `joberrors` a day.
struct Wanted<'p> {
    states: &'p [&'p str],
    interface: Option<InterfaceName>,
    user: Option<UserName>,
    day: Option<&'p str>,
}

const STATES: &[&str] = &["queue", "deferred", "work", "joberrors", "bak"];
/// What is of interest without being asked for.
const USUAL: &[&str] = &["queue", "deferred", "work", "joberrors"];

fn wanted<'p>(spool: &Spool, place: &'p str) -> anyhow::Result<Wanted<'p>> {
    let known = |name: &str| {
        spool
            .interfaces()
            .find(|known| known.as_str() == name)
            .cloned()
    };
    let (first, rest) = place.split_once('/').unwrap_or((place, ""));
    let state = STATES.iter().position(|state| *state == first);
    let mut wanted = Wanted {
        states: state.map_or(USUAL, |at| &STATES[at..=at]),
        interface: None,
        user: None,
        day: None,
    };
    if state.is_none() {
        wanted.interface = known(first);
        if wanted.interface.is_none() || !rest.is_empty() {
            bail!(
                "{place} is no place; use queue, deferred, work, bak or joberrors, with an \
                 interface behind it if wanted, or an interface alone"
            );
        }
        return Ok(wanted);
    }
    for part in rest.split('/').filter(|part| !part.is_empty()) {
        if is_day(part) && matches!(first, "bak" | "joberrors") && wanted.day.is_none() {
            wanted.day = Some(part);
        } else if let Some(user) = UserName::of_dir(part)
            && first == "queue"
            && wanted.interface.is_some()
        {
            wanted.user = Some(user);
        } else if wanted.interface.is_none() && wanted.day.is_none() {
            wanted.interface = known(part);
            if wanted.interface.is_none() {
                bail!("{place}: no such interface; `spoolgate status` lists them");
            }
        } else {
            bail!("{place}: {part} is neither an interface nor a day such as 2026-11-22");
        }
    }
    Ok(wanted)
}

fn is_day(text: &str) -> bool {
    text.len() == "2026-11-22".len() && text.parse::<jiff::civil::Date>().is_ok()
}

/// The jobs at a place as it is typed, oldest first.
fn at(spool: &Spool, place: &str) -> anyhow::Result<Vec<Job>> {
    let wanted = wanted(spool, place)?;
    let mut jobs = Vec::new();
    for state in wanted.states {
        jobs.extend(jobs_in(spool, state, wanted.interface.as_ref())?);
    }
    jobs.retain(|job| wanted.day.is_none_or(|day| job.name.day() == day));
    jobs.retain(|job| wanted.user.is_none() || job.place.addressee() == wanted.user.as_ref());
    Ok(jobs)
}

fn jobs_in(
    spool: &Spool,
    state: &str,
    interface: Option<&InterfaceName>,
) -> anyhow::Result<Vec<Job>> {
    let job = |place: Place, name: JobName| Job { place, name };
    if state == "joberrors" {
        let mut ended = Vec::new();
        for place in [Place::JobErrors, Place::Refused] {
            let names = spool.settled(&place)?.into_iter();
            ended.extend(names.map(|name| job(place.clone(), name)));
        }
        ended.retain(|job| interface.is_none() || spool.interface_of(job).as_ref() == interface);
        return Ok(ended);
    }
    let mut jobs = Vec::new();
    let all = spool
        .interfaces()
        .filter(|name| interface.is_none_or(|wanted| wanted == *name));
    for interface in all {
        let here = || interface.clone();
        match state {
            "bak" => {
                let names = spool.settled(&Place::Bak(here()))?.into_iter();
                jobs.extend(names.map(|name| job(Place::Bak(here()), name)));
            }
            "deferred" => {
                let deferred = spool.deferred(interface)?.into_iter();
                jobs.extend(deferred.map(|(name, due_ms)| {
                    let interface = here();
                    job(Place::Deferred { interface, due_ms }, name)
                }));
            }
            "queue" => {
                jobs.extend(spool.queued(interface)?);
            }
            _ => {
                let working = spool.working(interface)?.into_iter();
                jobs.extend(working.map(|(name, attempt)| {
                    let interface = here();
                    job(Place::Work { interface, attempt }, name)
                }));
            }
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
        false => format!("  ({})", escaped(&more.join(", "))),
    }
}

/// How often a job was tried: in its present life while it waits or runs, else as its log says.
fn attempts(spool: &Spool, job: &Job) -> Option<u32> {
    match &job.place {
        Place::Work { attempt, .. } => Some(*attempt),
        Place::Deferred { .. } | Place::Queue(_) => spool.attempts_of(&job.name).ok(),
        Place::Bak(_) | Place::JobErrors | Place::Refused => {
            Some(spool.read_log(&job.name)?.attempts)
        }
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
        "addressee": spool.addressee_of(job).ok().flatten().map(|user| user.to_string()),
        "received": stamp(spool.received_ms(job)),
        "attempt": attempt,
        "attempts": attempts(spool, job),
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
