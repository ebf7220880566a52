//! Accepting a job: a part in `tmp`, sealed, then moved into its queue, or kept in `joberrors`.
//!
//! Only [`Part::seal`] makes a [`Sealed`], and only a `Sealed` can become a job. A part that is
//! dropped removes its file; one that a crash leaves is removed at the next start.

use super::{Fs, RealFs, Spool, SpoolError, wrap};
use crate::{
    job::{InterfaceName, Job, JobName, Place},
    joblog::JobLog,
};
use sha2::{Digest, Sha256};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// What the gateway knows of a job when it accepts it; kept as extended attributes of its file.
/// They are advice: lost by a careless copy, the job still runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub dialect: String,
    pub interface: Option<InterfaceName>,
    pub submitter: String,
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
}

/// Proof that the bytes and attributes of a part are on disk.
#[must_use]
pub struct Sealed<F: Fs = RealFs> {
    part: Part<F>,
    sha256: String,
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
        })
    }

    /// The commit point: when this returns, the job survives a power cut.
    pub fn enqueue(&self, sealed: Sealed<F>, to: &InterfaceName) -> Result<Job, SpoolError> {
        // Known before it is visible, so that the watcher does not take it for a foreign drop.
        self.set_ready(to, &sealed.part.name);
        let landed = self.land(sealed, Place::Queue(to.clone()));
        if let Err(error) = &landed {
            tracing::error!(interface = %to, %error, "a job could not be accepted");
        }
        landed
    }

    /// Keeps a refused document in `joberrors`, its log first.
    pub fn refuse(&self, sealed: Sealed<F>, log: JobLog) -> Result<Job, SpoolError> {
        self.write_log(log)?;
        self.day_dir(&Place::JobErrors.dir(&sealed.part.name))?;
        self.land(sealed, Place::JobErrors)
    }

    fn land(&self, sealed: Sealed<F>, place: Place) -> Result<Job, SpoolError> {
        let mut part = sealed.part;
        let from = part.path().to_owned();
        let to = place.path(&part.name);
        self.healthy()?;
        if let Err(error) = self.fs.rename(&from, &to) {
            if error.kind() != std::io::ErrorKind::NotFound || self.stat(&from)?.is_none() {
                return Err(wrap("publish", &to)(error));
            }
            self.restore_dirs()?;
            self.fs.rename(&from, &to).map_err(wrap("publish", &to))?;
        }
        part.path = None;
        self.moves.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.sync_dir(&place.dir(&part.name))?;
        Ok(Job {
            place,
            name: part.name.clone(),
        })
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
        Ok(())
    }

    /// The SHA-256 of what has been written, as 64 hex digits.
    pub fn sha256(&self) -> String {
        hex(&self.sha256.clone().finalize())
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sets the attributes and syncs. After an error the part is gone and nothing was accepted.
    pub fn seal(self, attributes: &Attributes) -> Result<Sealed<F>, SpoolError> {
        let sha256 = self.sha256();
        let interface = attributes.interface.as_ref().map_or("", |i| i.as_str());
        for (name, value) in [
            ("dialect", attributes.dialect.as_str()),
            ("interface", interface),
            ("received", &self.spool.now_ms().to_string()),
            ("sha256", &sha256),
            ("submitter", &attributes.submitter),
        ] {
            self.spool
                .fs
                .set_attribute(&self.file, name, value)
                .map_err(wrap("set attribute of", self.path()))?;
        }
        self.spool.sync_file(&self.file, self.path())?;
        Ok(Sealed { part: self, sha256 })
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

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
