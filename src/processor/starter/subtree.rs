//! The processes below one, and signals for all of them.
//!
//! Below a process that adopts orphans is everything that descends from it, whatever sessions and
//! groups it has made. What forks faster than it can be listed is met again in the next round.

use rustix::process::{Pid, Signal, getpid, kill_process};
use std::{collections::HashMap, fs};

/// All processes below us that live, except `spared` and those below them.
pub(super) fn below_us(spared: &[Pid]) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (pid, parent) in living() {
        children.entry(parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut pending = vec![getpid().as_raw_nonzero().get()];
    while let Some(parent) = pending.pop() {
        for pid in children.remove(&parent).unwrap_or_default() {
            if let Some(known) = Pid::from_raw(pid)
                && !spared.contains(&known)
            {
                found.push(known);
                pending.push(pid);
            }
        }
    }
    found
}

/// Asks them to end, also those that are stopped.
pub(super) fn ask(all: &[Pid]) {
    for pid in all {
        // One that has just ended is what is wanted.
        let _ = kill_process(*pid, Signal::TERM);
        let _ = kill_process(*pid, Signal::CONT);
    }
}

pub(super) fn kill(all: &[Pid]) {
    for pid in all {
        let _ = kill_process(*pid, Signal::KILL);
    }
}

/// Every process with its parent; one that has ended and waits to be reaped is none.
fn living() -> impl Iterator<Item = (i32, i32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(|pid: i32| {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parent_of(&String::from_utf8_lossy(&stat))?))
    })
}

/// The parent's number in `/proc/<pid>/stat`; `None` for one that has ended.
fn parent_of(stat: &str) -> Option<i32> {
    // The program's name may hold anything, also brackets and blanks.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (!["X", "Z", "x"].contains(&state)).then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent_of("7 (sleep) S 5 7 7 0"), Some(5));
        assert_eq!(parent_of("7 (a) Z 9 () S 5 7 7 0"), Some(5));
        assert_eq!(parent_of("7 (sleep) Z 5 7 7 0"), None);
        assert_eq!(parent_of(""), None);
    }
}
