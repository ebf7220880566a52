//! Partners that share an interface and take turns, by the real service.

use crate::harness::{Daemon, order, shell, with_keys};

const RIGHTS: [&str; 1] = ["orders_in=upload,list"];
/// Says whose job runs, and works until the file `go` is there.
const NAMED: &str = r#"echo "$SPOOLGATE_SUBMITTER" >> started
    while [ ! -e go ]; do sleep 0.01; done"#;

/// Whose jobs have been started, in order.
fn started(daemon: &Daemon) -> Vec<String> {
    daemon.text("started").lines().map(str::to_owned).collect()
}

fn upload_as(daemon: &Daemon, login: &str, id: &str) -> String {
    let body = daemon.scratch(&format!("{id}.xml"), order(id));
    let body = format!("@{}", body.display());
    let answer = daemon.curl_as(login, &["--data-binary", &body, "/xml/upload"]);
    answer.job()
}

#[test]
fn a_partner_that_floods_lets_another_one_through_also_after_a_restart() {
    let mut daemon = Daemon::init();
    let keys = format!(
        "fair = \"submitter\"\nconcurrency = 1\n{}",
        shell(NAMED, "")
    );
    daemon
        .configure(|text| with_keys(&text, "orders_in", &keys) + "\n[partners.cid]\nweight = 2\n");
    let [ada, bob, cid] = ["ada", "bob", "cid"].map(|name| daemon.add_user(name, &RIGHTS));
    daemon.serve();
    for n in 0..8 {
        upload_as(&daemon, &ada, &format!("a{n}"));
    }
    daemon.soon("the first one runs", || started(&daemon).len() == 1);
    for (login, name) in [(&cid, "c"), (&bob, "b")] {
        for n in 0..4 {
            upload_as(&daemon, login, &format!("{name}{n}"));
        }
    }
    let jobs = daemon.queue("orders_in");
    let last = jobs.last().unwrap();
    let why = daemon.operator(&["why", last]);
    assert!(why.contains("3 queued jobs come before it"), "{why}");
    assert!(
        why.contains("jobs of 2 other partners wait as well: they and bob take turns (fair)"),
        "{why}"
    );
    // What is known of turns is made again from what lies there.
    daemon.kill();
    std::fs::write(daemon.dir().join("go"), "").unwrap();
    daemon.serve();
    daemon.soon("all have run", || daemon.queue("orders_in").is_empty());
    let started = started(&daemon);
    let among =
        |name: &str, first: usize| started[1..][..first].iter().filter(|s| *s == name).count();
    assert!(among("bob", 5) >= 1 && among("cid", 5) >= 2, "{started:?}");
    assert!(among("bob", 13) >= 3 && among("cid", 9) >= 4, "{started:?}");
}

#[test]
fn a_partner_runs_no_more_jobs_than_it_may_and_keeps_nobody_waiting() {
    let mut daemon = Daemon::init();
    let keys = format!("concurrency = 4\n{}", shell(NAMED, ""));
    let limit = "\n[partners.ada]\nrunning_max = 2\n";
    daemon.configure(|text| with_keys(&text, "orders_in", &keys) + limit);
    let [ada, bob] = ["ada", "bob"].map(|name| daemon.add_user(name, &RIGHTS));
    daemon.serve();
    for n in 0..4 {
        upload_as(&daemon, &ada, &format!("a{n}"));
    }
    for n in 0..2 {
        upload_as(&daemon, &bob, &format!("b{n}"));
    }
    daemon.soon("there is no more room", || started(&daemon).len() == 4);
    let mut running = started(&daemon);
    running.sort();
    assert_eq!(running, ["ada", "ada", "bob", "bob"]);
    let waiting = daemon.operator(&["ls", "--json"]);
    assert_eq!(waiting.matches("\"queued\"").count(), 2, "{waiting}");
    let mut jobs = daemon.files("queue/orders_in").into_iter();
    let job = jobs.next_back().unwrap();
    let why = daemon.operator(&["why", job.rsplit('/').next().unwrap()]);
    assert!(
        why.contains("2 jobs of ada are running, as many as may"),
        "{why}"
    );
    std::fs::write(daemon.dir().join("go"), "").unwrap();
    daemon.soon("all have run", || daemon.queue("orders_in").is_empty());
    assert_eq!(started(&daemon).len(), 6);
}
