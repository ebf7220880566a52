//! Jobs in a database: it is prepared and tried, and nothing of its URL is told; services and operators work on it.

#[path = "../../src/store/pg/testing.rs"]
pub(crate) mod server;

use crate::harness::{Daemon, database, order, program, shell, with_keys};
use server::Server;
use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
    process::Output,
};

/// What a command says on standard output and standard error, and its exit code.
fn said(dir: &Path, words: &[&str]) -> (Option<i32>, String) {
    let config = dir.join("spoolgate.toml");
    let output = program().args(words).arg("--config").arg(config).output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.unwrap();
    let said = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let said = said.concat();
    assert!(!said.contains("s3cret"), "{said}");
    (status.code(), said)
}

/// A configuration with a store at that URL.
fn configured(url: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = "store.url_file = \"url\"\n[interfaces.a]\ndirection = \"out\"\n";
    fs::write(dir.path().join("spoolgate.toml"), text).unwrap();
    fs::write(dir.path().join("url"), url).unwrap();
    set_mode(&dir.path().join("url"), 0o600);
    dir
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_database_is_prepared_and_tried() {
    let Some(server) = Server::of_tests() else {
        return;
    };
    let dir = configured(&server.url(&server.create("template1")));
    let (code, text) = said(dir.path(), &["store", "check"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("run `spoolgate store migrate`"), "{text}");
    let (code, text) = said(dir.path(), &["store", "migrate"]);
    assert_eq!((code, &*text), (Some(0), "version 3, 3 migrations done\n"));
    let (code, text) = said(dir.path(), &["store", "migrate", "--json"]);
    let object = "{\"migrations\":0,\"version\":3}\n";
    assert_eq!((code, &*text), (Some(0), object));
    let (code, text) = said(dir.path(), &["store", "check"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the database keeps what it must"), "{text}");
    assert!(text.contains("no standby is synchronous"), "{text}");
    let (code, text) = said(dir.path(), &["store", "check", "--json"]);
    let mut objects = text.lines().map(serde_json::from_str::<serde_json::Value>);
    let is_object = |line: Result<serde_json::Value, _>| line.is_ok_and(|line| line.is_object());
    assert!(code == Some(0) && !text.is_empty(), "{text}");
    assert!(objects.all(is_object), "{text}");
    set_mode(&dir.path().join("url"), 0o640);
    let (code, text) = said(dir.path(), &["store", "check"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("chmod 600"), "{text}");
}

#[test]
fn a_url_that_is_none_is_not_repeated() {
    let dir = configured("postgres:s3cret");
    for command in [&["serve"][..], &["store", "check"], &["ls"]] {
        let (code, text) = said(dir.path(), command);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("url: it is no URL of PostgreSQL"), "{text}");
    }
}

#[test]
fn nothing_is_served_from_a_database_without_tables() {
    let Some(server) = Server::of_tests() else {
        return;
    };
    let daemon = Daemon::init_in_spool();
    daemon.put_into(&server.url(&server.create("template1")));
    let output = daemon.spoolgate(&["serve"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("run `spoolgate store migrate`"), "{text}");
}

/// `orders_in` runs a script, on a database of its own.
fn serving(url: &str, script: &str) -> Daemon {
    let mut daemon = Daemon::init_in_spool();
    daemon.configure(|text| with_keys(&text, "orders_in", &shell(script, "")));
    daemon.put_into(url);
    daemon.serve();
    daemon
}

fn is_held(daemon: &Daemon, interface: &str) -> bool {
    let all = daemon.objects(&["status"]);
    let held = all.iter().filter(|of| of["hold"].is_string());
    held.map(|of| &of["interface"]).eq([interface])
}

fn upload(daemon: &Daemon, reference: &str) -> String {
    let query = format!("?RefName={reference}");
    daemon.upload_text(&order(reference), &query).job()
}

#[test]
fn a_service_works_on_a_database_and_operators_with_it_and_without() {
    let Some(url) = database() else {
        return;
    };
    let script = "cat > \"$SPOOLGATE_RESULTS/copy\"; echo said; test \"$SPOOLGATE_REF\" != bad";
    let mut daemon = serving(&url, script);
    let (good, bad) = (upload(&daemon, "good"), upload(&daemon, "bad"));
    daemon.wait_for_place(&good, "bak/orders_in");
    daemon.wait_for_place(&bad, "joberrors");
    assert!(daemon.messages(&good).contains(&"said".to_owned()));
    assert_eq!(daemon.operator(&["cat", &good]), order("good"));
    for dir in ["bak", "joberrors", "queue", "results", "runs", "work"] {
        assert_eq!(daemon.files(dir), [""; 0], "of {dir}");
    }
    // By the service.
    daemon.operator(&["requeue", &good]);
    daemon.wait_for_place(&good, "bak/orders_in");
    daemon.operator(&["hold", "orders_in", "--reason", "tried"]);
    daemon.stop();
    // Without one.
    assert!(daemon.operator(&["why", &bad]).contains("failed"));
    daemon.operator(&["requeue", &bad]);
    assert!(is_held(&daemon, "orders_in"));
    daemon.operator(&["release", "orders_in"]);
    let acts = daemon.operator(&["audit", "ls"]);
    for act in ["hold orders_in (tried)", "release orders_in"] {
        assert!(acts.contains(act), "{acts}");
    }
    assert!(
        daemon
            .operator(&["fsck"])
            .contains("2 jobs looked at, 0 flaws")
    );
    daemon.serve();
    let log = |job: &str| daemon.operator(&["log", job]);
    daemon.wait("it has run twice", || {
        log(&bad).matches("said").count() == 2
    });
}

#[test]
fn a_command_ends_with_its_gateway_and_its_job_runs_again() {
    let Some(url) = database() else {
        return;
    };
    let script = "echo $$ >> ran; while test -e gate; do sleep 0.01; done";
    let mut daemon = Daemon::init_in_spool();
    daemon.configure(|text| with_keys(&text, "orders_in", &shell(script, "")));
    daemon.put_into(&url);
    daemon.scratch("gate", "");
    daemon.serve();
    let job = upload(&daemon, "a");
    let ran = || {
        daemon
            .text("ran")
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    daemon.wait("it runs", || ran().len() == 1);
    let first = ran().remove(0);
    daemon.kill();
    daemon.serve();
    // Only once the first has ended.
    daemon.wait("it runs again", || daemon.text("ran").lines().count() == 2);
    let path = format!("/proc/{first}/stat");
    let stat = fs::read_to_string(path).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z"), "{stat}");
    fs::remove_file(daemon.dir().join("gate")).unwrap();
    daemon.wait_for_place(&job, "bak/orders_in");
    let log = daemon.operator(&["log", &job]);
    assert!(log.contains("attempt 1 was cut off"), "{log}");
}

#[test]
fn two_services_share_a_database() {
    let Some(url) = database() else {
        return;
    };
    let one = serving(&url, "exit 1");
    let mut other = serving(&url, "exit 1");
    one.operator(&["hold", "items_in"]);
    assert!(is_held(&other, "items_in"));
    let nodes = one.objects(&["nodes"]);
    let roots = [&one, &other].map(|of| of.spool("").canonicalize().unwrap());
    assert_eq!(nodes.len(), 2, "{nodes:?}");
    for root in roots {
        let name = format!(":{}", root.display());
        let is_it = |node: &&serde_json::Value| node["node"].as_str().unwrap().ends_with(&name);
        let node = nodes.iter().find(is_it).unwrap();
        assert_eq!(
            (&node["alive"], &node["running"]),
            (&true.into(), &0.into())
        );
    }
    for (of, reference) in [(&one, "a"), (&other, "b")] {
        let job = upload(of, reference);
        for daemon in [&one, &other] {
            daemon.wait_for_place(&job, "joberrors");
            assert_eq!(daemon.operator(&["cat", &job]), order(reference));
        }
        let said = one.messages(&job);
        assert_eq!(said.len(), 1, "it ran once: {said:?}");
    }
    other.stop();
    assert_eq!(one.objects(&["nodes"]).len(), 1);
}

/// One that there is not, and one that takes connections and says nothing.
#[test]
fn without_its_database_a_command_ends_and_says_so() {
    let daemon = Daemon::init_in_spool();
    let dir = tempfile::tempdir().unwrap();
    let host = dir.path().display();
    daemon.put_into(&format!("host={host} user=ada password=s3cret dbname=a"));
    for is_silent in [false, true] {
        let socket = dir.path().join(".s.PGSQL.5432");
        let _listening = is_silent.then(|| UnixListener::bind(socket).unwrap());
        let words = match is_silent {
            false => "the database cannot be reached",
            true => "the database gave no connection in time",
        };
        let (code, text) = said(daemon.dir(), &["ls"]);
        assert!(code == Some(1) && text.contains(words), "{text}");
        for (command, known) in [("status", "service: not running"), ("check", "1 user")] {
            let (code, text) = said(daemon.dir(), &[command]);
            let failed = text.lines().find(|line| line.starts_with("FAILED"));
            assert!(code == Some(1) && text.contains(known), "{text}");
            assert!(failed.is_some_and(|line| line.contains(words)), "{text}");
        }
    }
    let (_, text) = said(daemon.dir(), &["status", "--json"]);
    let mut lines = text.lines().map(serde_json::from_str::<serde_json::Value>);
    let whole = lines.next().unwrap().unwrap();
    assert!(whole.get("service").is_some() && whole.get("joberrors").is_none());
    let failed = lines.map(Result::unwrap).find(|line| line["ok"] == false);
    assert!(failed.is_some(), "{text}");
}
