//! An HTTP dialect: pure functions around one [`Command`] and one [`Reply`] or [`Fault`].
//!
//! A dialect is a folder with `router.rs` (request head → command), `render.rs` (reply or fault
//! → response) and `mod.rs`. It sees the gateway's vocabulary and `http` types, nothing else: no
//! files, no clock, no async, no other dialect. A new dialect is its folder and one line in the list
//! of `dialects!`.

#[cfg(test)]
mod golden;
mod headers;
mod json;
mod oauth;
mod openapi;
mod percent;

pub use openapi::description;

use crate::service::{Command, Download, Fault, Reply};
use bytes::Bytes;
use futures_util::Stream;
use http::{Response, request::Parts};
use std::{borrow::Cow, fmt, pin::Pin};

/// How a request's body is to be read before [`Dialect::parse`] is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Read whole, up to this many bytes, and handed to `parse` (a form, say). If it yields a new
    /// job, these bytes are its document.
    Small { bytes_max: u64 },
    /// Not read before `parse`: there is none, or it is the job itself.
    Stream,
}

/// How a request shows who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// By user and password.
    Basic,
    /// By a bearer token. It must have `scope`; where `scope` is `None`, only a token without scopes
    /// will do. `api_key`: with the header of that name besides.
    Bearer {
        scope: Option<&'static str>,
        api_key: bool,
    },
    /// By user and password if it has any, which must be right; else no one sends it.
    Open,
    /// No one sends it: its credentials are not looked at.
    Public,
}

/// The body of a response.
#[derive(Debug)]
pub enum Payload {
    Bytes(Bytes),
    /// The bytes are a job's; when `completion` is given, it is notified once the last one is sent.
    Completing(Bytes, crate::service::Completion),
    /// A file, streamed. Where the response says `Accept-Ranges: bytes`, a client that asks for a
    /// part of it gets that.
    File(Download),
    /// No body, but the headers of one with this many bytes (the answer to HEAD).
    HeadOf(u64),
    Stream(Pieces),
}

impl Payload {
    /// What a stylesheet has made of a job. `head`: only its headers are asked for.
    pub fn of_transformed(
        body: Bytes,
        head: bool,
        completion: Option<crate::service::Completion>,
    ) -> Self {
        match completion {
            _ if head => Self::HeadOf(body.len() as u64),
            Some(completion) => Self::Completing(body, completion),
            None => Self::Bytes(body),
        }
    }
}

/// A body of which nobody knows how long it will be. The next piece is asked for once there is room for it.
pub struct Pieces(pub Pin<Box<dyn Stream<Item = Bytes> + Send>>);

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pieces")
    }
}

pub trait Dialect: Send + Sync {
    /// The dialect's name in logs and job attributes.
    fn name(&self) -> &'static str;
    /// Is this path the dialect's? At most one dialect says yes to any path.
    fn owns(&self, path: &str) -> bool;
    /// The tenant that the request names in its own way; else the host says which it is for.
    fn tenant<'h>(&self, _head: &'h Parts) -> Option<Cow<'h, str>> {
        None
    }
    fn credentials(&self, _head: &Parts) -> Credentials {
        Credentials::Basic
    }
    fn intake(&self, head: &Parts) -> Intake;
    /// `small` is the body if [`Dialect::intake`] asked for it, else empty.
    ///
    /// # Errors
    /// When the request is no method of this dialect, or a parameter is missing or wrong. The fault
    /// is rendered for the client by [`Dialect::render_fault`].
    fn parse(&self, head: &Parts, small: &[u8]) -> Result<Command, Fault>;
    /// `head` is that of the request; its `X-Request-Id` is the one of the answer.
    fn render(&self, head: &Parts, reply: Reply) -> Response<Payload>;
    fn render_fault(&self, head: &Parts, fault: &Fault) -> Response<Payload>;
    /// Its part of the description: paths, and components that no other dialect has.
    fn openapi(&self) -> &'static str;
}

/// Declares the folder of each dialect, and the list of all: a dialect is one line. As `cargo fmt`
/// does not look into a macro for modules, it has to be pointed to these:
/// `cargo fmt -- src/api/*/*.rs`.
macro_rules! dialects {
    ($($(#[$when:meta])* $folder:ident::$dialect:ident,)*) => {
        $($(#[$when])* mod $folder;)*

        /// Every dialect that is served.
        pub static DIALECTS: &[&dyn Dialect] = &[$($(#[$when])* &$folder::$dialect,)*];
    };
}

dialects! {
    alteryx::Alteryx,
    dstore::DStore,
    ehealth::EHealth,
    paas::Paas,
    robusta::Robusta,
    #[cfg(test)] toy::Toy,
}

/// The dialect that owns a path.
pub fn of(path: &str) -> Option<&'static dyn Dialect> {
    DIALECTS.iter().copied().find(|dialect| dialect.owns(path))
}
