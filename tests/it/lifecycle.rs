//! From an upload to `bak/`, as each user sees it.

use crate::harness::{
    Daemon, PROGRAM, Watcher, day, document, has_job_files, marked, order, shell, wait_for,
    with_keys,
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
};

#[test]
fn an_upload_is_processed_and_everyone_sees_it() {
    let daemon = Daemon::start();
    let job = daemon
        .upload(&document("orders_in/states.valid.xml"), "?RefName=order-1")
        .job();
    assert!(job.ends_with("-order-1.xml"), "{job}");
    daemon.wait_for_place(&job, "bak/orders_in");
    assert!(daemon.has(&format!("bak/orders_in/{}/{job}", day(&job))));
    let sent = std::fs::read(document("orders_in/states.valid.xml")).unwrap();
    let log = daemon.curl(&[&format!("/xml/joblog?Jobname={job}")]);
    assert_eq!(log.status, 200);
    assert!(log.text().contains("Status=\"ok\""), "{}", log.text());
    assert!(daemon.operator(&["status", &job]).contains("bak/orders_in"));
    assert!(daemon.operator(&["log", &job]).contains(&job));
    assert_eq!(daemon.operator(&["cat", &job]).as_bytes(), sent);
}

#[test]
fn a_refused_document_is_kept_and_can_be_sent_on_by_hand() {
    if !has_job_files() {
        return;
    }
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
fn a_configuration_alone_is_enough_to_begin_with() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| {
        with_keys(
            &text,
            "orders_in",
            "schema = \"\"\nprocessor = { archive = true }",
        )
    });
    let users = daemon.dir().join("users.toml");
    for made in ["users.toml", "spool", "certs"] {
        let path = daemon.dir().join(made);
        let removed = match path.is_dir() {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        };
        removed.unwrap();
    }
    daemon.serve();
    assert_eq!(users.metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(daemon.upload_text(&order("1"), "").status, 401);
    daemon.soon("nobody may anything", || {
        let told = daemon.bare_curl(&[&format!("{}/readyz", daemon.ops)]);
        told.text().contains("no one in it")
    });
    let shop = daemon.add_user("shop", &["orders_in=upload"]);
    let upload = ["--data-binary", &order("1"), "/xml/upload"];
    let job = daemon.curl_as(&shop, &upload).job();
    daemon.wait("the job is processed", || {
        daemon.operator(&["status", &job]).contains("bak/orders_in")
    });
    // One that is there is left alone, also by the next start.
    let before = fs::read(&users).unwrap();
    daemon.stop();
    daemon.serve();
    assert_eq!(fs::read(&users).unwrap(), before);
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

#[test]
fn a_stop_starts_nothing_more_and_serves_until_the_last_command_has_ended() {
    let waits = "touch begun; while [ ! -e go ]; do sleep 0.05; done";
    let mut daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", &shell(waits, "")));
    let first = daemon.upload_text(&order("1"), "").job();
    daemon.wait("it runs", || daemon.dir().join("begun").exists());
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait("it stops", || daemon.log().contains("no more commands"));
    let second = daemon.upload_text(&order("2"), "").job();
    assert_eq!(daemon.place(&second), "queue/orders_in");
    assert!(daemon.operator(&["status"]).contains("service: running"));
    fs::write(daemon.dir().join("go"), "").unwrap();
    daemon.ended();
    assert!(daemon.has(&format!("queue/orders_in/{second}")));
    daemon.serve();
    assert_eq!(daemon.place(&first), "bak/orders_in");
    daemon.wait_for_place(&second, "bak/orders_in");
}

#[test]
fn what_a_cut_short_test_run_leaves_is_ended() {
    let watcher = Watcher::start(&format!("cut-short-{}", std::process::id()));
    // In another session, and without a descriptor of ours.
    let mut left = Command::new("setsid");
    left.args([
        "sh",
        "-c",
        "echo ready; exec >&-; while :; do sleep 60; done",
    ]);
    watcher.mark(left.stdin(Stdio::null()).stdout(Stdio::piped()));
    let mut left = left.spawn().unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(left.stdout.as_mut().unwrap(), &mut ready).unwrap();
    assert!(left.try_wait().unwrap().is_none());
    drop(watcher);
    let left = std::cell::RefCell::new(left);
    let ended = || left.borrow_mut().try_wait().unwrap().is_some();
    wait_for("its end", ended, String::new);
}

/// The processes whose parent this is, each with its state.
fn children(of: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let found = stats.filter_map(|stat| {
        let (pid, rest) = stat.split_once(" (")?;
        let mut fields = rest.rsplit_once(") ")?.1.split(' ');
        let (state, parent) = (fields.next()?, fields.next()?);
        (parent == of).then(|| (pid.to_owned(), state.to_owned()))
    });
    found.collect()
}

/// As the first process of a container the service reaps what no one else does, and is stopped as
/// elsewhere.
#[test]
fn the_first_process_of_a_container_reaps_and_hands_on_the_stop() {
    let container = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    let possible = Command::new("unshare").args(container).arg("true").output();
    if !possible.is_ok_and(|output| output.status.success()) {
        // Only root may make one.
        return;
    }
    let mut daemon = Daemon::init();
    // Without the one that starts commands, this one's supervisor falls to the first process.
    let script = "read -r _ _ _ starter _ < /proc/$PPID/stat; kill -9 $starter; echo done";
    daemon.configure(|text| with_keys(&text, "orders_in", &shell(script, "")));
    let mut inside = marked("unshare");
    inside.args(container).arg(PROGRAM);
    daemon.serve_by(inside);
    for n in ["1", "2"] {
        let job = daemon.upload_text(&order(n), "").job();
        daemon.wait_for_place(&job, "bak/orders_in");
        assert_eq!(daemon.messages(&job), ["done"]);
    }
    let [(first, _)] = children(&daemon.pid().to_string()).try_into().unwrap();
    let only_the_service = || children(&first).len() == 1;
    daemon.wait("the orphans are reaped", only_the_service);
    let pid = rustix::process::Pid::from_raw(first.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    daemon.ended();
    assert!(daemon.log().contains("stopped"), "{}", daemon.log());
}
