//! Any request of the JSON dialects, written as in `tests/golden`: a command whose every part is
//! harmless, or a fault, and an answer that is JSON whatever a client or a processor has said.

#![no_main]

#[path = "../request.rs"]
mod request;

use http::{header, request::Parts};
use libfuzzer_sys::{Corpus, fuzz_target};
use spoolgate::{
    api::{self, Dialect, Intake, Payload},
    domain::joblog::{Level, Message},
    domain::{JobName, PARAMS_BYTES_MAX, Priority},
    service::{Command, DocumentFormat, Fault, Reply, State, Submit, View},
};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((head, body)) = request::read(data) else {
        return Corpus::Reject;
    };
    let json = api::of(head.uri.path()).filter(|dialect| dialect.name() != "dstore");
    let Some(dialect) = json else {
        return Corpus::Reject;
    };
    let _ = (dialect.credentials(&head), dialect.tenant(&head));
    let small = match dialect.intake(&head) {
        Intake::Small { bytes_max } => &body[..body.len().min(bytes_max as usize)],
        Intake::Stream => &[],
    };
    let said = String::from_utf8_lossy(body);
    match dialect.parse(&head, small) {
        Ok(command) => {
            submitted(&command, body);
            for reply in replies(&said) {
                answered(dialect, &head, Ok(reply));
            }
        }
        Err(fault) => answered(dialect, &head, Err(fault)),
    }
    let field = said.clone().into_owned();
    let reason = field.clone();
    answered(dialect, &head, Err(Fault::Field { field, reason }));
    Corpus::Keep
});

fn submitted(command: &Command, body: &[u8]) {
    let submit: &Submit = match command {
        Command::Schedule(request) => &request.submit,
        Command::Submit(submit) => submit,
        _ => return,
    };
    assert!(submit.interface.is_some());
    if let Some(params) = &submit.options.params {
        assert!(params.len() <= PARAMS_BYTES_MAX);
        serde_json::from_str::<serde_json::Map<_, _>>(params).expect("an object");
    }
    let DocumentFormat::Json { check, .. } = submit.document else {
        panic!("not JSON");
    };
    if (check.0)(&mut &body[..]).is_ok() {
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        serde_json::from_slice::<serde::de::IgnoredAny>(body).expect("what is accepted is JSON");
    }
}

/// What the body says in place of what others say.
fn replies(said: &str) -> Vec<Reply> {
    let job: JobName = "20261122T045748.123Z-00042.json".parse().expect("a name");
    let variables = serde_json::from_str(said).unwrap_or_default();
    let message =
        Message::structured(5, said).unwrap_or_else(|| Message::new(5, Level::Info, said));
    let view = |state| View {
        job: job.clone(),
        id: job.id().get(),
        uuid: "0cb0c0de-0000-8abc-8000-0123456789ab".into(),
        hex: "0cb0c0de0123456789abcdef".into(),
        runner: Some("runner".into()),
        interface: None,
        asked_as: Some(said.into()),
        state,
        submitter: said.into(),
        priority: Priority::Low,
        worker: Some(said.into()),
        received_ms: i64::MAX,
        started_ms: None,
        finished_ms: Some(i64::MIN),
        eta_ms: said.len() as i64,
        error: Some(said.into()),
        messages: vec![message.clone()],
        files: vec![said.into()],
        variables: Clone::clone(&variables),
    };
    vec![
        Reply::Created {
            view: Box::new(view(State::Waiting)),
            replayed: true,
        },
        Reply::Shown(Box::new(view(State::Done))),
        Reply::Shown(Box::new(view(State::Failed))),
        Reply::Shows(vec![view(State::Running), view(State::Cancelled)]),
    ]
}

fn answered(dialect: &dyn Dialect, head: &Parts, answer: Result<Reply, Fault>) {
    let is_fault = answer.is_err();
    let response = match answer {
        Ok(reply) => dialect.render(head, reply),
        Err(fault) => dialect.render_fault(head, &fault),
    };
    let status = response.status();
    assert!(
        !is_fault || status.is_client_error() || status.is_server_error(),
        "{status}"
    );
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    let Payload::Bytes(body) = response.into_body() else {
        panic!("no body");
    };
    serde_json::from_slice::<serde::de::IgnoredAny>(&body).expect("JSON");
}
