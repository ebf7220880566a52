//! `GET /metrics`: what it says, that the documents name all of it, and that others can read it.

mod prometheus;

use super::harness::{Daemon, has_job_files, order, shell, with_keys};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

pub(crate) fn scrape(daemon: &Daemon) -> String {
    let answer = daemon.bare_curl(&[&format!("{}/metrics", daemon.ops)]);
    assert_eq!(answer.status, 200);
    let kind = answer.header("content-type").unwrap();
    assert_eq!(
        kind,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    answer.text()
}

/// A sample: its name, its labels and its value.
type Sample<'t> = (&'t str, Vec<(&'t str, &'t str)>, f64);

/// The samples of a scrape.
fn samples(text: &str) -> Vec<Sample<'_>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(sample).collect()
}

/// No label of ours has a comma, a brace or a quotation mark in it.
fn sample(line: &str) -> Sample<'_> {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split(',');
    let labels = labels.filter_map(|label| label.split_once('='));
    let labels = labels.map(|(name, value)| (name, value.trim_matches('"')));
    (name, labels.collect(), value.parse().unwrap())
}

/// The sum of the samples with these labels among others; `None`: there is none.
pub(crate) fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let fits = |sample: &Sample<'_>| {
        sample.0 == name && labels.iter().all(|label| sample.1.contains(label))
    };
    let found = samples(text)
        .into_iter()
        .filter(fits)
        .map(|sample| sample.2);
    found.reduce(|sum, value| sum + value)
}

/// The metrics of a scrape by the names of their samples, with type and labels.
fn metrics(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let types: Vec<(&str, &str)> = types.map(|line| line.split_once(' ').unwrap()).collect();
    let samples = samples(text);
    let metric = |(family, kind): &(&str, &str)| {
        let suffix = match *kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let of_it = |sample: &&Sample<'_>| {
            let rest = sample.0.strip_prefix(family);
            rest.is_some_and(|rest| ["", "_total", "_info", "_bucket"].contains(&rest))
        };
        let labels = samples.iter().filter(of_it).flat_map(|sample| &sample.1);
        let labels = labels.map(|(name, _)| (*name).to_owned());
        let labels = labels.filter(|name| name != "le").collect();
        (format!("{family}{suffix}"), ((*kind).to_owned(), labels))
    };
    types.iter().map(metric).collect()
}

/// The words in backticks of a text.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The metrics as the page of operations has them.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let page = fs::read_to_string(Path::new(REPOSITORY).join("docs/operations.md")).unwrap();
    let (_, section) = page.split_once("\n### Metrics\n").unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let metric = |row: &str| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let name = quoted(cells[0]).next().unwrap().to_owned();
        let labels = quoted(cells[2]).map(str::to_owned).collect();
        (name, (cells[1].to_owned(), labels))
    };
    rows.map(metric).collect()
}

/// A server on which everything has happened that makes a series.
fn busy() -> Daemon {
    let daemon = Daemon::start();
    daemon.upload_text(&order("1"), "").job();
    let job = daemon.drop_in("orders_out", "one.xml", order("2"));
    let path = format!("/xml/job?Interfacename=orders_out&Jobname={job}");
    assert_eq!(daemon.curl(&[&path]).status, 200);
    daemon.wait_for_place(&job, "bak/orders_out");
    // So that the audit has a record.
    daemon.operator(&["release", "persons_in"]);
    // It waits, so that there is an oldest one.
    daemon.drop_in("orders_out", "two.xml", order("3"));
    daemon
}

#[test]
fn the_page_of_operations_has_every_metric() {
    let daemon = busy();
    daemon.wait("all is counted", || {
        let oldest = "spoolgate_oldest_job_timestamp_seconds";
        value(&scrape(&daemon), oldest, &[]).is_some()
    });
    assert_eq!(metrics(&scrape(&daemon)), documented());
}

#[test]
fn what_is_seen_is_said() {
    let daemon = Daemon::start_with(|text| text + "\n[limits]\nfree_bytes_min = 4096\n");
    let said = |name: &str, labels: &[(&str, &str)]| value(&scrape(&daemon), name, labels);
    assert_eq!(said("spoolgate_healthy", &[]), Some(1.0));
    assert_eq!(said("spoolgate_spool_reserve_bytes", &[]), Some(4096.0));
    assert!(said("spoolgate_spool_free_bytes", &[]).unwrap() > 4096.0);
    let expiry = said("spoolgate_certificate_expiry_timestamp_seconds", &[]).unwrap();
    let days = (expiry - now_s()) / 86400.0;
    assert!((395.0..=397.0).contains(&days), "{days}");
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(said("spoolgate_build_info", &version), Some(1.0));

    let begun = now_s();
    daemon.drop_in("orders_out", "one.xml", order("1"));
    let waits = [("interface", "orders_out"), ("place", "queue")];
    daemon.wait("it is counted", || {
        said("spoolgate_jobs", &waits) == Some(1.0)
    });
    let oldest = "spoolgate_oldest_job_timestamp_seconds";
    let since = said(oldest, &waits).unwrap();
    assert!((begun - 1.0..=now_s()).contains(&since), "{since}");
    daemon.operator(&["hold", "orders_out", "--reason", "audit"]);
    let held = [("interface", "orders_out")];
    daemon.wait("it is held", || said("spoolgate_held", &held) == Some(1.0));
    assert_eq!(said(oldest, &waits), None, "it waits because it is held");
    assert_eq!(said("spoolgate_jobs", &waits), Some(1.0));
    daemon.operator(&["release", "orders_out"]);
    daemon.wait("the hold ends", || {
        said("spoolgate_held", &held) == Some(0.0)
    });
    assert_eq!(said(oldest, &waits), Some(since));

    let refused = daemon.upload_text("<ListOfOrders/>", "");
    assert_eq!(refused.status, 400, "{}", refused.text());
    daemon.wait("it is counted", || {
        said("spoolgate_jobs", &[("place", "refused")]) == Some(1.0)
    });
}

#[test]
fn requests_logins_and_connections_are_counted() {
    let daemon = Daemon::start();
    let said = |name: &str, labels: &[(&str, &str)]| value(&scrape(&daemon), name, labels);
    let job = daemon.drop_in("orders_out", "one.xml", order("1"));
    let path = format!("/xml/job?Interfacename=orders_out&Jobname={job}");
    let head = daemon.curl(&["-I", &path]);
    assert_eq!(head.status, 200);
    assert_eq!(daemon.curl(&[&path]).status, 200);
    assert_eq!(daemon.curl(&["/xml/nothing"]).status, 404);
    let guess = daemon.curl_as("admin:guess", &["/xml/jobqueue?Interfacename=orders_out"]);
    assert_eq!(guess.status, 401);
    // A browser that has not been asked yet says no one's name.
    let nobody = daemon.bare_curl(&["/xml/jobqueue?Interfacename=orders_out"]);
    assert_eq!(nobody.status, 401);
    assert_eq!(daemon.bare_curl(&[&daemon.plain]).status, 403);
    let requests = "spoolgate_http_requests_total";
    for (dialect, code, n) in [("dstore", "401", 2.0), ("none", "403", 1.0)] {
        let labels = [("dialect", dialect), ("code", code)];
        daemon.wait(code, || said(requests, &labels) == Some(n));
    }
    assert_eq!(said("spoolgate_downloads_total", &[]), Some(1.0));
    let logins = "spoolgate_logins_total";
    assert_eq!(said(logins, &[("outcome", "rejected")]), Some(1.0));
    assert!(said(logins, &[("outcome", "accepted")]).unwrap() >= 3.0);
    assert_eq!(said(logins, &[("outcome", "throttled")]), Some(0.0));
    let all = said(requests, &[("dialect", "dstore")]);
    let timed = "spoolgate_http_request_duration_seconds_count";
    assert_eq!(said(timed, &[("dialect", "dstore")]), all);
    let open = |listener| said("spoolgate_connections", &[("listener", listener)]);
    assert_eq!(open("ops"), Some(1.0), "the one that asks");
    daemon.wait("none is left", || open("https") == Some(0.0));
}

#[test]
fn what_becomes_of_jobs_is_counted() {
    let script = r#"case "$SPOOLGATE_REF" in
        failed) exit 1;; retry) exit 75;; crashed) kill -9 $$;; timeout) sleep 100;; esac"#;
    let more = ", timeout_s = 1";
    let daemon = Daemon::start_with(|text| {
        let keys = shell(script, more) + "\nretry = { attempts = 2, initial_s = 3600 }";
        with_keys(&text, "orders_in", &keys)
    });
    let attempts = |outcome: &str| {
        let labels = [("interface", "orders_in"), ("outcome", outcome)];
        value(&scrape(&daemon), "spoolgate_attempts_total", &labels).unwrap()
    };
    for outcome in ["done", "failed", "retry", "crashed", "timeout"] {
        daemon
            .upload_text(&order("1"), &format!("?RefName={outcome}"))
            .job();
        daemon.wait(outcome, || attempts(outcome) == 1.0);
    }
    assert_eq!(attempts("cancelled"), 0.0);
    let said = |name: &str, labels: &[(&str, &str)]| value(&scrape(&daemon), name, labels);
    let timed = "spoolgate_attempt_duration_seconds_count";
    assert_eq!(said(timed, &[]), Some(5.0));
    let waited = "spoolgate_job_wait_seconds_count";
    assert_eq!(said(waited, &[("interface", "orders_in")]), Some(5.0));
    assert_eq!(said(waited, &[("interface", "items_in")]), Some(0.0));
    let deferred = [("interface", "orders_in"), ("place", "deferred")];
    daemon.wait("they are deferred", || {
        said("spoolgate_jobs", &deferred) == Some(3.0)
    });
    assert!(said("spoolgate_journal_records_total", &[]).unwrap() >= 10.0);
    let flushes = said("spoolgate_journal_flush_duration_seconds_count", &[]);
    assert!(flushes.unwrap() >= 5.0);
}

#[test]
fn what_becomes_of_uploads_is_counted() {
    let daemon = Daemon::init();
    let lister = daemon.add_user("lister", &["orders_in=list"]);
    let mut daemon = daemon;
    daemon.configure(|text| text + "\n[limits]\nqueue_jobs_max = 1\n");
    daemon.serve();
    let uploads = |interface: &str, outcome: &str| {
        let labels = [("interface", interface), ("outcome", outcome)];
        value(&scrape(&daemon), "spoolgate_uploads_total", &labels).unwrap()
    };
    let key = ["-H", "Idempotency-Key: one", "--data-binary"];
    let document = order("1");
    let send = |interface: &str| {
        let path = format!("/xml/upload?Interfacename={interface}");
        daemon
            .curl(&[&key[..], &[&document, &path]].concat())
            .status
    };
    assert_eq!(send("orders_in"), 201);
    daemon.wait("it is counted", || uploads("orders_in", "accepted") == 1.0);
    assert_eq!(send("orders_in"), 201);
    daemon.wait("it is counted", || uploads("orders_in", "replayed") == 1.0);
    assert_eq!(daemon.upload_text("<ListOfOrders/>", "").status, 400);
    daemon.wait("it is counted", || uploads("orders_in", "refused") == 1.0);
    assert_eq!(daemon.upload_text("<Nothing/>", "").status, 400);
    daemon.wait("it is counted", || uploads("", "refused") == 1.0);
    let denied = [
        "--data-binary",
        "<a/>",
        "/xml/upload?Interfacename=orders_in",
    ];
    assert_eq!(daemon.curl_as(&lister, &denied).status, 403);
    assert_eq!(uploads("orders_in", "denied"), 1.0);
    assert_eq!(send("made_up"), 400);
    assert_eq!(uploads("", "denied"), 1.0);
    let said = |name: &str| value(&scrape(&daemon), name, &[]).unwrap();
    // Those that had a whole body.
    assert_eq!(said("spoolgate_upload_duration_seconds_count"), 4.0);
    let bytes = 2 * document.len() + "<ListOfOrders/><Nothing/>".len();
    assert_eq!(said("spoolgate_upload_bytes_total"), bytes as f64);
    assert_eq!(said("spoolgate_validation_duration_seconds_count"), 3.0);
    let check = ["--data-binary", &document, "/xml/validate"];
    assert_eq!(daemon.curl(&check).status, 200);
    assert_eq!(said("spoolgate_validation_duration_seconds_count"), 4.0);
    assert_eq!(said("spoolgate_upload_bytes_total"), bytes as f64);
}

#[test]
fn a_directory_that_is_replaced_is_counted() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::start();
    let rescans = || {
        let labels = [("reason", "replaced")];
        value(&scrape(&daemon), "spoolgate_watch_rescans_total", &labels).unwrap()
    };
    assert_eq!(rescans(), 0.0);
    let queue = daemon.spool("queue/orders_out");
    fs::rename(&queue, daemon.dir().join("away")).unwrap();
    daemon.wait("it is seen", || rescans() >= 1.0);
}

/// With `metrics.series_max`.
#[test]
fn beyond_the_bound_interfaces_are_not_told_apart() {
    let daemon = Daemon::start_with(|text| text + "\n[metrics]\nseries_max = 10\n");
    daemon.drop_in("orders_out", "one.xml", order("1"));
    let text = || scrape(&daemon);
    daemon.wait("it is counted", || {
        value(
            &text(),
            "spoolgate_jobs",
            &[("interface", ""), ("place", "queue")],
        ) == Some(1.0)
    });
    assert!(text().contains("metrics.series_max allows"));
    assert!(!text().contains("orders_out"));
}

#[test]
fn a_reader_of_openmetrics_reads_it() {
    let program = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families\n\
        print(len(list(text_string_to_metric_families(sys.stdin.read()))))";
    let known = Command::new("/usr/bin/python3")
        .args(["-c", "import prometheus_client"])
        .output();
    if !known.is_ok_and(|known| known.status.success()) {
        return lacks("python3-prometheus-client");
    }
    let daemon = busy();
    let mut reader = Command::new("/usr/bin/python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = scrape(&daemon);
    let mut input = reader.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let read = reader.wait_with_output().unwrap();
    assert!(read.status.success(), "{text}");
    let families: usize = String::from_utf8_lossy(&read.stdout)
        .trim()
        .parse()
        .unwrap();
    assert_eq!(families, metrics(&text).len());
}

/// A test that cannot be made without a package of Debian is skipped, but not where all is checked.
pub(crate) fn lacks(package: &str) {
    let must = std::env::var_os("CI").is_some();
    assert!(!must, "{package} is not installed");
    eprintln!("skipped: apt-get install {package}");
}

pub(crate) fn now_s() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}
