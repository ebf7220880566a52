//! The contract of the native dialect, row by row: what the dStore contract promises, asked with
//! plain curl of the running server.

mod access;
mod documents;
mod errors;
mod idempotency;
mod joblog;
mod life;
mod names;
mod parameters;
mod upload;
mod xslt;

use crate::harness::{Answer, Daemon};
use base64::Engine as _;
use sha2::{Digest as _, Sha256, Sha512};

/// `sha-256=:…:`, as `Content-Digest` and `Repr-Digest` have it.
fn digest_field(bytes: &[u8]) -> String {
    let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(bytes));
    format!("sha-256=:{digest}:")
}

fn sha512_field(bytes: &[u8]) -> String {
    let digest = base64::engine::general_purpose::STANDARD.encode(Sha512::digest(bytes));
    format!("sha-512=:{digest}:")
}

fn assert_text(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let content_type = answer.header("content-type");
    assert_eq!(content_type, Some("text/plain; charset=utf-8"));
}

/// Also logs and claims of the time are written there for a moment.
fn wait_for_empty_tmp(daemon: &Daemon) {
    daemon.wait("nothing in tmp", || daemon.files("tmp").is_empty());
}

/// A queue that keeps its jobs, so that they can be counted.
fn held(daemon: &Daemon, interface: &str) {
    daemon.operator(&["hold", interface]);
}

/// A setting of one interface of the shipped configuration.
fn set(config: &str, interface: &str, line: &str) -> String {
    let table = format!("[interfaces.{interface}]\n");
    assert!(config.contains(&table), "{config}");
    config.replace(&table, &format!("{table}{line}\n"))
}

/// Another processor than the shipped one, which archives.
fn with_command(config: &str, interface: &str, script: &str) -> String {
    let (before, after) = config
        .split_once(&format!("[interfaces.{interface}]\n"))
        .unwrap();
    let script = toml::Value::String(script.into());
    let command = format!("processor = {{ command = [\"sh\", \"-c\", {script}] }}");
    let after = after.replacen("processor = { archive = true }", &command, 1);
    format!("{before}[interfaces.{interface}]\n{after}")
}
