//! What waits beside a job.

use super::precedence::Precedences;
use crate::{
    domain::{InterfaceName, JobName},
    store::{Beside, fs::Spool},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
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
    /// The same of each submitter and of each order key that are known, once somebody has asked.
    groups: Option<[HashMap<Arc<str>, Vec<u64>>; 2]>,
}

impl Line {
    fn new(spool: &Spool, interface: &InterfaceName) -> Self {
        let mut ids = spool.ready_ids(interface);
        ids.sort_unstable();
        Self {
            taken: Instant::now(),
            ids,
            groups: None,
        }
    }
}

impl QueuePositions {
    /// What waits in a queue beside this job; whose it is, as far as `precedences` know.
    pub(super) fn beside(
        &self,
        spool: &Spool,
        interface: &InterfaceName,
        job: &JobName,
        precedences: Option<&Precedences>,
    ) -> Beside {
        let mut lines = self.0.lock();
        let taken = || Line::new(spool, interface);
        let line = lines.entry(interface.clone()).or_insert_with(taken);
        if line.taken.elapsed() > LINE_AGE_MAX {
            *line = taken();
        }
        let id = job.id().get();
        let before = |ids: &[u64]| ids.partition_point(|other| *other < id);
        let mut beside = Beside {
            before: before(&line.ids),
            ..Beside::default()
        };
        if let Some(precedences) = precedences {
            let ids = &line.ids;
            let [by_submitter, by_key] = line.groups.get_or_insert_with(|| {
                [
                    precedences.grouped(interface, ids, |known| known.submitter.as_ref()),
                    precedences.grouped(interface, ids, |known| known.order_key.as_ref()),
                ]
            });
            let own = precedences
                .known_of(interface, job.id())
                .unwrap_or_default();
            let with_key = own.order_key.and_then(|key| by_key.get(&key));
            beside.same_key = with_key.map_or(0, |ids| before(ids));
            beside.submitter = own.submitter;
            for (submitter, ids) in by_submitter {
                match beside.submitter.as_ref() == Some(submitter) {
                    true => beside.own = before(ids),
                    false => beside.others.push((submitter.clone(), ids.len())),
                }
            }
        }
        beside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Job, Kind, Place},
        store::fs::testing::TestSpool,
    };

    #[test]
    fn a_line_is_looked_at_again_when_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let interface: InterfaceName = "a".parse().unwrap();
        let spool = TestSpool::at(dir.path()).interface(interface.as_str());
        let spool = spool.open().unwrap();
        let queue = |submitter: &str| {
            let name = JobName::new(spool.next_id(), None, Kind::Json);
            let part = spool.begin(name.clone()).unwrap();
            let new = crate::store::NewJob {
                submitter: submitter.into(),
                order_key: Some("@a=1".into()),
                ..crate::store::NewJob::default()
            };
            let sealed = part.seal(&new).unwrap();
            let (_, ticket) = spool.enqueue(sealed, &interface, None).unwrap();
            spool.wait(ticket).unwrap();
            name
        };
        let jobs = ["ada", "ada", "bob"].map(queue);
        let lines = QueuePositions::default();
        let before = |job| lines.beside(&spool, &interface, job, None).before;
        assert_eq!(jobs.each_ref().map(before), [0, 1, 2]);
        let later = queue("ada");
        assert_eq!(before(&later), 3, "it is behind those that are known");
        spool.forget_ready(&(&interface).into(), &jobs[0]);
        lines.0.lock().get_mut(&interface).unwrap().taken -= 2 * LINE_AGE_MAX;
        assert_eq!(before(&later), 2);
        let precedences = Precedences::default();
        let all = [jobs.to_vec(), vec![later.clone()]].concat();
        let all = all.into_iter().map(|name| Job {
            place: Place::Queue((&interface).into()),
            name,
        });
        let all: Vec<Job> = all.collect();
        precedences.read(&spool, &interface, all.iter(), true);
        let beside = lines.beside(&spool, &interface, &later, Some(&precedences));
        let expected = Beside {
            before: 2,
            submitter: Some("ada".into()),
            own: 1,
            others: vec![("bob".into(), 1)],
            same_key: 2,
        };
        assert_eq!(beside, expected);
    }
}
