//! A panic in one of the journal's threads: whoever waits is let go, and the spool says why.

use super::{SEGMENT_BYTES_MIN, Spool, Twin};
use crate::spool::{RealFs, Rules};
use std::time::{Duration, Instant};

#[test]
fn a_panic_in_a_thread_is_final_and_hangs_nobody() {
    for (twin, thread) in [
        (Twin::PanicsInFlush, "the committer panicked"),
        (Twin::PanicsInCheckpoint, "the checkpointer panicked"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let rules = Rules {
            attempts_max: 1,
            at_most_once: false,
            drops: Default::default(),
        };
        let interface = "a".parse().unwrap();
        let interfaces = [("a".parse().unwrap(), rules)].into();
        let clock = Box::new(|| 1_700_000_000_000);
        let spool = Spool::open(RealFs::new(dir.path()), interfaces, clock).unwrap();
        let spool = spool.with_twin(twin);
        spool.open_journal(SEGMENT_BYTES_MIN).unwrap();
        spool.start_journal();
        let held = spool.hold(&interface, "for the test");
        assert_eq!(held.is_err(), twin == Twin::PanicsInFlush, "{held:?}");
        let begun = Instant::now();
        while spool.unhealthy().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{thread} unseen");
            std::thread::sleep(Duration::from_millis(10));
        }
        let reason = spool.unhealthy().unwrap();
        assert!(reason.contains(thread), "{reason}");
        assert!(spool.hold(&interface, "again").is_err());
        spool.close_journal();
    }
}
