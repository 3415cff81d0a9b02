//! How often the operator is told the same.
//!
//! Threat: an extension that runs into its limits as fast as it can, or a server that is away while many ask, each time
//! a line in the log. Each thing is told at its first time, and then every ten seconds at most, with how often it
//! happened since.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines on the same.
const EVERY: Duration = Duration::from_secs(10);

/// What was told, and what was not yet. It is kept for good, so a thing is one of few.
pub(crate) struct LogThrottle<T>(Mutex<HashMap<T, Since>>);

struct Since {
    told: Instant,
    untold: u64,
}

impl<T> Default for LogThrottle<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Eq + Hash> LogThrottle<T> {
    /// Notes that something happened; if it is to be told now, how often it did.
    pub(crate) fn note(&self, what: T) -> Option<u64> {
        self.note_at(what, Instant::now())
    }

    fn note_at(&self, what: T, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(since) = told.get_mut(&what) else {
            told.insert(what, Since { told: now, untold: 0 });
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
    pub(crate) fn rest(&mut self) -> Vec<(T, u64)> {
        let told = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        told.drain().map(|(what, since)| (what, since.untold)).filter(|(_, untold)| *untold > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_told_at_once_and_then_now_and_then() {
        let (mut told, begun) = (LogThrottle::default(), Instant::now());
        assert_eq!(told.note_at("one", begun), Some(1));
        assert_eq!(told.note_at("another", begun), Some(1), "each for itself");
        for _ in 0..1000 {
            assert_eq!(told.note_at("one", begun + EVERY / 2), None);
        }
        assert_eq!(told.note_at("one", begun + EVERY), Some(1001));
        assert_eq!(told.note_at("one", begun + EVERY), None);
        assert_eq!(told.rest(), [("one", 1)]);
    }
}
