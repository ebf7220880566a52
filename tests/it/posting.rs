//! The `http` processor: what a receiver gets, and what its answers make of a job.

use crate::harness::{Daemon, order, with_keys};
use hmac::{Hmac, KeyInit, Mac};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex},
    thread,
};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// Answers each request by its number, from 0; an empty answer closes the connection.
pub(crate) struct Receiver {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Receiver {
    pub(crate) fn start(answer: impl Fn(usize) -> String + Send + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    pub(crate) fn on(
        listener: TcpListener,
        answer: impl Fn(usize) -> String + Send + 'static,
    ) -> Self {
        let url = format!("http://{}/hook?a=1", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let kept = asked.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let connection = connection.unwrap();
                let asked = read(&connection);
                let n = kept.lock().unwrap().len();
                kept.lock().unwrap().push(asked);
                // Whoever does not wait for the answer has its reasons.
                let _ = (&connection).write_all(answer(n).as_bytes());
            }
        });
        Self { url, asked }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The shipped configuration where `orders_in` posts here.
    fn orders(&self, more: &str, keys: &str) -> impl FnOnce(String) -> String + use<> {
        let processor = format!("processor = {{ http = \"{}\"{more} }}", self.url);
        let keys = format!("{processor}\n{keys}");
        move |text| with_keys(&text, "orders_in", &keys)
    }
}

fn read(connection: &TcpStream) -> Asked {
    let mut reader = BufReader::new(connection);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers = lines[1..].iter().map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let mut asked = Asked {
        line: lines[0].clone(),
        headers: headers.collect(),
        body: Vec::new(),
    };
    asked.body = vec![0; asked.header("content-length").parse().unwrap()];
    reader.read_exact(&mut asked.body).unwrap();
    asked
}

pub(crate) fn says(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}

fn send(daemon: &Daemon, reference: &str) -> String {
    let query = format!("?RefName={reference}");
    daemon.upload_text(&order(reference), &query).job()
}

#[test]
fn a_job_is_posted_with_its_signature_and_the_answer_is_its_result() {
    let result = r#"{"customer": 7}"#;
    let receiver = Receiver::start(move |_| says("201 Created", "", result));
    let mut daemon = Daemon::init();
    daemon.configure(receiver.orders(", secret = \"hook.secret\"", ""));
    let secret = daemon.scratch("hook.secret", "s3cret\n");
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    daemon.serve();
    let job = send(&daemon, "o1");
    daemon.wait_for_place(&job, "bak/orders_in");
    let asked = receiver.asked();
    assert_eq!(asked.len(), 1);
    let asked = &asked[0];
    assert_eq!(asked.line, "POST /hook?a=1 HTTP/1.1");
    assert_eq!(asked.body, order("o1").as_bytes());
    for (name, value) in [
        ("content-type", "application/xml"),
        ("x-spoolgate-attempt", "1"),
        ("x-spoolgate-interface", "orders_in"),
        ("x-spoolgate-job", job.as_str()),
        ("x-spoolgate-params", "e30="),
        ("x-spoolgate-reference", "o1"),
        ("x-spoolgate-submitter", "admin"),
    ] {
        assert_eq!(asked.header(name), value, "{name}");
    }
    let moment = asked.header("x-spoolgate-timestamp");
    assert!(moment.parse::<u64>().unwrap() > 1_700_000_000, "{moment}");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"s3cret").unwrap();
    mac.update(format!("{moment}.{}", order("o1")).as_bytes());
    let code = hex::encode(mac.finalize().into_bytes());
    assert_eq!(
        asked.header("x-spoolgate-signature"),
        format!("sha256={code}")
    );
    assert_eq!(daemon.result(&job, "result.json"), result);
    daemon.soon("nothing is left of the run", || {
        daemon.files("work").is_empty()
    });
}

#[test]
fn what_is_no_json_object_is_no_result() {
    let receiver = Receiver::start(|n| match n {
        0 => says("200 OK", "", "[1]"),
        1 => says("204 No Content", "", ""),
        _ => says("200 OK", "", r#"{"a": "more than twenty bytes"}"#),
    });
    let daemon = Daemon::start_with(receiver.orders(", output_bytes_max = 20", ""));
    for reference in ["list", "nothing"] {
        let job = send(&daemon, reference);
        daemon.wait_for_place(&job, "bak/orders_in");
    }
    assert_eq!(daemon.files("results"), [""; 0]);
    let job = send(&daemon, "long");
    daemon.wait_for_place(&job, "joberrors");
    let said = daemon.messages(&job);
    assert_eq!(said, ["the receiver's answer has more than 20 bytes"]);
}

#[test]
fn the_status_says_whether_it_is_tried_again() {
    let receiver = Receiver::start(|n| match n {
        0 => says("503 Service Unavailable", "retry-after: 0\r\n", ""),
        1 => String::new(),
        2 => says("200 OK", "", "done"),
        3 => says(
            "422 Unprocessable Content",
            "content-type: text/plain\r\n",
            "no such customer\n",
        ),
        4 => says("302 Found", "location: /elsewhere\r\n", ""),
        _ => says(
            "500 Internal Server Error",
            "content-type: text/html\r\n",
            "<p>",
        ),
    });
    let retry = "retry = { attempts = 3, initial_s = 0.02, factor = 1.0 }";
    let daemon = Daemon::start_with(receiver.orders("", retry));
    for (place, requests, last) in [
        ("bak/orders_in", 3, "attempt 3 started"),
        ("joberrors", 4, "the receiver answered 422"),
        (
            "joberrors",
            5,
            "the receiver answered 302: redirects are not followed",
        ),
        ("joberrors", 8, "given up after 3 attempts"),
    ] {
        let job = send(&daemon, "o");
        daemon.wait_for_place(&job, place);
        assert_eq!(receiver.asked().len(), requests);
        let said = daemon.messages(&job);
        assert_eq!(said.last().unwrap(), last, "{said:?}");
        match requests {
            3 => assert!(
                said[2].starts_with("the receiver did not answer"),
                "{said:?}"
            ),
            4 => assert_eq!(said[0], "no such customer"),
            _ => assert!(!said.iter().any(|text| text.contains("<p>")), "{said:?}"),
        }
    }
    let attempts: Vec<String> = (receiver.asked()[..3].iter())
        .map(|asked| asked.header("x-spoolgate-attempt").to_owned())
        .collect();
    assert_eq!(attempts, ["1", "2", "3"]);
}

#[test]
fn what_may_have_arrived_is_not_posted_again_at_most_once() {
    let receiver = Receiver::start(|_| String::new());
    let daemon = Daemon::start_with(receiver.orders("", "delivery = \"at-most-once\""));
    let job = send(&daemon, "o");
    daemon.wait_for_place(&job, "joberrors");
    assert_eq!(receiver.asked().len(), 1);
    let said = daemon.messages(&job).pop().unwrap();
    assert!(said.contains("at most once"), "{said}");
}

#[test]
fn nothing_is_posted_unsigned() {
    let receiver = Receiver::start(|_| says("200 OK", "", ""));
    let mut daemon = Daemon::init();
    daemon.configure(receiver.orders(", secret = \"hook.secret\"", ""));
    let secret = daemon.scratch("hook.secret", "s3cret");
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o640)).unwrap();
    let checked = daemon.spoolgate(&["check"]);
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    let told = told + &String::from_utf8_lossy(&checked.stderr);
    assert!(
        !checked.status.success() && told.contains("chmod 600"),
        "{told}"
    );
    daemon.serve();
    let job = send(&daemon, "o");
    let deferred = || !daemon.files("deferred").is_empty();
    daemon.wait("it waits for its next attempt", deferred);
    assert!(daemon.log().contains("chmod 600"));
    let said = daemon.messages(&job).pop().unwrap();
    assert_eq!(said, "the job cannot be posted from here at the moment");
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    daemon.operator(&["requeue", &job]);
    daemon.wait_for_place(&job, "bak/orders_in");
    assert_eq!(receiver.asked().len(), 1);
    assert!(
        receiver.asked()[0]
            .header("x-spoolgate-signature")
            .starts_with("sha256=")
    );
}

#[test]
fn a_receiver_has_its_time_and_a_stop_does_not_count() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let keys = |timeout_s: u32| {
        format!("processor = {{ http = \"{url}\", timeout_s = {timeout_s} }}\nretry.attempts = 1")
    };
    let mut daemon = Daemon::init();
    daemon.configure(|text| {
        let text = with_keys(&text, "orders_in", &keys(600));
        let text = with_keys(&text, "items_in", &keys(1));
        format!("{text}\n[limits]\nstop_deadline_s = 1\n")
    });
    daemon.serve();
    let items = crate::harness::document("items_in/assortment.valid.xml");
    let late = daemon.upload(&items, "").job();
    daemon.wait_for_place(&late, "joberrors");
    let said = daemon.messages(&late);
    assert_eq!(said[0], "the receiver took longer than 1 s");
    let job = send(&daemon, "o");
    daemon.wait("it is posted", || {
        !daemon.files("work/orders_in").is_empty()
    });
    daemon.stop();
    assert_eq!(
        daemon.files("queue/orders_in"),
        [format!("queue/orders_in/{job}")]
    );
}
