//! A sample of many records or log lines, with the number of those left out.
//!
//! Threat: a guest that causes a record or a log line as fast as it can, each about something else, so that they cannot
//! be throttled by their text. Some are let through at once, then a few a second, each with the number left out before.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::{DefaultDirectRateLimiter, Quota};

/// Log lines a second, and at once after a pause, from one location in the code: enough to see what happens.
const LINES_A_SECOND: NonZeroU32 = NonZeroU32::MIN;
const LINES_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);

/// A meter for records or lines that guests can cause.
pub(crate) struct Sampled {
    rate: DefaultDirectRateLimiter,
    left_out: AtomicU64,
}

impl Sampled {
    pub(crate) fn new(a_second: NonZeroU32, at_once: NonZeroU32) -> Self {
        let rate = DefaultDirectRateLimiter::direct(Quota::per_second(a_second).allow_burst(at_once));
        Self { rate, left_out: AtomicU64::new(0) }
    }

    /// Makes the meter for log lines.
    pub(crate) fn lines() -> Self {
        Self::new(LINES_A_SECOND, LINES_AT_ONCE)
    }

    /// Returns the number left out before, if one more is let through.
    pub(crate) fn note(&self) -> Option<u64> {
        if self.rate.check().is_ok() {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Returns the number left out since the last that was let through.
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
