//! The examples in `tests/golden/alteryx/`.

use super::*;
use crate::{
    api::golden::{self, Answer, download, fault_answers, view},
    service::{State, Target},
};
use serde_json::json;

const TOKEN: &str = "POST /webapi/oauth2/token";
const JOBS: &str = "POST /webapi/v3/workflows/printing/jobs";
const LIST: &str = "GET /webapi/v3/workflows/printing/jobs";
const JOB: &str = "GET /webapi/v3/jobs/0cb0c0de0123456789abcdef";
const REDUCED: &str = "GET /webapi/v3/jobs/0cb0c0de0123456789abcdef?includeMessages=false";
const MESSAGES: &str = "GET /webapi/v3/jobs/0cb0c0de0123456789abcdef/messages";
const DELETE: &str = "DELETE /webapi/v3/jobs/0cb0c0de0123456789abcdef";
const OLD_JOB: &str = "GET /webapi/v1/jobs/0cb0c0de0123456789abcdef/";
const OLD_JOBS: &str = "POST /webapi/v1/workflows/printing/jobs/";
const WORKFLOWS: &str = "GET /webapi//v3/workflows";
const NAMED: &str = "GET /webapi/v3/workflows?name=Baking";
const WORKFLOW: &str = "GET /webapi/v3/workflows/66EBD18d3d6200007e000d8c";
const QUESTIONS: &str = "GET /webapi/v3/workflows/printing/questions";
const OUTPUT: &str = "GET /webapi/v1/jobs/0cb0c0de0123456789abcdef/output/000000000000000000000000";

fn answers() -> Vec<Answer> {
    let shown = |state| Ok(Reply::Shown(Box::new(view(state))));
    let created = |replayed, state| {
        Ok(Reply::Created {
            view: Box::new(view(state)),
            replayed,
        })
    };
    let cancelled = |was_running| {
        Ok(Reply::Cancelled {
            job: view(State::Cancelled).job,
            was_running,
        })
    };
    let token = |scopes: &[&str]| {
        Ok(Reply::Token {
            access_token: "c3Bvb2w.Z2F0ZQ".into(),
            expires_in_s: 3600,
            scopes: scopes.iter().map(|&scope| scope.into()).collect(),
        })
    };
    let mut asked_as = view(State::Running);
    asked_as.asked_as = Some("66EBD18d3d6200007e000d8c".into());
    let targets = |names: &[&str]| {
        let targets = names.iter().map(|name| Target {
            interface: name.parse().unwrap(),
            id: "66ebd18d3d6200007e000d8c".into(),
            created_ms: 1_795_323_468_123,
            n_jobs: 3,
            questions: vec![json!({"name": "Month"}).as_object().unwrap().clone()],
        });
        Ok(Reply::Targets(targets.collect()))
    };
    let mut plain = view(State::Done);
    (plain.worker, plain.priority) = (None, Default::default());
    for (message, tool) in plain.messages.iter_mut().zip(["12", "xslt", "99999999999"]) {
        message.tool = Some(tool.into());
    }
    let result = Ok(Reply::Result {
        job: plain.job.clone(),
        download: download("Bericht März.pdf"),
    });
    let all = [State::Waiting, State::Running, State::Done, State::Failed];
    let mut answers: Vec<Answer> = vec![
        ("token", TOKEN, token(&[])),
        ("token, limited", TOKEN, token(&["a", "b"])),
        ("created", JOBS, created(false, State::Waiting)),
        ("created, done by now", JOBS, created(false, State::Done)),
        ("created by v1", OLD_JOBS, created(false, State::Running)),
        ("created, replayed", JOBS, created(true, State::Failed)),
        ("list", LIST, Ok(Reply::Shows(all.map(view).to_vec()))),
        ("no jobs", LIST, Ok(Reply::Shows(vec![]))),
        ("queued", JOB, shown(State::Waiting)),
        ("running", JOB, shown(State::Running)),
        ("done", JOB, shown(State::Done)),
        ("plain", JOB, Ok(Reply::Shown(Box::new(plain)))),
        ("failed", JOB, shown(State::Failed)),
        ("cancelled", JOB, shown(State::Cancelled)),
        (
            "asked for by an alias",
            JOB,
            Ok(Reply::Shown(Box::new(asked_as))),
        ),
        ("by v1", OLD_JOB, shown(State::Done)),
        ("workflows", WORKFLOWS, targets(&["baking", "printing"])),
        (
            "workflows of a name",
            NAMED,
            targets(&["baking", "printing"]),
        ),
        ("no workflows", WORKFLOWS, targets(&[])),
        ("workflow", WORKFLOW, targets(&["printing"])),
        ("questions", QUESTIONS, targets(&["printing"])),
        ("reduced", REDUCED, shown(State::Done)),
        ("messages", MESSAGES, shown(State::Done)),
        ("deleted", DELETE, cancelled(false)),
        ("stopped", DELETE, cancelled(true)),
        ("file", OUTPUT, result),
    ];
    answers.extend(fault_answers(JOB));
    answers.extend(of_its_own());
    answers
}

/// The faults that some calls have answers of their own to.
fn of_its_own() -> Vec<Answer> {
    let reason = || "of the gateway's own".to_owned();
    let forbidden = || Err(Fault::Forbidden { reason: reason() });
    let conflict = || Err(Fault::Conflict { reason: reason() });
    let invalid = || Err(Fault::Invalid { reason: reason() });
    let field = |field: &str| {
        let field = field.to_owned();
        let reason = reason();
        Err(Fault::Field { field, reason })
    };
    let slow = Err(Fault::TooMany {
        retry_after_s: 5,
        reason: reason(),
    });
    let get = "GET /webapi/oauth2/token";
    let method = Err(Fault::MethodNotAllowed { allow: "POST" });
    vec![
        ("cancel, forbidden", DELETE, forbidden()),
        ("cancel, conflict", DELETE, conflict()),
        ("messages, forbidden", MESSAGES, forbidden()),
        ("output, conflict", OUTPUT, conflict()),
        ("token, unauthorized", TOKEN, Err(Fault::Unauthorized)),
        ("token, forbidden", TOKEN, forbidden()),
        ("token, invalid", TOKEN, invalid()),
        ("token, grant", TOKEN, field("grant_type")),
        ("token, scope", TOKEN, field("scope")),
        ("token, too many", TOKEN, slow),
        ("token, internal", TOKEN, Err(Fault::Internal)),
        ("token, method", get, method),
    ]
}

#[test]
fn the_examples_hold() {
    golden::assert_examples_hold(&Alteryx, answers());
}

#[test]
fn only_a_token_is_open_and_only_bodies_are_read() {
    let bearer = Credentials::Bearer {
        scope: None,
        api_key: false,
    };
    let small = |bytes_max| Intake::Small { bytes_max };
    for (asked, access, intake) in [
        (TOKEN, Credentials::Open, small(oauth::FORM_BYTES_MAX)),
        (
            "POST /WebApi/OAuth2/Token/",
            Credentials::Open,
            small(oauth::FORM_BYTES_MAX),
        ),
        (
            "GET /webapi/oauth2/token",
            Credentials::Open,
            Intake::Stream,
        ),
        ("POST /webapi/oauth2/token/x", bearer, Intake::Stream),
        (JOBS, bearer, small(BODY_BYTES_MAX)),
        (LIST, bearer, Intake::Stream),
        (JOB, bearer, Intake::Stream),
        (OUTPUT, bearer, Intake::Stream),
        (MESSAGES, bearer, Intake::Stream),
        (OLD_JOB, bearer, Intake::Stream),
        (OLD_JOBS, bearer, small(BODY_BYTES_MAX)),
        (WORKFLOWS, bearer, Intake::Stream),
        (QUESTIONS, bearer, Intake::Stream),
        (
            "POST //webapi//oauth2//token",
            Credentials::Open,
            small(oauth::FORM_BYTES_MAX),
        ),
        ("GET /webapi/", bearer, Intake::Stream),
        ("GET /webapi/%ff", bearer, Intake::Stream),
    ] {
        let (head, _) = golden::request(asked);
        assert!(Alteryx.owns(head.uri.path()), "{asked}");
        assert_eq!(Alteryx.credentials(&head), access, "{asked}");
        assert_eq!(Alteryx.intake(&head), intake, "{asked}");
    }
    assert!(!Alteryx.owns("/webapi") && !Alteryx.owns("/webap\u{e4}/"));
}

/// Source: the Alteryx contract, doubled slashes.
#[test]
fn the_version_of_a_path_is_known_whatever_its_slashes() {
    for path in [
        "/user/v1/workflows/a/jobs",
        "//user//v1//workflows//a//jobs",
        "/webapi//V1/x",
    ] {
        assert!(super::router::is_v1(path), "{path}");
    }
    for path in ["/user/v3/jobs", "/v1/x", "/user/x/v1", ""] {
        assert!(!super::router::is_v1(path), "{path}");
    }
}
