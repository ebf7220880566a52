//! `spoolgate log -f`: what a job's command says while it runs, until the job has ended.
//!
//! The job is looked at again and again, as any reader of the spool may; nothing is asked of the service.

use super::{look, show};
use crate::{
    config::Tenant,
    domain::joblog::{JobLog, Level, Message, Status},
    domain::{JobName, Place},
    store::Store,
};
use anyhow::{Context, bail};
use std::{
    collections::HashMap,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A job as it is at one moment.
struct Seen {
    messages: Vec<Message>,
    /// How it ended; `None`: it waits or runs.
    ended: Option<Ended>,
}

struct Ended {
    word: &'static str,
    is_done: bool,
}

/// Prints what is said of a job as it comes; one line of text or one object each. Returns when the job has ended, or when
/// no one reads any more.
pub(super) fn follow(tenant: &Tenant, job: &JobName, as_json: bool) -> anyhow::Result<ExitCode> {
    let mut told = Told::default();
    loop {
        let seen = look(tenant, async |store| see(store, job).await)?;
        let mut lines: Vec<String> = told
            .new_of(seen.messages)
            .iter()
            .map(|message| match as_json {
                true => show::message_json(message).to_string(),
                false => show::message_text(message),
            })
            .collect();
        if let Some(ended) = &seen.ended {
            lines.push(match as_json {
                true => {
                    serde_json::json!({"job": job.to_string(), "status": ended.word}).to_string()
                }
                false => format!("{job} {}", ended.word),
            });
        }
        let someone_reads = print(&lines)?;
        match seen.ended {
            Some(ended) if ended.is_done => return Ok(ExitCode::SUCCESS),
            Some(_) => return Ok(ExitCode::FAILURE),
            None if !someone_reads => return Ok(ExitCode::SUCCESS),
            None => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// False: no one reads them.
fn print(lines: &[String]) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    let mut each = lines.iter();
    let written = each.try_for_each(|line| writeln!(out, "{line}"));
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("standard output"),
    }
}

async fn see(store: &dyn Store, name: &JobName) -> anyhow::Result<Seen> {
    let found = store.find_anywhere(name).await?.map(|found| found.job);
    let log = store.remains(name).await?.log;
    // After the log, which has it all once the run has ended: what it has is not to be told twice.
    let said = match &found {
        Some(job) if matches!(job.place, Place::Work { .. }) => store.said_so_far(job).await?,
        Some(_) | None => Vec::new(),
    };
    let place = found.map(|job| job.place);
    if place.is_none() && log.is_none() {
        bail!("no job {name} in this spool, and no log of one");
    }
    let ended = match place {
        Some(Place::Deferred { .. } | Place::Queue(_) | Place::Work { .. }) => None,
        Some(Place::Bak(_)) => Some(end("done", true)),
        Some(Place::Refused) => Some(end("refused", false)),
        Some(Place::JobErrors) => Some(match log.as_ref().is_some_and(JobLog::is_cancelled) {
            true => end("cancelled", false),
            false => end("failed", false),
        }),
        None => {
            let is_done = log.as_ref().is_some_and(|log| log.status == Status::Ok);
            Some(end("gone", is_done))
        }
    };
    let mut messages = log.map_or(Vec::new(), |log| log.messages);
    messages.extend(said);
    Ok(Seen { messages, ended })
}

fn end(word: &'static str, is_done: bool) -> Ended {
    Ended { word, is_done }
}

/// Which messages have been printed: a log puts others before those that were heard while the job ran, and gives them
/// other moments.
#[derive(Default)]
struct Told(HashMap<(Level, String), usize>);

impl Told {
    /// Those that have not been printed yet, which are from now on.
    fn new_of(&mut self, messages: Vec<Message>) -> Vec<Message> {
        let mut seen: HashMap<(Level, String), usize> = HashMap::new();
        let mut new = messages;
        new.retain(|message| {
            let what = (message.level, message.text.clone());
            let n = seen.entry(what.clone()).or_default();
            *n += 1;
            let told = self.0.entry(what).or_default();
            let is_new = *n > *told;
            *told = (*told).max(*n);
            is_new
        });
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_told_once_however_the_log_grows() {
        let mut told = Told::default();
        let mut new_of = |texts: &[&str]| -> Vec<String> {
            let messages = texts.iter().zip(0..);
            let messages = messages.map(|(text, ms)| Message::new(ms, Level::Info, *text));
            let new = told.new_of(messages.collect());
            new.into_iter().map(|message| message.text).collect()
        };
        assert_eq!(new_of(&["row 1"]), ["row 1"]);
        assert_eq!(new_of(&["row 1", "row 1", "row 2"]), ["row 1", "row 2"]);
        // The log says what came before, and how it ended.
        let all = ["RefName as sent: ä", "row 1", "row 1", "row 2", "processed"];
        assert_eq!(new_of(&all), ["RefName as sent: ä", "processed"]);
        assert!(new_of(&all).is_empty());
    }
}
