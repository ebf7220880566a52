//! Operators' commands: those that read make nothing, those that write lock no one out, and what they
//! say is done stays done. They are calls to the running service, or have the spool to themselves.

use crate::harness::{Daemon, PROGRAM, has_job_files, order, shell, with_keys};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, lchown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// No one's login.
const STRANGER: u32 = 65_534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Everything below a directory, with its owner and its last change.
fn everything(dir: &Path) -> BTreeMap<PathBuf, (u32, i64, i64)> {
    let walk = walkdir::WalkDir::new(dir).into_iter();
    let each = walk.filter_map(Result::ok).map(|entry| {
        let meta = entry.metadata().unwrap();
        let change = (meta.uid(), meta.ctime(), meta.ctime_nsec());
        (entry.into_path(), change)
    });
    each.collect()
}

/// Makes another user the owner of all that a service needs, as its own user would be.
fn hand_to(daemon: &Daemon, uid: u32) {
    fs::set_permissions(daemon.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    for path in everything(daemon.dir()).into_keys() {
        lchown(path, Some(uid), Some(uid)).unwrap();
    }
}

fn with_another_interface(daemon: &Daemon) {
    let text = fs::read_to_string(daemon.config()).unwrap();
    let more = "\n[interfaces.new_in]\ndirection = \"in\"\nschema = \"\"\n";
    fs::write(daemon.config(), text + more).unwrap();
}

fn run_as(daemon: &Daemon, uid: u32, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).arg("--config").arg(daemon.config());
    if is_root() {
        command.uid(uid).gid(uid);
    }
    command.output().unwrap()
}

/// A daemon whose orders fail, with one that has.
fn with_a_failed_job() -> (Daemon, String) {
    let daemon = Daemon::start_with(|text| {
        with_keys(&text, "orders_in", &shell("exit 1", ", timeout_s = 60"))
    });
    let job = daemon.upload_text(&order("1"), "").job();
    daemon.wait_for_place(&job, "joberrors");
    (daemon, job)
}

#[test]
fn commands_that_read_make_nothing() {
    let (mut daemon, job) = with_a_failed_job();
    daemon.stop();
    with_another_interface(&daemon);
    fs::remove_file(daemon.spool(".lock")).unwrap();
    let reading: &[&[&str]] = &[
        &["status"],
        &["status", &job],
        &["ls"],
        &["log", &job],
        &["why", &job],
        &["cat", &job],
        &["fsck"],
        &["top"],
        &["schedule", "ls"],
        &["user", "list"],
    ];
    let before = everything(daemon.dir());
    for arguments in reading {
        daemon.operator(arguments);
        assert_eq!(everything(daemon.dir()), before, "{arguments:?}");
    }
    daemon.serve();
    daemon.operator(&["hold", "new_in"]);
    for arguments in reading {
        daemon.operator(arguments);
    }
}

#[test]
fn who_may_not_read_is_told_who_may() {
    if !is_root() {
        return;
    }
    let (daemon, job) = with_a_failed_job();
    fs::set_permissions(daemon.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    for arguments in [&["status"][..], &["log", &job], &["user", "list"]] {
        let output = run_as(&daemon, STRANGER, arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("sudo -u root"), "{said}");
    }
}

#[test]
fn what_root_writes_is_for_the_owner_of_the_spool() {
    if !is_root() {
        return;
    }
    let (mut daemon, job) = with_a_failed_job();
    daemon.stop();
    with_another_interface(&daemon);
    hand_to(&daemon, STRANGER);
    let users = daemon.dir().join("users.toml");
    fs::set_permissions(&users, fs::Permissions::from_mode(0o640)).unwrap();
    daemon.operator(&["hold", "orders_in", "--reason", "audit"]);
    daemon.operator(&["hold", "new_in"]);
    daemon.operator(&["requeue", &job]);
    daemon.operator(&["user", "add", "shop", "--right", "orders_in=upload"]);
    for (path, (uid, ..)) in everything(daemon.dir()) {
        assert_eq!(uid, STRANGER, "{}", path.display());
    }
    assert_eq!(fs::metadata(&users).unwrap().mode() & 0o777, 0o640);
    let said = daemon.messages(&job).join("\n");
    assert!(said.contains("requeued to orders_in by "), "{said}");
    assert!(said.contains("exit code 1"), "{said}");
}

/// A daemon with an order that waits, as nothing processes it.
fn with_a_waiting_job() -> (Daemon, String) {
    let daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", ""));
    let job = daemon.upload_text(&order("1"), "").job();
    (daemon, job)
}

/// The files of a job that is not a log.
fn files_of(daemon: &Daemon, job: &str) -> Vec<String> {
    let all = ["bak", "deferred", "joberrors", "queue", "work"].map(|dir| daemon.files(dir));
    let mut all = all.concat();
    all.retain(|path| path.contains(job));
    all
}

#[test]
fn what_was_done_survives_a_crash_of_the_service() {
    let (mut daemon, removed) = with_a_waiting_job();
    let sent = daemon.upload_text(&order("2"), "").job();
    for act in [
        &["rm", &removed][..],
        &["requeue", &sent, "--to", "items_in"],
        &["hold", "persons_in"],
    ] {
        daemon.operator(&["hold", "items_in"]);
        daemon.operator(act);
    }
    daemon.kill();
    daemon.serve();
    assert_eq!(files_of(&daemon, &removed), [""; 0]);
    assert_eq!(files_of(&daemon, &sent), [format!("queue/items_in/{sent}")]);
    assert!(daemon.hold("persons_in").is_some());
    let said = daemon.messages(&removed).join("\n");
    assert!(said.contains("removed by "), "{said}");
    daemon.operator(&["release", "items_in"]);
    daemon.wait_for_place(&sent, "bak/items_in");
    let said = daemon.messages(&sent).join("\n");
    assert!(said.contains("requeued to items_in by "), "{said}");
    assert!(!said.contains("by hand"), "{said}");
}

#[test]
fn what_was_done_while_the_service_was_down_stays_done() {
    let (mut daemon, removed) = with_a_waiting_job();
    let sent = daemon.upload_text(&order("2"), "").job();
    daemon.kill();
    daemon.operator(&["rm", &removed]);
    daemon.operator(&["hold", "items_in"]);
    daemon.operator(&["requeue", &sent, "--to", "items_in"]);
    assert_eq!(files_of(&daemon, &removed), [""; 0]);
    daemon.serve();
    assert_eq!(files_of(&daemon, &removed), [""; 0]);
    assert_eq!(files_of(&daemon, &sent), [format!("queue/items_in/{sent}")]);
    daemon.operator(&["release", "items_in"]);
    daemon.wait_for_place(&sent, "bak/items_in");
    let log = daemon.joblog(&sent);
    assert_eq!(log["status"], "ok", "{log}");
}

#[test]
fn a_job_that_is_sent_on_runs_at_once() {
    let (daemon, job) = with_a_waiting_job();
    let moved = daemon.operator(&["requeue", &job, "--to", "items_in"]);
    assert_eq!(moved.trim_end(), format!("{job} queue/items_in/{job}"));
    daemon.soon("it is done", || daemon.place(&job) == "bak/items_in");
    let said = daemon.messages(&job).join("\n");
    assert!(!said.contains("by hand"), "{said}");
}

#[test]
fn nothing_is_sent_to_an_interface_that_is_gone() {
    let (mut daemon, job) = with_a_failed_job();
    daemon.stop();
    let text = fs::read_to_string(daemon.config()).unwrap();
    let renamed = "[interfaces.orders_new]\nschema = \"orders_in\"\n";
    let text = text.replace("[interfaces.orders_in]\n", renamed);
    let text = text.replace("schema = \"orders_in\"\nschema", "schema");
    fs::write(daemon.config(), text).unwrap();
    let refused = |arguments: &[&str]| {
        let output = daemon.spoolgate(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("items_in, orders_new, "), "{said}");
        said
    };
    let down = refused(&["requeue", &job]);
    daemon.serve();
    let refused = |arguments: &[&str]| {
        let output = daemon.spoolgate(arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(refused(&["requeue", &job]), down);
    assert!(down.contains("belongs to orders_in"), "{down}");
    for act in [
        &["requeue", &job, "--to", "orders_in"][..],
        &["hold", "orders_in"],
        &["release", "orders_in"],
    ] {
        let said = refused(act);
        assert!(
            said.contains("unknown interface orders_in; there are "),
            "{said}"
        );
    }
    let failed = format!("joberrors/{}/{job}", crate::harness::day(&job));
    assert_eq!(files_of(&daemon, &job), [failed]);
    daemon.operator(&["requeue", &job, "--to", "orders_new"]);
}

#[test]
fn nothing_is_done_beside_a_service_that_cannot_be_reached() {
    if !has_job_files() {
        return;
    }
    let (mut daemon, job) = with_a_waiting_job();
    let socket = daemon.dir().join("control.sock");
    let aside = daemon.dir().join("aside.sock");
    fs::rename(&socket, &aside).unwrap();
    let output = daemon.spoolgate(&["rm", &job]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in [
        &format!("process {}", daemon.pid()),
        socket.to_str().unwrap(),
        "nothing was done",
        "server.control",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(daemon.place(&job), "queue/orders_in");
    fs::rename(&aside, &socket).unwrap();
    daemon.operator(&["hold", "orders_in"]);
    // What a crash leaves is in no one's way; an orderly end leaves nothing.
    daemon.kill();
    assert!(socket.exists());
    daemon.operator(&["release", "orders_in"]);
    daemon.serve();
    daemon.operator(&["rm", &job]);
    daemon.stop();
    assert!(!socket.exists());
}

#[test]
fn two_services_side_by_side_are_told_apart() {
    if !has_job_files() {
        return;
    }
    let (mut first, job) = with_a_waiting_job();
    first.stop();
    let other = first.dir().join("other.toml");
    let text = fs::read_to_string(first.config()).unwrap();
    let text = text.replace("root = \"spool\"", "root = \"other\"");
    fs::write(&other, text).unwrap();
    first.serve();
    let config = other.to_str().unwrap();
    let mut serve = Command::new(PROGRAM);
    let log = fs::File::create(first.dir().join("other.log")).unwrap();
    serve.args(["serve", "--config", config]).stderr(log);
    let mut second = serve.stdout(std::process::Stdio::null()).spawn().unwrap();
    first.wait("the second", || first.text("other.log").contains("serving"));
    let run = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .args(["--config", config])
            .output()
            .unwrap()
    };
    let held = run(&["hold", "orders_in"]);
    let unknown = run(&["rm", &job]);
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(held.status.success(), "{held:?}");
    let held = |root: &str| {
        first
            .dir()
            .join(root)
            .join("queue/orders_in/.hold")
            .exists()
    };
    assert!(held("other") && !held("spool"));
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    assert_eq!(first.place(&job), "queue/orders_in");
}

#[test]
fn the_socket_is_for_members_of_its_group() {
    if !is_root() {
        return;
    }
    let (daemon, job) = with_a_waiting_job();
    for (path, mode) in [(daemon.dir(), 0o755), (&daemon.config(), 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let socket = daemon.dir().join("control.sock");
    let run = |gid: u32| {
        let mut command = Command::new(PROGRAM);
        command
            .args(["hold", "orders_in", "--config"])
            .arg(daemon.config());
        with_one_group(&command, STRANGER, gid).output().unwrap()
    };
    let said = |output: &Output| String::from_utf8(output.stderr.clone()).unwrap();
    let denied = run(STRANGER);
    assert_eq!(denied.status.code(), Some(1), "{denied:?}");
    assert!(
        said(&denied).contains("members of the group root"),
        "{denied:?}"
    );
    // Also where the file lets anyone in.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(daemon.spool(""), fs::Permissions::from_mode(0o755)).unwrap();
    let denied = run(STRANGER);
    assert_eq!(denied.status.code(), Some(1), "{denied:?}");
    assert!(
        said(&denied).contains("members of the group root may act"),
        "{denied:?}"
    );
    assert_eq!(daemon.hold("orders_in"), None);
    let member = run(0);
    assert!(member.status.success(), "{member:?}");
    let hold = daemon.hold("orders_in").unwrap();
    assert!(hold.contains("(uid 65534)"), "{hold}");

    let mut sudo = Command::new(PROGRAM);
    let sudo = sudo.args(["rm", &job, "--config"]).arg(daemon.config());
    let sudo = sudo
        .env("SUDO_USER", "olga")
        .env("SUDO_UID", "1000")
        .output();
    assert!(sudo.unwrap().status.success());
    let said = daemon.messages(&job).join("\n");
    assert!(
        said.ends_with("removed by olga (uid 1000) by way of sudo"),
        "{said}"
    );
}

/// The command as another user with one group only.
fn with_one_group(command: &Command, uid: u32, gid: u32) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped
        .arg(format!("--reuid={uid}"))
        .arg(format!("--regid={gid}"))
        .arg("--clear-groups")
        .arg(command.get_program())
        .args(command.get_args());
    wrapped
}
