//! `push` over HTTPS against a scripted server: retries, refusals, connections, keys.

use super::*;
use crate::client::connect::Login;
use crate::client::stub::{Say, Stub};
use crate::client::trust::Trust;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use std::fs::File;

const JOB: &str = "20261122T045748.123Z-00042-order.xml";

fn quick() -> PushOptions {
    PushOptions {
        retry_delay: Duration::from_millis(1),
        ..PushOptions::default()
    }
}

fn created() -> Say {
    Say::whole("201 Created", "", &format!("{JOB}\n"))
}

struct Pushed {
    log: String,
    out: String,
    summary: PushSummary,
}

async fn pushed(endpoint: &Endpoint, files: &[PathBuf], options: &PushOptions) -> Pushed {
    let (mut out, mut log) = (Vec::new(), Vec::new());
    let summary = push_to(endpoint, files, options, &mut out, &mut log).await;
    Pushed {
        log: String::from_utf8(log).unwrap(),
        out: String::from_utf8(out).unwrap(),
        summary: summary.unwrap(),
    }
}

#[tokio::test]
async fn what_was_pushed_before_is_said() {
    let replayed = || {
        Say::whole(
            "201 Created",
            "idempotency-replayed: true\r\n",
            &format!("{JOB}\n"),
        )
    };
    let stub = Stub::start(move |n, _| match n {
        // The answer to the second file gets lost: it was this push that made the job.
        1 => replayed().cut(5),
        _ => replayed(),
    })
    .await;
    let files = [stub.file("a.xml", b"<a/>"), stub.file("b.xml", b"<b/>")];
    let done = pushed(&stub.endpoint(), &files, &quick()).await;
    assert_eq!(done.out, format!("{JOB}\n{JOB}\n"));
    let said = format!("{}: pushed before as {JOB}; --again", files[0].display());
    assert!(done.log.contains(&said), "{}", done.log);
    assert_eq!(done.log.matches("pushed before").count(), 1, "{}", done.log);
    let options = PushOptions {
        json: true,
        ..quick()
    };
    let done = pushed(&stub.endpoint(), &files[..1], &options).await;
    let line: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(line["replayed"], true);
}

#[tokio::test]
async fn a_busy_server_is_asked_again_with_the_same_key() {
    let stub = Stub::start(|n, _| match n {
        0 => Say::whole("503 Service Unavailable", "retry-after: 0\r\n", "busy\n"),
        1 => Say::nothing(),
        2 => created().cut(5),
        _ => created(),
    })
    .await;
    let file = stub.file("order 1.xml", b"<a/>");
    let options = PushOptions {
        interface: Some("orders_in".parse().unwrap()),
        ..quick()
    };
    let done = pushed(&stub.endpoint(), &[file], &options).await;
    assert_eq!(done.out, format!("{JOB}\n"));
    assert_eq!(
        done.summary,
        PushSummary {
            failed: 0,
            pushed: 1
        }
    );
    assert!(done.log.contains("trying again"), "{}", done.log);
    let asked = stub.asked();
    assert_eq!(asked.len(), 4);
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(b"<a/>")));
    for one in &asked {
        let line = "POST /xml/upload?Interfacename=orders_in&RefName=order+1";
        assert_eq!((one.line(), &*one.body), (line, &b"<a/>"[..]));
        assert_eq!(one.header("content-digest"), Some(&*digest));
        assert_eq!(
            one.header("idempotency-key"),
            asked[0].header("idempotency-key")
        );
        assert_eq!(one.header("authorization"), Some("Basic c2hvcDE6c2VjcmV0"));
    }
}

#[tokio::test]
async fn an_invalid_document_is_not_tried_again_and_the_next_file_is() {
    let stub = Stub::start(|_, asked| {
        if asked.line().contains("bad") {
            let body = format!("{JOB}\n3:7: element \u{1b}[31m`x` unexpected\nand more\n");
            return Say::whole("400 Bad Request", &format!("x-job-name: {JOB}\r\n"), &body);
        }
        created()
    })
    .await;
    let files = [
        stub.file("bad.xml", b"<x/>"),
        stub.file("good.xml", b"<a/>"),
    ];
    let done = pushed(&stub.endpoint(), &files, &quick()).await;
    assert_eq!(
        done.summary,
        PushSummary {
            failed: 1,
            pushed: 1
        }
    );
    assert_eq!(done.out, format!("{JOB}\n"));
    let bad = files[0].display();
    let expected = format!(
        "{bad}: the server refused it (400 Bad Request); kept there as {JOB}\n\
         {bad}:3:7: element \\u{{1b}}[31m`x` unexpected\n{bad}: and more\n"
    );
    assert_eq!(done.log, expected);
    assert_eq!(stub.asked().len(), 2);
    let options = PushOptions {
        json: true,
        ..quick()
    };
    let done = pushed(&stub.endpoint(), &files, &options).await;
    let lines: Vec<serde_json::Value> = done
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["status"], 400);
    assert_eq!(lines[0]["findings"][1], "and more");
    assert_eq!(lines[1]["job"], JOB);
    assert_eq!(lines[1]["bytes"], 4);
}

#[tokio::test]
async fn a_refusal_from_before_is_said_to_be_one() {
    // JOB was made at 04:57:48.123 by the server's clock.
    for (date, before) in [
        ("Sun, 22 Nov 2026 04:57:50 GMT", true),
        ("Sun, 22 Nov 2026 04:57:48 GMT", false),
        ("no date", false),
    ] {
        let headers = format!("x-job-name: {JOB}\r\ndate: {date}\r\n");
        let refuse = move |_, _: &_| Say::whole("400 Bad Request", &headers, "1:1: no\n");
        let stub = Stub::start(refuse).await;
        let file = stub.file("a.xml", b"<a/>");
        let done = pushed(&stub.endpoint(), &[file], &quick()).await;
        let said = done
            .log
            .contains("the answer from before, --again sends it as a new one");
        assert_eq!(said, before, "{date}: {}", done.log);
    }
}

#[tokio::test]
async fn refusals_say_what_to_do_and_are_final() {
    for (status, hint) in [
        ("401 Unauthorized", "check --user"),
        ("403 Forbidden", "may not upload"),
        ("413 Content Too Large", "larger than the interface takes"),
    ] {
        // Before the body is read: the answer has to be heard while the file is being sent.
        let stub = Stub::start(move |_, _| Say::whole(status, "connection: close\r\n", "").early());
        let stub = stub.await;
        let file = stub.file("big.xml", &vec![b' '; 3_000_000]);
        let done = pushed(&stub.endpoint(), &[file], &quick()).await;
        assert!(done.log.contains(hint), "{}", done.log);
        assert_eq!((done.summary.failed, stub.asked().len()), (1, 1));
    }
}

#[tokio::test]
async fn patience_ends_after_the_retries() {
    let stub = Stub::start(|_, _| Say::whole("429 Too Many Requests", "", "")).await;
    let file = stub.file("a.xml", b"<a/>");
    let options = PushOptions {
        retries: 2,
        ..quick()
    };
    let done = pushed(&stub.endpoint(), &[file], &options).await;
    assert_eq!((done.summary.failed, stub.asked().len()), (1, 3));
}

#[tokio::test]
async fn who_is_to_wait_for_the_next_day_is_told_at_once() {
    let stub = Stub::start(|n, _| match n {
        0 => Say::whole("429 Too Many Requests", "retry-after: 0\r\n", ""),
        _ => Say::whole("429 Too Many Requests", "retry-after: 43200\r\n", "a day\n"),
    })
    .await;
    let files = [stub.file("a.xml", b"<a/>")];
    let done = pushed(&stub.endpoint(), &files, &quick()).await;
    assert_eq!(done.summary.failed, 1);
    assert_eq!(stub.asked().len(), 2, "{}", done.log);
    let said = "the user has sent too much (429 Too Many Requests); push it again in 43200 s\n";
    assert!(done.log.contains(said), "{}", done.log);
    assert!(done.log.ends_with(": a day\n"), "{}", done.log);
}

#[tokio::test]
async fn one_connection_serves_and_a_closed_one_is_replaced() {
    // It closes after the first answer, and instead of the third, as idle servers do.
    let stub = Stub::start(|n, _| match n {
        0 => created().closing(),
        2 => Say::nothing(),
        _ => created(),
    })
    .await;
    let big = vec![b'x'; 1_000_000];
    let files = [
        stub.file("1", b"1"),
        stub.file("2", &big),
        stub.file("3", b"3"),
    ];
    let options = PushOptions {
        retries: 0,
        ..quick()
    };
    let done = pushed(&stub.endpoint(), &files, &options).await;
    assert_eq!(
        done.summary,
        PushSummary {
            failed: 0,
            pushed: 3
        }
    );
    assert_eq!(stub.asked()[1].body, big);
    assert_eq!((stub.asked().len(), stub.connections()), (4, 3));
}

#[tokio::test]
async fn what_does_not_answer_is_given_up() {
    let options = PushOptions {
        retries: 1,
        ..quick()
    };
    let stub = Stub::start(|_, _| Say::silence()).await;
    let file = [stub.file("a.xml", b"<a/>")];
    let mut endpoint = stub.endpoint();
    endpoint.timeouts.answer = Duration::from_millis(50);
    let done = pushed(&endpoint, &file, &options).await;
    let message = "does not answer in time to the request";
    assert_eq!(done.log.matches(message).count(), 2, "{}", done.log);
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", deaf.local_addr().unwrap());
    let login = Login::new("u", "p").unwrap();
    let mut endpoint = Endpoint::new(&url, login, &Trust::Insecure).unwrap();
    endpoint.timeouts.connect = Duration::from_millis(50);
    let done = pushed(&endpoint, &file, &options).await;
    let message = "does not answer in time during the TLS handshake";
    assert_eq!(done.log.matches(message).count(), 2, "{}", done.log);
}

#[tokio::test]
async fn a_file_that_shrinks_under_way_is_no_upload() {
    let stub = Stub::start(|_, _| created()).await;
    let endpoint = stub.endpoint();
    let ask = Ask {
        headers: HeaderMap::new(),
        method: Method::POST,
        payload: Payload::File {
            path: stub.file("a.xml", b"<a/>"),
            bytes: 5,
            progress: Arc::new(|_| {}),
        },
        target: "/xml/upload".into(),
    };
    let error = Client::new(&endpoint).request(&ask).await.err().unwrap();
    assert!(error.to_string().contains("became shorter"), "{error}");
    assert!(stub.asked().is_empty());
}

#[tokio::test]
async fn connection_errors_say_what_to_do() {
    let stub = Stub::start(|_, _| created()).await;
    let file = [stub.file("a.xml", b"<a/>")];
    let options = PushOptions {
        retries: 0,
        ..quick()
    };
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let stranger = Trust::File(stub.file("other.pem", other.cert.pem().as_bytes()));
    let done = pushed(&stub.trusting(&stranger), &file, &options).await;
    assert!(
        done.log.contains("--cacert FILE") && done.log.contains("--insecure"),
        "{}",
        done.log
    );
    assert!(
        done.log.contains("has issued it)") || done.log.contains("cannot be verified)"),
        "in words: {}",
        done.log
    );
    let done = pushed(&stub.trusting(&Trust::Insecure), &file, &options).await;
    assert_eq!(done.summary.pushed, 1);
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", free.local_addr().unwrap());
    drop(free);
    let login = || Login::new("u", "p").unwrap();
    let endpoint = Endpoint::new(&url, login(), &Trust::Insecure).unwrap();
    let done = pushed(&endpoint, &file, &options).await;
    assert!(done.log.contains("refuses connections"), "{}", done.log);
    let endpoint = Endpoint::new("https://no.invalid", login(), &Trust::Insecure).unwrap();
    let done = pushed(&endpoint, &file, &options).await;
    assert!(
        done.log.contains("host name no.invalid is not known"),
        "{}",
        done.log
    );
    let empty = Trust::File(stub.file("empty.pem", b""));
    let error = Endpoint::new("https://a.example", login(), &empty)
        .err()
        .unwrap();
    assert!(error.to_string().contains("not a PEM certificate"));
}

#[tokio::test]
async fn an_answer_that_is_no_job_name_is_no_success() {
    let stub = Stub::start(|_, _| Say::whole("200 OK", "", "<html>Welcome</html>")).await;
    let done = pushed(&stub.endpoint(), &[stub.file("a", b"a")], &quick()).await;
    assert!(
        done.log.contains("is this a dStore server?"),
        "{}",
        done.log
    );
    assert_eq!((done.summary.failed, stub.asked().len()), (1, 1));
}

#[tokio::test]
async fn files_that_cannot_be_read_fail_alone() {
    let stub = Stub::start(|_, _| created()).await;
    let dir = stub.dir.path().to_owned();
    let files = [
        dir.join("none.xml"),
        dir.clone(),
        stub.file("a.xml", b"<a/>"),
    ];
    let done = pushed(&stub.endpoint(), &files, &quick()).await;
    assert_eq!(
        done.summary,
        PushSummary {
            failed: 2,
            pushed: 1
        }
    );
    let options = PushOptions {
        key: Some("k".into()),
        ..quick()
    };
    let endpoint = stub.endpoint();
    let refused = push_to(
        &endpoint,
        &files,
        &options,
        &mut io::sink(),
        &mut io::sink(),
    )
    .await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("--key names one job")
    );
}

#[tokio::test]
async fn keys_tell_the_same_push_from_a_new_one() {
    let stub = Stub::start(|_, _| created()).await;
    let file = [stub.file("a.xml", b"<a/>")];
    let endpoint = stub.endpoint();
    for options in [
        quick(),
        quick(),
        PushOptions {
            again: true,
            ..quick()
        },
    ] {
        pushed(&endpoint, &file, &options).await;
    }
    let mine = PushOptions {
        key: Some("mine".into()),
        ..quick()
    };
    pushed(&endpoint, &file, &mine).await;
    let past = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options()
        .write(true)
        .open(&file[0])
        .unwrap()
        .set_modified(past)
        .unwrap();
    pushed(&endpoint, &file, &quick()).await;
    let elsewhere = PushOptions {
        interface: Some("b".parse().unwrap()),
        ..quick()
    };
    pushed(&endpoint, &file, &elsewhere).await;
    let named = PushOptions {
        reference: Some("b".into()),
        ..quick()
    };
    pushed(&endpoint, &file, &named).await;
    let asked = stub.asked();
    let keys: Vec<&str> = asked
        .iter()
        .map(|a| a.header("idempotency-key").unwrap())
        .collect();
    assert_eq!(keys[0], keys[1]);
    assert_eq!(keys[3], "mine");
    let different: std::collections::BTreeSet<&str> = keys.iter().copied().collect();
    assert_eq!((keys.len(), different.len()), (7, 6), "{keys:?}");
}
