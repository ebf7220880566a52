//! Has the client's kernel got everything that was written to a connection?
//!
//! A socket takes megabytes from us before the client has seen one of them, so what was written,
//! or even sent, says nothing of what arrived. What the client's kernel has acknowledged does: the
//! socket's queue of unsent and unacknowledged bytes is empty. The kernel does not notify of that
//! moment, so the queue is polled until it comes.
//!
//! The third file with `unsafe` code (beside `store/fs/lease.rs` and `daemon/memory.rs`): no crate in
//! use offers `TIOCOUTQ`.

use crate::util::doubled;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::Timespec,
    ioctl::{Getter, Opcode, ioctl},
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    time::{self, Instant},
};
use tokio_rustls::server::TlsStream;

/// From the first poll to the second; doubled until [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// A byte stream with a socket below.
pub(super) trait Wire {
    fn socket(&self) -> BorrowedFd<'_>;
}

impl Wire for TcpStream {
    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Wire for TlsStream<TcpStream> {
    fn socket(&self) -> BorrowedFd<'_> {
        self.get_ref().0.as_fd()
    }
}

/// Waits until the client has acknowledged all that was written to its socket. False when the
/// connection broke before, or did not get there within `patience`.
pub(super) async fn delivered(socket: OwnedFd, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    let mut looks = 0;
    loop {
        match state_of(&socket) {
            Ok(Some(delivered)) => return delivered,
            Ok(None) if Instant::now() >= until => return false,
            Ok(None) => time::sleep(doubled(PAUSE_MIN, looks, PAUSE_MAX)).await,
            Err(error) => {
                tracing::error!(%error, "the kernel does not say what was delivered");
                return false;
            }
        }
        looks += 1;
    }
}

/// `None`: not yet.
fn state_of(socket: &OwnedFd) -> io::Result<Option<bool>> {
    // In this order: once the connection is broken, the queue is what it will ever be.
    let broken = is_broken(socket)?;
    let all = unacknowledged(socket)? == 0;
    Ok((all || broken).then_some(all))
}

/// Leaves the socket's error to the code that reads from it.
fn is_broken(socket: &OwnedFd) -> io::Result<bool> {
    let mut polled = [PollFd::new(socket, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec::default()))?;
    Ok(polled[0]
        .revents()
        .intersects(PollFlags::ERR | PollFlags::HUP))
}

/// Bytes that were written and not acknowledged, sent or not.
#[allow(unsafe_code)]
fn unacknowledged(socket: &OwnedFd) -> io::Result<libc::c_int> {
    const TIOCOUTQ: Opcode = libc::TIOCOUTQ as Opcode;
    // SAFETY: `tcp(7)`, SIOCOUTQ, which is the same number: it takes a pointer to an int, sets it,
    // and touches nothing else.
    let n_bytes = unsafe { ioctl(socket, Getter::<TIOCOUTQ, libc::c_int>::new()) };
    Ok(n_bytes?)
}
