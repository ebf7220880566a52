//! Operators' commands: those that read make nothing, those that write lock nobody out.

use crate::harness::{Daemon, PROGRAM, order, shell, with_keys};
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

/// Nobody's login.
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
