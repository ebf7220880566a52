//! Tells when jobs come to `bak`, by the kernel's own events. It promises the moment at which the
//! job's name appeared there, give or take the waking of one thread.

use anyhow::{Context, ensure};
use rustix::fs::inotify;
use std::{
    fs,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Reads events on a thread of its own until it is dropped.
pub(crate) struct Arrivals {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Something to be removed in the watched directory, which wakes the thread.
    bell: std::path::PathBuf,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<(String, Instant)>>,
    more: Condvar,
    end: AtomicBool,
    overflowed: AtomicBool,
}

impl Arrivals {
    /// In `bak/<interface>`, a directory for today and one for tomorrow.
    pub(crate) fn watch(bak: &Path) -> anyhow::Result<Self> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        let today = jiff::Timestamp::now();
        let tomorrow = today + jiff::SignedDuration::from_hours(24);
        let mut bell = bak.to_owned();
        for day in [tomorrow, today] {
            let dir = bak.join(day.strftime("%Y-%m-%d").to_string());
            fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
            let events = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::CREATE;
            inotify::add_watch(&inotify, &dir, events)?;
            bell = dir.join(".bell");
        }
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = std::thread::spawn(move || theirs.read(&inotify));
        Ok(Self {
            shared,
            thread: Some(thread),
            bell,
        })
    }

    /// Waits until `n` have arrived; gives names and moments.
    pub(crate) fn wait(
        &self,
        n: usize,
        patience: Duration,
    ) -> anyhow::Result<Vec<(String, Instant)>> {
        let end = Instant::now() + patience;
        let mut seen = self.shared.lock();
        while seen.len() < n {
            let left = end.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "{} of {n} jobs came to bak", seen.len());
            let woken = self.shared.more.wait_timeout(seen, left);
            seen = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        let overflowed = self.shared.overflowed.load(Ordering::SeqCst);
        ensure!(!overflowed, "the kernel lost events");
        Ok(seen.clone())
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, Instant)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, inotify: &OwnedFd) {
        let mut buffer = [const { MaybeUninit::uninit() }; 64 * 1024];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            let now = Instant::now();
            if self.end.load(Ordering::SeqCst) {
                return;
            }
            if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                self.overflowed.store(true, Ordering::SeqCst);
            }
            let Some(name) = event.file_name() else {
                continue;
            };
            let name = name.to_string_lossy().into_owned();
            if !name.starts_with('.') {
                self.lock().push((name, now));
                self.more.notify_all();
            }
        }
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::SeqCst);
        // If the bell cannot be made the thread stays, which harms no one.
        let rung = fs::write(&self.bell, "");
        let _ = fs::remove_file(&self.bell);
        if let (Ok(()), Some(thread)) = (rung, self.thread.take()) {
            let _ = thread.join();
        }
    }
}
