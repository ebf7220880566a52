//! Programs that run beside the benchmark. It promises that each is ended by its process id when
//! its guard is dropped, when a row panics, and when the benchmark is interrupted.

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    process::{Child, ChildStdout, Command, ExitStatus},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::signal::unix::{SignalKind, signal};

/// An orderly end may have to finish requests.
const PATIENCE: Duration = Duration::from_secs(20);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn running() -> std::sync::MutexGuard<'static, Vec<Pid>> {
    RUNNING
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A child that does not outlive this value.
pub(crate) struct Kept {
    child: Child,
    pid: Pid,
}

impl Kept {
    pub(crate) fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        let program = command.get_program().to_owned();
        let child = command.spawn();
        let child = child.with_context(|| format!("cannot start {}", program.display()))?;
        let pid = Pid::from_child(&child);
        running().push(pid);
        Ok(Self { child, pid })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end, waits, and kills it if it does not.
    pub(crate) fn end(&mut self, with: Signal) -> anyhow::Result<ExitStatus> {
        // It may have ended by itself.
        let _ = kill_process(self.pid, with);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && self.is_running() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let status = self.child.wait();
        running().retain(|pid| *pid != self.pid);
        status.context("cannot wait for a child")
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Waited for and killed if need be; there is no one to tell.
        let _ = self.end(Signal::TERM);
    }
}

/// Ends what is still running. The guards wait for what they started.
pub(crate) fn end_all() {
    let pids = running().clone();
    for pid in &pids {
        let _ = kill_process(*pid, Signal::TERM);
    }
    let begun = Instant::now();
    let alive = |pid: &Pid| rustix::process::test_kill_process(*pid).is_ok();
    while begun.elapsed() < Duration::from_secs(3) && pids.iter().any(alive) {
        std::thread::sleep(Duration::from_millis(20));
    }
    for pid in pids.iter().filter(|pid| alive(pid)) {
        let _ = kill_process(*pid, Signal::KILL);
    }
}

/// Once the run was interrupted this does not return: what follows would be measured without the
/// programs that have been ended.
pub(crate) fn stop_if_interrupted() {
    while INTERRUPTED.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// An interrupted run cleans up, too.
pub(crate) fn end_on_signal() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(_entered);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::SeqCst);
        eprintln!("interrupted; cleaning up");
        crate::scratch::clear();
        std::process::exit(130);
    });
    Ok(())
}
