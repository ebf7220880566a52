//! Runs a program over a document with an end in sight: time, memory and output are limited.
//!
//! The document goes to the standard input as decoded UTF-8, which is exactly the text that the
//! checks have seen. The program runs in a sandbox, in a process group of its own
//! which is killed when anything is over a limit and, to leave no one behind, also when it has
//! ended. It inherits no environment and no descriptors besides the three pipes.

use std::ffi::OsStr;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process_group, prlimit, waitid,
};

use super::Source;
use super::decode::Decoder;
use crate::util::sandbox::{self, Reach};

/// Messages of a program are for people; the rest is read and dropped.
const MESSAGES_BYTES_MAX: u64 = 256 * 1024;

/// Pipes, libraries and the files of one stylesheet.
const OPEN_FILES_MAX: u64 = 64;

#[derive(Debug, Clone, Copy)]
pub(super) struct ChildLimits {
    pub(super) memory_bytes: u64,
    pub(super) output_bytes_max: u64,
    pub(super) time: Duration,
}

pub(super) struct ChildOutput {
    pub(super) messages: Vec<u8>,
    pub(super) output: Vec<u8>,
    pub(super) status: ExitStatus,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ChildError {
    /// The document could not be read to its end, so the output is worth nothing.
    #[error("the document cannot be read: {0}")]
    Input(io::Error),
    #[error("the program cannot be run: {0}")]
    Run(io::Error),
    #[error("the program took too long")]
    TimedOut,
    #[error("the program wrote too much")]
    TooLarge,
}

/// The absolute path of a program that is installed where programs are.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/local/bin", "/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(program))
        .find(|path| path.is_file())
}

/// Runs `program` in `dir`, the only directory that it can read.
pub(super) fn run(
    program: &Path,
    arguments: &[&OsStr],
    dir: &Path,
    source: &Source<'_>,
    limits: &ChildLimits,
) -> Result<ChildOutput, ChildError> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .env("LANG", "C.UTF-8")
        .env("PATH", "/usr/bin:/bin")
        // Without it libxml2 would look for the catalogue of the system.
        .env("XML_CATALOG_FILES", "")
        .process_group(0)
        .stderr(Stdio::piped())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let child = confined(&mut command, &[program, dir]).map_err(ChildError::Run)?;
    let mut group = Group::of(child);
    group.limit(limits).map_err(ChildError::Run)?;
    group.converse(source, limits)
}

/// Where programs find their libraries.
const LIBRARIES: [&str; 7] = [
    "/etc/ld.so.cache",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/locale",
];

/// Starts a child that can read the system's libraries and `readable`, and nothing else: it can write no file, open no
/// TCP connection and read no document, key or password of the system. Where the kernel enforces nothing, that is
/// logged once, and the other means (no such function in a stylesheet, options of the program, resource limits)
/// stand alone.
fn confined(command: &mut Command, readable: &[&Path]) -> io::Result<Child> {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        if !sandbox::is_enforced() {
            tracing::warn!("this kernel has no landlock: stylesheets run without a file sandbox");
        }
    });
    let libraries = LIBRARIES.iter().map(Path::new);
    let readable: Vec<&Path> = libraries.chain(readable.iter().copied()).collect();
    let reach = Reach {
        readable: &readable,
        ..Reach::default()
    };
    sandbox::spawn(command, &reach)
}

/// A running child and its process group. Dropping it ends both.
struct Group {
    child: Child,
    leader: Pid,
}

impl Group {
    fn of(child: Child) -> Group {
        let leader = Pid::from_child(&child);
        Group { child, leader }
    }

    fn limit(&self, limits: &ChildLimits) -> io::Result<()> {
        for (resource, most) in [
            (Resource::As, limits.memory_bytes),
            (Resource::Core, 0),
            (Resource::Cpu, limits.time.as_secs() + 1),
            (Resource::Fsize, 0),
            (Resource::Nofile, OPEN_FILES_MAX),
        ] {
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            match prlimit(Some(self.leader), resource, limit) {
                // It has failed already, and will say why.
                Ok(_) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Feeds, listens and waits, each without waiting for the others.
    fn converse(
        &mut self,
        source: &Source<'_>,
        limits: &ChildLimits,
    ) -> Result<ChildOutput, ChildError> {
        let leader = self.leader;
        let (stdin, stdout, stderr) = (
            self.child.stdin.take(),
            self.child.stdout.take(),
            self.child.stderr.take(),
        );
        let timed_out = &AtomicBool::new(false);
        let (ended, until_ended) = mpsc::channel::<()>();
        let (fed, output, messages) = thread::scope(|scope| {
            // The watchdog comes first: whatever happens to the others, it ends the child.
            scope.spawn(move || {
                if until_ended.recv_timeout(limits.time) == Err(RecvTimeoutError::Timeout) {
                    timed_out.store(true, Ordering::Release);
                    kill(leader);
                }
            });
            let feeder = scope.spawn(|| feed(source, stdin));
            let listener = scope.spawn(|| listen(stderr, MESSAGES_BYTES_MAX));
            let output = collect(stdout, limits.output_bytes_max);
            if output.is_err() {
                kill(leader);
            }
            wait_for(leader);
            // The leader is dead but not reaped, so the group is still its own.
            kill(leader);
            drop(ended);
            (feeder.join(), output, listener.join())
        });
        let status = self.child.wait().map_err(ChildError::Run)?;
        if timed_out.load(Ordering::Acquire) {
            return Err(ChildError::TimedOut);
        }
        let output = output?;
        let lost = || ChildError::Run(io::Error::other("a thread panicked"));
        fed.map_err(|_| lost())?.map_err(ChildError::Input)?;
        Ok(ChildOutput {
            messages: messages.map_err(|_| lost())?,
            output,
            status,
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Reaped already unless something failed on the way.
        if let Ok(None) = self.child.try_wait() {
            kill(self.leader);
            // A killed child is reaped immediately; an error means there is none.
            let _ = self.child.wait();
        }
    }
}

fn kill(leader: Pid) {
    // There may be no one left, and that is what is wanted.
    let _ = kill_process_group(leader, Signal::KILL);
}

/// Waits until the child has ended, and leaves it to be reaped.
fn wait_for(leader: Pid) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(Errno::INTR) = waitid(WaitId::Pid(leader), options) {}
}

/// Fails when the document cannot be read; a program that stops listening is its own business.
fn feed(source: &Source<'_>, stdin: Option<ChildStdin>) -> io::Result<()> {
    let Some(mut stdin) = stdin else {
        return Ok(());
    };
    let mut decoder = Decoder::open(source)?.unlabelled();
    loop {
        let text = decoder.fill_buf()?;
        let bytes = text.len();
        if bytes == 0 || stdin.write_all(text).is_err() {
            return Ok(());
        }
        decoder.consume(bytes);
    }
}

/// The first `bytes_max` bytes; the rest is read so that the program is not held up.
fn listen(pipe: Option<impl Read>, bytes_max: u64) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        // A broken pipe ends the messages; the exit status says what is to be known.
        let _ = pipe.by_ref().take(bytes_max).read_to_end(&mut kept);
        let _ = io::copy(&mut pipe, &mut io::sink());
    }
    kept
}

fn collect(pipe: Option<impl Read>, bytes_max: u64) -> Result<Vec<u8>, ChildError> {
    let mut output = Vec::new();
    if let Some(pipe) = pipe {
        let mut limited = pipe.take(bytes_max + 1);
        limited.read_to_end(&mut output).map_err(ChildError::Run)?;
    }
    if output.len() as u64 > bytes_max {
        return Err(ChildError::TooLarge);
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ChildLimits = ChildLimits {
        memory_bytes: 1 << 30,
        output_bytes_max: 1 << 20,
        time: Duration::from_secs(20),
    };

    fn shell(
        script: &str,
        document: &[u8],
        limits: &ChildLimits,
    ) -> Result<ChildOutput, ChildError> {
        let dir = tempfile::tempdir().unwrap();
        let arguments = ["-c", script].map(OsStr::new);
        let source = Source::Memory(document);
        run(
            Path::new("/bin/sh"),
            &arguments,
            dir.path(),
            &source,
            limits,
        )
    }

    fn said(script: &str) -> String {
        let ended = shell(script, b"<r/>", &LIMITS).unwrap();
        let text = [ended.output, ended.messages].concat();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_document_goes_in_decoded_and_the_answer_comes_out() {
        let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><r>\xFC</r>";
        let ended = shell("while read -r line || [ \"$line\" ]; do echo \"$line\"; line=; done; echo said >&2; exit 3", latin, &LIMITS).unwrap();
        let blank = " ".repeat("encoding='ISO-8859-1'".len());
        let expected = format!("<?xml version='1.0' {blank}?><r>ü</r>\n");
        assert_eq!(String::from_utf8(ended.output).unwrap(), expected);
        assert_eq!(ended.messages, b"said\n");
        assert_eq!(ended.status.code(), Some(3));
    }

    #[test]
    fn nothing_of_the_system_can_be_read_and_nothing_written() {
        if !crate::util::sandbox::testable() {
            return;
        }
        assert!(said("read -r x < /etc/passwd && echo \"got $x\"").contains("ermission denied"));
        assert!(said("echo x > here && echo written").contains("ermission denied"));
        assert_eq!(said("cd / && echo *"), "*\n");
        assert_eq!(said("echo $HOME"), "\n");
        // The limits are set before the document comes.
        assert_eq!(said("read -r x; ulimit -f; ulimit -n"), "0\n64\n");
    }

    #[test]
    fn what_runs_for_ever_is_killed_with_its_children() {
        let limits = ChildLimits {
            time: Duration::from_millis(200),
            ..LIMITS
        };
        let result = shell(
            "(while :; do :; done) & while :; do :; done",
            b"<r/>",
            &limits,
        );
        assert!(matches!(result, Err(ChildError::TimedOut)));
    }

    #[test]
    fn a_background_child_does_not_outlive_the_program() {
        // It holds the standard error open; were it not killed, this would take the full time.
        let limits = ChildLimits {
            time: Duration::from_secs(3600),
            ..LIMITS
        };
        let ended = shell("exec >&-; (while :; do :; done) & exit 0", b"<r/>", &limits).unwrap();
        assert!(ended.status.success());
    }

    #[test]
    fn too_much_output_ends_it() {
        let result = shell(
            "while :; do echo 0123456789012345678901234567890123456789; done",
            b"<r/>",
            &LIMITS,
        );
        assert!(matches!(result, Err(ChildError::TooLarge)));
        let chatty = shell("i=0; while [ $i -lt 9000 ]; do echo 0123456789012345678901234567890123456789 >&2; i=$((i+1)); done", b"<r/>", &LIMITS).unwrap();
        assert_eq!(chatty.messages.len() as u64, MESSAGES_BYTES_MAX);
    }

    #[test]
    fn a_document_that_goes_bad_is_an_error_of_the_input() {
        let result = shell("while read -r x; do :; done", b"<r>\xFF</r>", &LIMITS);
        assert!(matches!(result, Err(ChildError::Input(_))));
        let gone = run(
            Path::new("/bin/sh"),
            &["-c", ":"].map(OsStr::new),
            Path::new("/"),
            &Source::File(Path::new("no-such-file")),
            &LIMITS,
        );
        assert!(matches!(gone, Err(ChildError::Input(_))));
        assert!(shell(":", "<r/>".repeat(100_000).as_bytes(), &LIMITS).is_ok());
    }
}
