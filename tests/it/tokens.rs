//! Bearer tokens and runners, before the dialects that want them: how they are got, what they
//! open, and what ends them.

use crate::harness::{Answer, Daemon};
use serde_json::Value;

const TOKEN: &str = "/webapi/oauth2/token";
const JOBS: &str = "/webapi/v3/workflows/Printing/jobs";
const GRANT: &str = "grant_type=client_credentials";

/// A service that also takes JSON.
fn daemon() -> Daemon {
    Daemon::start_with(|text| {
        let json = "direction = \"in\"\nschema = \"\"\nprocessor = { archive = true }";
        format!("{text}\n[interfaces.Printing]\n{json}\n")
    })
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.text()))
}

fn token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    json(answer)["access_token"].as_str().unwrap().to_owned()
}

/// The status, and the challenge if there is one.
fn list(daemon: &Daemon, token: &str) -> (u16, String) {
    let header = format!("Authorization: Bearer {token}");
    let answer = daemon.bare_curl(&["-H", &header, JOBS]);
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    (answer.status, challenge.to_owned())
}

#[test]
fn a_token_is_got_by_password_and_good_across_restarts_until_that_changes() {
    let mut daemon = daemon();
    let by_header = token(&daemon.curl(&["-d", GRANT, TOKEN]));
    let secret = format!("client_secret={}", daemon.password);
    let form = ["-d", GRANT, "-d", "client_id=admin", "-d", &secret, TOKEN];
    let by_form = token(&daemon.bare_curl(&form));
    let by_operator = daemon.operator(&["user", "token", "admin"]);
    for token in [&by_header, &by_form, by_operator.trim_end()] {
        assert_eq!(list(&daemon, token).0, 200);
    }
    let wrong = [
        "-d",
        GRANT,
        "-d",
        "client_id=admin",
        "-d",
        "client_secret=x",
        TOKEN,
    ];
    for refused in [
        daemon.bare_curl(&wrong),
        daemon.bare_curl(&["-d", GRANT, TOKEN]),
    ] {
        assert_eq!(refused.status, 401, "{}", refused.text());
        assert!(
            refused
                .header("www-authenticate")
                .unwrap()
                .starts_with("Basic realm=")
        );
    }

    daemon.stop();
    daemon.serve();
    assert_eq!(list(&daemon, &by_header).0, 200);
    daemon.operator(&["user", "passwd", "admin"]);
    daemon.soon("the token is void", || list(&daemon, &by_header).0 == 401);
    for token in [&by_header, &by_form, by_operator.trim_end()] {
        let (status, challenge) = list(&daemon, token);
        assert_eq!(status, 401);
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    let log = daemon.log();
    for secret in [&by_header, &by_form, &daemon.password] {
        assert!(!log.contains(secret.as_str()), "a secret in the log");
    }
}

#[test]
fn what_wants_a_token_takes_nothing_else_and_none_that_is_limited_otherwise() {
    let daemon = daemon();
    let by_password = daemon.curl(&[JOBS]);
    assert_eq!(by_password.status, 401);
    let challenge = by_password.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer realm="), "{challenge}");
    assert!(!challenge.contains("error"), "{challenge}");
    // Who asks for scopes where there are none gets a token for everything.
    let unlimited = daemon.curl(&["-d", GRANT, "-d", "scope=composition:read", TOKEN]);
    assert_eq!(json(&unlimited)["scope"], Value::Null);
    assert_eq!(list(&daemon, &token(&unlimited)).0, 200);
    let scoped = "/oauth/tokens";
    let answer = daemon.curl(&["-d", GRANT, "-d", "scope=composition:read", scoped]);
    assert_eq!(json(&answer)["scope"], "composition:read");
    let (status, challenge) = list(&daemon, &token(&answer));
    assert_eq!(status, 401);
    assert!(
        challenge.contains("error=\"insufficient_scope\""),
        "{challenge}"
    );
    let bad = daemon.curl(&["-d", GRANT, "--data-urlencode", "scope=a\\", scoped]);
    assert_eq!(
        (bad.status, &json(&bad)["error"]),
        (400, &"invalid_scope".into())
    );
}

#[test]
fn an_api_key_goes_with_the_token_of_its_user() {
    let daemon = daemon();
    daemon.operator(&["user", "add", "other", "--role", "operator"]);
    let made = |arguments: &[&str]| daemon.operator(arguments).trim_end().to_owned();
    let scope = ["user", "token", "admin", "--scope", "composition:read"];
    let bearer = format!("Authorization: Bearer {}", made(&scope));
    let ask = |headers: &[&str]| {
        let headers = headers.iter().flat_map(|header| ["-H", header]);
        let unknown = "/patients/composition/job/019abcde-0000-8000-8000-000000000000";
        let arguments: Vec<&str> = headers.chain([unknown]).collect();
        daemon.bare_curl(&arguments).status
    };
    let key = |user: &str| format!("api-key: {}", made(&["user", "api-key", user]));
    // Whoever is let in hears that there is no such job.
    assert_eq!(ask(&[&bearer, &key("admin")]), 404);
    assert_eq!(ask(&[&bearer, &key("other")]), 401);
    assert_eq!(ask(&[&bearer]), 401);
    assert_eq!(ask(&[&key("admin")]), 401);
}

#[test]
fn a_runner_opens_its_own_task_without_a_password() {
    let daemon = daemon();
    let start = || {
        let answer = daemon.curl(&["-d", "{}", "/api/v1/default/process/Printing"]);
        assert_eq!(answer.status, 201, "{}", answer.text());
        let started = json(&answer);
        let runner = started["runner"].as_str().unwrap().to_owned();
        (started["task"].as_u64().unwrap(), runner)
    };
    let ((task, runner), (other, _)) = (start(), start());
    let status = |task: u64, query: &str| {
        let path = format!("/api/v1/default/status/{task}{query}");
        daemon.bare_curl(&[&path]).status
    };
    let mine = format!("?guid={runner}");
    assert_eq!(status(task, &mine), 200);
    assert_eq!(status(other, &mine), 404);
    assert_eq!(status(task + 1, &mine), 404);
    assert_eq!(status(task, "?guid="), 404);
    assert_eq!(status(task, ""), 401);
    assert!(!daemon.log().contains(&runner), "a capability in the log");
}
