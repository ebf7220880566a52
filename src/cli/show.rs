//! `spoolgate log` and `cat`: what happened to a job, and its document.

use super::{
    At, Common,
    jobs::JobArg,
    open_spool,
    output::{line, safe, tell},
};
use crate::{
    job::{Job, JobName, Place, stamp},
    joblog::JobLog,
    spool::Spool,
};
use anyhow::{Context, bail};
use clap::Args;
use std::{io, process::ExitCode};

/// Shows what happened to a job: also of one that waits for its next attempt, and of one that
/// was removed.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:   spoolgate log 20261122T085826.976Z-00000.xml")]
pub(super) struct Log {
    /// A job's name, or the path of its file
    job: JobArg,
    /// Print the joblog as partners get it
    #[arg(long)]
    xml: bool,
    #[command(flatten)]
    common: Common,
}

impl Log {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (_, tenant) = self.common.at.load()?;
        let spool = open_spool(&tenant)?;
        let name = self.job.name();
        let Some(log) = spool.read_log(name) else {
            match spool.find(name)? {
                None => bail!("no job {name} in this spool, and no log of one"),
                Some(place) => bail!("{name} is in {place} and has no log yet"),
            }
        };
        if self.xml {
            line(log.to_xml().trim_end())?;
        } else if self.common.format.json {
            tell!("{}", json(&log, &Around::of(&spool, name)))?;
        } else {
            text(&log, &Around::of(&spool, name))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What is known of a job beside its log.
struct Around {
    /// Also of one that is not there any more.
    submitter: Option<String>,
    is_refused: bool,
}

impl Around {
    fn of(spool: &Spool, name: &JobName) -> Self {
        let place = spool.find(name).ok().flatten();
        let is_refused = place == Some(Place::Refused);
        let recorded = || Some(spool.accepted(name).ok().flatten()?.submitter.clone());
        let name = name.clone();
        let submitter = match place {
            Some(place) => spool.submitter_of(&Job { place, name }),
            None => recorded(),
        };
        Self {
            submitter,
            is_refused,
        }
    }

    /// How the job ended.
    fn status(&self, log: &JobLog) -> &'static str {
        match self.is_refused {
            true => "refused",
            false => log.status.as_str(),
        }
    }
}

fn json(log: &JobLog, around: &Around) -> serde_json::Value {
    let messages: Vec<_> = (log.messages.iter())
        .map(|m| {
            serde_json::json!({
                "time": stamp(m.time_ms), "level": m.level.as_str(), "line": m.line,
                "tool": m.tool, "text": m.text,
            })
        })
        .collect();
    serde_json::json!({
        "job": log.job.to_string(),
        "interface": log.interface.as_ref().map(|i| i.as_str()),
        "status": around.status(log),
        "received": stamp(log.received_ms),
        "started": log.started_ms.map(stamp),
        "finished": stamp(log.finished_ms),
        "attempts": log.attempts,
        "bytes": log.bytes,
        "sha256": log.sha256,
        "submitter": around.submitter,
        "messages": messages,
    })
}

fn text(log: &JobLog, around: &Around) -> anyhow::Result<()> {
    let interface = log.interface.as_ref().map_or("-", |i| i.as_str());
    tell!("{} {interface} {}", log.job, around.status(log))?;
    tell!(
        "received {} from {} finished {} attempts {} bytes {}",
        stamp(log.received_ms),
        around.submitter.as_deref().unwrap_or("-"),
        stamp(log.finished_ms),
        log.attempts,
        log.bytes
    )?;
    for message in &log.messages {
        let line = message
            .line
            .map_or(String::new(), |line| format!(" line {line}:"));
        tell!(
            "{} {:<7}{line} {}",
            stamp(message.time_ms),
            message.level.as_str(),
            safe(&message.text)
        )?;
    }
    Ok(())
}

const CAT_EXAMPLES: &str = "\
Example:   spoolgate cat 20261122T085826.976Z-00000.xml | xmllint --format -";

/// Prints a job's document, wherever it is.
#[derive(Debug, Args)]
#[command(after_long_help = CAT_EXAMPLES)]
pub(super) struct Cat {
    /// A job's name, or the path of its file
    job: JobArg,
    #[command(flatten)]
    at: At,
}

impl Cat {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (_, tenant) = self.at.load()?;
        let spool = open_spool(&tenant)?;
        let job = self.job.find(&spool)?;
        let file = spool.open_job(&job)?;
        let mut file = file.with_context(|| format!("{} has moved; try again", job.name))?;
        match io::copy(&mut file, &mut io::stdout().lock()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            Ok(_) | Err(_) => Ok(ExitCode::SUCCESS),
        }
    }
}
