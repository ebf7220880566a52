//! Where ids come from: unique forever, rising as long as the clock is nearly right.
//!
//! Ids tell the time, and the clock may be wrong. One that is up to an hour behind the last id is
//! waited for: ids go on above it. One that is set back by more than that has been wrong before, so
//! ids go on from the true time, and those that were given out in the false future are skipped when
//! their time comes. For that the ranges of the ids that were given out are kept, few and large.

use super::name::{JobId, SEQUENCE_BITS, SEQUENCE_MAX};

/// How far the clock may be behind the last id: an hour.
const BEHIND_MAX: u64 = (60 * 60 * 1000) << SEQUENCE_BITS;
/// Ranges that are kept. Each pause of more than an hour begins one, so the closest are joined.
pub const RANGES_MAX: usize = 16;

/// Ids that were given out, or may have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    pub first: u64,
    pub last: u64,
    /// Which was begun before which.
    pub born: u64,
}

/// The source of ids.
/// Invariant: sorted, apart from each other, at most [`RANGES_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids(Vec<Range>);

/// What had been given out at a moment, or could have been.
#[derive(Clone, Debug)]
pub struct Horizon {
    ids: Ids,
    until: u64,
}

impl Horizon {
    /// Had this id been given out? True also of some that had not, and are not later than the moment.
    pub fn has(&self, id: JobId) -> bool {
        id.get() <= self.until || self.ids.holding(id.get()).is_some()
    }
}

impl Ids {
    /// Ids will be later than the moment `floor_ms` (milliseconds of the Unix epoch), unless the
    /// clock is much behind it.
    pub fn above(floor_ms: i64) -> Self {
        let floor = JobId::new(floor_ms, SEQUENCE_MAX).map(JobId::get);
        let range = |id| Range {
            first: id,
            last: id,
            born: 0,
        };
        Self(floor.map(range).into_iter().collect())
    }

    /// The source that had these ranges.
    pub fn of(ranges: impl IntoIterator<Item = Range>) -> Self {
        let mut ranges: Vec<Range> = ranges.into_iter().collect();
        ranges.sort_unstable_by_key(|range| range.first);
        Self(ranges)
    }

    pub fn ranges(&self) -> &[Range] {
        &self.0
    }

    /// The next id; its time is `now_ms` unless that has been used up or passed already.
    pub fn next(&mut self, now_ms: i64) -> JobId {
        let now = self.time(now_ms, 0);
        let mut id = now.max(self.floor(now) + 1);
        while let Some(range) = self.holding(id) {
            id = range.last + 1;
        }
        self.note(JobId::from_number(id));
        JobId::from_number(id)
    }

    /// This id was given out.
    pub fn note(&mut self, id: JobId) {
        let id = id.get();
        if self.holding(id).is_some() {
            return;
        }
        let newest = (0..self.0.len()).max_by_key(|at| self.0[*at].born);
        let born = newest.map_or(0, |at| self.0[at].born + 1);
        let at = self.0.partition_point(|range| range.last < id);
        match newest {
            // Nothing lies in between.
            Some(newest) if newest + 1 == at && id - self.0[newest].last <= BEHIND_MAX => {
                self.0[newest].last = id;
            }
            Some(_) | None => {
                let (first, last) = (id, id);
                self.0.insert(at, Range { first, last, born });
            }
        }
        if self.0.len() > RANGES_MAX {
            self.join();
        }
    }

    /// What has been given out so far, or is of a moment up to `now_ms`.
    pub fn horizon(&self, now_ms: i64) -> Horizon {
        Horizon {
            ids: self.clone(),
            until: self.latest(now_ms).get(),
        }
    }

    /// The last id that was given out, or could have been, by a clock that is nearly right.
    pub fn latest(&self, now_ms: i64) -> JobId {
        let now = self.time(now_ms, SEQUENCE_MAX);
        JobId::from_number(now.max(self.floor(now)))
    }

    /// By this, ids are in the order in which they were given out.
    pub fn order(&self, id: JobId) -> (u64, JobId) {
        let born = self.holding(id.get()).map_or(0, |range| range.born);
        (born, id)
    }

    /// Has no later id been lower? False once a clock that was wrong has been put right.
    pub fn have_risen(&self) -> bool {
        self.0.is_sorted_by_key(|range| range.born)
    }

    /// A clock that shows no time for which there are ids stands still at the last one.
    fn time(&self, now_ms: i64, sequence: u64) -> u64 {
        let newest = self.0.iter().max_by_key(|range| range.born);
        let last = newest.map_or(0, |range| range.last);
        JobId::new(now_ms, sequence).map_or(last, JobId::get)
    }

    /// The last id that was given out, of those for which the clock is not too much behind.
    fn floor(&self, now: u64) -> u64 {
        let near = |range: &&Range| range.last <= now.saturating_add(BEHIND_MAX);
        self.0.iter().rfind(near).map_or(0, |range| range.last)
    }

    fn holding(&self, id: u64) -> Option<Range> {
        let at = self.0.partition_point(|range| range.last < id);
        self.0.get(at).copied().filter(|range| range.first <= id)
    }

    /// Joins the two ranges that are closest, except the newest, above which ids go on. What lies
    /// between them is then never given out.
    fn join(&mut self) {
        let newest = self.0.iter().map(|range| range.born).max();
        let gap = |at: usize| {
            let two = &self.0[at..at + 2];
            let apart = two.iter().all(|range| Some(range.born) != newest);
            apart.then(|| (two[1].first - two[0].last, at))
        };
        let Some((_, at)) = (0..self.0.len() - 1).filter_map(gap).min() else {
            return;
        };
        let second = self.0.remove(at + 1);
        let first = &mut self.0[at];
        first.last = second.last;
        first.born = first.born.max(second.born);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::parse_stamp;
    use std::collections::BTreeSet;

    const HOUR_MS: i64 = 60 * 60 * 1000;
    const YEAR_MS: i64 = 365 * 24 * HOUR_MS;

    fn now() -> i64 {
        parse_stamp("20261122T045748.123Z").unwrap()
    }

    #[test]
    fn ids_rise_when_the_clock_does_not() {
        let now = now();
        let mut ids = Ids::above(now);
        let mut last = JobId::new(now, SEQUENCE_MAX).unwrap();
        for step in [0, -5000, 0, 0, 1, 2, -HOUR_MS + 60_000] {
            for _ in 0..5000 {
                let id = ids.next(now + step);
                assert!(id > last);
                last = id;
            }
        }
        let later = ids.next(now + 60_000);
        assert_eq!(later.unix_ms(), now + 60_000);
        assert_eq!(later.get() & SEQUENCE_MAX, 0);
    }

    /// A year ahead for a while, put right, and the year passes.
    #[test]
    fn ids_tell_the_time_again_after_a_leap_and_none_comes_twice() {
        let now = now();
        let mut ids = Ids::above(now - 1);
        let mut all = BTreeSet::new();
        let mut give = |ids: &mut Ids, ms: i64| {
            let id = ids.next(ms);
            assert!(all.insert(id), "{id:?} twice");
            id
        };
        let before = give(&mut ids, now);
        let ahead: Vec<JobId> = (0..10).map(|n| give(&mut ids, now + YEAR_MS + n)).collect();
        let after = give(&mut ids, now + 1000);
        assert_eq!(after.unix_ms(), now + 1000);
        // Over a restart, which reads what the mark says.
        let mut ids = Ids::of(ids.ranges().iter().copied());
        let again = give(&mut ids, now + 1000);
        assert_eq!(again.unix_ms(), now + 1000);
        let order = |id: &JobId| ids.order(*id);
        let mut arrived = vec![again, ahead[9], before, after, ahead[0]];
        arrived.sort_by_key(order);
        assert_eq!(arrived, [before, ahead[0], ahead[9], after, again]);
        let horizon = ids.horizon(now + 1000);
        assert!(horizon.has(ahead[9]) && horizon.has(again));
        let later = give(&mut ids, now + 2000);
        assert!(!horizon.has(later), "it came after the listing");
        // The false future becomes the present.
        for n in 0..10 {
            assert!(give(&mut ids, now + YEAR_MS + n) > ahead[9]);
        }
    }

    /// Two hours ahead from the beginning: what was given out is in the way, so ids go on above it.
    #[test]
    fn ids_in_the_way_are_passed() {
        let now = now();
        let mut ids = Ids::above(now - 1);
        for minute in 0..120 {
            ids.next(now + minute * 60_000);
        }
        let last = ids.next(now + 2 * HOUR_MS);
        let next = ids.next(now + 60_000);
        assert!(next > last, "{next:?}");
        assert_eq!(ids.next(now + 3 * HOUR_MS).unix_ms(), now + 3 * HOUR_MS);
    }

    #[test]
    fn ranges_are_few_and_those_to_come_are_kept_apart() {
        let now = now();
        let mut ids = Ids::above(now - 1);
        let far = ids.next(now + YEAR_MS);
        for day in 0..100 {
            let id = ids.next(now + day * 24 * HOUR_MS);
            assert_eq!(id.unix_ms(), now + day * 24 * HOUR_MS);
        }
        assert_eq!(ids.ranges().len(), RANGES_MAX);
        assert!(ids.next(now + YEAR_MS) > far);
    }

    #[test]
    fn a_clock_without_ids_stands_still() {
        let mut ids = Ids::above(now());
        let first = ids.next(now() + 1);
        for nonsense in [i64::MIN, 0, i64::MAX] {
            assert!(ids.next(nonsense) > first, "{nonsense}");
        }
        assert!(Ids::above(0).next(0).get() > 0);
    }
}
