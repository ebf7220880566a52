//! The directory that jobs are delivered into, and what is known about each of them.
//!
//! The directory is the state here too. A job's marker, an empty file with its name, lies in one
//! of three directories of `<to>/.spoolgate-poll/<interface>/`, and the bytes in one of two:
//!
//! | marker in | bytes in | means | after a crash |
//! |---|---|---|---|
//! | nowhere | nowhere | not asked for yet | the server still lists it |
//! | `intents` | perhaps part of them in `parts` | being fetched | fetched again, by name |
//! | `whole` | `parts` | complete and durable | handed over |
//! | `whole` | not in `parts` | handed over | marked so |
//! | `delivered` | `<to>`, or wherever they were taken | done | skipped while the server lists it |
//!
//! The intent is durable before the first byte is asked for, because the server files a job away
//! as soon as it was fetched completely and from then on no longer lists it. Handing over is one
//! rename that takes the bytes out of `parts`, so a job is not delivered twice even if someone
//! took the file away immediately. A file in `todo` means that a command has yet to succeed for a
//! delivered job. Each step is durable before the next begins; jobs that are fetched together take it together, and
//! wait for each directory once.
//!
//! Invariant: a file under its final name in `<to>` is whole.

use super::files::Files;
use crate::domain::{EXTENSIONS, InterfaceName, JobName};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

pub(super) const STATE_DIR: &str = ".spoolgate-poll";

pub(super) struct Inbox<F> {
    files: F,
    delivered: PathBuf,
    intents: PathBuf,
    parts: PathBuf,
    to: PathBuf,
    todo: PathBuf,
    whole: PathBuf,
}

impl<F: Files> Inbox<F> {
    /// Makes the directories and removes what a crash left of a marker's move.
    pub(super) fn open(files: F, to: &Path, interface: &InterfaceName) -> io::Result<Self> {
        let root = to.join(STATE_DIR).join(interface.as_str());
        let inbox = Self {
            files,
            delivered: root.join("delivered"),
            intents: root.join("intents"),
            parts: root.join("parts"),
            to: to.to_owned(),
            todo: root.join("todo"),
            whole: root.join("whole"),
        };
        for dir in [
            &inbox.delivered,
            &inbox.intents,
            &inbox.parts,
            &inbox.todo,
            &inbox.whole,
        ] {
            inbox.files.create_dir(dir)?;
        }
        for dir in [root.as_path(), &to.join(STATE_DIR), to] {
            inbox.files.sync_dir(dir)?;
        }
        inbox.keep_later_markers()?;
        Ok(inbox)
    }

    /// Where a marker lies in two directories, the later state is true.
    fn keep_later_markers(&self) -> io::Result<()> {
        for (early, later) in [
            (&self.whole, &self.delivered),
            (&self.intents, &self.delivered),
            (&self.intents, &self.whole),
        ] {
            for job in self.jobs(early)? {
                if self.files.exists(&at(later, &job))? {
                    self.files.remove(&at(early, &job))?;
                }
            }
        }
        Ok(())
    }

    /// Jobs that were asked for and are not complete.
    pub(super) fn intended(&self) -> io::Result<BTreeSet<JobName>> {
        self.jobs(&self.intents)
    }

    /// Jobs that are complete and not marked as delivered.
    pub(super) fn complete(&self) -> io::Result<BTreeSet<JobName>> {
        self.jobs(&self.whole)
    }

    pub(super) fn delivered(&self) -> io::Result<BTreeSet<JobName>> {
        self.jobs(&self.delivered)
    }

    /// Delivered jobs whose command has not succeeded yet.
    pub(super) fn to_do(&self) -> io::Result<BTreeSet<JobName>> {
        let delivered = self.delivered()?;
        let to_do = self.jobs(&self.todo)?;
        Ok(to_do.intersection(&delivered).cloned().collect())
    }

    /// Where the file is; `None`: someone took it.
    pub(super) fn file(&self, job: &JobName) -> io::Result<Option<PathBuf>> {
        self.first_in(&self.to, job)
    }

    /// The file of a job in a directory, under one of the names that it can have.
    fn first_in(&self, dir: &Path, job: &JobName) -> io::Result<Option<PathBuf>> {
        for name in names(job) {
            let path = dir.join(name);
            if self.files.exists(&path)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Before anything is asked of the server about these jobs.
    pub(super) fn intend(&self, jobs: &[JobName]) -> io::Result<()> {
        self.mark(&self.intents, jobs)
    }

    /// A fresh place for the bytes of an intended job.
    pub(super) fn begin(&self, job: &JobName) -> io::Result<F::Part> {
        for name in names(job) {
            self.files.remove(&self.parts.join(name))?;
        }
        self.files.create(&at(&self.parts, job))
    }

    pub(super) fn append(&self, part: &mut F::Part, bytes: &[u8]) -> io::Result<()> {
        self.files.append(part, bytes)
    }

    /// The bytes of a job are all there and right: makes them durable. `extension`: the file is to be called so.
    pub(super) fn keep(
        &self,
        job: &JobName,
        part: F::Part,
        extension: Option<&str>,
    ) -> io::Result<()> {
        self.files.sync(&part)?;
        drop(part);
        match extension {
            None => Ok(()),
            Some(extension) => {
                let called = self.parts.join(job.with_extension(extension));
                self.files.rename_new(&at(&self.parts, job), &called)
            }
        }
    }

    /// The bytes of these jobs are kept.
    pub(super) fn completed(&self, jobs: &[JobName]) -> io::Result<()> {
        self.files.sync_dir(&self.parts)?;
        self.move_markers(&self.intents, &self.whole, jobs)
    }

    /// Commands are to run for these jobs, which are complete.
    pub(super) fn command(&self, jobs: &[JobName]) -> io::Result<()> {
        self.mark(&self.todo, jobs)
    }

    /// Gives a complete job its final name, and says it.
    pub(super) fn hand_over(&self, job: &JobName) -> io::Result<PathBuf> {
        let part = self.first_in(&self.parts, job)?;
        let name = part.as_deref().and_then(Path::file_name);
        let file = name.map_or_else(|| at(&self.to, job), |name| self.to.join(name));
        if let Some(part) = part {
            match self.files.rename_new(&part, &file) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    if !self.files.same(&part, &file)? {
                        return Err(io::Error::other(format!(
                            "a different file is in the way; move {} away",
                            file.display()
                        )));
                    }
                    self.files.remove(&part)?;
                }
                other => other?,
            }
        }
        Ok(file)
    }

    /// These jobs have their final names.
    pub(super) fn handed_over(&self, jobs: &[JobName]) -> io::Result<()> {
        self.files.sync_dir(&self.to)?;
        self.files.sync_dir(&self.parts)?;
        self.move_markers(&self.whole, &self.delivered, jobs)
    }

    /// The command has succeeded.
    pub(super) fn done(&self, job: &JobName) -> io::Result<()> {
        self.files.remove(&at(&self.todo, job))?;
        self.files.sync_dir(&self.todo)
    }

    /// Forgets a delivered job that the server no longer lists. A removal that a power cut takes
    /// back is made again.
    pub(super) fn forget(&self, job: &JobName) -> io::Result<()> {
        let marker = at(&self.delivered, job);
        self.files.remove(&marker).map_err(with_path(&marker))
    }

    /// Foreign names in a state directory are left alone.
    fn jobs(&self, dir: &Path) -> io::Result<BTreeSet<JobName>> {
        let names = self.files.list(dir).map_err(with_path(dir))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// A marker is empty: there is nothing of it to be synced but its name.
    fn mark(&self, dir: &Path, jobs: &[JobName]) -> io::Result<()> {
        for job in jobs {
            let marker = at(dir, job);
            if !self.files.exists(&marker)? {
                self.files.create(&marker)?;
            }
        }
        self.files.sync_dir(dir)
    }

    fn move_markers(&self, from: &Path, to: &Path, jobs: &[JobName]) -> io::Result<()> {
        for job in jobs {
            self.files.rename_new(&at(from, job), &at(to, job))?;
        }
        // The later state first: in between, a crash shows both, and the later one counts.
        self.files.sync_dir(to)?;
        self.files.sync_dir(from)
    }
}

/// The same error with the path that it is about.
fn with_path(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The names that the file of a job can have.
fn names(job: &JobName) -> impl Iterator<Item = String> {
    let others = EXTENSIONS.map(|(_, extension)| job.with_extension(extension));
    std::iter::once(job.to_string()).chain(others)
}

fn at(dir: &Path, job: &JobName) -> PathBuf {
    dir.join(job.to_string())
}
