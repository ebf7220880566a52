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
