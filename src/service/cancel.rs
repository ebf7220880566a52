//! Cancelling a job: who may, and what is answered.
//!
//! Source: the Alteryx contract, "curators cancel any job, others those they created". Where partners
//! see their own jobs alone, those of others are unknown; so are all to those without a right on the interface.

use super::{
    Fault, RETRY_SOON_S, Reply, Service,
    command::JobRef,
    store_fault,
    view::{by, is_curator, unknown},
};
use crate::{
    auth::Caller,
    domain::JobName,
    store::{Cancelled, Sight, Want},
};
use std::sync::Arc;

impl Service {
    /// Cancels a job, wherever it is; answered once its command has ended and that is durable.
    ///
    /// # Errors
    /// - [`Fault::Busy`]: the job has not ended yet, or the outcome is unknown; the same may be
    ///   asked again.
    /// - [`Fault::Conflict`]: the job has ended already.
    /// - [`Fault::Forbidden`]: it is the job of another user, and the caller is no curator.
    /// - [`Fault::UnknownJob`]: there is no such job, or the caller may not know of it.
    pub(super) async fn cancel(
        self: &Arc<Self>,
        caller: &Caller,
        of: JobRef,
    ) -> Result<Reply, Fault> {
        let job = self.cancellable(caller, &of).await?;
        // One that was fetched is on its way to `bak`.
        self.archived(|name, _| *name == job).await;
        let cancelled = self.worker.cancel(job.clone(), by(caller)).await;
        match cancelled.map_err(|e| store_fault(&e))? {
            Cancelled::Done { was_running } => Ok(Reply::Cancelled { job, was_running }),
            Cancelled::NotActive => Err(Fault::Conflict {
                reason: "the job neither waits nor runs".into(),
            }),
            Cancelled::Pending => Err(Fault::Busy {
                retry_after_s: RETRY_SOON_S,
                reason: "the job is to end and has not ended yet".into(),
            }),
        }
    }

    async fn cancellable(self: &Arc<Self>, caller: &Caller, of: &JobRef) -> Result<JobName, Fault> {
        let viewer = self.viewer(caller, |this, caller, interface| {
            let sees_all =
                |interface| caller.may_any(interface) && this.sees_all(caller, interface);
            match is_curator(caller) || interface.is_some_and(sees_all) {
                true => Sight::All,
                false => Sight::Own,
            }
        });
        let found = self.found(&viewer, self.of(of)?, Want::RECORD, of).await?;
        let summary = found.summary;
        let owner = summary.owner.as_deref();
        if !is_curator(caller) && !owner.is_some_and(|owner| caller.is(owner)) {
            return Err(Fault::Forbidden {
                reason: "a job is cancelled by its submitter or a curator".into(),
            });
        }
        match summary.is_deleted {
            true => Err(unknown(of)),
            false => Ok(summary.job.name),
        }
    }
}
