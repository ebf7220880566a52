//! The tenant's secret: `.key`, 64 hexadecimal digits in a file that only its owner may read.
//!
//! Ids and tokens that were given out are good as long as it stays the same, so it is made once,
//! durably, and never replaced. A reader of the file can forge them.

use super::{Fs, RealFs};
use crate::{
    domain::KEY_BYTES,
    util::plain::{self, Links},
};
use hex::FromHex;
use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

const KEY: &str = ".key";
/// More than a key has, so that one with something behind it is malformed.
const TEXT_BYTES_MAX: u64 = 4096;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{} is not a key of 64 hexadecimal digits; put back the one that was there, or remove it: \
         a new one is made, and ids and tokens given out so far are void",
        .0.display()
    )]
    Malformed(PathBuf),
    #[error("{path} may be read by others; run: chmod 600 {path}", path = .0.display())]
    Readable(PathBuf),
}

/// The key of a spool, made if there is none. Concurrent calls get the same one.
///
/// # Errors
/// [`KeyError::Malformed`] and [`KeyError::Readable`] say what an operator has to do: a key that is
/// there is never replaced. [`KeyError::Io`]: it cannot be read or made; this can be called again.
pub fn key(fs: &RealFs) -> Result<[u8; KEY_BYTES], KeyError> {
    let path = fs.absolute(Path::new(KEY));
    if let Some(key) = read(&path)? {
        return Ok(key);
    }
    let io = |source| KeyError::Io {
        path: path.clone(),
        source,
    };
    make(fs).map_err(io)?;
    read(&path)?.ok_or_else(|| io(io::ErrorKind::NotFound.into()))
}

/// Mode and content of one file, however it is replaced meanwhile. A FIFO is not waited for, and no
/// more is read than a key has.
fn read(path: &Path) -> Result<Option<[u8; KEY_BYTES]>, KeyError> {
    let io = |source| KeyError::Io {
        path: path.to_owned(),
        source,
    };
    let file = match plain::open(path, Links::Refuse) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(io)?,
    };
    // Of the file that is read, not of what may lie there meanwhile.
    if file.metadata().map_err(io)?.mode() & 0o077 != 0 {
        return Err(KeyError::Readable(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(TEXT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let key = <[u8; KEY_BYTES]>::from_hex(text.trim_end());
    key.map(Some)
        .map_err(|_| KeyError::Malformed(path.to_owned()))
}

/// Makes a key unless there is one: another process may have been faster.
fn make(fs: &RealFs) -> io::Result<()> {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let temp = PathBuf::from(format!("{KEY}.{}", std::process::id()));
    let path = fs.absolute(&temp);
    // One that a crash has left would keep its mode.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    fs.hand_over(&file)?;
    writeln!(file, "{}", hex::encode(key))?;
    file.sync_all()?;
    match fs.rename(&temp, Path::new(KEY)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::remove_file(&path)?,
        other => other?,
    }
    fs.sync_dir(Path::new(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_kept_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs::new(dir.path());
        let path = dir.path().join(".key");
        let temp = dir.path().join(format!(".key.{}", std::process::id()));
        fs::write(&temp, "left by a crash").unwrap();
        let first = key(&fs).unwrap();
        // A caller that found none a moment ago takes the one that is there now.
        make(&fs).unwrap();
        assert!(!temp.exists());
        assert_eq!(key(&fs).unwrap(), first);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(key(&fs), Err(KeyError::Readable(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for bad in [&b""[..], b"00", b"\xff"] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(key(&fs), Err(KeyError::Malformed(_))));
        }
        fs::remove_file(&path).unwrap();
        // What is no file of its own is no key, whatever it leads to.
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0).unwrap();
        assert!(matches!(key(&fs), Err(KeyError::Io { .. })));
        fs::remove_file(&path).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "00".repeat(KEY_BYTES)).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(matches!(key(&fs), Err(KeyError::Io { .. })));
        fs::remove_file(&path).unwrap();
        assert_ne!(key(&fs).unwrap(), first);
    }
}
