//! What is expected from partners: how each deadline went, and what has come for the next.

use super::{
    census::Picture,
    form::address,
    look::{Clock, Html, count, mark, number, said},
    visit::Visit,
};
use crate::{
    cron_schedule::{Expectation, Verdict},
    ops::arrivals::Arrivals,
};

/// An expectation, as a row of a table.
pub(super) struct Expected {
    pub(super) id: String,
    pub(super) interface: String,
    pub(super) submitter: String,
    /// Where the jobs are that came.
    pub(super) href: String,
    /// What became of the last deadline, how many came for it, and when it was.
    pub(super) last: Option<(Html, String, Html)>,
    pub(super) came: String,
    pub(super) wanted: String,
    /// When the next deadline is.
    pub(super) next: Option<Html>,
}

/// All of them, those first whose last deadline was not met.
pub(super) fn rows(visit: &Visit<'_>, picture: &Picture) -> Vec<Expected> {
    rows_of(&visit.clock, &visit.base, &picture.expected)
}

fn rows_of(clock: &Clock, base: &str, expected: &[(Expectation, Arrivals)]) -> Vec<Expected> {
    let mut all: Vec<_> = expected.iter().enumerate().collect();
    all.sort_by_key(|(_, (_, arrivals))| !arrivals.is_missing());
    let rows = all.into_iter();
    rows.map(|(n, (expectation, arrivals))| row((clock, base), n, expectation, arrivals))
        .collect()
}

fn row(
    (clock, base): (&Clock, &str),
    n: usize,
    expectation: &Expectation,
    arrivals: &Arrivals,
) -> Expected {
    let interface = expectation.interface.to_string();
    let submitter = expectation.submitter.as_str();
    let came = arrivals.next.map_or(0, |(_, documents)| documents);
    let jobs = [
        ("interface", Some(&*interface)),
        ("submitter", Some(submitter)),
    ];
    Expected {
        id: format!("x-{n}"),
        href: address(&format!("{base}jobs"), jobs),
        submitter: said(submitter),
        interface,
        last: arrivals.last.map(|(window, documents, verdict)| {
            let by = clock.at(window.deadline.as_millisecond());
            (verdict_mark(verdict), number(documents), by)
        }),
        came: number(came),
        wanted: expectation.wanted(),
        next: (arrivals.next).map(|(window, _)| clock.age(window.deadline.as_millisecond())),
    }
}

/// What is to be said of the last deadline, if it was not met.
pub(super) fn missing(
    clock: &Clock,
    expectation: &Expectation,
    arrivals: &Arrivals,
) -> Option<(Html, String)> {
    let (window, documents, verdict) = arrivals.last.filter(|_| arrivals.is_missing())?;
    let text = format!(
        "{} from {}: {} by {}, where {} were expected",
        expectation.interface,
        said(&expectation.submitter),
        count(usize::try_from(documents).unwrap_or(usize::MAX), "document"),
        clock.short(window.deadline.as_millisecond()),
        expectation.wanted(),
    );
    Some((verdict_mark(verdict), text))
}

fn verdict_mark(verdict: Verdict) -> Html {
    let class = match verdict {
        Verdict::Met => "done",
        Verdict::TooFew => "failed",
        Verdict::TooMany => "warning",
    };
    mark(class, verdict.in_words())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cron_schedule::{Deadlines, Window, Zone};
    use askama::Template;
    use jiff::{SignedDuration, Timestamp, tz::TimeZone};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn expectation() -> Expectation {
        let by = "06:00".parse().unwrap();
        let deadlines = Deadlines::new(by, "*", Zone::UTC, [].into(), SignedDuration::ZERO);
        Expectation {
            interface: "orders_in".parse().unwrap(),
            submitter: "shop".into(),
            deadlines: deadlines.unwrap(),
            at_least: 2,
            at_most: None,
        }
    }

    fn clock() -> Clock {
        Clock {
            now_ms: at("2026-11-26T13:35:46Z").as_millisecond(),
            zone: TimeZone::UTC,
        }
    }

    fn window() -> Window {
        Window {
            from: at("2026-11-25T06:00:00Z"),
            deadline: at("2026-11-26T06:00:00Z"),
            until: at("2026-11-26T06:00:00Z"),
        }
    }

    #[test]
    fn what_did_not_come_is_said_with_what_was_expected() {
        let (clock, mut expectation, window) = (clock(), expectation(), window());
        let of = |last| Arrivals { next: None, last };
        let told = |expectation: &Expectation, last| {
            let (mark, text) = missing(&clock, expectation, &of(last))?;
            Some(format!("{mark} {text}"))
        };
        assert_eq!(
            told(&expectation, Some((window, 1, Verdict::TooFew))).as_deref(),
            Some(
                "<span class=\"st failed\">too few</span> orders_in from shop: 1 document by \
                 06:00:00, where 2 or more were expected"
            )
        );
        expectation.at_most = Some(3);
        let many = told(&expectation, Some((window, 4, Verdict::TooMany))).unwrap();
        assert!(
            many.contains("4 documents by 06:00:00, where 2 to 3 were"),
            "{many}"
        );
        for well in [None, Some((window, 2, Verdict::Met))] {
            assert_eq!(told(&expectation, well), None);
        }
    }

    #[derive(Template)]
    #[template(path = "arrivals.html")]
    struct Page {
        expected: Vec<Expected>,
    }

    #[test]
    fn what_did_not_come_stands_first_on_the_page() {
        let (clock, met) = (clock(), expectation());
        let late = Expectation {
            submitter: "<b>".into(),
            ..met.clone()
        };
        let of = |documents, verdict| Arrivals {
            next: None,
            last: Some((window(), documents, verdict)),
        };
        let expected = [(met, of(2, Verdict::Met)), (late, of(1, Verdict::TooFew))];
        let expected = rows_of(&clock, "/ui/", &expected);
        let page = Page { expected }.render().unwrap();
        let at = |what: &str| page.find(what).unwrap_or_else(|| panic!("{what}: {page}"));
        assert!(at("<tr id=\"x-1\">") < at("<tr id=\"x-0\">"), "{page}");
        assert!(at("<span class=\"st failed\">too few</span>") < at("<tr id=\"x-0\">"));
        assert!(at("<small>from &#60;b&#62;</small>") < at("<small>from shop</small>"));
        assert!(page.contains("submitter=%3Cb%3E"), "{page}");
    }
}
