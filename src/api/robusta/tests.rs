//! The examples in `tests/golden/robusta/`.

use super::*;
use crate::{
    api::golden::{self, Answer, fault_answers, view},
    service::State,
};

const START: &str = "POST /scheduler/connector-api/process/start";
const STATUS: &str =
    "GET /scheduler/connector-api/process/status/0cb0c0de-0000-8abc-8000-0123456789ab";

fn answers() -> Vec<Answer> {
    let uuid = || view(State::Waiting).uuid;
    let shown = |state| Ok(Reply::Shown(Box::new(view(state))));
    let created = |replayed| {
        Ok(Reply::Created {
            view: Box::new(view(State::Waiting)),
            replayed,
        })
    };
    let of_schedule = |latest: Option<State>, next_ms| {
        Ok(Reply::ShownSchedule {
            uuid: uuid(),
            latest: latest.map(|state| Box::new(view(state))),
            next_ms,
        })
    };
    let next_ms = Some(1_795_759_560_000);
    let mut failed = view(State::Failed);
    failed.error = None;
    let mut answers: Vec<Answer> = vec![
        ("created", START, created(false)),
        ("created, replayed", START, created(true)),
        ("scheduled", START, Ok(Reply::Scheduled { uuid: uuid() })),
        ("waiting", STATUS, shown(State::Waiting)),
        ("running", STATUS, shown(State::Running)),
        ("succeeded", STATUS, shown(State::Done)),
        ("failed", STATUS, shown(State::Failed)),
        (
            "failed, nobody knows why",
            STATUS,
            Ok(Reply::Shown(Box::new(failed))),
        ),
        ("cancelled", STATUS, shown(State::Cancelled)),
        ("schedule, before", STATUS, of_schedule(None, next_ms)),
        (
            "schedule, between",
            STATUS,
            of_schedule(Some(State::Done), next_ms),
        ),
        (
            "schedule, at its last",
            STATUS,
            of_schedule(Some(State::Running), None),
        ),
        ("schedule, never ran", STATUS, of_schedule(None, None)),
    ];
    answers.extend(fault_answers(STATUS));
    answers
}

#[test]
fn the_examples_hold() {
    golden::assert_examples_hold(&Robusta, answers());
}

#[test]
fn only_paths_of_the_scheduler_are_owned() {
    for path in [
        "/scheduler/connector-api",
        "/scheduler/connector-API/",
        "/scheduler/Connector-Api/process/stop",
    ] {
        assert!(Robusta.owns(path), "{path}");
    }
    for path in [
        "/scheduler",
        "/scheduler/",
        "/Scheduler/connector-api/process/start",
        "/scheduler/connector-apis/process/start",
        "/x/scheduler/connector-api",
    ] {
        assert!(!Robusta.owns(path), "{path}");
    }
}
