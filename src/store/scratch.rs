//! The directory in which a run works, of engines that have none of their own for it: made when a job is taken, read
//! when it is done, gone with its lease. What is said in it is locked as long as anything works on the run.

use super::{Result, StoreError, Workspace};
use crate::domain::{InterfaceName, JobName};
use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const VARIABLES: &str = "result.json";
const PREFIX: &str = "run-";
const OUTPUT: &str = "output";
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) struct Scratch(TempDir);

/// What a processor has left.
#[derive(Default)]
pub(super) struct Left {
    pub(super) results: BTreeMap<String, Bytes>,
    pub(super) variables: Map<String, Value>,
    pub(super) emitted: Vec<Emitted>,
}

/// Documents for an interface.
pub(super) struct Emitted {
    pub(super) to: InterfaceName,
    /// The directory in which they lie there, `@` and the name of a user.
    #[cfg_attr(
        not(feature = "cluster"),
        expect(dead_code, reason = "the engine in memory has no users")
    )]
    pub(super) dir: Option<String>,
    /// By the names of their files.
    pub(super) files: BTreeMap<String, Bytes>,
}

impl Scratch {
    pub(super) fn new(below: &Path) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(below);
        Ok(Self(dir?))
    }

    /// What the processor says is kept here.
    pub(super) fn output(&self) -> PathBuf {
        self.0.path().join(OUTPUT)
    }

    /// All that a processor is given.
    pub(super) fn workspace(
        &self,
        job: &JobName,
        document: &[u8],
        params: Option<&str>,
    ) -> io::Result<Workspace> {
        let dir = self.0.path().to_owned();
        let path = dir.join(job.to_string());
        fs::write(&path, document)?;
        fs::create_dir(dir.join("results"))?;
        fs::create_dir(dir.join("emit"))?;
        fs::write(dir.join("params.json"), params.unwrap_or("{}"))?;
        let new = |path: &Path| {
            let mut new = fs::File::options();
            new.read(true).append(true).create_new(true).open(path)
        };
        let output = new(&self.output())?;
        flock(&output, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Workspace {
            document: fs::File::open(&path)?,
            output,
            errors: new(&dir.join("errors"))?,
            kept: None,
            path,
            dir,
        })
    }

    /// What a processor has left, and what is to be said of it although it can be published.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when it cannot.
    pub(super) fn check(&self) -> Result<(Left, Option<String>)> {
        let left = self.left()?;
        let written = fs::read(self.0.path().join("results").join(VARIABLES));
        let is_object = |bytes: &Vec<u8>| serde_json::from_slice::<Map<_, Value>>(bytes).is_ok();
        let is_used = written.as_ref().map_or(true, is_object);
        let said = (!is_used).then(|| format!("{VARIABLES} is not used: it is no JSON object"));
        Ok((left, said))
    }

    /// What a processor has left.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when it cannot be published.
    pub(super) fn left(&self) -> Result<Left> {
        let mut results = files_of(&self.0.path().join("results"))?;
        let variables = results.remove(VARIABLES);
        let variables = variables.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut emitted = Vec::new();
        for entry in entries(&self.0.path().join("emit"))? {
            let interface = entry.file_name().to_string_lossy().parse();
            let to: InterfaceName = interface
                .map_err(|_| StoreError::Refused("emit has what is no interface".into()))?;
            let name = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
            let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
            let is_of_user = |entry: &fs::DirEntry| name(entry).starts_with('@') && is_dir(entry);
            let (of_users, own): (Vec<_>, Vec<_>) =
                entries(&entry.path())?.into_iter().partition(is_of_user);
            for entry in of_users {
                emitted.push(Emitted {
                    to: to.clone(),
                    dir: Some(name(&entry)),
                    files: files_of(&entry.path())?,
                });
            }
            let files = files_among(own)?;
            if !files.is_empty() {
                let dir = None;
                emitted.push(Emitted { to, dir, files });
            }
        }
        Ok(Left {
            results,
            variables: variables.unwrap_or_default(),
            emitted,
        })
    }
}

/// Makes the directory for the runs, without those that an earlier process has left in it. What still works on one is
/// waited for, for so long. Blocks.
///
/// # Errors
/// When it works still, or a directory cannot be made or removed.
pub(super) fn clear(below: &Path, patience: Duration) -> io::Result<()> {
    fs::create_dir_all(below)?;
    let until = Instant::now() + patience;
    for entry in fs::read_dir(below)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        while is_locked(&entry.path().join(OUTPUT))? {
            if until < Instant::now() {
                let text = format!(
                    "a command of an earlier service still works in {}",
                    entry.path().display()
                );
                return Err(io::Error::other(text));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        fs::remove_dir_all(entry.path())?;
    }
    Ok(())
}

fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn unreadable(error: io::Error) -> StoreError {
    StoreError::Unavailable(format!("what the processor left cannot be read: {error}"))
}

/// Those of a directory; none where there is no such one.
fn entries(dir: &Path) -> Result<Vec<fs::DirEntry>> {
    let listed = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(unreadable)?,
    };
    listed.collect::<io::Result<_>>().map_err(unreadable)
}

fn files_of(dir: &Path) -> Result<BTreeMap<String, Bytes>> {
    files_among(entries(dir)?)
}

fn files_among(entries: Vec<fs::DirEntry>) -> Result<BTreeMap<String, Bytes>> {
    let mut files = BTreeMap::new();
    for entry in entries {
        let name = entry.file_name().into_string().ok();
        let name = name.filter(|name| !name.starts_with('.'));
        // Not what a link leads to.
        let is_file = entry.file_type().map_err(unreadable)?.is_file();
        let Some(name) = name.filter(|_| is_file) else {
            let text = "it is no plain file whose name is text and does not start with a dot";
            return Err(StoreError::Refused(text.into()));
        };
        let bytes = fs::read(entry.path()).map_err(unreadable)?;
        files.insert(name, bytes.into());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_process_left_goes_once_nothing_works_there() {
        let below = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(below.path()).unwrap();
        let job = "20261122T045748.123Z-00042.json".parse().unwrap();
        let workspace = scratch.workspace(&job, b"{}", None).unwrap();
        let left = scratch.0.keep();
        let refused = clear(below.path(), Duration::ZERO).unwrap_err();
        assert!(refused.to_string().contains("still works"), "{refused}");
        assert!(left.exists());
        fs::write(below.path().join("beside"), "").unwrap();
        drop(workspace);
        clear(below.path(), Duration::ZERO).unwrap();
        let names: Vec<_> = fs::read_dir(below.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["beside"]);
    }
}
