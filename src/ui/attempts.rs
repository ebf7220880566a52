//! How a job was tried until now: a line for each attempt and for what lay between two of them, and a picture of when they
//! were. Pure, but for the asking.

use super::{
    charts::{self, Span},
    look::{Html, mark, said, span},
    respond::Trouble,
    visit::Visit,
};
use crate::{
    domain::{Job, Place},
    store::{Attempt, AttemptEnd},
};

/// Shorter than this nothing is said of the time between two attempts.
const GAP_MS_MIN: i64 = 1000;

/// What is told of the attempts at a job.
pub(super) struct Attempts {
    /// When they were, if there were several.
    pub(super) picture: Option<Html>,
    pub(super) lines: Vec<Line>,
    /// The number of each of which it is known when it began, and that moment, in the order of time.
    pub(super) begun: Vec<(u32, i64)>,
}

/// A line of it, in the order of time.
pub(super) enum Line {
    /// What lay between two attempts, or between the arrival and the first.
    Gap(String),
    Tried(Tried),
}

/// An attempt.
pub(super) struct Tried {
    pub(super) mark: Html,
    pub(super) number: u32,
    pub(super) at: Option<Html>,
    pub(super) took: Option<String>,
    pub(super) reason: Option<String>,
}

/// How a job that came then was tried until now; of the attempt that runs, if there is one, with the moment at which it
/// began, as far as that is known.
pub(super) async fn attempts(
    visit: &Visit<'_>,
    job: &Job,
    received_ms: i64,
    started_ms: Option<i64>,
) -> Result<Attempts, Trouble> {
    let ended = visit.spool.store.attempts(&job.name).await?;
    let running = match job.place {
        Place::Work { attempt, .. } => Some((attempt, started_ms)),
        Place::Bak(_)
        | Place::Deferred { .. }
        | Place::JobErrors
        | Place::Queue(_)
        | Place::Refused => None,
    };
    let picture = picture(&ended, running);
    let all = ended.iter().map(|of| (of.number, of.started_ms));
    let begun = all
        .chain(running)
        .filter_map(|(number, ms)| Some((number, ms?)));
    let begun = begun.collect();
    let (mut lines, mut before) = (Vec::new(), (None, received_ms));
    for attempt in ended {
        lines.extend(gap(before, attempt.started_ms).map(Line::Gap));
        before = (Some(attempt.outcome), attempt.ended_ms);
        let began_ms = attempt.started_ms;
        lines.push(Line::Tried(Tried {
            mark: mark(shape(attempt.outcome), attempt.outcome.in_words()),
            number: attempt.number,
            at: Some(visit.clock.at(began_ms.unwrap_or(attempt.ended_ms))),
            took: began_ms.map(|ms| took(attempt.ended_ms - ms)),
            reason: attempt.reason.as_deref().map(said),
        }));
    }
    if let Some((number, started_ms)) = running {
        lines.extend(gap(before, started_ms).map(Line::Gap));
        lines.push(Line::Tried(Tried {
            mark: mark("running", "running"),
            number,
            at: started_ms.map(|ms| visit.clock.at(ms)),
            took: None,
            reason: None,
        }));
    }
    Ok(Attempts {
        picture,
        lines,
        begun,
    })
}

/// What lay between the end of an attempt, or the arrival, and the beginning of the next.
fn gap((before, since_ms): (Option<AttemptEnd>, i64), until_ms: Option<i64>) -> Option<String> {
    let ms = until_ms? - since_ms;
    let text = match before {
        None | Some(AttemptEnd::CutOff | AttemptEnd::Deferred | AttemptEnd::GivenBack) => {
            format!("waited {}", took(ms))
        }
        Some(AttemptEnd::Cancelled | AttemptEnd::Done | AttemptEnd::Failed) => {
            format!("requeued, and tried again after {}", took(ms))
        }
    };
    (ms >= GAP_MS_MIN).then_some(text)
}

/// When the attempts were; one alone needs no picture.
fn picture(ended: &[Attempt], running: Option<(u32, Option<i64>)>) -> Option<Html> {
    let of = |attempt: &Attempt| Span {
        number: attempt.number,
        from_ms: attempt.started_ms.unwrap_or(attempt.ended_ms),
        to_ms: attempt.ended_ms,
        class: match attempt.outcome {
            AttemptEnd::Done => "f-done",
            AttemptEnd::Failed => "f-bad",
            AttemptEnd::Cancelled
            | AttemptEnd::CutOff
            | AttemptEnd::Deferred
            | AttemptEnd::GivenBack => "f-late",
        },
    };
    let mut spans: Vec<Span> = ended.iter().map(of).collect();
    // How far it is changes nothing, or the page would be another one each second.
    spans.extend(running.and_then(|(number, started_ms)| {
        Some(Span {
            number,
            from_ms: started_ms?,
            to_ms: started_ms?,
            class: "f-run",
        })
    }));
    (spans.len() > 1).then(|| charts::spans(&spans))
}

fn shape(outcome: AttemptEnd) -> &'static str {
    match outcome {
        AttemptEnd::Cancelled | AttemptEnd::GivenBack => "ended",
        AttemptEnd::CutOff => "warning",
        AttemptEnd::Deferred | AttemptEnd::Done | AttemptEnd::Failed => outcome.as_str(),
    }
}

/// How long a run took: `5.2 s`, `3 ms`.
pub(super) fn took(ms: i64) -> String {
    match ms {
        ..1000 => format!("{} ms", ms.max(0)),
        1000..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => span(ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_timed_as_exactly_as_is_of_use() {
        for (ms, expected) in [
            (-1, "0 ms"),
            (3, "3 ms"),
            (5_250, "5.2 s"),
            (12_000, "12 s"),
        ] {
            assert_eq!(took(ms), expected);
        }
    }

    #[test]
    fn what_lies_between_attempts_is_told_unless_it_is_short() {
        let after = |before, ms: i64| gap((before, 1_000), Some(1_000 + ms));
        assert_eq!(after(None, 14), None);
        assert_eq!(after(None, 2_700_000).as_deref(), Some("waited 45 min"));
        let deferred = after(Some(AttemptEnd::Deferred), 9_100);
        assert_eq!(deferred.as_deref(), Some("waited 9.1 s"));
        let failed = after(Some(AttemptEnd::Failed), 3_600_000);
        let requeued = "requeued, and tried again after 1 h 0 min";
        assert_eq!(failed.as_deref(), Some(requeued));
        // The clock was set back, or nobody saw when it began.
        assert_eq!(after(Some(AttemptEnd::CutOff), -5_000), None);
        assert_eq!(gap((None, 0), None), None);
    }

    #[test]
    fn one_attempt_alone_needs_no_picture() {
        let attempt = |number, began_ms| Attempt {
            number,
            started_ms: Some(began_ms),
            ended_ms: began_ms + 5_000,
            outcome: AttemptEnd::Deferred,
            fingerprint: None,
            reason: None,
        };
        let one = [attempt(1, 0)];
        assert_eq!(picture(&one, None), None);
        assert_eq!(picture(&one, Some((2, None))), None);
        let svg = picture(&one, Some((2, Some(60_000)))).unwrap().0;
        assert!(
            svg.contains("f-late") && svg.contains("f-run") && svg.contains("2 attempts within"),
            "{svg}"
        );
    }
}
