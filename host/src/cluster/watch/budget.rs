//! The bytes of all stores together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most bytes of all stores, and the bytes in use.
#[derive(Debug)]
pub(super) struct Budget {
    ceiling: u64,
    used: AtomicU64,
}

impl Budget {
    pub(super) fn new(ceiling: u64) -> Arc<Self> {
        Arc::new(Self { ceiling, used: AtomicU64::new(0) })
    }

    pub(super) fn ceiling(&self) -> u64 {
        self.ceiling
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    fn take(&self, bytes: u64) -> bool {
        let more = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.ceiling);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }
}

/// Bytes of a budget that a store holds. Drop gives them back.
#[derive(Debug)]
pub(super) struct Held {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Held {
    pub(super) fn nothing(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Holds `bytes` more. Returns false, and holds no more, if the budget is spent.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        let taken = self.budget.take(bytes);
        if taken {
            self.bytes = self.bytes.saturating_add(bytes);
        }
        taken
    }

    pub(super) fn give_back(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.budget.used.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Holds `after` bytes in place of `before`. Returns false, and changes nothing, if the budget is spent.
    pub(super) fn exchange(&mut self, before: u64, after: u64) -> bool {
        self.give_back(before.saturating_sub(after));
        self.take(after.saturating_sub(before))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_never_more_than_the_ceiling_and_is_given_back() {
        let budget = Budget::new(100);
        let (mut one, mut two) = (Held::nothing(&budget), Held::nothing(&budget));
        assert!(one.take(60) && two.take(40) && !two.take(1) && !one.take(u64::MAX));
        one.give_back(10);
        assert!(two.take(10) && budget.used() == 100);
        assert!(!one.exchange(10, 11) && one.exchange(10, 9) && one.exchange(8, 9));
        assert_eq!((one.bytes(), two.bytes(), budget.used()), (50, 50, 100));
        drop((one, two));
        assert_eq!(budget.used(), 0);
    }
}
