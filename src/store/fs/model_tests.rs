//! Random walks over the life of a spool: uploads, claims, ends, fetches, an operator's moves,
//! scans that come or do not come, crashes with every image of the disk, restarts. A model knows
//! what was promised, and after each start the spool must have kept it.
//!
//! A walk is its seed, so a failure can be repeated. Spools with a deliberate mistake walk too, and
//! each mistake must be noticed.

use super::{
    Accepted, Ended, FaultInjection, Fs, Moved, Spool, SpoolError,
    crash_fs::{CrashFs, IMAGES},
    testing::{START_MS, TestSpool},
};
use crate::store::Settlement;
use crate::store::fs::PlacePath;
use crate::store::{By, NewJob};
use crate::{
    domain::joblog::{JobLog, Status},
    domain::{InterfaceName, Job, JobName, Kind, Place, Queue, Transition},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

const STEPS: usize = 60;
/// Of each injected, and of the spool unless `SPOOLGATE_WALKS` says how many.
const WALKS: u64 = 300;
/// Small, so that segments take turns within a walk.
const SEGMENT_BYTES: u64 = 16 * 1024;

/// What has been promised of a job.
#[derive(Clone, Debug, PartialEq)]
enum Promise {
    /// It exists, once and whole.
    Kept,
    /// Its log says by whom.
    Cancelled,
    Done,
    Failed,
    Removed,
}

#[derive(Debug)]
struct Known {
    bytes: Vec<u8>,
    promise: Promise,
    /// Commands started for it since it was last sent to a queue by hand.
    runs: u32,
}

struct Walk {
    seed: u64,
    fs: CrashFs,
    spool: Arc<Spool<CrashFs>>,
    injected: FaultInjection,
    clock: Arc<AtomicI64>,
    jobs: BTreeMap<JobName, Known>,
    trace: Vec<String>,
}

fn interface(name: &str) -> InterfaceName {
    name.parse().unwrap()
}

fn start(fs: &CrashFs, clock: &Arc<AtomicI64>, injected: FaultInjection) -> Arc<Spool<CrashFs>> {
    let clock = clock.clone();
    let spool = TestSpool::on(fs.clone())
        .interface("least")
        .interface_with("most", |rules| rules.at_most_once = true)
        .interface_with("users", |rules| rules.drops.addressed = true)
        .clock(move || clock.fetch_add(1, Ordering::SeqCst))
        .injected(injected)
        .journal_of(SEGMENT_BYTES);
    let spool = spool.open().unwrap();
    spool.recover().unwrap();
    spool
}

impl Walk {
    fn new(seed: u64, injected: FaultInjection) -> Self {
        let fs = CrashFs::new();
        let clock = Arc::new(AtomicI64::new(START_MS));
        let spool = start(&fs, &clock, injected);
        Self {
            // Not zero, from which xorshift never leaves.
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            fs,
            spool,
            injected,
            clock,
            jobs: BTreeMap::new(),
            trace: Vec::new(),
        }
    }

    /// The next of the random numbers below `n`.
    fn below(&mut self, n: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        usize::try_from(self.seed % n as u64).unwrap()
    }

    fn some_interface(&mut self) -> InterfaceName {
        interface(["least", "most", "users"][self.below(3)])
    }

    /// One to which jobs are sent by hand.
    fn some_queue(&mut self) -> Queue {
        let queues = ["least", "most", "users/@ada", "users/@bob"];
        queues[self.below(queues.len())].parse().unwrap()
    }

    fn step(&mut self) -> Result<(), String> {
        let outcome = match self.below(14) {
            0..=3 => self.accept(),
            4..=6 => self.run(),
            7 => self.release(),
            8 => self.fetch(),
            9 => self.move_by_hand(),
            10 => self.scan(),
            11 => self.cancel(),
            12 => self.act_on_several(),
            _ => return self.crash(),
        };
        outcome.map_err(|error| format!("a step failed: {error}"))
    }

    fn accept(&mut self) -> Result<(), SpoolError> {
        // Nobody uploads to single users.
        let to = interface(["least", "most"][self.below(2)]);
        let name = JobName::new(self.spool.next_id(), None, Kind::Xml);
        let n_bytes = [0, 3000, super::INLINE_BYTES_MAX + 1][self.below(3)];
        let bytes = [name.to_string().into_bytes(), vec![b'x'; n_bytes]].concat();
        let mut part = self.spool.begin(name.clone())?;
        part.write(&bytes)?;
        let sealed = part.seal(&NewJob::default())?;
        let (_, ticket) = self.spool.enqueue(sealed, &to, None)?;
        self.trace.push(format!("accept {name} to {to}"));
        if self.below(8) == 0 {
            // Its answer is never sent: nothing is promised, save that it is not torn.
            return Ok(());
        }
        self.spool.wait(ticket)?;
        self.spool.arrived(&name);
        let known = Known {
            bytes,
            promise: Promise::Kept,
            runs: 0,
        };
        self.jobs.insert(name, known);
        Ok(())
    }

    /// A job that waits in a queue.
    fn queued(&mut self) -> Result<Option<Job>, SpoolError> {
        let from = self.some_interface();
        let mut jobs = self.spool.queued(&from)?;
        if jobs.is_empty() {
            return Ok(None);
        }
        Ok(Some(jobs.swap_remove(self.below(jobs.len()))))
    }

    fn run(&mut self) -> Result<(), SpoolError> {
        let Some(Job { place, name }) = self.queued()? else {
            return Ok(());
        };
        let Some(from) = place.interface().filter(|_| place.addressee().is_none()) else {
            return Ok(());
        };
        let Some(mut claim) = self.spool.claim(from, &name)? else {
            return Ok(());
        };
        claim.begin();
        self.trace.push(format!("run {name}"));
        if let Some(known) = self.jobs.get_mut(&name) {
            known.runs += 1;
        }
        let due_ms = self.clock.load(Ordering::SeqCst) + 10;
        let (what, promise) = match self.below(5) {
            0 => (Settlement::Deferred { due_ms }, Promise::Kept),
            1 => (Settlement::Failed, Promise::Failed),
            // It is still running when the power goes.
            2 => {
                drop(claim);
                return Ok(());
            }
            _ => (Settlement::Done, Promise::Done),
        };
        let published = claim.settle(what, Some(self.log(&name)))?;
        self.trace.push(format!("settle {name} {what:?}"));
        if let (Moved::Done(_), Some(known)) = (published.moved, self.jobs.get_mut(&name)) {
            known.promise = promise;
        }
        Ok(())
    }

    fn log(&self, job: &JobName) -> JobLog {
        JobLog {
            job: job.clone(),
            interface: None,
            status: Status::Ok,
            received_ms: START_MS,
            started_ms: None,
            finished_ms: START_MS,
            attempts: 1,
            bytes: 0,
            sha256: None,
            messages: Vec::new(),
        }
    }

    fn release(&mut self) -> Result<(), SpoolError> {
        let of = self.some_interface();
        for (name, due_ms) in self.spool.deferred(&of)? {
            let interface = of.clone();
            let place = Place::Deferred { interface, due_ms };
            self.trace.push(format!("release {name}"));
            // A deferred attempt has ended in order, so the next one is allowed.
            if let Some(known) = self.jobs.get_mut(&name) {
                known.runs = 0;
            }
            self.spool.release_due(&Job { place, name })?;
        }
        Ok(())
    }

    fn fetch(&mut self) -> Result<(), SpoolError> {
        let Some(job) = self.queued()? else {
            return Ok(());
        };
        self.trace.push(format!("fetch {}", job.name));
        let _ = self.spool.write_log(self.log(&job.name))?;
        self.spool.archive(&job, &By::operator("shop"))?;
        if let Some(known) = self.jobs.get_mut(&job.name) {
            known.promise = Promise::Done;
        }
        Ok(())
    }

    /// A job that waits, or that a run has left behind.
    fn cancel(&mut self) -> Result<(), SpoolError> {
        let names: Vec<JobName> = self.jobs.keys().cloned().collect();
        if names.is_empty() {
            return Ok(());
        }
        let name = names[self.below(names.len())].clone();
        let job = match self.spool.find(&name)? {
            None | Some(Place::Bak(_) | Place::JobErrors | Place::Refused) => return Ok(()),
            Some(place) => Job { place, name },
        };
        self.trace.push(format!("cancel {}", job.name));
        if let Moved::Done(job) = self.spool.cancel(&job, &By::operator("olga"))? {
            self.jobs.get_mut(&job.name).unwrap().promise = Promise::Cancelled;
        }
        Ok(())
    }

    /// The operator moves, requeues or removes a job.
    fn move_by_hand(&mut self) -> Result<(), SpoolError> {
        let names: Vec<JobName> = self.jobs.keys().cloned().collect();
        if names.is_empty() {
            return Ok(());
        }
        let name = names[self.below(names.len())].clone();
        let Some(place) = self.spool.find(&name)? else {
            return Ok(());
        };
        let to = self.some_queue();
        let job = Job { place, name };
        if job.place.step(&Transition::Requeue(to.clone())).is_err() {
            return Ok(());
        }
        self.trace.push(format!("by hand {} to {to}", job.name));
        let known = self.jobs.get_mut(&job.name).unwrap();
        known.runs = 0;
        known.promise = Promise::Kept;
        match self.below(3) {
            0 => drop(self.spool.requeue(&job, &to, &By::operator("operator"))?),
            1 => {
                self.spool.remove(&job, &By::operator("operator"))?;
                self.jobs.get_mut(&job.name).unwrap().promise = Promise::Removed;
            }
            _ => {
                // By `mv`, of which nobody is told before the next scan.
                let from = job.place.path(&job.name);
                self.spool.make_queue(&to)?;
                let path = Place::Queue(to).path(&job.name);
                self.fs.rename(&from, &path).unwrap();
            }
        }
        Ok(())
    }

    /// The operator does the same to several jobs at once.
    fn act_on_several(&mut self) -> Result<(), SpoolError> {
        let act = self.below(3);
        let names: Vec<JobName> = self.jobs.keys().cloned().collect();
        let mut jobs: Vec<(Job, Queue)> = Vec::new();
        for _ in 0..names.len().min(4) {
            let name = names[self.below(names.len())].clone();
            let to = self.some_queue();
            let Some(place) = self.spool.find(&name)? else {
                continue;
            };
            let step = match act {
                0 => Transition::Requeue(to.clone()),
                1 => Transition::Discard,
                _ => Transition::Fail,
            };
            let is_settled = matches!(place, Place::Bak(_) | Place::JobErrors | Place::Refused);
            let is_new = jobs.iter().all(|(job, _)| job.name != name);
            if is_new && place.step(&step).is_ok() && !(act == 2 && is_settled) {
                jobs.push((Job { place, name }, to));
            }
        }
        self.trace.push(format!("act {act} on {jobs:?}"));
        let by = By::operator("operator");
        let all: Vec<Job> = jobs.iter().map(|(job, _)| job.clone()).collect();
        let moved = match act {
            0 => self.spool.requeue_all(&jobs, &by),
            1 => self.spool.remove_all(&all, &by),
            _ => self.spool.cancel_all(&all, &by),
        };
        assert_eq!(moved.len(), jobs.len());
        for (job, moved) in all.iter().zip(moved) {
            if let Moved::Done(_) = moved? {
                let known = self.jobs.get_mut(&job.name).unwrap();
                known.runs = 0;
                known.promise = match act {
                    0 => Promise::Kept,
                    1 => Promise::Removed,
                    _ => Promise::Cancelled,
                };
            }
        }
        Ok(())
    }

    fn scan(&mut self) -> Result<(), SpoolError> {
        let of = self.some_interface();
        let arrived = self.spool.scan(&of)?.arrived;
        let jobs: Vec<Job> = arrived.into_iter().map(|arrival| arrival.job).collect();
        self.spool.saw(&jobs)
    }

    fn crash(&mut self) -> Result<(), String> {
        match self.below(IMAGES.len() + 1) {
            0 => {
                self.trace.push("restart".into());
                self.spool.close_journal();
            }
            n => {
                self.trace.push(format!("crash {:?}", IMAGES[n - 1]));
                self.fs = self.fs.reboot(IMAGES[n - 1]);
            }
        }
        self.spool = start(&self.fs, &self.clock, self.injected);
        self.check()
    }

    /// What was promised must be so.
    fn check(&mut self) -> Result<(), String> {
        let files = self.fs.files();
        for (name, known) in &self.jobs {
            let text = name.to_string();
            let states = ["queue/", "deferred/", "work/", "bak/", "joberrors/"];
            let at = |path: &&String| {
                path.contains(&text) && states.iter().any(|state| path.starts_with(state))
            };
            let found: Vec<&String> = files.keys().filter(at).collect();
            let kept = match (&known.promise, found.as_slice()) {
                (Promise::Removed, []) => true,
                (Promise::Kept, [_]) => true,
                (Promise::Done, [path]) => path.starts_with("bak/"),
                (Promise::Failed, [path]) => path.starts_with("joberrors/"),
                (Promise::Cancelled, [path]) => {
                    let (place, name) = (Place::JobErrors, name.clone());
                    path.starts_with("joberrors/") && self.spool.was_cancelled(&Job { place, name })
                }
                _ => false,
            };
            if !kept {
                return Err(format!("{name} {:?} is at {found:?}", known.promise));
            }
            if found.iter().any(|path| files[*path] != known.bytes) {
                return Err(format!("{name} is torn at {found:?}"));
            }
        }
        self.check_lines(&files)?;
        // Of those that nobody was promised, too, none may be torn.
        for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with("queue/")) {
            let name = path.rsplit('/').next().unwrap().as_bytes();
            if !bytes.starts_with(name) {
                return Err(format!("{path} is torn"));
            }
        }
        // Nor may a settled one be without its log.
        for path in files
            .keys()
            .filter(|path| path.starts_with("bak/") || path.starts_with("joberrors/"))
        {
            let name = path.rsplit('/').next().unwrap();
            if !files
                .keys()
                .any(|log| log.starts_with("joblog/") && log.contains(name))
            {
                return Err(format!("{path} has no log"));
            }
        }
        self.check_runs()
    }

    /// Each job that was promised has its line once; no line is torn or doubled.
    fn check_lines(&self, files: &BTreeMap<String, Vec<u8>>) -> Result<(), String> {
        let mut lines = std::collections::BTreeMap::new();
        for (path, bytes) in files
            .iter()
            .filter(|(path, _)| path.starts_with("records/"))
        {
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                let text = line.strip_suffix(b"\n").unwrap_or_default();
                let accepted = Accepted::from_line(text);
                if accepted.is_none() && Ended::from_line(text).is_none() {
                    return Err(format!("{path} is torn"));
                }
                if let Some(accepted) = accepted {
                    *lines.entry(accepted.job).or_insert(0) += 1;
                }
            }
        }
        for name in self.jobs.keys() {
            if lines.get(name) != Some(&1) {
                return Err(format!("{name} has {:?} lines", lines.get(name)));
            }
        }
        Ok(())
    }

    /// A job that must not run twice is not queued again after a run of unknown outcome.
    fn check_runs(&self) -> Result<(), String> {
        let most = interface("most");
        for Job { name, .. } in self
            .spool
            .queued(&most)
            .map_err(|error| error.to_string())?
        {
            if self.jobs.get(&name).is_some_and(|known| known.runs > 0) {
                return Err(format!("{name} would run twice"));
            }
        }
        Ok(())
    }
}

/// What a walk comes upon, if anything.
fn violation(seed: u64, injected: FaultInjection) -> Option<String> {
    let mut walk = Walk::new(seed, injected);
    for _ in 0..STEPS {
        if let Err(found) = walk.step() {
            return Some(format!("seed {seed}: {found}\n{}", walk.trace.join("\n")));
        }
    }
    walk.crash().err()
}

/// Whatever of it the disk has kept.
#[test]
fn a_job_stays_with_the_user_to_whom_it_was_seen_to_be_moved() {
    for image in IMAGES {
        let mut walk = Walk::new(1, FaultInjection::None);
        while walk.jobs.is_empty() {
            walk.accept().unwrap();
        }
        let spool = walk.spool.clone();
        let name = walk.jobs.keys().next().unwrap().clone();
        let place = spool.find(&name).unwrap().unwrap();
        let [ada, bob] = ["users/@ada", "users/@bob"].map(|queue| queue.parse::<Queue>().unwrap());
        let job = Job { place, name };
        spool
            .requeue(&job, &ada, &By::operator("operator"))
            .unwrap();
        let (ada, bob) = (Place::Queue(ada), Place::Queue(bob));
        walk.fs.make_dir("queue/users/@bob".as_ref()).unwrap();
        let moved = walk.fs.rename(&ada.path(&job.name), &bob.path(&job.name));
        moved.unwrap();
        let arrived = spool.scan(&interface("users")).unwrap().arrived;
        let arrived: Vec<Job> = arrived.into_iter().map(|arrival| arrival.job).collect();
        assert_eq!(
            arrived.iter().map(|job| &job.place).collect::<Vec<_>>(),
            [&bob]
        );
        spool.saw(&arrived).unwrap();
        spool.wait(spool.latest()).unwrap();
        let spool = start(&walk.fs.reboot(image), &walk.clock, FaultInjection::None);
        assert_eq!(spool.find(&job.name).unwrap(), Some(bob), "{image:?}");
    }
}

#[test]
fn no_walk_breaks_a_promise() {
    let walks = std::env::var("SPOOLGATE_WALKS").ok();
    let walks = walks.and_then(|n| n.parse().ok()).unwrap_or(WALKS);
    for seed in 0..walks {
        if let Some(found) = violation(seed, FaultInjection::None) {
            panic!("{found}");
        }
    }
}

#[test]
fn every_mistake_is_noticed_by_some_walk() {
    for injected in [
        FaultInjection::NoAttempts,
        FaultInjection::NoCheckpointSync,
        FaultInjection::NoFlush,
        FaultInjection::NoReplay,
        FaultInjection::NoSettle,
        FaultInjection::NoSync,
    ] {
        let noticed = (0..WALKS).find_map(|seed| violation(seed, injected));
        assert!(noticed.is_some(), "{injected:?} went unnoticed");
    }
}
