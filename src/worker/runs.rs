//! The runs that are under way, and who has asked for the end of one.
//!
//! A run is in the register from before its claim until its end is settled. Whoever cancels it does
//! so before it is closed, or not at all: closing and cancelling are one step each.

use crate::{
    domain::{InterfaceName, JobName},
    store::By,
};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Default)]
pub(super) struct Runs {
    all: Mutex<HashMap<JobName, Arc<Run>>>,
}

/// A run under way.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) interface: InterfaceName,
    /// Its command is to end: somebody has cancelled it, or the service stops.
    pub(super) stop: CancellationToken,
    /// Since when its command works, in milliseconds of the Unix epoch.
    started_ms: OnceLock<i64>,
    phase: watch::Sender<Phase>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// It can be cancelled.
    Open,
    /// By somebody, who was the first.
    Cancelled(Arc<By>),
    /// What becomes of the job is decided without us.
    Closed,
    Ended,
}

/// A run's place in the register. Its run has ended when it is dropped.
pub(super) struct Registered {
    runs: Arc<Runs>,
    job: JobName,
    pub(super) run: Arc<Run>,
}

impl Runs {
    /// `kill`: all commands are to end.
    pub(super) fn register(
        self: &Arc<Self>,
        interface: &InterfaceName,
        job: &JobName,
        kill: &CancellationToken,
    ) -> Registered {
        let run = Arc::new(Run {
            interface: interface.clone(),
            stop: kill.child_token(),
            started_ms: OnceLock::new(),
            phase: watch::Sender::new(Phase::Open),
        });
        self.all().insert(job.clone(), run.clone());
        Registered {
            runs: self.clone(),
            job: job.clone(),
            run,
        }
    }

    pub(super) fn of(&self, job: &JobName) -> Option<Arc<Run>> {
        self.all().get(job).cloned()
    }

    /// How many runs of an interface are under way.
    pub(super) fn count(&self, interface: &InterfaceName) -> usize {
        let all = self.all();
        all.values()
            .filter(|run| run.interface == *interface)
            .count()
    }

    /// Commands that work now are to end.
    pub(super) fn end_all(&self) {
        let all = self.all();
        all.values().for_each(|run| run.stop.cancel());
    }

    fn all(&self) -> MutexGuard<'_, HashMap<JobName, Arc<Run>>> {
        self.all.lock()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut all = self.runs.all();
        if all
            .get(&self.job)
            .is_some_and(|run| Arc::ptr_eq(run, &self.run))
        {
            all.remove(&self.job);
        }
        drop(all);
        self.run.phase.send_replace(Phase::Ended);
    }
}

impl Run {
    pub(super) fn started(&self, now_ms: i64) {
        // A run that is followed after it broke down has been started already.
        let _ = self.started_ms.set(now_ms);
    }

    pub(super) fn started_ms(&self) -> Option<i64> {
        self.started_ms.get().copied()
    }

    /// Asks for its end, unless what becomes of the job is decided already.
    pub(super) fn cancel(&self, by: &Arc<By>) {
        let asked = self.phase.send_if_modified(|phase| {
            let open = *phase == Phase::Open;
            if open {
                *phase = Phase::Cancelled(by.clone());
            }
            open
        });
        if asked {
            self.stop.cancel();
        }
    }

    /// From now on nobody can cancel it. Who has, if anybody.
    pub(super) fn close(&self) -> Option<Arc<By>> {
        self.phase.send_if_modified(|phase| {
            if *phase == Phase::Open {
                *phase = Phase::Closed;
            }
            false
        });
        self.cancelled_by()
    }

    pub(super) fn cancelled_by(&self) -> Option<Arc<By>> {
        match &*self.phase.borrow() {
            Phase::Cancelled(by) => Some(by.clone()),
            Phase::Closed | Phase::Ended | Phase::Open => None,
        }
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) {
        let mut phase = self.phase.subscribe();
        // The sender is ours, so it cannot be gone.
        let _ = phase.wait_for(|phase| *phase == Phase::Ended).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(runs: &Arc<Runs>, kill: &CancellationToken) -> Registered {
        let job = "20261122T045748.123Z-00042.json".parse().unwrap();
        runs.register(&"a".parse().unwrap(), &job, kill)
    }

    #[tokio::test]
    async fn a_run_is_cancelled_by_the_first_who_asks_before_it_is_closed() {
        let (runs, kill) = (Arc::new(Runs::default()), CancellationToken::new());
        let [olga, pete] = ["olga", "pete"].map(|name| Arc::new(By::operator(name)));
        let entry = registered(&runs, &kill);
        let run = runs.of(&entry.job).unwrap();
        assert!(!run.stop.is_cancelled());
        run.cancel(&olga);
        run.cancel(&pete);
        assert!(run.stop.is_cancelled() && !kill.is_cancelled());
        assert_eq!(run.close(), Some(olga.clone()));
        drop(entry);
        run.ended().await;

        let entry = registered(&runs, &kill);
        let run = entry.run.clone();
        assert_eq!(run.close(), None);
        run.cancel(&olga);
        assert!(!run.stop.is_cancelled(), "it was too late");
        assert_eq!(run.close(), None);
    }

    #[test]
    fn the_register_has_what_is_under_way() {
        let (runs, kill) = (Arc::new(Runs::default()), CancellationToken::new());
        let interface = "a".parse().unwrap();
        let (first, again) = (registered(&runs, &kill), registered(&runs, &kill));
        drop(first);
        assert_eq!(runs.count(&interface), 1, "the later run goes on");
        kill.cancel();
        assert!(again.run.stop.is_cancelled());
        assert_eq!(again.run.close(), None, "nobody has cancelled it");
        drop(again);
        assert_eq!(runs.count(&interface), 0);
    }
}
