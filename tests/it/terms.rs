//! What the record of a JSON job asks for: its priority, its worker, its own number of retries and its
//! parameters; and what operators are told of a job that waits.

use crate::harness::{Daemon, has_job_files, shell, with_keys};
use spoolgate::{
    domain::{JobName, JobOptions},
    store::{Came, fs::Accepted},
};
use std::{fs, io::Write};

/// A JSON job in `orders_in` of which that is recorded; gives its name. Numbers rise with arrival.
fn queue(daemon: &Daemon, number: usize, options: &JobOptions) -> String {
    let name = format!("20261122T045748.123Z-{number:05}.json");
    let file = daemon.scratch(&format!(".made-{name}"), format!("{{\"n\": {number}}}"));
    let job: JobName = name.parse().unwrap();
    let record = daemon.spool(&format!("records/{}/accepted.jsonl", job.day()));
    fs::create_dir_all(record.parent().unwrap()).unwrap();
    let mut record = fs::File::options()
        .create(true)
        .append(true)
        .open(record)
        .unwrap();
    let line = Accepted::new(job, Came::Uploaded, 0).on(options).to_line();
    writeln!(record, "{line}").unwrap();
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
    if !has_job_files() {
        return;
    }
    let script = "cat >> ran; echo >> ran";
    let daemon = Daemon::start_with(one_by_one(script, ""));
    daemon.operator(&["hold", "orders_in"]);
    let priorities = [
        "Low", "Default", "Critical", "Medium", "High", "Default", "Default",
    ];
    let jobs: Vec<String> = (priorities.iter().enumerate())
        .map(|(n, priority)| {
            let priority = priority.parse().unwrap();
            queue(
                &daemon,
                n,
                &JobOptions {
                    priority,
                    ..JobOptions::default()
                },
            )
        })
        .collect();
    let listed = || daemon.operator(&["ls", "queue/orders_in"]);
    daemon.wait("all are queued", || {
        listed().lines().count() == jobs.len() + 1
    });
    let listed = listed();
    assert!(
        listed.contains("-00000.json  Low, orders_in is held"),
        "{listed}"
    );
    assert!(
        listed.contains("-00001.json  orders_in is held"),
        "{listed}"
    );
    let why = daemon.operator(&["why", &jobs[6]]);
    assert!(why.contains("orders_in is held"), "{why}");
    assert!(why.contains("5 queued jobs come before it"), "{why}");
    // What was brought by hand rests before it is a job; until all are, the first is the most urgent.
    let taken_in = || daemon.log().matches("moved by hand to queue").count();
    daemon.wait("all are taken in", || taken_in() == jobs.len());
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
    if !has_job_files() {
        return;
    }
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
    let of = |worker: &str| JobOptions {
        worker: Some(worker.parse().unwrap()),
        ..JobOptions::default()
    };
    let other = queue(&daemon, 1, &of("robot 3"));
    let ours = queue(&daemon, 2, &of("robot 2"));
    let anybodys = queue(&daemon, 3, &JobOptions::default());
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
    if !has_job_files() {
        return;
    }
    let retry = "retry = { attempts = 3, initial_s = 0.02, factor = 1.0 }";
    let script = "echo \"$SPOOLGATE_JOB\" >> ran; exit 75";
    let daemon = Daemon::start_with(one_by_one(script, retry));
    for (n, (retries, runs)) in [(Some(0), 1), (Some(4), 5), (None, 3)]
        .into_iter()
        .enumerate()
    {
        let options = JobOptions {
            retries,
            ..JobOptions::default()
        };
        let job = queue(&daemon, n, &options);
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
    if !has_job_files() {
        return;
    }
    let script = "cat \"$SPOOLGATE_PARAMS\" > params";
    let daemon = Daemon::start_with(one_by_one(script, ""));
    let params = "{\"copies\": \"2\"}";
    let options = JobOptions {
        params: Some(params.into()),
        ..JobOptions::default()
    };
    let job = queue(&daemon, 1, &options);
    daemon.wait_for_place(&job, "bak/orders_in");
    assert_eq!(daemon.text("params"), params);
}
