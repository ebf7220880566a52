//! How tests wait for what another thread or process brings about: not for ever, so that it is a test that
//! fails, and says what did not come.

use std::time::{Duration, Instant};

/// Longer than this takes nothing that comes at all.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until it is there.
pub(crate) async fn some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} does not come");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    some(what, || is_so().then_some(())).await;
}

/// The same as [`some`], without a runtime.
pub(crate) fn blocking<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} does not come");
        std::thread::yield_now();
    }
}
