//! One connection: the HTTP version that was agreed on, its deadlines, and how it ends.
//!
//! The version is known before hyper comes in (ALPN, or the first bytes), so hyper never has to
//! guess it, which it would do without any deadline. Both builders get a timer; without one
//! hyper's own timeouts are silently off.

use super::{
    Limits,
    activity::{ConnectionActivity, Protocol},
    body::Body,
    delivery::Wire,
    request::CutOff,
    stream::Stream,
};
use crate::metrics::Listener;
use hyper::{
    Request, Response,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use std::{fmt::Display, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time,
};
use tokio_util::sync::CancellationToken;

/// HTTP/2's window for bodies, of a connection and of each of its streams.
const WINDOW_BYTES: u32 = 512 * 1024;

/// What all connections of a listener have in common.
pub(super) struct ConnectionSettings {
    pub(super) limits: Arc<Limits>,
    pub(super) metrics: Listener,
    pub(super) stop: CancellationToken,
}

impl ConnectionSettings {
    pub(super) fn new(limits: Limits, metrics: Listener, stop: CancellationToken) -> Self {
        Self {
            limits: Arc::new(limits),
            metrics,
            stop,
        }
    }

    /// What `begin` gives, if it ends before the stop or a short while after it: who has just connected is served still, and
    /// who says nothing keeps no one waiting for the next process.
    pub(super) async fn unless_stopped<T>(&self, begin: impl Future<Output = T>) -> Option<T> {
        let stopped = async {
            self.stop.cancelled().await;
            time::sleep(self.limits.lingering_close_timeout).await;
        };
        tokio::select! {
            begun = begin => Some(begun),
            () = stopped => None,
        }
    }

    /// The same, for connections whose every answer is one line.
    pub(super) fn in_a_hurry(&self) -> Self {
        let limits = Limits::clone(&self.limits).hurried();
        Self::new(limits, self.metrics.clone(), self.stop.clone())
    }
}

/// What a client without TLS begins to speak. It need not learn in advance that we speak HTTP/2;
/// of the methods of HTTP/1.1 none begins like its preface.
pub(super) async fn spoken(tcp: &TcpStream, deadline: Duration) -> Protocol {
    let mut begin = [0; 4];
    match time::timeout(deadline, tcp.peek(&mut begin)).await {
        Ok(Ok(4)) if begin == *b"PRI " => Protocol::Http2,
        _ => Protocol::Http1,
    }
}

/// What a client begins with where TLS is expected.
pub(super) enum Opening {
    Tls,
    /// HTTP, without TLS.
    Clear(Protocol),
    /// A header of the PROXY protocol, from a peer that is not trusted to send one.
    Proxy,
}

/// How a client begins; `None`: it says nothing in time, or has gone. The first byte decides: that of
/// a handshake is no letter, and every method of HTTP begins with one.
pub(super) async fn opening(tcp: &TcpStream, deadline: Duration) -> Option<Opening> {
    let mut begin = [0; 6];
    let peeked = time::timeout(deadline, tcp.peek(&mut begin)).await;
    match &begin[..peeked.ok()?.ok()?] {
        [] => None,
        b"PROXY " | [b'\r', b'\n', ..] => Some(Opening::Proxy),
        [b'P', b'R', b'I', b' ', ..] => Some(Opening::Clear(Protocol::Http2)),
        [first, ..] if first.is_ascii_alphabetic() => Some(Opening::Clear(Protocol::Http1)),
        _ => Some(Opening::Tls),
    }
}

/// Serves a connection until one side ends it, it has been silent for too long, or the server
/// stops and the requests in flight are answered, the first one of a new connection included.
pub(super) async fn drive<Io, Answer, Answering>(
    io: Io,
    protocol: Protocol,
    activity: Arc<ConnectionActivity>,
    answer: Answer,
    settings: &ConnectionSettings,
) where
    Io: AsyncRead + AsyncWrite + Send + Unpin + Wire + 'static,
    Answer: Fn(Request<Incoming>) -> Answering + Send + 'static,
    Answering: Future<Output = Result<Response<Body>, CutOff>> + Send + 'static,
{
    let limits = &settings.limits;
    let io = TokioIo::new(Stream::new(io, activity.clone(), limits));
    let service = service_fn(answer);
    match protocol {
        Protocol::Http1 => {
            let connection = http1_builder(limits).serve_connection(io, service);
            guard(connection, &activity, settings).await;
        }
        Protocol::Http2 => {
            let connection = http2_builder(limits).serve_connection(io, service);
            // Boxed: twice as large, and most connections are not of that kind.
            Box::pin(guard(connection, &activity, settings)).await;
        }
    }
}

async fn guard<C>(connection: C, activity: &ConnectionActivity, settings: &ConnectionSettings)
where
    C: GracefulConnection,
    C::Error: Display,
{
    let mut connection = pin!(connection);
    let (mut stopping, mut closing) = (false, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = settings.stop.cancelled(), if !stopping => stopping = true,
            // Who has just connected cannot know of the stop: the first request is answered.
            () = activity.begun(), if stopping && !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = activity.overdue(&settings.limits, stopping) => break,
        }
    }
    // An idle client is notified that the connection ends; one that is stuck is dropped soon after.
    connection.as_mut().graceful_shutdown();
    let lingering_close = time::timeout(settings.limits.lingering_close_timeout, connection).await;
    tracing::debug!(
        dropped = lingering_close.is_err(),
        "connection was silent for too long"
    );
}

fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // hyper counts the idle time between requests as reading a head. The shorter deadline
        // for a head that has begun is the activity's.
        .header_read_timeout(limits.keep_alive_timeout.max(limits.header_timeout))
        .max_buf_size(limits.buffer_bytes_max)
        .max_header_size(limits.header_bytes_max)
        .max_headers(limits.headers_max);
    builder
}

fn http2_builder(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        // What may arrive of bodies that no one has read yet is far below what ends a connection
        // for sending what moves no request.
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_timeout)
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX));
    builder
}
