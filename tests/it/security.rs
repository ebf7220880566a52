//! What a hostile client or document tries, and what must not come of it.

use crate::harness::{Answer, Daemon, order};
use std::fs;

/// More than the server needs for any document, less than a bomb would make of it.
const MEMORY_KIB_MAX: u64 = 200 * 1024;

fn memory_kib(daemon: &Daemon, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn upload(daemon: &Daemon, bytes: impl AsRef<[u8]>) -> Answer {
    let path = daemon.scratch("hostile.xml", bytes);
    daemon.upload(&path, "")
}

/// A 400 with the job's line and then findings, each with its place.
fn assert_located(what: &str, answer: &Answer) {
    let text = answer.text();
    assert_eq!(answer.status, 400, "{what}: {text}");
    assert!(
        text.len() < 100_000,
        "{what}: an answer of {} bytes",
        text.len()
    );
    let mut n_findings = 0;
    for line in text.lines().skip(1) {
        let place: Vec<_> = line.splitn(3, ':').map(str::parse::<u32>).collect();
        assert!(
            matches!(place[..], [Ok(1..), Ok(1..), Err(_)]),
            "{what}: {line}"
        );
        n_findings += 1;
    }
    assert!(n_findings > 0, "{what}: {text}");
}

fn assert_unharmed(daemon: &Daemon) {
    assert_eq!(upload(daemon, order("after")).status, 201);
    let high = memory_kib(daemon, "VmHWM:");
    assert!(high < MEMORY_KIB_MAX, "{high} KiB at most");
    let log = daemon.log();
    assert!(!log.contains("panicked"), "a panic");
    daemon.wait("nothing in tmp", || daemon.files("tmp").is_empty());
}

/// A document whose order has one more attribute.
fn with_attribute(attribute: &str) -> String {
    order("1").replace("OrderID=", &format!("{attribute} OrderID="))
}

fn utf_16(text: &str, encode: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let text = format!("\u{feff}{text}");
    text.encode_utf16().flat_map(encode).collect()
}

#[test]
fn entities_are_never_expanded_or_fetched() {
    let daemon = Daemon::start();
    let secret = daemon.scratch("secret.txt", "top-secret-content");
    let bait = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    bait.set_nonblocking(true).unwrap();
    let address = bait.local_addr().unwrap();
    let using = |declarations: &str| {
        let text = order("1").replace("OrderID=\"1\"", "OrderID=\"&e;\"");
        format!("<!DOCTYPE ListOfOrders [{declarations}]>\n{text}")
    };
    let mut bomb = "<!ENTITY e0 'aaaaaaaaaa'>".to_owned();
    for n in 1..12 {
        let ten = format!("&e{};", n - 1).repeat(10);
        bomb += &format!("<!ENTITY e{n} '{ten}'>");
    }
    bomb += "<!ENTITY e '&e11;'>";
    let quadratic = format!("<!ENTITY e '{}'>", "a".repeat(50_000));
    let path = secret.display();
    for (what, text) in [
        ("bomb", using(&bomb)),
        (
            "quadratic",
            using(&quadratic).replace("&e;", &"&e;".repeat(10_000)),
        ),
        (
            "file",
            using(&format!("<!ENTITY e SYSTEM 'file://{path}'>")),
        ),
        (
            "network",
            using(&format!("<!ENTITY e SYSTEM 'http://{address}/x'>")),
        ),
        (
            "parameter entity",
            using(&format!("<!ENTITY % p SYSTEM 'http://{address}/x'> %p;")),
        ),
        ("recursion", using("<!ENTITY e '&f;'><!ENTITY f '&e;'>")),
        (
            "external subset",
            format!("<!DOCTYPE a SYSTEM 'http://{address}/x.dtd'><a/>"),
        ),
        (
            "undeclared",
            order("1").replace("\"1\"", "\"&undeclared;\""),
        ),
        (
            "XInclude",
            format!(
                "<ListOfOrders CreationDate=\"2026-11-22T10:00:00\" \
                 xmlns:xi=\"http://www.w3.org/2001/XInclude\"><xi:include parse=\"text\" \
                 href=\"file://{path}\"/></ListOfOrders>"
            ),
        ),
    ] {
        let answer = upload(&daemon, text);
        assert_located(what, &answer);
        assert!(!answer.text().contains("top-secret"), "{what}");
        let job = answer.header("x-job-name").unwrap();
        let log = daemon.curl(&[&format!("/xml/joblog?Jobname={job}")]).text();
        assert!(!log.contains("top-secret"), "{what}: {log}");
    }
    assert!(bait.accept().is_err(), "the server called");
    assert_unharmed(&daemon);
}

#[test]
fn excessive_markup_is_refused_and_costs_little() {
    let daemon = Daemon::start();
    let deep = "<a>".repeat(100_000) + &"</a>".repeat(100_000);
    let inside = order("1").replace("<OrderContent>", &format!("{deep}<OrderContent>"));
    let many: String = (0..200_000).map(|n| format!(" a{n}=\"\"")).collect();
    let namespaces: String = (0..50_000)
        .map(|n| format!(" xmlns:n{n}=\"urn:{n}\""))
        .collect();
    let long = "x".repeat(5 << 20);
    let stray: String = "<Odd/>".repeat(200_000);
    for (what, text) in [
        ("nesting", deep.clone()),
        ("nesting in an order", inside),
        ("unclosed nesting", "<a>".repeat(500_000)),
        (
            "long attribute",
            with_attribute(&format!("Long=\"{long}\"")),
        ),
        ("many attributes", with_attribute(&many)),
        ("many namespaces", with_attribute(&namespaces)),
        ("long name", format!("<{long}/>")),
        (
            "many findings",
            order("1").replace("<OrderContent>", &stray),
        ),
        ("comment without end", format!("<!--{long}")),
        ("CDATA without end", format!("<a><![CDATA[{long}")),
        ("instruction without end", format!("<?pi {long}")),
    ] {
        assert_located(what, &upload(&daemon, text));
    }
    assert_unharmed(&daemon);
}

#[test]
fn encodings_are_read_as_declared_or_refused() {
    let daemon = Daemon::start();
    let umlaut = order("B\u{fc}cher");
    let latin_1 = |text: &str| -> Vec<u8> {
        let byte = |c: char| u8::try_from(u32::from(c)).unwrap();
        text.chars().map(byte).collect()
    };
    let declared = |encoding: &str| format!("<?xml version=\"1.0\" encoding=\"{encoding}\"?>");
    let with_nul = |at: &str| order("1").replace(at, &format!("{at}\0"));
    for (what, bytes, status) in [
        ("UTF-8", umlaut.clone().into_bytes(), 201),
        ("BOM", format!("\u{feff}{umlaut}").into_bytes(), 201),
        ("UTF-16 LE", utf_16(&umlaut, u16::to_le_bytes), 201),
        ("UTF-16 BE", utf_16(&umlaut, u16::to_be_bytes), 201),
        (
            "ISO-8859-1",
            latin_1(&(declared("ISO-8859-1") + &umlaut)),
            201,
        ),
        ("ISO-8859-1 undeclared", latin_1(&umlaut), 400),
        (
            "ISO-8859-1 as UTF-8",
            latin_1(&(declared("UTF-8") + &umlaut)),
            400,
        ),
        (
            "UTF-8 declared UTF-16",
            (declared("UTF-16") + &umlaut).into_bytes(),
            400,
        ),
        (
            "unknown",
            (declared("nonsense-1") + &umlaut).into_bytes(),
            400,
        ),
        (
            "odd UTF-16",
            utf_16(&umlaut, u16::to_le_bytes)[..99].to_vec(),
            400,
        ),
        (
            "lone surrogate",
            [&utf_16("<a>", u16::to_le_bytes)[..], b"\x00\xd8<\0"].concat(),
            400,
        ),
        ("only a BOM", b"\xef\xbb\xbf".to_vec(), 400),
        (
            "overlong",
            order("1")
                .replace('1', "?")
                .into_bytes()
                .iter()
                .flat_map(|b| match b {
                    b'?' => vec![0xc0, 0xaf],
                    other => vec![*other],
                })
                .collect(),
            400,
        ),
        ("NUL in text", with_nul("<OrderContent>").into_bytes(), 400),
        ("NUL in a name", with_nul("<Orde").into_bytes(), 400),
        ("NUL in a value", with_nul("OrderID=\"").into_bytes(), 400),
        ("NUL first", format!("\0{}", order("1")).into_bytes(), 400),
        ("NUL last", format!("{}\0", order("1")).into_bytes(), 400),
        ("NUL by reference", order("&#0;").into_bytes(), 400),
        ("control by reference", order("&#x1b;").into_bytes(), 400),
        ("only NUL", vec![0; 1 << 20], 400),
        (
            "noise",
            (0..100_000_u32)
                .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect(),
            400,
        ),
    ] {
        let answer = upload(&daemon, &bytes);
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        if status == 400 {
            assert_located(what, &answer);
        }
    }
    assert_unharmed(&daemon);
}

#[test]
fn no_parameter_leads_out_of_the_spool() {
    let daemon = Daemon::start();
    daemon.operator(&["hold", "orders_in"]);
    let job = daemon.upload_text(&order("1"), "").job();
    daemon.scratch("secret.xml", "<top-secret-content/>");
    let mut before = daemon.files("");
    before.retain(|file| !file.starts_with("tmp"));
    let dots = "../".repeat(12);
    for bad in [
        "../secret.xml".to_owned(),
        "../../../secret.xml".to_owned(),
        "..%2f..%2f..%2fsecret.xml".to_owned(),
        "..%5c..%5csecret.xml".to_owned(),
        "%2e%2e/%2e%2e/secret.xml".to_owned(),
        "%252e%252e%252fsecret.xml".to_owned(),
        "/etc/passwd".to_owned(),
        format!("{dots}etc/passwd"),
        format!("../orders_in/{job}"),
        format!("{job}/../../../../secret.xml"),
        format!("{job}%00"),
        format!("%0a{job}"),
        ".".to_owned(),
        "..".to_owned(),
        ".hold".to_owned(),
        "~root".to_owned(),
        "orders_in/../orders_in".to_owned(),
        "%c0%ae%c0%ae%c0%afsecret.xml".to_owned(),
    ] {
        for path in [
            format!("/xml/jobqueue?Interfacename={bad}"),
            format!("/xml/job?Interfacename={bad}&Jobname={job}"),
            format!("/xml/job?Interfacename=orders_in&Jobname={bad}"),
            format!("/xml/job?Interfacename=orders_in&Jobname={job}&xslt={bad}"),
            format!("/xml/joblog?Jobname={bad}"),
            format!("/xml/jobstatus?Jobname={bad}"),
        ] {
            let answer = daemon.curl(&["--path-as-is", &path]);
            assert_eq!(answer.status, 400, "{path}: {}", answer.text());
            let told = answer.text();
            assert!(
                !told.contains("top-secret") && !told.contains("root:"),
                "{path}"
            );
        }
        let explicit = format!("/xml/upload?Interfacename={bad}");
        let refused = daemon.curl(&["--http1.1", "-d", "<a/>", &explicit]);
        assert_eq!(refused.status, 400, "{bad}");
    }
    let mut after = daemon.files("");
    after.retain(|file| !file.starts_with("tmp"));
    assert_eq!(after, before, "something was written");
}

#[test]
fn control_characters_reach_no_answer_and_no_log() {
    let daemon = Daemon::start();
    let evil = "%0d%0aX-Evil:%20yes%0d%0a%0d%0a%1b%5b31mred%07%00%7f%c2%9b31m%e2%80%ae";
    let mut answers = Vec::new();
    for path in [
        format!("/xml/jobqueue?Interfacename={evil}"),
        format!("/xml/job?Interfacename=orders_in&Jobname={evil}"),
        format!("/xml/job?Interfacename=orders_in&Jobname=x&xslt={evil}"),
        format!("/xml/joblog?Jobname={evil}"),
        format!("/xml/jobstatus?Jobname={evil}"),
        format!("/xml/{evil}"),
        format!("/{evil}"),
    ] {
        answers.push(daemon.curl(&[&path]));
    }
    let named = daemon.upload_text(&order("1"), &format!("?RefName={evil}"));
    assert_eq!(named.status, 201);
    answers.push(named);
    // In documents: names and values that end up in findings.
    for document in [
        with_attribute("Odd=\"&#10;99:9: forged&#13;&#10;X-Evil: yes\""),
        with_attribute("Odd=\"\u{202e}\u{9b}31m\""),
        order("1").replace("2026-11-22T10:00:00", "&#10;99:9: forged\u{85}\u{2028}"),
        "<Odd\u{2028}name/>".to_owned(),
        "<\u{1b}[31m/>".to_owned(),
        "<Unknown xmlns=\"urn:&#10;99:9: forged\"/>".to_owned(),
    ] {
        let answer = upload(&daemon, document);
        assert_eq!(answer.status, 400);
        let job = answer.header("x-job-name").unwrap();
        let log = daemon.curl(&[&format!("/xml/joblog?Jobname={job}")]);
        assert_eq!(log.status, 200);
        answers.extend([answer, log]);
    }
    // In headers.
    for header in [
        "X-Request-Id: a\u{1b}[31m",
        "X-Request-Id: <script>",
        "Idempotency-Key: a\u{1b}[31m",
        "Content-Digest: sha-256=:\u{1b}[31m:",
        "Host: \u{1b}[31m",
        "Authorization: Basic \u{1b}[31m",
    ] {
        let arguments = ["--http1.1", "-H", header, "-d", "<a/>", "/xml/upload"];
        answers.push(daemon.curl(&arguments));
    }
    answers.push(daemon.curl_as("evil\u{1b}[31m\nuser:x", &["/xml/upload"]));
    for answer in &answers {
        assert_eq!(answer.header("x-evil"), None);
        let text = answer.text();
        let control = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(control), "{text:?}");
        for line in text.lines() {
            assert!(!line.starts_with("99:9:"), "a forged finding: {text}");
            assert!(!line.starts_with("X-Evil"), "{text}");
        }
    }
    // In the names of dropped files.
    daemon.drop_in("orders_out", "a\n99:9: forged\u{1b}[31m.xml", order("1"));
    for line in daemon.log().lines() {
        assert!(line.starts_with("20"), "a forged line in the log: {line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

#[test]
fn credentials_never_reach_the_log() {
    use base64::Engine as _;
    // What tells most without the watcher: that one would tell of the log's own growth, forever.
    let level = |text: String| text + "\n[log]\nlevel = \"trace,notify=info\"\n";
    let daemon = Daemon::start_with(level);
    let path = "/xml/jobqueue?Interfacename=orders_in";
    let right = daemon.password.clone();
    for version in ["--http1.1", "--http2"] {
        assert_eq!(daemon.curl(&[version, path]).status, 200);
        for login in ["admin:wrong-secret-word", "nobody:wrong-secret-word"] {
            assert_eq!(daemon.curl_as(login, &[version, path]).status, 401);
        }
    }
    let plain = format!("{}{path}", daemon.plain);
    assert_eq!(daemon.curl(&[&plain]).status, 403);
    let query = format!("{path}&password=wrong-secret-word");
    assert_eq!(daemon.curl(&[&query]).status, 200);
    let user_in_the_address = daemon
        .url
        .replace("https://", "https://admin:wrong-secret-word@");
    assert_eq!(
        daemon
            .bare_curl(&[&format!("{user_in_the_address}{path}")])
            .status,
        401
    );
    let log = daemon.log();
    assert!(log.contains("access"), "{log}");
    let encoded = |login: &str| base64::engine::general_purpose::STANDARD.encode(login);
    for secret in [
        right.as_str(),
        "wrong-secret-word",
        &encoded(&format!("admin:{right}")),
        &encoded("admin:wrong-secret-word"),
        &encoded("nobody:wrong-secret-word"),
        "$argon2",
    ] {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} in {line:?}");
    }
}
