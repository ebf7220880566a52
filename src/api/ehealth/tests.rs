//! The examples in `tests/golden/ehealth/`.

use super::*;
use crate::{
    api::golden::{self, Answer, fault_answers, view},
    service::{State, View},
};
use serde_json::json;

const CREATE: &str = "POST /api/patients/composition";
const JOB: &str = "GET /api/patients/composition/job/0cb0c0de-0000-8abc-8000-0123456789ab?a=b
Host: gateway.example.org
X-Request-Id: 00c0ffee00c0ffee";
const OLD_JOB: &str = "GET /api/jobs/0cb0c0de-0000-8abc-8000-0123456789ab";
const TOKEN: &str = "POST /oauth/tokens";

fn with_links(links: serde_json::Value) -> View {
    let mut view = view(State::Done);
    view.variables.insert("links".into(), links);
    view
}

fn links() -> serde_json::Value {
    json!([
        {"entity": "eHealth/composition", "href": "composition/5d1f", "secret": 1},
        {"entity": "eHealth/person", "error": "not told"},
        {"href": "composition/6"},
        {"entity": 7, "href": null},
        "composition/8",
    ])
}

fn answers() -> Vec<Answer> {
    let shown = |view: View| Ok(Reply::Shown(Box::new(view)));
    let created = |state, replayed| {
        Ok(Reply::Created {
            view: Box::new(view(state)),
            replayed,
        })
    };
    let unknown_why = || View {
        error: None,
        ..view(State::Failed)
    };
    let token = |scopes: &[&str]| {
        Ok(Reply::Token {
            access_token: "t0k3n".into(),
            expires_in_s: 3600,
            scopes: scopes.iter().map(|&scope| scope.into()).collect(),
        })
    };
    let mut answers: Vec<Answer> = vec![
        ("created", CREATE, created(State::Waiting, false)),
        ("created, ended already", CREATE, created(State::Done, true)),
        ("pending, waits", JOB, shown(view(State::Waiting))),
        ("pending, runs", JOB, shown(view(State::Running))),
        ("done", JOB, shown(with_links(links()))),
        ("done, without links", JOB, shown(view(State::Done))),
        ("done, links of no kind", JOB, shown(with_links(json!({})))),
        ("failed", JOB, shown(view(State::Failed))),
        ("failed, nobody knows why", JOB, shown(unknown_why())),
        ("cancelled", JOB, shown(view(State::Cancelled))),
        ("old, waits", OLD_JOB, shown(view(State::Waiting))),
        ("old, runs", OLD_JOB, shown(view(State::Running))),
        ("old, done", OLD_JOB, shown(with_links(links()))),
        ("old, failed", OLD_JOB, shown(view(State::Failed))),
        ("old, nobody knows why", OLD_JOB, shown(unknown_why())),
        ("old, cancelled", OLD_JOB, shown(view(State::Cancelled))),
        ("token", TOKEN, token(&[])),
        (
            "token, limited",
            TOKEN,
            token(&["composition:read", "job:read"]),
        ),
        ("token, unauthorized", TOKEN, Err(Fault::Unauthorized)),
    ];
    answers.extend(fault_answers(JOB));
    answers
}

#[test]
fn the_examples_hold() {
    golden::assert_examples_hold(&EHealth, answers());
}

#[test]
fn the_prefix_may_be_there_once() {
    for path in [
        "/patients/composition",
        "/api/patients/x",
        "/jobs/1",
        "/api/jobs",
        "/oauth/token",
        "/api/oauth/token",
        "/oauth/tokens",
    ] {
        assert!(EHealth.owns(path), "{path}");
    }
    for path in [
        "/",
        "/api",
        "/api/",
        "/apijobs/1",
        "/api/api/jobs/1",
        "/api/v1/main/status/1",
        "/api/v1/jobs/1",
        "/jobsx",
        "/webapi/oauth2/token",
    ] {
        assert!(!EHealth.owns(path), "{path}");
    }
}

/// Source: the eHealth contract, scopes.
#[test]
fn each_call_has_its_scope() {
    let uuid = "0cb0c0de-0000-8abc-8000-0123456789ab";
    for (request, scope) in [
        (
            "POST /patients/composition".into(),
            Some("composition:create"),
        ),
        (
            format!("PATCH /patients/composition/{uuid}/sign"),
            Some("composition:sign"),
        ),
        (
            format!("GET /patients/composition/job/{uuid}"),
            Some("composition:read"),
        ),
        (
            format!("PATCH /patients/composition/{uuid}/cancel"),
            Some("composition:cancel"),
        ),
        (format!("GET /jobs/{uuid}"), Some("job:read")),
    ] {
        let bearer = Credentials::Bearer {
            scope,
            api_key: true,
        };
        for request in [request.replace(" /", " /api/"), request] {
            let (head, _) = golden::request(&request);
            assert_eq!(EHealth.credentials(&head), bearer, "{request}");
        }
    }
    for (request, access) in [
        ("POST /oauth/token", Credentials::Open),
        ("POST /oauth/tokens", Credentials::Open),
        ("POST /api/oauth/tokens", Credentials::Open),
        ("GET /jobs", Credentials::Public),
        ("GET /patients/composition/job", Credentials::Public),
        ("POST /api/patients/prescription", Credentials::Public),
    ] {
        let (head, _) = golden::request(request);
        assert_eq!(EHealth.credentials(&head), access, "{request}");
        let is_nothing = EHealth.parse(&head, b"") == Err(Fault::NoSuchPath);
        assert_eq!(is_nothing, access == Credentials::Public, "{request}");
    }
}
