//! The spool's files as they lie on the disk: the checker's third witness.

use super::document::sha256;
use std::{collections::HashMap, fs, io, os::unix::fs::MetadataExt, path::Path};

/// When the spool was listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Everything was processed, and the server has stopped.
    Drained,
    /// The server has recovered and starts nothing, as all interfaces are held.
    Recovered,
}

/// The directories whose content is known to all; the rest of a spool is the server's own.
const DIRS: [&str; 10] = [
    "bak",
    "deferred",
    "idem",
    "joberrors",
    "joblog",
    "queue",
    "records",
    "results",
    "tmp",
    "work",
];

#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) phase: Phase,
    pub(super) files: Vec<File>,
}

#[derive(Clone, Debug)]
pub(super) struct File {
    /// Relative to the spool. Directories end with a slash.
    pub(super) path: String,
    /// None: it has been looked at under this name before, and is the same file.
    pub(super) content: Option<Content>,
}

#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) sha256: String,
    /// Of logs, records and results, which are small.
    pub(super) text: String,
}

/// Reads trees, each file once while it stays what it is.
#[derive(Default)]
pub(super) struct Reader {
    seen: HashMap<String, Seen>,
}

struct Seen {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
    /// It has come from the disk since the last cut, not from the memory of before.
    durable: bool,
}

impl Reader {
    /// What was only in memory has to be read again.
    pub(super) fn power_was_cut(&mut self) {
        self.seen.retain(|_, seen| seen.durable);
    }

    /// Everything is to be read again.
    pub(super) fn forget(&mut self) {
        self.seen.clear();
    }

    pub(super) fn read(&mut self, root: &Path, phase: Phase) -> Tree {
        let mut files = Vec::new();
        let mut seen = HashMap::new();
        let dirs = DIRS.iter().flat_map(|dir| {
            let walk = walkdir::WalkDir::new(root.join(dir)).min_depth(1);
            walk.into_iter()
        });
        // What goes away meanwhile is missed by the checker if it should be there.
        for entry in dirs.filter_map(Result::ok) {
            let inside = entry.path().strip_prefix(root).unwrap();
            let mut path = inside.to_str().unwrap().to_owned();
            if entry.file_type().is_dir() {
                path.push('/');
                files.push(File {
                    path,
                    content: None,
                });
                continue;
            }
            let Ok(meta) = entry.metadata() else { continue };
            let known = self.seen.remove(&path).filter(|known| {
                // All lines are counted each time.
                !path.starts_with("records/")
                    && (known.inode, known.bytes) == (meta.ino(), meta.size())
                    && known.changed == (meta.ctime(), meta.ctime_nsec())
            });
            let content = match known {
                Some(_) => None,
                None => match content(&path, entry.path()) {
                    Ok(content) => Some(content),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => panic!("{path}: {error}"),
                },
            };
            let durable = known.map_or(phase == Phase::Recovered, |known| known.durable);
            let now = Seen {
                inode: meta.ino(),
                bytes: meta.size(),
                changed: (meta.ctime(), meta.ctime_nsec()),
                durable,
            };
            seen.insert(path.clone(), now);
            files.push(File { path, content });
        }
        self.seen = seen;
        Tree { phase, files }
    }
}

fn content(path: &str, at: &Path) -> io::Result<Content> {
    let bytes = fs::read(at)?;
    let is_small = ["joblog/", "idem/", "records/", "results/"]
        .iter()
        .any(|dir| path.starts_with(dir));
    Ok(Content {
        sha256: sha256(&bytes),
        text: if is_small && !path.ends_with("/copy.xml") {
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            String::new()
        },
    })
}

/// The names of all files, as evidence of what the disk held before the server recovered it.
pub(super) fn names(root: &Path) -> Vec<String> {
    let walk = walkdir::WalkDir::new(root).min_depth(1);
    let files = walk.into_iter().filter_map(Result::ok);
    let names = files.filter_map(|entry| {
        let inside = entry.path().strip_prefix(root).ok()?;
        entry
            .file_type()
            .is_file()
            .then(|| inside.display().to_string())
    });
    names.collect()
}
