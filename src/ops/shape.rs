//! How old jobs are: how many in each of some buckets, of which each is twice as wide as the one before.
//!
//! One look shows what is wrong: a queue that drains has its jobs on the left, one that is stuck on the right. What is
//! held on purpose is counted apart, since nobody is to do something about it.

use crate::{
    domain::{InterfaceName, JobId},
    store::Counts,
};
use std::collections::{BTreeMap, BTreeSet};

/// Where the first bucket ends.
const FIRST_S: i64 = 5 * 60;
/// Those with an end; one more has what is older.
pub const BOUNDED: usize = 9;

/// How many jobs are how old.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    /// The last one is for all that is older.
    pub jobs: [usize; BOUNDED + 1],
    /// The same of those that wait in interfaces which are held; they are not among the others.
    pub held: [usize; BOUNDED + 1],
}

impl Ages {
    pub fn total(&self) -> usize {
        self.jobs.iter().sum()
    }

    pub fn total_held(&self) -> usize {
        self.held.iter().sum()
    }

    fn count(&mut self, age_ms: i64, is_held: bool) {
        let jobs = match is_held {
            true => &mut self.held,
            false => &mut self.jobs,
        };
        jobs[bucket_of(age_ms)] += 1;
    }
}

/// Where a bucket ends, in seconds; `None`: the last one, which has no end.
pub fn end_s(bucket: usize) -> Option<i64> {
    (bucket < BOUNDED).then_some(FIRST_S << bucket)
}

fn bucket_of(age_ms: i64) -> usize {
    let is_in = |bucket: &usize| end_s(*bucket).is_some_and(|end_s| age_ms < end_s * 1000);
    (0..BOUNDED).find(is_in).unwrap_or(BOUNDED)
}

/// The ages of jobs by what they have in common, and of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    pub all: Ages,
    pub by: BTreeMap<String, Ages>,
}

impl Shape {
    /// Counts one of a group. One that comes from a clock that was ahead is new.
    pub fn count(&mut self, group: String, age_ms: i64, is_held: bool) {
        self.all.count(age_ms, is_held);
        self.by.entry(group).or_default().count(age_ms, is_held);
    }
}

/// The jobs that have waited for longest, to be started or for their next attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oldest {
    pub waiting: Option<JobId>,
    /// The same of those in interfaces that are held.
    pub held: Option<JobId>,
}

impl Oldest {
    pub fn of(counts: &Counts, held: &BTreeSet<InterfaceName>) -> Self {
        let mut found = Self::default();
        for (interface, of) in &counts.of {
            let oldest = match held.contains(interface) {
                true => &mut found.held,
                false => &mut found.waiting,
            };
            let here = of.queued.oldest.into_iter().chain(of.deferred.oldest);
            *oldest = here.chain(*oldest).min();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::InterfaceCounts;

    #[test]
    fn each_age_has_its_bucket() {
        let cases = [
            (-1, 0),
            (0, 0),
            (299_999, 0),
            (300_000, 1),
            (600_000, 2),
            (76_799_999, 8),
            (76_800_000, 9),
            (i64::MAX, 9),
        ];
        for (age_ms, bucket) in cases {
            assert_eq!(bucket_of(age_ms), bucket, "{age_ms}");
        }
        let ends: Vec<i64> = (0..=BOUNDED).filter_map(end_s).map(|s| s / 60).collect();
        assert_eq!(ends, [5, 10, 20, 40, 80, 160, 320, 640, 1280]);
    }

    #[test]
    fn all_are_counted_once_and_with_their_group() {
        let mut shape = Shape::default();
        for (group, age_ms, is_held) in [
            ("a", 0, false),
            ("a", 400_000, false),
            ("b", 0, false),
            ("b", 400_000, true),
        ] {
            shape.count(group.into(), age_ms, is_held);
        }
        assert_eq!((shape.all.total(), shape.all.total_held()), (3, 1));
        assert_eq!(shape.by["b"].held[..2], [0, 1]);
        assert_eq!(shape.all.jobs[..2], [2, 1]);
        assert_eq!(shape.by["a"].jobs[..2], [1, 1]);
        assert_eq!(shape.by["b"].total(), 1);
    }

    #[test]
    fn what_is_held_is_not_what_waits_for_longest() {
        let [first, second, third] = [1, 2, 3].map(|n| JobId::from_number(n << 12));
        let at = |oldest| [oldest].into_iter().collect();
        let (mut a, mut b) = (InterfaceCounts::default(), InterfaceCounts::default());
        (a.queued, b.queued, b.deferred) = (at(first), at(third), at(second));
        // It waits for nobody any more, and for nobody yet.
        (b.done, b.running) = (at(first), at(first));
        let [name_a, name_b] = ["a", "b"].map(|name| name.parse::<InterfaceName>().unwrap());
        let counts = Counts {
            of: [(name_a.clone(), a), (name_b, b)].into(),
            ..Counts::default()
        };
        let oldest = |held| Oldest::of(&counts, &held);
        let all = Oldest {
            waiting: Some(first),
            held: None,
        };
        assert_eq!(oldest(BTreeSet::new()), all);
        let apart = Oldest {
            waiting: Some(second),
            held: Some(first),
        };
        assert_eq!(oldest([name_a].into()), apart);
        assert_eq!(
            Oldest::of(&Counts::default(), &BTreeSet::new()),
            Oldest::default()
        );
    }
}
