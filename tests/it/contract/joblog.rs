//! The log of a job, and the schema that it keeps to.

use super::{assert_text, held, with_command};
use crate::harness::{Daemon, document, has_job_files, order};
use std::process::Command;

/// By the schema that ships with the server. Without xmllint the test says nothing, except on CI.
fn assert_valid(daemon: &Daemon, log: &str) {
    let path = daemon.scratch(&format!("{:?}.xml", std::thread::current().id()), log);
    let xmllint = Command::new("xmllint")
        .args(["--noout", "--nonet", "--schema"])
        .arg(daemon.spool("schemas/joblog.xsd"))
        .arg(path)
        .output();
    match xmllint {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{errors}\n{log}");
        }
        Err(error) => {
            let on_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!on_ci, "xmllint is needed: {error}");
            eprintln!("skipped, no xmllint: {error}");
        }
    }
}

#[test]
fn a_log_comes_with_the_end_of_its_job() {
    let daemon = Daemon::start();
    held(&daemon, "orders_in");
    let job = daemon.upload_text(&order("1"), "").job();
    let path = format!("/xml/joblog?Jobname={job}");
    let early = daemon.curl(&[&path]);
    assert_text(&early, 503);
    assert!(early.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    let of = |interface: &str| daemon.curl(&[&format!("{path}&Interfacename={interface}")]);
    let assert_others_refused = || {
        assert_text(&of("items_in"), 400);
        assert_text(&of("nonsense"), 400);
        assert_eq!(of("nonsense").text(), "unknown interface nonsense\n");
    };
    assert_text(&of("orders_in"), 503);
    assert_others_refused();
    daemon.operator(&["release", "orders_in"]);
    daemon.wait_for_place(&job, "bak/orders_in");
    assert_others_refused();
    let log = daemon.curl(&[&path]);
    assert_eq!(log.status, 200);
    assert_eq!(log.header("content-type"), Some("application/xml"));
    let text = log.text();
    for part in [
        "<JobLog ".to_owned(),
        format!(" Jobname=\"{job}\""),
        " Interfacename=\"orders_in\"".to_owned(),
        " Status=\"ok\"".to_owned(),
        " Received=\"".to_owned(),
        " Started=\"".to_owned(),
        " Finished=\"".to_owned(),
        " Attempts=\"1\"".to_owned(),
        format!(" Bytes=\"{}\"", order("1").len()),
        format!(" SHA256=\"{}\"", sha256_hex(order("1").as_bytes())),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    assert_valid(&daemon, &text);
    assert_eq!(of("orders_in").text(), text);
    for unknown in [
        "x",
        "../../users.toml",
        "20210101T000000.000Z-00000.xml",
        ".hold",
        "",
    ] {
        assert_text(
            &daemon.curl(&[&format!("/xml/joblog?Jobname={unknown}")]),
            400,
        );
    }
}

#[test]
fn a_failure_has_a_log_with_its_findings() {
    let daemon = Daemon::start();
    let bad = document("orders_in/position-twice.invalid.xml");
    let answers = [
        daemon.upload(&bad, ""),
        daemon.upload_text("<a>", ""),
        daemon.upload_text("<Unknown/>", ""),
    ];
    for answer in answers {
        let job = answer.header("x-job-name").unwrap();
        let log = daemon.curl(&[&format!("/xml/joblog?Jobname={job}")]);
        assert_eq!(log.status, 200);
        let text = log.text();
        assert!(text.contains(" Status=\"error\""), "{text}");
        let body = answer.text();
        let line = body.lines().nth(1).unwrap().split(':').next().unwrap();
        assert!(text.contains(&format!(" Line=\"{line}\"")), "{text}");
        assert_valid(&daemon, &text);
    }
}

#[test]
fn what_a_processor_says_is_kept_and_escaped() {
    let script = "cat >/dev/null; echo '<b attr=\"1\">&]]></JobLog>'; printf 'bell\\a \\033[1m\\n'; \
                  printf '\\377\\376\\n'; echo 'Gr\u{fc}\u{df}e \u{1f600}' >&2; \
                  echo '{\"text\":\"part </Message>\",\"level\":\"warning\",\"line\":7,\"tool\":\"<t>\"}'; \
                  printf '\\357\\277\\277 noncharacter'";
    let daemon = Daemon::start_with(|text| with_command(&text, "orders_in", script));
    let job = daemon.upload_text(&order("1"), "?RefName=%3Cb%3E%26").job();
    daemon.wait_for_place(&job, "bak/orders_in");
    let log = daemon.curl(&[&format!("/xml/joblog?Jobname={job}")]).text();
    assert!(log.contains("&lt;b attr="), "{log}");
    assert!(log.contains("Gr\u{fc}\u{df}e \u{1f600}"), "{log}");
    assert!(log.contains("Line=\"7\""), "{log}");
    assert!(
        !log.contains("<b") && !log.contains('\u{1b}') && !log.contains('\u{7}'),
        "{log}"
    );
    assert_eq!(log.matches("</JobLog>").count(), 1);
    assert_valid(&daemon, &log);
    // The operator's terminal is not told what to do either.
    let shown = daemon.operator(&["log", &job]);
    assert!(
        !shown.contains('\u{1b}') && !shown.contains('\u{7}'),
        "{shown:?}"
    );
    assert!(!daemon.log().contains('\u{1b}'));
}

#[test]
fn jobs_that_were_moved_by_hand_have_a_valid_log() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::start();
    held(&daemon, "orders_in");
    let job = daemon.upload_text(&order("1"), "").job();
    let day = format!("{}-{}-{}", &job[..4], &job[4..6], &job[6..8]);
    let day = daemon.spool(&format!("bak/orders_in/{day}"));
    std::fs::create_dir_all(&day).unwrap();
    let queued = daemon.spool(&format!("queue/orders_in/{job}"));
    std::fs::rename(queued, day.join(&job)).unwrap();
    assert_eq!(daemon.place(&job), "bak/orders_in");
    let log = daemon.curl(&[&format!("/xml/joblog?Jobname={job}")]);
    assert_eq!(log.status, 200);
    assert_valid(&daemon, &log.text());
    let dropped = daemon.drop_in("orders_out", "<&\u{1b}\">.xml", order("1"));
    let path = format!("/xml/job?Interfacename=orders_out&Jobname={dropped}");
    assert_eq!(daemon.curl(&[&path]).text(), order("1"));
    let log = daemon.curl(&[&format!("/xml/joblog?Jobname={dropped}")]);
    assert_valid(&daemon, &log.text());
}

fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}
