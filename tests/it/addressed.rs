//! An interface whose jobs are for one user each: who sees them, how they come to be for whom, and
//! what becomes of those that are for no one.

use crate::{
    harness::{Daemon, day, has_job_files, order, shell, with_keys},
    partners::{ORDERS, UNKNOWN, add_curator, alike, fetch, is_unknown, listed},
};
use spoolgate::domain::JobName;
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

const NONE: [&str; 0] = [];
/// A user of the system that is not root.
const SERVICE: u32 = 65_534;

/// The shipped configuration where `orders_out` is addressed and `orders_in` emits to it: to the user
/// in the reference, if there is one.
fn addressed(text: String) -> String {
    let emit = r#"to="$SPOOLGATE_EMIT/orders_out${SPOOLGATE_REF:+/@$SPOOLGATE_REF}" &&
        mkdir -p "$to" && cp "$SPOOLGATE_FILE" "$to/made.xml""#;
    let text = with_keys(&text, "orders_in", &shell(emit, ""));
    with_keys(&text, "orders_out", "addressed = true")
}

struct Partners {
    ada: String,
    bob: String,
    /// Who see all.
    others: [String; 3],
}

/// A server with two partners and those who see all.
fn served() -> (Daemon, Partners) {
    let mut daemon = Daemon::init();
    daemon.configure(addressed);
    let (ada, bob) = (
        daemon.add_user("ada", &ORDERS),
        daemon.add_user("bob", &ORDERS),
    );
    let mia = daemon.add_user("mia", &["orders_out=manage,list,download"]);
    let cleo = add_curator(&daemon, "cleo");
    daemon.serve();
    let admin = format!("admin:{}", daemon.password);
    let others = [mia, cleo, admin];
    (daemon, Partners { ada, bob, others })
}

/// What a user is told of a job's task in another dialect is what he is told of none.
fn is_no_task(daemon: &Daemon, login: &str, job: &str) {
    let number = |job: &str| {
        let job: JobName = job.parse().unwrap();
        job.id().get().to_string()
    };
    let (theirs, other) = (number(job), number(UNKNOWN));
    for path in ["status/JOB", "download/JOB/0"] {
        let path = format!("/api/v1/default/{path}");
        let ask = |id: &str| daemon.curl_as(login, &[&path.replace("JOB", id)]);
        alike(&path, (&ask(&theirs), &theirs), (&ask(&other), &other));
    }
}

/// The path of what lies for a user, or beside.
fn path(daemon: &Daemon, name: &str) -> PathBuf {
    daemon.spool(&format!("queue/orders_out/{name}"))
}

/// Drops a complete file; gives the job's name once its user sees it.
fn dropped(daemon: &Daemon, user: &str, login: &str) -> String {
    let whole = daemon.scratch(".dropped", order("1"));
    let dir = path(daemon, &format!("@{user}"));
    daemon.soon("the user's directory is made", || dir.is_dir());
    fs::rename(whole, dir.join("order.xml")).unwrap();
    daemon.soon("the dropped file is taken in", || {
        listed(daemon, login, "orders_out").len() == 1
    });
    listed(daemon, login, "orders_out").pop().unwrap()
}

fn refused(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = daemon.spoolgate(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn each_user_sees_and_takes_what_is_for_him() {
    let (daemon, Partners { ada, bob, others }) = served();
    let body = order("1");
    for (query, owner, other, dir) in [
        ("", &ada, &bob, "@ada"),
        ("?RefName=bob", &bob, &ada, "@bob"),
    ] {
        let upload = format!("/xml/upload{query}");
        let parent = daemon.curl_as(&ada, &["--data-binary", &body, &upload]);
        daemon.wait_for_place(&parent.job(), "bak/orders_in");
        let jobs = listed(&daemon, owner, "orders_out");
        let [job] = &jobs[..] else {
            panic!("{jobs:?}");
        };
        assert!(daemon.has(&format!("queue/orders_out/{dir}/{job}")));
        assert_eq!(listed(&daemon, other, "orders_out"), NONE);
        is_unknown(&daemon, other, "orders_out", job);
        is_no_task(&daemon, other, job);
        let task: JobName = job.parse().unwrap();
        let task = format!("/api/v1/default/status/{}", task.id().get());
        assert_eq!(daemon.curl_as(owner, &[&task]).status, 200);
        // To look at it takes it away from no one.
        for login in &others {
            assert_eq!(listed(&daemon, login, "orders_out"), [job.as_str()]);
            assert_eq!(fetch(&daemon, login, "orders_out", job).text(), body);
            assert_eq!(daemon.curl_as(login, &[&task]).status, 200);
        }
        assert_eq!(fetch(&daemon, owner, "orders_out", job).text(), body);
        daemon.wait_for_place(job, "bak/orders_out");
        assert_eq!(listed(&daemon, owner, "orders_out"), NONE);
        // Flat, and still his.
        let flat = format!("bak/orders_out/{}/{job}", day(job));
        assert!(daemon.has(&flat));
        let log = format!("/xml/joblog?Jobname={job}");
        for login in others.iter().chain([owner]) {
            assert_eq!(daemon.curl_as(login, &[&log]).status, 200, "{login}");
            assert_eq!(fetch(&daemon, login, "orders_out", job).text(), body);
        }
        is_unknown(&daemon, other, "orders_out", job);
        is_no_task(&daemon, other, job);
    }
}

#[test]
fn what_is_emitted_to_nobody_fails() {
    let (daemon, Partners { ada, others, .. }) = served();
    let body = order("1");
    let upload = ["--data-binary", &body, "/xml/upload?RefName=nobody"];
    let job = daemon.curl_as(&ada, &upload).job();
    daemon.wait_for_place(&job, "joberrors");
    let said = daemon.messages(&job).join("\n");
    assert!(
        said.contains("orders_out/@nobody, which is no user"),
        "{said}"
    );
    for login in &others {
        assert_eq!(listed(&daemon, login, "orders_out"), NONE);
    }
    assert!(!path(&daemon, "@nobody").exists());
}

#[test]
fn a_move_by_hand_gives_a_job_to_another_user() {
    if !has_job_files() {
        return;
    }
    let (mut daemon, Partners { ada, bob, .. }) = served();
    let job = dropped(&daemon, "ada", &ada);
    is_unknown(&daemon, &bob, "orders_out", &job);
    let [from, to] = ["@ada", "@bob"].map(|user| path(&daemon, &format!("{user}/{job}")));
    fs::rename(from, &to).unwrap();
    daemon.soon("the other sees it", || {
        listed(&daemon, &bob, "orders_out") == [job.as_str()]
    });
    assert_eq!(listed(&daemon, &ada, "orders_out"), NONE);
    is_unknown(&daemon, &ada, "orders_out", &job);
    daemon.soon("it is noted", || {
        let log = daemon.log();
        log.lines()
            .any(|line| line.contains("moved by hand") && line.contains("user=bob"))
    });
    daemon.kill();
    daemon.serve();
    assert!(to.exists());
    assert_eq!(fetch(&daemon, &bob, "orders_out", &job).text(), order("1"));
    // Once the client has all of it.
    daemon.wait("it is retrieved", || !to.exists());
    let recorded = daemon.recorded(&job, "fetched");
    assert_eq!(recorded, ["bob", "dstore from 127.0.0.1"]);
    // It goes back to whom it was for last.
    let back = daemon.operator(&["requeue", &job]);
    assert_eq!(back.trim(), format!("{job} queue/orders_out/@bob/{job}"));
    let shown = daemon.operator(&["ls", "queue/orders_out/@bob", "--json"]);
    assert!(shown.contains(r#""addressee":"bob""#), "{shown}");
    let shown = daemon.operator(&["ls", "queue/orders_out/@ada"]);
    assert_eq!(shown, "");
    let to = daemon.operator(&["requeue", &job, "--to", "orders_out/@ada"]);
    assert_eq!(to.trim(), format!("{job} queue/orders_out/@ada/{job}"));
    assert_eq!(listed(&daemon, &ada, "orders_out"), [job.as_str()]);
    is_unknown(&daemon, &bob, "orders_out", &job);
    daemon.operator(&["rm", &job]);
    assert_eq!(listed(&daemon, &ada, "orders_out"), NONE);
}

#[test]
fn requeue_says_what_is_missing() {
    if !has_job_files() {
        return;
    }
    let (daemon, Partners { bob, .. }) = served();
    let bak = format!("bak/orders_out/{}", day(UNKNOWN));
    fs::create_dir_all(daemon.spool(&bak)).unwrap();
    fs::write(daemon.spool(&format!("{bak}/{UNKNOWN}")), order("1")).unwrap();
    for (to, words) in [
        (None, "say --to orders_out/@USER"),
        (Some("orders_out/@nobody"), "there is no user nobody"),
        (Some("orders_out/@../x"), "is not allowed"),
        (
            Some("persons_out/@bob"),
            "are not for single users; say --to persons_out",
        ),
    ] {
        let to = to.iter().flat_map(|to| ["--to", to]);
        let arguments: Vec<&str> = ["requeue", UNKNOWN].into_iter().chain(to).collect();
        let said = refused(&daemon, &arguments);
        assert!(said.contains(words), "{said}");
    }
    daemon.operator(&["requeue", UNKNOWN, "--to", "orders_out/@bob"]);
    assert_eq!(listed(&daemon, &bob, "orders_out"), [UNKNOWN]);
}

/// As `mkdir` by root leaves it under a strict umask. Only root can try it.
#[test]
fn a_directory_out_of_reach_keeps_nobody_else_from_his_jobs() {
    let mut daemon = Daemon::init();
    daemon.configure(addressed);
    let ada = daemon.add_user("ada", &ORDERS);
    if !daemon.give_to(SERVICE) {
        return;
    }
    daemon.serve_as(SERVICE);
    let strict = path(&daemon, "@bob");
    fs::create_dir(&strict).unwrap();
    fs::set_permissions(&strict, fs::Permissions::from_mode(0o700)).unwrap();
    daemon.soon("it is reported", || {
        daemon.log().contains("the service cannot look into it")
    });
    let job = dropped(&daemon, "ada", &ada);
    let status = format!("/xml/jobstatus?Jobname={job}");
    assert_eq!(daemon.curl_as(&ada, &[&status]).status, 200);
    is_unknown(
        &daemon,
        &ada,
        "orders_out",
        "20251122T045748.123Z-00043.xml",
    );
    let admin = format!("admin:{}", daemon.password);
    assert_eq!(listed(&daemon, &admin, "orders_out"), [job.as_str()]);
    assert_eq!(fetch(&daemon, &ada, "orders_out", &job).text(), order("1"));
}

#[test]
fn what_is_for_nobody_is_reported_and_left() {
    if !has_job_files() {
        return;
    }
    let (daemon, Partners { ada, bob, others }) = served();
    let job = "20251122T045748.123Z-00042.xml";
    for name in ["beside.xml", job] {
        let whole = daemon.scratch(".dropped", order("1"));
        fs::rename(whole, path(&daemon, name)).unwrap();
    }
    fs::create_dir(path(&daemon, "@carl")).unwrap();
    fs::write(path(&daemon, "@carl/order.xml"), order("2")).unwrap();
    let reports = |name: &str| {
        let path = format!("path=queue/orders_out/{name}");
        daemon.log().matches(&path).count()
    };
    let names = ["beside.xml", job, "@carl"];
    daemon.soon("it is reported", || {
        names.iter().all(|name| reports(name) == 1)
    });
    // Another scan says nothing new.
    dropped(&daemon, "ada", &ada);
    assert_eq!(names.map(reports), [1; 3], "{}", daemon.log());
    assert_eq!(listed(&daemon, &bob, "orders_out"), NONE);
    for login in &others {
        assert_eq!(listed(&daemon, login, "orders_out").len(), 1);
    }
    for login in [&ada, &bob, &others[0], &others[1]] {
        let status = daemon.curl_as(login, &[&format!("/xml/jobstatus?Jobname={job}")]);
        assert_eq!(status.status, 400, "{login}: {}", status.text());
    }
    for command in ["status", "check"] {
        let said = daemon.operator(&[command]);
        for words in [
            "warning queue/orders_out/beside.xml: no user is shown it",
            "warning queue/orders_out/@carl: no user is shown what is in it: there is no user carl",
        ] {
            assert!(said.contains(words), "{command}: {said}");
        }
    }
    let why = daemon.operator(&["why", job]);
    assert!(why.contains("beside the directories of users"), "{why}");
    for name in ["beside.xml", job, "@carl/order.xml"] {
        assert!(path(&daemon, name).exists(), "{name}");
    }
    // Once there is such a user, it is his.
    let carl = daemon.add_user("carl", &["orders_out=list,download"]);
    daemon.soon("the new user has his job", || {
        !listed(&daemon, &carl, "orders_out").is_empty()
    });
    daemon.operator(&["requeue", job, "--to", "orders_out/@bob"]);
    assert_eq!(listed(&daemon, &bob, "orders_out"), [job]);
}
