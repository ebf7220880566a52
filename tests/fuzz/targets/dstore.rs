//! Any request of the native dialect, written as in `tests/golden`: a command whose every part is
//! harmless, or a fault whose answer is one line of text.

#![no_main]

#[path = "../request.rs"]
mod request;

use http::{Method, Request, Response, Uri, header, request::Parts};
use libfuzzer_sys::{Corpus, fuzz_target};
use spoolgate::{
    api::{self, Dialect, Intake, Payload},
    domain::joblog::{JobLog, Level, Message, Status},
    domain::{Ids, InterfaceName, JobName, Kind, Place},
    service::{Command, Fault, Reply, Submit},
    store::fs::PlacePath,
    xml::{Finding, Source, XmlLimits, inspect},
};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((head, body)) = request::read(data) else {
        return Corpus::Reject;
    };
    let native = api::of(head.uri.path()).filter(|dialect| dialect.name() == "dstore");
    let Some(dialect) = native else {
        return Corpus::Reject;
    };
    let small = match dialect.intake(&head) {
        Intake::Small { bytes_max } => &body[..body.len().min(bytes_max as usize)],
        Intake::Stream => &[],
    };
    let said = String::from_utf8_lossy(body);
    match dialect.parse(&head, small) {
        Ok(command) => {
            same_as_a_form(dialect, &head, &command);
            replies(dialect, command, &said);
        }
        Err(fault) => {
            faulty(dialect, &fault, 1);
            faults(dialect, &said);
        }
    }
    Corpus::Keep
});

/// Parameters count alike in a query and in a form.
fn same_as_a_form(dialect: &dyn Dialect, head: &Parts, command: &Command) {
    if head.method != Method::GET {
        return;
    }
    let form = head.uri.query().unwrap_or_default();
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::POST;
    parts.uri = head.uri.path().parse().expect("a path is an address");
    assert!(matches!(dialect.intake(&parts), Intake::Small { .. }));
    assert_eq!(dialect.parse(&parts, form.as_bytes()).as_ref(), Ok(command));
}

/// The answers that a command can have, with what the body says in place of what others say.
fn replies(dialect: &dyn Dialect, command: Command, said: &str) {
    match command {
        Command::Fetch {
            interface,
            job,
            stylesheet,
            head,
        } => {
            inside(&interface, &job);
            if let Some(sheet) = stylesheet {
                assert!(!sheet.is_empty() && !sheet.starts_with('.'), "{sheet}");
                assert!(sheet.bytes().all(is_plain), "{sheet}");
            }
            answered(&dialect.render(
                &any_head(),
                Reply::Transformed {
                    content_type: said.into(),
                    body: said.to_owned().into(),
                    head,
                    completion: None,
                },
            ));
        }
        Command::List { interface } => {
            let jobs: Vec<JobName> = said.lines().filter_map(|line| line.parse().ok()).collect();
            let n_jobs = jobs.len();
            jobs.iter().for_each(|job| inside(&interface, job));
            let text = text(dialect.render(&any_head(), Reply::Jobs(jobs)));
            assert_eq!(text.lines().count(), n_jobs);
        }
        Command::Log { interface, job } => log(dialect, interface, job, said),
        Command::Status { job } => {
            assert_eq!(
                text(dialect.render(&any_head(), Reply::Status(Place::JobErrors))),
                "joberrors\n"
            );
            let interface: InterfaceName = "orders_in".parse().expect("a name");
            inside(&interface, &job);
        }
        Command::Submit(submit) => accepted(dialect, submit),
        Command::Cancel { .. }
        | Command::Jobs { .. }
        | Command::Result { .. }
        | Command::Schedule(_)
        | Command::Show { .. }
        | Command::Targets { .. }
        | Command::Token(_) => panic!("not in the words of this dialect"),
    }
}

fn log(dialect: &dyn Dialect, interface: Option<InterfaceName>, job: JobName, said: &str) {
    let message = |text: &str| {
        Message::structured(5, text).unwrap_or_else(|| Message::new(5, Level::Info, text))
    };
    let log = JobLog {
        job,
        interface,
        status: Status::Error,
        received_ms: 0,
        started_ms: None,
        finished_ms: 1,
        attempts: 1,
        bytes: 2,
        sha256: None,
        messages: said.lines().map(message).collect(),
    };
    let text = text(dialect.render(&any_head(), Reply::Log(log)));
    let document = inspect(&Source::Memory(text.as_bytes()), &XmlLimits::default());
    assert!(document.is_ok(), "{document:?}: {text}");
}

/// Where an accepted job is to be looked for, it is looked for.
fn accepted(dialect: &dyn Dialect, submit: Submit) {
    let printable = |key: &String| {
        (1..=255).contains(&key.len()) && key.bytes().all(|b| (b' '..=b'~').contains(&b))
    };
    assert!(submit.idempotency_key.as_ref().is_none_or(printable));
    let id = Ids::above(0).next(1_700_000_000_000);
    let job = JobName::new(id, submit.reference, Kind::Xml);
    let interface = submit
        .interface
        .unwrap_or("orders_in".parse().expect("a name"));
    inside(&interface, &job);
    let digest = submit.digests.sha256.unwrap_or([7; 32]);
    let response = dialect.render(
        &any_head(),
        Reply::Accepted {
            job: job.clone(),
            interface,
            bytes: 3,
            sha256: hex::encode(digest),
            replayed: true,
        },
    );
    answered(&response);
    let (mut parts, ()) = Request::new(()).into_parts();
    let location = response.headers()[header::LOCATION].as_bytes();
    parts.uri = Uri::try_from(location).expect("a location is an address");
    assert_eq!(dialect.parse(&parts, &[]), Ok(Command::Status { job }));
    let field = response.headers()["repr-digest"].clone();
    parts.method = Method::POST;
    parts.uri = Uri::from_static("/xml/upload");
    parts.headers.insert("content-digest", field);
    let Ok(Command::Submit(again)) = dialect.parse(&parts, &[]) else {
        panic!("the digest that we gave is not taken");
    };
    assert_eq!(again.digests.sha256, Some(digest));
}

/// No answer of this dialect depends on its request.
fn any_head() -> Parts {
    Request::new(()).into_parts().0
}

fn faults(dialect: &dyn Dialect, said: &str) {
    let reason = said.to_owned();
    let retry_after_s = said.len() as u32;
    faulty(
        dialect,
        &Fault::Busy {
            retry_after_s,
            reason,
        },
        1,
    );
    let findings: Vec<Finding> = said
        .split(';')
        .map(|said| Finding::new(1, 2, said))
        .collect();
    let n_lines = findings.len() + 1;
    let job = "20261122T045748.123Z-00042.xml".parse().expect("a name");
    faulty(
        dialect,
        &Fault::Refused {
            job,
            sha256: String::new(),
            findings,
        },
        n_lines,
    );
}

/// A fault is lines of text that a terminal survives.
fn faulty(dialect: &dyn Dialect, fault: &Fault, n_lines: usize) {
    let response = dialect.render_fault(&any_head(), fault);
    let status = response.status();
    assert!(
        status.is_client_error() || status.is_server_error(),
        "{status}"
    );
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/plain; charset=utf-8"
    );
    let text = text(response);
    assert!(text.ends_with('\n'));
    let lines: Vec<&str> = text.split_terminator('\n').collect();
    assert_eq!(lines.len(), n_lines, "{text:?}");
    for line in lines {
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.chars().count() <= 1001, "{line:?}");
    }
}

fn answered(response: &Response<Payload>) {
    for (name, value) in response.headers() {
        let visible = value.to_str().is_ok_and(|value| !value.is_empty());
        assert!(visible || name == header::CONTENT_TYPE, "{name}: {value:?}");
    }
}

fn text(response: Response<Payload>) -> String {
    answered(&response);
    match response.into_body() {
        Payload::Bytes(bytes) => String::from_utf8(bytes.to_vec()).expect("text is UTF-8"),
        other => panic!("{other:?} is no text"),
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

fn inside(interface: &InterfaceName, job: &JobName) {
    let path = Place::Queue(interface.clone().into()).path(job);
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    assert_eq!((parts.len(), parts[0]), (3, "queue"));
    for part in parts {
        assert!(
            !part.starts_with('.') && part.bytes().all(is_plain),
            "{part}"
        );
    }
}
