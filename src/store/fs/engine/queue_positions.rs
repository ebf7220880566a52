//! How many jobs wait before one.

use crate::{
    domain::{InterfaceName, JobName},
    store::fs::Spool,
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// So old may be what is known of a queue's order: it is taken from those who upload.
const LINE_AGE_MAX: Duration = Duration::from_secs(1);

/// The jobs that wait, in the order of their arrival, as far as somebody has asked of late.
#[derive(Debug, Default)]
pub(super) struct QueuePositions(Mutex<BTreeMap<InterfaceName, Line>>);

#[derive(Debug)]
struct Line {
    taken: Instant,
    /// Rising.
    ids: Vec<u64>,
}

impl QueuePositions {
    /// How many jobs of a queue came before this one.
    pub(super) fn before(&self, spool: &Spool, interface: &InterfaceName, job: &JobName) -> usize {
        let mut lines = self.0.lock();
        let taken = || {
            let mut ids = spool.ready_ids(interface);
            ids.sort_unstable();
            let taken = Instant::now();
            Line { taken, ids }
        };
        let line = lines.entry(interface.clone()).or_insert_with(taken);
        if line.taken.elapsed() > LINE_AGE_MAX {
            *line = taken();
        }
        let id = job.id().get();
        line.ids.partition_point(|other| *other < id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Kind, store::fs::testing::TestSpool};

    #[test]
    fn a_line_is_looked_at_again_when_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let interface: InterfaceName = "a".parse().unwrap();
        let spool = TestSpool::at(dir.path()).interface(interface.as_str());
        let spool = spool.open().unwrap();
        let queue = || {
            let name = JobName::new(spool.next_id(), None, Kind::Json);
            let part = spool.begin(name.clone()).unwrap();
            let sealed = part.seal(&crate::store::NewJob::default()).unwrap();
            let (_, ticket) = spool.enqueue(sealed, &interface, None).unwrap();
            spool.wait(ticket).unwrap();
            name
        };
        let jobs = [(); 3].map(|()| queue());
        let lines = QueuePositions::default();
        let before = |job| lines.before(&spool, &interface, job);
        assert_eq!(jobs.each_ref().map(before), [0, 1, 2]);
        let later = queue();
        assert_eq!(before(&later), 3, "it is behind those that are known");
        spool.forget_ready(&(&interface).into(), &jobs[0]);
        lines.0.lock().get_mut(&interface).unwrap().taken -= 2 * LINE_AGE_MAX;
        assert_eq!(before(&later), 2);
    }
}
