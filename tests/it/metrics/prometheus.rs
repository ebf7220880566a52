//! Alerts and dashboard with the real ones: Debian's `prometheus` scrapes servers and answers
//! queries, and each alert comes when its cause is made, and not under a good load.

use super::{REPOSITORY, documented, lacks};
use crate::harness::{Daemon, PATIENCE, marked, order, shell, wait_for, with_keys};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const ALERTS: &str = "contrib/prometheus/alerts.yml";
const DASHBOARD: &str = "contrib/grafana/spoolgate.json";

fn shipped(path: &str) -> String {
    fs::read_to_string(Path::new(REPOSITORY).join(path)).unwrap()
}

fn is_there(program: &str) -> bool {
    let asked = Command::new(program).arg("--version").output();
    asked.is_ok_and(|asked| asked.status.success())
}

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    words
        .filter(|word| word.starts_with("spoolgate_"))
        .collect()
}

/// The page of operations has what is scraped, as another test sees.
#[test]
fn alerts_and_dashboard_name_metrics_that_are_there() {
    let mut known = BTreeSet::new();
    for (name, (kind, _)) in documented() {
        let suffixes: &[&str] = match kind.as_str() {
            "histogram" => &["_bucket", "_count", "_sum"],
            _ => &[""],
        };
        known.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
    }
    for path in [ALERTS, "contrib/prometheus/alerts_test.yml", DASHBOARD] {
        let text = shipped(path);
        let unknown: Vec<&str> = (named(&text).into_iter())
            .filter(|name| !known.contains(*name))
            .collect();
        assert!(unknown.is_empty(), "{path} names {unknown:?}");
        assert!(named(&text).len() >= 7, "{path}");
    }
}

#[test]
fn promtool_finds_the_rules_in_order() {
    if !is_there("promtool") {
        return lacks("prometheus");
    }
    for arguments in [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ] {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir(Path::new(REPOSITORY).join("contrib/prometheus"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

/// A `prometheus` of our own on a free port, which ends with the test.
struct Prometheus {
    dir: TempDir,
    child: Child,
    url: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the log of prometheus\n{}", self.log());
        }
    }
}

impl Prometheus {
    /// It scrapes these every second, and evaluates `rules` as often.
    fn start(targets: &[&Daemon], rules: &str) -> Self {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("rules.yml"), rules).unwrap();
        let targets: Vec<&str> = targets.iter().map(|daemon| instance(daemon)).collect();
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yml]\n\
             scrape_configs: [{{job_name: spoolgate, static_configs: [{{targets: {targets:?}}}]}}]\n"
        );
        let path = dir.path().join("prometheus.yml");
        fs::write(&path, config).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = marked("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut prometheus = Self {
            dir,
            child,
            url: String::new(),
        };
        let address = || {
            let log = prometheus.log();
            let line = log.lines().find(|line| line.contains("Listening on"))?;
            let (_, rest) = line.split_once("address=")?;
            rest.split_whitespace().next().map(str::to_owned)
        };
        wait_for("it listens", || address().is_some(), || prometheus.log());
        prometheus.url = format!("http://{}", address().unwrap());
        prometheus
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// What a query is answered; `None`: it is not understood, or not yet.
    fn ask(&self, query: &str) -> Option<serde_json::Value> {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "20", "--data-urlencode"])
            .arg(format!("query={query}"))
            .arg(format!("{}/api/v1/query", self.url))
            .output()
            .unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        (answer["status"] == "success").then(|| answer["data"]["result"].clone())
    }

    /// The first value that a query is answered.
    fn value(&self, query: &str) -> Option<f64> {
        let result = self.ask(query)?;
        result[0]["value"][1].as_str()?.parse().ok()
    }

    fn wait(&self, what: &str, condition: impl Fn() -> bool) {
        wait_for(what, condition, || self.log());
    }
}

/// A server's ops port, as the label `instance` has it.
fn instance(daemon: &Daemon) -> &str {
    daemon.ops.strip_prefix("http://").unwrap()
}

/// The shipped alerts, whose causes need to be there for seconds only.
fn hasty_alerts() -> String {
    let text = shipped(ALERTS);
    let hasty = text.lines().map(|line| match line.trim_start() {
        rest if rest.starts_with("for: ") => line.replace(rest, "for: 1s"),
        _ => line.replace(") > 3600", ") > 30"),
    });
    let hasty: Vec<String> = hasty.collect();
    let hasty = hasty.join("\n");
    assert!(hasty.contains(") > 30"));
    hasty
}

/// The names of the shipped alerts.
fn alerts() -> BTreeSet<String> {
    let text = shipped(ALERTS);
    let names = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

/// A server on which there is a cause for every alert but those of a service that is not well.
fn ailing() -> Daemon {
    let mut daemon = Daemon::init();
    daemon.configure(|text| {
        // Its receiver takes nothing, and there is room for no more than one event.
        with_keys(&text, "orders_in", &shell("exit 1", ""))
            + "\n[limits]\nfree_bytes_min = 900000000000000\nevents_bytes_max = 500\n\
               [[events]]\nname = \"erp\"\ncommand = [\"false\"]\non = [\"job.failed\"]\n"
    });
    let names = ["localhost".into(), "127.0.0.1".into()];
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(10 * 24);
    let end = end.to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
    let [month, day] = [end.month(), end.day()].map(i8::cast_unsigned);
    params.not_after = rcgen::date_time_ymd(end.year().into(), month, day);
    let pair = rcgen::KeyPair::generate().unwrap();
    let key = daemon.dir().join("certs/key.pem");
    let certificate = params.self_signed(&pair).unwrap().pem();
    fs::write(daemon.dir().join("certs/cert.pem"), certificate).unwrap();
    fs::write(&key, pair.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    daemon.serve();
    daemon.operator(&["hold", "items_in", "--reason", "rehearsal"]);
    // Nobody fetches it.
    daemon.drop_in("orders_out", "one.xml", order("1"));
    expect_soon(&daemon);
    daemon
}

/// Expects a document that does not come, by the next whole minute that is not too near: a deadline counts only when it
/// is later than the interface.
fn expect_soon(daemon: &Daemon) {
    let next = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(70);
    let by = next.strftime("%H:%M");
    let expected = format!(
        "\n[[expect]]\ninterface = \"orders_in\"\nsubmitter = \"shop\"\nby = \"{by}\"\n\
         time_zone = \"UTC\"\n"
    );
    let text = fs::read_to_string(daemon.config()).unwrap();
    fs::write(daemon.config(), text + &expected).unwrap();
    daemon.operator(&["reload"]);
}

/// Drops a document whose processor fails.
fn fail_one(daemon: &Daemon, n: u32) {
    let path = daemon.scratch("dropped", order("1"));
    fs::rename(path, daemon.spool(&format!("queue/orders_in/{n}.xml"))).unwrap();
}

/// One upload, its processing, a job that is fetched, and a look at the queue.
fn work_well(daemon: &Daemon, n: u32) {
    daemon.upload_text(&order("1"), "").job();
    let job = daemon.drop_in("orders_out", &format!("{n}.xml"), order("2"));
    let path = format!("/xml/job?Interfacename=orders_out&Jobname={job}");
    assert_eq!(daemon.curl(&[&path]).status, 200);
}

#[test]
fn each_alert_comes_with_its_cause_and_none_under_a_good_load() {
    if !is_there("prometheus") {
        return lacks("prometheus");
    }
    let (good, mut bad) = (Daemon::start(), ailing());
    // A busy machine may keep the good one from an answer for a second, not for as long as is shipped.
    let watching = Prometheus::start(&[&good], &shipped(ALERTS));
    let prometheus = Prometheus::start(&[&bad], &hasty_alerts());
    for prometheus in [&watching, &prometheus] {
        let up = || prometheus.value("count(up == 1)") == Some(1.0);
        prometheus.wait("it is scraped", up);
    }
    let ill = instance(&bad).to_owned();
    let fires = |alert: &str| {
        let labels = format!("alertname=\"{alert}\", alertstate=\"firing\", instance=\"{ill}\"");
        prometheus.value(&format!("ALERTS{{{labels}}}")).is_some()
    };
    let mut left = alerts();
    for ill in ["SpoolgateUnhealthy", "SpoolgateDown"] {
        assert!(!fires(ill), "{ill}");
        left.remove(ill);
    }
    let seconds = std::env::var("SPOOLGATE_REHEARSAL_S").map_or(5, |text| text.parse().unwrap());
    let begun = Instant::now();
    let mut n = 0;
    while !left.is_empty() || begun.elapsed() < Duration::from_secs(seconds) {
        // A deadline is up to a minute away.
        let is_late = begun.elapsed() > 2 * PATIENCE + Duration::from_secs(seconds);
        assert!(!is_late, "these do not come: {left:?}");
        work_well(&good, n);
        if n < 40 {
            fail_one(&bad, n);
        }
        left.retain(|alert| !fires(alert));
        n += 1;
    }
    let tmp = bad.spool("tmp");
    fs::rename(&tmp, bad.spool("elsewhere")).unwrap();
    prometheus.wait("it is unhealthy", || fires("SpoolgateUnhealthy"));
    fs::rename(bad.spool("elsewhere"), &tmp).unwrap();
    bad.operator(&["release", "items_in"]);
    prometheus.wait("it is well again", || {
        !fires("SpoolgateUnhealthy") && !fires("SpoolgateHeld")
    });
    bad.kill();
    prometheus.wait("it is down", || fires("SpoolgateDown"));
    watching.wait("no cause is left", || {
        watching.ask("ALERTS") == Some(serde_json::json!([]))
    });
    let ever = watching.ask("max_over_time(ALERTS{alertstate=\"firing\"}[1d])");
    assert_eq!(ever, Some(serde_json::json!([])), "there was no cause");
    let query = "sum(spoolgate_uploads_total{outcome=\"accepted\"})";
    watching.wait("all uploads are known", || {
        watching.value(query) == Some(f64::from(n))
    });
}

/// The expressions of the dashboard, with all that can be chosen.
fn expressions(of: &serde_json::Value, found: &mut Vec<String>) {
    match of {
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                match member.as_str().filter(|_| name == "expr") {
                    Some(text) => found.push(text.to_owned()),
                    None => expressions(member, found),
                }
            }
        }
        serde_json::Value::Array(members) => {
            members.iter().for_each(|member| expressions(member, found));
        }
        serde_json::Value::Bool(_)
        | serde_json::Value::Null
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

#[test]
fn the_dashboard_shows_something_everywhere() {
    if !is_there("prometheus") {
        return lacks("prometheus");
    }
    let daemon = super::busy();
    let prometheus = Prometheus::start(&[&daemon], "groups: []");
    let mut all = Vec::new();
    let dashboard = serde_json::from_str(&shipped(DASHBOARD)).unwrap();
    expressions(&dashboard, &mut all);
    assert!(all.len() > 20, "{all:?}");
    for text in all {
        let query = ["$instance", "$tenant", "$interface"]
            .iter()
            .fold(text, |text, name| text.replace(name, ".*"));
        let query = query.replace("$__rate_interval", "1m");
        prometheus.wait(&query, || {
            let result = prometheus.ask(&query);
            result.is_some_and(|result| result.as_array().is_some_and(|all| !all.is_empty()))
        });
    }
}
