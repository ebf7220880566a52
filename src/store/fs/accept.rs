//! Accepting a job: a part, sealed, then named in its queue, or kept among the refused.
//!
//! A part that the journal takes whole stays in memory, and the committer makes its file. A larger one is
//! a file in `tmp` from then on. Only [`Part::seal`] makes a [`SealedPart`], and only a `SealedPart` can
//! become a job. A part that is dropped removes its file; one that a crash leaves is removed at the next start.

use super::{
    Accepted, Act, Ended, Fs, How, INLINE_BYTES_MAX, Key, Keyed, Op, PendingRename, RealFs, Spool,
    SpoolError, Ticket, WhenFull, text, wrap,
};
use crate::store::fs::PlacePath;
use crate::{
    domain::joblog::JobLog,
    domain::{InterfaceName, Job, JobName, Place, Queue},
    store::NewJob,
    util::plain::{self, Links},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{
    io::{self, Cursor, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A job that has its name for longer gets a later one when its document is complete, so that the
/// ids in the day's record rise, up to a moment.
const NAME_AGE_MS: i64 = 1_000;

/// A job being written. No scan ever sees it.
#[must_use]
pub struct Part<F: Fs = RealFs> {
    spool: Arc<Spool<F>>,
    name: JobName,
    bytes: u64,
    sha256: Sha256,
    /// All that was written, as long as the journal takes it whole.
    inline: Vec<u8>,
    /// Its file, from then on.
    file: Option<F::File>,
}

/// Proof that the bytes of a part are on disk, or few enough to be recorded whole.
#[must_use]
pub struct SealedPart<F: Fs = RealFs> {
    part: Part<F>,
    accepted: Accepted,
}

impl<F: Fs> Spool<F> {
    /// Begins a job. Touches no disk.
    ///
    /// # Errors
    /// The spool is unhealthy.
    pub fn begin(self: &Arc<Self>, name: JobName) -> Result<Part<F>, SpoolError> {
        self.healthy()?;
        Ok(Part {
            spool: self.clone(),
            name,
            bytes: 0,
            sha256: Sha256::new(),
            inline: Vec::new(),
            file: None,
        })
    }

    /// Publishes a job. It is accepted, and survives a power cut, once the ticket is durable.
    ///
    /// # Errors
    /// Nothing was accepted, and the document is gone; the whole upload can be tried again. The
    /// caller removes the record of the key, see [`Spool::drop_record`]. When waiting for the
    /// ticket fails, what is left is for [`Spool::abandon`].
    pub fn enqueue(
        &self,
        sealed: SealedPart<F>,
        to: &InterfaceName,
        key: Option<(&Key, &Keyed)>,
    ) -> Result<(Job, Ticket), SpoolError> {
        self.enqueue_when(WhenFull::Wait, sealed, to, key)
    }

    /// The same, by whom may not wait for the disk too.
    ///
    /// # Errors
    /// As those of [`Spool::enqueue`]; also when the disk does not keep up, if that is not waited for.
    pub(super) fn enqueue_when(
        &self,
        when_full: WhenFull,
        sealed: SealedPart<F>,
        to: &InterfaceName,
        key: Option<(&Key, &Keyed)>,
    ) -> Result<(Job, Ticket), SpoolError> {
        let before = self.keyed(key)?;
        self.enqueue_between(when_full, sealed, to, before, Vec::new())
    }

    /// The same, with other files that are durable when the job is: those that get their names
    /// before it, and those that get them after it.
    ///
    /// # Errors
    /// As those of [`Spool::enqueue`]; the other files do not get their names either.
    pub(super) fn enqueue_between(
        &self,
        when_full: WhenFull,
        sealed: SealedPart<F>,
        to: &InterfaceName,
        before: Vec<(Op, PendingRename)>,
        after: Vec<(Op, PendingRename)>,
    ) -> Result<(Job, Ticket), SpoolError> {
        let queue = Queue::from(to);
        // Known before it is visible, so that the watcher does not take it for a foreign drop.
        self.set_arriving(&queue, &sealed.part.name);
        let name = sealed.part.name.clone();
        let place = Place::Queue(queue);
        let landed = self.land(when_full, sealed, (place, None), before, after);
        if let Err(error) = &landed {
            self.arrived(&name);
            tracing::error!(interface = %to, %error, "a job could not be accepted");
        }
        landed
    }

    /// Keeps a refused document in `joberrors`, apart from what has failed, its log first. Durable with the ticket.
    ///
    /// # Errors
    /// As those of [`Spool::enqueue`]; the log may be there without its document.
    pub fn refuse(
        &self,
        mut sealed: SealedPart<F>,
        log: JobLog,
        key: Option<(&Key, &Keyed)>,
    ) -> Result<(Job, Ticket), SpoolError> {
        let refused = self.ended(&sealed.part.name, Act::Refused)?;
        let refused = refused.with_error(log.reason());
        sealed.accepted.interface.clone_from(&log.interface);
        // Earlier in the journal than the job, so durable with it.
        let _ = self.write_log(log)?;
        self.day_dir(&Place::Refused.dir(&sealed.part.name))?;
        let before = self.keyed(key)?;
        let to = (Place::Refused, Some(refused));
        self.land(WhenFull::Wait, sealed, to, before, Vec::new())
    }

    /// Of a job that could not get its name although its record was made: removes what is left of
    /// it. Nothing was accepted.
    pub fn abandon(&self, job: &JobName, key: Option<&Key>) {
        // Best effort: recovery empties `tmp`, and drops records without a job.
        let _ = self.fs.unlink(&part_path(job));
        self.arrived(job);
        if let Some(key) = key {
            self.drop_record(key);
        }
    }

    /// The record of a key, to be named together with the job.
    ///
    /// # Errors
    /// As those of [`Spool::write_record`].
    pub(super) fn keyed(
        &self,
        key: Option<(&Key, &Keyed)>,
    ) -> Result<Vec<(Op, PendingRename)>, SpoolError> {
        let record = key.map(|(key, record)| self.write_record(key, record));
        Ok(Vec::from_iter(record.transpose()?))
    }

    /// A name that was given long ago is given anew.
    pub(super) fn dated(&self, name: &JobName) -> JobName {
        let age_ms = self.now_ms() - name.id().unix_ms();
        match age_ms > NAME_AGE_MS {
            true => name.with_id(self.next_id()),
            false => name.clone(),
        }
    }

    fn land(
        &self,
        when_full: WhenFull,
        sealed: SealedPart<F>,
        (place, ended): (Place, Option<Ended>),
        before: Vec<(Op, PendingRename)>,
        after: Vec<(Op, PendingRename)>,
    ) -> Result<(Job, Ticket), SpoolError> {
        let SealedPart {
            mut part,
            mut accepted,
        } = sealed;
        if let Some(interface) = place.interface() {
            accepted.interface = Some(interface.clone());
        }
        let from = part_path(&part.name);
        let to = place.path(&part.name);
        self.healthy()?;
        let (mut ops, mut renames): (Vec<_>, Vec<_>) = before.into_iter().unzip();
        let content = match &part.file {
            None => Some(Bytes::from(std::mem::take(&mut part.inline))),
            Some(_) => None,
        };
        ops.push(match content.clone() {
            None => Op::moved(&from, &to),
            Some(bytes) => Op::Put {
                path: text(&to),
                bytes,
            },
        });
        let told = ended.map(|ended| {
            let known = || Some(Arc::new(accepted.clone()));
            let event = self.event_of(&ended, accepted.interface.as_ref(), known);
            (ended, event)
        });
        ops.push(Op::Accepted(Box::new(accepted)));
        // Who is told that it ended knows already that it came, and to which interface.
        if let Some((ended, event)) = told {
            ops.push(Op::Ended(Box::new(ended)));
            ops.extend(event);
        }
        renames.push(PendingRename {
            from,
            to,
            how: How::New,
            content,
            step: Some(part.name.id()),
        });
        for (op, pending) in after {
            ops.push(op);
            renames.push(pending);
        }
        let ticket = self.publish_when(when_full, &ops, renames)?;
        // From now on its file is the committer's.
        part.file = None;
        let name = part.name.clone();
        Ok((Job { place, name }, ticket))
    }
}

/// Where a job is written before it gets its name.
pub(super) fn part_path(job: &JobName) -> PathBuf {
    Path::new("tmp").join(format!("{job}.part"))
}

impl<F: Fs> Part<F> {
    pub fn name(&self) -> &JobName {
        &self.name
    }

    /// Appends to the part. Touches no disk as long as the journal takes the part whole. Not synced.
    ///
    /// # Errors
    /// The part is of no use any more: drop it, which removes its file. The whole upload can be
    /// tried again.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
        if self.file.is_none() {
            self.inline.extend_from_slice(bytes);
            return match self.inline.len() <= INLINE_BYTES_MAX {
                true => Ok(()),
                false => self.spill(),
            };
        }
        self.write_out(bytes)
    }

    /// Makes its file, and writes to it what is in memory.
    fn spill(&mut self) -> Result<(), SpoolError> {
        let path = part_path(&self.name);
        let file = self.spool.fs.create(&path);
        self.file = Some(file.map_err(wrap("create", &path))?);
        let inline = std::mem::take(&mut self.inline);
        self.write_out(&inline)
    }

    fn write_out(&self, bytes: &[u8]) -> Result<(), SpoolError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let written = self.spool.fs.write(file, bytes);
        written.map_err(wrap("write", &part_path(&self.name)))
    }

    /// The SHA-256 of what has been written, as 64 hex digits.
    pub fn sha256(&self) -> String {
        hex::encode(self.sha256.clone().finalize())
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Syncs what the journal does not take whole, and names the job anew if it has its name for
    /// long. After an error the part is gone and nothing was accepted.
    ///
    /// # Errors
    /// When what is large cannot be synced.
    pub fn seal(mut self, job: &NewJob) -> Result<SealedPart<F>, SpoolError> {
        let name = self.spool.dated(&self.name);
        if let Some(file) = &self.file {
            let path = part_path(&self.name);
            self.spool.sync_file(file, &path)?;
            if name != self.name {
                let renamed = self.spool.fs.rename(&path, &part_path(&name));
                renamed.map_err(wrap("rename", &path))?;
            }
        }
        self.name = name;
        if self.file.is_some() {
            // A replay looks for it there.
            self.spool.sync_dir(Path::new("tmp"))?;
        }
        let (came, received_ms) = (job.came.clone(), self.spool.now_ms());
        let mut accepted = Accepted::new(self.name.clone(), came, received_ms);
        accepted.dialect.clone_from(&job.dialect);
        accepted.submitter.clone_from(&job.submitter);
        accepted.asked_as.clone_from(&job.asked_as);
        accepted
            .reference_as_sent
            .clone_from(&job.reference_as_sent);
        accepted.order_key.clone_from(&job.order_key);
        accepted.bytes = self.bytes;
        accepted.sha256 = Some(self.sha256());
        let accepted = accepted.on(&job.options);
        Ok(SealedPart {
            part: self,
            accepted,
        })
    }
}

impl Part {
    /// What has been written, from its first byte on.
    ///
    /// # Errors
    /// When it cannot be read back.
    pub(super) fn reader(&self) -> io::Result<Box<dyn Read + Send>> {
        if self.file.is_none() {
            return Ok(Box::new(Cursor::new(self.inline.clone())));
        }
        let path = self.spool.fs.absolute(&part_path(&self.name));
        Ok(Box::new(plain::open(&path, Links::Follow)?))
    }
}

impl<F: Fs> SealedPart<F> {
    pub fn name(&self) -> &JobName {
        &self.part.name
    }

    pub fn bytes(&self) -> u64 {
        self.part.bytes
    }

    /// When all of it was here, in milliseconds of the Unix epoch.
    pub(super) fn received_ms(&self) -> i64 {
        self.accepted.received_ms
    }

    pub fn sha256(&self) -> &str {
        self.accepted.sha256.as_deref().unwrap_or_default()
    }
}

impl<F: Fs> Drop for Part<F> {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Best effort: recovery empties `tmp`.
            let _ = self.spool.fs.unlink(&part_path(&self.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{START_MS, TestSpool};
    use super::*;
    use crate::domain::Kind;
    use std::sync::atomic::{AtomicI64, Ordering};

    #[test]
    fn an_upload_that_took_long_is_named_when_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let interface: InterfaceName = "a".parse().unwrap();
        let now = Arc::new(AtomicI64::new(START_MS));
        let clock = now.clone();
        let spool = TestSpool::at(dir.path())
            .interface("a")
            .clock(move || clock.load(Ordering::Relaxed));
        let spool = spool.open().unwrap();
        let large = "a".repeat(INLINE_BYTES_MAX + 1);
        for (took_ms, text, again) in [
            (NAME_AGE_MS, "<a/>", false),
            (NAME_AGE_MS + 1, "<a/>", true),
            (NAME_AGE_MS + 1, &large, true),
        ] {
            let reference = crate::domain::Reference::reduce("r");
            let name = JobName::new(spool.next_id(), reference, Kind::Xml);
            let mut part = spool.begin(name.clone()).unwrap();
            part.write(text.as_bytes()).unwrap();
            now.fetch_add(took_ms, Ordering::Relaxed);
            let sealed = part.seal(&NewJob::default()).unwrap();
            let is_file = dir.path().join(part_path(sealed.name())).exists();
            assert_eq!(is_file, text.len() > INLINE_BYTES_MAX);
            let (job, _) = spool.enqueue(sealed, &interface, None).unwrap();
            assert_eq!(job.name != name, again);
            assert_eq!(job.name.reference(), Some("r"));
            let accepted = spool.accepted_of(&job).unwrap().unwrap();
            let n_bytes = text.len() as u64;
            assert_eq!((&accepted.job, accepted.bytes), (&job.name, n_bytes));
            assert_eq!(spool.received_ms(&job), spool.now_ms());
            assert_eq!(spool.bytes_of(&job).unwrap(), Some(n_bytes));
        }
    }
}
