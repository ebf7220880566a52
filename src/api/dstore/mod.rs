//! The native dialect: XML documents in and out under `/xml/`, answers in plain text,
//! and those to faults as JSON where a request asks for it.
//!
//! Source: the dStore contract; each of its rows has a file of examples in
//! `tests/golden/dstore/`, which the tests below run. This folder only translates: it decides
//! nothing about rights, interfaces or jobs, and has no state.

mod digest;
mod parameters;
mod problem;
mod render;
mod router;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use super::{Dialect, Intake, Payload};
use crate::service::{Command, Fault, Reply};
use http::{Response, request::Parts};

/// Where everything of this dialect lives.
const ROOT: &str = "/xml";

#[derive(Debug)]
pub(super) struct DStore;

impl Dialect for DStore {
    fn name(&self) -> &'static str {
        "dstore"
    }

    fn owns(&self, path: &str) -> bool {
        path.strip_prefix(ROOT)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn intake(&self, head: &Parts) -> Intake {
        router::intake(head)
    }

    fn parse(&self, head: &Parts, small: &[u8]) -> Result<Command, Fault> {
        router::parse(head, small)
    }

    fn render(&self, _head: &Parts, reply: Reply) -> Response<Payload> {
        render::reply(reply)
    }

    fn render_fault(&self, head: &Parts, fault: &Fault) -> Response<Payload> {
        render::fault(fault, problem::is_wanted(&head.headers))
    }

    fn openapi(&self) -> &'static str {
        include_str!("openapi.json")
    }
}
