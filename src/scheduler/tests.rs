//! The scheduler, event by event, and a simulation in which hints get lost.

use super::*;
use crate::domain::{Ids, Kind};
use std::collections::VecDeque;

fn interface(name: &str) -> InterfaceName {
    name.parse().unwrap()
}

fn jobs(n: usize) -> Vec<JobName> {
    let mut ids = Ids::above(1_700_000_000_000);
    let job = |_| JobName::new(ids.next(1_700_000_000_001), None, Kind::Xml);
    (0..n).map(job).collect()
}

fn scheduler(running_max: usize, ordered: bool) -> Scheduler {
    let rules = LaneRules {
        running_max,
        order: match ordered {
            true => Order::Arrival,
            false => Order::None,
        },
        fair: false,
    };
    Scheduler::new([(interface("a"), rules)], 8, Partners::default())
}

fn elsewhere() -> Turn {
    Turn {
        taker: Taker::Others,
        ..Turn::default()
    }
}

fn of(partner: &str) -> Turn {
    Turn {
        partner: Some(partner.into()),
        ..Turn::default()
    }
}

fn by(priority: Priority) -> Turn {
    Turn {
        priority,
        ..Turn::default()
    }
}

fn usual(jobs: &[JobName]) -> Vec<(JobName, Turn)> {
    let jobs = jobs.iter().cloned();
    jobs.map(|job| (job, Turn::default())).collect()
}

fn listed(ready: &[JobName]) -> Event {
    Event::Listed {
        interface: interface("a"),
        held: false,
        ready: usual(ready),
        deferred: Vec::new(),
    }
}

fn on(s: &mut Scheduler, event: Event) -> Vec<Action> {
    let mut out = Vec::new();
    s.on(event, &mut out);
    out
}

fn start(job: &JobName) -> Action {
    Action::Start(interface("a"), job.clone())
}

#[test]
fn hints_coalesce_and_none_is_lost() {
    let mut s = scheduler(1, false);
    let hint = || Event::Hint(interface("a"));
    assert_eq!(on(&mut s, hint()), [Action::Scan(interface("a"))]);
    assert_eq!(on(&mut s, hint()), []);
    assert_eq!(on(&mut s, hint()), []);
    assert_eq!(on(&mut s, listed(&[])), [Action::Scan(interface("a"))]);
    assert_eq!(on(&mut s, listed(&[])), [], "idle is quiet");
}

#[test]
fn oldest_first_and_never_more_than_allowed() {
    let mut s = scheduler(2, false);
    let j = jobs(4);
    let shuffled = [j[2].clone(), j[0].clone(), j[3].clone(), j[1].clone()];
    assert_eq!(on(&mut s, listed(&shuffled)), [start(&j[0]), start(&j[1])]);
    assert_eq!(
        on(&mut s, listed(&shuffled)),
        [],
        "running jobs are not started twice"
    );
    let ended = Event::Ended(interface("a"), j[1].clone(), End::Left);
    assert_eq!(on(&mut s, ended), [start(&j[2])]);
}

#[test]
fn what_is_being_settled_takes_no_place_but_keeps_its_order() {
    let settling = |job: &JobName| Event::Settling(interface("a"), job.clone());
    let ended = |job: &JobName| Event::Ended(interface("a"), job.clone(), End::Left);
    let j = jobs(4);
    let mut s = scheduler(1, false);
    assert_eq!(on(&mut s, listed(&j)), [start(&j[0])]);
    assert_eq!(on(&mut s, settling(&j[0])), [start(&j[1])]);
    assert_eq!(on(&mut s, listed(&j)), [], "it has not left");
    assert_eq!(on(&mut s, settling(&j[1])), [], "two are under way");
    assert_eq!(on(&mut s, settling(&j[1])), [], "said twice");
    assert_eq!(on(&mut s, ended(&j[0])), [start(&j[2])]);
    assert_eq!(on(&mut s, ended(&j[1])), []);
    assert_eq!(on(&mut s, settling(&j[2])), [start(&j[3])]);
    on(&mut s, Event::Drain);
    assert_eq!(on(&mut s, ended(&j[3])), [], "one is being settled");
    assert_eq!(on(&mut s, ended(&j[2])), [Action::Exit]);

    let mut s = scheduler(2, true);
    assert_eq!(on(&mut s, listed(&j)), [start(&j[0])]);
    assert_eq!(on(&mut s, settling(&j[0])), []);
    assert_eq!(on(&mut s, ended(&j[0])), [start(&j[1])]);
}

fn with_turns(jobs: &[JobName], turns: &[Turn]) -> Event {
    let jobs = jobs.iter().cloned();
    Event::Listed {
        interface: interface("a"),
        held: false,
        ready: jobs.zip(turns.iter().cloned()).collect(),
        deferred: Vec::new(),
    }
}

#[test]
fn the_more_urgent_comes_first_and_then_the_older() {
    let mut s = scheduler(1, false);
    let j = jobs(7);
    let urgent = [4, 3, 3, 0, 2, 1, 3].map(|n| by(Priority::ALL[n]));
    let mut started = on(&mut s, with_turns(&j[..6], &urgent));
    let late = Event::Arrived(interface("a"), j[6].clone(), urgent[6].clone());
    assert_eq!(on(&mut s, late), []);
    for n in [3, 5, 4, 1, 2, 6, 0] {
        assert_eq!(started, [start(&j[n])]);
        let ended = Event::Ended(interface("a"), j[n].clone(), End::Left);
        started = on(&mut s, ended);
    }
    assert_eq!(started, []);
}

#[test]
fn a_released_job_keeps_its_priority() {
    let mut s = scheduler(1, false);
    let j = jobs(2);
    assert_eq!(on(&mut s, listed(&j)), [start(&j[0])]);
    let end = End::Deferred { due_ms: 50 };
    let ended = Event::Ended(interface("a"), j[0].clone(), end);
    assert_eq!(on(&mut s, ended), [start(&j[1])]);
    on(&mut s, Event::Tick(50));
    let low = Released::Queued(by(Priority::Low));
    on(&mut s, Event::Released(interface("a"), j[0].clone(), low));
    let third = jobs(3).pop().unwrap();
    let arrived = Event::Arrived(interface("a"), third.clone(), Turn::default());
    assert_eq!(on(&mut s, arrived), []);
    let ended = Event::Ended(interface("a"), j[1].clone(), End::Left);
    assert_eq!(on(&mut s, ended), [start(&third)]);
}

#[test]
fn a_job_for_another_worker_is_passed_over() {
    let mut s = scheduler(1, false);
    let j = jobs(3);
    let turns = [elsewhere(), Turn::default(), elsewhere()];
    assert_eq!(on(&mut s, with_turns(&j, &turns)), [start(&j[1])]);
    let ended = Event::Ended(interface("a"), j[1].clone(), End::Left);
    assert_eq!(on(&mut s, ended), []);
    let ours = on(&mut s, listed(&j[2..]));
    assert_eq!(ours, [start(&j[2])], "its tag was taken off");
}

#[test]
fn in_an_ordered_interface_a_job_for_another_worker_blocks_and_priorities_do_not_count() {
    let mut s = scheduler(1, true);
    let j = jobs(3);
    let critical = by(Priority::Critical);
    let turns = [Turn::default(), elsewhere(), critical.clone()];
    assert_eq!(on(&mut s, with_turns(&j, &turns)), [start(&j[0])]);
    let ended = Event::Ended(interface("a"), j[0].clone(), End::Left);
    assert_eq!(on(&mut s, ended), [], "the second is not for us");
    let removed = with_turns(&j[2..], &[critical]);
    assert_eq!(on(&mut s, removed), [start(&j[2])]);
}

#[test]
fn an_ordered_interface_waits_for_its_oldest() {
    let mut s = scheduler(4, true);
    let j = jobs(3);
    assert_eq!(on(&mut s, listed(&j)), [start(&j[0])]);
    let end = End::Deferred { due_ms: 50 };
    assert_eq!(
        on(&mut s, Event::Ended(interface("a"), j[0].clone(), end)),
        []
    );
    assert_eq!(s.next_due_ms(), Some(50));
    assert_eq!(on(&mut s, Event::Tick(49)), []);
    let release = Action::Release(interface("a"), j[0].clone(), 50);
    assert_eq!(
        on(&mut s, Event::Tick(50)),
        [release],
        "nothing overtakes meanwhile"
    );
    let released = Event::Released(
        interface("a"),
        j[0].clone(),
        Released::Queued(Turn::default()),
    );
    assert_eq!(on(&mut s, released), [start(&j[0])]);
}

#[test]
fn an_ordered_interface_asks_where_a_lost_job_is() {
    let mut s = scheduler(4, true);
    let j = jobs(2);
    assert_eq!(on(&mut s, listed(&j)), [start(&j[0])]);
    let ended = Event::Ended(interface("a"), j[0].clone(), End::Unknown);
    let scan = [Action::Scan(interface("a"))];
    assert_eq!(on(&mut s, ended), scan, "the next job must not overtake");
    assert_eq!(on(&mut s, listed(&j)), [start(&j[0])]);
}

#[test]
fn what_cannot_be_started_rests_its_lane_and_comes_after_the_others() {
    let mut s = scheduler(1, false);
    let j = jobs(2);
    let scan = [Action::Scan(interface("a"))];
    let stuck = |job: &JobName| Event::Ended(interface("a"), job.clone(), End::Stuck);
    let resume = || Event::Resume(interface("a"));
    assert_eq!(on(&mut s, listed(&j)), [start(&j[0])]);
    assert_eq!(on(&mut s, stuck(&j[0])), scan);
    assert_eq!(on(&mut s, listed(&j)), [], "it rests");
    assert_eq!(on(&mut s, resume()), [scan[0].clone(), start(&j[1])]);
    let left = Event::Ended(interface("a"), j[1].clone(), End::Left);
    assert_eq!(on(&mut s, left), [start(&j[0])], "nothing else is left");
}

#[test]
fn a_due_job_that_cannot_be_moved_is_not_tried_at_once() {
    let mut s = scheduler(1, false);
    let j = jobs(1);
    let deferred = || Event::Listed {
        interface: interface("a"),
        held: false,
        ready: Vec::new(),
        deferred: vec![(50, j[0].clone(), Turn::default())],
    };
    on(&mut s, deferred());
    assert_eq!(on(&mut s, Event::Tick(50)).len(), 1);
    on(
        &mut s,
        Event::Released(interface("a"), j[0].clone(), Released::Stuck),
    );
    on(&mut s, deferred());
    assert_eq!(s.next_due_ms(), None);
    assert_eq!(on(&mut s, Event::Tick(60)), []);
    on(&mut s, Event::Resume(interface("a")));
    assert_eq!(on(&mut s, Event::Tick(70)).len(), 1);
}

#[test]
fn a_deferred_job_that_an_operator_removed_blocks_nobody() {
    let mut s = scheduler(4, true);
    let j = jobs(2);
    on(&mut s, listed(&j));
    let end = End::Deferred { due_ms: i64::MAX };
    on(&mut s, Event::Ended(interface("a"), j[0].clone(), end));
    assert_eq!(on(&mut s, listed(&j[1..])), [start(&j[1])]);
}

#[test]
fn a_held_interface_starts_nothing_until_released() {
    let mut s = scheduler(4, false);
    let j = jobs(1);
    let held = Event::Listed {
        interface: interface("a"),
        held: true,
        ready: usual(&j),
        deferred: Vec::new(),
    };
    let early = Event::Arrived(interface("a"), j[0].clone(), Turn::default());
    assert_eq!(on(&mut s, early), [], "nobody knows yet whether it is held");
    assert_eq!(on(&mut s, held), []);
    assert_eq!(on(&mut s, listed(&[])), [start(&j[0])]);
}

#[test]
fn interfaces_take_turns() {
    let rules = LaneRules {
        running_max: 9,
        order: Order::None,
        fair: false,
    };
    let lanes = ["a", "b"].map(|i| (interface(i), rules));
    let mut s = Scheduler::new(lanes, 4, Partners::default());
    for name in ["a", "b"] {
        let mut nothing = listed(&[]);
        if let Event::Listed { interface: of, .. } = &mut nothing {
            *of = interface(name);
        }
        on(&mut s, nothing);
    }
    let j = jobs(12);
    for (i, job) in j.iter().enumerate().skip(4) {
        let name = if i < 11 { "a" } else { "b" };
        s.on(
            Event::Arrived(interface(name), job.clone(), Turn::default()),
            &mut Vec::new(),
        );
    }
    let ended = Event::Ended(interface("a"), j[4].clone(), End::Left);
    let one = on(&mut s, ended);
    let ended = Event::Ended(interface("a"), j[5].clone(), End::Left);
    let two = on(&mut s, ended);
    let started: Vec<Action> = one.into_iter().chain(two).collect();
    assert!(
        started.contains(&Action::Start(interface("b"), j[11].clone())),
        "{started:?}"
    );
}

fn with_partners(order: Order, running_max: usize) -> (Scheduler, [InterfaceName; 2]) {
    let named = PartnerRules {
        running_max: Some(running_max),
        ..PartnerRules::default()
    };
    let partners = Partners {
        named: BTreeMap::from([("ada".to_owned(), named)]),
        others: PartnerRules::default(),
    };
    let rules = LaneRules {
        running_max: 4,
        order,
        fair: false,
    };
    let lanes = ["a", "b"].map(interface);
    let named = lanes.clone().map(|lane| (lane, rules));
    (Scheduler::new(named, 8, partners), lanes)
}

fn list(s: &mut Scheduler, interface: &InterfaceName, ready: &[(&JobName, Turn)]) -> Vec<JobName> {
    let ready = ready.iter();
    let listed = Event::Listed {
        interface: interface.clone(),
        held: false,
        ready: ready
            .map(|(job, turn)| ((*job).clone(), turn.clone()))
            .collect(),
        deferred: Vec::new(),
    };
    started(on(s, listed))
}

fn started(actions: Vec<Action>) -> Vec<JobName> {
    let started = actions.into_iter().filter_map(|action| match action {
        Action::Start(_, job) => Some(job),
        Action::Exit | Action::Release(..) | Action::Scan(_) => None,
    });
    started.collect()
}

#[test]
fn a_partner_has_no_more_running_jobs_than_it_may_over_all_interfaces() {
    let (mut s, [a, b]) = with_partners(Order::None, 2);
    let j = jobs(6);
    let adopted = Event::Adopted(b.clone(), j[5].clone(), of("ada"));
    assert_eq!(on(&mut s, adopted), []);
    let in_b = list(&mut s, &b, &[(&j[0], of("ada")), (&j[1], of("bob"))]);
    assert_eq!(in_b, [j[0].clone(), j[1].clone()]);
    let ready = [(&j[2], of("ada")), (&j[3], of("bob")), (&j[4], of("ada"))];
    assert_eq!(list(&mut s, &a, &ready), [j[3].clone()], "ada has two");
    let ended =
        |lane: &InterfaceName, n: usize| Event::Ended(lane.clone(), j[n].clone(), End::Left);
    assert_eq!(started(on(&mut s, ended(&b, 1))), [], "it was bob's");
    assert_eq!(started(on(&mut s, ended(&b, 5))), [j[2].clone()]);
    assert_eq!(started(on(&mut s, ended(&b, 0))), [j[4].clone()]);
}

#[test]
fn in_an_ordered_interface_a_job_of_a_partner_with_enough_running_blocks() {
    let (mut s, [a, b]) = with_partners(Order::Arrival, 1);
    let j = jobs(3);
    assert_eq!(list(&mut s, &b, &[(&j[2], of("ada"))]), [j[2].clone()]);
    let ready = [(&j[0], of("ada")), (&j[1], of("bob"))];
    assert_eq!(list(&mut s, &a, &ready), []);
    let ended = Event::Ended(b, j[2].clone(), End::Left);
    assert_eq!(started(on(&mut s, ended)), [j[0].clone()]);
}

fn keyed(key: Option<&str>) -> Turn {
    Turn {
        key: key.map(Into::into),
        ..Turn::default()
    }
}

#[test]
fn order_by_a_key_is_strict_within_it_and_parallel_beside_it() {
    let (mut s, [a, _]) = with_partners(Order::Key, 1);
    let j = jobs(8);
    let ready = |n: usize, key| (&j[n], keyed(key));
    let adopted = Event::Adopted(a.clone(), j[0].clone(), keyed(Some("z")));
    on(&mut s, adopted);
    let all = [
        ready(1, Some("x")),
        ready(2, Some("x")),
        ready(3, Some("y")),
        ready(4, Some("z")),
        ready(5, None),
        ready(6, None),
    ];
    let first = [1, 3, 5].map(|n: usize| j[n].clone());
    assert_eq!(list(&mut s, &a, &all), first, "z is under way");
    let ended = |n: usize, end| Event::Ended(a.clone(), j[n].clone(), end);
    let deferred = ended(1, End::Deferred { due_ms: 50 });
    assert_eq!(
        started(on(&mut s, deferred)),
        [j[6].clone()],
        "not the next x"
    );
    assert_eq!(started(on(&mut s, ended(5, End::Left))), []);
    assert_eq!(started(on(&mut s, ended(0, End::Left))), [j[4].clone()]);
    assert_eq!(started(on(&mut s, Event::Tick(50))), []);
    let released = Released::Queued(keyed(Some("x")));
    let released = Event::Released(a.clone(), j[1].clone(), released);
    assert_eq!(started(on(&mut s, released)), [j[1].clone()]);
    assert_eq!(started(on(&mut s, ended(6, End::Left))), []);
    assert_eq!(started(on(&mut s, ended(3, End::Unknown))), []);
    assert_eq!(started(on(&mut s, ended(1, End::Left))), [j[2].clone()]);
}

#[test]
fn a_job_with_a_key_that_cannot_be_read_may_be_of_any() {
    let (mut s, [a, _]) = with_partners(Order::Key, 1);
    let j = jobs(3);
    let unread = [(&j[0], Turn::unknown()), (&j[1], keyed(Some("x")))];
    assert_eq!(list(&mut s, &a, &unread), []);
    let read = [(&j[0], keyed(Some("x"))), (&j[1], keyed(Some("x")))];
    assert_eq!(list(&mut s, &a, &read), [j[0].clone()]);
}

/// Jobs end all the time, so no listing is undisturbed.
#[test]
fn a_listing_that_overlaps_with_moves_tells_of_all_other_jobs() {
    let (mut s, [a, _]) = with_partners(Order::Key, 1);
    let j = jobs(4);
    let first = [(&j[0], keyed(Some("x"))), (&j[1], keyed(Some("x")))];
    assert_eq!(list(&mut s, &a, &first), [j[0].clone()]);
    on(&mut s, Event::Hint(a.clone()));
    let ended = Event::Ended(a.clone(), j[0].clone(), End::Left);
    assert_eq!(started(on(&mut s, ended)), [j[1].clone()]);
    let stale = [
        first[0].clone(),
        first[1].clone(),
        (&j[2], keyed(Some("y"))),
    ];
    assert_eq!(list(&mut s, &a, &stale), [j[2].clone()]);
}

#[test]
fn draining_exits_when_the_last_job_has_ended() {
    let mut s = scheduler(4, false);
    let j = jobs(2);
    on(&mut s, listed(&j[..1]));
    assert_eq!(on(&mut s, Event::Drain), []);
    assert_eq!(on(&mut s, listed(&j)), []);
    let ended = Event::Ended(interface("a"), j[0].clone(), End::Left);
    assert_eq!(on(&mut s, ended), [Action::Exit]);
}

/// Jobs appear at random, nine hints in ten are lost, attempts fail at random, listings are
/// delivered late: rescans alone must bring every job to exactly one success, in an ordered
/// lane in order.
#[test]
fn simulation_with_lost_hints_and_retries() {
    for seed in 1..150_u64 {
        let ordered = seed % 2 == 0;
        let mut world = World::new(seed, ordered);
        for step in 0..4000 {
            world.step(step);
        }
        assert_eq!(world.made, 40, "seed {seed}");
        assert!(
            world.queue.is_empty(),
            "seed {seed}: left {:?}",
            world.queue
        );
        assert!(
            world.deferred.is_empty(),
            "seed {seed}: {:?}",
            world.deferred
        );
        assert_eq!(world.done.len(), 40, "seed {seed}");
        if ordered {
            assert!(world.done.is_sorted(), "seed {seed}: out of order");
        }
        assert!(
            world.most_running <= if ordered { 1 } else { 3 },
            "seed {seed}"
        );
    }
}

struct World {
    random: u64,
    scheduler: Scheduler,
    names: Vec<JobName>,
    made: usize,
    queue: BTreeSet<JobName>,
    deferred: BTreeMap<JobName, i64>,
    work: BTreeSet<JobName>,
    done: Vec<JobName>,
    inbox: VecDeque<Event>,
    most_running: usize,
}

impl World {
    fn new(seed: u64, ordered: bool) -> Self {
        Self {
            random: seed,
            scheduler: scheduler(3, ordered),
            names: jobs(40),
            made: 0,
            queue: BTreeSet::new(),
            deferred: BTreeMap::new(),
            work: BTreeSet::new(),
            done: Vec::new(),
            inbox: VecDeque::new(),
            most_running: 0,
        }
    }

    fn chance(&mut self, n: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % n
    }

    fn step(&mut self, step: i64) {
        if self.made < 40 && self.chance(4) == 0 {
            let job = self.names[self.made].clone();
            self.queue.insert(job.clone());
            self.made += 1;
            if self.chance(10) == 0 {
                let arrived = Event::Arrived(interface("a"), job, Turn::default());
                self.inbox.push_back(arrived);
            }
        }
        if step % 25 == 0 {
            self.inbox.push_back(Event::Rescan);
        }
        self.inbox.push_back(Event::Tick(step));
        while self.inbox.len() > 3 || (step > 3500 && !self.inbox.is_empty()) {
            let at = self.chance(3.min(self.inbox.len() as u64)) as usize;
            let event = self.inbox.remove(at).unwrap();
            let mut out = Vec::new();
            self.scheduler.on(event, &mut out);
            for action in out {
                self.act(action, step);
            }
        }
    }

    fn act(&mut self, action: Action, now: i64) {
        let a = interface("a");
        match action {
            Action::Exit => unreachable!("nobody drains"),
            Action::Release(_, job, due) => {
                assert!(due <= now);
                let released = if self.deferred.remove(&job).is_some() {
                    self.queue.insert(job.clone());
                    Released::Queued(Turn::default())
                } else {
                    Released::Gone
                };
                self.inbox.push_back(Event::Released(a, job, released));
            }
            Action::Scan(_) => self.inbox.push_back(Event::Listed {
                interface: a,
                held: false,
                ready: (self.queue.iter())
                    .map(|job| (job.clone(), Turn::default()))
                    .collect(),
                deferred: (self.deferred.iter())
                    .map(|(j, d)| (*d, j.clone(), Turn::default()))
                    .collect(),
            }),
            Action::Start(_, job) => {
                let end = if self.queue.remove(&job) {
                    assert!(self.work.insert(job.clone()), "started twice");
                    self.most_running = self.most_running.max(self.work.len());
                    self.work.remove(&job);
                    if self.chance(5) == 0 {
                        let due_ms = now + 20;
                        self.deferred.insert(job.clone(), due_ms);
                        End::Deferred { due_ms }
                    } else {
                        self.done.push(job.clone());
                        End::Left
                    }
                } else {
                    End::Left
                };
                self.inbox.push_back(Event::Ended(a, job, end));
            }
        }
    }
}

fn ruled(lanes: &[(&str, LaneRules)], changed: &[&str], partners: Partners) -> Event {
    let lanes = lanes.iter().map(|(name, rules)| (interface(name), *rules));
    Event::Ruled(Ruled {
        lanes: lanes.collect(),
        changed: changed.iter().map(|name| interface(name)).collect(),
        running_max: 8,
        partners,
    })
}

fn at_once(running_max: usize, order: Order) -> LaneRules {
    LaneRules {
        running_max,
        order,
        fair: false,
    }
}

#[test]
fn other_rules_count_what_runs_and_what_was_listed_before_does_not() {
    let scan = || Action::Scan(interface("a"));
    let j = jobs(4);
    let mut s = scheduler(1, false);
    assert_eq!(on(&mut s, listed(&j)), [start(&j[0])]);
    assert_eq!(on(&mut s, Event::Rescan), [scan()]);
    let two = ruled(
        &[("a", at_once(2, Order::None))],
        &["a"],
        Partners::default(),
    );
    assert_eq!(on(&mut s, two), [], "nothing is known before a listing");
    assert_eq!(
        on(&mut s, listed(&j)),
        [scan()],
        "that one is of the rules before"
    );
    assert_eq!(on(&mut s, listed(&j)), [start(&j[1])]);
    // The same rules again leave all as it is.
    let same = ruled(&[("a", at_once(2, Order::None))], &[], Partners::default());
    assert_eq!(on(&mut s, same), []);
    let ended = |n: usize| Event::Ended(interface("a"), j[n].clone(), End::Left);
    assert_eq!(on(&mut s, ended(0)), [start(&j[2])]);
    // Of an order nothing is known of those that run.
    let ordered = ruled(
        &[("a", at_once(2, Order::Arrival))],
        &["a"],
        Partners::default(),
    );
    assert_eq!(on(&mut s, ordered), [scan()]);
    assert_eq!(on(&mut s, listed(&j[3..])), []);
    assert_eq!(on(&mut s, ended(2)), []);
    assert_eq!(on(&mut s, ended(1)), [start(&j[3])]);
}

#[test]
fn an_interface_that_goes_ends_with_its_last_job_and_can_come_again() {
    let j = jobs(3);
    let mut s = scheduler(1, false);
    assert_eq!(on(&mut s, listed(&j)), [start(&j[0])]);
    assert_eq!(on(&mut s, ruled(&[], &[], Partners::default())), []);
    for nothing in [Event::Rescan, Event::Hint(interface("a")), listed(&j)] {
        assert_eq!(on(&mut s, nothing), []);
    }
    assert_eq!(s.running, 1);
    let rules = at_once(1, Order::None);
    let again = ruled(&[("a", rules)], &["a"], Partners::default());
    assert_eq!(on(&mut s, again), [Action::Scan(interface("a"))]);
    assert_eq!(on(&mut s, listed(&j[1..])), [], "the first one runs yet");
    let ended = Event::Ended(interface("a"), j[0].clone(), End::Left);
    assert_eq!(on(&mut s, ended), [start(&j[1])]);
    on(&mut s, ruled(&[], &[], Partners::default()));
    let ended = Event::Ended(interface("a"), j[1].clone(), End::Left);
    assert_eq!(on(&mut s, ended), []);
    assert!(s.lanes.is_empty() && s.running == 0);
}

#[test]
fn other_limits_of_partners_count_what_they_run() {
    let limited = |running_max| Partners {
        others: PartnerRules {
            running_max,
            ..PartnerRules::default()
        },
        ..Partners::default()
    };
    let j = jobs(4);
    let turns = vec![of("shop"); 4];
    let rules = at_once(4, Order::None);
    let mut s = Scheduler::new([(interface("a"), rules)], 8, limited(Some(1)));
    assert_eq!(on(&mut s, with_turns(&j, &turns)), [start(&j[0])]);
    let to = |s: &mut Scheduler, max| {
        on(s, ruled(&[("a", rules)], &["a"], limited(max)));
        on(s, with_turns(&j, &turns))
    };
    assert_eq!(to(&mut s, Some(2)), [start(&j[1])]);
    assert_eq!(to(&mut s, Some(2)), []);
    assert_eq!(to(&mut s, None), [start(&j[2]), start(&j[3])]);
}

/// With three lanes and with three hundred.
#[test]
fn an_event_is_looked_at_in_its_own_lane() {
    let cost = |n_lanes: usize| {
        let names: Vec<InterfaceName> = (0..n_lanes).map(|n| interface(&format!("i{n}"))).collect();
        let rules = LaneRules {
            running_max: 1,
            order: Order::None,
            fair: false,
        };
        let lanes = names.iter().map(|name| (name.clone(), rules));
        let mut s = Scheduler::new(lanes, 2, Partners::default());
        on(&mut s, Event::Rescan);
        for interface in names.iter().cloned() {
            let nothing = Event::Listed {
                interface,
                held: false,
                ready: Vec::new(),
                deferred: Vec::new(),
            };
            assert_eq!(on(&mut s, nothing), []);
        }
        let before = s.looks;
        for job in jobs(5) {
            let of = interface("i1");
            let arrived = Event::Arrived(of.clone(), job.clone(), Turn::default());
            assert_eq!(
                on(&mut s, arrived),
                [Action::Start(of.clone(), job.clone())]
            );
            let deferred = End::Deferred { due_ms: 7 };
            on(&mut s, Event::Ended(of.clone(), job.clone(), deferred));
            assert_eq!(s.next_due_ms(), Some(7));
            let release = Action::Release(of.clone(), job.clone(), 7);
            assert_eq!(on(&mut s, Event::Tick(7)), [release]);
            on(&mut s, Event::Released(of, job, Released::Gone));
        }
        s.looks - before
    };
    assert_eq!(cost(300), cost(3));
}
