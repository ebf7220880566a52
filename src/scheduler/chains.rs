//! The jobs of a lane that keep an order, as chains. Pure.
//!
//! All jobs of a chain are in it, wherever they are: only the oldest may be started, and only while none of them
//! is under way. Each step costs the logarithm of what is there.

use super::Turn;
use crate::domain::JobName;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// What jobs keep their order by.
pub type OrderKey = Arc<str>;

/// What the jobs of a chain have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ChainKey {
    /// All jobs of the lane are one chain.
    Lane,
    Value(OrderKey),
}

/// How far a job of a chain is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// It can be started when it is the oldest.
    Ready(Turn),
    /// It runs, or is on its way back to the queue: no other one is started meanwhile.
    UnderWay,
    /// It waits for something else, or nobody knows where it is: no younger one is started.
    Waits,
}

/// What changes for those that can be started.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offer {
    Made(JobName, Turn),
    Withdrawn(JobName),
}

#[derive(Debug, Default)]
pub(super) struct Chains {
    by_key: HashMap<ChainKey, Chain>,
    keys: HashMap<JobName, ChainKey>,
}

#[derive(Debug, Default)]
struct Chain {
    jobs: BTreeMap<JobName, Link>,
    under_way: usize,
    offered: Option<(JobName, Turn)>,
}

impl Chains {
    /// The chain that a job is in.
    pub(super) fn key_of(&self, job: &JobName) -> Option<&ChainKey> {
        self.keys.get(job)
    }

    /// Puts a job into a chain, or says how far it is now.
    pub(super) fn set(&mut self, job: &JobName, key: &ChainKey, link: Link) -> Vec<Offer> {
        let mut offers = match self.keys.get(job) {
            Some(known) if known != key => self.remove(job),
            Some(_) | None => Vec::new(),
        };
        let chain = self.by_key.entry(key.clone()).or_default();
        let is_under_way = |link: Option<&Link>| usize::from(link == Some(&Link::UnderWay));
        chain.under_way += is_under_way(Some(&link));
        match chain.jobs.get_mut(job) {
            Some(known) => {
                chain.under_way -= is_under_way(Some(known));
                *known = link;
            }
            None => {
                chain.jobs.insert(job.clone(), link);
                self.keys.insert(job.clone(), key.clone());
            }
        }
        chain.offer(&mut offers);
        offers
    }

    pub(super) fn remove(&mut self, job: &JobName) -> Vec<Offer> {
        let mut offers = Vec::new();
        let Some(key) = self.keys.remove(job) else {
            return offers;
        };
        if let Some(chain) = self.by_key.get_mut(&key) {
            let gone = chain.jobs.remove(job);
            chain.under_way -= usize::from(gone == Some(Link::UnderWay));
            chain.offer(&mut offers);
            if chain.jobs.is_empty() {
                self.by_key.remove(&key);
            }
        }
        offers
    }

    /// Removes those that are not to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&JobName) -> bool) -> Vec<Offer> {
        let gone = self.keys.keys().filter(|job| !keep(job)).cloned();
        let gone = gone.collect::<Vec<JobName>>().into_iter();
        gone.flat_map(|job| self.remove(&job)).collect()
    }
}

impl Chain {
    fn offer(&mut self, offers: &mut Vec<Offer>) {
        let now = match self.jobs.first_key_value() {
            Some((job, Link::Ready(turn))) if self.under_way == 0 => Some((job, turn)),
            Some(_) | None => None,
        };
        if now == self.offered.as_ref().map(|(job, turn)| (job, turn)) {
            return;
        }
        let now = now.map(|(job, turn)| (job.clone(), turn.clone()));
        let before = std::mem::replace(&mut self.offered, now.clone());
        offers.extend(before.map(|(job, _)| Offer::Withdrawn(job)));
        offers.extend(now.map(|(job, turn)| Offer::Made(job, turn)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Ids, Kind};

    #[test]
    fn of_each_chain_the_oldest_is_offered_while_none_is_under_way() {
        let mut ids = Ids::above(1_700_000_000_000);
        let mut job = || JobName::new(ids.next(1_700_000_000_001), None, Kind::Xml);
        let [a, b, c] = [job(), job(), job()];
        let (x, y) = (ChainKey::Lane, ChainKey::Value("y".into()));
        let ready = || Link::Ready(Turn::default());
        let made = |job: &JobName| Offer::Made(job.clone(), Turn::default());
        let withdrawn = |job: &JobName| Offer::Withdrawn(job.clone());
        let mut chains = Chains::default();
        let mut set = |job, key, link| match link {
            Some(link) => chains.set(job, key, link),
            None => chains.remove(job),
        };
        assert_eq!(set(&b, &x, Some(ready())), [made(&b)]);
        assert_eq!(set(&c, &y, Some(ready())), [made(&c)], "another key");
        assert_eq!(set(&a, &x, Some(ready())), [withdrawn(&b), made(&a)]);
        assert_eq!(set(&a, &x, Some(ready())), [], "as before");
        assert_eq!(set(&a, &x, Some(Link::UnderWay)), [withdrawn(&a)]);
        assert_eq!(set(&a, &x, Some(Link::Waits)), []);
        assert_eq!(set(&a, &x, None), [made(&b)]);
        assert_eq!(
            set(&c, &x, Some(Link::UnderWay)),
            [withdrawn(&c), withdrawn(&b)]
        );
        assert_eq!(set(&c, &x, None), [made(&b)], "a younger one ran");
        assert_eq!(set(&b, &x, None), [withdrawn(&b)]);
        assert!(chains.keys.is_empty() && chains.by_key.is_empty());
    }
}
