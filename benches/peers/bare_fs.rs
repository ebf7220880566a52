//! The limit that the filesystem sets: the system calls of a durable upload without a server.
//!
//! Each writer makes a file in one directory, writes it, syncs it, renames it without replacing
//! into another, and has that directory synced, each for itself or all who wait by one sync.

use crate::{scratch, stats};
use anyhow::Context;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use std::{
    fs::File,
    io::Write,
    os::fd::OwnedFd,
    path::Path,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DirectorySync {
    Each,
    Grouped,
}

pub(crate) struct Outcome {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) written: f64,
}

/// So many threads store `document` again and again.
pub(crate) fn run(
    writers: usize,
    syncs: DirectorySync,
    document: &[u8],
    window: Duration,
) -> anyhow::Result<Outcome> {
    let dir = scratch::dir("bare")?;
    for name in ["tmp", "queue"] {
        std::fs::create_dir(dir.join(name))?;
    }
    let queue = DirectorySyncs::new(&dir.join("queue"), syncs)?;
    let begun = Instant::now();
    let latencies = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|n| {
                let (dir, queue) = (&dir, &queue);
                scope.spawn(move || write_until(dir, n, queue, document, begun + window))
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<anyhow::Result<Vec<Vec<f64>>>>()
    })?;
    let took = begun.elapsed().as_secs_f64();
    let all = latencies.concat();
    scratch::abandon(&dir);
    Ok(Outcome {
        per_second: all.len() as f64 / took,
        p50_us: stats::percentile(&all, 0.5),
        p99_us: stats::percentile(&all, 0.99),
        written: all.len() as f64,
    })
}

fn write_until(
    dir: &Path,
    writer: usize,
    queue: &DirectorySyncs,
    document: &[u8],
    end: Instant,
) -> anyhow::Result<Vec<f64>> {
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        let name = format!("{writer}-{}.xml", latencies.len());
        let part = dir.join("tmp").join(&name);
        let mut file = File::create_new(&part).context("cannot create")?;
        file.write_all(document)?;
        file.sync_all()?;
        drop(file);
        let to = dir.join("queue").join(&name);
        rustix::fs::renameat_with(CWD, &part, CWD, &to, RenameFlags::NOREPLACE)?;
        queue.sync()?;
        latencies.push(stats::micros(begun.elapsed()));
    }
    Ok(latencies)
}

/// Syncs of one directory.
struct DirectorySyncs {
    dir: OwnedFd,
    syncs: DirectorySync,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    started: u64,
    succeeded: u64,
    running: bool,
}

impl DirectorySyncs {
    fn new(dir: &Path, syncs: DirectorySync) -> anyhow::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        Ok(Self {
            dir: rustix::fs::openat(CWD, dir, flags, Mode::empty())?,
            syncs,
            state: Mutex::default(),
            ended: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once a sync that began after the call has ended.
    fn sync(&self) -> anyhow::Result<()> {
        if self.syncs == DirectorySync::Each {
            return Ok(rustix::fs::fsync(&self.dir)?);
        }
        let mut state = self.lock();
        let mine = state.started + 1;
        while state.succeeded < mine {
            if state.running {
                let woken = self.ended.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.running = true;
            state.started += 1;
            let number = state.started;
            drop(state);
            rustix::fs::fsync(&self.dir)?;
            state = self.lock();
            state.running = false;
            state.succeeded = number;
            self.ended.notify_all();
        }
        Ok(())
    }
}
