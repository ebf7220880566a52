//! The starter's own process: forks supervisors, reaps, and ends what a supervisor that was killed
//! has left.
//!
//! It ends once the service has gone and no supervisor is left.

use super::{
    group::Group,
    kernel::{self, Forked, Signals},
    receive, subtree, supervisor,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Resource, Rlimit, WaitOptions, getpid, getrlimit, setrlimit, wait},
};
use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::ExitCode,
    time::Duration,
};

/// The one argument that makes this program a starter.
pub const ARGUMENT: &str = "start-commands";
/// Says to the program of the tests that it is a starter.
#[cfg(test)]
pub(super) const IN_TESTS: &str = "STARTER_IN_TESTS";
/// How often what has to be killed is looked for.
pub(super) const ROUND: Duration = Duration::from_millis(20);

struct Process {
    /// `None` once the service has gone.
    control: Option<UnixStream>,
    signals: Signals,
    supervisors: Vec<Pid>,
    /// A supervisor was killed: what falls to us is to end.
    has_orphans: bool,
    /// Their groups.
    left: Vec<Group>,
}

/// What a starter does, as long as there is anything to do. Standard input is its socket.
#[must_use]
pub fn serve() -> ExitCode {
    kernel::close_inherited();
    match start() {
        Ok(mut process) => process.run(),
        Err(_) => ExitCode::FAILURE,
    }
}

fn start() -> io::Result<Process> {
    restore_open_files();
    let _ = rustix::thread::set_name(c"spoolgate-start");
    // A terminal's and a service manager's signals are for the service.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(getpid()))?;
    // What the service may do, commands may not.
    let _ = rustix::thread::clear_ambient_capability_set();
    Group::sweep();
    let signals = [libc::SIGCHLD, libc::SIGHUP, libc::SIGINT, libc::SIGTERM];
    let signals = Signals::held(&signals)?;
    Ok(Process {
        control: Some(UnixStream::from(standard_input()?)),
        signals,
        supervisors: Vec::new(),
        has_orphans: false,
        left: Vec::new(),
    })
}

/// The descriptor itself, with nothing in its place that a supervisor could inherit.
fn standard_input() -> io::Result<OwnedFd> {
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(control)
}

/// The service may have raised it meanwhile, for itself.
fn restore_open_files() {
    let asked = std::env::args().nth(2);
    let Some(current) = asked.and_then(|text| text.parse::<u64>().ok()) else {
        return;
    };
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(maximum.map_or(current, |maximum| current.min(maximum)));
    let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
}

impl Process {
    fn run(&mut self) -> ExitCode {
        loop {
            // Tests leave nothing behind, also when they are cut short.
            let idle = self.control.is_none() && (self.supervisors.is_empty() || cfg!(test));
            if idle && !self.has_orphans {
                return ExitCode::SUCCESS;
            }
            let asked = self.wait();
            let _ = self.signals.taken();
            if asked {
                self.take_request();
            }
            self.reap();
            if self.has_orphans {
                self.end_orphans();
            }
        }
    }

    /// Waits for something to happen. True: the service may want something.
    fn wait(&self) -> bool {
        let mut waited = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if let Some(control) = &self.control {
            waited.push(PollFd::new(control, PollFlags::IN));
        }
        let round = timespec(ROUND);
        let timeout = self.has_orphans.then_some(&round);
        match poll(&mut waited, timeout) {
            Ok(_) => waited.get(1).is_some_and(|fd| !fd.revents().is_empty()),
            Err(_) => false,
        }
    }

    fn take_request(&mut self) {
        let Some(control) = &self.control else { return };
        let [service] = match receive(control) {
            Ok(Some(given)) => given,
            // Of one that is not whole the sender sees its socket closed.
            Ok(None) => return,
            Err(_) => {
                self.control = None;
                return;
            }
        };
        // If no process can be made, the socket is closed, which says so.
        match kernel::fork() {
            Ok(Forked::Child) => {
                self.control = None;
                supervisor::supervise(service);
                std::process::exit(0);
            }
            Ok(Forked::Parent(supervisor)) => self.supervisors.push(supervisor),
            Err(_) => {}
        }
    }

    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let known = self.supervisors.len();
            self.supervisors.retain(|supervisor| *supervisor != pid);
            if self.supervisors.len() < known && status.exit_status() != Some(0) {
                self.has_orphans = true;
                let number = pid.as_raw_nonzero().get().unsigned_abs();
                self.left.extend(Group::of(number));
            }
        }
    }

    /// Whatever is below us and below no supervisor.
    fn end_orphans(&mut self) {
        self.left.iter().for_each(Group::kill);
        let orphans = subtree::below_us(&self.supervisors);
        subtree::kill(&orphans);
        self.has_orphans = !orphans.is_empty();
        if !self.has_orphans {
            self.left.clear();
        }
    }
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    /// Not a test: what the tests' starters are.
    #[test]
    #[ignore = "it is started by the tests that need a starter"]
    fn as_the_starter() {
        if std::env::var_os(super::IN_TESTS).is_some() {
            let _ = super::serve();
            std::process::exit(0);
        }
    }
}
