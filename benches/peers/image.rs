//! A filesystem of our own: an image file on the disk, mounted by a loop device. It promises a
//! fresh filesystem with a journal each time, whose flushes are all ours. Only root can do this.
//!
//! It is mounted in namespaces of the run's own, of mounts and of processes: whatever ends the
//! run, a kill included, the kernel ends all that it started, unmounts, and gives the device back.

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use std::{
    env,
    fs::{self, File},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Sparse: it takes what is written. One row writes up to four million files, and a default ext4
/// has an inode for each 16 KiB.
const IMAGE_BYTES: u64 = 128 << 30;
/// A row may write as much, and the disk is not ours alone.
const ROOM_BYTES_MIN: u64 = 8 << 30;
/// What `unshare` is asked for.
const NAMESPACES: [&str; 6] = [
    "--mount",
    "--propagation=private",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

/// Whether one can be mounted here.
pub(crate) fn is_possible(kind: Kind) -> anyhow::Result<()> {
    let root = rustix::process::geteuid().is_root();
    ensure!(root, "only root can mount one");
    run(Command::new("unshare").args(NAMESPACES).arg("true"))?;
    run(make_command(kind).arg("-V")).map(drop)
}

/// This program again, in namespaces of its own, with one argument more. It returns only if that
/// fails.
pub(crate) fn enter_namespaces(argument: &str) -> anyhow::Error {
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return error.into(),
    };
    let mut command = Command::new("unshare");
    command
        .args(NAMESPACES)
        .arg(program)
        .args(env::args_os().skip(1))
        .arg(argument);
    anyhow::Error::from(command.exec()).context("unshare")
}

/// Gone with this value.
pub(crate) struct Image {
    file: PathBuf,
    mount: PathBuf,
    /// As long as it is open, the loop device stays with its file.
    device: Option<File>,
    kind: Kind,
}

impl Image {
    pub(crate) fn mount(parent: &Path, kind: Kind) -> anyhow::Result<Self> {
        let mut image = Self {
            file: parent.join("peers.img"),
            mount: parent.join("peers-mount"),
            device: None,
            kind,
        };
        // The file of a run that was killed.
        image.remove();
        let space = rustix::fs::statvfs(parent)?;
        ensure!(
            space.f_bavail * space.f_frsize >= ROOM_BYTES_MIN,
            "{} has less than 8 GiB free; name a directory on another disk with --dir",
            parent.display()
        );
        let file = File::create(&image.file).context("cannot make the image")?;
        file.set_len(IMAGE_BYTES)?;
        fs::create_dir_all(&image.mount)?;
        run(make_command(kind).arg(&image.file))?;
        let mut attach = Command::new("losetup");
        let attach = attach.args(["--direct-io=on", "--find", "--show"]);
        let device = run(attach.arg(&image.file))?.trim().to_owned();
        let opened = File::open(&device);
        // While it is mounted or open this is a wish for later.
        run(Command::new("losetup").arg("-d").arg(&device))?;
        image.device = Some(opened.context("the loop device")?);
        flush_through(&device)?;
        image.attach(&device)?;
        Ok(image)
    }

    fn attach(&self, device: &str) -> anyhow::Result<()> {
        let mut mount = Command::new("mount");
        if self.kind == Kind::Ext4 {
            // Or a thread of the kernel goes on with what mkfs has left for later.
            mount.args(["-o", "noinit_itable"]);
        }
        run(mount.arg(device).arg(&self.mount)).map(drop)
    }

    /// Nothing of it is in the page cache afterwards.
    pub(crate) fn forget_cache(&self) -> anyhow::Result<()> {
        let device = self.device_path()?;
        run(Command::new("umount").arg(&self.mount))?;
        self.attach(&device)
    }

    fn device_path(&self) -> anyhow::Result<String> {
        use std::os::fd::AsRawFd;
        let Some(device) = &self.device else {
            bail!("the image has no device");
        };
        let path = fs::read_link(format!("/proc/self/fd/{}", device.as_raw_fd()))?;
        Ok(path.to_string_lossy().into_owned())
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.mount
    }

    fn is_mounted(&self) -> bool {
        let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
        let parent = self.mount.parent().and_then(device);
        device(&self.mount).is_some_and(|here| Some(here) != parent)
    }

    fn remove(&mut self) {
        // Programs that were just ended may hold it for a moment.
        for _ in 0..20 {
            if !self.is_mounted() {
                break;
            }
            let _ = run(Command::new("umount").arg(&self.mount));
            std::thread::sleep(Duration::from_millis(20));
        }
        self.device = None;
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_dir(&self.mount);
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Flushes go on to the file. A device remembers when its cache was declared to be none, and then
/// nothing is durable, at a speed to match.
fn flush_through(device: &str) -> anyhow::Result<()> {
    const WRITE_BACK: &str = "write back";
    let name = device.trim_start_matches("/dev/");
    let setting = PathBuf::from(format!("/sys/block/{name}/queue/write_cache"));
    if fs::read_to_string(&setting)?.trim() != WRITE_BACK {
        fs::write(&setting, WRITE_BACK).context("write_cache")?;
    }
    let set = fs::read_to_string(&setting)?;
    ensure!(
        set.trim() == WRITE_BACK,
        "{device} passes no flushes on: {} has {set}",
        setting.display()
    );
    Ok(())
}

/// The defaults, quietly, also on a file.
fn make_command(kind: Kind) -> Command {
    let (program, arguments) = match kind {
        Kind::Xfs => ("mkfs.xfs", ["-q", "-f"]),
        Kind::Ext4 => ("mkfs.ext4", ["-q", "-F"]),
    };
    let mut make = Command::new(program);
    make.args(arguments);
    make
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| {
        format!("cannot run {program}: apt-get install e2fsprogs xfsprogs mount util-linux")
    })?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
