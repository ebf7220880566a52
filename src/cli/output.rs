//! Standard output, as the commands use it.
//!
//! It may go away at any moment: a reader such as `head` has enough before the end. That is no
//! error, and what a command was asked to do is still done. A disk that is full is one.

use crate::{
    domain::escaped,
    ops::{admin::Acted, selection::JobState},
};
use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

/// As `println!`, with an error instead of a panic.
macro_rules! print_line {
    ($($text:tt)*) => { $crate::cli::output::line(format_args!($($text)*)) };
}
pub(super) use print_line;

/// As `eprintln!`, but does not panic when no one reads standard error.
macro_rules! print_note {
    ($($text:tt)*) => { $crate::cli::output::note(format_args!($($text)*)) };
}
pub(super) use print_note;

pub(super) fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

pub(super) fn line(text: impl Display) -> anyhow::Result<()> {
    written(writeln!(io::stdout().lock(), "{text}"))
}

/// Says that something could not be done with one of several, and with JSON also as an object of its own:
/// `{"job": …, "error": …}`.
pub(super) fn failed(
    as_json: bool,
    kind: &str,
    name: impl Display,
    error: &anyhow::Error,
) -> anyhow::Result<()> {
    let said = super::explain(error);
    let lines: Vec<String> = said.lines().map(escaped).collect();
    note(format_args!("spoolgate: {}", lines.join("\n")));
    match as_json {
        true => line(serde_json::json!({kind: name.to_string(), "error": said})),
        false => Ok(()),
    }
}

/// What an act has done to a thing of that kind and name, as an object.
pub(super) fn acted(kind: &str, name: impl Display, acted: &Acted) -> anyhow::Result<Value> {
    let mut object = serde_json::to_value(acted)?;
    object[kind] = name.to_string().into();
    Ok(object)
}

/// Colours, where a person looks at them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    /// On a terminal, unless the variable `NO_COLOR` is set.
    pub(super) fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(!unwanted && io::stdout().is_terminal())
    }

    /// As for a terminal, whatever there is.
    #[cfg(test)]
    pub(super) fn all() -> Self {
        Self(true)
    }

    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self(false)
    }

    /// A text of ours in the colour of a state.
    pub(super) fn state(self, state: JobState, text: &str) -> String {
        let colour = match state {
            JobState::Failed | JobState::Refused => 31,
            JobState::Running => 32,
            JobState::Deferred => 33,
            JobState::Cancelled | JobState::Done | JobState::Queued => return text.to_owned(),
        };
        match self.0 {
            true => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

/// How far something is with so many jobs; drawn on a terminal only.
pub(super) fn bar(n_jobs: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{pos}/{len} {wide_bar} {per_sec} {eta}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(n_jobs).with_style(style)
}

/// What a write to standard output came to.
pub(super) fn written(outcome: io::Result<()>) -> anyhow::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("standard output"),
    }
}

/// Prints the only copy of a password: that the reader has gone is an error, too. `again` is the
/// command that makes another one.
pub(super) fn password(text: impl Display, again: impl Display) -> anyhow::Result<()> {
    writeln!(io::stdout().lock(), "{text}").with_context(|| {
        format!("the new password could not be printed; make another one with `{again}`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_who_has_enough_is_no_error_and_a_full_disk_is() {
        assert!(written(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        let full = written(Err(io::ErrorKind::StorageFull.into()));
        assert_eq!(full.unwrap_err().to_string(), "standard output");
    }
}
