//! Reading a directory: one call of the system to open it, two to read one that is not large, one to close it.

use rustix::{
    fs::{AtFlags, FileType, RawDir, statat},
    io::Errno,
};
use std::{ffi::CStr, os::fd::AsFd};

/// So much of a directory is read by one call.
const READ_BYTES: usize = 32 * 1024;

/// Calls `each` with every entry of an open directory that was not read yet, in no order. An entry, or the directory,
/// that goes away meanwhile is an ordinary outcome.
///
/// # Errors
/// When it cannot be read.
pub(super) fn each_entry(
    dir: impl AsFd,
    mut each: impl FnMut(&CStr, FileType),
) -> Result<(), Errno> {
    let mut buffer = Vec::with_capacity(READ_BYTES);
    let mut entries = RawDir::new(&dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Err(Errno::NOENT) => return Ok(()),
            entry => entry?,
        };
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        let mut kind = entry.file_type();
        // Not every filesystem says it.
        if kind == FileType::Unknown {
            kind = match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => FileType::from_raw_mode(stat?.st_mode),
            };
        }
        each(name, kind);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::store::fs::{EntryKind, Fs, RealFs};
    use std::{collections::BTreeMap, fs, path::Path};

    fn listed(fs: &RealFs, dir: &str) -> BTreeMap<String, EntryKind> {
        let mut found = BTreeMap::new();
        let each = &mut |name: &std::ffi::OsStr, kind| {
            found.insert(name.to_str().unwrap().to_owned(), kind);
        };
        fs.list(Path::new(dir), each).unwrap();
        found
    }

    #[test]
    fn every_entry_is_listed_with_its_kind() {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs::new(dir.path());
        // More than one call gives.
        for n in 0..3000 {
            fs::write(dir.path().join(format!("{n:04}")), "").unwrap();
        }
        fs::create_dir(dir.path().join("dir")).unwrap();
        std::os::unix::fs::symlink("dir", dir.path().join("link")).unwrap();
        let found = listed(&fs, "");
        assert_eq!(found.len(), 3002);
        assert_eq!(found["2999"], EntryKind::File);
        assert_eq!(found["dir"], EntryKind::Dir);
        assert_eq!(found["link"], EntryKind::Other);
    }

    #[test]
    fn what_is_no_directory_has_no_entries() {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs::new(dir.path());
        fs::create_dir(dir.path().join("dir")).unwrap();
        fs::write(dir.path().join("dir/in"), "").unwrap();
        std::os::unix::fs::symlink("dir", dir.path().join("link")).unwrap();
        assert_eq!(listed(&fs, "dir").len(), 1);
        for other in ["link", "dir/in", "dir/in/deeper", "none"] {
            assert_eq!(listed(&fs, other).len(), 0, "{other}");
        }
    }
}
