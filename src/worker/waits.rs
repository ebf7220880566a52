//! How long deferred jobs still wait, by a clock that is never set.
//!
//! A job's name in `deferred` says at which moment it is due. The clock may have been wrong when
//! that was written, or may be wrong now, so the moment is turned into a wait when it is first
//! seen: of no more than the longest wait of its interface, and kept however the clock is set.

use crate::domain::{InterfaceName, JobName};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What is known of the deferred jobs. Pure: the clocks are given.
#[derive(Debug, Default)]
pub(super) struct Waits(BTreeMap<InterfaceName, HashMap<JobName, Wait>>);

#[derive(Clone, Copy, Debug)]
struct Wait {
    /// What the job's file is called by, in milliseconds of the Unix epoch.
    named_ms: i64,
    /// When it is due, by the steady clock.
    due_ms: i64,
    /// It came since the last listing, which may lack it.
    is_new: bool,
}

/// What the clocks say, in milliseconds; only the first can be set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    pub(super) wall_ms: i64,
    pub(super) steady_ms: i64,
}

impl Waits {
    /// When a job that is named after `named_ms` is due, by the steady clock. It does not change
    /// for as long as the job keeps that name.
    pub(super) fn due_ms(
        &mut self,
        interface: &InterfaceName,
        job: &JobName,
        named_ms: i64,
        now: Clocks,
        wait_ms_max: i64,
    ) -> i64 {
        let waits = self.0.entry(interface.clone()).or_default();
        if let Some(known) = waits.get(job)
            && known.named_ms == named_ms
        {
            return known.due_ms;
        }
        let wait_ms = named_ms.saturating_sub(now.wall_ms);
        let due_ms = now.steady_ms + wait_ms.clamp(0, wait_ms_max);
        let wait = Wait {
            named_ms,
            due_ms,
            is_new: true,
        };
        waits.insert(job.clone(), wait);
        due_ms
    }

    /// The moment in the name of a deferred job.
    pub(super) fn named_ms(&self, interface: &InterfaceName, job: &JobName) -> Option<i64> {
        Some(self.0.get(interface)?.get(job)?.named_ms)
    }

    /// How long a deferred job still waits.
    pub(super) fn left_ms(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        now: Clocks,
    ) -> Option<i64> {
        let due_ms = self.0.get(interface)?.get(job)?.due_ms;
        Some((due_ms - now.steady_ms).max(0))
    }

    /// Forgets the jobs of an interface that a listing has not found, save those that may have come
    /// while it was made.
    pub(super) fn keep<'j>(
        &mut self,
        interface: &InterfaceName,
        listed: impl Iterator<Item = &'j JobName>,
    ) {
        let Some(waits) = self.0.get_mut(interface) else {
            return;
        };
        let listed: HashSet<&JobName> = listed.collect();
        waits.retain(|job, wait| std::mem::take(&mut wait.is_new) || listed.contains(job));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Ids, Kind};

    const YEAR_MS: i64 = 365 * 24 * 60 * 60 * 1000;
    const MAX_MS: i64 = 3_000;

    fn clocks(wall_ms: i64, steady_ms: i64) -> Clocks {
        Clocks { wall_ms, steady_ms }
    }

    #[test]
    fn a_wait_is_kept_however_the_clock_is_set() {
        let (a, mut waits) = ("a".parse().unwrap(), Waits::default());
        let mut ids = Ids::above(1_700_000_000_000);
        let mut job = || JobName::new(ids.next(0), None, Kind::Xml);
        let wall = 1_700_000_000_000;
        // Deferred while the clock was a year ahead.
        let ahead = job();
        let named = wall + YEAR_MS + 2_000;
        let mut due = |job, named, now| waits.due_ms(&a, job, named, now, MAX_MS);
        assert_eq!(due(&ahead, named, clocks(wall + YEAR_MS, 10)), 2_010);
        // Put right: the job is listed under the same name.
        assert_eq!(due(&ahead, named, clocks(wall + 500, 510)), 2_010);
        // Deferred by the true clock, which is then a year ahead: no sooner, either.
        let early = job();
        assert_eq!(due(&early, wall + 3_000, clocks(wall, 20)), 3_020);
        assert_eq!(due(&early, wall + 3_000, clocks(wall + YEAR_MS, 30)), 3_020);
        // Found by a start, or by hand: no wait is longer than the longest.
        let (found, over) = (job(), job());
        assert_eq!(due(&found, named, clocks(wall, 40)), 40 + MAX_MS);
        assert_eq!(due(&over, wall - YEAR_MS, clocks(wall, 40)), 40);
        // Another name is another wait.
        assert_eq!(due(&found, wall + 1_000, clocks(wall, 50)), 1_050);
        assert_eq!(waits.named_ms(&a, &found), Some(wall + 1_000));
        assert_eq!(waits.left_ms(&a, &found, clocks(0, 250)), Some(800));
    }

    #[test]
    fn what_is_not_listed_any_more_is_forgotten() {
        let (a, mut waits) = ("a".parse().unwrap(), Waits::default());
        let mut ids = Ids::above(1_700_000_000_000);
        let job = JobName::new(ids.next(0), None, Kind::Xml);
        waits.due_ms(&a, &job, 5, clocks(0, 0), MAX_MS);
        let none = std::iter::empty::<&JobName>;
        waits.keep(&a, none());
        assert!(
            waits.named_ms(&a, &job).is_some(),
            "it may have come meanwhile"
        );
        waits.keep(&a, [&job].into_iter());
        assert!(waits.named_ms(&a, &job).is_some());
        waits.keep(&a, none());
        assert!(waits.named_ms(&a, &job).is_none());
    }
}
