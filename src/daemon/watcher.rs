//! The watcher of a tenant's directories, armed again when its thread has ended.
//!
//! Its thread belongs to a library and ends with any panic there or in what it calls. What it
//! calls then goes, too, and says so as it goes: nothing else would.

use super::supervise::{Supervisor, blocking};
use crate::watch::{Seen, Watch, Watched};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// What is called with everything that was seen, on the watcher's thread.
pub(super) type Sink = dyn Fn(Seen) + Send + Sync;

pub(super) struct Watcher {
    watched: Mutex<Watched>,
    sink: Arc<Sink>,
    watch: Mutex<Option<Arc<Watch>>>,
    life: Arc<Life>,
}

/// Says that the watcher's thread has ended.
#[derive(Default)]
struct Life {
    has_ended: AtomicBool,
    ended: Notify,
}

struct Alive(Arc<Life>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Release);
        self.0.ended.notify_one();
    }
}

impl Watcher {
    /// Arms a watcher: from now on `sink` is notified.
    ///
    /// # Errors
    /// When directories cannot be watched.
    pub(super) fn arm(watched: Watched, sink: Arc<Sink>) -> anyhow::Result<Self> {
        let watcher = Self {
            watched: Mutex::new(watched),
            sink,
            watch: Mutex::default(),
            life: Arc::default(),
        };
        watcher.arm_anew()?;
        Ok(watcher)
    }

    fn arm_anew(&self) -> anyhow::Result<()> {
        self.life.has_ended.store(false, Ordering::Release);
        let (sink, alive) = (self.sink.clone(), Alive(self.life.clone()));
        let watch = Watch::arm(self.watched.lock().clone(), move |seen| {
            let _ = &alive;
            sink(seen);
        })?;
        let before = self.slot().replace(Arc::new(watch));
        // It would wait for a thread that has gone, and panic. It holds next to nothing.
        std::mem::forget(before);
        Ok(())
    }

    /// Watches the directories that now have the watched names, `all` of them anew or those that are
    /// different from before. Says whether one is watched that was not.
    ///
    /// # Errors
    /// When no more can be watched.
    pub(super) fn rearm(&self, all: bool) -> anyhow::Result<bool> {
        let watch = self.slot().clone();
        match watch.filter(|_| !self.life.has_ended.load(Ordering::Acquire)) {
            Some(watch) => Ok(watch.rearm(all)?),
            // It is armed again soon.
            None => Ok(false),
        }
    }

    /// Watches these directories from now on.
    ///
    /// # Errors
    /// When no more can be watched.
    pub(super) fn take(&self, watched: Watched) -> anyhow::Result<()> {
        *self.watched.lock() = watched.clone();
        let watch = self.slot().clone();
        match watch.filter(|_| !self.life.has_ended.load(Ordering::Acquire)) {
            Some(watch) => Ok(watch.take(watched)?),
            // It is armed again soon, and then with these.
            None => Ok(()),
        }
    }

    /// The directories that are not watched, with the reason.
    pub(super) fn unwatched(&self) -> BTreeMap<PathBuf, String> {
        let watch = self.slot().clone();
        watch.map_or_else(BTreeMap::new, |watch| watch.unwatched())
    }

    /// Arms it anew whenever its thread has ended. `missed` is called when it is armed again: what
    /// happened meanwhile was not seen.
    pub(super) fn keep(
        self: &Arc<Self>,
        name: String,
        supervisor: &Supervisor,
        stop: CancellationToken,
        missed: impl Fn() + Send + Sync + 'static,
    ) -> JoinHandle<()> {
        let (this, missed) = (self.clone(), Arc::new(missed));
        supervisor.keep(name, move || {
            let (this, missed, stop) = (this.clone(), missed.clone(), stop.clone());
            async move {
                if this.life.has_ended.load(Ordering::Acquire) {
                    let that = this.clone();
                    if let Err(error) = blocking(move || that.arm_anew()).await {
                        tracing::error!(%error, "directories cannot be watched");
                        return;
                    }
                    missed();
                }
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = this.life.ended.notified() => {}
                }
            }
        })
    }

    /// Consistent between statements.
    fn slot(&self) -> MutexGuard<'_, Option<Arc<Watch>>> {
        self.watch.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::until::until;
    use std::{os::unix::fs::MetadataExt, sync::mpsc, time::Duration};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_watcher_whose_thread_has_panicked_is_seen_and_armed_anew() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("queue/a")).unwrap();
        let watched = Watched {
            root: root.clone(),
            interfaces: ["a".parse().unwrap()].into(),
            addressed: Vec::new(),
            dirs: Vec::new(),
            files: Vec::new(),
            identity: |_, dir| {
                let meta = dir.metadata().ok()?;
                Some((meta.dev(), meta.ino()))
            },
        };
        let (sender, told) = mpsc::channel();
        let sink = move |seen: Seen| {
            assert!(!format!("{seen:?}").contains("bad"), "injected");
            sender.send(format!("{seen:?}")).unwrap();
        };
        let watcher = Arc::new(Watcher::arm(watched, Arc::new(sink)).unwrap());
        let stop = CancellationToken::new();
        let supervisor = Supervisor::new(stop.clone());
        let (again, armed) = mpsc::channel();
        let missed = move || again.send(()).unwrap();
        let task = watcher.keep("the watcher".into(), &supervisor, stop.clone(), missed);
        std::fs::write(root.join("queue/a/bad"), "").unwrap();
        let patience = Duration::from_secs(60);
        let armed = tokio::task::spawn_blocking(move || armed.recv_timeout(patience).is_ok());
        assert!(armed.await.unwrap(), "it is not armed again");
        // Where its thread ended before the supervisor's task began, it is armed before that is told.
        let is_told = || {
            supervisor
                .warnings()
                .iter()
                .any(|warning| warning.contains("the watcher"))
        };
        until("the end of the watcher's thread is told", is_told).await;
        std::fs::write(root.join("queue/a/good"), "").unwrap();
        let seen = tokio::task::spawn_blocking(move || {
            std::iter::from_fn(|| told.recv_timeout(patience).ok())
                .any(|seen| seen.contains("good"))
        });
        assert!(seen.await.unwrap(), "nothing is seen any more");
        stop.cancel();
        task.await.unwrap();
    }
}
