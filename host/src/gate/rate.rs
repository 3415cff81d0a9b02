//! The rate of one extension, and the rate of the whole host.
//!
//! Threat: many extensions, each within its own rate, that together use up what the API server grants the host's
//! service account. One of them would starve the others and the host itself.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::{DefaultDirectRateLimiter, Quota};

use crate::policy::Limits;

/// A rate that all gates of a host share. Cheap to clone; clones are one rate.
///
/// ```
/// use attache::gate::HostRate;
///
/// // For `RuntimeBuilder::rate` and `ApiClientSettings::rate`.
/// let rate = HostRate::new(50, 100);
/// # drop(rate);
/// ```
#[derive(Clone)]
pub struct HostRate(Arc<DefaultDirectRateLimiter>);

impl HostRate {
    /// Makes a rate of so many requests a second, and of so many at once after a pause; 0 counts as 1.
    pub fn new(requests_per_second: u32, burst: u32) -> Self {
        Self(Arc::new(DefaultDirectRateLimiter::direct(quota(requests_per_second, burst))))
    }

    pub(super) fn spend(&self) -> Result<(), Duration> {
        spend(&self.0)
    }
}

impl fmt::Debug for HostRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostRate")
    }
}

/// Returns the rate that a grant gives.
pub(super) fn of(limits: &Limits) -> DefaultDirectRateLimiter {
    DefaultDirectRateLimiter::direct(quota(limits.requests_per_second, limits.burst))
}

/// Spends one request of a rate, or returns the time until there is one.
pub(super) fn spend(rate: &DefaultDirectRateLimiter) -> Result<(), Duration> {
    rate.check().map_err(|until| until.wait_time_from(rate.clock().now()))
}

fn quota(requests_per_second: u32, burst: u32) -> Quota {
    let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(at_least_one(requests_per_second)).allow_burst(at_least_one(burst))
}
