//! The file operations of `poll`, all of them: what an [`Inbox`](super::inbox::Inbox) does to a
//! disk goes through this trait, so that a test can stop it at any call.
//!
//! Synchronous and narrow. [`Disk`] is the real one. A rename never replaces.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

pub(super) trait Files {
    /// A file that is being written.
    type Part;

    fn append(&self, part: &mut Self::Part, bytes: &[u8]) -> io::Result<()>;
    /// A new, empty file; fails when there is one.
    fn create(&self, path: &Path) -> io::Result<Self::Part>;
    /// With its parents; fine when it is there.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// The names in a directory that are valid text.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Fine when it is gone.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Fails with `AlreadyExists` rather than replace.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Whether two files hold the same bytes.
    fn same(&self, one: &Path, other: &Path) -> io::Result<bool>;
    /// Makes the content durable. After a failure the part is worth nothing.
    fn sync(&self, part: &Self::Part) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The real thing.
pub(super) struct Disk;

impl Files for Disk {
    type Part = File;

    fn append(&self, part: &mut File, bytes: &[u8]) -> io::Result<()> {
        part.write_all(bytes)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        File::create_new(path)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Network filesystems know no such flag; a link does not replace either.
            Err(Errno::INVAL | Errno::NOSYS) => {
                fs::hard_link(from, to)?;
                fs::remove_file(from)
            }
            other => Ok(other?),
        }
    }

    fn same(&self, one: &Path, other: &Path) -> io::Result<bool> {
        let (one, other) = (File::open(one)?, File::open(other)?);
        if one.metadata()?.len() != other.metadata()?.len() {
            return Ok(false);
        }
        let mut one = io::BufReader::new(one).bytes();
        let mut other = io::BufReader::new(other).bytes();
        loop {
            match (one.next().transpose()?, other.next().transpose()?) {
                (None, None) => return Ok(true),
                (a, b) if a == b => {}
                (_, _) => return Ok(false),
            }
        }
    }

    fn sync(&self, part: &File) -> io::Result<()> {
        part.sync_all()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_keeps_the_promises_of_the_trait() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let write = |name: &str, bytes: &[u8]| {
            let mut part = Disk.create(&path(name)).unwrap();
            Disk.append(&mut part, bytes).unwrap();
            Disk.sync(&part).unwrap();
        };
        write("a", b"one");
        write("b", b"two");
        let taken = Disk.rename_new(&path("a"), &path("b")).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(path("b")).unwrap(), b"two");
        assert!(Disk.create(&path("a")).is_err());
        assert!(!Disk.same(&path("a"), &path("b")).unwrap());
        write("c", b"one");
        assert!(Disk.same(&path("a"), &path("c")).unwrap());
        Disk.rename_new(&path("a"), &path("d")).unwrap();
        assert!(!Disk.exists(&path("a")).unwrap());
        Disk.remove(&path("a")).unwrap();
        Disk.sync_dir(dir.path()).unwrap();
        let mut names = Disk.list(dir.path()).unwrap();
        names.sort();
        assert_eq!(names, ["b", "c", "d"]);
    }
}
