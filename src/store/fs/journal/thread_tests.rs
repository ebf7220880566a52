//! The journal's threads: a panic in one gives callers that wait an error, and the spool says why; what is recorded
//! together waits for few flushes.

use super::{FaultInjection, INLINE_BYTES_MAX, WhenFull};
use crate::{
    domain::{JobName, Kind},
    store::{By, NewJob, fs::testing::TestSpool},
};
use std::{
    iter,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

#[test]
fn a_panic_in_a_thread_is_final_and_hangs_nobody() {
    for (injected, thread) in [
        (FaultInjection::PanicsInFlush, "the committer panicked"),
        (
            FaultInjection::PanicsInCheckpoint,
            "the checkpointer panicked",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let interface = "a".parse().unwrap();
        let spool = TestSpool::at(dir.path()).interface("a").injected(injected);
        let spool = spool.journal().open().unwrap();
        spool.start_journal();
        let held = spool.hold(&interface, &By::service("the test"), None);
        assert_eq!(
            held.is_err(),
            injected == FaultInjection::PanicsInFlush,
            "{held:?}"
        );
        let begun = Instant::now();
        while spool.unhealthy().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{thread} unseen");
            std::thread::sleep(Duration::from_millis(10));
        }
        let reason = spool.unhealthy().unwrap();
        assert!(reason.contains(thread), "{reason}");
        assert!(spool.hold(&interface, &By::service("again"), None).is_err());
        spool.close_journal();
    }
}

#[test]
fn flushes_wait_for_the_steps_of_a_batch_and_for_nothing_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let spool = TestSpool::at(dir.path()).journal().open().unwrap();
    let expected = || {
        spool
            .journal
            .get()
            .unwrap()
            .expected
            .load(Ordering::Relaxed)
    };
    let steps = iter::repeat_with(expected).take(3);
    assert_eq!(spool.together(steps), [1, 1, 1]);
    assert_eq!(expected(), 0);
}

#[test]
fn who_may_not_wait_is_refused_when_there_is_no_room() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody writes until somebody waits.
    let spool = TestSpool::at(dir.path()).interface("a").ticking();
    let spool = spool.journal().open().unwrap();
    let enqueue = |when_full| {
        let mut part = spool.begin(JobName::new(spool.next_id(), None, Kind::Xml))?;
        part.write(&[b' '; INLINE_BYTES_MAX])?;
        let sealed = part.seal(&NewJob::default())?;
        spool.enqueue_when(when_full, sealed, &"a".parse().unwrap(), None)
    };
    let accepted = iter::repeat_with(|| enqueue(WhenFull::Refuse)).take(100);
    let accepted = accepted.take_while(Result::is_ok).count();
    assert!((1..100).contains(&accepted), "{accepted}");
    let (_, ticket) = enqueue(WhenFull::Wait).unwrap();
    spool.wait(ticket).unwrap();
    let queued = spool.list(&"a".parse().unwrap()).unwrap();
    assert_eq!(queued.len(), accepted + 1);
    spool.close_journal();
}
