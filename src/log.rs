//! Logging: to standard error, one line an event, text or JSON.
//!
//! Names of files, outputs of programs and texts of other people come into events. Whatever they
//! hold, an event stays one line and moves no terminal: JSON escapes by itself, text is escaped here.
//!
//! It is best effort: a log without a reader, or on a full volume, loses lines, which are counted,
//! and changes nothing else (`log/queue.rs`). The same holds for what is announced on standard
//! output. A panic becomes one line of the log.

mod queue;

use crate::{
    config::{LogConfig, LogFormat},
    domain::escaped,
};
use queue::{Descriptor, LineQueue};
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, Write},
    panic::PanicHookInfo,
    sync::OnceLock,
    time::Duration,
};
use tracing_subscriber::{EnvFilter, fmt};

/// At the end, what is left is written for so long.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);
/// A panic may end the process: how long its line has to be written.
const PANIC_PATIENCE: Duration = Duration::from_millis(200);

static ERRORS: OnceLock<LineQueue> = OnceLock::new();
static OUTPUT: OnceLock<LineQueue> = OnceLock::new();

/// Writes what is queued when it is dropped, for two seconds at most.
#[must_use]
pub(crate) struct Flush(());

impl Drop for Flush {
    fn drop(&mut self) {
        flush(FLUSH_PATIENCE);
    }
}

/// Starts logging for the whole process; to be called once. `RUST_LOG` takes precedence.
///
/// # Errors
/// What is wrong with `log.level` or `RUST_LOG`, or that there cannot be one more thread.
pub(crate) fn start(config: &LogConfig) -> Result<Flush, String> {
    let given = std::env::var("RUST_LOG");
    let level = given.as_ref().unwrap_or(&config.level);
    let filter = filter(level).map_err(|error| format!("log.level: {error}"))?;
    let format = config.format;
    let no_thread = |error: io::Error| format!("the log's thread cannot be started: {error}");
    let mut errors = Descriptor::new(io::stderr());
    let notice = move |n_lines| lost_line(format, n_lines);
    let errors = LineQueue::start("log", notice, move |line| errors.write(line));
    let mut output = Descriptor::new(io::stdout());
    // Standard output is for scripts, which read announcements only.
    let output = LineQueue::start("output", |_| Vec::new(), move |line| output.write(line));
    let started = ERRORS.set(errors.map_err(no_thread)?).is_ok()
        && OUTPUT.set(output.map_err(no_thread)?).is_ok();
    if !started {
        return Err("logging has been started before".into());
    }
    // Without colours: their escape characters could not be distinguished from those of a value.
    let lines = fmt().with_env_filter(filter).with_ansi(false);
    let installed = match format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            lines.with_writer(|| Events(<[u8]>::to_vec)).try_init()
        }
        LogFormat::Text => lines.with_writer(|| Events(one_line)).try_init(),
    };
    installed.map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(move |info| {
        push(panic_line(format, info));
        flush(PANIC_PATIENCE);
    }));
    Ok(Flush(()))
}

/// Writes a line to standard output, as soon as it can be written.
pub(crate) fn announce(line: &str) {
    if let Some(output) = OUTPUT.get() {
        output.push(format!("{line}\n").into_bytes());
    }
}

/// Waits until what is queued has been written, for `patience` at most.
pub(crate) fn flush(patience: Duration) {
    for queue in [&ERRORS, &OUTPUT].into_iter().filter_map(OnceLock::get) {
        queue.flush(patience);
    }
}

/// How many lines could not be written since the start.
pub(crate) fn lost_lines() -> u64 {
    ERRORS.get().map_or(0, LineQueue::lost)
}

fn push(line: Vec<u8>) {
    if let Some(errors) = ERRORS.get() {
        errors.push(line);
    }
}

/// The watcher's own traces report every event, the writing of this very log included: unless
/// someone asks for them, they are left out.
fn filter(level: &str) -> Result<EnvFilter, impl std::fmt::Display> {
    EnvFilter::try_new(format!("notify=info,{level}"))
}

/// Takes events, each in one write; they cannot fail. A formatter that fails says so in a line.
struct Events(fn(&[u8]) -> Vec<u8>);

impl Write for Events {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        push((self.0)(event));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event, which ends with a line feed, as one line.
fn one_line(event: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(event);
    let mut line = escaped(text.strip_suffix('\n').unwrap_or(&text));
    line.push('\n');
    line.into_bytes()
}

/// A line that no event makes, because it must not depend on anything.
fn bare_line(format: LogFormat, level: &str, target: &str, message: &str) -> Vec<u8> {
    let now = jiff::Timestamp::now();
    match format {
        LogFormat::Json => {
            let line = serde_json::json!({
                "timestamp": now.to_string(),
                "level": level,
                "message": message,
                "target": target,
            });
            format!("{line}\n").into_bytes()
        }
        LogFormat::Text => one_line(format!("{now} {level:>5} {target}: {message}").as_bytes()),
    }
}

fn lost_line(format: LogFormat, n_lines: u64) -> Vec<u8> {
    let message = format!("{n_lines} log lines were lost: standard error could not be written to");
    bare_line(format, "WARN", "spoolgate::log", &message)
}

fn panic_line(format: LogFormat, info: &PanicHookInfo<'_>) -> Vec<u8> {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let payload = info.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("something that is no text");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let mut message = format!("thread {thread} panicked at {place}: {text}");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        message = format!("{message}\n{backtrace}");
    }
    bare_line(format, "ERROR", "spoolgate::panic", &message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, event: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(one_line(event));
            Ok(event.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(event: impl FnOnce()) -> String {
        let sink = Sink::default();
        let into = sink.clone();
        let subscriber = fmt()
            .with_ansi(false)
            .with_writer(move || into.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, event);
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let name = "a\n2026-11-22T00:00:00Z ERROR forged\r\t\u{1b}[2J\u{9b}\u{85}ü";
        let text = logged(|| tracing::warn!(%name, plain = name, "taken in {name}"));
        let line = text.strip_suffix('\n').unwrap();
        let control = |c: char| c.is_control() && c != '\t';
        assert!(!line.contains(control), "{line:?}");
        assert_eq!(line.matches("forged").count(), 3, "{line}");
        assert!(line.contains("a\\n2026") && line.contains('ü'), "{line}");
    }

    /// A value that cannot be shown, or that panics, costs its own event.
    #[test]
    fn a_field_that_cannot_be_shown_costs_one_event() {
        struct Bad(bool);
        impl std::fmt::Display for Bad {
            fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                assert!(!self.0, "injected");
                Err(std::fmt::Error)
            }
        }
        let text = logged(|| {
            tracing::warn!(bad = %Bad(false), "cannot be shown");
            let panicked = std::panic::catch_unwind(|| tracing::warn!(bad = %Bad(true), "panics"));
            assert!(panicked.is_err());
            tracing::warn!("the next one");
        });
        assert!(text.contains("Unable to format"), "{text}");
        assert!(
            text.lines().last().unwrap().ends_with("the next one"),
            "{text}"
        );
    }

    #[test]
    fn the_last_word_is_with_whoever_asks() {
        for (level, shown) in [
            ("", "notify=info"),
            ("debug", "notify=info,debug"),
            ("notify=trace,debug", "notify=trace,debug"),
        ] {
            let filter = filter(level).map_err(|error| error.to_string()).unwrap();
            assert_eq!(filter.to_string(), shown, "{level:?}");
        }
        assert!(filter("spoolgate=loud").is_err());
    }

    #[test]
    fn lines_of_our_own_are_one_line_and_json_where_that_is_asked_for() {
        let text = String::from_utf8(lost_line(LogFormat::Text, 7)).unwrap();
        assert!(
            text.contains("  WARN spoolgate::log: 7 log lines were lost"),
            "{text}"
        );
        let json = bare_line(LogFormat::Json, "ERROR", "spoolgate::panic", "a\n\"b\"");
        assert_eq!(json.iter().filter(|byte| **byte == b'\n').count(), 1);
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["message"], "a\n\"b\"");
    }
}
