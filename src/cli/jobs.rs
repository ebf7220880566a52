//! `spoolgate requeue` and `rm`, and how a job is named on the command line.

use super::{Common, output::tell, report, whoami, writable_spool};
use crate::{
    job::{InterfaceName, Job, JobName, Place, deferred_entry, work_entry},
    spool::{Moved, Spool},
};
use anyhow::{Context, anyhow, bail};
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

    pub(super) fn find(&self, spool: &Spool) -> anyhow::Result<Job> {
        let place = spool.find(&self.0)?;
        let place = place.with_context(|| format!("no job {} in this spool", self.0))?;
        Ok(Job {
            place,
            name: self.0.clone(),
        })
    }
}

/// Where a job's file lies, in words for operators.
pub(super) fn path_of(job: &Job) -> String {
    job.place.path(&job.name).display().to_string()
}

/// Refuses what must not be done to a job in work.
fn not_in_work(spool: &Spool, job: &Job, advice: &str) -> anyhow::Result<()> {
    if spool.is_cut_off(job)? {
        bail!(
            "{} was cut off when the service ended; start the service, which recovers it",
            job.name
        );
    }
    if matches!(job.place, Place::Work { .. }) {
        bail!("{} is running; {advice}", job.name);
    }
    Ok(())
}

/// The interface that a job belongs to, as far as anything says so.
pub(super) fn interface_of(spool: &Spool, job: &Job) -> Option<InterfaceName> {
    spool.interface_of(job)
}

/// Sends jobs to a queue again, their attempts counted from one. The same as `mv` by hand, with a
/// note in the joblog.
#[derive(Debug, Args)]
#[command(after_long_help = REQUEUE_EXAMPLES)]
pub(super) struct Requeue {
    /// Job names, or the paths of their files
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<JobArg>,
    /// The interface to send them to; their own unless given
    #[arg(long, value_name = "INTERFACE")]
    to: Option<String>,
    #[command(flatten)]
    common: Common,
}

const REQUEUE_EXAMPLES: &str = "\
One job:          spoolgate requeue 20261122T085826.976Z-00000.xml
A day's failed:   spoolgate requeue spool/joberrors/2026-11-22/*.xml";

impl Requeue {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (_, tenant) = self.common.at.load()?;
        let spool = writable_spool(&tenant)?;
        let to: Option<InterfaceName> = match &self.to {
            None => None,
            Some(name) => Some(name.parse().map_err(|e| anyhow!("--to {name}: {e}"))?),
        };
        if let Some(to) = &to
            && !spool.has_interface(to)
        {
            bail!("unknown interface {to}; `spoolgate status` lists them");
        }
        each(&self.common, &self.jobs, |arg| {
            let job = arg.find(&spool)?;
            not_in_work(&spool, &job, "wait for its end")?;
            let to = to.clone().or_else(|| interface_of(&spool, &job));
            let to = to.with_context(|| {
                format!(
                    "{}: its interface is not known; say --to INTERFACE",
                    job.name
                )
            })?;
            match spool.requeue(&job, &to, &whoami())? {
                Moved::Done(job) => Ok(path_of(&job)),
                Moved::Gone => bail!("{} has moved meanwhile; look again", job.name),
            }
        })
    }
}

/// Removes jobs for ever. Their logs stay and say who removed them. Running jobs are refused.
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
        let (_, tenant) = self.common.at.load()?;
        let spool = writable_spool(&tenant)?;
        each(&self.common, &self.jobs, |arg| {
            let job = arg.find(&spool)?;
            not_in_work(&spool, &job, "hold its interface and wait for its end")?;
            match spool.remove(&job, &whoami())? {
                Moved::Done(_) => Ok("removed".into()),
                Moved::Gone => bail!("{} has moved meanwhile; look again", job.name),
            }
        })
    }
}

/// Does something with every job; one that fails does not stop the others.
fn each(
    common: &Common,
    jobs: &[JobArg],
    act: impl Fn(&JobArg) -> anyhow::Result<String>,
) -> anyhow::Result<ExitCode> {
    let mut failed = false;
    let mut told = Ok(());
    let mut all = Vec::new();
    for job in jobs {
        let name = job.name();
        match act(job) {
            Ok(text) if common.format.json => {
                all.push(serde_json::json!({"job": name.to_string(), "outcome": text}));
            }
            Ok(text) => told = told.and(tell!("{name} {text}")),
            Err(error) => {
                failed = true;
                report(&error);
            }
        }
    }
    if common.format.json {
        told = tell!("{}", serde_json::Value::from(all));
    }
    told?;
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
