//! When to try again: exponential, with jitter and a cap. Pure.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A year.
const MAX_S: f64 = 31_536_000.0;

/// An interface's `retry = { … }`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts in all before the job goes to `joberrors`.
    pub attempts: u32,
    /// Seconds before the second attempt.
    pub initial_s: f64,
    /// By how much each wait is longer than the one before.
    pub factor: f64,
    /// No wait is longer than this many seconds.
    pub max_s: f64,
    /// Share of the wait, 0 to 1, by which chance shortens it, so that jobs which failed together
    /// do not come back together.
    pub jitter: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 14,
            initial_s: 10.0,
            factor: 4.0,
            max_s: 3600.0,
            jitter: 0.2,
        }
    }
}

impl Retry {
    /// What is wrong with the settings, if anything.
    ///
    /// # Errors
    /// When a number is out of range; the text names the key.
    pub fn check(&self) -> Result<(), String> {
        let positive = |name: &str, value: f64| {
            let fine = value.is_finite() && value >= 0.0;
            fine.then_some(())
                .ok_or_else(|| format!("retry.{name} must be a number of 0 or more"))
        };
        positive("initial_s", self.initial_s)?;
        positive("max_s", self.max_s)?;
        if self.max_s > MAX_S {
            return Err(format!("retry.max_s must be at most {MAX_S}"));
        }
        if self.attempts == 0 {
            return Err("retry.attempts must be at least 1".into());
        }
        if !(self.factor.is_finite() && self.factor >= 1.0) {
            return Err("retry.factor must be 1 or more".into());
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err("retry.jitter must be from 0 to 1".into());
        }
        Ok(())
    }

    /// The longest of all waits.
    pub fn wait_ms_max(&self) -> i64 {
        (self.max_s * 1000.0) as i64
    }

    /// As [`Retry::wait_ms`], where someone asked for patience: no shorter than that, and no longer
    /// than the cap.
    pub fn asked_wait_ms(&self, attempt: u32, chance: f64, asked: Option<Duration>) -> Option<i64> {
        let asked_s = asked.map_or(0.0, |asked| asked.as_secs_f64().min(self.max_s));
        let wait_ms = self.wait_ms(attempt, chance)?;
        Some(wait_ms.max((asked_s * 1000.0) as i64))
    }

    /// Milliseconds to wait after attempt number `attempt` (from 1) failed; `chance` is from 0
    /// to 1. `None`: that was the last attempt.
    pub fn wait_ms(&self, attempt: u32, chance: f64) -> Option<i64> {
        if attempt >= self.attempts {
            return None;
        }
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        // Kept finite: no wait at all times infinity is no number, and would become the cap.
        let growth = self.factor.powi(exponent).min(f64::MAX);
        let wait_s = (self.initial_s * growth).min(self.max_s);
        let wait_s = wait_s * (1.0 - self.jitter * chance.clamp(0.0, 1.0));
        Some((wait_s * 1000.0) as i64)
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_end() {
        let retry = Retry {
            attempts: 6,
            ..Retry::default()
        };
        let waits: Vec<Option<i64>> = (1..=6).map(|n| retry.wait_ms(n, 0.0)).collect();
        let expected = [10_000, 40_000, 160_000, 640_000, 2_560_000];
        assert_eq!(waits[..5], expected.map(Some));
        assert_eq!(waits[5], None);
        let many = Retry {
            attempts: u32::MAX,
            ..retry
        };
        assert_eq!(many.wait_ms(1_000_000, 0.0), Some(3_600_000));
    }

    #[test]
    fn the_default_outlasts_a_night() {
        let retry = Retry::default();
        let waits = (1..retry.attempts).filter_map(|n| retry.wait_ms(n, 0.0));
        let hours = waits.sum::<i64>() / 3_600_000;
        assert_eq!((retry.wait_ms(14, 0.0), hours), (None, 8));
    }

    #[test]
    fn chance_only_shortens() {
        let retry = Retry::default();
        assert_eq!(retry.wait_ms(1, 1.0), Some(8_000));
        assert_eq!(retry.wait_ms(1, 0.5), Some(9_000));
    }

    #[test]
    fn patience_that_was_asked_for_is_had_up_to_the_cap() {
        let retry = Retry::default();
        let wait =
            |attempt, asked| retry.asked_wait_ms(attempt, 0.0, Some(Duration::from_secs(asked)));
        assert_eq!(wait(1, 3), Some(10_000), "ours is longer");
        assert_eq!(wait(1, 90), Some(90_000));
        assert_eq!(wait(1, u64::MAX), Some(3_600_000));
        assert_eq!(wait(14, 90), None, "that was the last attempt");
        assert_eq!(retry.asked_wait_ms(1, 0.0, None), Some(10_000));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            Retry {
                attempts: 0,
                ..Retry::default()
            },
            Retry {
                factor: 0.5,
                ..Retry::default()
            },
            Retry {
                initial_s: f64::NAN,
                ..Retry::default()
            },
            Retry {
                max_s: -1.0,
                ..Retry::default()
            },
            Retry {
                jitter: 1.5,
                ..Retry::default()
            },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        assert_eq!(Retry::default().check(), Ok(()));
    }
}
