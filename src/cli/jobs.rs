//! `spoolgate requeue` and `rm`, and how a job is named on the command line.

use super::{Common, explain, open_spool, whoami};
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

/// The interface that a job belongs to, as far as anything says so.
pub(super) fn interface_of(spool: &Spool, job: &Job) -> Option<InterfaceName> {
    (job.place.interface().cloned())
        .or_else(|| spool.attribute_of(job, "interface")?.parse().ok())
        .or_else(|| spool.read_log(&job.name)?.interface)
}

/// Sends jobs to a queue again, their attempts counted from one. The same as `mv` by hand, with a
/// note in the joblog.
#[derive(Debug, Args)]
pub(super) struct Requeue {
    /// Job names, or the paths of their files
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<JobArg>,
    /// The interface to send them to; their own unless given
    #[arg(long, value_name = "INTERFACE")]
    to: Option<String>,
}

impl Requeue {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let (_, tenant) = common.load()?;
        let spool = open_spool(&tenant)?;
        let to: Option<InterfaceName> = match &self.to {
            None => None,
            Some(name) => Some(name.parse().map_err(|e| anyhow!("--to {name}: {e}"))?),
        };
        if let Some(to) = &to
            && !spool.has_interface(to)
        {
            bail!("unknown interface {to}; `spoolgate status` lists them");
        }
        each(common, &self.jobs, |arg| {
            let job = arg.find(&spool)?;
            if matches!(job.place, Place::Work { .. }) {
                bail!("{} is running; wait for its end", job.name);
            }
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
pub(super) struct Rm {
    /// Job names, or the paths of their files
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<JobArg>,
}

impl Rm {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let (_, tenant) = common.load()?;
        let spool = open_spool(&tenant)?;
        each(common, &self.jobs, |arg| {
            let job = arg.find(&spool)?;
            if matches!(job.place, Place::Work { .. }) {
                bail!(
                    "{} is running; hold its interface and wait for its end",
                    job.name
                );
            }
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
    let mut all = Vec::new();
    for job in jobs {
        let name = job.name();
        match act(job) {
            Ok(text) if common.json => {
                all.push(serde_json::json!({"job": name.to_string(), "outcome": text}));
            }
            Ok(text) => println!("{name} {text}"),
            Err(error) => {
                failed = true;
                eprintln!("spoolgate: {}", explain(&error));
            }
        }
    }
    if common.json {
        println!("{}", serde_json::Value::from(all));
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
