//! Which job runs when. Events and the clock go in, actions come out; no files, no tasks.
//!
//! Invariant: hints may be lost, listings may be stale, and neither starts a job twice: a job
//! that runs is in `running` until it is said to have ended, and a claim of a job that is gone is
//! an ordinary end. A rescan alone brings every job to its run.
//!
//! Order: by priority and then by arrival within an interface, interfaces in turn. Where partners take turns,
//! theirs come before arrival, see `ready`. A job that is for
//! another worker is never started. An ordered interface is strict FIFO, whatever the priorities: its
//! oldest job blocks the others, also while it runs, waits for its next attempt or is not for us.

mod partners;
mod ready;
mod run_stats;

pub use partners::{Partner, PartnerRules, Partners};
pub use run_stats::{Ahead, RunStats};

use crate::domain::{InterfaceName, JobName, Priority};
use ready::Ready;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command that outlived an earlier service still works on this job.
    Adopted(InterfaceName, JobName),
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
    /// It is so late, in milliseconds of the clock by which jobs are due.
    Tick(i64),
}

/// When a waiting job may be started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// After those of a higher one.
    pub priority: Priority,
    /// Whose it is; `None` where that does not matter, or is not known.
    pub partner: Option<Partner>,
    /// Never here: it is for another worker.
    pub is_elsewhere: bool,
}

impl Turn {
    /// Of a job that is for another worker.
    pub fn elsewhere() -> Self {
        Self {
            is_elsewhere: true,
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
    /// Strict FIFO.
    pub ordered: bool,
    /// Partners take turns.
    pub fair: bool,
}

#[derive(Debug)]
pub struct Scheduler {
    lanes: BTreeMap<InterfaceName, Lane>,
    running: usize,
    running_max: usize,
    partners: Partners,
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
    /// Jobs that could not be started: others come first. With their turns once they are listed again.
    stuck: BTreeMap<JobName, Option<Turn>>,
    ready: Ready,
    /// Ordered: jobs that are for another worker, and block those behind them.
    elsewhere: BTreeSet<JobName>,
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
        let first = self.ready.first()?;
        let blocked = self.rules.ordered
            && (self.unknown
                || !self.running.is_empty()
                || !self.releasing.is_empty()
                || self.elsewhere.first().is_some_and(|e| e < first)
                || self.deferred.keys().next().is_some_and(|d| d < first));
        (!blocked).then_some(first)
    }
}

impl Scheduler {
    pub fn new(
        lanes: impl IntoIterator<Item = (InterfaceName, LaneRules)>,
        running_max: usize,
        partners: Partners,
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
            stuck: BTreeMap::new(),
            ready: Ready::default(),
            elsewhere: BTreeSet::new(),
            running: BTreeSet::new(),
            deferred: BTreeMap::new(),
            releasing: BTreeSet::new(),
        };
        Self {
            lanes: lanes.into_iter().map(|(name, r)| (name, lane(r))).collect(),
            running: 0,
            running_max,
            partners,
            turn: 0,
            draining: false,
        }
    }

    pub fn on(&mut self, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Adopted(interface, job) => self.begin(&interface, job),
            Event::Arrived(interface, job, turn) => {
                if let Some(lane) = self.lanes.get_mut(&interface) {
                    if lane.rules.ordered {
                        // The hint of an older job may have been lost: only a listing knows.
                        lane.dirty = true;
                    } else {
                        lane.add(job, turn);
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
                        Released::Queued(turn) => lane.add(job, turn),
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
            let partner = lane.ready.partner_of(&job);
            let stride = match lane.rules.fair {
                true => self.partners.of(partner).stride(),
                false => 0,
            };
            lane.ready.take(&job, stride);
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
                    lane.stuck.insert(job, None);
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
    fn listed(&mut self, held: bool, ready: Vec<(JobName, Turn)>, deferred: Vec<(i64, JobName)>) {
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
            self.elsewhere.clear();
            self.stuck.values_mut().for_each(|turn| *turn = None);
        }
        for (due_ms, job) in deferred {
            if !self.running.contains(&job) && !self.releasing.contains(&job) {
                self.deferred.insert(job, due_ms);
            }
        }
        for (job, turn) in ready {
            self.add(job, turn);
        }
        if !stale {
            self.stuck.retain(|_, turn| turn.is_some());
        }
        self.retry_stuck();
    }

    /// Jobs that could not be started are tried again once nothing else is left to start.
    fn retry_stuck(&mut self) {
        if self.ready.is_empty() {
            for (job, turn) in std::mem::take(&mut self.stuck) {
                turn.into_iter()
                    .for_each(|turn| self.add(job.clone(), turn));
            }
        }
    }

    fn moved(&mut self) {
        self.stale |= self.scanning;
    }

    fn lose_track(&mut self) {
        self.unknown = self.rules.ordered;
        self.dirty = true;
    }

    fn add(&mut self, job: JobName, turn: Turn) {
        // A lane that runs nothing keeps nothing: its jobs are in the directory.
        let has_left = self.running.contains(&job) || self.deferred.contains_key(&job);
        if self.rules.running_max == 0 || has_left {
            return;
        }
        if turn.is_elsewhere {
            self.ready.remove(&job);
            self.stuck.remove(&job);
            if self.rules.ordered {
                self.elsewhere.insert(job);
            }
        } else if self.rules.ordered {
            self.ready.insert(job, Priority::Default, None);
        } else if let Some(stuck) = self.stuck.get_mut(&job) {
            *stuck = Some(turn);
        } else {
            self.ready.insert(job, turn.priority, turn.partner);
        }
    }
}

#[cfg(test)]
mod fairness;

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests;
