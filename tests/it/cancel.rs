//! Cancelling jobs over HTTP: who may, what becomes of the job, and that it stays so.

use crate::harness::{Answer, Daemon, has_job_files, shell};
use std::{fs, net::TcpListener};

/// A tenant where `printing` has this processor, and two users may use it, one job at a time.
struct Printing {
    daemon: Daemon,
    ada: String,
    pete: String,
}

impl Printing {
    fn start(processor: &str) -> Self {
        let mut daemon = Daemon::init();
        daemon.configure(|text| {
            let keys = "direction = \"in\"\nschema = \"\"\nconcurrency = 1";
            format!("{text}\n[interfaces.printing]\n{keys}\n{processor}\n")
        });
        let token = |name| {
            daemon.add_user(name, &["printing=upload,list,download"]);
            let token = daemon.operator(&["user", "token", name]);
            format!("Authorization: Bearer {}", token.trim())
        };
        let (ada, pete) = (token("ada"), token("pete"));
        daemon.serve();
        Self { daemon, ada, pete }
    }

    fn call(&self, token: &str, method: &str, path: &str) -> Answer {
        self.daemon
            .bare_curl(&["-X", method, "-H", token, &format!("/webapi/v3/{path}")])
    }

    /// A new job of Ada's; gives its id and its name.
    fn submit(&self) -> (String, String) {
        let before = self.daemon.queue("printing");
        let answer = self.call(&self.ada, "POST", "workflows/printing/jobs");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let id = json(&answer)["id"].as_str().unwrap().to_owned();
        let mut names = self.daemon.queue("printing");
        names.retain(|name| !before.contains(name));
        (id, names.pop().expect("it waits or runs"))
    }

    fn status(&self, id: &str) -> String {
        let answer = self.call(&self.ada, "GET", &format!("jobs/{id}"));
        json(&answer)["status"].as_str().unwrap().to_owned()
    }

    /// Cancels as this user; gives the status and the message.
    fn cancel(&self, token: &str, id: &str) -> (u16, String) {
        let answer = self.call(token, "DELETE", &format!("jobs/{id}"));
        let message = json(&answer)["message"].as_str().unwrap().to_owned();
        (answer.status, message)
    }
}

fn json(answer: &Answer) -> serde_json::Value {
    serde_json::from_slice(&answer.body).unwrap()
}

fn is_dead(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    state.is_empty() || state.starts_with('Z')
}

const STOPPED: &str = "Cancelled Successfully.";
const DELETED: &str = "Deleted Successfully.";
const ENDED: &str = "This job is not in 'Queued' or 'Running' state.";
const NOT_YOURS: &str = "You do not have permission to cancel this job.";

/// The command and its child last for as long as the test's directory at most.
const ENDLESS: &str = r#"echo "$SPOOLGATE_JOB" >> ran; echo out > "$SPOOLGATE_RESULTS/out.txt"
    (while test -e ran; do sleep 0.1; done) & echo $! > child.part; mv child.part child; wait"#;

#[test]
fn a_running_job_ends_with_its_processes_and_stays_cancelled() {
    let mut printing = Printing::start(&shell(ENDLESS, ""));
    let (id, job) = printing.submit();
    printing
        .daemon
        .wait("it runs", || printing.status(&id) == "Running");
    let daemon = &printing.daemon;
    daemon.wait("its child runs", || !daemon.text("child").is_empty());
    let refused = (400, NOT_YOURS.to_owned());
    assert_eq!(printing.cancel(&printing.pete, &id), refused);
    assert_eq!(printing.status(&id), "Running");
    assert_eq!(printing.cancel(&printing.ada, &id), (200, STOPPED.into()));
    // It would survive a crash from now on.
    let child = printing.daemon.text("child");
    printing.daemon.kill();
    printing.daemon.serve();
    let daemon = &printing.daemon;
    assert_eq!(printing.status(&id), "Cancelled");
    assert_eq!(daemon.place(&job), "joberrors");
    assert_eq!(daemon.messages(&job), ["cancelled by ada"]);
    let log = daemon.joblog(&job);
    assert_eq!(log["status"], "error");
    assert_eq!(log["messages"][0]["tool"], "spoolgate-cancel");
    if has_job_files() {
        let recorded = daemon.recorded(&job, "cancelled");
        assert_eq!(recorded, ["ada", "alteryx from 127.0.0.1"]);
    }
    daemon.wait("its child is dead", || is_dead(&child));
    assert_eq!(daemon.files("results"), [""; 0]);
    daemon.wait_for_empty_work();
    assert_eq!(printing.cancel(&printing.ada, &id), (400, ENDED.into()));
    assert_eq!(daemon.text("ran").lines().count(), 1, "it ran once");
}

#[test]
fn a_job_that_waits_never_runs_and_a_command_that_was_adopted_ends() {
    if !has_job_files() {
        return;
    }
    let mut printing = Printing::start(&shell(ENDLESS, ""));
    let (running, first) = printing.submit();
    let daemon = &printing.daemon;
    daemon.wait("its child runs", || !daemon.text("child").is_empty());
    let (waiting, second) = printing.submit();
    assert_eq!(printing.status(&waiting), "Queued");
    assert_eq!(
        printing.cancel(&printing.ada, &waiting),
        (200, DELETED.into())
    );
    // It is gone for its submitter, and stays for the operator.
    let unknown = (404, format!("unknown job {waiting}"));
    assert_eq!(printing.cancel(&printing.ada, &waiting), unknown);
    assert_eq!(daemon.messages(&second), ["cancelled by ada"]);
    let recorded = daemon.recorded(&second, "cancelled");
    assert_eq!(recorded, ["ada", "alteryx from 127.0.0.1"]);
    // The command outlives the service, and is cancelled under the next one.
    let child = daemon.text("child");
    printing.daemon.kill();
    printing.daemon.serve();
    assert_eq!(printing.status(&running), "Running");
    assert!(!is_dead(&child));
    assert_eq!(
        printing.cancel(&printing.ada, &running),
        (200, STOPPED.into())
    );
    let daemon = &printing.daemon;
    daemon.wait("its child is dead", || is_dead(&child));
    let said = daemon.messages(&first);
    assert_eq!(said.last().unwrap(), "cancelled by ada", "{said:?}");
    let recorded = daemon.recorded(&first, "cancelled");
    assert_eq!(recorded, ["ada", "alteryx from 127.0.0.1"]);
    assert_eq!(printing.status(&running), "Cancelled");
    assert_eq!(daemon.text("ran"), format!("{first}\n"));
    // An operator may think otherwise.
    daemon.operator(&["requeue", &second]);
    daemon.wait("it runs", || daemon.text("ran").contains(&second));
    assert_eq!(printing.status(&waiting), "Running");
}

#[test]
fn a_request_that_waits_for_its_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let printing = Printing::start(&format!("processor = {{ http = \"{url}\" }}"));
    let (id, job) = printing.submit();
    let (asked, _) = listener.accept().unwrap();
    assert_eq!(printing.cancel(&printing.ada, &id), (200, STOPPED.into()));
    assert_eq!(printing.daemon.messages(&job), ["cancelled by ada"]);
    // To its end: no one waits on the other side.
    std::io::copy(&mut &asked, &mut std::io::sink()).unwrap();
}
