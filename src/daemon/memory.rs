//! How the C library hands memory back.
//!
//! Long listings are large, short-lived blocks on many threads. By default glibc keeps such blocks
//! in an arena for each thread and raises, after the first one, the size from which memory is
//! given back at once; a queue of 100 000 jobs then costs several times what is in use. Where the
//! C library is another one, nothing is done.

/// Blocks from this size on are given back to the system as soon as they are free.
#[cfg(target_env = "gnu")]
const GIVE_BACK_BYTES: libc::c_int = 512 * 1024;
/// Arenas for all threads.
#[cfg(target_env = "gnu")]
const ARENAS_MAX: libc::c_int = 4;

/// To be called once, before there are threads.
#[allow(unsafe_code)]
pub fn keep_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two integers, touches the allocator's settings only, and is called
    // before other threads use the allocator. Its failure changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, GIVE_BACK_BYTES);
        libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX);
    }
}
