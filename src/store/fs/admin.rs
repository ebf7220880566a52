//! What operators do: requeue, remove, hold, release, and notes in a job's log.
//!
//! Each is what `mv`, `rm` and `touch` would do, recorded and with a word in the joblog. Only the
//! owner of the spool does it.

use super::{
    Act, Ended, Fs, Moved, Op, RealFs, Spool, SpoolError, SpoolLock, claim::run_file, fingerprint,
    lock::is_locked, text, wrap,
};
use crate::store::{By, fs::PlacePath};
use crate::{
    domain::joblog::{JobLog, Level, Message},
    domain::{InterfaceName, Job, Place, Queue, Transition},
};
use std::{io, path::PathBuf};

/// Of the text of a hold.
const HOLD_BYTES_MAX: u64 = 64 * 1024;

impl<F: Fs> Spool<F> {
    /// Sends a job to a queue, its attempts counted from one again.
    ///
    /// # Errors
    /// When its place does not allow it, the spool is unhealthy or cannot be written, or what was recorded of its day
    /// cannot be read: then it has not moved, unless a sync failed.
    pub fn requeue(&self, job: &Job, to: &Queue, by: &By) -> Result<Moved, SpoolError> {
        let step = Transition::Requeue(to.clone());
        job.place.step(&step)?;
        if self.bytes_of(job)?.is_none() {
            return Ok(Moved::Gone);
        }
        let mut ended = self.ended(&job.name, Act::Requeued)?.by(by);
        // Without the user: another one may read the log later.
        let text = format!("requeued to {} by {by}", to.interface);
        self.log_if_room(job, &text)?;
        ended.text = Some(text);
        ended.interface = Some(to.interface.clone());
        ended.addressee.clone_from(&to.addressee);
        self.shift_durably(job, &step, Some(ended))
    }

    fn shift_durably(
        &self,
        job: &Job,
        by: &Transition,
        ended: Option<Ended>,
    ) -> Result<Moved, SpoolError> {
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

    /// Removes a job for ever; its log stays and says so. A job that had none gets one.
    ///
    /// # Errors
    /// When it runs, the spool is unhealthy or cannot be written, or what was recorded of its day cannot be read. A full
    /// disk is none: then its log says nothing.
    pub fn remove(&self, job: &Job, by: &By) -> Result<Moved, SpoolError> {
        job.place.step(&Transition::Discard)?;
        if self.bytes_of(job)?.is_none() {
            return Ok(Moved::Gone);
        }
        let ended = self.ended(&job.name, Act::Removed)?.by(by);
        let text = format!("removed by {by}");
        if self.read_log(&job.name).is_some() {
            self.log_if_room(job, &text)?;
        } else {
            let removed = Message::new(self.now_ms(), Level::Info, text);
            let messages = self.first_words(job).into_iter().chain([removed]);
            match self.write_log(self.log_without_run(job, 0, messages.collect())) {
                // Earlier in the journal than the removal, so durable with it.
                Ok(_) => {}
                Err(SpoolError::Full { .. }) => {
                    tracing::warn!(job = %job.name, "no space left for its log");
                }
                Err(error) => return Err(error),
            }
        }
        self.shift_durably(job, &Transition::Discard, Some(ended))
    }

    /// On a full disk an operator must be able to act all the same.
    fn log_if_room(&self, job: &Job, text: &str) -> Result<(), SpoolError> {
        match self.add_to_log(job, text) {
            Err(SpoolError::Full { .. }) => {
                tracing::warn!(job = %job.name, "no space left to note: {text}");
                Ok(())
            }
            other => other,
        }
    }

    /// Adds a word to a job's log, if it has one.
    fn add_to_log(&self, job: &Job, text: &str) -> Result<(), SpoolError> {
        if let Some(mut log) = self.read_log(&job.name) {
            log.messages = vec![Message::new(self.now_ms(), Level::Info, text)];
            let ticket = self.write_log(log)?;
            // Whoever adds to it next must find it.
            self.wait(ticket)?;
        }
        Ok(())
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
        refused.error = log.reason().map(fingerprint);
        // Earlier in the journal than the line, so durable with it.
        let _ = self.write_log(log)?;
        let line = Op::Ended(Box::new(refused));
        let ((), ticket) = self
            .record(&[line], || Ok(()))
            .map_err(wrap("record", &Self::log_path(&job.name)))?;
        self.wait(ticket)?;
        Ok(Moved::Done(job.clone()))
    }

    /// Adds a word to a job's log; for a job without a log yet the record keeps it until it gets one.
    ///
    /// # Errors
    /// When the spool is unhealthy, full or cannot be written.
    pub fn note(&self, job: &Job, text: &str) -> Result<(), SpoolError> {
        if self.stat(&job.place.path(&job.name))?.is_none() {
            // It has moved on: the last word in its log is of its end.
            return Ok(());
        }
        self.add_to_log(job, text)?;
        let mut ended = self.ended(&job.name, Act::Noted)?;
        ended.text = Some(text.to_owned());
        ended.addressee = self.addressee_to_tell(job);
        // Nobody is told of it, so not waited for.
        let _ = self.note_ops(&[Op::Ended(Box::new(ended))]);
        Ok(())
    }

    /// Holds an interface: nothing of it is started until released. `text` may say
    /// who, why and until when. Replaces the text of an earlier hold.
    ///
    /// # Errors
    /// When the spool is unhealthy, full or cannot be written.
    pub fn hold(&self, interface: &InterfaceName, text: &str) -> Result<(), SpoolError> {
        let path = hold_path(interface);
        let ticket = self.put("hold", &path, text.as_bytes())?;
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

fn hold_path(interface: &InterfaceName) -> PathBuf {
    ["queue", interface.as_str(), ".hold"].iter().collect()
}
