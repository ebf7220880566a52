//! Every file operation by which the spool changes, behind one narrow synchronous trait.
//!
//! [`RealFs`] is the disk. `CrashFs` (tests only) is a disk that stops at any call and shows
//! afterwards the best or the worst image that the protocol allows. The spool's own code cannot
//! tell them apart, so the crash tests run the very code that serves.
//!
//! All paths are relative to the spool's root and made of validated names. No call follows a
//! symbolic link in its last component, and no call replaces a file, save [`Fs::replace`], which
//! is for what is no job, and for a job only in a replay, when its bytes are torn.

use super::{
    dir::each_entry,
    lease::Writers,
    mount::{MountId, mount_of},
};
use crate::util::plain::{self, Links};
use rustix::{
    fs::{CWD, FileType, FlockOperation, Mode, OFlags, RenameFlags},
    process::{Gid, Uid},
};
use sha2::{Digest, Sha256};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileExt, MetadataExt},
        },
    },
    path::{Path, PathBuf},
};

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    Dir,
    File,
    Other,
}

/// What the spool needs to know of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub bytes: u64,
    /// Last change of anything about it, in nanoseconds of the Unix epoch.
    pub changed_ns: i64,
    pub inode: u64,
    pub kind: EntryKind,
    /// How many names it has.
    pub links: u64,
    /// Last change of the content, in milliseconds of the Unix epoch.
    pub modified_ms: i64,
    pub uid: u32,
}

/// The file operations of the spool. Errors are the operating system's own; `ENOENT` on a move
/// is an ordinary outcome that callers handle.
#[expect(
    clippy::missing_errors_doc,
    reason = "each is a call of the operating system, and fails as that does"
)]
pub trait Fs: Send + Sync + 'static {
    /// A file being written.
    type File: Send + Sync;
    /// A locked file; the lock ends when it is dropped and no child process holds it.
    type Lock: Send + Sync;

    /// A new file with another one's bytes, as many as it has at first; fails when the name is taken.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<Self::File>;
    /// A new file with the bytes of an open one; fails when the name is taken.
    fn copy_open(&self, from: &Self::File, to: &Path) -> io::Result<Self::File>;
    /// A new file; fails when the name is taken.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Shortens a file.
    fn cut(&self, file: &Self::File, n_bytes: u64) -> io::Result<()>;
    /// The SHA-256 of a file's bytes, in hex.
    fn digest(&self, path: &Path) -> io::Result<String>;
    /// Gives us all rights on a directory of ours, as far as that is possible.
    fn give_rights(&self, dir: &Path);
    /// Lengthens a file by zeros to so many bytes, all of them on disk once it is synced. After an error it may have more than
    /// before.
    fn lengthen(&self, file: &Self::File, n_bytes: u64) -> io::Result<()>;
    /// True when the file belongs to another user than ours.
    fn is_foreign(&self, stat: &Stat) -> bool;
    /// Calls `each` with every entry; in no order, nothing for a directory that does not exist.
    fn list(&self, dir: &Path, each: &mut dyn FnMut(&OsStr, EntryKind)) -> io::Result<()>;
    /// Opens (creating it if need be) and locks; `None` when another process holds the lock.
    fn lock(&self, path: &Path) -> io::Result<Option<Self::Lock>>;
    /// A new directory; one that exists already is no error. Says whether it was made.
    fn make_dir(&self, path: &Path) -> io::Result<bool>;
    /// On which mount the spool is; `None` where the system cannot tell.
    fn mount(&self) -> io::Result<Option<MountId>>;
    /// The whole of a plain file that we made.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Up to `n_bytes` of what stands from `offset` on: fewer only at the file's end.
    fn read_at(&self, file: &Self::File, offset: u64, n_bytes: usize) -> io::Result<Vec<u8>>;
    /// The whole of a plain file of at most `bytes_max` bytes; a larger one is an error of the kind
    /// `FileTooLarge`. Others may have made it.
    fn read_small(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        match self.stat(path)? {
            Some(stat) if stat.bytes > bytes_max => Err(plain::too_large(bytes_max)),
            Some(_) | None => self.read(path),
        }
    }
    /// Removes a directory in which nothing is.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with all that is in it, whatever that is; one that does not exist is no
    /// error. After an error as much of it is gone as can be.
    fn remove_tree(&self, path: &Path) -> io::Result<()>;
    /// Moves a file, or fails with `AlreadyExists` when the target's name is taken.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Moves a file over whatever has the target's name.
    fn replace(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Lays out a file to be worked on: a copy of a small one or where bytes can be shared, else
    /// another name of it. Then it is made read-only, and the rights that it had are given.
    fn scratch(&self, from: &Path, to: &Path) -> io::Result<Option<u32>>;
    /// Gives an open file these rights.
    fn set_mode(&self, file: &Self::File, mode: u32) -> io::Result<()>;
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>>;
    /// Makes everything durable that was done before, files and directories alike.
    fn sync_all(&self) -> io::Result<()>;
    /// Makes the bytes of a file durable whose size does not change.
    fn sync_data(&self, file: &Self::File) -> io::Result<()>;
    /// Makes a directory's entries durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes a file's bytes durable.
    fn sync_file(&self, file: &Self::File) -> io::Result<()>;
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Opens an existing file to read it and to sync it.
    fn update(&self, path: &Path) -> io::Result<Self::File>;
    /// Appends.
    fn write(&self, file: &Self::File, bytes: &[u8]) -> io::Result<()>;
    /// Writes over what is at `offset`, and beyond the end.
    fn write_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Opens an existing file to write over it.
    fn writable(&self, path: &Path) -> io::Result<Self::File>;
    /// Who has the file open for writing.
    fn writers(&self, path: &Path) -> io::Result<Writers>;
}

/// The disk, below one directory.
#[derive(Debug)]
pub struct RealFs {
    root: PathBuf,
    /// The root, open from the first sync on: what was lost is reported to those who had it open.
    opened: std::sync::OnceLock<File>,
    /// To whom new files go, see [`RealFs::hand_over`].
    heir: std::sync::OnceLock<Option<(Uid, Gid)>>,
    #[cfg(test)]
    faults: std::sync::Arc<super::faults::Faults>,
}

impl RealFs {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self {
            #[cfg(test)]
            faults: super::faults::Faults::of(&root),
            root,
            opened: std::sync::OnceLock::new(),
            heir: std::sync::OnceLock::new(),
        }
    }

    /// Where a test lets a call fail.
    #[cfg(test)]
    fn meet(&self, op: &'static str, path: &Path) -> io::Result<()> {
        self.faults.meet(op, path)
    }

    #[cfg(not(test))]
    #[inline]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    fn meet(&self, _op: &'static str, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    /// The same for a file that is open.
    #[cfg(test)]
    fn meet_file(&self, op: &'static str, file: &File) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let root = self.root.canonicalize().unwrap_or(self.root.clone());
        self.meet(op, path.strip_prefix(root).unwrap_or(&path))
    }

    #[cfg(not(test))]
    #[inline]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    fn meet_file(&self, _op: &'static str, _file: &File) -> io::Result<()> {
        Ok(())
    }

    /// The absolute form of a path in the spool.
    pub fn absolute(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }

    /// Opens a directory to sync it. Only the sync's own failure says anything about the disk: a
    /// shortage of descriptors is waited for.
    fn directory(&self, dir: &Path) -> io::Result<File> {
        let mut patience = OPENS_MAX;
        loop {
            match self.open(dir, OFlags::RDONLY | OFlags::DIRECTORY) {
                Err(error) if is_shortage(&error) && patience > 0 => {
                    patience -= 1;
                    std::thread::sleep(SHORTAGE);
                }
                opened => return opened,
            }
        }
    }

    /// Is there a directory for it?
    fn is_beside(&self, path: &Path) -> bool {
        let dir = self.absolute(path);
        dir.parent().is_some_and(Path::is_dir)
    }

    fn open(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd: OwnedFd = rustix::fs::open(self.absolute(path), flags, Mode::from(0o640))?;
        Ok(File::from(fd))
    }

    /// A file, or with `DIRECTORY` among the flags a directory, that was made just now by root in
    /// the spool of another user's service: it goes to that user, who could not use it otherwise.
    /// Only what root has made is handed over, not what another process has put there meanwhile.
    ///
    /// # Errors
    /// When it cannot be given to that user: the caller must not give it its name, as the service
    /// could not use it.
    pub(super) fn hand_over(&self, made: &File) -> io::Result<()> {
        let heir = self.heir.get_or_init(|| {
            let root = std::fs::metadata(&self.root).ok()?;
            let foreign = rustix::process::geteuid().is_root() && root.uid() != 0;
            foreign.then(|| (Uid::from_raw(root.uid()), Gid::from_raw(root.gid())))
        });
        let Some((uid, gid)) = heir else {
            return Ok(());
        };
        let meta = made.metadata()?;
        if meta.uid() != 0 {
            return Ok(());
        }
        // The group that a directory gives on to what is made in it stays.
        let ours = meta.gid() == rustix::process::getegid().as_raw();
        rustix::fs::fchown(made, Some(*uid), ours.then_some(*gid))?;
        Ok(())
    }

    /// A new file to be read and appended to, for what a command says.
    pub(super) fn create_output(&self, path: &Path) -> io::Result<File> {
        self.meet("create", path)?;
        self.create_new(path, OFlags::RDWR | OFlags::APPEND)
    }

    fn create_new(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        let file = self.open(path, flags | OFlags::CREATE | OFlags::EXCL)?;
        if let Err(error) = self.hand_over(&file) {
            // Best effort: the error counts.
            let _ = std::fs::remove_file(self.absolute(path));
            return Err(error);
        }
        Ok(file)
    }
}

/// The largest file that we make and read as a whole: a segment of the largest journal.
const READ_BYTES_MAX: u64 = 2 << 30;

/// A file is lengthened by so much at once.
const ZEROS_BYTES: usize = 256 * 1024;

/// How often, and after which pause, a directory is opened again when descriptors are short.
const OPENS_MAX: u32 = 200;
const SHORTAGE: std::time::Duration = std::time::Duration::from_millis(50);

fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

impl Fs for RealFs {
    type File = File;
    type Lock = File;

    fn copy(&self, from: &Path, to: &Path) -> io::Result<File> {
        self.meet("copy", to)?;
        let from = plain::open(&self.absolute(from), Links::Refuse)?;
        let n_bytes = from.metadata()?.len();
        let mut copy = self.create(to)?;
        io::copy(&mut io::Read::take(from, n_bytes), &mut copy)?;
        Ok(copy)
    }

    fn copy_open(&self, from: &File, to: &Path) -> io::Result<File> {
        self.meet("copy", to)?;
        let copy = self.create(to)?;
        pour(from, &copy)?;
        Ok(copy)
    }

    fn digest(&self, path: &Path) -> io::Result<String> {
        self.meet("digest", path)?;
        let mut file = self.open(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let mut sha256 = Sha256::new();
        let mut buffer = vec![0_u8; 128 * 1024];
        loop {
            match io::Read::read(&mut file, &mut buffer)? {
                0 => return Ok(hex::encode(sha256.finalize())),
                bytes => sha256.update(&buffer[..bytes]),
            }
        }
    }

    fn scratch(&self, from: &Path, to: &Path) -> io::Result<Option<u32>> {
        self.meet("copy", to)?;
        let file = self.open(from, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let meta = file.metadata()?;
        let copy = || {
            let copy = self.create(to)?;
            pour(&file, &copy)?;
            Ok(None)
        };
        if meta.len() <= super::INLINE_BYTES_MAX as u64 {
            return copy();
        }
        let clone = self.create(to)?;
        if rustix::fs::ioctl_ficlone(&clone, &file).is_ok() {
            return Ok(None);
        }
        drop(clone);
        self.unlink(to)?;
        // Not of another user's file, whose rights are not ours to change.
        let read_only = Mode::from_raw_mode(meta.mode() & 0o555);
        let linked = std::fs::hard_link(self.absolute(from), self.absolute(to));
        if linked.is_ok() && rustix::fs::fchmod(&file, read_only).is_ok() {
            return Ok(Some(meta.mode() & 0o7777));
        }
        if linked.is_ok() {
            self.unlink(to)?;
        }
        copy()
    }

    fn set_mode(&self, file: &File, mode: u32) -> io::Result<()> {
        self.meet_file("set_mode", file)?;
        Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        self.meet("create", path)?;
        self.create_new(path, OFlags::WRONLY)
    }

    fn cut(&self, file: &File, n_bytes: u64) -> io::Result<()> {
        file.set_len(n_bytes)
    }

    fn lengthen(&self, file: &File, n_bytes: u64) -> io::Result<()> {
        self.meet_file("lengthen", file)?;
        let zeros = vec![0; ZEROS_BYTES];
        let mut at = file.metadata()?.len();
        while at < n_bytes {
            let piece = (n_bytes - at).min(ZEROS_BYTES as u64) as usize;
            file.write_all_at(&zeros[..piece], at)?;
            at += piece as u64;
        }
        Ok(())
    }

    fn give_rights(&self, dir: &Path) {
        super::tree::give_rights(CWD, self.absolute(dir));
    }

    fn is_foreign(&self, stat: &Stat) -> bool {
        let us = rustix::process::geteuid();
        !us.is_root() && stat.uid != us.as_raw()
    }

    fn list(&self, dir: &Path, each: &mut dyn FnMut(&OsStr, EntryKind)) -> io::Result<()> {
        self.meet("list", dir)?;
        let opened = match self.open(dir, OFlags::RDONLY | OFlags::DIRECTORY) {
            // Nor is anything listed that lies behind a link.
            Err(error) if is_no_dir(&error) => return Ok(()),
            opened => opened?,
        };
        each_entry(&opened, |name, kind| {
            each(OsStr::from_bytes(name.to_bytes()), kind_of(kind));
        })?;
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<File>> {
        self.meet("lock", path)?;
        let flags = OFlags::RDWR | OFlags::APPEND;
        loop {
            let opened = match self.create_new(path, flags) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.open(path, flags)
                }
                made => made,
            };
            let file = match opened {
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_beside(path) => {
                    continue;
                }
                opened => opened?,
            };
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            // Its last holder may have removed it meanwhile: then a lock on it excludes no process.
            let stat = self.stat(path)?;
            if stat.is_some_and(|stat| is_the_same(&file, &stat)) {
                return Ok(Some(file));
            }
        }
    }

    fn make_dir(&self, path: &Path) -> io::Result<bool> {
        self.meet("make_dir", path)?;
        match rustix::fs::mkdir(self.absolute(path), Mode::from(0o2750)) {
            Ok(()) => {
                self.hand_over(&self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?)?;
                Ok(true)
            }
            Err(rustix::io::Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn mount(&self) -> io::Result<Option<MountId>> {
        self.meet("mount", Path::new(""))?;
        mount_of(&self.root)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_small(path, READ_BYTES_MAX)
    }

    fn read_small(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        self.meet("read", path)?;
        plain::read(&self.absolute(path), Links::Refuse, bytes_max)
    }

    fn read_at(&self, file: &File, offset: u64, n_bytes: usize) -> io::Result<Vec<u8>> {
        self.meet_file("read_at", file)?;
        let mut bytes = vec![0; n_bytes];
        let mut read = 0;
        while read < n_bytes {
            match file.read_at(&mut bytes[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(read);
        Ok(bytes)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.meet("remove_dir", path)?;
        std::fs::remove_dir(self.absolute(path))
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        self.meet("remove_tree", path)?;
        super::tree::remove(&self.absolute(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.meet("rename", to)?;
        let (from, to) = (self.absolute(from), self.absolute(to));
        rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?;
        Ok(())
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.meet("replace", to)?;
        std::fs::rename(self.absolute(from), self.absolute(to))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        match self.meet("stat", path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            met => met?,
        }
        match std::fs::symlink_metadata(self.absolute(path)) {
            Ok(meta) => Ok(Some(Stat {
                bytes: meta.len(),
                changed_ns: meta.ctime() * 1_000_000_000 + meta.ctime_nsec(),
                inode: meta.ino(),
                kind: kind_of(FileType::from_raw_mode(meta.mode())),
                links: meta.nlink(),
                modified_ms: meta.mtime() * 1000 + meta.mtime_nsec() / 1_000_000,
                uid: meta.uid(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn sync_all(&self) -> io::Result<()> {
        self.meet("sync_all", Path::new(""))?;
        if self.opened.get().is_none() {
            let _ = self.opened.set(self.directory(Path::new(""))?);
        }
        match self.opened.get() {
            Some(root) => Ok(rustix::fs::syncfs(root)?),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        self.meet_file("sync_data", file)?;
        file.sync_data()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.meet("sync_dir", dir)?;
        self.directory(dir)?.sync_all()
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        self.meet_file("sync_file", file)?;
        file.sync_all()
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.meet("unlink", path)?;
        std::fs::remove_file(self.absolute(path))
    }

    fn update(&self, path: &Path) -> io::Result<File> {
        self.meet("update", path)?;
        plain::open(&self.absolute(path), Links::Refuse)
    }

    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        self.meet_file("write", file)?;
        let mut file = file;
        file.write_all(bytes)
    }

    fn write_at(&self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.meet_file("write_at", file)?;
        file.write_all_at(bytes, offset)
    }

    fn writable(&self, path: &Path) -> io::Result<File> {
        self.meet("writable", path)?;
        self.open(path, OFlags::RDWR)
    }

    fn writers(&self, path: &Path) -> io::Result<Writers> {
        self.meet("writers", path)?;
        super::lease::writers(&self.absolute(path))
    }
}

/// Copies an open file as long as it is at first, wherever its descriptor stands.
fn pour(from: &File, to: &File) -> io::Result<()> {
    let n_bytes = from.metadata()?.len();
    let mut buffer = vec![0_u8; 128 * 1024];
    let (mut at, mut to) = (0, to);
    while at < n_bytes {
        let room =
            usize::try_from(n_bytes - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        match from.read_at(&mut buffer[..room], at)? {
            0 => return Ok(()),
            bytes => {
                to.write_all(&buffer[..bytes])?;
                at += bytes as u64;
            }
        }
    }
    Ok(())
}

fn is_the_same(file: &File, stat: &Stat) -> bool {
    file.metadata().is_ok_and(|meta| meta.ino() == stat.inode)
}

fn kind_of(kind: FileType) -> EntryKind {
    if kind.is_file() {
        EntryKind::File
    } else if kind.is_dir() {
        EntryKind::Dir
    } else {
        EntryKind::Other
    }
}

/// Is there no directory of that name: nothing, or something else?
fn is_no_dir(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error();
    [Errno::LOOP, Errno::NOENT, Errno::NOTDIR]
        .iter()
        .any(|no_dir| errno == Some(no_dir.raw_os_error()))
}
