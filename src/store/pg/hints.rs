//! What waits, as far as this process knows: for answers that may not wait for the database. Other processes change it as
//! well, so each look of a worker puts it right.

use crate::{
    domain::{InterfaceName, JobName, Place},
    store::{Beside, Precedence},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

#[derive(Default)]
pub(super) struct Hints(Mutex<Known>);

#[derive(Default)]
struct Known {
    queues: HashMap<InterfaceName, BTreeMap<JobName, Precedence>>,
    held: BTreeSet<InterfaceName>,
    events: usize,
}

impl Hints {
    /// These wait in an interface, and no others.
    pub(super) fn queue(
        &self,
        interface: &InterfaceName,
        jobs: impl IntoIterator<Item = (JobName, Precedence)>,
    ) {
        let jobs = jobs.into_iter().collect();
        self.0.lock().queues.insert(interface.clone(), jobs);
    }

    /// A job was there, or nowhere, and is here now.
    pub(super) fn moved(
        &self,
        job: &JobName,
        from: &Place,
        to: Option<&Place>,
        precedence: impl FnOnce() -> Precedence,
    ) {
        let mut known = self.0.lock();
        if let Place::Queue(queue) = from
            && let Some(jobs) = known.queues.get_mut(&queue.interface)
        {
            jobs.remove(job);
        }
        if let Some(Place::Queue(queue)) = to {
            let jobs = known.queues.entry(queue.interface.clone()).or_default();
            jobs.insert(job.clone(), precedence());
        }
    }

    pub(super) fn held(&self, interface: &InterfaceName, is_held: bool) {
        let mut known = self.0.lock();
        match is_held {
            true => known.held.insert(interface.clone()),
            false => known.held.remove(interface),
        };
    }

    pub(super) fn waiting(&self, interface: &InterfaceName) -> usize {
        let known = self.0.lock();
        known.queues.get(interface).map_or(0, BTreeMap::len)
    }

    /// As [`Store::waiting_beside`](crate::store::Store::waiting_beside).
    pub(super) fn beside(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        whose: bool,
    ) -> Option<Beside> {
        let known = self.0.lock();
        if known.held.contains(interface) {
            return None;
        }
        let nothing = BTreeMap::new();
        let jobs = known.queues.get(interface).unwrap_or(&nothing);
        Some(beside(jobs, job, whose))
    }

    pub(super) fn events(&self, more: usize) {
        self.0.lock().events += more;
    }

    pub(super) fn all_events(&self, number: usize) {
        self.0.lock().events = number;
    }

    pub(super) fn fewer_events(&self, fewer: usize) {
        let mut known = self.0.lock();
        known.events = known.events.saturating_sub(fewer);
    }

    pub(super) fn pending_events(&self) -> usize {
        self.0.lock().events
    }
}

fn beside(jobs: &BTreeMap<JobName, Precedence>, job: &JobName, whose: bool) -> Beside {
    let before = jobs.range(..job);
    let mut beside = Beside {
        before: before.clone().count(),
        ..Beside::default()
    };
    let Some(own) = jobs.get(job).filter(|_| whose) else {
        return beside;
    };
    let has_key = |of: &&Precedence| own.order_key.is_some() && of.order_key == own.order_key;
    beside.same_key = before.clone().map(|(_, of)| of).filter(has_key).count();
    beside.submitter.clone_from(&own.submitter);
    beside.own = before
        .filter(|(_, of)| of.submitter == own.submitter)
        .count();
    let mut others: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for submitter in jobs.values().filter_map(|of| of.submitter.as_ref()) {
        if Some(submitter) != own.submitter.as_ref() {
            *others.entry(submitter.clone()).or_default() += 1;
        }
    }
    beside.others = others.into_iter().collect();
    beside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_beside_a_job_is_told() {
        let hints = Hints::default();
        let a: InterfaceName = "a".parse().unwrap();
        let name = |n: u32| -> JobName {
            let text = format!("20261122T045748.123Z-0000{n}.json");
            text.parse().unwrap()
        };
        for (n, submitter) in [(1, "ada"), (2, "bob"), (3, "ada"), (4, "eve"), (5, "bob")] {
            let precedence = || Precedence {
                submitter: Some(submitter.into()),
                order_key: (submitter != "eve").then(|| "k".into()),
                ..Precedence::default()
            };
            let to = Place::Queue((&a).into());
            hints.moved(&name(n), &Place::JobErrors, Some(&to), precedence);
        }
        let beside = hints.beside(&a, &name(3), true).unwrap();
        assert_eq!((beside.before, beside.own, beside.same_key), (2, 1, 2));
        assert_eq!(beside.others, [("bob".into(), 2), ("eve".into(), 1)]);
        let from = Place::Queue((&a).into());
        hints.moved(
            &name(1),
            &from,
            Some(&Place::Bak(a.clone())),
            Precedence::default,
        );
        assert_eq!(hints.waiting(&a), 4);
        assert_eq!(hints.beside(&a, &name(3), false).unwrap().before, 1);
        hints.held(&a, true);
        assert_eq!(hints.beside(&a, &name(3), false), None);
    }
}
