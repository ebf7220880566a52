//! Jobs with runs that nobody follows.
//!
//! A run that ended with an error, of the disk or of our own, can leave its job behind. It is found
//! when everything is scanned, and at once after a run that ended so, and goes the way of a job
//! whose run was cut off: no restart is needed.

use super::Core;
use crate::domain::InterfaceName;
use std::sync::Arc;

impl Core {
    /// Looks for jobs of all interfaces that were left behind, and follows each to its end.
    pub(super) async fn reclaim_all(self: Arc<Self>) {
        for interface in &self.interfaces() {
            self.clone().reclaim(interface).await;
        }
    }

    pub(super) async fn reclaim(self: Arc<Self>, interface: &InterfaceName) {
        if self.store.unhealthy().is_some() {
            return;
        }
        match self.store.left_behind(interface).await {
            Ok(left) => {
                for left in left {
                    let entry = self.runs.register(interface, &left.lease.job, &self.kill);
                    tokio::spawn(self.clone().follow(left, entry));
                }
            }
            Err(error) => {
                tracing::error!(%interface, %error, "stranded jobs cannot be looked for");
            }
        }
    }
}
