//! The log of a job, with a heading where another attempt begins. Pure.

use super::{
    document::{self, Hits},
    look::{Clock, Html, linked, said},
};
use crate::domain::joblog::Message;

/// So many messages are shown, the last ones; the log has all.
const MESSAGES_MAX: usize = 500;

/// A row of the log.
pub(super) enum Entry {
    /// From here on it is of another attempt than the first.
    Attempt(Heading),
    Said(Said),
}

pub(super) struct Heading {
    /// Which of all attempts it is, counted from 0; its number may come again after a requeue.
    pub(super) nth: usize,
    pub(super) number: u32,
}

/// A message.
pub(super) struct Said {
    /// By its attempt, so that a row stays that of one message while attempts follow each other.
    pub(super) id: String,
    pub(super) at: Html,
    pub(super) level: Html,
    pub(super) text: Html,
    pub(super) tool: Option<String>,
    /// The line that it is about, if that is shown.
    pub(super) line: Option<u64>,
}

/// How many messages are not shown, and the rows for the others. `begun`: the attempts, as
/// [`super::attempts::Attempts`] has them.
pub(super) fn entries(
    (clock, base): (&Clock, &str),
    messages: &[Message],
    begun: &[(u32, i64)],
    hits: &Hits,
) -> (usize, Vec<Entry>) {
    let earlier = messages.len().saturating_sub(MESSAGES_MAX);
    let (mut entries, mut headed) = (Vec::new(), None);
    // Of which attempt the message before was, and how many are of it.
    let (mut nth, mut n) = (None, 0);
    for (at, message) in messages.iter().enumerate() {
        let since = begun.iter().rposition(|(_, ms)| *ms <= message.time_ms);
        // A clock that is set back leads to no earlier attempt.
        n = if since > nth { 1 } else { n + 1 };
        nth = nth.max(since);
        if at < earlier {
            continue;
        }
        if let Some(nth @ 1..) = nth.filter(|_| nth != headed) {
            let (number, _) = begun[nth];
            entries.push(Entry::Attempt(Heading { nth, number }));
        }
        headed = nth;
        entries.push(Entry::Said(Said {
            id: format!("{}-{n}", nth.unwrap_or(0)),
            at: clock.at(message.time_ms),
            level: document::level(message.level),
            text: linked(base, &said(&message.text)),
            tool: message.tool.as_deref().map(said),
            line: message.line.filter(|line| hits.has(*line)),
        }));
    }
    (earlier, entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::joblog::Level;
    use jiff::tz::TimeZone;

    fn told(times: &[i64], begun: &[(u32, i64)]) -> (usize, Vec<String>) {
        let clock = Clock {
            now_ms: 0,
            zone: TimeZone::UTC,
        };
        let said = |ms: &i64| Message::new(*ms, Level::Info, "x");
        let messages: Vec<Message> = times.iter().map(said).collect();
        let hits = Hits::of(&[]);
        let (earlier, entries) = entries((&clock, "/ui/"), &messages, begun, &hits);
        let entry = |entry: Entry| match entry {
            Entry::Attempt(heading) => format!("attempt {} ({})", heading.number, heading.nth),
            Entry::Said(said) => said.id,
        };
        (earlier, entries.into_iter().map(entry).collect())
    }

    #[test]
    fn a_log_is_divided_where_another_attempt_begins() {
        let rows = |times: &[i64], begun: &[(u32, i64)]| told(times, begun).1;
        assert_eq!(rows(&[1, 2], &[]), ["0-1", "0-2"]);
        assert_eq!(rows(&[11, 12], &[(1, 10)]), ["0-1", "0-2"]);
        let two = [(1, 10), (2, 20)];
        assert_eq!(
            rows(&[11, 20, 21], &two),
            ["0-1", "attempt 2 (1)", "1-1", "1-2"]
        );
        // The log of the first was replaced by that of the second.
        assert_eq!(rows(&[20, 21], &two), ["attempt 2 (1)", "1-1", "1-2"]);
        // Sent again, it is the first one again; and a clock was set back.
        assert_eq!(
            rows(&[25, 31, 12], &[(2, 20), (1, 30)]),
            ["0-1", "attempt 1 (1)", "1-1", "1-2"]
        );
    }

    #[test]
    fn the_last_messages_are_shown_under_their_attempt() {
        let mut times = vec![21; MESSAGES_MAX + 1];
        times[0] = 11;
        let (earlier, rows) = told(&times, &[(1, 10), (2, 20)]);
        assert_eq!((earlier, rows.len()), (1, MESSAGES_MAX + 1));
        assert_eq!(rows[..2], ["attempt 2 (1)", "1-1"]);
    }
}
