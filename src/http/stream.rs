//! A connection's byte stream, as hyper sees it: reports what comes in to the activity, reads no
//! more of who sends too much that moves no request, completes what the client has got whole, and
//! ends politely.
//!
//! The end waits for what is to be completed: a client that has its document may close immediately,
//! and answers our closing alert with a reset, after which it is unknown what the client has received.
//!
//! When a server closes a socket in which unread bytes wait, the kernel answers with a reset, and
//! a client that is still sending may lose the answer that explains why. So after the last byte
//! has been sent, what still comes in is read and dropped, for a short time.

use super::{
    Limits,
    activity::ConnectionActivity,
    delivery::{Wire, delivered},
};
use crate::service::Completion;
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
use tokio_util::task::TaskTracker;

const SCRATCH_BYTES: usize = 8 * 1024;

pub(super) struct Stream<T> {
    inner: T,
    activity: Arc<ConnectionActivity>,
    /// The waits for what the client has not acknowledged yet.
    deliveries: TaskTracker,
    delivery_timeout: Duration,
    lingering_close: LingeringClose,
    lingering_close_timeout: Duration,
    idle_bytes_max: u64,
    /// The client has sent too much: nothing more is read.
    is_deaf: bool,
}

enum LingeringClose {
    NotYet,
    Delivering(Pin<Box<dyn Future<Output = ()> + Send>>),
    Closing,
    Draining(Pin<Box<Sleep>>),
}

impl<T> Stream<T> {
    pub(super) fn new(inner: T, activity: Arc<ConnectionActivity>, limits: &Limits) -> Self {
        Self {
            inner,
            activity,
            deliveries: TaskTracker::new(),
            delivery_timeout: limits.send_idle_timeout,
            lingering_close: LingeringClose::NotYet,
            lingering_close_timeout: limits.lingering_close_timeout,
            idle_bytes_max: limits.idle_bytes_max,
            is_deaf: false,
        }
    }
}

impl<T: Wire> Stream<T> {
    /// All that hyper had to send has been handed to the kernel.
    fn flushed(&self) {
        let sent = self.activity.flushed();
        if sent.is_empty() {
            return;
        }
        let socket = match self.inner.socket().try_clone_to_owned() {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(%error, "nobody knows whether a download arrived");
                return;
            }
        };
        let patience = self.delivery_timeout;
        self.deliveries.spawn(async move {
            if delivered(socket, patience).await {
                sent.into_iter().for_each(Completion::completed);
            }
        });
    }
}

impl<T: AsyncRead + Unpin> Stream<T> {
    /// Reads and drops until the client has closed its side, fails, or uses up the time.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let LingeringClose::Draining(until) = &mut self.lingering_close else {
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
        if self.is_deaf {
            // The activity has been notified, and ends the connection.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let n_bytes = buffer.filled().len() - before;
        if n_bytes > 0 {
            self.is_deaf = !self.activity.received(n_bytes, self.idle_bytes_max);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin + Wire> AsyncWrite for Stream<T> {
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
        self.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.lingering_close, LingeringClose::NotYet) {
            ready!(self.as_mut().poll_flush(cx))?;
            self.deliveries.close();
            let deliveries = self.deliveries.clone();
            let all = Box::pin(async move { deliveries.wait().await });
            self.lingering_close = LingeringClose::Delivering(all);
        }
        if let LingeringClose::Delivering(all) = &mut self.lingering_close {
            ready!(all.as_mut().poll(cx));
            self.lingering_close = LingeringClose::Closing;
        }
        if matches!(self.lingering_close, LingeringClose::Closing) {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            if !self.activity.is_cut_short() {
                return Poll::Ready(Ok(()));
            }
            let until = Box::pin(time::sleep(self.lingering_close_timeout));
            self.lingering_close = LingeringClose::Draining(until);
        }
        self.poll_drain(cx).map(Ok)
    }
}
