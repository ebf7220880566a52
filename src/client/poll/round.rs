//! One round of polling: finish what was begun, ask what is new, fetch it, run the command.
//!
//! It knows neither HTTP nor processes: jobs come from a [`Source`], commands are a [`Hook`], and
//! all file operations are the [`Inbox`]'s. A job that fails is reported and left for the next
//! round, and the others go on; only a server that cannot be reached ends the round.

use super::files::Files;
use super::inbox::Inbox;
use crate::domain::JobName;
use std::collections::{BTreeSet, HashSet};
use std::fmt::Display;
use std::io;
use std::path::Path;

/// How many new jobs are taken from one listing at most; the next round finds the rest.
const NEW_MAX: usize = 100_000;

/// What a fetched job amounted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) bytes: u64,
    /// How the file is to be called, if not as its job.
    pub(super) extension: Option<&'static str>,
    pub(super) sha256: [u8; 32],
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// This request failed; another may succeed.
    #[error("{0}")]
    Failed(String),
    #[error("cannot write: {0}")]
    Local(#[from] io::Error),
    /// As it is asked, it will always fail.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Unreachable(String),
}

/// The server, as far as polling is concerned.
pub(super) trait Source {
    /// Calls `each` with every line of the queue's listing, oldest first. `Ok`: it was complete.
    async fn list(&mut self, each: &mut (dyn FnMut(&str) + Send)) -> Result<(), SourceError>;

    /// Calls `piece` with the job's bytes. `Ok`: they were all there and right.
    async fn fetch(
        &mut self,
        job: &JobName,
        piece: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<Fetched, SourceError>;
}

/// What runs for each delivered file, until it succeeds.
pub(super) trait Hook {
    async fn run(&mut self, job: &JobName, file: &Path) -> Result<(), String>;
}

/// What is reported to the user.
pub(super) trait Report {
    fn delivered(&mut self, job: &JobName, file: &Path, fetched: Option<Fetched>);
    fn note(&mut self, text: &str);
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) delivered: usize,
    pub(super) failed: usize,
}

/// The server cannot be reached, or the inbox cannot be read: no use going on for now.
#[derive(Debug)]
pub(super) struct CutShort(pub(super) String);

impl From<io::Error> for CutShort {
    /// Those of the inbox name the path.
    fn from(error: io::Error) -> Self {
        CutShort(format!("the state directory: {error}"))
    }
}

pub(super) struct Round<'a, F, S, H, R> {
    /// Jobs that were fetched once more only so that the server files them away.
    pub(super) filed: &'a mut HashSet<JobName>,
    pub(super) hook: Option<&'a mut H>,
    pub(super) inbox: &'a Inbox<F>,
    pub(super) report: &'a mut R,
    pub(super) source: &'a mut S,
    pub(super) stop: &'a (dyn Fn() -> bool + Sync),
    pub(super) tally: Tally,
}

impl<F, S, H, R> Round<'_, F, S, H, R>
where
    F: Files<Part: Send> + Sync,
    S: Source,
    H: Hook,
    R: Report,
{
    pub(super) async fn run(&mut self) -> Result<(), CutShort> {
        for job in self.inbox.complete()? {
            self.hand_over(&job, None);
        }
        self.run_commands().await?;
        for job in self.inbox.intended()? {
            if (self.stop)() {
                return Ok(());
            }
            self.deliver(&job).await?;
        }
        let (new, again) = self.ask().await?;
        for job in new {
            if (self.stop)() {
                return Ok(());
            }
            self.deliver(&job).await?;
        }
        for job in again {
            if (self.stop)() {
                return Ok(());
            }
            self.let_it_be_filed(&job).await?;
        }
        Ok(())
    }

    /// Leftovers of earlier rounds, and of earlier processes.
    async fn run_commands(&mut self) -> Result<(), CutShort> {
        if self.hook.is_none() {
            return Ok(());
        }
        for job in self.inbox.to_do()? {
            if (self.stop)() {
                break;
            }
            self.command(&job).await;
        }
        Ok(())
    }

    /// What is new, and what is listed although it was delivered. Forgets what is not listed.
    async fn ask(&mut self) -> Result<(Vec<JobName>, Vec<JobName>), CutShort> {
        let delivered = self.inbox.delivered()?;
        let begun: BTreeSet<JobName> = self.inbox.intended()?;
        let complete: BTreeSet<JobName> = self.inbox.complete()?;
        let mut unlisted = delivered.clone();
        let (mut new, mut again, mut odd) = (Vec::new(), Vec::new(), 0_usize);
        let mut sort = |line: &str| match line.parse::<JobName>() {
            Err(_) => odd += 1,
            Ok(job) if delivered.contains(&job) => {
                if unlisted.remove(&job) {
                    again.push(job);
                }
            }
            Ok(job) if begun.contains(&job) || complete.contains(&job) => {}
            Ok(job) if new.len() < NEW_MAX => new.push(job),
            Ok(_) => {}
        };
        match self.source.list(&mut sort).await {
            Ok(()) => {}
            Err(SourceError::Unreachable(why)) => return Err(CutShort(why)),
            Err(error) => {
                self.failed("the listing", &error);
                return Ok((Vec::new(), Vec::new()));
            }
        }
        if odd > 0 {
            self.failed("the listing", &format!("{odd} lines are not job names"));
        }
        let to_do = self.inbox.to_do()?;
        for job in unlisted.difference(&to_do) {
            self.inbox.forget(job)?;
        }
        Ok((new, again))
    }

    async fn deliver(&mut self, job: &JobName) -> Result<(), CutShort> {
        match self.fetch(job).await {
            Ok(fetched) => {
                if self.hand_over(job, Some(fetched)) && self.hook.is_some() {
                    self.command(job).await;
                }
                Ok(())
            }
            Err(SourceError::Unreachable(why)) => Err(CutShort(why)),
            Err(error) => {
                self.failed(job, &error);
                Ok(())
            }
        }
    }

    async fn fetch(&mut self, job: &JobName) -> Result<Fetched, SourceError> {
        let inbox = self.inbox;
        inbox.intend(job)?;
        let mut part = inbox.begin(job)?;
        let mut piece = |bytes: &[u8]| inbox.append(&mut part, bytes);
        let fetched = self.source.fetch(job, &mut piece).await?;
        inbox.completed(job, part, fetched.extension)?;
        Ok(fetched)
    }

    fn hand_over(&mut self, job: &JobName, fetched: Option<Fetched>) -> bool {
        match self.inbox.hand_over(job, self.hook.is_some()) {
            Err(error) => {
                self.failed(job, &error);
                false
            }
            Ok(file) => {
                self.tally.delivered += 1;
                self.report.delivered(job, &file, fetched);
                true
            }
        }
    }

    /// A server that was killed after the last byte still has a job in its queue that is here.
    /// Fetching it once more, into nothing, lets it be filed away. Once per process only: from
    /// some interfaces a job never moves.
    async fn let_it_be_filed(&mut self, job: &JobName) -> Result<(), CutShort> {
        if !self.filed.insert(job.clone()) {
            return Ok(());
        }
        match self.source.fetch(job, &mut |_| Ok(())).await {
            Ok(_) => {
                let text = format!(
                    "{job}: delivered before and still listed; \
                     fetched once more so that the server can file it away"
                );
                self.report.note(&text);
                Ok(())
            }
            Err(SourceError::Unreachable(why)) => Err(CutShort(why)),
            Err(error) => {
                self.filed.remove(job);
                self.failed(job, &error);
                Ok(())
            }
        }
    }

    async fn command(&mut self, job: &JobName) {
        let Some(hook) = self.hook.as_deref_mut() else {
            return;
        };
        let outcome = match self.inbox.file(job) {
            Err(error) => Err(error.to_string()),
            // Perhaps the command itself, before it could be noted that it succeeded. No one knows.
            Ok(None) => {
                let text = format!(
                    "{job}: the file was taken away before its command had succeeded; \
                     the command does not run for it any more"
                );
                self.report.note(&text);
                Ok(())
            }
            Ok(Some(file)) => hook.run(job, &file).await,
        };
        let noted = outcome.and_then(|()| self.inbox.done(job).map_err(|e| e.to_string()));
        if let Err(error) = noted {
            self.failed(job, &error);
        }
    }

    fn failed(&mut self, what: impl Display, error: &impl Display) {
        self.tally.failed += 1;
        self.report.note(&format!("{what}: {error}"));
    }
}

#[cfg(test)]
mod tests;
