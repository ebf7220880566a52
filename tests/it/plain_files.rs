//! Whatever lies where a file is expected, nothing waits for it: neither the service nor a command.

use crate::harness::{Daemon, PROGRAM, document, has_job_files, order};
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::Signal,
};
use std::{
    fs::{self, File},
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
    process::{Command, Output},
};

/// What is put in the place of a file, and what is said of it.
const ODD: [(&str, &str); 5] = [
    ("device", "it is a device"),
    ("directory", "it is a directory"),
    ("fifo", "it is a FIFO"),
    ("huge", "it is larger than"),
    ("socket", "it is a socket"),
];

fn put(kind: &str, path: &Path) {
    match kind {
        "device" => symlink("/dev/zero", path).unwrap(),
        "directory" => fs::create_dir(path).unwrap(),
        "fifo" => mknodat(CWD, path, FileType::Fifo, Mode::from(0o600), 0).unwrap(),
        "huge" => File::create(path).unwrap().set_len(10 << 30).unwrap(),
        "socket" => drop(UnixListener::bind(path).unwrap()),
        other => panic!("{other}"),
    }
}

/// A command, which has to end.
fn bounded(daemon: &Daemon, arguments: &[&str]) -> Output {
    let output = Command::new("timeout")
        .args(["60", PROGRAM])
        .args(arguments)
        .arg("--config")
        .arg(daemon.config())
        .output()
        .unwrap();
    assert_ne!(output.status.code(), Some(124), "{arguments:?} hangs");
    output
}

#[test]
fn nothing_in_the_spool_is_waited_for() {
    if !has_job_files() {
        return;
    }
    let mut daemon = Daemon::start();
    let job = daemon
        .upload(&document("orders_in/states.valid.xml"), "")
        .job();
    daemon.wait_for_place(&job, "bak/orders_in");
    for (kind, _) in ODD {
        put(kind, &daemon.spool(&format!("schemas/{kind}.xsd")));
        put(kind, &daemon.spool(&format!("xslt/{kind}.xsl")));
        let include = format!(
            "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'>\
             <xs:include schemaLocation='{kind}.xsd'/></xs:schema>"
        );
        fs::write(daemon.spool(&format!("schemas/with-{kind}.xsd")), include).unwrap();
    }
    let hold = daemon.spool("queue/orders_out/.hold");
    put("fifo", &hold);
    let log = daemon.spool(&format!(
        "joblog/{}-{}-{}/{job}.xml",
        &job[..4],
        &job[4..6],
        &job[6..8]
    ));
    fs::remove_file(&log).unwrap();
    put("fifo", &log);
    daemon.signal(Signal::HUP);
    let good = daemon.spool("schemas/orders_in.xsd");
    fs::copy(good, daemon.spool("schemas/later.xsd")).unwrap();
    daemon.wait("a good schema is loaded", || {
        daemon.log().contains("schema later: loaded")
    });
    for (kind, what) in ODD {
        let leaves = "a symbolic link leaves the directory";
        let what = if kind == "device" { leaves } else { what };
        // What it includes is no schema of its own.
        let refused = format!("schema with-{kind}: refused: {kind}.xsd: {what}");
        daemon.wait(&refused, || daemon.log().contains(&refused));
        let refused = format!("stylesheet {kind}: refused: {kind}.xsl: {what}");
        daemon.wait(&refused, || daemon.log().contains(&refused));
    }
    for command in [
        &["status"][..],
        &["status", &job],
        &["log", &job],
        &["why", &job],
        &["ls"],
        &["check"],
        &["schedule", "ls"],
    ] {
        bounded(&daemon, command);
    }
    let held = bounded(&daemon, &["status"]);
    let held = String::from_utf8_lossy(&held.stdout).into_owned();
    assert!(held.contains("it is a FIFO"), "{held}");
    daemon.upload_text(&order("1"), "").job();
    daemon.stop();
    daemon.serve();
    let last = daemon.upload_text(&order("2"), "").job();
    daemon.wait_for_place(&last, "bak/orders_in");
    daemon.stop();
}

#[test]
fn a_start_names_what_is_no_plain_file() {
    let daemon = Daemon::init();
    daemon.configure(|text| text);
    // Makes the key.
    assert!(bounded(&daemon, &["check"]).status.success());
    for file in [
        "spoolgate.toml",
        "users.toml",
        "certs/cert.pem",
        "certs/key.pem",
        "spool/.key",
    ] {
        let path = daemon.dir().join(file);
        let kept = daemon.dir().join("kept");
        fs::rename(&path, &kept).unwrap();
        for (kind, what) in ODD {
            // A key that anyone may read is refused for that, and one behind a link for the link.
            let is_key = ["certs/key.pem", "spool/.key"].contains(&file);
            if is_key && ["huge", "device"].contains(&kind) {
                continue;
            }
            put(kind, &path);
            let refused = bounded(&daemon, &["serve"]);
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(refused.status.code(), Some(1), "{file} {kind}: {said}");
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(
                said.contains(what) && said.contains(name),
                "{file} {kind}: {said}"
            );
            match kind {
                "directory" => fs::remove_dir(&path).unwrap(),
                _ => fs::remove_file(&path).unwrap(),
            }
        }
        fs::rename(&kept, &path).unwrap();
    }
    assert!(bounded(&daemon, &["check"]).status.success());
}
