//! What all bodies together may take: of each connection's own bound there would be too many.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that bodies may take.
pub(super) struct Budget {
    left: AtomicUsize,
}

/// A part of the budget, until it is dropped.
pub(super) struct Share<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes) }
    }

    /// A share with nothing in it.
    pub(super) fn share(&self) -> Share<'_> {
        Share { budget: self, bytes: 0 }
    }
}

impl Share<'_> {
    /// Grows to `bytes`, and tells whether there was room.
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let taken = self
            .budget
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(more));
        if taken.is_ok() {
            self.bytes += more;
        }
        taken.is_ok()
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_take_no_more_than_there_is_and_give_it_back() {
        let budget = Budget::new(10);
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.grow_to(6) && other.grow_to(4) && one.grow_to(5));
        assert!(!other.grow_to(5) && !one.grow_to(7));
        drop(one);
        assert!(other.grow_to(10) && !other.grow_to(11));
        drop(other);
        assert!(budget.share().grow_to(10));
    }
}
