//! Reply or fault → response.

use super::router::Route;
use crate::{
    api::{Payload, headers, json, oauth},
    domain::joblog::rfc3339,
    service::{Fault, Reply, State, View},
};
use http::{
    HeaderValue, Response, StatusCode,
    header::{HOST, WWW_AUTHENTICATE},
    request::Parts,
};
use serde_json::{Map, Value, json};

/// What a link is to that says nothing else. Source: the eHealth contract, `links`.
const ENTITY: &str = "eHealth/composition";

pub(super) fn reply(head: &Parts, reply: Reply) -> Response<Payload> {
    match reply {
        Reply::Created { view, replayed } => created(&view, replayed),
        Reply::Shown(view) => {
            let body = match Route::of(head.uri.path()) {
                Some(Route::OldJob(_)) => {
                    json!({"meta": meta(head, StatusCode::OK), "data": old_task(&view)})
                }
                Some(_) | None => json!({"data": task(&view)}),
            };
            json::response(StatusCode::OK, &body)
        }
        Reply::Token {
            access_token,
            expires_in_s,
            scopes,
        } => {
            let token = oauth::token(&access_token, expires_in_s, &scopes);
            json::response(StatusCode::OK, &token)
        }
        // The id is that of a schedule, which is no task here.
        Reply::ShownSchedule { uuid, .. } => fault(head, &Fault::UnknownJob { job: uuid }),
        // The answers to what this dialect has no words for.
        Reply::Accepted { .. }
        | Reply::Cancelled { .. }
        | Reply::Content(_)
        | Reply::Jobs(_)
        | Reply::Log(_)
        | Reply::Result { .. }
        | Reply::Scheduled { .. }
        | Reply::Shows(_)
        | Reply::Status(_)
        | Reply::Targets(_)
        | Reply::Transformed { .. }
        | Reply::Valid { .. } => fault(head, &Fault::Internal),
    }
}

/// Whatever has become of it meanwhile, its client has to ask for it.
fn created(view: &View, replayed: bool) -> Response<Payload> {
    let body = json!({"data": {
        "id": view.uuid,
        "status": "PENDING",
        "eta": rfc3339(view.eta_ms),
        "links": [],
    }});
    let mut response = json::response(StatusCode::ACCEPTED, &body);
    headers::mark_replayed(response.headers_mut(), replayed);
    response
}

fn task(view: &View) -> Value {
    let status = match view.state {
        State::Waiting | State::Running => "PENDING",
        State::Done => "DONE",
        State::Cancelled | State::Failed => "FAILED",
    };
    let mut task = json!({
        "id": view.uuid,
        "status": status,
        "eta": rfc3339(view.eta_ms),
        "links": links(view),
    });
    if let Some(finished_ms) = view.finished_ms {
        task["doneAt"] = rfc3339(finished_ms).into();
    }
    task
}

/// Source: the eHealth contract, the older method. Its clients read why a task failed in `error`
/// and nowhere else.
fn old_task(view: &View) -> Value {
    let (status, code, kind) = match (view.state, &view.error) {
        (State::Waiting | State::Running, _) => ("pending", None, ""),
        (State::Done, _) => ("processed", Some(200), ""),
        (State::Failed, Some(_)) => ("failed", Some(422), "validation_failed"),
        (State::Failed, None) | (State::Cancelled, _) => {
            ("failed_with_error", Some(500), "internal_error")
        }
    };
    let links = match view.state.is_settled() {
        true => links(view),
        false => json!([{"entity": "job", "href": format!("/jobs/{}", view.uuid)}]),
    };
    let mut task = json!({
        "id": view.uuid,
        "status": status,
        "eta": rfc3339(view.eta_ms),
        "links": links,
    });
    if let Some(code) = code {
        task["status_code"] = code.into();
    }
    if !kind.is_empty() {
        task["error"] = json!({"type": kind, "message": why(view), "invalid": []});
    }
    task
}

/// Why a task failed.
fn why(view: &View) -> &str {
    view.error.as_deref().unwrap_or("the task failed")
}

/// What the processor reported as `links`, or why there is nothing.
fn links(view: &View) -> Value {
    match view.state {
        State::Waiting | State::Running => json!([]),
        State::Done => {
            let given = view.variables.get("links").and_then(Value::as_array);
            given.into_iter().flatten().filter_map(link).collect()
        }
        State::Cancelled | State::Failed => {
            json!([{"entity": ENTITY, "error": why(view)}])
        }
    }
}

fn link(given: &Value) -> Option<Value> {
    let given = given.as_object()?;
    let text = |name: &str| given.get(name).filter(|value| value.is_string()).cloned();
    let mut link = Map::new();
    link.insert("entity".into(), text("entity").unwrap_or(ENTITY.into()));
    for name in ["href", "error"] {
        link.extend(text(name).map(|value| (name.to_owned(), value)));
    }
    Some(link.into())
}

pub(super) fn fault(head: &Parts, fault: &Fault) -> Response<Payload> {
    if Route::of(head.uri.path()) == Some(Route::Token) {
        let (status, mut body) = oauth::error(fault);
        body["meta"] = meta(head, status);
        return json::fault(status, fault, &body);
    }
    let (plain, text) = json::plain(fault);
    let invalid =
        |entry: &str, reason: &str| json!([{"entry": entry, "rules": [{"description": reason}]}]);
    let none = json!([]);
    let malformed = "Invalid request format";
    let (status, kind, message, invalid) = match fault {
        Fault::Busy { .. } => (plain, "service_unavailable", &*text, none),
        Fault::Conflict { .. } => (plain, "request_conflict", &*text, none),
        Fault::Field { field, .. } => {
            (plain, "request_malformed", malformed, invalid(field, &text))
        }
        // Source: the eHealth contract, "401 (fact, not 403)".
        Fault::Forbidden { .. } => (StatusCode::UNAUTHORIZED, "access_denied", &*text, none),
        Fault::Internal => (plain, "internal_error", &*text, none),
        Fault::Invalid { .. } => (
            plain,
            "request_malformed",
            malformed,
            invalid("request", &text),
        ),
        Fault::MethodNotAllowed { .. } => (plain, "method_not_allowed", &*text, none),
        Fault::NoSuchPath
        | Fault::UnknownFile { .. }
        | Fault::UnknownInterface { .. }
        | Fault::UnknownTenant { .. } => (plain, "not_found", &*text, none),
        Fault::NotValid { .. } | Fault::Refused { .. } => {
            (plain, "request_malformed", malformed, none)
        }
        Fault::TimedOut => (plain, "request_timeout", &*text, none),
        Fault::TooLarge { .. } => (plain, "request_too_large", &*text, none),
        Fault::TooMany { .. } => (plain, "too_many_requests", &*text, none),
        Fault::Unauthorized => (plain, "access_denied", &*text, none),
        Fault::UnknownJob { .. } => (plain, "not_found", "Task not found", none),
        Fault::Unsupported { .. } => (plain, "unsupported_media_type", &*text, none),
    };
    let body = json!({
        "meta": meta(head, status),
        "error": {"type": kind, "message": message, "invalid": invalid},
    });
    let mut response = json::fault(status, fault, &body);
    if let Fault::Forbidden { .. } = fault {
        // RFC 9110, 15.5.2: no 401 without it. For want of credentials the server sets it.
        let challenge = HeaderValue::from_static("Bearer error=\"insufficient_scope\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Source: the eHealth contract, the envelope of errors.
fn meta(head: &Parts, status: StatusCode) -> Value {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    // In the address by HTTP/2, else in its header.
    let host = head.uri.authority().map(|host| host.as_str());
    let url = match host.or_else(|| header(HOST.as_str())) {
        Some(host) => format!("https://{host}{path}"),
        None => path.to_owned(),
    };
    json!({
        "code": status.as_u16(),
        "url": url,
        "type": "object",
        "request_id": header("x-request-id"),
    })
}
