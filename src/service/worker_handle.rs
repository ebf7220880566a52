//! Who works on the jobs that the service accepts, as far as the service has to know.

use crate::{
    domain::{InterfaceName, Job, JobName},
    store::{By, Cancelled, StoreError},
};
use std::{future::Future, pin::Pin};

/// What the service asks of the worker.
pub trait WorkerHandle: Send + Sync {
    /// A job is complete in its queue. Never blocks.
    fn arrived(&self, interface: &InterfaceName, job: &JobName);

    /// Cancels a job, wherever it is; it takes until its command has ended, at most some ten seconds.
    /// What is answered as done would survive a power cut. It goes on when nobody waits for it any
    /// more.
    fn cancel(&self, job: JobName, by: By) -> Cancelling<'_>;

    /// When a job that waits or runs will be done, in milliseconds of the Unix epoch: an estimate,
    /// always in the future. `None`: it has ended. Blocks for a look at the disk.
    fn eta_ms(&self, job: &Job) -> Option<i64>;
}

/// A job on its way to be cancelled.
pub type Cancelling<'h> = Pin<Box<dyn Future<Output = Result<Cancelled, StoreError>> + Send + 'h>>;
