//! How things look on the page: moments and ages, numbers, states, names of jobs. Pure.

use crate::{
    domain::{JobName, escaped},
    ops::{moment::midnight_ms, selection::JobState},
};
use askama::{Template, filters::HtmlSafe};
use jiff::{Timestamp, tz::TimeZone};
use std::fmt;

/// HTML that was made here: a template takes it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Html(pub(super) String);

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Html {}

impl Html {
    /// What a template makes of a part of a page.
    pub(super) fn of(part: &impl Template) -> Self {
        // To write into a string does not fail, and nothing else in a template does.
        Self(part.render().unwrap_or_default())
    }
}

/// The moment of which a page is, and where people read its times.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    pub(super) now_ms: i64,
    pub(super) zone: TimeZone,
}

impl Clock {
    pub(super) fn moment(&self) -> Timestamp {
        moment(self.now_ms)
    }

    /// When the day began, in milliseconds of the Unix epoch.
    pub(super) fn midnight_ms(&self) -> i64 {
        midnight_ms(self.now_ms, &self.zone)
    }

    /// When each of the last so many hours by the clock began, the present one last, and when that ends.
    pub(super) fn hours(&self, n: usize) -> Vec<i64> {
        let now = moment(self.now_ms).to_zoned_datetime(self.zone.clone());
        let into_ms = i64::from(now.minute()) * 60_000 + self.now_ms.rem_euclid(60_000);
        let present_ms = self.now_ms - into_ms;
        let begins = (0..=n).map(|hour| present_ms + (hour as i64 + 1 - n as i64) * HOUR_MS);
        begins.collect()
    }

    /// `13:00`
    pub(super) fn hour(&self, ms: i64) -> String {
        self.text(ms, "%H:%M")
    }

    fn text(&self, ms: i64, format: &str) -> String {
        let at = moment(ms).to_zoned_datetime(self.zone.clone());
        at.strftime(format).to_string()
    }

    /// `2026-11-26 13:34:02.870 UTC`
    pub(super) fn full(&self, ms: i64) -> String {
        self.text(ms, "%Y-%m-%d %H:%M:%S%.3f %Z")
    }

    /// `26 Nov 13:45 UTC`, of a moment that somebody chose: to the minute, or to the second.
    pub(super) fn chosen(&self, ms: i64) -> String {
        let format = match ms.rem_euclid(60_000) {
            0 => "%-d %b %H:%M %Z",
            _ => "%-d %b %H:%M:%S %Z",
        };
        self.text(ms, format)
    }

    /// `13:35:46 UTC`, of now.
    pub(super) fn as_of(&self) -> String {
        self.text(self.now_ms, "%H:%M:%S %Z")
    }

    /// `2026-11-26T13:35:46.000Z`, of now.
    pub(super) fn now(&self) -> String {
        rfc3339_ms(self.now_ms)
    }

    /// How long ago something was, or how soon it will be.
    pub(super) fn age(&self, ms: i64) -> Html {
        time(ms, self, true, &relative(self.now_ms - ms))
    }

    /// The class of what has waited since then: `late` beyond half an hour, else none.
    pub(super) fn lateness(&self, since_ms: i64) -> &'static str {
        match self.now_ms - since_ms > LATE_MS {
            true => "late",
            false => "",
        }
    }

    /// When it was: the time of day, and the day unless it is today.
    pub(super) fn at(&self, ms: i64) -> Html {
        time(ms, self, false, &self.short(ms))
    }

    pub(super) fn short(&self, ms: i64) -> String {
        let today = self.midnight_ms();
        let format = match (today..today + DAY_MS).contains(&ms) {
            true => "%H:%M:%S",
            false => "%-d %b %H:%M",
        };
        self.text(ms, format)
    }

    /// What others wrote, with the moments in it (RFC 3339) as [`Clock::at`] writes them.
    pub(super) fn said(&self, text: &str) -> String {
        let word = |word: &str| {
            let (moment, end) = match word.strip_suffix([':', ')']) {
                Some(moment) => (moment, &word[moment.len()..]),
                None => (word, ""),
            };
            match moment.parse::<Timestamp>() {
                Ok(at) => self.short(at.as_millisecond()) + end,
                Err(_) => word.to_owned(),
            }
        };
        let text = said(text);
        text.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }

    /// How the zone is called now: `UTC`, `CET`.
    pub(super) fn zone_name(&self) -> String {
        self.text(self.now_ms, "%Z")
    }
}

/// What has waited longer is late.
const LATE_MS: i64 = 30 * 60 * 1000;
const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn moment(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or_default()
}

fn rfc3339_ms(ms: i64) -> String {
    moment(ms).strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[derive(Template)]
#[template(
    source = r#"<time{% if ages %} data-age{% endif %} datetime="{{ machine }}" title="{{ full }}">{{ text }}</time>"#,
    ext = "html"
)]
struct Time<'t> {
    ages: bool,
    machine: String,
    full: String,
    text: &'t str,
}

fn time(ms: i64, clock: &Clock, ages: bool, text: &str) -> Html {
    Html::of(&Time {
        ages,
        machine: rfc3339_ms(ms),
        full: clock.full(ms),
        text,
    })
}

/// A span as the script writes it: `45 min`, `1 d 3 h`; one to come as `in 9 min`.
pub(super) fn relative(ms: i64) -> String {
    let text = span(ms.abs());
    match ms < 0 {
        true => format!("in {text}"),
        false => text,
    }
}

/// How long something took, or is to take.
pub(super) fn span(ms: i64) -> String {
    let s = ms / 1000 + i64::from(ms % 1000 >= 500);
    let (days, hours, minutes) = (s / 86_400, s / 3600, s / 60 % 60);
    match (days, hours, s / 60) {
        (0, 0, 0) => format!("{s} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        (..) => format!("{days} d {} h", hours % 24),
    }
}

/// A number as people read it: `4 318`.
pub(super) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// So many of something, with its plural: `1 job`, `2 jobs`.
pub(super) fn count(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {what}{plural}", number(n as u64))
}

/// Bytes in words, of three digits at most unless there are fewer than 10 000.
pub(super) fn bytes(n: u64) -> String {
    if n < 10_000 {
        return format!("{}\u{a0}B", number(n));
    }
    let (mut value, mut unit) = (n, 0);
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    while value / 1024 >= 1024 && unit + 1 < units.len() {
        value /= 1024;
        unit += 1;
    }
    format!("{}\u{a0}{}", value / 1024, units[unit])
}

/// What others wrote, line by line, without what would show it in another order than it has.
pub(super) fn said(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(escaped).collect();
    lines.join("\n")
}

/// A state: a word, a shape, a colour.
pub(super) fn state(state: JobState) -> Html {
    let class = match state {
        JobState::Cancelled => "ended",
        JobState::Queued
        | JobState::Deferred
        | JobState::Running
        | JobState::Done
        | JobState::Failed
        | JobState::Refused => state.as_str(),
    };
    mark(class, state.as_str())
}

/// A word with the shape of a state; both are ours.
pub(super) fn mark(class: &'static str, word: &'static str) -> Html {
    Html(format!("<span class=\"st {class}\">{word}</span>"))
}

/// The parts of a job's name: time and sequence, the reference, and the ending.
#[derive(Template)]
#[template(
    source = r#"<span>{{ stamp }}</span>{% if let Some(reference) = reference %}<wbr><b>{{ reference }}</b>{% endif %}<span>{{ ending }}</span>"#,
    ext = "html"
)]
struct NameParts<'n> {
    stamp: &'n str,
    reference: Option<&'n str>,
    ending: &'n str,
}

/// A job's name, of which the reference stands out.
pub(super) fn name(job: &JobName) -> Html {
    let text = job.to_string();
    let reference = job.reference();
    let ending_at = text.len() - job.kind().extension().len();
    let stamp_ends = ending_at - reference.map_or(0, str::len);
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    match reference {
        // Below some widths it stands alone.
        Some(reference) => Html::of(&NameParts {
            stamp: part(0..stamp_ends),
            reference: Some(reference),
            ending: part(ending_at..text.len()),
        }),
        None => Html::of(&NameParts {
            stamp: "",
            reference: Some(part(0..ending_at)),
            ending: part(ending_at..text.len()),
        }),
    }
}

#[derive(Template)]
#[template(
    source = r#"<a class="job" href="{{ base }}job/{{ job }}">{{ name }}</a>"#,
    ext = "html"
)]
struct JobLink<'j> {
    base: &'j str,
    job: String,
    name: Html,
}

/// A job's name that leads to its page; the name has nothing that an address would change.
pub(super) fn job_link(base: &str, job: &JobName) -> Html {
    Html::of(&JobLink {
        base,
        job: job.to_string(),
        name: name(job),
    })
}

#[derive(Template)]
#[template(
    source = "{% for (link, text) in parts %}{% if let Some(link) = link %}{{ link }}{% endif %}{{ text }}{% endfor %}",
    ext = "html"
)]
struct Linked<'t> {
    /// A job, and what follows it.
    parts: Vec<(Option<Html>, &'t str)>,
}

/// A text in which the names of jobs lead to their pages: what a job made, and what it was made by.
pub(super) fn linked(base: &str, text: &str) -> Html {
    let parts = text.split_inclusive(char::is_whitespace).map(|word| {
        let name = word.trim_end_matches(|c: char| c.is_whitespace() || ",.:;".contains(c));
        let job: Option<JobName> = name.parse().ok();
        match job {
            Some(job) => (Some(job_link(base, &job)), &word[name.len()..]),
            None => (None, word),
        }
    });
    Html::of(&Linked {
        parts: parts.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_jobs_lead_to_their_pages_and_the_rest_stays_text() {
        let job = "20261126T133502.870Z-00000-day.xml";
        let text = format!("<b> emitted {job}: \n{job}, x{job} to b\n");
        let html = linked("/ui/", &text).0;
        let link = job_link("/ui/", &job.parse().unwrap()).0;
        assert_eq!(
            html,
            format!("&#60;b&#62; emitted {link}: \n{link}, x{job} to b\n")
        );
    }

    #[test]
    fn spans_are_written_as_the_script_writes_them() {
        for (ms, expected) in [
            (0, "0 s"),
            (499, "0 s"),
            (59_400, "59 s"),
            (60_000, "1 min"),
            (3_599_000, "59 min"),
            (3_600_000, "1 h 0 min"),
            (86_399_000, "23 h 59 min"),
            (97_200_000, "1 d 3 h"),
            (-540_000, "in 9 min"),
        ] {
            assert_eq!(relative(ms), expected, "{ms}");
        }
    }

    #[test]
    fn hours_are_those_of_the_clock_on_the_wall() {
        let now: jiff::Timestamp = "2026-11-27T13:35:46.250Z".parse().unwrap();
        for (zone, present) in [
            ("UTC", "2026-11-27T13:00:00Z"),
            ("Asia/Kolkata", "2026-11-27T13:30:00Z"),
        ] {
            let clock = Clock {
                now_ms: now.as_millisecond(),
                zone: TimeZone::get(zone).unwrap(),
            };
            let present: jiff::Timestamp = present.parse().unwrap();
            let present_ms = present.as_millisecond();
            let begins = [present_ms - HOUR_MS, present_ms, present_ms + HOUR_MS];
            assert_eq!(clock.hours(2), begins, "{zone}");
            assert!(clock.hour(present_ms).ends_with(":00"), "{zone}");
        }
    }

    #[test]
    fn numbers_are_grouped_and_bytes_are_short() {
        assert_eq!(number(7), "7");
        assert_eq!(number(4318), "4\u{202f}318");
        assert_eq!(number(1_000_000), "1\u{202f}000\u{202f}000");
        assert_eq!(
            (count(1, "job"), count(0, "job")),
            ("1 job".into(), "0 jobs".into())
        );
        for (n, expected) in [
            (0, "0\u{a0}B"),
            (9_999, "9\u{202f}999\u{a0}B"),
            (10_240, "10\u{a0}KiB"),
            (104_857_600, "100\u{a0}MiB"),
            (44_345_000_000, "41\u{a0}GiB"),
            (u64::MAX, "16383\u{a0}PiB"),
        ] {
            assert_eq!(bytes(n), expected);
        }
    }

    #[test]
    fn a_reference_stands_out_and_a_name_without_one_is_whole() {
        let named: JobName = "20261126T133502.870Z-00000-day.xml".parse().unwrap();
        let html = name(&named).0;
        assert_eq!(
            html,
            "<span>20261126T133502.870Z-00000-</span><wbr><b>day</b><span>.xml</span>"
        );
        let bare: JobName = "20261126T133502.870Z-00000.json".parse().unwrap();
        assert!(
            name(&bare)
                .0
                .contains("<b>20261126T133502.870Z-00000</b><span>.json")
        );
    }

    #[test]
    fn what_others_wrote_keeps_its_lines_and_shows_what_hides() {
        assert_eq!(said("a\r\nb\u{202e}c"), "a\nb\\u{202e}c");
    }

    #[test]
    fn times_are_in_the_zone_of_the_reader() {
        let clock = Clock {
            now_ms: 1_795_700_146_000,
            zone: TimeZone::get("Europe/Berlin").unwrap(),
        };
        assert_eq!(clock.full(clock.now_ms), "2026-11-26 14:35:46.000 CET");
        assert_eq!(clock.now(), "2026-11-26T13:35:46.000Z");
        assert!(
            clock
                .age(clock.now_ms - 60_000)
                .0
                .contains("data-age datetime=\"2026-11-26T13:34:46.000Z\"")
        );
        assert_eq!(clock.lateness(clock.now_ms - LATE_MS), "");
        assert_eq!(clock.lateness(clock.now_ms - LATE_MS - 1), "late");
        assert!(clock.at(clock.now_ms).0.ends_with(">14:35:46</time>"));
        assert!(clock.at(0).0.contains(">1 Jan 01:00<"));
        let held =
            "by olga since 2026-11-26T12:46:00Z until 2026-11-27T18:00:00Z: the ERP\nis away";
        assert_eq!(
            clock.said(held),
            "by olga since 13:46:00 until 27 Nov 19:00: the ERP\nis away"
        );
        assert_eq!(
            clock.full(clock.midnight_ms()),
            "2026-11-26 00:00:00.000 CET"
        );
    }
}
