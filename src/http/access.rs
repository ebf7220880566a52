//! The access log: exactly one line per request, written when its answer has been sent or dropped. It is
//! counted then.
//!
//! A line never holds credentials, a query or a body. What a client has chosen is bounded: the path, how its
//! program calls itself, and what of its request is quoted in the reason of a 400. These and the user are
//! written as strings, which every log format quotes and escapes. An answer that did not reach its last byte
//! says `aborted`.

use crate::{domain::JobName, metrics::Requests, service::Fault};
use http::{HeaderValue, Method, StatusCode, header::USER_AGENT, request::Parts};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

/// What the line of one request will say. Dropping it writes the line.
#[derive(Debug)]
pub(super) struct AccessLine {
    /// How the client's program calls itself.
    agent: String,
    begun: Instant,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) dialect: &'static str,
    pub(super) fault: &'static str,
    /// The last byte of the answer has been handed over.
    pub(super) finished: bool,
    /// The answer is a document, or a part of one.
    pub(super) is_download: bool,
    pub(super) job: Option<JobName>,
    method: Method,
    metrics: Requests,
    path: String,
    peer: Peer,
    /// What was wrong with a request.
    reason: String,
    pub(super) request_id: String,
    pub(super) tenant: String,
    pub(super) status: Option<StatusCode>,
    pub(super) user: Option<Arc<str>>,
}

/// Who sends a request: the other end of the connection, or whom a trusted proxy there speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) client: IpAddr,
    pub(super) socket: SocketAddr,
}

impl From<SocketAddr> for Peer {
    fn from(socket: SocketAddr) -> Self {
        let client = socket.ip();
        Self { client, socket }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client == self.socket.ip() {
            true => self.socket.fmt(f),
            false => self.client.fmt(f),
        }
    }
}

impl Peer {
    /// The proxy that speaks for the client.
    fn proxy(self) -> Option<SocketAddr> {
        (self.client != self.socket.ip()).then_some(self.socket)
    }
}

/// Longest part of what a client has chosen that is logged, each.
const TEXT_BYTES_MAX: usize = 256;

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

impl AccessLine {
    pub(super) fn begin(head: &Parts, peer: Peer, request_id: String, metrics: &Requests) -> Self {
        let agent = head.headers.get(USER_AGENT).map(HeaderValue::as_bytes);
        let agent = String::from_utf8_lossy(agent.unwrap_or_default());
        Self {
            agent: bounded(&agent),
            begun: Instant::now(),
            bytes_in: 0,
            bytes_out: 0,
            dialect: "",
            fault: "",
            finished: false,
            is_download: false,
            job: None,
            method: head.method.clone(),
            metrics: metrics.clone(),
            path: bounded(head.uri.path()),
            peer,
            reason: String::new(),
            request_id,
            tenant: String::new(),
            status: None,
            user: None,
        }
    }

    /// The request was wrong, and this is what its sender is told of it.
    pub(super) fn wrong(&mut self, reason: &str) {
        self.reason = bounded(reason.trim_end());
    }

    /// The same of a fault that says what is wrong with the request.
    pub(super) fn failed(&mut self, fault: &Fault) {
        self.fault = word(fault);
        match fault {
            Fault::Field { field, reason } => self.wrong(&format!("{field}: {reason}")),
            Fault::Invalid { reason } => self.wrong(reason),
            Fault::UnknownInterface { interface } => {
                self.wrong(&format!("unknown interface {interface}"));
            }
            Fault::Refused { job, .. } => self.job = Some(job.clone()),
            Fault::Busy { .. }
            | Fault::Conflict { .. }
            | Fault::Forbidden { .. }
            | Fault::Internal
            | Fault::MethodNotAllowed { .. }
            | Fault::NoSuchPath
            | Fault::NotValid { .. }
            | Fault::TimedOut
            | Fault::TooLarge { .. }
            | Fault::TooMany { .. }
            | Fault::Unauthorized
            | Fault::UnknownFile { .. }
            | Fault::UnknownJob { .. }
            | Fault::UnknownTenant { .. }
            | Fault::Unsupported { .. } => {}
        }
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        let status = self.status.map_or(0, |status| status.as_u16());
        self.metrics.ended(self.dialect, status, took.as_secs_f64());
        if self.is_download && self.finished {
            self.metrics.downloaded();
        }
        let job = self.job.as_ref().map(JobName::to_string);
        let via = self.peer.proxy().map(|proxy| proxy.to_string());
        tracing::info!(
            target: "access",
            request = self.request_id.as_str(),
            tenant = self.tenant.as_str(),
            peer = %self.peer,
            via = via.as_deref().unwrap_or_default(),
            user = self.user.as_deref().unwrap_or_default(),
            method = self.method.as_str(),
            path = self.path.as_str(),
            status,
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            dialect = self.dialect,
            job = job.as_deref().unwrap_or_default(),
            fault = self.fault,
            reason = self.reason.as_str(),
            agent = self.agent.as_str(),
            end = if self.finished { "complete" } else { "aborted" },
        );
    }
}

/// A fault's name in the log.
fn word(fault: &Fault) -> &'static str {
    match fault {
        Fault::Busy { .. } => "busy",
        Fault::Conflict { .. } => "conflict",
        Fault::Field { .. } => "field",
        Fault::Forbidden { .. } => "forbidden",
        Fault::Internal => "internal",
        Fault::Invalid { .. } => "invalid",
        Fault::MethodNotAllowed { .. } => "method_not_allowed",
        Fault::NoSuchPath => "no_such_path",
        Fault::NotValid { .. } => "not_valid",
        Fault::Refused { .. } => "refused",
        Fault::TimedOut => "timed_out",
        Fault::TooLarge { .. } => "too_large",
        Fault::TooMany { .. } => "too_many",
        Fault::Unauthorized => "unauthorized",
        Fault::UnknownFile { .. } => "unknown_file",
        Fault::UnknownInterface { .. } => "unknown_interface",
        Fault::UnknownJob { .. } => "unknown_job",
        Fault::UnknownTenant { .. } => "unknown_tenant",
        Fault::Unsupported { .. } => "unsupported",
    }
}
