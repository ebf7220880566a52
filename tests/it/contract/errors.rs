//! Errors: their statuses, and what they tell and do not tell.

use super::{assert_text, held};
use crate::harness::{Daemon, document, order};
use std::collections::BTreeMap;

#[test]
fn paths_and_sizes_beyond_what_there_is() {
    let daemon = Daemon::start();
    for path in [
        "/xml",
        "/xml/",
        "/xml/nothing",
        "/xml/job/",
        "/xml/Job",
        "/xml/upload/x",
        "/XML/job",
        "/favicon.ico",
    ] {
        assert_text(&daemon.curl(&[path]), 404);
    }
    for path in [
        "/xml/../xml/job",
        "/../../etc/passwd",
        "//xml/job",
        "/xml/%2e%2e/users.toml",
    ] {
        assert_text(&daemon.curl(&["--path-as-is", path]), 404);
    }
    let long = "x".repeat(9000);
    let answer = daemon.curl(&[&format!("/xml/jobqueue?Interfacename={long}")]);
    assert_text(&answer, 414);
    let header = format!("X-Long: {}", "x".repeat(40_000));
    for version in ["--http1.1", "--http2"] {
        let path = "/xml/jobqueue?Interfacename=orders_in";
        let answer = daemon.curl(&[version, "-H", &header, path]);
        assert_eq!(answer.status, 431, "{version}");
    }
    let form = format!(
        "@{}",
        daemon
            .scratch("form", format!("x={}", "x".repeat(70_000)))
            .display()
    );
    assert_text(
        &daemon.curl(&["--data-binary", &form, "/xml/jobqueue"]),
        413,
    );
    let json = [
        "-H",
        "Content-Type: application/json",
        "-d",
        "{}",
        "/xml/jobqueue",
    ];
    assert_text(&daemon.curl(&json), 400);
    assert_eq!(
        daemon
            .curl(&["/xml/jobqueue?Interfacename=orders_in"])
            .status,
        200
    );
}

#[test]
fn an_answer_before_the_body_was_read_arrives() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| text);
    let lister = daemon.add_user("lister", &["orders_in=list"]);
    daemon.serve();
    let small = format!("@{}", daemon.scratch("small.xml", order("1")).display());
    let large = daemon.scratch("large.xml", order("1") + &" ".repeat(1 << 20));
    let large = format!("@{}", large.display());
    for version in ["--http1.1", "--http2"] {
        for body in [&small, &large] {
            for _ in 0..10 {
                let arguments = [version, "--data-binary", body, "/xml/upload"];
                assert_text(&daemon.curl_as(&lister, &arguments), 403);
            }
        }
    }
}

#[test]
fn guessing_passwords_is_slowed_and_good_users_are_not() {
    let daemon = Daemon::start();
    let path = "/xml/jobqueue?Interfacename=orders_in";
    assert_eq!(daemon.curl(&[path]).status, 200);
    let mut slowed = None;
    for n in 0..40 {
        let guess = format!("admin:guess-{n}");
        let answer = daemon.curl_as(&guess, &[path]);
        if answer.status == 429 {
            assert_text(&answer, 429);
            let seconds = answer.header("retry-after").unwrap();
            assert!(seconds.parse::<u32>().unwrap() > 0);
            slowed = Some(n);
            break;
        }
        assert_eq!(answer.status, 401);
    }
    assert!(slowed.is_some(), "forty guesses and no wait");
    // Its own right password is known to the cache.
    assert_eq!(daemon.curl(&[path]).status, 200);
}

#[test]
fn unknown_interfaces_and_jobs_get_400() {
    let daemon = Daemon::start();
    held(&daemon, "orders_in");
    let job = daemon.upload_text(&order("1"), "").job();
    let never = "20210101T000000.000Z-00000.xml";
    for path in [
        "/xml/jobqueue?Interfacename=nothing".to_owned(),
        format!("/xml/job?Interfacename=nothing&Jobname={job}"),
        format!("/xml/job?Interfacename=orders_in&Jobname={never}"),
        "/xml/job?Interfacename=orders_in&Jobname=../../../users.toml".to_owned(),
        format!("/xml/jobstatus?Jobname={never}"),
        "/xml/jobstatus?Jobname=.hold".to_owned(),
        format!("/xml/joblog?Jobname={never}"),
    ] {
        assert_text(&daemon.curl(&[&path]), 400);
    }
}

#[test]
fn no_answer_tells_where_the_server_keeps_its_files() {
    // The harness looks at every answer of an error; here, at all that a partner can get.
    let daemon = Daemon::start();
    let dir = daemon.dir().to_str().unwrap().to_owned();
    let job = daemon.upload_text(&order("1"), "").job();
    daemon.wait_for_place(&job, "bak/orders_in");
    let bad = daemon.upload(&document("orders_in/hostile-external-entity.xml"), "");
    let bad_job = bad.header("x-job-name").unwrap().to_owned();
    let mut answers = vec![bad];
    for path in [
        format!("/xml/joblog?Jobname={job}"),
        format!("/xml/joblog?Jobname={bad_job}"),
        format!("/xml/jobstatus?Jobname={job}"),
        "/xml/jobqueue?Interfacename=orders_in".to_owned(),
    ] {
        answers.push(daemon.curl(&[&path]));
    }
    for answer in answers {
        let heads = answer.headers.iter().map(|(_, value)| value.as_str());
        let body = answer.text();
        for text in heads.chain([body.as_str()]) {
            assert!(!text.contains(&dir) && !text.contains("src/"), "{text}");
            assert!(
                !text.contains("spool/") && !text.contains("panicked"),
                "{text}"
            );
        }
        assert_eq!(answer.header("server"), None);
    }
}

#[test]
fn the_access_log_has_one_line_per_request_with_its_job_and_id() {
    let daemon = Daemon::start_with(|text| text + "\n[log]\nformat = \"json\"\n");
    let job = daemon.upload_text(&order("1"), "").job();
    daemon.wait_for_place(&job, "bak/orders_in");
    let body = format!("@{}", daemon.scratch("order.xml", order("2")).display());
    let bad = format!("@{}", daemon.scratch("bad.xml", "<a>").display());
    let fetch = format!("/xml/job?Interfacename=orders_in&Jobname={job}");
    let log = format!("/xml/joblog?Jobname={job}");
    let plain = format!("{}/xml/upload", daemon.plain);
    let requests: [&[&str]; 9] = [
        &["--data-binary", &body, "/xml/upload"],
        &["--data-binary", &bad, "/xml/upload"],
        &["/xml/jobqueue?Interfacename=orders_in"],
        &[&fetch],
        &["-I", &fetch],
        &[&log],
        &["/nothing"],
        &["-X", "DELETE", "/xml/job"],
        &[&plain],
    ];
    let mut expected = BTreeMap::new();
    for (n, arguments) in requests.iter().enumerate() {
        let id = format!("test-{n}");
        let header = format!("X-Request-Id: {id}");
        let mut all = vec!["-H", &header];
        all.extend(*arguments);
        let answer = daemon.curl(&all);
        assert_eq!(answer.header("x-request-id"), Some(&*id));
        let job = match n {
            0 => answer.job(),
            1 => answer.header("x-job-name").unwrap().to_owned(),
            3..=5 => job.clone(),
            _ => String::new(),
        };
        expected.insert(id, (answer.status, job));
    }
    let lines = || -> Vec<serde_json::Value> {
        let log = daemon.log();
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    };
    let seen = || {
        let mut seen = BTreeMap::new();
        for line in lines().iter().filter(|line| line["target"] == "access") {
            let field = |name: &str| match line.get(name) {
                Some(value) => value.clone(),
                None => line["fields"][name].clone(),
            };
            let id = field("request").as_str().unwrap().to_owned();
            if !id.starts_with("test-") {
                continue;
            }
            let status = u16::try_from(field("status").as_u64().unwrap()).unwrap();
            let job = field("job").as_str().unwrap().to_owned();
            assert_eq!(field("end"), "complete", "{line}");
            let twice = seen.insert(id, (status, job));
            assert!(twice.is_none(), "two lines of one request: {line}");
        }
        seen
    };
    daemon.wait("a line of each", || seen().len() == expected.len());
    assert_eq!(seen(), expected);
    // A harmless id only: another one is replaced.
    for bad in ["a b", "<x>", &"x".repeat(100)] {
        let header = format!("X-Request-Id: {bad}");
        let answer = daemon.curl(&["-H", &header, "/nothing"]);
        let id = answer.header("x-request-id").unwrap();
        assert!(
            id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{id}"
        );
    }
}
