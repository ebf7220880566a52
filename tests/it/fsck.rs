//! `spoolgate fsck`: it finds what does not fit, and nothing while jobs move, nor after a crash.

use crate::harness::{Daemon, day, has_job_files, order, shell, with_keys};
use std::{fs, process::Output};

fn fsck(daemon: &Daemon) -> (Option<i32>, String) {
    let Output { status, stdout, .. } = daemon.spoolgate(&["fsck", "--json"]);
    (status.code(), String::from_utf8(stdout).unwrap())
}

/// A service whose orders fail twice before they are done, as fast as that goes.
fn with_restless_jobs() -> Daemon {
    let script = "test $SPOOLGATE_ATTEMPT -ge 3 || exit 75; echo made > $SPOOLGATE_RESULTS/r.txt";
    let keys = shell(script, "");
    let retry = "retry = { attempts = 5, initial_s = 0.02, factor = 1.0 }";
    Daemon::start_with(|text| with_keys(&text, "orders_in", &format!("{keys}\n{retry}")))
}

#[test]
fn nothing_is_found_while_jobs_move_nor_after_a_crash() {
    let mut daemon = with_restless_jobs();
    let all_fits = (Some(0), String::new());
    let mut last = String::new();
    for _ in 0..6 {
        for n in 0..10 {
            last = daemon.upload_text(&order(&n.to_string()), "").job();
        }
        assert_eq!(fsck(&daemon), all_fits);
    }
    for n in 0..5 {
        daemon.upload_text(&order(&n.to_string()), "").job();
    }
    daemon.kill();
    assert_eq!(fsck(&daemon), all_fits);
    daemon.serve();
    daemon.wait_for_place(&last, "bak/orders_in");
    assert_eq!(fsck(&daemon), all_fits);
    daemon.operator(&["rm", &last]);
    daemon.stop();
    assert_eq!(fsck(&daemon), all_fits);
}

#[test]
fn what_does_not_fit_is_told_with_where_it_lies() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::start();
    let job = daemon.upload_text(&order("1"), "").job();
    daemon.wait_for_place(&job, "bak/orders_in");
    daemon.operator(&["hold", "orders_in", "--reason", "fsck"]);
    let path = format!("bak/orders_in/{}/{job}", day(&job));
    let accepted = fs::read_to_string(daemon.spool(&path)).unwrap();
    fs::write(daemon.spool(&path), accepted.replace('1', "2")).unwrap();
    let record = fs::read_dir(daemon.spool("audit")).unwrap();
    let record = record.map(|entry| entry.unwrap().path()).next().unwrap();
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("fsck", "else")).unwrap();

    let (code, said) = fsck(&daemon);
    assert_eq!(code, Some(1));
    let objects: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(objects.len(), 2, "{said}");
    assert_eq!(
        (&objects[0]["flaw"], &objects[0]["job"]),
        (&"altered".into(), &job.clone().into())
    );
    assert_eq!(objects[0]["at"], serde_json::json!([path]));
    assert_eq!(objects[1]["flaw"], "audit");

    let said = daemon.spoolgate(&["fsck"]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(
        said.starts_with(&format!("altered    {path}: its ")),
        "{said}"
    );
    assert!(said.ends_with("1 jobs looked at, 2 flaws\n"), "{said}");
    fs::write(daemon.spool(&path), accepted).unwrap();
    fs::write(&record, text).unwrap();
    assert_eq!(fsck(&daemon), (Some(0), String::new()));
}

#[test]
fn what_cannot_be_looked_at_is_neither_right_nor_wrong() {
    let daemon = Daemon::init();
    let output = daemon.spoolgate(&["fsck", "--tenant", "nobody"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
