//! The `command` processor: runs a program on a job.
//!
//! The document is on standard input; standard output is the job's lock file, so that the kernel's
//! lock lives as long as the command does, and what it says survives us; standard error is a file
//! beside it. The [`Starter`] starts it, and ends it with everything that it has started: on
//! timeout, on too much output, on shutdown, and what is left of it when it has ended.
//!
//! Contract with the program: `docs/processors.md`, "Writing a processor".

use super::{
    Outcome, PartnersSee, RunEnd, adopted, now_ms,
    output::{Output, Source},
    sandbox::Sandbox,
    starter::{End, Event, GRACE, Order, Starter, Supervising, Why},
};
use crate::{
    domain::joblog::Level,
    domain::{InterfaceName, JobName},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::{self, Seek as _, Write as _},
    os::unix::fs::FileExt,
    path::PathBuf,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// How often the output of a running command is read.
const READ_INTERVAL: Duration = Duration::from_millis(200);
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
    /// `None`: it reaches what the service does.
    pub sandbox: Option<Sandbox>,
    /// What it leaves behind when it ends may live on.
    pub leaves_processes: bool,
    pub partners_see: PartnersSee,
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
    ///
    /// # Errors
    /// When a code is no exit code or stands in two lists; the text names the key.
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
    /// The document, to be the command's standard input.
    pub body: File,
    /// The lock file, to be the command's standard output.
    pub lock: File,
    /// To be its standard error.
    pub errors: File,
    /// Absolute path of the document.
    pub file: PathBuf,
    /// Absolute path of the run's directory with `results`, `emit` and `params.json`.
    pub dir: PathBuf,
    /// Where the end of the run is kept for a later service; `None`: none takes it up, so its command ends when this
    /// service does, however that ends.
    pub kept: Option<PathBuf>,
    pub starter: Starter,
}

/// The end of a run that outlived the service which began it, as it was kept.
#[derive(Debug)]
pub struct Kept {
    pub job: JobName,
    pub attempt: u32,
    /// What the supervisor wrote.
    pub end: Vec<u8>,
    /// What the command said.
    pub output: Vec<u8>,
    pub errors: Vec<u8>,
}

/// The process that supervises a run, as the service sees it.
struct SupervisorHandle {
    events: Lines<BufReader<OwnedReadHalf>>,
    requests: OwnedWriteHalf,
    pid: Option<Pid>,
    /// The end of the command was asked for.
    is_asked: bool,
}

/// What a command has as standard input, output and error.
struct Files {
    input: File,
    output: File,
    errors: File,
}

/// A command's output, and how far it was read.
struct OutputReader {
    sources: [(Source, File, u64); 2],
    output: Output,
    /// Of all sources together.
    bytes_max: u64,
}

impl Run {
    /// As the value of a variable, which holds no NUL; empty when there is none.
    fn reference_as_sent(&self) -> String {
        let text = self.reference_as_sent.as_deref().unwrap_or_default();
        text.replace('\0', "\u{fffd}")
    }
}

impl Command {
    pub(super) async fn run(&self, run: Run, stop: &CancellationToken) -> RunEnd {
        let order = self.order_of(&run);
        let output = Output::new(self.partners_see, &run.job);
        let files = Files {
            input: run.body,
            output: run.lock,
            errors: run.errors,
        };
        self.execute(order, files, run.starter, output, stop).await
    }

    /// Runs it on no job, with these bytes as its standard input and these variables. What it says is in the log of
    /// the service. An attempt of its own does not outlive the service in its files.
    pub async fn run_with(
        &self,
        input: Vec<u8>,
        env: Vec<(&'static str, String)>,
        starter: Starter,
        stop: &CancellationToken,
    ) -> Outcome {
        let made = on_a_thread(move || -> io::Result<_> {
            let dir = tempfile::tempdir()?;
            let file = |name: &str| {
                let mut options = File::options();
                options.read(true).append(true).create_new(true);
                options.open(dir.path().join(name))
            };
            let mut files = Files {
                input: file("input")?,
                output: file("output")?,
                errors: file("errors")?,
            };
            files.input.write_all(&input)?;
            files.input.rewind()?;
            Ok((files, dir))
        });
        let (files, dir) = match made.await {
            Ok(made) => made,
            Err(error) => return self.not_started(&error.to_string()),
        };
        let env = env
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        let order = self.order(env.collect(), 1, Some(dir.path().join("exit")));
        let output = Output::new(self.partners_see, "an event");
        let end = self.execute(order, files, starter, output, stop).await;
        for message in &end.messages {
            tracing::debug!(said = message.text, "the command of a receiver");
        }
        end.outcome
    }

    async fn execute(
        &self,
        order: io::Result<Order>,
        files: Files,
        starter: Starter,
        output: Output,
        stop: &CancellationToken,
    ) -> RunEnd {
        let by = starter.clone();
        let (begun, files) = on_a_thread(move || {
            let begun = order.and_then(|order| {
                let Files {
                    input,
                    output,
                    errors,
                } = &files;
                by.run(&order, input, output, errors)
            });
            (begun, files)
        })
        .await;
        let mut reader = OutputReader {
            sources: [
                (Source::Output, files.output, 0),
                (Source::Errors, files.errors, 0),
            ],
            output,
            bytes_max: self.output_bytes_max,
        };
        let supervisor = begun.and_then(SupervisorHandle::of);
        let outcome = match supervisor {
            Err(error) => self.not_started(&error.to_string()),
            Ok(supervisor) => {
                let (outcome, after) = self.watch(supervisor, reader, &starter, stop).await;
                reader = after;
                outcome
            }
        };
        RunEnd::new(outcome, reader.output)
    }

    fn order(
        &self,
        env: Vec<(OsString, OsString)>,
        attempt: u32,
        kept: Option<PathBuf>,
    ) -> io::Result<Order> {
        let (program, arguments) = self
            .argv
            .split_first()
            .ok_or_else(|| io::Error::other("no program is given"))?;
        // With a slash it is relative to the configuration, as the rest of the configuration is.
        let program = if program.contains('/') {
            self.dir.join(program)
        } else {
            PathBuf::from(program)
        };
        let own = self.env.iter().map(|(n, v)| (n.into(), v.into()));
        Ok(Order {
            program,
            arguments: arguments.iter().map(OsString::from).collect(),
            dir: self.dir.clone(),
            env: own.chain(env).collect(),
            attempt,
            memory_bytes_max: self.memory_bytes_max,
            open_files_max: self.open_files_max,
            sandbox: None,
            timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
            leaves_processes: self.leaves_processes,
            kept,
        })
    }

    fn order_of(&self, run: &Run) -> io::Result<Order> {
        let of_job: [(&str, OsString); 10] = [
            ("SPOOLGATE_JOB", run.job.to_string().into()),
            ("SPOOLGATE_INTERFACE", run.interface.as_str().into()),
            ("SPOOLGATE_FILE", run.file.clone().into()),
            ("SPOOLGATE_ATTEMPT", run.attempt.to_string().into()),
            ("SPOOLGATE_REF", run.job.reference().unwrap_or("").into()),
            ("SPOOLGATE_REF_ORIGINAL", run.reference_as_sent().into()),
            ("SPOOLGATE_SUBMITTER", run.submitter.clone().into()),
            ("SPOOLGATE_RESULTS", run.dir.join("results").into()),
            ("SPOOLGATE_EMIT", run.dir.join("emit").into()),
            ("SPOOLGATE_PARAMS", run.dir.join("params.json").into()),
        ];
        let of_job = of_job.map(|(name, value)| (name.into(), value));
        let mut order = self.order(of_job.into(), run.attempt, run.kept.clone())?;
        if let Some(sandbox) = &self.sandbox {
            order.sandbox = Some(sandbox.with(&order.program, &run.dir));
            // The usual directory of temporary files is everybody's.
            order
                .env
                .insert(0, ("TMPDIR".into(), run.dir.clone().into()));
        }
        Ok(order)
    }

    async fn watch(
        &self,
        mut supervisor: SupervisorHandle,
        mut reader: OutputReader,
        starter: &Starter,
        stop: &CancellationToken,
    ) -> (Outcome, OutputReader) {
        // The supervisor ends a command in time by itself. Only if it does not, it is helped.
        let mut overdue = Instant::now() + self.timeout + GRACE * 2;
        let (mut is_stopping, mut is_full) = (false, false);
        let end = loop {
            tokio::select! {
                // A command that has ended has ended, whatever else is the case.
                biased;
                event = supervisor.next_event() => match event {
                    Some(Event::Failed(reason)) => return (self.not_started(&reason), reader),
                    Some(Event::Stuck(n)) => {
                        tracing::error!(n, "processes of a command live on after SIGKILL; waiting");
                    }
                    Some(Event::Ended(end)) => break Some(end),
                    None => break None,
                },
                () = stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    supervisor.end(Why::Stopped).await;
                    overdue = overdue.min(Instant::now() + GRACE * 2);
                }
                () = tokio::time::sleep_until(overdue) => {
                    supervisor.wake();
                    supervisor.end(Why::Timeout).await;
                    overdue = Instant::now() + GRACE;
                }
                () = tokio::time::sleep(READ_INTERVAL) => {
                    reader = reader.read_new().await;
                    if reader.is_full() && !is_full {
                        is_full = true;
                        supervisor.end(Why::Output).await;
                        overdue = overdue.min(Instant::now() + GRACE * 2);
                    }
                }
            }
        };
        match end {
            None => reader = reader.end_writers().await,
            // With what lives on, its supervisor does.
            Some(_) if self.leaves_processes => {}
            // What gave trouble may have left some to its group.
            Some(end) if end.why.is_some() || end.left > 0 => {}
            Some(_) => supervisor.keep(starter),
        }
        reader = reader.read_new().await;
        let outcome = match end {
            None => Outcome::Cut {
                reason: "the process that watched over the command was ended, and the command \
                         with it"
                    .into(),
                timed_out: false,
            },
            Some(end) => self.judged(&end, &mut reader.output),
        };
        if reader.is_full() && outcome == Outcome::Done {
            return (self.too_much(), reader);
        }
        (outcome, reader)
    }

    /// How a run ended that outlived the service which began it; `None` if that is not known.
    pub(super) fn recovered(&self, kept: &Kept) -> Option<RunEnd> {
        let end: End = serde_json::from_slice(&kept.end).ok()?;
        if end.attempt != kept.attempt {
            return None;
        }
        let mut output = Output::new(self.partners_see, &kept.job);
        output.take(Source::Output, &kept.output, now_ms());
        output.take(Source::Errors, &kept.errors, now_ms());
        let outcome = self.judged(&end, &mut output);
        Some(RunEnd::new(outcome, output))
    }

    /// What an end means, and what is noted of it.
    fn judged(&self, end: &End, output: &mut Output) -> Outcome {
        if end.left > 0 && end.why.is_none() {
            let text = format!(
                "the command ended and left {} of its processes; they were ended",
                end.left
            );
            output.note(now_ms(), Level::Warning, &text);
        }
        match end.why {
            None => self.outcome_of(end),
            Some(Why::Output) => self.too_much(),
            Some(Why::Stopped) => Outcome::Stopped,
            Some(Why::Timeout) => {
                let seconds = self.timeout.as_secs();
                Outcome::Cut {
                    reason: format!("the command took longer than {seconds} s and was ended"),
                    timed_out: true,
                }
            }
        }
    }

    fn not_started(&self, reason: &str) -> Outcome {
        let program = self.argv.first().map_or("", String::as_str);
        Outcome::Retry {
            reason: format!("the command {program:?} cannot be started: {reason}"),
            after: None,
        }
    }

    fn too_much(&self) -> Outcome {
        let max = self.output_bytes_max;
        Outcome::Failed {
            reason: format!("the command wrote more than {max} bytes of output and was ended"),
        }
    }

    fn outcome_of(&self, end: &End) -> Outcome {
        let Some(code) = end.code else {
            let signal = end.signal.unwrap_or(0);
            return Outcome::Cut {
                reason: format!("the command was ended by signal {signal}"),
                timed_out: false,
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

impl SupervisorHandle {
    fn of(Supervising { stream, pid }: Supervising) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let (events, requests) = UnixStream::from_std(stream)?.into_split();
        let events = BufReader::new(events).lines();
        Ok(Self {
            events,
            requests,
            pid,
            is_asked: false,
        })
    }

    /// `None`: it has gone. Loses nothing when it is dropped.
    async fn next_event(&mut self) -> Option<Event> {
        let line = self.events.next_line().await.ok()??;
        serde_json::from_str(&line).ok()
    }

    /// Has it end the command. That it has gone shows at the next event.
    async fn end(&mut self, why: Why) {
        self.is_asked = true;
        let _ = self.requests.write_all(&why.message()).await;
    }

    /// Its run has ended: it is kept for a later one, unless it might take what was asked of it for that one.
    fn keep(self, starter: &Starter) {
        if self.is_asked {
            return;
        }
        let events = self.events.into_inner().into_inner();
        let stream = events.reunite(self.requests).ok();
        let stream = stream.and_then(|stream| stream.into_std().ok());
        if let Some(stream) = stream.filter(|stream| stream.set_nonblocking(false).is_ok()) {
            starter.keep(stream);
        }
    }

    /// Someone may have stopped it.
    fn wake(&self) {
        if let Some(pid) = self.pid {
            let _ = kill_process(pid, Signal::CONT);
        }
    }
}

impl OutputReader {
    /// Reads what is new.
    async fn read_new(self) -> Self {
        on_a_thread(move || {
            let mut reader = self;
            let before: u64 = reader.sources.iter().map(|source| source.2).sum();
            let mut room = reader.bytes_max.saturating_sub(before);
            for (source, file, at) in &mut reader.sources {
                let from = *at;
                *at = take(&mut reader.output, *source, file, from, room);
                room = room.saturating_sub(at.saturating_sub(from));
            }
            reader
        })
        .await
    }

    fn is_full(&self) -> bool {
        let read: u64 = self.sources.iter().map(|source| source.2).sum();
        read >= self.bytes_max
    }

    /// Kills all others that have the output open, until none has.
    async fn end_writers(self) -> Self {
        for _ in 0..ROUNDS_MAX {
            let outputs: Vec<File> = (self.sources.iter())
                .filter_map(|(_, file, _)| file.try_clone().ok())
                .collect();
            let left = on_a_thread(move || {
                let signalled = outputs
                    .iter()
                    .map(|f| adopted::signal_writers(f, Signal::KILL));
                signalled.sum::<usize>()
            });
            if left.await == 0 {
                break;
            }
            tokio::time::sleep(READ_INTERVAL).await;
        }
        self
    }
}

/// How often the processes of a supervisor that was killed are killed.
const ROUNDS_MAX: u32 = 50;

/// Reads what has been written since `from`, at most `room` bytes; gives where it is now.
fn take(output: &mut Output, source: Source, file: &File, from: u64, room: u64) -> u64 {
    let length = file.metadata().map_or(0, |meta| meta.len());
    // Someone truncated it (`> /dev/stderr` in a shell does): go on from its new beginning.
    let mut at = if length < from { 0 } else { from };
    let end = at.saturating_add(room);
    let mut buffer = [0_u8; 16 * 1024];
    while at < end {
        let most = usize::try_from(end - at).unwrap_or(usize::MAX);
        let most = buffer.len().min(most);
        match file.read_at(&mut buffer[..most], at) {
            Ok(0) | Err(_) => break,
            Ok(bytes) => {
                output.take(source, &buffer[..bytes], now_ms());
                at += bytes as u64;
            }
        }
    }
    at
}

/// Does something that blocks for a moment. If it panics, so does the run.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::until::{some, until};
    use std::path::Path;

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
            sandbox: None,
            leaves_processes: false,
            partners_see: PartnersSee::All,
        }
    }

    async fn run(command: Command, body: &str) -> RunEnd {
        run_until(command, body, &CancellationToken::new()).await
    }

    async fn run_until(command: Command, body: &str, stop: &CancellationToken) -> RunEnd {
        let starter = Starter::launch().unwrap();
        run_with(command, body, stop, &starter).await
    }

    async fn run_with(
        command: Command,
        body: &str,
        stop: &CancellationToken,
        starter: &Starter,
    ) -> RunEnd {
        let dir = tempfile::tempdir().unwrap();
        let run = laid_out(dir.path(), body, starter);
        command.run(run, stop).await
    }

    async fn run_in(dir: &Path, command: Command, body: &str) -> RunEnd {
        let run = laid_out(dir, body, &Starter::launch().unwrap());
        command.run(run, &CancellationToken::new()).await
    }

    fn laid_out(dir: &Path, body: &str, starter: &Starter) -> Run {
        let file = dir.join("job");
        std::fs::write(&file, body).unwrap();
        std::fs::create_dir(dir.join("results")).unwrap();
        let created = |name: &str| {
            let mut new = File::options();
            let new = new.create(true).read(true).append(true);
            new.open(dir.join(name)).unwrap()
        };
        Run {
            job: "20261122T045748.123Z-00042-ref.xml".parse().unwrap(),
            interface: "orders_in".parse().unwrap(),
            attempt: 2,
            submitter: "shop".into(),
            reference_as_sent: Some("Größe 1\0".into()),
            body: File::open(&file).unwrap(),
            lock: created("lock"),
            errors: created("errors"),
            file,
            dir: dir.to_owned(),
            kept: Some(dir.join("exit")),
            starter: starter.clone(),
        }
    }

    fn texts(ended: &RunEnd) -> Vec<&str> {
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
            ["<a/>", name, "differs", "/", "ref shop extra"]
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

    /// How long a sleep is that only this test of this process has.
    fn sleep_of(test: u32) -> String {
        format!("600.{}{test}", std::process::id())
    }

    /// Processes that sleep so long.
    fn sleeping(time: &str) -> Vec<Pid> {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let wanted = format!("sleep\0{time}\0");
        let found = entries.filter(|entry| {
            let line = std::fs::read(entry.path().join("cmdline"));
            line.is_ok_and(|line| line == wanted.as_bytes())
        });
        let numbers = found.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter_map(Pid::from_raw).collect()
    }

    #[tokio::test]
    async fn all_that_a_command_starts_ends_on_timeout() {
        let time = sleep_of(1);
        let script = "sleep T & setsid sleep T & (setsid sleep T &); echo said; wait";
        let mut slow = command(&script.replace('T', &time));
        slow.timeout = Duration::from_millis(600);
        let ended = run(slow, "").await;
        assert!(
            matches!(&ended.outcome, Outcome::Cut { reason, timed_out: true } if reason.contains("longer"))
        );
        assert!(sleeping(&time).is_empty());
    }

    #[tokio::test]
    async fn nothing_that_a_command_leaves_lives_on_unless_it_may() {
        let time = sleep_of(2);
        let script = r#"exec >/dev/null 2>&1 0</dev/null; sleep T & (setsid sleep T &)
            setsid sh -c 'trap "" TERM; sleep T; sleep T' & kill -STOP $!; exit 3"#;
        let mut one = command(&script.replace("sleep T", &format!("sleep {time}")));
        let ended = run(one.clone(), "").await;
        assert_eq!(ended.outcome, failed(3));
        assert!(texts(&ended)[0].contains("of its processes; they were ended"));
        assert!(sleeping(&time).is_empty());
        one.argv[2] = format!("setsid sleep {time} >/dev/null 2>&1 & exit 3");
        one.leaves_processes = true;
        // Held until the end: in tests a starter that goes takes all of its commands along.
        let starter = Starter::launch().unwrap();
        let ended = run_with(one, "", &CancellationToken::new(), &starter).await;
        assert_eq!(ended.outcome, failed(3));
        assert_eq!(texts(&ended).len(), 1);
        // It may not have become `sleep` yet.
        let left = some("what is left", || match sleeping(&time)[..] {
            [left] => Some(left),
            _ => None,
        })
        .await;
        kill_process(left, Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn a_command_that_kills_its_supervisor_ends_with_it() {
        let time = sleep_of(3);
        let script = format!("setsid sleep {time} & kill -9 $PPID; sleep {time}");
        let ended = run(command(&script), "").await;
        assert!(
            matches!(&ended.outcome, Outcome::Cut { reason, timed_out: false } if reason.contains("watched"))
        );
        until("the end of all", || sleeping(&time).is_empty()).await;
    }

    #[tokio::test]
    async fn a_starter_that_has_gone_is_started_again() {
        let starter = Starter::launch().unwrap();
        let first = Pid::from_raw(i32::try_from(starter.id()).unwrap()).unwrap();
        kill_process(first, Signal::KILL).unwrap();
        for _ in 0..2 {
            let stop = CancellationToken::new();
            let ended = run_with(command("echo here"), "", &stop, &starter).await;
            assert_eq!(texts(&ended), ["here"]);
        }
    }

    #[tokio::test]
    async fn one_run_after_the_other_has_the_same_supervisor_as_long_as_nothing_is_wrong_with_it() {
        let starter = Starter::launch().unwrap();
        let go = CancellationToken::new();
        let told = |mut command: Command, script: &str| {
            command.argv[2] = script.to_owned();
            let (starter, go) = (starter.clone(), go.clone());
            async move {
                let ended = run_with(command, "", &go, &starter).await;
                let text = ended.messages[0].text.clone();
                text.split_once(' ')
                    .map(|(a, b)| (a.to_owned(), b.to_owned()))
            }
        };
        let usual = || told(command(""), "echo $PPID $(ulimit -n)");
        let (first, files) = usual().await.unwrap();
        let mut limited = command("");
        limited.open_files_max = Some(64);
        let limited = told(limited, "echo $PPID $(ulimit -n); exit 1").await;
        assert_eq!(limited, Some((first.clone(), "64".to_owned())));
        assert_eq!(usual().await, Some((first.clone(), files.clone())));
        let dir = tempfile::tempdir().unwrap();
        let meeting = format!(
            "cd {} && touch $PPID; while [ $(ls | wc -l) -lt 2 ]; do sleep 0.01; done; echo $PPID 0",
            dir.path().display()
        );
        let meet = || told(command(""), &meeting);
        let (one, other) = tokio::join!(meet(), meet());
        assert_ne!(one.unwrap().0, other.unwrap().0, "two at the same time");
        // Whoever is asked to end one is not asked for another.
        let stop = CancellationToken::new();
        stop.cancel();
        let mut before = Vec::new();
        for _ in 0..2 {
            run_with(command("sleep 600"), "", &stop, &starter).await;
            before.extend(usual().await);
        }
        assert_ne!(before[0].0, before[1].0);
        // One that has gone is missed by nobody.
        let last = before[1].0.parse().ok().and_then(Pid::from_raw).unwrap();
        kill_process(last, Signal::KILL).unwrap();
        assert!(usual().await.is_some_and(|(pid, _)| pid != before[1].0));
        let mut leaving = command("");
        leaving.leaves_processes = true;
        let leaving = told(leaving, "echo $PPID 0").await.unwrap().0;
        assert!(usual().await.is_some_and(|(pid, _)| pid != leaving));
    }

    #[tokio::test]
    async fn the_end_of_a_run_is_kept_for_a_later_service() {
        let dir = tempfile::tempdir().unwrap();
        let ran = command("echo a; exit 75");
        let kept = |attempt, end: &[u8]| Kept {
            job: "20261122T045748.123Z-00042-ref.xml".parse().unwrap(),
            attempt,
            end: end.to_owned(),
            output: b"a\n".to_vec(),
            errors: Vec::new(),
        };
        let ended = run_in(dir.path(), ran.clone(), "").await;
        let end = std::fs::read(dir.path().join("exit")).unwrap();
        let again = ran.recovered(&kept(2, &end)).unwrap();
        assert_eq!(again.outcome, ended.outcome);
        assert_eq!(texts(&again), texts(&ended));
        assert!(
            ran.recovered(&kept(3, &end)).is_none(),
            "of another attempt"
        );
        assert!(ran.recovered(&kept(2, &end[..end.len() / 2])).is_none());
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
        assert!(ended.messages.len() <= crate::domain::joblog::MESSAGES_MAX);
    }

    #[tokio::test]
    async fn limits_reach_the_command() {
        let mut limited = command("ulimit -n; ulimit -v");
        limited.open_files_max = Some(64);
        limited.memory_bytes_max = Some(512 << 20);
        let ended = run(limited, "").await;
        assert_eq!(texts(&ended), ["64", "524288"]);
    }

    #[tokio::test]
    async fn in_a_sandbox_a_command_reaches_its_own_files_and_no_others() {
        if !crate::util::sandbox::testable() {
            return;
        }
        let around = tempfile::tempdir().unwrap();
        let at = |name: &str| around.path().join(name);
        for (name, text) in [("secret", "s"), ("given/a", "a"), ("kept/b", "b")] {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), text).unwrap();
        }
        let script = r#"set -e
            cat; cat "$SPOOLGATE_FILE" given/a kept/b; echo
            echo new > kept/b; echo new > kept/c; rm kept/c
            echo r > "$SPOOLGATE_RESULTS/r"; echo t > "$(mktemp)"
            set +e; exec 2>/dev/null
            cat secret > /dev/null && echo reads
            echo x > given/a && echo writes
            echo x > made && echo makes
            ls . > /dev/null && echo lists
            readlink /proc/$PPID/cwd > /dev/null && echo looks
            kill -0 $PPID && echo signals
            exit 0"#;
        let mut one = command(script);
        one.dir = around.path().into();
        let without = run(one.clone(), "<a/>").await;
        let reached = ["reads", "writes", "makes", "lists", "looks", "signals"];
        assert_eq!(texts(&without)[1..], reached);
        std::fs::write(at("given/a"), "a").unwrap();
        one.sandbox = Some(Sandbox {
            readable: vec![at("given")],
            writable: vec![at("kept")],
        });
        let within = run(one.clone(), "<a/>").await;
        assert_eq!(texts(&within), ["<a/><a/>anew"]);
        assert_eq!(within.outcome, Outcome::Done);
        // The program itself, wherever it is.
        let script = at("secret");
        std::fs::write(&script, "#!/bin/sh\ncat kept/b").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&script, mode).unwrap();
        one.argv = vec!["./secret".into()];
        assert_eq!(texts(&run(one, "").await), ["new"]);
    }
}
