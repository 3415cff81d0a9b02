//! Some of many, and the number of the others.
//!
//! Threat: a guest that causes a record or a line of the log as fast as it can, each about another thing, so that none
//! is told from the next by its words. Some come out at once, a few a second after that, and each says how many before
//! it did not.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::{DefaultDirectRateLimiter, Quota};

/// Lines of the log a second, and at once after a pause, from one place in the code: enough to see what goes on.
const LINES_A_SECOND: NonZeroU32 = NonZeroU32::MIN;
const LINES_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);

/// Meters what many may cause.
pub(crate) struct Sampled {
    rate: DefaultDirectRateLimiter,
    left_out: AtomicU64,
}

impl Sampled {
    pub(crate) fn new(a_second: NonZeroU32, at_once: NonZeroU32) -> Self {
        let rate = DefaultDirectRateLimiter::direct(Quota::per_second(a_second).allow_burst(at_once));
        Self { rate, left_out: AtomicU64::new(0) }
    }

    /// For lines of the log.
    pub(crate) fn lines() -> Self {
        Self::new(LINES_A_SECOND, LINES_AT_ONCE)
    }

    /// Returns whether one more comes out: then how many before it did not.
    pub(crate) fn note(&self) -> Option<u64> {
        if self.rate.check().is_ok() {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// How many did not come out that none has told of yet.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_some_come_out_and_the_next_has_the_number_of_the_others() {
        let sampled = Sampled::new(NonZeroU32::MIN, NonZeroU32::MIN.saturating_add(4));
        let out: Vec<_> = (0..100).map(|_| sampled.note()).collect();
        assert_eq!(out[..5], [Some(0); 5]);
        let told: u64 = out.iter().flatten().sum();
        let came = u64::try_from(out.iter().flatten().count()).unwrap_or_default();
        assert_eq!(came + told + sampled.left_out(), 100);
    }
}
