//! Memory that all validations share for what grows with a document: its keys and IDs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Taken and given back in steps of this many bytes, so that threads seldom meet here.
const STEP_BYTES: usize = 64 * 1024;

/// Bytes that all validations together may hold.
#[derive(Debug)]
pub struct Budget {
    left: AtomicUsize,
}

impl Budget {
    pub const fn new(bytes: usize) -> Budget {
        Budget {
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
        one.release(1);
        assert!(one.hold(1));
        drop(other);
        assert!(one.hold(1));
        drop(one);
        assert!(Share::of(Arc::clone(&budget)).hold(2 * STEP_BYTES));
    }
}
