//! The watcher of all tenants' directories, begun anew when its thread has ended.
//!
//! Its thread belongs to a library and ends with any panic there or in what it calls, and tells nobody but those who
//! hear what goes with it.

use super::supervise::{Supervisor, blocking};
use crate::watch;
use std::sync::Arc;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub(super) struct Watcher {
    watcher: Arc<watch::Watcher>,
    /// Its thread has ended.
    ended: Arc<Notify>,
}

impl Watcher {
    /// Begins to watch for those who will ask.
    ///
    /// # Errors
    /// When nothing can be watched.
    pub(super) fn begin() -> anyhow::Result<Self> {
        let ended = Arc::<Notify>::default();
        let watcher = Arc::new(watch::Watcher::begin(tells(&ended))?);
        Ok(Self { watcher, ended })
    }

    /// What one tenant watches with it.
    pub(super) fn of_all(&self) -> &Arc<watch::Watcher> {
        &self.watcher
    }

    /// Begins anew whenever its thread has ended, until `stop`.
    pub(super) fn keep(
        self: &Arc<Self>,
        supervisor: &Supervisor,
        stop: CancellationToken,
    ) -> JoinHandle<()> {
        let this = self.clone();
        supervisor.keep("the watcher", move || {
            let (this, stop) = (this.clone(), stop.clone());
            async move {
                if this.watcher.has_ended() {
                    let (watcher, ended) = (this.watcher.clone(), this.ended.clone());
                    let begun = blocking(move || watcher.begin_anew(tells(&ended))).await;
                    if let Err(error) = begun {
                        tracing::error!(%error, "directories cannot be watched");
                        return;
                    }
                }
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = this.ended.notified() => {}
                }
            }
        })
    }
}

fn tells(ended: &Arc<Notify>) -> impl Fn() + Send + 'static {
    let ended = ended.clone();
    move || ended.notify_one()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        util::until::until,
        watch::{Seen, Watched},
    };
    use std::{collections::BTreeSet, os::unix::fs::MetadataExt, sync::mpsc, time::Duration};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_watcher_whose_thread_has_panicked_is_seen_and_armed_anew() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("queue/a")).unwrap();
        let watched = Watched {
            root: root.clone(),
            interfaces: BTreeSet::from(["a".parse().unwrap()]),
            addressed: Vec::new(),
            dirs: Vec::new(),
            files: Vec::new(),
            identity: |_, dir| {
                let meta = dir.metadata().ok()?;
                Some((meta.dev(), meta.ino()))
            },
        };
        let (sender, told) = mpsc::channel();
        let (again, armed) = mpsc::channel();
        let sink = move |seen: Seen| {
            assert!(!format!("{seen:?}").contains("bad"), "injected");
            // More may come than anybody waits for.
            if seen == Seen::Restarted {
                let _ = again.send(());
            }
            let _ = sender.send(format!("{seen:?}"));
        };
        let watcher = Arc::new(Watcher::begin().unwrap());
        let _watch = watcher.of_all().watch(watched, sink).unwrap();
        let stop = CancellationToken::new();
        let supervisor = Supervisor::new(stop.clone());
        let task = watcher.keep(&supervisor, stop.clone());
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
