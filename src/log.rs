//! Logging: to standard error, one line an event, text or JSON.

use crate::config::{LogConfig, LogFormat};
use std::io::IsTerminal;
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
    let lines = fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => lines.try_init(),
    };
    started.map_err(|error| error.to_string())
}
