//! Logging: to standard error, one line an event, text or JSON.
//!
//! Names of files, outputs of programs and other people's words come into events. Whatever they
//! hold, an event stays one line and moves no terminal: JSON escapes by itself, text is escaped here.

use crate::config::{LogConfig, LogFormat};
use std::io::{self, Write};
use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging for the whole process; to be called once. `RUST_LOG` has the last word.
pub fn start(config: &LogConfig) -> Result<(), String> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(given) => EnvFilter::try_new(given),
        Err(_) => EnvFilter::try_new(&config.level),
    };
    // The watcher's own traces tell of every event, the writing of this very log included.
    let quiet = "notify=info".parse().map_err(|error| format!("{error}"))?;
    let filter = filter.map_err(|error| format!("log.level: {error}"))?;
    let filter = filter.add_directive(quiet);
    // Without colours: their escape characters could not be told from those of a value.
    let lines = fmt().with_env_filter(filter).with_ansi(false);
    let started = match config.format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            lines.with_writer(io::stderr).try_init()
        }
        LogFormat::Text => lines.with_writer(|| OneLine(io::stderr())).try_init(),
    };
    started.map_err(|error| error.to_string())
}

/// Writes one event, which ends with a line feed, as one line.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let mut line = String::with_capacity(text.len() + 1);
        for c in text.strip_suffix('\n').unwrap_or(&text).chars() {
            match c.is_control() {
                true => line.extend(c.escape_default()),
                false => line.push(c),
            }
        }
        line.push('\n');
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let sink = Sink::default();
        let into = sink.clone();
        let subscriber = fmt()
            .with_ansi(false)
            .with_writer(move || OneLine(into.clone()))
            .finish();
        let name = "a\n2026-11-22T00:00:00Z ERROR forged\r\t\u{1b}[2J\u{9b}\u{85}ü";
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(%name, plain = name, "taken in {name}");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(char::is_control), "{line:?}");
        assert_eq!(line.matches("forged").count(), 3, "{line}");
        assert!(line.contains("a\\n2026") && line.contains('ü'), "{line}");
    }
}
