//! The `command` processor: runs a program on a job.
//!
//! The body is on standard input; standard output and error are the job's lock file, so that the
//! kernel's lock lives as long as the command does, and what it says survives us. Its whole
//! process group ends on timeout, on too much output and on shutdown.
//!
//! Contract with the program: `README.md`, "Writing a processor".

use super::{Ended, Outcome, now_ms, output::Output};
use crate::job::{InterfaceName, JobName};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::{fs::FileExt, process::ExitStatusExt},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{process::Child, time::Instant};
use tokio_util::sync::CancellationToken;

/// How often the output of a running command is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a process group may take to end after SIGTERM, before SIGKILL.
pub(super) const GRACE: Duration = Duration::from_secs(5);
const EXIT_TEMPFAIL: i32 = 75;

/// A program with its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Program and arguments; no shell is involved.
    pub argv: Vec<String>,
    pub dir: PathBuf,
    pub env: Vec<(String, String)>,
    pub exit_codes: ExitCodes,
    pub timeout: Duration,
    pub output_bytes_max: u64,
    /// Address space of each process, in bytes.
    pub memory_bytes_max: Option<u64>,
    pub open_files_max: Option<u64>,
}

/// What exit codes mean besides 0 (done), 75 (retry) and the rest (failed).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExitCodes {
    pub done: Vec<i32>,
    pub failed: Vec<i32>,
    pub retry: Vec<i32>,
}

impl ExitCodes {
    /// What is wrong with the lists, if anything.
    pub fn check(&self) -> Result<(), String> {
        let mut seen = BTreeMap::new();
        let lists = [
            ("done", &self.done),
            ("failed", &self.failed),
            ("retry", &self.retry),
        ];
        for (name, codes) in lists {
            for code in codes {
                if !(0..=255).contains(code) {
                    return Err(format!(
                        "exit_codes.{name} has {code}; exit codes are 0 to 255"
                    ));
                }
                if let Some(other) = seen.insert(*code, name)
                    && other != name
                {
                    return Err(format!(
                        "exit_codes.{name} has {code}, as exit_codes.{other} has; \
                         keep it in one of them"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// One run: the job and where its files are.
#[derive(Debug)]
pub struct Run {
    pub job: JobName,
    pub interface: InterfaceName,
    pub attempt: u32,
    pub submitter: String,
    /// The reference as it was sent, before it was reduced to what a name may hold.
    pub reference_as_sent: Option<String>,
    /// The job's file, to be the command's standard input.
    pub body: File,
    /// The lock file, to be the command's output.
    pub lock: File,
    /// Absolute path of the job's file.
    pub file: PathBuf,
    /// Absolute path of the run's directory with `results`, `emit` and `params.json`.
    pub dir: PathBuf,
}

impl Run {
    /// As the value of a variable, which holds no NUL; empty when there is none.
    fn reference_as_sent(&self) -> String {
        let text = self.reference_as_sent.as_deref().unwrap_or_default();
        text.replace('\0', "\u{fffd}")
    }
}

impl Command {
    pub(super) async fn run(&self, run: Run, stop: &CancellationToken) -> Ended {
        let mut output = Output::default();
        let outcome = match self.spawn(&run) {
            Err(error) => Outcome::Retry {
                reason: format!("the command {:?} cannot be started: {error}", self.argv[0]),
                after: None,
            },
            Ok(mut child) => self.watch(&mut child, &run.lock, &mut output, stop).await,
        };
        Ended::new(outcome, output)
    }

    fn spawn(&self, run: &Run) -> std::io::Result<Child> {
        let (program, arguments) = self
            .argv
            .split_first()
            .ok_or_else(|| std::io::Error::other("no program is given"))?;
        // With a slash it is relative to the configuration, as the rest of the configuration is.
        let program = if program.contains('/') {
            self.dir.join(program)
        } else {
            PathBuf::from(program)
        };
        let child = self
            .limited(program)
            .args(arguments)
            .current_dir(&self.dir)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env("SPOOLGATE_JOB", run.job.to_string())
            .env("SPOOLGATE_INTERFACE", run.interface.as_str())
            .env("SPOOLGATE_FILE", &run.file)
            .env("SPOOLGATE_ATTEMPT", run.attempt.to_string())
            .env("SPOOLGATE_REF", run.job.reference().unwrap_or(""))
            .env("SPOOLGATE_REF_ORIGINAL", run.reference_as_sent())
            .env("SPOOLGATE_SUBMITTER", &run.submitter)
            .env("SPOOLGATE_RESULTS", run.dir.join("results"))
            .env("SPOOLGATE_EMIT", run.dir.join("emit"))
            .env("SPOOLGATE_PARAMS", run.dir.join("params.json"))
            .stdin(Stdio::from(run.body.try_clone()?))
            .stdout(Stdio::from(run.lock.try_clone()?))
            .stderr(Stdio::from(run.lock.try_clone()?))
            .process_group(0)
            .spawn()?;
        Ok(child)
    }

    /// A command for a program, by way of a shell that sets the limits first, if there are any:
    /// they hold from the program's first instruction on, and for all its children.
    fn limited(&self, program: PathBuf) -> tokio::process::Command {
        let mut limits = String::new();
        if let Some(bytes) = self.memory_bytes_max {
            limits += &format!("ulimit -v {}; ", bytes / 1024);
        }
        if let Some(n) = self.open_files_max {
            limits += &format!("ulimit -n {n}; ");
        }
        if limits.is_empty() {
            return tokio::process::Command::new(program);
        }
        let mut command = tokio::process::Command::new("/bin/sh");
        // A limit that cannot be set is a reason to try again later, not to run without it.
        let script = format!("set -e; {limits}exec \"$@\"");
        command.args(["-c", &script, "sh"]).arg(program);
        command
    }

    async fn watch(
        &self,
        child: &mut Child,
        log: &File,
        output: &mut Output,
        stop: &CancellationToken,
    ) -> Outcome {
        let deadline = Instant::now() + self.timeout;
        let mut read = 0;
        let outcome = loop {
            tokio::select! {
                // A command that has ended has ended, whatever else is the case.
                biased;
                status = child.wait() => break match status {
                    Ok(status) => self.outcome_of(status),
                    Err(error) => Outcome::Cut {
                        reason: format!("the command's end was missed: {error}"),
                    },
                },
                () = stop.cancelled() => {
                    end_group(child).await;
                    break Outcome::Stopped;
                }
                () = tokio::time::sleep_until(deadline) => {
                    end_group(child).await;
                    let seconds = self.timeout.as_secs();
                    break Outcome::Cut {
                        reason: format!("the command took longer than {seconds} s and was ended"),
                    };
                }
                () = tokio::time::sleep(LOOK_EVERY) => {
                    read = take_output(log, read, self.output_bytes_max, output);
                    if read >= self.output_bytes_max {
                        end_group(child).await;
                        break self.too_much();
                    }
                }
            }
        };
        let read = take_output(log, read, self.output_bytes_max, output);
        if read >= self.output_bytes_max && outcome == Outcome::Done {
            return self.too_much();
        }
        outcome
    }

    fn too_much(&self) -> Outcome {
        let max = self.output_bytes_max;
        Outcome::Failed {
            reason: format!("the command wrote more than {max} bytes of output and was ended"),
        }
    }

    fn outcome_of(&self, status: ExitStatus) -> Outcome {
        let Some(code) = status.code() else {
            let signal = status.signal().unwrap_or(0);
            return Outcome::Cut {
                reason: format!("the command was ended by signal {signal}"),
            };
        };
        let codes = &self.exit_codes;
        if codes.failed.contains(&code) {
            return failed(code);
        }
        if codes.retry.contains(&code) {
            return retry(code);
        }
        if codes.done.contains(&code) || code == 0 {
            return Outcome::Done;
        }
        if code == EXIT_TEMPFAIL {
            return retry(code);
        }
        failed(code)
    }
}

fn failed(code: i32) -> Outcome {
    Outcome::Failed {
        reason: format!("the command failed with exit code {code}"),
    }
}

fn retry(code: i32) -> Outcome {
    Outcome::Retry {
        reason: format!("the command asked for another attempt with exit code {code}"),
        after: None,
    }
}

/// Reads what has been written since `from`, at most up to `max`; gives where it is now.
fn take_output(log: &File, from: u64, max: u64, output: &mut Output) -> u64 {
    let length = log.metadata().map_or(0, |meta| meta.len());
    // Somebody truncated it (`> /dev/stderr` in a shell does): go on from its new beginning.
    let mut at = if length < from { 0 } else { from };
    let mut buffer = [0_u8; 16 * 1024];
    while at < max {
        let room = buffer.len().min((max - at) as usize);
        match log.read_at(&mut buffer[..room], at) {
            Ok(0) | Err(_) => break,
            Ok(bytes) => {
                output.take(&buffer[..bytes], now_ms());
                at += bytes as u64;
            }
        }
    }
    at
}

fn pid_of(child: &Child) -> Option<Pid> {
    let pid = i32::try_from(child.id()?).ok()?;
    Pid::from_raw(pid)
}

/// Ends the command's whole process group: politely, then not.
async fn end_group(child: &mut Child) {
    let Some(group) = pid_of(child) else { return };
    // ESRCH is what we want to reach.
    let _ = kill_process_group(group, Signal::TERM);
    let ended = tokio::time::timeout(GRACE, child.wait()).await;
    let _ = kill_process_group(group, Signal::KILL);
    if ended.is_err() {
        let _ = child.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(script: &str) -> Command {
        Command {
            argv: ["sh", "-c", script].map(String::from).into(),
            dir: "/".into(),
            env: vec![("EXTRA".into(), "extra".into())],
            exit_codes: ExitCodes::default(),
            timeout: Duration::from_secs(30),
            output_bytes_max: 100_000,
            memory_bytes_max: None,
            open_files_max: None,
        }
    }

    async fn run(command: Command, body: &str) -> Ended {
        run_until(command, body, &CancellationToken::new()).await
    }

    async fn run_until(command: Command, body: &str, stop: &CancellationToken) -> Ended {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("job");
        std::fs::write(&file, body).unwrap();
        std::fs::create_dir(dir.path().join("results")).unwrap();
        let lock = File::options()
            .create(true)
            .read(true)
            .append(true)
            .open(dir.path().join("lock"))
            .unwrap();
        let run = Run {
            job: "20261122T045748.123Z-00042-ref.xml".parse().unwrap(),
            interface: "orders_in".parse().unwrap(),
            attempt: 2,
            submitter: "shop".into(),
            reference_as_sent: Some("Größe 1\0".into()),
            body: File::open(&file).unwrap(),
            lock,
            file,
            dir: dir.path().to_owned(),
        };
        command.run(run, stop).await
    }

    fn texts(ended: &Ended) -> Vec<&str> {
        ended.messages.iter().map(|m| m.text.as_str()).collect()
    }

    #[tokio::test]
    async fn the_command_gets_body_and_environment() {
        let script = r#"cat; echo; echo "$SPOOLGATE_JOB $SPOOLGATE_INTERFACE $SPOOLGATE_ATTEMPT";
            echo "$SPOOLGATE_REF $SPOOLGATE_SUBMITTER $EXTRA" >&2
            cmp -s "$SPOOLGATE_FILE" /dev/null || echo differs
            test -d "$SPOOLGATE_RESULTS" && pwd"#;
        let ended = run(command(script), "<a/>").await;
        assert_eq!(ended.outcome, Outcome::Done);
        let name = "20261122T045748.123Z-00042-ref.xml orders_in 2";
        assert_eq!(
            texts(&ended),
            ["<a/>", name, "ref shop extra", "differs", "/"]
        );
    }

    #[tokio::test]
    async fn exit_codes_decide() {
        let outcome = |script: &'static str| async move { run(command(script), "").await.outcome };
        assert!(matches!(outcome("exit 1").await, Outcome::Failed { .. }));
        assert!(matches!(outcome("exit 75").await, Outcome::Retry { .. }));
        assert!(matches!(outcome("kill -9 $$").await, Outcome::Cut { .. }));
        let mut mapped = command("exit 3");
        mapped.exit_codes.retry = vec![3];
        assert!(matches!(
            run(mapped.clone(), "").await.outcome,
            Outcome::Retry { .. }
        ));
        mapped.exit_codes.retry.clear();
        mapped.exit_codes.done = vec![3];
        assert_eq!(run(mapped, "").await.outcome, Outcome::Done);
        let mut missing = command("");
        missing.argv = vec!["/nowhere/to/be/found".into()];
        assert!(matches!(
            run(missing, "").await.outcome,
            Outcome::Retry { .. }
        ));
    }

    #[tokio::test]
    async fn the_whole_group_ends_on_timeout() {
        let mut slow = command("sleep 600 & echo child $!; wait");
        slow.timeout = Duration::from_millis(400);
        let ended = run(slow, "").await;
        assert!(matches!(&ended.outcome, Outcome::Cut { reason } if reason.contains("longer")));
        let child: i32 = texts(&ended)[0]
            .strip_prefix("child ")
            .unwrap()
            .parse()
            .unwrap();
        let child = Pid::from_raw(child).unwrap();
        // A zombie of an orphan is reaped by init; wait for that, not for luck.
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero()));
            stat.map_or(true, |text| text.contains(") Z"))
        };
        while !gone() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_stop_gives_the_job_back() {
        let stop = CancellationToken::new();
        stop.cancel();
        let ended = run_until(command("sleep 600"), "", &stop).await;
        assert_eq!(ended.outcome, Outcome::Stopped);
    }

    #[tokio::test]
    async fn too_much_output_ends_the_command() {
        let ended = run(command("yes"), "").await;
        assert!(matches!(&ended.outcome, Outcome::Failed { reason } if reason.contains("100000")));
        assert!(ended.messages.len() <= crate::joblog::MESSAGES_MAX);
    }

    #[tokio::test]
    async fn limits_reach_the_command() {
        let mut limited = command("ulimit -n; ulimit -v");
        limited.open_files_max = Some(64);
        limited.memory_bytes_max = Some(512 << 20);
        let ended = run(limited, "").await;
        assert_eq!(texts(&ended), ["64", "524288"]);
    }
}
