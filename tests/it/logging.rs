//! A log that no one reads, or that cannot be written: nothing else changes.

use crate::{
    harness::{Daemon, order},
    metrics::{scrape, value},
};
use rustix::pipe::{PipeFlags, pipe_with};
use std::{fs::File, process::Stdio};

/// Serves with that log; uploads are accepted and processed, the probe is content, and the stop is
/// in order. `meanwhile` comes before the uploads. Gives how many lines were lost.
fn nothing_changes(log: impl Into<Stdio>, meanwhile: impl FnOnce()) -> f64 {
    let mut daemon = Daemon::init();
    daemon.configure(|text| text);
    daemon.serve_logging_to(log);
    meanwhile();
    let mut last = String::new();
    for n in 0..40 {
        last = daemon.upload_text(&order(&n.to_string()), "").job();
    }
    daemon.wait_for_place(&last, "bak/orders_in");
    let ready = daemon.bare_curl(&[&format!("{}/readyz", daemon.ops)]);
    assert_eq!(ready.status, 200, "{}", ready.text());
    let lost = value(&scrape(&daemon), "spoolgate_log_lines_lost_total", &[]);
    daemon.stop();
    lost.unwrap()
}

#[test]
fn its_reader_has_gone() {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    assert!(nothing_changes(writer, || drop(reader)) > 0.0);
}

#[test]
fn its_reader_has_stopped_reading() {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    // Full after the first few lines.
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    // They wait.
    assert_eq!(nothing_changes(writer, || {}), 0.0);
    drop(reader);
}

#[test]
fn its_volume_is_full() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    assert!(nothing_changes(full, || {}) > 0.0);
}

/// Standard output belongs to whoever starts the service, and may be of the same kind.
#[test]
fn a_start_that_fails_says_why_or_nothing() {
    let daemon = Daemon::init();
    daemon.configure(|text| text.replace("[server]", "[sever]"));
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let status = std::process::Command::new(crate::harness::PROGRAM)
        .args(["serve", "--config"])
        .arg(daemon.config())
        .stdout(full())
        .stderr(full())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1), "it failed, and did not panic");
}
