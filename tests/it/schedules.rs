//! Saved schedules: one job for each moment, also when the service is killed at any of them; what
//! clients and operators see of it, and what they can do.

use crate::{
    harness::{Daemon, has_job_files, shell},
    metrics::{scrape, value},
    page::Browser,
};
use jiff::{Timestamp, ToSpan};
use std::{collections::BTreeMap, fs, process::Output};

/// An interface for JSON whose command notes its job and the moment, one line for a run.
fn nightly(keys: &str) -> impl FnOnce(String) -> String {
    let script = "echo \"$SPOOLGATE_JOB $(cat \"$SPOOLGATE_PARAMS\")\" >> ran; \
                  echo '{\"rows\": 3}' > \"$SPOOLGATE_RESULTS/result.json\"";
    let interface = format!(
        "\n[interfaces.nightly]\ndirection = \"in\"\nschema = \"\"\n{}\n",
        shell(script, "")
    );
    let keys = format!("[server]\n{keys}");
    move |text| text.replacen("[server]", &keys, 1) + &interface
}

/// Starts a process with these members besides its name; gives what it was answered.
fn start(daemon: &Daemon, members: &str) -> (u16, serde_json::Value) {
    let body = format!("{{\"name\": \"nightly\", {members}}}");
    let answer = daemon.curl(&["-d", &body, "/scheduler/connector-api/process/start"]);
    let json = serde_json::from_slice(&answer.body);
    (
        answer.status,
        json.unwrap_or_else(|_| panic!("{}", answer.text())),
    )
}

/// A process that is saved; gives its `robustaSpid`.
fn saved(daemon: &Daemon, members: &str) -> String {
    let (status, answer) = start(daemon, members);
    assert_eq!(
        (status, answer["message"].as_str()),
        (200, Some("Process saved"))
    );
    answer["robustaSpid"].as_str().unwrap().to_owned()
}

fn status(daemon: &Daemon, spid: &str) -> serde_json::Value {
    let path = format!("/scheduler/connector-API/process/status/{spid}");
    let answer = daemon.curl(&[&path]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// The schedules, as operators see them.
fn listed(daemon: &Daemon) -> Vec<serde_json::Value> {
    daemon.objects(&["schedule", "ls", "--all"])
}

/// The only schedule's id.
fn only(daemon: &Daemon) -> String {
    let all = listed(daemon);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0]["schedule"].as_str().unwrap().to_owned()
}

/// The jobs that ran for each moment: a run that was cut off is there again, under its one name.
fn ran(daemon: &Daemon) -> BTreeMap<Timestamp, Vec<String>> {
    let mut moments: BTreeMap<Timestamp, Vec<String>> = BTreeMap::new();
    for line in daemon.text("ran").lines() {
        // The last line may be on its way.
        let Some((job, params)) = line.split_once(' ') else {
            continue;
        };
        let Ok(params) = serde_json::from_str::<serde_json::Value>(params) else {
            continue;
        };
        let jobs = moments.entry(params["moment"].as_str().unwrap().parse().unwrap());
        let jobs = jobs.or_default();
        if !jobs.iter().any(|known| known == job) {
            jobs.push(job.to_owned());
        }
    }
    moments
}

/// Waits until all jobs that there are have ended.
fn settled(daemon: &Daemon) {
    daemon.wait("all jobs have ended", || {
        let left = ["queue/nightly", "work/nightly", "deferred/nightly"];
        left.iter().all(|dir| daemon.files(dir).is_empty())
    });
}

/// Every job had one moment, and every moment one job.
fn one_for_each(daemon: &Daemon) -> Vec<Timestamp> {
    let ran = ran(daemon);
    for (moment, jobs) in &ran {
        assert_eq!(jobs.len(), 1, "{moment} has {jobs:?}");
    }
    let n_jobs = daemon.files("bak/nightly").len();
    assert_eq!(n_jobs, ran.len(), "{ran:?}");
    ran.into_keys().collect()
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn each_moment_has_one_job_although_the_service_is_killed_again_and_again() {
    let mut daemon = Daemon::start_with(nightly("missed_schedules = \"each\""));
    let spid = saved(&daemon, "\"quartzDef\": \"* * * * * ?\"");
    for round in 1..=6 {
        daemon.wait("two more moments", || ran(&daemon).len() >= 2 * round);
        // At the next moment, as nearly as may be, or in its midst.
        let next = ran(&daemon).into_keys().next_back().unwrap() + 1.second();
        let at = next + (i64::try_from(round).unwrap() * 2 - 2).milliseconds();
        daemon.wait("the next moment", || Timestamp::now() >= at);
        daemon.kill();
        daemon.serve();
    }
    assert_eq!(
        status(&daemon, &spid)["status"].as_str().map(str::is_empty),
        Some(false)
    );
    let id = only(&daemon);
    daemon.operator(&["schedule", "rm", &id]);
    settled(&daemon);
    let moments = one_for_each(&daemon);
    assert!(moments.len() >= 12, "{moments:?}");
    for pair in moments.windows(2) {
        assert_eq!(pair[1].duration_since(pair[0]).as_secs(), 1, "{pair:?}");
    }
}

#[test]
fn moments_while_the_service_is_down_are_made_up_for_once() {
    let mut daemon = Daemon::start_with(nightly(""));
    saved(&daemon, "\"quartzDef\": \"* * * * * ?\"");
    daemon.wait("the first moments", || ran(&daemon).len() >= 2);
    daemon.stop();
    let last = ran(&daemon).into_keys().next_back().unwrap();
    let later = last + 4.seconds();
    daemon.wait("some moments are missed", || Timestamp::now() >= later);
    daemon.serve();
    let resumed = || {
        ran(&daemon)
            .keys()
            .filter(|moment| **moment >= later)
            .count()
            >= 3
    };
    daemon.wait("it goes on", resumed);
    let missed = value(&scrape(&daemon), "spoolgate_schedules_missed_total", &[]);
    assert_eq!(missed, Some(1.0));
    daemon.operator(&["schedule", "rm", &only(&daemon)]);
    settled(&daemon);
    let moments = one_for_each(&daemon);
    let gaps = moments
        .windows(2)
        .map(|pair| pair[1].duration_since(pair[0]).as_secs());
    let gaps: Vec<i64> = gaps.filter(|gap| *gap != 1).collect();
    assert_eq!(gaps.len(), 1, "{moments:?}");
    assert!(gaps[0] >= 3, "{moments:?}");
}

#[test]
fn clients_see_their_process_wait_and_succeed() {
    let mut daemon = Daemon::start_with(nightly(""));
    // Far enough for the test to come first.
    let spid = saved(
        &daemon,
        "\"quartzDef\": \"0 0 12 1 1 ? 2099\", \"values\": {\"a\": \"b\"}",
    );
    let shown = status(&daemon, &spid);
    assert_eq!(shown["status"], "WAITING");
    assert_eq!(
        shown["nextRun"].as_str().map(|text| &text[..19]),
        Some("2099-01-01T12:00:00")
    );
    // Saved is saved.
    daemon.kill();
    daemon.serve();
    assert_eq!(status(&daemon, &spid), shown);
    let periodic = saved(
        &daemon,
        "\"quartzDef\": \"0 0 12 1 1 ? 2099\", \"runImmediately\": \"Y\"",
    );
    daemon.wait("it has run", || {
        status(&daemon, &periodic)["status"] == "SUCCEEDED"
    });
    let shown = status(&daemon, &periodic);
    assert_eq!(shown["__out_rows"], 3);
    assert_eq!(shown["message"], "Your transaction has ended.");
    assert!(shown["nextRun"].is_string(), "{shown}");
    let once =
        "\"startDate\": \"2020-01-01 00:00:00\", \"runOnce\": \"Y\", \"runImmediately\": \"Y\"";
    let once = saved(&daemon, once);
    daemon.wait("it has run", || {
        status(&daemon, &once)["status"] == "SUCCEEDED"
    });
    assert!(status(&daemon, &once).get("nextRun").is_none());
    for (members, word) in [
        ("\"quartzDef\": \"0 0 12 ? * FRY\"", "quartzDef"),
        ("\"quartzDef\": \"0 0 12 ? * FRY\"", "character 12"),
        (
            "\"quartzDef\": \"0 0 12 ? * FR\", \"startDate\": \"2026-13-01 00:00:00\"",
            "startDate",
        ),
        (
            "\"quartzDef\": \"0 0 12 ? * FR\", \"timeZone\": \"Mars\"",
            "timeZone",
        ),
    ] {
        let (status, answer) = start(&daemon, members);
        assert_eq!(status, 400);
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains(word), "{message}");
    }
    let path = daemon.files("bak/nightly").remove(0);
    let body = daemon.operator(&["cat", path.rsplit('/').next().unwrap()]);
    assert!(
        body.starts_with("{\"name\": \"nightly\", \"quartzDef\""),
        "{body}"
    );
}

#[test]
fn operators_list_show_move_and_remove_schedules() {
    if !has_job_files() {
        return;
    }
    let mut daemon = Daemon::start_with(nightly("time_zone = \"Europe/Berlin\""));
    let spid = saved(&daemon, "\"quartzDef\": \"* * * * * ?\"");
    let id = only(&daemon);
    daemon.wait("it runs", || !ran(&daemon).is_empty());
    let shown = daemon.operator(&["schedule", "show", &id, "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["time_zone"], "Europe/Berlin");
    assert_eq!(shown["submitter"], "admin");
    assert!(shown["runs"].as_u64() >= Some(1), "{shown}");
    let listed_as = daemon.operator(&["schedule", "ls"]);
    assert!(
        listed_as.contains("* * * * * ? (Europe/Berlin)  every second"),
        "{listed_as}"
    );
    // Taken away by hand, it is gone at once.
    let (file, away) = (
        daemon.spool(&format!("schedules/{id}.json")),
        daemon.dir().join("away"),
    );
    fs::rename(&file, &away).unwrap();
    daemon.soon("the service has seen it", || {
        daemon.log().contains("the schedule was removed")
    });
    settled(&daemon);
    let n_jobs = one_for_each(&daemon).len();
    let path = format!("/scheduler/connector-api/process/status/{spid}");
    assert_eq!(daemon.curl(&[&path]).status, 404);
    let missing = daemon.spoolgate(&["schedule", "show", &id]);
    assert!(complaint(&missing).contains("no schedule"));
    let two_later = Timestamp::now() + 2.seconds();
    daemon.wait("two moments pass", || Timestamp::now() >= two_later);
    assert_eq!(one_for_each(&daemon).len(), n_jobs);
    // And back.
    fs::rename(&away, &file).unwrap();
    daemon.soon("it goes on", || ran(&daemon).len() > n_jobs + 1);
    // Without the service, too.
    daemon.kill();
    let text = daemon.operator(&["schedule", "rm", &format!("schedules/{id}.json")]);
    assert_eq!(text, format!("{id} removed\n"));
    assert!(complaint(&daemon.spoolgate(&["schedule", "rm", &id])).contains("no schedule"));
    assert_eq!(daemon.operator(&["schedule", "ls"]), "");
    // The start takes away what told it that the schedule is not to come back.
    daemon.serve();
    let left = daemon.files("schedules");
    assert!(left.is_empty(), "{left:?}");
    settled(&daemon);
    one_for_each(&daemon);
}

#[test]
fn operators_can_try_an_expression() {
    let daemon = Daemon::init();
    let next = |arguments: &[&str]| daemon.operator(&[&["schedule", "next"], arguments].concat());
    let after = ["--after", "2026-10-24T12:00:00Z", "-n", "2"];
    let utc = next(&[&["0 30 2 * * ?"], &after[..]].concat());
    assert_eq!(
        utc,
        "Sun 2026-10-25 02:30:00 +00:00\nMon 2026-10-26 02:30:00 +00:00\n"
    );
    let zone = ["--time-zone", "Europe/Berlin"];
    let berlin = next(&[&["0 30 2 * * ?"], &after[..], &zone].concat());
    assert_eq!(
        berlin,
        "Sun 2026-10-25 02:30:00 +02:00\nMon 2026-10-26 02:30:00 +01:00\n"
    );
    assert_eq!(next(&["0 0 0 30 2 ?"]), "never\n");
    let wrong = daemon.spoolgate(&["schedule", "next", "0 0 12 * * *"]);
    assert!(complaint(&wrong).contains("day of week, character 12"));
}

#[test]
fn the_page_shows_the_day_ahead() {
    let daemon = Daemon::start_with(nightly(""));
    let browser = Browser::operator(&daemon);
    assert!(
        browser
            .page("/ui/schedules")
            .contains(">Nothing is scheduled</h1>")
    );
    saved(&daemon, "\"quartzDef\": \"0 30 * * * ?\"");
    saved(&daemon, "\"quartzDef\": \"0 0 0 1 1 ? 2090\"");
    let page = browser.page("/ui/schedules");
    for shown in [
        "data-live>Next: nightly, <time data-age",
        "2 schedules run. Missed moments have one job together.",
        "aria-label=\"24 moments in the next 24 hours\"",
        "aria-label=\"0 moments in the next 24 hours\"",
        "<a href=\"/ui/jobs?interface=nightly\"><b>nightly</b></a> every hour from 00:30 to 23:30\
            <small><code>0 30 * * * ? (UTC)</code>, by admin</small>",
        "<b>nightly</b></a><small><code>0 0 0 1 1 ? 2090 (UTC)</code>, by admin</small>",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
}
