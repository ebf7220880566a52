//! What operators do: requeue, remove, hold, release, and notes in a job's log.
//!
//! All of it works on the directories with the service up or down, and each is what `mv`, `rm`
//! and `touch` would do, plus a word in the joblog.

use super::{Fs, Moved, Spool, SpoolError, wrap};
use crate::{
    job::{InterfaceName, Job, Transition},
    joblog::{Level, Message},
};
use std::{
    io,
    path::{Path, PathBuf},
};

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
        self.note(job, &format!("requeued to {to} by {by_whom}"))?;
        let path = job.place.path(&job.name);
        let attributes = [
            ("attempts", "0".to_owned()),
            ("interface", to.to_string()),
            // So that a running service does not take it for a move by hand.
            ("requeued", "yes".to_owned()),
        ];
        match self.set_attributes(&path, &attributes) {
            Err(SpoolError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Moved::Gone);
            }
            other => other?,
        }
        self.shift(job, &by)
    }

    /// True once after [`Spool::requeue`], which has made its own note.
    pub fn was_requeued(&self, job: &Job) -> bool {
        let path = job.place.path(&job.name);
        let requeued = self.attribute_of(job, "requeued").as_deref() == Some("yes");
        if requeued && let Ok(file) = self.fs.update(&path) {
            // Advice only; if it stays, the next move by hand is not noted.
            let _ = self.fs.set_attribute(&file, "requeued", "");
        }
        requeued
    }

    /// Moves a due job back to its queue.
    pub fn release_due(&self, job: &Job) -> Result<Moved, SpoolError> {
        self.shift(job, &Transition::Release)
    }

    /// Archives a job of an `out` interface that was completely retrieved.
    pub fn archive(&self, job: &Job) -> Result<Moved, SpoolError> {
        let moved = self.shift(job, &Transition::Archive)?;
        if let Some(interface) = job.place.interface() {
            self.forget_ready(interface, &job.name);
        }
        Ok(moved)
    }

    /// Removes a job for ever; its log stays and says so.
    pub fn remove(&self, job: &Job, by_whom: &str) -> Result<Moved, SpoolError> {
        job.place.step(&Transition::Discard)?;
        self.note(job, &format!("removed by {by_whom}"))?;
        self.shift(job, &Transition::Discard)
    }

    /// Adds a word to a job's log; a job without a log yet carries it as an attribute until it
    /// gets one.
    pub fn note(&self, job: &Job, text: &str) -> Result<(), SpoolError> {
        let now_ms = self.now_ms();
        match self.read_log(&job.name) {
            Some(mut log) => {
                log.messages = vec![Message::new(now_ms, Level::Info, text)];
                self.write_log(log)
            }
            None => {
                let path = job.place.path(&job.name);
                let earlier = self.fs.attribute(&path, "note").ok().flatten();
                let note = earlier.map_or(text.to_owned(), |earlier| format!("{earlier}; {text}"));
                let note: String = note.chars().take(NOTE_CHARS_MAX).collect();
                self.set_attributes(&path, &[("note", note)])
            }
        }
    }

    /// Holds an interface: nothing of it is started until released. `text` may say
    /// who, why and until when. Replaces the text of an earlier hold.
    pub fn hold(&self, interface: &InterfaceName, text: &str) -> Result<(), SpoolError> {
        let path = hold_path(interface);
        let temp = self.write_temp("hold", text.as_bytes())?;
        self.fs
            .replace(&temp, &path)
            .map_err(wrap("publish", &path))?;
        self.sync_dir(&Path::new("queue").join(interface.as_str()))
    }

    /// Releases a held interface. False when it was not held.
    pub fn release(&self, interface: &InterfaceName) -> Result<bool, SpoolError> {
        let path = hold_path(interface);
        match self.fs.unlink(&path) {
            Ok(()) => {
                self.sync_dir(&Path::new("queue").join(interface.as_str()))?;
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

fn hold_path(interface: &InterfaceName) -> PathBuf {
    ["queue", interface.as_str(), ".hold"].iter().collect()
}
