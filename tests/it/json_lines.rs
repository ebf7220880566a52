//! Every command that has `--json` prints one object a line, with moments by RFC 3339.

use crate::harness::{Daemon, order, program, shell, with_keys};
use serde_json::Value;
use std::{collections::BTreeSet, fs};

/// Those that have the option, by the manual page of each.
fn commands_with_json(daemon: &Daemon) -> BTreeSet<String> {
    let dir = daemon.dir().join("man");
    let made = program().arg("man").arg(&dir).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let mut found = BTreeSet::new();
    for page in fs::read_dir(dir.join("man1")).unwrap() {
        let page = page.unwrap();
        let text = fs::read_to_string(page.path()).unwrap();
        if text.contains("\\-\\-json") {
            let name = page.file_name().into_string().unwrap();
            let name = name.strip_prefix("spoolgate-").unwrap();
            found.insert(name.strip_suffix(".1").unwrap().to_owned());
        }
    }
    found
}

/// Is it written as a moment, and none by RFC 3339 in UTC?
fn is_odd_moment(key: &str, value: &Value) -> bool {
    let is_named_so = [
        "at", "since", "until", "due", "next", "oldest", "first", "last", "received",
    ]
    .iter()
    .any(|name| key == *name || key.ends_with(&format!("_{name}")));
    match value {
        // Of the Unix epoch, in milliseconds.
        Value::Number(number) => number.as_i64().is_some_and(|n| n > 1_000_000_000_000),
        Value::String(text) => is_named_so && text.parse::<jiff::Timestamp>().is_err(),
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Object(_) => false,
    }
}

fn look(command: &str, key: &str, value: &Value) {
    assert!(!is_odd_moment(key, value), "{command}: {key}: {value}");
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(key, value)| look(command, key, value)),
        Value::Array(all) => all.iter().for_each(|value| look(command, key, value)),
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn each_command_prints_one_object_a_line() {
    let keys = shell("[ -e good ] || exit 1", "");
    let daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", &keys));
    let failed = daemon.upload_text(&order("1"), "").job();
    daemon.wait_for_place(&failed, "joberrors");
    daemon.drop_in("orders_out", "one.xml", order("2"));
    let document = daemon.scratch("order.xml", order("3"));
    let (document, to) = (document.to_str().unwrap(), daemon.dir().join("in"));
    let cacert = daemon.dir().join("certs/cert.pem");
    let login = format!("admin:{}", daemon.password);
    let partner = [
        "--url",
        &daemon.url,
        "--user",
        &login,
        "--cacert",
        cacert.to_str().unwrap(),
    ];
    let new = daemon.dir().join("new");
    let own: [(&str, Vec<&str>); 30] = [
        ("user-add", vec!["shop", "--right", "orders_in=upload"]),
        ("user-grant", vec!["shop", "--right", "orders_in=list"]),
        ("user-revoke", vec!["shop", "--right", "orders_in=list"]),
        ("user-passwd", vec!["shop"]),
        ("user-token", vec!["admin"]),
        ("user-api-key", vec!["admin"]),
        ("user-list", vec![]),
        ("user-rm", vec!["shop"]),
        ("hold", vec!["orders_in", "persons_in", "--until", "2h"]),
        ("check", vec![]),
        ("status", vec![]),
        ("ls", vec!["queue", "joberrors", "bak"]),
        ("log", vec![&failed]),
        ("errors", vec![]),
        ("shape", vec!["--place", "queue"]),
        ("why", vec![&failed]),
        ("fsck", vec![]),
        ("release", vec!["--all"]),
        ("requeue", vec![&failed, "--dry-run"]),
        ("rm", vec![&failed]),
        ("cancel", vec!["--submitter", "nobody"]),
        ("forget", vec!["nobody", "--yes"]),
        ("schedule-ls", vec!["--all"]),
        ("schedule-next", vec!["0 0 6 * * ?"]),
        ("audit-ls", vec![]),
        ("audit-verify", vec![]),
        ("events-ls", vec![]),
        ("events-redeliver", vec!["--all"]),
        ("expect-ls", vec![]),
        ("reload", vec![]),
    ];
    let mut seen = BTreeSet::new();
    let mut see = |command: &str, said: std::process::Output, is_told: bool| {
        seen.insert(command.to_owned());
        let lines = String::from_utf8(said.stdout).unwrap();
        let errors = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "{command}: {errors}");
        assert_eq!(is_told, !lines.is_empty(), "{command}: {lines}{errors}");
        for line in lines.lines() {
            let value: Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("{command}: {e}: {line}"));
            assert!(value.is_object(), "{command}: {line}");
            look(command, "", &value);
        }
    };
    for (command, more) in own {
        let words: Vec<&str> = command.splitn(2, '-').collect();
        let arguments = [&words[..], &more, &["--json"]].concat();
        let silent = ["cancel", "events-ls", "expect-ls", "fsck", "schedule-ls"];
        let says_nothing = silent.contains(&command);
        see(command, daemon.spoolgate(&arguments), !says_nothing);
    }
    for (command, more) in [
        ("push", vec![document]),
        ("validate", vec!["--interface", "orders_in", document]),
        (
            "poll",
            vec!["-i", "orders_out", "--once", "--to", to.to_str().unwrap()],
        ),
    ] {
        let mut run = program();
        run.arg(command).args(more).arg("--json");
        match command {
            "validate" => run.arg("--config").arg(daemon.config()),
            _ => run.args(partner),
        };
        see(command, run.output().unwrap(), true);
    }
    let made = program()
        .args(["init", "--json"])
        .arg(&new)
        .output()
        .unwrap();
    see("init", made, true);
    // Of schedules there is none here; what is done to them is told as what is done to interfaces.
    seen.extend(["schedule-show", "schedule-reset", "schedule-rm"].map(str::to_owned));
    // And no database: what is said of one is looked at with one.
    seen.extend(["nodes", "store-check", "store-migrate"].map(str::to_owned));
    assert_eq!(seen, commands_with_json(&daemon));
}
