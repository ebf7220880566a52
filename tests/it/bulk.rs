//! What operators do to many jobs: by a selection, by names from standard input, with a dry run and at a rate; with
//! the service up and down.

use crate::harness::{Daemon, order, program, shell, with_keys};
use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

/// A daemon whose orders fail as the file `how` says, until there is a file `good`.
fn failing() -> Daemon {
    let script = r#"[ -e good ] || { echo "{\"text\":\"no paper in $SPOOLGATE_REF\",\"level\":\"error\"}"; exit 1; }"#;
    Daemon::start_with(|text| with_keys(&text, "orders_in", &shell(script, "")))
}

/// So many orders that have failed.
fn failed(daemon: &Daemon, n_jobs: usize) -> Vec<String> {
    let jobs = (0..n_jobs).map(|n| {
        let query = format!("?RefName=tray-{n}");
        daemon.upload_text(&order(&n.to_string()), &query).job()
    });
    let jobs: Vec<String> = jobs.collect();
    for job in &jobs {
        daemon.wait_for_place(job, "joberrors");
    }
    jobs
}

fn names(daemon: &Daemon, arguments: &[&str]) -> Vec<String> {
    let objects = daemon.objects(arguments);
    let names = objects
        .iter()
        .map(|one| one["job"].as_str().unwrap().to_owned());
    names.collect()
}

/// The command with this as its standard input.
fn with_input(daemon: &Daemon, arguments: &[&str], input: &str) -> Output {
    let mut command: Command = program();
    command.args(arguments).arg("--config").arg(daemon.config());
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn jobs_are_selected_by_what_they_have_in_common() {
    let mut daemon = failing();
    let jobs = failed(&daemon, 3);
    let refused = daemon.upload_text("<odd/>", "?Interfacename=orders_in");
    let refused = refused.header("x-job-name").unwrap().to_owned();
    for round in 0..2 {
        if round == 1 {
            daemon.stop();
        }
        let of = |arguments: &[&str]| names(&daemon, &[&["ls"], arguments].concat());
        assert_eq!(of(&["--state", "failed"]), jobs);
        assert_eq!(of(&["--state", "failed", "--limit", "2"]), jobs[..2]);
        assert_eq!(of(&["--state", "refused"]), std::slice::from_ref(&refused));
        assert_eq!(of(&["--error", "NO PAPER in"]), jobs);
        assert_eq!(of(&["--error", "tray-1"]), [jobs[1].clone()]);
        assert_eq!(of(&["--error", "no ink"]), [""; 0]);
        assert_eq!(
            of(&[
                "--submitter",
                "admin",
                "--interface",
                "orders_in",
                "--state",
                "failed"
            ]),
            jobs
        );
        assert_eq!(of(&["--submitter", "eve"]), [""; 0]);
        assert_eq!(of(&["--since", "1h", "--state", "failed"]), jobs);
        assert_eq!(of(&["--older", "1h"]), [""; 0]);
        let shown = daemon.objects(&["ls", "--state", "failed"]);
        let fingerprint = shown[0]["fingerprint"].as_str().unwrap();
        assert_eq!(of(&["--fingerprint", fingerprint]), jobs);
        assert_eq!(shown[0]["error"], "no paper in tray-0");
        let why = daemon.objects(&["why", "--error", "tray-2"]);
        assert_eq!(why.len(), 1);
        assert_eq!(why[0]["job"], jobs[2].as_str());
        for (option, value) in [("--state", "odd"), ("--since", "soon"), ("--limit", "x")] {
            let output = daemon.spoolgate(&["ls", option, value]);
            assert!(
                !output.status.success() && said(&output).contains(value),
                "{output:?}"
            );
        }
    }
}

#[test]
fn what_was_selected_is_sent_again_at_once() {
    let mut daemon = failing();
    let jobs = failed(&daemon, 4);
    let dry = daemon.spoolgate(&["requeue", "--error", "no paper", "--dry-run"]);
    assert!(said(&dry).contains("4 jobs; nothing was done"), "{dry:?}");
    let text = String::from_utf8(dry.stdout).unwrap();
    assert!(jobs.iter().all(|job| text.contains(job)), "{text}");
    assert_eq!(names(&daemon, &["ls", "--state", "failed"]), jobs);
    std::fs::write(daemon.dir().join("good"), "").unwrap();
    let sent = daemon.objects(&[
        "requeue", "--error", "tray", "--limit", "3", "--rate", "50/s",
    ]);
    assert_eq!(sent.len(), 3);
    for (sent, job) in sent.iter().zip(&jobs) {
        assert_eq!(
            (&sent["job"], &sent["outcome"]),
            (&job.as_str().into(), &"requeued".into())
        );
        daemon.wait_for_place(job, "bak/orders_in");
    }
    assert_eq!(names(&daemon, &["ls", "--state", "failed"]), jobs[3..]);
    let log = daemon.log();
    assert!(log.contains("3 done, 0 not"), "{log}");
    // Without a service, too.
    daemon.stop();
    daemon.operator(&["requeue", "--state", "failed"]);
    assert_eq!(names(&daemon, &["ls", "--state", "queued"]), jobs[3..]);
    daemon.serve();
    daemon.wait_for_place(&jobs[3], "bak/orders_in");
    let removed = daemon.operator(&["rm", "--state", "done", "--interface", "orders_in"]);
    assert_eq!(removed.lines().count(), 4, "{removed}");
    assert_eq!(names(&daemon, &["ls", "bak"]), [""; 0]);
    // What is not said is not guessed.
    for (arguments, words) in [
        (&["rm"][..], "which jobs?"),
        (&["rm", "--interface", "orders_in"], "in which state"),
        (&["rm", "--state", "failed", &jobs[0]], "not both"),
        (&["requeue", "--interface", "a/b"], "not allowed"),
    ] {
        let output = daemon.spoolgate(arguments);
        assert!(
            !output.status.success() && said(&output).contains(words),
            "{output:?}"
        );
    }
}

#[test]
fn names_come_from_standard_input_and_many_have_to_be_meant() {
    let daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", "concurrency = 1"));
    daemon.operator(&["hold", "orders_in"]);
    // Dropped, which is quicker.
    for n in 0..130 {
        let whole = daemon.scratch(".dropped", order(&n.to_string()));
        std::fs::rename(whole, daemon.spool(&format!("queue/orders_in/{n}.xml"))).unwrap();
    }
    let waiting = || names(&daemon, &["ls", "--state", "queued"]);
    daemon.wait("all are queued", || waiting().len() == 130);
    let all = waiting();
    let refused = daemon.spoolgate(&["rm", "--state", "queued"]);
    let words = "130 jobs would be removed: say --yes";
    assert!(
        !refused.status.success() && said(&refused).contains(words),
        "{refused:?}"
    );
    let lines = daemon.operator(&["ls", "--state", "queued", "--json"]);
    let refused = with_input(&daemon, &["rm", "-"], &lines);
    assert!(
        !refused.status.success() && said(&refused).contains(words),
        "{refused:?}"
    );
    assert_eq!(waiting(), all);
    let gone = "20200229T235959.999Z-00001-nobody.xml";
    let input = format!("{}\n{gone}\n\nqueue/orders_in/{}\n", all[0], all[1]);
    let some = with_input(&daemon, &["rm", "-", "--json"], &input);
    assert!(
        !some.status.success() && said(&some).contains(&format!("no job {gone}")),
        "{some:?}"
    );
    assert_eq!(String::from_utf8(some.stdout).unwrap().lines().count(), 3);
    assert_eq!(waiting(), all[2..]);
    let done = with_input(&daemon, &["rm", "-", "--yes"], &lines);
    // Two of them are gone already.
    assert!(said(&done).contains("128 removed, 2 not"), "{done:?}");
    assert_eq!(waiting(), [""; 0]);
}

#[test]
fn jobs_are_cancelled_wherever_they_are() {
    let script = "touch started; while [ -e gate ]; do sleep 0.02; done";
    let mut daemon = Daemon::init();
    daemon.scratch("gate", "");
    daemon.configure(|text| {
        let keys = format!("concurrency = 1\n{}", shell(script, ""));
        with_keys(&text, "orders_in", &keys)
    });
    daemon.serve();
    let running = daemon.upload_text(&order("1"), "").job();
    daemon.wait("it runs", || daemon.dir().join("started").exists());
    let waiting = daemon.upload_text(&order("2"), "").job();
    let later = daemon.upload_text(&order("3"), "").job();
    let cancelled = daemon.operator(&["cancel", "--interface", "orders_in", "--limit", "2"]);
    assert_eq!(
        cancelled,
        format!("{running} cancelled\n{waiting} cancelled\n")
    );
    for job in [&running, &waiting] {
        assert_eq!(daemon.place(job), "joberrors");
        assert!(daemon.messages(job)[0].starts_with("cancelled by "));
    }
    let shown = names(&daemon, &["ls", "--state", "cancelled"]);
    assert_eq!(shown, [running.clone(), waiting.clone()]);
    // They have not failed, so nobody sends them again by mistake.
    assert_eq!(names(&daemon, &["ls", "--state", "failed"]), [""; 0]);
    let again = daemon.spoolgate(&["cancel", &waiting]);
    assert!(
        said(&again).contains(&format!("{waiting} has ended")),
        "{again:?}"
    );
    daemon.wait("the third runs", || {
        names(&daemon, &["ls", "--state", "running"]) == [later.clone()]
    });
    std::fs::remove_file(daemon.dir().join("gate")).unwrap();
    daemon.wait_for_place(&later, "bak/orders_in");
    // Without a service, what waits is cancelled by the command.
    daemon.operator(&["hold", "orders_in"]);
    let queued = daemon.upload_text(&order("4"), "").job();
    daemon.stop();
    let cancelled = daemon.operator(&["cancel", &queued]);
    assert_eq!(cancelled, format!("{queued} cancelled\n"));
    assert_eq!(names(&daemon, &["ls", "--state", "cancelled"]).len(), 3);
}

#[test]
fn an_act_whose_command_has_gone_ends_after_its_batch() {
    let daemon = failing();
    let jobs = failed(&daemon, 3);
    std::fs::write(daemon.dir().join("good"), "").unwrap();
    let mut command = program();
    command.args(["requeue", "--state", "failed", "--rate", "1/s", "--config"]);
    command.arg(daemon.config()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    daemon.wait_for_place(&jobs[0], "bak/orders_in");
    child.kill().unwrap();
    child.wait().unwrap();
    daemon.wait("it has ended", || daemon.log().contains("ended before"));
    let left = names(&daemon, &["ls", "--state", "failed"]);
    assert!(!left.is_empty() && left.contains(&jobs[2]), "{left:?}");
    assert!(daemon.log().contains("whoever asked for an act has gone"));
}

#[test]
fn any_name_of_a_job_finds_it() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| {
        let keys = "direction = \"in\"\nschema = \"\"";
        format!("{text}\n[interfaces.printing]\n{keys}\n")
    });
    daemon.serve();
    let token = daemon.operator(&["user", "token", "admin"]);
    let bearer = format!("Authorization: Bearer {}", token.trim());
    let made = daemon.bare_curl(&[
        "-X",
        "POST",
        "-H",
        &bearer,
        "/webapi/v3/workflows/printing/jobs",
    ]);
    assert_eq!(made.status, 200, "{}", made.text());
    let made: serde_json::Value = serde_json::from_slice(&made.body).unwrap();
    let hex = made["id"].as_str().unwrap().to_owned();
    let name = daemon.queue("printing").pop().unwrap();
    let other = daemon.upload_text(&order("1"), "").job();
    daemon.wait_for_place(&other, "bak/orders_in");
    assert_eq!(daemon.key().trim().len(), 64);
    let task = u64::from_str_radix(&hex[..16], 16).unwrap() >> 11;
    for round in 0..2 {
        if round == 1 {
            daemon.stop();
        }
        let found = |text: &str| daemon.objects(&["status", text])[0]["job"].clone();
        for text in [
            &*name,
            &name[..26],
            &hex,
            &hex.to_uppercase(),
            &task.to_string(),
        ] {
            assert_eq!(found(text), name.as_str(), "{text}");
        }
        let ambiguous = daemon.spoolgate(&["status", &name[..8]]);
        let words = format!("{} is the beginning of 2 jobs: {name}, {other}", &name[..8]);
        assert!(said(&ambiguous).contains(&words), "{ambiguous:?}");
        for (text, words) in [
            ("20200101T", "no job 20200101T… in this spool"),
            // One digit is forged.
            (
                &*format!(
                    "{}{}",
                    &hex[..23],
                    if hex.ends_with('0') { '1' } else { '0' }
                ),
                "no job with the id",
            ),
            ("1234567890123", "no job with the id"),
            ("what", "neither the name of a job"),
        ] {
            let output = daemon.spoolgate(&["status", text]);
            assert!(
                !output.status.success() && said(&output).contains(words),
                "{output:?}"
            );
        }
    }
    daemon.serve();
    let cancelled = daemon.operator(&["cancel", &hex]);
    assert_eq!(cancelled, format!("{name} cancelled\n"));
}

#[test]
fn a_hold_ends_by_itself_also_while_nobody_is_there() {
    let mut daemon = Daemon::start();
    let held = || daemon.hold("orders_in").is_some();
    let past = daemon.spoolgate(&["hold", "orders_in", "--until", "2020-01-01T00:00:00Z"]);
    assert!(
        said(&past).contains("it is later than 2020-01-01T00:00:00Z"),
        "{past:?}"
    );
    daemon.operator(&["hold", "orders_in", "--until", "8s", "--reason", "a look"]);
    let text = daemon.hold("orders_in").unwrap();
    assert!(
        text.contains(" until ") && text.ends_with("Z: a look"),
        "{text}"
    );
    let job = daemon.upload_text(&order("1"), "").job();
    daemon.soon("the hold has ended", || !held());
    daemon.soon("it is worked on", || daemon.place(&job) == "bak/orders_in");
    assert!(
        daemon.log().contains("the hold has ended"),
        "{}",
        daemon.log()
    );
    // All, also without a service, and it ends at the start.
    daemon.stop();
    let all = daemon.operator(&["hold", "--all", "--until", "1s"]);
    let n_held = all.lines().filter(|line| line.ends_with(" held")).count();
    assert!(n_held >= 5, "{all}");
    let holds = |daemon: &Daemon| {
        let all = daemon.objects(&["status"]);
        all.iter().filter(|of| of["hold"].is_string()).count()
    };
    assert_eq!(holds(&daemon), n_held);
    daemon.serve();
    daemon.soon("they have ended", || holds(&daemon) == 0);
    daemon.operator(&["hold", "--all"]);
    assert_eq!(holds(&daemon), n_held);
    daemon.operator(&["release", "--all"]);
    assert_eq!(holds(&daemon), 0);
    let both = daemon.spoolgate(&["hold", "--all", "orders_in"]);
    assert_eq!(both.status.code(), Some(2), "{both:?}");
}
