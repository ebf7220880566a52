//! Dropped files of a spool whose jobs are kept elsewhere: another engine takes them over.
//!
//! A file is put aside under the name of the job that it is to be, the engine makes that job, and the file is removed,
//! each durable before the next. After a crash it lies aside, and its name tells the engine whether it has the job.

use super::{
    Entry, EntryKind, FileStamp, Found, Fs, NO_FILE, Readiness, Round, Spool, SpoolError, Wait,
    aside, wrap,
};
use crate::{
    domain::{InterfaceName, JobName, Kind, Queue, Reference},
    store::fs::QueuePath,
};
use std::{io, path::PathBuf, time::Duration};

const OF_A_SPOOL: &str = "it has the name of a job of a spool, and jobs are in a database here; give it another name if it is \
                          to be a new job";

/// A complete file in a queue.
#[derive(Debug)]
pub struct Dropped {
    pub queue: Queue,
    /// The name that it had, as far as that is known.
    pub dropped_as: String,
    pub reference: Option<Reference>,
    pub kind: Kind,
    pub bytes: u64,
    /// Whose it is.
    pub uid: u32,
    /// As which job it lies aside.
    pub aside: Option<JobName>,
    path: PathBuf,
}

impl<F: Fs> Spool<F> {
    /// The complete files in the queue of an interface as they came, where no job is, and after how long there may be
    /// more. What can be no job, or is for no user, is reported and left.
    ///
    /// # Errors
    /// As those of [`Spool::scan`].
    pub fn complete_drops(
        &self,
        interface: &InterfaceName,
    ) -> Result<(Vec<Dropped>, Option<Duration>), SpoolError> {
        self.healthy()?;
        let (mut complete, mut again) = (Vec::new(), None::<Duration>);
        for queue in self.queues_to_scan(interface)? {
            let dir = self.queue_dir(&queue)?;
            let others = self.list_queue(&queue, &dir, &mut Vec::new())?;
            let round = Round {
                queue: &queue,
                dir: &dir,
                first: false,
                now_ns: self.now_ms().saturating_mul(1_000_000),
                wanted: &|| true,
            };
            let later = self.each_in_turn(&round, others, |found| {
                self.meet_dropped(&round, found, &mut complete)
            })?;
            again = again.into_iter().chain(later).min();
        }
        Ok((complete, again))
    }

    fn meet_dropped(
        &self,
        round: &Round<'_>,
        found: &Found,
        complete: &mut Vec<Dropped>,
    ) -> Result<Option<Wait>, SpoolError> {
        if found.stat.kind != EntryKind::File {
            self.report(&found.path, Some(&found.stat), NO_FILE);
            return Ok(None);
        }
        let (name, aside) = match &found.entry {
            Entry::Aside(job) => (job.reference().unwrap_or_default().to_owned(), Some(job)),
            Entry::Foreign => (found.name.to_string_lossy().into_owned(), None),
            // What is known of it would be lost.
            Entry::Job(_) | Entry::Misplaced(_) => {
                self.report(&found.path, Some(&found.stat), OF_A_SPOOL);
                return Ok(None);
            }
            Entry::Ignored | Entry::Odd => {
                self.report(&found.path, Some(&found.stat), NO_FILE);
                return Ok(None);
            }
        };
        if self.rests(round, found) {
            return Ok(Some(Wait::Rest));
        }
        match self.readiness(round.queue, &found.path, &found.stat, None, false) {
            Readiness::Complete => {}
            Readiness::Unreadable => return Ok(None),
            Readiness::Waits(wait) => return Ok(Some(wait)),
        }
        complete.push(Dropped {
            queue: round.queue.clone(),
            reference: Reference::of_dropped_file(&name),
            kind: aside.map_or_else(|| Kind::of_file(&name), JobName::kind),
            dropped_as: name,
            bytes: found.stat.bytes,
            uid: found.stat.uid,
            aside: aside.cloned(),
            path: found.path.clone(),
        });
        Ok(None)
    }

    /// Puts a file aside as this job, durably. False: it has gone.
    ///
    /// # Errors
    /// When it cannot be taken away, and lies where it lay.
    pub fn put_aside(&self, dropped: &mut Dropped, job: &JobName) -> Result<bool, SpoolError> {
        let dir = self.queue_dir(&dropped.queue)?;
        let to = aside(&dir, job);
        match self.fs.rename(&dropped.path, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            renamed => renamed.map_err(wrap("take away", &dropped.path))?,
        }
        (dropped.path, dropped.aside) = (to, Some(job.clone()));
        self.sync_dir(&dir)?;
        Ok(true)
    }

    /// The document of a file that lies aside. `None`: it has gone, or somebody wrote to it.
    ///
    /// # Errors
    /// When it cannot be read, or has more bytes than that.
    pub fn read_aside(
        &self,
        dropped: &Dropped,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, SpoolError> {
        let path = &dropped.path;
        let stamp = || Ok::<_, SpoolError>(self.stat(path)?.as_ref().map(FileStamp::of));
        let before = stamp()?;
        let read = match self.fs.read_small(path, bytes_max) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(wrap("read", path))?,
        };
        // It has rested, so a write now changes its times.
        Ok((stamp()? == before).then_some(read))
    }

    /// Removes a file that lies aside, since its job is there. One that has gone is no error.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_aside(&self, dropped: &Dropped) -> Result<(), SpoolError> {
        match self.fs.unlink(&dropped.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(wrap("remove", &dropped.path)),
        }
    }

    /// Says of a file why it is left where it is, once as long as it stays as it is.
    pub fn leave(&self, dropped: &Dropped, why: &str) {
        self.report_odd(&dropped.path, why);
    }

    /// The same of the queue of an interface.
    pub fn leave_queue(&self, interface: &InterfaceName, why: &str) {
        self.report_odd(&Queue::from(interface).dir(), why);
    }
}
