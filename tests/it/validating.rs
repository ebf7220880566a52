//! `spoolgate validate`: by a schema alone, by a configuration, and as a partner of a gateway.

use crate::harness::{Daemon, document, order, program};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const VARIABLES: [&str; 4] = [
    "SPOOLGATE_CONFIG",
    "SPOOLGATE_PASSWORD",
    "SPOOLGATE_URL",
    "SPOOLGATE_USER",
];

/// The program with nothing but its arguments, where `dir` is.
fn validate(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = program();
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    command.arg("validate").args(arguments).current_dir(dir);
    command.stdin(Stdio::null());
    command
}

/// Exit code, standard output and standard error.
fn outcome(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let code = output.status.code().unwrap();
    (code, text(&output.stdout), text(&output.stderr))
}

fn run(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    outcome(&validate(dir, arguments).output().unwrap())
}

/// The same with a standard input.
fn piped(dir: &Path, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = validate(dir, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    outcome(&child.wait_with_output().unwrap())
}

/// A directory with a set of schemas and some documents.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let schema = |content: &str| {
        format!("<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'>{content}</xs:schema>")
    };
    fs::create_dir(dir.path().join("main")).unwrap();
    fs::create_dir(dir.path().join("common")).unwrap();
    let order = "<xs:element name='order' type='quantity'/>";
    let quantity = "<xs:simpleType name='quantity'><xs:restriction base='xs:int'/></xs:simpleType>";
    let bad = "<xs:element name='order' type='none'/>";
    for (file, content) in [
        (
            "main/order.xsd",
            format!("<xs:include schemaLocation='../common/all.xsd'/>{order}"),
        ),
        ("common/all.xsd", quantity.to_owned()),
        ("flat order.xsd", format!("{quantity}{order}")),
        ("bad.xsd", bad.to_owned()),
    ] {
        fs::write(dir.path().join(file), schema(&content)).unwrap();
    }
    for (file, content) in [
        ("good.xml", "<order>1</order>"),
        ("wrong.xml", "<!-- x -->\n <order>one</order>"),
        ("torn.xml", "<order>\n  <a></order>"),
    ] {
        fs::write(dir.path().join(file), content).unwrap();
    }
    dir
}

#[test]
fn a_schema_is_enough() {
    let dir = directory();
    let dir = dir.path();
    let by = |files: &[&str]| run(dir, &[&["--schema", "flat order.xsd"], files].concat());
    assert_eq!(
        by(&["good.xml"]),
        (0, "good.xml: valid\n".into(), String::new())
    );
    let (code, out, _) = by(&["wrong.xml", "good.xml", "torn.xml"]);
    let starts: Vec<&str> = out
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        (code, starts),
        (1, vec!["wrong.xml:2:2:", "good.xml:", "torn.xml:2:6:"])
    );
    let (code, out, err) = by(&["wrong.xml", "none.xml"]);
    assert_eq!((code, out.lines().count()), (2, 1));
    assert!(err.starts_with("spoolgate: none.xml: "), "{err}");
    let (code, out, _) = piped(
        dir,
        &["--schema", "flat order.xsd", "-"],
        "<order>x</order>",
    );
    assert_eq!((code, out.starts_with("-:1:1: ")), (1, true), "{out}");
    let (code, _, err) = by(&["-", "-"]);
    assert!(code == 2 && err.contains("once only"), "{err}");
}

#[test]
fn schemas_are_found_where_they_may_lie() {
    let dir = directory();
    let dir = dir.path();
    let (code, _, err) = run(dir, &["--schema", "main/order.xsd", "good.xml"]);
    assert!(code == 2 && err.contains("; --within DIR names"), "{err}");
    let within = ["--schema", "main/order.xsd", "--within"];
    let (code, out, _) = run(dir, &[&within[..], &[".", "good.xml"]].concat());
    assert_eq!((code, out.as_str()), (0, "good.xml: valid\n"));
    for (arguments, said) in [
        (
            vec!["--schema", "main/order.xsd", "--within", "common"],
            "is not inside",
        ),
        (vec!["--schema", "bad.xsd"], "bad.xsd:1:"),
        (vec!["--schema", "none.xsd"], "cannot read none.xsd"),
        (
            vec!["--schema", "bad.xsd", "--url", "https://h"],
            "cannot be used with",
        ),
        (vec!["--interface", "orders_in"], "a gateway's needs --url"),
        (vec![], "valid by what?"),
    ] {
        let (code, out, err) = run(dir, &[&arguments[..], &["good.xml"]].concat());
        assert!(code == 2 && err.contains(said), "{arguments:?}: {err}");
        assert_eq!(out, "", "{arguments:?}");
    }
}

#[test]
fn a_line_of_json_says_the_same() {
    let dir = directory();
    let files = ["good.xml", "wrong.xml", "none.xml"];
    let arguments = [&["--json", "--schema", "flat order.xsd"], &files[..]].concat();
    let (code, out, _) = run(dir.path(), &arguments);
    let lines = out.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<serde_json::Value> = lines.collect();
    assert_eq!((code, lines.len()), (2, 3));
    let verdicts: Vec<_> = lines.iter().map(|line| line["valid"].as_bool()).collect();
    assert_eq!(verdicts, [Some(true), Some(false), None]);
    let finding = &lines[1]["findings"][0];
    assert_eq!(
        (&finding["line"], &finding["column"]),
        (&2.into(), &2.into())
    );
    assert!(lines[2]["error"].is_string());
}

/// By the configuration, and by the gateway, where nothing is kept: the same verdicts.
#[test]
fn a_gateway_and_its_configuration_agree() {
    let daemon = Daemon::start();
    let (config, cert) = (daemon.config(), daemon.dir().join("certs/cert.pem"));
    let (config, cert) = (config.to_str().unwrap(), cert.to_str().unwrap());
    let as_operator = ["--config", config, "--interface"];
    let as_partner = [
        "--url",
        &daemon.url,
        "--user",
        "admin",
        "--cacert",
        cert,
        "--interface",
    ];
    let judged = |by: &[&str], interface: &str, file: &Path| {
        let arguments = [by, &[interface, file.to_str().unwrap()]].concat();
        let mut command = validate(daemon.dir(), &arguments);
        command.env("SPOOLGATE_PASSWORD", &daemon.password);
        outcome(&command.output().unwrap())
    };
    let good = daemon.scratch("good.xml", order("1"));
    let cases: [(&str, PathBuf, i32); 6] = [
        ("orders_in", good.clone(), 0),
        (
            "orders_in",
            document("orders_in/position-twice.invalid.xml"),
            1,
        ),
        (
            "orders_in",
            document("orders_in/tag-crossed.invalid.xml"),
            1,
        ),
        ("orders_in", document("items_in/assortment.valid.xml"), 1),
        ("orders_out", good.clone(), 2),
        ("nothing", good.clone(), 2),
    ];
    for (interface, file, code) in cases {
        let operator = judged(&as_operator, interface, &file);
        let partner = judged(&as_partner, interface, &file);
        assert_eq!(
            (operator.0, partner.0),
            (code, code),
            "{operator:?} {partner:?}"
        );
        assert_eq!(operator.1, partner.1);
    }
    let (_, out, _) = judged(&as_partner[..6], "--json", &good);
    assert!(out.contains("\"interface\":\"orders_in\""), "{out}");
    for place in ["queue", "joberrors", "joblog"] {
        let files = daemon.files(place);
        assert!(files.is_empty(), "{files:?}");
    }
}

#[test]
fn what_a_gateway_does_not_say_is_not_known() {
    let mut daemon = Daemon::start();
    let cert = daemon.dir().join("certs/cert.pem");
    let good = daemon.scratch("good.xml", order("1"));
    let ask = |user: &str, url: &str| {
        let arguments = ["--user", user, "--cacert", cert.to_str().unwrap()];
        let mut command = validate(daemon.dir(), &arguments);
        command.arg(&good).env("SPOOLGATE_URL", url);
        outcome(&command.output().unwrap())
    };
    let login = format!("admin:{}", daemon.password);
    assert_eq!(ask(&login, &daemon.url).0, 0);
    for (user, url, said) in [
        ("admin:wrong", daemon.url.as_str(), "(401 Unauthorized)"),
        ("admin", &daemon.url, "SPOOLGATE_PASSWORD"),
        (&login, "http://localhost", "expected https://"),
    ] {
        let (code, out, err) = ask(user, url);
        assert!(code == 2 && err.contains(said), "{err}");
        assert_eq!(out, "");
    }
    let url = daemon.url.clone();
    daemon.stop();
    let arguments = [
        "--url",
        &url,
        "--user",
        &login,
        "--cacert",
        cert.to_str().unwrap(),
    ];
    let output = validate(daemon.dir(), &arguments).arg(&good).output();
    let (code, _, err) = outcome(&output.unwrap());
    assert!(code == 2 && err.contains("refuses connections"), "{err}");
}
