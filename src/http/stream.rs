//! A connection's byte stream, as hyper sees it: tells the pulse what comes in and when all has
//! gone out, and ends politely.
//!
//! When a server closes a socket in which unread bytes wait, the kernel answers with a reset, and
//! a client that is still sending may lose the answer that explains why. So after the last byte
//! has been sent, what still comes in is read and dropped, for a short time.

use super::pulse::Pulse;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{self, Sleep},
};

const SCRATCH_BYTES: usize = 8 * 1024;

pub(super) struct Stream<T> {
    inner: T,
    pulse: Arc<Pulse>,
    farewell: Farewell,
    farewell_timeout: Duration,
}

enum Farewell {
    NotYet,
    Draining(Pin<Box<Sleep>>),
}

impl<T> Stream<T> {
    pub(super) fn new(inner: T, pulse: Arc<Pulse>, farewell_timeout: Duration) -> Self {
        Self {
            inner,
            pulse,
            farewell: Farewell::NotYet,
            farewell_timeout,
        }
    }
}

impl<T: AsyncRead + Unpin> Stream<T> {
    /// Reads and drops until the client has closed its side, fails, or uses up the time.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Farewell::Draining(until) = &mut self.farewell else {
            return Poll::Ready(());
        };
        if until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut scratch = [0; SCRATCH_BYTES];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.pulse.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.pulse.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.farewell, Farewell::NotYet) {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            self.pulse.flushed();
            if !self.pulse.is_cut_short() {
                return Poll::Ready(Ok(()));
            }
            let until = Box::pin(time::sleep(self.farewell_timeout));
            self.farewell = Farewell::Draining(until);
        }
        self.poll_drain(cx).map(Ok)
    }
}
