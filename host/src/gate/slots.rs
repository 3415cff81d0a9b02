//! The slots that requests occupy while they run: those of requests in flight, and those of watches.
//!
//! A watch stays for hours. A few of them among the requests in flight would leave no slot for any other request.

use std::sync::atomic::{AtomicU32, Ordering};

use super::GateError;
use crate::policy::{ApiRequest, Limits};

/// The kind of slot that a request occupies while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    InFlight,
    Watch,
}

impl Slot {
    pub(super) fn of(request: &ApiRequest) -> Self {
        if request.is_watch() { Self::Watch } else { Self::InFlight }
    }
}

/// The number of occupied slots of each kind.
#[derive(Debug, Default)]
pub(super) struct Slots {
    in_flight: AtomicU32,
    watches: AtomicU32,
}

impl Slots {
    fn counter(&self, slot: Slot) -> &AtomicU32 {
        match slot {
            Slot::InFlight => &self.in_flight,
            Slot::Watch => &self.watches,
        }
    }

    pub(super) fn occupied(&self, slot: Slot) -> u32 {
        self.counter(slot).load(Ordering::Acquire)
    }

    /// Occupies one more slot.
    pub(super) fn enter(&self, slot: Slot, limits: &Limits) -> Result<(), GateError> {
        let (limit, refusal) = match slot {
            Slot::InFlight => (limits.in_flight, GateError::TooMany { limit: limits.in_flight }),
            Slot::Watch => (limits.watches, GateError::TooManyWatches { limit: limits.watches }),
        };
        let one_more = |now: u32| now.checked_add(1).filter(|next| *next <= limit);
        match self.counter(slot).fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more) {
            Ok(_) => Ok(()),
            Err(_) => Err(refusal),
        }
    }

    /// Frees a slot.
    pub(super) fn leave(&self, slot: Slot) {
        self.counter(slot).fetch_sub(1, Ordering::AcqRel);
    }
}
