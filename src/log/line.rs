//! An event as one line of text: `2026-11-28T00:10:47.123456Z  INFO target: message field=value`.
//!
//! The look is that of `tracing_subscriber`'s own formatter, which makes three passes over each
//! line and as many allocations; a request has a line, and on the small ones that was a quarter of
//! the work. Whatever a value holds, what a terminal would obey comes out escaped.

use crate::domain::write_escaped;
use std::fmt::{self, Write};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Formats events as text, without colours and without spans, which there are none of.
pub(super) struct TextLine;

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let about = event.metadata();
        head(&mut writer, *about.level(), about.target())?;
        let mut values = Values {
            line: OneLine(&mut writer),
            outcome: Ok(()),
        };
        event.record(&mut values);
        values.outcome?;
        writer.write_char('\n')
    }
}

/// What every line begins with.
pub(super) fn head(into: &mut impl Write, level: Level, target: &str) -> fmt::Result {
    let now = jiff::Timestamp::now();
    write!(into, "{now:.6} {:>5} {target}:", level.as_str())
}

/// Lets through what stays in its line and moves no terminal, and escapes the rest.
pub(super) struct OneLine<W>(pub(super) W);

impl<W: Write> Write for OneLine<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_escaped(text, &mut self.0)
    }
}

/// Writes the values of an event, until one of them cannot be shown.
struct Values<W> {
    line: OneLine<W>,
    outcome: fmt::Result,
}

impl<W: Write> Values<W> {
    fn named(&mut self, field: &Field, write: impl FnOnce(&mut OneLine<W>) -> fmt::Result) {
        let name = field.name();
        let line = &mut self.line;
        self.outcome = self.outcome.and_then(|()| {
            line.write_char(' ')?;
            if name != "message" {
                line.write_str(name.strip_prefix("r#").unwrap_or(name))?;
                line.write_char('=')?;
            }
            write(line)
        });
    }
}

impl<W: Write> Visit for Values<W> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.named(field, |line| write!(line, "{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.named(field, |line| match field.name() {
            "message" => line.write_str(value),
            _ => quoted(value, line),
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.named(field, |line| write!(line, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.named(field, |line| write!(line, "{value}"));
    }
}

/// As `{value:?}`, which looks at each letter on its own.
fn quoted(value: &str, line: &mut impl Write) -> fmt::Result {
    let is_shown_as_it_is =
        |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if !value.as_bytes().iter().all(is_shown_as_it_is) {
        return write!(line, "{value:?}");
    }
    line.write_char('"')?;
    line.write_str(value)?;
    line.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::{io, sync::Arc};
    use tracing_subscriber::fmt::format;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, event: &[u8]) -> io::Result<usize> {
            self.0.lock().extend(event);
            Ok(event.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a format makes of an event.
    fn logged<F>(format: F, event: impl FnOnce()) -> String
    where
        F: FormatEvent<tracing_subscriber::Registry, format::DefaultFields> + Send + Sync + 'static,
    {
        let sink = Sink::default();
        let into = sink.clone();
        let lines = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(Level::TRACE)
            .event_format(format)
            .with_writer(move || into.clone())
            .finish();
        tracing::subscriber::with_default(lines, event);
        String::from_utf8(sink.0.lock().clone()).unwrap()
    }

    fn ours(event: impl FnOnce()) -> String {
        logged(TextLine, event)
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let name = "a\n2026-11-22T00:00:00Z ERROR forged\r\t\u{1b}[2J\u{9b}\u{85}\u{202e}ü";
        let text = ours(|| tracing::warn!(%name, plain = name, debug = ?name, "taken in {name}"));
        let line = text.strip_suffix('\n').unwrap();
        let moves = |c: char| (c.is_control() && c != '\t') || c == '\u{202e}';
        assert!(!line.contains(moves), "{line:?}");
        assert_eq!(line.matches("forged").count(), 4, "{line}");
        assert!(line.contains("a\\n2026") && line.contains('ü'), "{line}");
    }

    /// A value that cannot be shown, or that panics, costs its own event.
    #[test]
    fn a_field_that_cannot_be_shown_costs_one_event() {
        struct Bad(bool);
        impl fmt::Display for Bad {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                assert!(!self.0, "injected");
                Err(fmt::Error)
            }
        }
        let text = ours(|| {
            tracing::warn!(bad = %Bad(false), "cannot be shown");
            let panicked = std::panic::catch_unwind(|| tracing::warn!(bad = %Bad(true), "panics"));
            assert!(panicked.is_err());
            tracing::warn!("the next one");
        });
        assert!(text.contains("Unable to format"), "{text}");
        let last = text.lines().last().unwrap();
        assert!(last.ends_with("the next one"), "{text}");
    }

    /// A line looks as that of the library: who reads logs by a program meets nothing new.
    #[test]
    fn a_line_looks_as_that_of_the_library() {
        let events: [fn(); 6] = [
            || tracing::info!("all is well"),
            || {
                tracing::error!(
                    task = "a b",
                    reason = "it \"ended\" \\ é 漢",
                    "again in {}",
                    3
                )
            },
            || {
                tracing::debug!(
                    n = 3_u32,
                    less = -4_i64,
                    is_so = true,
                    part = 0.5,
                    "numbers"
                )
            },
            || tracing::warn!(shown = %"as it is", debug = ?Some("x"), r#type = "raw"),
            || tracing::trace!(target: "access", empty = "", message = "at the end"),
            || tracing::info!(error = &io::Error::other("no disk") as &dyn std::error::Error),
        ];
        for event in events {
            let (ours, theirs) = (ours(event), logged(format::Format::default(), event));
            let [(ours, line), (theirs, expected)] =
                [&ours, &theirs].map(|line| line.split_once(' ').unwrap());
            assert_eq!(line, expected);
            assert_eq!(ours.len(), theirs.len(), "{ours} {theirs}");
            assert!(ours.parse::<jiff::Timestamp>().is_ok(), "{ours}");
        }
    }
}
