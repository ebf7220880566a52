//! `spoolgate ls`: jobs with what `ls` of the directories cannot show at a glance.

use super::{Common, jobs::path_of, look, output::written, why};
use crate::{
    config::Config,
    domain::{InterfaceName, Job, Place, PlaceKind, Priority, Queue, UserName, escaped, stamp},
    store::{Filter, JobDetail, Store, Viewer, Want},
};
use anyhow::bail;
use clap::Args;
use std::{collections::BTreeSet, io::Write, process::ExitCode};

/// So many jobs are looked up together.
const TOGETHER: usize = 1024;

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
        look(&tenant, async |store| {
            let usual: Vec<String> = USUAL.iter().map(ToString::to_string).collect();
            let places = if self.places.is_empty() {
                &usual[..]
            } else {
                &self.places[..]
            };
            let mut jobs = Vec::new();
            for place in places {
                let mut found = at(store, place.trim_end_matches('/')).await?;
                let skip = self.last.map_or(0, |last| found.len().saturating_sub(last));
                jobs.extend(found.drain(skip..));
            }
            let shown = Shown::of(&config, store).await;
            print(self.common.format.json, &shown, &jobs).await
        })?;
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

fn wanted<'p>(store: &dyn Store, place: &'p str) -> anyhow::Result<Wanted<'p>> {
    let known = |name: &str| {
        let mut interfaces = store.interfaces().into_iter();
        interfaces.find(|known| known.as_str() == name)
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

/// The jobs at a place as it is typed, those of each state oldest first.
async fn at(store: &dyn Store, place: &str) -> anyhow::Result<Vec<Job>> {
    let wanted = wanted(store, place)?;
    let mut jobs = Vec::new();
    for state in wanted.states {
        let filter = Filter {
            interface: wanted.interface.clone(),
            at: kinds_of(state),
            ..Filter::default()
        };
        let all = Viewer::all();
        let page = store.list(&all, &filter, None, usize::MAX).await?;
        jobs.extend(page.jobs.into_iter().map(|summary| summary.job));
    }
    jobs.retain(|job| wanted.day.is_none_or(|day| job.name.day() == day));
    jobs.retain(|job| wanted.user.is_none() || job.place.addressee() == wanted.user.as_ref());
    Ok(jobs)
}

fn kinds_of(state: &str) -> Vec<PlaceKind> {
    match state {
        "bak" => vec![PlaceKind::Bak],
        "deferred" => vec![PlaceKind::Deferred],
        "joberrors" => vec![PlaceKind::JobErrors, PlaceKind::Refused],
        "queue" => vec![PlaceKind::Queue],
        _ => vec![PlaceKind::Work],
    }
}

async fn print(as_json: bool, shown: &Shown<'_>, jobs: &[Job]) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut all = Vec::new();
    for jobs in jobs.chunks(TOGETHER) {
        for detail in shown.details(jobs.to_vec(), as_json).await? {
            if as_json {
                all.push(shown.json(&detail).await);
                continue;
            }
            let (bytes, submitter) = (shown_bytes(&detail), shown_submitter(&detail));
            let (path, more) = (path_of(&detail.summary.job), shown.more(&detail));
            let line = writeln!(out, "{bytes:>10}  {submitter:<12}  {path}{more}");
            written(line)?;
        }
    }
    let outcome = match as_json {
        true => writeln!(out, "{}", serde_json::Value::from(all)),
        false => Ok(()),
    };
    written(outcome.and_then(|()| out.flush()))
}

fn shown_bytes(detail: &JobDetail) -> u64 {
    detail.now.as_ref().map_or(0, |now| now.bytes)
}

fn shown_submitter(detail: &JobDetail) -> &str {
    let record = detail.summary.record.as_ref();
    record
        .and_then(|known| known.submitter.as_deref())
        .unwrap_or("-")
}

/// Jobs as they are shown, by what lies around them.
pub(super) struct Shown<'a> {
    config: &'a Config,
    store: &'a dyn Store,
    held: BTreeSet<InterfaceName>,
}

impl<'a> Shown<'a> {
    pub(super) async fn of(config: &'a Config, store: &'a dyn Store) -> Self {
        let mut held = BTreeSet::new();
        for interface in store.interfaces() {
            if matches!(store.is_held(&interface).await, Ok(true)) {
                held.insert(interface);
            }
        }
        Self {
            config,
            store,
            held,
        }
    }

    /// What is known of jobs, without those that are gone.
    pub(super) async fn details(
        &self,
        jobs: Vec<Job>,
        log: bool,
    ) -> anyhow::Result<Vec<JobDetail>> {
        let want = Want {
            log,
            now: true,
            ..Want::RECORD
        };
        Ok(self.store.details(jobs, want).await?)
    }

    /// What is unusual about a job, to stand behind its path.
    fn more(&self, detail: &JobDetail) -> String {
        let priority = detail.summary.record.as_ref().map(|known| known.priority);
        let priority = priority.filter(|priority| *priority != Priority::Default);
        let priority = priority.map(|priority| priority.to_string());
        let more: Vec<String> = priority.into_iter().chain(self.waits_for(detail)).collect();
        match more.is_empty() {
            true => String::new(),
            false => format!("  ({})", escaped(&more.join(", "))),
        }
    }

    /// What a queued job waits for in the first place, in a few words; `None`: its turn.
    fn waits_for(&self, detail: &JobDetail) -> Option<String> {
        let Place::Queue(Queue { interface, .. }) = &detail.summary.job.place else {
            return None;
        };
        if self.held.contains(interface) {
            return Some(format!("{interface} is held"));
        }
        let record = detail.summary.record.as_ref()?;
        let worker = why::not_ours(&self.config.worker_tags, record)?;
        Some(format!("for worker {worker}"))
    }

    /// A job with all that is known of it at a glance.
    pub(super) async fn json(&self, detail: &JobDetail) -> serde_json::Value {
        let (store, summary) = (self.store, &detail.summary);
        let job = &summary.job;
        let (state, attempt, due) = match &job.place {
            Place::Bak(_) => ("done", None, None),
            Place::Deferred { due_ms, .. } => ("deferred", None, Some(stamp(*due_ms))),
            Place::JobErrors => ("failed", None, None),
            Place::Queue(_) => ("queued", None, None),
            Place::Refused => ("refused", None, None),
            // Who may not look at the lock sees what is the rule.
            Place::Work { attempt, .. } if store.is_cut_off(job).await.unwrap_or(false) => {
                ("cut off", Some(*attempt), None)
            }
            Place::Work { attempt, .. } => ("running", Some(*attempt), None),
        };
        let addressee = store.addressee_of(job).await.ok().flatten();
        let record = summary.record.clone().unwrap_or_default();
        let now = detail.now.clone().unwrap_or_default();
        // In its present life while it waits or runs, else as its log says.
        let logged = || detail.log.as_ref().map(|log| log.attempts);
        serde_json::json!({
            "job": job.name.to_string(),
            "state": state,
            "place": job.place.to_string(),
            "path": path_of(job),
            "interface": summary.interface.as_ref().map(ToString::to_string),
            "addressee": addressee.map(|user| user.to_string()),
            "received": stamp(record.received_ms),
            "attempt": attempt,
            "attempts": now.attempts.or_else(logged),
            "due": due,
            "priority": record.priority.as_str(),
            "worker": record.worker.map(|worker| worker.to_string()),
            "retries": record.retries,
            "waits_for": self.waits_for(detail),
            "bytes": now.bytes,
            "submitter": record.submitter,
            "dialect": record.dialect,
            "sha256": now.sha256,
        })
    }
}
