//! What a service manager is told, and sockets that it has opened: by its protocol, without one.

use crate::harness::{Daemon, Over, order, program, wait_for};
use parking_lot::Mutex;
use std::{
    io::Read,
    net::TcpListener,
    os::unix::net::UnixDatagram,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// All that has been told, a message each.
type Heard = Arc<Mutex<Vec<String>>>;

/// Hears until the test has ended.
fn listen(socket: UnixDatagram) -> Heard {
    let heard = Heard::default();
    let kept = heard.clone();
    thread::spawn(move || {
        let mut message = [0; 4096];
        while let Ok(bytes) = socket.recv(&mut message) {
            let text = String::from_utf8_lossy(&message[..bytes]).into_owned();
            kept.lock().push(text);
        }
    });
    heard
}

#[test]
fn a_service_manager_hears_how_the_service_is() {
    let mut daemon = Daemon::init();
    let at = daemon.dir().join("notify");
    let heard = listen(UnixDatagram::bind(&at).unwrap());
    let mut program = program();
    program
        .env("NOTIFY_SOCKET", &at)
        .env("WATCHDOG_USEC", "4000000");
    daemon.serve_by(program);
    let log = || format!("{:?}\n{}", heard.lock(), daemon.log());
    let has = |text: &str| heard.lock().iter().any(|message| message.contains(text));
    let line = |text: &str| {
        heard
            .lock()
            .iter()
            .flat_map(|m| m.lines())
            .filter(|l| *l == text)
            .count()
    };
    wait_for(
        "it is ready",
        || has("READY=1") && has("STATUS=0 jobs wait"),
        log,
    );
    let before = line("WATCHDOG=1");
    wait_for("it goes on", || line("WATCHDOG=1") > before + 2, log);
    daemon.stop();
    let log = || format!("{:?}", heard.lock());
    wait_for("it stops", || has("STOPPING=1"), log);
    assert_eq!(line("READY=1"), 1);
}

/// Asks without waiting for the answer.
fn asking(url: &str) -> impl FnOnce() -> String {
    let mut curl = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--insecure",
            "--max-time",
            "60",
            url,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    move || {
        let mut text = String::new();
        curl.stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        let status = curl.wait().unwrap();
        assert!(status.success(), "{status}: {text}");
        text
    }
}

#[test]
fn nobody_is_refused_on_a_socket_that_stays_open() {
    let mut daemon = Daemon::init();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("https://127.0.0.1:{port}/");
    for _ in 0..2 {
        // Before there is anybody to answer.
        let early = asking(&url);
        daemon.serve_on(&listener);
        assert!(early().to_lowercase().contains("spoolgate"));
        let answer = daemon.upload_text(&order("a"), "");
        assert_eq!(answer.status, 201, "{}", answer.text());
        daemon.stop();
    }
}

/// Asks again and again, each time on a new connection, until `done`; gives what was answered.
fn keep_asking(
    mut curl: impl FnMut(usize) -> Command,
    n: &AtomicUsize,
    done: &AtomicBool,
) -> Vec<String> {
    let mut answers = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let output = curl(answers.len()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", output.status);
        answers.push(String::from_utf8(output.stdout).unwrap());
        n.fetch_add(1, Ordering::Relaxed);
    }
    answers
}

#[test]
fn restarts_refuse_nobody_who_asks_all_the_time_and_every_answer_is_right() {
    let mut daemon = Daemon::init();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    daemon.serve_on(&listener);
    daemon.url = format!("https://{}", listener.local_addr().unwrap());
    let waiting: Vec<String> = (0..5)
        .map(|n| daemon.drop_in("orders_out", &format!("{n}.xml"), order("1")))
        .collect();
    let get = |daemon: &Daemon, path: &str| {
        let command = daemon.curl_command(path);
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        move || {
            let mut curl = Command::new("curl");
            curl.args(&arguments).arg("--fail");
            curl
        }
    };
    let list = get(&daemon, "/xml/jobqueue?Interfacename=orders_out");
    let upload = get(&daemon, "/xml/upload");
    let (n_answers, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (lists, jobs) = thread::scope(|scope| {
        let lists = [(); 2].map(|()| scope.spawn(|| keep_asking(|_| list(), &n_answers, &done)));
        let jobs = scope.spawn(|| {
            let next = |n: usize| {
                let mut curl = upload();
                curl.args(["--data-binary", &order(&n.to_string())]);
                curl
            };
            keep_asking(next, &n_answers, &done)
        });
        let over = Over(&done);
        for _ in 0..4 {
            let before = n_answers.load(Ordering::Relaxed);
            daemon.wait("answers", || {
                n_answers.load(Ordering::Relaxed) > before + 10
            });
            daemon.stop();
            daemon.serve_on(&listener);
        }
        let before = n_answers.load(Ordering::Relaxed);
        daemon.wait("answers", || {
            n_answers.load(Ordering::Relaxed) > before + 10
        });
        drop(over);
        let lists = lists.map(|asking| asking.join().unwrap());
        (lists, jobs.join().unwrap())
    });
    let queue = waiting.join("\n");
    for answer in lists.iter().flatten() {
        assert_eq!(answer.trim(), queue);
    }
    for job in &jobs {
        daemon.wait_for_place(job.trim(), "bak/orders_in");
    }
    assert_eq!(daemon.files("bak/orders_in").len(), jobs.len());
}

#[test]
fn a_socket_of_an_unknown_name_is_refused() {
    let daemon = Daemon::init();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut program = crate::harness::marked("sh");
    let script = "export LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0 0</dev/null";
    let output = program
        .args([
            "-c",
            script,
            env!("CARGO_BIN_EXE_spoolgate"),
            "serve",
            "--config",
        ])
        .arg(daemon.config())
        .envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "https")])
        .stdin(std::os::fd::OwnedFd::from(listener))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("\"https\""),
        "{said}"
    );
    assert!(
        said.contains("listen, plain_listen or ops_listen"),
        "{said}"
    );
}
