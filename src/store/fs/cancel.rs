//! Cancelling a job that no command works on.
//!
//! It goes to `joberrors`, after its log, whose last message says by whom. The lock of a run is
//! taken meanwhile, so nobody claims the job, and a job that has been claimed is left alone. Who is
//! quicker is decided by the lock and by the job's one rename.

use super::{
    Act, Ended, Fs, Moved, Spool, SpoolError, Ticket, admin::one, claim::run_file, records::Facts,
    wrap,
};
use crate::store::{By, fs::PlacePath};
use crate::{
    domain::joblog::{JobLog, Message, Status},
    domain::{Illegal, Job, Place, Queue, Transition},
};

/// A job that is about to be cancelled, with the lock of its run.
struct Locked<L> {
    job: Job,
    /// `None`: it is not there.
    ended: Option<Ended>,
    log: Ticket,
    _lock: L,
}

impl<F: Fs> Spool<F> {
    /// Cancels jobs that wait, or whose run was cut off. `Gone`: a command works on it, or it
    /// moved meanwhile; look again. Durable when it returns. All of them wait together, once for their logs and once
    /// for their moves; one that fails stops no other.
    ///
    /// # Errors
    /// Of each, when the job has ended, the spool is unhealthy, full or cannot be written, or what was recorded of its day
    /// cannot be read. After a failed sync the outcome is known only after the next start.
    pub fn cancel_all(&self, jobs: &[Job], by: &By) -> Vec<Result<Moved, SpoolError>> {
        let begun = self.together(jobs.iter().map(|job| self.begin_cancel(job, by)));
        let logged = begun.into_iter().map(|begun| {
            let locked = begun?;
            if let Some(locked) = &locked {
                // Whoever sees the job in `joberrors` finds there that it was cancelled.
                self.wait(locked.log)?;
            }
            Ok(locked)
        });
        let logged: Vec<Result<_, SpoolError>> = logged.collect();
        let shifted = logged.into_iter().map(|logged| {
            let Some(mut locked) = logged? else {
                return Ok(None);
            };
            let shifted = match locked.ended.take() {
                Some(ended) => self.shift(&locked.job, &Transition::Fail, Some(ended))?,
                None => (Moved::Gone, Ticket::NONE),
            };
            Ok(Some((locked, shifted)))
        });
        let shifted: Vec<Result<_, SpoolError>> = self.together(shifted);
        let ended = shifted.into_iter().map(|shifted| match shifted? {
            Some((locked, (moved, ticket))) => self.end_cancel(locked, moved, ticket, by),
            None => Ok(Moved::Gone),
        });
        ended.collect()
    }

    /// The same with one.
    ///
    /// # Errors
    /// As those of [`Spool::cancel_all`].
    pub fn cancel(&self, job: &Job, by: &By) -> Result<Moved, SpoolError> {
        one(self.cancel_all(std::slice::from_ref(job), by))
    }

    /// Takes the lock of its run and writes its log. `None`: somebody works on it.
    fn begin_cancel(&self, job: &Job, by: &By) -> Result<Option<Locked<F::Lock>>, SpoolError> {
        self.healthy()?;
        let interface = match &job.place {
            Place::Deferred { interface, .. }
            | Place::Queue(Queue { interface, .. })
            | Place::Work { interface, .. } => interface,
            Place::Bak(_) | Place::JobErrors | Place::Refused => {
                let (from, by) = (job.place.clone(), Transition::Fail);
                return Err(Illegal { from, by }.into());
            }
        };
        let lock_path = run_file(interface, &job.name, "lock");
        let lock = self.fs.lock(&lock_path).map_err(wrap("lock", &lock_path))?;
        let Some(lock) = lock else {
            return Ok(None);
        };
        let (ended, log) = match self.note_cancel(job, by)? {
            Some((ended, log)) => (Some(ended), log),
            None => (None, Ticket::NONE),
        };
        Ok(Some(Locked {
            job: job.clone(),
            ended,
            log,
            _lock: lock,
        }))
    }

    fn end_cancel(
        &self,
        locked: Locked<F::Lock>,
        mut moved: Moved,
        ticket: Ticket,
        by: &By,
    ) -> Result<Moved, SpoolError> {
        self.wait(ticket)?;
        let job = &locked.job;
        if let Place::Queue(queue) = &job.place {
            self.forget_ready(queue, &job.name);
        }
        if let (Moved::Gone, Place::Deferred { interface, .. }) = (&moved, &job.place) {
            // It was due meanwhile.
            let place = Place::Queue(interface.clone().into());
            let name = job.name.clone();
            moved = self.cancel_locked(&Job { place, name }, by)?;
        }
        if let (Moved::Done(_), Some(interface)) = (&moved, job.place.interface()) {
            self.clean_run(interface, &job.name);
        }
        Ok(moved)
    }

    fn cancel_locked(&self, job: &Job, by: &By) -> Result<Moved, SpoolError> {
        let Some((ended, log)) = self.note_cancel(job, by)? else {
            return Ok(Moved::Gone);
        };
        self.wait(log)?;
        let (moved, ticket) = self.shift(job, &Transition::Fail, Some(ended))?;
        self.wait(ticket)?;
        if let Place::Queue(queue) = &job.place {
            self.forget_ready(queue, &job.name);
        }
        Ok(moved)
    }

    /// Writes the log of a job that is cancelled; `None`: it is not there.
    fn note_cancel(&self, job: &Job, by: &By) -> Result<Option<(Ended, Ticket)>, SpoolError> {
        let path = job.place.path(&job.name);
        if self.stat(&path)?.is_none() {
            return Ok(None);
        }
        let attempts = match job.place {
            Place::Work { attempt, .. } => attempt,
            Place::Bak(_)
            | Place::Deferred { .. }
            | Place::JobErrors
            | Place::Queue(_)
            | Place::Refused => self.attempts_of(&job.name)?,
        };
        let mut ended = self.ended(&job.name, Act::Cancelled)?.by(by);
        let user = by.to_string();
        if matches!(job.place, Place::Work { .. }) {
            ended.attempt = Some(attempts);
        }
        let end = match job.place {
            Place::Work { .. } => Message::cancelled(self.now_ms(), &user),
            Place::Bak(_)
            | Place::Deferred { .. }
            | Place::JobErrors
            | Place::Queue(_)
            | Place::Refused => Message::deleted(self.now_ms(), &user),
        };
        let mut messages = self.last_words(job, end);
        // A log that is there says so already.
        if self.read_log(&job.name).is_none()
            && let Some(first) = self.first_words(job)
        {
            messages.insert(0, first);
        }
        let ticket = self.write_log(self.log_without_run(job, attempts, messages))?;
        Ok(Some((ended, ticket)))
    }

    /// True when a job has ended because somebody cancelled it.
    pub fn was_cancelled(&self, job: &Job) -> bool {
        job.place == Place::JobErrors
            && self
                .read_log(&job.name)
                .is_some_and(|log| log.is_cancelled())
    }

    /// The log of a job that ends without a run, or whose run was cut off.
    pub(super) fn log_without_run(
        &self,
        job: &Job,
        attempts: u32,
        messages: Vec<Message>,
    ) -> JobLog {
        let facts = self.facts_of(job).unwrap_or_else(|error| {
            tracing::warn!(job = %job.name, %error, "what is known of it is left out of its log");
            Facts::default()
        });
        self.log_by(&facts, job, attempts, messages)
    }

    /// The same by what is known of the job.
    pub(super) fn log_by(
        &self,
        facts: &Facts,
        job: &Job,
        attempts: u32,
        messages: Vec<Message>,
    ) -> JobLog {
        JobLog {
            job: job.name.clone(),
            interface: job.place.interface().cloned(),
            status: Status::Error,
            received_ms: self.received_by(&job.name, facts.accepted.as_deref()),
            started_ms: None,
            finished_ms: self.now_ms(),
            attempts,
            bytes: facts.bytes,
            sha256: facts.sha256.clone(),
            messages,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::TestSpool;
    use super::*;
    use crate::domain::{InterfaceName, JobName, Kind};
    use crate::store::Settlement;
    use std::sync::Arc;

    /// A spool with a job in its queue.
    fn spool() -> (tempfile::TempDir, Arc<Spool>, InterfaceName, JobName) {
        let dir = tempfile::tempdir().unwrap();
        let interface: InterfaceName = "a".parse().unwrap();
        let spool = TestSpool::at(dir.path()).interface("a").open().unwrap();
        let name = JobName::new(spool.next_id(), None, Kind::Json);
        let path = dir.path().join(format!("queue/a/{name}"));
        std::fs::write(path, "{}").unwrap();
        (dir, spool, interface, name)
    }

    fn found(spool: &Spool, name: &JobName) -> Job {
        Job {
            place: spool.find(name).unwrap().unwrap(),
            name: name.clone(),
        }
    }

    #[test]
    fn a_queued_job_ends_with_a_log_that_says_by_whom() {
        let (dir, spool, interface, name) = spool();
        let queued = found(&spool, &name);
        spool.note(&queued, "dropped as x").unwrap();
        assert!(!spool.was_cancelled(&queued));
        let moved = spool.cancel(&queued, &By::operator("olga")).unwrap();
        let ended = found(&spool, &name);
        assert_eq!(moved, Moved::Done(ended.clone()));
        assert!(spool.was_cancelled(&ended));
        assert_eq!(spool.interface_of(&ended), Some(interface.clone()));
        let log = spool.read_log(&name).unwrap();
        let texts: Vec<&str> = log.messages.iter().map(|m| m.text.as_str()).collect();
        assert_eq!(texts, ["dropped as x", "cancelled by olga"]);
        assert_eq!(log.attempts, 0);
        let left = std::fs::read_dir(dir.path().join("work/a")).unwrap();
        assert_eq!(left.count(), 0);
        assert_eq!(
            spool.cancel(&queued, &By::operator("olga")).unwrap(),
            Moved::Gone
        );
        assert!(
            spool.cancel(&ended, &By::operator("olga")).is_err(),
            "it has ended"
        );
        assert!(spool.claim(&interface, &name).unwrap().is_none());
        spool
            .requeue(
                &ended,
                &interface.clone().into(),
                &By::operator("an operator"),
            )
            .unwrap();
        assert!(!spool.was_cancelled(&found(&spool, &name)));
    }

    #[test]
    fn a_job_that_is_worked_on_is_left_alone() {
        let (_dir, spool, interface, name) = spool();
        let queued = found(&spool, &name);
        let mut claim = spool.claim(&interface, &name).unwrap().unwrap();
        claim.prepare().unwrap();
        claim.begin();
        let running = found(&spool, &name);
        assert_eq!(
            spool.cancel(&queued, &By::operator("olga")).unwrap(),
            Moved::Gone
        );
        assert_eq!(
            spool.cancel(&running, &By::operator("olga")).unwrap(),
            Moved::Gone
        );
        assert!(spool.read_log(&name).is_none());
        assert!(spool.fs().stat(claim.run_dir()).unwrap().is_some());
        // Its run breaks down: nobody has its lock any more.
        drop(claim);
        let moved = spool.cancel(&running, &By::operator("olga")).unwrap();
        assert_eq!(moved, Moved::Done(found(&spool, &name)));
        assert_eq!(spool.read_log(&name).unwrap().attempts, 1);
        assert!(spool.was_cancelled(&found(&spool, &name)));
    }

    #[test]
    fn a_deferred_job_is_found_in_its_queue_if_it_was_due_meanwhile() {
        for due in [false, true] {
            let (_dir, spool, interface, name) = spool();
            let mut claim = spool.claim(&interface, &name).unwrap().unwrap();
            let due_ms = spool.now_ms() + 10_000;
            claim.settle(Settlement::Deferred { due_ms }, None).unwrap();
            let deferred = found(&spool, &name);
            if due {
                spool.release_due(&deferred).unwrap();
            }
            let moved = spool.cancel(&deferred, &By::operator("olga")).unwrap();
            assert_eq!(moved, Moved::Done(found(&spool, &name)), "{due}");
            assert_eq!(spool.read_log(&name).unwrap().attempts, 1);
            assert_eq!(spool.attempts_of(&name).unwrap(), 0);
        }
    }
}
