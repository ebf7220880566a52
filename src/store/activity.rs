//! How many jobs came and ended lately: by minutes for an hour, by quarters of an hour for a day, in rings that forget
//! by themselves. Pure.

use crate::domain::InterfaceName;
use std::collections::BTreeMap;

const MINUTE_MS: i64 = 60 * 1000;
/// The days of every time zone begin with one.
const QUARTER_MS: i64 = 15 * MINUTE_MS;
/// The present minute and those of an hour before.
const MINUTES: usize = 61;
/// A day can have 25 hours.
const QUARTERS: usize = 26 * 4;

/// How many jobs came, or ended so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Whether they were accepted or refused.
    pub came: u32,
    /// Worked off, or retrieved.
    pub done: u32,
    /// For good.
    pub failed: u32,
    pub refused: u32,
}

impl Tally {
    pub fn accepted(&self) -> u32 {
        self.came.saturating_sub(self.refused)
    }

    /// How many came to an end.
    pub fn ended(&self) -> u32 {
        self.done
            .saturating_add(self.failed)
            .saturating_add(self.refused)
    }

    /// Which part of those that ended has failed or was refused; none of none.
    pub fn error_rate(&self) -> f64 {
        let wrong = f64::from(self.failed) + f64::from(self.refused);
        wrong / (wrong + f64::from(self.done)).max(1.0)
    }

    fn count(&mut self, what: Happened) {
        *match what {
            Happened::Came => &mut self.came,
            Happened::Done => &mut self.done,
            Happened::Failed => &mut self.failed,
            Happened::Refused => &mut self.refused,
        } += 1;
    }

    fn add(&mut self, other: Self) {
        self.came += other.came;
        self.done += other.done;
        self.failed += other.failed;
        self.refused += other.refused;
    }
}

/// What is counted of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    Came,
    Done,
    Failed,
    Refused,
}

/// The last `N` spans of time.
#[derive(Clone, Debug)]
struct Ring<const N: usize> {
    span_ms: i64,
    /// The number of the span that is the latest, counted from the Unix epoch.
    latest: i64,
    tallies: [Tally; N],
}

impl<const N: usize> Ring<N> {
    fn new(span_ms: i64) -> Self {
        Self {
            span_ms,
            latest: 0,
            tallies: [Tally::default(); N],
        }
    }

    /// That of a span, which may be a new one. `None`: it is too long ago.
    fn tally(&mut self, span: i64) -> Option<&mut Tally> {
        let passed = span.saturating_sub(self.latest).clamp(0, N as i64);
        for later in 0..passed {
            self.tallies[Self::index(span - later)] = Tally::default();
        }
        self.latest = self.latest.max(span);
        let is_there = span >= 0 && self.latest - span < N as i64;
        is_there.then(|| &mut self.tallies[Self::index(span)])
    }

    fn index(span: i64) -> usize {
        usize::try_from(span.rem_euclid(N as i64)).unwrap_or(0)
    }

    fn count(&mut self, at_ms: i64, what: Happened) {
        if let Some(tally) = self.tally(at_ms.div_euclid(self.span_ms)) {
            tally.count(what);
        }
    }

    fn spans(&self) -> impl Iterator<Item = (i64, Tally)> + '_ {
        let first = (self.latest - (N as i64 - 1)).max(0);
        (first..=self.latest).map(|span| (span, self.tallies[Self::index(span)]))
    }

    fn add(&mut self, other: &Self) {
        for (span, tally) in other.spans() {
            if let Some(own) = self.tally(span) {
                own.add(tally);
            }
        }
    }

    /// Of the spans that begin then or later, and before the other moment.
    fn between(&self, from_ms: i64, before_ms: i64) -> Tally {
        let mut sum = Tally::default();
        let of = self.spans().filter(|(span, _)| {
            let begin_ms = span * self.span_ms;
            begin_ms >= from_ms && begin_ms < before_ms
        });
        of.for_each(|(_, tally)| sum.add(tally));
        sum
    }
}

/// What happened lately in an interface, or in all. Moments are milliseconds of the Unix epoch.
#[derive(Clone, Debug)]
pub struct Recent {
    minutes: Ring<MINUTES>,
    quarters: Ring<QUARTERS>,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            minutes: Ring::new(MINUTE_MS),
            quarters: Ring::new(QUARTER_MS),
        }
    }
}

impl Recent {
    /// Of the quarters of an hour that begin then or later, and before the other moment: of a day or an hour by the
    /// clock, as far as that is not more than a day ago.
    pub fn between(&self, from_ms: i64, before_ms: i64) -> Tally {
        self.quarters.between(from_ms, before_ms)
    }

    /// The last sixty minutes by the clock that are over, the latest last.
    pub fn minutes(&self, now_ms: i64) -> [Tally; 60] {
        let present_ms = now_ms.div_euclid(MINUTE_MS) * MINUTE_MS;
        let begin_ms = |n: usize| present_ms - (60 - n as i64) * MINUTE_MS;
        std::array::from_fn(|n| self.minutes.between(begin_ms(n), begin_ms(n + 1)))
    }

    fn count(&mut self, at_ms: i64, what: Happened) {
        self.minutes.count(at_ms, what);
        self.quarters.count(at_ms, what);
    }

    fn add(&mut self, other: &Self) {
        self.minutes.add(&other.minutes);
        self.quarters.add(&other.quarters);
    }
}

/// What happened lately.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    pub all: Recent,
    of: BTreeMap<InterfaceName, Recent>,
}

impl Activity {
    pub fn of(&self, interface: &InterfaceName) -> Recent {
        self.of.get(interface).cloned().unwrap_or_default()
    }

    pub(super) fn count(&mut self, interface: Option<&InterfaceName>, at_ms: i64, what: Happened) {
        self.all.count(at_ms, what);
        let Some(interface) = interface else {
            return;
        };
        match self.of.get_mut(interface) {
            Some(recent) => recent.count(at_ms, what),
            None => {
                let recent = self.of.entry(interface.clone()).or_default();
                recent.count(at_ms, what);
            }
        }
    }

    /// Adds what was counted otherwise.
    pub(super) fn add(&mut self, other: &Self) {
        self.all.add(&other.all);
        for (interface, recent) in &other.of {
            self.of.entry(interface.clone()).or_default().add(recent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first millisecond of a quarter of an hour.
    const NOW_MS: i64 = 2_000_000 * QUARTER_MS;

    #[test]
    fn minutes_that_are_over_are_told_one_by_one() {
        let mut recent = Recent::default();
        for minutes_ago in [0, 1, 1, 60, 61, 200] {
            recent.count(NOW_MS - minutes_ago * MINUTE_MS, Happened::Done);
        }
        let minutes = recent.minutes(NOW_MS + 59_999);
        let told: Vec<(usize, u32)> = minutes
            .iter()
            .enumerate()
            .filter(|(_, tally)| tally.done > 0)
            .map(|(n, tally)| (n, tally.done))
            .collect();
        assert_eq!(told, [(0, 1), (59, 2)]);
        // What nobody adds to is forgotten all the same.
        assert_eq!(recent.minutes(NOW_MS + MINUTE_MS)[59].done, 1);
        assert_eq!(
            recent.minutes(NOW_MS + 100 * MINUTE_MS),
            [Tally::default(); 60]
        );
    }

    #[test]
    fn a_day_is_the_sum_of_its_quarters() {
        let mut recent = Recent::default();
        for quarter in 0..200 {
            recent.count(NOW_MS + quarter * QUARTER_MS, Happened::Came);
            recent.count(NOW_MS + quarter * QUARTER_MS + 7, Happened::Refused);
        }
        let end_ms = NOW_MS + 200 * QUARTER_MS;
        let day = recent.between(end_ms - 96 * QUARTER_MS, end_ms);
        assert_eq!((day.came, day.refused, day.accepted()), (96, 96, 0));
        let hour = recent.between(end_ms - 8 * QUARTER_MS, end_ms - 4 * QUARTER_MS);
        assert_eq!(hour.came, 4);
        let all = recent.between(0, i64::MAX);
        assert_eq!(all.came, QUARTERS as u32, "what is older is forgotten");
    }

    #[test]
    fn two_counts_add_up_in_either_order() {
        let [a, b] = ["a", "b"].map(|name| name.parse::<InterfaceName>().unwrap());
        let (mut early, mut late) = (Activity::default(), Activity::default());
        early.count(Some(&a), NOW_MS, Happened::Failed);
        early.count(None, NOW_MS + QUARTER_MS, Happened::Refused);
        late.count(Some(&a), NOW_MS + QUARTER_MS, Happened::Done);
        late.count(Some(&b), NOW_MS + 50 * QUARTER_MS, Happened::Done);
        for (mut one, other) in [(early.clone(), &late), (late.clone(), &early)] {
            one.add(other);
            let all = one.all.between(0, i64::MAX);
            assert_eq!((all.failed, all.refused, all.done), (1, 1, 2));
            let of_a = one.of(&a).between(NOW_MS, NOW_MS + 2 * QUARTER_MS);
            assert_eq!((of_a.failed, of_a.done), (1, 1));
            assert!((of_a.error_rate() - 0.5).abs() < 1e-9);
            assert_eq!((of_a.ended(), all.ended()), (2, 4));
        }
        assert!(Tally::default().error_rate().abs() < 1e-9);
    }
}
