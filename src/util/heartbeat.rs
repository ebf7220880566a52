//! Whether a loop still goes round, for whoever would end the process when one does not.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A loop beats at least so often while it has nothing to do.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

/// Of one loop.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    begun: Instant,
    /// Milliseconds since then.
    last_ms: AtomicU64,
    is_resting: AtomicBool,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            last_ms: AtomicU64::new(0),
            is_resting: AtomicBool::new(false),
        }
    }
}

impl Heartbeat {
    /// The loop goes round.
    pub(crate) fn beat(&self) {
        self.last_ms.store(self.now_ms(), Ordering::Relaxed);
        self.is_resting.store(false, Ordering::Relaxed);
    }

    /// Until the next beat the loop is where waiting is no fault of its own, as on a disk, or it has ended.
    pub(crate) fn rest(&self) {
        self.is_resting.store(true, Ordering::Relaxed);
    }

    /// Has it beaten lately, or does it rest?
    pub(crate) fn is_alive(&self, patience: Duration) -> bool {
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let since_ms = self
            .now_ms()
            .saturating_sub(self.last_ms.load(Ordering::Relaxed));
        self.is_resting.load(Ordering::Relaxed) || since_ms <= patience_ms
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::until;

    #[test]
    fn a_loop_that_stands_still_is_seen() {
        let heartbeat = Heartbeat::default();
        let patience = Duration::from_millis(20);
        let stands_still = || (!heartbeat.is_alive(patience)).then_some(());
        until::blocking("a loop that stands still", stands_still);
        heartbeat.rest();
        assert!(heartbeat.is_alive(patience));
        heartbeat.beat();
        assert!(heartbeat.is_alive(Duration::from_secs(60)));
        until::blocking("a loop that stands still again", stands_still);
    }
}
