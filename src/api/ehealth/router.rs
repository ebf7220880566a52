//! Request head and, for a token, form → command.

use super::document;
use crate::{
    api::{headers::idempotency_key, oauth, percent},
    domain::{JobOptions, parse_uuid},
    service::{Command, DocumentFormat, Fault, JobRef, JsonCheck, Submit, Visibility},
};
use http::{HeaderValue, header::CONTENT_TYPE, request::Parts};
use serde_json::json;
use std::io;

/// The interfaces that compositions are for.
const CREATE: &str = "composition";
const SIGN: &str = "composition.sign";
const CANCEL: &str = "composition.cancel";

/// What a path names. The texts are as the client wrote them, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Of this composition.
    Cancel(String),
    Create,
    Job(String),
    /// By the older method.
    OldJob(String),
    /// Of this composition.
    Sign(String),
    Token,
}

impl Route {
    pub(super) fn of(path: &str) -> Option<Self> {
        let segments = percent::segments(bare(path))?;
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        match segments[..] {
            ["jobs", id] => Some(Self::OldJob(id.into())),
            ["oauth", "token" | "tokens"] => Some(Self::Token),
            ["patients", "composition"] => Some(Self::Create),
            ["patients", "composition", "job", id] => Some(Self::Job(id.into())),
            ["patients", "composition", id, "cancel"] if !id.is_empty() => {
                Some(Self::Cancel(id.into()))
            }
            ["patients", "composition", id, "sign"] if !id.is_empty() => {
                Some(Self::Sign(id.into()))
            }
            _ => None,
        }
    }
}

/// The path without the prefix that it may have.
pub(super) fn bare(path: &str) -> &str {
    match path.strip_prefix("/api") {
        Some(rest) if rest.starts_with('/') => rest,
        Some(_) | None => path,
    }
}

pub(super) fn parse(head: &Parts, form: &[u8]) -> Result<Command, Fault> {
    let route = Route::of(head.uri.path()).ok_or(Fault::NoSuchPath)?;
    let allow = match route {
        Route::Create | Route::Token => "POST",
        Route::Job(_) | Route::OldJob(_) => "GET, HEAD",
        Route::Cancel(_) | Route::Sign(_) => "PATCH",
    };
    if !allow.split(", ").any(|method| method == head.method) {
        return Err(Fault::MethodNotAllowed { allow });
    }
    check_format(head)?;
    match route {
        Route::Cancel(id) => signed(head, CANCEL, &id),
        Route::Create => submit(head, CREATE, document::is_composition, None),
        Route::Job(id) | Route::OldJob(id) => {
            let uuid = parse_uuid(&id).ok_or(Fault::UnknownJob { job: id })?;
            Ok(Command::Show {
                job: JobRef::Uuid(uuid),
                visibility: Visibility::Interface,
            })
        }
        Route::Sign(id) => signed(head, SIGN, &id),
        Route::Token => oauth::parse(head, form, oauth::Scopes::Count),
    }
}

/// Nothing in a query is asked for, and no type of a body is insisted on; but what is there has to
/// be of its kind. Source: the eHealth contract, "a broken query or header".
fn check_format(head: &Parts) -> Result<(), Fault> {
    let wrong = |field: &str, reason: &str| {
        Err(Fault::Field {
            field: field.into(),
            reason: reason.into(),
        })
    };
    let query = head.uri.query().unwrap_or_default();
    if percent::decoded(query).is_err() {
        return wrong("query", "is not percent-encoded UTF-8");
    }
    let mut types = head.headers.get_all(CONTENT_TYPE).iter();
    if types.next().is_some_and(|first| !is_media_type(first)) || types.next().is_some() {
        return wrong("Content-Type", "is no media type; use application/json");
    }
    Ok(())
}

/// Source: RFC 9110, 8.3.1; what follows a `;` is not looked at.
fn is_media_type(value: &HeaderValue) -> bool {
    let token = |text: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        !text.is_empty() && text.bytes().all(allowed)
    };
    let text = value.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence
        .split_once('/')
        .is_some_and(|(kind, sub)| token(kind) && token(sub))
}

/// What is signed of a composition, whose id goes to the processor beside it.
fn signed(head: &Parts, interface: &str, id: &str) -> Result<Command, Fault> {
    if parse_uuid(id).is_none() {
        return Err(Fault::Field {
            field: "compositionId".into(),
            reason: "must be a UUID".into(),
        });
    }
    let params = json!({"compositionId": id}).to_string();
    submit(head, interface, document::is_signed, Some(params))
}

fn submit(
    head: &Parts,
    interface: &str,
    check: fn(&mut dyn io::Read) -> Result<(), String>,
    params: Option<String>,
) -> Result<Command, Fault> {
    let interface = interface.parse().map_err(|_| Fault::Internal)?;
    Ok(Command::Submit(Submit {
        interface: Some(interface),
        idempotency_key: idempotency_key(&head.headers)?,
        dialect: "ehealth",
        document: DocumentFormat::Json {
            check: JsonCheck(check),
            empty: None,
        },
        options: JobOptions {
            params,
            ..JobOptions::default()
        },
        ..Submit::default()
    }))
}
