//! `Idempotency-Key`: one job however often the upload is repeated.

use super::{assert_text, held};
use crate::harness::{Answer, Daemon, has_job_files, order};

fn upload(daemon: &Daemon, key: &str, text: &str) -> Answer {
    let body = daemon.scratch(&format!(".{:?}", std::thread::current().id()), text);
    let body = format!("@{}", body.display());
    let key = format!("Idempotency-Key: {key}");
    daemon.curl(&["-H", &key, "--data-binary", &body, "/xml/upload"])
}

#[test]
fn a_repeat_answers_the_first_result_and_other_bytes_are_refused() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| text);
    let other = daemon.add_user("other", &["orders_in=upload,list"]);
    daemon.serve();
    held(&daemon, "orders_in");
    let first = upload(&daemon, "a key", &order("1"));
    let again = upload(&daemon, "a key", &order("1"));
    assert_eq!(again.job(), first.job());
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(first.header("idempotency-replayed"), None);
    for header in ["location", "repr-digest", "x-job-name", "content-type"] {
        assert_eq!(again.header(header), first.header(header), "{header}");
    }
    assert_text(&upload(&daemon, "a key", &order("2")), 400);
    assert_eq!(daemon.queue("orders_in"), [first.job()]);
    assert_ne!(
        upload(&daemon, "another key", &order("1")).job(),
        first.job()
    );

    // Keys belong to their user.
    let body = format!("@{}", daemon.scratch("order.xml", order("1")).display());
    let key = "Idempotency-Key: a key";
    let theirs = daemon.curl_as(&other, &["-H", key, "--data-binary", &body, "/xml/upload"]);
    assert_ne!(theirs.job(), first.job());
    assert_eq!(daemon.queue("orders_in").len(), 3);

    let long = "k".repeat(256);
    for bad in [long.as_str(), "k\u{fc}"] {
        assert_text(&upload(&daemon, bad, &order("1")), 400);
    }
    assert_eq!(daemon.queue("orders_in").len(), 3);
}

#[test]
fn twenty_at_once_with_one_key_make_one_job() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::start();
    held(&daemon, "orders_in");
    let jobs: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| upload(&daemon, "one", &order("1")).job()))
            .collect();
        let jobs = threads.into_iter().map(|thread| thread.join().unwrap());
        jobs.collect()
    });
    assert!(jobs.iter().all(|job| *job == jobs[0]), "{jobs:?}");
    assert_eq!(daemon.queue("orders_in"), [jobs[0].as_str()]);
    assert_eq!(daemon.files("queue").len(), 2, "the job and .hold");
}

#[test]
fn a_refusal_is_repeated_too() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::start();
    for bad in [
        order("1").replace("CreationDate", "Creation"),
        "<a>".to_owned(),
        "<Odd/>".to_owned(),
    ] {
        let key = format!("refused {}", bad.len());
        let first = upload(&daemon, &key, &bad);
        let again = upload(&daemon, &key, &bad);
        assert_text(&again, 400);
        assert_eq!(again.header("x-job-name"), first.header("x-job-name"));
        assert_eq!(again.text(), first.text());
        assert_text(&upload(&daemon, &key, &order("1")), 400);
    }
    assert_eq!(daemon.files("joberrors").len(), 3);
}

#[test]
fn keys_survive_a_crash() {
    let mut daemon = Daemon::start();
    held(&daemon, "orders_in");
    let job = upload(&daemon, "one", &order("1")).job();
    let refused = upload(&daemon, "bad", "<a>");
    daemon.kill();
    daemon.serve();
    assert_eq!(upload(&daemon, "one", &order("1")).job(), job);
    assert_eq!(daemon.queue("orders_in"), [job.as_str()]);
    let again = upload(&daemon, "bad", "<a>");
    assert_eq!(again.header("x-job-name"), refused.header("x-job-name"));
    // Also when the job has moved on meanwhile.
    daemon.operator(&["release", "orders_in"]);
    daemon.wait_for_place(&job, "bak/orders_in");
    daemon.kill();
    daemon.serve();
    assert_eq!(upload(&daemon, "one", &order("1")).job(), job);
    assert_eq!(daemon.place(&job), "bak/orders_in");
    assert_eq!(daemon.queue("orders_in"), Vec::<String>::new());
}

/// Of waiting jobs, and of keys.
#[test]
fn a_user_has_so_many_and_is_told_how_many() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| {
        text + "\n[limits]\nqueue_jobs_per_user_max = 3\nkeys_per_user_max = 2\n"
    });
    let other = daemon.add_user("other", &["orders_in=upload,list"]);
    daemon.serve();
    held(&daemon, "orders_in");
    let first = upload(&daemon, "1", &order("1"));
    upload(&daemon, "2", &order("1")).job();
    let refused = upload(&daemon, "3", &order("1"));
    assert_text(&refused, 429);
    assert!(refused.header("retry-after").is_some());
    let said = "you have 2 idempotency keys in use, and may have 2 at most\n";
    assert_eq!(refused.text(), said);
    // What was answered once is answered again.
    assert_eq!(upload(&daemon, "1", &order("1")).job(), first.job());
    daemon.upload_text(&order("1"), "").job();
    let refused = daemon.upload_text(&order("1"), "");
    assert_text(&refused, 429);
    let said = "you have 3 jobs waiting, and may have 3 at most\n";
    assert_eq!(refused.text(), said);
    let body = format!("@{}", daemon.scratch("order.xml", order("1")).display());
    let theirs = daemon.curl_as(&other, &["--data-binary", &body, "/xml/upload"]);
    assert_eq!(theirs.status, 201, "{}", theirs.text());
    // One that waits no more makes room.
    daemon.operator(&["rm", &first.job()]);
    daemon.wait("room", || daemon.upload_text(&order("1"), "").status == 201);
    assert_eq!(daemon.queue("orders_in").len(), 4);
}
