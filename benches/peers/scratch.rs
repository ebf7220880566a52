//! The one directory that everything temporary lies in. It promises that two runs do not disturb
//! each other, that the directory is on a disk, that each row finds it new where a filesystem can
//! be made for it, and that it is removed, also after a panic.
//!
//! Nothing in it is removed before the end. ext4 does not give the inode of a file that was
//! deleted in the last minutes to a new one, and looks at each such inode whenever it makes a
//! file: after 50 000 deletions nearby a creation takes a millisecond of processor time. So
//! what a round leaves is left, and the next one gets a directory elsewhere on the disk.

use crate::{
    children, disk,
    image::{Image, Kind},
};
use anyhow::{Context, bail, ensure};
use rustix::fs::{CWD, IFlags, Mode, OFlags};
use std::{
    fs::{self, File, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

/// With less room than this, what has been abandoned is removed after all.
const FREE_BYTES_MIN: u64 = 16 << 30;
/// With less room than this on the disk below an image, the run ends before others feel it.
const FREE_BYTES_LAST: u64 = 4 << 30;

static PLACE: Mutex<Option<Place>> = Mutex::new(None);
static ABANDONED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static N_DIRS: AtomicU32 = AtomicU32::new(0);

struct Place {
    parent: PathBuf,
    /// In which `root` is.
    image: Option<Image>,
    root: PathBuf,
}

/// Removes the directory when it is dropped; holds the lock until then.
pub(crate) struct Scratch {
    _lock: File,
}

/// In `parent`, or in a filesystem of its own that is made there.
pub(crate) fn take(parent: Option<&Path>, image: Option<Kind>) -> anyhow::Result<Scratch> {
    let parent = parent.unwrap_or(Path::new(env!("CARGO_TARGET_TMPDIR")));
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let parent = fs::canonicalize(parent)?;
    let filesystem = disk::filesystem(&parent)?;
    if matches!(filesystem.as_str(), "tmpfs" | "ramfs" | "overlay") {
        bail!(
            "{} is on {filesystem}, not on a disk; name a directory on a disk with --dir",
            parent.display()
        );
    }
    let lock = lock()?;
    *held(&PLACE) = Some(Place::new(parent, image)?);
    Ok(Scratch { _lock: lock })
}

impl Place {
    fn new(parent: PathBuf, kind: Option<Kind>) -> anyhow::Result<Self> {
        let image = kind.map(|kind| Image::mount(&parent, kind)).transpose()?;
        let root = image.as_ref().map_or(&*parent, Image::dir).join("peers");
        // What a run left that was killed.
        remove(&root)?;
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        spread(&root);
        Ok(Self {
            parent,
            image,
            root,
        })
    }
}

/// For the next row: a new filesystem, where one can be made.
pub(crate) fn fresh() -> anyhow::Result<()> {
    let mut place = held(&PLACE);
    let Some(Place { parent, image, .. }) = place.take() else {
        bail!("the scratch directory has been removed");
    };
    let kind = image.as_ref().map(Image::kind);
    drop(image);
    held(&ABANDONED).clear();
    *place = Some(Place::new(parent, kind)?);
    Ok(())
}

/// What the directory is on, in words.
pub(crate) fn filesystem() -> anyhow::Result<String> {
    let root = root()?;
    let filesystem = disk::filesystem(&root)?;
    let journal = match filesystem.as_str() {
        "ext4" if disk::has_journal(&disk::Device::of(&root)?.name()) => " with a journal",
        "ext4" => " **without a journal**",
        _ => "",
    };
    let is_made = held(&PLACE)
        .as_ref()
        .is_some_and(|place| place.image.is_some());
    Ok(if is_made {
        format!("a fresh {filesystem}{journal}")
    } else {
        format!("the directory's own {filesystem}{journal}, used before")
    })
}

/// What was read is read from the disk again, if the filesystem was made by us; says whether. No
/// program may have anything open in it.
pub(crate) fn forget_cache() -> anyhow::Result<bool> {
    match held(&PLACE).as_ref().and_then(|place| place.image.as_ref()) {
        Some(image) => image.forget_cache().map(|()| true),
        None => Ok(false),
    }
}

/// Two runs at a time would measure each other.
fn lock() -> anyhow::Result<File> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers.lock");
    fs::create_dir_all(env!("CARGO_TARGET_TMPDIR"))?;
    let lock = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("another run of this benchmark is under way; waiting for its end");
            lock.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error).context("cannot lock"),
    }
    Ok(lock)
}

fn held<T>(what: &'static Mutex<T>) -> MutexGuard<'static, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let root = held(&PLACE).as_ref().map(|place| place.root.clone());
    root.context("the scratch directory has been removed")
}

/// In bytes: what can be written, here and on the disk below.
pub(crate) fn room() -> anyhow::Result<u64> {
    let free = |path: &Path| -> anyhow::Result<u64> {
        let space = rustix::fs::statvfs(path)?;
        Ok(space.f_bavail * space.f_frsize)
    };
    let place = held(&PLACE);
    let place = place
        .as_ref()
        .context("the scratch directory has been removed")?;
    let below = free(&place.parent)?;
    ensure!(
        below > FREE_BYTES_LAST || place.image.is_none(),
        "the disk of {} is nearly full",
        place.parent.display()
    );
    Ok(below.min(free(&place.root)?))
}

/// A new directory. Its name is new, too, because ext4 chooses the place on the disk by it.
pub(crate) fn dir(name: &str) -> anyhow::Result<PathBuf> {
    let root = root()?;
    let number = N_DIRS.fetch_add(1, Ordering::Relaxed);
    let moment = jiff::Timestamp::now().as_millisecond();
    let dir = root.join(format!("{name}-{moment}-{number}"));
    fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    room()?;
    let space = rustix::fs::statvfs(&root)?;
    if space.f_bavail * space.f_frsize < FREE_BYTES_MIN {
        eprintln!("  making room on the disk; this disturbs the figures");
        for old in held(&ABANDONED).drain(..) {
            remove(&old)?;
        }
    }
    Ok(dir)
}

/// The directory is not needed any more.
pub(crate) fn abandon(dir: &Path) {
    held(&ABANDONED).push(dir.into());
}

/// Asks ext4 to spread the directories in this one over the disk, as those of the top level.
fn spread(root: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    // Other filesystems do not know this spec, and need it less.
    if let Ok(dir) = rustix::fs::openat(CWD, root, flags, Mode::empty())
        && let Ok(flags) = rustix::fs::ioctl_getflags(&dir)
    {
        let _ = rustix::fs::ioctl_setflags(&dir, flags | IFlags::TOPDIR);
    }
}

/// By many threads: on a disk that is told of each freed block (mount option `discard`) a
/// deletion is a wait for the disk.
fn remove(dir: &Path) -> anyhow::Result<()> {
    const THREADS: usize = 64;
    let walk = walkdir::WalkDir::new(dir).contents_first(false);
    let entries = walk.into_iter().filter_map(Result::ok);
    let files = entries.filter(|entry| !entry.file_type().is_dir());
    let files = Mutex::new(files.map(walkdir::DirEntry::into_path));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let next = files.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(file) = next else { break };
                    // What cannot be removed is reported below.
                    let _ = fs::remove_file(file);
                }
            });
        }
    });
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Ends what runs in it and removes it; what follows finds no scratch directory any more.
pub(crate) fn clear() {
    children::end_all();
    let place = held(&PLACE).take();
    if let Some(Place {
        image: None, root, ..
    }) = place
    {
        eprintln!("removing what was made");
        // Best effort: the next run removes what is left.
        let _ = remove(&root);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        clear();
    }
}
