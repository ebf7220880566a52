//! Partners that share an interface and take turns, by the real service.

use crate::harness::{Daemon, day, has_job_files, order, shell, with_keys};

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

/// An order of a customer, who is in the one attribute of the root element that the schema knows.
fn of_customer(customer: &str, id: &str) -> String {
    order(id).replace(
        "2026-11-22T10:00:00",
        &format!("2026-11-22T10:00:{customer}"),
    )
}

/// Says which order runs, and works until a file of that name is there.
const BY_ID: &str = r#"id=$(sed 's/.*OrderID="\([^"]*\)".*/\1/' "$SPOOLGATE_FILE")
    echo "$id" >> started
    while [ ! -e "go-$id" ]; do sleep 0.01; done"#;

/// Lets an order's work end.
fn go(daemon: &Daemon, id: &str) {
    std::fs::write(daemon.dir().join(format!("go-{id}")), "").unwrap();
}

fn has_started(daemon: &Daemon, id: &str) -> bool {
    started(daemon).iter().any(|started| started == id)
}

#[test]
fn the_order_of_each_key_is_kept_over_restarts_and_for_dropped_files_too() {
    let keys = "order_by = \"@CreationDate\"\nconcurrency = 4\nretry = { attempts = 2 }\n";
    let keys = format!("{keys}{}", shell(BY_ID, ""));
    let mut daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", &keys));
    let upload = |daemon: &Daemon, customer: &str, id: &str| {
        daemon.upload_text(&of_customer(customer, id), "").job()
    };
    let first = upload(&daemon, "01", "x1");
    daemon.soon("the first one runs", || has_started(&daemon, "x1"));
    let second = upload(&daemon, "01", "x2");
    let third = daemon.drop_in("orders_in", "x3.xml", of_customer("01", "x3"));
    upload(&daemon, "02", "y1");
    daemon.soon("another key is run beside it", || {
        has_started(&daemon, "y1")
    });
    let key = "@CreationDate=2026-11-22T10:00:01";
    for job in [&second, &third] {
        let why = daemon.operator(&["why", job]);
        let behind = format!("it waits behind {first} of the same key ({key}), which is running");
        assert!(why.contains(&behind), "{why}");
    }
    assert!(
        daemon
            .operator(&["why", &third])
            .contains("1 queued jobs come before it")
    );
    // The commands live on, and so does what their jobs keep the others from.
    daemon.kill();
    daemon.serve();
    upload(&daemon, "03", "z1");
    daemon.soon("a third key is run beside them", || {
        has_started(&daemon, "z1")
    });
    assert_eq!(started(&daemon).len(), 3, "{:?}", started(&daemon));
    for id in ["y1", "z1", "x1"] {
        go(&daemon, id);
    }
    daemon.soon("the next one runs", || has_started(&daemon, "x2"));
    assert!(!has_started(&daemon, "x3"));
    go(&daemon, "x2");
    daemon.soon("and then the dropped one", || has_started(&daemon, "x3"));
    go(&daemon, "x3");
    daemon.soon("all are done", || daemon.queue("orders_in").is_empty());
}

#[test]
fn what_is_emitted_keeps_the_order_that_its_document_says() {
    if !has_job_files() {
        return;
    }
    let emit = shell(
        r#"mkdir "$SPOOLGATE_EMIT/items_in"; echo '<a k="1"/>' > "$SPOOLGATE_EMIT/items_in/a.xml""#,
        "",
    );
    let keyed = format!("order_by = \"@k\"\n{}", shell("true", ""));
    let daemon = Daemon::start_with(|text| {
        let text = with_keys(&text, "orders_in", &emit);
        with_keys(&text, "items_in", &keyed)
    });
    let job = daemon.upload_text(&order("1"), "").job();
    let path = daemon.spool(&format!("records/{}/accepted.jsonl", day(&job)));
    let emitted = || {
        let lines = std::fs::read_to_string(&path).unwrap_or_default();
        let emitted = lines
            .lines()
            .find(|line| line.contains("\"dialect\":\"emit\""));
        emitted.map(str::to_owned)
    };
    daemon.soon("it is emitted", || emitted().is_some());
    let line = emitted().unwrap();
    assert!(line.contains("\"order_key\":\"@k=1\""), "{line}");
}
