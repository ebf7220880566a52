//! The real server with its spool on an image, and everything else of it on the host: what it says
//! and what its processors record must survive the cut.

use super::{
    document::{Lane, PROCESSOR},
    image::run,
    wire::{self, Target},
};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// Longer than a start, a stop or the end of a killed process takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// In the environment of the server and of all that it starts, so that these are found.
const MARK: &str = "SPOOLGATE_POWER_DIR";

pub(super) struct Server {
    dir: PathBuf,
    child: Option<Child>,
    authorization: String,
    tls: Arc<rustls::ClientConfig>,
    /// How much of the processors' record has been read.
    runs_read: u64,
}

impl Server {
    /// Lays out configuration, certificate and user below `dir`, for a spool at `root`.
    pub(super) fn new(dir: &Path, root: &Path, journal_mib: u64) -> Self {
        let init = run(Command::new(program()).arg("init").arg(dir)).unwrap();
        let password = init.trim().strip_prefix("user admin password ").unwrap();
        let login = http_auth_basic::Credentials::new("admin", password);
        fs::write(dir.join("spoolgate.toml"), config(root, journal_mib)).unwrap();
        fs::write(dir.join("process.sh"), PROCESSOR).unwrap();
        Self {
            authorization: login.as_http_header(),
            tls: wire::believing(&dir.join("certs/cert.pem")),
            dir: dir.to_owned(),
            child: None,
            runs_read: 0,
        }
    }

    /// Starts it. The error is the end of its log.
    pub(super) fn serve(&mut self) -> Result<Target, String> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let child = Command::new(program())
            .arg("serve")
            .arg("--config")
            .arg(self.dir.join("spoolgate.toml"))
            .env(MARK, &self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let child = self.child.insert(child);
        let mut line = String::new();
        let read = BufReader::new(child.stdout.take().unwrap()).read_line(&mut line);
        let address = line.trim().strip_prefix("listening https://");
        let address = address.and_then(|address| address.parse().ok());
        let (Ok(_), Some(address)) = (read, address) else {
            return Err(format!("{line:?} and then\n{}", self.log_end(30)));
        };
        Ok(Target {
            address,
            authorization: self.authorization.clone(),
            tls: self.tls.clone(),
        })
    }

    /// SIGTERM and a wait for the orderly end.
    pub(super) fn stop(&mut self) -> Result<(), String> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let begun = Instant::now();
        loop {
            match child.try_wait().unwrap() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("{status}\n{}", self.log_end(30))),
                None if begun.elapsed() > PATIENCE => {
                    self.child = Some(child);
                    self.kill();
                    return Err(format!("it does not stop\n{}", self.log_end(30)));
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// SIGKILL for the server, then for all that it had started, and a wait for their end.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let left = marked(&self.dir);
            if left.is_empty() {
                break;
            }
            for pid in left {
                // Gone meanwhile is as good.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What the processors have recorded since it was last asked for.
    pub(super) fn take_runs(&mut self) -> String {
        let Ok(mut file) = File::open(self.dir.join("runs")) else {
            return String::new();
        };
        let mut lines = String::new();
        file.seek(SeekFrom::Start(self.runs_read)).unwrap();
        file.read_to_string(&mut lines).unwrap();
        // A line that is being written is read the next time.
        lines.truncate(lines.rfind('\n').map_or(0, |at| at + 1));
        self.runs_read += lines.len() as u64;
        lines
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_end(&self, n_lines: usize) -> String {
        last(self.log().lines(), n_lines)
    }

    /// The last lines of the log that name something, without those of clients that asked for it.
    pub(super) fn log_of(&self, name: &str, n_lines: usize) -> String {
        let log = self.log();
        let told = |line: &&str| line.contains(name) && !line.contains("method=\"GET\"");
        last(log.lines().filter(told), n_lines)
    }

    /// Copies what may explain a violation to a directory that stays.
    pub(super) fn keep_evidence(&self, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for name in ["server.log", "runs", "spoolgate.toml"] {
            let _ = fs::copy(self.dir.join(name), to.join(name));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn last<'l>(lines: impl Iterator<Item = &'l str>, n_lines: usize) -> String {
    let lines: Vec<&str> = lines.collect();
    lines[lines.len().saturating_sub(n_lines)..].join("\n")
}

/// The server under test: the one that was just built, or another that is named.
fn program() -> PathBuf {
    let named = std::env::var_os("SPOOLGATE_BIN");
    named.map_or_else(|| crate::harness::PROGRAM.into(), PathBuf::from)
}

fn config(root: &Path, journal_mib: u64) -> String {
    let sections: String = Lane::ALL.iter().map(|lane| lane.section()).collect();
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n\n\
         [spool]\nroot = \"{}\"\njournal_mib = {journal_mib}\n\n\
         [limits]\nfree_bytes_min = 4194304\nfree_inodes_min = 500\nstop_deadline_s = 30\n\n\
         {sections}",
        root.display()
    )
}

/// The processes that carry the mark: the server's commands, also when it has ended.
fn marked(dir: &Path) -> Vec<rustix::process::Pid> {
    let mark = format!("{MARK}={}", dir.display());
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process that has ended has no environment.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        if variables.any(|variable| variable == mark.as_bytes()) {
            pids.extend(rustix::process::Pid::from_raw(pid));
        }
    }
    pids
}
