//! How many refusals are recorded.
//!
//! Threat: an extension that asks as fast as it can once its rate is spent. Each refusal costs it a microsecond and the
//! operator a line, and the lines of its neighbours are lost where the log cannot keep up. So those refusals that no rate
//! bounds are recorded at a rate of their own, and the next that is recorded says how many were not.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::{DefaultDirectRateLimiter, Quota};

/// Records a second of one extension's unmetered refusals, and at once after a pause: enough to see what it tries.
const A_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
const AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);

/// Meters the records of refusals.
pub(super) struct Refusals {
    rate: DefaultDirectRateLimiter,
    unrecorded: AtomicU64,
}

impl Refusals {
    pub(super) fn new() -> Self {
        let rate = DefaultDirectRateLimiter::direct(Quota::per_second(A_SECOND).allow_burst(AT_ONCE));
        Self { rate, unrecorded: AtomicU64::new(0) }
    }

    /// Whether one more refusal is recorded: then how many before it were not.
    pub(super) fn record(&self) -> Option<u64> {
        if self.rate.check().is_ok() {
            return Some(self.unrecorded.swap(0, Ordering::Relaxed));
        }
        self.unrecorded.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// How many were not recorded and are not told yet.
    pub(super) fn untold(&self) -> u64 {
        self.unrecorded.load(Ordering::Relaxed)
    }
}
