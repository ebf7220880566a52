//! As the first process of a container: a parent for whatever has lost its own.
//!
//! The service then runs below it. It hands on signals, reaps whatever ends, and ends as the
//! service does; the kernel ends what is left.

use super::kernel::{self, Signals, Start};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait},
};
use std::{
    io,
    process::{Command, ExitCode},
};

/// What is handed on.
const HANDED_ON: [Signal; 6] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
];

/// Runs this very command once more below us, if we are the first process; `None` if we are not.
/// To be called before there are threads.
///
/// # Errors
/// When it cannot be started.
pub fn run_below() -> io::Result<Option<ExitCode>> {
    if !getpid().is_init() {
        return Ok(None);
    }
    let mut held = vec![libc::SIGCHLD];
    held.extend(HANDED_ON.map(Signal::as_raw));
    let signals = Signals::held(&held)?;
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1));
    kernel::prepare(&mut command, Start::default());
    let service = command.spawn()?;
    let service = i32::try_from(service.id()).ok().and_then(Pid::from_raw);
    let service = service.ok_or(io::ErrorKind::Other)?;
    loop {
        if let Some(status) = reap(service) {
            return Ok(Some(ExitCode::from(code_of(status))));
        }
        // Interrupted or not, the loop checks again what there is to do.
        let _ = poll(&mut [PollFd::new(&signals, PollFlags::IN)], None);
        for number in signals.taken() {
            if let Some(signal) = HANDED_ON.iter().find(|signal| signal.as_raw() == number) {
                let _ = kill_process(service, *signal);
            }
        }
    }
}

/// How the service ended, once it has.
fn reap(service: Pid) -> Option<WaitStatus> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == service => return Some(status),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// As a shell says it.
fn code_of(status: WaitStatus) -> u8 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or(signal);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
