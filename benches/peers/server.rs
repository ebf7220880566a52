//! The real server on a directory that `spoolgate init` made. It promises that every start is on
//! the same certificate, user and configuration, so that only the spool differs.

use crate::{children::Kept, client::Trust, scratch};
use anyhow::{Context as _, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustix::process::Signal;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Appended to what `init` writes. Jobs of `plain` and `checked` have no processor: they stay
/// queued. `noop` is worked on by a program that does nothing.
const CONFIGURATION: &str = r#"
[limits]
queue_jobs_max = 2000000

[interfaces.plain]
direction = "in"
root = "Plain"
schema = ""
max_bytes = 200000000

[interfaces.checked]
direction = "in"
schema = "orders_in"

[interfaces.noop]
direction = "in"
root = "Noop"
schema = ""
concurrency = 4
processor = { command = ["/bin/true"] }

[interfaces.out]
direction = "out"
"#;

/// A directory to serve from, and the program to serve it.
pub(crate) struct Site {
    binary: PathBuf,
    dir: PathBuf,
    /// The configuration, but for the spool's root.
    configuration: String,
    spool: PathBuf,
    /// The value of an `Authorization` header.
    pub(crate) authorization: String,
    /// `user:password`, for curl.
    pub(crate) login: String,
}

impl Site {
    pub(crate) fn new(binary: &Path, name: &str) -> anyhow::Result<Self> {
        Self::with(binary, name, CONFIGURATION)
    }

    /// The usual site, and more in the configuration.
    pub(crate) fn and(binary: &Path, name: &str, more: &str) -> anyhow::Result<Self> {
        Self::with(binary, name, &format!("{CONFIGURATION}{more}"))
    }

    /// What a user gets from `init`, and nothing more.
    pub(crate) fn shipped(binary: &Path, name: &str) -> anyhow::Result<Self> {
        Self::with(binary, name, "")
    }

    /// What `init` makes, and this in the configuration.
    pub(crate) fn with(binary: &Path, name: &str, configuration: &str) -> anyhow::Result<Self> {
        let dir = scratch::dir(name)?;
        let made = Command::new(binary)
            .arg("init")
            .args(["--listen", "127.0.0.1:0"])
            .args(["--plain-listen", "127.0.0.1:0"])
            .args(["--ops-listen", "127.0.0.1:0"])
            .arg(&dir)
            .output()?;
        let line = String::from_utf8_lossy(&made.stdout).into_owned();
        let Some(password) = line.trim().strip_prefix("user admin password ") else {
            bail!("init: {line}{}", String::from_utf8_lossy(&made.stderr));
        };
        let text = fs::read_to_string(dir.join("spoolgate.toml"))? + configuration;
        let login = format!("admin:{password}");
        let mut site = Self {
            binary: binary.into(),
            authorization: format!("Basic {}", BASE64_STANDARD.encode(&login)),
            login,
            configuration: text,
            spool: PathBuf::new(),
            dir,
        };
        site.new_spool()?;
        Ok(site)
    }

    /// An empty spool, with the schemas that `init` laid out, for the next start. The one before
    /// is left to the end of the run; see `scratch`.
    pub(crate) fn new_spool(&mut self) -> anyhow::Result<()> {
        let before = std::mem::replace(&mut self.spool, scratch::dir("spool")?);
        if before != PathBuf::new() {
            scratch::abandon(&before);
        }
        for name in ["schemas", "xslt"] {
            let from = self.dir.join("spool").join(name);
            fs::create_dir(self.spool.join(name))?;
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                let to = self.spool.join(name).join(entry.file_name());
                fs::copy(entry.path(), to)?;
            }
        }
        const ROOT: &str = "\nroot = \"spool\"";
        ensure!(self.configuration.contains(ROOT), "init writes no {ROOT:?}");
        let root = format!("\nroot = \"{}\"", self.spool.display());
        let text = self.configuration.replacen(ROOT, &root, 1);
        fs::write(self.dir.join("spoolgate.toml"), text)?;
        // The log of many starts would grow without end.
        fs::write(self.log(), "")?;
        Ok(())
    }

    /// One more schema in this spool and those that follow.
    pub(crate) fn add_schema(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        let schemas = self.dir.join("spool/schemas");
        fs::write(schemas.join(name).with_extension("xsd"), text)?;
        self.new_spool()
    }

    /// A path in the spool.
    pub(crate) fn spool(&self, path: &str) -> PathBuf {
        self.spool.join(path)
    }

    /// The configuration, users and certificate lie here.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command of the program on this site, such as `user add`.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(words)
            .arg("--config")
            .arg(self.dir.join("spoolgate.toml"));
        command
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.join("certs/cert.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.dir.join("certs/key.pem")
    }

    pub(crate) fn trust(&self) -> anyhow::Result<Trust> {
        Trust::of(&self.certificate())
    }

    fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    pub(crate) fn start(&self) -> anyhow::Result<Server> {
        self.start_under(Command::new(&self.binary))
    }

    /// Under another program, such as valgrind: `command` already holds what precedes ours.
    pub(crate) fn start_as_argument(&self, mut command: Command) -> anyhow::Result<Server> {
        command.arg(&self.binary);
        self.start_under(command)
    }

    /// On a socket that stays open between one server and the next, as a service manager has it.
    pub(crate) fn start_on(&self, listener: &TcpListener) -> anyhow::Result<Server> {
        let mut command = Command::new("sh");
        let script = "export LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0 0</dev/null";
        command.args(["-c", script]).arg(&self.binary);
        command.envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "listen")]);
        self.start_with(command, OwnedFd::from(listener.try_clone()?))
    }

    fn start_under(&self, command: Command) -> anyhow::Result<Server> {
        self.start_with(command, Stdio::null())
    }

    fn start_with(&self, mut command: Command, stdin: impl Into<Stdio>) -> anyhow::Result<Server> {
        let log = File::options().create(true).append(true).open(self.log())?;
        command
            .arg("serve")
            .arg("--config")
            .arg(self.dir.join("spoolgate.toml"))
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = Kept::spawn(&mut command)?;
        let stdout = child.stdout().context("standard output is piped")?;
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout);
        stdout.read_line(&mut line)?;
        let Some(address) = line.trim().strip_prefix("listening https://") else {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            bail!("the server does not start: {line}{}", tail(&log));
        };
        Ok(Server {
            address: address.parse().context("an odd address")?,
            child,
            stdout,
        })
    }
}

fn tail(log: &str) -> &str {
    let lines = log.trim_end().rsplit('\n').take(5);
    let bytes: usize = lines.map(|line| line.len() + 1).sum();
    &log[log.trim_end().len().saturating_sub(bytes)..]
}

/// A running server; it ends with this value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Kept,
    /// Kept open: the server prints more lines.
    #[expect(dead_code, reason = "held, not read")]
    stdout: BufReader<std::process::ChildStdout>,
}

impl Server {
    pub(crate) fn pid(&self) -> i32 {
        self.child.pid()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let status = self.child.end(Signal::TERM)?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}
