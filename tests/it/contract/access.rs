//! Who is let in, where, and to what.

use super::{assert_text, held};
use crate::harness::{Daemon, order};
use std::io::{Read, Write};

const PATHS: [&str; 5] = [
    "/xml/upload",
    "/xml/jobqueue?Interfacename=orders_in",
    "/xml/job?Interfacename=orders_in&Jobname=x",
    "/xml/joblog?Jobname=x",
    "/xml/jobstatus?Jobname=x",
];

#[test]
fn every_method_wants_a_user_and_challenges_for_one() {
    let daemon = Daemon::start();
    let challenged = |arguments: &[&str]| {
        let answer = daemon.bare_curl(arguments);
        assert_eq!(answer.status, 401, "{arguments:?}: {}", answer.text());
        let challenge = answer.header("www-authenticate").unwrap();
        let realm = challenge.strip_prefix("Basic realm=\"").unwrap();
        let realm = realm.strip_suffix("\", charset=\"UTF-8\"").unwrap();
        assert!(!realm.is_empty() && !realm.contains('"'), "{challenge}");
    };
    for path in PATHS {
        for method in ["GET", "POST", "PUT"] {
            challenged(&["-X", method, path]);
        }
        challenged(&["-I", path]);
    }
    let wrong = format!("admin:{}x", daemon.password);
    challenged(&["-u", &wrong, PATHS[1]]);
    challenged(&["-u", "nobody:nothing", PATHS[1]]);
    for header in ["Bearer x", "Basic", "Basic !", "Basic YWRtaW4="] {
        challenged(&["-H", &format!("Authorization: {header}"), PATHS[1]]);
    }
    // The right ones beside wrong ones: whoever sends two has none.
    let login = format!("admin:{}", daemon.password);
    let second = "Authorization: Basic eDp5";
    challenged(&["-u", &login, "-H", second, "-H", second, PATHS[1]]);
    assert_eq!(daemon.curl(&[PATHS[1]]).status, 200);
    assert_eq!(daemon.files("queue"), Vec::<String>::new());
}

#[test]
fn a_user_without_the_right_gets_403_and_one_without_any_the_answer_of_no_interface() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| {
        let orders = "[interfaces.orders_in]\n";
        assert!(text.contains(orders), "{text}");
        text.replace(orders, &format!("{orders}aliases = [\"Bestellungen\"]\n"))
    });
    let sender = daemon.add_user("sender", &["orders_in=upload"]);
    let lister = daemon.add_user("lister", &["orders_in=list", "orders_out=list"]);
    let stranger = daemon.add_user("stranger", &["persons_in=upload,list,download"]);
    daemon.serve();
    held(&daemon, "orders_in");
    let document = daemon.scratch("order.xml", order("1"));
    let body = format!("@{}", document.display());
    let upload = |login: &str, path: &str| daemon.curl_as(login, &["--data-binary", &body, path]);
    let job = upload(&sender, "/xml/upload").job();
    let listing = "/xml/jobqueue?Interfacename=orders_in";
    let fetching = format!("/xml/job?Interfacename=orders_in&Jobname={job}");

    assert_text(&daemon.curl_as(&sender, &[listing]), 403);
    assert_text(&daemon.curl_as(&sender, &[&fetching]), 403);
    assert_eq!(daemon.curl_as(&lister, &[listing]).text().trim(), job);
    assert_text(&daemon.curl_as(&lister, &[&fetching]), 403);
    assert_text(&upload(&lister, "/xml/upload"), 403);
    let explicit = "/xml/upload?Interfacename=orders_in";
    assert_text(&upload(&lister, explicit), 403);
    assert_eq!(daemon.queue("orders_in"), [job.as_str()]);

    // To a stranger the interface looks like one that does not exist, by any of its names.
    let same = |path: &str, name: &str, of_nobody: &str| {
        let path = |name: &str| path.replace("NAME", name);
        let theirs = upload(&stranger, &path(name));
        let nobodys = upload(&stranger, &path(of_nobody));
        assert_text(&theirs, 400);
        assert_eq!(theirs.header("x-job-name"), None, "{}", theirs.text());
        assert_eq!(theirs.text().replace(name, of_nobody), nobodys.text());
    };
    for name in ["orders_in", "Bestellungen"] {
        same("/xml/upload?Interfacename=NAME", name, "nothing");
        let listing = format!("/xml/jobqueue?Interfacename={name}");
        let theirs = daemon.curl_as(&stranger, &[&listing]);
        assert_eq!(
            (theirs.status, theirs.text()),
            (400, format!("unknown interface {name}\n"))
        );
        let log = format!("/xml/joblog?Jobname={job}&Interfacename={name}");
        let theirs = daemon.curl_as(&stranger, &[&log]);
        assert_eq!(theirs.text(), format!("unknown interface {name}\n"));
    }
    let refused = upload(&stranger, "/xml/upload");
    assert_text(&refused, 400);
    let said = "no interface takes documents with the root element ListOfOrders";
    assert!(refused.text().contains(said), "{}", refused.text());

    // To a stranger the job looks like one that does not exist.
    let unknown = job.replace(&job[..4], "2021");
    for path in ["/xml/jobstatus", "/xml/joblog"] {
        let theirs = daemon.curl_as(&stranger, &[&format!("{path}?Jobname={job}")]);
        let nobodys = daemon.curl_as(&stranger, &[&format!("{path}?Jobname={unknown}")]);
        assert_text(&theirs, 400);
        assert_eq!(theirs.text().replace(&job, &unknown), nobodys.text());
    }
    let status = daemon.curl_as(&sender, &[&format!("/xml/jobstatus?Jobname={job}")]);
    assert_eq!(status.text(), "queue/orders_in\n");
}

#[test]
fn plain_http_answers_403_to_everything() {
    let daemon = Daemon::start();
    let login = format!("admin:{}", daemon.password);
    let elsewhere = ["/", "/nonsense", "/xml", "/livez"];
    for path in PATHS.into_iter().chain(elsewhere) {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            let url = format!("{}{path}", daemon.plain);
            let answer = daemon.bare_curl(&["-u", &login, "-d", "x=y", "-X", method, &url]);
            assert_text(&answer, 403);
            assert_eq!(answer.header("www-authenticate"), None);
        }
        let head = daemon.bare_curl(&["-I", &format!("{}{path}", daemon.plain)]);
        assert_eq!(head.status, 403);
    }
    assert_eq!(daemon.files("queue"), Vec::<String>::new());
    assert!(!daemon.log().contains("user=\"admin\""));
}

#[test]
fn plain_http_reads_no_body() {
    let daemon = Daemon::start();
    let address = daemon.plain.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(crate::harness::PATIENCE))
        .unwrap();
    let head = format!(
        "POST /xml/upload HTTP/1.1\r\nHost: {address}\r\nContent-Length: 1000000\r\n\
         Expect: 100-continue\r\nAuthorization: Basic nonsense\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    // The body never comes: the answer and the end of the connection have to come without it.
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"));
}

#[test]
fn tenants_are_chosen_by_host_and_know_nothing_of_each_other() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| {
        text + "\n[tenants.north]\nhosts = [\"north-demo.example.org\"]\n\
                [tenants.north.interfaces.orders_in]\ndirection = \"in\"\n\
                root = \"ListOfOrders\"\nschema = \"\"\n"
    });
    std::fs::create_dir_all(daemon.dir().join("tenants/north")).unwrap();
    let added = daemon.operator(&[
        "user", "add", "admin", "--role", "operator", "--tenant", "north",
    ]);
    let north = format!("admin:{}", added.trim().rsplit(' ').next().unwrap());
    daemon.serve();
    held(&daemon, "orders_in");
    let document = daemon.scratch("order.xml", order("1"));
    let body = format!("@{}", document.display());
    let port = daemon.url.rsplit(':').next().unwrap().to_owned();
    let resolve = format!("north-demo.example.org:{port}:127.0.0.1");
    let as_north = |arguments: &[&str], path: &str| {
        let url = format!("https://north-demo.example.org:{port}{path}");
        let mut all = vec!["-k", "--resolve", &resolve];
        all.extend(arguments);
        all.push(&url);
        daemon.curl_as(&north, &all)
    };

    let theirs = as_north(&["--data-binary", &body], "/xml/upload").job();
    let ours = daemon.upload(&document, "").job();
    assert_eq!(daemon.queue("orders_in"), [ours.as_str()]);
    let listed = as_north(&[], "/xml/jobqueue?Interfacename=orders_in");
    assert_eq!(listed.text(), format!("{theirs}\n"));
    let stored = daemon.dir().join("tenants/north/spool/queue/orders_in");
    assert!(stored.join(&theirs).exists() && !stored.join(&ours).exists());

    // By the Host header alone, and in any spelling.
    for host in ["north-demo.example.org", "NORTH-demo.example.org.:1"] {
        let header = format!("Host: {host}");
        let path = format!("/xml/jobstatus?Jobname={theirs}");
        let answer = daemon.curl_as(&north, &["--http1.1", "-H", &header, &path]);
        assert_eq!(answer.text(), "queue/orders_in\n", "{host}");
    }
    // Each side's jobs, users and interfaces are unknown to the other.
    assert_text(
        &as_north(&[], &format!("/xml/jobstatus?Jobname={ours}")),
        400,
    );
    assert_text(&as_north(&[], "/xml/jobqueue?Interfacename=items_in"), 400);
    let status = format!("/xml/jobstatus?Jobname={theirs}");
    assert_text(&daemon.curl(&[&status]), 400);
    assert_eq!(daemon.curl_as(&north, &[&status]).status, 401);
    let header = "Host: north-demo.example.org";
    let ours_there = daemon.curl(&["--http1.1", "-H", header, &status]);
    assert_eq!(ours_there.status, 401);
}

#[test]
fn a_tenants_first_user_can_be_added_before_its_first_start() {
    let daemon = Daemon::init();
    daemon.configure(|text| {
        text + "\n[tenants.north]\nhosts = [\"north-demo.example.org\"]\n\
                [tenants.north.interfaces.orders_in]\ndirection = \"in\"\nroot = \"A\"\n"
    });
    daemon.operator(&["user", "add", "first", "--tenant", "north"]);
}
