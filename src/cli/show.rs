//! `spoolgate log` and `cat`: what happened to a job, and its document.

use super::{
    At, Common, attempts, follow,
    job_arg::{JobArg, Lookup},
    look,
    output::{line, print_line},
};
use crate::{
    domain::joblog::{JobLog, Level, Message, Status, rfc3339},
    domain::{JobName, Place, escaped},
    store::{Attempt, JobDetail, Store, Want},
};
use anyhow::{Context, bail};
use clap::Args;
use std::{io, process::ExitCode};

/// Shows what happened to a job, and how each attempt at it has ended: also of one that waits for its next attempt, and of one that
/// was removed.
#[derive(Debug, Args)]
#[command(after_long_help = LOG_EXAMPLES)]
pub(super) struct Log {
    /// A job's name, a unique beginning of it, the path of its file, or an id that a partner has of it
    job: JobArg,
    /// Print the joblog as partners get it
    #[arg(long)]
    xml: bool,
    /// Go on until the job has ended, printing what its command says as it comes; exit code 1 unless it is done
    #[arg(long, short, conflicts_with = "xml")]
    follow: bool,
    #[command(flatten)]
    common: Common,
}

const LOG_EXAMPLES: &str = "\
Until now:         spoolgate log 20261122T085826.976Z-00000.xml
While it runs:     spoolgate log -f 20261122T085826.976Z-00000.xml";

impl Log {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (config, tenant) = self.common.at.load()?;
        if self.follow {
            let name = look(&tenant, async |store| {
                let lookup = Lookup {
                    config: &config,
                    tenant: &tenant,
                    store,
                };
                lookup.name(&self.job).await
            })?;
            return follow::follow(&tenant, &name, self.common.format.json);
        }
        look(&tenant, async |store| {
            let lookup = Lookup {
                config: &config,
                tenant: &tenant,
                store,
            };
            let name = lookup.name(&self.job).await?;
            self.show(store, &name).await
        })
    }

    async fn show(&self, store: &dyn Store, name: &JobName) -> anyhow::Result<ExitCode> {
        let found = detail(store, name).await?;
        let remains = store.remains(name).await?;
        let place = found.as_ref().map(|found| &found.summary.job.place);
        let log = match (remains.log, &found) {
            (log, Some(found)) if !self.xml => so_far(store, found, log).await?,
            (log, _) => log,
        };
        let Some(log) = log else {
            match place {
                None => bail!("no job {name} in this spool, and no log of one"),
                Some(place) => bail!("{name} is in {place} and has no log yet"),
            }
        };
        let known = match &found {
            Some(found) => found.summary.record.clone(),
            // Of one that is not there any more.
            None => remains.record,
        };
        let around = Around {
            submitter: known.and_then(|known| known.submitter),
            stage: stage(place),
            attempts: store.attempts(name).await?,
        };
        if self.xml {
            line(log.to_xml().trim_end())?;
        } else if self.common.format.json {
            print_line!("{}", json(&log, &around))?;
        } else {
            text(&log, &around)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A job as far as its log is to say it.
async fn detail(store: &dyn Store, name: &JobName) -> anyhow::Result<Option<JobDetail>> {
    let Some(found) = store.find_anywhere(name).await? else {
        return Ok(None);
    };
    let want = Want {
        now: true,
        ..Want::RECORD
    };
    let details = store.details(vec![found.job], want).await?;
    Ok(details.into_iter().next())
}

/// The log of a job; of one that is running: of earlier attempts, and what its command has said so far.
async fn so_far(
    store: &dyn Store,
    found: &JobDetail,
    log: Option<JobLog>,
) -> anyhow::Result<Option<JobLog>> {
    let job = &found.summary.job;
    let Place::Work { attempt, .. } = job.place else {
        return Ok(log);
    };
    let now_ms = store.now_ms();
    let (record, now) = (&found.summary.record, &found.now);
    let mut log = log.unwrap_or_else(|| JobLog {
        job: job.name.clone(),
        interface: job.place.interface().cloned(),
        status: Status::Ok,
        received_ms: record.as_ref().map_or(now_ms, |known| known.received_ms),
        started_ms: None,
        finished_ms: now_ms,
        attempts: attempt,
        bytes: now.as_ref().map_or(0, |now| now.bytes),
        sha256: now.as_ref().and_then(|now| now.sha256.clone()),
        messages: Vec::new(),
    });
    (log.attempts, log.finished_ms) = (attempt, now_ms);
    log.messages.extend(store.said_so_far(job).await?);
    let text = format!("attempt {attempt} is running");
    log.messages.push(Message::new(now_ms, Level::Info, text));
    Ok(Some(log))
}

/// What a place says that a log does not.
fn stage(place: Option<&Place>) -> Option<&'static str> {
    match place {
        Some(Place::Refused) => Some("refused"),
        Some(Place::Work { .. }) => Some("running"),
        Some(Place::Bak(_) | Place::Deferred { .. } | Place::JobErrors | Place::Queue(_))
        | None => None,
    }
}

/// What is known of a job beside its log.
struct Around {
    /// Also of one that is not there any more.
    submitter: Option<String>,
    /// What its place says that the log does not.
    stage: Option<&'static str>,
    /// Those that have ended.
    attempts: Vec<Attempt>,
}

impl Around {
    /// How the job ended, or that it runs.
    fn status(&self, log: &JobLog) -> &'static str {
        self.stage.unwrap_or(log.status.as_str())
    }
}

fn json(log: &JobLog, around: &Around) -> serde_json::Value {
    let messages: Vec<_> = log.messages.iter().map(message_json).collect();
    serde_json::json!({
        "job": log.job.to_string(),
        "interface": log.interface.as_ref().map(|i| i.as_str()),
        "status": around.status(log),
        "received": rfc3339(log.received_ms),
        "started": log.started_ms.map(rfc3339),
        "finished": rfc3339(log.finished_ms),
        "attempts": log.attempts,
        "past_attempts": attempts::as_json(&around.attempts),
        "bytes": log.bytes,
        "sha256": log.sha256,
        "submitter": around.submitter,
        "messages": messages,
    })
}

pub(super) fn message_json(message: &Message) -> serde_json::Value {
    serde_json::json!({
        "time": rfc3339(message.time_ms),
        "level": message.level.as_str(),
        "line": message.line,
        "tool": message.tool,
        "text": message.text,
    })
}

pub(super) fn message_text(message: &Message) -> String {
    let line = message
        .line
        .map_or(String::new(), |line| format!(" line {line}:"));
    format!(
        "{} {:<7}{line} {}",
        rfc3339(message.time_ms),
        message.level.as_str(),
        escaped(&message.text)
    )
}

fn text(log: &JobLog, around: &Around) -> anyhow::Result<()> {
    let interface = log.interface.as_ref().map_or("-", |i| i.as_str());
    print_line!("{} {interface} {}", log.job, around.status(log))?;
    print_line!(
        "received {} from {} finished {} attempts {} bytes {}",
        rfc3339(log.received_ms),
        escaped(around.submitter.as_deref().unwrap_or("-")),
        rfc3339(log.finished_ms),
        log.attempts,
        log.bytes
    )?;
    for attempt in &around.attempts {
        line(attempts::as_text(attempt))?;
    }
    for message in &log.messages {
        line(message_text(message))?;
    }
    Ok(())
}

const CAT_EXAMPLES: &str = "\
Example:   spoolgate cat 20261122T085826.976Z-00000.xml | xmllint --format -";

/// Prints a job's document, wherever it is.
#[derive(Debug, Args)]
#[command(after_long_help = CAT_EXAMPLES)]
pub(super) struct Cat {
    /// A job's name, a unique beginning of it, the path of its file, or an id that a partner has of it
    job: JobArg,
    #[command(flatten)]
    at: At,
}

impl Cat {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (config, tenant) = self.at.load()?;
        let document = look(&tenant, async |store| {
            let lookup = Lookup {
                config: &config,
                tenant: &tenant,
                store,
            };
            let job = lookup.job(&self.job).await?;
            let document = store.open(&job).await?;
            let gone = || format!("{} has moved, or is still written; try again", job.name);
            Ok(document.with_context(gone)?.reader()?)
        });
        match io::copy(&mut document?, &mut io::stdout().lock()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            Ok(_) | Err(_) => Ok(ExitCode::SUCCESS),
        }
    }
}
