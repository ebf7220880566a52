//! SIGKILL at bad moments: nothing that was acknowledged is lost, nothing runs twice at once, and
//! what is repeated is counted. And SIGTERM, which is not a crash.
//!
//! Commands that have to last wait for a file `gate` to go; the tests' directories go with them, so
//! no command outlives its test.

use crate::{
    harness::{Daemon, document, has_job_files, order, shell, with_keys},
    metrics::{scrape, value},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Says that it starts, and lasts as long as there is a gate.
const GATED: &str = r#"
    echo "start $SPOOLGATE_ATTEMPT" >> ran
    echo $$ > pid
    while [ -e gate ]; do sleep 0.02; done
    echo "end $SPOOLGATE_ATTEMPT" >> ran"#;

/// A server where `orders_in` runs `script`; the gate is closed.
fn gated(script: &str, keys: &str) -> Daemon {
    let mut daemon = Daemon::init();
    close_gate(&daemon);
    let keys = format!("{}\n{keys}", shell(script, ""));
    daemon.configure(|text| with_keys(&text, "orders_in", &keys));
    daemon.serve();
    daemon
}

fn gate(daemon: &Daemon) -> PathBuf {
    daemon.dir().join("gate")
}

fn close_gate(daemon: &Daemon) {
    fs::write(gate(daemon), "").unwrap();
}

fn open_gate(daemon: &Daemon) {
    fs::remove_file(gate(daemon)).unwrap();
}

fn ran(daemon: &Daemon) -> Vec<String> {
    daemon.text("ran").lines().map(str::to_owned).collect()
}

/// Uploads an order and waits until its command runs.
fn start_one(daemon: &Daemon) -> String {
    let job = daemon.upload_text(&order("1"), "").job();
    daemon.wait("the command's start", || ran(daemon).len() == 1);
    job
}

/// Ends the command that runs and its supervisor, as the end of the machine does: no one knows how it
/// would have ended.
fn kill_command(daemon: &Daemon) {
    use rustix::process::{Pid, Signal, kill_process, kill_process_group};
    daemon.wait("the command's pid", || daemon.text("pid").ends_with('\n'));
    let pid: i32 = daemon.text("pid").trim().parse().unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1;
    let supervisor = fields.split(' ').nth(1).unwrap().parse().unwrap();
    kill_process(Pid::from_raw(supervisor).unwrap(), Signal::KILL).unwrap();
    // Whoever inherits it kills it too.
    let _ = kill_process_group(Pid::from_raw(pid).unwrap(), Signal::KILL);
}

/// How many attempts of `orders_in` the service counts that ended so.
fn attempts(daemon: &Daemon, outcome: &str) -> f64 {
    let labels = [("interface", "orders_in"), ("outcome", outcome)];
    value(&scrape(daemon), "spoolgate_attempts_total", &labels).unwrap()
}

/// A job of another interface that is done: the scheduler has had its chance.
fn one_of_another_interface(daemon: &Daemon) {
    let items = document("items_in/assortment.valid.xml");
    let other = daemon.upload(&items, "").job();
    daemon.wait_for_place(&other, "bak/items_in");
}

#[test]
fn a_command_that_outlives_the_server_is_adopted() {
    if !has_job_files() {
        return;
    }
    let mut daemon = gated(GATED, "");
    let job = start_one(&daemon);
    for _ in 0..2 {
        daemon.kill();
        daemon.serve();
        let running = daemon.operator(&["ls", "work"]);
        assert!(
            running.contains(&format!("work/orders_in/{job}.a1")),
            "{running}"
        );
        let status = daemon.operator(&["status", &job, "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["state"], "running");
        assert_eq!(daemon.place(&job), "queue/orders_in");
        assert_eq!(daemon.queue("orders_in"), [&*job]);
        one_of_another_interface(&daemon);
        assert_eq!(ran(&daemon), ["start 1"], "not started beside itself");
    }
    assert!(daemon.log().contains("adopted: its command still runs"));
    open_gate(&daemon);
    // How it ended is known, although no one was there.
    daemon.wait_for_place(&job, "bak/orders_in");
    assert_eq!(ran(&daemon), ["start 1", "end 1"]);
    assert_eq!(daemon.joblog(&job)["attempts"], 1);
    daemon.wait_for_empty_work();
}

#[test]
fn the_exit_code_of_a_command_that_ends_without_the_service_is_not_lost() {
    if !has_job_files() {
        return;
    }
    let script = r#"
        echo "start $SPOOLGATE_ATTEMPT" >> ran
        while [ -e gate ]; do sleep 0.02; done
        echo said; echo failing >&2; echo "<a/>" > "$SPOOLGATE_RESULTS/report"
        echo end >> ran
        exit $(cat code)"#;
    for (code, place) in [("0", "bak/orders_in"), ("4", "joberrors")] {
        let mut daemon = gated(script, "");
        daemon.scratch("code", code);
        let job = start_one(&daemon);
        daemon.kill();
        open_gate(&daemon);
        let kept = daemon.spool(&format!("work/orders_in/{job}.exit"));
        daemon.wait("its end", || kept.exists());
        daemon.serve();
        daemon.wait_for_place(&job, place);
        assert_eq!(ran(&daemon), ["start 1", "end"]);
        let said = daemon.messages(&job);
        assert_eq!(said[..2], ["said", "failing"], "{said:?}");
        assert_eq!(daemon.files("results").len(), usize::from(code == "0"));
        daemon.wait_for_empty_work();
    }
}

/// A command that is adopted and would go on forever; gives the job and the command's number.
fn adopted(keys: &str, edit: impl FnOnce(String) -> String) -> (Daemon, String, String) {
    let script = "echo $$ > pid; exec sleep 600";
    let keys = format!("{}\n{keys}", shell(script, ", timeout_s = 2"));
    let mut daemon = Daemon::start_with(|text| edit(with_keys(&text, "orders_in", &keys)));
    let job = daemon.upload_text(&order("1"), "").job();
    daemon.wait("its start", || !daemon.text("pid").trim().is_empty());
    daemon.kill();
    daemon.serve();
    let pid = daemon.text("pid").trim().to_owned();
    (daemon, job, pid)
}

fn is_running(pid: &str) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    name.trim() == "sleep" && !stat.contains(") Z ")
}

#[test]
fn an_adopted_command_ends_when_its_time_is_over() {
    if !has_job_files() {
        return;
    }
    let (daemon, job, pid) = adopted("retry = { attempts = 1 }", |text| text);
    daemon.wait_for_place(&job, "joberrors");
    assert!(!is_running(&pid));
    let said = daemon.messages(&job);
    assert!(said[0].contains("took longer than 2 s"), "{said:?}");
}

#[test]
fn an_adopted_command_ends_with_the_service() {
    if !has_job_files() {
        return;
    }
    let edit = |text: String| {
        let text = text.replace("timeout_s = 2", "timeout_s = 600");
        format!("{text}\n[limits]\nstop_deadline_s = 1\n")
    };
    let (mut daemon, job, pid) = adopted("", edit);
    assert!(is_running(&pid));
    daemon.stop();
    assert!(!is_running(&pid));
    let queued = daemon.spool(&format!("queue/orders_in/{job}"));
    assert!(queued.is_file(), "it waits for its next attempt");
}

#[test]
fn a_job_whose_command_died_with_the_server_runs_again() {
    let mut daemon = gated(GATED, "");
    let job = start_one(&daemon);
    daemon.kill();
    kill_command(&daemon);
    open_gate(&daemon);
    daemon.serve();
    daemon.wait_for_place(&job, "bak/orders_in");
    assert_eq!(ran(&daemon), ["start 1", "start 2", "end 2"]);
    assert_eq!(daemon.joblog(&job)["attempts"], 2);
    assert_eq!(daemon.messages(&job).len(), 2);
    // Both are counted: the one that was cut off, too.
    assert_eq!(attempts(&daemon, "crashed"), 1.0);
    assert_eq!(attempts(&daemon, "done"), 1.0);
}

#[test]
fn a_job_that_crashes_the_server_again_and_again_is_taken_out() {
    let script = r#"
        echo "start $SPOOLGATE_ATTEMPT" >> ran
        while [ -e gate ]; do sleep 0.02; done
        kill -9 $(cat server) $PPID"#;
    let mut daemon = gated(script, "retry = { attempts = 3 }");
    let name_it = |daemon: &Daemon| daemon.scratch("server", daemon.pid().to_string());
    name_it(&daemon);
    let job = daemon.upload_text(&order("1"), "").job();
    for attempt in 1..=3 {
        daemon.wait("its start", || ran(&daemon).len() == attempt);
        open_gate(&daemon);
        daemon.ended();
        close_gate(&daemon);
        daemon.serve();
        name_it(&daemon);
    }
    daemon.wait_for_place(&job, "joberrors");
    assert_eq!(ran(&daemon), ["start 1", "start 2", "start 3"]);
    let said = daemon.messages(&job);
    assert!(said[2].contains("crashed 3 times"), "{said:?}");
    assert_eq!(said.len(), 3, "{said:?}");
    // The operator's word makes it a new life.
    open_gate(&daemon);
    daemon.operator(&["requeue", &job]);
    daemon.ended();
    assert_eq!(ran(&daemon).last().unwrap(), "start 1");
}

#[test]
fn what_is_delivered_at_most_once_never_runs_twice() {
    for survives in [false, true] {
        let mut daemon = gated(GATED, "delivery = \"at-most-once\"");
        let job = start_one(&daemon);
        daemon.kill();
        if survives {
            daemon.serve();
            one_of_another_interface(&daemon);
            assert_eq!(daemon.place(&job), "queue/orders_in");
            open_gate(&daemon);
        } else {
            kill_command(&daemon);
            open_gate(&daemon);
            daemon.serve();
        }
        if survives {
            daemon.wait_for_place(&job, "bak/orders_in");
        } else {
            daemon.wait_for_place(&job, "joberrors");
            let said = daemon.messages(&job);
            assert!(said[0].contains("its outcome is unknown"), "{said:?}");
            assert_eq!(attempts(&daemon, "crashed"), 1.0);
        }
        let starts = ran(&daemon)
            .iter()
            .filter(|l| l.starts_with("start"))
            .count();
        assert_eq!(starts, 1);
        // What was not touched by the crash is delivered.
        let next = daemon.upload_text(&order("2"), "").job();
        daemon.wait_for_place(&next, "bak/orders_in");
    }
}

#[test]
fn a_stop_waits_for_the_running_command() {
    let mut daemon = gated(GATED, "");
    let job = start_one(&daemon);
    let waiting = daemon.upload_text(&order("2"), "").job();
    daemon.wait("both run", || ran(&daemon).len() == 2);
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait("stopping", || daemon.log().contains("stopping"));
    assert_eq!(ran(&daemon).len(), 2);
    open_gate(&daemon);
    daemon.ended();
    assert!(daemon.log().contains("stopped"), "{}", daemon.log());
    let done = daemon.operator(&["ls", "bak"]);
    assert!(done.contains(&job) && done.contains(&waiting), "{done}");
    assert_eq!(daemon.joblog(&job)["attempts"], 1);
    assert_eq!(daemon.messages(&job), [""; 0]);
    daemon.wait_for_empty_work();
}

#[test]
fn what_is_not_finished_at_the_deadline_is_given_back_and_not_counted() {
    let mut daemon = Daemon::init();
    close_gate(&daemon);
    let keys = format!("{}\nretry = {{ attempts = 1 }}", shell(GATED, ""));
    daemon.configure(|text| {
        let text = with_keys(&text, "orders_in", &keys);
        format!("{text}\n[limits]\nstop_deadline_s = 1\n")
    });
    daemon.serve();
    let job = start_one(&daemon);
    daemon.stop();
    assert_eq!(ran(&daemon), ["start 1"], "it was ended");
    assert_eq!(daemon.files("queue"), [format!("queue/orders_in/{job}")]);
    daemon.wait_for_empty_work();
    assert_eq!(daemon.files("joblog"), [""; 0]);
    open_gate(&daemon);
    daemon.serve();
    daemon.wait_for_place(&job, "bak/orders_in");
    assert_eq!(ran(&daemon), ["start 1", "start 1", "end 1"]);
}

#[test]
fn leftovers_are_removed_at_the_start() {
    if !has_job_files() {
        return;
    }
    let mut daemon = Daemon::start();
    daemon.stop();
    let name = "20200229T235959.999Z-00001-left.xml";
    for path in [
        format!("tmp/{name}.part"),
        "tmp/deep/er/file".into(),
        format!("work/orders_in/{name}.lock"),
        format!("work/orders_in/{name}.run/results/report"),
    ] {
        let path = daemon.spool(&path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "half").unwrap();
    }
    // What is not understood is no one's to remove.
    fs::write(daemon.spool("work/orders_in/precious"), "").unwrap();
    daemon.serve();
    let left = |dir: &str| fs::read_dir(daemon.spool(dir)).unwrap().count();
    assert_eq!((left("tmp"), left("work/orders_in")), (0, 1));
    assert!(daemon.spool("work/orders_in/precious").exists());
    assert!(
        daemon
            .log()
            .contains("left alone: it is nothing that a run leaves"),
        "{}",
        daemon.log()
    );
}

#[test]
fn a_spool_is_served_by_one_process() {
    let mut daemon = Daemon::start();
    let second = daemon.spoolgate(&["serve"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(second.stdout.is_empty(), "it never listened: {second:?}");
    let said = String::from_utf8(second.stderr).unwrap();
    let holder = format!("served by process {}", daemon.pid());
    let refused = format!("serves this spool already (process {})", daemon.pid());
    assert!(said.contains(&refused), "{said}");
    assert!(daemon.operator(&["check"]).contains(&holder));
    // The first is none the worse, and a crash leaves no lock behind.
    one_of_another_interface(&daemon);
    daemon.kill();
    daemon.serve();
    one_of_another_interface(&daemon);
}

#[test]
fn a_repeated_upload_across_a_crash_is_one_job() {
    let mut daemon = Daemon::start();
    let path = daemon.scratch("order.xml", order("once"));
    let body = format!("@{}", path.display());
    let upload = |daemon: &Daemon| {
        daemon.curl(&[
            "-H",
            "Idempotency-Key: once",
            "--data-binary",
            &body,
            "/xml/upload",
        ])
    };
    let first = upload(&daemon).job();
    let push = |daemon: &Daemon| {
        let user = format!("admin:{}", daemon.password);
        let cert = daemon.dir().join("certs/cert.pem");
        let arguments = ["push", "--url", &daemon.url, "--user", &user, "--cacert"];
        let output = crate::harness::program()
            .args(arguments)
            .arg(cert)
            .arg(&path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let pushed = push(&daemon);
    daemon.kill();
    daemon.serve();
    let again = upload(&daemon);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.job(), first);
    assert_eq!(push(&daemon), pushed);
    daemon.wait_for_place(&first, "bak/orders_in");
    daemon.wait("all done", || daemon.queue("orders_in").is_empty());
    assert_eq!(daemon.files("bak").len(), 2);
}

#[test]
fn a_job_is_not_finished_before_it_was_received() {
    let mut daemon = Daemon::start();
    for _ in 0..3 {
        daemon.upload_text(&order("1"), "").job();
        daemon.kill();
        daemon.serve();
    }
    let job = daemon.upload_text(&order("2"), "").job();
    daemon.wait_for_place(&job, "bak/orders_in");
    let log = daemon.joblog(&job);
    let moment = |name: &str| log[name].as_str().unwrap().to_owned();
    assert!(moment("received") <= moment("finished"), "{log}");
}

/// A small generator, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

/// A client that uploads one document after the other, each under a key of its own, and repeats
/// what was not answered.
struct Client {
    number: usize,
    next: usize,
    /// The names that were acknowledged, with the document.
    acknowledged: Vec<(String, String)>,
}

impl Client {
    /// Uploads the next document; false when there was no answer.
    fn upload(&mut self, daemon: &Daemon) -> bool {
        let text = order(&format!("client-{}-{}", self.number, self.next));
        let path = daemon.scratch(&format!("client-{}.xml", self.number), &text);
        let output = daemon
            .curl_command("/xml/upload")
            .args(["-w", "%{http_code}", "-H"])
            .arg(format!("Idempotency-Key: {}-{}", self.number, self.next))
            .arg("--data-binary")
            .arg(format!("@{}", path.display()))
            .output()
            .unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        if !output.status.success() {
            return false;
        }
        let (job, status) = answer.split_once('\n').unwrap_or((&answer, ""));
        assert_eq!(status, "201", "{answer}\n{}", daemon.log());
        self.acknowledged.push((job.to_owned(), text));
        self.next += 1;
        true
    }
}

/// `SPOOLGATE_KILLS` says how many.
#[test]
fn kills_under_load_lose_and_double_nothing() {
    if !has_job_files() {
        return;
    }
    let kills = std::env::var("SPOOLGATE_KILLS").map_or(50, |n| n.parse().unwrap());
    let script = "cat > /dev/null; echo $SPOOLGATE_JOB >> ran";
    let keys = format!("{}\nretry = {{ attempts = 100 }}", shell(script, ""));
    let mut daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", &keys));
    let mut dice = Dice(0x5EED_0F5B_0015);
    let mut clients = [0, 1, 2, 3].map(|number| Client {
        number,
        next: 0,
        acknowledged: Vec::new(),
    });
    for _ in 0..kills {
        let goal = 1 + dice.throw(8);
        let acknowledged = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for client in &mut clients {
                let (daemon, acknowledged) = (&daemon, &acknowledged);
                scope.spawn(move || {
                    while client.upload(daemon) {
                        acknowledged.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            daemon.wait("uploads", || acknowledged.load(Ordering::SeqCst) >= goal);
            daemon.signal(rustix::process::Signal::KILL);
        });
        daemon.ended();
        daemon.serve();
    }
    // What was cut off gets through at last.
    assert!(clients.iter_mut().all(|client| client.upload(&daemon)));
    let answers: Vec<(String, String)> = (clients.into_iter())
        .flat_map(|client| client.acknowledged)
        .collect();
    let acknowledged: BTreeMap<String, String> = answers.iter().cloned().collect();
    assert_eq!(acknowledged.len(), answers.len(), "a name was given twice");
    daemon.wait("all is processed", || {
        ["queue", "deferred", "work"]
            .iter()
            .all(|state| daemon.files(state).is_empty())
    });
    daemon.stop();
    check_what_came_of(&daemon, &acknowledged);
}

/// Every acknowledged job is in `bak` once, with its bytes, and has been processed; nothing else
/// is anywhere.
fn check_what_came_of(daemon: &Daemon, acknowledged: &BTreeMap<String, String>) {
    let processed: BTreeSet<String> = ran(daemon).into_iter().collect();
    let mut found = BTreeMap::new();
    for state in ["bak", "joberrors", "queue", "deferred", "work", "tmp"] {
        for path in daemon.files(state) {
            let job = path.rsplit('/').next().unwrap().to_owned();
            let before = found.insert(job, path.clone());
            assert_eq!(before, None, "one job in two places: {path}");
        }
    }
    for (job, text) in acknowledged {
        let path = found.remove(job);
        let path = path.unwrap_or_else(|| panic!("{job} was acknowledged and is lost"));
        assert!(path.starts_with("bak/orders_in/"), "{path}");
        assert_eq!(&fs::read_to_string(daemon.spool(&path)).unwrap(), text);
        assert!(processed.contains(job), "{job} was never processed");
    }
    assert_eq!(
        found,
        BTreeMap::new(),
        "what no one was told of, or doubles"
    );
    for empty in ["tmp", "work/orders_in", "queue/orders_in"] {
        let left: Vec<_> = fs::read_dir(daemon.spool(empty)).unwrap().collect();
        assert!(left.is_empty(), "{empty}: {left:?}");
    }
}

#[test]
fn a_running_job_that_is_moved_back_by_hand_runs_again_after_its_command() {
    if !has_job_files() {
        return;
    }
    let daemon = gated(GATED, "");
    let job = start_one(&daemon);
    let work = daemon.spool(&format!("work/orders_in/{job}.a1"));
    fs::rename(work, daemon.spool(&format!("queue/orders_in/{job}"))).unwrap();
    one_of_another_interface(&daemon);
    assert_eq!(ran(&daemon), ["start 1"], "not started beside itself");
    open_gate(&daemon);
    daemon.soon("it runs again", || ran(&daemon).len() == 4);
    daemon.soon("it is done", || daemon.place(&job) == "bak/orders_in");
    daemon.wait_for_empty_work();
}

#[test]
fn a_running_job_whose_file_is_removed_is_put_back_and_one_that_was_moved_stays_there() {
    if !has_job_files() {
        return;
    }
    for moved in [false, true] {
        let daemon = gated(GATED, "");
        let job = start_one(&daemon);
        let own = daemon.spool(&format!("work/orders_in/{job}.a1"));
        let by_hand = daemon.spool(&format!("joberrors/{job}"));
        if moved {
            fs::rename(own, by_hand).unwrap();
        } else {
            fs::remove_file(own).unwrap();
        }
        open_gate(&daemon);
        let work = || {
            fs::read_dir(daemon.spool("work/orders_in"))
                .unwrap()
                .count()
        };
        daemon.soon("its end", || work() == 0);
        if moved {
            assert_eq!(daemon.files("bak"), [""; 0]);
            assert_eq!(daemon.files("joberrors").len(), 1);
        } else {
            daemon.wait_for_place(&job, "bak/orders_in");
            let said = daemon.messages(&job);
            assert!(said[0].contains("it was put back"), "{said:?}");
            assert_eq!(daemon.operator(&["cat", &job]), order("1"));
        }
        assert_eq!(ran(&daemon), ["start 1", "end 1"]);
    }
}

#[test]
fn a_job_whose_file_is_written_to_fails_and_shows_no_digest_of_other_bytes() {
    if !has_job_files() {
        return;
    }
    let daemon = gated(GATED, "");
    let job = start_one(&daemon);
    let own = daemon.spool(&format!("work/orders_in/{job}.a1"));
    fs::write(own, order("another")).unwrap();
    open_gate(&daemon);
    daemon.wait_for_place(&job, "joberrors");
    let log = daemon.joblog(&job);
    assert_eq!(log["sha256"], serde_json::Value::Null, "{log}");
    let said = daemon.messages(&job);
    assert!(said[0].contains("was changed by its command"), "{said:?}");
}

/// No one was there to look, and all the same it is no longer what was accepted: neither is its end
/// believed, nor does it run again.
#[test]
fn a_job_whose_file_is_written_to_while_no_service_is_there_fails() {
    if !has_job_files() {
        return;
    }
    for is_cut_off in [false, true] {
        let mut daemon = gated(GATED, "");
        let job = start_one(&daemon);
        daemon.kill();
        let own = daemon.spool(&format!("work/orders_in/{job}.a1"));
        fs::write(own, order("another")).unwrap();
        if is_cut_off {
            kill_command(&daemon);
        }
        open_gate(&daemon);
        let kept = daemon.spool(&format!("work/orders_in/{job}.exit"));
        daemon.wait("its end", || is_cut_off || kept.exists());
        daemon.serve();
        daemon.wait_for_place(&job, "joberrors");
        let said = daemon.messages(&job);
        let told = said
            .iter()
            .any(|text| text.contains("no longer what was accepted"));
        assert!(told, "{said:?}");
    }
}

/// What an operator does with `rm`, `mv` and an editor before the next start stays done: the end of
/// the process alone has taken nothing from the files.
#[test]
fn what_is_done_by_hand_while_a_killed_service_is_away_stays() {
    if !has_job_files() {
        return;
    }
    let mut daemon = Daemon::start_with(|text| text);
    fs::write(daemon.spool("queue/orders_in/.hold"), "").unwrap();
    let jobs: Vec<String> = (1..=4)
        .map(|n| daemon.upload_text(&order(&n.to_string()), "").job())
        .collect();
    daemon.kill();
    let queued = |job: &str| daemon.spool(&format!("queue/orders_in/{job}"));
    let moved = daemon.spool(&format!("joberrors/{}", jobs[1]));
    fs::remove_file(queued(&jobs[0])).unwrap();
    fs::rename(queued(&jobs[1]), &moved).unwrap();
    fs::write(queued(&jobs[2]), "edited").unwrap();
    daemon.serve();
    let names = |state: &str| -> Vec<String> {
        let all = daemon.files(state).into_iter();
        all.filter_map(|path| path.rsplit('/').next().map(str::to_owned))
            .filter(|name| jobs.contains(name))
            .collect()
    };
    assert_eq!(names("queue"), jobs[2..]);
    assert_eq!(names("joberrors"), jobs[1..2]);
    let edited = daemon.spool(&format!("queue/orders_in/{}", jobs[2]));
    assert_eq!(fs::read_to_string(edited).unwrap(), "edited");
    assert!(daemon.log().contains("intact=true"), "{}", daemon.log());
    let status = &daemon.objects(&["status"])[0];
    assert_eq!(status["restored"], serde_json::Value::Null, "{status}");
}
