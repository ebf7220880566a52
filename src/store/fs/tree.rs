//! Removing a directory tree that a command has left, whatever the command did to it.
//!
//! No recursion, and never more than two open directories: what lies deeper is first moved up to
//! the top. A mount cannot be moved, so nothing below one is ever removed; a link is removed and
//! not followed. Directories without rights get them back. What cannot be removed is passed over,
//! so that everything else goes.

use super::dir::each_entry;
use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, chmod, fstat, openat, renameat_with,
        unlinkat,
    },
    io::Errno,
    path::Arg,
};
use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

/// Removes a directory with all that is in it; one that does not exist is no error.
///
/// # Errors
/// The last error, once everything that can be removed has been.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    give_rights(CWD, path);
    let top = match open(CWD, path) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        // Something else has its name.
        Err(Errno::NOTDIR | Errno::LOOP) => return std::fs::remove_file(path),
        Err(error) => return Err(error.into()),
    };
    let mut removal = Removal {
        top,
        pending: Vec::new(),
        n_moved: 0,
        failed: None,
    };
    removal.run();
    match removal.failed {
        Some(error) => Err(error.into()),
        None => std::fs::remove_dir(path),
    }
}

/// Gives us all rights on a directory of ours. What is no directory is left as it is.
pub(super) fn give_rights(dir: impl AsFd, path: impl Arg) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(found) = openat(dir, path, flags, Mode::empty()) else {
        return;
    };
    let mode = fstat(&found).map_or(0, |stat| stat.st_mode);
    if mode & 0o700 != 0o700 {
        // Not by its path, which may be a link by now. If it fails, whatever needs it says so.
        let known = format!("/proc/self/fd/{}", found.as_raw_fd());
        let _ = chmod(known, Mode::from_raw_mode(mode & 0o7777 | 0o700));
    }
}

fn open(dir: impl AsFd, path: impl Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, path, flags, Mode::empty())
}

struct Removal {
    top: OwnedFd,
    /// Directories that lie at the top now.
    pending: Vec<CString>,
    n_moved: u64,
    failed: Option<Errno>,
}

impl Removal {
    fn run(&mut self) {
        for (name, is_dir) in self.list(None) {
            self.take(None, &name, is_dir);
        }
        while let Some(name) = self.pending.pop() {
            match open(&self.top, &*name) {
                Ok(dir) => {
                    for (name, is_dir) in self.list(Some(&dir)) {
                        self.take(Some(&dir), &name, is_dir);
                    }
                }
                Err(error) => self.failed = Some(error),
            }
            self.tried(unlinkat(&self.top, &*name, AtFlags::REMOVEDIR));
        }
    }

    /// The names in a directory, of the top unless given, and whether each is a directory.
    fn list(&mut self, dir: Option<&OwnedFd>) -> Vec<(CString, bool)> {
        let dir = dir.unwrap_or(&self.top);
        let mut found = Vec::new();
        let each = |name: &CStr, kind| found.push((name.to_owned(), kind == FileType::Directory));
        if let Err(error) = each_entry(dir, each) {
            self.failed = Some(error);
        }
        found
    }

    /// Removes a file, or moves a directory to the top.
    fn take(&mut self, dir: Option<&OwnedFd>, name: &CStr, is_dir: bool) {
        let from = dir.unwrap_or(&self.top);
        if !is_dir {
            let removed = unlinkat(from, name, AtFlags::empty());
            return self.tried(removed);
        }
        if unlinkat(from, name, AtFlags::REMOVEDIR).is_ok() {
            // Nothing was in it.
            return;
        }
        // Moving a directory takes rights on it.
        give_rights(from, name);
        let moved = loop {
            self.n_moved += 1;
            // No name that a processor can have guessed by accident.
            let text = format!(".going-{}-{}", std::process::id(), self.n_moved);
            let Ok(to) = CString::new(text) else {
                return;
            };
            match renameat_with(from, name, &self.top, &*to, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                Ok(()) => break Ok(to),
                Err(error) => break Err(error),
            }
        };
        match moved {
            Ok(to) => self.pending.push(to),
            Err(error) => self.tried(Err(error)),
        }
    }

    fn tried(&mut self, done: Result<(), Errno>) {
        match done {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => self.failed = Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn any_tree_goes_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "kept").unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        for n in 0..3000 {
            fs::write(tree.join(format!("a/b/{n}")), "").unwrap();
        }
        set_mode(&tree.join("a/b/c"), 0o000);
        set_mode(&tree.join("a/b"), 0o555);
        set_mode(&tree, 0o000);
        remove(&tree).unwrap();
        assert!(!tree.exists());
        assert!(outside.join("kept").exists());
        remove(&tree).unwrap();
        // Its name is a link's.
        symlink(&outside, &tree).unwrap();
        remove(&tree).unwrap();
        assert!(tree.symlink_metadata().is_err());
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn a_tree_deeper_than_a_path_can_say_goes() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut at = open(CWD, &tree).unwrap();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&at, c"deep", Mode::from(0o700)).unwrap();
            at = open(&at, c"deep").unwrap();
        }
        drop(at);
        remove(&tree).unwrap();
        assert!(!tree.exists());
    }

    /// Whatever stays, the rest goes.
    #[test]
    fn a_mount_stays_with_what_is_below_it() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "kept").unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("mount")).unwrap();
        fs::create_dir_all(tree.join("other/below")).unwrap();
        let mount = |arguments: &[&str]| {
            let done = std::process::Command::new(arguments[0])
                .args(&arguments[1..])
                .output();
            done.is_ok_and(|output| output.status.success())
        };
        let at = tree.join("mount").display().to_string();
        if !mount(&["mount", "--bind", &outside.display().to_string(), &at]) {
            // Only root can.
            return;
        }
        let removed = remove(&tree);
        let kept = outside.join("kept").exists();
        let other = tree.join("other").exists();
        assert!(mount(&["umount", &at]));
        assert!(removed.is_err() && kept && !other);
        remove(&tree).unwrap();
        assert!(!tree.exists());
    }
}
