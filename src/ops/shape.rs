//! How old jobs are: how many in each of some buckets, of which each is twice as wide as the one before.
//!
//! One look shows what is wrong: a queue that drains has its jobs on the left, one that is stuck on the right.

use std::collections::BTreeMap;

/// Where the first bucket ends.
const FIRST_S: i64 = 5 * 60;
/// Those with an end; one more has what is older.
pub const BOUNDED: usize = 9;

/// How many jobs are how old.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    /// The last one is for all that is older.
    pub jobs: [usize; BOUNDED + 1],
}

impl Ages {
    pub fn total(&self) -> usize {
        self.jobs.iter().sum()
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
    pub fn count(&mut self, group: String, age_ms: i64) {
        let bucket = bucket_of(age_ms);
        self.all.jobs[bucket] += 1;
        self.by.entry(group).or_default().jobs[bucket] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for (group, age_ms) in [("a", 0), ("a", 400_000), ("b", 0)] {
            shape.count(group.into(), age_ms);
        }
        assert_eq!(shape.all.total(), 3);
        assert_eq!(shape.all.jobs[..2], [2, 1]);
        assert_eq!(shape.by["a"].jobs[..2], [1, 1]);
        assert_eq!(shape.by["b"].total(), 1);
    }
}
