//! What operators do: requeue, remove, hold, release, and notes in a job's log.
//!
//! Each is what `mv`, `rm` and `touch` would do, recorded and with a word for the joblog: that of a job which waits
//! is in the record only until its log is written next, and shown with the log until then. Only the owner of the spool
//! does it.

use super::{
    Act, Ended, Fs, Moved, Op, RealFs, Spool, SpoolError, SpoolLock, Ticket, claim::run_file,
    lock::is_locked, text, wrap,
};
use crate::store::{
    By,
    events::{Event, EventKind},
    fs::PlacePath,
};
use crate::{
    domain::joblog::{JobLog, Level, Message},
    domain::{InterfaceName, Job, Place, Queue, Transition},
};
use jiff::Timestamp;
use std::{io, path::PathBuf};

/// Of the text of a hold.
const HOLD_BYTES_MAX: u64 = 64 * 1024;

/// A job that is to move so, with the line for the day's record, as far as that can be.
struct Intended<'j> {
    job: &'j Job,
    step: Transition,
    /// `None`: it is gone.
    ended: Result<Option<Ended>, SpoolError>,
}

/// A job that has moved, which is durable with the ticket.
struct Shifted {
    moved: Moved,
    ticket: Ticket,
    to: Option<Queue>,
}

impl<F: Fs> Spool<F> {
    /// Sends jobs to queues, their attempts counted from one again. All of them wait together, however many they are;
    /// one that fails stops no other. A crash in between leaves each where it was or where it goes, and what its log is
    /// to say of it is recorded with its move.
    ///
    /// # Errors
    /// Of each, when its place does not allow it, the spool is unhealthy or cannot be written, or what was recorded of its
    /// day cannot be read: then it has not moved, unless a sync failed.
    pub fn requeue_all(&self, jobs: &[(Job, Queue)], by: &By) -> Vec<Result<Moved, SpoolError>> {
        self.shift_all(jobs.iter().map(|(job, to)| {
            let step = Transition::Requeue(to.clone());
            let ended = self.ended_by_requeue(job, &step, to, by);
            Intended { job, step, ended }
        }))
    }

    /// The same with one.
    ///
    /// # Errors
    /// As those of [`Spool::requeue_all`].
    pub fn requeue(&self, job: &Job, to: &Queue, by: &By) -> Result<Moved, SpoolError> {
        one(self.requeue_all(&[(job.clone(), to.clone())], by))
    }

    /// `None`: it is gone.
    fn ended_by_requeue(
        &self,
        job: &Job,
        step: &Transition,
        to: &Queue,
        by: &By,
    ) -> Result<Option<Ended>, SpoolError> {
        job.place.step(step)?;
        if self.bytes_of(job)?.is_none() {
            return Ok(None);
        }
        let mut ended = self.ended(&job.name, Act::Requeued)?.by(by);
        // Without the user: another one may read the log later.
        ended.text = Some(format!("requeued to {} by {by}", to.interface));
        ended.interface = Some(to.interface.clone());
        ended.addressee.clone_from(&to.addressee);
        Ok(Some(ended))
    }

    /// Moves jobs and waits for all of them once.
    fn shift_all<'j>(
        &self,
        all: impl Iterator<Item = Intended<'j>>,
    ) -> Vec<Result<Moved, SpoolError>> {
        let shifted = self.together(all.map(|Intended { job, step, ended }| {
            let shifted = ended.and_then(|ended| match ended {
                Some(ended) => self.begin_shift(job, &step, Some(ended)).map(Some),
                None => Ok(None),
            });
            (job, shifted)
        }));
        let moved = shifted.into_iter().map(|(job, shifted)| match shifted? {
            Some(shifted) => self.end_shift(job, shifted),
            None => Ok(Moved::Gone),
        });
        moved.collect()
    }

    fn shift_durably(
        &self,
        job: &Job,
        by: &Transition,
        ended: Option<Ended>,
    ) -> Result<Moved, SpoolError> {
        let shifted = self.begin_shift(job, by, ended)?;
        self.end_shift(job, shifted)
    }

    fn begin_shift(
        &self,
        job: &Job,
        by: &Transition,
        ended: Option<Ended>,
    ) -> Result<Shifted, SpoolError> {
        let to = match job.place.step(by)? {
            Some(Place::Queue(to)) => Some(to),
            Some(
                Place::Bak(_)
                | Place::Deferred { .. }
                | Place::JobErrors
                | Place::Refused
                | Place::Work { .. },
            )
            | None => None,
        };
        if let Some(to) = &to {
            // A scan that began before it is there must not take it for one that came by hand.
            self.set_arriving(to, &job.name);
        }
        let shifted = self.shift(job, by, ended);
        self.arrived(&job.name);
        let (moved, ticket) = shifted?;
        Ok(Shifted { moved, ticket, to })
    }

    /// Waits until a job that was moved is durably there.
    fn end_shift(&self, job: &Job, shifted: Shifted) -> Result<Moved, SpoolError> {
        let Shifted { moved, ticket, to } = shifted;
        self.wait(ticket)?;
        if let (Place::Queue(from), Moved::Done(_)) = (&job.place, &moved)
            && to.as_ref() != Some(from)
        {
            self.forget_ready(from, &job.name);
        }
        Ok(moved)
    }

    /// Moves a due job back to its queue.
    ///
    /// # Errors
    /// When it is not deferred, the spool is unhealthy or cannot be written.
    pub fn release_due(&self, job: &Job) -> Result<Moved, SpoolError> {
        self.shift_durably(job, &Transition::Release, None)
    }

    /// Archives a job of an `out` interface that was completely retrieved.
    ///
    /// # Errors
    /// When its place does not allow it, the spool is unhealthy or cannot be written, or what was recorded of its day
    /// cannot be read.
    pub fn archive(&self, job: &Job, by: &By) -> Result<Moved, SpoolError> {
        let ended = self.ended(&job.name, Act::Fetched)?.by(by);
        self.shift_durably(job, &Transition::Archive, Some(ended))
    }

    /// Removes jobs for ever; their logs stay and say so. A job that had none gets one. They wait together, once for their
    /// logs and once for their moves; one that fails stops no other.
    ///
    /// # Errors
    /// Of each, when it runs, the spool is unhealthy or cannot be written, or what was recorded of its day cannot be
    /// read. A full disk is none: then its log says nothing.
    pub fn remove_all(&self, jobs: &[Job], by: &By) -> Vec<Result<Moved, SpoolError>> {
        let noted = self.together(jobs.iter().map(|job| (job, self.note_removal(job, by))));
        let noted = noted.into_iter().map(|(job, noted)| {
            let ended = noted.and_then(|noted| {
                let Some((ended, log)) = noted else {
                    return Ok(None);
                };
                self.unless_full(job, self.wait(log), ())?;
                Ok(Some(ended))
            });
            let step = Transition::Discard;
            Intended { job, step, ended }
        });
        let noted: Vec<Intended<'_>> = noted.collect();
        self.shift_all(noted.into_iter())
    }

    /// The same with one.
    ///
    /// # Errors
    /// As those of [`Spool::remove_all`].
    pub fn remove(&self, job: &Job, by: &By) -> Result<Moved, SpoolError> {
        one(self.remove_all(std::slice::from_ref(job), by))
    }

    /// Says it in the job's log; the line for the record, and the ticket of the log. `None`: it is gone.
    fn note_removal(&self, job: &Job, by: &By) -> Result<Option<(Ended, Ticket)>, SpoolError> {
        job.place.step(&Transition::Discard)?;
        if self.bytes_of(job)?.is_none() {
            return Ok(None);
        }
        let ended = self.ended(&job.name, Act::Removed)?.by(by);
        let removed = Message::new(self.now_ms(), Level::Info, format!("removed by {by}"));
        let log = match self.read_log(&job.name) {
            Some(log) => JobLog {
                messages: vec![removed],
                ..log
            },
            None => {
                let messages = self.first_words(job).into_iter().chain([removed]);
                self.log_without_run(job, 0, messages.collect())
            }
        };
        let log = self.unless_full(job, self.write_log(log), Ticket::NONE)?;
        Ok(Some((ended, log)))
    }

    /// On a full disk an operator must be able to act all the same.
    fn unless_full<T>(
        &self,
        job: &Job,
        logged: Result<T, SpoolError>,
        otherwise: T,
    ) -> Result<T, SpoolError> {
        match logged {
            Err(SpoolError::Full { .. }) => {
                tracing::warn!(job = %job.name, "no space left for its log");
                Ok(otherwise)
            }
            other => other,
        }
    }

    /// Adds to the log of a refused document that it was validated again and is still wrong, and what is
    /// wrong with it; one without a log gets one. Durable when it returns.
    ///
    /// # Errors
    /// When the log cannot be read or written.
    pub fn refuse_again(
        &self,
        job: &Job,
        to: &InterfaceName,
        findings: Vec<Message>,
        by: &By,
    ) -> Result<Moved, SpoolError> {
        if self.bytes_of(job)?.is_none() {
            return Ok(Moved::Gone);
        }
        let mut refused = self.ended(&job.name, Act::Refused)?.by(by);
        let text = format!("validated again for {to} by {by}: still wrong");
        let said = Message::new(self.now_ms(), Level::Info, text);
        let messages = [said].into_iter().chain(findings).collect();
        let log = match self.read_log(&job.name) {
            Some(log) => JobLog { messages, ..log },
            None => self.log_without_run(job, 0, messages),
        };
        refused = refused.with_error(log.reason());
        // Earlier in the journal than the line, so durable with it.
        let _ = self.write_log(log)?;
        let line = Op::Ended(Box::new(refused));
        let ((), ticket) = self
            .record(&[line], || Ok(()))
            .map_err(wrap("record", &Self::log_path(&job.name)))?;
        self.wait(ticket)?;
        Ok(Moved::Done(job.clone()))
    }

    /// Notes something of a job that waits, for its log. Durable with what is recorded next: nobody is told of it.
    ///
    /// # Errors
    /// When the job cannot be looked at, or what was recorded of its day cannot be read.
    pub fn note(&self, job: &Job, text: &str) -> Result<(), SpoolError> {
        if self.stat(&job.place.path(&job.name))?.is_none() {
            // It has moved on: the last word in its log is of its end.
            return Ok(());
        }
        let mut ended = self.ended(&job.name, Act::Noted)?;
        ended.text = Some(text.to_owned());
        ended.interface = self.interface_to_tell(job);
        ended.addressee = self.addressee_to_tell(job);
        let _ = self.note_ops(&[Op::Ended(Box::new(ended))]);
        Ok(())
    }

    /// Holds an interface: nothing of it is started until released, or until that moment. The file says by whom and
    /// why, in place of what an earlier hold said.
    ///
    /// # Errors
    /// When the spool is unhealthy, full or cannot be written.
    pub fn hold(
        &self,
        interface: &InterfaceName,
        by: &By,
        until: Option<Timestamp>,
    ) -> Result<(), SpoolError> {
        let (path, now_ms) = (hold_path(interface), self.now_ms());
        let text = format!("{}\n", by.since_until(now_ms, until));
        let event = Event::new(EventKind::InterfaceHeld, now_ms)
            .about(Some(interface))
            .with("by", by.to_string())
            .with_known("reason", by.why.as_deref())
            .with_known("until", until.map(|until| until.to_string()));
        let event = self.event_op(event, &format!("{interface}/{now_ms}"));
        let (op, pending) = self.replacement("hold", path, text.into_bytes())?;
        let ops: Vec<Op> = [op].into_iter().chain(event).collect();
        let ticket = self.publish(&ops, vec![pending])?;
        self.wait(ticket)
    }

    /// Releases a held interface. False when it was not held.
    ///
    /// # Errors
    /// When the spool is unhealthy or cannot be written.
    pub fn release(&self, interface: &InterfaceName) -> Result<bool, SpoolError> {
        let path = hold_path(interface);
        let op = Op::Remove { path: text(&path) };
        match self.record(&[op], || self.fs.unlink(&path)) {
            Ok(((), ticket)) => {
                self.wait(ticket)?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(wrap("remove", &path)(error)),
        }
    }

    /// Why an interface is held, `None` when it is not.
    pub fn hold_text(&self, interface: &InterfaceName) -> Option<String> {
        let path = hold_path(interface);
        match self.fs.read_small(&path, HOLD_BYTES_MAX) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // Whatever has that name holds the interface.
            Err(error) => Some(format!("{}: {error}", path.display())),
        }
    }
}

impl Spool<RealFs> {
    /// True for a job in `work` that nobody works on: the service ended in its middle and has not
    /// come back, nor does a command that outlived it still run. Makes nothing.
    ///
    /// # Errors
    /// When a lock file cannot be read.
    pub fn is_cut_off(&self, job: &Job) -> Result<bool, SpoolError> {
        let Place::Work { interface, .. } = &job.place else {
            return Ok(false);
        };
        let lock_path = run_file(interface, &job.name, "lock");
        let look = |path| is_locked(&self.fs, path).map_err(wrap("look at the lock", path));
        let served = SpoolLock::holder(&self.fs).map_err(wrap("read", ".lock".as_ref()))?;
        Ok(served.is_none() && !look(&lock_path)?)
    }
}

/// What came of a batch of one.
pub(super) fn one<T>(mut all: Vec<Result<T, SpoolError>>) -> Result<T, SpoolError> {
    all.pop().unwrap_or_else(|| {
        let (op, path) = ("act on", PathBuf::new());
        let source = io::ErrorKind::InvalidInput.into();
        Err(SpoolError::Io { op, path, source })
    })
}

fn hold_path(interface: &InterfaceName) -> PathBuf {
    ["queue", interface.as_str(), ".hold"].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::{faults::Faults, testing::TestSpool};
    use super::*;
    use crate::domain::{JobName, Kind};
    use crate::store::NewJob;
    use std::sync::Arc;

    /// Jobs that wait in `a`.
    fn queued(spool: &Arc<Spool>, n_jobs: usize) -> Vec<Job> {
        let interface: InterfaceName = "a".parse().unwrap();
        let queue = Place::Queue(interface.clone().into());
        let jobs = (0..n_jobs).map(|_| {
            let name = JobName::new(spool.next_id(), None, Kind::Xml);
            let sealed = spool.begin(name.clone()).unwrap().seal(&NewJob::default());
            let (_, ticket) = spool.enqueue(sealed.unwrap(), &interface, None).unwrap();
            spool.wait(ticket).unwrap();
            spool.arrived(&name);
            let place = queue.clone();
            Job { place, name }
        });
        jobs.collect()
    }

    /// How many flushes there are until all these jobs have moved.
    fn flushes(faults: &Faults, act: impl FnOnce() -> Vec<Result<Moved, SpoolError>>) -> usize {
        let before = faults.met("sync_data");
        for moved in act() {
            assert!(matches!(moved, Ok(Moved::Done(_))), "{moved:?}");
        }
        faults.met("sync_data") - before
    }

    #[test]
    fn a_batch_costs_as_many_flushes_as_one_job() {
        for n_jobs in [1, 40] {
            let dir = tempfile::tempdir().unwrap();
            let faults = Faults::of(dir.path());
            let spool = TestSpool::at(dir.path())
                .interface("a")
                .interface("b")
                .journal();
            let spool = spool.open().unwrap();
            let (by, b) = (
                By::operator("olga"),
                Queue::from("b".parse::<InterfaceName>().unwrap()),
            );
            let waiting = queued(&spool, n_jobs);
            let n = flushes(&faults, || spool.cancel_all(&waiting, &by));
            assert_eq!(n, 2, "logs and moves of {n_jobs}");
            let failed = waiting.iter().map(|job| Job {
                place: Place::JobErrors,
                name: job.name.clone(),
            });
            let failed: Vec<Job> = failed.collect();
            let to: Vec<_> = failed.iter().map(|job| (job.clone(), b.clone())).collect();
            let (made, read) = (faults.met("create"), faults.met("read"));
            let n = flushes(&faults, || spool.requeue_all(&to, &by));
            assert_eq!(n, 1, "moves of {n_jobs}");
            assert_eq!((faults.met("create"), faults.met("read")), (made, read));
            let sent = failed.into_iter().map(|job| Job {
                place: Place::Queue(b.clone()),
                ..job
            });
            let sent: Vec<Job> = sent.collect();
            let n = flushes(&faults, || spool.remove_all(&sent, &by));
            assert_eq!(n, 2, "logs and moves of {n_jobs}");
            assert!(spool.queued(&b.interface).unwrap().is_empty());
        }
    }
}
