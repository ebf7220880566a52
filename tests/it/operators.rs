//! The operators' side: making and checking a configuration, users, looking into the spool and
//! moving what is there with the service down and up, certificates, probes and tenants.

use crate::harness::{Daemon, day, document, has_job_files, order, program, shell, with_keys};
use serde_json::Value;
use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

const UNKNOWN: &str = "20200229T235959.999Z-00001-nobody.xml";

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(daemon: &Daemon, arguments: &[&str]) -> Value {
    let mut all = arguments.to_vec();
    all.push("--json");
    parsed(&daemon.operator(&all))
}

/// What a command that has failed printed, an object a line.
fn text_of_lines(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(parsed).collect()
}

fn init(dir: &Path, more: &[&str]) -> Output {
    let mut command = program();
    command.arg("init").arg(dir).args(more).output().unwrap()
}

/// The command fails with exit code 1 and these words.
fn refused(daemon: &Daemon, arguments: &[&str], words: &str) {
    let output = daemon.spoolgate(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(words), "{arguments:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn init_makes_what_is_needed_and_overwrites_nothing() {
    let dir = TempDir::new().unwrap();
    let made = init(&dir.path().join("new/deep"), &["--user", "olga"]);
    assert!(made.status.success(), "{made:?}");
    let line = String::from_utf8(made.stdout).unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[..3], ["user", "olga", "password"], "{line}");
    assert_eq!((words.len(), line.matches('\n').count()), (4, 1), "{line}");
    assert!(words[3].trim().len() >= 20, "{line}");
    let dir = dir.path().join("new/deep");
    for (file, mode) in [
        ("users.toml", 0o600),
        ("certs/key.pem", 0o600),
        ("certs/cert.pem", 0o644),
        ("spoolgate.toml", 0o644),
        ("spool/queue/orders_in", 0o750),
        ("spool/joberrors", 0o750),
    ] {
        let found = fs::metadata(dir.join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found & !mode, 0, "{file} has mode {found:o}");
    }
    let users = fs::read_to_string(dir.join("users.toml")).unwrap();
    assert!(
        users.contains("$argon2id$") && !users.contains(words[3].trim()),
        "{users}"
    );
    let before = fs::read_to_string(dir.join("certs/key.pem")).unwrap();
    let again = init(&dir, &[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(again.stdout.is_empty(), "{again:?}");
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(
        said.contains("exists already; init overwrites nothing"),
        "{said}"
    );
    assert_eq!(
        fs::read_to_string(dir.join("certs/key.pem")).unwrap(),
        before
    );
    assert_eq!(fs::read_to_string(dir.join("users.toml")).unwrap(), users);
    let other = TempDir::new().unwrap();
    let made = init(other.path(), &["--json"]);
    let made = parsed(&String::from_utf8(made.stdout).unwrap());
    assert_eq!(made["user"], "admin");
    assert!(made["password"].as_str().is_some_and(|p| p.len() >= 20));
}

#[test]
fn init_looks_at_what_was_typed_before_it_makes_anything() {
    let dir = TempDir::new().unwrap();
    let new = dir.path().join("new");
    for (more, words) in [
        (["--user", "bad name"], "is not a user name"),
        (["--config", "x.toml"], "'--config'"),
    ] {
        let output = init(&new, &more);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(words), "{said}");
        assert!(!new.exists(), "{more:?} leaves something behind");
    }
}

/// The command with standard output on a full disk, and with a reader who has gone.
fn without_output(daemon: &Daemon, arguments: &[&str]) -> [(Option<i32>, String); 2] {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let (reader, gone) = std::io::pipe().unwrap();
    drop(reader);
    [Stdio::from(full), Stdio::from(gone)].map(|stdout| {
        let mut command = program();
        command.args(arguments).arg("--config").arg(daemon.config());
        let output = command.stdout(stdout).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
        (output.status.code(), said)
    })
}

#[test]
fn standard_output_may_go_away() {
    let daemon = Daemon::start();
    let bad = document("orders_in/position-twice.invalid.xml");
    let answer = daemon.upload(&bad, "");
    let job = answer.header("x-job-name").unwrap().to_owned();
    for arguments in [
        &["check"][..],
        &["check", "--json"],
        &["hold", "persons_in", "orders_in"],
        &["log", &job],
        &["log", &job, "--xml"],
        &["ls"],
        &["status"],
        &["status", &job],
        &["user", "list"],
        &["user", "token", "admin"],
        &["user", "api-key", "admin"],
    ] {
        let [(full, said), gone] = without_output(&daemon, arguments);
        assert_eq!(full, Some(1), "{arguments:?}");
        assert!(said.contains("standard output"), "{arguments:?}: {said}");
        assert_eq!(gone, (Some(0), String::new()), "{arguments:?}");
    }
    let held = |name: &str| daemon.hold(name).is_some();
    assert!(
        held("persons_in") && held("orders_in"),
        "all was done all the same"
    );
    for (name, made) in [("eve", "add"), ("admin", "passwd")] {
        let ends = without_output(&daemon, &["user", made, name]);
        for (n, (code, said)) in ends.into_iter().enumerate() {
            // The second time she is there already.
            if (made, n) != ("add", 1) {
                assert!(
                    said.contains(&format!("with `spoolgate user passwd {name}`")),
                    "{said}"
                );
            }
            assert_eq!(code, Some(1), "{said}");
        }
    }
}

#[test]
fn tokens_and_keys_are_made_for_users_only_and_end_with_the_password() {
    let mut daemon = Daemon::start();
    let made = |arguments: &[&str]| daemon.operator(arguments).trim_end().to_owned();
    let key = || made(&["user", "api-key", "admin"]);
    let first = key();
    assert_eq!((first.len(), key()), (32, first.clone()));
    assert_eq!(
        json(&daemon, &["user", "api-key", "admin"])["api_key"],
        first.as_str()
    );
    let token = made(&["user", "token", "admin", "--hours", "8760"]);
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    assert!(token.len() > 43 && token.chars().all(safe), "{token}");
    let limited = [
        "user", "token", "admin", "--scope", "a:read", "--scope", "b",
    ];
    let answer = json(&daemon, &limited);
    assert_eq!(answer["scopes"], serde_json::json!(["a:read", "b"]));
    assert_eq!(answer["expires_in_s"], 3600);
    refused(&daemon, &["user", "token", "nobody"], "no user `nobody`");
    refused(&daemon, &["user", "api-key", "nobody"], "no user `nobody`");
    for (option, value) in [
        ("--scope", "a b"),
        ("--scope", ""),
        ("--hours", "0"),
        ("--hours", "8761"),
    ] {
        let output = daemon.spoolgate(&["user", "token", "admin", option, value]);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{option} {value}: {output:?}"
        );
    }

    // Where a dialect wants a password, a token is none.
    let bearer = format!("Authorization: Bearer {token}");
    let answer = daemon.bare_curl(&["-H", &bearer, "/xml/jobqueue?Interfacename=orders_in"]);
    assert_eq!(answer.status, 401);
    daemon.operator(&["user", "passwd", "admin"]);
    assert_ne!(key(), first);

    if !has_job_files() {
        return;
    }
    // The key that seals them is private, or nothing is served.
    let path = daemon.spool(".key");
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    daemon.stop();
    mode(0o644);
    let to_do = format!("chmod 600 {}", path.display());
    refused(&daemon, &["user", "token", "admin"], &to_do);
    refused(&daemon, &["serve"], &to_do);
    let check = daemon.spoolgate(&["check"]);
    assert_eq!(check.status.code(), Some(1));
    assert!(text(&check.stdout).contains(&to_do), "{check:?}");
    mode(0o600);
    daemon.serve();
}

#[test]
fn a_default_configuration_can_be_named_by_the_environment() {
    let daemon = Daemon::init();
    let run = |arguments: &[&str]| {
        let mut command = program();
        command.args(arguments).current_dir("/");
        let output = command.env("SPOOLGATE_CONFIG", daemon.config()).output();
        output.unwrap()
    };
    let users = run(&["user", "list"]);
    let file = daemon.dir().join("users.toml");
    let admin = format!("admin\toperator\t\t{}\n", file.display());
    assert_eq!(text(&users.stdout), admin, "{users:?}");
    let usage = text(&run(&["log"]).stderr);
    assert!(usage.contains("<JOB>"), "{usage}");
    assert!(!usage.contains("--config <FILE>"), "{usage}");
}

#[test]
fn a_hold_that_cannot_be_read_hides_nothing_else() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::init();
    daemon.configure(|text| text);
    daemon.operator(&["check"]);
    fs::create_dir(daemon.spool("queue/orders_in/.hold")).unwrap();
    std::os::unix::fs::symlink("nowhere", daemon.spool("queue/items_in/.hold")).unwrap();
    let hold = daemon.spool("queue/persons_in/.hold");
    fs::write(hold, "by me:\nall of \u{1b}[31mit\n").unwrap();
    let said = daemon.operator(&["status"]);
    let line = |name: &str| said.lines().find(|line| line.starts_with(name)).unwrap();
    for name in ["orders_in", "items_in"] {
        let held = format!("HELD queue/{name}/.hold: it is a ");
        assert!(line(name).contains(&held), "{said}");
    }
    let persons = line("persons_in");
    assert!(
        persons.ends_with("HELD by me:\\nall of \\u{1b}[31mit"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 10, "{said}");
}

#[test]
fn check_names_what_is_wrong() {
    let daemon = Daemon::init();
    daemon.configure(|text| text);
    let good = fs::read_to_string(daemon.config()).unwrap();
    let schema = daemon.spool("schemas/orders_in.xsd");
    let xsd = fs::read_to_string(&schema).unwrap();
    let all_is_well = || {
        let output = daemon.spoolgate(&["check"]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(!said.contains("FAILED"), "{said}");
        let findings = daemon.objects(&["check"]);
        assert!(findings.iter().all(|finding| finding["ok"] == true));
    };
    let wrong = |words: &[&str]| {
        let output = daemon.spoolgate(&["check"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in {said}");
        }
        let reset = |path: &Path, text: &str| fs::write(path, text).unwrap();
        reset(&daemon.config(), &good);
        reset(&schema, &xsd);
        all_is_well();
    };
    all_is_well();

    fs::write(&schema, xsd.replace("</xs:schema>", "")).unwrap();
    wrong(&["FAILED  schema orders_in"]);
    fs::write(&schema, xsd.replace("\"xs:", "\"xs:no-")).unwrap();
    wrong(&["FAILED  schema orders_in"]);
    fs::remove_file(&schema).unwrap();
    wrong(&[
        "FAILED  interface orders_in",
        "schemas/orders_in.xsd is missing",
    ]);

    let change = |from: &str, to: &str| {
        assert!(good.contains(from));
        fs::write(daemon.config(), good.replacen(from, to, 1)).unwrap();
    };
    for program in ["./nowhere", "no-such-program", "./users.toml"] {
        let command = format!("processor = {{ command = [\"{program}\"] }}");
        fs::write(daemon.config(), with_keys(&good, "orders_in", &command)).unwrap();
        wrong(&[
            "FAILED  interface orders_in",
            program,
            "not found or not executable",
        ]);
    }
    change("ops_listen", "ops_lisen");
    wrong(&["line 9", "did you mean `ops_listen`?"]);
    change("direction", "directon");
    wrong(&["did you mean `direction`?"]);
    change("[spool]", "[spol]");
    wrong(&["did you mean `spool`?"]);
    change("direction = \"in\"", "direction = \"up\"");
    wrong(&["direction is \"up\"; use \"in\" or \"out\""]);
    change("root = \"ListOfItems\"", "root = \"ListOfOrders\"");
    wrong(&["could not be told apart"]);
    change("certs/key.pem", "users.toml");
    wrong(&["FAILED", "cert.pem"]);
    change("users = \"users.toml\"", "users = \"nobody.toml\"");
    wrong(&["FAILED", "nobody.toml"]);
}

#[test]
fn a_spool_in_memory_is_refused_unless_the_risk_is_accepted() {
    let Ok(dir) = TempDir::new_in("/dev/shm") else {
        return;
    };
    let ports = ["--listen", "127.0.0.1:0", "--plain-listen", "127.0.0.1:0"];
    let made = init(
        dir.path(),
        &[&ports[..], &["--ops-listen", "127.0.0.1:0"]].concat(),
    );
    assert!(made.status.success(), "{made:?}");
    let config = dir.path().join("spoolgate.toml");
    let run = |command: &str| {
        let mut run = program();
        let output = run
            .arg(command)
            .arg("--config")
            .arg(&config)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (
            output.status.code(),
            said + &String::from_utf8_lossy(&output.stderr),
        )
    };
    for command in ["check", "serve"] {
        let (code, said) = run(command);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("tmpfs, which is memory"), "{said}");
        assert!(said.contains("accept_risk = true"), "{said}");
    }
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("root = \"spool\"", "root = \"spool\"\naccept_risk = true");
    fs::write(&config, text).unwrap();
    let (code, said) = run("check");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the risk is accepted"), "{said}");
}

#[test]
fn users_change_while_the_service_runs() {
    let daemon = Daemon::start();
    let password = |line: String, name: &str| {
        let start = format!("user {name} password ");
        line.trim().strip_prefix(&start).unwrap().to_owned()
    };
    let status = |login: &str, path: &str| daemon.bare_curl(&["-u", login, path]).status;
    let orders = "/xml/jobqueue?Interfacename=orders_in";
    let line = daemon.operator(&["user", "add", "bob", "--right", "orders_in=list,upload"]);
    let first = format!("bob:{}", password(line, "bob"));
    daemon.soon("bob may come in", || status(&first, orders) == 200);
    // Without any right on it, it looks unknown.
    assert_eq!(status(&first, "/xml/jobqueue?Interfacename=items_in"), 400);
    assert_eq!(status("bob:wrong", orders), 401);

    let second = format!(
        "bob:{}",
        password(daemon.operator(&["user", "passwd", "bob"]), "bob")
    );
    assert_ne!(first, second);
    daemon.soon("the new password counts", || status(&second, orders) == 200);
    assert_eq!(status(&first, orders), 401);

    let choose = |password: &str| {
        let mut passwd = program()
            .args(["user", "passwd", "bob", "--password-stdin", "--config"])
            .arg(daemon.config())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = passwd.stdin.take().unwrap();
        writeln!(stdin, "{password}").unwrap();
        passwd.wait_with_output().unwrap()
    };
    let output = choose("seven77");
    assert!(text(&output.stderr).contains("8 characters"), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
    let output = choose("his own choice");
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    daemon.soon("his own password counts", || {
        status("bob:his own choice", orders) == 200
    });

    let users = Value::from(daemon.objects(&["user", "list"]));
    assert_eq!(users.as_array().unwrap().len(), 2, "{users}");
    let bob = users
        .as_array()
        .unwrap()
        .iter()
        .find(|u| u["user"] == "bob")
        .unwrap();
    let mut rights: Vec<_> = bob["rights"]["orders_in"].as_array().unwrap().clone();
    rights.sort_by_key(Value::to_string);
    assert_eq!(rights, ["list", "upload"]);
    assert!(
        daemon
            .operator(&["user", "list"])
            .contains("admin\toperator")
    );

    refused(
        &daemon,
        &["user", "add", "bob"],
        "there is a user `bob` already",
    );
    refused(&daemon, &["user", "rm", "nobody"], "no user `nobody`");
    let some = ["user", "rm", "admin", "bob", "nobody"];
    refused(&daemon, &some, "no user `nobody`");
    let users = Value::from(daemon.objects(&["user", "list"]));
    assert_eq!(users.as_array().unwrap().len(), 2, "{users}");
    let output = daemon.spoolgate(&["user", "add", "bad name"]);
    let said = text(&output.stderr);
    assert!(
        said.starts_with("error: ") && said.contains("is not a user name"),
        "{said}"
    );
    refused(&daemon, &["user", "passwd", "nobody"], "no user `nobody`");
    refused(
        &daemon,
        &["user", "add", "eve", "--right", "nowhere=list"],
        "there is no interface nowhere; there are",
    );
    refused(
        &daemon,
        &["user", "add", "eve", "--right", "orders_in=fly"],
        "fly",
    );
    refused(&daemon, &["user", "add", "eve", "--role", "king"], "king");
    daemon.operator(&["user", "rm", "bob"]);
    daemon.soon("bob is out", || status("bob:his own choice", orders) == 401);
    assert_eq!(daemon.queue("orders_in"), [""; 0], "admin is still in");
}

/// What operators can do, in a spool where one order waits and one has failed; the same with the
/// service down and up.
fn operate(daemon: &Daemon, waiting: &str, failed: &str) {
    let running = daemon.objects(&["status"]);
    let orders = |status: &[Value]| {
        let mut all = status.iter();
        all.find(|one| one["interface"] == "orders_in")
            .unwrap()
            .clone()
    };
    assert_eq!(orders(&running)["queued"], 1);
    assert_eq!(running[0]["joberrors"], 1);
    let oldest = orders(&running)["oldest"].clone();
    let oldest: jiff::Timestamp = oldest.as_str().unwrap().parse().unwrap();
    let oldest = oldest.strftime("%Y%m%dT%H%M%S.%3fZ").to_string();
    assert_eq!(oldest, waiting[..20], "{running:?}");

    let listed = daemon.objects(&["ls"]);
    let jobs: Vec<_> = listed.iter().map(|j| &j["job"]).collect();
    assert_eq!(jobs, [waiting, failed], "{listed:?}");
    let [first, second] = [&listed[0], &listed[1]];
    assert_eq!(
        (&first["state"], &second["state"]),
        (&"queued".into(), &"failed".into())
    );
    assert_eq!(first["bytes"], order("waiting").len());
    assert_eq!(first["submitter"], "admin");
    assert_eq!(first["path"], format!("queue/orders_in/{waiting}"));
    let text = daemon.operator(&["ls", "joberrors"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("AGE TRIES  INTERFACE"), "{text}");
    let path = format!(
        "  joberrors/{}/{failed}  the command failed with exit code 1",
        day(failed)
    );
    assert!(
        lines[1].contains(" 1  orders_in ") && lines[1].ends_with(&path),
        "{text}"
    );
    assert_eq!(lines.len(), 2);
    assert_eq!(daemon.operator(&["ls", "queue/items_in"]), "");

    let status = json(daemon, &["status", waiting]);
    assert_eq!(status["place"], "queue/orders_in");
    // The path that `ls` shows will do as well.
    assert_eq!(
        json(daemon, &["status", &format!("./queue/orders_in/{waiting}")]),
        status
    );
    assert_eq!(daemon.operator(&["cat", waiting]), order("waiting"));
    assert_eq!(daemon.operator(&["cat", failed]), order("failed"));
    let log = json(daemon, &["log", failed]);
    assert_eq!(log["status"], "error");
    assert!(
        daemon
            .operator(&["log", failed, "--xml"])
            .contains("<JobLog ")
    );
    refused(daemon, &["log", waiting], "has no log yet");

    for command in ["status", "log", "cat", "requeue", "rm"] {
        refused(daemon, &[command, UNKNOWN], &format!("no job {UNKNOWN}"));
    }
    refused(daemon, &["hold", "nowhere"], "unknown interface nowhere");
    refused(daemon, &["release", "nowhere"], "unknown interface nowhere");
    refused(daemon, &["ls", "nowhere"], "no place");
    refused(daemon, &["ls", "queue/nowhere"], "no such interface");
    refused(
        daemon,
        &["requeue", failed, "--to", "nowhere"],
        "unknown interface nowhere",
    );
    for command in ["status", "check"] {
        refused(daemon, &[command, "--tenant", "x"], "no tenant x");
    }
    // One that is unknown does not keep the others back.
    let output = daemon.spoolgate(&["status", UNKNOWN, waiting]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains(waiting));
    let output = daemon.spoolgate(&["status", UNKNOWN, waiting, "--json"]);
    let said = text_of_lines(&output);
    assert!(
        said[0]["error"].as_str().unwrap().contains("no job"),
        "{said:?}"
    );
    assert_eq!(
        (&said[0]["job"], &said[1]["job"]),
        (&UNKNOWN.into(), &waiting.into())
    );

    assert_eq!(
        json(daemon, &["hold", "orders_in", "--reason", "audit"])["outcome"],
        "held"
    );
    let held = daemon.objects(&["status"]);
    assert!(
        orders(&held)["hold"].as_str().unwrap().ends_with(": audit"),
        "{held:?}"
    );
    assert!(daemon.operator(&["status"]).contains("audit"));
    let outcome = |arguments: &[&str]| json(daemon, arguments)["outcome"].clone();
    assert_eq!(outcome(&["hold", "persons_in"]), "held");
    assert_eq!(outcome(&["release", "persons_in"]), "released");
    assert_eq!(outcome(&["release", "persons_in"]), "not_held");
    // It stays as it was, and by whom and why is not a part of the outcome.
    let again = json(daemon, &["hold", "orders_in"]);
    assert_eq!(again["outcome"], "held_before");
    assert!(
        again["hold"].as_str().unwrap().ends_with(": audit"),
        "{again}"
    );
    let kinds = ["per*_in", "*ms_in"];
    let all = daemon.objects(&["hold", kinds[0], kinds[1], "persons_in"]);
    let names: Vec<_> = all.iter().map(|one| &one["interface"]).collect();
    assert_eq!(names, ["persons_in", "items_in"], "each once");
    refused(
        daemon,
        &["hold", "*_ni"],
        "no interface fits *_ni; there are ",
    );
    daemon.operator(&["release", kinds[0], kinds[1]]);
}

#[test]
fn operators_see_and_move_jobs_with_the_service_down_and_up() {
    if !has_job_files() {
        return;
    }
    let script = r#"[ "$SPOOLGATE_REF" != failed ] || [ -e good ]"#;
    let mut daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", &shell(script, "")));
    let first = daemon.upload_text(&order("first"), "?RefName=failed").job();
    daemon.wait_for_place(&first, "joberrors");
    daemon.operator(&["rm", &first]);
    daemon.operator(&["hold", "orders_in", "--reason", "audit"]);
    let waiting = daemon
        .upload_text(&order("waiting"), "?RefName=waiting")
        .job();
    // One fails although it comes later.
    let failed = daemon
        .upload_text(&order("failed"), "?RefName=failed")
        .job();
    let aside = daemon.dir().join("aside");
    let queued = daemon.spool(&format!("queue/orders_in/{waiting}"));
    fs::rename(&queued, &aside).unwrap();
    daemon.operator(&["release", "orders_in"]);
    daemon.wait_for_place(&failed, "joberrors");
    daemon.operator(&["hold", "orders_in", "--reason", "audit"]);
    fs::rename(&aside, &queued).unwrap();

    assert!(
        daemon
            .operator(&["status"])
            .contains(&format!("running, process {}", daemon.pid()))
    );
    assert_eq!(
        daemon.objects(&["status"])[0]["service"],
        daemon.pid().to_string()
    );
    operate(&daemon, &waiting, &failed);
    daemon.stop();
    assert!(daemon.operator(&["status"]).contains("not running"));
    assert_eq!(daemon.objects(&["status"])[0]["service"], Value::Null);
    operate(&daemon, &waiting, &failed);

    // Down: what is sent on is found at the next start.
    fs::write(daemon.dir().join("good"), "").unwrap();
    let moved = json(&daemon, &["requeue", &failed]);
    assert_eq!(moved["outcome"], "requeued");
    assert_eq!(moved["path"], format!("queue/orders_in/{failed}"));
    daemon.operator(&["release", "orders_in"]);
    daemon.serve();
    daemon.wait_for_place(&waiting, "bak/orders_in");
    daemon.wait_for_place(&failed, "bak/orders_in");
    let said = daemon.messages(&failed).join("\n");
    assert!(said.contains("requeued to orders_in by "), "{said}");
    assert!(
        said.contains("failed with exit code 1"),
        "earlier messages stay: {said}"
    );
    assert_eq!(daemon.joblog(&failed)["status"], "ok");
    assert!(
        daemon
            .messages(&first)
            .last()
            .unwrap()
            .starts_with("removed by ")
    );
}

#[test]
fn requeued_jobs_run_again() {
    let script = r#"echo "$SPOOLGATE_REF $SPOOLGATE_ATTEMPT" >> ran; [ -e good ]"#;
    let daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", &shell(script, "")));
    let job = daemon.upload_text(&order("1"), "?RefName=r").job();
    daemon.wait_for_place(&job, "joberrors");
    fs::write(daemon.dir().join("good"), "").unwrap();
    daemon.operator(&["requeue", &job]);
    daemon.wait_for_place(&job, "bak/orders_in");
    daemon.operator(&["requeue", &job]);
    daemon.wait("the third run", || daemon.text("ran").lines().count() == 3);
    daemon.wait_for_place(&job, "bak/orders_in");
    assert_eq!(daemon.text("ran"), "r 1\nr 1\nr 1\n");
    let notes = daemon.messages(&job);
    let notes = notes
        .iter()
        .filter(|m| m.starts_with("requeued to orders_in by"));
    assert_eq!(notes.count(), 2);
    // To another interface.
    daemon.operator(&["requeue", &job, "--to", "persons_out"]);
    assert_eq!(daemon.place(&job), "queue/persons_out");
    refused(&daemon, &["requeue", &job], "cannot");
    daemon.operator(&["rm", &job]);
    refused(&daemon, &["status", &job], "no job");
    assert!(
        daemon
            .messages(&job)
            .last()
            .unwrap()
            .starts_with("removed by ")
    );
}

#[test]
fn a_running_job_is_not_to_be_touched() {
    let script = "touch started; while [ -e gate ]; do sleep 0.02; done";
    let mut daemon = Daemon::init();
    let gate = daemon.scratch("gate", "");
    daemon.configure(|text| with_keys(&text, "orders_in", &shell(script, "")));
    daemon.serve();
    let job = daemon.upload_text(&order("1"), "").job();
    daemon.wait("its start", || daemon.dir().join("started").exists());
    refused(&daemon, &["rm", &job], "is running");
    refused(&daemon, &["requeue", &job], "is running");
    assert_eq!(daemon.operator(&["cat", &job]), order("1"));
    let listed = Value::from(daemon.objects(&["ls", "work"]));
    assert_eq!(
        (&listed[0]["attempt"], &listed[0]["state"]),
        (&1.into(), &"running".into())
    );
    fs::remove_file(gate).unwrap();
    daemon.wait_for_place(&job, "bak/orders_in");
}

#[test]
fn a_job_that_was_cut_off_is_not_called_running() {
    // The gate goes with the directory, so that it ends however the test does.
    let script =
        "echo $$ > started.new; mv started.new started; while [ -e gate ]; do sleep 0.02; done";
    let mut daemon = Daemon::init();
    daemon.scratch("gate", "");
    daemon.configure(|text| with_keys(&text, "orders_in", &shell(script, "")));
    daemon.serve();
    let job = daemon.upload_text(&order("1"), "").job();
    daemon.wait("its start", || daemon.dir().join("started").exists());
    daemon.kill();
    let is = |state: &str| {
        let listed = Value::from(daemon.objects(&["ls", "work"]));
        assert_eq!(listed[0]["state"], state, "{listed}");
        assert!(daemon.operator(&["status", &job]).contains(state));
    };
    // The command has outlived the service.
    is("running");
    refused(&daemon, &["rm", &job], "is running");
    refused(&daemon, &["requeue", &job], "is running");
    is("running");
    let pid = daemon.text("started").trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).unwrap();
    daemon.wait("its end", || {
        json(&daemon, &["ls", "work"])["state"] != "running"
    });
    is("cut off");
    // How it ended is kept, and only a service settles that.
    refused(
        &daemon,
        &["rm", &job],
        "start the service, which recovers it",
    );
    is("cut off");
}

#[test]
fn places_are_typed_as_they_are_seen() {
    let daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", &shell("exit 1", "")));
    let failed = daemon.upload_text(&order("1"), "").job();
    daemon.wait_for_place(&failed, "joberrors");
    let items = document("items_in/assortment.valid.xml");
    let done = daemon.upload(&items, "").job();
    daemon.wait_for_place(&done, "bak/items_in");
    daemon.operator(&["hold", "orders_in"]);
    let waiting = daemon.upload_text(&order("2"), "").job();
    let of_day = format!("joberrors/orders_in/{}", day(&failed));
    let done_of_day = format!("bak/items_in/{}", day(&done));
    for (place, jobs) in [
        ("orders_in", vec![&waiting, &failed]),
        ("items_in", vec![]),
        ("joberrors", vec![&failed]),
        ("joberrors/orders_in", vec![&failed]),
        ("joberrors/items_in", vec![]),
        (&of_day, vec![&failed]),
        ("joberrors/2020-02-29", vec![]),
        (&done_of_day, vec![&done]),
        ("bak/items_in/2020-02-29/", vec![]),
        ("queue/orders_in/", vec![&waiting]),
    ] {
        let listed = daemon.objects(&["ls", place]);
        let listed: Vec<_> = listed.iter().map(|j| &j["job"]).collect();
        assert_eq!(listed, jobs, "{place}");
    }
    for (place, words) in [
        ("queue/nowhere", "no such interface"),
        ("nowhere/orders_in", "no place"),
        ("orders_in/2026-11-22", "no place"),
        (
            "queue/orders_in/2026-11-22",
            "neither an interface nor a day",
        ),
        ("bak/items_in/2026-11-99", "neither an interface nor a day"),
    ] {
        refused(&daemon, &["ls", place], words);
    }
}

#[test]
fn what_is_known_of_a_job_that_failed_says_how_often_and_why() {
    let said = r#"echo "{\"text\":\"no such item\",\"level\":\"error\",\"line\":7}"; exit 1"#;
    let daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", &shell(said, "")));
    let job = daemon.upload_text(&order("1"), "").job();
    daemon.wait_for_place(&job, "joberrors");
    assert_eq!(json(&daemon, &["status", &job])["attempts"], 1);
    assert_eq!(json(&daemon, &["ls", "joberrors"])["attempts"], 1);
    let why = daemon.operator(&["why", &job]);
    assert!(why.contains("its log says: line 7: no such item"), "{why}");
    assert!(
        why.contains("\n  attempt 1 2") && why.contains("Z failed: "),
        "{why}"
    );
    let log = daemon.operator(&["log", &job]);
    assert!(
        log.contains("\nattempt 1 2") && log.contains("Z failed: "),
        "{log}"
    );
    for command in ["why", "log"] {
        let told = json(&daemon, &[command, &job]);
        let [attempt] = &told["past_attempts"].as_array().unwrap()[..] else {
            panic!("{told}")
        };
        assert_eq!(
            (&attempt["attempt"], &attempt["outcome"]),
            (&1.into(), &"failed".into())
        );
        assert!(
            attempt["reason"].as_str().unwrap().contains("no such item"),
            "{attempt}"
        );
        assert!(
            attempt["started"].as_str() <= attempt["ended"].as_str(),
            "{attempt}"
        );
        assert!(attempt["started"].is_string(), "{attempt}");
    }
}

#[test]
fn the_log_of_a_running_job_shows_what_there_is() {
    let script = "echo half; touch started; while [ -e gate ]; do sleep 0.02; done";
    let daemon = Daemon::init();
    let gate = daemon.scratch("gate", "");
    daemon.configure(|text| with_keys(&text, "orders_in", &shell(script, "")));
    let mut daemon = daemon;
    daemon.serve();
    let job = daemon.upload_text(&order("1"), "").job();
    daemon.wait("its start", || daemon.dir().join("started").exists());
    assert_eq!(daemon.joblog(&job)["status"], "running");
    assert_eq!(daemon.messages(&job), ["half", "attempt 1 is running"]);
    fs::remove_file(gate).unwrap();
    daemon.wait_for_place(&job, "bak/orders_in");
    assert_eq!(daemon.joblog(&job)["status"], "ok");
}

#[test]
fn the_sample_that_emits_makes_nothing_of_another_document() {
    let present = Command::new("xsltproc").arg("--version").output().is_ok();
    if !present {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, code) in [
        ("orders_in/states.valid.xml", 0),
        ("items_in/assortment.valid.xml", 1),
    ] {
        let emit = TempDir::new().unwrap();
        let output = Command::new(root.join("examples/processors/export-order.sh"))
            .env("SPOOLGATE_JOB", "job")
            .env("SPOOLGATE_EMIT", emit.path())
            .stdin(fs::File::open(document(name)).unwrap())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let emitted = fs::read_dir(emit.path().join("orders_out")).unwrap();
        assert_eq!(emitted.count(), usize::from(code == 0));
        let said = text(&output.stderr);
        assert_eq!(said.contains("root element is not ListOfOrders"), code == 1);
    }
}

#[test]
fn a_document_that_was_changed_by_hand_has_no_checksum() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::start();
    daemon.operator(&["hold", "orders_in"]);
    let job = daemon.upload_text(&order("1"), "").job();
    assert!(daemon.operator(&["status", &job]).contains("sha256"));
    let path = daemon.spool(&format!("queue/orders_in/{job}"));
    fs::write(&path, order("2")).unwrap();
    // As if the change came later: the clock of the file decides.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    let file = fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(later).unwrap();
    drop(file);
    assert!(!daemon.operator(&["status", &job]).contains("sha256"));
    daemon.operator(&["release", "orders_in"]);
    daemon.wait_for_place(&job, "bak/orders_in");
    let log = daemon.operator(&["log", "--xml", &job]);
    assert!(!log.contains("SHA256"), "{log}");
}

#[test]
fn a_job_that_was_moved_beside_its_day_is_found_after_a_restart() {
    if !has_job_files() {
        return;
    }
    let mut daemon = Daemon::start();
    daemon.operator(&["hold", "orders_in"]);
    let jobs = ["1", "2"].map(|id| daemon.upload_text(&order(id), "").job());
    daemon.stop();
    for (job, dir) in jobs.iter().zip(["joberrors", "bak/orders_in"]) {
        let from = daemon.spool(&format!("queue/orders_in/{job}"));
        fs::rename(from, daemon.spool(&format!("{dir}/{job}"))).unwrap();
    }
    daemon.serve();
    assert_eq!(daemon.place(&jobs[0]), "joberrors");
    assert_eq!(daemon.place(&jobs[1]), "bak/orders_in");
}

#[test]
fn a_second_hold_keeps_the_reason_of_the_first() {
    let daemon = Daemon::start();
    daemon.operator(&["hold", "orders_in", "--reason", "database away"]);
    let said = daemon.operator(&["hold", "orders_in"]);
    assert!(
        said.contains("was held already") && said.contains("database away"),
        "{said}"
    );
    assert!(daemon.operator(&["status"]).contains("database away"));
}

#[test]
fn a_new_certificate_is_used_without_a_restart() {
    let daemon = Daemon::start();
    let fresh = TempDir::new().unwrap();
    assert!(init(fresh.path(), &[]).status.success());
    // A connection that is open all the while.
    let mut upload = daemon
        .curl_command("/xml/upload")
        .args(["-X", "POST", "-T", "-", "-w", "%{http_code}"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut body = upload.stdin.take().unwrap();
    let text = order("1").replacen("><", &format!(">{}<", " ".repeat(4 << 20)), 1);
    let (first, rest) = text.split_at(text.len() - 20);
    body.write_all(first.as_bytes()).unwrap();
    daemon.wait("the upload is under way", || {
        fs::read_dir(daemon.spool("tmp")).unwrap().count() > 0
    });
    let trusts = |dir: &Path| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-o", "/dev/null", "--cacert"])
            .arg(dir.join("certs/cert.pem"))
            .args(["-u", &format!("admin:{}", daemon.password)])
            .arg(format!(
                "{}/xml/jobqueue?Interfacename=orders_in",
                daemon.url
            ));
        curl.output().unwrap().status.success()
    };
    assert!(trusts(daemon.dir()) && !trusts(fresh.path()));
    let old = TempDir::new().unwrap();
    fs::create_dir(old.path().join("certs")).unwrap();
    fs::copy(
        daemon.dir().join("certs/cert.pem"),
        old.path().join("certs/cert.pem"),
    )
    .unwrap();
    for file in ["key.pem", "cert.pem"] {
        let prepared = daemon.dir().join(format!("certs/{file}.new"));
        fs::copy(fresh.path().join("certs").join(file), &prepared).unwrap();
        fs::rename(prepared, daemon.dir().join("certs").join(file)).unwrap();
    }
    daemon.soon("the new certificate", || trusts(fresh.path()));
    assert!(!trusts(old.path()));
    body.write_all(rest.as_bytes()).unwrap();
    drop(body);
    let output = upload.wait_with_output().unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    assert!(answer.ends_with("\n201"), "{answer} {}", daemon.log());
    // One that does not belong to its key changes nothing.
    fs::copy(
        old.path().join("certs/cert.pem"),
        daemon.dir().join("certs/cert.pem"),
    )
    .unwrap();
    daemon.soon("the complaint", || {
        daemon
            .log()
            .contains("the certificate before stays in force")
    });
    assert!(trusts(fresh.path()));
}

#[test]
fn probes_and_the_plain_port_answer() {
    let daemon = Daemon::start();
    for path in ["/livez", "/readyz"] {
        let answer = daemon.bare_curl(&[&format!("{}{path}", daemon.ops)]);
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok\n"));
    }
    let post = daemon.bare_curl(&["-X", "POST", &format!("{}/readyz", daemon.ops)]);
    assert_eq!(
        (post.status, post.header("allow")),
        (405, Some("GET, HEAD"))
    );
    assert_eq!(
        daemon
            .bare_curl(&[&format!("{}/xml/upload", daemon.ops)])
            .status,
        404
    );
    let path = daemon.scratch("order.xml", order("1"));
    let body = format!("@{}", path.display());
    for url in ["/xml/upload", "/readyz"] {
        let url = format!("{}{url}", daemon.plain);
        let answer = daemon.curl(&["--data-binary", &body, &url]);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (403, "use https\n")
        );
    }
    assert_eq!(daemon.files("queue"), [""; 0]);
    assert_eq!(daemon.files("bak"), [""; 0]);
}

#[test]
fn readiness_ends_before_the_service_does() {
    let script = "touch started; while [ -e gate ]; do sleep 0.02; done";
    let mut daemon = Daemon::init();
    let gate = daemon.scratch("gate", "");
    daemon.configure(|text| with_keys(&text, "orders_in", &shell(script, "")));
    daemon.serve();
    daemon.upload_text(&order("1"), "").job();
    daemon.wait("its start", || daemon.dir().join("started").exists());
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait("not ready any more", || {
        let url = format!("{}/readyz", daemon.ops);
        let curl = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &url])
            .output()
            .unwrap();
        // Stopping says 503, or no one listens.
        curl.stdout != b"200"
    });
    fs::remove_file(gate).unwrap();
    daemon.ended();
    assert!(daemon.log().contains("stopped"), "{}", daemon.log());
}

#[test]
fn tenants_are_apart() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| {
        format!(
            "{text}\n[tenants.b]\nhosts = [\"b.example\"]\n\n\
             [tenants.b.interfaces.orders_in]\ndirection = \"in\"\nroot = \"ListOfOrders\"\n\
             schema = \"\"\n\n\
             [tenants.b.interfaces.special_out]\ndirection = \"out\"\n"
        )
    });
    fs::create_dir_all(daemon.dir().join("tenants/b")).unwrap();
    let line = daemon.operator(&["user", "add", "bo", "--tenant", "b", "--role", "operator"]);
    let bo = format!("bo:{}", line.trim().rsplit(' ').next().unwrap());
    daemon.serve();
    let host = "Host: B.example:8443";
    let path = daemon.scratch("order.xml", order("1"));
    let body = format!("@{}", path.display());
    let upload = ["-H", host, "--data-binary", &body, "/xml/upload"];
    assert_eq!(daemon.curl(&upload).status, 401, "another tenant's user");
    let job = daemon.curl_as(&bo, &upload).job();
    let root = daemon.dir().join("tenants/b/spool");
    assert!(root.join(format!("queue/orders_in/{job}")).exists());
    assert_eq!(daemon.files("queue"), [""; 0]);
    assert_eq!(daemon.files("bak"), [""; 0]);
    let status = format!("/xml/jobstatus?Jobname={job}");
    assert_eq!(daemon.curl_as(&bo, &["-H", host, &status]).status, 200);
    assert_eq!(daemon.curl_as(&bo, &[&status]).status, 401, "not its host");
    assert_eq!(
        daemon.curl(&[&status]).status,
        400,
        "nothing of the other's is known"
    );
    let special = "/xml/jobqueue?Interfacename=special_out";
    assert_eq!(daemon.curl_as(&bo, &["-H", host, special]).status, 200);
    assert_eq!(daemon.curl(&[special]).status, 400);

    let own = daemon
        .upload(&document("orders_in/states.valid.xml"), "")
        .job();
    daemon.wait_for_place(&own, "bak/orders_in");
    refused(&daemon, &["status", &job], "no job");
    assert_eq!(
        json(&daemon, &["status", &job, "--tenant", "b"])["state"],
        "queued"
    );
    assert_eq!(
        Value::from(daemon.objects(&["ls", "--tenant", "b"]))
            .as_array()
            .unwrap()
            .len(),
        1
    );
    refused(&daemon, &["status", &own, "--tenant", "b"], "no job");
    // A drop is seen in each spool.
    let dropped = daemon.scratch("dropped", order("2"));
    fs::rename(dropped, root.join("queue/special_out/dropped.xml")).unwrap();
    daemon.soon("the drop", || {
        let listed = daemon.curl_as(&bo, &["-H", host, special]).text();
        listed.contains("-dropped.xml")
    });
    daemon.operator(&["check"]);
}

#[test]
fn the_first_user_of_a_tenant_needs_no_preparation() {
    let daemon = Daemon::init();
    daemon.configure(|text| {
        format!(
            "{text}\n[tenants.b]\nhosts = [\"b.example\"]\n\n\
             [tenants.b.interfaces.special_out]\ndirection = \"out\"\n"
        )
    });
    daemon.operator(&["user", "add", "bo", "--tenant", "b", "--role", "operator"]);
    let users = Value::from(daemon.objects(&["user", "list", "--tenant", "b"]));
    assert_eq!(users[0]["user"], "bo");
}

#[test]
fn a_cause_is_told_once() {
    let daemon = Daemon::init();
    fs::remove_file(daemon.config()).unwrap();
    let output = daemon.spoolgate(&["status"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("Run `spoolgate init` to make one"), "{said}");
    assert_eq!(
        said.matches("No such file or directory").count(),
        1,
        "{said}"
    );
}

#[test]
fn the_demo_shows_everything_and_succeeds() {
    let dir = TempDir::new().unwrap();
    let demo = program()
        .arg("demo")
        .env("TMPDIR", dir.path())
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(demo.status.success(), "{demo:?}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "it cleans up: {left:?}");
}

/// What was refused lies apart from what has failed, and is called so; partners see no difference.
#[test]
fn refused_documents_lie_apart_from_failed_jobs() {
    let fails = |text: String| with_keys(&text, "orders_in", &shell("exit 1", ""));
    let daemon = Daemon::start_with(fails);
    let failed = daemon.upload_text(&order("1"), "").job();
    daemon.wait_for_place(&failed, "joberrors");
    let answer = daemon.upload_text("no document", "?Interfacename=orders_in");
    let refused = answer.header("x-job-name").unwrap().to_owned();
    assert_eq!(daemon.place(&refused), "joberrors");
    let apart = format!("joberrors/{}/refused/{refused}", day(&refused));
    assert!(daemon.has(&apart));
    assert_eq!(daemon.operator(&["cat", &refused]), "no document");
    let listed = Value::from(daemon.objects(&["ls", "joberrors"]));
    let state = |name: &str| {
        let mut all = listed.as_array().unwrap().iter();
        all.find(|job| job["job"] == name).unwrap()["state"].clone()
    };
    assert_eq!(
        (state(&failed), state(&refused)),
        ("failed".into(), "refused".into())
    );
    let status = &daemon.objects(&["status"])[0];
    assert_eq!(
        (&status["joberrors"], &status["refused"]),
        (&1.into(), &1.into())
    );
    let why = daemon.operator(&["why", &refused]);
    assert!(why.contains("was refused"), "{why}");
    assert_eq!(json(&daemon, &["log", &refused])["status"], "refused");
    assert_eq!(json(&daemon, &["log", &failed])["status"], "error");
}
