//! Logging: to standard error, one line an event, text or JSON.
//!
//! Names of files, outputs of programs and texts of other people come into events. Whatever they
//! hold, an event stays one line and moves no terminal: JSON escapes by itself, text is escaped here.
//!
//! It is best effort: a log without a reader, or on a full volume, loses lines, which are counted,
//! and changes nothing else (`log/queue.rs`). The same holds for what is announced on standard
//! output. A panic becomes one line of the log.

mod line;
mod queue;

use crate::config::{LogConfig, LogFormat};
use line::{OneLine, TextLine};
use queue::{Descriptor, LineQueue, When};
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt::Write as _,
    io,
    panic::PanicHookInfo,
    sync::OnceLock,
    time::Duration,
};
use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter, reload};

/// At the end, what is left is written for so long.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);
/// A panic may end the process: how long its line has to be written.
const PANIC_PATIENCE: Duration = Duration::from_millis(200);

static ERRORS: OnceLock<LineQueue> = OnceLock::new();
static OUTPUT: OnceLock<LineQueue> = OnceLock::new();
/// Changes what is logged.
static REFILTER: OnceLock<Refilter> = OnceLock::new();

type Refilter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

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
    let filter = chosen(config)?;
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
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Events);
    let installed = match format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            refiltered_by(lines.reload_handle())?;
            lines.try_init()
        }
        LogFormat::Text => {
            let lines = lines.event_format(TextLine).with_filter_reloading();
            refiltered_by(lines.reload_handle())?;
            lines.try_init()
        }
    };
    installed.map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(move |info| {
        push(&panic_line(format, info), When::AtOnce);
        flush(PANIC_PATIENCE);
    }));
    Ok(Flush(()))
}

fn refiltered_by<S: 'static>(handle: reload::Handle<EnvFilter, S>) -> Result<(), String> {
    let refilter = Box::new(move |filter| handle.reload(filter));
    let is_first = REFILTER.set(refilter).is_ok();
    is_first
        .then_some(())
        .ok_or("logging has been started before".into())
}

/// Logs by another `log.level` from now on, unless `RUST_LOG` says something; `log.format` stays.
///
/// # Errors
/// As those of [`check`]; nothing has changed then.
pub(crate) fn take(config: &LogConfig) -> Result<(), String> {
    let filter = chosen(config)?;
    match REFILTER.get() {
        Some(refilter) => refilter(filter).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

/// Is `log.level` one?
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(config: &LogConfig) -> Result<(), String> {
    chosen(config).map(drop)
}

/// What is logged: by `RUST_LOG` if there is such a variable.
fn chosen(config: &LogConfig) -> Result<EnvFilter, String> {
    let given = std::env::var("RUST_LOG");
    let level = given.as_ref().unwrap_or(&config.level);
    filter(level).map_err(|error| format!("log.level: {error}"))
}

/// Writes a line to standard output, as soon as it can be written.
pub(crate) fn announce(line: &str) {
    if let Some(output) = OUTPUT.get() {
        output.push(format!("{line}\n").as_bytes(), When::AtOnce);
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

fn push(line: &[u8], when: When) {
    if let Some(errors) = ERRORS.get() {
        errors.push(line, when);
    }
}

/// The watcher's own traces report every event, the writing of this very log included: unless
/// someone asks for them, they are left out.
fn filter(level: &str) -> Result<EnvFilter, impl std::fmt::Display> {
    EnvFilter::try_new(format!("notify=info,{level}"))
}

/// Makes writers that take an event each, as one line; they cannot fail. A formatter that fails says so
/// in a line.
struct Events;

impl<'a> MakeWriter<'a> for Events {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(When::AtOnce)
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Line {
        match *about.level() {
            Level::ERROR | Level::WARN => Line(When::AtOnce),
            _ => Line(When::Gathered),
        }
    }
}

struct Line(When);

impl io::Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        push(line, self.0);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line that no event makes, because it must not depend on anything.
fn bare_line(format: LogFormat, level: Level, target: &str, message: &str) -> Vec<u8> {
    let mut line = String::new();
    // Nothing fails that is written to a string.
    let _ = match format {
        LogFormat::Json => {
            let fields = serde_json::json!({
                "timestamp": jiff::Timestamp::now().to_string(),
                "level": level.as_str(),
                "message": message,
                "target": target,
            });
            write!(line, "{fields}")
        }
        LogFormat::Text => line::head(&mut line, level, target)
            .and_then(|()| write!(OneLine(&mut line), " {message}")),
    };
    line.push('\n');
    line.into_bytes()
}

fn lost_line(format: LogFormat, n_lines: u64) -> Vec<u8> {
    let message = format!("{n_lines} log lines were lost: standard error could not be written to");
    bare_line(format, Level::WARN, "spoolgate::log", &message)
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
    bare_line(format, Level::ERROR, "spoolgate::panic", &message)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let json = bare_line(
            LogFormat::Json,
            Level::ERROR,
            "spoolgate::panic",
            "a\n\"b\"",
        );
        assert_eq!(json.iter().filter(|byte| **byte == b'\n').count(), 1);
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["message"], "a\n\"b\"");
    }
}
