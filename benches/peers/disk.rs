//! The disk under a directory: which it is, how often it was flushed, and making it quiet.

use crate::{scratch, stats};
use anyhow::{Context, bail};
use rustix::fs::{CWD, Mode, OFlags};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Instant,
};

/// Where `stat` of a block device has the number of flushes that ended, counted from zero:
/// the kernel's documentation calls it field 16.
const FLUSHES: usize = 15;

/// The filesystem type by the mount table, such as `ext4`.
pub(crate) fn filesystem(dir: &Path) -> anyhow::Result<String> {
    Ok(mount_entry(dir)?.0)
}

/// Such as `rw,discard`.
pub(crate) fn mount_options(dir: &Path) -> anyhow::Result<String> {
    Ok(mount_entry(dir)?.1)
}

/// Type and options of the filesystem itself.
fn mount_entry(dir: &Path) -> anyhow::Result<(String, String)> {
    let device = fs::metadata(dir)?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let table = fs::read_to_string("/proc/self/mountinfo").context("no mount table")?;
    let wanted = format!("{major}:{minor}");
    let line = table
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(&wanted));
    let rest = line.and_then(|line| line.split_once(" - "));
    let mut words = rest.map_or("", |(_, rest)| rest).split(' ');
    let kind = words.next().filter(|kind| !kind.is_empty());
    let options = words.nth(1).unwrap_or_default();
    Ok((kind.unwrap_or("unknown").to_owned(), options.to_owned()))
}

/// Does the ext4 on this device have one? The kernel shows those that are in use.
pub(crate) fn has_journal(device: &str) -> bool {
    let journals = fs::read_dir("/proc/fs/jbd2").into_iter().flatten();
    let mut names = journals.filter_map(|entry| Some(entry.ok()?.file_name()));
    let prefix = format!("{device}-");
    names.any(|name| name.to_string_lossy().starts_with(&prefix))
}

/// Waits until all that was written to the filesystem of `dir` is on the disk.
pub(crate) fn sync_filesystem(dir: &Path) -> anyhow::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let dir = rustix::fs::openat(CWD, dir, flags, Mode::empty())?;
    rustix::fs::syncfs(dir).context("cannot sync the filesystem")
}

/// What making a file takes now. Much more than 50 µs means that many files were deleted lately:
/// see `scratch`.
pub(crate) fn creation_micros() -> anyhow::Result<f64> {
    const N_FILES: u32 = 2000;
    let dir = scratch::dir("creation")?;
    let begun = Instant::now();
    for n in 0..N_FILES {
        fs::File::create_new(dir.join(n.to_string()))?;
    }
    Ok(stats::micros(begun.elapsed()) / f64::from(N_FILES))
}

/// A whole block device, as the kernel counts it.
pub(crate) struct Device {
    dir: PathBuf,
}

impl Device {
    /// The device that `path` lies on; a partition's own device, because flushes are counted there.
    pub(crate) fn of(path: &Path) -> anyhow::Result<Self> {
        let device = fs::metadata(path)?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let link = format!("/sys/dev/block/{major}:{minor}");
        let Ok(mut dir) = fs::canonicalize(&link) else {
            bail!(
                "{} is on no block device ({link} does not exist)",
                path.display()
            );
        };
        if dir.join("partition").exists() {
            dir.pop();
        }
        Ok(Self { dir })
    }

    pub(crate) fn name(&self) -> String {
        let name = self.dir.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// A property such as `queue/write_cache`.
    pub(crate) fn property(&self, name: &str) -> String {
        let text = fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        text.trim().to_owned()
    }

    /// Flushes since the start of the machine.
    pub(crate) fn flushes(&self) -> anyhow::Result<u64> {
        let text = self.property("stat");
        let field = text.split_whitespace().nth(FLUSHES);
        let field = field.context("this kernel counts no flushes (Linux 5.5 and later do)")?;
        field.parse().context("an odd count of flushes")
    }
}
