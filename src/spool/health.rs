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

/// Shared by all who can notice that the disk fails. The first reason stays.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<OnceLock<String>>);

impl Health {
    /// Why the spool accepts and starts nothing, if so.
    pub fn reason(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

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
        if self.0.set(reason).is_ok() {
            tracing::error!(
                path = %path.display(), %error,
                "{op} failed; the spool is unhealthy: nothing more is accepted or started. \
                 Check the disk, then restart",
            );
        }
        wrap(op, path)(io::Error::new(error.kind(), error.to_string()))
    }
}
