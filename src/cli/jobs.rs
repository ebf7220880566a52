//! `spoolgate requeue` and `rm`, and how a job is named on the command line.

use super::{Common, operator::Operator, output::print_line};
use crate::{
    domain::{Job, JobName, Queue, escaped},
    ops::admin::Operation,
    store::{
        Store,
        fs::{PlacePath, deferred_entry, work_entry},
    },
};
use anyhow::{Context, anyhow};
use clap::Args;
use std::process::ExitCode;

/// A job's name, or the path of its file as `ls` shows it.
#[derive(Clone, Debug)]
pub(super) struct JobArg(JobName);

impl std::str::FromStr for JobArg {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let file = text.rsplit('/').next().unwrap_or(text);
        let entry = work_entry(file).map(|(name, _)| name);
        let entry = entry.or_else(|| deferred_entry(file).map(|(name, _)| name));
        match entry {
            Some(name) => Ok(Self(name)),
            None => file.parse().map(Self).map_err(|e| format!("{e}")),
        }
    }
}

impl JobArg {
    pub(super) fn name(&self) -> &JobName {
        &self.0
    }

    pub(super) async fn find(&self, store: &dyn Store) -> anyhow::Result<Job> {
        let found = store.find_anywhere(&self.0).await?;
        let found = found.with_context(|| format!("no job {} in this spool", self.0))?;
        Ok(found.job)
    }
}

/// Where a job's file lies, in words for operators.
pub(super) fn path_of(job: &Job) -> String {
    job.place.path(&job.name).display().to_string()
}

/// Sends jobs to a queue again, their attempts counted from one, with a note in the joblog. A
/// document that was refused is validated again first; one that is still wrong stays.
#[derive(Debug, Args)]
#[command(after_long_help = REQUEUE_EXAMPLES)]
pub(super) struct Requeue {
    /// Job names, or the paths of their files
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<JobArg>,
    /// The interface to send them to, their own unless given; INTERFACE/@USER where jobs are for users
    #[arg(long, value_name = "INTERFACE")]
    to: Option<String>,
    /// Send refused documents without validating them again
    #[arg(long)]
    unchecked: bool,
    #[command(flatten)]
    common: Common,
}

const REQUEUE_EXAMPLES: &str = "\
One job:          spoolgate requeue 20261122T085826.976Z-00000.xml
A day's failed:   spoolgate requeue spool/joberrors/2026-11-22/*.xml
Its refused:      spoolgate requeue spool/joberrors/2026-11-22/refused/*.xml";

impl Requeue {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let to = self.to.as_ref().map(|name| name.parse::<Queue>());
        let to = to.transpose().map_err(|e| anyhow!("--to: {e}"))?;
        each(&self.common, &self.jobs, |job| Operation::Requeue {
            job: job.name().clone(),
            to: to.clone(),
            unchecked: self.unchecked,
        })
    }
}

/// Removes jobs permanently. Their logs stay and say who removed them. Running jobs are refused.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:   spoolgate rm 20261122T085826.976Z-00000.xml")]
pub(super) struct Rm {
    /// Job names, or the paths of their files
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<JobArg>,
    #[command(flatten)]
    common: Common,
}

impl Rm {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        each(&self.common, &self.jobs, |job| Operation::Remove {
            job: job.name().clone(),
        })
    }
}

/// Does something with every job; one that fails does not stop the others.
fn each(
    common: &Common,
    jobs: &[JobArg],
    act: impl Fn(&JobArg) -> Operation,
) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    let mut operator = Operator::open(&common.at)?;
    let done = operator.each(
        jobs,
        |job| act(job),
        |job, outcome| {
            let name = job.name();
            if common.format.json {
                all.push(serde_json::json!({"job": name.to_string(), "outcome": outcome}));
                return Ok(());
            }
            print_line!("{name} {}", escaped(outcome))
        },
    )?;
    if common.format.json {
        print_line!("{}", serde_json::Value::from(all))?;
    }
    Ok(exit_code(done))
}

/// What the shell sees: was everything done?
pub(super) fn exit_code(done: bool) -> ExitCode {
    if done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
