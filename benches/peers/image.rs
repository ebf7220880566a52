//! A filesystem of our own: an image file on the disk, mounted by a loop device. It promises a
//! fresh filesystem with a journal for each run, whose flushes are all ours, and that it is
//! unmounted and removed at the end. Only root can do this.

use anyhow::{Context, ensure};
use clap::ValueEnum;
use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Sparse: it takes what is written.
const IMAGE_BYTES: u64 = 40 << 30;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

/// Gone with this value.
pub(crate) struct Image {
    file: PathBuf,
    mount: PathBuf,
}

impl Image {
    pub(crate) fn mount(parent: &Path, kind: Kind) -> anyhow::Result<Self> {
        let root = rustix::process::geteuid().is_root();
        ensure!(root, "only root can mount an image; run without --image");
        let image = Self {
            file: parent.join("peers.img"),
            mount: parent.join("peers-mount"),
        };
        // What a run left that was killed.
        image.remove();
        let file = File::create(&image.file).context("cannot make the image")?;
        file.set_len(IMAGE_BYTES)?;
        fs::create_dir_all(&image.mount)?;
        let mut make = match kind {
            Kind::Ext4 => {
                let mut make = Command::new("mkfs.ext4");
                // Now, and not in the background while we measure; inodes for millions of files.
                let now = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
                make.args(["-q", "-F", "-i", "8192", "-E", now]);
                make
            }
            Kind::Xfs => {
                let mut make = Command::new("mkfs.xfs");
                make.args(["-q", "-f", "-K"]);
                make
            }
        };
        run(make.arg(&image.file))?;
        let mut attach = Command::new("losetup");
        let attach = attach.args(["--direct-io=on", "--find", "--show"]);
        let device = run(attach.arg(&image.file))?.trim().to_owned();
        let mounted = run(Command::new("mount").arg(&device).arg(&image.mount));
        // While it is mounted this is a wish for later: the device goes with the mount.
        let detached = run(Command::new("losetup").arg("-d").arg(device));
        mounted.and(detached)?;
        Ok(image)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.mount
    }

    fn is_mounted(&self) -> bool {
        let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
        let parent = self.mount.parent().and_then(device);
        device(&self.mount).is_some_and(|here| Some(here) != parent)
    }

    fn remove(&self) {
        // Programs that were just ended may hold it for a moment.
        for _ in 0..20 {
            let _ = run(Command::new("umount").arg(&self.mount));
            if !self.is_mounted() {
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_dir(&self.mount);
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        self.remove();
    }
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| {
        format!("cannot run {program}: apt-get install e2fsprogs xfsprogs mount")
    })?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
