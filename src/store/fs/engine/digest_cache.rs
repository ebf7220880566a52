//! The SHA-256 of files that were not hashed when they came: what processors made, and what was
//! dropped by hand.
//!
//! It is computed when such a file is first fetched, and remembered as long as the file is as it was.

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
};

/// Files that are remembered; then all are forgotten.
const FILES_MAX: usize = 4096;
const PIECE_BYTES: usize = 128 * 1024;

/// Digests of files, as far as they have been computed.
#[derive(Default)]
pub(super) struct DigestCache(Mutex<BTreeMap<Version, String>>);

/// Which file it is, and in which state: device, inode, length, and its last change in seconds and
/// nanoseconds.
type Version = (u64, u64, u64, i64, i64);

fn version(file: &File) -> io::Result<Version> {
    let about = file.metadata()?;
    let changed = (about.ctime(), about.ctime_nsec());
    Ok((about.dev(), about.ino(), about.size(), changed.0, changed.1))
}

impl DigestCache {
    /// The digest of a file, in hex; its position stays. `None` when it changes meanwhile. Blocking.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn of(&self, file: &File) -> io::Result<Option<String>> {
        let before = version(file)?;
        if let Some(known) = self.0.lock().get(&before) {
            return Ok(Some(known.clone()));
        }
        let (mut hash, mut at) = (Sha256::new(), 0);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read_at(&mut piece, at)? {
                0 => break,
                n => {
                    hash.update(&piece[..n]);
                    at += n as u64;
                }
            }
        }
        // A move changes it as well; then it is computed again.
        let same = version(file)? == before && at == before.2;
        let sha256 = same.then(|| hex::encode(hash.finalize()));
        if let Some(sha256) = &sha256 {
            let mut known = self.0.lock();
            if known.len() >= FILES_MAX {
                known.clear();
            }
            known.insert(before, sha256.clone());
        }
        Ok(sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};

    #[test]
    fn a_digest_is_of_the_file_as_it_is() {
        let digests = DigestCache::default();
        let mut file = tempfile::tempfile().unwrap();
        let of = |text: &str| Some(hex::encode(Sha256::digest(text)));
        assert_eq!(digests.of(&file).unwrap(), of(""));
        file.write_all(b"<a/>").unwrap();
        file.rewind().unwrap();
        assert_eq!(digests.of(&file).unwrap(), of("<a/>"));
        assert_eq!(digests.of(&file).unwrap(), of("<a/>"));
        let mut read = String::new();
        file.read_to_string(&mut read).unwrap();
        assert_eq!(read, "<a/>", "from where it was");
        file.write_all(b"x").unwrap();
        assert_eq!(digests.of(&file).unwrap(), of("<a/>x"));
    }
}
