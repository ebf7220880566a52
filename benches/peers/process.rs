//! What the kernel knows of a process: its processor time and its memory.

use anyhow::Context;
use std::fs;

/// Of /proc, on every architecture that Linux has kept; not the kernel's own.
pub(crate) const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of the process so far, in seconds.
pub(crate) fn cpu_seconds(pid: i32) -> anyhow::Result<f64> {
    let [user, system, ..] = times(&pid.to_string())?;
    Ok(user + system)
}

/// The same, and that of the children that it waited for.
pub(crate) fn cpu_seconds_with_children(pid: i32) -> anyhow::Result<f64> {
    Ok(times(&pid.to_string())?.iter().sum())
}

/// That of this process alone.
pub(crate) fn own_cpu_seconds_alone() -> anyhow::Result<f64> {
    let [user, system, ..] = times("self")?;
    Ok(user + system)
}

/// That of this process and of those that it started and that have ended.
pub(crate) fn own_cpu_seconds() -> anyhow::Result<f64> {
    Ok(times("self")?.iter().sum())
}

/// User and system time of a process, then of the children that it waited for.
fn times(process: &str) -> anyhow::Result<[f64; 4]> {
    let path = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name in parentheses may hold anything; `utime` is the 12th field after it.
    let rest = text.rsplit_once(')').context("an odd stat file")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let mut seconds = [0.0; 4];
    for (n, value) in seconds.iter_mut().enumerate() {
        let ticks: f64 = fields.get(11 + n).context("an odd stat file")?.parse()?;
        *value = ticks / TICKS_PER_SECOND;
    }
    Ok(seconds)
}

/// The processes that this one started, which are alive.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let list = list.unwrap_or_default();
    list.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Memory in MiB by the status file: `VmRSS`, resident now, or `VmHWM`, the most so far.
pub(crate) fn mebibytes(pid: i32, field: &str) -> anyhow::Result<f64> {
    Ok(status(pid, field)? / 1024.0)
}

/// The number in a line of the status file, such as `Threads`; of memory, in KiB.
pub(crate) fn status(pid: i32, field: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let line = line.with_context(|| format!("no {field} of process {pid}"))?;
    let number = line.trim_start_matches(':').trim().trim_end_matches(" kB");
    Ok(number.parse()?)
}

/// `VmHWM` begins anew.
pub(crate) fn forget_peak(pid: i32) -> anyhow::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("the peak cannot be reset")
}
