//! Uploads: recognised, validated, stored or refused, and never half there.

use super::{assert_text, digest_field, held, set, sha512_field, wait_for_empty_tmp};
use crate::harness::{Daemon, day, document, has_job_files, order};
use std::{
    fs,
    io::Write as _,
    process::{Child, Stdio},
};

const NOTHING: Vec<String> = Vec::new();

#[test]
fn a_valid_document_is_answered_with_its_job() {
    let daemon = Daemon::start();
    held(&daemon, "orders_in");
    let path = document("orders_in/day.valid.xml");
    let sent = fs::read(&path).unwrap();
    let answer = daemon.upload(&path, "");
    assert_text(&answer, 201);
    let job = answer.job();
    assert_eq!(answer.text(), format!("{job}\n"));
    let location = answer.header("location").unwrap();
    assert_eq!(location, format!("/xml/jobstatus?Jobname={job}"));
    assert_eq!(daemon.curl(&[location]).text(), "queue/orders_in\n");
    assert_eq!(answer.header("repr-digest"), Some(&*digest_field(&sent)));
    assert!(daemon.has(&format!("queue/orders_in/{job}")));
    assert_eq!(daemon.operator(&["cat", &job]).as_bytes(), sent);
    wait_for_empty_tmp(&daemon);
}

#[test]
fn only_the_servers_schema_counts_and_nothing_is_fetched() {
    let daemon = Daemon::start();
    // Whoever is asked for the schema would be seen here.
    let bait = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    bait.set_nonblocking(true).unwrap();
    let address = bait.local_addr().unwrap();
    let naming = |id: &str, hint: &str| {
        format!(
            "<ListOfOrders xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
             xsi:{hint} CreationDate=\"2026-11-22T10:00:00\"><Order {id}>\
             <OrderContent><Position No=\"1\"/></OrderContent></Order></ListOfOrders>"
        )
    };
    let everything = "<xs:schema xmlns:xs=\"http://www.w3.org/2001/XMLSchema\">\
                      <xs:element name=\"ListOfOrders\"/></xs:schema>";
    let lenient = daemon.scratch("lenient.xsd", everything);
    for hint in [
        format!("noNamespaceSchemaLocation=\"http://{address}/x.xsd\""),
        format!("schemaLocation=\"urn:x http://{address}/x.xsd\""),
        format!("noNamespaceSchemaLocation=\"{}\"", lenient.display()),
        format!("noNamespaceSchemaLocation=\"file://{}\"", lenient.display()),
    ] {
        let valid = daemon.upload_text(&naming("OrderID=\"1\"", &hint), "");
        assert_eq!(valid.status, 201, "{hint}: {}", valid.text());
        let invalid = daemon.upload_text(&naming("", &hint), "");
        assert_eq!(invalid.status, 400, "{hint}: {}", invalid.text());
    }
    assert!(bait.accept().is_err(), "somebody asked for the schema");
}

#[test]
fn the_type_is_recognised_by_its_root_or_chosen_explicitly() {
    let daemon = Daemon::start_with(|text| {
        text + "\n[interfaces.spaced_in]\ndirection = \"in\"\nroot = \"ListOfOrders\"\n\
                namespace = \"urn:example:orders\"\nschema = \"\"\naliases = [\"old_name\"]\n"
    });
    let recognised = |text: &str, query: &str| {
        let job = daemon.upload_text(text, query).job();
        let place = daemon.place(&job);
        place.rsplit('/').next().unwrap().to_owned()
    };
    let items = fs::read_to_string(document("items_in/change.valid.xml")).unwrap();
    assert_eq!(recognised(&order("1"), ""), "orders_in");
    assert_eq!(recognised(&items, ""), "items_in");
    let spaced = "<o:ListOfOrders xmlns:o=\"urn:example:orders\"/>";
    assert_eq!(recognised(spaced, ""), "spaced_in");
    assert_eq!(recognised(spaced, "?Interfacename=spaced_in"), "spaced_in");
    assert_eq!(recognised(spaced, "?Interfacename=old_name"), "spaced_in");
    assert_eq!(
        recognised(&order("1"), "?Interfacename=orders_in"),
        "orders_in"
    );

    let refused = |text: &str, query: &str| {
        let answer = daemon.upload_text(text, query);
        assert_text(&answer, 400);
        answer
    };
    let other_root = refused(&order("1"), "?Interfacename=items_in");
    assert!(other_root.text().contains("ListOfOrders"));
    refused("<x:ListOfOrders xmlns:x=\"urn:other\"/>", "");
    refused(spaced, "?Interfacename=orders_in");
    // Its jobs are fetched: nothing is kept of it either.
    let out = refused(&order("1"), "?Interfacename=orders_out");
    assert_eq!(out.header("x-job-name"), None);
    let unknown = refused(&order("1"), "?Interfacename=nothing_in");
    assert_eq!(unknown.header("x-job-name"), None);
    assert_eq!(daemon.files("joberrors").len(), 3);
}

#[test]
fn a_refused_document_says_where_and_is_kept() {
    let daemon = Daemon::start();
    for text in [
        order("1").replace("CreationDate", "Creation"),
        "<ListOfOrders>".to_owned(),
        "no markup".to_owned(),
        "<Unknown/>".to_owned(),
        "<ListOfOrders/><ListOfOrders/>".to_owned(),
    ] {
        let answer = daemon.upload_text(&text, "?RefName=bad");
        assert_text(&answer, 400);
        let job = answer.header("x-job-name").unwrap();
        assert!(job.ends_with("-bad.xml"), "{job}");
        let body = answer.text();
        assert!(body.ends_with('\n'));
        let mut lines = body.lines();
        assert!(lines.next().unwrap().starts_with(job), "{body}");
        let mut n_findings = 0;
        for line in lines {
            let mut parts = line.splitn(3, ':');
            let mut number = || parts.next().unwrap().parse::<u32>().unwrap();
            assert!(number() >= 1 && number() >= 1, "{line}");
            assert!(parts.next().unwrap().starts_with(' '), "{line}");
            n_findings += 1;
        }
        assert!(n_findings >= 1, "{body}");
        assert_eq!(daemon.place(job), "joberrors");
        assert!(daemon.has(&format!("joberrors/{}/refused/{job}", day(job))));
        assert_eq!(daemon.operator(&["cat", job]), text);
    }
    assert_eq!(daemon.files("queue"), NOTHING);
    wait_for_empty_tmp(&daemon);
}

#[test]
fn an_empty_body_is_refused_and_content_types_are_tolerated() {
    let daemon = Daemon::start();
    let empty = daemon.curl(&["-X", "POST", "/xml/upload"]);
    assert_text(&empty, 400);
    let chunked = [
        "--http1.1",
        "-X",
        "POST",
        "-H",
        "Transfer-Encoding: chunked",
    ];
    let chunked = [chunked.as_slice(), &["--data-binary", "", "/xml/upload"]].concat();
    assert_text(&daemon.curl(&chunked), 400);
    assert_eq!(daemon.files("joberrors"), NOTHING);

    let body = daemon.scratch("order.xml", order("1"));
    let body = format!("@{}", body.display());
    for content_type in [
        "application/xml",
        "text/xml; charset=iso-8859-1",
        "application/octet-stream",
        "image/png",
        "nonsense",
        "",
    ] {
        let header = format!("Content-Type: {content_type}");
        let answer = daemon.curl(&["-H", &header, "--data-binary", &body, "/xml/upload"]);
        assert_eq!(answer.status, 201, "{content_type}: {}", answer.text());
    }
}

#[test]
fn a_body_over_the_limit_gets_413_and_leaves_nothing() {
    let daemon = Daemon::start_with(|text| {
        let text = set(&text, "orders_in", "max_bytes = 2000");
        set(&text, "items_in", "max_bytes = 600000")
    });
    let padded = |bytes: usize| {
        let order = order("1");
        let padding = " ".repeat(bytes - order.len());
        order + &padding
    };
    let upload = |bytes: usize, arguments: &[&str], query: &str| {
        let body = daemon.scratch("padded.xml", padded(bytes));
        let body = format!("@{}", body.display());
        let path = format!("/xml/upload{query}");
        let mut all = arguments.to_vec();
        all.extend(["--data-binary", &body, &path]);
        daemon.curl(&all)
    };
    let chunked = ["--http1.1", "-H", "Transfer-Encoding: chunked"];
    for (bytes, status) in [(2000, 201), (2001, 413), (500_000, 413)] {
        for arguments in [&[][..], &["--http1.1"], &chunked] {
            for query in ["", "?Interfacename=orders_in"] {
                let answer = upload(bytes, arguments, query);
                assert_text(&answer, status);
            }
        }
    }
    // More than any interface takes.
    let too_large = 101 << 20;
    let announced = format!("Content-Length: {too_large}");
    let head = [
        "--http1.1",
        "-X",
        "POST",
        "-H",
        &announced,
        "-H",
        "Expect: 100-continue",
    ];
    assert_text(&daemon.curl(&[&head[..], &["/xml/upload"]].concat()), 413);
    assert_eq!(daemon.files("joberrors"), NOTHING);
    wait_for_empty_tmp(&daemon);
    assert_eq!(daemon.files("idem"), NOTHING);
}

/// curl that uploads what it is given on its standard input, of unknown length.
fn uploading(daemon: &Daemon, arguments: &[&str]) -> Child {
    let mut curl = daemon.curl_command("/xml/upload");
    curl.args(["-X", "POST", "-T", "-", "-H", "Expect:"])
        .args(arguments);
    curl.stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    curl.spawn().unwrap()
}

fn n_aborted(daemon: &Daemon) -> usize {
    let log = daemon.log();
    let aborted = |line: &&str| line.contains("access:") && line.contains("end=\"aborted\"");
    log.lines().filter(aborted).count()
}

#[test]
fn a_body_that_is_cut_off_leaves_nothing_behind() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::start();
    let piece = " ".repeat(1 << 20);
    let begun = || {
        let parts = daemon.files("tmp");
        parts
            .iter()
            .any(|part| daemon.spool(part).metadata().is_ok_and(|m| m.len() > 0))
    };
    for (n, version) in ["--http1.1", "--http2"].into_iter().enumerate() {
        let mut curl = uploading(&daemon, &[version]);
        let stdin = curl.stdin.as_mut().unwrap();
        stdin.write_all(order("1").as_bytes()).unwrap();
        stdin.write_all(piece.as_bytes()).unwrap();
        daemon.wait("a part in tmp", begun);
        curl.kill().unwrap();
        curl.wait().unwrap();
        daemon.wait("the part is gone", || daemon.files("tmp").is_empty());
        daemon.wait("the request is over", || n_aborted(&daemon) == n + 1);
    }
    // With its length announced.
    let large = daemon.scratch("large.xml", order("1") + &" ".repeat(8 << 20));
    let mut curl = daemon.curl_command("/xml/upload");
    curl.args(["--http1.1", "-X", "POST", "--limit-rate", "1M", "-T"])
        .arg(large);
    let mut curl = curl
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    daemon.wait("a part in tmp", begun);
    curl.kill().unwrap();
    curl.wait().unwrap();
    daemon.wait("the part is gone", || daemon.files("tmp").is_empty());
    daemon.wait("the request is over", || n_aborted(&daemon) == 3);
    for place in ["queue", "bak", "joberrors", "joblog", "idem"] {
        assert_eq!(daemon.files(place), NOTHING, "{place}");
    }
}

#[test]
fn a_digest_that_is_sent_is_checked() {
    let daemon = Daemon::start();
    let body = daemon.scratch("order.xml", order("1"));
    let body = format!("@{}", body.display());
    let good = digest_field(order("1").as_bytes());
    let wrong = digest_field(b"other");
    let upload = |headers: &[&str]| {
        let headers = headers.iter().flat_map(|header| ["-H", header]);
        let rest = ["--data-binary", &body, "/xml/upload"];
        let all: Vec<&str> = headers.chain(rest).collect();
        daemon.curl(&all)
    };
    for name in ["Content-Digest", "Repr-Digest"] {
        let with = |digest: &str| upload(&[&format!("{name}: {digest}")]);
        let answer = with(&good);
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.header("repr-digest"), Some(&*good));
        assert_eq!(with(&format!("md5=:AAAA:, {good}")).status, 201);
        assert_text(&with(&wrong), 400);
        for malformed in [
            "sha-256",
            "sha-256=abc",
            "sha-256=:!!!!:",
            "sha-256=:AAAA:",
            "sha-256=::",
            ":",
        ] {
            assert_text(&with(malformed), 400);
        }
    }
    let both = [
        format!("Content-Digest: {good}"),
        format!("Repr-Digest: {wrong}"),
    ];
    assert_text(&upload(&[&both[0], &both[1]]), 400);
    let (good_512, wrong_512) = (sha512_field(order("1").as_bytes()), sha512_field(b"other"));
    for (digests, status) in [
        (good_512.clone(), 201),
        (wrong_512.clone(), 400),
        (format!("{good}, {good_512};x=1"), 201),
        (format!("{good}, {wrong_512}"), 400),
        (format!("{wrong}, {good_512}"), 400),
    ] {
        let answer = upload(&[&format!("Content-Digest: {digests}")]);
        assert_text(&answer, status);
    }
    // Large enough for a part in `tmp`.
    let large = order("1") + &" ".repeat(1 << 20);
    let path = daemon.scratch("large.xml", &large);
    for (bytes, status) in [(large.as_bytes(), 201), (b"other", 400)] {
        let digest = format!("Content-Digest: {}", sha512_field(bytes));
        let body = format!("@{}", path.display());
        let answer = daemon.curl(&["-H", &digest, "--data-binary", &body, "/xml/upload"]);
        assert_text(&answer, status);
    }
    assert_eq!(daemon.files("joberrors"), NOTHING);
    wait_for_empty_tmp(&daemon);
}

#[test]
fn a_large_document_is_stored_unchanged() {
    let daemon = Daemon::start_with(|text| set(&text, "orders_in", "schema = \"\""));
    held(&daemon, "orders_in");
    let sent = order("1") + &" ".repeat(3 << 20);
    let answer = daemon.upload_text(&sent, "");
    let job = answer.job();
    let digest = digest_field(sent.as_bytes());
    assert_eq!(answer.header("repr-digest"), Some(&*digest));
    let path = format!("/xml/job?Interfacename=orders_in&Jobname={job}");
    let fetched = daemon.curl(&[&path]);
    assert!(fetched.body == sent.as_bytes());
    assert_eq!(fetched.header("repr-digest"), Some(&*digest));
}

#[test]
fn a_changed_schema_takes_effect_and_a_broken_one_does_not() {
    let daemon = Daemon::start();
    let path = daemon.spool("schemas/orders_in.xsd");
    let shipped = fs::read_to_string(&path).unwrap();
    let replace = |text: &str| {
        let new = daemon.scratch(".new.xsd", text);
        fs::rename(new, &path).unwrap();
    };
    let accepted = || daemon.upload_text(&order("1"), "").status == 201;
    assert!(accepted());
    let stricter = "<xs:schema xmlns:xs=\"http://www.w3.org/2001/XMLSchema\">\
                    <xs:element name=\"ListOfOrders\"><xs:complexType/></xs:element></xs:schema>";
    replace(stricter);
    daemon.wait("the stricter schema is in force", || !accepted());
    replace("<xs:schema xmlns:xs=\"http://www.w3.org/2001/XMLSchema\"><xs:nonsense/>");
    daemon.wait("the broken one is refused", || {
        daemon.log().contains("schema orders_in: refused")
    });
    assert!(!accepted(), "the old one stays in force");
    fs::write(&path, &shipped).unwrap();
    daemon.wait("the shipped schema is in force again", accepted);
    fs::remove_file(&path).unwrap();
    daemon.wait("its absence is noticed", || {
        daemon.log().contains("the file is gone")
    });
    assert!(accepted());
}

#[test]
fn uploads_beyond_what_there_is_room_for_are_put_off() {
    if !has_job_files() {
        return;
    }
    let busy = |daemon: &Daemon, query: &str| {
        let answer = daemon.upload_text(&order("1"), query);
        assert_text(&answer, 503);
        let seconds = answer.header("retry-after").unwrap();
        assert!(seconds.parse::<u32>().unwrap() > 0);
        wait_for_empty_tmp(daemon);
    };
    let full = Daemon::start_with(|text| text + "\n[limits]\nqueue_jobs_max = 2\n");
    held(&full, "orders_in");
    full.upload_text(&order("1"), "").job();
    full.upload_text(&order("1"), "").job();
    // The count that admission goes by is the last scan's.
    full.wait("the queue is full", || {
        full.upload_text(&order("1"), "?Interfacename=orders_in")
            .status
            == 503
    });
    busy(&full, "?Interfacename=orders_in");
    let items = document("items_in/change.valid.xml");
    assert_eq!(
        full.upload(&items, "").status,
        201,
        "another queue has room"
    );

    let no_room = Daemon::start_with(|text| {
        text + &format!("\n[limits]\nfree_bytes_min = {}\n", 1_u64 << 60)
    });
    busy(&no_room, "");
    assert_eq!(no_room.files("queue"), NOTHING);

    let one = Daemon::start_with(|text| text + "\n[limits]\nuploads_max = 1\n");
    let mut first = uploading(&one, &["--http1.1"]);
    let text = order("1") + &" ".repeat(1 << 20);
    first
        .stdin
        .as_mut()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    one.wait("an upload is under way", || !one.files("tmp").is_empty());
    let answer = one.upload_text(&order("2"), "");
    assert_text(&answer, 503);
    assert!(answer.header("retry-after").is_some());
    drop(first.stdin.take());
    assert!(first.wait().unwrap().success());
    assert_eq!(one.upload_text(&order("2"), "").status, 201);
}

#[test]
fn a_spool_that_cannot_be_written_puts_uploads_off() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::start();
    // Permissions would not stop a test that runs as root; a missing directory stops everyone.
    fs::rename(daemon.spool("tmp"), daemon.spool("tmp-away")).unwrap();
    let answer = daemon.upload_text(&order("1"), "");
    assert_text(&answer, 503);
    assert!(answer.header("retry-after").is_some());
    fs::rename(daemon.spool("tmp-away"), daemon.spool("tmp")).unwrap();
}

#[test]
fn what_is_surely_no_document_is_named_and_not_kept() {
    let daemon = Daemon::start();
    held(&daemon, "orders_in");
    let paths = [
        "/xml/upload",
        "/xml/validate",
        "/xml/jobqueue",
        "/scheduler/connector-api/process/start",
        "/api/v1/default/process/orders_in",
    ];
    for (header, instead) in [
        ("Content-Encoding: gzip", "without Content-Encoding"),
        ("Content-Encoding: identity, br", "without Content-Encoding"),
        (
            "Content-Type: multipart/form-data; boundary=x",
            "the document itself",
        ),
    ] {
        for path in paths {
            let answer = daemon.curl(&["-H", header, "--data-binary", &order("1"), path]);
            let said = answer.text();
            assert_eq!(answer.status, 415, "{path}: {said}");
            assert!(said.contains(instead), "{said}");
            let accepts = header.starts_with("Content-Encoding").then_some("identity");
            assert_eq!(answer.header("accept-encoding"), accepts, "{path}");
        }
    }
    let plain = ["-H", "Content-Encoding: identity", "--data-binary"];
    let accepted = daemon.curl(&[&plain[..], &[&order("1"), "/xml/upload"]].concat());
    assert_eq!(daemon.queue("orders_in"), [accepted.job()]);
    assert_eq!(daemon.files("joberrors"), [""; 0]);
}

#[test]
fn a_document_can_be_checked_and_nothing_is_kept() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| text);
    let lister = daemon.add_user("lister", &["orders_in=list"]);
    daemon.serve();
    held(&daemon, "orders_in");
    let check = |text: &str, query: &str| {
        let path = daemon.scratch("checked.xml", text);
        let body = format!("@{}", path.display());
        daemon.curl(&["--data-binary", &body, &format!("/xml/validate{query}")])
    };
    // In memory, and streamed.
    for text in [order("1"), order("1") + &" ".repeat(1 << 20)] {
        for query in ["", "?Interfacename=orders_in&RefName=x"] {
            let valid = check(&text, query);
            assert_eq!(
                (valid.status, valid.text()),
                (200, "valid: orders_in\n".into())
            );
        }
    }
    for (text, said) in [
        ("<ListOfOrders/>".to_owned(), "1:"),
        (" ".repeat(1 << 20) + "<ListOfOrders/>", "1:"),
        ("<a>".into(), "1:"),
        ("<Unknown/>".into(), "no interface takes documents"),
    ] {
        let refused = check(&text, "");
        assert_text(&refused, 400);
        let told = refused.text();
        assert!(
            told.starts_with("the document would be refused\n"),
            "{told}"
        );
        assert!(told.contains(said), "{told}");
        assert_eq!(refused.header("x-job-name"), None);
    }
    let json = ["-H", "Accept: application/json", "-d", "<a>"];
    let problem = daemon.curl(&[&json[..], &["/xml/validate"]].concat());
    let kind = problem.header("content-type");
    assert_eq!(
        (problem.status, kind),
        (400, Some("application/problem+json"))
    );
    let told: serde_json::Value = serde_json::from_slice(&problem.body).unwrap();
    assert_eq!(
        (&told["status"], &told["findings"][0]["line"]),
        (&400.into(), &1.into())
    );
    assert_text(&check("", ""), 400);
    assert_text(&check(&order("1"), "?Interfacename=orders_out"), 400);
    assert_text(&check(&order("1"), "?Interfacename=nothing"), 400);
    let denied = daemon.curl_as(
        &lister,
        &["-d", "<a/>", "/xml/validate?Interfacename=orders_in"],
    );
    assert_text(&denied, 403);
    for place in ["queue", "joberrors", "joblog", "idem"] {
        let files = daemon.files(place);
        assert!(
            files.iter().all(|file| file.ends_with(".hold")),
            "{files:?}"
        );
    }
    super::wait_for_empty_tmp(&daemon);
}

/// Source: the dStore contract, `@CreationDate`.
#[test]
fn a_creation_date_has_the_form_of_the_system_that_it_is_from() {
    let daemon = Daemon::start();
    let check = |date: &str| {
        let text = order("1").replace("2026-11-22T10:00:00", date);
        daemon
            .curl(&["--data-binary", &text, "/xml/validate"])
            .status
    };
    for good in [
        "1183721060",
        "1795323468123",
        "1795323468.5",
        "2026-11-26",
        "2026-11-26T10:00:00",
        "2026-11-26T10:00:00.123+01:00",
        "2026-11-26 10:00:00",
        "07.04.2004",
        "07.04.2004 07:46",
        "07.04.2004 07:46:54",
        "07.04.2004 07:46:54:500",
    ] {
        assert_eq!(check(good), 200, "{good}");
    }
    for bad in [
        "",
        "yesterday",
        "22.13.2026",
        "2026-13-01",
        "12345678901234",
        "-1",
        "1e9",
    ] {
        assert_eq!(check(bad), 400, "{bad}");
    }
}
