//! The examples in `tests/golden/paas/`.

use super::*;
use crate::{
    api::golden::{self, Answer, download, fault_answers, view},
    service::State,
};

const PROCESS: &str = "POST /api/v1/main/process/Printing";
const STATUS: &str = "GET /api/v1/main/status/893213129179178";

fn answers() -> Vec<Answer> {
    let shown = |state| Ok(Reply::Shown(Box::new(view(state))));
    let created = |replayed| {
        Ok(Reply::Created {
            view: Box::new(view(State::Waiting)),
            replayed,
        })
    };
    let result = Ok(Reply::Result {
        job: view(State::Done).job,
        download: download("Bericht März.pdf"),
    });
    let mut asked_as = view(State::Waiting);
    asked_as.asked_as = Some("Printing".into());
    let mut answers: Vec<Answer> = vec![
        (
            "command as sent",
            STATUS,
            Ok(Reply::Shown(Box::new(asked_as))),
        ),
        ("created", PROCESS, created(false)),
        ("created, replayed", PROCESS, created(true)),
        ("pending", STATUS, shown(State::Waiting)),
        ("processing", STATUS, shown(State::Running)),
        ("done", STATUS, shown(State::Done)),
        ("failed", STATUS, shown(State::Failed)),
        ("cancelled", STATUS, shown(State::Cancelled)),
        ("file", STATUS, result),
    ];
    answers.extend(fault_answers(STATUS));
    answers
}

#[test]
fn the_examples_hold() {
    golden::assert_examples_hold(&Paas, answers());
}

#[test]
fn a_runner_is_enough_to_see_its_task_and_for_nothing_else() {
    for (request, access) in [
        ("GET /api/v1/main/status/1?guid=x", Credentials::Open),
        ("HEAD /api/v1/main/status/1?a=b&guid=x", Credentials::Open),
        ("GET /api/v1/main/download/1/0?guid=", Credentials::Open),
        ("GET /api/v1/main/status/1", Credentials::Basic),
        ("GET /api/v1/main/status/1?Guid=x", Credentials::Basic),
        ("POST /api/v1/main/status/1?guid=x", Credentials::Basic),
        (
            "POST /api/v1/main/process/Printing?guid=x",
            Credentials::Basic,
        ),
        ("GET /api/v1/main/process/status?guid=x", Credentials::Basic),
        ("GET /api/v1/status/download/1?guid=x", Credentials::Open),
    ] {
        let (head, _) = golden::request(request);
        assert_eq!(Paas.credentials(&head), access, "{request}");
    }
}

#[test]
fn the_database_is_the_tenant() {
    for (uri, tenant) in [
        ("/api/v1/main/process/x", Some("main")),
        ("/api/v1/a%20b/status/1", Some("a b")),
        ("/api/v1/%ff/status/1", Some("%ff")),
        ("/api/v1/", Some("")),
    ] {
        let (head, _) = golden::request(&format!("GET {uri}"));
        assert_eq!(Paas.tenant(&head).as_deref(), tenant, "{uri}");
    }
    assert!(!Paas.owns("/api/v2/main/status/1") && !Paas.owns("/api/v1"));
}
