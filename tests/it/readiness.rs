//! Whatever makes partners fail is told by `/readyz`, `status` and `check` alike, in the same words.

use super::harness::{Daemon, with_keys};
use std::{fs, os::unix::fs::PermissionsExt};

/// The three of them. The numbers are the probe's status and the commands' exit codes.
struct Told {
    probe: (u16, String),
    commands: Vec<(i32, String)>,
}

fn told(daemon: &Daemon, query: &str) -> Told {
    let answer = daemon.bare_curl(&[&format!("{}/readyz{query}", daemon.ops)]);
    let commands = ["status", "check"].map(|command| {
        let output = daemon.spoolgate(&[command]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap(), text)
    });
    Told {
        probe: (answer.status, answer.text()),
        commands: commands.into(),
    }
}

#[test]
fn check_says_how_schemas_are_found_and_read() {
    let daemon = Daemon::init();
    let more = "[schemas.lacking]\nxsd = \"1.1\"\n[schemas.catalog]\n\"urn:x\" = \"gone/x.xsd\"\n";
    daemon.configure(|text| format!("{text}\n{more}"));
    let schema = |attributes: &str, content: &str| {
        format!(
            "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema' \
             xmlns:vc='http://www.w3.org/2007/XMLSchema-versioning' {attributes}>{content}</xs:schema>"
        )
    };
    let write = |name: &str, text: String| fs::write(daemon.spool(name), text).unwrap();
    fs::create_dir_all(daemon.spool("schemas/h.example")).unwrap();
    let include = "<xs:include schemaLocation='http://h.example/b.xsd'/>";
    write("schemas/a.xsd", schema("", include));
    let element = "<xs:element name='b' type='xs:int'/>";
    write("schemas/h.example/b.xsd", schema("", element));
    let of_1_0 = "<xs:element name='c' type='xs:int'/><xs:complexType name='t'>\
                  <xs:attribute name='n' use='prohibited' fixed='1'/></xs:complexType>";
    write("schemas/c.xsd", schema("vc:minVersion='1.1'", of_1_0));
    let wrong = "<xs:complexType name='t'><xs:sequence/></xs:complexType>\n<xs:complexType name='wrong'>\
                 <xs:complexContent><xs:restriction base='t'><xs:attribute name='n'/></xs:restriction>\
                 </xs:complexContent></xs:complexType><xs:element name='d' type='wrong'/>";
    write("schemas/d.xsd", schema("", wrong));
    let said = daemon.operator(&["check"]);
    for words in [
        "schema a: good; ",
        "h.example/b.xsd",
        "warning schema c: it asks for XSD 1.1 by vc:minVersion, is none (c.xsd:1:",
        "schema d: good",
        "warning schema d: d.xsd:2:1: ",
        "'wrong' restricting 't': attribute 'n' matches no attribute use of the base",
        "warning schema lacking: there is none",
        &format!(
            ": schemas.catalog: \"urn:x\": it is not there: looked for {}",
            daemon.spool("schemas/gone/x.xsd").display()
        ),
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// Waits until the probe says so, then the commands say it, too.
fn all_tell(daemon: &Daemon, words: &str, status: u16, code: i32) {
    daemon.soon(words, || told(daemon, "").probe.1.contains(words));
    let told = told(daemon, "");
    assert_eq!(told.probe.0, status, "{}", told.probe.1);
    for (found, text) in &told.commands {
        assert!(text.contains(words), "{words}: {text}");
        assert_eq!(*found, code, "{text}");
    }
}

fn nothing_is_wrong(daemon: &Daemon) {
    daemon.soon("all is well", || {
        told(daemon, "?strict").probe == (200, "ok\n".into())
    });
    for (code, text) in told(daemon, "").commands {
        assert!(code == 0 && !text.contains("FAILED"), "{text}");
    }
}

#[test]
fn what_makes_uploads_fail_is_told_by_all_three() {
    let daemon = Daemon::start();
    nothing_is_wrong(&daemon);
    let schema = daemon.spool("schemas/orders_in.xsd");
    let good = fs::read(&schema).unwrap();
    fs::write(&schema, "<broken").unwrap();
    // The version before still serves, which only the service can know.
    daemon.soon("the broken schema", || {
        told(&daemon, "")
            .probe
            .1
            .contains("warning: interface orders_in: schemas/orders_in.xsd")
    });
    assert_eq!(told(&daemon, "").probe.0, 200);
    assert_eq!(told(&daemon, "?strict").probe.0, 503);
    fs::write(&schema, good).unwrap();
    nothing_is_wrong(&daemon);

    let users = daemon.dir().join("users.toml");
    fs::set_permissions(&users, fs::Permissions::from_mode(0o666)).unwrap();
    // Its modes alone wake no one; a change does, or the next minute.
    let text = fs::read(&users).unwrap();
    fs::write(&users, &text).unwrap();
    all_tell(&daemon, "run: chmod 600", 200, 1);
    fs::set_permissions(&users, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&users, &text).unwrap();
    nothing_is_wrong(&daemon);

    daemon.operator(&["hold", "orders_in", "--reason", "audit"]);
    daemon.soon("the hold", || {
        told(&daemon, "").probe.1.contains("it is held")
    });
    assert_eq!(told(&daemon, "").commands[1].0, 0, "a hold is meant");
    daemon.operator(&["release", "orders_in"]);
    nothing_is_wrong(&daemon);
}

#[test]
fn a_reserve_that_is_touched_and_a_missing_program_are_told_by_all_three() {
    let command = "processor = { command = [\"./gone\"] }";
    let daemon = Daemon::start_with(|text| {
        with_keys(&text, "orders_in", command)
            + "\n[limits]\nfree_bytes_min = 900000000000000\nqueue_jobs_max = 1\n"
    });
    all_tell(&daemon, "limits.free_bytes_min keeps 858306884 MiB", 200, 1);
    all_tell(&daemon, "the command ./gone is not found", 200, 1);
    let said = told(&daemon, "").commands[1].1.clone();
    let lines: Vec<&str> = said.lines().collect();
    let first = lines.iter().position(|line| line.starts_with("ok"));
    let last = lines.iter().rposition(|line| line.starts_with("FAILED"));
    assert!(last < first, "what fails comes first: {said}");
}

#[test]
fn a_certificate_that_nobody_accepts_makes_the_service_unready() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| text);
    let (key, cert) = (
        daemon.dir().join("certs/key.pem"),
        daemon.dir().join("certs/cert.pem"),
    );
    for (years, words) in [
        ((2020, 2021), "it expired on 2021-01-01"),
        ((2090, 2091), "it is not valid before 2090-01-01"),
    ] {
        let mut params = rcgen::CertificateParams::new(["localhost".into()]).unwrap();
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let pair = rcgen::KeyPair::generate().unwrap();
        fs::write(&cert, params.self_signed(&pair).unwrap().pem()).unwrap();
        fs::write(&key, pair.serialize_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        daemon.serve();
        all_tell(&daemon, words, 503, 1);
        daemon.stop();
    }
}

#[test]
fn check_makes_nothing() {
    let daemon = Daemon::init();
    daemon.configure(|text| text + "\n[interfaces.new_in]\ndirection = \"in\"\nschema = \"\"\n");
    let list = || {
        let walk = walkdir::WalkDir::new(daemon.dir()).sort_by_file_name();
        let all = walk.into_iter().map(|entry| entry.unwrap().into_path());
        all.collect::<Vec<_>>()
    };
    let before = list();
    let said = daemon.operator(&["check"]);
    assert!(said.contains("users.toml: 1 user\n"), "{said}");
    daemon.operator(&["status"]);
    assert_eq!(list(), before);
}
