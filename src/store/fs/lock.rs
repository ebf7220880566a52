//! One owner of a spool at a time.
//!
//! The lock is an flock on `.lock`, so it ends with the process however that ends. The file's
//! text names the holder's process for the message that the second one gets.

use super::file_ops::{Fs, RealFs};
use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    io::Errno,
};
use std::{
    io,
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

/// The right to a spool; dropping it lets the next owner in.
#[derive(Debug)]
pub struct SpoolLock {
    file: std::fs::File,
}

impl Drop for SpoolLock {
    /// Closing the file is not enough while a child that is just being started has it, too.
    fn drop(&mut self) {
        // What cannot be unlocked is when it is closed.
        let _ = self.file.unlock();
    }
}

/// With which configuration a spool is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Of what it says, in hexadecimal digits.
    pub sha256: String,
    /// How many the service has taken, this one included.
    pub epoch: u64,
}

/// A process id, a hash and a number.
const TEXT_BYTES_MAX: u64 = 256;

/// Who takes a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// An operator's command, for as long as it takes.
    Command,
    /// `serve`, for its whole life.
    Service,
}

/// What a command writes behind its process id.
const COMMAND: &str = " command";
/// A look at the lock holds it for an instant, a command until it has done its work.
const LOOK_MAX: Duration = Duration::from_millis(200);
const COMMAND_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("the spool's lock file .lock cannot be used: {0}")]
    Io(#[from] io::Error),
    #[error("another spoolgate serves this spool already (process {holder})")]
    Taken { holder: String },
}

impl SpoolLock {
    /// Takes a spool; waits for an operator's command that has it.
    ///
    /// # Errors
    /// When a service has it, or the lock file cannot be used.
    pub fn take(fs: &RealFs, owner: Owner) -> Result<Self, LockError> {
        let path = Path::new(".lock");
        let begun = Instant::now();
        loop {
            if let Some(mut file) = fs.lock(path)? {
                let what = match owner {
                    Owner::Command => COMMAND,
                    Owner::Service => "",
                };
                file.set_len(0)?;
                // What it says is written over later.
                rustix::fs::fcntl_setfl(&file, OFlags::empty()).map_err(io::Error::from)?;
                writeln!(file, "{}{what}", std::process::id())?;
                return Ok(Self { file });
            }
            let holder = holder_of(fs)?;
            let patience = match holder.strip_suffix(COMMAND) {
                Some(_) => COMMAND_MAX,
                None => LOOK_MAX,
            };
            if begun.elapsed() > patience {
                return Err(LockError::Taken { holder });
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The process that serves the spool now, for operators. Makes nothing, and needs no right but
    /// to read the lock file. `None` also while a command has it.
    ///
    /// # Errors
    /// When there is a lock file that cannot be read.
    pub fn holder(fs: &RealFs) -> io::Result<Option<String>> {
        let path = Path::new(".lock");
        if !is_locked(fs, path)? {
            return Ok(None);
        }
        let holder = holder_of(fs)?;
        Ok((!holder.ends_with(COMMAND)).then_some(holder))
    }

    /// Says with which configuration the spool is served, for [`SpoolLock::configuration`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn say_configuration(&self, in_force: &InForce) -> io::Result<()> {
        let InForce { sha256, epoch } = in_force;
        let text = format!("{}\n{sha256}\n{epoch}\n", std::process::id());
        self.file.write_all_at(text.as_bytes(), 0)
    }

    /// What the process that serves the spool has said of its configuration. While no process
    /// serves the spool, it means nothing.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn configuration(fs: &RealFs) -> io::Result<Option<InForce>> {
        let mut lines = said(fs)?.into_iter().skip(1);
        let (sha256, epoch) = (lines.next(), lines.next());
        let epoch = epoch.and_then(|epoch| epoch.parse().ok());
        Ok(sha256
            .zip(epoch)
            .map(|(sha256, epoch)| InForce { sha256, epoch }))
    }
}

/// True when a process holds the lock on this file. Makes nothing; no process holds one that does not
/// exist. For an instant others cannot take the lock, so a caller that takes one tries again.
///
/// # Errors
/// When a file that is there cannot be opened or asked: it may be held.
pub(super) fn is_locked(fs: &RealFs, path: &Path) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::open(fs.absolute(path), flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(false),
        opened => opened?,
    };
    // Shared, so that two looks at once do not take each other for a holder.
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// The lines of the lock's file.
fn holder_of(fs: &RealFs) -> io::Result<String> {
    Ok(said(fs)?.into_iter().next().unwrap_or_default())
}

fn said(fs: &RealFs) -> io::Result<Vec<String>> {
    let text = fs.read_small(Path::new(".lock"), TEXT_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_owner_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs::new(dir.path());
        let first = SpoolLock::take(&fs, Owner::Service).unwrap();
        let said = |epoch| InForce {
            sha256: "abc".into(),
            epoch,
        };
        first.say_configuration(&said(1)).unwrap();
        first.say_configuration(&said(2)).unwrap();
        let second = SpoolLock::take(&fs, Owner::Service)
            .unwrap_err()
            .to_string();
        assert!(second.contains(&std::process::id().to_string()), "{second}");
        let us = std::process::id().to_string();
        assert_eq!(SpoolLock::holder(&fs).unwrap(), Some(us));
        assert_eq!(SpoolLock::configuration(&fs).unwrap(), Some(said(2)));
        // As a child has it that is just being started.
        let _copy = first.file.try_clone().unwrap();
        drop(first);
        assert_eq!(SpoolLock::holder(&fs).unwrap(), None);
        SpoolLock::take(&fs, Owner::Service).unwrap();
    }

    #[test]
    fn a_command_is_waited_for_and_serves_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs::new(dir.path());
        let command = SpoolLock::take(&fs, Owner::Command).unwrap();
        assert_eq!(SpoolLock::holder(&fs).unwrap(), None);
        std::thread::scope(|scope| {
            let service = scope.spawn(|| SpoolLock::take(&fs, Owner::Service));
            std::thread::sleep(2 * LOOK_MAX);
            assert!(!service.is_finished(), "it waits longer than for a look");
            drop(command);
            assert!(service.join().unwrap().is_ok());
        });
    }
}
