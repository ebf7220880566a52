//! The jobs of a lane that can be started, in the order of their turns. Pure.

use crate::domain::{JobName, Priority};
use std::collections::{BTreeMap, BTreeSet};

/// Waiting jobs by priority, and by arrival within. A job is in it once.
#[derive(Debug, Default)]
pub(super) struct Ready {
    by_priority: BTreeMap<Priority, BTreeSet<JobName>>,
}

impl Ready {
    /// Gives a job its place, which may be another one than it had.
    pub(super) fn insert(&mut self, job: JobName, priority: Priority) {
        for (other, jobs) in &mut self.by_priority {
            if *other != priority {
                jobs.remove(&job);
            }
        }
        self.by_priority.entry(priority).or_default().insert(job);
    }

    pub(super) fn remove(&mut self, job: &JobName) {
        for jobs in self.by_priority.values_mut() {
            jobs.remove(job);
        }
    }

    pub(super) fn contains(&self, job: &JobName) -> bool {
        self.by_priority.values().any(|jobs| jobs.contains(job))
    }

    pub(super) fn len(&self) -> usize {
        self.by_priority.values().map(BTreeSet::len).sum()
    }

    /// In the order of their turns.
    pub(super) fn iter(&self) -> impl Iterator<Item = &JobName> {
        self.by_priority.values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Ids, Kind};

    #[test]
    fn the_order_is_that_of_priorities_and_then_of_arrival() {
        let mut ids = Ids::above(1_700_000_000_000);
        let mut job = || JobName::new(ids.next(1_700_000_000_001), None, Kind::Json);
        let [a, b, c, d] = [job(), job(), job(), job()];
        let mut ready = Ready::default();
        ready.insert(d.clone(), Priority::Critical);
        ready.insert(c.clone(), Priority::Default);
        ready.insert(a.clone(), Priority::Low);
        ready.insert(b.clone(), Priority::Default);
        let order = |ready: &Ready| ready.iter().cloned().collect::<Vec<_>>();
        assert_eq!(order(&ready), [&d, &b, &c, &a].map(Clone::clone));
        ready.insert(d.clone(), Priority::Low);
        assert_eq!(order(&ready), [&b, &c, &a, &d].map(Clone::clone));
        assert_eq!(ready.len(), 4);
        ready.remove(&c);
        assert!(!ready.contains(&c) && ready.contains(&d));
    }
}
