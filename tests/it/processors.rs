//! What programs of integrators get and what becomes of their jobs: the command contract, retries,
//! limits, results and emitted jobs, concurrency and order, and the processors that ship with the
//! project.
//!
//! Commands that have to last wait for a file `gate` to go; the tests' directories go with them, so
//! no command outlives its test.

use crate::harness::{Daemon, day, document, order, shell, with_keys};
use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// No waiting worth the name between attempts.
const QUICK: &str = "initial_s = 0.02, factor = 1.0";

/// The shipped configuration where `orders_in` runs `script` in a shell.
fn orders(script: &str, more: &str, keys: &str) -> impl FnOnce(String) -> String {
    let keys = format!("{}\n{keys}", shell(script, more));
    move |text| with_keys(&text, "orders_in", &keys)
}

/// Uploads an order whose job has this reference.
fn send(daemon: &Daemon, reference: &str) -> String {
    let query = format!("?RefName={reference}");
    daemon.upload_text(&order(reference), &query).job()
}

fn lines(daemon: &Daemon, file: &str) -> Vec<String> {
    daemon.text(file).lines().map(str::to_owned).collect()
}

/// A process that has gone, or only waits for its parent to take note.
fn is_dead(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    state.is_empty() || state.starts_with('Z')
}

#[test]
fn a_command_gets_the_body_and_everything_about_its_job() {
    let script = r#"
        cat > seen.body
        env > seen.env
        cat "$SPOOLGATE_PARAMS" > seen.params
        cat "$SPOOLGATE_FILE" > seen.file
        ls -d "$SPOOLGATE_RESULTS" "$SPOOLGATE_EMIT" > seen.dirs
        echo plain; echo >&2 error output
        echo '{"text": "structured", "level": "warning", "line": 3, "tool": "checker"}'
        echo '{"text": "broken'
        printf 'no end of line'"#;
    let env = ", env = { OWN = \"x y\" }";
    let daemon = Daemon::start_with(orders(script, env, ""));
    let job = send(&daemon, "contract");
    daemon.wait_for_place(&job, "bak/orders_in");
    assert_eq!(daemon.text("seen.body"), order("contract"));
    assert_eq!(daemon.text("seen.file"), order("contract"));
    let env = daemon.text("seen.env");
    let env: BTreeMap<&str, &str> = env.lines().filter_map(|l| l.split_once('=')).collect();
    let root = daemon.spool("").canonicalize().unwrap();
    let work = root.join("work/orders_in");
    let run = work.join(format!("{job}.run")).display().to_string();
    for (name, value) in [
        ("OWN", "x y"),
        ("SPOOLGATE_ATTEMPT", "1"),
        ("SPOOLGATE_EMIT", &format!("{run}/emit")),
        (
            "SPOOLGATE_FILE",
            work.join(format!("{job}.run/{job}")).to_str().unwrap(),
        ),
        ("SPOOLGATE_INTERFACE", "orders_in"),
        ("SPOOLGATE_JOB", &job),
        ("SPOOLGATE_PARAMS", &format!("{run}/params.json")),
        ("SPOOLGATE_REF", "contract"),
        ("SPOOLGATE_RESULTS", &format!("{run}/results")),
        ("SPOOLGATE_SUBMITTER", "admin"),
    ] {
        assert_eq!(env.get(name), Some(&value), "{name}");
    }
    let dirs = daemon.text("seen.dirs");
    for dir in ["/results\n", "/emit\n"] {
        assert!(dirs.contains(dir), "{dirs}");
    }
    let params: serde_json::Value = serde_json::from_str(&daemon.text("seen.params")).unwrap();
    assert!(params.is_object(), "{params}");
    let said = daemon.messages(&job);
    let expected = [
        "plain",
        "structured",
        "{\"text\": \"broken",
        "error output",
        "no end of line",
    ];
    assert_eq!(said, expected);
    let log = daemon.joblog(&job);
    assert_eq!(log["messages"][3]["level"], "warning");
    let structured = &log["messages"][1];
    assert_eq!(structured["level"], "warning");
    assert_eq!(structured["line"], 3);
    assert_eq!(structured["tool"], "checker");
    assert_eq!(log["status"], "ok");
    let xml = daemon.curl(&[&format!("/xml/joblog?Jobname={job}")]).text();
    assert!(
        xml.contains("Level=\"warning\" Line=\"3\" Tool=\"checker\">structured<"),
        "{xml}"
    );
    daemon.wait_for_empty_work();
}

#[test]
fn exit_codes_say_what_becomes_of_a_job() {
    let script = r#"
        echo "$SPOOLGATE_REF" >> ran
        case $SPOOLGATE_REF in
            exit-*) exit "${SPOOLGATE_REF#exit-}";;
            signal-*) kill -"${SPOOLGATE_REF#signal-}" $$;;
        esac"#;
    let retry = format!("retry = {{ attempts = 2, {QUICK} }}");
    let mapped = ", exit_codes = { done = [3], failed = [75], retry = [4] }";
    let daemon = Daemon::start_with(|text| {
        let text = orders(script, "", &retry)(text);
        let keys = format!("{}\n{retry}", shell(script, mapped));
        with_keys(&text, "items_in", &keys)
    });
    let items = document("items_in/assortment.valid.xml");
    for (interface, how, place, runs) in [
        ("orders_in", "exit-0", "bak/orders_in", 1),
        ("orders_in", "exit-1", "joberrors", 1),
        ("orders_in", "exit-75", "joberrors", 2),
        ("orders_in", "exit-255", "joberrors", 1),
        ("orders_in", "signal-9", "joberrors", 2),
        ("orders_in", "signal-15", "joberrors", 2),
        ("items_in", "exit-0", "bak/items_in", 1),
        ("items_in", "exit-1", "joberrors", 1),
        ("items_in", "exit-3", "bak/items_in", 1),
        ("items_in", "exit-4", "joberrors", 2),
        ("items_in", "exit-75", "joberrors", 1),
    ] {
        fs::write(daemon.dir().join("ran"), "").unwrap();
        let job = if interface == "items_in" {
            daemon.upload(&items, &format!("?RefName={how}")).job()
        } else {
            send(&daemon, how)
        };
        daemon.wait_for_place(&job, place);
        assert_eq!(lines(&daemon, "ran"), vec![how; runs], "{interface} {how}");
        let said = daemon.messages(&job).join("\n");
        if place == "joberrors" {
            let number = how.split('-').nth(1).unwrap();
            let reason = match how.split_once('-').unwrap().0 {
                "exit" => format!("with exit code {number}"),
                _ => format!("ended by signal {number}"),
            };
            assert!(said.contains(&reason), "{said}");
        }
        assert_eq!(
            said.contains("given up after 2 attempts"),
            runs == 2,
            "{said}"
        );
    }
}

#[test]
fn a_job_that_keeps_failing_is_given_up_with_all_its_messages() {
    let retry = "retry = { attempts = 3, initial_s = 0.05, factor = 1.0 }";
    let script = "echo attempt $SPOOLGATE_ATTEMPT; exit 75";
    let daemon = Daemon::start_with(orders(script, "", retry));
    let job = send(&daemon, "hopeless");
    daemon.wait_for_place(&job, "joberrors");
    let reason = "the command asked for another attempt with exit code 75";
    let expected = [
        "attempt 1",
        reason,
        "attempt 2 started",
        "attempt 2",
        reason,
        "attempt 3 started",
        "attempt 3",
        reason,
        "given up after 3 attempts",
    ];
    assert_eq!(daemon.messages(&job), expected);
    let log = daemon.joblog(&job);
    assert_eq!(
        (&log["attempts"], &log["status"]),
        (&3.into(), &"error".into())
    );
    assert_eq!(daemon.files("deferred"), [""; 0]);
    assert_eq!(daemon.files("queue"), [""; 0]);
}

#[test]
fn a_job_that_waits_for_its_next_attempt_is_in_deferred_and_queued_to_partners() {
    let retry = "retry = { attempts = 3, initial_s = 3000.0, jitter = 0.0 }";
    let script = r#"echo $SPOOLGATE_ATTEMPT >> ran; [ -e good ] || exit 75"#;
    let mut daemon = Daemon::start_with(orders(script, "", retry));
    let job = send(&daemon, "later");
    daemon.wait("deferred", || !daemon.files("deferred").is_empty());
    let [file] = daemon.files("deferred").try_into().unwrap();
    let entry = file.strip_prefix("deferred/orders_in/").unwrap();
    let (due, name) = entry.split_once('@').unwrap();
    assert_eq!((name, due.len()), (job.as_str(), 20), "{entry}");
    assert!(due > &job[..20], "{entry}");
    for restart in [false, true] {
        if restart {
            daemon.stop();
            daemon.serve();
        }
        assert_eq!(daemon.place(&job), "queue/orders_in");
        assert_eq!(daemon.queue("orders_in"), [&*job]);
        let listed = daemon.objects(&["ls", "deferred"]);
        let moment: jiff::Timestamp = listed[0]["due"].as_str().unwrap().parse().unwrap();
        assert_eq!(moment.strftime("%Y%m%dT%H%M%S.%3fZ").to_string(), due);
        assert_eq!(
            listed[0]["error"],
            "the command asked for another attempt with exit code 75"
        );
        assert_eq!(listed[0]["state"], "deferred");
        let log = daemon.curl(&[&format!("/xml/joblog?Jobname={job}")]);
        assert_eq!(log.status, 503);
        assert!(log.header("retry-after").is_some());
    }
    assert_eq!(daemon.text("ran"), "1\n");
    // By hand it may be sent on sooner.
    fs::write(daemon.dir().join("good"), "").unwrap();
    daemon.operator(&["requeue", &job]);
    daemon.wait_for_place(&job, "bak/orders_in");
    assert_eq!(daemon.text("ran"), "1\n1\n", "its attempts count from one");
}

#[test]
fn a_command_that_takes_too_long_is_ended_with_all_its_children() {
    let script = r#"
        sh -c 'trap "" TERM; echo $$ > child; while [ -e gate ]; do sleep 0.1; done' &
        echo $$ > leader
        wait"#;
    let retry = format!("retry = {{ attempts = 1, {QUICK} }}");
    let mut daemon = Daemon::init();
    fs::write(daemon.dir().join("gate"), "").unwrap();
    daemon.configure(orders(script, ", timeout_s = 1", &retry));
    daemon.serve();
    let job = send(&daemon, "endless");
    daemon.wait_for_place(&job, "joberrors");
    let said = daemon.messages(&job);
    assert!(
        said[0].contains("took longer than 1 s and was ended"),
        "{said:?}"
    );
    for who in ["leader", "child"] {
        let pid = daemon.text(who);
        assert!(!pid.is_empty());
        daemon.wait(&format!("the {who}'s end"), || is_dead(&pid));
    }
}

#[test]
fn too_much_output_ends_a_command() {
    let script = r#"
        case $SPOOLGATE_REF in
            quick) seq 2000;;
            endless) echo $$ > pid; while [ -e gate ]; do seq 1000; done;;
            little) seq 100;;
        esac"#;
    let mut daemon = Daemon::init();
    fs::write(daemon.dir().join("gate"), "").unwrap();
    daemon.configure(orders(script, ", output_bytes_max = 5000", ""));
    daemon.serve();
    for reference in ["quick", "endless"] {
        let job = send(&daemon, reference);
        daemon.wait_for_place(&job, "joberrors");
        let said = daemon.messages(&job);
        let last = said.last().unwrap();
        assert!(last.contains("more than 5000 bytes of output"), "{last}");
        assert_eq!(said[..2], ["1", "2"], "what came before is kept");
        assert!(said.len() < 2000, "{}", said.len());
    }
    daemon.wait("its end", || is_dead(&daemon.text("pid")));
    let job = send(&daemon, "little");
    daemon.wait_for_place(&job, "bak/orders_in");
    assert_eq!(daemon.messages(&job).len(), 100);
}

#[test]
fn memory_and_open_files_are_limited() {
    // The limits are set in the first moments of the command's life.
    let script = r#"
        while [ "$(ulimit -v)" = unlimited ]; do :; done
        ulimit -v; ulimit -n
        dd if=/dev/zero of=/dev/null bs="$SPOOLGATE_REF"M count=1"#;
    let limits = ", memory_mib_max = 256, open_files_max = 33";
    let daemon = Daemon::start_with(orders(script, limits, ""));
    let job = send(&daemon, "1");
    daemon.wait_for_place(&job, "bak/orders_in");
    assert_eq!(daemon.messages(&job)[..2], ["262144", "33"]);
    let job = send(&daemon, "400");
    daemon.wait_for_place(&job, "joberrors");
    let said = daemon.messages(&job).join("\n");
    assert!(said.contains("memory"), "{said}");
}

#[test]
fn limits_hold_from_the_first_instruction() {
    const JOBS: usize = 50;
    let script = "ulimit -v >> limits";
    let limit = ", memory_mib_max = 256";
    let daemon = Daemon::start_with(orders(script, limit, ""));
    for n in 0..JOBS {
        send(&daemon, &n.to_string());
    }
    daemon.wait("all", || lines(&daemon, "limits").len() == JOBS);
    assert_eq!(lines(&daemon, "limits"), ["262144"; JOBS]);
}

#[test]
fn in_a_sandbox_a_command_does_its_work_and_reaches_no_keys_and_no_other_jobs() {
    let script = r#"
        cp "$SPOOLGATE_FILE" "$SPOOLGATE_RESULTS/copy" || exit
        mkdir "$SPOOLGATE_EMIT/orders_out" || exit
        cp given/list "$SPOOLGATE_EMIT/orders_out/list.xml" || exit
        echo "$SPOOLGATE_REF" >> kept/log || exit
        for file in spoolgate.toml users.toml certs/key.pem spool/.key spool/bak spool/audit; do
            cat $file > /dev/null 2>&1 && echo "reads $file"
            ls $file/ > /dev/null 2>&1 && echo "lists $file"
        done
        echo > spool/queue/orders_out/forged.xml && echo forges
        exit 0"#;
    let keys = ", sandbox = true, readable = [\"given\"], writable = [\"kept\"]";
    let mut daemon = Daemon::init();
    daemon.configure(orders(script, keys, "retry = { attempts = 1 }"));
    for dir in ["given", "kept"] {
        fs::create_dir(daemon.dir().join(dir)).unwrap();
    }
    daemon.scratch("given/list", order("made"));
    daemon.serve();
    let job = send(&daemon, "one");
    let places = ["bak/orders_in", "joberrors"];
    daemon.wait("the end of the job", || {
        places.contains(&daemon.place(&job).as_str())
    });
    let said = daemon.messages(&job).join("; ");
    if said.contains("this kernel has no landlock") && std::env::var_os("CI").is_none() {
        eprintln!("skipped: {said}");
        return;
    }
    for reached in ["reads", "lists", "forges"] {
        assert!(!said.contains(reached), "{said}");
    }
    assert_eq!(lines(&daemon, "kept/log"), ["one"]);
    assert_eq!(daemon.result(&job, "copy"), order("one"));
    assert_eq!(daemon.queue("orders_out").len(), 1);
}

#[test]
fn results_and_emitted_jobs_appear_with_success_only() {
    let script = r#"
        mkdir "$SPOOLGATE_EMIT/orders_out"
        echo "<ListOfOrders/>" > "$SPOOLGATE_EMIT/orders_out/from $SPOOLGATE_REF.xml"
        echo report > "$SPOOLGATE_RESULTS/report.txt"
        touch "written.$SPOOLGATE_REF"
        while [ -e gate ]; do sleep 0.02; done
        case $SPOOLGATE_REF in
            good) ;;
            bad) exit 1;;
            strange) mkdir "$SPOOLGATE_EMIT/nowhere"; echo x > "$SPOOLGATE_EMIT/nowhere/x";;
            folder) mkdir "$SPOOLGATE_RESULTS/sub";;
            hidden) echo x > "$SPOOLGATE_RESULTS/.x";;
            link) ln -s /etc/hostname "$SPOOLGATE_EMIT/orders_out/link";;
        esac"#;
    let daemon = Daemon::start_with(orders(script, "", ""));
    for (reference, reason) in [
        ("bad", "exit code 1"),
        ("strange", "emitted to \"nowhere\", which is no interface"),
        ("folder", "result \"sub\" is not a plain file"),
        ("hidden", "result \".x\" is not a plain file"),
        ("link", "emitted job \"link\" is not a plain file"),
    ] {
        let job = send(&daemon, reference);
        daemon.wait_for_place(&job, "joberrors");
        let said = daemon.messages(&job).join("\n");
        assert!(said.contains(reason), "{reference}: {said}");
        assert_eq!(daemon.queue("orders_out"), [""; 0], "{reference}");
        assert_eq!(daemon.files("results"), [""; 0], "{reference}");
    }
    fs::write(daemon.dir().join("gate"), "").unwrap();
    let job = send(&daemon, "good");
    daemon.wait("written", || daemon.dir().join("written.good").exists());
    assert_eq!(daemon.queue("orders_out"), [""; 0], "while it runs");
    assert_eq!(daemon.files("results"), [""; 0], "while it runs");
    fs::remove_file(daemon.dir().join("gate")).unwrap();
    daemon.wait_for_place(&job, "bak/orders_in");
    let [emitted] = daemon.queue("orders_out").try_into().unwrap();
    assert!(emitted.ends_with("-from-good.xml"), "{emitted}");
    let result = format!("results/{}/{job}/report.txt", day(&job));
    assert_eq!(daemon.files("results"), [result]);
    let got = daemon.curl(&[&format!(
        "/xml/job?Interfacename=orders_out&Jobname={emitted}"
    )]);
    assert_eq!((got.status, got.text()), (200, "<ListOfOrders/>\n".into()));
    daemon.wait_for_place(&emitted, "bak/orders_out");
    daemon.wait_for_empty_work();
}

#[test]
fn the_log_says_what_came_of_what_a_command_left() {
    let script = r#"
        printf '{"invoice":' > "$SPOOLGATE_RESULTS/result.json"
        mkdir "$SPOOLGATE_EMIT/orders_out"
        echo "<ListOfOrders/>" > "$SPOOLGATE_EMIT/orders_out/next.xml""#;
    let daemon = Daemon::start_with(orders(script, "", ""));
    let job = send(&daemon, "emits");
    daemon.wait_for_place(&job, "bak/orders_in");
    let [emitted] = daemon.queue("orders_out").try_into().unwrap();
    let said = daemon.messages(&job);
    assert!(
        said[0].starts_with("result.json is not used: EOF"),
        "{said:?}"
    );
    assert_eq!(said[1..], [format!("emitted {emitted} to orders_out")]);
}

#[test]
fn only_json_lines_are_in_the_log_where_partners_see_no_others() {
    let script = r#"echo /srv/secret; echo secret >&2; echo '{"text": "hello"}'"#;
    let daemon = Daemon::start_with(orders(script, ", partners_see = \"json\"", ""));
    let job = send(&daemon, "shown");
    daemon.wait_for_place(&job, "bak/orders_in");
    assert_eq!(daemon.messages(&job), ["hello"]);
    assert!(daemon.log().contains("/srv/secret"));
}

/// Nothing of a command lives beside the next attempt.
#[test]
fn what_a_command_leaves_running_ends_before_its_next_attempt() {
    let script = r#"
        [ "$SPOOLGATE_ATTEMPT" = 1 ] || { kill -0 $(cat left) 2>/dev/null && echo lives; exit 0; }
        exec >/dev/null 2>&1
        setsid sh -c 'echo $$ > left; trap "" TERM HUP; while :; do sleep 0.1; done' &
        while [ ! -s left ]; do sleep 0.02; done
        exit 75"#;
    let daemon = Daemon::start_with(orders(script, "", &format!("retry = {{ {QUICK} }}")));
    let job = send(&daemon, "leaves");
    daemon.wait_for_place(&job, "bak/orders_in");
    assert!(is_dead(&daemon.text("left")));
    let said = daemon.messages(&job).join("\n");
    assert!(said.contains("of its processes; they were ended"), "{said}");
    assert!(!said.contains("lives"), "{said}");
}

/// Writes `start` and `end` to `trace` and lasts as long as there is a gate.
const TRACED: &str = r#"
    trace() { flock lock sh -c 'echo "$0" >> trace' "$1"; }
    trace start
    while [ -e gate ]; do sleep 0.02; done
    trace end"#;

/// How many ran at once at most.
fn most_at_once(trace: &str) -> usize {
    let (mut now, mut most) = (0, 0);
    for line in trace.lines() {
        match line {
            "start" => now += 1,
            _ => now -= 1,
        }
        most = most.max(now);
    }
    most
}

#[test]
fn no_more_jobs_run_at_once_than_the_interface_allows() {
    let mut daemon = Daemon::init();
    fs::write(daemon.dir().join("gate"), "").unwrap();
    daemon.configure(orders(TRACED, "", "concurrency = 3"));
    daemon.serve();
    for n in 0..12 {
        send(&daemon, &n.to_string());
    }
    let count = |what| daemon.text("trace").matches(what).count();
    daemon.wait("starts", || count("start") >= 3);
    // The scheduler has reasons to think again, and starts none of these.
    let persons = document("persons_in/persons.valid.xml");
    let other = daemon.upload(&persons, "").job();
    daemon.wait_for_place(&other, "bak/persons_in");
    assert_eq!(count("start"), 3);
    fs::remove_file(daemon.dir().join("gate")).unwrap();
    daemon.wait("the end of all", || count("end") == 12);
    assert_eq!(most_at_once(&daemon.text("trace")), 3);
}

#[test]
fn interfaces_share_what_may_run_in_all() {
    let mut daemon = Daemon::init();
    fs::write(daemon.dir().join("gate"), "").unwrap();
    daemon.configure(|text| {
        let text = orders(TRACED, "", "concurrency = 8")(text);
        let keys = format!("{}\nconcurrency = 8", shell(TRACED, ""));
        let text = with_keys(&text, "items_in", &keys);
        format!("{text}\n[limits]\nrunning_max = 4\n")
    });
    daemon.serve();
    daemon.operator(&["hold", "orders_in", "items_in"]);
    let items = document("items_in/assortment.valid.xml");
    for n in 0..6 {
        send(&daemon, &n.to_string());
        daemon.upload(&items, "").job();
    }
    daemon.operator(&["release", "orders_in", "items_in"]);
    let started = || daemon.text("trace").matches("start").count();
    daemon.wait("starts", || started() >= 4);
    let working = |of: &str| {
        let files = daemon.files(&format!("work/{of}"));
        files.iter().filter(|file| file.ends_with(".a1")).count()
    };
    assert_eq!(working("orders_in") + working("items_in"), 4);
    fs::remove_file(daemon.dir().join("gate")).unwrap();
    daemon.wait("all", || daemon.files("bak").len() == 12);
    assert_eq!(most_at_once(&daemon.text("trace")), 4);
}

#[test]
fn an_ordered_interface_is_strictly_first_in_first_out() {
    let script = r#"
        echo "$SPOOLGATE_REF" >> trace
        case $SPOOLGATE_REF$SPOOLGATE_ATTEMPT in o11|o12|o31) exit 75;; o4?) exit 1;; esac"#;
    let keys = format!("ordered = true\nretry = {{ attempts = 5, {QUICK} }}");
    let daemon = Daemon::start_with(orders(script, "", &keys));
    daemon.operator(&["hold", "orders_in"]);
    let jobs: Vec<String> = (1..=6).map(|n| send(&daemon, &format!("o{n}"))).collect();
    daemon.operator(&["release", "orders_in"]);
    daemon.wait_for_place(&jobs[5], "bak/orders_in");
    let expected = ["o1", "o1", "o1", "o2", "o3", "o3", "o4", "o5", "o6"];
    assert_eq!(lines(&daemon, "trace"), expected);
    assert_eq!(
        daemon.place(&jobs[3]),
        "joberrors",
        "a failed one blocks no more"
    );
}

#[test]
fn a_retrying_head_job_blocks_an_ordered_interface() {
    let script = r#"echo "$SPOOLGATE_REF" >> trace; [ -e good ] || exit 75"#;
    let keys = "ordered = true\nretry = { attempts = 5, initial_s = 3000.0 }";
    let daemon = Daemon::start_with(orders(script, "", keys));
    let head = send(&daemon, "head");
    daemon.wait("deferred", || !daemon.files("deferred").is_empty());
    let next = send(&daemon, "next");
    let items = document("items_in/assortment.valid.xml");
    let other = daemon.upload(&items, "").job();
    daemon.wait_for_place(&other, "bak/items_in");
    assert_eq!(daemon.queue("orders_in"), [head.clone(), next.clone()]);
    assert_eq!(lines(&daemon, "trace"), ["head"]);
    fs::write(daemon.dir().join("good"), "").unwrap();
    daemon.operator(&["requeue", &head]);
    daemon.soon("the next runs", || daemon.place(&next) == "bak/orders_in");
    assert_eq!(lines(&daemon, "trace"), ["head", "head", "next"]);
}

#[test]
fn without_a_processor_jobs_wait_and_archive_only_files_them() {
    let mut daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", ""));
    let waiting = send(&daemon, "waiting");
    for restart in [false, true] {
        if restart {
            daemon.stop();
            daemon.serve();
        }
        let items = document("items_in/assortment.valid.xml");
        let filed = daemon.upload(&items, "").job();
        daemon.wait_for_place(&filed, "bak/items_in");
        let log = daemon.joblog(&filed);
        assert_eq!(
            (&log["status"], &log["attempts"]),
            (&"ok".into(), &1.into())
        );
        assert_eq!(daemon.place(&waiting), "queue/orders_in");
        assert!(daemon.has(&format!("queue/orders_in/{waiting}")));
    }
    assert_eq!(daemon.files("results"), [""; 0]);
}

/// Whether the programs are there; with `CI=true` they have to be.
fn present(programs: &[&str]) -> bool {
    let runs = |program: &str| {
        let found = Command::new(program).arg("--version").output();
        found.is_ok_and(|output| output.status.success())
    };
    let missing: Vec<_> = programs.iter().filter(|p| !runs(p)).collect();
    if missing.is_empty() {
        return true;
    }
    let must = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!must, "missing: {missing:?}");
    eprintln!("left out, as these are missing: {missing:?}");
    false
}

fn sample(arguments: &[&str]) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/processors");
    let (program, rest) = arguments.split_first().unwrap();
    let mut argv = vec![dir.join(program).display().to_string()];
    argv.extend(rest.iter().map(|argument| (*argument).to_owned()));
    format!("processor = {{ command = {argv:?} }}")
}

#[test]
fn the_sample_import_into_a_database_doubles_nothing() {
    if !present(&["python3"]) {
        return;
    }
    let keys = sample(&["import-orders.py", "orders.db"]);
    let daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", &keys));
    let count = || {
        let script = "import sqlite3\n\
            db = sqlite3.connect('orders.db')\n\
            for t in 'jobs', 'orders', 'positions':\n\
            \x20   print(t, db.execute('select count(*) from ' + t).fetchone()[0])";
        let output = Command::new("python3")
            .args(["-c", script])
            .current_dir(daemon.dir())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let states = document("orders_in/states.valid.xml");
    let job = daemon.upload(&states, "").job();
    daemon.wait_for_place(&job, "bak/orders_in");
    let before = count();
    assert!(!before.contains("orders 0"), "{before}");
    let result = daemon.result(&job, "result.json");
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    assert!(result["variables"]["orders"].is_string(), "{result}");
    daemon.operator(&["requeue", &job]);
    let again = "imported before, nothing to do".to_owned();
    daemon.wait("the second run", || daemon.messages(&job).contains(&again));
    daemon.wait_for_place(&job, "bak/orders_in");
    assert_eq!(count(), before);
    let second = daemon.upload(&states, "").job();
    daemon.wait_for_place(&second, "bak/orders_in");
    assert_eq!(count(), before.replace("jobs 1", "jobs 2"));
}

#[test]
fn the_sample_export_makes_a_job_for_another_interface() {
    if !present(&["xsltproc"]) {
        return;
    }
    let keys = sample(&["export-order.sh"]);
    let daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", &keys));
    let job = daemon
        .upload(&document("orders_in/states.valid.xml"), "")
        .job();
    daemon.wait_for_place(&job, "bak/orders_in");
    let [emitted] = daemon.queue("orders_out").try_into().unwrap();
    assert!(emitted.contains("-states-of-"), "{emitted}");
    let got = daemon.curl(&[&format!(
        "/xml/job?Interfacename=orders_out&Jobname={emitted}"
    )]);
    assert!(got.text().contains("<ListOfOrders"), "{}", got.text());
    assert!(
        daemon
            .messages(&job)
            .contains(&"wrote a job for orders_out".into())
    );
}

#[test]
fn a_program_that_is_not_there_is_tried_again_and_named() {
    let keys =
        format!("processor = {{ command = [\"./nowhere\"] }}\nretry = {{ attempts = 2, {QUICK} }}");
    let daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", &keys));
    let job = send(&daemon, "no-program");
    daemon.wait_for_place(&job, "joberrors");
    let said = daemon.messages(&job);
    assert!(
        said[0].contains("\"./nowhere\" cannot be started"),
        "{said:?}"
    );
    assert_eq!(said.len(), 4, "{said:?}");
}
