//! When the waiting jobs have their turn: what their record says, read once.
//!
//! A scan lists every waiting job again and again. What was read of one is kept for as long as it is
//! listed, and only JSON jobs are read at all.

use crate::{
    domain::{Horizon, InterfaceName, Job, JobId, JobName, Kind, Place, WorkerTags},
    scheduler::Turn,
    store::fs::{Accepted, Spool},
};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap, HashSet};

#[derive(Debug)]
pub(super) struct Eligibility {
    tags: WorkerTags,
    known: Mutex<BTreeMap<InterfaceName, HashMap<JobId, Turn>>>,
}

impl Eligibility {
    pub(super) fn new(tags: WorkerTags) -> Self {
        Self {
            tags,
            known: Mutex::default(),
        }
    }

    /// The turn of a queued job. Blocks when it has to be read.
    pub(super) fn of(&self, spool: &Spool, interface: &InterfaceName, name: &JobName) -> Turn {
        if name.kind() == Kind::Xml {
            return Turn::default();
        }
        let id = name.id();
        let known = self.known();
        if let Some(turn) = known.get(interface).and_then(|known| known.get(&id)) {
            return *turn;
        }
        drop(known);
        let job = Job {
            place: Place::Queue(interface.clone().into()),
            name: name.clone(),
        };
        let accepted = match spool.accepted_of(&job) {
            Ok(accepted) => accepted,
            Err(error) => {
                // Asked again by the next look.
                tracing::warn!(job = %name, %error, "its priority cannot be read");
                return Turn::Elsewhere;
            }
        };
        let turn = self.turn(accepted.as_deref());
        let mut known = self.known();
        known.entry(interface.clone()).or_default().insert(id, turn);
        turn
    }

    /// Reads the turns of those queued jobs that are not known, all at once. Blocks.
    pub(super) fn read(&self, spool: &Spool, interface: &InterfaceName, names: &[JobName]) {
        let unread = {
            let known = self.known();
            let known = known.get(interface);
            let is_read = |id| known.is_some_and(|known| known.contains_key(&id));
            let unread = |name: &&JobName| name.kind() == Kind::Json && !is_read(name.id());
            let place = || Place::Queue(interface.clone().into());
            let job = |name: &JobName| Job {
                place: place(),
                name: name.clone(),
            };
            names.iter().filter(unread).map(job).collect::<Vec<Job>>()
        };
        if unread.is_empty() {
            return;
        }
        match spool.accepted_of_all(&unread) {
            Ok(accepted) => {
                let mut known = self.known();
                let known = known.entry(interface.clone()).or_default();
                known.extend(unread.iter().map(|job| {
                    let id = job.name.id();
                    (id, self.turn(accepted.get(&id).map(|accepted| &**accepted)))
                }));
            }
            // Then one by one.
            Err(error) => tracing::warn!(%interface, %error, "the record cannot be read"),
        }
    }

    fn turn(&self, accepted: Option<&Accepted>) -> Turn {
        let worker = accepted.and_then(|accepted| accepted.worker.as_ref());
        match self.tags.take(worker) {
            true => Turn::By(accepted.map_or_else(Default::default, |known| known.priority)),
            false => Turn::Elsewhere,
        }
    }

    /// Forgets the jobs of an interface that a scan has not found any more; it knows nothing of
    /// those that came after `horizon`.
    pub(super) fn keep<'j>(
        &self,
        interface: &InterfaceName,
        horizon: &Horizon,
        found: impl Iterator<Item = &'j JobName>,
    ) {
        let mut known = self.known();
        let Some(known) = known.get_mut(interface).filter(|known| !known.is_empty()) else {
            return;
        };
        let found: HashSet<JobId> = found.map(JobName::id).collect();
        known.retain(|id, _| !horizon.has(*id) || found.contains(id));
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<InterfaceName, HashMap<JobId, Turn>>> {
        self.known.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Ids, JobOptions, Priority, Range},
        store::fs::{DropRules, RealFs, Rules},
    };
    use std::sync::Arc;

    struct Bench {
        dir: tempfile::TempDir,
        spool: Arc<Spool>,
        interface: InterfaceName,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let interface: InterfaceName = "a".parse().unwrap();
            let rules = Rules {
                attempts_max: 1,
                at_most_once: false,
                drops: DropRules::default(),
            };
            let interfaces = BTreeMap::from([(interface.clone(), rules)]);
            let clock = Box::new(|| 1_700_000_000_000);
            let spool = Spool::open(RealFs::new(dir.path()), interfaces, clock).unwrap();
            Self {
                dir,
                spool: Arc::new(spool),
                interface,
            }
        }

        fn accept(&self, kind: Kind, priority: Priority, worker: Option<&str>) -> JobName {
            let name = JobName::new(self.spool.next_id(), None, kind);
            let mut part = self.spool.begin(name.clone()).unwrap();
            part.write(b"{}").unwrap();
            let options = JobOptions {
                priority,
                worker: worker.map(|worker| worker.parse().unwrap()),
                ..JobOptions::default()
            };
            let sealed = part.seal(&crate::store::NewJob {
                options,
                ..crate::store::NewJob::default()
            });
            let (_, ticket) = (self.spool)
                .enqueue(sealed.unwrap(), &self.interface, None)
                .unwrap();
            self.spool.wait(ticket).unwrap();
            name
        }

        fn turn(&self, eligibility: &Eligibility, job: &JobName) -> Turn {
            eligibility.of(&self.spool, &self.interface, job)
        }
    }

    #[test]
    fn a_turn_is_what_the_record_says_for_as_long_as_the_job_is_found() {
        let bench = Bench::new();
        let eligibility = Eligibility::new(WorkerTags::parse(&["ours".into()]).unwrap());
        let xml = bench.accept(Kind::Xml, Priority::High, Some("others"));
        let ours = bench.accept(Kind::Json, Priority::High, Some("ours"));
        let others = bench.accept(Kind::Json, Priority::High, Some("others"));
        let later = bench.accept(Kind::Json, Priority::default(), None);
        let turn = |job: &JobName| bench.turn(&eligibility, job);
        assert_eq!(turn(&xml), Turn::default(), "nothing is read of it");
        assert_eq!(turn(&ours), Turn::By(Priority::High));
        assert_eq!(turn(&others), Turn::Elsewhere);
        assert_eq!(turn(&later), Turn::default());
        let knows = |job: &JobName| eligibility.known()[&bench.interface].contains_key(&job.id());
        assert!(!knows(&xml) && knows(&ours) && knows(&others));
        let id = others.id().get();
        let range = Range {
            first: id,
            last: id,
            born: 0,
        };
        let horizon = Ids::of([range]).horizon(0);
        eligibility.keep(&bench.interface, &horizon, [&ours].into_iter());
        assert!(knows(&ours), "it is still there");
        assert!(!knows(&others), "it has gone");
        assert!(knows(&later), "it came after the scan");
    }

    /// After a start nothing is in memory, and no record is searched once a job.
    #[test]
    fn the_turns_of_many_jobs_are_read_together() {
        let bench = Bench::new();
        let jobs: Vec<JobName> = (0..20)
            .map(|n| {
                let priority = Priority::ALL[n % Priority::ALL.len()];
                bench.accept(Kind::Json, priority, None)
            })
            .collect();
        let clock = Box::new(|| 1_700_000_000_000);
        let rules = BTreeMap::new();
        let again = Spool::open(RealFs::new(bench.dir.path()), rules, clock).unwrap();
        let eligibility = Eligibility::new(WorkerTags::All);
        eligibility.read(&again, &bench.interface, &jobs);
        for (n, job) in jobs.iter().enumerate() {
            let known = eligibility.known()[&bench.interface]
                .get(&job.id())
                .copied();
            let priority = Priority::ALL[n % Priority::ALL.len()];
            assert_eq!(known, Some(Turn::By(priority)));
        }
    }
}
