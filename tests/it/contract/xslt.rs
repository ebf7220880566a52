//! Jobs through a stylesheet of the server.

use super::assert_text;
use crate::harness::{Answer, Daemon, document, order};
use std::fs;

const HEAD: &str = "<xsl:stylesheet version=\"1.0\" \
                    xmlns:xsl=\"http://www.w3.org/1999/XSL/Transform\">";

fn sheet(body: &str) -> String {
    format!("{HEAD}<xsl:template match=\"/\">{body}</xsl:template></xsl:stylesheet>")
}

fn fetch(daemon: &Daemon, job: &str, name: &str) -> Answer {
    daemon.curl(&[&format!(
        "/xml/job?Interfacename=orders_out&Jobname={job}&xslt={name}"
    )])
}

#[test]
fn a_job_can_be_had_as_csv_and_html() {
    let daemon = Daemon::start();
    let sent = fs::read(document("orders_out/orders.valid.xml")).unwrap();
    let job = daemon.drop_in("orders_out", "o.xml", &sent);
    let path = format!("/xml/job?Interfacename=orders_out&Jobname={job}");
    let head = daemon.curl(&["-I", &format!("{path}&xslt=order-csv")]);
    assert_eq!(head.status, 200);
    assert_eq!(daemon.place(&job), "queue/orders_out");
    let csv = fetch(&daemon, &job, "order-csv");
    assert_eq!(csv.status, 200, "{}", csv.text());
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=UTF-8"));
    assert_eq!(head.header("content-length"), csv.header("content-length"));
    assert!(csv.text().starts_with("OrderID;OrderNo;"), "{}", csv.text());
    assert!(csv.text().lines().count() > 1);
    // A complete retrieval, so the job is filed away.
    assert_eq!(daemon.place(&job), "bak/orders_out");
    let html = fetch(&daemon, &job, "order-html");
    assert_eq!(
        html.header("content-type"),
        Some("text/html; charset=UTF-8")
    );
    assert!(html.text().contains("<table"), "{}", html.text());
    assert_eq!(daemon.curl(&[&path]).body, sent);
}

#[test]
fn unknown_and_unsafe_names_are_refused_and_move_nothing() {
    let daemon = Daemon::start();
    let job = daemon.drop_in("orders_out", "o.xml", order("1"));
    fs::write(daemon.dir().join("spool/outside.xsl"), sheet("out")).unwrap();
    for name in [
        "unknown",
        "order-csv.xsl",
        "../outside",
        "..%2Foutside",
        "%2e%2e/outside",
        "xslt/order-csv",
        "/etc/passwd",
        "http://partner.example.org/x",
        ".",
        "..",
        "order-csv%00",
        "order-csv%0a",
        "Order-CSV",
        "%c3%bc",
    ] {
        let answer = fetch(&daemon, &job, name);
        assert_text(&answer, 400);
        assert!(!answer.text().trim_end().contains('\n'), "{name}");
        assert_eq!(daemon.place(&job), "queue/orders_out", "{name}");
    }
}

#[test]
fn a_stylesheet_with_a_mistake_is_refused_and_the_old_one_stays() {
    let daemon = Daemon::start();
    let job = daemon.drop_in("orders_out", "o.xml", order("1"));
    let put = |name: &str, text: &str| {
        let new = daemon.scratch(".new.xsl", text);
        fs::rename(new, daemon.spool(&format!("xslt/{name}.xsl"))).unwrap();
    };
    put("own", &sheet("<a>first</a>"));
    daemon.wait("it is loaded", || fetch(&daemon, &job, "own").status == 200);
    put("own", &sheet("<a>second</a>"));
    daemon.wait("the new one is in force", || {
        fetch(&daemon, &job, "own").text().contains("second")
    });
    for (n, bad) in [
        "<xsl:template match=\"/\">".to_owned(),
        sheet("<xsl:value-of select=\"document('/etc/passwd')\"/>"),
        sheet("<xsl:nonsense/>"),
    ]
    .iter()
    .enumerate()
    {
        put("own", bad);
        put(&format!("bad{n}"), bad);
        daemon.wait("it is refused", || {
            let log = daemon.log();
            log.contains(&format!("stylesheet bad{n}: refused"))
                && log.matches("stylesheet own: refused").count() > n
        });
        assert!(fetch(&daemon, &job, "own").text().contains("second"));
        let refused = fetch(&daemon, &job, &format!("bad{n}"));
        assert_text(&refused, 500);
        assert_eq!(refused.text().lines().count(), 1);
    }
    fs::remove_file(daemon.spool("xslt/bad0.xsl")).unwrap();
    daemon.wait("it is forgotten", || {
        fetch(&daemon, &job, "bad0").status == 400
    });
}

#[test]
fn a_transformation_that_fails_is_plain_and_moves_nothing() {
    let daemon = Daemon::start();
    let put = |name: &str, text: &str| {
        fs::write(daemon.spool(&format!("xslt/{name}.xsl")), text).unwrap();
        daemon.wait("it is loaded", || {
            daemon.log().contains(&format!("stylesheet {name}: loaded"))
        });
    };
    put(
        "stops",
        &sheet("<xsl:message terminate=\"yes\">secret detail</xsl:message>"),
    );
    let again = "<xsl:call-template name=\"again\"/>";
    put(
        "endless",
        &format!(
            "{HEAD}<xsl:template match=\"/\" name=\"again\">{again}</xsl:template></xsl:stylesheet>"
        ),
    );
    let job = daemon.drop_in("orders_out", "o.xml", order("1"));
    for name in ["stops", "endless"] {
        let answer = fetch(&daemon, &job, name);
        assert_text(&answer, 500);
        assert!(!answer.text().contains("secret"), "{}", answer.text());
        assert_eq!(answer.text().lines().count(), 1);
        assert_eq!(daemon.place(&job), "queue/orders_out");
    }
    assert!(daemon.log().contains("secret detail"));
    let odd = daemon.drop_in("orders_out", "odd.xml", "no markup");
    let answer = fetch(&daemon, &odd, "order-csv");
    assert!(answer.status >= 400, "{}", answer.status);
    assert_eq!(daemon.place(&odd), "queue/orders_out");
}
