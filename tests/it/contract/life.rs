//! The life of a job: from an upload or a dropped file to `bak/` or `joberrors/`.

use super::{assert_text, digest_field, held, with_command};
use crate::harness::{Daemon, document, order};
use std::{fs, process::Stdio};

fn fetch_path(interface: &str, job: &str) -> String {
    format!("/xml/job?Interfacename={interface}&Jobname={job}")
}

#[test]
fn the_first_complete_retrieval_archives_an_out_job() {
    let daemon = Daemon::start();
    let sent = fs::read(document("orders_out/orders.valid.xml")).unwrap();
    let job = daemon.drop_in("orders_out", "o.xml", &sent);
    let path = fetch_path("orders_out", &job);
    for _ in 0..3 {
        let head = daemon.curl(&["-I", &path]);
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-type"), Some("application/xml"));
        assert_eq!(
            head.header("content-length"),
            Some(&*sent.len().to_string())
        );
        assert_eq!(daemon.place(&job), "queue/orders_out");
    }
    let answer = daemon.curl(&[&path]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/xml"));
    assert_eq!(answer.body, sent);
    assert_eq!(daemon.place(&job), "bak/orders_out");
    assert_eq!(daemon.queue("orders_out"), Vec::<String>::new());
    // It can still be had, and stays.
    for _ in 0..2 {
        assert_eq!(daemon.curl(&[&path]).body, sent);
        assert_eq!(daemon.place(&job), "bak/orders_out");
    }
    let log = daemon.curl(&[&format!("/xml/joblog?Jobname={job}")]);
    assert_eq!(log.status, 200);
    assert!(log.text().contains(">retrieved<"), "{}", log.text());

    let posted = daemon.drop_in("orders_out", "p.xml", &sent);
    let name = format!("Jobname={posted}");
    let form = ["-d", "Interfacename=orders_out", "-d", &name, "/xml/job"];
    assert_eq!(daemon.curl(&form).body, sent);
    assert_eq!(daemon.place(&posted), "bak/orders_out");
    assert_eq!(daemon.files("bak").len(), 2);
}

#[test]
fn a_download_that_broke_off_does_not_move_the_job() {
    let daemon = Daemon::start();
    let sent: Vec<u8> = (0..64_usize << 20).map(|n| (n % 251) as u8).collect();
    let job = daemon.drop_in("orders_out", "large.xml", &sent);
    let path = fetch_path("orders_out", &job);
    let n_aborted = || {
        let log = daemon.log();
        let aborted = |line: &&str| line.contains(&job) && line.contains("end=\"aborted\"");
        log.lines().filter(aborted).count()
    };
    let mut n = 0;
    for version in ["--http1.1", "--http2"] {
        // Given up at the head.
        let mut curl = daemon.curl_command(&path);
        let curl = curl.args([version, "--max-filesize", "1000", "-o", "/dev/null"]);
        let ended = curl.stderr(Stdio::null()).status().unwrap();
        assert_eq!(ended.code(), Some(63), "curl's code for a file too large");
        n += 1;
        daemon.wait("the break is noticed", || n_aborted() == n);
        assert_eq!(daemon.place(&job), "queue/orders_out");
        // Killed in the middle.
        let part = daemon.dir().join(format!("part{version}"));
        let mut curl = daemon.curl_command(&path);
        curl.args([version, "--limit-rate", "2M", "-o"]).arg(&part);
        let mut curl = curl.stderr(Stdio::null()).spawn().unwrap();
        daemon.wait("some of it has come", || {
            part.metadata().is_ok_and(|part| part.len() > 100_000)
        });
        curl.kill().unwrap();
        curl.wait().unwrap();
        assert!(part.metadata().unwrap().len() < sent.len() as u64);
        n += 1;
        daemon.wait("the break is noticed", || n_aborted() == n);
        assert_eq!(daemon.place(&job), "queue/orders_out");
    }
    assert!(daemon.curl(&[&path]).body == sent);
    assert_eq!(daemon.place(&job), "bak/orders_out");
}

#[test]
fn parts_count_once_one_user_has_every_byte() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| text);
    let other = daemon.add_user("other", &["orders_out=list,download"]);
    daemon.serve();
    let sent = order("1");
    let job = daemon.drop_in("orders_out", "o.xml", &sent);
    let path = fetch_path("orders_out", &job);
    let part = |range: &str| daemon.curl(&["-r", range, &path]);
    let first = part("0-19");
    assert_eq!((first.status, first.text()), (206, sent[..20].to_owned()));
    let total = sent.len();
    let expected = format!("bytes 0-19/{total}");
    assert_eq!(first.header("content-range"), Some(&*expected));
    let digest = digest_field(sent.as_bytes());
    assert_eq!(first.header("repr-digest"), Some(&*digest), "of the whole");
    // All but one byte, and the rest by someone else.
    assert_eq!(part("21-").status, 206);
    let theirs = daemon.curl_as(&other, &["-r", "20-", &path]);
    assert_eq!(theirs.status, 206);
    assert_eq!(part(&format!("{total}-")).status, 416);
    assert_eq!(daemon.place(&job), "queue/orders_out");
    assert_eq!(part("-1").status, 206);
    assert_eq!(daemon.place(&job), "queue/orders_out");
    assert_eq!(part("15-25").text(), sent[15..26]);
    assert_eq!(daemon.place(&job), "bak/orders_out");
    assert_eq!(daemon.queue("orders_out"), [""; 0]);
}

#[test]
fn a_client_that_has_the_bytes_is_not_sent_them_again() {
    let daemon = Daemon::start();
    let sent = order("1");
    let job = daemon.drop_in("orders_out", "o.xml", &sent);
    let path = fetch_path("orders_out", &job);
    let head = daemon.curl(&["-I", &path]);
    let version = head.header("etag").unwrap().to_owned();
    assert!(version.starts_with('"') && version.len() == 66, "{version}");
    assert_eq!(head.header("accept-ranges"), Some("bytes"));
    let named = format!("attachment; filename=\"{job}\"");
    assert_eq!(head.header("content-disposition"), Some(&*named));
    let digest = digest_field(sent.as_bytes());
    assert_eq!(head.header("repr-digest"), Some(&*digest));
    let known = format!("If-None-Match: \"x\", W/{version}");
    let same = daemon.curl(&["-H", &known, &path]);
    assert_eq!((same.status, same.text().as_str()), (304, ""));
    assert_eq!(same.header("etag"), Some(&*version));
    assert_eq!(daemon.curl(&["-I", "-H", &known, &path]).status, 304);
    // Nothing was taken.
    assert_eq!(daemon.place(&job), "queue/orders_out");
    let of_this = format!("If-Range: {version}");
    let part = daemon.curl(&["-H", &of_this, "-r", "0-3", &path]);
    assert_eq!((part.status, part.text()), (206, sent[..4].to_owned()));
    // Several parts are the whole, and so is a part of another version.
    let of_another = ["-H", "If-Range: \"x\"", "-r", "0-3", &path];
    assert_eq!(daemon.curl(&of_another).text(), sent);
    assert_eq!(daemon.curl(&["-r", "0-1,3-4", &path]).text(), sent);
    assert_eq!(
        daemon.curl(&["-H", "If-None-Match: \"x\"", &path]).text(),
        sent
    );
    assert_eq!(daemon.place(&job), "bak/orders_out");
    let archived = daemon.curl(&["-I", &path]);
    assert_eq!(archived.header("etag"), Some(&*version), "wherever it is");
}

#[test]
fn a_hold_of_an_out_interface_stops_fetching() {
    let daemon = Daemon::start();
    let fetched = daemon.drop_in("orders_out", "a.xml", order("1"));
    let queued = daemon.drop_in("orders_out", "b.xml", order("2"));
    let fetch = |job: &str| daemon.curl(&[&fetch_path("orders_out", job)]);
    assert_eq!(fetch(&fetched).status, 200);
    daemon.operator(&["hold", "orders_out"]);
    let list = || daemon.curl(&["/xml/jobqueue?Interfacename=orders_out"]);
    assert_eq!((list().status, list().text()), (200, String::new()));
    let path = fetch_path("orders_out", &queued);
    for arguments in [
        vec![path.as_str()],
        vec!["-I", &path],
        vec!["-r", "0-3", &path],
    ] {
        let later = daemon.curl(&arguments);
        assert_eq!(later.status, 503, "{arguments:?}: {}", later.text());
        assert!(later.header("retry-after").is_some());
    }
    assert_text(&fetch(&queued), 503);
    // What is in `bak` can still be had, and nothing has moved.
    assert_eq!(fetch(&fetched).status, 200);
    assert_eq!(daemon.place(&queued), "queue/orders_out");
    daemon.operator(&["release", "orders_out"]);
    assert_eq!(list().text(), format!("{queued}\n"));
    assert_eq!(fetch(&queued).text(), order("2"));
    assert_eq!(daemon.place(&queued), "bak/orders_out");
}

#[test]
fn pollers_that_race_all_get_the_bytes_and_the_file_moves_once() {
    let daemon = Daemon::start();
    for n in 0..5 {
        let text = order(&n.to_string());
        let job = daemon.drop_in("orders_out", "o.xml", &text);
        let path = fetch_path("orders_out", &job);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(daemon.curl(&[&path]).text(), text));
            }
        });
        assert_eq!(daemon.place(&job), "bak/orders_out");
        assert_eq!(daemon.files("bak").len(), n + 1);
    }
    assert!(daemon.files("queue").is_empty());
    daemon.wait_for_empty_work();
}

#[test]
fn fetching_an_in_job_never_moves_it() {
    let daemon = Daemon::start();
    held(&daemon, "orders_in");
    let job = daemon.upload_text(&order("1"), "").job();
    let path = fetch_path("orders_in", &job);
    for _ in 0..2 {
        assert_eq!(daemon.curl(&[&path]).text(), order("1"));
        assert_eq!(daemon.place(&job), "queue/orders_in");
    }
    daemon.operator(&["release", "orders_in"]);
    daemon.wait_for_place(&job, "bak/orders_in");
    assert_eq!(daemon.curl(&[&path]).text(), order("1"));
    assert_eq!(daemon.place(&job), "bak/orders_in");
}

#[test]
fn a_processor_decides_between_bak_and_joberrors() {
    let script = "if grep -q good; then exit 0; else echo broken; exit 3; fi";
    let daemon = Daemon::start_with(|text| with_command(&text, "orders_in", script));
    let good = daemon.upload_text(&order("good"), "").job();
    let bad = daemon.upload_text(&order("bad"), "").job();
    daemon.wait_for_place(&good, "bak/orders_in");
    daemon.wait_for_place(&bad, "joberrors");
    let path = fetch_path("orders_in", &bad);
    assert_text(&daemon.curl(&[&path]), 400);
    for (job, status) in [(&good, "ok"), (&bad, "error")] {
        let log = daemon.curl(&[&format!("/xml/joblog?Jobname={job}")]).text();
        assert!(log.contains(&format!("Status=\"{status}\"")), "{log}");
    }
}

#[test]
fn a_running_and_a_deferred_job_count_as_queued() {
    let script = "cat >/dev/null; if [ -e ../../go ]; then exit 0; fi; exit 75";
    let daemon = Daemon::start_with(|text| {
        let text = with_command(&text, "orders_in", script);
        super::set(
            &text,
            "orders_in",
            "retry = { initial_s = 1000, attempts = 3 }",
        )
    });
    let job = daemon.upload_text(&order("1"), "").job();
    daemon.wait("it is deferred", || {
        daemon
            .files("deferred")
            .iter()
            .any(|file| file.contains(&job))
    });
    assert_eq!(daemon.place(&job), "queue/orders_in");
    assert_eq!(daemon.queue("orders_in"), [job.as_str()]);
    let path = fetch_path("orders_in", &job);
    assert_eq!(daemon.curl(&[&path]).text(), order("1"));
    let log = daemon.curl(&[&format!("/xml/joblog?Jobname={job}")]);
    assert_text(&log, 503);
}
