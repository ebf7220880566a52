//! Another configuration is taken while the service runs: all of it or nothing, and only when an operator says so.

use crate::{
    events::{body, done, ids, nobody, taken},
    harness::{Daemon, order, shell, with_keys},
    posting::Receiver,
};
use std::{fs, os::unix::fs::PermissionsExt};

fn set(daemon: &Daemon, text: &str) {
    fs::write(daemon.config(), text).unwrap();
}

fn text(daemon: &Daemon) -> String {
    fs::read_to_string(daemon.config()).unwrap()
}

/// What `reload` says when it is refused.
fn refused(daemon: &Daemon) -> String {
    let output = daemon.spoolgate(&["reload"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn epoch(daemon: &Daemon) -> u64 {
    let status = daemon.objects(&["status"]);
    let scraped = daemon.bare_curl(&[&format!("{}/metrics", daemon.ops)]);
    let epoch = status[0]["config_epoch"].as_u64().unwrap();
    let line = format!("spoolgate_config_epoch {epoch}\n");
    assert!(scraped.text().contains(&line), "{}", scraped.text());
    epoch
}

const PARCELS: &str =
    "\n[interfaces.parcels_in]\ndirection = \"in\"\nroot = \"Parcel\"\nschema = \"\"\n";

#[test]
fn an_interface_comes_changes_and_goes() {
    let daemon = Daemon::start();
    let before = text(&daemon);
    let parcel = || daemon.upload_text("<Parcel/>", "");
    assert_eq!(parcel().status, 400, "no interface takes it");
    let archived = format!("{PARCELS}processor = {{ archive = true }}\n");
    set(&daemon, &format!("{before}{archived}"));
    let told = daemon.operator(&["check", "--diff"]);
    assert_eq!(told, "taken           interfaces.parcels_in\n");
    assert_eq!(epoch(&daemon), 1, "a file alone changes nothing");
    let said = daemon.operator(&["reload"]);
    assert!(said.starts_with("configuration 2 is in force\n"), "{said}");
    assert!(said.contains("interfaces.parcels_in"), "{said}");
    assert_eq!(epoch(&daemon), 2);
    daemon.wait_for_place(&parcel().job(), "bak/parcels_in");

    set(&daemon, &format!("{before}{PARCELS}"));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait("SIGHUP takes it", || epoch(&daemon) == 3);
    let job = parcel().job();
    assert!(daemon.has(&format!("queue/parcels_in/{job}")));
    // The watcher sees what is dropped there.
    let dropped = daemon.drop_in("parcels_in", "x.xml", "<Parcel/>");

    set(&daemon, &before);
    daemon.operator(&["reload"]);
    assert_eq!(parcel().status, 400);
    assert!(daemon.has(&format!("queue/parcels_in/{job}")));
    let audit = daemon.operator(&["audit", "ls"]);
    assert_eq!(audit.matches(" reload").count(), 2, "{audit}");
    set(&daemon, &format!("{before}{archived}"));
    daemon.operator(&["reload"]);
    daemon.wait_for_place(&job, "bak/parcels_in");
    daemon.wait_for_place(&dropped, "bak/parcels_in");
}

#[test]
fn a_command_that_runs_ends_by_the_rules_with_which_it_began() {
    let daemon = Daemon::start_with(|text| {
        let waits = shell("touch begun; while [ ! -e go ]; do sleep 0.05; done", "");
        with_keys(&text, "orders_in", &waits)
    });
    let first = daemon.upload_text(&order("1"), "").job();
    daemon.wait("it runs", || daemon.dir().join("begun").exists());
    let before = text(&daemon);
    let fails = before.replace(
        "touch begun; while [ ! -e go ]; do sleep 0.05; done",
        "exit 1",
    );
    assert_ne!(before, fails);
    set(&daemon, &fails);
    daemon.operator(&["reload"]);
    let second = daemon.upload_text(&order("2"), "").job();
    daemon.wait_for_place(&second, "joberrors");
    fs::write(daemon.dir().join("go"), "").unwrap();
    daemon.wait_for_place(&first, "bak/orders_in");
}

#[test]
fn what_needs_a_restart_or_is_wrong_changes_nothing() {
    let daemon = Daemon::start();
    let before = text(&daemon);
    set(
        &daemon,
        &format!("log.format = \"json\"\n{before}{PARCELS}"),
    );
    let said = refused(&daemon);
    assert!(said.contains("needs a restart log.format"), "{said}");
    let output = daemon.spoolgate(&["check", "--diff"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        told,
        "needs a restart log.format\ntaken           interfaces.parcels_in\n"
    );
    assert_eq!(daemon.upload_text("<Parcel/>", "").status, 400);
    set(&daemon, &format!("{before}[interfaces.parcels_in]\n"));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait("the log says why", || {
        let log = daemon.log();
        log.contains("the configuration before stays") && log.contains("direction is missing")
    });
    set(&daemon, &before);
    let said = daemon.operator(&["reload"]);
    assert_eq!(said, "nothing has changed\n");
    assert_eq!(epoch(&daemon), 1);
}

#[test]
fn limits_of_partners_are_taken() {
    let daemon = Daemon::start();
    daemon.upload_text(&order("1"), "").job();
    let before = text(&daemon);
    set(
        &daemon,
        &format!("{before}\n[partners.admin]\nuploads_per_minute_max = 1\n"),
    );
    daemon.operator(&["reload"]);
    daemon.upload_text(&order("2"), "").job();
    assert_eq!(daemon.upload_text(&order("3"), "").status, 429);
}

#[test]
fn a_tenant_that_is_broken_is_alone_not_served() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| {
        text + "\n[tenants.north]\nhosts = [\"north.example.org\"]\naccept_risk = true\n\
                [tenants.north.interfaces.letters_in]\ndirection = \"in\"\nroot = \"Letter\"\nschema = \"\"\n"
    });
    let north = daemon.dir().join("tenants/north");
    fs::create_dir_all(&north).unwrap();
    fs::write(north.join("users.toml"), "no users").unwrap();
    daemon.serve();
    let asked = || {
        daemon.curl(&[
            "-H",
            "Host: north.example.org",
            "/xml/jobqueue?Interfacename=letters_in",
        ])
    };
    assert_eq!(asked().status, 503);
    daemon.upload_text(&order("1"), "").job();
    let ready = daemon.bare_curl(&[&format!("{}/readyz", daemon.ops)]);
    assert_eq!(ready.status, 200);
    let told = "warning: tenant north is not served: ";
    assert!(ready.text().contains(told), "{}", ready.text());
    set(&daemon, &format!("{}[partners.admin]\n", text(&daemon)));
    daemon.operator(&["reload"]);
    assert_eq!(asked().status, 503);
    fs::write(north.join("users.toml"), "").unwrap();
    daemon.stop();
    daemon.serve();
    let asked = daemon.curl(&[
        "-H",
        "Host: north.example.org",
        "/xml/jobqueue?Interfacename=letters_in",
    ]);
    assert_eq!(asked.status, 401, "another tenant's user");
}

/// Waits until the service knows that all was heard, a moment after that was. Else another receiver is told as well.
fn known_as_told(daemon: &Daemon) {
    let is_known = || daemon.objects(&["events", "ls"]).is_empty();
    daemon.wait("that is known", is_known);
}

/// The jobs that a receiver was told of.
fn told(receiver: &Receiver) -> Vec<String> {
    let asked = receiver.asked();
    let jobs = asked.iter().map(|asked| body(asked)["data"]["job"].clone());
    jobs.map(|job| job.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_receiver_comes_changes_goes_and_comes_back() {
    let (here, there) = (Receiver::start(taken), Receiver::start(taken));
    let (away, _) = nobody();
    let daemon = Daemon::start();
    let before = text(&daemon);
    let erp = |url: &str| {
        format!("{before}\n[[events]]\nname = \"erp\"\nurl = \"{url}\"\non = [\"job.done\"]\n")
    };
    done(&daemon, "unheard");
    set(&daemon, &erp(&here.url));
    let diff = daemon.operator(&["check", "--diff"]);
    assert_eq!(diff, "taken           events\n");
    daemon.operator(&["reload"]);
    let first = done(&daemon, "o1");
    daemon.wait("it is told", || told(&here) == [&*first]);
    known_as_told(&daemon);

    set(&daemon, &erp(&away));
    daemon.operator(&["reload"]);
    let second = done(&daemon, "o2");
    set(&daemon, &before);
    daemon.operator(&["reload"]);
    done(&daemon, "o3");
    let listed = daemon.objects(&["events", "ls"]);
    assert_eq!(listed.len(), 1, "{listed:?}");
    let waiting = &listed[0];
    assert_eq!(
        (&waiting["state"], &waiting["configured"]),
        (&"waiting".into(), &false.into())
    );
    let said = daemon.operator(&["events", "ls"]);
    assert!(said.contains("; no receiver erp is configured"), "{said}");

    set(&daemon, &erp(&there.url));
    daemon.operator(&["reload"]);
    daemon.wait("it goes on", || told(&there) == [&*second]);
    let id = waiting["event"].as_str().unwrap().to_owned();
    assert_eq!(ids(&there.asked()), [id].into());
    assert_eq!(told(&here), [first]);
}

#[test]
fn a_receiver_that_nothing_can_be_sent_to_is_refused_and_the_one_before_goes_on() {
    let (here, there) = (Receiver::start(taken), Receiver::start(taken));
    let daemon = Daemon::start();
    let before = text(&daemon);
    let erp = |url: &str, more: &str| {
        let table = format!("[[events]]\nname = \"erp\"\nurl = \"{url}\"\non = [\"job.done\"]\n");
        set(&daemon, &format!("{before}\n{table}{more}"));
    };
    erp(&here.url, "");
    daemon.operator(&["reload"]);
    let secret = daemon.scratch("erp.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let may = |mode| fs::set_permissions(&secret, PermissionsExt::from_mode(mode)).unwrap();
    may(0o644);
    erp(&there.url, &format!("secret = \"erp.secret\"\n{PARCELS}"));
    let said = refused(&daemon);
    assert!(said.contains("nothing was taken: events: erp: "), "{said}");
    assert!(said.contains("erp.secret"), "{said}");
    assert_eq!(epoch(&daemon), 2);
    assert_eq!(daemon.upload_text("<Parcel/>", "").status, 400);
    let first = done(&daemon, "o1");
    daemon.wait("the one before is told", || told(&here) == [&*first]);
    known_as_told(&daemon);
    may(0o600);
    daemon.operator(&["reload"]);
    let second = done(&daemon, "o2");
    daemon.wait("the other is told", || told(&there) == [&*second]);
    assert!(
        there.asked()[0]
            .header("webhook-signature")
            .starts_with("v1,")
    );
    // What was well when it was taken keeps nobody from changing something else.
    may(0o644);
    let now = text(&daemon);
    set(&daemon, &format!("{now}# nothing\n[partners.admin]\n"));
    daemon.operator(&["reload"]);
    assert_eq!(epoch(&daemon), 4);
}

#[test]
fn the_next_upload_is_judged_by_other_schemas_and_none_that_serves_is_broken() {
    let mut daemon = Daemon::init();
    let write = |file: &str, content: &str| {
        let begin = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'>";
        let file = daemon.spool(&format!("schemas/{file}"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, format!("{begin}{content}</xs:schema>")).unwrap();
    };
    let include = "<xs:include schemaLocation='https://h.example/kind.xsd'/>";
    write(
        "notes_in.xsd",
        &format!("{include}<xs:element name='Note' type='kind'/>"),
    );
    for (file, base) in [("kinds/number.xsd", "int"), ("kinds/word.xsd", "string")] {
        let kind = format!("<xs:restriction base='xs:{base}'/>");
        write(
            file,
            &format!("<xs:simpleType name='kind'>{kind}</xs:simpleType>"),
        );
    }
    let notes = "\n[interfaces.notes_in]\ndirection = \"in\"\nroot = \"Note\"\n";
    let before = text(&daemon);
    let by = |file: &str| {
        let catalog = format!("[schemas.catalog]\n\"https://h.example/kind.xsd\" = \"{file}\"\n");
        format!("{before}{notes}{catalog}")
    };
    set(&daemon, &by("kinds/number.xsd"));
    daemon.serve();
    let upload = |text: &str| {
        daemon
            .upload_text(&format!("<Note>{text}</Note>"), "")
            .status
    };
    assert_eq!((upload("1"), upload("x")), (201, 400));
    set(&daemon, &by("kinds/word.xsd"));
    daemon.operator(&["reload"]);
    assert_eq!(upload("x"), 201);
    set(&daemon, &format!("{}{PARCELS}", by("kinds/none.xsd")));
    let said = refused(&daemon);
    assert!(
        said.contains("nothing was taken: schema notes_in: refused"),
        "{said}"
    );
    set(&daemon, &by("kinds/word.xsd"));
    assert_eq!((upload("x"), epoch(&daemon)), (201, 2));
    assert_eq!(daemon.upload_text("<Parcel/>", "").status, 400);
}

#[test]
fn a_stop_goes_by_the_configuration_that_is_in_force() {
    let mut daemon = Daemon::start();
    let before = text(&daemon);
    set(
        &daemon,
        &format!("{before}\n[limits]\nstop_deadline_s = 7\n"),
    );
    daemon.operator(&["reload"]);
    daemon.stop();
    let log = daemon.log();
    assert!(
        log.contains("no more commands are started deadline_s=7"),
        "{log}"
    );
}

#[test]
fn the_log_says_more_and_less_again() {
    let daemon = Daemon::start();
    let before = text(&daemon);
    let by = |level: &str| set(&daemon, &format!("log.level = \"{level}\"\n{before}"));
    let accepted = |reference: &str| {
        let job = daemon.upload_text(&order(reference), "").job();
        daemon.wait_for_place(&job, "bak/orders_in");
        daemon.log().contains(&format!("accepted job={job}"))
    };
    assert!(accepted("o1"));
    by("warn");
    daemon.operator(&["reload"]);
    assert!(!accepted("o2"));
    by("spoolgate=loud");
    let said = refused(&daemon);
    assert!(said.contains("nothing was taken: log.level: "), "{said}");
    assert!(!accepted("o3"));
    set(&daemon, &before);
    daemon.operator(&["reload"]);
    assert!(accepted("o4"));
}
