//! From an upload to `bak/`, as each user sees it.

use crate::harness::{Daemon, document, order};

#[test]
fn an_upload_is_processed_and_everyone_sees_it() {
    let daemon = Daemon::start();
    let job = daemon
        .upload(&document("orders_in/states.valid.xml"), "?RefName=order-1")
        .job();
    assert!(job.ends_with("-order-1.xml"), "{job}");
    daemon.wait_for_place(&job, "bak/orders_in");
    let day = format!("{}-{}-{}", &job[..4], &job[4..6], &job[6..8]);
    let stored = daemon.spool(&format!("bak/orders_in/{day}/{job}"));
    let sent = std::fs::read(document("orders_in/states.valid.xml")).unwrap();
    assert_eq!(std::fs::read(stored).unwrap(), sent);
    let log = daemon.curl(&[&format!("/xml/joblog?Jobname={job}")]);
    assert_eq!(log.status, 200);
    assert!(log.text().contains("Status=\"ok\""), "{}", log.text());
    assert!(daemon.operator(&["status", &job]).contains("bak/orders_in"));
    assert!(daemon.operator(&["log", &job]).contains(&job));
    assert_eq!(daemon.operator(&["cat", &job]).as_bytes(), sent);
}

#[test]
fn a_refused_document_is_kept_and_can_be_sent_on_by_hand() {
    let daemon = Daemon::start();
    let answer = daemon.upload(&document("orders_in/position-twice.invalid.xml"), "");
    assert_eq!(answer.status, 400);
    let job = answer.header("x-job-name").unwrap().to_owned();
    assert!(answer.text().starts_with(&job), "{}", answer.text());
    assert!(
        answer.text().lines().nth(1).unwrap().starts_with("7:"),
        "{}",
        answer.text()
    );
    assert_eq!(daemon.place(&job), "joberrors");
    let kept = daemon.files("joberrors");
    std::fs::rename(
        daemon.spool(&kept[0]),
        daemon.spool(&format!("queue/orders_in/{job}")),
    )
    .unwrap();
    daemon.wait_for_place(&job, "bak/orders_in");
    assert!(daemon.operator(&["log", &job]).contains("moved by hand"));
}

#[test]
fn a_restart_loses_nothing_and_names_rise() {
    let mut daemon = Daemon::start();
    daemon.operator(&["hold", "orders_in"]);
    let before = daemon.upload_text(&order("1"), "").job();
    daemon.stop();
    daemon.serve();
    let after = daemon.upload_text(&order("2"), "").job();
    assert!(after > before);
    assert_eq!(daemon.queue("orders_in"), [before.clone(), after.clone()]);
    daemon.operator(&["release", "orders_in"]);
    daemon.wait_for_place(&before, "bak/orders_in");
    daemon.wait_for_place(&after, "bak/orders_in");
}
