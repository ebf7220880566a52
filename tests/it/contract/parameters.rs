//! Methods and parameters.

use super::{assert_text, held};
use crate::harness::{Daemon, order};

#[test]
fn parameters_come_in_the_query_or_in_a_form_and_are_spelled_exactly() {
    let daemon = Daemon::start();
    held(&daemon, "orders_in");
    let job = daemon.upload_text(&order("1"), "").job();
    let name = format!("Jobname={job}");
    let interface = "Interfacename=orders_in";
    let line = format!("{job}\n");

    let query = daemon.curl(&[&format!("/xml/jobqueue?{interface}")]);
    assert_text(&query, 200);
    assert_eq!(query.text(), line);
    let form = daemon.curl(&["--data-urlencode", interface, "/xml/jobqueue"]);
    assert_eq!(form.text(), line);
    for path in ["/xml/jobstatus", "/xml/job", "/xml/joblog"] {
        let query = daemon.curl(&[&format!("{path}?{interface}&{name}")]);
        let form = [
            "--data-urlencode",
            interface,
            "--data-urlencode",
            &name,
            path,
        ];
        let form = daemon.curl(&form);
        let half = format!("{path}?{interface}");
        let both = daemon.curl(&["--data-urlencode", &name, &half]);
        for other in [form, both] {
            assert_eq!(
                (other.status, other.body),
                (query.status, query.body.clone())
            );
        }
    }
    let encoded = daemon.curl(&["/xml/jobqueue?Interface%6eame=orders%5Fin"]);
    assert_eq!(encoded.text(), line);

    let twice = format!("/xml/jobqueue?{interface}&{interface}&Unknown=1&x&%20=");
    assert_eq!(daemon.curl(&[&twice]).text(), line);
    for bad in [
        "/xml/jobqueue?Interfacename=orders_in&Interfacename=items_in",
        "/xml/jobqueue?interfacename=orders_in",
        "/xml/jobqueue?INTERFACENAME=orders_in",
        "/xml/jobqueue?Interfacename=",
        "/xml/jobqueue?Interfacename=Orders_in",
        "/xml/jobqueue?Interfacename=unknown_in",
        "/xml/jobqueue?Interfacename=%ff",
        "/xml/jobqueue?Interfacename=%zz",
        "/xml/jobqueue",
        "/xml/job?Interfacename=orders_in",
        "/xml/jobstatus",
        "/xml/joblog?jobname=x",
    ] {
        assert_text(&daemon.curl(&[bad]), 400);
    }
    let split = "/xml/jobqueue?Interfacename=items_in";
    assert_text(&daemon.curl(&["--data-urlencode", interface, split]), 400);
    let job_of_another = format!("/xml/job?Interfacename=items_in&{name}");
    assert_text(&daemon.curl(&[&job_of_another]), 400);
    let log_of_another = format!("/xml/joblog?Interfacename=items_in&{name}");
    assert_ne!(daemon.curl(&[&log_of_another]).status, 200);
}

#[test]
fn a_queue_is_listed_oldest_first_and_empty_is_an_answer() {
    let daemon = Daemon::start();
    held(&daemon, "orders_in");
    let empty = daemon.curl(&["/xml/jobqueue?Interfacename=orders_in"]);
    assert_text(&empty, 200);
    assert_eq!(empty.body, b"");
    let uploads = ["z", "a", "m", "0"];
    let jobs = uploads.map(|name| daemon.upload_text(&order(name), &format!("?RefName={name}")));
    assert_eq!(daemon.queue("orders_in"), jobs.map(|answer| answer.job()));
}

#[test]
fn other_methods_get_405_with_allow() {
    let daemon = Daemon::start();
    for (path, allow, refused) in [
        ("upload", "POST", ["GET", "PUT", "DELETE"]),
        ("job", "GET, HEAD, POST", ["PUT", "DELETE", "OPTIONS"]),
        ("jobqueue", "GET, POST", ["PUT", "DELETE", "PATCH"]),
        ("joblog", "GET, POST", ["PUT", "DELETE", "PATCH"]),
        ("jobstatus", "GET, POST", ["PUT", "DELETE", "PATCH"]),
    ] {
        for method in refused {
            let answer = daemon.curl(&["-X", method, &format!("/xml/{path}?Jobname=x")]);
            assert_text(&answer, 405);
            assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        }
    }
    let head = daemon.curl(&["-I", "/xml/jobqueue?Interfacename=orders_in"]);
    assert_eq!(
        (head.status, head.header("allow")),
        (405, Some("GET, POST"))
    );
}
