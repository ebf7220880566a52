//! A control group for each run, where the kernel has version 2 and we may make one: whatever is in
//! it ends by one write, however fast it forks.
//!
//! One is made only below a group that was given to us: where a service manager rules, by its mark.
//! Without one the supervisor does alone.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

const PREFIX: &str = "spoolgate-run-";

pub(super) struct Group {
    dir: PathBuf,
}

impl Group {
    /// The group of the supervisor with this number; `None` where none can be made.
    pub(super) fn make(supervisor: u32) -> Option<Self> {
        let dir = ours()?.join(name(supervisor));
        fs::create_dir(&dir).ok()?;
        let group = Self { dir };
        // Without this file it is of no use.
        group.dir.join("cgroup.kill").exists().then_some(group)
    }

    /// The one that a supervisor has left behind.
    pub(super) fn of(supervisor: u32) -> Option<Self> {
        let dir = ours()?.join(name(supervisor));
        dir.is_dir().then_some(Self { dir })
    }

    /// Removes what supervisors have left that were killed, and their starters with them.
    pub(super) fn sweep() {
        let entries = ours().and_then(|dir| fs::read_dir(dir).ok());
        for entry in entries.into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                // One that is not empty is someone's.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }

    /// Where a process writes to enter the group.
    pub(super) fn entrance(&self) -> Option<File> {
        let path = self.dir.join("cgroup.procs");
        File::options().write(true).open(path).ok()
    }

    /// Kills all that is in it.
    pub(super) fn kill(&self) {
        let opened = File::options()
            .write(true)
            .open(self.dir.join("cgroup.kill"));
        if let Ok(mut file) = opened {
            // The caller checks whether anything is left.
            let _ = file.write_all(b"1");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // One that is not empty stays, and is in no one's way.
        let _ = fs::remove_dir(&self.dir);
    }
}

fn name(supervisor: u32) -> String {
    format!("{PREFIX}{supervisor}")
}

/// Our own group, if groups may be made in it.
fn ours() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let dir = own_dir(&groups, &mounts)?;
    is_given(&dir).then_some(dir)
}

fn own_dir(groups: &str, mounts: &str) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mount = mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ")
            .then(|| place.split(' ').nth(4))?
    })?;
    Some(Path::new(mount).join(path))
}

fn is_given(dir: &Path) -> bool {
    if !Path::new("/run/systemd/system").exists() {
        return true;
    }
    ["trusted.delegate", "user.delegate"].iter().any(|name| {
        let mut value = [0_u8; 8];
        rustix::fs::getxattr(dir, *name, &mut value).is_ok_and(|n| &value[..n] == b"1")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_group_is_below_the_mount_of_version_2() {
        let mounts = "25 20 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             30 25 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        let groups = "9:name=systemd:/\n0::/system.slice/spoolgate.service\n";
        let dir = own_dir(groups, mounts).unwrap();
        let expected = "/sys/fs/cgroup/unified/system.slice/spoolgate.service";
        assert_eq!(dir, Path::new(expected));
        assert_eq!(own_dir("9:name=systemd:/\n", mounts), None);
        assert_eq!(own_dir(groups, ""), None);
    }
}
