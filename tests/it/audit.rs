//! What operators and administrators did is recorded before it is done, and changes of that record are found.

use crate::harness::{Daemon, day, has_job_files, order, shell, with_keys};
use serde_json::Value;
use std::fs;

/// The acts that the audit has, oldest first.
fn acts(daemon: &Daemon, more: &[&str]) -> Vec<Value> {
    let listed = daemon.operator(&[&["audit", "ls", "--json"], more].concat());
    let lines = listed.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The same without that of `init`, which is recorded in the spool, also where jobs are in a database.
fn acts_since_init(daemon: &Daemon) -> Vec<Value> {
    let mut all = acts(daemon, &[]);
    if has_job_files() {
        let init = all.remove(0);
        assert_eq!(
            (&init["users"][0], &init["with"]),
            (&"admin".into(), &"--role operator".into())
        );
    }
    all
}

/// Of each act its name and its outcome.
fn told(acts: &[Value]) -> Vec<(&str, &str)> {
    let text = |act: &'_ Value, key: &str| -> &'static str {
        act[key].as_str().map_or("", |text| text.to_owned().leak())
    };
    acts.iter()
        .map(|act| (text(act, "act"), text(act, "outcome")))
        .collect()
}

/// The hash that `status` shows.
fn newest(daemon: &Daemon) -> String {
    let status = daemon.operator(&["status"]);
    let line = status
        .lines()
        .find(|line| line.starts_with("audit: record "));
    let hash = line
        .unwrap_or_else(|| panic!("{status}"))
        .rsplit(' ')
        .next();
    hash.unwrap().to_owned()
}

#[test]
fn every_act_is_recorded_with_its_outcome_also_across_crashes() {
    let mut daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", &shell("exit 1", "")));
    let job = daemon.upload_text(&order("1"), "").job();
    daemon.wait_for_place(&job, "joberrors");
    daemon.operator(&["hold", "orders_in", "--reason", "database away"]);
    daemon.operator(&["requeue", &job]);
    daemon.kill();
    // Without a service, on the spool itself.
    assert!(!daemon.spoolgate(&["hold", "nowhere"]).status.success());
    daemon.operator(&["release", "orders_in"]);
    daemon.serve();
    daemon.wait_for_place(&job, "joberrors");
    daemon.operator(&["rm", &job]);
    let all = acts_since_init(&daemon);
    let expected = [
        ("hold", "done"),
        ("requeue", "done"),
        ("hold", "refused"),
        ("release", "done"),
        ("rm", "done"),
    ];
    assert_eq!(told(&all), expected);
    let hold = &all[0];
    assert_eq!(hold["why"], "database away");
    assert_eq!(
        (&hold["interface"], &hold["from"]),
        (&"orders_in".into(), &"control socket".into())
    );
    let who = hold["by"].as_str().unwrap().to_owned();
    assert_eq!(all[1]["jobs"], Value::from(vec![job.clone()]));
    assert_eq!(all[1]["said"], format!("queue/orders_in/{job}"));
    assert_eq!(all[3]["from"], "command");
    let by_who = acts(&daemon, &["--by", &who]).len();
    assert_eq!(by_who, acts(&daemon, &[]).len());
    assert!(acts(&daemon, &["--by", "nobody"]).is_empty());
    assert!(acts(&daemon, &["--since", "2999-01-01"]).is_empty());
    let text = daemon.operator(&["audit", "ls"]);
    assert!(
        text.contains("hold orders_in (database away)  done: held"),
        "{text}"
    );
    daemon.operator(&["audit", "verify", "--from", &newest(&daemon)]);
    assert!(
        daemon
            .operator(&["audit", "verify"])
            .contains(&format!("{} records fit", 2 * by_who))
    );
    assert!(
        daemon.log().contains("newest record of the audit"),
        "{}",
        daemon.log()
    );
}

#[test]
fn what_administrators_do_is_recorded_with_and_without_a_service() {
    let mut daemon = Daemon::start();
    daemon.operator(&["user", "add", "shop", "--right", "orders_in=upload"]);
    assert!(!daemon.spoolgate(&["user", "add", "shop"]).status.success());
    daemon.operator(&["user", "token", "shop", "--hours", "2"]);
    daemon.operator(&["user", "api-key", "shop"]);
    daemon.stop();
    daemon.operator(&["user", "passwd", "shop"]);
    daemon.operator(&["user", "rm", "shop"]);
    assert!(!daemon.spoolgate(&["user", "rm", "shop"]).status.success());
    let all = acts_since_init(&daemon);
    let expected = [
        ("user add", "done"),
        ("user add", "refused"),
        ("user token", "done"),
        ("user api-key", "done"),
        ("user passwd", "done"),
        ("user rm", "done"),
        ("user rm", "refused"),
    ];
    assert_eq!(told(&all), expected);
    assert_eq!(all[0]["users"], Value::from(vec!["shop"]));
    assert_eq!(all[0]["with"], "--right orders_in=upload");
    assert_eq!(
        (&all[0]["from"], &all[5]["from"]),
        (&"control socket".into(), &"command".into())
    );
    assert_eq!(all[6]["said"], "there is no user `shop`");
    daemon.operator(&["audit", "verify"]);
}

#[test]
fn a_copy_verifies_elsewhere_and_a_change_is_named() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::start();
    for reason in ["one", "two", "three"] {
        daemon.operator(&["hold", "orders_in", "--reason", reason]);
    }
    let noted = newest(&daemon);
    let source = daemon.spool("audit");
    let copy = tempfile::tempdir().unwrap();
    let entries = fs::read_dir(&source).unwrap().map(|entry| entry.unwrap());
    for entry in entries {
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    daemon.operator(&["release", "orders_in"]);
    let dir = copy.path().to_str().unwrap();
    let verify = |more: &[&str]| {
        let arguments = [&["audit", "verify", "--dir", dir], more].concat();
        let output = std::process::Command::new(crate::harness::PROGRAM);
        let output = { output }.args(arguments).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(verify(&[]), (Some(0), String::new()));
    assert_eq!(verify(&["--from", &noted]), (Some(0), String::new()));
    let path = copy.path().join(format!("{}.jsonl", day(&stamp(&daemon))));
    let text = fs::read_to_string(&path).unwrap();
    // The last act, which nothing comes after: only a hash that was noted finds that it is gone.
    let without = text.trim_end().rsplit_once("\n{").unwrap().0.to_owned() + "\n";
    fs::write(&path, &without).unwrap();
    assert_eq!(verify(&[]), (Some(0), String::new()));
    let (code, said) = verify(&["--from", &noted[..13]]);
    assert!(
        code == Some(1) && said.contains("no record has a hash"),
        "{said}"
    );
    fs::write(&path, text.replace("two", "zwo")).unwrap();
    let (code, said) = verify(&[]);
    let line = text.lines().position(|line| line.contains("two")).unwrap() + 2;
    let named = format!("{}:{line}: ", path.display());
    assert!(code == Some(1) && said.contains(&named), "{said}");
    daemon.operator(&["audit", "verify"]);
}

/// The name of a job that comes now.
fn stamp(daemon: &Daemon) -> String {
    daemon.upload_text(&order("1"), "").job()
}

#[test]
fn a_submitter_is_forgotten_and_the_audit_keeps_that_it_was_done() {
    let mut daemon = Daemon::start();
    let login = daemon.add_user("shop", &["orders_in=upload,list"]);
    let upload = |id: &str| {
        let document = daemon.scratch("order.xml", order(id));
        let data = format!("@{}", document.display());
        let path = format!("/xml/upload?RefName=secret-{id}");
        daemon
            .curl_as(&login, &["--data-binary", &data, &path])
            .job()
    };
    let (first, second) = (upload("1"), upload("2"));
    let other = daemon.upload_text(&order("3"), "?RefName=other").job();
    for job in [&first, &second, &other] {
        daemon.wait_for_place(job, "bak/orders_in");
    }
    let there = daemon.operator(&["forget", "shop", "--dry-run"]);
    assert!(there.starts_with("2 documents, 2 logs"), "{there}");
    let refused = daemon.spoolgate(&["forget", "shop"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && said.contains("--yes"),
        "{said}"
    );
    assert_eq!(daemon.place(&first), "bak/orders_in");
    daemon.operator(&["forget", "shop", "--yes"]);
    let gone = |daemon: &Daemon| {
        for job in [&first, &second] {
            let files = ["bak", "joblog", "joberrors", "queue"]
                .map(|dir| daemon.files(dir))
                .concat();
            assert!(
                !files.iter().any(|path| path.contains(job.as_str())),
                "{files:?}"
            );
        }
        if !has_job_files() {
            return;
        }
        let records = daemon.spool("records").join(day(&first));
        for file in ["accepted.jsonl", "ended.jsonl"] {
            let text = fs::read_to_string(records.join(file)).unwrap();
            assert!(!text.contains("secret") && !text.contains("shop"), "{text}");
            assert!(text.contains(&other), "{text}");
        }
    };
    gone(&daemon);
    daemon.kill();
    daemon.serve();
    gone(&daemon);
    assert_eq!(daemon.place(&other), "bak/orders_in");
    let all = acts(&daemon, &[]);
    let forget = all.iter().find(|act| act["act"] == "forget").unwrap();
    assert_eq!(
        (&forget["users"][0], &forget["outcome"]),
        (&"shop".into(), &"done".into())
    );
    // Without a service as well, and of one who has nothing.
    daemon.stop();
    let removed = daemon.operator(&["forget", "shop", "--yes"]);
    assert!(removed.contains("of 0 jobs"), "{removed}");
    daemon.operator(&["audit", "verify"]);
}
