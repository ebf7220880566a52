//! A real filesystem in a sparse file, and its power cut.
//!
//! A cut is `FS_IOC_SHUTDOWN`: from one moment to the next the filesystem refuses every call, and
//! what its log and the page cache hold is lost. Mounting it again recovers its log, as after a
//! power cut. What this cannot show is a disk that loses what it reported as flushed.
//!
//! Mount, loop device and file go with the value, also on a panic.

use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Longer than the kernel takes to let go of a filesystem whose last user has ended.
const PATIENCE: Duration = Duration::from_secs(30);
const FS_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    pub(super) fn mkfs(self) -> &'static str {
        match self {
            Self::Ext4 => "mkfs.ext4",
            Self::Xfs => "mkfs.xfs",
        }
    }

    /// mkfs.xfs makes nothing smaller than 300 MB.
    fn bytes(self) -> u64 {
        match self {
            Self::Ext4 => 256 << 20,
            Self::Xfs => 320 << 20,
        }
    }
}

/// What becomes of the filesystem's log at a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// What is in memory is lost.
    LogLost,
    /// The log is written, but not the files' data: as when the power goes just after it was.
    LogWritten,
}

/// How long a sync takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    /// As on a disk with a safe cache: many jobs in a short time.
    Quick,
    /// As on a disk: much is under way at any moment.
    Slow,
}

pub(crate) struct Image {
    kind: Kind,
    file: PathBuf,
    mount: PathBuf,
    device: Option<String>,
    /// The mounted root, so that a cut takes one call.
    root: Option<File>,
}

impl Image {
    /// Makes and mounts a filesystem below `dir`. The error says what this machine cannot do.
    pub(crate) fn new(kind: Kind, dir: &Path) -> Result<Self, String> {
        let mut image = Self {
            kind,
            file: dir.join("image"),
            mount: dir.join("mount"),
            device: None,
            root: None,
        };
        let made = File::create_new(&image.file).and_then(|file| file.set_len(kind.bytes()));
        made.map_err(|error| format!("the image cannot be made: {error}"))?;
        fs::create_dir(&image.mount).map_err(|error| error.to_string())?;
        let flags: &[&str] = match kind {
            Kind::Ext4 => &["-q", "-F"],
            Kind::Xfs => &["-q", "-f"],
        };
        run(Command::new(kind.mkfs()).args(flags).arg(&image.file))?;
        image.attach()?;
        Ok(image)
    }

    /// A snapshot of it as it is at one moment while it is used, as those of a volume are taken: mounted below `dir`,
    /// with its log recovered.
    pub(crate) fn snapshot(&self, dir: &Path) -> Result<Self, String> {
        let mut snapshot = Self {
            kind: self.kind,
            file: dir.join("image"),
            mount: dir.join("mount"),
            device: None,
            root: None,
        };
        fs::create_dir(&snapshot.mount).map_err(|error| error.to_string())?;
        let freeze = |how| run(Command::new("fsfreeze").arg(how).arg(&self.mount));
        freeze("--freeze")?;
        let mut cp = Command::new("cp");
        let copied = run(cp.arg("--sparse=always").args([&self.file, &snapshot.file]));
        freeze("--unfreeze")?;
        copied?;
        snapshot.attach()?;
        Ok(snapshot)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    /// Mounts the file.
    fn attach(&mut self) -> Result<(), String> {
        let mut losetup = Command::new("losetup");
        let device = run(losetup.args(["-f", "--show"]).arg(&self.file))?;
        self.device = Some(device.trim().to_owned());
        self.mount()
    }

    /// Mounts it, which recovers its log.
    pub(crate) fn mount(&mut self) -> Result<(), String> {
        let device = self.device.as_deref().unwrap_or_default();
        let mut mount = Command::new("mount");
        run(mount
            .args(["-t", self.kind.name(), device])
            .arg(&self.mount))?;
        self.root = Some(File::open(&self.mount).map_err(|error| error.to_string())?);
        Ok(())
    }

    /// Says whether a flush of the loop device waits for the host's disk. It makes no difference to
    /// what a cut leaves, as the host is not cut: only to how long a sync takes.
    pub(super) fn set_flush(&self, flush: Flush) {
        let device = self.device.as_deref().unwrap_or_default();
        let name = device.trim_start_matches("/dev/");
        let path = format!("/sys/block/{name}/queue/write_cache");
        let value = match flush {
            Flush::Quick => "write through",
            Flush::Slow => "write back",
        };
        // A kernel without it has slow flushes only.
        let _ = fs::write(path, value);
    }

    /// The power goes.
    pub(crate) fn cut(&self, how: Cut) {
        // `FS_SHUTDOWN_FLAGS_LOGFLUSH` and `…_NOLOGFLUSH`, which both filesystems have.
        let flags = match how {
            Cut::LogWritten => 1,
            Cut::LogLost => 2,
        };
        shut_down(self.root.as_ref().unwrap(), flags).unwrap();
    }

    /// Waits until no one uses it any more, and unmounts it.
    pub(crate) fn unmount(&mut self) -> Result<(), String> {
        self.root = None;
        let begun = Instant::now();
        loop {
            match run(Command::new("umount").arg(&self.mount)) {
                Ok(_) => return Ok(()),
                Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// The share of the space, or of the files, that is in use.
    pub(super) fn used(&self) -> f64 {
        let stat = rustix::fs::statvfs(&self.mount).unwrap();
        let share = |free: u64, all: u64| 1.0 - free as f64 / all as f64;
        share(stat.f_bavail, stat.f_blocks).max(share(stat.f_favail, stat.f_files.max(1)))
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.root.take().is_some() {
            let gone = run(Command::new("umount").arg(&self.mount));
            if gone.is_err() {
                // Someone uses it; it goes when they do.
                let _ = run(Command::new("umount").arg("-l").arg(&self.mount));
            }
        }
        if let Some(device) = &self.device {
            let _ = run(Command::new("losetup").args(["-d", device]));
        }
        let _ = fs::remove_file(&self.file);
    }
}

/// Runs a program; gives its output, or what it said.
pub(super) fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{name} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name}: {}", said.trim()))
}

#[allow(unsafe_code)]
fn shut_down(root: &File, flags: u32) -> io::Result<()> {
    // SAFETY: the call reads one `u32` through the pointer, which lives until it returns; the
    // descriptor is open for as long as `root` is borrowed. No crate in use offers this call.
    let outcome = unsafe { libc::ioctl(root.as_raw_fd(), FS_IOC_SHUTDOWN, &raw const flags) };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
