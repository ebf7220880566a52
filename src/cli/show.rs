//! `spoolgate log` and `cat`: what happened to a job, and its document.

use super::{
    At, Common,
    jobs::JobArg,
    open_spool,
    output::{line, print_line},
};
use crate::{
    domain::joblog::{JobLog, Level, Message, Status},
    domain::{Job, JobName, Place, escaped, stamp},
    store::fs::Spool,
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
        let place = spool.find(name)?;
        let log = match (spool.read_log(name), &place) {
            (log, Some(place @ Place::Work { attempt, .. })) if !self.xml => {
                let job = Job {
                    place: place.clone(),
                    name: name.clone(),
                };
                Some(so_far(&spool, &job, *attempt, log))
            }
            (log, _) => log,
        };
        let Some(log) = log else {
            match place {
                None => bail!("no job {name} in this spool, and no log of one"),
                Some(place) => bail!("{name} is in {place} and has no log yet"),
            }
        };
        if self.xml {
            line(log.to_xml().trim_end())?;
        } else if self.common.format.json {
            print_line!("{}", json(&log, &Around::of(&spool, name)))?;
        } else {
            text(&log, &Around::of(&spool, name))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The log of a job that is running: of earlier attempts, and what its command has said so far.
fn so_far(spool: &Spool, job: &Job, attempt: u32, log: Option<JobLog>) -> JobLog {
    let now_ms = spool.now_ms();
    let mut log = log.unwrap_or_else(|| JobLog {
        job: job.name.clone(),
        interface: job.place.interface().cloned(),
        status: Status::Ok,
        received_ms: spool.received_ms(job),
        started_ms: None,
        finished_ms: now_ms,
        attempts: attempt,
        bytes: spool.bytes_of(job).ok().flatten().unwrap_or(0),
        sha256: spool.checksum_of(job),
        messages: Vec::new(),
    });
    (log.attempts, log.finished_ms) = (attempt, now_ms);
    log.messages.extend(spool.output_so_far(job, now_ms));
    let text = format!("attempt {attempt} is running");
    log.messages.push(Message::new(now_ms, Level::Info, text));
    log
}

/// What is known of a job beside its log.
struct Around {
    /// Also of one that is not there any more.
    submitter: Option<String>,
    /// What its place says that the log does not.
    stage: Option<&'static str>,
}

impl Around {
    fn of(spool: &Spool, name: &JobName) -> Self {
        let place = spool.find(name).ok().flatten();
        let stage = match &place {
            Some(Place::Refused) => Some("refused"),
            Some(Place::Work { .. }) => Some("running"),
            Some(Place::Bak(_) | Place::Deferred { .. } | Place::JobErrors | Place::Queue(_))
            | None => None,
        };
        let recorded = || Some(spool.accepted(name).ok().flatten()?.submitter.clone());
        let name = name.clone();
        let submitter = match place {
            Some(place) => spool.submitter_of(&Job { place, name }),
            None => recorded(),
        };
        Self { submitter, stage }
    }

    /// How the job ended, or that it runs.
    fn status(&self, log: &JobLog) -> &'static str {
        self.stage.unwrap_or(log.status.as_str())
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
    print_line!("{} {interface} {}", log.job, around.status(log))?;
    print_line!(
        "received {} from {} finished {} attempts {} bytes {}",
        stamp(log.received_ms),
        escaped(around.submitter.as_deref().unwrap_or("-")),
        stamp(log.finished_ms),
        log.attempts,
        log.bytes
    )?;
    for message in &log.messages {
        let line = message
            .line
            .map_or(String::new(), |line| format!(" line {line}:"));
        print_line!(
            "{} {:<7}{line} {}",
            stamp(message.time_ms),
            message.level.as_str(),
            escaped(&message.text)
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
