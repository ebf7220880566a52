//! Background tasks that are never silently gone.
//!
//! Every task of the service runs under a name. One that panics, or ends although no one asked it to
//! stop, is reported in the log and by `/readyz`. Where its state allows it, it is restarted, after a
//! pause that doubles up to a minute; else the service stops in order and its exit code is that of
//! a failure, so that a service manager starts it again. Threads of the spool do the same by its
//! health: what waits for them is let go, and nothing more is accepted.

use crate::util::doubled;
use parking_lot::{Mutex, MutexGuard};
use std::{
    any::Any,
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    task::{JoinError, JoinHandle},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// How long to wait before a task is restarted for the first time, and at most.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A task that has run for this long since it failed counts as healthy again.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Supervisor(Arc<Shared>);

struct Shared {
    stop: CancellationToken,
    /// By the task's name: what happened to it, while it is not well again.
    troubles: Mutex<BTreeMap<String, String>>,
    /// Why the service stops by itself.
    failure: OnceLock<String>,
}

impl Supervisor {
    /// `stop` is cancelled when the service stops, and by a task that cannot be restarted.
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self(Arc::new(Shared {
            stop,
            troubles: Mutex::default(),
            failure: OnceLock::new(),
        }))
    }

    /// Runs the task that `make` returns until the stop, and a new one whenever it ends before.
    pub(super) fn keep<Task>(
        &self,
        name: impl Into<String>,
        make: impl Fn() -> Task + Send + 'static,
    ) -> JoinHandle<()>
    where
        Task: Future<Output = ()> + Send + 'static,
    {
        let (this, name) = (self.clone(), name.into());
        tokio::spawn(async move {
            let mut breakdowns = 0;
            loop {
                let begun = Instant::now();
                let ended = this.watched(&name, tokio::spawn(make())).await;
                let Some(reason) = this.unasked(&name, ended) else {
                    return;
                };
                if begun.elapsed() >= WELL_AFTER {
                    breakdowns = 0;
                }
                let pause = doubled(PAUSE_MIN, breakdowns, PAUSE_MAX);
                breakdowns += 1;
                tracing::error!(
                    task = name,
                    reason,
                    again_in_s = pause.as_secs(),
                    "a background task failed; it is restarted",
                );
                this.troubles().insert(name.clone(), reason);
                tokio::select! {
                    () = this.0.stop.cancelled() => return,
                    () = sleep(pause) => {}
                }
            }
        })
    }

    /// Runs a task whose state does not survive it: its end before it was `asked` to is the service's.
    pub(super) fn essential(
        &self,
        name: impl Into<String>,
        task: impl Future<Output = ()> + Send + 'static,
        asked: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (this, name) = (self.clone(), name.into());
        async move {
            let ended = tokio::spawn(task).await;
            match this.unasked(&name, ended) {
                Some(reason) if !asked.is_cancelled() => this.fail(&name, &reason),
                Some(_) | None => {}
            }
        }
    }

    /// Stops the service in order.
    pub(super) fn fail(&self, name: &str, reason: &str) {
        tracing::error!(task = name, reason, "the service cannot go on and stops");
        // The first reason stays.
        let _ = self.0.failure.set(format!("{name} failed: {reason}"));
        self.0.stop.cancel();
    }

    /// Why the service stops by itself, if so.
    pub(super) fn failure(&self) -> Option<String> {
        self.0.failure.get().cloned()
    }

    /// What is not well at the moment, a sentence for each task.
    pub(super) fn warnings(&self) -> Vec<String> {
        let troubles = self.troubles();
        let sentence = |(name, reason): (&String, &String)| {
            format!("{name} failed and is restarted: {reason}")
        };
        troubles.iter().map(sentence).collect()
    }

    /// Waits for a task's end; meanwhile it may be found well again.
    async fn watched(&self, name: &str, mut task: JoinHandle<()>) -> Result<(), JoinError> {
        tokio::select! {
            ended = &mut task => return ended,
            () = sleep(WELL_AFTER) => {}
        }
        self.troubles().remove(name);
        task.await
    }

    /// Why a task has ended although no one asked it to stop. A panic is always reported.
    fn unasked(&self, name: &str, ended: Result<(), JoinError>) -> Option<String> {
        let reason = match ended {
            Ok(()) => "it ended".to_owned(),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => format!("it panicked: {}", panic_text(&*panic)),
                Err(error) => error.to_string(),
            },
        };
        if self.0.stop.is_cancelled() {
            tracing::debug!(task = name, reason, "ended");
            return None;
        }
        Some(reason)
    }

    /// Consistent between statements.
    fn troubles(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.troubles.lock()
    }
}

/// On a blocking thread. A panic there is one of the task that waits, so its supervisor sees it.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going away, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("with no text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn supervisor() -> (Supervisor, CancellationToken) {
        let stop = CancellationToken::new();
        (Supervisor::new(stop.clone()), stop)
    }

    /// A task that ends, in one way or another, as often as that, and then goes on.
    fn frail(supervisor: &Supervisor, ends: u32, end: fn()) -> (JoinHandle<()>, Arc<AtomicU32>) {
        let runs = Arc::new(AtomicU32::new(0));
        let counted = runs.clone();
        let stop = supervisor.0.stop.clone();
        let task = supervisor.keep("the task", move || {
            let (run, stop) = (counted.fetch_add(1, Ordering::SeqCst), stop.clone());
            async move {
                if run < ends {
                    return end();
                }
                stop.cancelled().await;
            }
        });
        (task, runs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_unasked_is_seen_and_begun_anew() {
        let ends: [fn(); 2] = [|| {}, || panic!("injected")];
        for (end, told) in ends.into_iter().zip(["it ended", "it panicked: injected"]) {
            let (supervisor, stop) = supervisor();
            let (task, runs) = frail(&supervisor, 3, end);
            // Pauses of 1, 2 and 4 seconds.
            sleep(Duration::from_millis(6_500)).await;
            assert_eq!(runs.load(Ordering::SeqCst), 3);
            let warnings = supervisor.warnings();
            assert!(
                warnings[0].contains("the task") && warnings[0].contains(told),
                "{warnings:?}"
            );
            sleep(Duration::from_secs(1)).await;
            assert_eq!(runs.load(Ordering::SeqCst), 4);
            assert_eq!(
                supervisor.warnings().len(),
                1,
                "it has to show that it is well"
            );
            sleep(WELL_AFTER).await;
            assert!(supervisor.warnings().is_empty());
            assert!(supervisor.failure().is_none() && !stop.is_cancelled());
            stop.cancel();
            task.await.unwrap();
            assert_eq!(runs.load(Ordering::SeqCst), 4);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_never_recovers_is_tried_once_a_minute() {
        let (supervisor, _stop) = supervisor();
        let (_task, runs) = frail(&supervisor, u32::MAX, || panic!("injected"));
        sleep(Duration::from_secs(3600)).await;
        let runs = runs.load(Ordering::SeqCst);
        assert!((60..=66).contains(&runs), "{runs}");
    }

    #[tokio::test]
    async fn the_end_of_an_essential_task_is_that_of_the_service() {
        let (one, stop) = supervisor();
        one.essential(
            "the heart",
            async { panic!("injected") },
            CancellationToken::new(),
        )
        .await;
        assert!(stop.is_cancelled());
        let failure = one.failure().unwrap();
        assert_eq!(failure, "the heart failed: it panicked: injected");
        let (other, stop) = supervisor();
        stop.cancel();
        other
            .essential("the heart", async {}, CancellationToken::new())
            .await;
        assert!(other.failure().is_none(), "the service was asked to end");
        let (other, stop) = supervisor();
        let asked = CancellationToken::new();
        asked.cancel();
        other.essential("the heart", async {}, asked).await;
        assert!(
            other.failure().is_none() && !stop.is_cancelled(),
            "it alone was"
        );
    }

    #[tokio::test]
    async fn a_panic_on_a_blocking_thread_is_one_of_the_task() {
        assert_eq!(blocking(|| 7).await, 7);
        let task = tokio::spawn(async { blocking(|| panic!("injected")).await });
        let panic = task.await.unwrap_err().into_panic();
        assert_eq!(panic_text(&*panic), "injected");
    }
}
