//! Admission: what an upload must pass before its body is read.
//!
//! A reserve of bytes and inodes is kept, so that running jobs can still finish on a disk that is
//! full for uploads. Uploads and their bytes in flight are counted over all tenants.

use super::{Fault, RETRY_LATER_S, RETRY_SOON_S};
use crate::store::Capacity;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// What one user may have and send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserLimits {
    /// Jobs of his that wait.
    pub waiting_jobs_max: usize,
    /// Bytes of his uploads in one UTC day; `None`: any number.
    pub bytes_per_day_max: Option<u64>,
    /// Uploads of his that begin in any sixty seconds; `None`: any number.
    pub uploads_per_minute_max: Option<usize>,
}

/// Limits on what is taken in; each of them has a name in `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Uploads at once.
    pub uploads_max: usize,
    /// Announced bytes of all uploads at once.
    pub upload_bytes_max: u64,
    /// Jobs waiting in one interface.
    pub queue_jobs_max: usize,
    /// Of each user.
    pub user: UserLimits,
    /// Of those users for whom others count.
    pub partners: HashMap<String, UserLimits>,
    /// Idempotency keys of one user.
    pub keys_per_user_max: usize,
    /// Hours for which a key counts.
    pub key_hours: u32,
    /// Schedules of one user.
    pub schedules_per_user_max: usize,
    /// Free bytes that uploads leave to running jobs.
    pub free_bytes_min: u64,
    /// Free inodes that uploads leave to running jobs.
    pub free_inodes_min: u64,
}

impl Default for UserLimits {
    fn default() -> Self {
        Self {
            waiting_jobs_max: 1_000_000,
            bytes_per_day_max: None,
            uploads_per_minute_max: None,
        }
    }
}

impl AdmissionLimits {
    /// Those of a user.
    pub(super) fn of(&self, user: &str) -> UserLimits {
        self.partners.get(user).copied().unwrap_or(self.user)
    }
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            uploads_max: 1024,
            upload_bytes_max: 64 << 30,
            queue_jobs_max: 1_000_000,
            user: UserLimits::default(),
            partners: HashMap::new(),
            keys_per_user_max: 1_000_000,
            key_hours: 24,
            schedules_per_user_max: 1_000,
            free_bytes_min: 256 << 20,
            free_inodes_min: 10_000,
        }
    }
}

/// Uploads that are under way.
#[derive(Debug, Default)]
pub struct InFlight {
    uploads: AtomicUsize,
    bytes: AtomicU64,
}

/// A place among the uploads under way; given back when dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    in_flight: Arc<InFlight>,
    bytes: u64,
}

impl InFlight {
    /// Bytes that the uploads under way may still bring, at most.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// How many uploads are under way.
    pub fn uploads(&self) -> usize {
        self.uploads.load(Ordering::Acquire)
    }

    /// `bytes` is what the client announced, or the most that it may send.
    ///
    /// # Errors
    /// [`Fault::Busy`] when there are too many uploads or bytes: again once some have ended.
    pub(super) fn admit(
        self: &Arc<Self>,
        bytes: u64,
        limits: &AdmissionLimits,
    ) -> Result<Admitted, Fault> {
        let uploads = self.uploads.fetch_add(1, Ordering::AcqRel);
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let admitted = Admitted {
            in_flight: self.clone(),
            bytes,
        };
        let too_many = uploads >= limits.uploads_max;
        // A lone upload is let in however large its interface allows it to be.
        let too_much = uploads > 0 && before.saturating_add(bytes) > limits.upload_bytes_max;
        if too_many || too_much {
            return Err(Fault::Busy {
                retry_after_s: RETRY_SOON_S,
                reason: "too many uploads are under way".into(),
            });
        }
        Ok(admitted)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.in_flight.uploads.fetch_sub(1, Ordering::AcqRel);
        self.in_flight.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// Is there room for so many bytes more, beside the reserve?
///
/// # Errors
/// [`Fault::Busy`] when there is none: again once there is.
pub(super) fn room(
    capacity: Option<Capacity>,
    bytes: u64,
    limits: &AdmissionLimits,
) -> Result<(), Fault> {
    let Some(Capacity {
        free_bytes,
        free_files,
    }) = capacity
    else {
        // Storing will tell.
        return Ok(());
    };
    let short_of_bytes = free_bytes < limits.free_bytes_min.saturating_add(bytes);
    let short_of_files = free_files.is_some_and(|free| free < limits.free_inodes_min);
    if short_of_bytes || short_of_files {
        tracing::error!(free_bytes, ?free_files, bytes, "no room for an upload");
        return Err(Fault::Busy {
            retry_after_s: RETRY_LATER_S,
            reason: "the disk is full; nothing was stored".into(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_are_counted_and_given_back() {
        let limits = AdmissionLimits {
            uploads_max: 2,
            upload_bytes_max: 100,
            ..AdmissionLimits::default()
        };
        let in_flight = Arc::new(InFlight::default());
        let first = in_flight.admit(500, &limits).unwrap();
        assert!(
            in_flight.admit(1, &limits).is_err(),
            "the bytes are used up"
        );
        drop(first);
        let _first = in_flight.admit(10, &limits).unwrap();
        let second = in_flight.admit(10, &limits).unwrap();
        assert!(in_flight.admit(10, &limits).is_err(), "two at once");
        drop(second);
        in_flight.admit(10, &limits).unwrap();
    }

    #[test]
    fn a_reserve_is_kept() {
        let mut limits = AdmissionLimits {
            free_bytes_min: 0,
            free_inodes_min: 0,
            ..AdmissionLimits::default()
        };
        let capacity = |free_bytes, free_files| {
            Some(Capacity {
                free_bytes,
                free_files,
            })
        };
        room(capacity(7, Some(0)), 7, &limits).unwrap();
        assert!(room(capacity(7, Some(0)), 8, &limits).is_err());
        limits.free_bytes_min = 1;
        assert!(room(capacity(7, Some(0)), 7, &limits).is_err());
        limits.free_inodes_min = 3;
        room(capacity(8, Some(3)), 7, &limits).unwrap();
        assert!(room(capacity(8, Some(2)), 7, &limits).is_err());
        // Where files are without number, or nothing is known.
        room(capacity(8, None), 7, &limits).unwrap();
        room(None, 7, &limits).unwrap();
    }
}
