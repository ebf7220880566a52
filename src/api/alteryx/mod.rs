//! Jobs of workflows as version 3 of a server API knows them: JSON, bearer tokens.
//!
//! Source: the Alteryx contract; each of its rows has a file of examples in
//! `tests/golden/alteryx/`, which the tests below run. This folder only translates: it decides
//! nothing about rights, interfaces or jobs, and has no state.
//!
//! Where the contract is silent: paths, members, parameters and their values may be written in
//! any case, and a path may end in `/`. `appId` is the workflow as its client named it. An
//! output's id is its number, from 0, as 24 hexadecimal digits. A job is `Queued` from the answer
//! that made it on, so none is `Created`. What has neither ended well nor failed has the
//! disposition `None`. Without messages, a job has all its other members. A job that was deleted
//! while it waited is gone for everyone here.

mod render;
mod router;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use super::{Credentials, Dialect, Intake, Payload, oauth};
use crate::service::{Command, Fault, Reply};
use http::{Method, Response, request::Parts};
use router::Route;

/// The first segment of all its paths.
const ROOT: &str = "webapi";
/// Longest request for a job.
const BODY_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Alteryx;

impl Dialect for Alteryx {
    fn name(&self) -> &'static str {
        "alteryx"
    }

    fn owns(&self, path: &str) -> bool {
        let path = path.trim_start_matches('/');
        let root = path.split_once('/').map(|(root, _)| root);
        root.is_some_and(|root| root.eq_ignore_ascii_case(ROOT))
    }

    fn credentials(&self, head: &Parts) -> Credentials {
        match Route::of(head.uri.path()) == Some(Route::Token) {
            true => Credentials::Open,
            false => Credentials::Bearer {
                scope: None,
                api_key: false,
            },
        }
    }

    fn intake(&self, head: &Parts) -> Intake {
        let bytes_max = match Route::of(head.uri.path()) {
            _ if head.method != Method::POST => return Intake::Stream,
            Some(Route::Jobs(_)) => BODY_BYTES_MAX,
            Some(Route::Token) => oauth::FORM_BYTES_MAX,
            Some(
                Route::Job(_)
                | Route::Messages(_)
                | Route::Output(..)
                | Route::Questions(_)
                | Route::Workflow(_)
                | Route::Workflows,
            )
            | None => return Intake::Stream,
        };
        Intake::Small { bytes_max }
    }

    fn parse(&self, head: &Parts, small: &[u8]) -> Result<Command, Fault> {
        router::parse(head, small)
    }

    fn render(&self, head: &Parts, reply: Reply) -> Response<Payload> {
        render::reply(head, reply)
    }

    fn render_fault(&self, head: &Parts, fault: &Fault) -> Response<Payload> {
        render::fault(head, fault)
    }

    fn openapi(&self) -> &'static str {
        include_str!("openapi.json")
    }
}
