//! Is a file still being written? The kernel answers exactly.
//!
//! A read lease is refused with `EAGAIN` while any process has the file open for writing. Leases on
//! another owner's file need `CAP_LEASE`, and some filesystems have none: then it cannot be known.
//!
//! One of three files with `unsafe` code (the others are `daemon/memory.rs` and `http/delivery.rs`): no crate in use offers
//! `F_SETLEASE`.

use rustix::fs::{Mode, OFlags};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

/// Whether a process has a file open for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    None,
    Some,
    /// There are no leases for it.
    Unknown,
}

/// Whether a process has the regular file open for writing.
///
/// # Errors
/// When it cannot be opened for reading, or has gone: whether anyone writes it is not known.
pub(super) fn writers(path: &Path) -> io::Result<Writers> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd: OwnedFd = rustix::fs::open(path, flags, Mode::empty())?;
    match take_read_lease(&fd) {
        // Closing the descriptor ends the lease.
        Ok(()) => Ok(Writers::None),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Writers::Some),
        Err(_) => Ok(Writers::Unknown),
    }
}

/// True when this process may take leases on files of other users: it is root or has `CAP_LEASE`. A
/// service that may not cannot say whether another user still writes a dropped file, and waits for the
/// close that it sees, or for [`QUIET`](super::QUIET).
pub fn leases_on_any_file() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|all| all.effective.contains(rustix::thread::CapabilitySet::LEASE))
}

/// True when leases work for the file; used by the probe.
///
/// # Errors
/// When it cannot be opened.
pub(super) fn leases_work(path: &Path) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd: OwnedFd = rustix::fs::open(path, flags, Mode::empty())?;
    Ok(take_read_lease(&fd).is_ok())
}

/// `fcntl(2)`: which signal tells the holder that another process wants to write.
const F_SETSIG: libc::c_int = 10;

/// A process that opens the file for writing while we hold the lease has a signal sent to us. By
/// default that is SIGIO, which ends the process; SIGURG is ignored unless it is asked for.
fn take_read_lease(fd: &OwnedFd) -> io::Result<()> {
    fcntl(fd, F_SETSIG, libc::SIGURG)?;
    fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK)
}

#[allow(unsafe_code)]
fn fcntl(fd: &OwnedFd, command: libc::c_int, argument: libc::c_int) -> io::Result<()> {
    // SAFETY: F_SETSIG and F_SETLEASE take an open descriptor, which `fd` is for the whole call,
    // and an integer; they read and write no memory of ours.
    let outcome = unsafe { libc::fcntl(fd.as_raw_fd(), command, argument) };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_complete_when_its_last_writer_has_closed_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let first = std::fs::File::create(&path).unwrap();
        let second = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        assert_eq!(writers(&path).unwrap(), Writers::Some);
        drop(first);
        assert_eq!(writers(&path).unwrap(), Writers::Some);
        drop(second);
        let reader = std::fs::File::open(&path).unwrap();
        assert_eq!(writers(&path).unwrap(), Writers::None);
        drop(reader);
    }

    /// The default signal of a broken lease would end this very process.
    #[test]
    fn a_writer_that_comes_while_the_lease_is_held_costs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "x").unwrap();
        let reader = OwnedFd::from(std::fs::File::open(&path).unwrap());
        take_read_lease(&reader).unwrap();
        let flags = OFlags::WRONLY | OFlags::NONBLOCK;
        let writer = rustix::fs::open(&path, flags, Mode::empty());
        assert_eq!(writer.unwrap_err(), rustix::io::Errno::WOULDBLOCK);
    }
}
