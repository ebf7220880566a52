//! Jobs that lie in `work` although nobody works on them.
//!
//! A run that ended with an error, of the disk or of our own, can leave its job there. It is found
//! when everything is scanned, and at once after a run that ended so, and goes the way of a job
//! whose run was cut off: no restart is needed.

use super::Core;
use crate::{
    domain::{InterfaceName, JobName},
    store::fs::{Adopted, Interrupted, SpoolError},
};
use parking_lot::MutexGuard;
use std::{collections::HashSet, sync::Arc};

impl Core {
    /// Looks for stranded jobs of all interfaces, and follows each to its end.
    pub(super) async fn reclaim_all(self: Arc<Self>) {
        let interfaces: Vec<InterfaceName> = self.spool.interfaces().cloned().collect();
        for interface in interfaces {
            self.clone().reclaim(interface).await;
        }
    }

    pub(super) async fn reclaim(self: Arc<Self>, interface: InterfaceName) {
        if self.spool.unhealthy().is_some() {
            return;
        }
        let this = self.clone();
        let of = interface.clone();
        match tokio::task::spawn_blocking(move || this.stranded(&of)).await {
            Ok(Ok(stranded)) => {
                for job in stranded {
                    let entry = self.runs.register(&job.interface, &job.name, &self.kill);
                    tokio::spawn(self.clone().follow(job, entry));
                }
            }
            Ok(Err(error)) => {
                tracing::error!(%interface, %error, "stranded jobs cannot be looked for");
            }
            Err(error) => tracing::error!(%interface, %error, "looking for jobs broke down"),
        }
    }

    /// Jobs that were claimed for runs which never began.
    pub(super) fn unstarted(&self) -> MutexGuard<'_, HashSet<JobName>> {
        self.unstarted.lock()
    }

    fn stranded(&self, interface: &InterfaceName) -> Result<Vec<Adopted>, SpoolError> {
        let unknown = || -> Result<Vec<_>, SpoolError> {
            let mut working = self.spool.working(interface)?;
            // A run is registered before its job is claimed.
            working.retain(|(name, _)| self.runs.of(name).is_none());
            Ok(working)
        };
        let first = unknown()?;
        if first.is_empty() {
            return Ok(Vec::new());
        }
        // The first look may have met a job that was just being settled.
        let again = unknown()?;
        let stranded = again.into_iter().filter(|job| first.contains(job));
        let unstarted = self.unstarted();
        let stranded = stranded.map(|(name, attempt)| Adopted {
            interface: interface.clone(),
            cut: match unstarted.contains(&name) {
                true => Interrupted::NotStarted,
                false => Interrupted::Stranded,
            },
            name,
            attempt,
        });
        Ok(stranded.collect())
    }
}
