//! When the waiting jobs have their turn: what their attributes say, read once.
//!
//! A scan lists every waiting job again and again. What was read of one is kept for as long as it is
//! listed, and only JSON jobs are read at all.

use crate::{
    job::{InterfaceName, Job, JobId, JobName, Kind, Place, WorkerTags},
    schedule::Turn,
    spool::Spool,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

#[derive(Debug)]
pub(super) struct Turns {
    tags: WorkerTags,
    known: Mutex<BTreeMap<InterfaceName, HashMap<JobId, Turn>>>,
}

impl Turns {
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
            place: Place::Queue(interface.clone()),
            name: name.clone(),
        };
        let ours = self.tags.take(spool.worker_of(&job).as_ref());
        let turn = match ours {
            true => Turn::By(spool.priority_of(&job)),
            false => Turn::Elsewhere,
        };
        let mut known = self.known();
        known.entry(interface.clone()).or_default().insert(id, turn);
        turn
    }

    /// Forgets the jobs of an interface that a scan has not found any more; it knows nothing of
    /// those that came after `horizon`.
    pub(super) fn keep<'j>(
        &self,
        interface: &InterfaceName,
        horizon: JobId,
        found: impl Iterator<Item = &'j JobName>,
    ) {
        let mut known = self.known();
        let Some(known) = known.get_mut(interface).filter(|known| !known.is_empty()) else {
            return;
        };
        let found: HashSet<JobId> = found.map(JobName::id).collect();
        known.retain(|id, _| *id > horizon || found.contains(id));
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<InterfaceName, HashMap<JobId, Turn>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        job::{Ids, Priority},
        spool::{RealFs, Rules},
    };
    use rustix::fs::{XattrFlags, setxattr};

    #[test]
    fn a_job_is_read_once_for_as_long_as_it_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let interface: InterfaceName = "a".parse().unwrap();
        let rules = Rules {
            attempts_max: 1,
            at_most_once: false,
        };
        let interfaces = BTreeMap::from([(interface.clone(), rules)]);
        let clock = Box::new(|| 1_700_000_000_000);
        let spool = Spool::open(RealFs::new(dir.path()), interfaces, clock).unwrap();
        let mut ids = Ids::above(1_700_000_000_000);
        let mut made = |kind| {
            let job = JobName::new(ids.next(1_700_000_000_001), None, kind);
            let path = dir.path().join(Place::Queue(interface.clone()).path(&job));
            std::fs::write(&path, "{}").unwrap();
            (job, path)
        };
        let set = |path: &std::path::Path, name: &str, value: &str| {
            let name = format!("user.spoolgate.{name}");
            setxattr(path, name, value.as_bytes(), XattrFlags::empty()).unwrap();
        };
        let turns = Turns::new(WorkerTags::parse(&["ours".into()]).unwrap());
        let ((xml, xml_path), (job, path), (later, _)) =
            (made(Kind::Xml), made(Kind::Json), made(Kind::Json));
        let turn = |job: &JobName| turns.of(&spool, &interface, job);
        for path in [&xml_path, &path] {
            set(path, "priority", "High");
            set(path, "worker", "ours");
        }
        assert_eq!(turn(&xml), Turn::default(), "nothing is read of it");
        assert_eq!(turn(&job), Turn::By(Priority::High));
        assert_eq!(turn(&later), Turn::default());
        set(&path, "worker", "others");
        assert_eq!(turn(&job), Turn::By(Priority::High));
        turns.keep(&interface, job.id(), [&job].into_iter());
        assert_eq!(turn(&job), Turn::By(Priority::High), "it is still there");
        turns.keep(&interface, job.id(), std::iter::empty());
        assert_eq!(turn(&job), Turn::Elsewhere, "it has come back");
        assert!(
            turns.known()[&interface].contains_key(&later.id()),
            "it came after the scan"
        );
    }
}
