//! What `top` shows, as lines. Pure.

use crate::{
    cli::{ls::age, output::Paint},
    domain::joblog::rfc3339,
    ops::selection::JobState,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
};

/// How many are done in a minute is said of so long at most.
const WINDOW_MS: i64 = 60_000;
/// What is above the rows, and below them when not all have room.
const HEAD_LINES: usize = 2;

/// An interface at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) interface: String,
    pub(super) queued: usize,
    pub(super) running: usize,
    pub(super) deferred: usize,
    /// Of those that came lately.
    pub(super) failed: usize,
    /// All that are kept.
    pub(super) done: usize,
    /// Of the oldest that waits.
    pub(super) age_ms: Option<i64>,
    pub(super) is_held: bool,
}

/// All interfaces at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// Of the Unix epoch.
    pub(super) at_ms: i64,
    /// The process that serves them.
    pub(super) service: Option<String>,
    pub(super) rows: Vec<Row>,
}

/// How many were done at the moments of the last minute.
#[derive(Debug, Default)]
pub(super) struct Rates(VecDeque<(i64, BTreeMap<String, usize>)>);

impl Rates {
    pub(super) fn note(&mut self, sample: &Sample) {
        let done = sample.rows.iter();
        let done = done.map(|row| (row.interface.clone(), row.done)).collect();
        self.0.push_back((sample.at_ms, done));
        // One from before the window stays, or there would be less than a minute of it.
        while let Some((second_ms, _)) = self.0.get(1)
            && sample.at_ms - second_ms >= WINDOW_MS
        {
            self.0.pop_front();
        }
    }

    /// In a minute; `None`: that takes two moments. What retention or a requeue has taken away meanwhile is not done
    /// less.
    fn of(&self, interface: &str) -> Option<u64> {
        let (first, last) = (self.0.front()?, self.0.back()?);
        let ms = u64::try_from(last.0 - first.0).ok().filter(|ms| *ms > 0)?;
        let done = |moment: &(i64, BTreeMap<String, usize>)| moment.1.get(interface).copied();
        let more = done(last)?.saturating_sub(done(first)?) as u64;
        Some((more * WINDOW_MS.unsigned_abs()).div_ceil(ms))
    }
}

/// No more lines than there is room for, and none longer; those with most to do first.
pub(super) fn lines(
    sample: &Sample,
    rates: &Rates,
    (columns, n_lines): (usize, usize),
    paint: Paint,
) -> Vec<String> {
    let fit = |line: String| line.chars().take(columns).collect::<String>();
    let mut rows: Vec<&Row> = sample.rows.iter().collect();
    rows.sort_by_key(|row| {
        (
            Reverse(row.queued + row.running + row.deferred),
            &row.interface,
        )
    });
    let width = rows.iter().map(|row| row.interface.len()).max();
    let width = width.unwrap_or(0).max("INTERFACE".len());
    let mut lines = vec![
        fit(heading(sample, rates)),
        fit(format!(
            "{:<width$} {:>8} {:>8} {:>8} {:>8} {:>9} {:>7}",
            "INTERFACE", "QUEUED", "RUNNING", "DEFERRED", "FAILED", "DONE/MIN", "OLDEST"
        )),
    ];
    let room = n_lines.saturating_sub(HEAD_LINES);
    let n_shown = match rows.len() > room {
        true => room.saturating_sub(1),
        false => rows.len(),
    };
    for row in &rows[..n_shown] {
        let line = fit(text(row, rates, width));
        lines.push(match row {
            row if row.failed > 0 => paint.state(JobState::Failed, &line),
            row if row.is_held => paint.state(JobState::Deferred, &line),
            _ => line,
        });
    }
    if n_shown < rows.len() {
        lines.push(fit(format!("and {} more", rows.len() - n_shown)));
    }
    lines
}

fn heading(sample: &Sample, rates: &Rates) -> String {
    let sum = |of: fn(&Row) -> usize| sample.rows.iter().map(of).sum::<usize>();
    let service = match &sample.service {
        Some(process) => format!("process {process}"),
        None => "no service".to_owned(),
    };
    let per_minute = sample
        .rows
        .iter()
        .filter_map(|row| rates.of(&row.interface));
    format!(
        "{}  {service}  {} queued, {} running, {} deferred, {} failed, {} done/min",
        // The second is enough.
        rfc3339(sample.at_ms / 1000 * 1000),
        sum(|row| row.queued),
        sum(|row| row.running),
        sum(|row| row.deferred),
        sum(|row| row.failed),
        per_minute.sum::<u64>(),
    )
}

fn text(row: &Row, rates: &Rates, width: usize) -> String {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let held = if row.is_held { "  HELD" } else { "" };
    format!(
        "{:<width$} {:>8} {:>8} {:>8} {:>8} {:>9} {:>7}{held}",
        row.interface,
        row.queued,
        row.running,
        row.deferred,
        row.failed,
        or_none(rates.of(&row.interface).map(|rate| rate.to_string())),
        or_none(row.age_ms.map(age)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(interface: &str, queued: usize, done: usize) -> Row {
        Row {
            interface: interface.into(),
            queued,
            done,
            ..Row::default()
        }
    }

    fn sample(at_s: i64, rows: Vec<Row>) -> Sample {
        Sample {
            at_ms: 1_795_323_468_123 + at_s * 1000,
            service: Some("7".into()),
            rows,
        }
    }

    const WIDE: (usize, usize) = (200, 24);

    #[test]
    fn those_with_most_to_do_come_first_with_all_that_is_known() {
        let mut rates = Rates::default();
        rates.note(&sample(
            0,
            vec![row("items_in", 0, 5), row("orders_in", 3, 10)],
        ));
        let busy = Row {
            running: 2,
            deferred: 1,
            age_ms: Some(240_000),
            ..row("orders_in", 40, 25)
        };
        let held = Row {
            is_held: true,
            failed: 9,
            ..row("items_in", 1, 5)
        };
        let now = sample(30, vec![held, busy]);
        rates.note(&now);
        let shown = lines(&now, &rates, WIDE, Paint::none());
        assert_eq!(
            shown,
            [
                "2026-11-22T04:58:18.000Z  process 7  41 queued, 2 running, 1 deferred, 9 failed, 30 done/min",
                "INTERFACE   QUEUED  RUNNING DEFERRED   FAILED  DONE/MIN  OLDEST",
                "orders_in       40        2        1        0        30      4m",
                "items_in         1        0        0        9         0       -  HELD",
            ]
        );
        let painted = lines(&now, &rates, WIDE, Paint::all());
        assert!(painted[3].starts_with("\u{1b}[31mitems_in"), "{painted:?}");
    }

    #[test]
    fn nothing_is_wider_or_longer_than_there_is_room() {
        let rows = (0..9).map(|n| row(&format!("i{n}"), 0, 0)).collect();
        let (now, rates) = (sample(0, rows), Rates::default());
        for size in [(80, 24), (20, 5), (1, 3), (0, 0)] {
            let shown = lines(&now, &rates, size, Paint::none());
            assert!(
                shown.len() <= size.1.max(HEAD_LINES + 1),
                "{size:?} {shown:?}"
            );
            assert!(shown.iter().all(|line| line.chars().count() <= size.0));
        }
        let shown = lines(&now, &rates, (80, 5), Paint::none());
        assert_eq!(shown.len(), 5);
        assert_eq!(shown[4], "and 7 more");
    }

    #[test]
    fn a_rate_is_of_the_last_minute() {
        let mut rates = Rates::default();
        let mut note = |at_s, done| {
            rates.note(&sample(at_s, vec![row("a", 0, done)]));
            rates.of("a")
        };
        assert_eq!(note(0, 1000), None);
        assert_eq!(note(1, 1001), Some(60));
        assert_eq!(note(30, 1030), Some(60));
        assert_eq!(note(90, 1030), Some(0));
        // Some were removed.
        assert_eq!(note(100, 7), Some(0));
        // The clock was set back.
        assert_eq!(note(20, 9), None);
        assert_eq!(rates.of("b"), None);
    }
}
