//! `spoolgate ls`: jobs with what `ls` of the directories cannot show at a glance.

use super::{
    Common,
    jobs::path_of,
    look,
    output::{Paint, written},
    select::Select,
    why,
};
use crate::{
    config::Config,
    domain::joblog::rfc3339,
    domain::{InterfaceName, Job, Place, Priority, Queue, UserName, escaped},
    ops::selection::{JobState, Selection},
    store::{Failure, Filter, JobDetail, JobSummary, Store, Want, fs::fingerprint},
};
use anyhow::bail;
use clap::Args;
use std::{collections::BTreeSet, io::Write, process::ExitCode};

/// So many jobs are looked up together.
const TOGETHER: usize = 1024;

/// Lists jobs, oldest first: what waits, runs or has failed, and with a PLACE or a state what is there.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Ls {
    /// queue, deferred, work, bak or joberrors, with an interface if wanted, as in
    /// queue/orders_in; queue also with a user, as in queue/orders_out/@shop; bak and joberrors also with a day, as in bak/orders_in/2026-11-22; or an
    /// interface alone. Default: all but bak
    #[arg(value_name = "PLACE")]
    places: Vec<String>,
    #[command(flatten)]
    select: Select,
    /// Show the newest N of each place only
    #[arg(long, value_name = "N", conflicts_with = "limit")]
    last: Option<usize>,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
What waits:        spoolgate ls queue/orders_in
What has failed:   spoolgate ls joberrors --last 20
Of one kind:       spoolgate ls --state failed,deferred --error 'connection refused' --since 2h";

impl Ls {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (config, tenant) = self.common.at.load()?;
        let selection = self.select.selection(&config)?.unwrap_or_default();
        look(&tenant, async |store| {
            let mut jobs = Vec::new();
            for wanted in self.wanted(store, &selection)? {
                let mut found = wanted.find(store).await?;
                let skip = self.last.map_or(0, |last| found.len().saturating_sub(last));
                jobs.extend(found.drain(skip..));
            }
            jobs.truncate(selection.limit.unwrap_or(usize::MAX));
            let shown = Shown::of(&config, store).await;
            print(self.common.format.json, &shown, &jobs).await
        })?;
        Ok(ExitCode::SUCCESS)
    }

    /// What is listed, one after the other.
    fn wanted<'p>(
        &'p self,
        store: &dyn Store,
        selection: &Selection,
    ) -> anyhow::Result<Vec<Wanted<'p>>> {
        if self.places.is_empty() {
            let groups = match selection.states.is_empty() {
                true => USUAL.iter().map(|place| states_at(place)).collect(),
                false => vec![&selection.states[..]],
            };
            let of = |states: &[JobState]| Wanted {
                selection: Selection {
                    states: states.to_vec(),
                    ..selection.clone()
                },
                user: None,
                day: None,
            };
            return Ok(groups.into_iter().map(of).collect());
        }
        let mut all = Vec::new();
        for place in &self.places {
            let place = place.trim_end_matches('/');
            all.extend(wanted(store, place, selection)?);
        }
        Ok(all)
    }
}

/// Jobs of one place, as they are typed: `STATE`, `STATE/INTERFACE`, `INTERFACE`, behind `queue/INTERFACE` also a
/// user, and behind `bak/INTERFACE` and `joberrors` a day.
struct Wanted<'p> {
    selection: Selection,
    user: Option<UserName>,
    day: Option<&'p str>,
}

impl Wanted<'_> {
    /// The jobs, oldest first.
    async fn find(&self, store: &dyn Store) -> anyhow::Result<Vec<JobSummary>> {
        let filter = Filter {
            want_failure: true,
            ..self.selection.filter()
        };
        let mut jobs = self.selection.find(store, &filter).await?;
        let user = self.user.as_ref();
        jobs.retain(|found| {
            let job = &found.job;
            self.day.is_none_or(|day| job.name.day() == day)
                && (user.is_none() || job.place.addressee() == user)
        });
        Ok(jobs)
    }
}

/// What is of interest without being asked for, in the order in which it is listed.
const USUAL: &[&str] = &["queue", "deferred", "work", "joberrors"];
const PLACES: &[&str] = &["queue", "deferred", "work", "joberrors", "bak"];

/// What lies at a place of that name.
fn states_at(place: &str) -> &'static [JobState] {
    match place {
        "bak" => &[JobState::Done],
        "deferred" => &[JobState::Deferred],
        "joberrors" => &[JobState::Failed, JobState::Cancelled, JobState::Refused],
        "queue" => &[JobState::Queued],
        _ => &[JobState::Running],
    }
}

/// What is wanted of a place, in the order in which it is listed.
fn wanted<'p>(
    store: &dyn Store,
    place: &'p str,
    selection: &Selection,
) -> anyhow::Result<Vec<Wanted<'p>>> {
    let known = |name: &str| {
        let mut interfaces = store.interfaces().into_iter();
        interfaces.find(|known| known.as_str() == name)
    };
    let (first, rest) = place.split_once('/').unwrap_or((place, ""));
    let is_place = PLACES.contains(&first);
    let (mut interface, mut user, mut day) = (None, None, None);
    if !is_place {
        interface = known(first);
        if interface.is_none() || !rest.is_empty() {
            bail!(
                "{place} is no place; use queue, deferred, work, bak or joberrors, with an \
                 interface behind it if wanted, or an interface alone"
            );
        }
    }
    for part in rest.split('/').filter(|part| !part.is_empty()) {
        if is_day(part) && matches!(first, "bak" | "joberrors") && day.is_none() {
            day = Some(part);
        } else if let Some(of) = UserName::of_dir(part)
            && first == "queue"
            && interface.is_some()
        {
            user = Some(of);
        } else if interface.is_none() && day.is_none() {
            interface = known(part);
            if interface.is_none() {
                bail!("{place}: no such interface; `spoolgate status` lists them");
            }
        } else {
            bail!("{place}: {part} is neither an interface nor a day such as 2026-11-22");
        }
    }
    let groups: Vec<&[JobState]> = match is_place {
        true => vec![states_at(first)],
        false => USUAL.iter().map(|place| states_at(place)).collect(),
    };
    let of = |states: &[JobState]| {
        let is_asked =
            |state: &JobState| selection.states.is_empty() || selection.states.contains(state);
        let states: Vec<JobState> = states.iter().copied().filter(is_asked).collect();
        let interface = interface.clone().or_else(|| selection.interface.clone());
        (!states.is_empty()).then(|| Wanted {
            selection: Selection {
                interface,
                states,
                ..selection.clone()
            },
            user: user.clone(),
            day,
        })
    };
    Ok(groups.into_iter().filter_map(of).collect())
}

fn is_day(text: &str) -> bool {
    text.len() == "2026-11-22".len() && text.parse::<jiff::civil::Date>().is_ok()
}

const HEADER: [&str; 7] = [
    "AGE",
    "TRIES",
    "INTERFACE",
    "SUBMITTER",
    "BYTES",
    "JOB",
    "REASON",
];

async fn print(as_json: bool, shown: &Shown<'_>, jobs: &[JobSummary]) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let (paint, now_ms) = (Paint::of_stdout(), shown.store.now_ms());
    for (n, jobs) in jobs.chunks(TOGETHER).enumerate() {
        let details = shown.details(jobs, as_json).await?;
        if n == 0 && !as_json && !details.is_empty() {
            let [age, tries, interface, submitter, bytes, job, reason] = HEADER;
            let line = writeln!(
                out,
                "{age:>4} {tries:>5}  {interface:<16} {submitter:<12} {bytes:>10}  {job}  {reason}"
            );
            written(line)?;
        }
        for detail in details {
            let line = match as_json {
                true => writeln!(out, "{}", shown.json(&detail).await),
                false => writeln!(out, "{}", shown.line(&detail, now_ms, paint)),
            };
            written(line)?;
        }
    }
    written(out.flush())
}

/// How long ago something was, in one unit.
pub(super) fn age(ms: i64) -> String {
    let s = ms.max(0) / 1000;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m", s / 60),
        3600..86_400 => format!("{}h", s / 3600),
        _ => format!("{}d", s / 86_400),
    }
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

    /// What is known of jobs that a list has shown, without those that are gone.
    pub(super) async fn details(
        &self,
        jobs: &[JobSummary],
        log: bool,
    ) -> anyhow::Result<Vec<JobDetail>> {
        let want = Want {
            log,
            now: true,
            ..Want::RECORD
        };
        let there = jobs.iter().map(|summary| summary.job.clone()).collect();
        let mut details = self.store.details(there, want).await?;
        // Both are in one order, and those that are gone are missing in one of them.
        let mut listed = jobs.iter();
        for detail in &mut details {
            let name = &detail.summary.job.name;
            let seen = listed.find(|summary| summary.job.name == *name);
            detail.summary.failure = seen.and_then(|summary| summary.failure.clone());
        }
        Ok(details)
    }

    /// What is known of one job, with its log.
    pub(super) async fn detail(&self, job: Job) -> anyhow::Result<Option<JobDetail>> {
        let want = Want {
            now: true,
            log: true,
            ..Want::RECORD
        };
        Ok(self.store.details(vec![job], want).await?.pop())
    }

    /// A job as a line of a table.
    fn line(&self, detail: &JobDetail, now_ms: i64, paint: Paint) -> String {
        let summary = &detail.summary;
        let (record, job) = (summary.record.as_ref(), &summary.job);
        let received_ms = record.map_or(job.name.id().unix_ms(), |known| known.received_ms);
        let attempts = detail.now.as_ref().and_then(|now| now.attempts);
        let attempts = attempts.or_else(|| summary.failure.as_ref()?.attempt);
        let attempts = attempts.map_or("-".to_owned(), |n| n.to_string());
        let interface = summary.interface.as_ref().map_or("-", |name| name.as_str());
        let submitter = record.and_then(|known| known.submitter.as_deref());
        let submitter = escaped(submitter.unwrap_or("-"));
        let bytes = detail.now.as_ref().map_or(0, |now| now.bytes);
        let path = paint.state(JobState::of(summary), &path_of(job));
        let mut line = format!(
            "{:>4} {attempts:>5}  {interface:<16} {submitter:<12} {bytes:>10}  {path}",
            age(now_ms - received_ms)
        );
        if let Some(reason) = self.reason(detail) {
            line += "  ";
            line += &escaped(&reason);
        }
        line
    }

    /// Why a job is where it is, and what is unusual about it.
    fn reason(&self, detail: &JobDetail) -> Option<String> {
        let priority = detail.summary.record.as_ref().map(|known| known.priority);
        let priority = priority.filter(|priority| *priority != Priority::Default);
        let priority = priority.map(|priority| priority.to_string());
        let error = detail.summary.failure.as_ref();
        let error = error.and_then(|failure| failure.reason.clone());
        let all: Vec<String> = (priority.into_iter())
            .chain(self.waits_for(detail))
            .chain(error)
            .collect();
        (!all.is_empty()).then(|| all.join(", "))
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
        let (attempt, due) = match &job.place {
            Place::Deferred { due_ms, .. } => (None, Some(rfc3339(*due_ms))),
            Place::Work { attempt, .. } => (Some(*attempt), None),
            Place::Bak(_) | Place::JobErrors | Place::Queue(_) | Place::Refused => (None, None),
        };
        let state = JobState::of(summary);
        // Who may not look at the lock sees what is the rule.
        let is_cut_off = state == JobState::Running && store.is_cut_off(job).await.unwrap_or(false);
        let state = if is_cut_off {
            "cut off"
        } else {
            state.as_str()
        };
        let addressee = store.addressee_of(job).await.ok().flatten();
        let record = summary.record.clone().unwrap_or_default();
        let now = detail.now.clone().unwrap_or_default();
        // In its present life while it waits or runs, else as its log says.
        let logged = || detail.log.as_ref().map(|log| log.attempts);
        let failure = summary.failure.clone().or_else(|| logged_failure(detail));
        let failure = failure.unwrap_or_default();
        serde_json::json!({
            "job": job.name.to_string(),
            "state": state,
            "place": job.place.to_string(),
            "path": path_of(job),
            "interface": summary.interface.as_ref().map(ToString::to_string),
            "addressee": addressee.map(|user| user.to_string()),
            "received": rfc3339(record.received_ms),
            "attempt": attempt,
            "attempts": now.attempts.or_else(logged),
            "due": due,
            "priority": record.priority.as_str(),
            "worker": record.worker.map(|worker| worker.to_string()),
            "retries": record.retries,
            "waits_for": self.waits_for(detail),
            "error": failure.reason,
            "fingerprint": failure.fingerprint,
            "bytes": now.bytes,
            "submitter": record.submitter,
            "dialect": record.dialect,
            "sha256": now.sha256,
        })
    }
}

/// How a job has failed, by its log.
fn logged_failure(detail: &JobDetail) -> Option<Failure> {
    let log = detail.log.as_ref()?;
    match JobState::of(&detail.summary) {
        JobState::Deferred | JobState::Failed | JobState::Refused => Some(Failure {
            at_ms: log.finished_ms,
            attempt: Some(log.attempts),
            fingerprint: log.reason().map(fingerprint),
            reason: log.reason().map(str::to_owned),
        }),
        JobState::Cancelled | JobState::Done | JobState::Queued | JobState::Running => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_one_unit() {
        let ages = [
            -1, 59_999, 60_000, 3_599_999, 3_600_000, 86_399_999, 86_400_000,
        ];
        assert_eq!(ages.map(age), ["0s", "59s", "1m", "59m", "1h", "23h", "1d"]);
    }
}
