//! When a receiver is sent to: what has failed is tried again, later and later, and a receiver that fails rests.
//! Pure.
//!
//! Each event has a wait of its own, so that one which a receiver never takes does not keep the others from it. The
//! receiver has one, too, so that one which is away is not asked by each event that waits. How often an event was tried
//! is the store's to know, so a restart goes on where it was.

use crate::{store::events::EventId, util::doubled};
use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

/// The first wait of either.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// An event is tried again after so long at the latest.
pub(super) const EVENT_WAIT_MAX: Duration = Duration::from_secs(600);
/// A receiver rests so long, unless it asks for more.
const REST_MAX: Duration = Duration::from_secs(60);
/// So many events have failed and wait for their next attempt; beyond that no others are tried.
const FAILED_MAX: usize = 1000;

/// How a receiver does.
pub(super) struct Pace {
    at_once: usize,
    under_way: usize,
    /// In a row.
    failures: u32,
    rests_until: Option<Instant>,
    /// Those that were tried in vain, and when they are tried again.
    failed: HashMap<EventId, Instant>,
    /// Under way, or delivered without a record of it yet.
    busy: HashSet<EventId>,
}

/// What follows from an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// The receiver took the one before.
    pub(super) is_first: bool,
    /// The event is not tried again earlier.
    pub(super) wait: Duration,
}

impl Pace {
    /// For a receiver that takes so many events at the same time, and was sent these in vain before.
    pub(super) fn new(at_once: usize, failed: HashMap<EventId, Instant>) -> Self {
        Self {
            at_once,
            under_way: 0,
            failures: 0,
            rests_until: None,
            failed,
            busy: HashSet::new(),
        }
    }

    /// How many events can be sent now. One that has failed is tried with one.
    pub(super) fn room(&self, now: Instant) -> usize {
        let rests = self.rests_until.is_some_and(|until| until > now);
        let waiting = self.failed.values().filter(|due| **due > now).count();
        if rests || waiting >= FAILED_MAX {
            return 0;
        }
        let most = if self.failures == 0 { self.at_once } else { 1 };
        most.saturating_sub(self.under_way)
    }

    /// Those that are not to be sent now.
    pub(super) fn without(&self, now: Instant) -> HashSet<EventId> {
        let waiting = self.failed.iter().filter(|(_, due)| **due > now);
        let waiting = waiting.map(|(id, _)| *id);
        waiting.chain(self.busy.iter().copied()).collect()
    }

    /// When there may be room, or an event to be tried again, without any news. `None`: not before there is news.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let dues = self.failed.values().copied();
        dues.chain(self.rests_until).filter(|due| *due > now).min()
    }

    pub(super) fn sent(&mut self, id: EventId) {
        self.under_way += 1;
        self.busy.insert(id);
    }

    /// True: it had failed before.
    pub(super) fn delivered(&mut self, id: EventId) -> bool {
        self.under_way -= 1;
        self.failed.remove(&id);
        self.rests_until = None;
        std::mem::take(&mut self.failures) > 0
    }

    /// The receiver is another one from now on, which takes so many events at the same time: it is tried at once.
    pub(super) fn renew(&mut self, at_once: usize) {
        self.at_once = at_once;
        self.failures = 0;
        self.rests_until = None;
        self.failed.clear();
    }

    /// An event was not taken by the receiver that was another one then.
    pub(super) fn given_back(&mut self, id: EventId) {
        self.under_way -= 1;
        self.busy.remove(&id);
    }

    /// That it was delivered is recorded.
    pub(super) fn recorded(&mut self, id: EventId) {
        self.busy.remove(&id);
    }

    /// An event was not taken, as so often before. `after`: how long the receiver asks to be left alone.
    pub(super) fn failed(
        &mut self,
        (id, attempts): (EventId, u32),
        now: Instant,
        after: Option<Duration>,
    ) -> Failed {
        self.under_way -= 1;
        self.busy.remove(&id);
        self.failed.retain(|_, due| now < *due);
        let wait = doubled(WAIT_MIN, attempts, EVENT_WAIT_MAX);
        self.failed.insert(id, now + wait);
        let rest = doubled(WAIT_MIN, self.failures, REST_MAX);
        let rest = rest.max(after.unwrap_or_default().min(EVENT_WAIT_MAX));
        self.rests_until = Some(now + rest);
        self.failures = self.failures.saturating_add(1);
        Failed {
            is_first: self.failures == 1,
            wait: wait.max(rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::events::EventKind;

    fn id(n: usize) -> EventId {
        EventId::of(EventKind::JobDone, &n.to_string())
    }

    fn new() -> Pace {
        Pace::new(8, HashMap::new())
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_receiver_that_fails_rests_longer_and_longer_and_is_tried_with_one() {
        let (mut pace, mut now) = (new(), Instant::now());
        assert_eq!((pace.room(now), pace.next(now)), (8, None));
        let mut rests = Vec::new();
        for n in 0..9 {
            pace.sent(id(n));
            let failed = pace.failed((id(n), 0), now, None);
            assert_eq!(failed.is_first, n == 0);
            let rest = (0..).map(s).find(|rest| pace.room(now + *rest) > 0);
            assert_eq!(rest, Some(failed.wait));
            rests.push(rest.unwrap().as_secs());
            now += rest.unwrap();
            assert_eq!(pace.room(now), 1);
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        pace.sent(id(9));
        assert_eq!(pace.room(now), 0, "one at once");
        assert!(pace.delivered(id(9)));
        assert_eq!(pace.room(now), 8);
        pace.sent(id(10));
        assert!(!pace.delivered(id(10)));
    }

    #[test]
    fn an_event_that_is_never_taken_waits_longer_and_longer_and_keeps_no_other_back() {
        let (mut pace, mut now) = (new(), Instant::now());
        let mut waits = Vec::new();
        for n in 1..=12 {
            pace.sent(id(0));
            pace.failed((id(0), n as u32 - 1), now, None);
            assert!(pace.without(now).contains(&id(0)));
            now += s(1);
            // Another one is taken meanwhile.
            pace.sent(id(n));
            assert!(pace.without(now).contains(&id(n)));
            pace.delivered(id(n));
            assert!(pace.without(now).contains(&id(n)), "that is not recorded");
            pace.recorded(id(n));
            assert_eq!(pace.room(now), 8);
            let due = pace.next(now - s(1)).unwrap();
            waits.push((due + s(1) - now).as_secs());
            now = due.max(now);
            assert!(pace.without(now).is_empty());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
    }

    #[test]
    fn a_receiver_is_left_alone_as_long_as_it_asks_within_bounds() {
        for (asked, rests) in [(0, 1), (30, 30), (86_400, 600)] {
            let (mut pace, now) = (new(), Instant::now());
            pace.sent(id(0));
            let failed = pace.failed((id(0), 0), now, Some(s(asked)));
            assert_eq!(failed.wait, s(rests));
            assert_eq!(pace.room(now + s(rests) - Duration::from_millis(1)), 0);
            assert_eq!(pace.room(now + s(rests)), 1);
        }
    }

    #[test]
    fn another_receiver_is_tried_at_once_though_the_one_before_has_failed() {
        let (mut pace, now) = (new(), Instant::now());
        for n in 0..3 {
            pace.sent(id(n));
        }
        pace.failed((id(0), 9), now, Some(s(600)));
        assert_eq!(pace.room(now), 0);
        pace.renew(4);
        assert_eq!(pace.room(now), 2, "two are under way to the one before");
        assert_eq!(pace.without(now), [id(1), id(2)].into());
        pace.given_back(id(1));
        assert_eq!(pace.without(now), [id(2)].into());
        assert!(!pace.delivered(id(2)));
        assert_eq!((pace.room(now), pace.next(now)), (4, None));
    }

    #[test]
    fn what_has_failed_is_bounded() {
        let (mut pace, now) = (new(), Instant::now());
        for n in 0..FAILED_MAX {
            pace.sent(id(n));
            pace.failed((id(n), 0), now, None);
            pace.failures = 0;
            pace.rests_until = None;
            assert_eq!(pace.room(now) > 0, n + 1 < FAILED_MAX);
        }
        let later = now + EVENT_WAIT_MAX;
        assert_eq!(pace.room(later), 8);
        pace.sent(id(0));
        pace.failed((id(0), 1), later, None);
        assert_eq!(pace.failed.len(), 1, "the others are due");
    }

    #[test]
    fn what_has_failed_before_is_left_alone_until_it_is_due() {
        let now = Instant::now();
        let pace = Pace::new(8, [(id(0), now + s(5)), (id(1), now)].into());
        assert_eq!(pace.without(now), [id(0)].into());
        assert_eq!((pace.room(now), pace.next(now)), (8, Some(now + s(5))));
        assert!(pace.without(now + s(5)).is_empty());
    }
}
