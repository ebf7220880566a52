//! Processes that are started now or at moments to come: JSON in, a UUID out, output variables.
//!
//! Source: the Robusta contract; each of its rows has a file of examples in
//! `tests/golden/robusta/`, which the tests below run. This folder only translates: it decides
//! nothing about rights, interfaces, moments or jobs, and has no state.
//!
//! Where the contract is silent: the answer to a start has status 200. A member that is empty or
//! `null` counts as left out. A process that is cancelled has failed.

mod render;
mod router;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use super::{Dialect, Intake, Payload};
use crate::service::{Command, Fault, Reply};
use http::{Method, Response, request::Parts};
use router::Route;

/// Longest request for a start: it is in memory before anything else is decided.
const BODY_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Robusta;

impl Dialect for Robusta {
    fn name(&self) -> &'static str {
        "robusta"
    }

    fn owns(&self, path: &str) -> bool {
        let mut segments = path.split('/').skip(1);
        segments.next() == Some("scheduler") && segments.next().is_some_and(router::is_api)
    }

    fn intake(&self, head: &Parts) -> Intake {
        match Route::of(head.uri.path()) {
            Some(Route::Start) if head.method == Method::POST => Intake::Small {
                bytes_max: BODY_BYTES_MAX,
            },
            Some(Route::Start | Route::Status(_)) | None => Intake::Stream,
        }
    }

    fn parse(&self, head: &Parts, small: &[u8]) -> Result<Command, Fault> {
        router::parse(head, small)
    }

    fn render(&self, _head: &Parts, reply: Reply) -> Response<Payload> {
        render::reply(reply)
    }

    fn render_fault(&self, _head: &Parts, fault: &Fault) -> Response<Payload> {
        render::fault(fault)
    }

    fn openapi(&self) -> &'static str {
        include_str!("openapi.json")
    }
}
