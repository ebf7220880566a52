//! What the starter asks of the kernel and no crate in use offers: fork, signals as a descriptor,
//! and what a command is started with.
//!
//! All of it happens in a process with one thread, so that between a fork and whatever follows
//! no one else can hold a lock.

use rustix::process::Pid;
use std::{
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
};

/// Which side of a fork this is.
pub(super) enum Forked {
    Child,
    Parent(Pid),
}

/// Forks a process with one thread.
#[allow(unsafe_code)]
pub(super) fn fork() -> io::Result<Forked> {
    // SAFETY: the starter has one thread, so the child finds every lock free and every invariant
    // whole, and may go on as any process does.
    let pid = unsafe { libc::fork() };
    match pid {
        0 => Ok(Forked::Child),
        1.. => Pid::from_raw(pid)
            .map(Forked::Parent)
            .ok_or_else(|| io::ErrorKind::Other.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes whatever the process has inherited besides the three standard descriptors.
#[allow(unsafe_code)]
pub(super) fn close_inherited() {
    // SAFETY: called first of all, when nothing in this process owns a descriptor above 2. Where
    // the kernel lacks the call, they stay.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
    }
}

/// Signals that are no longer delivered, but read.
pub(super) struct Signals(OwnedFd);

impl Signals {
    /// From now on these wait to be read, here and in what is forked.
    #[allow(unsafe_code)]
    pub(super) fn held(signals: &[libc::c_int]) -> io::Result<Self> {
        let set = set_of(signals);
        // SAFETY: the set is a whole one, and both calls only read it; the descriptor that comes
        // back is new and no one else's.
        unsafe {
            if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
            match libc::signalfd(-1, &raw const set, flags) {
                -1 => Err(io::Error::last_os_error()),
                descriptor => Ok(Self(OwnedFd::from_raw_fd(descriptor))),
            }
        }
    }

    /// The numbers of the signals that have come.
    pub(super) fn taken(&self) -> Vec<libc::c_int> {
        const BYTES: usize = size_of::<libc::signalfd_siginfo>();
        let mut taken = Vec::new();
        let mut one = [0_u8; BYTES];
        while let Ok(BYTES) = rustix::io::read(&self.0, &mut one) {
            // The number is the first of its fields.
            let number = u32::from_ne_bytes([one[0], one[1], one[2], one[3]]);
            taken.extend(libc::c_int::try_from(number));
        }
        taken
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[allow(unsafe_code)]
fn set_of(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset makes the whole set, and sigaddset changes it; a number that is no
    // signal is refused and changes nothing.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

/// What a command is started with besides its descriptors.
#[derive(Clone, Copy, Default)]
pub(super) struct Start {
    /// Address space of each process, in bytes.
    pub(super) memory_bytes_max: Option<u64>,
    pub(super) open_files_max: Option<u64>,
    /// The list of the processes of a control group, to enter it.
    pub(super) group: Option<libc::c_int>,
}

/// Has the command begin with every signal delivered as usual, within its limits and its group:
/// from its first instruction on.
#[allow(unsafe_code)]
pub(super) fn prepare(command: &mut Command, start: Start) {
    let none = set_of(&[]);
    let before = move || {
        let set = |resource, value: Option<u64>| match value {
            None => Ok(()),
            Some(value) => {
                let limit = libc::rlimit {
                    rlim_cur: value,
                    rlim_max: value,
                };
                // SAFETY: reads the limit, which lives.
                match unsafe { libc::setrlimit(resource, &raw const limit) } {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            }
        };
        // SAFETY: both only read memory that lives: the set was moved here, the text is static. A
        // group that is not entered is one help less, and no reason not to run.
        unsafe {
            if let Some(group) = start.group {
                let _ = libc::write(group, c"0".as_ptr().cast(), 1);
            }
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        }
        set(libc::RLIMIT_NOFILE, start.open_files_max)?;
        // Last, since it may leave no room for anything.
        set(libc::RLIMIT_AS, start.memory_bytes_max)
    };
    // SAFETY: between fork and exec it makes system calls only, and allocates nothing.
    unsafe {
        command.pre_exec(before);
    }
}
