//! Partners that take turns: what one may have to wait for the others.

use super::*;
use crate::domain::{Ids, Kind, settings};
use proptest::{collection::vec, prelude::*};
use std::{collections::VecDeque, num::NonZeroU32};

const SLOTS: usize = 4;

fn partners(weights: &[(&str, u32)]) -> Partners {
    let rules = |weight| PartnerRules {
        weight: NonZeroU32::new(weight).unwrap(),
        running_max: None,
    };
    let named = weights.iter();
    Partners {
        named: named
            .map(|(name, w)| ((*name).to_owned(), rules(*w)))
            .collect(),
        others: PartnerRules::default(),
    }
}

/// One fair interface, and a partner's jobs in it.
struct World {
    scheduler: Scheduler,
    interface: InterfaceName,
    ids: Ids,
    whose: BTreeMap<JobName, Partner>,
    running: VecDeque<JobName>,
    /// In the order of their starts.
    started: Vec<JobName>,
}

impl World {
    fn new(partners: Partners) -> Self {
        let interface: InterfaceName = "a".parse().unwrap();
        let rules = LaneRules {
            running_max: SLOTS,
            order: Order::None,
            fair: true,
        };
        let mut world = Self {
            scheduler: Scheduler::new([(interface.clone(), rules)], SLOTS, partners),
            interface,
            ids: Ids::above(1_700_000_000_000),
            whose: BTreeMap::new(),
            running: VecDeque::new(),
            started: Vec::new(),
        };
        world.list(Vec::new());
        world
    }

    fn job(&mut self, partner: &str) -> (JobName, Turn) {
        let job = JobName::new(self.ids.next(1_700_000_000_001), None, Kind::Xml);
        self.whose.insert(job.clone(), partner.into());
        let turn = Turn {
            partner: Some(partner.into()),
            ..Turn::default()
        };
        (job, turn)
    }

    fn list(&mut self, ready: Vec<(JobName, Turn)>) {
        self.tell(Event::Listed {
            interface: self.interface.clone(),
            held: false,
            ready,
            deferred: Vec::new(),
        });
    }

    /// As many jobs of a partner as lie there at a start.
    fn flood(&mut self, partner: &str, n: usize) {
        let jobs = (0..n).map(|_| self.job(partner)).collect();
        self.list(jobs);
    }

    fn arrive(&mut self, partner: &str) -> JobName {
        let (job, turn) = self.job(partner);
        let arrived = Event::Arrived(self.interface.clone(), job.clone(), turn);
        self.tell(arrived);
        job
    }

    fn end(&mut self, job: JobName) {
        self.tell(Event::Ended(self.interface.clone(), job, End::Left));
    }

    fn end_oldest(&mut self) {
        if let Some(job) = self.running.pop_front() {
            self.end(job);
        }
    }

    fn tell(&mut self, event: Event) {
        let mut out = Vec::new();
        self.scheduler.on(event, &mut out);
        for action in out {
            if let Action::Start(_, job) = action {
                self.running.push_back(job.clone());
                self.started.push(job);
            }
        }
    }

    fn n_started(&self, partner: &str, from: usize) -> usize {
        let started = self.started[from..].iter();
        started.filter(|job| *self.whose[*job] == *partner).count()
    }
}

/// One partner floods 100 000 jobs, another sends one a second. Jobs take 50 ms to 400 ms.
#[test]
fn a_flood_of_one_partner_lets_another_one_through() {
    let mut world = World::new(Partners::default());
    world.flood("ada", 100_000);
    let mut ends = BTreeSet::new();
    let mut waiting: Option<(JobName, usize)> = None;
    let (mut now_ms, mut random, mut n_seen, mut arrived) = (0, 7_u64, 0, 0);
    while arrived < 1000 || waiting.is_some() {
        for job in world.running.drain(..) {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            ends.insert((now_ms + 50 + (random >> 33) % 350, job));
        }
        if let Some((job, since)) = &waiting
            && world.started[*since..].contains(job)
        {
            let n_before = world.started[*since..].iter().position(|j| j == job);
            assert!(n_before <= Some(SLOTS), "{n_before:?} before {job}");
            (waiting, n_seen) = (None, n_seen + 1);
        }
        let next_arrival_ms = arrived * 1000;
        let (end_ms, ended) = ends.first().cloned().unwrap();
        if arrived < 1000 && next_arrival_ms <= end_ms {
            assert!(waiting.is_none(), "the one of a second ago waits still");
            (now_ms, arrived) = (next_arrival_ms, arrived + 1);
            let since = world.started.len();
            waiting = Some((world.arrive("bob"), since));
        } else {
            now_ms = end_ms;
            ends.pop_first();
            world.end(ended);
        }
    }
    assert_eq!(n_seen, 1000);
    let n_flood = world.n_started("ada", 0);
    assert!((10_000..100_000).contains(&n_flood), "{n_flood}");
}

#[test]
fn partners_have_turns_by_their_weights() {
    let weights = [("ada", 3), ("bob", 1), ("cid", 2)];
    let mut world = World::new(partners(&weights));
    // What fills the slots before the others are there.
    world.flood("dan", SLOTS);
    for (partner, _) in weights {
        world.flood(partner, 2000);
    }
    for n in 1..=1500 {
        world.end_oldest();
        for (partner, weight) in weights {
            let n_started = world.n_started(partner, SLOTS) as i64;
            let off = n_started * 6 - n * weight as i64;
            assert!(off.abs() <= 6, "{partner} had {n_started} of {n}");
        }
    }
}

#[test]
fn who_was_idle_has_no_claim_on_the_past() {
    let mut world = World::new(Partners::default());
    world.flood("ada", 5000);
    world.arrive("bob");
    (0..1000).for_each(|_| world.end_oldest());
    let from = world.started.len();
    world.flood("bob", 1000);
    (0..200).for_each(|_| world.end_oldest());
    assert_eq!(world.n_started("bob", from), 100);
    // Nor does who had his turn a moment ago get another one by having been idle in between.
    let mut world = World::new(Partners::default());
    world.flood("ada", 1000);
    for _ in 0..100 {
        let from = world.started.len();
        world.arrive("bob");
        (0..2).for_each(|_| world.end_oldest());
        assert_eq!(world.n_started("bob", from), 1);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Arrive(usize),
    End,
}

proptest! {
    #![proptest_config(settings())]

    /// Between a job's arrival and its start each other partner has no more turns than are due to it for those that
    /// the job's own partner has, and one.
    #[test]
    fn no_job_is_overtaken_for_ever(
        weights in [1..8_u32, 1..8_u32, 1..8_u32],
        steps in vec(prop_oneof![
            3 => (0..3_usize).prop_map(Step::Arrive),
            2 => Just(Step::End),
        ], 0..300),
    ) {
        let names = ["ada", "bob", "cid"];
        let weights: Vec<(&str, u32)> = names.into_iter().zip(weights).collect();
        let mut world = World::new(partners(&weights));
        let mut arrived = Vec::new();
        for step in steps {
            match step {
                Step::Arrive(n) => {
                    let since = world.started.len();
                    arrived.push((world.arrive(names[n]), n, since));
                }
                Step::End => world.end_oldest(),
            }
        }
        while !world.running.is_empty() {
            world.end_oldest();
        }
        for (job, own, since) in arrived {
            let start = world.started.iter().position(|started| *started == job);
            let start = start.expect("every job starts");
            let before = &world.started[since.min(start)..start];
            let n_of = |name: &str| before.iter().filter(|j| *world.whose[*j] == *name).count();
            let own_turns = n_of(names[own]) + 1;
            for (n, (name, weight)) in weights.iter().enumerate().filter(|(n, _)| *n != own) {
                let due = own_turns * *weight as usize / weights[own].1 as usize + 1;
                prop_assert!(n_of(name) <= due, "{n} had {} turns, not {due}", n_of(name));
            }
        }
    }
}
