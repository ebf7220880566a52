//! The jobs of a lane that can be started, in the order of their turns. Pure.
//!
//! Within a priority each partner's jobs wait in a line of their own, and the lines take turns by stride scheduling:
//! a start takes a line behind the others by so much the more, the smaller its partner's weight is, and the
//! line that is least behind comes next. Where partners do not take turns nothing takes a line behind, and
//! the one with the oldest job comes next: that is the order of arrival. Each step costs the logarithm of
//! what waits.
//!
//! A partner with as many running jobs as it may have is parked: its lines have no turn.
//!
//! Invariant: a line that had no turn begins where the others are. Who was idle or parked has neither a claim on
//! the past nor an escape from its own last turns.

use super::Partner;
use crate::domain::{JobId, JobName, Priority};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Waiting jobs by priority. A job is in it once.
#[derive(Debug, Default)]
pub(super) struct Ready {
    by_priority: BTreeMap<Priority, Lines>,
    /// Whose the jobs are, as far as that matters.
    partners: HashMap<JobName, Partner>,
    parked: HashSet<Partner>,
}

/// The waiting jobs of one priority.
#[derive(Debug, Default)]
struct Lines {
    by_partner: BTreeMap<Option<Partner>, Line>,
    /// The lines that have a turn.
    turns: BTreeSet<(Rank, Option<Partner>)>,
    /// How far behind the line was that had the last turn.
    now: u128,
}

/// The waiting jobs of one partner, in the order of their arrival.
#[derive(Debug, Default)]
struct Line {
    jobs: BTreeSet<JobName>,
    behind: u128,
    /// `None` without jobs, and while its partner is parked.
    rank: Option<Rank>,
}

/// When a line has its turn: by how far it is behind, then by its oldest job.
type Rank = (u128, JobId);

impl Ready {
    /// Gives a job its place, which may be another one than it had.
    pub(super) fn insert(&mut self, job: JobName, priority: Priority, partner: Option<Partner>) {
        let known = self.partners.get(&job);
        let lines = self.by_priority.get(&priority);
        if known == partner.as_ref() && lines.is_some_and(|lines| lines.has(&partner, &job)) {
            return;
        }
        self.remove(&job);
        if let Some(partner) = &partner {
            self.partners.insert(job.clone(), partner.clone());
        }
        let is_parked = self.is_parked(&partner);
        let lines = self.by_priority.entry(priority).or_default();
        lines.change(&partner, is_parked, |line| {
            line.jobs.insert(job);
        });
    }

    /// From now on, or until now, no job of this partner is started.
    pub(super) fn park(&mut self, partner: &Partner, parks: bool) {
        match parks {
            true => self.parked.insert(partner.clone()),
            false => self.parked.remove(partner),
        };
        let partner = Some(partner.clone());
        for lines in self.by_priority.values_mut() {
            if lines.by_partner.contains_key(&partner) {
                lines.change(&partner, parks, |_| {});
            }
        }
    }

    fn is_parked(&self, partner: &Option<Partner>) -> bool {
        let partner = partner.as_ref();
        partner.is_some_and(|partner| self.parked.contains(partner))
    }

    pub(super) fn remove(&mut self, job: &JobName) {
        self.take(job, 0);
    }

    /// Takes out a job that is started, which takes its partner `stride` behind the others.
    pub(super) fn take(&mut self, job: &JobName, stride: u128) {
        let partner = self.partners.remove(job);
        let is_parked = self.is_parked(&partner);
        let mut all = self.by_priority.values_mut();
        let Some(lines) = all.find(|lines| lines.has(&partner, job)) else {
            return;
        };
        let mut turn = lines.now;
        lines.change(&partner, is_parked, |line| {
            line.jobs.remove(job);
            turn = line.behind;
            line.behind += stride;
        });
        if stride > 0 {
            lines.now = lines.now.max(turn);
        }
        let now = lines.now;
        let is_over = |line: &Line| line.jobs.is_empty() && line.behind <= now;
        if lines.by_partner.get(&partner).is_some_and(is_over) {
            lines.by_partner.remove(&partner);
        }
    }

    pub(super) fn partner_of(&self, job: &JobName) -> Option<&Partner> {
        self.partners.get(job)
    }

    /// The job whose turn it is.
    pub(super) fn first(&self) -> Option<&JobName> {
        let mut lines = self.by_priority.values();
        lines.find_map(|lines| {
            let (_, partner) = lines.turns.first()?;
            lines.by_partner.get(partner)?.jobs.first()
        })
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &JobName> {
        let lines = self.by_priority.values();
        lines
            .flat_map(|lines| lines.by_partner.values())
            .flat_map(|line| &line.jobs)
    }
}

impl Lines {
    fn has(&self, partner: &Option<Partner>, job: &JobName) -> bool {
        let line = self.by_partner.get(partner);
        line.is_some_and(|line| line.jobs.contains(job))
    }

    /// Changes a line, which may change its turn.
    fn change(
        &mut self,
        partner: &Option<Partner>,
        is_parked: bool,
        change: impl FnOnce(&mut Line),
    ) {
        let line = self.by_partner.entry(partner.clone()).or_default();
        change(line);
        let first = line.jobs.first().filter(|_| !is_parked).map(JobName::id);
        if first.is_some() && line.rank.is_none() {
            line.behind = line.behind.max(self.now);
        }
        let rank = first.map(|job| (line.behind, job));
        let before = std::mem::replace(&mut line.rank, rank);
        if before != rank {
            let entry = |rank| (rank, partner.clone());
            before.map(|rank| self.turns.remove(&entry(rank)));
            rank.map(|rank| self.turns.insert(entry(rank)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Ids, Kind};

    fn jobs<const N: usize>() -> [JobName; N] {
        let mut ids = Ids::above(1_700_000_000_000);
        std::array::from_fn(|_| JobName::new(ids.next(1_700_000_000_001), None, Kind::Json))
    }

    /// Takes out all, in turn.
    fn order(ready: &mut Ready, stride: u128) -> Vec<JobName> {
        let mut order = Vec::new();
        while let Some(first) = ready.first().cloned() {
            ready.take(&first, stride);
            order.push(first);
        }
        assert!(ready.partners.is_empty());
        order
    }

    #[test]
    fn the_order_is_that_of_priorities_and_then_of_arrival() {
        let [a, b, c, d] = jobs();
        let mut ready = Ready::default();
        let (ada, bob): (Partner, Partner) = ("ada".into(), "bob".into());
        ready.insert(d.clone(), Priority::Critical, Some(bob.clone()));
        ready.insert(c.clone(), Priority::Default, Some(bob));
        ready.insert(a.clone(), Priority::Low, None);
        ready.insert(b.clone(), Priority::Default, Some(ada.clone()));
        ready.insert(d.clone(), Priority::Low, Some(ada));
        let expected = [&b, &c, &a, &d].map(Clone::clone);
        assert_eq!(order(&mut ready, 0), expected);
    }

    #[test]
    fn the_jobs_of_a_parked_partner_are_passed_over_wherever_they_are() {
        let [a, b, c, d] = jobs();
        let mut ready = Ready::default();
        let ada: Partner = "ada".into();
        ready.insert(a.clone(), Priority::Default, Some(ada.clone()));
        ready.park(&ada, true);
        ready.insert(b.clone(), Priority::High, Some(ada.clone()));
        ready.insert(c.clone(), Priority::Default, Some("bob".into()));
        ready.insert(d.clone(), Priority::Default, None);
        let take = |ready: &mut Ready| {
            let first = ready.first().cloned();
            first.iter().for_each(|first| ready.take(first, 1));
            first
        };
        assert_eq!(take(&mut ready).as_ref(), Some(&c));
        assert_eq!(take(&mut ready).as_ref(), Some(&d));
        assert_eq!(take(&mut ready), None);
        ready.park(&ada, false);
        assert_eq!(order(&mut ready, 1), [b, a]);
    }

    #[test]
    fn a_job_that_is_given_another_place_or_taken_out_is_nowhere_else() {
        let [a, b] = jobs();
        let mut ready = Ready::default();
        ready.insert(a.clone(), Priority::Default, Some("ada".into()));
        ready.insert(a.clone(), Priority::Default, None);
        ready.insert(b.clone(), Priority::Default, Some("ada".into()));
        ready.remove(&a);
        ready.remove(&a);
        assert_eq!(ready.iter().collect::<Vec<_>>(), [&b]);
        assert_eq!(order(&mut ready, 1), [b]);
    }
}
