//! Starting and ending commands, by a small process of the service's own.
//!
//! The starter is this program once more, started before the service has threads, descriptors or
//! secrets. It forks **supervisors**. One is the parent of a run's command, to which
//! everything that the command starts falls when its own parent ends, whatever sessions and
//! groups it makes. When the command has ended, the supervisor ends what is left of it, keeps the exit
//! status in a file beside the run's lock, and reports it. It does so also when the service is gone,
//! and it has the lock open as long as anything of the run lives: so a later service waits for it,
//! and then knows how the command ended. Once nothing of the run is left, it takes the next one: a
//! process is forked for as many runs as there are at once, not for each.
//!
//! The service and a supervisor have a socket of their own, so a starter that dies costs nothing: it
//! is started again when it is missed.

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
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
    process::{Pid, Signal, kill_process},
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::Shutdown,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

/// How long what belongs to a run may take to end after SIGTERM, before SIGKILL.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// How long a supervisor may take to say that it has an order.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// How often a starter is asked for a supervisor, if it ends meanwhile.
const TRIES_MAX: u32 = 3;
/// So many supervisors are kept for later runs.
const IDLE_MAX: usize = 16;
/// Descriptors that come with an order: the input, the lock, the errors.
const GIVEN: usize = 3;

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
    /// Where the end is kept for a later service; `None`: the command ends with the service.
    pub(super) kept: Option<PathBuf>,
}

/// What a supervisor reports, each as one line.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// The command could not be started, for this reason.
    Failed(String),
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
    /// Supervisors whose runs have ended.
    idle: Vec<UnixStream>,
}

/// Who supervises a run.
#[derive(Debug)]
pub(super) struct Supervising {
    /// Reports by lines what comes of the run, and takes requests.
    pub(super) stream: UnixStream,
    /// The number of its process.
    pub(super) pid: Option<Pid>,
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
    ) -> io::Result<Supervising> {
        let order = serde_json::to_vec(order)?;
        let length = u32::try_from(order.len()).map_err(io::Error::other)?;
        let order = [&length.to_be_bytes(), order.as_slice()].concat();
        let given = [input.as_fd(), lock.as_fd(), errors.as_fd()];
        let idle = std::iter::from_fn(|| self.0.lock().idle.pop()).map(Ok);
        for stream in idle.chain((0..TRIES_MAX).map(|_| self.supervisor())) {
            let stream = stream?;
            stream.set_write_timeout(Some(TAKEN_WITHIN))?;
            // One that goes now takes the order along, and nothing was started.
            let sent = send::<GIVEN>(&stream, &given).and_then(|()| (&stream).write_all(&order));
            if sent.is_ok()
                && let Some(number) = self.taken_by(&stream)?
            {
                let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
                return Ok(Supervising { stream, pid });
            }
        }
        Err(io::Error::other(
            "the process that starts commands does not take it",
        ))
    }

    /// Keeps a supervisor for a later run: nothing is left of the one that it had, and nothing more was asked of it.
    pub(super) fn keep(&self, stream: UnixStream) {
        let mut link = self.0.lock();
        if link.idle.len() < IDLE_MAX {
            link.idle.push(stream);
        }
    }

    /// Waits until a supervisor has the order, which it says by its number. `None`: none has, and none will.
    fn taken_by(&self, mut stream: &UnixStream) -> io::Result<Option<u32>> {
        stream.set_read_timeout(Some(TAKEN_WITHIN))?;
        let mut number = [0; 4];
        loop {
            match stream.read(&mut number) {
                Ok(n) => return Ok((n == number.len()).then(|| u32::from_be_bytes(number))),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Someone may have stopped it. No supervisor starts anything from here on.
                    if let Some(starter) = i32::try_from(self.id()).ok().and_then(Pid::from_raw) {
                        let _ = kill_process(starter, Signal::CONT);
                    }
                    stream.shutdown(Shutdown::Both)?;
                }
                Err(_) => return Ok(None),
            }
        }
    }

    /// Has another supervisor forked.
    fn supervisor(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let given = [theirs.as_fd()];
        let mut link = self.0.lock();
        match send::<1>(&link.control, &given) {
            // It has gone: once more, with another one.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe || is_reset(&error) => {
                tracing::warn!("the process that starts commands has gone; it is started again");
                let again = Link::new(link.open_files)?;
                let mut gone = std::mem::replace(&mut *link, again);
                let _ = gone.child.try_wait();
                send::<1>(&link.control, &given)?;
            }
            sent => sent?,
        }
        Ok(ours)
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
            idle: Vec::new(),
        })
    }
}

/// Sends descriptors with one byte.
fn send<const N: usize>(stream: &UnixStream, descriptors: &[BorrowedFd<'_>; N]) -> io::Result<()> {
    // Room for as many as anybody sends.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(GIVEN))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let one = [IoSlice::new(b"r")];
    sendmsg(stream, &one, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives what [`send`] sends. `None`: it is not whole. An error: there will be no more.
fn receive<const N: usize>(stream: &UnixStream) -> io::Result<Option<[OwnedFd; N]>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(GIVEN))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0_u8; 1];
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut given: Vec<OwnedFd> = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            given.extend(descriptors);
        }
    }
    Ok(given.try_into().ok())
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
