//! Jobs of workflows as version 3 of a server API knows them: JSON, bearer tokens.
//!
//! Source: the Alteryx contract; each of its rows has a file of examples in
//! `tests/golden/alteryx/`, which the tests below run. This folder only translates: it decides
//! nothing about rights, interfaces or jobs, and has no state.
//!
//! Where the contract is silent: paths, members, parameters and their values may be written in
//! any case, and a path may end in `/`. `appId` is the interface's name, so it can be used as a
//! `workflowId`. An output's id is its number, from 0, as 24 hexadecimal digits. A job is
//! `Queued` from the answer that made it on, so none is `Created`. What has neither ended well
//! nor failed has the disposition `None`. Without messages, a job has all its other members.

mod render;
mod router;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use super::{Access, Dialect, Intake, Payload, oauth};
use crate::gateway::{Command, Fault, Reply};
use http::{Method, Response, request::Parts};
use router::Route;

/// Where everything of this dialect lives.
const ROOT: &str = "/webapi/";
/// Longest request for a job.
const BODY_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Alteryx;

impl Dialect for Alteryx {
    fn name(&self) -> &'static str {
        "alteryx"
    }

    fn owns(&self, path: &str) -> bool {
        let root = path.as_bytes().get(..ROOT.len());
        root.is_some_and(|root| root.eq_ignore_ascii_case(ROOT.as_bytes()))
    }

    fn access(&self, head: &Parts) -> Access {
        match Route::of(head.uri.path()) {
            Some(Route::Token) => Access::Open,
            Some(Route::Job(_) | Route::Jobs(_) | Route::Messages(_) | Route::Output(..))
            | None => Access::Bearer {
                scope: None,
                api_key: false,
            },
        }
    }

    fn intake(&self, head: &Parts) -> Intake {
        match Route::of(head.uri.path()) {
            Some(Route::Jobs(_)) if head.method == Method::POST => Intake::Small {
                bytes_max: BODY_BYTES_MAX,
            },
            Some(Route::Token) if head.method == Method::POST => Intake::Small {
                bytes_max: oauth::FORM_BYTES_MAX,
            },
            Some(
                Route::Job(_)
                | Route::Jobs(_)
                | Route::Messages(_)
                | Route::Output(..)
                | Route::Token,
            )
            | None => Intake::Stream,
        }
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
}
