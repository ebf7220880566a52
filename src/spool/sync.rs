//! Group commit of directory syncs.
//!
//! A directory sync that *starts* after my rename covers me. The first who waits leads and syncs;
//! those who come while it runs sleep and the first of them leads the next one, which covers all.
//! No lock is held across a sync, and a lone caller is never made to wait for company.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
};

#[derive(Debug, Default)]
pub(super) struct DirSyncs {
    dirs: Mutex<HashMap<PathBuf, Arc<DirSync>>>,
}

#[derive(Debug, Default)]
struct DirSync {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Syncs that have been started; the running one, if any, is number `started`.
    started: u64,
    /// The last sync that ended well.
    succeeded: u64,
    /// The first sync that failed. It is final: the kernel reports a lost write once, and a
    /// later sync that succeeds says nothing about it.
    failed: Option<(io::ErrorKind, String)>,
    running: bool,
}

impl DirSyncs {
    /// Returns once a sync of `dir` that started after this call has ended, by calling `sync`
    /// itself or by sharing another caller's. After a failure every later call fails, save that a
    /// directory which is not there (any more) has failed nobody.
    pub(super) fn sync(&self, dir: &Path, sync: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let this = {
            let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
            match dirs.get(dir) {
                Some(this) => this.clone(),
                None => dirs.entry(dir.to_owned()).or_default().clone(),
            }
        };
        let mut state = this.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = state.started + 1;
        loop {
            if let Some((kind, text)) = &state.failed {
                return Err(io::Error::new(*kind, text.clone()));
            }
            if state.succeeded >= mine {
                return Ok(());
            }
            if state.running {
                let woken = this.ended.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.running = true;
            state.started += 1;
            let number = state.started;
            drop(state);
            let outcome = sync();
            state = this.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.running = false;
            this.ended.notify_all();
            match outcome {
                Ok(()) => state.succeeded = number,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
                Err(error) => state.failed = Some((error.kind(), error.to_string())),
            }
        }
    }

    /// Forgets directories that are gone for good, so that closed days cost no memory.
    pub(super) fn forget(&self, dir: &Path) {
        let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        dirs.retain(|known, _| !known.starts_with(dir));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Every rename must be covered by a sync that started after it, and syncs must be shared.
    #[test]
    fn a_sync_covers_only_what_came_before_it_and_is_shared() {
        let syncs = DirSyncs::default();
        let renamed = AtomicU64::new(0);
        let durable = AtomicU64::new(0);
        let calls = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let mine = renamed.fetch_add(1, Ordering::SeqCst) + 1;
                        let sync = || {
                            calls.fetch_add(1, Ordering::SeqCst);
                            let covered = renamed.load(Ordering::SeqCst);
                            std::thread::yield_now();
                            durable.fetch_max(covered, Ordering::SeqCst);
                            Ok(())
                        };
                        syncs.sync(Path::new("queue/a"), sync).unwrap();
                        assert!(durable.load(Ordering::SeqCst) >= mine);
                    }
                });
            }
        });
        assert!(calls.load(Ordering::SeqCst) <= 1600);
    }

    #[test]
    fn a_failure_is_final_and_directories_are_apart() {
        let syncs = DirSyncs::default();
        let broken = || Err(io::Error::other("disk"));
        assert!(syncs.sync(Path::new("a"), broken).is_err());
        assert!(syncs.sync(Path::new("b"), || Ok(())).is_ok());
        assert!(
            syncs.sync(Path::new("a"), || Ok(())).is_err(),
            "tried again"
        );
        let gone = || Err(io::ErrorKind::NotFound.into());
        assert!(syncs.sync(Path::new("c"), gone).is_err());
        assert!(syncs.sync(Path::new("c"), || Ok(())).is_ok());
    }
}
