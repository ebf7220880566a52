//! How the attempts at a job have ended, as `why` and `log` show them. Pure.

use crate::{
    domain::{escaped, joblog::rfc3339},
    store::Attempt,
};
use serde_json::{Value, json};

pub(super) fn as_json(attempts: &[Attempt]) -> Value {
    let one = |attempt: &Attempt| {
        json!({
            "attempt": attempt.number,
            "outcome": attempt.outcome.as_str(),
            "started": attempt.started_ms.map(rfc3339),
            "ended": rfc3339(attempt.ended_ms),
            "reason": attempt.reason,
            "fingerprint": attempt.fingerprint,
        })
    };
    attempts.iter().map(one).collect()
}

/// One line.
pub(super) fn as_text(attempt: &Attempt) -> String {
    let Attempt {
        number,
        started_ms,
        ended_ms,
        outcome,
        reason,
        ..
    } = attempt;
    // Nobody was there to see the start of some.
    let started = started_ms.map_or("?".to_owned(), rfc3339);
    let (outcome, ended) = (outcome.in_words(), rfc3339(*ended_ms));
    let mut text = format!("attempt {number} {started} to {ended} {outcome}");
    if let Some(reason) = reason {
        text += ": ";
        text += reason;
    }
    escaped(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::AttemptEnd;

    #[test]
    fn an_attempt_has_start_end_outcome_and_reason() {
        let failed = Attempt {
            number: 2,
            started_ms: Some(1_795_700_146_000),
            ended_ms: 1_795_700_151_250,
            outcome: AttemptEnd::Failed,
            fingerprint: Some("9f".into()),
            reason: Some("no paper\u{1b}[2J".into()),
        };
        assert_eq!(
            as_text(&failed),
            "attempt 2 2026-11-26T13:35:46.000Z to 2026-11-26T13:35:51.250Z failed: no paper\\u{1b}[2J"
        );
        let cut_off = Attempt {
            number: 1,
            started_ms: None,
            outcome: AttemptEnd::CutOff,
            fingerprint: None,
            reason: None,
            ..failed.clone()
        };
        assert_eq!(
            as_text(&cut_off),
            "attempt 1 ? to 2026-11-26T13:35:51.250Z cut off"
        );
        assert_eq!(
            as_json(&[cut_off, failed]),
            json!([
                {
                    "attempt": 1, "outcome": "cut_off", "started": null,
                    "ended": "2026-11-26T13:35:51.250Z", "reason": null, "fingerprint": null,
                },
                {
                    "attempt": 2, "outcome": "failed", "started": "2026-11-26T13:35:46.000Z",
                    "ended": "2026-11-26T13:35:51.250Z", "reason": "no paper\u{1b}[2J",
                    "fingerprint": "9f",
                },
            ])
        );
    }
}
