//! Which mount of its filesystem, in which boot of the machine, a spool is on.
//!
//! What a process has written to files stays when only the process ends: the kernel has it. It may
//! be gone after a reboot, and also when the filesystem alone went away and was mounted anew, which
//! keeps the boot's id. So both are compared. A service in a mount namespace of its own, as in a
//! container or by a hardened unit, has another mount at each start; there each start is treated as
//! one after a reboot, which loses nothing.

use rustix::{
    fs::{AtFlags, CWD, StatxFlags},
    io::Errno,
};
use std::{fs, io, path::Path};
use uuid::Uuid;

/// The flag of statx(2) by which a mount's id is one that is never given again: Linux 6.8, like
/// `STATX_MNT_ID_UNIQUE` in `linux/stat.h`.
const MNT_ID_UNIQUE: u32 = 0x4000;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// One mount in one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountId {
    pub(super) boot: u128,
    pub(super) mount: u64,
}

/// Of the filesystem at `path`; `None` where the system cannot tell.
///
/// # Errors
/// When `path` cannot be looked at.
pub(super) fn mount_of(path: &Path) -> io::Result<Option<MountId>> {
    let mask = StatxFlags::from_bits_retain(MNT_ID_UNIQUE);
    let stat = match rustix::fs::statx(CWD, path, AtFlags::empty(), mask) {
        Err(Errno::NOSYS) => return Ok(None),
        stat => stat?,
    };
    if stat.stx_mask & MNT_ID_UNIQUE == 0 {
        return Ok(None);
    }
    let boot = fs::read_to_string(BOOT_ID).ok();
    let boot = boot.and_then(|text| Some(Uuid::parse_str(text.trim()).ok()?.as_u128()));
    let mount = stat.stx_mnt_id;
    Ok(boot.map(|boot| MountId { boot, mount }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mount_has_one_id_and_another_mount_another() {
        let dir = tempfile::tempdir().unwrap();
        let Some(id) = mount_of(dir.path()).unwrap() else {
            return eprintln!("this system does not tell mounts apart");
        };
        assert_eq!(mount_of(dir.path()).unwrap(), Some(id));
        let other = mount_of(Path::new("/proc")).unwrap().unwrap();
        assert_eq!(other.boot, id.boot);
        assert_ne!(other.mount, id.mount);
        assert!(mount_of(&dir.path().join("nothing")).is_err());
    }
}
