//! A supervisor: the parent of a run's command, and of everything that the command leaves behind; of one run after
//! the other.

use super::{
    End, Event, GIVEN, GRACE, Order, Why,
    group::Group,
    kernel::{self, Signals, Start},
    process::{ROUND, timespec},
    receive, subtree,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, wait},
};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::OpenOptionsExt, net::UnixStream, process::CommandExt},
    },
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A process that lives this long after SIGKILL is reported.
const PATIENCE: Duration = Duration::from_secs(10);

/// One run, as it is supervised.
struct Supervisor<'a> {
    order: Order,
    /// `None` once the service has gone.
    service: Option<&'a UnixStream>,
    signals: &'a Signals,
    /// Held as long as anything of the run lives.
    lock: Option<File>,
    group: Option<&'a Group>,
    main: Pid,
    /// The main process has ended so.
    status: Option<WaitStatus>,
    deadline: Instant,
    /// Why the command was asked to end, if it was.
    why: Option<Why>,
    /// When what lives is killed.
    kill_at: Option<Instant>,
    /// This many processes were left when the main one had ended.
    left: usize,
    was_stuck: bool,
}

/// Supervises what the service asks for, until it has gone.
pub(super) fn supervise(service: OwnedFd) {
    let service = UnixStream::from(service);
    let starter = getppid();
    // Without these nothing is taken: the service sees its socket closed.
    let Ok(signals) = prepare() else { return };
    let group = Group::make(std::process::id());
    while let Some(given) = next(&service, &signals, starter) {
        let Ok(order) = take_order(&service) else {
            return;
        };
        match begin(order, given, &service, &signals, group.as_ref()) {
            Ok(mut supervisor) => supervisor.run(),
            // If it is not received, the service sees the socket closed.
            Err(error) => drop(send(&service, &Event::Failed(error.to_string()))),
        }
    }
}

fn prepare() -> io::Result<Signals> {
    let _ = rustix::thread::set_name(c"spoolgate-run");
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(getpid()))?;
    Signals::held(&[libc::SIGCHLD, libc::SIGTERM])
}

/// Waits for the next run. `None`: there will be none. Without its starter none is taken: nobody would end what we
/// leave if we are killed.
fn next(service: &UnixStream, signals: &Signals, starter: Option<Pid>) -> Option<[OwnedFd; GIVEN]> {
    end_with_starter(true);
    let given = wait_for_next(service, signals, starter);
    // A run goes on without it. The starter of tests ends with them.
    end_with_starter(cfg!(test));
    given.filter(|_| getppid() == starter)
}

/// Are we to be asked to end when the starter does?
fn end_with_starter(is_asked: bool) {
    let signal = is_asked.then_some(Signal::TERM);
    let _ = rustix::process::set_parent_process_death_signal(signal);
}

fn wait_for_next(
    service: &UnixStream,
    signals: &Signals,
    starter: Option<Pid>,
) -> Option<[OwnedFd; GIVEN]> {
    while getppid() == starter {
        let mut waited = [
            PollFd::new(signals, PollFlags::IN),
            PollFd::new(service, PollFlags::IN),
        ];
        // Interrupted or not, nothing is taken that is not there.
        let _ = poll(&mut waited, None);
        let [signalled, asked] = waited.map(|fd| !fd.revents().is_empty());
        if signalled && signals.taken().contains(&libc::SIGTERM) {
            return None;
        }
        if asked && let Some(given) = receive(service).ok()? {
            return Some(given);
        }
    }
    None
}

/// Reads an order, and says by our number that we have it.
fn take_order(mut service: &UnixStream) -> io::Result<Order> {
    let mut length = [0; 4];
    service.read_exact(&mut length)?;
    let mut order = Vec::new();
    let length = u64::from(u32::from_be_bytes(length));
    service.take(length).read_to_end(&mut order)?;
    let order = serde_json::from_slice(&order)?;
    // For a service that has ended, or no longer waits, nothing is started.
    service.write_all(&std::process::id().to_be_bytes())?;
    Ok(order)
}

fn begin<'a>(
    order: Order,
    given: [OwnedFd; GIVEN],
    service: &'a UnixStream,
    signals: &'a Signals,
    group: Option<&'a Group>,
) -> io::Result<Supervisor<'a>> {
    let [input, lock, errors] = given;
    let lock = File::from(lock);
    let entrance = group.and_then(Group::entrance);
    let mut command = Command::new(&order.program);
    command
        .args(&order.arguments)
        .current_dir(&order.dir)
        .envs(order.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output_of(&lock, order.leaves_processes)?))
        .stderr(Stdio::from(errors))
        .process_group(0);
    let start = Start {
        memory_bytes_max: order.memory_bytes_max,
        open_files_max: order.open_files_max,
        group: entrance.as_ref().map(AsRawFd::as_raw_fd),
    };
    kernel::prepare(&mut command, start);
    let child = match &order.sandbox {
        None => command.spawn()?,
        Some(sandbox) => sandbox.spawn(&mut command)?,
    };
    let main = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let timeout = Duration::from_millis(order.timeout_ms);
    // An instant cannot represent a later deadline.
    let forever = Duration::from_secs(u64::from(u32::MAX));
    Ok(Supervisor {
        service: Some(service),
        signals,
        lock: Some(lock),
        group,
        main: main.ok_or(io::ErrorKind::Other)?,
        status: None,
        deadline: Instant::now() + timeout.min(forever),
        why: None,
        kill_at: None,
        left: 0,
        was_stuck: false,
        order,
    })
}

/// The lock file, to be written to. Processes that may live on do not get the lock with it.
fn output_of(lock: &File, leaves_processes: bool) -> io::Result<File> {
    if !leaves_processes {
        return lock.try_clone();
    }
    let path = format!("/proc/self/fd/{}", lock.as_raw_fd());
    File::options().append(true).open(path)
}

fn send(mut service: &UnixStream, event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    service.write_all(&line)
}

impl Supervisor<'_> {
    /// Until nothing of the run is left.
    fn run(&mut self) {
        loop {
            let has_any = self.reap();
            if let Some(status) = self.status
                && (!has_any || self.order.leaves_processes)
            {
                self.report(status);
                if !has_any {
                    return;
                }
            }
            if has_any && self.status.is_some() && !self.order.leaves_processes {
                self.end_the_rest();
            }
            self.kill_in_time();
            self.wait();
            self.receive_requests();
        }
    }

    /// Takes note of who has ended. False: nothing is left of the run.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(None) => return true,
                Ok(Some((pid, status))) => {
                    if pid == self.main && self.status.is_none() {
                        self.status = Some(status);
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                // ECHILD: whatever descended from the command would be our child by now, or some
                // child's.
                Err(_) => return false,
            }
        }
    }

    /// The main process has ended: what it has left ends too.
    fn end_the_rest(&mut self) {
        if self.left > 0 {
            return;
        }
        let rest = subtree::below_us(&[]);
        self.left = rest.len();
        subtree::ask(&rest);
        self.kill_at.get_or_insert(Instant::now() + GRACE);
    }

    fn ask(&mut self, why: Why) {
        if self.why.is_none() && self.status.is_none() {
            self.why = Some(why);
        }
        if self.kill_at.is_none() {
            self.kill_at = Some(Instant::now() + GRACE);
            subtree::ask(&subtree::below_us(&[]));
        }
    }

    fn kill_in_time(&mut self) {
        let now = Instant::now();
        if now >= self.deadline && self.status.is_none() {
            self.ask(Why::Timeout);
        }
        let Some(kill_at) = self.kill_at.filter(|at| now >= *at) else {
            return;
        };
        if let Some(group) = &self.group {
            group.kill();
        }
        let living = subtree::below_us(&[]);
        subtree::kill(&living);
        if now >= kill_at + PATIENCE && !self.was_stuck && !living.is_empty() {
            self.was_stuck = true;
            self.send(&Event::Stuck(living.len()));
        }
    }

    fn wait(&mut self) {
        let now = Instant::now();
        let until = match self.kill_at {
            // Only one more round if it is over.
            Some(at) => Some((at.saturating_duration_since(now)).max(ROUND)),
            None if self.status.is_none() => Some(self.deadline.saturating_duration_since(now)),
            None => None,
        };
        let mut waited = vec![PollFd::new(self.signals, PollFlags::IN)];
        if let Some(service) = self.service {
            waited.push(PollFd::new(service, PollFlags::IN));
        }
        let until = until.map(timespec);
        // Interrupted or not, the loop checks again what there is to do.
        let _ = poll(&mut waited, until.as_ref());
    }

    /// What the service or a signal asks for.
    fn receive_requests(&mut self) {
        if self.signals.taken().contains(&libc::SIGTERM) {
            self.ask(Why::Stopped);
        }
        let mut byte = [0];
        let received = match &self.service {
            None => return,
            Some(service) => {
                use rustix::net::{RecvFlags, recv};
                recv(service, &mut byte, RecvFlags::DONTWAIT)
            }
        };
        match received {
            Ok((1.., _)) => {
                if let Some(why) = Why::of_byte(byte[0]) {
                    self.ask(why);
                }
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => self.lose_service(),
        }
    }

    /// It has gone. The run goes on if its end is kept for the next one.
    fn lose_service(&mut self) {
        self.service = None;
        if self.order.kept.is_none() && self.status.is_none() {
            self.ask(Why::Stopped);
        }
    }

    /// Records how the run ended, releases the lock and reports to the service, once.
    fn report(&mut self, status: WaitStatus) {
        let Some(lock) = self.lock.take() else { return };
        let end = End {
            attempt: self.order.attempt,
            code: status.exit_status(),
            signal: status.terminating_signal(),
            why: self.why,
            left: self.left,
        };
        // Without it a later service takes the run for cut off, as it does after a power cut.
        let _ = self.note(&end);
        drop(lock);
        self.send(&Event::Ended(end));
        self.service = None;
    }

    fn note(&self, end: &End) -> io::Result<()> {
        let Some(kept) = &self.order.kept else {
            return Ok(());
        };
        let _ = fs::remove_file(kept);
        let new = &mut File::options();
        let mut file = new.write(true).create_new(true).mode(0o640).open(kept)?;
        file.write_all(&serde_json::to_vec(end)?)
    }

    fn send(&mut self, event: &Event) {
        if let Some(service) = self.service
            && send(service, event).is_err()
        {
            self.lose_service();
        }
    }
}
