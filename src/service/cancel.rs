//! Cancelling a job: who may, and what is answered.
//!
//! Source: the Alteryx contract, "curators cancel any job, others those they created". Where partners
//! see their own jobs alone, those of others are unknown.

use super::{Fault, Reply};
use super::{
    RETRY_SOON_S, Service,
    command::JobRef,
    spool_fault,
    view::{is_curator, unknown},
};
use crate::{auth::Caller, domain::JobName, store::fs::Cancelled};
use std::sync::Arc;

impl Service {
    /// Cancels a job, wherever it is; answered once its command has ended and that is durable.
    pub(super) async fn cancel(
        self: &Arc<Self>,
        caller: &Caller,
        of: JobRef,
    ) -> Result<Reply, Fault> {
        let who = caller.clone();
        let job = self
            .blocking(move |this| this.cancellable(&who, &of))
            .await??;
        // One that was fetched is on its way to `bak`.
        self.archived(|name, _| *name == job).await;
        let cancelled = self.worker.cancel(job.clone(), caller.user.clone()).await;
        match cancelled.map_err(|e| spool_fault(&e))? {
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

    fn cancellable(&self, caller: &Caller, of: &JobRef) -> Result<JobName, Fault> {
        let job = self.job_of(of)?;
        if self.is_hidden(caller, &job) {
            return Err(unknown(of));
        }
        if is_curator(caller) || self.owns(caller, &job)? {
            return match self.is_deleted(&job) {
                true => Err(unknown(of)),
                false => Ok(job.name),
            };
        }
        let interface = self.spool.interface_of(&job);
        match interface.is_some_and(|interface| self.sees_all(caller, &interface)) {
            false => Err(unknown(of)),
            true => Err(Fault::Forbidden {
                reason: "a job is cancelled by its submitter or a curator".into(),
            }),
        }
    }
}
