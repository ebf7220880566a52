//! Every bound of the server in one place, each with its reason.
//!
//! A limit that is reached costs the client that reached it and no one else. Durations are
//! fields, so that tests can make them short and a configuration can change them.

use crate::peer::Networks;
use std::{sync::Arc, time::Duration};

/// Connections of one listener. Each may hold up to [`Limits::buffer_bytes_max`] while it reads.
const CONNECTIONS_MAX: usize = 4096;
/// An eighth of all: one address cannot lock out the rest, and a proxy in front still gets far.
const PER_ADDRESS_MAX: usize = 512;
/// Room for large cookies and tokens of proxies; the dialects need less than 1 KiB.
const HEADER_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 100;
/// Parameters may stand in the query; a form in a body takes more.
const URI_BYTES_MAX: usize = 8 * 1024;
/// What HTTP/1 reads ahead or collects to write, per connection.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Streams per HTTP/2 connection: enough for a busy proxy, little enough to hold in memory.
const STREAMS_MAX: u32 = 128;
/// A handshake is two round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From the first byte of a request, or from the connection's start, to the end of its head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Without a byte of the body for so long, the client is taken for dead.
const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A client may stay under this rate as long as its waits add up to `BODY_IDLE_TIMEOUT` only.
const BODY_RATE_MIN: u64 = 1024;
/// A whole body: 100 MB at 1 Mbit/s takes 14 minutes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Between requests. Above the usual minute, so that a client that polls each minute stays.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);
/// Without room for another piece of an answer for so long, the client does not read any more.
const SEND_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// For what is left to say and hear on a connection that is about to end.
const LINGERING_CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a silent HTTP/2 peer is asked whether it is still there, and how long it may think.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// What may be read on a connection while no request begins or moves. Pings, settings and window
/// updates are small; twice the window for bodies (see `connection`).
const IDLE_BYTES_MAX: u64 = 1024 * 1024;
/// Deadlines of a listener whose every answer is one line.
const HURRIED_TIMEOUT: Duration = Duration::from_secs(5);

/// What a listener allows its clients.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub body_idle_timeout: Duration,
    /// Bytes per second.
    pub body_rate_min: u64,
    pub buffer_bytes_max: usize,
    pub connections_max: usize,
    pub lingering_close_timeout: Duration,
    pub handshake_timeout: Duration,
    pub header_bytes_max: usize,
    pub header_timeout: Duration,
    pub headers_max: usize,
    pub idle_bytes_max: u64,
    pub keep_alive_timeout: Duration,
    pub per_address_max: usize,
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// Connections of trusted proxies begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    pub request_timeout: Duration,
    pub send_idle_timeout: Duration,
    pub streams_max: u32,
    /// Who is believed when it says for whom it speaks.
    pub trusted_proxies: Arc<Networks>,
    pub uri_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_idle_timeout: BODY_IDLE_TIMEOUT,
            body_rate_min: BODY_RATE_MIN,
            buffer_bytes_max: BUFFER_BYTES_MAX,
            connections_max: CONNECTIONS_MAX,
            lingering_close_timeout: LINGERING_CLOSE_TIMEOUT,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            header_bytes_max: HEADER_BYTES_MAX,
            header_timeout: HEADER_TIMEOUT,
            headers_max: HEADERS_MAX,
            idle_bytes_max: IDLE_BYTES_MAX,
            keep_alive_timeout: KEEP_ALIVE_TIMEOUT,
            per_address_max: PER_ADDRESS_MAX,
            ping_interval: PING_INTERVAL,
            ping_timeout: PING_TIMEOUT,
            proxy_protocol: false,
            request_timeout: REQUEST_TIMEOUT,
            send_idle_timeout: SEND_IDLE_TIMEOUT,
            streams_max: STREAMS_MAX,
            trusted_proxies: Arc::default(),
            uri_bytes_max: URI_BYTES_MAX,
        }
    }
}

impl Limits {
    /// The same, for a listener whose every answer is one line.
    pub(super) fn hurried(mut self) -> Self {
        for timeout in [
            &mut self.header_timeout,
            &mut self.keep_alive_timeout,
            &mut self.send_idle_timeout,
        ] {
            *timeout = (*timeout).min(HURRIED_TIMEOUT);
        }
        self
    }
}
