//! Which job runs when. Events and the clock go in, actions come out; no files, no tasks.
//!
//! Invariant: hints may be lost, listings may be stale, and neither starts a job twice: a job
//! that runs is in `running` until it is said to have ended, and a claim of a job that is gone is
//! an ordinary end. A rescan alone brings every job to its run.
//!
//! Order: arrival order within an interface, interfaces in turn. An ordered interface is strict
//! FIFO: its oldest job blocks the others, also while it runs or waits for its next attempt.

use crate::job::{InterfaceName, JobName};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command that outlived an earlier service still works on this job.
    Adopted(InterfaceName, JobName),
    /// A complete job is in the queue.
    Arrived(InterfaceName, JobName),
    /// Start nothing more; exit when nothing runs.
    Drain,
    /// A job that was started or adopted has ended.
    Ended(InterfaceName, JobName, End),
    /// Something may have changed in this queue.
    Hint(InterfaceName),
    /// A scan has ended.
    Listed {
        interface: InterfaceName,
        held: bool,
        ready: Vec<JobName>,
        deferred: Vec<(i64, JobName)>,
    },
    /// What became of a due job.
    Released(InterfaceName, JobName, Released),
    /// Something may have changed anywhere.
    Rescan,
    /// A lane that was stuck has rested.
    Resume(InterfaceName),
    /// A scan failed; the next rescan tries again.
    ScanFailed(InterfaceName),
    /// It is so late, in milliseconds of the Unix epoch.
    Tick(i64),
}

/// How a job left `running`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It waits for its next attempt.
    Deferred { due_ms: i64 },
    /// It is where nothing is started any more.
    Left,
    /// It could not be started. Its lane rests until [`Event::Resume`], and then tries others first.
    Stuck,
    /// Nobody knows; a scan is made to see whether it is queued or deferred.
    Unknown,
}

/// What became of a due job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// Nobody knows where it is.
    Gone,
    /// It is back in its queue.
    Queued,
    /// It could not be moved. Its lane rests until [`Event::Resume`].
    Stuck,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Exit,
    /// Move a due job back to its queue and tell with [`Event::Released`].
    Release(InterfaceName, JobName, i64),
    Scan(InterfaceName),
    Start(InterfaceName, JobName),
}

/// How an interface's jobs are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneRules {
    /// Jobs at once; 0: none is ever started (they wait for a poller or an operator).
    pub running_max: usize,
    /// Strict FIFO.
    pub ordered: bool,
}

#[derive(Debug)]
pub struct Scheduler {
    lanes: BTreeMap<InterfaceName, Lane>,
    running: usize,
    running_max: usize,
    /// Where the next round over the interfaces begins.
    turn: usize,
    draining: bool,
}

#[derive(Debug)]
struct Lane {
    rules: LaneRules,
    dirty: bool,
    scanning: bool,
    /// A job moved while a scan was under way: its listing may lack that job, or still have it.
    stale: bool,
    /// Ordered: nothing is started before a listing says where every job is.
    unknown: bool,
    held: bool,
    /// Something could not be done: nothing is started or released before [`Event::Resume`].
    resting: bool,
    /// Jobs that could not be started: others come first.
    stuck: BTreeSet<JobName>,
    ready: BTreeSet<JobName>,
    running: BTreeSet<JobName>,
    deferred: BTreeMap<JobName, i64>,
    /// Due jobs on their way back to the queue.
    releasing: BTreeSet<JobName>,
}

impl Lane {
    fn startable(&self) -> Option<&JobName> {
        if self.held || self.resting || self.running.len() >= self.rules.running_max {
            return None;
        }
        let stuck = |job: &&JobName| self.stuck.contains(*job) && !self.rules.ordered;
        let first = self.ready.iter().find(|job| !stuck(job))?;
        let blocked = self.rules.ordered
            && (self.unknown
                || !self.running.is_empty()
                || !self.releasing.is_empty()
                || self.deferred.keys().next().is_some_and(|d| d < first));
        (!blocked).then_some(first)
    }
}

impl Scheduler {
    pub fn new(
        lanes: impl IntoIterator<Item = (InterfaceName, LaneRules)>,
        running_max: usize,
    ) -> Self {
        let lane = |rules| Lane {
            rules,
            dirty: false,
            scanning: false,
            stale: false,
            unknown: false,
            // Until the first listing nobody knows.
            held: true,
            resting: false,
            stuck: BTreeSet::new(),
            ready: BTreeSet::new(),
            running: BTreeSet::new(),
            deferred: BTreeMap::new(),
            releasing: BTreeSet::new(),
        };
        Self {
            lanes: lanes.into_iter().map(|(name, r)| (name, lane(r))).collect(),
            running: 0,
            running_max,
            turn: 0,
            draining: false,
        }
    }

    pub fn on(&mut self, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Adopted(interface, job) => self.begin(&interface, job),
            Event::Arrived(interface, job) => {
                if let Some(lane) = self.lanes.get_mut(&interface) {
                    if lane.rules.ordered {
                        // The hint of an older job may have been lost: only a listing knows.
                        lane.dirty = true;
                    } else {
                        lane.add(job);
                    }
                }
            }
            Event::Drain => self.draining = true,
            Event::Ended(interface, job, end) => self.end(&interface, job, end),
            Event::Hint(interface) => {
                if let Some(lane) = self.lanes.get_mut(&interface) {
                    lane.dirty = true;
                }
            }
            Event::Listed {
                interface,
                held,
                ready,
                deferred,
            } => {
                if let Some(lane) = self.lanes.get_mut(&interface) {
                    lane.listed(held, ready, deferred);
                }
            }
            Event::Released(interface, job, end) => {
                if let Some(lane) = self.lanes.get_mut(&interface) {
                    lane.releasing.remove(&job);
                    lane.moved();
                    match end {
                        Released::Gone => lane.lose_track(),
                        Released::Queued => lane.add(job),
                        Released::Stuck => {
                            lane.resting = true;
                            lane.lose_track();
                        }
                    }
                }
            }
            Event::Rescan => self.lanes.values_mut().for_each(|lane| lane.dirty = true),
            Event::Resume(interface) => {
                if let Some(lane) = self.lanes.get_mut(&interface) {
                    lane.resting = false;
                    lane.dirty = true;
                    lane.retry_stuck();
                }
            }
            Event::ScanFailed(interface) => {
                if let Some(lane) = self.lanes.get_mut(&interface) {
                    lane.scanning = false;
                    lane.stale = false;
                }
            }
            Event::Tick(now_ms) => self.release_due(now_ms, out),
        }
        self.pump(out);
    }

    /// The next moment at which a deferred job is due.
    pub fn next_due_ms(&self) -> Option<i64> {
        if self.draining {
            return None;
        }
        let lanes = self.lanes.values().filter(|lane| !lane.resting);
        lanes.flat_map(|lane| lane.deferred.values()).min().copied()
    }

    fn begin(&mut self, interface: &InterfaceName, job: JobName) {
        if let Some(lane) = self.lanes.get_mut(interface) {
            lane.ready.remove(&job);
            lane.deferred.remove(&job);
            if lane.running.insert(job) {
                self.running += 1;
            }
        }
    }

    fn end(&mut self, interface: &InterfaceName, job: JobName, end: End) {
        if let Some(lane) = self.lanes.get_mut(interface) {
            if lane.running.remove(&job) {
                self.running -= 1;
            }
            lane.moved();
            match end {
                End::Deferred { due_ms } => {
                    lane.deferred.insert(job, due_ms);
                }
                End::Left => {}
                End::Stuck => {
                    lane.resting = true;
                    lane.stuck.insert(job);
                    lane.lose_track();
                }
                End::Unknown => lane.lose_track(),
            }
        }
    }

    fn release_due(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        if self.draining {
            return;
        }
        for (interface, lane) in &mut self.lanes {
            if lane.resting {
                continue;
            }
            lane.deferred.retain(|job, due_ms| {
                let due = *due_ms <= now_ms;
                if due {
                    lane.releasing.insert(job.clone());
                    out.push(Action::Release(interface.clone(), job.clone(), *due_ms));
                }
                !due
            });
        }
    }

    fn pump(&mut self, out: &mut Vec<Action>) {
        if self.draining {
            if self.running == 0 {
                out.push(Action::Exit);
            }
            return;
        }
        for (interface, lane) in &mut self.lanes {
            // Cleared before the scan starts: a hint during the scan asks for one more.
            if lane.dirty && !lane.scanning {
                lane.dirty = false;
                lane.scanning = true;
                out.push(Action::Scan(interface.clone()));
            }
        }
        let names: Vec<InterfaceName> = self.lanes.keys().cloned().collect();
        let mut idle = 0;
        while self.running < self.running_max && idle < names.len() {
            let interface = &names[self.turn % names.len()];
            self.turn = (self.turn + 1) % names.len();
            match self.lanes[interface].startable().cloned() {
                None => idle += 1,
                Some(job) => {
                    idle = 0;
                    self.begin(interface, job.clone());
                    out.push(Action::Start(interface.clone(), job));
                }
            }
        }
    }
}

impl Lane {
    fn listed(&mut self, held: bool, ready: Vec<JobName>, deferred: Vec<(i64, JobName)>) {
        self.scanning = false;
        self.held = held;
        let stale = std::mem::take(&mut self.stale);
        if stale && self.rules.ordered {
            self.dirty = true;
            return;
        }
        self.unknown = false;
        if !stale {
            // What is not listed any more has left by other hands.
            self.deferred.clear();
        }
        for (due_ms, job) in deferred {
            if !self.running.contains(&job) && !self.releasing.contains(&job) {
                self.deferred.insert(job, due_ms);
            }
        }
        for job in ready {
            self.add(job);
        }
        self.retry_stuck();
    }

    /// Jobs that could not be started are tried again once nothing else is left to start.
    fn retry_stuck(&mut self) {
        self.stuck.retain(|job| self.ready.contains(job));
        if self.stuck.len() == self.ready.len() {
            self.stuck.clear();
        }
    }

    fn moved(&mut self) {
        self.stale |= self.scanning;
    }

    fn lose_track(&mut self) {
        self.unknown = self.rules.ordered;
        self.dirty = true;
    }

    fn add(&mut self, job: JobName) {
        // A lane that runs nothing keeps nothing: its jobs are in the directory.
        let elsewhere = self.running.contains(&job) || self.deferred.contains_key(&job);
        if self.rules.running_max > 0 && !elsewhere {
            self.ready.insert(job);
        }
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Ids, Kind};
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
            ordered,
        };
        Scheduler::new([(interface("a"), rules)], 8)
    }

    fn listed(ready: &[JobName]) -> Event {
        Event::Listed {
            interface: interface("a"),
            held: false,
            ready: ready.to_vec(),
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
        let released = Event::Released(interface("a"), j[0].clone(), Released::Queued);
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
        assert_eq!(on(&mut s, left), []);
        let again = on(&mut s, listed(&j[..1]));
        assert!(
            again.contains(&start(&j[0])),
            "nothing else is left: {again:?}"
        );
    }

    #[test]
    fn a_due_job_that_cannot_be_moved_is_not_tried_at_once() {
        let mut s = scheduler(1, false);
        let j = jobs(1);
        let deferred = || Event::Listed {
            interface: interface("a"),
            held: false,
            ready: Vec::new(),
            deferred: vec![(50, j[0].clone())],
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
            ready: j.clone(),
            deferred: Vec::new(),
        };
        let early = Event::Arrived(interface("a"), j[0].clone());
        assert_eq!(on(&mut s, early), [], "nobody knows yet whether it is held");
        assert_eq!(on(&mut s, held), []);
        assert_eq!(on(&mut s, listed(&[])), [start(&j[0])]);
    }

    #[test]
    fn interfaces_take_turns() {
        let rules = LaneRules {
            running_max: 9,
            ordered: false,
        };
        let mut s = Scheduler::new(["a", "b"].map(|i| (interface(i), rules)), 4);
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
                Event::Arrived(interface(name), job.clone()),
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
                    self.inbox.push_back(Event::Arrived(interface("a"), job));
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
                        Released::Queued
                    } else {
                        Released::Gone
                    };
                    self.inbox.push_back(Event::Released(a, job, released));
                }
                Action::Scan(_) => self.inbox.push_back(Event::Listed {
                    interface: a,
                    held: false,
                    ready: self.queue.iter().cloned().collect(),
                    deferred: self.deferred.iter().map(|(j, d)| (*d, j.clone())).collect(),
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
}
