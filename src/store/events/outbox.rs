//! Which events wait for which receivers, by their ids and where they are. Pure.
//!
//! Invariant: what an event takes in memory does not depend on its size.

use super::{EventId, Failure};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The outbox of a store. `P`: where the store has an event.
#[derive(Debug)]
pub struct Outbox<P> {
    queues: BTreeMap<String, Queue<P>>,
    /// Of the next one that comes; they go in this order.
    next: u64,
}

#[derive(Debug)]
struct Queue<P> {
    waiting: BTreeMap<u64, Waiting<P>>,
    numbers: HashMap<EventId, u64>,
    bytes: u64,
}

#[derive(Debug)]
struct Waiting<P> {
    id: EventId,
    at_ms: i64,
    /// With what is recorded of its attempts.
    bytes: u64,
    place: P,
    /// How many have failed, and when the next one is due.
    attempts: u32,
    due: Timestamp,
}

/// An event that is to wait no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    pub receiver: String,
    pub id: EventId,
    pub why: &'static str,
}

impl<P> Default for Outbox<P> {
    fn default() -> Self {
        Self {
            queues: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<P> Default for Queue<P> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            numbers: HashMap::new(),
            bytes: 0,
        }
    }
}

impl<P> Queue<P> {
    fn remove(&mut self, id: EventId) {
        let number = self.numbers.remove(&id);
        if let Some(waiting) = number.and_then(|number| self.waiting.remove(&number)) {
            self.bytes -= waiting.bytes;
        }
    }
}

impl<P: Clone> Outbox<P> {
    /// An event of so many bytes waits for these receivers from now on, also if it did before.
    pub fn add(&mut self, id: EventId, at_ms: i64, to: &[String], bytes: u64, place: &P) {
        let number = self.next;
        self.next += 1;
        for receiver in to {
            let queue = self.queues.entry(receiver.clone()).or_default();
            queue.remove(id);
            queue.numbers.insert(id, number);
            queue.bytes += bytes;
            let place = place.clone();
            let waiting = Waiting {
                id,
                at_ms,
                bytes,
                place,
                attempts: 0,
                due: Timestamp::UNIX_EPOCH,
            };
            queue.waiting.insert(number, waiting);
        }
    }

    /// An attempt to send an event to these receivers failed; that takes so many bytes more.
    pub fn failed(&mut self, id: EventId, to: &[String], failure: &Failure, bytes: u64) {
        for receiver in to {
            let Some(queue) = self.queues.get_mut(receiver) else {
                continue;
            };
            let number = queue.numbers.get(&id);
            if let Some(waiting) = number.and_then(|number| queue.waiting.get_mut(number)) {
                waiting.bytes += bytes;
                queue.bytes += bytes;
                (waiting.attempts, waiting.due) = (failure.attempts, failure.next);
            }
        }
    }

    /// An event waits for these receivers no longer.
    pub fn end(&mut self, id: EventId, to: &[String]) {
        for receiver in to {
            if let Some(queue) = self.queues.get_mut(receiver) {
                queue.remove(id);
            }
        }
        self.queues.retain(|_, queue| !queue.waiting.is_empty());
    }

    /// The oldest ones that wait for a receiver, without these, and how many attempts of each have failed.
    pub fn oldest(
        &self,
        receiver: &str,
        without: &HashSet<EventId>,
        limit: usize,
    ) -> Vec<(EventId, P, u32)> {
        let others = self.waiting(receiver);
        let others = others.filter(|waiting| !without.contains(&waiting.id));
        let others = others.map(|waiting| (waiting.id, waiting.place.clone(), waiting.attempts));
        others.take(limit).collect()
    }

    /// When those that were sent to a receiver in vain are due again.
    pub fn dues(&self, receiver: &str) -> Vec<(EventId, Timestamp)> {
        let tried = (self.waiting(receiver)).filter(|waiting| waiting.attempts > 0);
        tried.map(|waiting| (waiting.id, waiting.due)).collect()
    }

    /// What waits for a receiver, the oldest first.
    fn waiting(&self, receiver: &str) -> impl Iterator<Item = &Waiting<P>> {
        let queue = self.queues.get(receiver);
        queue.into_iter().flat_map(|queue| queue.waiting.values())
    }

    /// The oldest of all, as long as they were recorded before a moment or there are more than so many bytes: an event
    /// that waits for two receivers counts twice. Gives `limit` of them at most.
    pub fn overdue(&self, before_ms: i64, bytes_max: u64, limit: usize) -> Vec<Overdue> {
        let mut bytes: u64 = self.queues.values().map(|queue| queue.bytes).sum();
        let queues = self.queues.iter();
        let mut fronts: Vec<_> = queues
            .map(|(receiver, queue)| (receiver, queue.waiting.iter().peekable()))
            .collect();
        let mut found = Vec::new();
        while found.len() < limit {
            let mut first = |n: &usize| fronts[*n].1.peek().map_or(u64::MAX, |(first, _)| **first);
            let oldest = (0..self.queues.len()).min_by_key(&mut first);
            let next = oldest.and_then(|n| Some((fronts[n].0, fronts[n].1.next()?.1)));
            let Some((receiver, waiting)) = next else {
                break;
            };
            let why = if waiting.at_ms < before_ms {
                "it was not delivered in time"
            } else if bytes > bytes_max {
                "there was no more room for it"
            } else {
                break;
            };
            bytes -= waiting.bytes;
            found.push(Overdue {
                receiver: receiver.to_string(),
                id: waiting.id,
                why,
            });
        }
        found
    }

    /// How many wait, for all receivers.
    pub fn len(&self) -> usize {
        self.queues.values().map(|queue| queue.waiting.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> EventId {
        EventId([n; 16])
    }

    fn names(to: &[&str]) -> Vec<String> {
        to.iter().map(ToString::to_string).collect()
    }

    /// Events 1 to 4 of ten bytes each, at moments of those numbers; 2 is for both receivers.
    fn four() -> Outbox<u8> {
        let mut outbox = Outbox::default();
        for (n, to) in [(1, &["a"][..]), (2, &["a", "b"]), (3, &["b"]), (4, &["a"])] {
            outbox.add(id(n), n.into(), &names(to), 10, &n);
        }
        outbox
    }

    fn oldest(outbox: &Outbox<u8>, receiver: &str) -> Vec<u8> {
        let oldest = outbox.oldest(receiver, &HashSet::new(), 9);
        oldest.into_iter().map(|(_, place, _)| place).collect()
    }

    fn failure(attempts: u32) -> Failure {
        Failure {
            attempts,
            reason: String::new(),
            next: Timestamp::from_second(i64::from(attempts)).unwrap(),
        }
    }

    #[test]
    fn each_receiver_has_its_own_in_order_until_they_end() {
        let mut outbox = four();
        assert_eq!(
            (oldest(&outbox, "a"), oldest(&outbox, "b")),
            (vec![1, 2, 4], vec![2, 3])
        );
        assert_eq!(outbox.len(), 5);
        let without = HashSet::from([id(1)]);
        assert_eq!(outbox.oldest("a", &without, 1), [(id(2), 2, 0)]);
        outbox.end(id(2), &names(&["a"]));
        outbox.end(id(2), &names(&["a"]));
        assert_eq!(
            (oldest(&outbox, "a"), oldest(&outbox, "b")),
            (vec![1, 4], vec![2, 3])
        );
        // Once more: it is the newest then, and once.
        outbox.add(id(1), 9, &names(&["a"]), 10, &7);
        assert_eq!(oldest(&outbox, "a"), [4, 7]);
        for n in 1..=4 {
            outbox.end(id(n), &names(&["a", "b"]));
        }
        assert!(outbox.is_empty());
    }

    #[test]
    fn attempts_are_counted_for_each_receiver_and_take_room_until_it_is_recorded_anew() {
        let mut outbox = four();
        for attempts in 1..=2 {
            outbox.failed(id(2), &names(&["a", "nobody"]), &failure(attempts), 5);
        }
        outbox.failed(id(9), &names(&["a"]), &failure(1), 5);
        let attempts = |outbox: &Outbox<u8>, receiver| -> Vec<u32> {
            let oldest = outbox.oldest(receiver, &HashSet::new(), 9);
            oldest.into_iter().map(|(.., attempts)| attempts).collect()
        };
        assert_eq!(attempts(&outbox, "a"), [0, 2, 0]);
        assert_eq!(attempts(&outbox, "b"), [0, 0]);
        assert_eq!(outbox.dues("a"), [(id(2), failure(2).next)]);
        assert_eq!(outbox.dues("b"), []);
        assert_eq!(outbox.overdue(0, 59, 9).len(), 1);
        assert_eq!(outbox.overdue(0, 60, 9).len(), 0);
        outbox.add(id(2), 9, &names(&["a"]), 10, &7);
        assert_eq!(outbox.dues("a"), []);
        assert_eq!(outbox.overdue(0, 49, 9).len(), 1);
        assert_eq!(outbox.overdue(0, 50, 9).len(), 0);
    }

    #[test]
    fn the_oldest_are_overdue_by_time_or_by_bytes() {
        let outbox = four();
        let overdue = |before_ms, bytes_max, limit| {
            let overdue = outbox.overdue(before_ms, bytes_max, limit).into_iter();
            let each = overdue.map(|of| (of.receiver + &of.id.0[0].to_string(), of.why));
            each.unzip::<_, _, Vec<_>, HashSet<_>>()
        };
        assert_eq!(overdue(1, 50, 9).0, [""; 0]);
        let (found, why) = overdue(3, 50, 9);
        assert_eq!(
            (found, why.len()),
            (vec!["a1".into(), "a2".into(), "b2".into()], 1)
        );
        let (found, why) = overdue(0, 29, 9);
        assert_eq!(
            (found, why.len()),
            (vec!["a1".into(), "a2".into(), "b2".into()], 1)
        );
        let (found, why) = overdue(2, 25, 9);
        assert_eq!((found.len(), why.len()), (3, 2));
        assert_eq!(overdue(9, 0, 2).0, ["a1", "a2"]);
        assert_eq!(overdue(9, 0, 9).0.len(), 5);
    }
}
