//! An HTTP dialect: pure functions around one [`Command`] and one [`Reply`] or [`Fault`].
//!
//! A dialect is a folder with `router.rs` (request head → command), `render.rs` (reply or fault
//! → response) and `mod.rs`. It sees the gateway's vocabulary and `http` types, nothing else: no
//! files, no clock, no async, no other dialect. A new dialect is its folder and one line in
//! [`DIALECTS`].

mod dstore;

use crate::gateway::{Command, Download, Fault, Reply};
use bytes::Bytes;
use http::{Response, request::Parts};

/// How a request's body is to be read before [`Dialect::parse`] is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Read whole, at most so many bytes, and handed to `parse` (a form, say).
    Small { bytes_max: u64 },
    /// Not read before `parse`: there is none, or it is the job itself.
    Stream,
}

/// The body of a response.
#[derive(Debug)]
pub enum Payload {
    Bytes(Bytes),
    /// The bytes are a job's; when `completion` is given, it is told once the last one is sent.
    Completing(Bytes, crate::gateway::Completion),
    /// A job's file, streamed.
    File(Download),
    /// No body, but the headers of one of so many bytes (the answer to HEAD).
    HeadOf(u64),
}

pub trait Dialect: Send + Sync {
    /// The dialect's name in logs and job attributes.
    fn name(&self) -> &'static str;
    /// Is this path the dialect's? At most one dialect says yes to any path.
    fn owns(&self, path: &str) -> bool;
    fn intake(&self, head: &Parts) -> Intake;
    /// `small` is the body if [`Dialect::intake`] asked for it, else empty.
    fn parse(&self, head: &Parts, small: &[u8]) -> Result<Command, Fault>;
    fn render(&self, reply: Reply) -> Response<Payload>;
    fn render_fault(&self, fault: &Fault) -> Response<Payload>;
}

/// Every dialect that is served.
pub static DIALECTS: &[&dyn Dialect] = &[&dstore::DStore];

/// The dialect that owns a path.
pub fn of(path: &str) -> Option<&'static dyn Dialect> {
    DIALECTS.iter().copied().find(|dialect| dialect.owns(path))
}
