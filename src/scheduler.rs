//! Which job runs when. Events and the clock go in, actions come out; no files, no tasks.
//!
//! Invariant: hints may be lost, listings may be stale, and neither starts a job twice: a job
//! that runs is in `running` until it is said to have ended, and a claim of a job that is gone is
//! an ordinary end. A rescan alone brings every job to its run.
//!
//! Order: by priority and then by arrival within an interface, interfaces in turn. Where partners take turns,
//! theirs come before arrival, see `ready`. A job that is for
//! another worker is never started. Where a strict order is kept, of all jobs or of those of each key, the oldest
//! blocks the others whatever their priorities, also while it runs, waits for its next attempt or is not for us,
//! see `chains`.
//! No partner has more running jobs than it may, over all interfaces.
//!
//! A job that is being settled does not run any more, so it takes no place of one; for its order it is still under way.
//! No more than twice as many are under way as may run: where the disk keeps jobs from their end, nothing more is started.
//!
//! Invariant: an event is looked at in the lane that it is of, so what it costs does not grow with their number.

mod chains;
mod partners;
mod ready;
mod run_stats;

pub use chains::OrderKey;
pub use partners::{Partner, PartnerRules, Partners};
pub use run_stats::{Ahead, RunStats};

use crate::domain::{InterfaceName, JobName, Priority};
use chains::{ChainKey, Chains, Link, Offer};
use ready::Ready;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Bound,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command that outlived an earlier service still works on this job.
    Adopted(InterfaceName, JobName, Turn),
    /// The rules are others.
    Ruled(Ruled),
    /// A complete job is in the queue.
    Arrived(InterfaceName, JobName, Turn),
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
        ready: Vec<(JobName, Turn)>,
        deferred: Vec<(i64, JobName, Turn)>,
    },
    /// What became of a due job.
    Released(InterfaceName, JobName, Released),
    /// Something may have changed anywhere.
    Rescan,
    /// A lane that was stuck has rested.
    Resume(InterfaceName),
    /// A scan failed; the next rescan tries again.
    ScanFailed(InterfaceName),
    /// The work on a job that was started has ended, and what becomes of it is being recorded: another one may run in its
    /// place. [`Event::Ended`] follows.
    Settling(InterfaceName, JobName),
    /// It is so late, in milliseconds of the clock by which jobs are due.
    Tick(i64),
}

impl Event {
    /// The one whose lane it changes.
    fn interface(&self) -> Option<&InterfaceName> {
        match self {
            Self::Adopted(interface, ..)
            | Self::Arrived(interface, ..)
            | Self::Ended(interface, ..)
            | Self::Hint(interface)
            | Self::Listed { interface, .. }
            | Self::Released(interface, ..)
            | Self::Resume(interface)
            | Self::ScanFailed(interface)
            | Self::Settling(interface, _) => Some(interface),
            Self::Drain | Self::Rescan | Self::Ruled(_) | Self::Tick(_) => None,
        }
    }
}

/// All the rules, and of which interfaces they are others than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruled {
    pub lanes: BTreeMap<InterfaceName, LaneRules>,
    /// When their jobs have their turns is to be looked up again.
    pub changed: BTreeSet<InterfaceName>,
    pub running_max: usize,
    pub partners: Partners,
}

/// When a waiting job may be started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// After those of a higher one.
    pub priority: Priority,
    /// Whose it is; `None` where that does not matter, or is not known.
    pub partner: Option<Partner>,
    /// What it keeps its order by, where that is by keys; `None`: it has no such key.
    pub key: Option<OrderKey>,
    pub taker: Taker,
}

/// Who may start a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Taker {
    #[default]
    Us,
    /// It is for another worker.
    Others,
    /// What is known of it cannot be read: nobody, before the next scan.
    Unknown,
}

impl Turn {
    /// Of a job of which nothing can be read now.
    pub fn unknown() -> Self {
        Self {
            taker: Taker::Unknown,
            ..Self::default()
        }
    }
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// Nobody knows where it is.
    Gone,
    /// It is back in its queue.
    Queued(Turn),
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
    pub order: Order,
    /// Partners take turns.
    pub fair: bool,
}

impl LaneRules {
    /// Are all jobs run in the order of their arrival?
    pub fn is_ordered(&self) -> bool {
        self.order == Order::Arrival
    }
}

/// What overtakes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// There are turns, and no more.
    #[default]
    None,
    /// Strict FIFO.
    Arrival,
    /// Strict FIFO of the jobs of each key; a job without one is a key of its own.
    Key,
}

#[derive(Debug)]
pub struct Scheduler {
    lanes: BTreeMap<InterfaceName, Lane>,
    running: usize,
    running_max: usize,
    /// How many jobs are being settled.
    settling: usize,
    partners: Partners,
    /// How many jobs of each partner run.
    running_of: HashMap<Partner, usize>,
    /// The lanes that have a job to start.
    startable: BTreeSet<InterfaceName>,
    /// The last of them that had its turn.
    turn: Option<InterfaceName>,
    /// When the first deferred job of each lane is due.
    due: BTreeSet<(i64, InterfaceName)>,
    draining: bool,
    /// How often a lane was looked at.
    #[cfg(test)]
    looks: usize,
}

#[derive(Debug)]
struct Lane {
    rules: LaneRules,
    dirty: bool,
    scanning: bool,
    /// That scan began under other rules: what it lists is not taken.
    outdated: bool,
    /// Jobs run that were started under other rules, by which no order is known of them: they end first.
    waits_for_running: bool,
    /// The interface is not configured any more, and its last jobs run.
    gone: bool,
    /// What moved while a scan was under way: of these jobs its listing tells nothing.
    moved: BTreeSet<JobName>,
    held: bool,
    /// Something could not be done: nothing is started or released before [`Event::Resume`].
    resting: bool,
    /// Jobs that could not be started.
    stuck: BTreeSet<JobName>,
    ready: Ready,
    /// Those of them that were stuck: others come first.
    last: Ready,
    /// Where an order is kept: the jobs that keep it. Of each chain one at a time is ready.
    chains: Chains,
    /// Jobs with keys that nobody can read: they may be any, so nothing is started.
    unread: BTreeSet<JobName>,
    running: BTreeMap<JobName, Option<Partner>>,
    /// Jobs that have run, and have not ended yet.
    settling: BTreeSet<JobName>,
    deferred: BTreeMap<JobName, i64>,
    /// When the first of them is due, as the scheduler knows it.
    due_ms: Option<i64>,
    /// Due jobs on their way back to the queue.
    releasing: BTreeSet<JobName>,
}

impl Scheduler {
    pub fn new(
        lanes: impl IntoIterator<Item = (InterfaceName, LaneRules)>,
        running_max: usize,
        partners: Partners,
    ) -> Self {
        let lanes = lanes.into_iter();
        Self {
            lanes: lanes
                .map(|(name, rules)| (name, Lane::new(rules)))
                .collect(),
            running: 0,
            running_max,
            settling: 0,
            partners,
            running_of: HashMap::new(),
            startable: BTreeSet::new(),
            turn: None,
            due: BTreeSet::new(),
            draining: false,
            #[cfg(test)]
            looks: 0,
        }
    }

    pub fn on(&mut self, event: Event, out: &mut Vec<Action>) {
        let of = event.interface().cloned();
        let is_of_all = matches!(event, Event::Rescan | Event::Ruled(_));
        match event {
            Event::Adopted(interface, job, turn) => self.adopt(&interface, job, turn),
            Event::Arrived(interface, job, turn) => {
                if let Some(lane) = self.lanes.get_mut(&interface) {
                    if lane.rules.order != Order::None {
                        // The hint of an older job may have been lost: only a listing knows.
                        lane.dirty = true;
                    } else {
                        lane.add(job, turn);
                    }
                }
            }
            Event::Drain => self.draining = true,
            Event::Ruled(rules) => self.rule(rules),
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
                    lane.released(job, end);
                }
            }
            Event::Rescan => self.lanes.values_mut().for_each(|lane| lane.dirty = true),
            Event::Resume(interface) => {
                if let Some(lane) = self.lanes.get_mut(&interface) {
                    lane.resting = false;
                    lane.dirty = true;
                }
            }
            Event::ScanFailed(interface) => {
                if let Some(lane) = self.lanes.get_mut(&interface) {
                    lane.scanning = false;
                    lane.outdated = false;
                    lane.moved.clear();
                }
            }
            Event::Settling(interface, job) => self.settle(&interface, job),
            Event::Tick(now_ms) => self.release_due(now_ms, out),
        }
        if is_of_all {
            self.look_at_all(out);
        }
        if let Some(interface) = of {
            self.look_at(&interface, out);
        }
        self.pump(out);
    }

    /// The next moment at which a deferred job is due.
    pub fn next_due_ms(&self) -> Option<i64> {
        if self.draining {
            return None;
        }
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// Takes note of what an event has changed in a lane, and asks for a scan if it needs one.
    fn look_at(&mut self, interface: &InterfaceName, out: &mut Vec<Action>) {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        let Some(lane) = self.lanes.get_mut(interface) else {
            self.startable.remove(interface);
            return;
        };
        // Cleared before the scan starts: a hint during the scan asks for one more.
        if lane.dirty && !lane.scanning && !lane.gone && !self.draining {
            lane.dirty = false;
            lane.scanning = true;
            out.push(Action::Scan(interface.clone()));
        }
        if lane.startable().is_none() {
            self.startable.remove(interface);
        } else if !self.startable.contains(interface) {
            self.startable.insert(interface.clone());
        }
        let due_ms = lane.next_due_ms();
        if lane.due_ms != due_ms {
            let before = std::mem::replace(&mut lane.due_ms, due_ms);
            if let Some(before) = before {
                self.due.remove(&(before, interface.clone()));
            }
            self.due
                .extend(due_ms.map(|due_ms| (due_ms, interface.clone())));
        }
    }

    fn look_at_all(&mut self, out: &mut Vec<Action>) {
        self.startable.clear();
        self.due.clear();
        for lane in self.lanes.values_mut() {
            lane.due_ms = None;
        }
        let names: Vec<InterfaceName> = self.lanes.keys().cloned().collect();
        for interface in &names {
            self.look_at(interface, out);
        }
    }

    /// Takes other rules. What runs goes on, and counts.
    fn rule(&mut self, rules: Ruled) {
        let mut before = std::mem::take(&mut self.lanes);
        for (name, of) in rules.lanes {
            let lane = match before.remove(&name) {
                Some(lane) if !rules.changed.contains(&name) => lane,
                Some(lane) => lane.ruled(of),
                None => Lane {
                    dirty: true,
                    ..Lane::new(of)
                },
            };
            self.lanes.insert(name, lane);
        }
        before.retain(|_, lane| lane.has_under_way());
        for (name, lane) in before {
            let nothing = LaneRules {
                running_max: 0,
                order: Order::None,
                fair: false,
            };
            let lane = Lane {
                dirty: false,
                gone: true,
                ..lane.ruled(nothing)
            };
            self.lanes.insert(name, lane);
        }
        self.running_max = rules.running_max;
        self.partners = rules.partners;
        self.count_anew();
    }

    /// How many jobs of each partner run, by those that do, and who has as many as it may.
    fn count_anew(&mut self) {
        self.running_of.clear();
        let running = self.lanes.values().flat_map(|lane| lane.running.values());
        for partner in running.flatten() {
            *self.running_of.entry(partner.clone()).or_default() += 1;
        }
        for (partner, running) in &self.running_of {
            let is_full = *running >= self.partners.running_max(Some(partner));
            for lane in self.lanes.values_mut() {
                lane.ready.park(partner, is_full);
                lane.last.park(partner, is_full);
            }
        }
        if !self.partners.are_limited() {
            self.running_of.clear();
        }
    }

    fn adopt(&mut self, interface: &InterfaceName, job: JobName, turn: Turn) {
        if let Some(lane) = self.lanes.get_mut(interface)
            && !lane.is_under_way(&job)
        {
            if lane.is_read(&job, &turn)
                && let Some(key) = lane.key_of(&turn)
            {
                lane.link(&job, &key, Link::UnderWay);
            }
            lane.running.insert(job, turn.partner.clone());
            self.count(turn.partner.as_ref(), true);
        }
    }

    /// Starts a job whose turn it is.
    fn begin(&mut self, interface: &InterfaceName, job: JobName) {
        let Some(lane) = self.lanes.get_mut(interface) else {
            return;
        };
        let partner = (lane.ready.partner_of(&job)).or_else(|| lane.last.partner_of(&job));
        let partner = partner.cloned();
        let stride = match lane.rules.fair {
            true => self.partners.of(partner.as_ref()).stride(),
            false => 0,
        };
        lane.ready.take(&job, stride);
        lane.last.take(&job, stride);
        lane.mark(&job, Link::UnderWay);
        lane.running.insert(job, partner.clone());
        self.count(partner.as_ref(), true);
    }

    /// A job that runs gives its place to another one.
    fn settle(&mut self, interface: &InterfaceName, job: JobName) {
        if let Some(lane) = self.lanes.get_mut(interface)
            && let Some(partner) = lane.running.remove(&job)
        {
            lane.settling.insert(job);
            self.settling += 1;
            self.count(partner.as_ref(), false);
        }
    }

    fn end(&mut self, interface: &InterfaceName, job: JobName, end: End) {
        let Some(lane) = self.lanes.get_mut(interface) else {
            return;
        };
        let ran = lane.running.remove(&job);
        if lane.settling.remove(&job) {
            self.settling -= 1;
        }
        lane.ended(job, end);
        lane.waits_for_running &= lane.has_under_way();
        if lane.gone && !lane.has_under_way() {
            self.lanes.remove(interface);
        }
        if let Some(partner) = ran {
            self.count(partner.as_ref(), false);
        }
    }

    /// One job more, or less, runs. A partner with as many as it may have is parked.
    fn count(&mut self, partner: Option<&Partner>, starts: bool) {
        match starts {
            true => self.running += 1,
            false => self.running -= 1,
        }
        let Some(partner) = partner.filter(|_| self.partners.are_limited()) else {
            return;
        };
        let max = self.partners.running_max(Some(partner));
        let running = self.running_of.entry(partner.clone()).or_default();
        let was_full = *running >= max;
        match starts {
            true => *running += 1,
            false => *running -= 1,
        }
        let (is_full, is_idle) = (*running >= max, *running == 0);
        if is_idle {
            self.running_of.remove(partner);
        }
        if was_full != is_full {
            for lane in self.lanes.values_mut() {
                lane.ready.park(partner, is_full);
                lane.last.park(partner, is_full);
            }
            let startable = self.lanes.iter();
            let startable = startable.filter(|(_, lane)| lane.startable().is_some());
            self.startable = startable.map(|(interface, _)| interface.clone()).collect();
        }
    }

    fn release_due(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        if self.draining {
            return;
        }
        let due = self.due.iter();
        let due = due.take_while(|(due_ms, _)| *due_ms <= now_ms);
        let due: BTreeSet<InterfaceName> = due.map(|(_, interface)| interface.clone()).collect();
        for interface in due {
            let Some(lane) = self.lanes.get_mut(&interface) else {
                continue;
            };
            let due = lane
                .deferred
                .iter()
                .filter(|(_, due_ms)| **due_ms <= now_ms);
            let due = due.map(|(job, due_ms)| (job.clone(), *due_ms));
            for (job, due_ms) in due.collect::<Vec<_>>() {
                lane.deferred.remove(&job);
                lane.mark(&job, Link::UnderWay);
                lane.releasing.insert(job.clone());
                out.push(Action::Release(interface.clone(), job, due_ms));
            }
            self.look_at(&interface, out);
        }
    }

    fn pump(&mut self, out: &mut Vec<Action>) {
        if self.draining {
            if self.running + self.settling == 0 {
                out.push(Action::Exit);
            }
            return;
        }
        while has_room(self.running, self.settling, self.running_max) {
            let after = (self.turn.as_ref()).map_or(Bound::Unbounded, Bound::Excluded);
            let mut next = self.startable.range((after, Bound::Unbounded));
            let next = next.next().or_else(|| self.startable.first());
            let Some(interface) = next.cloned() else {
                return;
            };
            let lane = self.lanes.get(&interface);
            if let Some(job) = lane.and_then(Lane::startable).cloned() {
                self.begin(&interface, job.clone());
                out.push(Action::Start(interface.clone(), job));
            }
            self.look_at(&interface, out);
            self.turn = Some(interface);
        }
    }
}

/// May another job be started beside these?
fn has_room(running: usize, settling: usize, running_max: usize) -> bool {
    running < running_max && running + settling < running_max.saturating_mul(2)
}

impl Lane {
    fn new(rules: LaneRules) -> Self {
        Self {
            rules,
            dirty: false,
            scanning: false,
            outdated: false,
            waits_for_running: false,
            gone: false,
            moved: BTreeSet::new(),
            // Until the first listing nobody knows.
            held: true,
            resting: false,
            stuck: BTreeSet::new(),
            ready: Ready::default(),
            last: Ready::default(),
            chains: Chains::default(),
            unread: BTreeSet::new(),
            running: BTreeMap::new(),
            settling: BTreeSet::new(),
            deferred: BTreeMap::new(),
            due_ms: None,
            releasing: BTreeSet::new(),
        }
    }

    /// The same lane under other rules: what waits is not known before the next listing.
    fn ruled(self, rules: LaneRules) -> Self {
        Self {
            dirty: true,
            scanning: self.scanning,
            outdated: self.scanning,
            waits_for_running: rules.order != Order::None && self.has_under_way(),
            resting: self.resting,
            running: self.running,
            settling: self.settling,
            ..Self::new(rules)
        }
    }

    fn is_under_way(&self, job: &JobName) -> bool {
        self.running.contains_key(job) || self.settling.contains(job)
    }

    /// Do jobs run here, or are being settled?
    fn has_under_way(&self) -> bool {
        !self.running.is_empty() || !self.settling.is_empty()
    }

    /// When the first deferred job is due that may be released.
    fn next_due_ms(&self) -> Option<i64> {
        let may_be = !self.resting && !self.gone;
        may_be.then(|| self.deferred.values().min().copied())?
    }

    fn startable(&self) -> Option<&JobName> {
        let (running, settling) = (self.running.len(), self.settling.len());
        let may_start = has_room(running, settling, self.rules.running_max);
        let may_start = may_start && !self.waits_for_running;
        if self.held || self.resting || !may_start || !self.unread.is_empty() {
            return None;
        }
        // What could not be started comes when nothing else is left to start.
        self.ready.first().or_else(|| self.last.first())
    }

    fn listed(
        &mut self,
        held: bool,
        ready: Vec<(JobName, Turn)>,
        deferred: Vec<(i64, JobName, Turn)>,
    ) {
        self.scanning = false;
        if std::mem::take(&mut self.outdated) {
            self.moved.clear();
            self.dirty = true;
            return;
        }
        self.held = held;
        let moved = std::mem::take(&mut self.moved);
        let is_known = |lane: &Self, job: &JobName| {
            lane.is_under_way(job) || lane.releasing.contains(job) || moved.contains(job)
        };
        // What is not listed any more has left by other hands.
        self.deferred.retain(|job, _| moved.contains(job));
        let unread = std::mem::take(&mut self.unread).into_iter();
        self.unread = unread.filter(|job| is_known(self, job)).collect();
        if self.rules.order != Order::None || !self.stuck.is_empty() {
            let listed = ready.iter().map(|(job, _)| job);
            let listed = listed.chain(deferred.iter().map(|(_, job, _)| job));
            let listed: HashSet<JobName> = listed.cloned().collect();
            let stuck = std::mem::take(&mut self.stuck).into_iter();
            self.stuck = stuck.filter(|job| listed.contains(job)).collect();
            let mut chains = std::mem::take(&mut self.chains);
            let offers = chains.retain(|job| listed.contains(job) || is_known(self, job));
            self.chains = chains;
            self.take(offers);
        }
        for (due_ms, job, turn) in deferred {
            if !is_known(self, &job) {
                self.withdraw(&job);
                if self.is_read(&job, &turn)
                    && let Some(key) = self.key_of(&turn)
                {
                    self.link(&job, &key, Link::Waits);
                }
                self.deferred.insert(job, due_ms);
            }
        }
        for (job, turn) in ready {
            if !is_known(self, &job) {
                self.add(job, turn);
            }
        }
    }

    fn ended(&mut self, job: JobName, end: End) {
        self.moved(&job);
        if end != End::Stuck {
            self.stuck.remove(&job);
        }
        match end {
            End::Deferred { due_ms } => {
                self.mark(&job, Link::Waits);
                self.deferred.insert(job, due_ms);
            }
            End::Left => {
                self.unread.remove(&job);
                self.unlink(&job);
            }
            End::Stuck => {
                self.resting = true;
                self.lose_track(&job);
                self.stuck.insert(job);
            }
            End::Unknown => self.lose_track(&job),
        }
    }

    fn released(&mut self, job: JobName, end: Released) {
        let is_known = self.releasing.remove(&job);
        self.moved(&job);
        if !is_known {
            // It began under other rules.
            return self.lose_track(&job);
        }
        match end {
            Released::Gone => self.lose_track(&job),
            Released::Queued(turn) => self.add(job, turn),
            Released::Stuck => {
                self.resting = true;
                self.lose_track(&job);
            }
        }
    }

    fn moved(&mut self, job: &JobName) {
        if self.scanning {
            self.moved.insert(job.clone());
        }
    }

    /// Only a listing knows where it is. No younger one of its chain is started before.
    fn lose_track(&mut self, job: &JobName) {
        self.dirty = true;
        self.mark(job, Link::Waits);
    }

    fn add(&mut self, job: JobName, turn: Turn) {
        // A lane that runs nothing keeps nothing: its jobs are in the directory.
        let has_left = self.is_under_way(&job)
            || self.deferred.contains_key(&job)
            || self.releasing.contains(&job);
        if self.rules.running_max == 0 || has_left || !self.is_read(&job, &turn) {
            return;
        }
        let is_ours = turn.taker == Taker::Us;
        match self.key_of(&turn) {
            Some(key) if is_ours => self.link(&job, &key, Link::Ready(turn)),
            Some(key) => self.link(&job, &key, Link::Waits),
            None => {
                self.unlink(&job);
                match is_ours {
                    true => self.offer(job, turn),
                    false => self.withdraw(&job),
                }
            }
        }
    }

    /// Is it known what a job keeps its order by? If not, it takes part in nothing.
    fn is_read(&mut self, job: &JobName, turn: &Turn) -> bool {
        let is_read = self.rules.order != Order::Key || turn.taker != Taker::Unknown;
        if is_read {
            self.unread.remove(job);
        } else {
            self.unread.insert(job.clone());
            self.unlink(job);
            self.withdraw(job);
        }
        is_read
    }

    /// The chain of a job; `None`: it is in none.
    fn key_of(&self, turn: &Turn) -> Option<ChainKey> {
        match self.rules.order {
            Order::None => None,
            Order::Arrival => Some(ChainKey::Lane),
            Order::Key => turn.key.clone().map(ChainKey::Value),
        }
    }

    fn link(&mut self, job: &JobName, key: &ChainKey, link: Link) {
        let offers = self.chains.set(job, key, link);
        self.take(offers);
    }

    /// Says how far a job is that may be in a chain.
    fn mark(&mut self, job: &JobName, link: Link) {
        if let Some(key) = self.chains.key_of(job).cloned() {
            self.link(job, &key, link);
        }
    }

    fn unlink(&mut self, job: &JobName) {
        let offers = self.chains.remove(job);
        self.take(offers);
    }

    fn take(&mut self, offers: Vec<Offer>) {
        for offer in offers {
            match offer {
                Offer::Made(job, turn) => self.offer(job, turn),
                Offer::Withdrawn(job) => self.withdraw(&job),
            }
        }
    }

    /// Lets a job have its turn.
    fn offer(&mut self, job: JobName, turn: Turn) {
        let ready = match self.stuck.contains(&job) {
            true => &mut self.last,
            false => &mut self.ready,
        };
        ready.insert(job, turn.priority, turn.partner);
    }

    fn withdraw(&mut self, job: &JobName) {
        self.ready.remove(job);
        self.last.remove(job);
    }
}

#[cfg(test)]
mod fairness;

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests;
