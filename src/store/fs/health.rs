//! Whether the spool still keeps its promise.
//!
//! A failed write or sync is final: the kernel may have dropped what was lost, and a later sync
//! would report success. From then on nothing is accepted and nothing is started, until a restart
//! has looked at what the disk really holds.

use super::{Doing, SpoolError, wrap};
use std::{
    io,
    path::Path,
    sync::{Arc, OnceLock},
};

/// Shared by all parts that can notice that the disk fails. The first reason stays.
#[derive(Clone, Default)]
pub struct Health(Arc<Inner>);

#[derive(Default)]
struct Inner {
    reason: OnceLock<String>,
    then: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Health").field(&self.reason()).finish()
    }
}

impl Health {
    /// Why the spool accepts and starts nothing, if so.
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.get().map(String::as_str)
    }

    /// What is to be done once when the disk fails; only the first of these counts.
    pub(super) fn when_failed(&self, then: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.then.set(Box::new(then));
    }

    /// Goes through while the disk has not failed.
    ///
    /// # Errors
    /// [`SpoolError::Unhealthy`] from the first failure on; only a restart ends that.
    pub(super) fn check(&self) -> Result<(), SpoolError> {
        match self.reason() {
            None => Ok(()),
            Some(reason) => Err(SpoolError::Unhealthy {
                reason: reason.to_owned(),
            }),
        }
    }

    pub(super) fn fail(&self, op: Doing, path: &Path, error: &io::Error) -> SpoolError {
        let reason = format!("cannot {op} {}: {error}", path.display());
        if self.0.reason.set(reason).is_ok() {
            if let Some(then) = self.0.then.get() {
                then();
            }
            tracing::error!(
                path = %path.display(), %error,
                "{op} failed; the spool is unhealthy: nothing more is accepted or started. \
                 Check the disk, then restart",
            );
        }
        wrap(op, path)(io::Error::new(error.kind(), error.to_string()))
    }
}
