//! Reading plain files of bounded size, and nothing else.
//!
//! Whatever people, or programs, put where a file is expected is checked before it is opened:
//! a FIFO, a socket, a device or a directory is refused by name and never waited for, and so is a
//! file that is larger than what is read there can sensibly be. What was opened is checked once
//! more, so that nothing exchanged in between is read.

use rustix::fs::{Mode, OFlags};
use std::{
    fs::{File, FileType, Metadata},
    io::{self, Read},
    os::{fd::OwnedFd, unix::fs::FileTypeExt},
    path::Path,
};

/// Is a symbolic link in the last component followed?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// To a plain file; administrators link certificates and schemas.
    Follow,
    Refuse,
}

/// Opens a plain file for reading. Never blocks.
///
/// # Errors
/// The operating system's own, or one that says what is there instead of a plain file.
pub(crate) fn open(path: &Path, links: Links) -> io::Result<File> {
    let about = match links {
        Links::Follow => std::fs::metadata(path)?,
        Links::Refuse => std::fs::symlink_metadata(path)?,
    };
    check(&about)?;
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    if links == Links::Refuse {
        flags |= OFlags::NOFOLLOW;
    }
    let fd: OwnedFd = rustix::fs::open(path, flags, Mode::empty())?;
    let file = File::from(fd);
    check(&file.metadata()?)?;
    Ok(file)
}

/// The bytes of a plain file that has at most `bytes_max` of them.
///
/// # Errors
/// As [`open`]; of the kind `FileTooLarge`, with the limit, for a larger file.
pub(crate) fn read(path: &Path, links: Links, bytes_max: u64) -> io::Result<Vec<u8>> {
    bytes_of(open(path, links)?, bytes_max)
}

/// The bytes of a file that has at most `bytes_max` of them, and was opened by [`open`].
///
/// # Errors
/// As [`read`].
pub(crate) fn bytes_of(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let n_bytes = file.metadata()?.len();
    if n_bytes > bytes_max {
        return Err(too_large(bytes_max));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(n_bytes).unwrap_or_default());
    // It may have grown, and files of the kernel have no size.
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(too_large(bytes_max));
    }
    Ok(bytes)
}

/// The same, of a file that holds UTF-8.
///
/// # Errors
/// As [`read`]; of the kind `InvalidData` for anything else than UTF-8.
pub(crate) fn read_text(path: &Path, links: Links, bytes_max: u64) -> io::Result<String> {
    text_of(open(path, links)?, bytes_max)
}

/// The same, of a file that was opened by [`open`].
///
/// # Errors
/// As [`read_text`].
pub(crate) fn text_of(file: File, bytes_max: u64) -> io::Result<String> {
    let bytes = bytes_of(file, bytes_max)?;
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// What a file is that is larger than may be read where it lies.
pub(crate) fn too_large(bytes_max: u64) -> io::Error {
    let text = format!("it is larger than the {bytes_max} bytes that are read of such a file");
    io::Error::new(io::ErrorKind::FileTooLarge, text)
}

fn check(about: &Metadata) -> io::Result<()> {
    let kind = about.file_type();
    match kind.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("it is {}, not a plain file", name(kind)),
        )),
    }
}

fn name(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::{fs::symlink, net::UnixListener},
        path::PathBuf,
    };

    fn refusal(path: &Path, links: Links) -> String {
        read(path, links, 10).unwrap_err().to_string()
    }

    #[test]
    fn only_plain_files_are_opened_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| -> PathBuf { dir.path().join(name) };
        std::fs::write(at("plain"), "0123456789").unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::from(0o600),
            0,
        )
        .unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for (link, to) in [
            ("to-plain", "plain"),
            ("to-fifo", "fifo"),
            ("to-zero", "/dev/zero"),
        ] {
            symlink(to, at(link)).unwrap();
        }
        assert_eq!(
            read(&at("plain"), Links::Refuse, 10).unwrap(),
            b"0123456789"
        );
        assert_eq!(
            read(&at("to-plain"), Links::Follow, 10).unwrap(),
            b"0123456789"
        );
        for (name, what) in [
            ("dir", "a directory"),
            ("fifo", "a FIFO"),
            ("socket", "a socket"),
            ("to-fifo", "a FIFO"),
            ("to-zero", "a device"),
        ] {
            let expected = format!("it is {what}, not a plain file");
            assert_eq!(refusal(&at(name), Links::Follow), expected, "{name}");
        }
        let link = "it is a symbolic link, not a plain file";
        assert_eq!(refusal(&at("to-plain"), Links::Refuse), link);
        let missing = read(&at("missing"), Links::Follow, 10).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_huge_file_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse");
        let file = File::create(&path).unwrap();
        file.set_len(10 << 30).unwrap();
        let error = read(&path, Links::Refuse, 10).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("10 bytes"), "{error}");
        file.set_len(11).unwrap();
        assert!(read(&path, Links::Refuse, 10).is_err());
        assert_eq!(read(&path, Links::Refuse, 11).unwrap().len(), 11);
        // A file without a size that has more than it says.
        let version = read(Path::new("/proc/version"), Links::Follow, 10).unwrap_err();
        assert_eq!(version.kind(), io::ErrorKind::FileTooLarge);
        assert!(read_text(Path::new("/proc/version"), Links::Follow, 4096).is_ok());
    }
}
