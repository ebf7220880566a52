//! One run of a job: claimed, worked on, and handed over to be settled; and runs that outlived the
//! service which began them.

use super::{
    Core, Lane,
    runs::{Registered, Run as Underway},
    settle::AGAIN_EVERY,
};
use crate::{
    domain::{InterfaceName, JobName},
    metrics::Attempt,
    processor::{Ending, Kept, Outcome, Processor, Run, RunEnd},
    scheduler::{End, Event},
    store::{Claimed, Interrupted, Lease, LeftBehind, Result, Workspace},
};
use std::{sync::Arc, time::Duration};

/// How often an adopted command's lock is looked at.
const ADOPTED_EVERY: Duration = Duration::from_millis(200);

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
                let left = self.store.left_behind(&interface).await;
                let mut left = left.unwrap_or_default().into_iter();
                // As after a crash of ours.
                if let Some(left) = left.find(|left| left.lease.job == job) {
                    return self.follow(left, entry).await;
                }
                End::Unknown
            }
        };
        drop(entry);
        let ended = Event::Ended(interface.clone(), job, end);
        self.hints.notify_surely(ended).await;
        if matches!(end, End::Stuck | End::Unknown) {
            self.clone().reclaim(&interface).await;
        }
        if end == End::Stuck {
            self.resume_later(interface).await;
        }
    }

    async fn work(&self, interface: &InterfaceName, job: &JobName, underway: &Underway) -> End {
        let Some(lane) = self.lane(interface) else {
            return End::Unknown;
        };
        let Some(processor) = &lane.processor else {
            return End::Unknown;
        };
        let claimed = self.store.claim(interface, job, processor.works()).await;
        let (lease, workspace) = match claimed {
            Ok(Claimed::Taken(lease, workspace)) => (lease, workspace),
            Ok(Claimed::Gone) => return End::Unknown,
            Ok(Claimed::Busy) => return End::Stuck,
            Err(error) => {
                tracing::error!(%job, %interface, %error, "the job cannot be started; tried again");
                return End::Stuck;
            }
        };
        let started_ms = self.store.now_ms();
        underway.started(started_ms);
        tracing::info!(%job, %interface, attempt = lease.attempt, "started");
        if lease.attempt == 1 {
            let waited_s = seconds(started_ms - job.id().unix_ms());
            self.metrics.waited(interface.as_str(), waited_s);
        }
        let ended = if underway.stop.is_cancelled() {
            // Before there was anything to end.
            let (outcome, messages) = (Outcome::Stopped, Vec::new());
            RunEnd { outcome, messages }
        } else {
            let run = self.run_of(&lease, *workspace);
            processor.run(run, &underway.stop).await
        };
        // What is recorded of it waits for the disk, and takes no place of one that can run.
        let settling = Event::Settling(interface.clone(), job.clone());
        self.hints.notify_surely(settling).await;
        self.settle((&lease, &lane), ended, started_ms, underway)
            .await
    }

    fn run_of(&self, lease: &Lease, workspace: Workspace) -> Run {
        Run {
            job: lease.job.clone(),
            interface: lease.interface.clone(),
            attempt: lease.attempt,
            submitter: lease.submitter.clone(),
            reference_as_sent: lease.reference_as_sent.clone(),
            body: workspace.document,
            lock: workspace.output,
            errors: workspace.errors,
            file: workspace.path,
            dir: workspace.dir,
            kept: workspace.kept,
            starter: self.starter.clone(),
        }
    }

    /// Waits for the end of a command that outlived the service which started it.
    pub(super) async fn follow(self: Arc<Self>, left: LeftBehind, entry: Registered) {
        let LeftBehind {
            lease,
            cut,
            precedence: _,
            started_ms,
            output,
        } = left;
        let (job, interface, attempt) = (&lease.job, &lease.interface, lease.attempt);
        match cut {
            Interrupted::Crash => {
                tracing::info!(%job, %interface, attempt, "adopted: its command still runs");
            }
            Interrupted::NotStarted | Interrupted::Stranded => {
                tracing::warn!(%job, %interface, attempt, "nobody works on it: taken up");
            }
        }
        let started_ms = started_ms.unwrap_or_else(|| self.store.now_ms());
        entry.run.started(started_ms);
        let lane = self.lane(interface);
        let processor = lane.as_ref().and_then(|lane| lane.processor.as_ref());
        let limit = processor.and_then(Processor::timeout);
        let mut ending = Ending::new(output, started_ms, limit);
        let end = loop {
            tokio::time::sleep(ADOPTED_EVERY).await;
            let (now_ms, stop) = (self.store.now_ms(), entry.run.stop.is_cancelled());
            let looked = tokio::task::spawn_blocking(move || {
                ending.look(now_ms, stop);
                ending
            });
            ending = match looked.await {
                Ok(ending) => ending,
                Err(_) => break End::Unknown,
            };
            match self
                .end_of(&lease, lane.as_deref(), started_ms, &entry.run)
                .await
            {
                Ok(None) => {}
                Ok(Some(end)) => break end,
                Err(error) if self.can_settle() => {
                    // Nobody else would take the job out of `work`.
                    tracing::error!(%job, %error, "not settled yet; tried again");
                    tokio::time::sleep(AGAIN_EVERY).await;
                }
                Err(error) => {
                    tracing::error!(%job, %error, "the adopted job stays in work");
                    break End::Unknown;
                }
            }
        };
        drop(entry);
        let ended = Event::Ended(interface.clone(), job.clone(), end);
        self.hints.notify_surely(ended).await;
        self.hints.notify(Event::Hint(interface.clone()));
    }

    /// Settles the job of an adopted command that has ended. `None` while it lives.
    async fn end_of(
        &self,
        lease: &Lease,
        lane: Option<&Lane>,
        started_ms: i64,
        run: &Underway,
    ) -> Result<Option<End>> {
        if let Some(by) = run.cancelled_by()
            && let Some(ended) = self.cancel_left_behind(lease, &by).await?
        {
            if ended.is_some() {
                self.attempted(lease, Attempt::Cancelled, started_ms);
            }
            return Ok(ended);
        }
        if let Some(lane) = lane
            && let Some(ended) = self.recovered(lease, lane).await?
            && self.store.take_up(lease).await?
        {
            tracing::info!(job = %lease.job, "its command ended while no service was there");
            return Ok(Some(
                self.settle((lease, lane), ended, started_ms, run).await,
            ));
        }
        let is_over = self.store.cut_off(lease).await?;
        if is_over {
            self.attempted(lease, Attempt::Crashed, started_ms);
        }
        Ok(is_over.then_some(End::Unknown))
    }

    /// Counts an attempt that has ended now.
    pub(super) fn attempted(&self, lease: &Lease, outcome: Attempt, started_ms: i64) {
        let took_s = seconds(self.store.now_ms() - started_ms);
        let interface = lease.interface.as_str();
        self.metrics.attempted(interface, outcome, took_s);
    }

    /// How an adopted command ended, if that was kept.
    async fn recovered(&self, lease: &Lease, lane: &Lane) -> Result<Option<RunEnd>> {
        let Some(processor) = &lane.processor else {
            return Ok(None);
        };
        let kept = self.store.kept(lease).await?.map(|kept| Kept {
            job: lease.job.clone(),
            attempt: lease.attempt,
            end: kept.end,
            output: kept.output,
            errors: kept.errors,
        });
        Ok(kept.and_then(|kept| processor.recovered(&kept)))
    }
}

/// A clock that was set back gives no time below none.
fn seconds(ms: i64) -> f64 {
    ms.max(0) as f64 / 1000.0
}
