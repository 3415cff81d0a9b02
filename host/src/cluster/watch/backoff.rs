//! The backoff of an upstream: exponential, with jitter.

use std::time::Duration;

use attache_base::backoff::with_jitter;
use tokio::time::Instant;

/// The wait after a first failure. A server that restarts or a connection that is cut is mostly back at once.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait. Stores are then seconds behind when the server is back, and not half a minute as with client-go.
const LONGEST: Duration = Duration::from_secs(10);
/// The longest wait after a failure that costs the server next to nothing.
const LONGEST_CHEAP: Duration = Duration::from_secs(2);
/// The divisor of the random part that is added to a wait: up to a half, so that many hosts do not retry together.
const JITTER_PART: u32 = 2;

/// The failures of one upstream.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    /// The time of the first failure since the last success.
    since: Option<Instant>,
    /// True if there was a list without a wait since a watch last lived for a while.
    listed_at_once: bool,
}

/// The cost of one more request after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// A refused connection, or a refusal before any work: such waits are short.
    Nothing,
    /// Work for a server that may have too much of it.
    Work,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST, since: None, listed_at_once: false }
    }

    /// Notes an answer of the server. Waits stay long: a server may accept each watch and cut it at once.
    pub(super) fn succeeded(&mut self) {
        self.since = None;
    }

    /// Notes a watch that has lived for a while: the next failure counts as the first.
    pub(super) fn settled(&mut self) {
        self.succeeded();
        self.next = FIRST;
        self.listed_at_once = false;
    }

    /// Notes a version that the server has forgotten (410). Returns the wait before the collection is listed again.
    ///
    /// The first time there is no wait, even after a long outage, since followers are stale by as much. Further times
    /// before a watch has lived for a while count as failures.
    pub(super) fn expired(&mut self, now: Instant, random: u32) -> Duration {
        if std::mem::replace(&mut self.listed_at_once, true) {
            return self.failed(now, random, Cost::Work);
        }
        self.since.get_or_insert(now);
        Duration::ZERO
    }

    /// Notes a failure and returns the wait after it. `random` is any number.
    pub(super) fn failed(&mut self, now: Instant, random: u32, cost: Cost) -> Duration {
        self.since.get_or_insert(now);
        let wait = match cost {
            Cost::Nothing => self.next.min(LONGEST_CHEAP),
            Cost::Work => self.next,
        };
        self.next = self.next.saturating_mul(2).min(LONGEST);
        with_jitter(wait, JITTER_PART, random)
    }

    /// Returns the time without a success.
    pub(super) fn failing_for(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_longest_and_never_shrink_below_their_base() {
        let (mut backoff, now) = (Backoff::new(), Instant::now());
        let random = |try_| if try_ % 2 == 0 { 0 } else { u32::MAX };
        let waits: Vec<_> = (0..12).map(|try_| backoff.failed(now, random(try_), Cost::Work)).collect();
        assert_eq!(waits[0], FIRST);
        assert_eq!(waits[1], FIRST * 3);
        assert!(waits.iter().all(|wait| *wait <= LONGEST + LONGEST / 2), "{waits:?}");
        assert_eq!(waits[10], LONGEST);
    }

    #[test]
    fn an_answer_ends_the_outage_and_only_a_life_the_waits() {
        let (mut backoff, now) = (Backoff::new(), Instant::now());
        for _ in 0..3 {
            let _ = backoff.failed(now, 0, Cost::Work);
        }
        let later = now + Duration::from_secs(5);
        assert_eq!(backoff.failing_for(later), Duration::from_secs(5));
        backoff.succeeded();
        assert_eq!(backoff.failing_for(later), Duration::ZERO);
        assert_eq!(backoff.failed(later, 0, Cost::Work), FIRST * 8);
        backoff.settled();
        assert_eq!(backoff.failed(later, 0, Cost::Work), FIRST);
    }

    #[test]
    fn after_an_outage_the_first_list_is_at_once_and_a_server_that_forgets_again_is_not_asked_without_end() {
        let (mut backoff, now) = (Backoff::new(), Instant::now());
        for _ in 0..10 {
            let _ = backoff.failed(now, 0, Cost::Work);
        }
        assert_eq!(backoff.expired(now, 0), Duration::ZERO);
        // The list succeeds, and the watch that follows on it is answered 410 again.
        backoff.succeeded();
        assert_eq!(backoff.expired(now, 0), LONGEST);
        backoff.settled();
        assert_eq!([backoff.expired(now, 0), backoff.expired(now, 0)], [Duration::ZERO, FIRST]);
    }

    #[test]
    fn what_costs_the_server_nothing_is_tried_again_within_seconds() {
        let (mut backoff, now) = (Backoff::new(), Instant::now());
        let waits: Vec<_> = (0..12).map(|_| backoff.failed(now, u32::MAX, Cost::Nothing)).collect();
        assert_eq!(waits.iter().max(), Some(&(LONGEST_CHEAP + LONGEST_CHEAP / 2)));
        assert_eq!(backoff.failed(now, 0, Cost::Work), LONGEST, "the outage is as long as it is");
    }
}
