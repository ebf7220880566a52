//! `spoolgate why`: what a job waits for, or what became of it.
//!
//! [`reasons`] is pure: what was seen goes in, sentences come out.

use super::{
    Common, attempts,
    job_arg::Lookup,
    jobs::{Choice, Chosen, path_of},
    look,
    output::{failed, print_line},
};
use crate::{
    config::{Config, InterfaceConfig, Tenant},
    domain::joblog::rfc3339,
    domain::{
        InterfaceName, Job, JobName, Place, PlaceKind, Priority, Queue, WorkerTag, WorkerTags,
        escaped,
    },
    ops::selection::JobState,
    store::{
        Attempt, Filter, JobDetail, JobRecord, JobSummary, NotReady, Store, Viewer, Want,
        fs::{RealFs, SpoolLock},
    },
};
use anyhow::Context;
use clap::Args;
use std::{collections::BTreeSet, process::ExitCode, sync::Arc};

/// Says what jobs wait for, or what became of them, and how each attempt at them has ended.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Why {
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
One job:       spoolgate why 20261122T085826.976Z-00000.xml
What waits:    spoolgate why --interface orders_in --state queued --limit 5";

/// What can be asked about without saying more.
const USUAL: [JobState; 5] = [
    JobState::Queued,
    JobState::Deferred,
    JobState::Running,
    JobState::Failed,
    JobState::Refused,
];

impl Why {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (config, tenant) = self.common.at.load()?;
        look(&tenant, async |store| {
            let of = Of {
                config: &config,
                tenant: &tenant,
                store,
            };
            self.tell(&of).await
        })
    }

    async fn tell(&self, of: &Of<'_>) -> anyhow::Result<ExitCode> {
        let mut code = ExitCode::SUCCESS;
        let lookup = Lookup {
            config: of.config,
            tenant: of.tenant,
            store: of.store,
        };
        let mut jobs: Vec<(String, anyhow::Result<Job>)> = Vec::new();
        match self.chosen.choice(of.config, &USUAL)? {
            Choice::Named(args) => {
                for arg in args {
                    jobs.push((arg.to_string(), lookup.job(&arg).await));
                }
            }
            Choice::Selected(selection) => {
                let found = selection.find(of.store, &selection.filter()).await?;
                jobs.extend(
                    found
                        .into_iter()
                        .map(|found| (found.job.name.to_string(), Ok(found.job))),
                );
            }
        }
        for (arg, job) in jobs {
            let told = match job {
                Ok(job) => of.told(job).await,
                Err(error) => Err(error),
            };
            match told {
                Ok(told) if self.common.format.json => print_line!("{}", told.as_json())?,
                Ok(told) => {
                    for line in told.lines() {
                        print_line!("{line}")?;
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

/// A job, why it is where it is, and how it was tried until now.
struct Told {
    job: Job,
    why: Vec<String>,
    attempts: Vec<Attempt>,
}

impl Told {
    fn as_json(&self) -> serde_json::Value {
        serde_json::json!({
            "job": self.job.name.to_string(),
            "path": path_of(&self.job),
            "why": self.why,
            "past_attempts": attempts::as_json(&self.attempts),
        })
    }

    fn lines(&self) -> Vec<String> {
        let first = format!("{} is in {}", self.job.name, path_of(&self.job));
        let why = self.why.iter().map(|reason| escaped(reason));
        let rest = why.chain(self.attempts.iter().map(attempts::as_text));
        let rest = rest.map(|line| format!("  {line}"));
        std::iter::once(first).chain(rest).collect()
    }
}

const NO_SERVICE: &str = "the service is not running: `spoolgate serve`";

/// Where it is asked why.
struct Of<'a> {
    config: &'a Config,
    tenant: &'a Tenant,
    store: &'a dyn Store,
}

impl Of<'_> {
    async fn told(&self, job: Job) -> anyhow::Result<Told> {
        let name = job.name.clone();
        let want = Want {
            log: true,
            ..Want::RECORD
        };
        let mut details = self.store.details(vec![job], want).await?;
        let detail = details.pop();
        let detail = detail.with_context(|| format!("{name} is gone"))?;
        Ok(Told {
            why: self.why(&detail).await?,
            attempts: self.store.attempts(&name).await?,
            job: detail.summary.job,
        })
    }

    async fn why(&self, detail: &JobDetail) -> anyhow::Result<Vec<String>> {
        let (store, job) = (self.store, &detail.summary.job);
        let mut why = Vec::new();
        match &job.place {
            Place::Bak(_) => why.push("it is done".to_owned()),
            Place::JobErrors => {
                why.push("it has failed for good; `spoolgate requeue` tries again".into());
                why.extend(logged(detail));
            }
            Place::Refused => {
                why.push(
                    "its document was refused; its submitter is to send a right one; `spoolgate \
                     requeue` validates it again"
                        .into(),
                );
                why.extend(logged(detail));
            }
            Place::Work { .. } if store.is_cut_off(job).await? => {
                let text = "it was cut off when the service ended; the next start recovers it";
                why.push(text.into());
            }
            Place::Work { attempt, .. } => why.push(format!("attempt {attempt} is running")),
            Place::Deferred { interface, due_ms } => {
                why.extend(self.deferred(interface, *due_ms));
                why.extend(logged(detail));
                if !self.is_served()? {
                    why.push(NO_SERVICE.into());
                }
            }
            Place::Queue(Queue { interface, .. }) => match store.not_ready(job).await? {
                Some(NotReady::Astray(astray)) => why.push(astray),
                not_ready @ (Some(NotReady::Incomplete) | None) => {
                    let seen = self.seen(detail, interface, not_ready.is_none());
                    why.extend(reasons(&seen.await?));
                }
            },
        }
        Ok(why)
    }

    fn deferred(&self, interface: &InterfaceName, due_ms: i64) -> Vec<String> {
        let mut why = vec![format!(
            "it failed for now and is due at {}",
            rfc3339(due_ms)
        )];
        let longest = self.tenant.interfaces.get(interface);
        let longest_ms = longest.map_or(i64::MAX, |i| i.lane.retry.wait_ms_max());
        if due_ms > self.store.now_ms().saturating_add(longest_ms) {
            let longest_s = longest_ms / 1000;
            why.push(format!(
                "the clock was wrong then, or is now: it is tried after {longest_s} s at most"
            ));
        }
        why
    }

    fn is_served(&self) -> anyhow::Result<bool> {
        Ok(SpoolLock::holder(&RealFs::new(&self.tenant.root))?.is_some())
    }

    /// All that waits or runs, with what is recorded of it.
    async fn active(&self, interface: Option<&InterfaceName>) -> anyhow::Result<Vec<JobSummary>> {
        let filter = Filter {
            interface: interface.cloned(),
            at: match interface {
                Some(_) => PlaceKind::ACTIVE.to_vec(),
                None => vec![PlaceKind::Work],
            },
            want_record: true,
            ..Filter::default()
        };
        let all = Viewer::all();
        let page = self.store.list(&all, &filter, None, usize::MAX).await?;
        Ok(page.jobs)
    }

    /// A queued job and what is around it.
    async fn seen(
        &self,
        detail: &JobDetail,
        interface: &InterfaceName,
        whole: bool,
    ) -> anyhow::Result<Seen> {
        let tags = &self.config.worker_tags;
        let lane = self.tenant.interfaces.get(interface);
        let turns = Turns { lane, tags };
        let own = &detail.summary;
        let whose = submitter(own);
        let running = self.active(None).await?;
        let of_partner = running.iter().filter(|other| submitter(other) == whose);
        let partner = whose.map(Arc::from);
        let limits = self.tenant.partner_rules(&self.config.limits);
        let active = self.active(Some(interface)).await?;
        let is_running = |other: &&JobSummary| other.job.place.kind() == PlaceKind::Work;
        let is_before = |other: &&JobSummary| turns.is_before(other, own);
        Ok(Seen {
            served: self.is_served()?,
            whole,
            here: (
                lane.map_or(0, |interface| interface.lane.rules.running_max),
                active.iter().filter(is_running).count(),
            ),
            in_all: (self.config.limits.running_max, running.len()),
            of_partner: (limits.running_max(partner.as_ref()), of_partner.count()),
            held: self.store.hold_text(interface).await?,
            worker: (own.record.as_ref()).and_then(|known| not_ours(tags, known)),
            blocker: turns.blocker(&active, own),
            key: turns.key(own),
            priority: turns.turn(own).0,
            n_before: active.iter().filter(is_before).count(),
            n_taking_turns: turns.n_taking(&active, own),
            partner: whose.unwrap_or_default().to_owned(),
            interface: interface.clone(),
        })
    }
}

fn submitter(job: &JobSummary) -> Option<&str> {
    job.record.as_ref()?.submitter.as_deref()
}

/// How the jobs of an interface have their turns.
struct Turns<'a> {
    lane: Option<&'a InterfaceConfig>,
    tags: &'a WorkerTags,
}

impl Turns<'_> {
    fn is_ordered(&self) -> bool {
        let rules = self.lane.map(|interface| interface.lane.rules);
        rules.is_some_and(|rules| rules.is_ordered())
    }

    fn is_fair(&self) -> bool {
        self.lane.is_some_and(|interface| interface.lane.rules.fair)
    }

    fn turn<'j>(&self, job: &'j JobSummary) -> (Priority, &'j JobName) {
        let known = job.record.as_ref().filter(|_| !self.is_ordered());
        let priority = known.map_or(Priority::Default, |known| known.priority);
        (priority, &job.job.name)
    }

    /// What a job keeps its order by, where that is by keys.
    fn key(&self, job: &JobSummary) -> Option<String> {
        let by = self.lane?.lane.order_by.as_ref()?;
        let kept = job
            .record
            .as_ref()
            .and_then(|known| known.order_key.as_deref());
        by.key(submitter(job), &job.job.name, kept)
            .map(str::to_owned)
    }

    fn has_key(&self, job: &JobSummary, key: Option<&String>) -> bool {
        key.is_some() && self.key(job).as_ref() == key
    }

    /// Does a job wait whose turn is surely before that of this one?
    fn is_before(&self, other: &JobSummary, own: &JobSummary) -> bool {
        let worker = other
            .record
            .as_ref()
            .and_then(|known| known.worker.as_ref());
        let (its, turn) = (self.turn(other), self.turn(own));
        let is_before = if self.has_key(other, self.key(own).as_ref()) {
            its.1 < turn.1
        } else if self.is_fair() && its.0 == turn.0 {
            submitter(other) == submitter(own) && its < turn
        } else {
            its < turn
        };
        other.is_queued() && is_before && self.tags.take(worker)
    }

    /// With how many other partners that of a job takes turns.
    fn n_taking(&self, active: &[JobSummary], own: &JobSummary) -> usize {
        let takes_turns = |other: &&JobSummary| {
            other.is_queued() && self.turn(other).0 == self.turn(own).0 && self.is_fair()
        };
        let others = active.iter().filter(takes_turns).map(submitter);
        let others: BTreeSet<_> = others.filter(|other| *other != submitter(own)).collect();
        others.len()
    }

    /// What has to be done before a job because order is strict, and why that is not done.
    fn blocker(&self, active: &[JobSummary], own: &JobSummary) -> Option<(JobName, String)> {
        let key = self.key(own);
        let is_with = |other: &&JobSummary| self.is_ordered() || self.has_key(other, key.as_ref());
        let with_it: Vec<&JobSummary> = active.iter().filter(is_with).collect();
        blocker(self.tags, &with_it, &own.job.name)
    }
}

/// The message of a job's log that tells most.
fn logged(detail: &JobDetail) -> Option<String> {
    let said = detail.log.as_ref()?.telling()?;
    let line = said
        .line
        .map_or(String::new(), |line| format!("line {line}: "));
    Some(format!("its log says: {line}{}", said.text))
}

/// The kind of worker that a job is for, if that is not ours.
pub(super) fn not_ours(tags: &WorkerTags, record: &JobRecord) -> Option<WorkerTag> {
    let worker = record.worker.as_ref();
    worker.filter(|worker| !tags.take(Some(worker))).cloned()
}

/// What was seen of a queued job and around it.
struct Seen {
    interface: InterfaceName,
    served: bool,
    whole: bool,
    /// How many jobs the interface may run at the same time, and runs now; the same for all together.
    here: (usize, usize),
    in_all: (usize, usize),
    /// The same for those of its partner.
    of_partner: (usize, usize),
    partner: String,
    /// The text of the hold.
    held: Option<String>,
    /// The kind of worker that the job is for, if that is not ours.
    worker: Option<WorkerTag>,
    /// What comes first where order is strict, and why that is not done.
    blocker: Option<(JobName, String)>,
    /// What it keeps its order by, where that is by keys.
    key: Option<String>,
    priority: Priority,
    /// Queued jobs whose turn is before; those of other partners that take turns with its own are not known to be.
    n_before: usize,
    /// With so many other partners its own takes turns.
    n_taking_turns: usize,
}

/// The job that has to be done first where order is strict, and in which state that is.
fn blocker(tags: &WorkerTags, active: &[&JobSummary], job: &JobName) -> Option<(JobName, String)> {
    let states = active.iter().filter_map(|other| {
        let state = match &other.job.place {
            Place::Work { .. } => "is running".into(),
            Place::Deferred { due_ms, .. } => {
                format!("failed for now and is due at {}", rfc3339(*due_ms))
            }
            Place::Queue(_) => {
                let worker = not_ours(tags, other.record.as_ref()?)?;
                format!("waits for worker {worker}")
            }
            Place::Bak(_) | Place::JobErrors | Place::Refused => return None,
        };
        Some((other, state))
    });
    let is_running = |other: &JobSummary| other.job.place.kind() == PlaceKind::Work;
    // What runs comes first, and then the oldest of those before it.
    let before = states.filter(|(other, _)| is_running(other) || other.job.name < *job);
    let first = before.min_by_key(|(other, _)| (!is_running(other), other.job.name.clone()));
    first.map(|(other, state)| (other.job.name.clone(), state))
}

/// Everything that a queued job waits for, the most lasting first.
fn reasons(seen: &Seen) -> Vec<String> {
    let interface = &seen.interface;
    let (here_max, here) = seen.here;
    let (in_all_max, in_all) = seen.in_all;
    let mut why = Vec::new();
    if !seen.whole {
        why.push("someone has it open for writing".to_owned());
    }
    if !seen.served {
        why.push(NO_SERVICE.into());
    }
    if here_max == 0 {
        why.push(format!(
            "{interface} has no processor: it waits to be fetched, or for you"
        ));
        return why;
    }
    if let Some(text) = &seen.held {
        let text = if text.is_empty() {
            ""
        } else {
            &format!(" ({text})")
        };
        why.push(format!(
            "{interface} is held{text}: `spoolgate release {interface}`"
        ));
    }
    if let Some(worker) = &seen.worker {
        why.push(format!(
            "it is for worker {worker}, which is not in server.worker_tags"
        ));
        return why;
    }
    if let Some((first, state)) = &seen.blocker {
        why.push(match &seen.key {
            Some(key) => {
                format!("it waits behind {first} of the same key ({key}), which {state}")
            }
            None => format!("{interface} is ordered, and {first}, which comes first, {state}"),
        });
    } else if here >= here_max {
        why.push(format!(
            "{interface} runs {here} jobs, as many as it may (concurrency)"
        ));
    } else if in_all >= in_all_max {
        why.push(format!(
            "{in_all} jobs are running, as many as may (limits.running_max)"
        ));
    }
    let (of_partner_max, of_partner) = seen.of_partner;
    if of_partner >= of_partner_max {
        let partner = &seen.partner;
        why.push(format!(
            "{of_partner} jobs of {partner} are running, as many as may (running_max of partners.{partner}, or \
             limits.running_per_user_max)"
        ));
    }
    why.extend(turns_before(seen));
    if why.is_empty() {
        why.push("nothing: it is about to be started".into());
    }
    why
}

/// Whose turns come before.
fn turns_before(seen: &Seen) -> Vec<String> {
    let mut why = Vec::new();
    if seen.n_before > 0 {
        let (n, priority) = (seen.n_before, seen.priority);
        why.push(format!(
            "{n} queued jobs come before it (priority {priority})"
        ));
    }
    if seen.n_taking_turns > 0 {
        let (n, partner) = (seen.n_taking_turns, &seen.partner);
        why.push(format!(
            "jobs of {n} other partners wait as well: they and {partner} take turns (fair)"
        ));
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen {
            interface: "a".parse().unwrap(),
            served: true,
            whole: true,
            here: (2, 0),
            in_all: (8, 3),
            of_partner: (usize::MAX, 3),
            partner: "ada".into(),
            held: None,
            worker: None,
            blocker: None,
            key: None,
            priority: Priority::Default,
            n_before: 0,
            n_taking_turns: 0,
        }
    }

    #[test]
    fn everything_that_keeps_a_job_waiting_is_said() {
        let said = |seen: Seen| reasons(&seen).join("\n");
        assert!(said(seen()).contains("about to be started"));
        let job: JobName = "20261122T045748.123Z-00042.json".parse().unwrap();
        let held = |text: &str| Some(text.to_owned());
        for (seen, words) in [
            (
                Seen {
                    served: false,
                    ..seen()
                },
                "not running",
            ),
            (
                Seen {
                    whole: false,
                    ..seen()
                },
                "open for writing",
            ),
            (
                Seen {
                    here: (0, 0),
                    ..seen()
                },
                "has no processor",
            ),
            (
                Seen {
                    here: (2, 2),
                    ..seen()
                },
                "concurrency",
            ),
            (
                Seen {
                    in_all: (8, 8),
                    ..seen()
                },
                "limits.running_max",
            ),
            (
                Seen {
                    held: held(""),
                    ..seen()
                },
                "a is held: ",
            ),
            (
                Seen {
                    held: held("by me"),
                    ..seen()
                },
                "a is held (by me)",
            ),
            (
                Seen {
                    n_before: 7,
                    ..seen()
                },
                "7 queued jobs",
            ),
            (
                Seen {
                    of_partner: (3, 3),
                    ..seen()
                },
                "3 jobs of ada are running, as many as may (running_max of partners.ada",
            ),
            (
                Seen {
                    n_taking_turns: 2,
                    ..seen()
                },
                "2 other partners wait as well: they and ada take turns",
            ),
            (
                Seen {
                    worker: Some("r1".parse().unwrap()),
                    ..seen()
                },
                "for worker r1",
            ),
            (
                Seen {
                    blocker: Some((job.clone(), "is running".into())),
                    ..seen()
                },
                "00042.json, which comes first, is running",
            ),
            (
                Seen {
                    blocker: Some((job, "is running".into())),
                    key: Some("@a=1".into()),
                    ..seen()
                },
                "it waits behind 20261122T045748.123Z-00042.json of the same key (@a=1), which is running",
            ),
        ] {
            let said = said(seen);
            assert!(said.contains(words), "{words}: {said}");
            assert!(!said.contains("about to be started"), "{said}");
        }
    }
}
