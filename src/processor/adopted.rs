//! Ending a command that outlived the service which started it.
//!
//! Its supervisor goes on, ends it in time, and has the lock file open for writing, as the command
//! has: by that the two are known, whatever numbers processes have. A supervisor that is asked to
//! end ends the whole run.

use super::starter::GRACE;
use rustix::process::{Pid, Signal, getpgid, getpid, kill_process_group};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    time::Duration,
};

/// When an adopted command is ended: when it takes too long, or when the service stops.
#[derive(Debug)]
pub struct Ending {
    output: PathBuf,
    /// When its time is over, in milliseconds of the Unix epoch.
    deadline_ms: i64,
    /// When it was asked to end.
    asked_ms: Option<i64>,
}

impl Ending {
    /// `output` is the command's lock file; `limit` is how long a run may take.
    pub fn new(output: PathBuf, started_ms: i64, limit: Option<Duration>) -> Self {
        let limit_ms = limit.and_then(|limit| i64::try_from(limit.as_millis()).ok());
        Self {
            output,
            deadline_ms: started_ms.saturating_add(limit_ms.unwrap_or(i64::MAX)),
            asked_ms: None,
        }
    }

    /// To be called again and again until the command has ended.
    pub fn look(&mut self, now_ms: i64, stop: bool) {
        let grace_ms = i64::try_from(GRACE.as_millis()).unwrap_or(i64::MAX);
        match self.asked_ms {
            // Its supervisor ends it in time by itself; this is for one that cannot.
            None if stop || now_ms >= self.deadline_ms.saturating_add(2 * grace_ms) => {
                tracing::warn!(output = %self.output.display(), "an adopted command is ended");
                self.asked_ms = Some(now_ms);
                self.signal(Signal::TERM);
            }
            // Its supervisor had time to do that.
            Some(asked_ms) if now_ms >= asked_ms.saturating_add(3 * grace_ms) => {
                self.signal(Signal::KILL);
            }
            None | Some(_) => {}
        }
    }

    fn signal(&self, signal: Signal) {
        // Not opened for writing, so that we are none of them.
        if let Ok(output) = File::open(&self.output) {
            signal_writers(&output, signal);
        }
    }
}

/// Signals every process group, except our own, that has the file open for writing. How many those
/// are.
pub(super) fn signal_writers(file: &File, signal: Signal) -> usize {
    let Ok(wanted) = file.metadata() else {
        return 0;
    };
    let mut groups = BTreeSet::new();
    for pid in processes() {
        if writes(pid, wanted.dev(), wanted.ino())
            && let Ok(group) = getpgid(Some(pid))
        {
            groups.insert(group.as_raw_nonzero());
        }
    }
    if let Ok(ours) = getpgid(None) {
        groups.remove(&ours.as_raw_nonzero());
    }
    let n_groups = groups.len();
    for group in groups {
        if let Some(group) = Pid::from_raw(group.get()) {
            // One that has just ended is what is wanted.
            let _ = kill_process_group(group, signal);
        }
    }
    n_groups
}

fn processes() -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let pids = numbers.filter_map(Pid::from_raw);
    pids.filter(|pid| *pid != getpid()).collect()
}

/// Has the process that file open for writing? What cannot be read is not ours.
fn writes(pid: Pid, device: u64, inode: u64) -> bool {
    let proc = format!("/proc/{}", pid.as_raw_nonzero());
    let open = fs::read_dir(format!("{proc}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    open.into_iter().any(|entry| {
        let same = fs::metadata(entry.path()).is_ok_and(|m| m.dev() == device && m.ino() == inode);
        let number = entry.file_name();
        same && is_writable(&format!("{proc}/fdinfo/{}", number.to_string_lossy()))
    })
}

/// The access mode in `/proc/<pid>/fdinfo/<fd>`: a process that only reads the output is an
/// operator's.
fn is_writable(fdinfo: &str) -> bool {
    let text = fs::read_to_string(fdinfo).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok());
    flags.is_some_and(|flags| flags & 0o3 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::process::CommandExt,
        process::{Child, Command},
    };

    fn sleeper(output: File) -> Child {
        let mut command = Command::new("sleep");
        command.arg("60").stdout(output).process_group(0);
        command.spawn().unwrap()
    }

    #[test]
    fn writers_end_and_readers_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let mut writer = sleeper(File::create(&path).unwrap());
        let mut reader = sleeper(File::open(&path).unwrap());
        let mut other = sleeper(File::create(dir.path().join("other")).unwrap());
        assert_eq!(signal_writers(&File::open(&path).unwrap(), Signal::TERM), 1);
        assert!(!writer.wait().unwrap().success());
        for bystander in [&mut reader, &mut other] {
            assert!(bystander.try_wait().unwrap().is_none(), "it was no writer");
            bystander.kill().unwrap();
            bystander.wait().unwrap();
        }
    }
}
