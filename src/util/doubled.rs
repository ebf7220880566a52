//! Delays that double.

use std::time::Duration;

/// `first`, doubled so many times, and at most `longest`.
pub(crate) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    let factor = 1_u32.checked_shl(times).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_grows_to_its_limit_and_stays_there() {
        let seconds = |times| doubled(Duration::from_secs(1), times, Duration::from_secs(60));
        let delays: Vec<u64> = (0..8).map(|times| seconds(times).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(seconds(u32::MAX).as_secs(), 60);
        assert_eq!(doubled(Duration::MAX, 31, Duration::MAX), Duration::MAX);
    }
}
