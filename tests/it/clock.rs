//! A clock that was wrong, and a configuration that is not the one in force.

use crate::harness::{Daemon, has_job_files, order};
use std::fs;

const FLAKY: &str = r#"
[interfaces.flaky]
direction = "in"
schema = ""
processor = { command = ["sh", "-c", "[ $SPOOLGATE_ATTEMPT -ge 2 ] || exit 75"] }
retry = { initial_s = 3600, max_s = 3600, jitter = 0 }
"#;

/// A job was deferred while the clock was decades ahead.
#[test]
fn no_wait_is_longer_than_the_longest() {
    if !has_job_files() {
        return;
    }
    let mut daemon = Daemon::start_with(|text| text + FLAKY);
    let job = daemon
        .upload_text(&order("1"), "?Interfacename=flaky")
        .job();
    let deferred = || daemon.files("deferred/flaky");
    daemon.wait("the job is deferred", || !deferred().is_empty());
    let before = deferred().remove(0);
    daemon.stop();
    let after = format!("deferred/flaky/20880101T000000.000Z@{job}");
    fs::rename(daemon.spool(&before), daemon.spool(&after)).unwrap();
    let why = daemon.operator(&["why", &job]);
    assert!(why.contains("after 3600 s at most"), "{why}");
    let text = fs::read_to_string(daemon.config()).unwrap();
    let text = text.replace("initial_s = 3600, max_s = 3600", "initial_s = 1, max_s = 1");
    fs::write(daemon.config(), text).unwrap();
    daemon.serve();
    daemon.wait_for_place(&job, "bak/flaky");
}

#[test]
fn a_changed_configuration_is_told_everywhere() {
    let mut daemon = Daemon::start();
    let ready = || {
        let answer = daemon.bare_curl(&[&format!("{}/readyz", daemon.ops)]);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    };
    assert_eq!(ready(), "ok\n");
    let text = fs::read_to_string(daemon.config()).unwrap();
    fs::write(daemon.config(), format!("{text}# changed\n")).unwrap();
    daemon.wait("the probe tells", || {
        ready().contains("warning: the configuration")
    });
    let warned = daemon.log().contains("`spoolgate reload` takes it");
    assert!(warned, "{}", daemon.log());
    let status = daemon.operator(&["status"]);
    assert!(status.contains("`spoolgate reload` takes it"), "{status}");
    assert_eq!(daemon.objects(&["status"])[0]["reload_needed"], true);
    let checked = daemon.operator(&["check"]);
    assert!(checked.contains("`spoolgate reload` takes it"), "{checked}");
    daemon.stop();
    daemon.serve();
    let status = daemon.operator(&["status"]);
    assert!(!status.contains("spoolgate reload"), "{status}");
}
