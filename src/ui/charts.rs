//! Charts, as SVG within the page: shapes by classes of the sheet, and words for those who do not see them. Pure.

use super::look::{Html, span};
use crate::{
    ops::shape::{Ages, BOUNDED, end_s},
    store::Tally,
};
use std::fmt::Write;

const WIDTH: f64 = 300.0;
/// Where the columns of the waiting stand, and how high they may be.
const GROUND: f64 = 100.0;
const HEIGHT: f64 = 76.0;

/// How old what waits is; what is held is outlined on top of the others.
pub(super) fn ages(ages: &Ages) -> Html {
    let buckets = BOUNDED + 1;
    let step = WIDTH / buckets as f64;
    let most = (0..buckets).map(|n| ages.jobs[n] + ages.held[n]).max();
    let unit = HEIGHT / most.unwrap_or(0).max(1) as f64;
    let (mut svg, mut words) = (String::new(), Vec::new());
    for bucket in 0..buckets {
        let (free, held) = (ages.jobs[bucket], ages.held[bucket]);
        let (x, width) = (bucket as f64 * step + 2.0, step - 4.0);
        let (free_height, held_height) = (free as f64 * unit, held as f64 * unit);
        let mut top = GROUND - free_height;
        if free > 0 {
            rect(&mut svg, "f-done", (x, top), (width, free_height));
        }
        if held > 0 {
            top -= held_height;
            rect(
                &mut svg,
                "hatch",
                (x + 1.0, top),
                (width - 2.0, held_height),
            );
        }
        let (middle, name) = (x + width / 2.0, bucket_name(bucket));
        if free + held > 0 {
            text(
                &mut svg,
                "v",
                (middle, top - 4.0),
                &(free + held).to_string(),
            );
            words.push(format!("{name}: {}", free + held));
        }
        text(&mut svg, "", (middle, 113.0), &name);
    }
    let label = match words.is_empty() {
        true => "Nothing waits.".to_owned(),
        false => format!("Waiting jobs by age. {}. Outlined: held.", words.join(", ")),
    };
    let held = match ages.total_held() {
        0 => "",
        _ => {
            r#"<rect class="hatch" x="180" y="7" width="9" height="9"/><text x="194" y="15">held</text>"#
        }
    };
    Html(format!(
        r#"<svg viewBox="0 0 300 120" role="img" aria-label="{label}">{svg}<path class="axis" d="M0 100.5H300"/>{held}</svg>"#
    ))
}

/// How many failed in each of the last hours, the present one last.
pub(super) fn hours(failed: &[u32]) -> Html {
    let most = failed.iter().max().copied().unwrap_or(0).max(1);
    let step = 120.0 / failed.len().max(1) as f64;
    let mut svg = String::new();
    for (hour, n) in failed.iter().enumerate().filter(|(_, n)| **n > 0) {
        let height = f64::from(*n) * 17.0 / f64::from(most);
        rect(
            &mut svg,
            "f-bad",
            (hour as f64 * step, 20.0 - height),
            (step - 1.0, height),
        );
    }
    let busy = failed.iter().filter(|n| **n > 0).count();
    Html(format!(
        r#"<svg class="spark" viewBox="0 0 120 26" role="img" aria-label="In {busy} of the last {} hours, at most {most} in one"><path class="axis" d="M0 20.5H120"/>{svg}</svg>"#,
        failed.len()
    ))
}

/// What ended in each hour, with the time at which it began: done up, failed down.
pub(super) fn day(hours: &[(String, Tally)]) -> Html {
    const MIDDLE: f64 = 76.0;
    const BELOW: f64 = 28.0;
    /// Half of the width of a time.
    const LABEL: f64 = 14.0;
    let step = WIDTH / hours.len().max(1) as f64;
    let most = |of: fn(&Tally) -> u32| hours.iter().map(|(_, tally)| of(tally)).max();
    let (done, failed) = (most(|of| of.done), most(|of| of.failed));
    let up = 70.0 / f64::from(done.unwrap_or(0).max(1));
    let down = BELOW / f64::from(failed.unwrap_or(0).max(1));
    let (mut svg, mut words) = (String::new(), Vec::new());
    for (n, (time, tally)) in hours.iter().enumerate() {
        let x = n as f64 * step;
        let (up, down) = (f64::from(tally.done) * up, f64::from(tally.failed) * down);
        if tally.done > 0 {
            rect(&mut svg, "f-done", (x, MIDDLE - up), (step - 2.0, up));
        }
        if tally.failed > 0 {
            rect(&mut svg, "f-bad", (x, MIDDLE + 1.0), (step - 2.0, down));
            words.push(format!("{} at {time}", tally.failed));
        }
        if ["00", "06", "12", "18"]
            .iter()
            .any(|hour| time.starts_with(hour))
        {
            text(&mut svg, "", ((x + step / 2.0).max(LABEL), 118.0), time);
        }
    }
    let failed = match words.is_empty() {
        true => "none".to_owned(),
        false => words.join(", "),
    };
    Html(format!(
        r#"<svg viewBox="0 0 300 120" role="img" aria-label="Done per hour for a day: at most {}. Failed: {failed}."><path class="axis" d="M0 76.5H300"/>{svg}</svg>"#,
        done.unwrap_or(0)
    ))
}

/// What was done in each minute of an hour, above what failed or was refused.
pub(super) fn minutes(minutes: &[Tally]) -> Html {
    let done: u32 = minutes.iter().map(|of| of.done).sum();
    let wrong = |of: &Tally| of.failed + of.refused;
    let n_wrong: u32 = minutes.iter().map(wrong).sum();
    let most = minutes.iter().map(|of| of.done).max().unwrap_or(0).max(1);
    let step = 120.0 / minutes.len().max(1) as f64;
    let mut svg = String::new();
    for (n, of) in minutes.iter().enumerate() {
        let x = n as f64 * step;
        if of.done > 0 {
            let height = f64::from(of.done) * 17.0 / f64::from(most);
            rect(&mut svg, "f-done", (x, 18.0 - height), (step, height));
        }
        if wrong(of) > 0 {
            rect(&mut svg, "f-bad", (x, 20.0), (step, 5.0));
        }
    }
    Html(format!(
        r#"<svg class="spark" viewBox="0 0 120 26" role="img" aria-label="{done} done in the last hour, {n_wrong} failed or refused"><path class="axis" d="M0 18.5H120"/>{svg}</svg>"#
    ))
}

/// From when to when something went on, and how it looks.
pub(super) struct Span {
    pub(super) number: u32,
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    pub(super) class: &'static str,
}

/// Attempts on a line of time, each with its number where there is room for it.
pub(super) fn spans(spans: &[Span]) -> Html {
    /// So wide is what took no time, …
    const LEAST: f64 = 2.0;
    /// … and so far apart are numbers.
    const ROOM: f64 = 16.0;
    let from_ms = spans.iter().map(|of| of.from_ms).min().unwrap_or(0);
    let to_ms = spans.iter().map(|of| of.to_ms).max().unwrap_or(0);
    let all_ms = (to_ms - from_ms).max(1);
    let at = |ms: i64| (ms - from_ms) as f64 * (WIDTH - LEAST) / all_ms as f64;
    let (mut svg, mut free_from) = (String::new(), 0.0);
    for of in spans {
        let (x, end) = (at(of.from_ms), at(of.to_ms));
        rect(&mut svg, of.class, (x, 3.0), ((end - x).max(LEAST), 13.0));
        if x >= free_from {
            text(
                &mut svg,
                "",
                (x.clamp(4.0, WIDTH - 4.0), 27.0),
                &of.number.to_string(),
            );
            free_from = x + ROOM;
        }
    }
    Html(format!(
        r#"<svg viewBox="0 0 300 30" role="img" aria-label="{} attempts within {}"><path class="axis" d="M0 9.5H300"/>{svg}</svg>"#,
        spans.len(),
        span(all_ms)
    ))
}

/// In which parts of some time to come there are moments, and in words how many.
pub(super) fn ahead(parts: &[bool], words: &str) -> Html {
    let step = 120.0 / parts.len().max(1) as f64;
    let mut path = String::new();
    for (n, _) in parts.iter().enumerate().filter(|(_, is)| **is) {
        // To write into a string does not fail.
        let _ = write!(path, "M{:.1} 8v12", (n as f64 + 0.5) * step);
    }
    Html(format!(
        r#"<svg class="spark" viewBox="0 0 120 26" role="img" aria-label="{words}"><path class="axis" d="M0 20.5H120"/><path class="tick" d="{path}"/></svg>"#
    ))
}

/// In minutes, or hours.
fn bucket_name(bucket: usize) -> String {
    let short = |s: i64| match s {
        ..3600 => format!("{}", s / 60),
        _ => format!("{} h", s / 3600),
    };
    let begin = bucket.checked_sub(1).and_then(end_s);
    match (begin, end_s(bucket)) {
        (None, Some(end)) => format!("&lt;{}", short(end)),
        (Some(begin), Some(_)) => short(begin),
        (Some(begin), None) => format!("{}+", short(begin)),
        (None, None) => String::new(),
    }
}

fn rect(svg: &mut String, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
    // To write into a string does not fail.
    let _ = write!(
        svg,
        r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#
    );
}

fn text(svg: &mut String, class: &str, (x, y): (f64, f64), words: &str) {
    let _ = write!(
        svg,
        r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="middle">{words}</text>"#
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::shape::Shape;

    #[test]
    fn what_ended_is_told_by_hours_and_minutes_with_words() {
        let tally = |done, failed| Tally {
            done,
            failed,
            ..Tally::default()
        };
        let hours = [
            ("05:00".to_owned(), tally(4, 0)),
            ("06:00".to_owned(), tally(2, 3)),
        ];
        let svg = day(&hours).0;
        let label = "aria-label=\"Done per hour for a day: at most 4. Failed: 3 at 06:00.\"";
        assert!(svg.contains(label), "{svg}");
        assert!(
            svg.contains(">06:00</text>") && !svg.contains(">05:00<"),
            "{svg}"
        );
        assert_eq!(svg.matches("f-done").count(), 2);
        assert_eq!(svg.matches("f-bad").count(), 1);
        let svg = minutes(&[tally(0, 0), tally(2, 0), tally(1, 1)]).0;
        assert!(
            svg.contains("\"3 done in the last hour, 1 failed or refused\""),
            "{svg}"
        );
        let nothing = day(&[]).0 + &minutes(&[]).0;
        assert!(nothing.contains("at most 0. Failed: none."), "{nothing}");
    }

    #[test]
    fn what_comes_is_a_tick_each() {
        let svg = ahead(&[true, false, false, true], "2 moments").0;
        assert!(svg.contains("aria-label=\"2 moments\""), "{svg}");
        assert!(svg.contains("d=\"M15.0 8v12M105.0 8v12\""), "{svg}");
        assert!(ahead(&[], "none").0.contains("class=\"tick\" d=\"\""));
    }

    #[test]
    fn attempts_are_on_a_line_of_time_and_numbered_where_there_is_room() {
        let of = |number, from_ms, to_ms, class| Span {
            number,
            from_ms,
            to_ms,
            class,
        };
        let svg = super::spans(&[
            of(1, 0, 5_000, "f-late"),
            of(2, 14_000, 19_000, "f-late"),
            of(3, 600_000, 600_000, "f-run"),
        ])
        .0;
        assert!(
            svg.contains("aria-label=\"3 attempts within 10 min\""),
            "{svg}"
        );
        assert_eq!(svg.matches("<rect").count(), 3, "{svg}");
        assert!(
            svg.contains(">1</text>") && svg.contains(">3</text>"),
            "{svg}"
        );
        assert!(!svg.contains(">2</text>"), "{svg}");
        assert!(
            svg.contains("<rect class=\"f-run\" x=\"298.0\" y=\"3.0\" width=\"2.0\""),
            "{svg}"
        );
    }

    #[test]
    fn the_ages_of_what_waits_are_columns_with_words() {
        let mut shape = Shape::default();
        for age_ms in [0, 0, 400_000] {
            shape.count(String::new(), age_ms, false);
        }
        shape.count(String::new(), i64::MAX, true);
        let svg = ages(&shape.all).0;
        assert!(
            svg.contains(
                "aria-label=\"Waiting jobs by age. &lt;5: 2, 5: 1, 21 h+: 1. Outlined: held.\""
            ),
            "{svg}"
        );
        assert_eq!(svg.matches("<rect class=\"f-done\"").count(), 2);
        assert_eq!(svg.matches("<rect class=\"hatch\"").count(), 2);
        let hours = hours(&[0, 4, 0, 2]).0;
        assert!(
            hours.contains("In 2 of the last 4 hours, at most 4 in one"),
            "{hours}"
        );
        assert_eq!(hours.matches("<rect").count(), 2);
        let none = ages(&Ages::default()).0;
        assert!(
            none.contains("Nothing waits.") && !none.contains("<rect"),
            "{none}"
        );
    }
}
