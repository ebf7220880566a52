//! Signed compositions: JSON in, a UUID to ask with out, links to what came of it.
//!
//! Source: the eHealth contract; each of its rows has a file of examples in
//! `tests/golden/ehealth/`, which the tests below run. This folder only translates: it decides
//! nothing about rights, interfaces or jobs, and has no state.
//!
//! Where the contract is silent: all calls but that for a token need the header `api-key`. What is
//! broken of a request is listed in `error.invalid`. A task that was cancelled has failed. To cancel a
//! composition takes the scope `composition:cancel`. In the older method, a task has `failed` and
//! 422 when it is known why, and else `failed_with_error` and 500.

mod document;
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

#[derive(Debug)]
pub(super) struct EHealth;

impl Dialect for EHealth {
    fn name(&self) -> &'static str {
        "ehealth"
    }

    fn owns(&self, path: &str) -> bool {
        let first = router::bare(path).split('/').nth(1);
        matches!(first, Some("jobs" | "oauth" | "patients"))
    }

    fn credentials(&self, head: &Parts) -> Credentials {
        let scope = match Route::of(head.uri.path()) {
            Some(Route::Cancel(_)) => "composition:cancel",
            Some(Route::Create) => "composition:create",
            Some(Route::Job(_)) => "composition:read",
            Some(Route::OldJob(_)) => "job:read",
            Some(Route::Sign(_)) => "composition:sign",
            Some(Route::Token) => return Credentials::Open,
            // There is nothing, whoever asks.
            None => return Credentials::Public,
        };
        Credentials::Bearer {
            scope: Some(scope),
            api_key: true,
        }
    }

    /// A composition is the job itself.
    fn intake(&self, head: &Parts) -> Intake {
        let is_token = Route::of(head.uri.path()) == Some(Route::Token);
        match is_token && head.method == Method::POST {
            true => Intake::Small {
                bytes_max: oauth::FORM_BYTES_MAX,
            },
            false => Intake::Stream,
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

    fn openapi(&self) -> &'static str {
        include_str!("openapi.json")
    }
}
