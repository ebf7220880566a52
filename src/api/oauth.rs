//! The token endpoint, which dialects with bearer tokens share: a form in, a token or an error of
//! OAuth out.
//!
//! Source: RFC 6749, 2.3.1 (how a client shows who it is), 4.4 (client credentials), 5 (answers).

use super::json;
use crate::service::{Command, Fault, TokenRequest};
use http::{StatusCode, header::AUTHORIZATION, request::Parts};
use serde_json::{Value, json};

/// Longest form of a request for a token.
pub(super) const FORM_BYTES_MAX: u64 = 8 * 1024;
const GRANT_TYPE: &str = "grant_type";
const SCOPE: &str = "scope";

/// What the scopes are worth that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scopes {
    /// The token is good for them only.
    Count,
    /// There are none in this dialect: every token is good for all.
    Ignored,
}

/// A request for a token, of which `form` is the body.
///
/// # Errors
/// When it is none, or asks for another grant.
pub(super) fn parse(head: &Parts, form: &[u8], scopes: Scopes) -> Result<Command, Fault> {
    let invalid = |reason: &str| Fault::Invalid {
        reason: reason.into(),
    };
    let [grant, id, secret] =
        [GRANT_TYPE, "client_id", "client_secret"].map(|name| only(form, name));
    let grant = grant?.ok_or_else(|| invalid("grant_type is missing"))?;
    if grant != "client_credentials" {
        return Err(Fault::Field {
            field: GRANT_TYPE.into(),
            reason: "use client_credentials".into(),
        });
    }
    let client = match (id?, secret?) {
        (Some(id), Some(secret)) => Some((id, secret)),
        // A client may say who it is beside showing it in the header.
        (_, None) => None,
        (None, Some(_)) => return Err(invalid("client_secret needs client_id")),
    };
    if client.is_some() && head.headers.contains_key(AUTHORIZATION) {
        return Err(invalid(
            "send the credentials in the header Authorization or in the form, not in both",
        ));
    }
    let scopes = match scopes {
        Scopes::Count => only(form, SCOPE)?.unwrap_or_default(),
        Scopes::Ignored => String::new(),
    };
    let scopes = scopes.split(' ').filter(|scope| !scope.is_empty());
    Ok(Command::Token(TokenRequest {
        client,
        scopes: scopes.map(str::to_owned).collect(),
    }))
}

/// A parameter of a form; one without a value counts as left out.
fn only(form: &[u8], name: &str) -> Result<Option<String>, Fault> {
    let mut given = form_urlencoded::parse(form).filter(|(known, _)| known == name);
    match (given.next(), given.next()) {
        (Some((_, value)), None) => Ok(Some(value.into_owned()).filter(|value| !value.is_empty())),
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Fault::Invalid {
            reason: format!("{name} is given twice"),
        }),
    }
}

/// The answer with a token.
pub(super) fn token(access_token: &str, expires_in_s: u64, scopes: &[String]) -> Value {
    let mut body = json!({
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": expires_in_s,
    });
    if !scopes.is_empty() {
        body[SCOPE] = scopes.join(" ").into();
    }
    body
}

/// The answer to a fault, whose members a dialect may add to.
pub(super) fn error(fault: &Fault) -> (StatusCode, Value) {
    let (plain, text) = json::plain(fault);
    let (status, error) = match fault {
        Fault::Busy { .. } | Fault::TooMany { .. } => (plain, "temporarily_unavailable"),
        Fault::Field { field, .. } => match field.as_str() {
            GRANT_TYPE => (plain, "unsupported_grant_type"),
            SCOPE => (plain, "invalid_scope"),
            _ => (plain, "invalid_request"),
        },
        Fault::Forbidden { .. } => (StatusCode::BAD_REQUEST, "unauthorized_client"),
        Fault::Internal => (plain, "server_error"),
        Fault::Unauthorized => (plain, "invalid_client"),
        Fault::Conflict { .. }
        | Fault::Invalid { .. }
        | Fault::MethodNotAllowed { .. }
        | Fault::NoSuchPath
        | Fault::NotValid { .. }
        | Fault::Refused { .. }
        | Fault::TimedOut
        | Fault::TooLarge { .. }
        | Fault::UnknownFile { .. }
        | Fault::UnknownInterface { .. }
        | Fault::UnknownJob { .. }
        | Fault::UnknownTenant { .. }
        | Fault::Unsupported { .. } => (plain, "invalid_request"),
    };
    // RFC 6749, 5.2: printable ASCII without quote and backslash.
    let allowed = |c: char| matches!(c, ' ' | '!' | '#'..='[' | ']'..='~');
    let description: String = text
        .chars()
        .map(|c| if allowed(c) { c } else { '?' })
        .collect();
    (
        status,
        json!({"error": error, "error_description": description}),
    )
}
