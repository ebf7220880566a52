//! One owner of a spool at a time.
//!
//! The lock is an flock on `.lock`, so it ends with the process however that ends. The file's
//! text names the holder's process for the message that the second one gets.

use super::fs::{Fs, RealFs};
use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    io::Errno,
};
use std::{io, io::Write, path::Path};

/// Held by `serve` for its whole life; dropping it lets the next owner in.
#[derive(Debug)]
pub struct SpoolLock {
    _file: std::fs::File,
}

/// A process id.
const TEXT_BYTES_MAX: u64 = 64;
const LOOKS: u32 = 10;
const LOOK: std::time::Duration = std::time::Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("the spool's lock file .lock cannot be used: {0}")]
    Io(#[from] io::Error),
    #[error("another spoolgate serves this spool already (process {holder})")]
    Taken { holder: String },
}

impl SpoolLock {
    pub fn take(fs: &RealFs) -> Result<Self, LockError> {
        let path = Path::new(".lock");
        let mut taken = fs.lock(path)?;
        // An operator's look holds it for an instant.
        for _ in 0..LOOKS {
            if taken.is_some() {
                break;
            }
            std::thread::sleep(LOOK);
            taken = fs.lock(path)?;
        }
        match taken {
            Some(mut file) => {
                file.set_len(0)?;
                writeln!(file, "{}", std::process::id())?;
                Ok(Self { _file: file })
            }
            None => Err(LockError::Taken {
                holder: holder_of(fs, path)?,
            }),
        }
    }

    /// The process that serves the spool now, for operators. Makes nothing, and needs no right but
    /// to read the lock file.
    ///
    /// # Errors
    /// When there is a lock file that cannot be read.
    pub fn holder(fs: &RealFs) -> io::Result<Option<String>> {
        let path = Path::new(".lock");
        if !is_locked(fs, path)? {
            return Ok(None);
        }
        Ok(Some(holder_of(fs, path)?))
    }
}

fn holder_of(fs: &RealFs, path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs.read_small(path, TEXT_BYTES_MAX)?).trim().to_owned())
}

/// Does somebody hold the lock on this file? Makes nothing; a file that is not there is held by
/// nobody. For an instant others cannot take the lock, so who takes one tries again.
pub(super) fn is_locked(fs: &RealFs, path: &Path) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::open(fs.absolute(path), flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(false),
        opened => opened?,
    };
    // Shared, so that those who look do not take each other for a holder.
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_owner_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs::new(dir.path());
        let first = SpoolLock::take(&fs).unwrap();
        let second = SpoolLock::take(&fs).unwrap_err().to_string();
        assert!(second.contains(&std::process::id().to_string()), "{second}");
        assert!(SpoolLock::holder(&fs).unwrap().is_some());
        drop(first);
        // A child that another test is just starting holds it until its exec.
        let free = || SpoolLock::holder(&fs).unwrap().is_none();
        let begun = std::time::Instant::now();
        while !free() {
            assert!(begun.elapsed().as_secs() < 20, "the lock is not given back");
            std::thread::yield_now();
        }
        SpoolLock::take(&fs).unwrap();
    }
}
