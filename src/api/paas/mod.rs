//! Processing tasks: JSON in, a numeric task and a capability for it out, files of results.
//!
//! Source: the PAAS contract; each of its rows has a file of examples in `tests/golden/paas/`,
//! which the tests below run. This folder only translates: it decides nothing about rights,
//! interfaces or jobs, and has no state.

mod render;
mod router;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use super::{Credentials, Dialect, Intake, Payload, percent};
use crate::service::{Command, Fault, Reply};
use http::{Response, request::Parts};
use std::borrow::Cow;

/// Where everything of this dialect lives.
const ROOT: &str = "/api/v1/";

#[derive(Debug)]
pub(super) struct Paas;

impl Dialect for Paas {
    fn name(&self) -> &'static str {
        "paas"
    }

    fn owns(&self, path: &str) -> bool {
        path.starts_with(ROOT)
    }

    /// Source: the PAAS contract, `{database}`.
    fn tenant<'h>(&self, head: &'h Parts) -> Option<Cow<'h, str>> {
        let database = head.uri.path().strip_prefix(ROOT)?.split('/').next()?;
        // What cannot be decoded is no one's name.
        Some(percent::decoded(database).unwrap_or(Cow::Borrowed(database)))
    }

    fn credentials(&self, head: &Parts) -> Credentials {
        router::credentials(head)
    }

    /// A task's body is the job itself; the other calls have none.
    fn intake(&self, _head: &Parts) -> Intake {
        Intake::Stream
    }

    fn parse(&self, head: &Parts, _small: &[u8]) -> Result<Command, Fault> {
        router::parse(head)
    }

    fn render(&self, head: &Parts, reply: Reply) -> Response<Payload> {
        render::reply(head, reply)
    }

    fn render_fault(&self, _head: &Parts, fault: &Fault) -> Response<Payload> {
        render::fault(fault)
    }

    fn openapi(&self) -> &'static str {
        include_str!("openapi.json")
    }
}
