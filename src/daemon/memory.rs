//! How memory is handed back to the system.
//!
//! Long listings are large, short-lived blocks on many threads. By default glibc keeps such blocks
//! in an arena for each thread and raises, after the first one, the size from which memory is
//! given back immediately; a queue of 100 000 jobs then costs several times what is in use. Where the
//! C library is another one, nothing is done.
//!
//! What small blocks leave behind, of thousands of connections say, the library keeps for itself. So
//! when much more memory is resident than was after the last time, and much of it is free, it is
//! told to give it back.

use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Blocks from this size on are given back to the system as soon as they are free.
#[cfg(target_env = "gnu")]
const GIVE_BACK_BYTES: libc::c_int = 512 * 1024;
/// Arenas for all threads.
#[cfg(target_env = "gnu")]
const ARENAS_MAX: libc::c_int = 4;

/// To be called once, before there are threads.
#[allow(unsafe_code)]
pub(crate) fn keep_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two integers, touches the allocator's settings only, and is called
    // before other threads use the allocator. Its failure changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, GIVE_BACK_BYTES);
        libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX);
    }
}

/// How often memory is measured.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Less is not worth the walk through all free blocks.
const WORTH_BYTES: u64 = 8 << 20;

/// Has free memory given back to the system from time to time, until `stop`.
pub(super) async fn give_back(stop: CancellationToken) {
    let mut resident_before = resident_bytes();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let resident = resident_bytes();
        resident_before = resident_before.min(resident);
        if resident < resident_before + WORTH_BYTES || free_bytes() < WORTH_BYTES {
            continue;
        }
        // A walk through the heap, which may take some milliseconds.
        if let Err(error) = tokio::task::spawn_blocking(trim).await {
            tracing::error!(%error, "giving memory back panicked");
        }
        resident_before = resident_bytes();
    }
}

/// What the process has in memory; 0 when that cannot be found out.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// What the C library holds in free blocks.
#[allow(unsafe_code)]
fn free_bytes() -> u64 {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes nothing, locks what it reads and gives numbers by value.
    return unsafe { libc::mallinfo2() }.fordblks as u64;
    #[cfg(not(target_env = "gnu"))]
    return 0;
}

#[allow(unsafe_code)]
fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time by any thread and touches free memory only. Whether it
    // gave anything back is seen by the next measurement.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_is_given_back() {
        if cfg!(not(target_env = "gnu")) {
            return;
        }
        assert!(resident_bytes() > 0);
        // Too small for mappings of their own; the last one keeps the heap from shrinking by itself.
        let mut blocks: Vec<Vec<u8>> = (0..128 << 10).map(|_| vec![1; 1 << 10]).collect();
        let last = blocks.pop();
        drop(blocks);
        let before = resident_bytes();
        assert!(free_bytes() > 64 << 20, "{}", free_bytes());
        trim();
        let after = resident_bytes();
        assert!(after + (32 << 20) < before, "{before} {after}");
        drop(last);
    }
}
