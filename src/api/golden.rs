//! Runs the examples in `tests/golden/<dialect>/`, one file per row of the dialect's contract.
//!
//! A file is a list of examples, each under a `### title`. A request example is a request and,
//! after `=> `, the command or fault that it is. An answer example is `<= ` with the name of one
//! of the dialect's answers and the response. Headers are sorted. `UPDATE_EXPECT=1` writes what the
//! code does now into the files; the difference is for a person to read.

use super::{Dialect, Intake, Payload, openapi};
use crate::{
    domain::joblog::{Level, Message},
    domain::{JobName, Priority},
    service::{Download, Fault, Reply, State, View},
};
use expect_test::expect_file;
use http::request::Parts;
use serde_json::json;
use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

/// An answer that the files may ask for: its name, the request that it is for, and what it is.
pub(super) type Answer = (&'static str, &'static str, Result<Reply, Fault>);

/// A job in some state, with all that there is of it then.
pub(super) fn view(state: State) -> View {
    let job: JobName = "20261122T045748.123Z-00042.json".parse().unwrap();
    let ended = state.is_settled();
    let message = |level, text: &str| Message::new(1_795_323_469_000, level, text);
    let (error, variables) = match state {
        State::Waiting | State::Running => (None, json!({})),
        State::Done => (None, json!({"total": 3, "link": {"href": "a/b"}})),
        State::Failed => (Some("no paper"), json!({})),
        State::Cancelled => (Some("cancelled by ada"), json!({})),
    };
    View {
        id: job.id().get(),
        uuid: "0cb0c0de-0000-8abc-8000-0123456789ab".into(),
        hex: "0cb0c0de0123456789abcdef".into(),
        runner: Some("Zm9yIHRoaXMgam9iIGFsb25lLCBhbmQg".into()),
        interface: Some("printing".parse().unwrap()),
        asked_as: None,
        state,
        submitter: "ada".into(),
        priority: Priority::High,
        worker: Some("robot-1".into()),
        received_ms: 1_795_323_468_123,
        started_ms: ended.then_some(1_795_323_469_000),
        finished_ms: ended.then_some(1_795_323_470_500),
        eta_ms: 1_795_323_480_000,
        error: error.map(str::to_owned),
        messages: match ended {
            true => vec![
                message(Level::Info, "printing"),
                message(Level::Warning, "little paper"),
                message(Level::Error, "no paper"),
            ],
            false => vec![],
        },
        files: match state {
            State::Done => vec!["a.csv".into(), "b.pdf".into()],
            State::Cancelled | State::Failed | State::Running | State::Waiting => vec![],
        },
        variables: variables.as_object().unwrap().clone(),
        job,
    }
}

/// A file of three bytes, `abc`.
pub(super) fn download(name: &str) -> Download {
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let content = crate::service::Content::of_bytes(b"abc".to_vec(), Some(sha256.into()));
    Download::new(name.into(), content)
}

/// One of each fault, as answers to a request.
pub(super) fn fault_answers(asked: &'static str) -> Vec<Answer> {
    let text = |text: &str| text.to_owned();
    let reason = text;
    let busy = Fault::Busy {
        retry_after_s: 30,
        reason: reason("the disk is full"),
    };
    let field = Fault::Field {
        field: text("priority"),
        reason: reason("use Low or High"),
    };
    let hostile = Fault::Invalid {
        reason: reason("\r\nSet-Cookie: x\u{1b}[2J\"</script>"),
    };
    let too_many = Fault::TooMany {
        retry_after_s: 5,
        reason: reason("too many logins"),
    };
    let many_uploads = Fault::TooMany {
        retry_after_s: 12,
        reason: reason("you may begin 5 uploads a minute; the next is possible in 12 s"),
    };
    let forbidden = reason("you have no right to upload on printing");
    let conflict = reason("the job has ended");
    let answers = [
        ("busy", busy),
        ("conflict", Fault::Conflict { reason: conflict }),
        ("field", field),
        ("forbidden", Fault::Forbidden { reason: forbidden }),
        ("internal", Fault::Internal),
        ("invalid, hostile", hostile),
        ("method", Fault::MethodNotAllowed { allow: "GET, HEAD" }),
        ("no such path", Fault::NoSuchPath),
        ("timed out", Fault::TimedOut),
        ("too large", Fault::TooLarge { bytes_max: 1000 }),
        ("too many", too_many),
        ("too many uploads", many_uploads),
        ("unauthorized", Fault::Unauthorized),
        (
            "unsupported",
            Fault::Unsupported {
                is_encoded: true,
                reason: reason("send it as it is"),
            },
        ),
        (
            "unknown file",
            Fault::UnknownFile {
                job: text("7"),
                number: 3,
            },
        ),
        (
            "unknown interface",
            Fault::UnknownInterface {
                interface: text("Baking"),
            },
        ),
        ("unknown job", Fault::UnknownJob { job: text("7") }),
        (
            "unknown tenant",
            Fault::UnknownTenant {
                tenant: text("nobody"),
            },
        ),
    ];
    let answer = |(name, fault)| (name, asked, Err(fault));
    answers.into_iter().map(answer).collect()
}

/// The head and body of a request as a file writes it.
pub(super) fn request(text: &str) -> (Parts, Vec<u8>) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let (method, uri) = lines.next().unwrap().split_once(' ').unwrap();
    let mut builder = http::Request::builder().method(method).uri(uri);
    for (name, value) in lines.map(|line| line.split_once(": ").unwrap()) {
        builder = builder.header(name, value);
    }
    let (head, ()) = builder.body(()).unwrap().into_parts();
    (head, body.trim_end_matches('\n').as_bytes().to_vec())
}

/// What becomes of a request: intake, then parsing, in the order of the server.
fn parsed(dialect: &dyn Dialect, text: &str) -> String {
    let (head, body) = request(text);
    assert!(dialect.owns(head.uri.path()), "{text}");
    let small = match dialect.intake(&head) {
        Intake::Small { bytes_max } => {
            assert!(body.len() as u64 <= bytes_max);
            body
        }
        Intake::Stream => vec![],
    };
    match dialect.parse(&head, &small) {
        Ok(command) => format!("{command:?}"),
        Err(fault) => format!("{fault:?}"),
    }
}

/// Every answer, as it is sent.
fn rendered(dialect: &dyn Dialect, answers: Vec<Answer>) -> BTreeMap<&'static str, String> {
    let render = |(name, asked, answer): Answer| {
        let (head, _) = request(asked);
        let response = match answer {
            Ok(reply) => dialect.render(&head, reply),
            Err(fault) => dialect.render_fault(&head, &fault),
        };
        let text = text_of(response);
        openapi::assert_described(dialect.name(), &text);
        (name, text)
    };
    answers.into_iter().map(render).collect()
}

fn text_of(response: http::Response<Payload>) -> String {
    let mut text = format!("{}\n", response.status());
    let mut headers: Vec<_> = response.headers().iter().collect();
    headers.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in headers {
        writeln!(text, "{name}: {}", value.to_str().unwrap()).unwrap();
    }
    let body = match response.into_body() {
        Payload::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Payload::Completing(..) => unreachable!("no answer here completes"),
        Payload::File(download) => format!("(the file's {} bytes)\n", download.bytes()),
        Payload::HeadOf(n_bytes) => format!("(no body, for one of {n_bytes} bytes)\n"),
        Payload::Stream(_) => unreachable!("no dialect streams what it does not know"),
    };
    text + "\n" + &body
}

/// Asserts that the examples of a dialect hold, and that each of its answers is an example.
pub(super) fn assert_examples_hold(dialect: &dyn Dialect, answers: Vec<Answer>) {
    let answers = rendered(dialect, answers);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let directory = directory.join(dialect.name());
    // The example as it should stand in its file.
    let rerun = |example: &str| {
        let (title, content) = example.split_once('\n').unwrap();
        if let Some(answer) = content.strip_prefix("<= ") {
            let name = answer.lines().next().unwrap();
            let Some(text) = answers.get(name) else {
                panic!("there is no answer {name:?}");
            };
            return format!("### {title}\n<= {name}\n{}\n\n", text.trim_end());
        }
        let asked = content.split("\n=> ").next().unwrap().trim_end();
        let blank = if asked.contains("\n\n") { "\n\n" } else { "\n" };
        format!(
            "### {title}\n{asked}{blank}=> {}\n\n",
            parsed(dialect, asked)
        )
    };
    let mut text_of_all = String::new();
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let rerun: String = text.split("### ").skip(1).map(rerun).collect();
        let rerun = rerun.trim_end().to_owned() + "\n";
        expect_file![&path].assert_eq(&rerun);
        text_of_all += &rerun;
    }
    for name in answers.keys() {
        let asked = format!("<= {name}\n");
        assert!(text_of_all.contains(&asked), "no example asks for {name:?}");
    }
}

/// Asserts that a request is answered: by a command, or by a fault in JSON. A request
/// that cannot be sent is none.
pub(super) fn assert_answered(dialect: &dyn Dialect, method: &str, uri: &str, body: &[u8]) {
    let request = http::Request::builder().method(method).uri(uri).body(());
    let Ok(request) = request else { return };
    let (head, ()) = request.into_parts();
    if !dialect.owns(head.uri.path()) {
        return;
    }
    let small = match dialect.intake(&head) {
        Intake::Small { .. } => body,
        Intake::Stream => &[],
    };
    dialect.credentials(&head);
    let Err(fault) = dialect.parse(&head, small) else {
        return;
    };
    let response = dialect.render_fault(&head, &fault);
    assert!(response.status().is_client_error(), "{fault:?}");
    let Payload::Bytes(bytes) = response.into_body() else {
        panic!("{fault:?} is not answered by bytes");
    };
    let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert!(body.is_object(), "{body}");
}
