//! One round of polling: finish what was begun, ask what is new, fetch it, run the command.
//!
//! It knows neither HTTP nor processes: jobs come from a [`Source`], commands are a [`Hook`], and
//! all file operations are the [`Inbox`]'s. A job that fails is reported and left for the next
//! round, and the others go on; only a server that cannot be reached ends the round.
//!
//! Jobs are fetched in batches, those of one at the same time. What came of them is told in their order, and
//! commands run one after the other.

use super::files::Files;
use super::inbox::Inbox;
use crate::domain::JobName;
use futures_util::future::join_all;
use std::collections::{BTreeSet, HashSet};
use std::fmt::Display;
use std::io;
use std::num::NonZeroUsize;
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
    async fn list(&self, each: &mut (dyn FnMut(&str) + Send)) -> Result<(), SourceError>;

    /// Calls `piece` with the job's bytes. `Ok`: they were all there and right. Several may be fetched at the same time.
    async fn fetch(
        &self,
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
    /// So many jobs are fetched at the same time.
    pub(super) parallel: NonZeroUsize,
    pub(super) report: &'a mut R,
    pub(super) source: &'a S,
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
        let complete: Vec<JobName> = self.inbox.complete()?.into_iter().collect();
        let complete = complete.into_iter().map(|job| (job, None));
        self.hand_over(complete.collect());
        self.run_commands().await?;
        let intended: Vec<JobName> = self.inbox.intended()?.into_iter().collect();
        self.deliver_all(&intended).await?;
        if (self.stop)() {
            return Ok(());
        }
        let (new, again) = self.ask().await?;
        self.deliver_all(&new).await?;
        for batch in again.chunks(self.parallel.get()) {
            if (self.stop)() {
                return Ok(());
            }
            self.let_them_be_filed(batch).await?;
        }
        Ok(())
    }

    async fn deliver_all(&mut self, jobs: &[JobName]) -> Result<(), CutShort> {
        for batch in jobs.chunks(self.parallel.get()) {
            if (self.stop)() {
                break;
            }
            self.deliver(batch).await?;
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

    /// Fetches jobs, gives them their names and runs their commands. A stop comes between two of those.
    async fn deliver(&mut self, batch: &[JobName]) -> Result<(), CutShort> {
        let (whole, cut) = self.fetch(batch).await?;
        let delivered = self.hand_over(whole);
        if self.hook.is_some() {
            for (n, job) in delivered.iter().enumerate() {
                if n > 0 && (self.stop)() {
                    break;
                }
                self.command(job).await;
            }
        }
        cut
    }

    /// Those of a batch that are complete then, and whether the round is to end after them.
    async fn fetch(
        &mut self,
        batch: &[JobName],
    ) -> Result<(Vec<(JobName, Option<Fetched>)>, Result<(), CutShort>), CutShort> {
        let (inbox, source) = (self.inbox, self.source);
        inbox.intend(batch)?;
        let fetches = batch.iter().map(|job| async move {
            let mut part = inbox.begin(job)?;
            let mut piece = |bytes: &[u8]| inbox.append(&mut part, bytes);
            let fetched = source.fetch(job, &mut piece).await?;
            Ok((part, fetched))
        });
        let fetched = join_all(fetches).await;
        let (mut whole, mut cut) = (Vec::new(), Ok(()));
        for (job, kept) in batch.iter().zip(kept(inbox, batch, fetched)) {
            match kept {
                Ok(fetched) => whole.push((job.clone(), Some(fetched))),
                Err(SourceError::Unreachable(why)) => cut = cut.and(Err(CutShort(why))),
                Err(error) => self.failed(job, &error),
            }
        }
        if !whole.is_empty() {
            inbox.completed(&names_of(&whole))?;
        }
        Ok((whole, cut))
    }

    /// Gives complete jobs their names; those that have them then, durably.
    fn hand_over(&mut self, whole: Vec<(JobName, Option<Fetched>)>) -> Vec<JobName> {
        if whole.is_empty() {
            return Vec::new();
        }
        let inbox = self.inbox;
        let marked = match self.hook.is_some() {
            true => inbox.command(&names_of(&whole)),
            false => Ok(()),
        };
        if let Err(error) = marked {
            whole.iter().for_each(|(job, _)| self.failed(job, &error));
            return Vec::new();
        }
        let (mut files, mut jobs) = (Vec::new(), Vec::new());
        for (job, fetched) in whole {
            match inbox.hand_over(&job) {
                Err(error) => self.failed(&job, &error),
                Ok(file) => {
                    files.push((file, fetched));
                    jobs.push(job);
                }
            }
        }
        if let Err(error) = inbox.handed_over(&jobs) {
            jobs.iter().for_each(|job| self.failed(job, &error));
            return Vec::new();
        }
        for (job, (file, fetched)) in jobs.iter().zip(files) {
            self.tally.delivered += 1;
            self.report.delivered(job, &file, fetched);
        }
        jobs
    }

    /// A server that was killed after the last byte still has a job in its queue that is here.
    /// Fetching it once more, into nothing, lets it be filed away. Once per process only: from
    /// some interfaces a job never moves.
    async fn let_them_be_filed(&mut self, batch: &[JobName]) -> Result<(), CutShort> {
        let mut batch = batch.to_vec();
        batch.retain(|job| self.filed.insert(job.clone()));
        let source = self.source;
        let fetches = batch
            .iter()
            .map(|job| async move { source.fetch(job, &mut |_| Ok(())).await });
        let mut cut = Ok(());
        for (job, fetched) in batch.iter().zip(join_all(fetches).await) {
            match fetched {
                Ok(_) => {
                    let text = format!(
                        "{job}: delivered before and still listed; \
                         fetched once more so that the server can file it away"
                    );
                    self.report.note(&text);
                }
                Err(SourceError::Unreachable(why)) => cut = cut.and(Err(CutShort(why))),
                Err(error) => {
                    self.filed.remove(job);
                    self.failed(job, &error);
                }
            }
        }
        cut
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

/// Makes what was fetched of a batch durable. At the same time: the disk flushes once for all of it.
fn kept<F: Files<Part: Send> + Sync>(
    inbox: &Inbox<F>,
    batch: &[JobName],
    fetched: Vec<Result<(F::Part, Fetched), SourceError>>,
) -> Vec<Result<Fetched, SourceError>> {
    let keep = |job: &JobName, fetched: Result<(F::Part, Fetched), SourceError>| {
        let (part, fetched) = fetched?;
        inbox.keep(job, part, fetched.extension)?;
        Ok(fetched)
    };
    let keep = &keep;
    std::thread::scope(|scope| {
        let begin = |(job, fetched)| {
            let thread = std::thread::Builder::new();
            thread.spawn_scoped(scope, move || keep(job, fetched))
        };
        let threads: Vec<_> = batch.iter().zip(fetched).map(begin).collect();
        let ended = threads.into_iter().map(|thread| {
            let panicked = |_| Err(io::Error::other("a thread panicked").into());
            thread?.join().unwrap_or_else(panicked)
        });
        ended.collect()
    })
}

fn names_of(whole: &[(JobName, Option<Fetched>)]) -> Vec<JobName> {
    whole.iter().map(|(job, _)| job.clone()).collect()
}

#[cfg(test)]
mod tests;
