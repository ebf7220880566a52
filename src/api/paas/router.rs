//! Request head → command.

use crate::{
    api::{Credentials, headers::idempotency_key, json, percent},
    domain::{JobOptions, PARAMS_BYTES_MAX},
    service::{Command, DocumentFormat, Fault, JobRef, JsonCheck, Submit, Visibility},
};
use http::{Method, request::Parts};
use serde_json::{Map, Value};

/// A task without parameters.
const EMPTY: &str = "{}";

pub(super) fn parse(head: &Parts) -> Result<Command, Fault> {
    let segments = percent::segments(head.uri.path()).ok_or(Fault::NoSuchPath)?;
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    match segments[..] {
        ["api", "v1", _, "process", command] => {
            allow(head, &[Method::POST], "POST")?;
            process(head, command)
        }
        ["api", "v1", _, "status", task] => {
            allow(head, &[Method::GET, Method::HEAD], "GET, HEAD")?;
            Ok(Command::Show {
                job: job(head, task)?,
                visibility: Visibility::Interface,
            })
        }
        ["api", "v1", _, "download", task, file] => {
            allow(head, &[Method::GET, Method::HEAD], "GET, HEAD")?;
            Ok(Command::Result {
                job: job(head, task)?,
                number: number(file).ok_or(Fault::NoSuchPath)?,
                visibility: Visibility::Interface,
            })
        }
        _ => Err(Fault::NoSuchPath),
    }
}

/// A runner is a capability: whoever has one needs no password to see its task.
/// Source: the PAAS contract, "`guid` alone".
pub(super) fn credentials(head: &Parts) -> Credentials {
    let mut segments = head.uri.path().split('/').skip(4);
    let of_a_task = segments
        .next()
        .is_some_and(|s| matches!(s, "status" | "download"));
    let seen = matches!(head.method, Method::GET | Method::HEAD) && of_a_task;
    match seen && runner(head).is_some() {
        true => Credentials::Open,
        false => Credentials::Basic,
    }
}

fn allow(head: &Parts, methods: &[Method], allow: &'static str) -> Result<(), Fault> {
    match methods.contains(&head.method) {
        true => Ok(()),
        false => Err(Fault::MethodNotAllowed { allow }),
    }
}

fn process(head: &Parts, command: &str) -> Result<Command, Fault> {
    let interface = command.parse().map_err(|_| Fault::UnknownInterface {
        interface: command.into(),
    })?;
    Ok(Command::Submit(Submit {
        interface: Some(interface),
        idempotency_key: idempotency_key(&head.headers)?,
        dialect: "paas",
        document: DocumentFormat::Json {
            check: JsonCheck(json::check),
            empty: Some(EMPTY),
        },
        options: JobOptions {
            params: params(head)?,
            ..JobOptions::default()
        },
        ..Submit::default()
    }))
}

/// The query of a task, kept beside its body.
fn params(head: &Parts) -> Result<Option<String>, Fault> {
    let query = head.uri.query().unwrap_or_default();
    let pairs = form_urlencoded::parse(query.as_bytes());
    let params: Map<String, Value> = pairs
        .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
        .collect();
    if params.is_empty() {
        return Ok(None);
    }
    let text = Value::Object(params).to_string();
    match text.len() <= PARAMS_BYTES_MAX {
        true => Ok(Some(text)),
        false => Err(Fault::Invalid {
            reason: format!(
                "the query parameters are more than {PARAMS_BYTES_MAX} bytes as JSON: send them in \
                 the body"
            ),
        }),
    }
}

fn job(head: &Parts, task: &str) -> Result<JobRef, Fault> {
    let id = number(task).ok_or_else(|| Fault::UnknownJob { job: task.into() })?;
    let runner = runner(head);
    Ok(JobRef::Task { id, runner })
}

fn runner(head: &Parts) -> Option<String> {
    let query = head.uri.query().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let runner = pairs.find(|(name, _)| name == "guid");
    runner.map(|(_, value)| value.into_owned())
}

/// Decimal digits, and no more of them than a number needs.
fn number<T: std::str::FromStr + ToString>(text: &str) -> Option<T> {
    let number: T = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}
