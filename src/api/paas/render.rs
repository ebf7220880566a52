//! Reply or fault → response.

use super::ROOT;
use crate::{
    api::{Payload, headers, json},
    service::{Fault, Reply, State, View},
};
use http::{HeaderValue, Response, StatusCode, header::LOCATION, request::Parts};
use serde_json::{Value, json};

pub(super) fn reply(head: &Parts, reply: Reply) -> Response<Payload> {
    match reply {
        Reply::Created { view, replayed } => created(head, &view, replayed),
        Reply::Result { download, .. } => json::file(download),
        Reply::Shown(view) => json::response(StatusCode::OK, &status(&view)),
        // The answers to what this dialect has no words for.
        Reply::Accepted { .. }
        | Reply::Cancelled { .. }
        | Reply::Content(_)
        | Reply::Jobs(_)
        | Reply::Log(_)
        | Reply::Scheduled { .. }
        | Reply::ShownSchedule { .. }
        | Reply::Shows(_)
        | Reply::Status(_)
        | Reply::Targets(_)
        | Reply::Token { .. }
        | Reply::Transformed { .. }
        | Reply::Valid { .. } => fault(&Fault::Internal),
    }
}

fn created(head: &Parts, view: &View, replayed: bool) -> Response<Payload> {
    // Who has made a task always gets its runner.
    let runner = view.runner.as_deref().unwrap_or_default();
    let body = json!({"task": view.id, "runner": runner});
    let mut response = json::response(StatusCode::CREATED, &body);
    let headers = response.headers_mut();
    // As the client wrote it.
    let path = head.uri.path().strip_prefix(ROOT).unwrap_or_default();
    let database = path.split('/').next().unwrap_or_default();
    let location = format!("{ROOT}{database}/status/{}?guid={runner}", view.id);
    if let Ok(location) = HeaderValue::try_from(location) {
        headers.insert(LOCATION, location);
    }
    headers::mark_replayed(headers, replayed);
    response
}

fn status(view: &View) -> Value {
    let (code, error) = match view.state {
        State::Waiting => (0, None),
        State::Running => (102, None),
        State::Done => (200, None),
        State::Cancelled | State::Failed => {
            let error = view.error.as_deref().unwrap_or("the task failed");
            (400, Some(error))
        }
    };
    let result = view
        .state
        .is_settled()
        .then(|| json!({"guid": view.runner, "files": view.files, "error": error}));
    json!({
        "id": view.id,
        "status": code,
        "lane": view.priority.as_str(),
        "command": view.called(),
        "result": result,
    })
}

pub(super) fn fault(fault: &Fault) -> Response<Payload> {
    let (status, text) = json::plain(fault);
    json::fault(status, fault, &json!({"error": text}))
}
