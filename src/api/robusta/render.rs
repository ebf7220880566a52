//! Reply or fault → response.

use crate::{
    api::{Payload, headers, json},
    domain::joblog::rfc3339,
    service::{Fault, Reply, State, View},
};
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

/// What stands before the name of an output variable. Source: the Robusta contract.
const OUTPUT: &str = "__out_";
const WAITING: &str = "WAITING";
const FAILED: &str = "FAILED";

pub(super) fn reply(reply: Reply) -> Response<Payload> {
    match reply {
        Reply::Created { view, replayed } => {
            let mut response = saved(&view.uuid);
            headers::mark_replayed(response.headers_mut(), replayed);
            response
        }
        Reply::Scheduled { uuid } => saved(&uuid),
        Reply::Shown(view) => json::response(StatusCode::OK, &status(*view).into()),
        Reply::ShownSchedule {
            latest, next_ms, ..
        } => {
            let mut body = match (latest, next_ms) {
                (Some(view), _) => status(*view),
                (None, Some(_)) => shown(WAITING, "Your transaction is waiting."),
                // Its moments passed while no one was there to run it.
                (None, None) => shown(FAILED, "Your transaction has ended without a run."),
            };
            if let Some(next_ms) = next_ms {
                body.insert("nextRun".into(), rfc3339(next_ms).into());
            }
            json::response(StatusCode::OK, &body.into())
        }
        // The answers to what this dialect has no words for.
        Reply::Accepted { .. }
        | Reply::Cancelled { .. }
        | Reply::Content(_)
        | Reply::Jobs(_)
        | Reply::Log(_)
        | Reply::Result { .. }
        | Reply::Shows(_)
        | Reply::Status(_)
        | Reply::Targets(_)
        | Reply::Token { .. }
        | Reply::Transformed { .. }
        | Reply::Valid { .. } => fault(&Fault::Internal),
    }
}

fn saved(uuid: &str) -> Response<Payload> {
    let body = json!({"robustaSpid": uuid, "message": "Process saved"});
    json::response(StatusCode::OK, &body)
}

fn status(view: View) -> Map<String, Value> {
    match view.state {
        State::Waiting => shown(WAITING, "Your transaction is waiting."),
        State::Running => shown("RUNNING", "Your transaction is running."),
        State::Done => {
            let mut body = shown("SUCCEEDED", "Your transaction has ended.");
            let outputs = outputs(view.variables);
            body.extend(outputs.map(|(name, value)| (format!("{OUTPUT}{name}"), value)));
            body
        }
        State::Cancelled | State::Failed => {
            let error = view.error.as_deref();
            shown(FAILED, error.unwrap_or("Your transaction has failed."))
        }
    }
}

/// The output variables that a `result.json` has: those in `variables`, and its other members but
/// `links`, which are for other systems.
fn outputs(mut members: Map<String, Value>) -> impl Iterator<Item = (String, Value)> {
    let inner = match members.remove("variables") {
        Some(Value::Object(inner)) => inner,
        Some(_) | None => Map::new(),
    };
    members.remove("links");
    members.into_iter().chain(inner)
}

fn shown(status: &str, message: &str) -> Map<String, Value> {
    let member = |name: &str, value: &str| (name.into(), value.into());
    [member("status", status), member("message", message)]
        .into_iter()
        .collect()
}

pub(super) fn fault(fault: &Fault) -> Response<Payload> {
    let (status, text) = json::plain(fault);
    // The name of a process stands in the body, not in the path.
    if let Fault::UnknownInterface { .. } = fault {
        let body = json!({"message": format!("name: {text}")});
        return json::fault(StatusCode::BAD_REQUEST, fault, &body);
    }
    json::fault(status, fault, &json!({"message": text}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_come_out_of_either_form() {
        let given = |value: Value| {
            let Value::Object(members) = value else {
                panic!("an object");
            };
            Value::Object(outputs(members).collect())
        };
        let flat = json!({"total": 3});
        assert_eq!(given(flat.clone()), flat);
        let both = json!({"variables": {"a": 1, "links": 2}, "links": [], "total": 3});
        assert_eq!(given(both), json!({"a": 1, "links": 2, "total": 3}));
        let linked = json!({"links": [{"rel": "x"}], "total": 3});
        assert_eq!(given(linked), flat, "links are for other systems");
        assert_eq!(given(json!({"variables": "none"})), json!({}));
    }
}
