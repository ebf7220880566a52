//! Events: what receivers get, what they have to do with it, and what becomes of those that are away.

use crate::{
    harness::{Daemon, has_job_files, order},
    metrics::{scrape, value},
    posting::{Asked, Receiver, says},
    power::{
        hindrance,
        image::{Cut, Image, Kind},
    },
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

const SECRETS: [&str; 2] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
];
/// What verifies in Python, as `.ci/run` installs it.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/webhooks/bin/python3");

/// The shipped configuration with a receiver.
fn erp(url: &str, more: &str) -> impl FnOnce(String) -> String + use<> {
    let table = format!("[[events]]\nname = \"erp\"\nurl = \"{url}\"\n{more}\n");
    move |text| format!("{text}\n{table}")
}

const DONE: &str = "on = [\"job.done\"]";

/// Nobody listens there, until somebody does.
pub(crate) fn nobody() -> (String, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (format!("http://{address}/hook"), address)
}

pub(crate) fn taken(_: usize) -> String {
    says("204 No Content", "", "")
}

pub(crate) fn done(daemon: &Daemon, reference: &str) -> String {
    let query = format!("?RefName={reference}");
    let job = daemon.upload_text(&order(reference), &query).job();
    daemon.wait_for_place(&job, "bak/orders_in");
    job
}

pub(crate) fn ids(asked: &[Asked]) -> BTreeSet<String> {
    let ids = asked
        .iter()
        .map(|asked| asked.header("webhook-id").to_owned());
    ids.collect()
}

pub(crate) fn body(asked: &Asked) -> Value {
    serde_json::from_slice(&asked.body).unwrap()
}

fn pending(daemon: &Daemon) -> f64 {
    value(&scrape(daemon), "spoolgate_events_pending", &[]).unwrap()
}

/// As the library of the specification does in Rust.
fn verified_in_rust(asked: &Asked, secret: &str) -> bool {
    let mut headers = http::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, asked.header(name).parse().unwrap());
    }
    let webhook = standardwebhooks::Webhook::new(secret).unwrap();
    webhook.verify(&asked.body, &headers).is_ok()
}

/// As it does in Python; `None`: it is not here.
fn verified_in_python(asked: &Asked, secret: &str) -> Option<bool> {
    if !Path::new(PYTHON).exists() {
        let is_true = |name| std::env::var(name).is_ok_and(|value| value == "true");
        assert!(
            !is_true("CI") || is_true("SPOOLGATE_WITHOUT_PYPI"),
            "standardwebhooks for Python is missing: .ci/run installs it"
        );
        eprintln!("skipped: standardwebhooks for Python is not in target/webhooks");
        return None;
    }
    let script = "import json, sys\nfrom standardwebhooks.webhooks import Webhook\n\
                  asked = json.load(sys.stdin)\n\
                  Webhook(asked['secret']).verify(asked['body'], asked['headers'])";
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers = names.map(|name| (name, asked.header(name)));
    let body = std::str::from_utf8(&asked.body).unwrap();
    let headers: std::collections::BTreeMap<_, _> = headers.into();
    let input = serde_json::json!({"secret": secret, "body": body, "headers": headers});
    let mut python = Command::new(PYTHON)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).unwrap();
    drop(stdin);
    Some(python.wait().unwrap().success())
}

#[test]
fn what_becomes_of_jobs_is_told_and_signed_so_that_others_verify_it() {
    let receiver = Receiver::start(taken);
    let mut daemon = Daemon::init();
    let keys = "on = [\"job.done\", \"job.refused\"]\nsecret = \"erp.secret\"\n\
                interfaces = [\"orders_in\"]";
    daemon.configure(erp(&receiver.url, keys));
    let secret = daemon.scratch("erp.secret", SECRETS.join("\n"));
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    daemon.serve();
    let job = done(&daemon, "o1");
    let wrong = daemon.upload_text("<ListOfOrders/>", "?Interfacename=orders_in");
    assert!(wrong.status >= 400, "{}", wrong.text());
    daemon.wait("both are told", || receiver.asked().len() == 2);
    let mut asked = receiver.asked();
    asked.sort_by_key(|asked| body(asked)["type"].to_string());
    let told = body(&asked[0]);
    assert_eq!(told["type"], "job.done");
    let expected = serde_json::json!({
        "attempt": 1, "interface": "orders_in", "job": job, "reference": "o1", "submitter": "admin"
    });
    assert_eq!(told["data"], expected);
    assert!(told["timestamp"].as_str().unwrap().ends_with('Z'), "{told}");
    let refused = body(&asked[1]);
    assert_eq!(refused["type"], "job.refused");
    assert!(refused["data"]["reason"].is_string(), "{refused}");
    assert_eq!(asked[0].header("content-type"), "application/json");
    assert_eq!(ids(&asked).len(), 2);
    for secret in SECRETS {
        assert!(verified_in_rust(&asked[0], secret));
        assert_ne!(verified_in_python(&asked[0], secret), Some(false));
    }
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert!(!verified_in_rust(&asked[0], other));
    assert_ne!(verified_in_python(&asked[0], other), Some(true));
    let nothing = || daemon.objects(&["events", "ls"]).is_empty();
    daemon.wait("nothing waits any more", nothing);
    assert_eq!(daemon.objects(&["events", "ls", "--delivered"]).len(), 2);
}

#[test]
fn what_is_not_taken_comes_again_under_the_same_id() {
    let receiver = Receiver::start(|n| match n {
        0 => String::new(),
        1 => says("500 Internal Server Error", "", ""),
        2 => says("302 Found", "location: /elsewhere\r\n", ""),
        _ => taken(n),
    });
    let daemon = Daemon::start_with(erp(&receiver.url, DONE));
    done(&daemon, "o1");
    daemon.wait("it is taken", || pending(&daemon) == 0.0);
    let asked = receiver.asked();
    assert_eq!((asked.len(), ids(&asked).len()), (4, 1));
    assert!(asked.iter().all(|again| again.body == asked[0].body));
    assert!(daemon.log().contains("an event is not taken"));
    assert!(daemon.log().contains("takes events again"));
}

#[test]
fn what_was_tried_is_seen_and_a_restart_goes_on_where_it_was() {
    let is_well = Arc::new(AtomicBool::new(false));
    let answers = is_well.clone();
    let receiver = Receiver::start(move |n| match answers.load(Ordering::SeqCst) {
        true => taken(n),
        false => says("500 Internal Server Error", "", ""),
    });
    let mut daemon = Daemon::start_with(erp(&receiver.url, DONE));
    done(&daemon, "o1");
    let listed = |daemon: &Daemon| daemon.objects(&["events", "ls", "--delivered"]).remove(0);
    let failed = |daemon: &Daemon| listed(daemon)["failed_attempts"].as_u64().unwrap();
    daemon.wait("it has failed", || failed(&daemon) > 0);
    daemon.kill();
    let before = failed(&daemon);
    daemon.serve();
    daemon.wait("it has failed again", || failed(&daemon) > before);
    let event = listed(&daemon);
    assert_eq!(event["last_failure"], "it answered 500");
    let at = |name: &str| -> jiff::Timestamp { event[name].as_str().unwrap().parse().unwrap() };
    assert!(at("recorded_at") < at("last_failed_at"), "{event}");
    assert!(at("last_failed_at") < at("next_attempt_at"), "{event}");
    let told = daemon.operator(&["events", "ls"]);
    assert!(told.contains(" failed, the last "), "{told}");
    let next = ": it answered 500; next not before ";
    assert!(told.contains(next), "{told}");
    is_well.store(true, Ordering::SeqCst);
    daemon.wait("it is taken", || listed(&daemon)["state"] == "delivered");
    assert_eq!(ids(&receiver.asked()).len(), 1);
    let event = listed(&daemon);
    assert!(
        event["failed_attempts"].as_u64().unwrap() > before,
        "{event}"
    );
    assert!(event["next_attempt_at"].is_null(), "{event}");
}

#[test]
fn a_kill_between_a_change_and_its_delivery_loses_nothing() {
    let (url, address) = nobody();
    let mut daemon = Daemon::start_with(erp(&url, DONE));
    let jobs: BTreeSet<String> = (0..5).map(|n| done(&daemon, &format!("o{n}"))).collect();
    let waiting = daemon.objects(&["events", "ls"]);
    let known = |name: &str| -> BTreeSet<String> {
        let values = waiting.iter().map(|event| event[name].as_str().unwrap());
        values.map(str::to_owned).collect()
    };
    assert_eq!(known("state"), BTreeSet::from(["waiting".to_owned()]));
    daemon.kill();
    let receiver = Receiver::on(TcpListener::bind(address).unwrap(), taken);
    daemon.serve();
    daemon.wait("all are told", || ids(&receiver.asked()).len() == 5);
    let asked = receiver.asked();
    assert_eq!(ids(&asked), known("event"));
    let told = asked
        .iter()
        .map(|asked| body(asked)["data"]["job"].as_str().unwrap().to_owned());
    assert_eq!(told.collect::<BTreeSet<String>>(), jobs);
}

#[test]
fn no_job_waits_for_a_receiver_and_no_stop_does() {
    // Who connects is never answered.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let keys = format!("{DONE}\ntimeout_s = 3600");
    let mut daemon = Daemon::start_with(erp(&url, &keys));
    for n in 0..20 {
        done(&daemon, &format!("o{n}"));
    }
    assert_eq!(pending(&daemon), 20.0);
    daemon.stop();
    daemon.serve();
    assert_eq!(pending(&daemon), 20.0);
}

#[test]
fn a_command_gets_the_event_as_its_input() {
    let script = "cat >> told && echo \" $SPOOLGATE_EVENT $SPOOLGATE_EVENT_TYPE\" >> told";
    let table = format!(
        "[[events]]\nname = \"pager\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n\
         on = [\"interface.held\"]\n"
    );
    let daemon = Daemon::start_with(|text| format!("{text}\n{table}"));
    daemon.operator(&["hold", "orders_in", "--reason", "stocktaking"]);
    daemon.wait("it is told", || daemon.text("told").ends_with('\n'));
    let told = daemon.text("told");
    let mut words = told.trim_end().rsplitn(3, ' ');
    assert_eq!(words.next(), Some("interface.held"));
    assert!(words.next().unwrap().starts_with("evt_"), "{told}");
    let event: Value = serde_json::from_str(words.next().unwrap()).unwrap();
    assert_eq!(event["type"], "interface.held");
    assert_eq!(event["data"]["interface"], "orders_in");
    assert_eq!(event["data"]["reason"], "stocktaking");
    daemon.wait("nothing waits", || pending(&daemon) == 0.0);
    assert_eq!(daemon.text("told"), told, "once");
}

#[test]
fn what_there_is_no_room_for_is_dead_and_is_sent_again_by_command() {
    let (url, address) = nobody();
    let limits = "[limits]\nevents_bytes_max = 700\n";
    let table = erp(&url, DONE);
    let daemon = Daemon::start_with(|text| format!("{}\n{limits}", table(text)));
    for n in 0..3 {
        done(&daemon, &format!("o{n}"));
    }
    let states = |daemon: &Daemon| -> Vec<String> {
        let listed = daemon.objects(&["events", "ls"]).into_iter();
        listed
            .map(|event| event["state"].as_str().unwrap().to_owned())
            .collect()
    };
    daemon.wait("the oldest is dead", || {
        states(&daemon) == ["dead", "waiting", "waiting"]
    });
    let dead = &daemon.objects(&["events", "ls"])[0];
    assert_eq!(dead["why"], "there was no more room for it");
    let counted = || value(&scrape(&daemon), "spoolgate_events_dead_total", &[]);
    daemon.wait("it is counted", || counted() == Some(1.0));
    let receiver = Receiver::on(TcpListener::bind(address).unwrap(), taken);
    daemon.wait("the others are taken", || states(&daemon) == ["dead"]);
    let unknown = daemon.spoolgate(&["events", "redeliver", "--all", "--to", "nobody"]);
    assert!(!unknown.status.success());
    let said = daemon.operator(&["events", "redeliver", "--all", "--to", "erp"]);
    assert_eq!(said.trim(), "1 sent again");
    daemon.wait("it is taken", || states(&daemon).is_empty());
    let asked = receiver.asked();
    assert_eq!(asked.len(), 3);
    let id = dead["event"].as_str().unwrap();
    assert_eq!(asked[2].header("webhook-id"), id);
    daemon.operator(&["events", "redeliver", id]);
    daemon.wait("it comes once more", || receiver.asked().len() == 4);
    assert!(
        daemon
            .operator(&["audit", "ls"])
            .contains("events redeliver")
    );
}

#[test]
fn each_time_that_the_disk_fails_is_told_once_and_signed() {
    if !has_job_files() {
        return;
    }
    if let Some(reason) = hindrance(Kind::Ext4) {
        let _ = writeln!(std::io::stderr(), "failed disk: skipped: {reason}");
        return;
    }
    let dir = tempfile::TempDir::new().unwrap();
    let mut image = Image::new(Kind::Ext4, dir.path()).unwrap();
    let receiver = Receiver::start(taken);
    let mut daemon = Daemon::init();
    let keys = "on = [\"spool.unhealthy\"]\nsecret = \"erp.secret\"";
    // The image is smaller than what is usually kept free.
    let limits = "[limits]\nfree_bytes_min = 1048576\n";
    let table = erp(&receiver.url, keys);
    daemon.configure(|text| format!("{}\n{limits}", table(text)));
    let secret = daemon.scratch("erp.secret", SECRETS.join("\n"));
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    daemon.move_spool(&image.path().join("spool"));
    for n_times in 1..=2 {
        daemon.serve();
        let sent = || daemon.upload_text(&order("o2"), "").status;
        assert_eq!((sent(), receiver.asked().len()), (201, n_times - 1));
        image.cut(Cut::LogLost);
        daemon.wait("nothing is accepted", || sent() == 503);
        daemon.wait("that is told", || receiver.asked().len() == n_times);
        assert_eq!(sent(), 503);
        let asked = receiver.asked();
        let told = body(&asked[n_times - 1]);
        assert_eq!(told["type"], "spool.unhealthy");
        assert!(told["data"]["reason"].is_string(), "{told}");
        for secret in SECRETS {
            assert!(verified_in_rust(&asked[n_times - 1], secret));
        }
        daemon.kill();
        image.unmount().unwrap();
        image.mount().unwrap();
    }
    assert_eq!(
        ids(&receiver.asked()).len(),
        2,
        "each once, under an id of its own"
    );
    assert_eq!(receiver.asked().len(), 2);
    drop(image);
}
