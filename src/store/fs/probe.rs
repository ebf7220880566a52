//! Proof, at start, that the directories can keep the promise: one filesystem, renames that do
//! not replace, directory syncs, leases. What a filesystem can do is tried once for each mount, what
//! differs between directories is looked at in each: a start with a thousand interfaces syncs no
//! more often than one with ten. What loses data by nature (tmpfs, network
//! filesystems, mounts without barriers) is refused unless the configuration accepts the risk.

use super::{Fs, RealFs, Spool, lease};
use rustix::{
    fs::{Access, AtFlags, CWD, FileType, StatxFlags, makedev},
    io::Errno,
};
use std::{
    collections::BTreeSet,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("{}: cannot {what}: {source}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "{}: is on another filesystem than the spool; all directories of a spool must be on one, \
         so that a job moves by a rename", path.display()
    )]
    OtherFilesystem { path: PathBuf },
    #[error(
        "{}: the spool is on {what}; acknowledged jobs could be lost there. Use a local disk \
         (ext4, XFS), or set `accept_risk = true` under [spool]", path.display()
    )]
    Risky { path: PathBuf, what: String },
    #[error("{}: is a symbolic link or not a directory; make it a directory", path.display())]
    NotADirectory { path: PathBuf },
}

impl Spool {
    /// Tries every operation that the durability protocol needs, once on each mount of the directories that are
    /// there, and looks whether files can be made in each. Gives warnings for what is missing but can be done without.
    ///
    /// # Errors
    /// Each says what an operator has to do: nothing may be accepted on such a spool.
    /// [`ProbeError::Risky`] can be overruled by the configuration.
    pub fn probe(&self) -> Result<Vec<String>, ProbeError> {
        let mut dirs: Vec<PathBuf> = ["tmp", "joberrors", "joblog", "results", "idem"]
            .map(PathBuf::from)
            .into();
        for state in ["queue", "deferred", "work", "bak"].map(Path::new) {
            let interfaces = self.interfaces().into_iter();
            dirs.extend(interfaces.map(|name| state.join(name.as_str())));
        }
        probe(&self.fs, &dirs, self.accepts_risk)
    }
}

fn probe(fs: &RealFs, dirs: &[PathBuf], accepts_risk: bool) -> Result<Vec<String>, ProbeError> {
    let mut warnings = Vec::new();
    let root = fs.absolute(Path::new(""));
    if let Some(what) = risk(&root)? {
        if !accepts_risk {
            return Err(ProbeError::Risky { path: root, what });
        }
        warnings.push(format!("the spool is on {what}; the risk is accepted"));
    }
    let device = Looked::at(&root)?.map(|root| root.device);
    let mut tried = BTreeSet::new();
    for dir in dirs {
        let absolute = fs.absolute(dir);
        // What is only looked at may lack some, which a start makes.
        let Some(looked) = Looked::at(&absolute)? else {
            continue;
        };
        if !looked.is_dir {
            return Err(ProbeError::NotADirectory { path: absolute });
        }
        if Some(looked.device) != device {
            return Err(ProbeError::OtherFilesystem { path: absolute });
        }
        is_open_to_us(&absolute)?;
        if looked.mount.is_none_or(|mount| tried.insert(mount)) {
            probe_dir(fs, dir, &mut warnings)?;
        }
    }
    warnings.sort();
    warnings.dedup();
    Ok(warnings)
}

/// What one look says of a directory.
struct Looked {
    is_dir: bool,
    /// Of its filesystem.
    device: u64,
    /// The mount that it is on, as one of now; `None` where the system cannot tell. One filesystem can be mounted at
    /// several places, between which no file is renamed.
    mount: Option<u64>,
}

impl Looked {
    /// `None`: nothing is there.
    fn at(path: &Path) -> Result<Option<Self>, ProbeError> {
        let mask = StatxFlags::TYPE | StatxFlags::MNT_ID;
        let looked = match rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, mask) {
            // A system that does not have the call.
            Err(Errno::NOSYS) => path.symlink_metadata().map(|meta| Self {
                is_dir: meta.is_dir(),
                device: meta.dev(),
                mount: None,
            }),
            Err(error) => Err(error.into()),
            Ok(stat) => {
                let is_told = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
                Ok(Self {
                    is_dir: FileType::from_raw_mode(stat.stx_mode.into()).is_dir(),
                    device: makedev(stat.stx_dev_major, stat.stx_dev_minor),
                    mount: is_told.then_some(stat.stx_mnt_id),
                })
            }
        };
        match looked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            looked => looked.map(Some).map_err(|source| ProbeError::Io {
                what: "look at it",
                path: path.into(),
                source,
            }),
        }
    }
}

/// May we list the directory, and make files there?
fn is_open_to_us(dir: &Path) -> Result<(), ProbeError> {
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::access(dir, all).map_err(|error| ProbeError::Io {
        what: "list it and make files in it",
        path: dir.into(),
        source: error.into(),
    })
}

fn probe_dir(fs: &RealFs, dir: &Path, warnings: &mut Vec<String>) -> Result<(), ProbeError> {
    let name = format!(".probe.{}", std::process::id());
    let (first, second) = (Path::new("tmp").join(&name), dir.join(format!("{name}.2")));
    // Leftovers of a probe that was cut off.
    let _ = (fs.unlink(&first), fs.unlink(&second));
    let outcome = try_all(fs, dir, &first, &second, warnings);
    let _ = (fs.unlink(&first), fs.unlink(&second));
    outcome
}

fn try_all(
    fs: &RealFs,
    dir: &Path,
    first: &Path,
    second: &Path,
    warnings: &mut Vec<String>,
) -> Result<(), ProbeError> {
    let failed = |what: &'static str| {
        let path = fs.absolute(dir);
        move |source: io::Error| ProbeError::Io { what, path, source }
    };
    let file = match fs.create(first) {
        Err(error) if super::is_full(&error) => {
            warnings.push("the disk is full: not every operation could be tried".into());
            return Ok(());
        }
        created => created.map_err(failed("create a file"))?,
    };
    match fs.write(&file, b"probe") {
        Err(error) if super::is_full(&error) => {
            warnings.push("the disk is full: not every operation could be tried".into());
            return Ok(());
        }
        written => written.map_err(failed("write a file"))?,
    }
    fs.sync_file(&file).map_err(failed("sync a file"))?;
    drop(file);
    fs.rename(first, second)
        .map_err(failed("rename without replacing"))?;
    fs.sync_dir(dir).map_err(failed("sync the directory"))?;
    drop(fs.create(first).map_err(failed("create a file"))?);
    match fs.rename(first, second) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Ok(()) => {
            let error = io::Error::other("the rename replaced a file");
            return Err(failed("rename without replacing")(error));
        }
        Err(error) => return Err(failed("rename without replacing")(error)),
    }
    if !lease::leases_work(&fs.absolute(second)).map_err(failed("take a lease"))? {
        let text = "leases do not work: a dropped file counts as complete once its writer was seen to \
                    close it, or after 30 seconds without a change";
        warnings.push(text.into());
    }
    Ok(())
}

/// Why the filesystem cannot keep what was acknowledged, if so.
fn risk(root: &Path) -> Result<Option<String>, ProbeError> {
    let stat = rustix::fs::statfs(root).map_err(|error| ProbeError::Io {
        what: "ask for the filesystem",
        path: root.into(),
        source: error.into(),
    })?;
    let kind = match stat.f_type {
        0x0102_1994 => Some("tmpfs, which is memory"),
        0x8584_58f6 => Some("ramfs, which is memory"),
        0x6969 => Some("NFS, whose renames and syncs are not dependable"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => Some("SMB, a network filesystem"),
        0x6573_5546 => Some("FUSE, whose syncs are not known"),
        0x00c3_6400 => Some("CephFS, which has no rename without replacing"),
        0x0102_1997 => Some("9p, a network filesystem"),
        _ => None,
    };
    if let Some(kind) = kind {
        return Ok(Some(kind.into()));
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let absolute = root.canonicalize().unwrap_or_else(|_| root.into());
    Ok(no_barrier(&mounts, &absolute)
        .then(|| "a filesystem that is mounted without barriers".to_owned()))
}

/// Is `path` on a mount with `nobarrier` or `barrier=0`? `mounts` is `/proc/self/mountinfo`.
fn no_barrier(mounts: &str, path: &Path) -> bool {
    let best = mounts
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let at = fields.get(4)?;
            path.starts_with(at).then_some((at.len(), line))
        })
        .max_by_key(|(length, _)| *length);
    best.is_some_and(|(_, line)| {
        line.split([' ', ','])
            .any(|option| option == "nobarrier" || option == "barrier=0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fs::faults::Faults;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_plain_directory_passes_and_leaves_nothing() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let fs = RealFs::new(dir.path());
        for made in ["tmp", "queue"] {
            fs.make_dir(Path::new(made)).unwrap();
        }
        probe(&fs, &["tmp".into(), "queue".into()], true).unwrap();
        for left in ["tmp", "queue"] {
            assert_eq!(std::fs::read_dir(dir.path().join(left)).unwrap().count(), 0);
        }
        std::os::unix::fs::symlink("queue", dir.path().join("bak")).unwrap();
        let refused = probe(&fs, &["bak".into()], true).unwrap_err();
        assert!(
            matches!(refused, ProbeError::NotADirectory { .. }),
            "{refused}"
        );
    }

    /// A start with many interfaces waits for the disk no more often than one with few.
    #[test]
    fn what_a_mount_can_do_is_tried_once() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let fs = RealFs::new(dir.path());
        let dirs: Vec<PathBuf> = (0..40).map(|n| format!("queue{n}").into()).collect();
        for made in dirs.iter().map(PathBuf::as_path).chain([Path::new("tmp")]) {
            fs.make_dir(made).unwrap();
        }
        let calls_of = |dirs: &[PathBuf]| {
            let before = Faults::of(dir.path()).calls();
            probe(&fs, dirs, true).unwrap();
            Faults::of(dir.path()).calls() - before
        };
        let looked = Looked::at(dir.path()).unwrap().unwrap();
        if looked.mount.is_none() {
            return eprintln!("skipped: this system does not tell mounts apart");
        }
        assert_eq!(calls_of(&dirs), calls_of(&dirs[..1]));
    }

    /// Root may write everywhere.
    #[test]
    fn a_directory_that_is_not_open_to_us_is_told() {
        if rustix::process::geteuid().is_root() {
            return eprintln!("skipped: root may write everywhere");
        }
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let fs = RealFs::new(dir.path());
        for made in ["tmp", "queue"] {
            fs.make_dir(Path::new(made)).unwrap();
        }
        let shut = std::fs::Permissions::from_mode(0o550);
        std::fs::set_permissions(dir.path().join("queue"), shut).unwrap();
        let refused = probe(&fs, &["tmp".into(), "queue".into()], true).unwrap_err();
        assert!(
            refused.to_string().contains("make files in it"),
            "{refused}"
        );
    }

    #[test]
    fn memory_is_refused_unless_accepted() {
        let shm = Path::new("/dev/shm");
        if !shm.is_dir() {
            eprintln!("skipped: no tmpfs at /dev/shm");
            return;
        }
        let fs = RealFs::new(shm);
        let refused = probe(&fs, &[], false).unwrap_err();
        assert!(refused.to_string().contains("tmpfs"), "{refused}");
        probe(&fs, &[], true).unwrap();
    }

    #[test]
    fn a_mount_without_barriers_is_found() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n\
                      2 1 8:2 / /var rw - ext4 /dev/b rw,nobarrier\n";
        assert!(no_barrier(mounts, Path::new("/var/spool")));
        assert!(!no_barrier(mounts, Path::new("/srv/spool")));
    }
}
