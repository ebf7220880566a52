//! One file under two of the names that its job could have: somebody linked it there, no move does.
//!
//! Most files have one name, and a look at the file says so. So a start looks once at what runs, and the first scan at
//! what waits, which it meets anyway; neither looks at the other names of a job whose file has none.

use super::{Fs, Spool, SpoolError};
use crate::{
    domain::{InterfaceName, Job, Place},
    store::fs::PlacePath,
};

impl<F: Fs> Spool<F> {
    /// Removes the names that a job's file has and is not to have. Says whether the job is still where it was seen.
    ///
    /// The later place is kept; between a queue and a settled place nobody knows which is later, and the queue loses
    /// nothing. What was removed stays removed after a crash.
    ///
    /// # Errors
    /// When a name cannot be looked at or removed; the job is left as it is.
    pub(super) fn drop_doubles(&self, job: &Job) -> Result<bool, SpoolError> {
        let path = job.place.path(&job.name);
        if self.stat(&path)?.is_none_or(|stat| stat.links < 2) {
            return Ok(true);
        }
        let Some(interface) = job.place.interface() else {
            return Ok(true);
        };
        let mut others = vec![
            Place::Bak(interface.clone()),
            Place::JobErrors,
            Place::Refused,
        ];
        match &job.place {
            Place::Queue(_) => {
                for other in &others {
                    self.drop_double(job, other, &job.place)?;
                }
                return Ok(true);
            }
            Place::Deferred { .. } => others.push(Place::Queue(interface.clone().into())),
            Place::Work { .. } => others.extend(self.deferred_as(job, interface)?),
            Place::Bak(_) | Place::JobErrors | Place::Refused => return Ok(true),
        }
        for other in &others {
            if self.drop_double(job, &job.place, other)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Where among the deferred jobs of an interface there is one of that name.
    fn deferred_as(&self, job: &Job, interface: &InterfaceName) -> Result<Vec<Place>, SpoolError> {
        let deferred = self.deferred(interface)?.into_iter();
        let same = deferred.filter(|(name, _)| *name == job.name);
        let place = |(_, due_ms)| Place::Deferred {
            interface: interface.clone(),
            due_ms,
        };
        Ok(same.map(place).collect())
    }

    /// Removes the name at `gone` if it is of the very file that has the one at `kept`. Says whether it did.
    fn drop_double(&self, job: &Job, gone: &Place, kept: &Place) -> Result<bool, SpoolError> {
        let (from, to) = (gone.path(&job.name), kept.path(&job.name));
        if !self.same_file(&from, &to)? {
            return Ok(false);
        }
        tracing::warn!(job = %job.name, %kept, "one job in two places");
        let ticket = self.unlink_double(&from, &to)?;
        self.wait(ticket)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fs::{faults::Faults, testing::TestSpool};
    use std::{fs, path::Path, sync::Arc};

    fn open(root: &Path) -> Arc<Spool> {
        TestSpool::at(root).interface("a").journal().open().unwrap()
    }

    /// Is that path the only one of its file among the two?
    fn kept(root: &Path, [here, gone]: [&str; 2]) -> bool {
        root.join(here).exists() && !root.join(gone).exists()
    }

    #[test]
    fn a_file_with_two_names_of_its_job_keeps_the_one_that_loses_nothing() {
        const JOB: &str = "20261122T045748.123Z-00001.xml";
        let (queue, bak) = (format!("queue/a/{JOB}"), format!("bak/a/2026-11-22/{JOB}"));
        let failed = format!("joberrors/2026-11-22/{JOB}");
        let deferred = format!("deferred/a/20261122T050000.000Z@{JOB}");
        let work = format!("work/a/{JOB}.a1");
        for [here, gone] in [
            [&queue, &bak],
            [&queue, &failed],
            [&queue, &deferred],
            [&bak, &deferred],
            [&failed, &deferred],
            [&bak, &work],
            [&deferred, &work],
        ] {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path();
            drop(open(root));
            for path in [here, gone] {
                fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            }
            fs::write(root.join(here), "x").unwrap();
            fs::hard_link(root.join(here), root.join(gone)).unwrap();
            let spool = open(root);
            spool.recover().unwrap();
            let scan = spool.scan(&"a".parse().unwrap()).unwrap();
            assert!(kept(root, [here, gone]), "{here}, not {gone}");
            let (n_ready, n_deferred) = (scan.ready.len(), scan.deferred.len());
            assert_eq!(n_ready, usize::from(here == &queue), "{here}, {gone}");
            assert_eq!(n_deferred, usize::from(here == &deferred), "{here}, {gone}");
        }
    }

    /// What a start does before anything is answered does not grow with what waits.
    #[test]
    fn a_start_looks_at_no_job_that_waits_and_the_first_scan_once_at_each() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let disk = Faults::of(root);
        let interface: InterfaceName = "a".parse().unwrap();
        let mut counts = Vec::new();
        for n_jobs in [0, 40] {
            drop(open(root));
            for n in 0..n_jobs {
                let job = format!("20261122T045748.123Z-{n:05}.xml");
                fs::write(root.join("queue/a").join(&job), "").unwrap();
                let later = format!("20261122T045748.124Z-{n:05}.xml");
                let due = format!("deferred/a/20261122T050000.000Z@{later}");
                fs::write(root.join(due), "").unwrap();
            }
            let spool = open(root);
            disk.begin();
            spool.recover().unwrap();
            let at_start = disk.met("stat") + disk.met("list");
            disk.begin();
            let scan = spool.scan(&interface).unwrap();
            assert_eq!((scan.ready.len(), scan.deferred.len()), (n_jobs, n_jobs));
            counts.push((at_start, disk.met("stat"), disk.met("list")));
            spool.close_journal();
        }
        let [(none, stats, lists), (start, stats_of_all, lists_of_all)] = counts[..] else {
            panic!("{counts:?}")
        };
        assert_eq!(start, none, "a start looks at what waits");
        assert_eq!(stats_of_all - stats, 2 * 40, "each is looked at once");
        assert_eq!(lists_of_all, lists);
    }
}
