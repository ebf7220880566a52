//! The commands that show many jobs at a glance.

use crate::harness::{Daemon, PROGRAM, marked, order, program, shell, with_keys};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

/// What a command prints, an object a line.
fn lines(daemon: &Daemon, arguments: &[&str]) -> Vec<Value> {
    let printed = daemon.operator(arguments);
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn failures_are_grouped_by_their_cause() {
    let script = r#"case "$SPOOLGATE_REF" in
        later*) echo "no link" >&2; exit 75;;
        *) echo "{\"level\": \"error\", \"text\": \"row $$ is odd\"}" >&2; exit 1;;
    esac"#;
    let daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", &shell(script, "")));
    let failed: Vec<String> = (0..3)
        .map(|n| {
            daemon
                .upload_text(&order("1"), &format!("?RefName=now-{n}"))
                .job()
        })
        .collect();
    for job in &failed {
        daemon.wait_for_place(job, "joberrors");
    }
    let later = daemon.upload_text(&order("1"), "?RefName=later").job();
    daemon.upload_text("<a>", "");
    daemon.wait("it is deferred", || !daemon.files("deferred").is_empty());
    let all = || lines(&daemon, &["errors", "--json"]);
    daemon.wait("both are recorded", || all().len() == 2);
    let groups = all();
    assert_eq!(
        (&groups[0]["failed"], &groups[0]["deferred"]),
        (&3.into(), &0.into())
    );
    assert_eq!(
        (&groups[1]["failed"], &groups[1]["deferred"]),
        (&0.into(), &1.into())
    );
    assert_eq!(groups[0]["interfaces"], serde_json::json!(["orders_in"]));
    assert!(
        groups[0]["error"].as_str().unwrap().ends_with("is odd"),
        "{groups:?}"
    );
    assert!(
        failed.iter().any(|job| groups[0]["example"] == **job),
        "{groups:?}"
    );
    assert_eq!(groups[1]["example"], *later);
    let moment = |key: &str| groups[0][key].as_str().unwrap().to_owned();
    assert!(moment("first") <= moment("last"));
    assert_eq!(moment("last").len(), "2026-11-22T08:58:26.976Z".len());
    let text = daemon.operator(&["errors"]);
    assert_eq!(text.lines().count(), 3, "{text}");
    assert_eq!(daemon.operator(&["errors", "--since", "2999-01-01"]), "");
    // Its fingerprint is that of the shape.
    let by = [
        "shape",
        "--json",
        "--place",
        "joberrors",
        "--place",
        "deferred",
    ];
    let shape = lines(&daemon, &[&by[..], &["--by", "fingerprint"]].concat());
    let of = |group: &Value| {
        shape
            .iter()
            .find(|line| line["group"] == group["fingerprint"])
    };
    assert_eq!(of(&groups[0]).unwrap()["jobs"], 3);
    assert_eq!(of(&groups[1]).unwrap()["jobs"], 1);
    assert_eq!(shape.len(), 3, "and the refused one: {shape:?}");
}

#[test]
fn jobs_that_wait_are_counted_by_age() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| text);
    let shop = daemon.add_user("shop", &["orders_in=upload"]);
    daemon.serve();
    daemon.operator(&["hold", "orders_in"]);
    let job = daemon.upload_text(&order("1"), "").job();
    let body = format!("@{}", daemon.scratch("order.xml", order("2")).display());
    for _ in 0..2 {
        daemon
            .curl_as(&shop, &["--data-binary", &body, "/xml/upload"])
            .job();
    }
    let by = |by: &str| lines(&daemon, &["shape", "--json", "--by", by]);
    let submitters = by("submitter");
    let counts: Vec<_> = (submitters.iter())
        .map(|line| {
            (
                line["group"].as_str().unwrap(),
                line["ages"][0]["held"].as_u64(),
            )
        })
        .collect();
    assert_eq!(counts, [("admin", Some(1)), ("shop", Some(2))]);
    let interfaces = by("interface");
    assert_eq!(
        (&interfaces[0]["group"], &interfaces[0]["held"]),
        (&"orders_in".into(), &3.into())
    );
    assert_eq!(interfaces[0]["jobs"], 0, "they are held on purpose");
    assert_eq!(interfaces[0]["ages"][0]["younger_than_s"], 300);
    assert_eq!(interfaces[0]["ages"][9]["younger_than_s"], Value::Null);
    let text = daemon.operator(&["shape"]);
    let total = text.lines().find(|line| line.starts_with("TOTAL")).unwrap();
    assert!(
        total
            .split_whitespace()
            .eq("TOTAL 0 0 0 0 0 0 0 0 0 0 0 3".split(' ')),
        "{text}"
    );
    // Nothing else waits.
    daemon.operator(&["rm", &job]);
    assert_eq!(by("interface")[0]["held"], 2);
}

#[test]
fn a_log_is_followed_until_the_job_has_ended() {
    let script = r#"echo "row 1" >&2
        while [ ! -e go-on ]; do sleep 0.05; done
        echo "row 2" >&2
        case "$SPOOLGATE_REF" in bad) exit 1;; esac"#;
    let daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", &shell(script, "")));
    for (reference, word, code) in [("good", "done", 0), ("bad", "failed", 1)] {
        let job = daemon
            .upload_text(&order("1"), &format!("?RefName={reference}"))
            .job();
        let mut follower = program()
            .args(["log", "-f", &job, "--config"])
            .arg(daemon.config())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        let mut next = || lines.next().unwrap().unwrap();
        // What is said while the job runs comes before it has ended.
        while !next().ends_with(" row 1") {}
        fs::write(daemon.dir().join("go-on"), "").unwrap();
        let rest: Vec<String> = std::iter::from_fn(|| Some(next()))
            .take_while(|line| !line.starts_with(&job))
            .collect();
        let times = |text: &str| rest.iter().filter(|line| line.ends_with(text)).count();
        assert_eq!((times(" row 1"), times(" row 2")), (0, 1), "{rest:?}");
        assert_eq!(follower.wait().unwrap().code(), Some(code));
        fs::remove_file(daemon.dir().join("go-on")).unwrap();
        // Of one that has ended all is said at once.
        let output = daemon.spoolgate(&["log", "-f", &job]);
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.ends_with(&format!("{job} {word}\n")), "{printed}");
        assert_eq!(output.status.code(), Some(code));
    }
}

#[test]
fn the_probe_of_a_container_says_how_the_service_is() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| text);
    let down = daemon.spoolgate(&["health"]);
    assert_eq!(down.status.code(), Some(1), "{down:?}");
    daemon.serve();
    // Port 0 tells no one where it listens: its socket is asked.
    assert_eq!(daemon.operator(&["health"]), "ok\n");
    let ops = daemon.ops.strip_prefix("http://").unwrap().to_owned();
    let text = fs::read_to_string(daemon.config()).unwrap();
    let known = format!("ops_listen = \"{ops}\"");
    fs::write(
        daemon.config(),
        text.replace("ops_listen = \"127.0.0.1:0\"", &known),
    )
    .unwrap();
    let healthy = daemon.operator(&["health", "--live"]);
    assert_eq!(healthy, "ok\n");
    assert!(daemon.operator(&["health"]).starts_with("ok\n"));
    daemon.stop();
    let down = daemon.spoolgate(&["health"]);
    let said = format!("no service answers at {ops} (server.ops_listen)");
    assert_eq!(down.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&down.stderr).contains(&said),
        "{down:?}"
    );
}

#[test]
fn rights_are_given_and_taken_one_by_one() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| text);
    let shop = daemon.add_user("shop", &["orders_in=upload"]);
    daemon.serve();
    let listed = |daemon: &Daemon| {
        daemon
            .curl_as(&shop, &["/xml/jobqueue?Interfacename=orders_in"])
            .status
    };
    assert_eq!(listed(&daemon), 403);
    let right = ["--right", "orders_in=list", "--right", "orders_in=manage"];
    daemon.operator(&[&["user", "grant", "shop"], &right[..]].concat());
    daemon.wait("the right is in force", || listed(&daemon) == 200);
    let rights = |daemon: &Daemon| {
        let users = daemon.operator(&["user", "list", "--json"]);
        let mut users = users
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let shop = users.find(|user: &Value| user["user"] == "shop").unwrap();
        shop["rights"].clone()
    };
    let all = serde_json::json!({"orders_in": ["upload", "list", "manage"]});
    assert_eq!(rights(&daemon).to_string().len(), all.to_string().len());
    // What is not there takes nothing with it.
    for (what, said) in [
        (
            ["--right", "orders_in=list,download"],
            "shop does not have the right orders_in=download",
        ),
        (["--role", "curator"], "shop does not have the role curator"),
    ] {
        let refused = daemon.spoolgate(&[&["user", "revoke", "shop"], &what[..]].concat());
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            String::from_utf8_lossy(&refused.stderr).contains(said),
            "{refused:?}"
        );
    }
    assert_eq!(listed(&daemon), 200);
    daemon.operator(&["user", "revoke", "shop", "--right", "orders_in=list,manage"]);
    daemon.wait("the right is gone", || listed(&daemon) == 403);
    assert_eq!(
        rights(&daemon),
        serde_json::json!({"orders_in": ["upload"]})
    );
    for (arguments, said) in [
        (
            &["user", "grant", "shop", "--right", "order_in=list"][..],
            "there is no interface order_in",
        ),
        (&["user", "grant", "shop"][..], "say what"),
        (&["user", "grant", "shpo", "--role", "curator"][..], "shpo"),
    ] {
        let refused = daemon.spoolgate(arguments);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        assert!(
            String::from_utf8_lossy(&refused.stderr).contains(said),
            "{refused:?}"
        );
    }
}

#[test]
fn a_shell_completes_jobs_and_interfaces() {
    let daemon = Daemon::start();
    daemon.operator(&["hold", "orders_in"]);
    let job = daemon.upload_text(&order("1"), "").job();
    let bin = std::path::Path::new(PROGRAM).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let completed = |words: &str, n: usize| {
        let script = format!(
            r#"source <(spoolgate completions bash)
            function=$(complete -p spoolgate | sed 's/.*-F \([^ ]*\).*/\1/')
            COMP_WORDS=({words}); COMP_CWORD={n}; COMP_TYPE=9
            "$function" spoolgate "${{COMP_WORDS[COMP_CWORD]}}"
            printf '%s\n' "${{COMPREPLY[@]}}""#
        );
        let output = marked("bash")
            .args(["-c", &script])
            .env("PATH", &path)
            .env("SPOOLGATE_CONFIG", daemon.config())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(completed("spoolgate cat 20", 2), [job.as_str()]);
    assert_eq!(
        completed("spoolgate hold orders", 2),
        ["orders_in", "orders_out"]
    );
    assert!(completed("spoolgate req", 1).contains(&"requeue".to_owned()));
    assert!(completed("spoolgate user gr", 2).contains(&"grant".to_owned()));
}

#[test]
fn the_manual_has_a_page_for_each_command_and_one_for_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let made = program().args(["man", at]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    for page in [
        "man1/spoolgate.1",
        "man1/spoolgate-user-grant.1",
        "man5/spoolgate.toml.5",
    ] {
        let text = fs::read_to_string(dir.path().join(page)).unwrap();
        assert!(text.contains(".TH "), "{page}: {text}");
    }
    let page = fs::read_to_string(dir.path().join("man1/spoolgate-errors.1")).unwrap();
    assert!(page.contains("\\-\\-since"), "{page}");
}
