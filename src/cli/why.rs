//! `spoolgate why`: what a job waits for, or what became of it.
//!
//! [`reasons`] is pure: what was seen goes in, sentences come out.

use super::{
    Common,
    jobs::{JobArg, path_of},
    open_spool,
    output::print_line,
    report,
};
use crate::{
    config::{Config, Tenant},
    domain::{
        InterfaceName, Job, JobName, Place, Priority, Queue, WorkerTag, WorkerTags, escaped, stamp,
    },
    store::fs::{Spool, SpoolLock},
};
use clap::Args;
use std::process::ExitCode;

/// Says what jobs wait for, or what became of them.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:   spoolgate why 20261122T085826.976Z-00000.xml")]
pub(super) struct Why {
    /// Job names, or the paths of their files
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<JobArg>,
    #[command(flatten)]
    common: Common,
}

impl Why {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (config, tenant) = self.common.at.load()?;
        let spool = open_spool(&tenant)?;
        let mut code = ExitCode::SUCCESS;
        for arg in &self.jobs {
            let told = arg.find(&spool).and_then(|job| {
                let why = why(&config, &tenant, &spool, &job)?;
                Ok((job, why))
            });
            match told {
                Ok((job, why)) if self.common.format.json => print_line!(
                    "{}",
                    serde_json::json!({
                        "job": job.name.to_string(), "path": path_of(&job), "why": why,
                    })
                )?,
                Ok((job, why)) => {
                    print_line!("{} is in {}", job.name, path_of(&job))?;
                    for reason in why {
                        print_line!("  {}", escaped(&reason))?;
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

fn why(config: &Config, tenant: &Tenant, spool: &Spool, job: &Job) -> anyhow::Result<Vec<String>> {
    let reason = || {
        let log = spool.read_log(&job.name)?;
        let said = log.telling()?;
        let line = said
            .line
            .map_or(String::new(), |line| format!("line {line}: "));
        Some(format!("its log says: {line}{}", said.text))
    };
    let mut why = Vec::new();
    match &job.place {
        Place::Bak(_) => why.push("it is done".to_owned()),
        Place::JobErrors => {
            why.push("it has failed for good; `spoolgate requeue` tries again".into());
            why.extend(reason());
        }
        Place::Refused => {
            why.push(
                "its document was refused; its submitter is to send a right one; `spoolgate \
                 requeue` validates it again"
                    .into(),
            );
            why.extend(reason());
        }
        Place::Work { .. } if spool.is_cut_off(job)? => {
            why.push("it was cut off when the service ended; the next start recovers it".into());
        }
        Place::Work { attempt, .. } => why.push(format!("attempt {attempt} is running")),
        Place::Deferred { interface, due_ms } => {
            why.push(format!(
                "it failed for now and is due at {}",
                stamp(*due_ms)
            ));
            let longest = tenant.interfaces.get(interface);
            let longest_ms = longest.map_or(i64::MAX, |i| i.lane.retry.wait_ms_max());
            if *due_ms > spool.now_ms().saturating_add(longest_ms) {
                let longest_s = longest_ms / 1000;
                why.push(format!(
                    "the clock was wrong then, or is now: it is tried after {longest_s} s at most"
                ));
            }
            why.extend(reason());
            if SpoolLock::holder(spool.fs())?.is_none() {
                why.push(NO_SERVICE.into());
            }
        }
        Place::Queue(Queue { interface, .. }) => match spool.why_astray(job) {
            Some(astray) => why.push(astray),
            None => why.extend(reasons(&Seen::of(config, tenant, spool, job, interface)?)),
        },
    }
    Ok(why)
}

const NO_SERVICE: &str = "the service is not running: `spoolgate serve`";

/// What a queued job waits for in the first place, in a few words; `None`: its turn.
pub(super) fn in_short(config: &Config, spool: &Spool, job: &Job) -> Option<String> {
    let Place::Queue(Queue { interface, .. }) = &job.place else {
        return None;
    };
    if matches!(spool.is_held(interface), Ok(true)) {
        return Some(format!("{interface} is held"));
    }
    let worker = not_ours(&config.worker_tags, spool, job)?;
    Some(format!("for worker {worker}"))
}

fn not_ours(tags: &WorkerTags, spool: &Spool, job: &Job) -> Option<WorkerTag> {
    spool
        .worker_of(job)
        .filter(|worker| !tags.take(Some(worker)))
}

/// What was seen of a queued job and around it.
struct Seen {
    interface: InterfaceName,
    served: bool,
    whole: bool,
    /// How many jobs the interface may run at the same time, and runs now; the same for all together.
    here: (usize, usize),
    in_all: (usize, usize),
    /// The text of the hold.
    held: Option<String>,
    /// The kind of worker that the job is for, if that is not ours.
    worker: Option<WorkerTag>,
    /// What comes first where order is strict, and why that is not done.
    blocker: Option<(JobName, String)>,
    priority: Priority,
    /// Queued jobs whose turn is before.
    n_before: usize,
}

impl Seen {
    fn of(
        config: &Config,
        tenant: &Tenant,
        spool: &Spool,
        job: &Job,
        interface: &InterfaceName,
    ) -> anyhow::Result<Self> {
        let rules = tenant.interfaces.get(interface).map(|i| i.lane.rules);
        let ordered = rules.is_some_and(|rules| rules.ordered);
        let mut n_running = 0;
        for interface in spool.interfaces() {
            n_running += spool.working(interface)?.len();
        }
        let queued = spool.queued(interface)?;
        let known = spool.accepted_of_all(&queued)?;
        let known = |job: &Job| known.get(&job.name.id());
        let turn = |job: &Job| match known(job) {
            Some(known) if !ordered => (known.priority, job.name.clone()),
            Some(_) | None => (Priority::Default, job.name.clone()),
        };
        let own = turn(job);
        let is_ours = |job: &Job| {
            let worker = known(job).and_then(|known| known.worker.as_ref());
            config.worker_tags.take(worker)
        };
        let before = queued
            .iter()
            .filter(|other| turn(other) < own && is_ours(other));
        Ok(Self {
            served: SpoolLock::holder(spool.fs())?.is_some(),
            whole: spool.is_whole(job),
            here: (
                rules.map_or(0, |rules| rules.running_max),
                spool.working(interface)?.len(),
            ),
            in_all: (config.limits.running_max, n_running),
            held: spool.hold_text(interface),
            worker: not_ours(&config.worker_tags, spool, job),
            blocker: match ordered {
                true => blocker(config, spool, interface, &job.name)?,
                false => None,
            },
            priority: own.0,
            n_before: before.count(),
            interface: interface.clone(),
        })
    }
}

/// The job that an ordered interface has to see done first, and in which state that is.
fn blocker(
    config: &Config,
    spool: &Spool,
    interface: &InterfaceName,
    job: &JobName,
) -> anyhow::Result<Option<(JobName, String)>> {
    if let Some((name, _)) = spool.working(interface)?.pop() {
        return Ok(Some((name, "is running".into())));
    }
    let deferred = spool.deferred(interface)?.into_iter().min();
    let deferred = deferred.map(|(name, due_ms)| {
        let state = format!("failed for now and is due at {}", stamp(due_ms));
        (name, state)
    });
    let queued = spool.queued(interface)?.into_iter().find_map(|job| {
        let worker = not_ours(&config.worker_tags, spool, &job)?;
        Some((job.name, format!("waits for worker {worker}")))
    });
    let first = deferred.into_iter().chain(queued).min();
    Ok(first.filter(|(first, _)| first < job))
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
        why.push(format!(
            "{interface} is ordered, and {first}, which comes first, {state}"
        ));
    } else if here >= here_max {
        why.push(format!(
            "{interface} runs {here} jobs, as many as it may (concurrency)"
        ));
    } else if in_all >= in_all_max {
        why.push(format!(
            "{in_all} jobs are running, as many as may (limits.running_max)"
        ));
    }
    if seen.n_before > 0 {
        let (n, priority) = (seen.n_before, seen.priority);
        why.push(format!(
            "{n} queued jobs come before it (priority {priority})"
        ));
    }
    if why.is_empty() {
        why.push("nothing: it is about to be started".into());
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
            held: None,
            worker: None,
            blocker: None,
            priority: Priority::Default,
            n_before: 0,
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
                    worker: Some("r1".parse().unwrap()),
                    ..seen()
                },
                "for worker r1",
            ),
            (
                Seen {
                    blocker: Some((job, "is running".into())),
                    ..seen()
                },
                "00042.json, which comes first, is running",
            ),
        ] {
            let said = said(seen);
            assert!(said.contains(words), "{words}: {said}");
            assert!(!said.contains("about to be started"), "{said}");
        }
    }
}
