//! A file to push, read once before it is sent: its digest, and the key derived from it.
//!
//! The file is read again when it is sent. Should it have changed in between, its digest or its
//! length no longer fit, and the upload is refused rather than accepted as something else.

use crate::util::Input;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

const HASH_PIECE_BYTES: usize = 1024 * 1024;

/// What a file held when it was read to its end.
pub(super) struct Content {
    pub(super) bytes: u64,
    inode: u64,
    /// Where it can be read again.
    pub(super) input: Input,
    modified_ns: i128,
    pub(super) sha256: [u8; 32],
}

impl Content {
    /// Blocking.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        Self::of(Input::of(path)?)
    }

    fn of(input: Input) -> io::Result<Self> {
        let mut file = File::open(input.path())?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let (bytes, sha256) = digest(&mut file)?;
        let modified_ns =
            i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
        // The same input is the same content, whenever it comes.
        let (inode, modified_ns) = match input.is_copy() {
            true => (0, 0),
            false => (about.ino(), modified_ns),
        };
        Ok(Self {
            bytes,
            inode,
            input,
            modified_ns,
            sha256,
        })
    }

    /// The same for the same push of the same file, in any process.
    pub(super) fn key(
        &self,
        path: &Path,
        interface: Option<&str>,
        reference: Option<&str>,
    ) -> String {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let interface = interface.unwrap_or_default().as_bytes();
        let reference = reference.unwrap_or_default().as_bytes();
        let mut hash = Sha256::new();
        hash.update(self.sha256);
        for text in [name, interface, reference] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.update(self.modified_ns.to_be_bytes());
        hash.update(self.inode.to_be_bytes());
        hash.update(self.bytes.to_be_bytes());
        hex::encode(hash.finalize())
    }
}

/// The length and the SHA-256 of what is left of a file.
fn digest(file: &mut File) -> io::Result<(u64, [u8; 32])> {
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut piece = vec![0; HASH_PIECE_BYTES];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok((bytes, hash.finalize().into())),
            Ok(n) => {
                hash.update(&piece[..n]);
                bytes += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
