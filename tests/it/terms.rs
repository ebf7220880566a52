//! What a JSON job's attributes ask for: its priority, its worker, its own number of retries and its
//! parameters; and what operators are told of a job that waits.

use crate::harness::{Daemon, shell, with_keys};
use rustix::fs::{XattrFlags, setxattr};
use std::fs;

/// A JSON job in `orders_in`, with these attributes; gives its name. Numbers rise with arrival.
fn queue(daemon: &Daemon, number: usize, attributes: &[(&str, &str)]) -> String {
    let name = format!("20261122T045748.123Z-{number:05}.json");
    let file = daemon.scratch(&format!(".made-{name}"), format!("{{\"n\": {number}}}"));
    for (attribute, value) in attributes {
        let attribute = format!("user.spoolgate.{attribute}");
        setxattr(&file, attribute, value.as_bytes(), XattrFlags::empty()).unwrap();
    }
    fs::rename(file, daemon.spool(&format!("queue/orders_in/{name}"))).unwrap();
    name
}

/// `orders_in` runs `script` in a shell, one job at a time.
fn one_by_one(script: &str, keys: &str) -> impl FnOnce(String) -> String {
    let keys = format!("{}\nconcurrency = 1\n{keys}", shell(script, ""));
    move |text| with_keys(&text, "orders_in", &keys)
}

#[test]
fn the_more_urgent_job_runs_first() {
    let script = "cat >> ran; echo >> ran";
    let daemon = Daemon::start_with(one_by_one(script, ""));
    daemon.operator(&["hold", "orders_in"]);
    let priorities = [
        "Low", "", "critical", "Medium", "High", "nonsense", "Default",
    ];
    let jobs: Vec<String> = (priorities.iter().enumerate())
        .map(|(n, priority)| queue(&daemon, n, &[("priority", priority)]))
        .collect();
    let listed = || daemon.operator(&["ls", "queue/orders_in"]);
    daemon.wait("all are queued", || listed().lines().count() == jobs.len());
    let listed = listed();
    assert!(
        listed.contains("-00000.json  (Low, orders_in is held)"),
        "{listed}"
    );
    assert!(
        listed.contains("-00001.json  (orders_in is held)"),
        "{listed}"
    );
    let why = daemon.operator(&["why", &jobs[6]]);
    assert!(why.contains("orders_in is held"), "{why}");
    assert!(why.contains("5 queued jobs come before it"), "{why}");
    daemon.operator(&["release", "orders_in"]);
    for job in &jobs {
        daemon.wait_for_place(job, "bak/orders_in");
    }
    let ran = daemon.text("ran");
    let order: Vec<&str> = ran.lines().collect();
    let expected = [2, 4, 3, 1, 5, 6, 0].map(|n| format!("{{\"n\": {n}}}"));
    assert_eq!(order, expected);
}

#[test]
fn a_job_for_another_worker_waits_and_says_so() {
    let tags = |text: String, tags: &str| {
        let keys = format!("[server]\nworker_tags = [{tags}]");
        text.replacen("[server]", &keys, 1)
    };
    let mut daemon = Daemon::start_with(|text| {
        tags(
            one_by_one("cat >> ran", "")(text),
            "\"robot 1\", \"robot 2\"",
        )
    });
    let other = queue(&daemon, 1, &[("worker", "robot 3")]);
    let ours = queue(&daemon, 2, &[("worker", "robot 2")]);
    let anybodys = queue(&daemon, 3, &[]);
    daemon.wait_for_place(&ours, "bak/orders_in");
    daemon.wait_for_place(&anybodys, "bak/orders_in");
    assert_eq!(daemon.place(&other), "queue/orders_in");
    let why = daemon.operator(&["why", &other]);
    assert!(why.contains("it is for worker robot 3"), "{why}");
    let status = daemon.operator(&["status", &other, "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["worker"], "robot 3");
    assert_eq!(status["waits_for"], "for worker robot 3");
    daemon.stop();
    let text = fs::read_to_string(daemon.config()).unwrap();
    fs::write(daemon.config(), text.replace("\"robot 2\"", "\"*\"")).unwrap();
    daemon.serve();
    daemon.wait_for_place(&other, "bak/orders_in");
}

#[test]
fn a_jobs_own_retries_take_the_place_of_its_interfaces() {
    let retry = "retry = { attempts = 3, initial_s = 0.02, factor = 1.0 }";
    let script = "echo \"$SPOOLGATE_JOB\" >> ran; exit 75";
    let daemon = Daemon::start_with(one_by_one(script, retry));
    for (n, (attributes, runs)) in [
        (&[("retries", "0")][..], 1),
        (&[("retries", "4")], 5),
        (&[("retries", "many")], 3),
        (&[], 3),
    ]
    .into_iter()
    .enumerate()
    {
        let job = queue(&daemon, n, attributes);
        daemon.wait_for_place(&job, "joberrors");
        let ran = daemon.text("ran");
        assert_eq!(
            ran.lines().filter(|line| *line == job).count(),
            runs,
            "{job}"
        );
    }
}

#[test]
fn a_command_finds_the_parameters_of_its_job_in_a_file() {
    let script = "cat \"$SPOOLGATE_PARAMS\" > params";
    let daemon = Daemon::start_with(one_by_one(script, ""));
    let params = "{\"copies\": \"2\"}";
    let job = queue(&daemon, 1, &[("params", params)]);
    daemon.wait_for_place(&job, "bak/orders_in");
    assert_eq!(daemon.text("params"), params);
}
