//! Runs the examples in `tests/golden/dstore/`, one file per row of the contract.
//!
//! A file is a list of examples, each under a `### title`. A request example is a request and,
//! after `=> `, the command or fault that it is. An answer example is `<= ` with the name of one
//! of the [`answers`] and the response. Headers are sorted. `SPOOLGATE_GOLDEN=write` writes what
//! the code does now into the files; the difference is for a person to read.

use super::*;
use crate::{
    gateway::Download,
    job::{JobName, Place},
    joblog::{JobLog, Status},
    xml::Finding,
};
use bytes::Bytes;
use std::{fmt::Write, fs, path::Path};

const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn job() -> JobName {
    "20261122T045748.123Z-00042-order-10834.xml"
        .parse()
        .unwrap()
}

fn download(head: bool, sha256: Option<&str>) -> Reply {
    Reply::Content(Download {
        bytes: 3,
        file: tempfile::tempfile().unwrap(),
        sha256: sha256.map(str::to_owned),
        head,
        completion: None,
    })
}

fn transformed(content_type: &str, head: bool) -> Reply {
    Reply::Transformed {
        content_type: content_type.into(),
        body: Bytes::from("<html/>"),
        head,
        completion: None,
    }
}

fn accepted(replayed: bool) -> Reply {
    Reply::Accepted {
        job: job(),
        interface: "orders_in".parse().unwrap(),
        bytes: 3,
        sha256: SHA256.into(),
        replayed,
    }
}

fn refused(findings: &[(u64, u64, &str)]) -> Fault {
    let finding = |(line, column, message): &(u64, u64, &str)| Finding {
        line: *line,
        column: *column,
        message: (*message).into(),
    };
    Fault::Refused {
        job: job(),
        sha256: SHA256.into(),
        findings: findings.iter().map(finding).collect(),
    }
}

/// Every answer that the files may ask for.
fn answers() -> impl Iterator<Item = (&'static str, Result<Reply, Fault>)> {
    replies().into_iter().chain(faults())
}

fn replies() -> Vec<(&'static str, Result<Reply, Fault>)> {
    let interface = || "orders_in".parse().unwrap();
    vec![
        ("accepted", Ok(accepted(false))),
        ("accepted, replayed", Ok(accepted(true))),
        ("content", Ok(download(false, Some(SHA256)))),
        ("content, head", Ok(download(true, Some(SHA256)))),
        ("content, no digest", Ok(download(false, None))),
        ("jobs, none", Ok(Reply::Jobs(vec![]))),
        (
            "jobs, two",
            Ok(Reply::Jobs(vec![
                "20261122T045748.123Z-00001.xml".parse().unwrap(),
                job(),
            ])),
        ),
        (
            "log",
            Ok(Reply::Log(JobLog {
                job: job(),
                interface: Some(interface()),
                status: Status::Ok,
                received_ms: 1_795_323_468_123,
                started_ms: None,
                finished_ms: 1_795_323_468_124,
                attempts: 1,
                bytes: 3,
                sha256: None,
                messages: vec![],
            })),
        ),
        ("status, bak", Ok(Reply::Status(Place::Bak(interface())))),
        ("status, joberrors", Ok(Reply::Status(Place::JobErrors))),
        (
            "status, work",
            Ok(Reply::Status(Place::Work {
                interface: interface(),
                attempt: 2,
            })),
        ),
        (
            "transformed",
            Ok(transformed("text/html; charset=utf-8", false)),
        ),
        ("transformed, head", Ok(transformed("text/html", true))),
        (
            "transformed, bad type",
            Ok(transformed("text/\nhtml", false)),
        ),
    ]
}

fn faults() -> Vec<(&'static str, Result<Reply, Fault>)> {
    let reason = |text: &str| text.to_owned();
    vec![
        (
            "busy",
            Err(Fault::Busy {
                retry_after_s: 30,
                reason: reason("the disk is full"),
            }),
        ),
        (
            "forbidden",
            Err(Fault::Forbidden {
                reason: reason("no right to upload here"),
            }),
        ),
        ("internal", Err(Fault::Internal)),
        (
            "invalid, hostile",
            Err(Fault::Invalid {
                reason: reason("unknown interface a\r\nSet-Cookie: x\u{1b}[2J"),
            }),
        ),
        (
            "method",
            Err(Fault::MethodNotAllowed { allow: "GET, POST" }),
        ),
        ("no such path", Err(Fault::NoSuchPath)),
        (
            "refused",
            Err(refused(&[(3, 7, "no ItemNo"), (4, 1, "two\nlines")])),
        ),
        ("timed out", Err(Fault::TimedOut)),
        ("too large", Err(Fault::TooLarge { bytes_max: 1000 })),
        (
            "too many",
            Err(Fault::TooMany {
                retry_after_s: 5,
                reason: reason("too many failed logins"),
            }),
        ),
        ("unauthorized", Err(Fault::Unauthorized)),
        (
            "unknown job",
            Err(Fault::UnknownJob {
                job: reason("order.xml"),
            }),
        ),
    ]
}

/// The head and body of a request as a file writes it.
fn request(text: &str) -> (Parts, Vec<u8>) {
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
fn parsed(text: &str) -> String {
    let (head, body) = request(text);
    assert!(DStore.owns(head.uri.path()), "{text}");
    let small = match DStore.intake(&head) {
        Intake::Small { bytes_max } => {
            assert!(body.len() as u64 <= bytes_max);
            body
        }
        Intake::Stream => vec![],
    };
    match DStore.parse(&head, &small) {
        Ok(command) => format!("{command:?}"),
        Err(fault) => format!("{fault:?}"),
    }
}

fn rendered(name: &str) -> String {
    let (_, answer) = answers().find(|(known, _)| *known == name).unwrap();
    let response = match answer {
        Ok(reply) => DStore.render(reply),
        Err(fault) => DStore.render_fault(&fault),
    };
    let mut text = format!("{}\n", response.status());
    let mut headers: Vec<_> = response.headers().iter().collect();
    headers.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in headers {
        writeln!(text, "{name}: {}", value.to_str().unwrap()).unwrap();
    }
    let body = match response.into_body() {
        Payload::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Payload::Completing(..) => unreachable!("no answer here completes"),
        Payload::File(download) => format!("(the job's {} bytes)\n", download.bytes),
        Payload::HeadOf(n_bytes) => format!("(no body, for one of {n_bytes} bytes)\n"),
    };
    text + "\n" + &body
}

/// The example as it should stand in its file.
fn rerun(example: &str) -> String {
    let (title, content) = example.split_once('\n').unwrap();
    if let Some(answer) = content.strip_prefix("<= ") {
        let name = answer.lines().next().unwrap();
        return format!("{title}\n<= {name}\n{}\n\n", rendered(name).trim_end());
    }
    let asked = content.split("\n=> ").next().unwrap().trim_end();
    let blank = if asked.contains("\n\n") { "\n\n" } else { "\n" };
    format!("{title}\n{asked}{blank}=> {}\n\n", parsed(asked))
}

#[test]
fn the_examples_hold() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dstore");
    let write = std::env::var("SPOOLGATE_GOLDEN").is_ok_and(|mode| mode == "write");
    let mut text_of_all = String::new();
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let examples = text.split("### ").skip(1);
        let rerun: String = examples
            .map(|text| format!("### {}", rerun(text)))
            .collect();
        let rerun = rerun.trim_end().to_owned() + "\n";
        if write {
            fs::write(&path, &rerun).unwrap();
        } else {
            assert!(
                text == rerun,
                "{}\nexpected:\n{text}\nis:\n{rerun}",
                path.display()
            );
        }
        text_of_all += &rerun;
    }
    for (name, _) in answers() {
        let asked = format!("<= {name}\n");
        assert!(text_of_all.contains(&asked), "no example asks for {name:?}");
    }
}

#[test]
fn nothing_outside_the_root_is_ours() {
    for path in ["/", "/xmlx", "/XML/job", "xml/job", "*", ""] {
        assert!(!DStore.owns(path), "{path}");
    }
    assert!(DStore.owns("/xml"));
}

#[test]
fn a_long_text_is_cut() {
    let reason = "ä".repeat(5000);
    let response = DStore.render_fault(&Fault::Invalid { reason });
    let Payload::Bytes(body) = response.into_body() else {
        panic!("not bytes");
    };
    assert_eq!(std::str::from_utf8(&body).unwrap().chars().count(), 1002);
}

/// Headers that a line of a file cannot hold.
#[test]
fn keys_and_digests_that_no_text_holds() {
    let with = |name: &'static str, values: &[&[u8]]| {
        let (mut head, _) = request("POST /xml/upload");
        for value in values {
            let value = http::HeaderValue::from_bytes(value).unwrap();
            head.headers.append(name, value);
        }
        DStore.parse(&head, &[]).is_ok()
    };
    assert!(with("idempotency-key", &[b"k", b"k"]));
    assert!(with("idempotency-key", &[&[b'~'; 255]]));
    for bad in [&[b'a'; 256][..], b"", b"\xc3\xa4", b"a\tb"] {
        assert!(!with("idempotency-key", &[bad]), "{bad:?}");
    }
    assert!(!with("idempotency-key", &[b"k", b"l"]));
    assert!(!with("content-digest", &[b"sha-256=:\xff:"]));
}
