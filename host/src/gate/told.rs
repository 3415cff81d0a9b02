//! How often the operator is told that a limit of requests was reached.
//!
//! Threat: an extension that runs into its limits as fast as it can, each time a line in the log. Each limit is told at its
//! first time, and then every ten seconds at most, with how often it was reached since.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Gate, Inner, Refusal};
use crate::policy::Limit;
use crate::telemetry::LimitRecord;

/// Between two lines on the same limit of one extension.
const EVERY: Duration = Duration::from_secs(10);

/// What was told, and what was not yet.
#[derive(Default)]
pub(super) struct Told(Mutex<HashMap<Limit, Since>>);

struct Since {
    told: Instant,
    untold: u64,
}

impl Told {
    /// Notes that a limit was reached; if it is to be told now, how often it was.
    fn note(&self, limit: Limit, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(since) = told.get_mut(&limit) else {
            told.insert(limit, Since { told: now, untold: 0 });
            return Some(1);
        };
        since.untold = since.untold.saturating_add(1);
        if now.saturating_duration_since(since.told) < EVERY {
            return None;
        }
        since.told = now;
        Some(std::mem::take(&mut since.untold))
    }

    /// What was never told.
    fn rest(&mut self) -> impl Iterator<Item = (Limit, u64)> {
        let told = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        told.drain().map(|(limit, since)| (limit, since.untold)).filter(|(_, untold)| *untold > 0)
    }
}

impl Refusal {
    /// The limit of the grant that was reached, if that is why.
    fn limit(&self) -> Option<Limit> {
        match self {
            Self::Throttled(_) => Some(Limit::RequestsPerSecond),
            Self::TooMany { .. } => Some(Limit::InFlight),
            Self::TooManyWatches { .. } => Some(Limit::Watches),
            Self::Denied(_) | Self::HostThrottled(_) => None,
        }
    }
}

impl Gate {
    /// Tells the operator that a request ran into a limit: in the log (target `attache::limits`) and the audit. Of many times
    /// some are told, with their number.
    pub fn reached(&self, limit: Limit) {
        if let Some(times) = self.inner.told.note(limit, Instant::now()) {
            self.inner.tell(limit, times);
        }
    }

    pub(super) fn tell_refusal(&self, refusal: &Refusal) {
        refusal.limit().into_iter().for_each(|limit| self.reached(limit));
    }
}

impl Inner {
    fn tell(&self, limit: Limit, times: u64) {
        if let Some(reached) = self.grant.limits.reached(limit) {
            LimitRecord { times, ..LimitRecord::now(&self.extension, reached, false) }.tell(&*self.audit);
        }
    }

    /// Tells what was not told yet.
    pub(super) fn tell_rest(&mut self) {
        for (limit, times) in self.told.rest().collect::<Vec<_>>() {
            self.tell(limit, times);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_at_once_and_then_now_and_then() {
        let (mut told, begun) = (Told::default(), Instant::now());
        assert_eq!(told.note(Limit::InFlight, begun), Some(1));
        assert_eq!(told.note(Limit::Watches, begun), Some(1), "each limit for itself");
        for _ in 0..1000 {
            assert_eq!(told.note(Limit::InFlight, begun + EVERY / 2), None);
        }
        assert_eq!(told.note(Limit::InFlight, begun + EVERY), Some(1001));
        assert_eq!(told.note(Limit::InFlight, begun + EVERY), None);
        assert_eq!(told.rest().collect::<Vec<_>>(), [(Limit::InFlight, 1)]);
    }
}
