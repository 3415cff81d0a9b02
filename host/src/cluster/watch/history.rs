//! The latest changes of a collection in order: short, and shared by all readers.

use std::collections::VecDeque;
use std::sync::Arc;

use super::object::WatchedObject;

/// The most changes in the history of one collection. A reader that falls further behind starts again.
const MOST: usize = 4096;
/// The most bytes of the objects in a history; most of them are in the store anyway.
const MOST_BYTES: u64 = 4 << 20;

/// One change of a collection.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// The object is new, or different.
    Applied(Arc<WatchedObject>),
    /// The object is gone; this is its last state.
    Deleted(Arc<WatchedObject>),
}

impl Change {
    pub(super) fn object(&self) -> &Arc<WatchedObject> {
        match self {
            Self::Applied(object) | Self::Deleted(object) => object,
        }
    }
}

/// The latest changes, each with a number that grows by one.
#[derive(Debug, Default)]
pub(super) struct History {
    changes: VecDeque<Change>,
    /// The number of the oldest change in the history.
    first: u64,
    cost: u64,
}

impl History {
    /// The number of the oldest change in the history.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Returns the number of the next change.
    pub(super) fn next(&self) -> u64 {
        self.first.saturating_add(u64::try_from(self.changes.len()).unwrap_or(u64::MAX))
    }

    pub(super) fn at(&self, number: u64) -> Option<&Change> {
        self.changes.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Adds a change. Returns the bytes of old changes that were removed.
    pub(super) fn push(&mut self, change: Change) -> u64 {
        self.cost = self.cost.saturating_add(change.object().cost());
        self.changes.push_back(change);
        let mut freed = 0_u64;
        while self.changes.len() > MOST || (self.cost > MOST_BYTES && self.changes.len() > 1) {
            freed = freed.saturating_add(self.forget_oldest());
        }
        freed
    }

    /// Clears the history. Returns the bytes that were freed.
    pub(super) fn forget(&mut self) -> u64 {
        self.first = self.next();
        self.changes = VecDeque::new();
        std::mem::take(&mut self.cost)
    }

    /// Counts a change without adding it, so that all readers start again. Returns the bytes that were freed.
    pub(super) fn pass_over(&mut self) -> u64 {
        let freed = self.forget();
        self.first = self.first.saturating_add(1);
        freed
    }

    fn forget_oldest(&mut self) -> u64 {
        let Some(oldest) = self.changes.pop_front() else { return 0 };
        self.first = self.first.saturating_add(1);
        let freed = oldest.object().cost();
        self.cost = self.cost.saturating_sub(freed);
        freed
    }
}
