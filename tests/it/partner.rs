//! `spoolgate push` and `poll` against the real server, with the connection cut and either side
//! killed in the middle.

use crate::harness::{Daemon, day, document, has_job_files, order, program};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Condvar, Mutex},
};

/// The program as a partner runs it: no configuration, a directory of its own.
fn partner(daemon: &Daemon, verb: &str, url: &str) -> Command {
    let mut command = program();
    command
        .args([verb, "--url", url, "--user", "admin", "--cacert"])
        .arg(daemon.dir().join("certs/cert.pem"))
        .env("SPOOLGATE_PASSWORD", &daemon.password)
        .stdin(Stdio::null())
        .current_dir(daemon.dir());
    command
}

fn push(daemon: &Daemon, arguments: &[&str]) -> Output {
    let mut command = partner(daemon, "push", &daemon.url);
    command.args(arguments).output().unwrap()
}

fn poll_command(daemon: &Daemon, url: &str, to: &Path) -> Command {
    let mut command = partner(daemon, "poll", url);
    command.args(["--interface", "orders_out", "--to"]).arg(to);
    command
}

fn poll_once(daemon: &Daemon, to: &Path, arguments: &[&str]) -> Output {
    let mut command = poll_command(daemon, &daemon.url, to);
    command.arg("--once").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a successful run printed.
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// The delivered files: everything in the directory that does not start with a dot.
fn delivered(to: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(to).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if !name.starts_with('.') {
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    files
}

fn directory(daemon: &Daemon, name: &str) -> PathBuf {
    let path = daemon.dir().join(name);
    fs::create_dir(&path).unwrap();
    path
}

fn start() -> Daemon {
    Daemon::start_with(|text| {
        let table = "[interfaces.orders_in]\n";
        text.replace(table, &format!("{table}schema = \"\"\n"))
    })
}

/// A connection in between that can be stopped after a number of bytes, so that something
/// happens exactly there. It stays while the server is restarted on another port.
struct Between {
    url: String,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    server: Option<SocketAddr>,
    /// Connections of an earlier age are cut off.
    age: u64,
    /// From the server's side: bytes that went by, and how many may.
    down: u64,
    down_max: Option<u64>,
    /// From the client's side.
    up: u64,
    up_max: Option<u64>,
    /// So many bytes from the client's side shut the server's.
    answer_held_after: Option<u64>,
}

impl GateState {
    fn shut(&self, up: bool) -> bool {
        let reached = |max: Option<u64>, count: u64| max.is_some_and(|max| count >= max);
        match up {
            true => reached(self.up_max, self.up),
            false => reached(self.down_max, self.down) || reached(self.answer_held_after, self.up),
        }
    }
}

impl Between {
    fn new(daemon: &Daemon) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let gate = Arc::new(Gate::default());
        let between = Self {
            url,
            gate: gate.clone(),
        };
        between.lead_to(daemon);
        // Ends with the test program.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, gate) = (client.unwrap(), gate.clone());
                let server = gate.state.lock().unwrap().server.unwrap();
                // No server: the client sees its connection end.
                let Ok(server) = TcpStream::connect(server) else {
                    continue;
                };
                let (down, up) = (
                    (server.try_clone().unwrap(), client.try_clone().unwrap()),
                    (client, server),
                );
                let of_up = gate.clone();
                std::thread::spawn(move || carry(down, &gate, false));
                std::thread::spawn(move || carry(up, &of_up, true));
            }
        });
        between
    }

    fn lead_to(&self, daemon: &Daemon) {
        let address = daemon.url.strip_prefix("https://").unwrap();
        self.gate.state.lock().unwrap().server = Some(address.parse().unwrap());
    }

    fn stop_after_down(&self, bytes: u64) {
        let mut state = self.gate.state.lock().unwrap();
        (state.down, state.down_max) = (0, Some(bytes));
    }

    fn stop_after_up(&self, bytes: u64) {
        let mut state = self.gate.state.lock().unwrap();
        (state.up, state.up_max) = (0, Some(bytes));
    }

    /// The client's bytes pass; of the server's, none once so many have.
    fn hold_answer_after_up(&self, bytes: u64) {
        let mut state = self.gate.state.lock().unwrap();
        (state.up, state.answer_held_after) = (0, Some(bytes));
    }

    /// Everything may go by again.
    fn open(&self) {
        let mut state = self.gate.state.lock().unwrap();
        (state.down_max, state.up_max, state.answer_held_after) = (None, None, None);
        self.gate.changed.notify_all();
    }

    /// The same, but what was held back is lost, and its connections with it.
    fn open_and_cut_off(&self) {
        self.gate.state.lock().unwrap().age += 1;
        self.open();
    }

    fn is_shut(&self) -> bool {
        let state = self.gate.state.lock().unwrap();
        state.shut(true) || state.shut(false)
    }

    /// Waits until the gate is shut or the client has `ended`; true: it is shut.
    fn wait_until_shut(&self, daemon: &Daemon, ended: impl FnMut() -> bool) -> bool {
        let ended = std::cell::RefCell::new(ended);
        let done = || self.is_shut() || (ended.borrow_mut())();
        daemon.wait("the gate is shut", done);
        self.is_shut()
    }
}

fn carry((mut from, mut to): (TcpStream, TcpStream), gate: &Gate, up: bool) {
    let age = gate.state.lock().unwrap().age;
    let mut piece = [0; 4096];
    loop {
        let n_bytes = from.read(&mut piece).unwrap_or(0);
        let mut state = gate.state.lock().unwrap();
        while state.shut(up) && state.age == age {
            state = gate.changed.wait(state).unwrap();
        }
        let cut_off = state.age != age;
        let count = if up { &mut state.up } else { &mut state.down };
        *count += n_bytes as u64;
        drop(state);
        if cut_off || n_bytes == 0 || to.write_all(&piece[..n_bytes]).is_err() {
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
}

#[test]
fn a_push_prints_its_job_and_its_repeat_the_same() {
    let daemon = start();
    daemon.operator(&["hold", "orders_in"]);
    let path = daemon.scratch("my order.xml", order("1"));
    let file = path.to_str().unwrap();
    let job = printed(&push(&daemon, &[file])).trim().to_owned();
    assert_eq!(daemon.queue("orders_in"), [job.as_str()]);
    assert!(job.contains("order"), "{job}");
    let repeated = push(&daemon, &[file]);
    assert_eq!(printed(&repeated).trim(), job);
    let said = format!("{file}: pushed before as {job}; --again for a new job");
    assert!(
        text(&repeated.stderr).contains(&said),
        "{}",
        text(&repeated.stderr)
    );
    assert_eq!(daemon.queue("orders_in").len(), 1);
    let again = printed(&push(&daemon, &["--again", file]));
    assert_ne!(again.trim(), job);
    assert_eq!(daemon.queue("orders_in"), [job.as_str(), again.trim()]);

    let keyed = ["--key", "mine", "--reference", "ref-1", file];
    let mine = printed(&push(&daemon, &keyed)).trim().to_owned();
    assert!(mine.ends_with("-ref-1.xml"), "{mine}");
    assert_eq!(printed(&push(&daemon, &keyed)).trim(), mine);
    let json = printed(&push(&daemon, &["--json", file]));
    let line: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(line["job"], job.as_str());
    assert_eq!(line["replayed"], true);
    assert_eq!(daemon.queue("orders_in").len(), 3);
}

#[test]
fn standard_input_can_be_pushed() {
    let daemon = start();
    daemon.operator(&["hold", "orders_in"]);
    let sent = order("1") + &" ".repeat(1 << 20);
    let path = daemon.scratch("order.xml", &sent);
    let pushed = |arguments: &[&str]| {
        partner(&daemon, "push", &daemon.url)
            .args(arguments)
            .stdin(std::fs::File::open(&path).unwrap())
            .output()
            .unwrap()
    };
    let job = printed(&pushed(&["-"])).trim().to_owned();
    assert_eq!(daemon.queue("orders_in"), [job.as_str()]);
    assert_eq!(daemon.text(&format!("spool/queue/orders_in/{job}")), sent);
    // The same input is the same push.
    let again = pushed(&["-"]);
    assert_eq!(printed(&again).trim(), job);
    assert!(text(&again.stderr).contains("-: pushed before as"));
    let named = printed(&pushed(&["--reference", "mine", "-"]));
    assert!(named.trim().ends_with("-mine.xml"), "{named}");
    assert!(!pushed(&["-", "-"]).status.success());
}

#[test]
fn a_reference_makes_another_job_of_the_same_file() {
    let daemon = start();
    daemon.operator(&["hold", "orders_in"]);
    let path = daemon.scratch("order.xml", order("1"));
    let file = path.to_str().unwrap();
    let job = printed(&push(&daemon, &[file]));
    let named = printed(&push(&daemon, &["--reference", "mine", file]));
    assert!(named.trim().ends_with("-mine.xml"), "{job} {named}");
    assert_eq!(
        printed(&push(&daemon, &["--reference", "order", file])),
        job
    );
}

#[test]
fn a_refusal_that_is_repeated_says_so_until_it_is_pushed_again() {
    let daemon = Daemon::start();
    let bad = document("orders_in/position-twice.invalid.xml");
    let pushed = |arguments: &[&str]| {
        let all = [arguments, &[bad.to_str().unwrap()]].concat();
        text(&push(&daemon, &all).stderr)
    };
    let first = pushed(&[]);
    assert!(!first.contains("from before"), "{first}");
    // Once the whole seconds of the server's clock have passed the job's moment.
    daemon.wait("the repeat is known", || {
        pushed(&[]).contains("the answer from before, --again sends it as a new one")
    });
    assert_eq!(daemon.files("joberrors").len(), 1);
    let again = pushed(&["--again"]);
    assert!(!again.contains("from before"), "{again}");
    assert_eq!(daemon.files("joberrors").len(), 2);
}

#[test]
fn an_invalid_file_is_told_with_its_lines_and_the_others_are_pushed() {
    let daemon = Daemon::start();
    daemon.operator(&["hold", "orders_in"]);
    let first = document("orders_in/states.valid.xml");
    let bad = document("orders_in/position-twice.invalid.xml");
    let broken = document("orders_in/tag-crossed.invalid.xml");
    let last = document("orders_in/day.valid.xml");
    let files = [&first, &bad, &broken, &last].map(|path| path.to_str().unwrap());
    let output = push(&daemon, &[&files[..], &["/nonexistent/file.xml"]].concat());
    assert!(!output.status.success());
    let errors = text(&output.stderr);
    for (file, line) in [(files[1], 7), (files[2], 6)] {
        let found = errors.lines().find_map(|text| {
            let rest = text.strip_prefix(&format!("{file}:{line}:"))?;
            rest.split_once(": ")
        });
        let (column, message) = found.unwrap_or_else(|| panic!("{file}:{line}: {errors}"));
        assert!(column.parse::<u32>().unwrap() > 0 && !message.is_empty());
    }
    assert!(errors.contains("/nonexistent/file.xml"), "{errors}");
    let lines = text(&output.stdout);
    let jobs: Vec<_> = lines.lines().collect();
    assert_eq!(daemon.queue("orders_in"), jobs);
    assert!(jobs[0].ends_with("-states.valid.xml") && jobs[1].ends_with("-day.valid.xml"));
    let wrong = partner(&daemon, "push", &daemon.url)
        .env("SPOOLGATE_PASSWORD", "wrong")
        .arg(files[0])
        .output()
        .unwrap();
    assert!(!wrong.status.success() && !text(&wrong.stderr).contains("wrong\n"));
}

#[test]
fn a_push_goes_on_after_a_restart_in_its_middle() {
    if !has_job_files() {
        return;
    }
    let mut daemon = start();
    daemon.operator(&["hold", "orders_in"]);
    let sent = order("1") + &" ".repeat(3 << 20);
    let path = daemon.scratch("large.xml", &sent);
    let between = Between::new(&daemon);
    // In the middle of the body, and when the job is there but the answer is still on its way.
    for n in 0..2 {
        if n == 0 {
            between.stop_after_up(1 << 20);
        } else {
            between.hold_answer_after_up(sent.len() as u64);
        }
        let mut command = partner(&daemon, "push", &between.url);
        command.arg("--again").arg(&path).stdout(Stdio::piped());
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        daemon.wait("the gate is shut", || between.is_shut());
        let stored = daemon.spool("queue/orders_in");
        let n_stored = || fs::read_dir(&stored).unwrap().count();
        // The job before, the new one, and `.hold`.
        daemon.wait("it is stored", || n == 0 || n_stored() == n + 2);
        daemon.kill();
        daemon.serve();
        between.lead_to(&daemon);
        between.open_and_cut_off();
        let output = child.wait_with_output().unwrap();
        let job = printed(&output).trim().to_owned();
        let remarks = text(&output.stderr);
        assert!(remarks.contains("trying again"), "{remarks}");
        let queue = daemon.queue("orders_in");
        assert_eq!(queue.len(), n + 1);
        assert_eq!(queue.last(), Some(&job));
        assert!(fs::read(stored.join(&job)).unwrap() == sent.as_bytes());
    }
    daemon.wait("nothing in tmp", || daemon.files("tmp").is_empty());
}

#[test]
fn a_push_that_was_killed_before_its_answer_came_is_repeated_as_the_same_job() {
    let daemon = start();
    daemon.operator(&["hold", "orders_in"]);
    let sent = order("1") + &" ".repeat(1 << 20);
    let path = daemon.scratch("order.xml", &sent);
    let between = Between::new(&daemon);
    between.hold_answer_after_up(sent.len() as u64);
    let mut command = partner(&daemon, "push", &between.url);
    command
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    daemon.wait("the job is there", || daemon.queue("orders_in").len() == 1);
    assert!(
        child.try_wait().unwrap().is_none(),
        "its answer is held back"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    between.open_and_cut_off();
    let job = printed(&push(&daemon, &[path.to_str().unwrap()]));
    assert_eq!(daemon.queue("orders_in"), [job.trim()]);
}

/// Puts jobs of some size into the queue; gives them with their bytes.
fn fill(daemon: &Daemon, count: usize, bytes: usize) -> BTreeMap<String, Vec<u8>> {
    let mut jobs = BTreeMap::new();
    for n in 0..count {
        let text = order(&n.to_string()) + &" ".repeat(bytes);
        let job = daemon.drop_in("orders_out", &format!("o{n}.xml"), &text);
        jobs.insert(job, text.into_bytes());
    }
    jobs
}

#[test]
fn a_poll_fetches_everything_once_and_not_what_was_taken_away() {
    let daemon = start();
    let jobs = fill(&daemon, 5, 100_000);
    let to = directory(&daemon, "inbox");
    let lines = printed(&poll_once(&daemon, &to, &[]));
    assert!(delivered(&to) == jobs);
    let expected: Vec<_> = jobs
        .keys()
        .map(|job| to.join(job).display().to_string())
        .collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    assert_eq!(daemon.queue("orders_out"), Vec::<String>::new());
    assert_eq!(printed(&poll_once(&daemon, &to, &[])), "");
    for job in jobs.keys() {
        fs::remove_file(to.join(job)).unwrap();
    }
    assert_eq!(printed(&poll_once(&daemon, &to, &[])), "");
    assert!(delivered(&to).is_empty());
    let later = fill(&daemon, 1, 0);
    printed(&poll_once(&daemon, &to, &["--json"]));
    assert!(delivered(&to) == later);
}

#[test]
fn a_job_that_is_still_listed_is_not_delivered_again() {
    if !has_job_files() {
        return;
    }
    let daemon = start();
    let jobs = fill(&daemon, 1, 0);
    let job = jobs.keys().next().unwrap();
    let to = directory(&daemon, "inbox");
    printed(&poll_once(&daemon, &to, &[]));
    fs::remove_file(to.join(job)).unwrap();
    // As if the server had lost the move to bak in a power cut.
    daemon.wait_for_place(job, "bak/orders_out");
    let bak = daemon.spool(&format!("bak/orders_out/{}/{job}", day(job)));
    fs::rename(bak, daemon.spool(&format!("queue/orders_out/{job}"))).unwrap();
    daemon.wait("it is listed again", || {
        daemon.queue("orders_out").len() == 1
    });
    assert_eq!(printed(&poll_once(&daemon, &to, &[])), "");
    assert!(delivered(&to).is_empty());
    assert_eq!(
        daemon.queue("orders_out"),
        Vec::<String>::new(),
        "it is filed again"
    );
}

#[test]
fn a_poll_runs_its_command_until_it_succeeds() {
    let daemon = start();
    let jobs = fill(&daemon, 2, 0);
    let to = directory(&daemon, "inbox");
    let seen = daemon.dir().join("seen");
    let command = format!(
        "echo \"$SPOOLGATE_JOB $1\" >> {}; test -e {}/go",
        seen.display(),
        daemon.dir().display()
    );
    let failed = poll_once(&daemon, &to, &["--exec", &command]);
    assert!(!failed.status.success());
    assert!(delivered(&to) == jobs);
    daemon.scratch("go", "");
    poll_once(&daemon, &to, &["--exec", &command]);
    let lines: Vec<_> = jobs
        .keys()
        .map(|job| format!("{job} {}", to.join(job).display()))
        .collect();
    let twice = [lines.clone(), lines].concat();
    let read = || fs::read_to_string(&seen).unwrap();
    assert_eq!(read().lines().collect::<Vec<_>>(), twice);
    printed(&poll_once(&daemon, &to, &["--exec", &command]));
    assert_eq!(
        read().lines().count(),
        4,
        "it succeeded and does not run again"
    );
}

#[test]
fn a_poll_can_fetch_through_a_stylesheet() {
    let daemon = start();
    let sent = fs::read(document("orders_out/orders.valid.xml")).unwrap();
    let job = daemon.drop_in("orders_out", "o.xml", sent);
    let to = directory(&daemon, "inbox");
    let unknown = poll_once(&daemon, &to, &["--xslt", "nothing"]);
    assert!(!unknown.status.success());
    assert!(delivered(&to).is_empty());
    assert_eq!(daemon.place(&job), "queue/orders_out");
    printed(&poll_once(&daemon, &to, &["--xslt", "order-csv"]));
    let files = delivered(&to);
    assert_eq!(files.len(), 1);
    let (name, csv) = files.iter().next().unwrap();
    assert_eq!(*name, job.replace(".xml", ".csv"));
    assert!(csv.starts_with(b"OrderID;OrderNo;"));
    assert_eq!(daemon.place(&job), "bak/orders_out");
}

#[test]
fn two_polls_into_one_directory_are_refused() {
    let daemon = start();
    let jobs = fill(&daemon, 1, 0);
    let to = directory(&daemon, "inbox");
    let mut command = poll_command(&daemon, &daemon.url, &to);
    command
        .args(["--interval", "3600"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut first = command.spawn().unwrap();
    daemon.wait("the first one is at work", || delivered(&to).len() == 1);
    let second = poll_once(&daemon, &to, &[]);
    let skipped = poll_once(&daemon, &to, &["--skip-if-running"]);
    assert_eq!(printed(&skipped), "");
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(!second.status.success());
    let error = text(&second.stderr);
    assert!(error.contains("another poll is running into"), "{error}");
    assert!(error.contains(to.to_str().unwrap()), "{error}");
    // The lock ends with its process.
    assert_eq!(printed(&poll_once(&daemon, &to, &[])), "");
    assert!(delivered(&to) == jobs);
}

/// Takes the delivered files away, as a user's import does.
fn take(to: &Path, taken: &mut BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in delivered(to) {
        fs::remove_file(to.join(&name)).unwrap();
        let before = taken.insert(name.clone(), bytes);
        assert!(before.is_none(), "{name} was delivered twice");
    }
}

fn spawn_poll(daemon: &Daemon, between: &Between, to: &Path) -> Child {
    let mut command = poll_command(daemon, &between.url, to);
    command
        .arg("--once")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Bytes from the server after which something happens: within the handshake, before and within
/// the listing, within and between jobs of 200 kB.
const MOMENTS: [u64; 8] = [1, 1500, 2500, 4000, 100_000, 199_000, 204_000, 450_000];

#[test]
fn a_poll_that_is_killed_loses_nothing_and_delivers_nothing_twice() {
    let daemon = start();
    let between = Between::new(&daemon);
    let to = directory(&daemon, "inbox");
    let (mut jobs, mut taken) = (BTreeMap::new(), BTreeMap::new());
    let mut n_killed = 0;
    for moment in MOMENTS {
        jobs.extend(fill(&daemon, 2, 200_000));
        between.stop_after_down(moment);
        let mut poll = spawn_poll(&daemon, &between, &to);
        let ended = || poll.try_wait().unwrap().is_some();
        n_killed += usize::from(between.wait_until_shut(&daemon, ended));
        poll.kill().unwrap();
        poll.wait().unwrap();
        between.open();
        take(&to, &mut taken);
    }
    assert!(n_killed >= 6, "only {n_killed} were killed at work");
    assert!(taken.len() < jobs.len(), "no kill interrupted anything");
    printed(&poll_once(&daemon, &to, &[]));
    take(&to, &mut taken);
    assert!(taken == jobs, "lost or altered");
    assert_eq!(daemon.queue("orders_out"), Vec::<String>::new());
}

#[test]
fn a_server_that_is_killed_costs_a_poll_nothing() {
    let mut daemon = start();
    let between = Between::new(&daemon);
    let to = directory(&daemon, "inbox");
    let (mut jobs, mut taken) = (BTreeMap::new(), BTreeMap::new());
    let mut n_failed = 0;
    for moment in MOMENTS {
        jobs.extend(fill(&daemon, 2, 200_000));
        between.stop_after_down(moment);
        let mut poll = spawn_poll(&daemon, &between, &to);
        between.wait_until_shut(&daemon, || poll.try_wait().unwrap().is_some());
        daemon.kill();
        between.open();
        n_failed += usize::from(!poll.wait().unwrap().success());
        daemon.serve();
        between.lead_to(&daemon);
        take(&to, &mut taken);
    }
    assert!(n_failed >= 6, "only {n_failed} polls noticed");
    printed(&poll_once(&daemon, &to, &[]));
    take(&to, &mut taken);
    assert!(taken == jobs, "lost or altered");
    assert_eq!(daemon.queue("orders_out"), Vec::<String>::new());
}
