//! What operators do: requeue, remove, hold, release, and notes in a job's log.
//!
//! All of it works on the directories with the service up or down, and each is what `mv`, `rm`
//! and `touch` would do, plus a word in the joblog.

use super::{
    Fs, Moved, Op, RealFs, Spool, SpoolError, SpoolLock, claim::run_file, lock::is_locked, text,
    wrap,
};
use crate::{
    job::{InterfaceName, Job, Place, Transition},
    joblog::{Level, Message},
};
use std::{io, path::PathBuf};

/// The attribute of a job that an operator's command has sent to its queue.
pub(super) const REQUEUED: &str = "requeued";
/// An attribute holds no more for sure.
const NOTE_CHARS_MAX: usize = 400;

impl<F: Fs> Spool<F> {
    /// Sends a job to a queue, its attempts counted from one again.
    pub fn requeue(
        &self,
        job: &Job,
        to: &InterfaceName,
        by_whom: &str,
    ) -> Result<Moved, SpoolError> {
        let by = Transition::Requeue(to.clone());
        job.place.step(&by)?;
        self.note_if_room(job, &format!("requeued to {to} by {by_whom}"))?;
        let path = job.place.path(&job.name);
        let attributes = [
            ("attempts", "0".to_owned()),
            ("interface", to.to_string()),
            // So that a running service does not take it for a move by hand.
            (REQUEUED, "yes".to_owned()),
        ];
        match self.set_attributes(&path, &attributes) {
            Err(SpoolError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Moved::Gone);
            }
            // Earlier than the move, so durable with it.
            other => drop(other?),
        }
        self.shift_durably(job, &by)
    }

    fn shift_durably(&self, job: &Job, by: &Transition) -> Result<Moved, SpoolError> {
        let (moved, ticket) = self.shift(job, by)?;
        self.wait(ticket)?;
        Ok(moved)
    }

    /// True once after [`Spool::requeue`], which has made its own note.
    pub fn was_requeued(&self, job: &Job) -> bool {
        let requeued = self.attribute_of(job, REQUEUED).as_deref() == Some("yes");
        if requeued {
            // Advice only; if it stays, the next move by hand is not noted.
            let path = job.place.path(&job.name);
            let _ = self.set_attributes(&path, &[(REQUEUED, String::new())]);
        }
        requeued
    }

    /// Moves a due job back to its queue.
    pub fn release_due(&self, job: &Job) -> Result<Moved, SpoolError> {
        self.shift_durably(job, &Transition::Release)
    }

    /// Archives a job of an `out` interface that was completely retrieved.
    pub fn archive(&self, job: &Job) -> Result<Moved, SpoolError> {
        let moved = self.shift_durably(job, &Transition::Archive)?;
        if let Some(interface) = job.place.interface() {
            self.forget_ready(interface, &job.name);
        }
        Ok(moved)
    }

    /// Removes a job for ever; its log stays and says so.
    pub fn remove(&self, job: &Job, by_whom: &str) -> Result<Moved, SpoolError> {
        job.place.step(&Transition::Discard)?;
        self.note_if_room(job, &format!("removed by {by_whom}"))?;
        self.shift_durably(job, &Transition::Discard)
    }

    /// On a full disk an operator must be able to act all the same.
    fn note_if_room(&self, job: &Job, text: &str) -> Result<(), SpoolError> {
        match self.note(job, text) {
            Err(SpoolError::Full { .. }) => {
                tracing::warn!(job = %job.name, "no space left to note: {text}");
                Ok(())
            }
            other => other,
        }
    }

    /// Adds a word to a job's log; a job without a log yet carries it as an attribute until it
    /// gets one.
    pub fn note(&self, job: &Job, text: &str) -> Result<(), SpoolError> {
        let now_ms = self.now_ms();
        if self.stat(&job.place.path(&job.name))?.is_none() {
            // It has moved on: the last word in its log is of its end.
            return Ok(());
        }
        match self.read_log(&job.name) {
            Some(mut log) => {
                log.messages = vec![Message::new(now_ms, Level::Info, text)];
                let ticket = self.write_log(log)?;
                // Whoever adds to it next must find it.
                self.wait(ticket)?;
            }
            None => {
                let path = job.place.path(&job.name);
                let earlier = self.fs.attribute(&path, "note").ok().flatten();
                let note = earlier.map_or(text.to_owned(), |earlier| format!("{earlier}; {text}"));
                let note: String = note.chars().take(NOTE_CHARS_MAX).collect();
                // Advice, so not waited for.
                let _ = self.set_attributes(&path, &[("note", note)])?;
            }
        }
        Ok(())
    }

    /// Holds an interface: nothing of it is started until released. `text` may say
    /// who, why and until when. Replaces the text of an earlier hold.
    pub fn hold(&self, interface: &InterfaceName, text: &str) -> Result<(), SpoolError> {
        let path = hold_path(interface);
        let ticket = self.put("hold", &path, text.as_bytes())?;
        self.wait(ticket)
    }

    /// Releases a held interface. False when it was not held.
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
    pub fn hold_text(&self, interface: &InterfaceName) -> Result<Option<String>, SpoolError> {
        let path = hold_path(interface);
        match self.fs.read(&path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrap("read", &path)(error)),
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
