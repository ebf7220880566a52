//! The clock of a tenant's holds: ends those whose moment has come, also while the service was down.

use crate::{
    domain::InterfaceName,
    store::{HoldEnd, Store},
};
use jiff::Timestamp;
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often the holds are looked at: the clock may be set, and people write holds by hand.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Ends holds until `stop`; `changed` wakes it after one was set, `ended` is told of each that has ended.
pub(super) async fn run(
    store: Arc<dyn Store>,
    changed: Arc<Notify>,
    ended: impl Fn(InterfaceName),
    stop: CancellationToken,
) {
    loop {
        let mut wait = LOOK_EVERY;
        for interface in store.interfaces() {
            match store.end_hold(&interface).await {
                Ok(HoldEnd::Ended(_)) => ended(interface),
                Ok(HoldEnd::At(until)) => {
                    let left = until.duration_since(Timestamp::now());
                    wait = wait.min(Duration::try_from(left).unwrap_or_default());
                }
                Ok(HoldEnd::Never) => {}
                Err(error) => {
                    tracing::warn!(%interface, %error, "its hold cannot be ended; tried again");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
