//! A small world around the scheduler in which everything comes late, twice, in any order or not
//! at all: what must hold at each step, and what must have become of every job in the end.
//!
//! It does what the worker does: an action is a task that does its work at some time and is
//! heard of at some later time. A scan reads what is deferred first and the queue later.

use super::*;
use crate::domain::{Ids, Kind, settings};
use proptest::{collection::vec, prelude::*};

const NAMES: [&str; 3] = ["a", "b", "c"];
const KEYS: [Option<&str>; 3] = [None, Some("x"), Some("y")];
const PARTNERS: [Option<&str>; 4] = [None, Some("ada"), Some("bob"), Some("cid")];
/// Rounds in which everything is delivered that end every job of the longest history.
const ROUNDS_MAX: usize = 200;

/// Picks one of what there is.
#[derive(Clone, Copy, Debug)]
struct Pick(usize);

const FIRST: Pick = Pick(0);

impl Pick {
    /// `None` when there is nothing.
    fn of<T: Clone>(self, all: &[T]) -> Option<T> {
        all.get(self.0.checked_rem(all.len())?).cloned()
    }

    fn one_in(self, n: usize) -> bool {
        self.0.is_multiple_of(n)
    }

    fn out_of<T>(self, all: &mut Vec<T>) -> Option<T> {
        Some(all.remove(self.0.checked_rem(all.len())?))
    }
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A new job lies in a queue, and perhaps somebody tells.
    Appear {
        lane: Pick,
        told: bool,
        turn: Turn,
    },
    /// Some event arrives; what is only a hint may be lost, or arrive and come again.
    Deliver {
        event: Pick,
        fate: Fate,
    },
    /// Some task gets to its work: a claim, a release, half a scan. What is stuck cannot be done.
    Work {
        task: Pick,
        stuck: bool,
    },
    /// Some claimed job ends.
    End {
        job: Pick,
        how: How,
    },
    /// The work on some claimed job has ended, which is told at once.
    Ran {
        job: Pick,
    },
    /// The operator holds or releases an interface.
    Hold {
        lane: Pick,
        held: bool,
    },
    /// The operator removes a waiting job.
    Remove {
        lane: Pick,
        job: Pick,
    },
    Hint {
        lane: Pick,
    },
    /// The records cannot be read, or can be again.
    Unread(bool),
    Rescan,
    Sleep {
        ms: i64,
    },
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    Lost,
    Repeated,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Deferred,
    Done,
    GivenBack,
}

/// Made from numbers, which is quicker than from a strategy for each kind.
fn any_step() -> impl Strategy<Value = Step> {
    (0..64_u8, any::<u16>(), any::<u16>()).prop_map(|(kind, what, how)| {
        let (what, how) = (Pick(what.into()), Pick(how.into()));
        match kind {
            0..5 => Step::Appear {
                lane: what,
                told: how.one_in(2),
                turn: any_turn(how.0 / 2),
            },
            5..25 => Step::Deliver {
                event: what,
                fate: match how.0 % 8 {
                    0 => Fate::Lost,
                    1 => Fate::Repeated,
                    _ => Fate::Arrives,
                },
            },
            25..45 => Step::Work {
                task: what,
                stuck: how.one_in(6),
            },
            45..48 => Step::Ran { job: what },
            48..53 => Step::End {
                job: what,
                how: how.of(&[How::Done, How::Deferred, How::GivenBack]).unwrap(),
            },
            53 => Step::Hold {
                lane: what,
                held: how.one_in(3),
            },
            54 => Step::Remove {
                lane: what,
                job: how,
            },
            55..57 => Step::Hint { lane: what },
            57 => Step::Unread(how.one_in(3)),
            58..60 => Step::Rescan,
            _ => Step::Sleep {
                ms: (how.0 % 40) as i64,
            },
        }
    })
}

fn any_turn(number: usize) -> Turn {
    let priority = Priority::ALL.get((number % 16).wrapping_sub(1));
    Turn {
        priority: priority.copied().unwrap_or_default(),
        partner: Pick(number / 16).of(&PARTNERS).flatten().map(Into::into),
        key: Pick(number / 64).of(&KEYS).flatten().map(Into::into),
        taker: match number.is_multiple_of(16) {
            true => Taker::Others,
            false => Taker::Us,
        },
    }
}

fn any_rules() -> impl Strategy<Value = [LaneRules; 3]> {
    let running_max = prop_oneof![1 => Just(0), 8 => 1..4_usize];
    let order = prop_oneof![Just(Order::None), Just(Order::Arrival), Just(Order::Key)];
    let rules = (running_max, order, any::<bool>());
    let rules = rules.prop_map(|(running_max, order, fair)| LaneRules {
        running_max,
        order,
        fair,
    });
    [rules.clone(), rules.clone(), rules]
}

/// Of ada one job runs at the same time, of bob two.
fn partners() -> Partners {
    let rules = |running_max| PartnerRules {
        running_max: Some(running_max),
        ..PartnerRules::default()
    };
    Partners {
        named: [("ada", 1), ("bob", 2)]
            .map(|(name, max)| (name.to_owned(), rules(max)))
            .into(),
        others: PartnerRules::default(),
    }
}

/// An interface as its directories have it.
#[derive(Default)]
struct Dirs {
    held: bool,
    queue: BTreeSet<JobName>,
    deferred: BTreeMap<JobName, i64>,
    work: BTreeSet<JobName>,
    /// As the scheduler was last told; nothing may start before it was.
    told_held: Option<bool>,
    /// Something was stuck, and nobody has said yet that it may be tried again.
    resting: bool,
    /// Started or adopted, and the end is not delivered yet.
    in_flight: BTreeSet<JobName>,
    /// Those of them that do not run any more.
    settling: BTreeSet<JobName>,
}

impl Dirs {
    fn running(&self) -> impl Iterator<Item = &JobName> {
        let running = self.in_flight.iter();
        running.filter(|job| !self.settling.contains(*job))
    }
}

enum Task {
    Release(InterfaceName, JobName, i64),
    Scan(InterfaceName),
    /// The second half of a scan; an ordered lane believes in no job younger than `horizon`.
    ScanQueue {
        interface: InterfaceName,
        horizon: Option<JobName>,
        deferred: Vec<(i64, JobName, Turn)>,
    },
    Start(InterfaceName, JobName),
}

struct World {
    scheduler: Scheduler,
    rules: BTreeMap<InterfaceName, LaneRules>,
    running_max: usize,
    dirs: BTreeMap<InterfaceName, Dirs>,
    names: Vec<JobName>,
    turns: BTreeMap<JobName, Turn>,
    /// The records cannot be read.
    unread: bool,
    made: usize,
    now_ms: i64,
    tasks: Vec<Task>,
    events: Vec<Event>,
    exited: bool,
    draining: bool,
}

impl World {
    fn new(rules: [LaneRules; 3], running_max: usize, n_jobs: usize) -> Self {
        let rules = NAMES
            .map(|name| name.parse().unwrap())
            .into_iter()
            .zip(rules);
        let rules: BTreeMap<InterfaceName, LaneRules> = rules.collect();
        let mut ids = Ids::above(1_700_000_000_000);
        let name = |_| JobName::new(ids.next(1_700_000_000_001), None, Kind::Xml);
        Self {
            scheduler: Scheduler::new(rules.clone(), running_max, partners()),
            dirs: rules.keys().map(|i| (i.clone(), Dirs::default())).collect(),
            rules,
            running_max,
            names: (0..n_jobs).map(name).collect(),
            turns: BTreeMap::new(),
            unread: false,
            made: 0,
            now_ms: 0,
            tasks: Vec::new(),
            events: Vec::new(),
            exited: false,
            draining: false,
        }
    }

    fn lane(&self, lane: Pick) -> InterfaceName {
        lane.of(&NAMES).unwrap().parse().unwrap()
    }

    fn dir(&mut self, interface: &InterfaceName) -> &mut Dirs {
        self.dirs.get_mut(interface).unwrap()
    }

    /// A command that outlived an earlier service.
    fn adopt(&mut self, interface: InterfaceName) {
        let Some(job) = self.names.get(self.made).cloned() else {
            return;
        };
        self.made += 1;
        // Of bob, who may have two: an earlier service kept the limits, too.
        let turn = Turn {
            partner: Some("bob".into()),
            ..any_turn(64 * self.made + 1)
        };
        self.turns.insert(job.clone(), turn.clone());
        let dirs = self.dir(&interface);
        dirs.work.insert(job.clone());
        dirs.in_flight.insert(job.clone());
        self.tell(Event::Adopted(interface, job, turn));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Appear { lane, told, turn } => {
                let Some(job) = self.names.get(self.made).cloned() else {
                    return;
                };
                self.made += 1;
                let interface = self.lane(*lane);
                self.dir(&interface).queue.insert(job.clone());
                self.turns.insert(job.clone(), turn.clone());
                if *told {
                    let arrived = Event::Arrived(interface, job, turn.clone());
                    self.events.push(arrived);
                }
            }
            Step::Deliver { event, fate } => self.deliver(*event, *fate),
            Step::Work { task, stuck } => {
                if let Some(task) = task.out_of(&mut self.tasks) {
                    self.work(task, *stuck);
                }
            }
            Step::Ran { job } => self.ran(*job),
            Step::End { job, how } => self.end(*job, *how),
            Step::Hold { lane, held } => {
                let interface = self.lane(*lane);
                self.dir(&interface).held = *held;
            }
            Step::Remove { lane, job } => {
                let interface = self.lane(*lane);
                let dirs = self.dir(&interface);
                let waiting: Vec<JobName> = dirs
                    .queue
                    .iter()
                    .chain(dirs.deferred.keys())
                    .cloned()
                    .collect();
                if let Some(job) = job.of(&waiting) {
                    dirs.queue.remove(&job);
                    dirs.deferred.remove(&job);
                }
            }
            Step::Hint { lane } => self.events.push(Event::Hint(self.lane(*lane))),
            Step::Unread(unread) => self.unread = *unread,
            Step::Rescan => self.events.push(Event::Rescan),
            Step::Sleep { ms } => {
                self.now_ms += ms;
                self.tell(Event::Tick(self.now_ms));
            }
        }
    }

    fn deliver(&mut self, event: Pick, fate: Fate) {
        let Some(event) = event.out_of(&mut self.events) else {
            return;
        };
        let hint = matches!(event, Event::Arrived(..) | Event::Hint(_) | Event::Rescan);
        match fate {
            Fate::Lost if hint => return,
            Fate::Repeated if hint => self.events.push(event.clone()),
            Fate::Arrives | Fate::Lost | Fate::Repeated => {}
        }
        self.tell(event);
    }

    /// WorkerHandle an event to the scheduler, and takes its actions for tasks.
    fn tell(&mut self, event: Event) {
        let stuck = match &event {
            Event::Ended(interface, job, end) => {
                self.dir(interface).in_flight.remove(job);
                self.dir(interface).settling.remove(job);
                (*end == End::Stuck).then(|| interface.clone())
            }
            Event::Listed {
                interface, held, ..
            } => {
                self.dir(interface).told_held = Some(*held);
                None
            }
            Event::Drain => {
                self.draining = true;
                None
            }
            Event::Released(interface, _, end) => {
                (*end == Released::Stuck).then(|| interface.clone())
            }
            Event::Resume(interface) => {
                self.dir(interface).resting = false;
                None
            }
            Event::Adopted(..)
            | Event::Arrived(..)
            | Event::Hint(_)
            | Event::Rescan
            | Event::Ruled(_)
            | Event::ScanFailed(_)
            | Event::Settling(..)
            | Event::Tick(_) => None,
        };
        if let Some(interface) = stuck {
            self.dir(&interface).resting = true;
            self.events.push(Event::Resume(interface));
        }
        let mut actions = Vec::new();
        self.scheduler.on(event, &mut actions);
        for action in actions {
            self.take(action);
        }
        let in_flight = self.dirs.values().map(|dirs| dirs.in_flight.len());
        let running = self.dirs.values().map(|dirs| dirs.running().count());
        assert_eq!(running.sum::<usize>(), self.scheduler.running);
        if self.draining {
            assert_eq!(
                self.exited,
                in_flight.sum::<usize>() == 0,
                "exit when nothing runs"
            );
        }
    }

    fn take(&mut self, action: Action) {
        match action {
            Action::Exit => {
                assert!(self.draining);
                self.exited = true;
                return;
            }
            Action::Release(interface, job, due_ms) => {
                assert!(due_ms <= self.now_ms, "released early");
                assert!(
                    !self.dir(&interface).resting,
                    "released in a lane that rests"
                );
                self.tasks.push(Task::Release(interface, job, due_ms));
            }
            Action::Scan(interface) => {
                let same = |task: &Task| matches!(task, Task::Scan(of) if *of == interface);
                assert!(
                    !self.tasks.iter().any(same),
                    "two scans of one queue at once"
                );
                self.tasks.push(Task::Scan(interface));
            }
            Action::Start(interface, job) => {
                let rules = self.rules[&interface];
                let n_running = self.dirs.values().map(|dirs| dirs.running().count());
                assert!(
                    n_running.sum::<usize>() < self.running_max,
                    "too many in all"
                );
                let under_way = self.dirs.values().map(|dirs| dirs.in_flight.len());
                assert!(
                    under_way.sum::<usize>() < 2 * self.running_max,
                    "too many under way"
                );
                let dirs = self.dir(&interface);
                assert_eq!(dirs.told_held, Some(false), "started in a held interface");
                assert!(!dirs.resting, "started in a lane that rests");
                assert!(
                    dirs.running().count() < rules.running_max,
                    "too many at once"
                );
                assert!(
                    dirs.in_flight.len() < 2 * rules.running_max,
                    "too many under way"
                );
                assert!(
                    rules.order != Order::Arrival || dirs.in_flight.is_empty(),
                    "two at once in order"
                );
                assert!(dirs.in_flight.insert(job.clone()), "started twice");
                self.is_not_over_its_limit(&job);
                self.comes_first(&interface, &job);
                self.tasks.push(Task::Start(interface, job));
            }
        }
        assert!(!self.draining, "something was begun while draining");
    }

    /// With this one, the job's partner has no more running jobs than it may.
    fn is_not_over_its_limit(&self, job: &JobName) {
        let partner = self.turn(job).partner;
        let running = self.dirs.values().flat_map(Dirs::running);
        let running = running.filter(|job| self.turn(job).partner == partner);
        let max = partners().running_max(partner.as_ref());
        assert!(running.count() <= max, "too many of {partner:?}");
    }

    /// No job that the scheduler knows, and that could be started, had its turn before this one.
    fn comes_first(&self, interface: &InterfaceName, job: &JobName) {
        let lane = &self.scheduler.lanes[interface];
        let turn = |job: &JobName| {
            let turn = self.turn(job);
            assert_eq!(turn.taker, Taker::Us, "{job} is for another worker");
            (turn.priority, job.clone(), turn.partner)
        };
        let started = turn(job);
        let is_parked = |partner: &Option<Partner>| {
            let partner = partner.as_ref();
            let running = partner.and_then(|partner| self.scheduler.running_of.get(partner));
            running.is_some_and(|running| *running >= partners().running_max(partner))
        };
        for other in lane.ready.iter() {
            let other = turn(other);
            if is_parked(&other.2) {
                continue;
            }
            // Partners take turns within a priority only.
            let is_free = lane.rules.fair && other.0 == started.0 && other.2 != started.2;
            assert!(
                is_free || other > started,
                "{other:?} was overtaken by {job}"
            );
        }
    }

    /// What can be read of it.
    fn read(&self, job: &JobName) -> Turn {
        match self.unread {
            true => Turn::unknown(),
            false => self.turn(job),
        }
    }

    fn turn(&self, job: &JobName) -> Turn {
        self.turns.get(job).cloned().unwrap_or_default()
    }

    fn work(&mut self, task: Task, stuck: bool) {
        match task {
            Task::Release(interface, job, due_ms) => {
                let turn = self.read(&job);
                let dirs = self.dir(&interface);
                let released = match dirs.deferred.get(&job) {
                    _ if stuck => Released::Stuck,
                    Some(due) if *due == due_ms => {
                        dirs.deferred.remove(&job);
                        dirs.queue.insert(job.clone());
                        Released::Queued(turn)
                    }
                    Some(_) | None => Released::Gone,
                };
                let released = Event::Released(interface, job, released);
                self.events.push(released);
            }
            Task::Scan(interface) if stuck => self.events.push(Event::ScanFailed(interface)),
            Task::Scan(interface) => {
                let deferred = self.dirs[&interface].deferred.iter();
                let deferred = deferred
                    .map(|(job, due_ms)| (*due_ms, job.clone(), self.read(job)))
                    .collect();
                let horizon = self.names[..self.made].last().cloned();
                self.tasks.push(Task::ScanQueue {
                    interface,
                    horizon,
                    deferred,
                });
            }
            Task::ScanQueue {
                interface,
                horizon,
                deferred,
            } => {
                let ordered = self.rules[&interface].order != Order::None;
                let dirs = self.dir(&interface);
                let mut ready: Vec<JobName> = dirs.queue.iter().cloned().collect();
                ready.retain(|job| !ordered || Some(job) <= horizon.as_ref());
                let (held, again) = (dirs.held, ready.len() < dirs.queue.len());
                let turns = ready.iter().map(|job| self.read(job)).collect::<Vec<_>>();
                let ready = ready.into_iter().zip(turns).collect();
                if again {
                    self.events.push(Event::Hint(interface.clone()));
                }
                self.events.push(Event::Listed {
                    interface,
                    held,
                    ready,
                    deferred,
                });
            }
            Task::Start(interface, job) if stuck => {
                let ended = Event::Ended(interface, job, End::Stuck);
                self.events.push(ended);
            }
            Task::Start(interface, job) => self.claim(interface, job),
        }
    }

    fn claim(&mut self, interface: InterfaceName, job: JobName) {
        let order = self.rules[&interface].order;
        let key = self.turn(&job).key;
        let turns = self.turns.clone();
        // Does another job keep its order with this one?
        let is_with = |other: &JobName| match order {
            Order::None => false,
            Order::Arrival => true,
            Order::Key => key.is_some() && turns.get(other).is_some_and(|turn| turn.key == key),
        };
        let dirs = self.dir(&interface);
        if dirs.held || !dirs.queue.remove(&job) {
            self.events.push(Event::Ended(interface, job, End::Unknown));
            return;
        }
        assert!(
            !dirs.work.iter().any(is_with),
            "two claimed at once in order"
        );
        let mut waiting = dirs.queue.iter().chain(dirs.deferred.keys());
        assert!(
            waiting.all(|other| !is_with(other) || *other > job),
            "an older job was overtaken"
        );
        assert!(dirs.work.insert(job), "claimed twice");
    }

    fn ran(&mut self, job: Pick) {
        let running = self.dirs.iter().flat_map(|(interface, dirs)| {
            let claimed = dirs.running().filter(|job| dirs.work.contains(*job));
            claimed.map(|job| (interface.clone(), job.clone()))
        });
        let running: Vec<_> = running.collect();
        if let Some((interface, job)) = job.of(&running) {
            self.dir(&interface).settling.insert(job.clone());
            self.tell(Event::Settling(interface, job));
        }
    }

    fn end(&mut self, job: Pick, how: How) {
        let running = self
            .dirs
            .iter()
            .flat_map(|(i, dirs)| dirs.work.iter().map(move |j| (i, j)));
        let running: Vec<_> = running.map(|(i, j)| (i.clone(), j.clone())).collect();
        let Some((interface, job)) = job.of(&running) else {
            return;
        };
        let due_ms = self.now_ms + 20;
        let dirs = self.dir(&interface);
        dirs.work.remove(&job);
        let end = match how {
            How::Done => End::Left,
            How::Deferred => {
                dirs.deferred.insert(job.clone(), due_ms);
                End::Deferred { due_ms }
            }
            How::GivenBack => {
                dirs.queue.insert(job.clone());
                End::Unknown
            }
        };
        self.events.push(Event::Ended(interface, job, end));
    }

    /// Everything that is under way happens and is heard of, in order.
    fn settle(&mut self) {
        while !self.tasks.is_empty() || !self.events.is_empty() {
            for task in std::mem::take(&mut self.tasks) {
                self.work(task, false);
            }
            for event in std::mem::take(&mut self.events) {
                self.tell(event);
            }
        }
    }

    /// How many jobs are there, without those that nobody can start here: for another worker, or
    /// behind such a one in order.
    fn n_left(&self) -> usize {
        let lanes = self
            .dirs
            .iter()
            .filter(|(i, _)| self.rules[i].running_max > 0);
        let elsewhere = |job: &&JobName| self.turn(job).taker == Taker::Others;
        lanes
            .map(|(i, d)| {
                let waiting: BTreeSet<&JobName> = d.queue.iter().chain(d.deferred.keys()).collect();
                let of = |job: &JobName| self.turn(job).key;
                let mut blocked = BTreeSet::new();
                let n_waiting = match self.rules[i].order {
                    Order::None => waiting.iter().filter(|job| !elsewhere(job)).count(),
                    Order::Arrival => waiting.iter().take_while(|job| !elsewhere(job)).count(),
                    Order::Key => {
                        let startable = waiting.iter().filter(|job| {
                            let key = of(job);
                            if elsewhere(job) {
                                blocked.extend(key);
                                return false;
                            }
                            key.is_none_or(|key| !blocked.contains(&key))
                        });
                        startable.count()
                    }
                };
                n_waiting + d.work.len()
            })
            .sum()
    }

    /// Nobody holds or hints any more: rescans and the clock alone bring every job to its end, and
    /// those for another worker once they are for everybody.
    fn come_to_rest(&mut self) {
        self.dirs.values_mut().for_each(|dirs| dirs.held = false);
        self.unread = false;
        self.end_all();
        self.turns.clear();
        self.end_all();
    }

    fn end_all(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.tell(Event::Rescan);
            self.settle();
            while self.dirs.values().any(|dirs| !dirs.work.is_empty()) {
                self.end(FIRST, How::Done);
                self.settle();
            }
            self.now_ms += 100;
            self.tell(Event::Tick(self.now_ms));
            self.settle();
            if self.n_left() == 0 {
                return;
            }
        }
        panic!("{} jobs are never started", self.n_left());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: settings().cases * 4, ..settings() })]

    #[test]
    fn no_job_starts_twice_and_every_job_starts(
        rules in any_rules(),
        running_max in 1..5_usize,
        adopted in vec(0..3_usize, 0..3),
        steps in vec(any_step(), 0..600),
    ) {
        let mut world = World::new(rules, running_max, 60);
        for lane in &adopted {
            world.adopt(world.lane(Pick(*lane)));
        }
        world.tell(Event::Rescan);
        for step in &steps {
            world.step(step);
        }
        world.come_to_rest();
        // A world without work is quiet: no event leads to anything but the scan it asks for.
        world.settle();
        let mut actions = Vec::new();
        world.scheduler.on(Event::Tick(i64::MAX), &mut actions);
        prop_assert_eq!(actions, vec![]);
        prop_assert_eq!(world.scheduler.next_due_ms(), None);
    }

    #[test]
    fn draining_begins_nothing_and_exits_with_the_last_job(
        rules in any_rules(),
        running_max in 1..5_usize,
        before in vec(any_step(), 0..300),
        after in vec(any_step(), 0..50),
    ) {
        let mut world = World::new(rules, running_max, 60);
        world.tell(Event::Rescan);
        for step in &before {
            world.step(step);
        }
        world.tell(Event::Drain);
        for step in &after {
            if world.exited {
                break;
            }
            world.step(step);
        }
        while !world.exited {
            world.settle();
            world.step(&Step::Sleep { ms: 100 });
            world.end(FIRST, How::Done);
        }
    }
}
