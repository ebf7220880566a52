//! Clients of other systems: programs in `tests/clients/` that speak to the real server as the
//! programs of those systems do.

use crate::harness::Daemon;
use std::{path::Path, process::Command};

/// What the processes of these tests run: Python, with `body` (the document) and `result` at hand.
/// What is in `result` afterwards is their `result.json`.
fn python(work: &str) -> String {
    format!(
        r#"import base64, json, os, pathlib, sys, time
body = json.load(sys.stdin)
result = {{}}
{work}
results = pathlib.Path(os.environ["SPOOLGATE_RESULTS"])
(results / "result.json").write_text(json.dumps(result))
"#
    )
}

/// An interface for documents of any kind, each worked on by such a process.
fn interface(daemon: &Daemon, name: &str, work: &str, keys: &str) -> String {
    let script = format!("{name}.py");
    daemon.scratch(&script, python(work));
    format!(
        "\n[interfaces.\"{name}\"]\ndirection = \"in\"\nschema = \"\"\n{keys}\n\
         processor = {{ command = [\"python3\", \"{script}\"] }}\n"
    )
}

/// Runs a client to its end as the first user; what it says is in the message of a failure.
fn run_client(daemon: &Daemon, name: &str, variables: &[(&str, &str)]) {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let output = Command::new("python3")
        .arg("-B")
        .arg(clients.join(format!("{name}.py")))
        .env("GATEWAY_URL", &daemon.url)
        .env("GATEWAY_CA", daemon.dir().join("certs/cert.pem"))
        .env("GATEWAY_USER", "admin")
        .env("GATEWAY_PASSWORD", &daemon.password)
        .envs(variables.iter().copied())
        .output()
        .expect("python3 is needed for these tests: apt-get install python3");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{}", daemon.log());
}

#[test]
fn a_client_of_robusta_starts_processes() {
    let mut daemon = Daemon::init();
    let greet = "values = body.get('values') or {}\n\
                 result = {'greeting': 'Hello ' + str(values.get('who')), 'sent': values}";
    let wait = "while not pathlib.Path('signalled').exists(): time.sleep(0.01)";
    let flaky = "attempt = os.environ['SPOOLGATE_ATTEMPT']\n\
                 if attempt != '3': sys.exit(75)\n\
                 result = {'attempt': attempt}";
    let retry = "retry = { initial_s = 0.02, factor = 1.0 }";
    let interfaces = [
        interface(&daemon, "invoices", greet, "aliases = [\"Rechnungen\"]"),
        interface(&daemon, "wait", wait, ""),
        interface(&daemon, "signal", "pathlib.Path('signalled').touch()", ""),
        interface(&daemon, "flaky", flaky, retry),
    ];
    daemon.configure(|text| {
        let tags = "[server]\nworker_tags = [\"robot-1\"]";
        text.replacen("[server]", tags, 1) + &interfaces.concat()
    });
    let limited = daemon.add_user("limited", &["signal=upload"]);
    daemon.serve();
    run_client(&daemon, "robusta", &[("GATEWAY_LIMITED", &limited)]);
}

#[test]
fn a_client_of_ehealth_sends_compositions_and_waits_for_them() {
    let mut daemon = Daemon::init();
    let create = "content = body['type']['coding'][0]['code']\n\
                  if content == 'refuse':\n\
                  \x20   print(json.dumps({'text': 'no such patient', 'level': 'error'}))\n\
                  \x20   sys.exit(1)\n\
                  if content == 'signal': pathlib.Path('signalled').touch()\n\
                  while content == 'wait' and not pathlib.Path('signalled').exists(): time.sleep(0.01)\n\
                  href = 'composition/' + os.environ['SPOOLGATE_JOB']\n\
                  result = {'links': [{'entity': 'eHealth/composition', 'href': href}]}";
    let sign = "params = json.load(open(os.environ['SPOOLGATE_PARAMS']))\n\
                href = 'composition/' + params['compositionId']\n\
                result = {'links': [{'entity': 'eHealth/composition', 'href': href}]}";
    // By its name, and by an alias.
    let interfaces = [
        interface(&daemon, "composition", create, ""),
        interface(
            &daemon,
            "signatures",
            sign,
            "aliases = [\"composition.sign\", \"composition.cancel\"]",
        ),
    ];
    daemon.configure(|text| text + &interfaces.concat());
    let limited = daemon.add_user("limited", &["composition=list"]);
    let key = |user: &str| {
        daemon
            .operator(&["user", "api-key", user])
            .trim()
            .to_owned()
    };
    let limited = format!("{limited}:{}", key("limited"));
    let own = key("admin");
    daemon.serve();
    let variables = [("GATEWAY_API_KEY", &*own), ("GATEWAY_LIMITED", &limited)];
    run_client(&daemon, "ehealth", &variables);
}

/// The server with an interface `report` as the clients of tasks and of workflows know it, and
/// users there: `ada`, a `curator`, and `bob` with one right of his own.
fn reporting(bobs_right: &str) -> (Daemon, [(&'static str, String); 3]) {
    let work = "made = pathlib.Path(os.environ['SPOOLGATE_RESULTS'])
def keep(variable, name):
    (made / name).write_bytes(pathlib.Path(os.environ[variable]).read_bytes())
keep('SPOOLGATE_FILE', 'request.json')
keep('SPOOLGATE_PARAMS', 'b.txt')
words = json.dumps(body)
if 'fail' in words:
    print(json.dumps({'level': 'warning', 'text': 'little ink', 'tool': 'xslt'}))
    print(json.dumps({'level': 'error', 'text': 'no paper', 'tool': 12}))
    sys.exit(1)
while 'run' in words: time.sleep(3600)";
    let mut daemon = Daemon::init();
    let report = interface(&daemon, "report", work, "aliases = [\"Monthly-Report\"]");
    daemon.configure(|text| {
        let tags = "[server]\nworker_tags = [\"robot-1\"]";
        text.replacen("[server]", tags, 1) + &report
    });
    let ada = daemon.add_user("ada", &["report=upload,list,download"]);
    let bob = daemon.add_user("bob", &[bobs_right]);
    let curator = [
        "user",
        "add",
        "curator",
        "--role",
        "curator",
        "--right",
        "report=list",
    ];
    let curator = daemon.operator(&curator);
    let curator = curator.trim().rsplit(' ').next().unwrap();
    let curator = format!("curator:{curator}");
    daemon.serve();
    let users = [("ADA", ada), ("BOB", bob), ("CURATOR", curator)];
    (daemon, users)
}

fn run_client_of_reports(name: &str, bobs_right: &str) {
    let (daemon, users) = reporting(bobs_right);
    let users = users.map(|(name, login)| (format!("GATEWAY_{name}"), login));
    let users = users
        .each_ref()
        .map(|(name, login)| (name.as_str(), login.as_str()));
    run_client(&daemon, name, &users);
}

#[test]
fn a_client_of_alteryx_runs_workflows() {
    run_client_of_reports("alteryx", "report=upload,list,download");
}

#[test]
fn a_client_of_paas_has_tasks_processed() {
    run_client_of_reports("paas", "persons_in=upload");
}

#[test]
fn the_description_is_for_anybody() {
    let daemon = Daemon::start();
    let answer = daemon.bare_curl(&["/openapi.json"]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let description: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(description["openapi"], "3.1.0");
    // Whoever looks at the server is told where it is.
    for version in ["--http1.0", "--http1.1", "--http2"] {
        let answer = daemon.bare_curl(&[version, "/"]);
        assert_eq!(answer.status, 200, "{version}");
        assert!(answer.text().contains("/openapi.json"), "{}", answer.text());
        let link = answer.header("link");
        assert_eq!(link, Some("</openapi.json>; rel=\"service-desc\""));
    }
    assert_eq!(daemon.bare_curl(&["-X", "DELETE", "/"]).status, 405);
    let answer = daemon.bare_curl(&["-X", "POST", "/openapi.json"]);
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, Some("GET, HEAD"))
    );
}
