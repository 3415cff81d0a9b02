//! A throttle for repeated log lines.
//!
//! Threat: an extension that reaches its limits as fast as it can, or a server that is away while many ask, with a log
//! line each time. Each event is logged at its first time, and then every ten seconds at most, with the number of
//! times.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time between two lines on one event.
const EVERY: Duration = Duration::from_secs(10);

/// The events that were logged, and the number of times since. Entries are kept for ever, so there must be few events.
pub(crate) struct LogThrottle<T>(Mutex<HashMap<T, Since>>);

struct Since {
    logged: Instant,
    unlogged: u64,
}

impl<T> Default for LogThrottle<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Eq + Hash> LogThrottle<T> {
    /// Notes an event. Returns the number of times, if it is to be logged now.
    pub(crate) fn note(&self, what: T) -> Option<u64> {
        self.note_at(what, Instant::now())
    }

    fn note_at(&self, what: T, now: Instant) -> Option<u64> {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(since) = events.get_mut(&what) else {
            events.insert(what, Since { logged: now, unlogged: 0 });
            return Some(1);
        };
        since.unlogged = since.unlogged.saturating_add(1);
        if now.saturating_duration_since(since.logged) < EVERY {
            return None;
        }
        since.logged = now;
        Some(std::mem::take(&mut since.unlogged))
    }

    /// Returns the events that were not logged since, with their number.
    pub(crate) fn rest(&mut self) -> Vec<(T, u64)> {
        let events = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        events.drain().map(|(what, since)| (what, since.unlogged)).filter(|(_, unlogged)| *unlogged > 0).collect()
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
