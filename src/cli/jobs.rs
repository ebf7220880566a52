//! `spoolgate requeue`, `rm` and `cancel`: what is done to jobs, one of them or all that are selected.

use super::{
    Common,
    job_arg::{JobArg, Lookup},
    look,
    operator::Operator,
    output::{bar, failed, print_line, print_note},
    select::Select,
};
use crate::{
    config::{Config, Tenant},
    domain::{Job, JobName, Queue, escaped},
    ops::{
        admin::{Bulk, JobAct, Jobs, Outcome, Summary, Told},
        control::protocol::NAMES_MAX,
        selection::{JobState, Selection},
    },
    store::fs::PlacePath,
};
use anyhow::{anyhow, bail};
use clap::Args;
use indicatif::ProgressBar;
use std::{
    io::{self, BufRead, IsTerminal, Write},
    num::NonZeroU32,
    process::ExitCode,
};

/// More jobs than that are not touched before somebody has said so.
const UNASKED_MAX: usize = 100;

/// Where a job's file lies, in words for operators.
pub(super) fn path_of(job: &Job) -> String {
    job.place.path(&job.name).display().to_string()
}

/// Jobs that are named, or selected.
#[derive(Clone, Debug, Args)]
pub(super) struct Chosen {
    /// Jobs: names, unique beginnings of names, the paths of their files, or ids that partners have of them; - takes
    /// them from standard input, one a line, also as `ls --json` prints them
    #[arg(value_name = "JOB", value_parser = job_or_stdin)]
    jobs: Vec<Option<JobArg>>,
    #[command(flatten)]
    select: Select,
}

/// `None`: those on standard input.
fn job_or_stdin(text: &str) -> Result<Option<JobArg>, String> {
    match text {
        "-" => Ok(None),
        text => text.parse().map(Some),
    }
}

/// Which jobs were chosen.
pub(super) enum Choice {
    Named(Vec<JobArg>),
    Selected(Selection),
}

impl Chosen {
    /// What was typed; `usual` are the states of those that are selected without one.
    pub(super) fn choice(&self, config: &Config, usual: &[JobState]) -> anyhow::Result<Choice> {
        let selection = self.select.selection(config)?;
        let Some(mut selection) = selection else {
            if self.jobs.is_empty() {
                bail!(
                    "which jobs? name them, or select them with --interface, --state, --since, …"
                );
            }
            let mut named = Vec::new();
            for job in &self.jobs {
                match job {
                    Some(job) => named.push(job.clone()),
                    None => named.extend(read_jobs(io::stdin().lock())?),
                }
            }
            return Ok(Choice::Named(named));
        };
        if !self.jobs.is_empty() {
            bail!("jobs are either named or selected, not both");
        }
        if selection.states.is_empty() {
            if usual.is_empty() {
                bail!("in which state are they? say it with --state");
            }
            selection.states = usual.to_vec();
        }
        Ok(Choice::Selected(selection))
    }

    fn takes_stdin(&self) -> bool {
        self.jobs.iter().any(Option::is_none)
    }
}

/// Jobs, one a line: as they are named, or an object of JSON with the member `job`.
fn read_jobs(lines: impl BufRead) -> anyhow::Result<Vec<JobArg>> {
    let mut jobs = Vec::new();
    for (n, line) in lines.lines().enumerate() {
        let line = line.map_err(|error| anyhow!("standard input: {error}"))?;
        let text = line.trim();
        if text.is_empty() {
            continue;
        }
        let parsed: serde_json::Value = match text.starts_with('{') {
            true => serde_json::from_str(text).unwrap_or_default(),
            false => text.into(),
        };
        let name = parsed.as_str().or_else(|| parsed["job"].as_str());
        let job = name.map_or(Err("no job".to_owned()), str::parse);
        jobs.push(job.map_err(|e| anyhow!("standard input, line {}: {}", n + 1, escaped(&e)))?);
    }
    Ok(jobs)
}

/// How carefully it is done.
#[derive(Clone, Debug, Args)]
struct Care {
    /// Only show which jobs are meant
    #[arg(long)]
    dry_run: bool,
    /// Do it to N jobs in a second at most
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<NonZeroU32>,
    /// Do not ask, however many jobs there are
    #[arg(long, short)]
    yes: bool,
}

fn rate(text: &str) -> Result<NonZeroU32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let odd = |_| format!("{text} is no rate; write it as 50/s");
    number.parse().map_err(odd)
}

/// Sends jobs to a queue again, their attempts counted from one, with a note in the joblog. A
/// document that was refused is validated again first; one that is still wrong stays. Of those that are selected
/// without a state, those that have failed, for now or for good.
#[derive(Debug, Args)]
#[command(after_long_help = REQUEUE_EXAMPLES)]
pub(super) struct Requeue {
    #[command(flatten)]
    chosen: Chosen,
    /// The interface to send them to, their own unless given; INTERFACE/@USER where jobs are for users
    #[arg(long, value_name = "INTERFACE")]
    to: Option<String>,
    /// Send refused documents without validating them again
    #[arg(long)]
    unchecked: bool,
    #[command(flatten)]
    care: Care,
    #[command(flatten)]
    common: Common,
}

const REQUEUE_EXAMPLES: &str = "\
One job:          spoolgate requeue 20261122T085826.976Z-00000.xml
All of one kind:  spoolgate requeue --error 'connection refused' --since 2h --dry-run
At their pace:    spoolgate requeue --interface orders_in --state failed --rate 20/s --yes
Its refused:      spoolgate requeue --state refused --since 2026-11-22";

impl Requeue {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let to = self.to.as_ref().map(|name| name.parse::<Queue>());
        let to = to.transpose().map_err(|e| anyhow!("--to: {e}"))?;
        let act = JobAct::Requeue {
            to,
            unchecked: self.unchecked,
        };
        let usual = [JobState::Deferred, JobState::Failed];
        carry_out(&self.common, (&self.chosen, &usual), &self.care, act)
    }
}

/// Removes jobs permanently. Their logs stay and say who removed them. Running jobs are refused.
#[derive(Debug, Args)]
#[command(after_long_help = RM_EXAMPLES)]
pub(super) struct Rm {
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    care: Care,
    #[command(flatten)]
    common: Common,
}

const RM_EXAMPLES: &str = "\
One job:       spoolgate rm 20261122T085826.976Z-00000.xml
Old refused:   spoolgate rm --state refused --older 30d --dry-run";

impl Rm {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        carry_out(
            &self.common,
            (&self.chosen, &[]),
            &self.care,
            JobAct::Remove,
        )
    }
}

/// Cancels jobs: those that wait never run, the commands of those that run are ended. They are in joberrors then, and
/// their logs say by whom.
#[derive(Debug, Args)]
#[command(after_long_help = CANCEL_EXAMPLES)]
pub(super) struct Cancel {
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    care: Care,
    #[command(flatten)]
    common: Common,
}

const CANCEL_EXAMPLES: &str = "\
One job:           spoolgate cancel 20261122T085826.976Z-00000.xml
All of a partner:  spoolgate cancel --submitter shop --state queued,deferred";

impl Cancel {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let usual = [JobState::Queued, JobState::Deferred, JobState::Running];
        carry_out(
            &self.common,
            (&self.chosen, &usual),
            &self.care,
            JobAct::Cancel,
        )
    }
}

/// Does something to the jobs that were chosen; one that fails does not stop the others.
fn carry_out(
    common: &Common,
    (chosen, usual): (&Chosen, &[JobState]),
    care: &Care,
    act: JobAct,
) -> anyhow::Result<ExitCode> {
    let (config, tenant) = common.at.load()?;
    let choice = chosen.choice(&config, usual)?;
    let (jobs, mut done) = match choice {
        Choice::Named(args) => named(common, (&config, &tenant), &args)?,
        Choice::Selected(selection) => (Jobs::Selected(selection), true),
    };
    if care.dry_run {
        show(common, &tenant, &jobs)?;
        return Ok(exit_code(done));
    }
    let Some(jobs) = agreed(&tenant, jobs, (chosen, care), act.done())? else {
        return Ok(ExitCode::FAILURE);
    };
    let mut operator = Operator::open(&common.at)?;
    for jobs in parts(jobs) {
        let bulk = Bulk {
            act: act.clone(),
            jobs,
            per_s: care.rate,
        };
        let mut report = Report::new(common.format.json, act.done());
        let summary = operator.bulk(&bulk, |told| report.hear(told))?;
        report.end(summary)?;
        done &= summary.failed == 0 && summary.left == 0;
    }
    Ok(exit_code(done))
}

/// The names of jobs that were named somehow; false: some are not known, which has been said.
fn named(
    common: &Common,
    (config, tenant): (&Config, &Tenant),
    args: &[JobArg],
) -> anyhow::Result<(Jobs, bool)> {
    let plain: Option<Vec<JobName>> = args.iter().map(JobArg::name).collect();
    if let Some(names) = plain {
        return Ok((Jobs::Named(names), true));
    }
    let mut all_known = true;
    let names = look(tenant, async |store| {
        let lookup = Lookup {
            config,
            tenant,
            store,
        };
        let mut names = Vec::new();
        for arg in args {
            match lookup.name(arg).await {
                Ok(name) => names.push(name),
                Err(error) => {
                    failed(common.format.json, "job", arg, &error)?;
                    all_known = false;
                }
            }
        }
        Ok(names)
    })?;
    Ok((Jobs::Named(names), all_known))
}

/// As many acts as are needed to name all of them.
fn parts(jobs: Jobs) -> Vec<Jobs> {
    match jobs {
        Jobs::Named(names) => {
            let parts = names.chunks(NAMES_MAX);
            parts.map(|names| Jobs::Named(names.to_vec())).collect()
        }
        selected @ Jobs::Selected(_) => vec![selected],
    }
}

/// The jobs that are meant, as they are now.
fn meant(tenant: &Tenant, jobs: &Jobs) -> anyhow::Result<Vec<Job>> {
    look(tenant, async |store| {
        let found = match jobs {
            Jobs::Named(names) => {
                let found = store.find_all_anywhere(names.clone()).await?;
                found.into_iter().flatten().collect()
            }
            Jobs::Selected(selection) => selection.find(store, &selection.filter()).await?,
        };
        Ok(found.into_iter().map(|found| found.job).collect())
    })
}

/// Shows what would be done to which jobs.
fn show(common: &Common, tenant: &Tenant, jobs: &Jobs) -> anyhow::Result<()> {
    let found = meant(tenant, jobs)?;
    for job in &found {
        let path = path_of(job);
        match common.format.json {
            true => {
                let job = job.name.to_string();
                print_line!("{}", serde_json::json!({"job": job, "path": path}))?;
            }
            false => print_line!("{path}")?,
        }
    }
    print_note!("{} jobs; nothing was done", found.len());
    Ok(())
}

/// Many jobs are touched only when somebody has said so. Gives them as they were counted; `None`: they are to stay.
fn agreed(
    tenant: &Tenant,
    jobs: Jobs,
    (chosen, care): (&Chosen, &Care),
    done: &str,
) -> anyhow::Result<Option<Jobs>> {
    if care.yes {
        return Ok(Some(jobs));
    }
    let n_jobs = match &jobs {
        Jobs::Named(names) => names.len(),
        Jobs::Selected(_) => meant(tenant, &jobs)?.len(),
    };
    if n_jobs > UNASKED_MAX {
        if chosen.takes_stdin() || !io::stdin().is_terminal() {
            bail!(
                "{n_jobs} jobs would be {done}: say --yes if that is meant; --dry-run shows them"
            );
        }
        write!(
            io::stderr(),
            "{n_jobs} jobs are to be {done}. Go on? [y/N] "
        )?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            print_note!("nothing was done");
            return Ok(None);
        }
    }
    Ok(Some(match jobs {
        // No more than were counted.
        Jobs::Selected(selection) => Jobs::Selected(Selection {
            limit: Some(n_jobs),
            ..selection
        }),
        named @ Jobs::Named(_) => named,
    }))
}

/// Prints what becomes of jobs.
struct Report {
    as_json: bool,
    done: &'static str,
    bar: ProgressBar,
    n_jobs: usize,
    /// What came of printing.
    printed: anyhow::Result<()>,
}

impl Report {
    fn new(as_json: bool, done: &'static str) -> Self {
        Self {
            as_json,
            done,
            bar: ProgressBar::hidden(),
            n_jobs: 0,
            printed: Ok(()),
        }
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Begun { jobs } => {
                self.n_jobs = jobs;
                if jobs > UNASKED_MAX {
                    self.bar = bar(jobs as u64);
                }
            }
            Told::Job(outcome) => {
                self.bar.inc(1);
                // A closed standard output is no reason to stop.
                if self.printed.is_ok() {
                    self.printed = self.print(&outcome);
                }
            }
        }
    }

    fn print(&self, outcome: &Outcome) -> anyhow::Result<()> {
        let name = outcome.job.to_string();
        if let Some(error) = &outcome.error {
            let error = anyhow!("{error}");
            return self
                .bar
                .suspend(|| failed(self.as_json, "job", name, &error));
        }
        if self.as_json {
            let line = serde_json::json!({"job": name, "outcome": self.done, "path": outcome.path});
            return print_line!("{line}");
        }
        let is_watched = self.n_jobs > UNASKED_MAX && io::stdout().is_terminal();
        match &outcome.path {
            // They would hide all else.
            _ if is_watched => Ok(()),
            Some(path) => print_line!("{name} {}", escaped(path)),
            None => print_line!("{name} {}", self.done),
        }
    }

    fn end(self, summary: Summary) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        if self.n_jobs > UNASKED_MAX {
            print_note!("{} {}, {} not", summary.done, self.done, summary.failed);
        }
        if summary.left > 0 {
            print_note!(
                "it ended before {} more, which are as they were",
                summary.left
            );
        }
        self.printed
    }
}

/// What the shell sees: was everything done?
pub(super) fn exit_code(done: bool) -> ExitCode {
    if done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_read_as_ls_prints_them_or_by_their_names() {
        let read = |text: &str| {
            let jobs = read_jobs(text.as_bytes()).map_err(|error| error.to_string())?;
            let names = jobs.iter().map(|job| job.name().unwrap().to_string());
            Ok::<_, String>(names.collect::<Vec<_>>())
        };
        let (one, two) = (
            "20261122T045748.123Z-00042.xml",
            "20261122T045748.123Z-00043.xml",
        );
        let text = format!("queue/a/{one}\n\n {{\"job\":\"{two}\",\"state\":\"failed\"}} \n");
        assert_eq!(read(&text), Ok(vec![one.to_owned(), two.to_owned()]));
        for odd in ["{\"jbo\":1}", "{", "what", "a b"] {
            let said = read(&format!("{one}\n{odd}")).unwrap_err();
            assert!(said.starts_with("standard input, line 2: "), "{said}");
        }
    }

    #[test]
    fn a_rate_is_so_many_in_a_second() {
        assert_eq!(rate("50/s").map(NonZeroU32::get), Ok(50));
        assert_eq!(rate("7").map(NonZeroU32::get), Ok(7));
        for odd in ["0/s", "", "/s", "5/m", "-1/s"] {
            assert!(rate(odd).is_err(), "{odd}");
        }
    }
}
