//! Several partners on one interface where each sees his own jobs alone: in every dialect, others' jobs
//! and jobs that do not exist look alike, and no one but a job's owner takes it away.

use crate::harness::{Answer, Daemon, order, shell, with_keys};

/// Nothing has this name; as long as those that exist.
pub(crate) const UNKNOWN: &str = "20251122T045748.123Z-00042-of-ada.xml";
pub(crate) const ORDERS: [&str; 2] = ["orders_in=upload,list,download", "orders_out=list,download"];

/// The shipped configuration where `orders_in` emits what it gets to `orders_out`, and partners see
/// their own jobs in both.
fn apart(text: String) -> String {
    let emit = r#"mkdir "$SPOOLGATE_EMIT/orders_out"
        cp "$SPOOLGATE_FILE" "$SPOOLGATE_EMIT/orders_out/made.xml""#;
    let own = "visible = \"own\"";
    let text = with_keys(&text, "orders_in", &format!("{own}\n{}", shell(emit, "")));
    with_keys(&text, "orders_out", own)
}

/// A curator with rights on the orders, added before the server starts; gives `name:password`.
pub(crate) fn add_curator(daemon: &Daemon, name: &str) -> String {
    let rights = ORDERS.iter().flat_map(|right| ["--right", right]);
    let mut arguments = vec!["user", "add", name, "--role", "curator"];
    arguments.extend(rights);
    let line = daemon.operator(&arguments);
    let password = line.trim().rsplit(' ').next().unwrap();
    format!("{name}:{password}")
}

/// The names of the jobs that wait, as this user sees them.
pub(crate) fn listed(daemon: &Daemon, login: &str, interface: &str) -> Vec<String> {
    let path = format!("/xml/jobqueue?Interfacename={interface}");
    let answer = daemon.curl_as(login, &[&path]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().lines().map(str::to_owned).collect()
}

pub(crate) fn fetch(daemon: &Daemon, login: &str, interface: &str, job: &str) -> Answer {
    let path = format!("/xml/job?Interfacename={interface}&Jobname={job}");
    daemon.curl_as(login, &[&path])
}

/// What a user is told of a job, by any of these requests, is what he is told of one that does not
/// exist.
pub(crate) fn is_unknown(daemon: &Daemon, login: &str, interface: &str, job: &str) {
    for request in [
        "/xml/jobstatus?Jobname=JOB",
        "/xml/joblog?Jobname=JOB",
        &format!("/xml/joblog?Interfacename={interface}&Jobname=JOB"),
        &format!("/xml/job?Interfacename={interface}&Jobname=JOB"),
    ] {
        let ask = |name| daemon.curl_as(login, &[&request.replace("JOB", name)]);
        alike(request, (&ask(job), job), (&ask(UNKNOWN), UNKNOWN));
    }
}

pub(crate) fn alike(
    request: &str,
    (theirs, job): (&Answer, &str),
    (unknown, other): (&Answer, &str),
) {
    let text = theirs.text().replace(job, "JOB");
    assert!(unknown.status >= 400, "{request}");
    assert_eq!(theirs.status, unknown.status, "{request}: {text}");
    assert_eq!(text, unknown.text().replace(other, "JOB"), "{request}");
}

#[test]
fn each_partner_sees_and_takes_what_is_his() {
    let mut daemon = Daemon::init();
    daemon.configure(apart);
    let (ada, bob) = (
        daemon.add_user("ada", &ORDERS),
        daemon.add_user("bob", &ORDERS),
    );
    let managing = ["orders_in=manage,list", "orders_out=manage,list,download"];
    let mia = daemon.add_user("mia", &managing);
    let cleo = add_curator(&daemon, "cleo");
    daemon.serve();
    let admin = format!("admin:{}", daemon.password);
    daemon.operator(&["hold", "orders_in"]);
    let body = order("1");
    let upload = ["--data-binary", &body, "/xml/upload?RefName=of-ada"];
    let job = daemon.curl_as(&ada, &upload).job();
    let all = [&ada, &mia, &cleo, &admin];
    for login in all {
        assert_eq!(listed(&daemon, login, "orders_in"), [job.as_str()]);
    }
    assert_eq!(listed(&daemon, &bob, "orders_in"), [""; 0]);
    is_unknown(&daemon, &bob, "orders_in", &job);
    daemon.operator(&["release", "orders_in"]);
    daemon.wait_for_place(&job, "bak/orders_in");
    // Also once it has ended, and what was made of it.
    is_unknown(&daemon, &bob, "orders_in", &job);
    let made = listed(&daemon, &ada, "orders_out");
    let [made] = &made[..] else {
        panic!("{made:?}");
    };
    assert_eq!(listed(&daemon, &bob, "orders_out"), [""; 0]);
    is_unknown(&daemon, &bob, "orders_out", made);
    // To look at it takes it away from no one.
    for login in [&mia, &cleo, &admin] {
        assert_eq!(fetch(&daemon, login, "orders_out", made).text(), body);
        assert_eq!(listed(&daemon, login, "orders_out"), [made.as_str()]);
    }
    assert_eq!(fetch(&daemon, &ada, "orders_out", made).text(), body);
    for login in all {
        assert_eq!(listed(&daemon, login, "orders_out"), [""; 0]);
        let status = format!("/xml/jobstatus?Jobname={made}");
        let status = daemon.curl_as(login, &[&status]).text();
        assert_eq!(status.trim(), "bak/orders_out");
    }
    is_unknown(&daemon, &bob, "orders_out", made);
}

#[test]
fn what_is_dropped_is_nobodys() {
    let mut daemon = Daemon::init();
    daemon.configure(apart);
    let ada = daemon.add_user("ada", &ORDERS);
    let mia = daemon.add_user("mia", &["orders_out=manage,list,download"]);
    let cleo = add_curator(&daemon, "cleo");
    daemon.serve();
    let dropped = daemon.drop_in("orders_out", "of-ada.xml", order("1"));
    assert_eq!(listed(&daemon, &ada, "orders_out"), [""; 0]);
    is_unknown(&daemon, &ada, "orders_out", &dropped);
    for login in [&mia, &cleo] {
        assert_eq!(fetch(&daemon, login, "orders_out", &dropped).status, 200);
        assert_eq!(listed(&daemon, login, "orders_out"), [dropped.as_str()]);
    }
    assert_eq!(daemon.place(&dropped), "queue/orders_out");
}

#[test]
fn json_jobs_are_apart_too() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| {
        let keys = "direction = \"in\"\nschema = \"\"\nvisible = \"own\"";
        format!("{text}\n[interfaces.printing]\n{keys}\n")
    });
    let add = |name: &str, rights: &str| {
        let login = daemon.add_user(name, &[rights]);
        let token = daemon.operator(&["user", "token", name]);
        (login, format!("Authorization: Bearer {}", token.trim()))
    };
    let (_, ada) = add("ada", "printing=upload,list,download");
    let (bobs_login, bob) = add("bob", "printing=upload,list,download");
    let (mias_login, mia) = add("mia", "printing=manage");
    daemon.serve();
    let call = |token: &str, method: &str, path: &str| {
        let path = format!("/webapi/{path}");
        daemon.bare_curl(&["-X", method, "-H", token, &path])
    };
    let jobs = "v3/workflows/printing/jobs";
    let created = call(&ada, "POST", jobs);
    let created: serde_json::Value = serde_json::from_slice(&created.body).unwrap();
    let id = created["id"].as_str().unwrap();
    let name: spoolgate::domain::JobName = daemon.queue("printing")[0].parse().unwrap();
    assert!(call(&ada, "GET", jobs).text().contains(id));
    assert_eq!(call(&bob, "GET", jobs).text().trim(), "[]");
    let unknown = "0123456789abcdef01234567";
    let output = "v1/jobs/JOB/output/000000000000000000000000?format=Raw";
    for (method, path) in [
        ("GET", "v3/jobs/JOB"),
        ("DELETE", "v3/jobs/JOB"),
        ("GET", "v3/jobs/JOB/messages"),
        ("GET", output),
    ] {
        let ask = |id| call(&bob, method, &path.replace("JOB", id));
        alike(path, (&ask(id), id), (&ask(unknown), unknown));
    }
    let number = name.id().get().to_string();
    let other: spoolgate::domain::JobName = UNKNOWN.parse().unwrap();
    let other = other.id().get().to_string();
    for path in ["status/JOB", "download/JOB/0"] {
        let path = format!("/api/v1/default/{path}");
        let ask = |id| daemon.curl_as(&bobs_login, &[&path.replace("JOB", id)]);
        alike(&path, (&ask(&number), &number), (&ask(&other), &other));
    }
    let path = format!("/api/v1/default/status/{number}");
    assert_eq!(daemon.curl_as(&mias_login, &[&path]).status, 200);
    // Who sees it is told that it is not for him to cancel.
    let refused = call(&mia, "DELETE", &format!("v3/jobs/{id}"));
    assert!(refused.text().contains("permission"), "{}", refused.text());
    assert_eq!(daemon.place(&name.to_string()), "queue/printing");
    assert_eq!(call(&ada, "DELETE", &format!("v3/jobs/{id}")).status, 200);
}

#[test]
fn check_notes_who_shares_an_interface() {
    let daemon = Daemon::init();
    daemon.configure(apart);
    for name in ["ada", "bob"] {
        daemon.add_user(name, &["items_in=upload", "orders_in=upload"]);
    }
    daemon.add_user("cleo", &["persons_in=upload"]);
    let said = daemon.operator(&["check"]);
    let note = "ok      interface items_in: 2 users see each other's jobs (ada, bob)";
    assert!(said.contains(note), "{said}");
    assert_eq!(said.matches("each other's").count(), 1, "{said}");
}
