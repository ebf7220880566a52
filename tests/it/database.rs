//! `spoolgate store …`: a database for a store is prepared and tried, and nothing of its URL is told.

#[path = "../../src/store/pg/testing.rs"]
mod server;

use crate::harness::program;
use server::Server;
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Output};

/// What a command says on standard output and standard error, and its exit code.
fn said(dir: &Path, words: &[&str]) -> (Option<i32>, String) {
    let config = dir.join("spoolgate.toml");
    let output = program().args(words).arg("--config").arg(config).output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.unwrap();
    let said = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let said = said.concat();
    assert!(!said.contains("s3cret"), "{said}");
    (status.code(), said)
}

/// A configuration with a store at that URL.
fn configured(url: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = "store.url_file = \"url\"\n[interfaces.a]\ndirection = \"out\"\n";
    fs::write(dir.path().join("spoolgate.toml"), text).unwrap();
    fs::write(dir.path().join("url"), url).unwrap();
    set_mode(&dir.path().join("url"), 0o600);
    dir
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_database_is_prepared_and_tried() {
    let Some(server) = Server::of_tests() else {
        return;
    };
    let dir = configured(&server.url(&server.create("template1")));
    let (code, text) = said(dir.path(), &["store", "check"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("run `spoolgate store migrate`"), "{text}");
    let (code, text) = said(dir.path(), &["store", "migrate"]);
    assert_eq!((code, &*text), (Some(0), "version 1, 1 migrations done\n"));
    let (code, text) = said(dir.path(), &["store", "migrate", "--json"]);
    let object = "{\"migrations\":0,\"version\":1}\n";
    assert_eq!((code, &*text), (Some(0), object));
    let (code, text) = said(dir.path(), &["store", "check"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the database keeps what it must"), "{text}");
    assert!(text.contains("no standby is synchronous"), "{text}");
    let (code, text) = said(dir.path(), &["store", "check", "--json"]);
    let mut objects = text.lines().map(serde_json::from_str::<serde_json::Value>);
    let is_object = |line: Result<serde_json::Value, _>| line.is_ok_and(|line| line.is_object());
    assert!(code == Some(0) && !text.is_empty(), "{text}");
    assert!(objects.all(is_object), "{text}");
    set_mode(&dir.path().join("url"), 0o640);
    let (code, text) = said(dir.path(), &["store", "check"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("chmod 600"), "{text}");
}

#[test]
fn no_service_runs_on_a_database_yet() {
    let dir = configured("host=/run/nowhere user=ada password=s3cret");
    let (code, text) = said(dir.path(), &["serve"]);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("store.url_file") && text.contains("no service can serve yet"),
        "{text}"
    );
    let (code, text) = said(dir.path(), &["store", "check"]);
    assert_eq!(code, Some(1), "{text}");
    fs::write(dir.path().join("url"), "postgres:s3cret").unwrap();
    let (_, text) = said(dir.path(), &["store", "check"]);
    assert!(text.contains("url: it is no URL of PostgreSQL"), "{text}");
}
