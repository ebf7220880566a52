//! A file to push, read once before it is sent: its digest, and the key derived from it.
//! Standard input is copied to a file without a name first.
//!
//! The file is read again when it is sent. Should it have changed in between, its digest or its
//! length no longer fit, and the upload is refused rather than accepted as something else.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Stands for standard input.
pub(super) const INPUT: &str = "-";
const HASH_PIECE_BYTES: usize = 1024 * 1024;

/// What a file held when it was read to its end.
pub(super) struct Content {
    pub(super) bytes: u64,
    inode: u64,
    modified_ns: i128,
    pub(super) sha256: [u8; 32],
    /// Where it can be read again.
    pub(super) path: PathBuf,
    /// Which has no name of its own.
    _input: Option<File>,
}

impl Content {
    /// Blocking.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        if path == Path::new(INPUT) {
            return Self::of_input(io::stdin().lock());
        }
        let mut file = File::open(path)?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let (bytes, sha256) = digest(&mut file)?;
        Ok(Self {
            bytes,
            inode: about.ino(),
            modified_ns: i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec()),
            sha256,
            path: path.to_owned(),
            _input: None,
        })
    }

    /// The same input is the same content, whenever it comes.
    fn of_input(mut input: impl io::Read) -> io::Result<Self> {
        let mut file = tempfile::tempfile()?;
        io::copy(&mut input, &mut file)?;
        file.rewind()?;
        let (bytes, sha256) = digest(&mut file)?;
        Ok(Self {
            bytes,
            inode: 0,
            modified_ns: 0,
            sha256,
            path: PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())),
            _input: Some(file),
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
