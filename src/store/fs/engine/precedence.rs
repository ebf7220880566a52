//! When the waiting jobs are taken: what their record says, read once.
//!
//! A scan lists every waiting job again and again. What was read of one is kept for as long as it is
//! listed, and XML jobs are read only where it matters whose they are.

use crate::{
    domain::{Horizon, InterfaceName, Job, JobId, JobName, Kind},
    store::{
        Precedence,
        fs::{Accepted, Spool, SpoolError},
    },
};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

#[derive(Debug, Default)]
pub(super) struct Precedences {
    known: Mutex<Known>,
    /// The names of submitters, each kept once.
    names: Mutex<HashSet<Arc<str>>>,
}

type Known = BTreeMap<InterfaceName, HashMap<JobId, Precedence>>;

/// Says the record of a job anything that is asked for?
fn has_to_be_read(job: &JobName, whose: bool) -> bool {
    whose || job.kind() == Kind::Json
}

impl Precedences {
    /// That of a job that waits. Blocks when it has to be read.
    pub(super) fn of(
        &self,
        spool: &Spool,
        interface: &InterfaceName,
        job: &Job,
        whose: bool,
    ) -> Result<Precedence, SpoolError> {
        if !has_to_be_read(&job.name, whose) {
            return Ok(Precedence::default());
        }
        let id = job.name.id();
        let known = self.known();
        if let Some(precedence) = known.get(interface).and_then(|known| known.get(&id)) {
            return Ok(precedence.clone());
        }
        drop(known);
        let precedence = self.recorded(spool.accepted_of(job)?.as_deref());
        let mut known = self.known();
        let known = known.entry(interface.clone()).or_default();
        known.insert(id, precedence.clone());
        Ok(precedence)
    }

    /// Reads those of the waiting jobs that are not known, all at once. Blocks.
    pub(super) fn read<'j>(
        &self,
        spool: &Spool,
        interface: &InterfaceName,
        jobs: impl Iterator<Item = &'j Job>,
        whose: bool,
    ) {
        let unread = {
            let known = self.known();
            let known = known.get(interface);
            let is_read = |id| known.is_some_and(|known| known.contains_key(&id));
            let unread = |job: &&Job| has_to_be_read(&job.name, whose) && !is_read(job.name.id());
            jobs.filter(unread).cloned().collect::<Vec<Job>>()
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
                    let accepted = accepted.get(&id).map(|accepted| &**accepted);
                    (id, self.recorded(accepted))
                }));
            }
            // Then one by one.
            Err(error) => tracing::warn!(%interface, %error, "the record cannot be read"),
        }
    }

    /// That of a job, as far as it was read.
    pub(super) fn known_of(&self, interface: &InterfaceName, id: JobId) -> Option<Precedence> {
        self.known().get(interface)?.get(&id).cloned()
    }

    /// Those of these jobs that have something in common, as far as that was read, in their order.
    pub(super) fn grouped(
        &self,
        interface: &InterfaceName,
        ids: &[u64],
        by: impl Fn(&Precedence) -> Option<&Arc<str>>,
    ) -> HashMap<Arc<str>, Vec<u64>> {
        let mut groups: HashMap<Arc<str>, Vec<u64>> = HashMap::new();
        let known = self.known();
        if let Some(known) = known.get(interface) {
            for id in ids {
                if let Some(of) = known.get(&JobId::from_number(*id)).and_then(&by) {
                    groups.entry(of.clone()).or_default().push(*id);
                }
            }
        }
        groups
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

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }

    /// What a record says of its job.
    pub(super) fn recorded(&self, accepted: Option<&Accepted>) -> Precedence {
        accepted.map_or_else(Precedence::default, |known| Precedence {
            priority: known.priority,
            worker: known.worker.clone(),
            submitter: (!known.submitter.is_empty()).then(|| self.name(&known.submitter)),
            order_key: known.order_key.as_deref().map(Into::into),
        })
    }

    fn name(&self, submitter: &str) -> Arc<str> {
        let mut names = self.names.lock();
        if let Some(name) = names.get(submitter) {
            return name.clone();
        }
        let name: Arc<str> = submitter.into();
        names.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Ids, JobOptions, Place, Priority, Range},
        store::fs::testing::TestSpool,
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
            let spool = TestSpool::at(dir.path()).interface(interface.as_str());
            Self {
                spool: spool.open().unwrap(),
                dir,
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
                submitter: "shop".into(),
                order_key: Some("@a=1".into()),
                options,
                ..crate::store::NewJob::default()
            });
            let (_, ticket) = (self.spool)
                .enqueue(sealed.unwrap(), &self.interface, None)
                .unwrap();
            self.spool.wait(ticket).unwrap();
            name
        }

        fn job(&self, name: &JobName) -> Job {
            Job {
                place: Place::Queue((&self.interface).into()),
                name: name.clone(),
            }
        }

        fn precedence(&self, known: &Precedences, job: &JobName) -> Precedence {
            let job = self.job(job);
            known.of(&self.spool, &self.interface, &job, false).unwrap()
        }
    }

    fn precedence(priority: Priority, worker: Option<&str>) -> Precedence {
        Precedence {
            priority,
            worker: worker.map(|worker| worker.parse().unwrap()),
            submitter: Some("shop".into()),
            order_key: Some("@a=1".into()),
        }
    }

    #[test]
    fn a_precedence_is_what_the_record_says_for_as_long_as_the_job_is_found() {
        let bench = Bench::new();
        let precedences = Precedences::default();
        let xml = bench.accept(Kind::Xml, Priority::High, Some("others"));
        let ours = bench.accept(Kind::Json, Priority::High, Some("ours"));
        let others = bench.accept(Kind::Json, Priority::Low, Some("others"));
        let later = bench.accept(Kind::Json, Priority::default(), None);
        let of = |job: &JobName| bench.precedence(&precedences, job);
        assert_eq!(of(&xml), Precedence::default(), "nothing is read of it");
        assert_eq!(of(&ours), precedence(Priority::High, Some("ours")));
        assert_eq!(of(&others), precedence(Priority::Low, Some("others")));
        assert_eq!(of(&later), precedence(Priority::default(), None));
        let whose = precedences.of(&bench.spool, &bench.interface, &bench.job(&xml), true);
        let whose = whose.unwrap();
        assert_eq!(whose.submitter.as_deref(), Some("shop"), "it was asked for");
        assert_eq!(whose.order_key.as_deref(), Some("@a=1"));
        let knows = |job: &JobName| precedences.known()[&bench.interface].contains_key(&job.id());
        assert!(knows(&ours) && knows(&others));
        let id = others.id().get();
        let range = Range {
            first: id,
            last: id,
            born: 0,
        };
        let horizon = Ids::of([range]).horizon(0);
        precedences.keep(&bench.interface, &horizon, [&ours].into_iter());
        assert!(knows(&ours), "it is still there");
        assert!(!knows(&others), "it has gone");
        assert!(knows(&later), "it came after the scan");
    }

    /// After a start nothing is in memory, and no record is searched once a job.
    #[test]
    fn the_precedences_of_many_jobs_are_read_together() {
        let bench = Bench::new();
        let jobs: Vec<JobName> = (0..40)
            .map(|n| {
                let priority = Priority::ALL[n % Priority::ALL.len()];
                let kind = if n < 20 { Kind::Json } else { Kind::Xml };
                bench.accept(kind, priority, None)
            })
            .collect();
        let again = TestSpool::at(bench.dir.path()).open().unwrap();
        let precedences = Precedences::default();
        let all: Vec<Job> = jobs.iter().map(|name| bench.job(name)).collect();
        precedences.read(&again, &bench.interface, all.iter(), true);
        for (n, job) in jobs.iter().enumerate() {
            let known = precedences.known()[&bench.interface]
                .get(&job.id())
                .cloned();
            let expected = precedence(Priority::ALL[n % Priority::ALL.len()], None);
            assert_eq!(known, Some(expected));
        }
    }
}
