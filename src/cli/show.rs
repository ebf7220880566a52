//! `spoolgate log` and `cat`: what happened to a job, and its document.

use super::{Common, jobs::JobArg, open_spool};
use crate::{
    job::{Job, JobName, stamp},
    joblog::JobLog,
    spool::Spool,
};
use anyhow::{Context, bail};
use clap::Args;
use std::{io, process::ExitCode};

/// Shows what happened to a job: also of one that waits for its next attempt, and of one that
/// was removed.
#[derive(Debug, Args)]
pub(super) struct Log {
    /// A job's name, or the path of its file
    job: JobArg,
    /// Print the joblog as partners get it
    #[arg(long)]
    xml: bool,
}

impl Log {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let (_, tenant) = common.load()?;
        let spool = open_spool(&tenant)?;
        let name = self.job.name();
        let Some(log) = spool.read_log(name) else {
            match spool.find(name)? {
                None => bail!("no job {name} in this spool, and no log of one"),
                Some(place) => bail!("{name} is in {place} and has no log yet"),
            }
        };
        if self.xml {
            print!("{}", log.to_xml());
        } else if common.json {
            println!("{}", json(&log, submitter(&spool, name)));
        } else {
            text(&log, submitter(&spool, name));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Who submitted a job that is still there.
fn submitter(spool: &Spool, name: &JobName) -> Option<String> {
    let place = spool.find(name).ok().flatten()?;
    let job = Job {
        place,
        name: name.clone(),
    };
    spool.attribute_of(&job, "submitter")
}

fn json(log: &JobLog, submitter: Option<String>) -> serde_json::Value {
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
        "status": log.status.as_str(),
        "received": stamp(log.received_ms),
        "started": log.started_ms.map(stamp),
        "finished": stamp(log.finished_ms),
        "attempts": log.attempts,
        "bytes": log.bytes,
        "sha256": log.sha256,
        "submitter": submitter,
        "messages": messages,
    })
}

fn text(log: &JobLog, submitter: Option<String>) {
    let interface = log.interface.as_ref().map_or("-", |i| i.as_str());
    println!("{} {interface} {}", log.job, log.status.as_str());
    println!(
        "received {} from {} finished {} attempts {} bytes {}",
        stamp(log.received_ms),
        submitter.as_deref().unwrap_or("-"),
        stamp(log.finished_ms),
        log.attempts,
        log.bytes
    );
    for message in &log.messages {
        let line = message
            .line
            .map_or(String::new(), |line| format!(" line {line}:"));
        // Text of processors may hold anything: a terminal must not obey it.
        let safe: String = (message.text.chars())
            .map(|c| {
                if c.is_control() && c != '\t' {
                    '\u{fffd}'
                } else {
                    c
                }
            })
            .collect();
        println!(
            "{} {:<7}{line} {safe}",
            stamp(message.time_ms),
            message.level.as_str()
        );
    }
}

/// Prints a job's document, wherever it is.
#[derive(Debug, Args)]
pub(super) struct Cat {
    /// A job's name, or the path of its file
    job: JobArg,
}

impl Cat {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let (_, tenant) = common.load()?;
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
