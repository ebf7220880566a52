//! Reply or fault → response.

use super::router::{Route, is_v1, name_filter, with_messages};
use crate::{
    api::{Payload, headers, json, oauth},
    domain::joblog::{Level, Message, rfc3339},
    service::{Fault, Reply, State, Target, View},
};
use http::{HeaderValue, Method, Response, StatusCode, header::WWW_AUTHENTICATE, request::Parts};
use serde_json::{Value, json};

/// What a fault that names no member is about.
const REQUEST: &str = "request";
/// Of a message that no tool of a workflow gave. Source: the Alteryx contract, `toolId`.
const NO_TOOL: i32 = -1;
/// Workflows belong to the server.
const OWNER: &str = "000000000000000000000000";

pub(super) fn reply(head: &Parts, reply: Reply) -> Response<Payload> {
    let ok = |body: &Value| json::response(StatusCode::OK, body);
    match reply {
        Reply::Cancelled { was_running, .. } => ok(&match was_running {
            true => json!({"message": "Cancelled Successfully."}),
            false => json!({"message": "Deleted Successfully."}),
        }),
        Reply::Created { view, replayed } => {
            let mut response = ok(&job(head, &enqueued(*view)));
            headers::mark_replayed(response.headers_mut(), replayed);
            response
        }
        Reply::Result { download, .. } => json::file(download),
        Reply::Shown(view) => match Route::of(head.uri.path()) {
            Some(Route::Messages(_)) => ok(&messages(&view)),
            Some(_) | None => ok(&job(head, &view)),
        },
        Reply::Shows(views) => ok(&views.iter().map(listed).collect()),
        Reply::Targets(targets) => ok(&workflows(head, &targets)),
        Reply::Token {
            access_token,
            expires_in_s,
            scopes,
        } => ok(&oauth::token(&access_token, expires_in_s, &scopes)),
        // The answers to what this dialect has no words for.
        Reply::Accepted { .. }
        | Reply::Content(_)
        | Reply::Jobs(_)
        | Reply::Log(_)
        | Reply::Scheduled { .. }
        | Reply::ShownSchedule { .. }
        | Reply::Status(_)
        | Reply::Transformed { .. }
        | Reply::Valid { .. } => fault(head, &Fault::Internal),
    }
}

/// The answer to the request that made a job says `Queued`, however quick the job is: clients take
/// anything else for an error.
fn enqueued(view: View) -> View {
    View {
        state: State::Waiting,
        files: vec![],
        messages: vec![],
        ..view
    }
}

/// Source: the Alteryx contract, JobView.
fn job(head: &Parts, view: &View) -> Value {
    let outputs = view.files.iter().enumerate();
    let outputs = outputs.map(|(number, name)| {
        json!({
            "id": format!("{number:024x}"),
            "availableFormats": ["Raw"],
            "fileName": name,
        })
    });
    let outputs: Value = outputs.collect();
    let disposition = match view.state {
        State::Done => "Success",
        State::Failed => "Error",
        State::Cancelled | State::Running | State::Waiting => "None",
    };
    let mut job = json!({
        "id": view.hex,
        "appId": view.called(),
        "createDateTime": rfc3339(view.received_ms),
        "status": status(view),
        "disposition": disposition,
        "outputs": outputs,
        "priority": view.priority.as_str(),
        "workerTag": view.worker.as_deref().unwrap_or_default(),
        "runWithE2": false,
    });
    if is_v1(head.uri.path()) {
        job["createDate"] = rfc3339(view.received_ms).into();
    }
    // What could not be read was refused.
    if with_messages(head).unwrap_or(true) {
        job["messages"] = messages(view);
    }
    job
}

/// One workflow, its questions, or all that are wanted, as the path says.
fn workflows(head: &Parts, targets: &[Target]) -> Value {
    let route = Route::of(head.uri.path());
    match (route, targets) {
        (Some(Route::Questions(_)), [target]) => target
            .questions
            .iter()
            .cloned()
            .map(Value::Object)
            .collect(),
        (Some(Route::Workflow(asked)), [target]) => workflow(target, &asked),
        (_, targets) => {
            // What could not be read was refused.
            let wanted = name_filter(head).unwrap_or_default();
            let is_wanted = |target: &&Target| {
                let name = target.interface.as_str();
                (wanted.as_ref()).is_none_or(|wanted| wanted.eq_ignore_ascii_case(name))
            };
            let wanted = targets.iter().filter(is_wanted);
            wanted.map(|target| workflow(target, &target.id)).collect()
        }
    }
}

/// Source: the Alteryx contract, `GET /webapi/v3/workflows`. The id is the one that the client
/// knows.
fn workflow(target: &Target, id: &str) -> Value {
    json!({
        "id": id,
        "sourceAppId": id,
        "name": target.interface.as_str(),
        "ownerId": OWNER,
        "dateCreated": rfc3339(target.created_ms),
        "publishedVersionNumber": 1,
        "isAmp": false,
        "executionMode": "Standard",
        "workerTag": "",
        "runCount": target.n_jobs,
    })
}

/// Source: the Alteryx contract, WorkflowJobView.
fn listed(view: &View) -> Value {
    json!({
        "id": view.hex,
        "createDate": rfc3339(view.received_ms),
        "status": status(view),
        "priority": view.priority.as_str(),
        "workerTag": view.worker.as_deref().unwrap_or_default(),
        "runWithE2": false,
    })
}

fn status(view: &View) -> &'static str {
    match view.state {
        State::Waiting => "Queued",
        State::Running => "Running",
        State::Done | State::Failed => "Completed",
        State::Cancelled => "Cancelled",
    }
}

fn messages(view: &View) -> Value {
    let message = |message: &Message| {
        let status = match message.level {
            Level::Info => 1,
            Level::Warning => 2,
            Level::Error => 3,
        };
        let tool = message.tool.as_deref().and_then(|tool| tool.parse().ok());
        let tool: i32 = tool.unwrap_or(NO_TOOL);
        json!({"status": status, "text": message.text, "toolId": tool})
    };
    view.messages.iter().map(message).collect()
}

pub(super) fn fault(head: &Parts, fault: &Fault) -> Response<Payload> {
    let (status, text) = json::plain(fault);
    let route = Route::of(head.uri.path());
    if route == Some(Route::Token) {
        let (status, mut body) = oauth::error(fault);
        body["message"] = text.into();
        return json::fault(status, fault, &body);
    }
    let is_cancel = matches!(route, Some(Route::Job(_))) && head.method == Method::DELETE;
    match fault {
        Fault::Conflict { .. } if is_cancel => {
            let body = json!({"message": "This job is not in 'Queued' or 'Running' state."});
            json::fault(StatusCode::BAD_REQUEST, fault, &body)
        }
        Fault::Forbidden { .. } if is_cancel => {
            let body = json!({"message": "You do not have permission to cancel this job."});
            json::fault(StatusCode::BAD_REQUEST, fault, &body)
        }
        Fault::Forbidden { .. } if matches!(route, Some(Route::Messages(_))) => {
            let body = json!({"message": text});
            let mut response = json::fault(StatusCode::UNAUTHORIZED, fault, &body);
            let challenge = HeaderValue::from_static("Bearer error=\"insufficient_scope\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            response
        }
        Fault::Field { field, reason } => {
            let body = json!({"message": text, "modelState": {field: [reason]}});
            json::fault(status, fault, &body)
        }
        Fault::Invalid { .. } => {
            let body = json!({"message": text, "modelState": {REQUEST: [text]}});
            json::fault(status, fault, &body)
        }
        Fault::Busy { .. }
        | Fault::Conflict { .. }
        | Fault::Forbidden { .. }
        | Fault::Internal
        | Fault::MethodNotAllowed { .. }
        | Fault::NoSuchPath
        | Fault::NotValid { .. }
        | Fault::Refused { .. }
        | Fault::TimedOut
        | Fault::TooLarge { .. }
        | Fault::TooMany { .. }
        | Fault::Unauthorized
        | Fault::UnknownFile { .. }
        | Fault::UnknownInterface { .. }
        | Fault::UnknownJob { .. }
        | Fault::UnknownTenant { .. }
        | Fault::Unsupported { .. } => json::fault(status, fault, &json!({"message": text})),
    }
}
