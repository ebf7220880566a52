//! `spoolgate poll`: fetches what is new in an interface's queue into a directory.
//!
//! Whole files only, none twice, none lost, also when this process or the server is killed at any
//! moment: how, stands at the head of `inbox.rs`. What a round does is in `round.rs`; this file
//! has the loop around it, the server as seen over HTTP, and the command.
//!
//! Two polls into one directory at the same time are refused. SIGINT and SIGTERM stop between two
//! batches of jobs; a second one stops immediately, which is safe as well.

mod files;
mod inbox;
mod remote;
mod round;

use super::connect::Endpoint;
use super::retry::Backoff;
use crate::domain::{InterfaceName, JobName, escaped};
use anyhow::Context as _;
use files::Disk;
use inbox::{Inbox, STATE_DIR};
use remote::Remote;
use round::{CutShort, Fetched, Hook, Report, Round, Source, SourceError, Tally};
use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A leading dot can never be an interface, so it is in no one's way.
const LOCK_FILE: &str = ".lock";
/// The exit status of a process that an interrupt ended, as shells have it.
const INTERRUPTED: i32 = 130;

pub struct PollOptions {
    /// Run by `sh -c` for each delivered file, with its path as `$1`; at least once each.
    pub exec: Option<String>,
    pub interface: InterfaceName,
    /// The time between two rounds.
    pub interval: Duration,
    /// One line of JSON per delivered file on standard output, instead of its path.
    pub json: bool,
    /// One round only; an error when anything failed.
    pub once: bool,
    /// So many jobs are fetched at the same time.
    pub parallel: NonZeroUsize,
    /// A second poll into the directory does nothing, and that is no error.
    pub skip_if_running: bool,
    /// Where the files go. The state lies in `.spoolgate-poll` there.
    pub to: PathBuf,
    /// The server's stylesheet to fetch the jobs through.
    pub xslt: Option<String>,
}

/// Fetches what is new until there is nothing more or a signal stops it; with an interval, again
/// and again.
///
/// # Errors
/// When the directory is in use by another poll or cannot be written, or a job could not be
/// fetched. What was delivered stays delivered, and the next poll goes on from there.
pub async fn poll(endpoint: &Endpoint, options: &PollOptions) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    poll_until(
        endpoint,
        options,
        stop,
        Box::new(io::stdout()),
        Box::new(io::stderr()),
    )
    .await
}

type Output = Box<dyn Write + Send>;

async fn poll_until(
    endpoint: &Endpoint,
    options: &PollOptions,
    mut stop: watch::Receiver<bool>,
    out: Output,
    log: Output,
) -> anyhow::Result<()> {
    let source = Remote::new(endpoint, &options.interface, options.xslt.as_deref());
    let Some(_lock) = begin(options, &source).await? else {
        return Ok(());
    };
    let inbox = Inbox::open(Disk, &options.to, &options.interface)
        .with_context(|| format!("the state in {}", options.to.join(STATE_DIR).display()))?;
    let mut hook = options.exec.as_ref().map(|command| Shell {
        command,
        interface: &options.interface,
        quiet_stdout: options.json,
    });
    let mut report = Lines {
        interface: &options.interface,
        json: options.json,
        lost: None,
        log,
        out,
    };
    let (mut filed, mut backoff) = (HashSet::new(), None);
    loop {
        let stopped = stop.clone();
        let mut round = Round {
            filed: &mut filed,
            hook: hook.as_mut(),
            inbox: &inbox,
            parallel: options.parallel,
            report: &mut report,
            source: &source,
            stop: &move || *stopped.borrow(),
            tally: Tally::default(),
        };
        let ended = round.run().await;
        let tally = round.tally;
        if let Some(error) = report.lost.take() {
            return Err(error).context("standard output");
        }
        if options.once {
            return verdict(ended, tally);
        }
        let pause = match ended {
            Ok(()) => {
                backoff = None;
                options.interval
            }
            Err(CutShort(why)) => {
                let delays = backoff.get_or_insert_with(|| Backoff::new(super::retry::FIRST_DELAY));
                let pause = delays.delay(None).max(options.interval);
                report.note(&format!(
                    "{why}; trying again in {:.1} s",
                    pause.as_secs_f32()
                ));
                pause
            }
        };
        // Stopping wins over the pause; the sender lives as long as the process.
        if tokio::time::timeout(pause, stop.wait_for(|stop| *stop))
            .await
            .is_ok()
        {
            return Ok(());
        }
    }
}

/// Takes the directory for this poll; `None`: another one has it, and that is no error.
async fn begin(options: &PollOptions, source: &Remote<'_>) -> anyhow::Result<Option<DirLock>> {
    if !is_known(options) {
        asked_once(source).await?;
    }
    let lock = lock(&options.to)?;
    if lock.is_none() && !options.skip_if_running {
        anyhow::bail!(
            "another poll is running into {}; stop it, choose another directory with --to, or say \
             --skip-if-running",
            options.to.display()
        );
    }
    Ok(lock)
}

/// Was that interface polled into the directory before?
fn is_known(options: &PollOptions) -> bool {
    let state = options.to.join(STATE_DIR);
    state.join(options.interface.as_str()).exists()
}

/// Makes sure that the server does not refuse it all, before anything is made for an interface that was mistyped.
async fn asked_once(source: &Remote<'_>) -> anyhow::Result<()> {
    match source.list(&mut |_| ()).await {
        Err(SourceError::Refused(why)) => anyhow::bail!("{why}"),
        // What is wrong now may pass.
        Ok(())
        | Err(SourceError::Failed(_) | SourceError::Local(_) | SourceError::Unreachable(_)) => {
            Ok(())
        }
    }
}

fn verdict(ended: Result<(), CutShort>, tally: Tally) -> anyhow::Result<()> {
    if let Err(CutShort(why)) = ended {
        anyhow::bail!("{why}");
    }
    if tally.failed > 0 {
        anyhow::bail!("{} delivered, {} failed", tally.delivered, tally.failed);
    }
    Ok(())
}

/// The kernel releases it however the process ends.
struct DirLock(File);

impl Drop for DirLock {
    /// Closing the file is not enough while a child that is just being started has it, too.
    fn drop(&mut self) {
        // What cannot be unlocked is when it is closed.
        let _ = self.0.unlock();
    }
}

/// `None`: another poll has it.
fn lock(to: &Path) -> anyhow::Result<Option<DirLock>> {
    let dir = to.join(STATE_DIR);
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join(LOCK_FILE);
    let mut options = File::options();
    let file = options
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(DirLock(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Turns true at the first SIGINT or SIGTERM; the second ends the process.
fn stop_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        for last in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if last {
                std::process::exit(INTERRUPTED);
            }
            stop.send_replace(true);
        }
    });
    Ok(stopped)
}

/// Paths or JSON on one side, remarks on the other.
struct Lines<'a> {
    interface: &'a InterfaceName,
    json: bool,
    /// Why standard output is gone. The files are safe nevertheless.
    lost: Option<io::Error>,
    log: Output,
    out: Output,
}

impl Report for Lines<'_> {
    fn delivered(&mut self, job: &JobName, file: &Path, fetched: Option<Fetched>) {
        let line = if self.json {
            serde_json::json!({
                "job": job.to_string(),
                "file": file.display().to_string(),
                "interface": self.interface.as_str(),
                "bytes": fetched.map(|f| f.bytes),
                "sha256": fetched.map(|f| hex::encode(f.sha256)),
            })
            .to_string()
        } else {
            file.display().to_string()
        };
        let written = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
        if let Err(error) = written {
            self.lost.get_or_insert(error);
        }
    }

    fn note(&mut self, text: &str) {
        // There is nowhere left to say that this could not be said.
        let _ = writeln!(self.log, "{}", escaped(text));
    }
}

/// `sh -c COMMAND` with the file's path as `$1`.
struct Shell<'a> {
    command: &'a str,
    interface: &'a InterfaceName,
    /// Standard output is ours alone; the command's goes to standard error.
    quiet_stdout: bool,
}

impl Hook for Shell<'_> {
    async fn run(&mut self, job: &JobName, file: &Path) -> Result<(), String> {
        let mut shell = tokio::process::Command::new("sh");
        shell
            .args(["-c", self.command, "sh"])
            .arg(file)
            .env("SPOOLGATE_JOB", job.to_string())
            .env("SPOOLGATE_FILE", file)
            .env("SPOOLGATE_INTERFACE", self.interface.as_str())
            .stdin(Stdio::null());
        if self.quiet_stdout {
            shell.stdout(io::stderr());
        }
        match shell.status().await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!(
                "the command failed ({status}); it runs again next round"
            )),
            Err(error) => Err(format!("the command did not start: {error}")),
        }
    }
}

#[cfg(test)]
mod tests;
