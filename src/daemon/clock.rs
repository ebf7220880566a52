//! Leaps of the clock: the wall clock held against one that never leaps.
//!
//! A clock is set when a machine has been asleep, is restored, or trusts a wrong time server. What
//! waits here for a moment keeps its wait instead of the moment (`src/worker/waits.rs`,
//! `src/daemon/timetable.rs`); this file notices and reports.

use jiff::Timestamp;
use parking_lot::Mutex;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The clocks are compared so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A clock that is slewed gains or loses less between two looks.
const LEAP_MS_MIN: i64 = 3_000;
/// A leap is a warning of `/readyz` for so long.
const WARN_FOR: Duration = Duration::from_secs(60 * 60);

/// The difference between two clocks, as long as it changes slowly.
#[derive(Debug, Default)]
pub(super) struct Leaps {
    offset_ms: Option<i64>,
}

impl Leaps {
    /// By how much the wall clock was set since the last look, forward if positive. Both are in
    /// milliseconds; only `wall_ms` can be set.
    pub(super) fn look(&mut self, wall_ms: i64, steady_ms: i64) -> Option<i64> {
        let offset_ms = wall_ms - steady_ms;
        let before_ms = self.offset_ms.replace(offset_ms)?;
        let leap_ms = offset_ms - before_ms;
        (leap_ms.abs() >= LEAP_MS_MIN).then_some(leap_ms)
    }
}

/// A clock that no one sets, in milliseconds since some moment.
pub(super) fn steady_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// Watches the clock for the whole service.
#[derive(Default)]
pub(super) struct ClockWatch {
    last: Mutex<Option<(Instant, String)>>,
}

impl ClockWatch {
    /// Looks until `stop`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let mut leaps = Leaps::default();
        loop {
            if let Some(leap_ms) = leaps.look(Timestamp::now().as_millisecond(), steady_ms()) {
                self.leapt(leap_ms);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn leapt(&self, leap_ms: i64) {
        let told = sentence(leap_ms, Timestamp::now());
        tracing::warn!(
            leap_ms,
            "{told}. Waits of jobs are kept; check the time service"
        );
        let mut last = self.last.lock();
        *last = Some((Instant::now(), told));
    }

    /// The last leap, for an hour.
    pub(super) fn warning(&self) -> Option<String> {
        let last = self.last.lock();
        let (at, told) = last.as_ref()?;
        (at.elapsed() < WARN_FOR).then(|| told.clone())
    }
}

fn sentence(leap_ms: i64, now: Timestamp) -> String {
    let way = if leap_ms > 0 { "forward" } else { "back" };
    let by_s = leap_ms.unsigned_abs() / 1000;
    format!("the clock was set {way} by {by_s} s, to {now:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_is_seen_once_with_its_size_and_way() {
        let mut leaps = Leaps::default();
        assert_eq!(leaps.look(1_000_000, 500), None, "nothing to compare with");
        assert_eq!(leaps.look(1_001_000, 1_500), None);
        assert_eq!(leaps.look(3_602_000, 2_500), Some(2_600_000));
        assert_eq!(leaps.look(3_603_000, 3_500), None, "the leap was reported");
        assert_eq!(leaps.look(1_004_000, 4_500), Some(-2_600_000));
        // A long sleep of the process is none, and neither is a slewed clock.
        assert_eq!(leaps.look(91_004_000, 90_004_500), None);
        let mut wall_ms = 91_004_000;
        for second in 1..100 {
            wall_ms += 1_500;
            assert_eq!(leaps.look(wall_ms, 90_004_500 + second * 1000), None);
        }
    }

    #[test]
    fn a_leap_is_a_warning_that_says_how_much_and_which_way() {
        let clock = ClockWatch::default();
        assert_eq!(clock.warning(), None);
        clock.leapt(31_536_000_500);
        let told = clock.warning().unwrap();
        assert!(
            told.starts_with("the clock was set forward by 31536000 s, to 2"),
            "{told}"
        );
        clock.leapt(-4_000);
        assert!(clock.warning().unwrap().contains("back by 4 s"));
    }
}
