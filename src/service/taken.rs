//! Which parts of a job a user has taken so far: once they are all of it, the job is retrieved.
//!
//! They are in memory: a restart forgets them, and then the job stays queued until it is taken again.

use crate::domain::JobName;
use parking_lot::Mutex;
use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// Most parts of one job that are remembered apart; those that touch are one.
const PARTS_MAX: usize = 64;
/// Most jobs, each of a user, of which parts are remembered; then the oldest job is forgotten.
const JOBS_MAX: usize = 1024;

#[derive(Default)]
pub(super) struct Taken(Mutex<BTreeMap<(JobName, Arc<str>), ByteRanges>>);

/// Ranges of bytes in order, which neither overlap nor touch.
#[derive(Clone, Default)]
struct ByteRanges(Vec<Range<u64>>);

impl ByteRanges {
    /// With one part more. Those that are too many are left out.
    fn with(&self, part: &Range<u64>) -> Self {
        let mut merged = part.clone();
        let mut parts = Vec::with_capacity(self.0.len() + 1);
        for known in &self.0 {
            if known.end < merged.start || known.start > merged.end {
                parts.push(known.clone());
            } else {
                merged = merged.start.min(known.start)..merged.end.max(known.end);
            }
        }
        parts.push(merged);
        parts.sort_by_key(|part| part.start);
        parts.truncate(PARTS_MAX);
        Self(parts)
    }

    fn are_all(&self, bytes: u64) -> bool {
        matches!(self.0[..], [Range { start: 0, end }] if end >= bytes)
    }
}

impl Taken {
    /// Would this part of a job of so many bytes be the last that its user lacks?
    pub(super) fn would_be_all(
        &self,
        job: &JobName,
        user: &Arc<str>,
        part: &Range<u64>,
        bytes: u64,
    ) -> bool {
        let all = self.0.lock();
        let known = all.get(&(job.clone(), user.clone()));
        known.cloned().unwrap_or_default().with(part).are_all(bytes)
    }

    /// A part has arrived. True when the user has all of the job now; then it is forgotten.
    pub(super) fn add(
        &self,
        job: &JobName,
        user: &Arc<str>,
        part: &Range<u64>,
        bytes: u64,
    ) -> bool {
        let mut all = self.0.lock();
        let key = (job.clone(), user.clone());
        let parts = all.remove(&key).unwrap_or_default().with(part);
        let are_all = parts.are_all(bytes);
        if !are_all {
            if all.len() >= JOBS_MAX {
                all.pop_first();
            }
            all.insert(key, parts);
        }
        are_all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{JobId, Kind, settings};
    use proptest::{collection::vec, prelude::*};

    fn job(number: u64) -> JobName {
        JobName::new(JobId::from_number(number), None, Kind::Xml)
    }

    #[test]
    fn a_job_is_taken_once_a_user_has_every_byte() {
        let taken = Taken::default();
        let (ada, bob): (Arc<str>, Arc<str>) = ("ada".into(), "bob".into());
        let add = |user, part| taken.add(&job(1), user, &part, 10);
        assert!(!add(&ada, 0..4));
        assert!(!add(&bob, 4..10), "another user's bytes do not count");
        assert!(!add(&ada, 5..10), "one byte is missing");
        assert!(!taken.would_be_all(&job(2), &ada, &(4..5), 10));
        assert!(taken.would_be_all(&job(1), &ada, &(4..5), 10));
        assert!(add(&ada, 4..5));
        assert!(!add(&ada, 4..5), "it is forgotten");
        assert!(add(&bob, 0..9));
        assert!(taken.add(&job(3), &ada, &(0..0), 0), "one without bytes");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let taken = Taken::default();
        let ada: Arc<str> = "ada".into();
        for at in 0..10_000 {
            assert!(!taken.add(&job(1), &ada, &(2 * at..2 * at + 1), 20_000));
        }
        let key = (job(1), ada.clone());
        assert_eq!(taken.0.lock()[&key].0.len(), PARTS_MAX);
        for number in 2..3000 {
            assert!(!taken.add(&job(number), &ada, &(0..1), 2));
        }
        assert_eq!(taken.0.lock().len(), JOBS_MAX);
        // The latest are those that are remembered.
        assert!(taken.add(&job(2999), &ada, &(1..2), 2));
        assert!(!taken.add(&job(2), &ada, &(1..2), 2));
    }

    proptest! {
        #![proptest_config(settings())]

        #[test]
        fn parts_are_all_when_no_byte_is_missing(
            given in vec((0_u64..40, 1_u64..20), 0..12),
            bytes in 1_u64..40,
        ) {
            let mut parts = ByteRanges::default();
            let mut seen = [false; 64];
            for (start, n_bytes) in given {
                // No part is of more than there is.
                let part = start..(start + n_bytes).min(bytes);
                if part.is_empty() {
                    continue;
                }
                parts = parts.with(&part);
                part.for_each(|at| seen[at as usize] = true);
                let are_all = seen[..bytes as usize].iter().all(|seen| *seen);
                prop_assert_eq!(parts.are_all(bytes), are_all);
            }
        }
    }
}
