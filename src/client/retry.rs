//! When to try again: exponential delays with jitter, and what a server's `Retry-After` asks for.

use crate::util::doubled;
use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use std::time::Duration;

pub(super) const FIRST_DELAY: Duration = Duration::from_millis(500);
const DELAY_MAX: Duration = Duration::from_secs(60);
/// A server may ask for more patience than we would have had, but not for a day.
pub(super) const ASKED_MAX: Duration = Duration::from_secs(600);

/// The delays of one series of attempts.
pub(super) struct Backoff {
    first: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(first: Duration) -> Self {
        Self { first, failures: 0 }
    }

    /// Between half and all of a delay that doubles each time, or what the server asked for if
    /// that is longer.
    pub(super) fn delay(&mut self, asked: Option<Duration>) -> Duration {
        let full = doubled(self.first, self.failures, DELAY_MAX);
        self.failures += 1;
        // Without randomness the delay is merely not spread.
        let random = getrandom::u32().unwrap_or(u32::MAX);
        let spread = full.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX));
        spread.max(asked.unwrap_or_default().min(ASKED_MAX))
    }
}

/// Whether the same request can succeed later.
pub(super) fn is_temporary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 502 | 503 | 504)
}

/// `Retry-After` in seconds. The form with a date counts as absent: clocks differ.
pub(super) fn asked(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_within_their_spread_and_stop_growing() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        for full in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            let delay = backoff.delay(None).as_secs_f64();
            assert!((full / 2.0..=full).contains(&delay), "{delay} of {full}");
        }
    }

    #[test]
    fn the_server_may_ask_for_more_within_reason() {
        let mut headers = HeaderMap::new();
        assert_eq!(asked(&headers), None);
        headers.insert(RETRY_AFTER, "90".parse().unwrap());
        let spec = asked(&headers);
        assert_eq!(spec, Some(Duration::from_secs(90)));
        let mut backoff = Backoff::new(Duration::from_secs(1));
        assert_eq!(backoff.delay(spec), Duration::from_secs(90));
        assert_eq!(backoff.delay(Some(Duration::MAX)), ASKED_MAX);
        headers.insert(
            RETRY_AFTER,
            "Sun, 22 Nov 2026 04:57:48 GMT".parse().unwrap(),
        );
        assert_eq!(asked(&headers), None);
    }
}
