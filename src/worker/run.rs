//! One run of a job: claimed, worked on, and handed over to be settled; and runs that outlived the
//! service which began them.

use super::{
    Core,
    runs::{Registered, Run as Underway},
    settle::AGAIN_EVERY,
};
use crate::{
    domain::{InterfaceName, JobName},
    processor::{Ended, Ending, Kept, Outcome, Processor, Run},
    scheduler::{End, Event},
    store::fs::{Adopted, Claim, Fs, Interrupted, Moved, Settlement, SpoolError},
};
use std::{fs::File, path::Path, sync::Arc, time::Duration};

/// How often an adopted command's lock is looked at.
const ADOPTED_EVERY: Duration = Duration::from_millis(200);

/// What came of the beginning of a run.
enum Begun {
    Claimed(Box<(Claim, Run)>),
    /// It is not for us any more, or its interface is held.
    Gone,
    /// It waits, and somebody else has its lock.
    Locked,
}

impl Core {
    /// Claims, runs and settles one job, and tells how it ended whatever happens.
    pub(super) async fn start(self: Arc<Self>, interface: InterfaceName, job: JobName) {
        let entry = self.runs.register(&interface, &job, &self.kill);
        let (this, underway) = (self.clone(), entry.run.clone());
        let (i, j) = (interface.clone(), job.clone());
        // On a task of its own: a panic costs this job an attempt, not the service.
        let run = tokio::spawn(async move { this.work(&i, &j, &underway).await });
        let end = match run.await {
            Ok(end) => end,
            Err(error) => {
                tracing::error!(%job, %error, "the run of a job broke down");
                let this = self.clone();
                let (i, j) = (interface.clone(), job.clone());
                let left = tokio::task::spawn_blocking(move || this.left_in_work(i, &j)).await;
                if let Ok(Some(left)) = left {
                    return self.follow(left, entry).await;
                }
                End::Unknown
            }
        };
        drop(entry);
        let ended = Event::Ended(interface.clone(), job, end);
        self.hints.notify_surely(ended).await;
        if matches!(end, End::Stuck | End::Unknown) {
            self.clone().reclaim(interface.clone()).await;
        }
        if end == End::Stuck {
            self.resume_later(interface).await;
        }
    }

    async fn work(
        self: Arc<Self>,
        interface: &InterfaceName,
        job: &JobName,
        underway: &Arc<Underway>,
    ) -> End {
        let processor = self
            .lanes
            .get(interface)
            .and_then(|lane| lane.processor.as_ref());
        let Some(processor) = processor else {
            return End::Unknown;
        };
        let this = self.clone();
        let (i, j) = (interface.clone(), job.clone());
        let works = processor.works();
        let begun = tokio::task::spawn_blocking(move || this.begin(&i, &j, works)).await;
        let (claim, run) = match begun {
            Ok(Ok(Begun::Claimed(begun))) => *begun,
            Ok(Ok(Begun::Gone)) => return End::Unknown,
            Ok(Ok(Begun::Locked)) => return End::Stuck,
            Ok(Err(error)) => {
                tracing::error!(%job, %interface, %error, "the job cannot be started; tried again");
                // If it could not be given back either, it is found in `work`.
                self.unstarted().insert(job.clone());
                return End::Stuck;
            }
            Err(_) => return End::Stuck,
        };
        self.unstarted().remove(job);
        let started_ms = self.spool.now_ms();
        underway.started(started_ms);
        tracing::info!(%job, %interface, attempt = claim.attempt(), "started");
        let ended = if underway.stop.is_cancelled() {
            // Before there was anything to end.
            let (outcome, messages) = (Outcome::Stopped, Vec::new());
            Ended { outcome, messages }
        } else {
            processor.run(run, &underway.stop).await
        };
        let (this, underway) = (self.clone(), underway.clone());
        let settled =
            tokio::task::spawn_blocking(move || this.settle(claim, ended, started_ms, &underway));
        settled.await.unwrap_or(End::Unknown)
    }

    /// Claims a job and lays out what its run needs.
    fn begin(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        works: bool,
    ) -> Result<Begun, SpoolError> {
        let Some(mut claim) = self.spool.claim(interface, job)? else {
            let waits = !self.runs.is_cancelling(job)
                && self.spool.is_ready(&interface.into(), job)
                && !self.spool.is_held(interface)?;
            return Ok(if waits { Begun::Locked } else { Begun::Gone });
        };
        match self.lay_out(&mut claim, works) {
            Ok(run) => {
                if works {
                    claim.begin();
                }
                Ok(Begun::Claimed(Box::new((claim, run))))
            }
            Err(error) => {
                // Not only tried, as when it is dropped.
                if let Err(error) = self.settle_at_last(&mut claim, Settlement::GivenBack, None) {
                    tracing::error!(%job, %error, "the job stays in work until restart");
                }
                Err(error)
            }
        }
    }

    /// Lays out what a run needs.
    fn lay_out(&self, claim: &mut Claim, works: bool) -> Result<Run, SpoolError> {
        let io = |op, path: &Path| {
            let path = path.to_owned();
            move |source| SpoolError::Io { op, path, source }
        };
        let path = claim.path();
        let fs = self.spool.fs();
        let dir = fs.absolute(claim.run_dir());
        let accepted = claim.accepted()?;
        if works {
            claim.prepare()?;
            let params = accepted
                .as_ref()
                .and_then(|accepted| accepted.params.as_deref());
            let params_path = dir.join("params.json");
            std::fs::write(&params_path, params.unwrap_or("{}"))
                .map_err(io("write", &params_path))?;
        }
        let errors = if works {
            let errors = fs.absolute(&claim.errors_path());
            let mut new = File::options();
            let opened = new.read(true).append(true).create_new(true).open(&errors);
            opened.map_err(io("create", &errors))?
        } else {
            claim.lock().try_clone().map_err(io("open", &path))?
        };
        let document = claim.document_path();
        Ok(Run {
            job: claim.job().clone(),
            interface: claim.interface().clone(),
            attempt: claim.attempt(),
            submitter: self.spool.submitter_of(claim.place()).unwrap_or_default(),
            reference_as_sent: accepted.and_then(|accepted| accepted.reference_as_sent.clone()),
            body: fs.update(&document).map_err(io("open", &document))?,
            lock: claim.lock().try_clone().map_err(io("open", &path))?,
            errors,
            file: fs.absolute(&document),
            dir,
            kept: fs.absolute(&claim.kept_path()),
            starter: self.starter.clone(),
        })
    }

    /// Waits for the end of a command that outlived the service which started it.
    pub(super) async fn follow(self: Arc<Self>, adopted: Adopted, entry: Registered) {
        let Adopted {
            interface,
            name,
            attempt,
            cut,
        } = adopted.clone();
        match cut {
            Interrupted::Crash => {
                tracing::info!(job = %name, %interface, attempt, "adopted: its command still runs");
            }
            Interrupted::NotStarted | Interrupted::Stranded => {
                tracing::warn!(job = %name, %interface, attempt, "nobody works on it: taken up");
            }
        }
        let mut ending = self.ending(&adopted, &entry.run);
        let end = loop {
            tokio::time::sleep(ADOPTED_EVERY).await;
            let (this, job, run) = (self.clone(), adopted.clone(), entry.run.clone());
            let looked = tokio::task::spawn_blocking(move || {
                ending.look(this.spool.now_ms(), run.stop.is_cancelled());
                (ending, this.end_adopted(&job, &run))
            });
            match looked.await {
                Ok((again, Ok(None))) => ending = again,
                Ok((_, Ok(Some(end)))) => break end,
                Ok((again, Err(error))) if self.can_settle() => {
                    // Nobody else would take the job out of `work`.
                    tracing::error!(job = %name, %error, "not settled yet; tried again");
                    ending = again;
                    tokio::time::sleep(AGAIN_EVERY).await;
                }
                Ok((_, Err(error))) => {
                    tracing::error!(job = %name, %error, "the adopted job stays in work");
                    break End::Unknown;
                }
                Err(_) => break End::Unknown,
            }
        };
        drop(entry);
        let ended = Event::Ended(interface.clone(), name, end);
        self.hints.notify_surely(ended).await;
        self.hints.notify(Event::Hint(interface));
    }

    /// Settles the job of an adopted command that has ended. `None` while it lives.
    fn end_adopted(&self, adopted: &Adopted, run: &Underway) -> Result<Option<End>, SpoolError> {
        if let Some(user) = run.cancelled_by() {
            let job = adopted.job();
            match self.spool.cancel(&job, &user)? {
                Moved::Done(job) => {
                    tracing::info!(job = %job.name, %user, "cancelled");
                    return Ok(Some(End::Unknown));
                }
                // It lives. Should it end just now, it would be taken for cut off, and run again.
                Moved::Gone if self.spool.bytes_of(&job)?.is_some() => return Ok(None),
                // Somebody has moved it.
                Moved::Gone => {}
            }
        }
        if let Some(ended) = self.recovered(adopted)?
            && let Some(claim) = self.spool.resume(adopted)?
        {
            let job = &adopted.name;
            tracing::info!(%job, "its command ended while no service was there");
            let started_ms = run.started_ms().unwrap_or_else(|| self.spool.now_ms());
            return Ok(Some(self.settle(claim, ended, started_ms, run)));
        }
        Ok(self.spool.end_of(adopted)?.map(|_| End::Unknown))
    }

    /// How an adopted command ended, if that was kept.
    fn recovered(&self, adopted: &Adopted) -> Result<Option<Ended>, SpoolError> {
        let lane = self.lanes.get(&adopted.interface);
        let Some(processor) = lane.and_then(|lane| lane.processor.as_ref()) else {
            return Ok(None);
        };
        let kept = self.spool.kept_of(adopted)?.map(|files| Kept {
            job: adopted.name.clone(),
            attempt: adopted.attempt,
            end: files.end,
            output: files.output,
            errors: files.errors,
        });
        Ok(kept.and_then(|kept| processor.recovered(&kept)))
    }

    fn ending(&self, adopted: &Adopted, run: &Underway) -> Ending {
        let (output, started_ms) = self.spool.run_of(adopted);
        let processor = self.lanes.get(&adopted.interface);
        let processor = processor.and_then(|lane| lane.processor.as_ref());
        let limit = processor.and_then(Processor::timeout);
        let started_ms = started_ms.unwrap_or_else(|| self.spool.now_ms());
        run.started(started_ms);
        Ending::new(self.spool.fs().absolute(&output), started_ms, limit)
    }

    /// A job whose run broke down after its command was started: as after a crash of ours.
    fn left_in_work(&self, interface: InterfaceName, job: &JobName) -> Option<Adopted> {
        let working = self.spool.working(&interface).unwrap_or_default();
        let (name, attempt) = working.into_iter().find(|(name, _)| name == job)?;
        Some(Adopted {
            interface,
            name,
            attempt,
            cut: Interrupted::Stranded,
        })
    }
}
