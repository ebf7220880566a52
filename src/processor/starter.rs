//! Starting and ending commands, by a small process of the service's own.
//!
//! The starter is this program once more, started before the service has threads, descriptors or
//! secrets. For each run it forks a **supervisor**: the parent of that run's command, to which
//! everything that the command starts falls when its own parent ends, whatever sessions and
//! groups it makes. When the command has ended, the supervisor ends what is left of it, keeps the exit
//! status in a file beside the run's lock, and reports it. It does so also when the service is gone,
//! and it has the lock open as long as anything of the run lives: so a later service waits for it,
//! and then knows how the command ended.
//!
//! The service and a supervisor have a socket of their own, so a starter that dies costs nothing: it
//! is started again with the next run.

mod group;
pub mod init;
mod kernel;
mod process;
mod subtree;
mod supervisor;

pub use process::{ARGUMENT, serve};

use super::sandbox::Sandbox;
use parking_lot::Mutex;
use rustix::{
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    process::{Pid, Signal, kill_process},
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, IoSlice, Read, Write},
    mem::MaybeUninit,
    net::Shutdown,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

/// How long what belongs to a run may take to end after SIGTERM, before SIGKILL.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// What a supervisor sends first: it has the order, and runs the command.
const TAKEN: &[u8] = b"k";
/// How long a supervisor may take for that.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// How often a command is handed to a starter, if it ends meanwhile.
const TRIES_MAX: u32 = 3;

/// What a supervisor is to run.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Order {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) dir: PathBuf,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) attempt: u32,
    /// Address space of each process, in bytes.
    pub(super) memory_bytes_max: Option<u64>,
    pub(super) open_files_max: Option<u64>,
    pub(super) sandbox: Option<Sandbox>,
    pub(super) timeout_ms: u64,
    /// What the command leaves behind may live on.
    pub(super) leaves_processes: bool,
    /// Where the end is kept for a later service.
    pub(super) kept: PathBuf,
}

/// What a supervisor reports, each as one line.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// The command could not be started, for this reason.
    Failed(String),
    /// It runs; the number is the supervisor's own.
    Started(u32),
    /// This many processes live although they were killed; the supervisor waits for them.
    Stuck(usize),
    Ended(End),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct End {
    pub(super) attempt: u32,
    /// The exit code, unless a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    /// Why it was ended, if it did not end by itself.
    pub(super) why: Option<Why>,
    /// This many processes that it left behind were ended.
    pub(super) left: usize,
}

/// Why a command was ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Why {
    /// It wrote too much.
    Output,
    /// The service stops, or someone has cancelled the job.
    Stopped,
    /// It took too long.
    Timeout,
}

impl Why {
    fn byte(self) -> u8 {
        match self {
            Self::Output => b'o',
            Self::Stopped => b's',
            Self::Timeout => b't',
        }
    }

    fn of_byte(byte: u8) -> Option<Self> {
        [Self::Output, Self::Stopped, Self::Timeout]
            .into_iter()
            .find(|why| why.byte() == byte)
    }

    /// Asks a supervisor to end its command.
    pub(super) fn message(self) -> [u8; 1] {
        [self.byte()]
    }
}

/// The starter, as the service sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Starter(Arc<Mutex<Link>>);

#[derive(Debug)]
struct Link {
    child: Child,
    control: UnixStream,
    /// The limit on open files that commands get.
    open_files: u64,
}

impl Starter {
    /// Starts the process. To be called before there are threads, and before the limit on open
    /// files is raised: commands get the one that is in force now.
    ///
    /// # Errors
    /// When no process can be started.
    pub fn launch() -> io::Result<Self> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let open_files = limit.current.unwrap_or(u64::MAX);
        Ok(Self(Arc::new(Mutex::new(Link::new(open_files)?))))
    }

    /// Has a command run with this input, its output into the lock and its errors beside it. What
    /// comes of it is reported by lines on the stream. Blocks for a moment.
    ///
    /// # Errors
    /// Nothing was started.
    pub(super) fn run(
        &self,
        order: &Order,
        input: &File,
        lock: &File,
        errors: &File,
    ) -> io::Result<UnixStream> {
        let order = serde_json::to_vec(order)?;
        let length = u32::try_from(order.len()).map_err(io::Error::other)?;
        let order = [&length.to_be_bytes(), order.as_slice()].concat();
        for _ in 0..TRIES_MAX {
            let (ours, theirs) = UnixStream::pair()?;
            let given = [theirs.as_fd(), input.as_fd(), lock.as_fd(), errors.as_fd()];
            self.hand_over(&given)?;
            drop(theirs);
            ours.set_write_timeout(Some(TAKEN_WITHIN))?;
            // A starter that goes now takes the order along, and nothing was started.
            if (&ours).write_all(&order).is_ok() && self.was_taken(&ours)? {
                return Ok(ours);
            }
        }
        Err(io::Error::other(
            "the process that starts commands does not take it",
        ))
    }

    /// Waits until a supervisor has the order. False: none has, and none will.
    fn was_taken(&self, mut stream: &UnixStream) -> io::Result<bool> {
        stream.set_read_timeout(Some(TAKEN_WITHIN))?;
        let mut byte = [0];
        loop {
            match stream.read(&mut byte) {
                Ok(n) => return Ok(n == 1),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Someone may have stopped it. No supervisor starts anything from here on.
                    if let Some(starter) = i32::try_from(self.id()).ok().and_then(Pid::from_raw) {
                        let _ = kill_process(starter, Signal::CONT);
                    }
                    stream.shutdown(Shutdown::Both)?;
                }
                Err(_) => return Ok(false),
            }
        }
    }

    fn hand_over(&self, descriptors: &[std::os::fd::BorrowedFd<'_>]) -> io::Result<()> {
        let mut link = self.0.lock();
        match link.send(descriptors) {
            // It has gone: once more, with another one.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe || is_reset(&error) => {
                tracing::warn!("the process that starts commands has gone; it is started again");
                let again = Link::new(link.open_files)?;
                let mut gone = std::mem::replace(&mut *link, again);
                let _ = gone.child.try_wait();
                link.send(descriptors)
            }
            sent => sent,
        }
    }

    /// The starter's process id.
    pub fn id(&self) -> u32 {
        let link = self.0.lock();
        link.child.id()
    }
}

fn is_reset(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset
}

impl Link {
    fn new(open_files: u64) -> io::Result<Self> {
        let (control, theirs) = UnixStream::pair()?;
        let child = command(open_files)?
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            child,
            control,
            open_files,
        })
    }

    fn send(&self, descriptors: &[std::os::fd::BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(process::GIVEN))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let one = [IoSlice::new(b"r")];
        sendmsg(&self.control, &one, &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// This program, as a starter.
#[cfg(not(test))]
fn command(open_files: u64) -> io::Result<Command> {
    use std::os::unix::process::CommandExt;
    // Also when an upgrade has put another program in its place.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("spoolgate-starter").arg(ARGUMENT);
    command.arg(open_files.to_string());
    Ok(command)
}

/// The program of the tests can only be asked to run one of them.
#[cfg(test)]
fn command(_: u64) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([
        "processor::starter::process::tests::as_the_starter",
        "--exact",
    ]);
    command.args(["--ignored", "--nocapture", "--test-threads=1"]);
    command.env(process::IN_TESTS, "1");
    Ok(command)
}
