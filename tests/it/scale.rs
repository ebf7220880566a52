//! Very many jobs in one queue: everything goes on working, in bounded memory.
//!
//! 2 000 jobs unless `SPOOLGATE_SCALE` says how many: `SPOOLGATE_SCALE=100000 cargo test
//! --release --test it scale -- --nocapture` is the full size.

use crate::harness::{Daemon, document, order};
use std::{fs, io::Write, process::Command};

/// The service's memory with 100 000 jobs queued stays below.
const MEMORY_KIB_MAX: u64 = 200 * 1024;

fn jobs() -> usize {
    let given = std::env::var("SPOOLGATE_SCALE").ok();
    given.map_or(2000, |n| n.parse().expect("SPOOLGATE_SCALE is a number"))
}

/// Uploads one document `n` times over a few kept connections; gives the job names.
fn upload_many(daemon: &Daemon, n: usize) -> Vec<String> {
    let body = daemon.dir().join("one.xml");
    fs::write(&body, order("1")).unwrap();
    let script = daemon.dir().join("uploads.curl");
    let mut lines = std::io::BufWriter::new(fs::File::create(&script).unwrap());
    for _ in 0..n {
        let body = body.display();
        let url = format!("{}/xml/upload", daemon.url);
        writeln!(lines, "url = \"{url}\"\ndata-binary = \"@{body}\"").unwrap();
        writeln!(lines, "user = \"admin:{}\"", daemon.password).unwrap();
        writeln!(lines, "insecure\nsilent\nshow-error\nnext").unwrap();
    }
    writeln!(lines, "url = \"{}/xml/jobstatus\"", daemon.url).unwrap();
    writeln!(lines, "insecure\nsilent\noutput = \"/dev/null\"").unwrap();
    lines.into_inner().unwrap();
    let sent = Command::new("curl")
        .args(["--parallel", "--parallel-max", "16", "-K"])
        .arg(&script)
        .output()
        .unwrap();
    let text = String::from_utf8(sent.stdout).unwrap();
    let names: Vec<String> = text.lines().map(str::to_owned).collect();
    let errors = String::from_utf8_lossy(&sent.stderr);
    assert_eq!(
        names.len(),
        n,
        "{errors} {:?}",
        names.iter().find(|n| n.len() > 80)
    );
    names
}

fn memory_kib(pid: i32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_long_queue_is_listed_worked_off_and_small_in_memory() {
    let n = jobs();
    let mut daemon = Daemon::start();
    daemon.operator(&["hold", "orders_in"]);
    let mut names = upload_many(&daemon, n);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), n, "names repeat");
    assert_eq!(daemon.queue("orders_in"), names);
    let last = daemon
        .upload(&document("orders_in/states.valid.xml"), "?RefName=last")
        .job();
    assert_eq!(daemon.place(&last), "queue/orders_in");
    assert_eq!(daemon.place(&names[n / 2]), "queue/orders_in");
    let queued = memory_kib(daemon.pid(), "VmHWM:");
    daemon.stop();
    daemon.serve();
    assert_eq!(daemon.queue("orders_in").len(), n + 1);
    daemon.operator(&["release", "orders_in"]);
    loop {
        let left = daemon.queue("orders_in").len();
        if left == 0 {
            break;
        }
        daemon.wait("progress", || daemon.queue("orders_in").len() < left);
    }
    assert_eq!(daemon.place(&last), "bak/orders_in");
    assert_eq!(daemon.files("bak/orders_in").len(), n + 1);
    daemon.wait_for_empty_work();
    assert_eq!(daemon.files("tmp"), [""; 0]);
    let worked = memory_kib(daemon.pid(), "VmHWM:");
    eprintln!("{n} jobs: most memory while queueing {queued} KiB, while working {worked} KiB");
    assert!(queued < MEMORY_KIB_MAX && worked < MEMORY_KIB_MAX);
}
