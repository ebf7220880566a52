//! Runs of the engine in memory. A run works in a directory of its own, and no process outlives a lease.

use super::{All, MemoryStore, NewName, Part};
use crate::{
    domain::joblog::{JobLog, Level, Message, Status},
    domain::{InterfaceName, Job, JobName, Kind, Place, Queue, Reference, Transition},
    store::{
        AttemptEnd, By, Claimed, Interrupted, Lease, LeftBehind, NewJob, Result, RunLog, Settled,
        Settlement, StoreError,
        activity::Happened,
        job::Came,
        scratch::{Emitted, Scratch},
    },
};
use bytes::BytesMut;
use parking_lot::Mutex;
use std::{fs, io, path::PathBuf, sync::Arc};

/// Attempts of a job whose runs are cut off.
const ATTEMPTS_MAX: u32 = 3;

/// What a [`Lease`] of this engine holds.
pub(super) struct Held {
    all: Arc<Mutex<All>>,
    job: JobName,
    fence: u64,
    /// A processor works on it: should the lease be lost, the attempt counts.
    works: bool,
    scratch: Scratch,
    settled: Mutex<Option<Settled>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        if !all.has_fence(&self.job, self.fence) {
            return;
        }
        let Some(known) = all.jobs.get_mut(&self.job) else {
            return;
        };
        known.fence = None;
        if !self.works {
            known.attempts -= 1;
            all.step(&self.job, &Transition::Release);
        }
    }
}

impl Held {
    pub(super) fn check_output(&self) -> Result<Option<String>> {
        Ok(self.scratch.check()?.1)
    }
}

impl All {
    fn has_fence(&self, job: &JobName, fence: u64) -> bool {
        let known = self.jobs.get(job);
        known.is_some_and(|known| known.fence == Some(fence))
    }

    /// Makes jobs of what the processor of one has left to be jobs.
    fn emit(&mut self, parent: &JobName, left: Vec<Emitted>, now_ms: i64) -> Vec<Job> {
        let submitter = self.jobs[parent].new.submitter.clone();
        let files = left.into_iter().flat_map(|Emitted { to, files, .. }| {
            files
                .into_iter()
                .map(move |(file, bytes)| (to.clone(), file, bytes))
        });
        let emitted = files.map(|(to, file, bytes)| {
            let new = NewJob {
                dialect: "emit".into(),
                submitter: submitter.clone(),
                came: Came::Emitted {
                    parent: parent.clone(),
                },
                ..NewJob::default()
            };
            let part = Part {
                name: NewName {
                    kind: Kind::of_file(&file),
                    reference: Reference::of_dropped_file(&file),
                },
                bytes: BytesMut::from(&bytes[..]),
            };
            let place = Place::Queue(Queue::from(&to));
            let document = part.document();
            let stored = self.add(document, new, place.clone(), Some(&to), None, now_ms);
            let name = stored.job;
            Job { place, name }
        });
        emitted.collect()
    }

    /// A fence greater than all before it, for a job that runs.
    fn fence(&mut self, job: &JobName, now_ms: i64) -> u64 {
        let fence = self.ids.next(now_ms).get();
        if let Some(known) = self.jobs.get_mut(job) {
            known.fence = Some(fence);
        }
        fence
    }
}

impl MemoryStore {
    fn lease(&self, all: &mut All, job: &JobName, works: bool) -> (Lease, PathBuf) {
        let fence = all.fence(job, self.now());
        let known = &all.jobs[job];
        let (interface, attempt) = (known.interface.clone(), known.attempts);
        let scratch = Scratch::new(&std::env::temp_dir()).expect("a directory can be made");
        let output = scratch.output();
        let held = Held {
            all: self.all.clone(),
            job: job.clone(),
            fence,
            works,
            scratch,
            settled: Mutex::default(),
        };
        let interface = interface.expect("it came from its queue");
        let mut lease = Lease::new(job.clone(), interface, attempt, Arc::new(held));
        let retries = known.new.options.retries;
        lease.attempts_max = retries.map_or(ATTEMPTS_MAX, |retries| retries + 1);
        lease.repeats = retries.is_some();
        lease.submitter.clone_from(&known.new.submitter);
        lease
            .reference_as_sent
            .clone_from(&known.new.reference_as_sent);
        (lease, output)
    }

    pub(super) fn take(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        works: bool,
    ) -> io::Result<Claimed> {
        let mut all = self.lock();
        let waits =
            |place: &Place| matches!(place, Place::Queue(queue) if queue.interface == *interface);
        let known = all.jobs.get(job).filter(|known| waits(&known.place));
        let Some(known) = known.filter(|_| !all.held.contains_key(interface)) else {
            return Ok(Claimed::Gone);
        };
        let attempt = known.attempts + 1;
        let (document, params) = (known.document.clone(), known.new.options.params.clone());
        let now_ms = self.now();
        let known = all.step(job, &Transition::Claim { attempt });
        (known.attempts, known.started_ms) = (attempt, Some(now_ms));
        let (lease, output) = self.lease(&mut all, job, works);
        if let Some(known) = all.jobs.get_mut(job) {
            known.output = Some(output);
        }
        drop(all);
        let held = lease.held::<Held>().expect("it was made here");
        let workspace = (held.scratch).workspace(job, &document, params.as_deref())?;
        Ok(Claimed::Taken(lease, Box::new(workspace)))
    }

    pub(super) fn settle_run(
        &self,
        held: &Held,
        what: Settlement,
        log: Option<RunLog>,
    ) -> Result<Settled> {
        let mut settled = held.settled.lock();
        if let Some(settled) = &*settled {
            return Ok(settled.clone());
        }
        let left = match what {
            Settlement::Done => Some(held.scratch.left()?),
            Settlement::Deferred { .. } | Settlement::Failed | Settlement::GivenBack => None,
        };
        let (now_ms, mut all) = (self.now(), self.lock());
        if !all.has_fence(&held.job, held.fence) {
            return Ok(Settled::Fenced);
        }
        let (by, status) = match what {
            Settlement::Deferred { due_ms } => (Transition::Defer { due_ms }, Status::Error),
            Settlement::Done => (Transition::Archive, Status::Ok),
            Settlement::Failed => (Transition::Fail, Status::Error),
            Settlement::GivenBack => (Transition::Release, Status::Error),
        };
        let outcome = match what {
            Settlement::Deferred { .. } => AttemptEnd::Deferred,
            Settlement::Done => AttemptEnd::Done,
            Settlement::Failed => AttemptEnd::Failed,
            Settlement::GivenBack => AttemptEnd::GivenBack,
        };
        let known = all.jobs.get_mut(&held.job).expect("it has a fence");
        known.fence = None;
        known.reason = None;
        if let Some(log) = log {
            known.write_log(known.log_of(&held.job, status, now_ms, log.messages));
        }
        let outcome = match known.log.as_ref().is_some_and(JobLog::is_cancelled) {
            true => AttemptEnd::Cancelled,
            false => outcome,
        };
        known.attempt_ended(outcome, now_ms);
        let interface = known.interface.clone();
        if what == Settlement::GivenBack {
            known.attempts -= 1;
        }
        let emitted = match left {
            None => Vec::new(),
            Some(left) => {
                (known.results, known.variables) = (left.results, left.variables);
                all.emit(&held.job, left.emitted, now_ms)
            }
        };
        all.step(&held.job, &by);
        let happened = match outcome {
            AttemptEnd::Done => Some(Happened::Done),
            AttemptEnd::Failed => Some(Happened::Failed),
            AttemptEnd::Cancelled
            | AttemptEnd::CutOff
            | AttemptEnd::Deferred
            | AttemptEnd::GivenBack => None,
        };
        if let Some(what) = happened {
            all.activity.count(interface.as_ref(), now_ms, what);
        }
        self.report_end(&mut all, &held.job);
        let now = Settled::Done { emitted };
        *settled = Some(now.clone());
        Ok(now)
    }

    /// What the processor of a job that runs has said.
    pub(super) fn said_by_run(&self, job: &Job) -> Vec<Message> {
        let (now_ms, all) = (self.now(), self.lock());
        let running = all.at(job).filter(|known| known.fence.is_some());
        let output = running.and_then(|known| fs::read_to_string(known.output.as_ref()?).ok());
        let lines = output.iter().flat_map(|output| output.lines());
        lines
            .map(|line| Message::new(now_ms, Level::Info, line))
            .collect()
    }

    pub(super) fn left(&self, interface: &InterfaceName) -> Vec<LeftBehind> {
        let mut all = self.lock();
        let is_left =
            |place: &Place| matches!(place, Place::Work { interface: of, .. } if of == interface);
        let left = all.jobs.iter();
        let left = left.filter(|(_, known)| known.fence.is_none() && is_left(&known.place));
        let left: Vec<JobName> = left.map(|(job, _)| job.clone()).collect();
        let left = left.iter().map(|job| {
            let (lease, output) = self.lease(&mut all, job, true);
            LeftBehind {
                precedence: Some(all.jobs[job].new.precedence(job)),
                started_ms: all.jobs[job].started_ms,
                lease,
                cut: Interrupted::Stranded,
                output,
            }
        });
        left.collect()
    }

    pub(super) fn cut(&self, held: &Held) {
        let (now_ms, mut all) = (self.now(), self.lock());
        if !all.has_fence(&held.job, held.fence) {
            return;
        }
        let known = all.jobs.get_mut(&held.job).expect("it has a fence");
        known.fence = None;
        let (by, outcome) = match known.attempts < ATTEMPTS_MAX {
            true => (Transition::Release, AttemptEnd::CutOff),
            false => (Transition::Fail, AttemptEnd::Failed),
        };
        let last = Message::new(now_ms, Level::Error, "it was cut off");
        all.end(&held.job, &by, Status::Error, now_ms, last);
        if let Some(known) = all.jobs.get_mut(&held.job) {
            known.attempt_ended(outcome, now_ms);
        }
        self.report_end(&mut all, &held.job);
    }

    /// Cancels a job that nobody works on.
    pub(super) fn cancel_job(&self, job: &Job, by: &By) -> Result<bool> {
        let (now_ms, mut all, by) = (self.now(), self.lock(), by.to_string());
        let was_running = match job.place {
            Place::Work { .. } => true,
            Place::Deferred { .. } | Place::Queue(_) => false,
            Place::Bak(_) | Place::JobErrors | Place::Refused => {
                return Err(StoreError::Conflict(format!("{} has ended", job.name)));
            }
        };
        if all.at(job).is_none_or(|known| known.fence.is_some()) {
            return Ok(false);
        }
        let last = match was_running {
            true => Message::cancelled(now_ms, &by),
            false => Message::deleted(now_ms, &by),
        };
        all.end(&job.name, &Transition::Fail, Status::Error, now_ms, last);
        Ok(true)
    }
}
