//! The examples in `tests/golden/dstore/`, and what no line of a file can hold.

use super::*;
use crate::{
    api::golden::{self, Answer, request},
    domain::joblog::{JobLog, Status},
    domain::{JobName, Kind, Place},
    service::Download,
    xml::Finding,
};
use bytes::Bytes;

const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn job() -> JobName {
    "20261122T045748.123Z-00042-order-10834.xml"
        .parse()
        .unwrap()
}

fn download(head: bool, sha256: Option<&str>) -> Reply {
    let content = crate::service::Content::of_bytes(b"abc".to_vec(), sha256.map(str::to_owned));
    Reply::Content(Download {
        kind: Some(Kind::Xml),
        head,
        ..Download::new(job().to_string(), content)
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

fn findings() -> Vec<Finding> {
    let finding = |(line, column, message): (u64, u64, &str)| Finding {
        line,
        column,
        path: None,
        message: message.into(),
    };
    [(3, 7, "no ItemNo"), (4, 1, "two\nlines")]
        .map(finding)
        .into()
}

/// Every answer that the files may ask for.
fn answers() -> Vec<Answer> {
    let answers = replies().into_iter().chain(faults());
    let to_any = |(name, answer)| (name, "GET /xml/job", answer);
    answers.map(to_any).chain(located()).collect()
}

/// Findings with the path of their element, to a request that takes anything and to ones that ask
/// for JSON.
fn located() -> Vec<Answer> {
    let findings = || {
        let first = Finding::new(3, 7, "the attribute \"ItemNo\" is missing");
        let more = Finding::new(0, 0, "without a place");
        vec![first.with_path("/ListOfItems/Item[2]"), more]
    };
    let refused = || Fault::Refused {
        job: job(),
        sha256: SHA256.into(),
        findings: findings(),
    };
    let not_valid = Fault::NotValid {
        findings: findings(),
    };
    let busy = Fault::Busy {
        retry_after_s: 30,
        reason: "the disk is full".into(),
    };
    let hostile = Fault::Invalid {
        reason: "unknown interface a\r\nb\u{1b}[2J\"</script>".into(),
    };
    let upload = "POST /xml/upload\nAccept: application/json";
    let validate = "POST /xml/validate\nAccept: application/problem+json";
    vec![
        ("refused, located", "POST /xml/upload", Err(refused())),
        ("problem, refused", upload, Err(refused())),
        ("problem, not valid", validate, Err(not_valid)),
        ("problem, busy", upload, Err(busy)),
        ("problem, hostile", upload, Err(hostile)),
    ]
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
            "valid",
            Ok(Reply::Valid {
                interface: interface(),
            }),
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
        (
            "conflict",
            Err(Fault::Conflict {
                reason: reason("the job has ended"),
            }),
        ),
        (
            "field",
            Err(Fault::Field {
                field: reason("priority"),
                reason: reason("use Low or High"),
            }),
        ),
        (
            "unknown file",
            Err(Fault::UnknownFile {
                job: reason("order.xml"),
                number: 3,
            }),
        ),
        (
            "unknown interface",
            Err(Fault::UnknownInterface {
                interface: reason("a\r\nb"),
            }),
        ),
        (
            "unknown tenant",
            Err(Fault::UnknownTenant {
                tenant: reason("nobody"),
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
            Err(Fault::Refused {
                job: job(),
                sha256: SHA256.into(),
                findings: findings(),
            }),
        ),
        (
            "not valid",
            Err(Fault::NotValid {
                findings: findings(),
            }),
        ),
        (
            "encoded",
            Err(Fault::Unsupported {
                is_encoded: true,
                reason: reason("send it as it is"),
            }),
        ),
        (
            "in parts",
            Err(Fault::Unsupported {
                is_encoded: false,
                reason: reason("send the document itself"),
            }),
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
        (
            "too many uploads",
            Err(Fault::TooMany {
                retry_after_s: 12,
                reason: reason("you may begin 5 uploads a minute; the next is possible in 12 s"),
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

#[test]
fn the_examples_hold() {
    golden::assert_examples_hold(&DStore, answers());
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
    let response = DStore.render_fault(&request("GET /xml/job").0, &Fault::Invalid { reason });
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
