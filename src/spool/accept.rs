//! Accepting a job: a part in `tmp`, sealed, then moved into its queue, or kept in `joberrors`.
//!
//! Only [`Part::seal`] makes a [`Sealed`], and only a `Sealed` can become a job. A part that is
//! dropped removes its file; one that a crash leaves is removed at the next start.

use super::{
    Attrs, Fs, How, INLINE_BYTES_MAX, IdemKey, IdemRecord, Naming, Op, RealFs, Spool, SpoolError,
    Ticket, text, wrap,
};
use crate::{
    job::{InterfaceName, Job, JobName, Place, Terms, hex},
    joblog::JobLog,
};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// What the gateway knows of a job when it accepts it. It is advice: lost by a careless copy, the
/// job still runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub dialect: String,
    pub interface: Option<InterfaceName>,
    pub submitter: String,
    pub terms: Terms,
}

/// The attribute that holds dialect, checksum and submitter of an accepted job. They are one, and
/// short, because what fits into the inode costs no block of its own.
const ACCEPTED: &str = "job";

/// `<dialect> <SHA-256 in base64> <submitter>`
fn accepted(attributes: &Attributes, sha256: &[u8]) -> String {
    let sha256 = STANDARD_NO_PAD.encode(sha256);
    format!("{} {sha256} {}", attributes.dialect, attributes.submitter)
}

/// One of the values in an [`ACCEPTED`] attribute, by its name.
fn value_of(accepted: &str, name: &str) -> Option<String> {
    let mut values = accepted.splitn(3, ' ');
    let (dialect, sha256, submitter) = (values.next()?, values.next()?, values.next()?);
    match name {
        "dialect" => Some(dialect.to_owned()),
        "sha256" => Some(hex(&STANDARD_NO_PAD.decode(sha256).ok()?)),
        "submitter" => Some(submitter.to_owned()),
        _ => None,
    }
}

/// A job being written. No scan ever sees it.
#[must_use]
pub struct Part<F: Fs = RealFs> {
    spool: Arc<Spool<F>>,
    name: JobName,
    path: Option<PathBuf>,
    file: F::File,
    bytes: u64,
    sha256: Sha256,
    /// All that was written, as long as the journal takes it whole.
    inline: Option<Vec<u8>>,
}

/// Proof that the bytes and attributes of a part are on disk, or few enough to be recorded whole.
#[must_use]
pub struct Sealed<F: Fs = RealFs> {
    part: Part<F>,
    sha256: String,
    attributes: Attrs,
}

impl<F: Fs> Spool<F> {
    /// Begins a job under `tmp`.
    pub fn begin(self: &Arc<Self>, name: JobName) -> Result<Part<F>, SpoolError> {
        self.healthy()?;
        let path = Path::new("tmp").join(format!("{name}.part"));
        let file = self.fs.create(&path).map_err(wrap("create", &path))?;
        Ok(Part {
            spool: self.clone(),
            name,
            path: Some(path),
            file,
            bytes: 0,
            sha256: Sha256::new(),
            inline: Some(Vec::new()),
        })
    }

    /// Publishes a job. It is accepted, and survives a power cut, once the ticket is durable.
    pub fn enqueue(
        &self,
        sealed: Sealed<F>,
        to: &InterfaceName,
        key: Option<(&IdemKey, &IdemRecord)>,
    ) -> Result<(Job, Ticket), SpoolError> {
        let beside = self.keyed(key)?;
        self.enqueue_beside(sealed, to, beside)
    }

    /// The same, with other files that are durable when the job is.
    pub(super) fn enqueue_beside(
        &self,
        sealed: Sealed<F>,
        to: &InterfaceName,
        beside: Vec<(Op, Naming)>,
    ) -> Result<(Job, Ticket), SpoolError> {
        // Known before it is visible, so that the watcher does not take it for a foreign drop.
        self.set_arriving(to, &sealed.part.name);
        let landed = self.land(sealed, Place::Queue(to.clone()), beside);
        if let Err(error) = &landed {
            tracing::error!(interface = %to, %error, "a job could not be accepted");
        }
        landed
    }

    /// An attribute of a job's file; `None` when it has none or is not there.
    pub fn attribute_of(&self, job: &Job, name: &str) -> Option<String> {
        let path = job.place.path(&job.name);
        let attribute = |name| self.fs.attribute(&path, name).ok().flatten();
        attribute(name).or_else(|| value_of(&attribute(ACCEPTED)?, name))
    }

    /// Keeps a refused document in `joberrors`, its log first. Durable with the ticket.
    pub fn refuse(
        &self,
        sealed: Sealed<F>,
        log: JobLog,
        key: Option<(&IdemKey, &IdemRecord)>,
    ) -> Result<(Job, Ticket), SpoolError> {
        // Earlier in the journal than the job, so durable with it.
        let _ = self.write_log(log)?;
        self.day_dir(&Place::JobErrors.dir(&sealed.part.name))?;
        let beside = self.keyed(key)?;
        self.land(sealed, Place::JobErrors, beside)
    }

    pub(super) fn keyed(
        &self,
        key: Option<(&IdemKey, &IdemRecord)>,
    ) -> Result<Vec<(Op, Naming)>, SpoolError> {
        let record = key.map(|(key, record)| self.write_record(key, record));
        Ok(Vec::from_iter(record.transpose()?))
    }

    fn land(
        &self,
        sealed: Sealed<F>,
        place: Place,
        beside: Vec<(Op, Naming)>,
    ) -> Result<(Job, Ticket), SpoolError> {
        let mut part = sealed.part;
        let from = part.path().to_owned();
        let to = place.path(&part.name);
        self.healthy()?;
        let (mut ops, mut namings): (Vec<_>, Vec<_>) = beside.into_iter().unzip();
        ops.push(match part.inline.take() {
            None => Op::moved(&from, &to),
            Some(bytes) => Op::Put {
                path: text(&to),
                bytes,
                attributes: sealed.attributes,
            },
        });
        namings.push(Naming {
            from,
            to,
            how: How::New,
        });
        let ticket = self.publish(&ops, namings)?;
        part.path = None;
        let name = part.name.clone();
        Ok((Job { place, name }, ticket))
    }
}

impl<F: Fs> Part<F> {
    pub fn name(&self) -> &JobName {
        &self.name
    }

    /// The part's file, relative to the spool.
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.spool
            .fs
            .write(&self.file, bytes)
            .map_err(wrap("write", self.path()))?;
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
        if self.bytes > INLINE_BYTES_MAX as u64 {
            self.inline = None;
        } else if let Some(inline) = &mut self.inline {
            inline.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// The SHA-256 of what has been written, as 64 hex digits.
    pub fn sha256(&self) -> String {
        hex(&self.sha256.clone().finalize())
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sets the attributes, and syncs what the journal does not take whole. After an error the
    /// part is gone and nothing was accepted.
    pub fn seal(self, attributes: &Attributes) -> Result<Sealed<F>, SpoolError> {
        let sha256 = self.sha256.clone().finalize();
        let mut all = vec![(ACCEPTED.to_owned(), accepted(attributes, &sha256))];
        if self.inline.is_none() {
            // Its name is older than its last byte.
            all.push(("received".to_owned(), self.spool.now_ms().to_string()));
        }
        if let Some(interface) = &attributes.interface {
            // Of a job that goes to `joberrors`, whose path does not say.
            all.push(("interface".to_owned(), interface.to_string()));
        }
        let terms = attributes.terms.attributes().into_iter();
        all.extend(terms.map(|(name, value)| (name.to_owned(), value)));
        let (sha256, attributes) = (hex(&sha256), all);
        self.spool.set_all(&self.file, self.path(), &attributes)?;
        if self.inline.is_none() {
            self.spool.sync_file(&self.file, self.path())?;
            // A replay looks for it there.
            self.spool.sync_dir(Path::new("tmp"))?;
        }
        Ok(Sealed {
            part: self,
            sha256,
            attributes,
        })
    }
}

impl<F: Fs> Sealed<F> {
    pub fn name(&self) -> &JobName {
        &self.part.name
    }

    pub fn bytes(&self) -> u64 {
        self.part.bytes
    }

    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

impl<F: Fs> Drop for Part<F> {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            // Best effort: recovery empties `tmp`.
            let _ = self.spool.fs.unlink(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_an_accepted_job_reads_back_and_is_short() {
        let attributes = Attributes {
            dialect: "dstore".into(),
            interface: None,
            submitter: "admin".into(),
            terms: Terms::default(),
        };
        let text = accepted(&attributes, &Sha256::digest("x"));
        // What an ext4 inode of the usual size has room for.
        assert!(text.len() <= 56, "{text}");
        let value = |name| value_of(&text, name);
        assert_eq!(value("dialect").as_deref(), Some("dstore"));
        assert_eq!(value("submitter").as_deref(), Some("admin"));
        assert_eq!(value("sha256"), Some(hex(&Sha256::digest("x"))));
        assert_eq!(value("interface"), None);
        assert_eq!(value_of("torn", "submitter"), None);
    }
}
