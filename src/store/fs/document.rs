//! The document that a command works on, and what has become of the job's own file meanwhile.
//!
//! A command gets a file of its run's directory: a copy of a small document, or where the filesystem
//! shares the bytes of two files; else another name of the job's file, made read-only. Whatever the
//! command does to it, the job's own file is looked at in the end. One that was taken away or
//! replaced is restored from the descriptor that we have kept. One whose bytes were changed is no
//! longer what was accepted, so the job fails, and its log says why.

use super::{Adopted, EntryKind, Fs, Op, Spool, SpoolError, Stat, wrap};
use crate::domain::{JobName, Place};
use crate::store::{Fate, fs::PlacePath};
use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

/// The rights of a file that we make.
const FILE_MODE: u32 = 0o640;

/// A job's document as its command was given it.
pub(super) struct Document<F: Fs> {
    file: F::File,
    stat: Stat,
    /// As it was accepted, if that is known.
    sha256: Option<String>,
    /// The file's rights, if the command works on another name of it.
    pub(super) mode: Option<u32>,
}

impl<F: Fs> Document<F> {
    /// Is this the job's own file, by another name?
    pub(super) fn is(&self, stat: &Stat) -> bool {
        stat.inode == self.stat.inode
    }
}

impl<F: Fs> Spool<F> {
    /// Lays out the document of a job in `work` for its command, as `to`.
    ///
    /// # Errors
    /// When it cannot be opened or copied. The command is not started; the job's own file is as it
    /// was.
    pub(super) fn lay_document(
        &self,
        path: &Path,
        sha256: Option<String>,
        to: &Path,
    ) -> Result<Document<F>, SpoolError> {
        let file = self.fs.update(path).map_err(wrap("open", path))?;
        let mode = self.fs.scratch(path, to).map_err(wrap("copy", path))?;
        // After that, since another name is a change.
        let stat = self.stat(path)?;
        let stat = stat.ok_or_else(|| wrap("look at", path)(io::ErrorKind::NotFound.into()));
        Ok(Document {
            file,
            stat: stat?,
            sha256,
            mode,
        })
    }

    /// The document of a run that outlived its service. It was changed if it was written to since the
    /// run began, unless its bytes are those that were accepted.
    ///
    /// # Errors
    /// When the job's file cannot be opened, as when it was moved away: there is nothing to
    /// compare.
    pub(super) fn earlier_document(&self, adopted: &Adopted) -> Result<Document<F>, SpoolError> {
        let job = adopted.job();
        let path = job.place.path(&job.name);
        let file = self.fs.update(&path).map_err(wrap("open", &path))?;
        let stat = self.stat(&path)?;
        let mut stat =
            stat.ok_or_else(|| wrap("look at", &path)(io::ErrorKind::NotFound.into()))?;
        // Its other name is the one that the command works on.
        let mode = (stat.links > 1).then_some(FILE_MODE);
        let (_, begun_ms) = self.run_of(adopted);
        if let Some(begun_ms) = begun_ms.filter(|begun_ms| *begun_ms < stat.modified_ms) {
            stat.changed_ns = 0;
            stat.modified_ms = begun_ms;
        }
        let sha256 = self.known_of(&job).and_then(|known| known.sha256.clone());
        Ok(Document {
            file,
            stat,
            sha256,
            mode,
        })
    }

    /// Has a command that was cut off changed the bytes of the job's own file?
    ///
    /// # Errors
    /// When that cannot be looked up: it is not known then, so the job must not be settled.
    pub(super) fn was_changed(&self, adopted: &Adopted) -> Result<bool, SpoolError> {
        let (name, path) = (&adopted.name, adopted.job().place.path(&adopted.name));
        if self.stat(&path)?.is_none() {
            return Ok(false);
        }
        let document = self.earlier_document(adopted)?;
        Ok(self.fate_of(&document, name, &path)? == Fate::Changed)
    }

    /// Looks at the file of a job in `work` after its command, and restores it if need be.
    ///
    /// # Errors
    /// When the file cannot be read or restored. The job stays in `work`, and this can be called
    /// again with the same document.
    pub(super) fn fate_of(
        &self,
        document: &Document<F>,
        name: &JobName,
        path: &Path,
    ) -> Result<Fate, SpoolError> {
        match self.stat(path)? {
            Some(stat) if stat.inode == document.stat.inode => {
                let is_whole = self.is_unchanged(document, &stat, path)?;
                if let Some(mode) = document.mode {
                    // Where this fails, it stays read-only, which hinders no later step.
                    let _ = self.fs.set_mode(&document.file, mode);
                }
                return Ok(if is_whole { Fate::Whole } else { Fate::Changed });
            }
            None if self.is_elsewhere(document, name)? => return Ok(Fate::Moved),
            None => {}
            // Not what the job is.
            Some(_) => self.clear(path),
        }
        self.restore(document, name, path)
    }

    fn is_unchanged(
        &self,
        document: &Document<F>,
        stat: &Stat,
        path: &Path,
    ) -> Result<bool, SpoolError> {
        let before = &document.stat;
        let same_bytes = stat.bytes == before.bytes && stat.modified_ms == before.modified_ms;
        if same_bytes && stat.changed_ns == before.changed_ns {
            return Ok(true);
        }
        match &document.sha256 {
            // Rights, owners and names may change; moments can be set back.
            Some(sha256) => Ok(self.fs.digest(path).map_err(wrap("read", path))? == *sha256),
            None => Ok(same_bytes),
        }
    }

    /// Is the job in another place of the spool, be it under another name?
    fn is_elsewhere(&self, document: &Document<F>, name: &JobName) -> Result<bool, SpoolError> {
        match self.find(name)? {
            Some(
                Place::Bak(_)
                | Place::Deferred { .. }
                | Place::JobErrors
                | Place::Queue(_)
                | Place::Refused,
            ) => return Ok(true),
            Some(Place::Work { .. }) | None => {}
        }
        let of_interfaces = ["queue", "deferred", "work", "bak"].into_iter();
        let dirs = of_interfaces.flat_map(|state| {
            let interfaces = self.interfaces();
            (interfaces.into_iter()).map(move |interface| Path::new(state).join(interface.as_str()))
        });
        for dir in dirs.chain([PathBuf::from("joberrors")]) {
            let mut names = Vec::new();
            let each = &mut |entry: &OsStr, kind| {
                if kind == EntryKind::File {
                    names.push(dir.join(entry));
                }
            };
            self.fs.list(&dir, each).map_err(wrap("list", &dir))?;
            for path in names {
                let stat = self.stat(&path)?;
                if stat.is_some_and(|stat| stat.inode == document.stat.inode) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Puts the document back, from the open descriptor, which no other process can take away.
    fn restore(
        &self,
        document: &Document<F>,
        name: &JobName,
        path: &Path,
    ) -> Result<Fate, SpoolError> {
        let part = Path::new("tmp").join(format!("{name}.part"));
        // Of an earlier try.
        match self.fs.unlink(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(wrap("remove", &part)(error));
            }
            Ok(()) | Err(_) => {}
        }
        let copied = self.fs.copy_open(&document.file, &part);
        let copied = copied.map_err(wrap("copy", path))?;
        self.sync_file(&copied, &part)?;
        self.sync_dir(Path::new("tmp"))?;
        let is_whole = match &document.sha256 {
            Some(sha256) => self.fs.digest(&part).map_err(wrap("read", &part))? == *sha256,
            None => self
                .stat(&part)?
                .is_some_and(|stat| stat.bytes == document.stat.bytes),
        };
        let op = Op::moved(&part, path);
        let renamed = self.record(&[op], || self.fs.rename(&part, path));
        let ((), ticket) = renamed.map_err(wrap("restore", path))?;
        self.wait(ticket)?;
        Ok(if is_whole {
            Fate::Restored
        } else {
            Fate::Changed
        })
    }
}
