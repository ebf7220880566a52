//! The real server with its own spool on free ports, and the clients that users have: curl, the
//! `spoolgate` program, and the spool's directories.
//!
//! Nothing sleeps for luck: [`wait_for`] waits for a condition, and a failure shows the server's
//! log.

use crate::database::server::Server;
use std::{
    fs,
    io::{BufRead, BufReader},
    os::fd::OwnedFd,
    os::unix::{
        fs::{PermissionsExt, lchown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Longer than anything here takes; what waits for so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Shorter than the regular rescan, which makes good whatever the watcher misses.
const SOON: Duration = Duration::from_secs(30);
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_spoolgate");

/// In the environment of all that the tests start, and of what that starts.
const MARK: &str = "SPOOLGATE_TEST_RUN";

/// The program, which does not outlive the tests: neither it nor anything that it starts, even if
/// the tests are killed.
pub(crate) fn program() -> Command {
    marked(PROGRAM)
}

/// The same of any program.
pub(crate) fn marked(program: &str) -> Command {
    static RUN: OnceLock<Watcher> = OnceLock::new();
    let run = RUN.get_or_init(|| Watcher::start(&format!("{}", std::process::id())));
    let mut command = Command::new(program);
    run.mark(&mut command);
    command
}

/// A process that waits until we have gone, and then kills what has our mark.
pub(crate) struct Watcher {
    mark: String,
    /// Its standard input is closed by the kernel when we end, however that happens.
    child: Child,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It has then done what it is for.
        let _ = self.child.wait();
    }
}

impl Watcher {
    pub(crate) fn start(mark: &str) -> Self {
        let script = r#"trap "" HUP INT TERM
            while read -r _; do :; done
            found=1
            while [ $found = 1 ]; do
                found=0
                for dir in /proc/[0-9]*; do
                    if grep -qz "^$1\$" "$dir/environ" 2>/dev/null; then
                        kill -9 "${dir#/proc/}" 2>/dev/null && found=1
                    fi
                done
            done"#;
        let child = Command::new("sh")
            .args(["-c", script, "sh", &format!("{MARK}={mark}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Self {
            mark: mark.to_owned(),
            child,
        }
    }

    /// Marks a command as ours.
    pub(crate) fn mark(&self, command: &mut Command) {
        command.env(MARK, &self.mark);
    }
}

/// Are the jobs of all tests in databases?
fn in_database() -> bool {
    std::env::var("SPOOLGATE_TEST_STORE").is_ok_and(|store| store == "pg")
}

/// For tests of what only the engine of files has: job files by their paths, moves by hand, the journal. False, with a
/// word, where jobs are in databases.
pub(crate) fn has_job_files() -> bool {
    if in_database() {
        eprintln!("skipped: it is about the files of jobs");
    }
    !in_database()
}

/// The URL of a new database that has the tables. `None`: PostgreSQL is not installed.
pub(crate) fn database() -> Option<String> {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    let server = Server::of_tests()?;
    let template = TEMPLATE.get_or_init(|| {
        let name = server.create("template1");
        let daemon = Daemon::init_in_spool();
        daemon.put_into(&server.url(&name));
        daemon.operator(&["store", "migrate"]);
        name
    });
    Some(server.url(&server.create(template)))
}

/// A directory as `spoolgate init` makes it, and the server on it.
pub(crate) struct Daemon {
    dir: TempDir,
    child: Option<Child>,
    pub(crate) password: String,
    pub(crate) url: String,
    pub(crate) plain: String,
    pub(crate) ops: String,
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The job name of a 201.
    pub(crate) fn job(&self) -> String {
        assert_eq!(self.status, 201, "{}", self.text());
        self.text().trim().to_owned()
    }
}

impl Daemon {
    /// The shipped configuration, where every `*_in` interface archives.
    pub(crate) fn start() -> Self {
        Self::start_with(|text| text)
    }

    /// `edit` changes the configuration's text.
    pub(crate) fn start_with(edit: impl FnOnce(String) -> String) -> Self {
        let mut daemon = Self::init();
        daemon.configure(edit);
        daemon.serve();
        daemon
    }

    /// Changes the configuration's text before the server starts.
    pub(crate) fn configure(&self, edit: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.config()).unwrap();
        // A temporary directory may be in memory, and a small journal is made sooner.
        let keys = "root = \"spool\"\naccept_risk = true\njournal_mib = 2";
        let text = text.replace("root = \"spool\"", keys);
        fs::write(self.config(), edit(text)).unwrap();
    }

    /// Puts the spool elsewhere before the server starts, with the schemas that `init` has put there.
    pub(crate) fn move_spool(&self, to: &Path) {
        let text = fs::read_to_string(self.config()).unwrap();
        let root = format!("root = \"{}\"", to.display());
        fs::write(self.config(), text.replace("root = \"spool\"", &root)).unwrap();
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(self.spool("")).arg(to);
        assert!(copy.status().unwrap().success());
    }

    /// Initialised, not started; where jobs are in a database, in one of its own.
    pub(crate) fn init() -> Self {
        let daemon = Self::init_in_spool();
        if in_database() {
            daemon.put_into(&database().expect("PostgreSQL is asked for"));
        }
        daemon
    }

    /// From now on its jobs are in that database, which has the tables.
    pub(crate) fn put_into(&self, url: &str) {
        let path = self.scratch("database.url", url);
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        let text = fs::read_to_string(self.config()).unwrap();
        let text = format!("store.url_file = \"database.url\"\n{text}");
        fs::write(self.config(), text).unwrap();
    }

    /// Initialised, with its jobs in its spool.
    pub(crate) fn init_in_spool() -> Self {
        let dir = TempDir::new().unwrap();
        let made = program()
            .args([
                "init",
                "--listen",
                "127.0.0.1:0",
                "--plain-listen",
                "127.0.0.1:0",
            ])
            .args(["--ops-listen", "127.0.0.1:0"])
            .arg(dir.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let line = String::from_utf8(made.stdout).unwrap();
        let password = line.trim().strip_prefix("user admin password ").unwrap();
        Self {
            password: password.to_owned(),
            dir,
            child: None,
            url: String::new(),
            plain: String::new(),
            ops: String::new(),
        }
    }

    pub(crate) fn serve(&mut self) {
        self.serve_by(program());
    }

    /// Serves as a user to whom all has been given.
    pub(crate) fn serve_as(&mut self, uid: u32) {
        self.serve_by(as_user(uid));
    }

    /// Gives all that is here to a user that is not root, and so may take no leases on files of
    /// others. False, with a word, when that cannot be tried here.
    pub(crate) fn give_to(&self, uid: u32) -> bool {
        let tried = as_user(uid).arg("--version").output();
        if !tried.is_ok_and(|tried| tried.status.success()) {
            eprintln!("skipped: only root can be another user, who must be able to run {PROGRAM}");
            return false;
        }
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.dir(), open).unwrap();
        for entry in walkdir::WalkDir::new(self.dir()) {
            lchown(entry.unwrap().path(), Some(uid), Some(uid)).unwrap();
        }
        true
    }

    /// The same, where `program` stands for the program or what is to run it.
    pub(crate) fn serve_by(&mut self, program: Command) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        self.serve_with(program, log, Stdio::null());
    }

    /// Serves on a socket that somebody else has opened, as systemd gives it.
    pub(crate) fn serve_on(&mut self, listener: &std::net::TcpListener) {
        let mut program = marked("sh");
        let script = "export LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0 0</dev/null";
        program.args(["-c", script, PROGRAM]);
        program.envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "listen")]);
        let log = self.log_path();
        let log = fs::File::options().create(true).append(true).open(log);
        let given = OwnedFd::from(listener.try_clone().unwrap());
        self.serve_with(program, log.unwrap(), given);
    }

    /// The same, with another log.
    pub(crate) fn serve_logging_to(&mut self, log: impl Into<Stdio>) {
        self.serve_with(program(), log, Stdio::null());
    }

    fn serve_with(&mut self, mut program: Command, log: impl Into<Stdio>, given: impl Into<Stdio>) {
        assert!(self.child.is_none(), "it is served already");
        let mut child = program
            .arg("serve")
            .arg("--config")
            .arg(self.config())
            .stdin(given)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = |prefix: &str| {
            let line = lines.next().and_then(Result::ok).unwrap_or_default();
            let rest = line.strip_prefix(prefix).map(str::to_owned);
            rest.unwrap_or_else(|| panic!("no {prefix:?} but {line:?}:\n{}", self.log()))
        };
        let (url, plain, ops) = (
            next("listening "),
            next("listening plain "),
            next("listening ops "),
        );
        (self.url, self.plain, self.ops) = (url, plain, ops);
        self.child = Some(child);
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().unwrap().id()).unwrap()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// SIGTERM and a wait for the orderly end.
    pub(crate) fn stop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        let status = self.child.take().unwrap().wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// SIGKILL, as a crash.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the spool.
    pub(crate) fn spool(&self, path: &str) -> PathBuf {
        self.dir.path().join("spool").join(path)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("spoolgate.toml")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// curl as the first user, with the server's certificate trusted.
    pub(crate) fn curl(&self, arguments: &[&str]) -> Answer {
        let login = format!("admin:{}", self.password);
        let mut all = vec!["-u", &login];
        all.extend(arguments);
        self.bare_curl(&all)
    }

    /// curl without credentials. The last argument is a path of the server, or a whole URL.
    pub(crate) fn bare_curl(&self, arguments: &[&str]) -> Answer {
        let (path, options) = arguments.split_last().unwrap();
        let url = if path.starts_with("http") {
            (*path).to_owned()
        } else {
            format!("{}{path}", self.url)
        };
        let head = self
            .dir
            .path()
            .join(format!(".head-{:?}", std::thread::current().id()));
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "60", "--cacert"])
            .arg(self.dir.path().join("certs/cert.pem"))
            .arg("-D")
            .arg(&head)
            .args(options)
            .arg(&url)
            .output()
            .expect("curl is needed for these tests: apt-get install curl");
        let head = fs::read_to_string(&head).unwrap_or_default();
        let answer = answer(&head, output, &self.log());
        // The probes are for operators, who are told which file is meant.
        if answer.status >= 400 && !url.starts_with(&self.ops) {
            let dir = self.dir.path().to_str().unwrap();
            let told = answer.text().contains(dir) || head.contains(dir);
            assert!(!told, "a path of the server: {head}{}", answer.text());
        }
        answer
    }

    /// curl as another user, given as `name:password`.
    pub(crate) fn curl_as(&self, login: &str, arguments: &[&str]) -> Answer {
        let mut all = vec!["-u", login];
        all.extend(arguments);
        self.bare_curl(&all)
    }

    /// curl as the first user, to be run by the caller, who has to end it.
    pub(crate) fn curl_command(&self, path: &str) -> Command {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "--max-time", "60", "--cacert"])
            .arg(self.dir().join("certs/cert.pem"))
            .args(["-u", &format!("admin:{}", self.password)])
            .arg(format!("{}{path}", self.url));
        command
    }

    /// Adds a user before the server starts; gives `name:password`.
    pub(crate) fn add_user(&self, name: &str, rights: &[&str]) -> String {
        let rights = rights.iter().flat_map(|right| ["--right", right]);
        let arguments: Vec<&str> = ["user", "add", name].into_iter().chain(rights).collect();
        let line = self.operator(&arguments);
        let password = line.trim().rsplit(' ').next().unwrap();
        format!("{name}:{password}")
    }

    /// A file beside the spool.
    pub(crate) fn scratch(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Drops a complete file into a queue, as a back office does; gives the job's name.
    pub(crate) fn drop_in(&self, interface: &str, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.scratch(&format!(".dropped-{name}"), bytes);
        let before = self.queue(interface);
        fs::rename(path, self.spool(&format!("queue/{interface}/{name}"))).unwrap();
        let taken_in = || {
            let mut jobs = self.queue(interface);
            jobs.retain(|job| !before.contains(job));
            jobs.pop()
        };
        self.wait("the dropped file is taken in", || taken_in().is_some());
        taken_in().unwrap()
    }

    /// Uploads a document as the first user.
    pub(crate) fn upload(&self, document: &Path, query: &str) -> Answer {
        let body = format!("@{}", document.display());
        self.curl(&["--data-binary", &body, &format!("/xml/upload{query}")])
    }

    /// Writes a document and uploads it.
    pub(crate) fn upload_text(&self, text: &str, query: &str) -> Answer {
        let path = self
            .dir
            .path()
            .join(format!(".body-{:?}", std::thread::current().id()));
        fs::write(&path, text).unwrap();
        self.upload(&path, query)
    }

    /// The place of a job, as partners see it.
    pub(crate) fn place(&self, job: &str) -> String {
        let answer = self.curl(&[&format!("/xml/jobstatus?Jobname={job}")]);
        answer.text().trim().to_owned()
    }

    pub(crate) fn queue(&self, interface: &str) -> Vec<String> {
        let answer = self.curl(&[&format!("/xml/jobqueue?Interfacename={interface}")]);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text().lines().map(str::to_owned).collect()
    }

    /// By whom and from where the record says that this act was done to a job, once it says so.
    pub(crate) fn recorded(&self, job: &str, act: &str) -> [String; 2] {
        let path = self.spool(&format!("records/{}/ended.jsonl", day(job)));
        let lines = || -> Vec<serde_json::Value> {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let whole = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            whole
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        };
        let of_it = || {
            let mut lines = lines().into_iter();
            lines.find(|line| line["job"] == job && line["act"] == act)
        };
        self.wait("the act is recorded", || of_it().is_some());
        let line = of_it().unwrap();
        ["by", "from"].map(|key| line[key].as_str().unwrap_or_default().to_owned())
    }

    /// Does a job lie at this path of the spool, or would it?
    pub(crate) fn has(&self, path: &str) -> bool {
        match in_database() {
            true => self
                .files(path.split('/').next().unwrap())
                .contains(&path.to_owned()),
            false => self.spool(path).exists(),
        }
    }

    /// What the hold of an interface says; `None`: it is not held.
    pub(crate) fn hold(&self, interface: &str) -> Option<String> {
        let all = self.objects(&["status"]);
        let of = all.iter().find(|of| of["interface"] == interface);
        of.and_then(|of| of["hold"].as_str().map(str::to_owned))
    }

    /// The secret behind ids and tokens, in hex.
    pub(crate) fn key(&self) -> String {
        if !in_database() {
            return fs::read_to_string(self.spool(".key")).unwrap();
        }
        self.query("select encode(key, 'hex') from tenant")
    }

    /// What the database of its jobs answers, a line for each row.
    fn query(&self, sql: &str) -> String {
        let mut psql = Command::new("psql");
        psql.args(["-AtXc", sql]).arg(self.text("database.url"));
        let answer = psql.output().unwrap();
        assert!(answer.status.success(), "{answer:?}");
        String::from_utf8(answer.stdout).unwrap()
    }

    /// A file that the processor of a job has made.
    pub(crate) fn result(&self, job: &str, name: &str) -> String {
        if !in_database() {
            let path = format!("results/{}/{job}/{name}", day(job));
            return fs::read_to_string(self.spool(&path)).unwrap();
        }
        let of = match name {
            "result.json" => "variables from ended e".to_owned(),
            _ => format!("convert_from(body, 'UTF8') from result e where e.name = '{name}'"),
        };
        let (what, tail) = of.split_once(" where ").unwrap_or((&of, "true"));
        let is_of = format!("e.id = (select id from record where name = '{job}')");
        let text = self.query(&format!("select {what} where {tail} and {is_of}"));
        text.strip_suffix('\n').unwrap().to_owned()
    }

    pub(crate) fn wait_for_place(&self, job: &str, place: &str) {
        let reached = || self.place(job) == place;
        wait_for(&format!("{job} in {place}"), reached, || self.log());
    }

    /// The program as an operator runs it.
    pub(crate) fn spoolgate(&self, arguments: &[&str]) -> Output {
        let mut command = program();
        command.args(arguments).arg("--config").arg(self.config());
        command.output().unwrap()
    }

    /// The same, to succeed, giving what it printed.
    pub(crate) fn operator(&self, arguments: &[&str]) -> String {
        let output = self.spoolgate(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The objects that it prints with `--json`, one a line.
    pub(crate) fn objects(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        let text = self.operator(&[arguments, &["--json"]].concat());
        let object = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        text.lines().map(object).collect()
    }

    /// Waits until nothing of a run is left: what it leaves is removed after its job has moved.
    pub(crate) fn wait_for_empty_work(&self) {
        self.wait("nothing is left in work", || self.files("work").is_empty());
    }

    pub(crate) fn wait(&self, what: &str, condition: impl Fn() -> bool) {
        wait_for(what, condition, || self.log());
    }

    /// Waits for what the watcher has to bring about: for less than the next regular rescan.
    pub(crate) fn soon(&self, what: &str, condition: impl Fn() -> bool) {
        wait_at_most(SOON, what, condition, || self.log());
    }

    /// Waits until the server has ended by itself.
    pub(crate) fn ended(&mut self) {
        self.child.take().unwrap().wait().unwrap();
    }

    /// The text of a file beside the spool; empty while there is none.
    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.dir().join(name)).unwrap_or_default()
    }

    /// The joblog as operators see it.
    pub(crate) fn joblog(&self, job: &str) -> serde_json::Value {
        serde_json::from_str(&self.operator(&["log", job, "--json"])).unwrap()
    }

    /// The texts of a joblog's messages.
    pub(crate) fn messages(&self, job: &str) -> Vec<String> {
        let log = self.joblog(job);
        let messages = log["messages"].as_array().unwrap().iter();
        let texts = messages.map(|message| message["text"].as_str().unwrap().to_owned());
        texts.collect()
    }

    /// Every file below a directory of the spool, as paths relative to the spool. Of jobs in a database, where their
    /// files would be.
    pub(crate) fn files(&self, below: &str) -> Vec<String> {
        let top = below.split('/').next().unwrap();
        let of_jobs = ["bak", "deferred", "joberrors", "queue", "work"];
        if in_database() && of_jobs.contains(&top) {
            let jobs = self.objects(&["ls", below]);
            let path = |job: &serde_json::Value| job["path"].as_str().unwrap().to_owned();
            let mut paths: Vec<String> = jobs.iter().map(path).collect();
            paths.sort();
            return paths;
        }
        if in_database() && top == "results" {
            let files = self.query(
                "select r.name || '/' || e.name from result e join record r using (id) union all \
                 select r.name || '/result.json' from ended e join record r using (id) \
                 where e.variables is not null order by 1",
            );
            let path = |file: &str| format!("results/{}/{file}", day(file));
            return files.lines().map(path).collect();
        }
        let root = self.spool("");
        let walk = walkdir::WalkDir::new(self.spool(below)).sort_by_file_name();
        walk.into_iter()
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| {
                entry
                    .path()
                    .strip_prefix(&root)
                    .unwrap()
                    .display()
                    .to_string()
            })
            .collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the server's log\n{}", self.log());
        }
    }
}

fn answer(head: &str, output: Output, log: &str) -> Answer {
    // After `100 Continue` comes the real head.
    let last = head.rfind("HTTP/").map_or("", |at| &head[at..]);
    let mut lines = last.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let Some(status) = status.and_then(|code| code.parse().ok()) else {
        let errors = String::from_utf8_lossy(&output.stderr);
        panic!("no answer: {errors}\n{log}");
    };
    let headers = lines.filter_map(|line| line.split_once(':'));
    Answer {
        status,
        headers: headers
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect(),
        body: output.stdout,
    }
}

/// The program, run by another user.
fn as_user(uid: u32) -> Command {
    let mut command = Command::new("setpriv");
    let user = [format!("--reuid={uid}"), format!("--regid={uid}")];
    command.args(user).args(["--clear-groups", PROGRAM]);
    command
}

/// Ends a load that goes on until it is said, also when a test fails.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits for a condition, not for a time.
pub(crate) fn wait_for(what: &str, condition: impl Fn() -> bool, log: impl Fn() -> String) {
    wait_at_most(PATIENCE, what, condition, log);
}

fn wait_at_most(
    patience: Duration,
    what: &str,
    condition: impl Fn() -> bool,
    log: impl Fn() -> String,
) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < patience, "in vain: {what}\n{}", log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A document that ships with the project.
pub(crate) fn document(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/documents")
        .join(name)
}

/// A small valid order.
pub(crate) fn order(id: &str) -> String {
    format!(
        "<ListOfOrders CreationDate=\"2026-11-22T10:00:00\"><Order OrderID=\"{id}\">\
         <OrderContent><Position No=\"1\"/></OrderContent></Order></ListOfOrders>"
    )
}

/// The configuration's text with other keys in `[interfaces.<name>]`; its processor is taken out.
pub(crate) fn with_keys(text: &str, interface: &str, keys: &str) -> String {
    let head = format!("[interfaces.{interface}]\n");
    let (before, section) = text.split_once(&head).unwrap();
    let end = section.find("\n[").map_or(section.len(), |at| at + 1);
    let (section, after) = section.split_at(end);
    let kept = (section.lines()).filter(|line| !line.starts_with("processor"));
    let kept: Vec<&str> = kept.collect();
    format!("{before}{head}{}\n{keys}\n\n{after}", kept.join("\n"))
}

/// A processor that runs a shell script in the configuration's directory; `more` are its other
/// keys, each with a comma before it.
pub(crate) fn shell(script: &str, more: &str) -> String {
    format!("processor = {{ command = [\"sh\", \"-c\", '''{script}''']{more} }}")
}

/// The day directory of a job.
pub(crate) fn day(job: &str) -> String {
    format!("{}-{}-{}", &job[..4], &job[4..6], &job[6..8])
}
