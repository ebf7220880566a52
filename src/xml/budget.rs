//! Memory that all validations share for what grows with a document: its keys and IDs, and what else the
//! engine keeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// For all documents: five million keys and IDs.
const BYTES: usize = 128 * 1024 * 1024;

/// Taken and given back in steps of this many bytes, so that threads seldom meet here.
const STEP_BYTES: usize = 64 * 1024;

/// Bytes that all validations together may hold.
#[derive(Debug)]
pub struct Budget {
    all: usize,
    left: AtomicUsize,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new(BYTES)
    }
}

impl Budget {
    pub const fn new(bytes: usize) -> Budget {
        Budget {
            all: bytes,
            left: AtomicUsize::new(bytes),
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.left
            .try_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Why a validation cannot hold more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// Others hold the rest, and will give it back.
    #[error("there is no room for another large document at the moment")]
    Busy,
    /// The document alone takes more than there is for all: so many bytes.
    #[error("the document has more keys, IDs and what else is kept of it than fits into {} MiB; send it in parts", .0 >> 20)]
    TooLarge(usize),
}

/// What one validation has of a [`Budget`]; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    taken: usize,
    used: usize,
}

impl Share {
    pub(super) fn of(budget: Arc<Budget>) -> Share {
        Share {
            budget,
            taken: 0,
            used: 0,
        }
    }

    /// Gives everything back, and begins again.
    pub(super) fn emptied(self) -> Share {
        Share::of(Arc::clone(&self.budget))
    }

    /// Why there are no bytes left.
    pub(super) fn no_room(&self) -> NoRoom {
        let left = self.budget.left.load(Ordering::Relaxed);
        match left + self.taken == self.budget.all {
            true => NoRoom::TooLarge(self.budget.all),
            false => NoRoom::Busy,
        }
    }

    /// Says that `bytes` more are held; false when there are none left.
    #[must_use]
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        if self.used + bytes > self.taken {
            let wanted = bytes.next_multiple_of(STEP_BYTES);
            if !self.budget.take(wanted) {
                return false;
            }
            self.taken += wanted;
        }
        self.used += bytes;
        true
    }

    /// Says that `bytes` are not held any more.
    pub(super) fn release(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.give_back(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_bounded_together_and_come_back() {
        let budget = Arc::new(Budget::new(2 * STEP_BYTES));
        let mut one = Share::of(Arc::clone(&budget));
        let mut other = Share::of(Arc::clone(&budget));
        assert!(one.hold(10) && other.hold(10));
        assert!(one.hold(STEP_BYTES - 10));
        assert!(!one.hold(1));
        assert_eq!(one.no_room(), NoRoom::Busy);
        one.release(1);
        assert!(one.hold(1));
        drop(other);
        assert!(one.hold(1));
        assert_eq!(one.no_room(), NoRoom::TooLarge(2 * STEP_BYTES));
        drop(one);
        assert!(Share::of(Arc::clone(&budget)).hold(2 * STEP_BYTES));
    }
}
