//! How long to wait before asking again: longer each time, and not all at the same moment.

use std::time::Duration;

use tokio::time::Instant;

/// The wait after a first failure: a server that restarts or a connection that is cut is back at once as a rule.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait, as client-go's reflector has it.
const LONGEST: Duration = Duration::from_secs(30);
/// The part of a wait that is added at random at most: half, so that the stores of many hosts do not come back together.
const JITTER_PART: u32 = 2;
/// After so long without a failure, the next one is the first again.
const FORGIVEN: Duration = Duration::from_secs(10);

/// The failures of one upstream.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    last: Instant,
    /// Since when nothing has succeeded.
    since: Option<Instant>,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST, last: Instant::now(), since: None }
    }

    /// Something succeeded: the server answers. Only time makes waits short again, so that a server that takes each watch
    /// and cuts it at once is not asked without end.
    pub(super) fn succeeded(&mut self, now: Instant) {
        self.since = None;
        if now.saturating_duration_since(self.last) > FORGIVEN.max(self.next.saturating_mul(2)) {
            self.next = FIRST;
        }
    }

    /// Something failed; how long to wait. `random` is any number.
    pub(super) fn failed(&mut self, now: Instant, random: u32) -> Duration {
        self.since.get_or_insert(now);
        self.last = now;
        let wait = self.next;
        self.next = self.next.saturating_mul(2).min(LONGEST);
        let jitter = (wait / JITTER_PART).as_nanos().saturating_mul(u128::from(random)) / u128::from(u32::MAX);
        wait.saturating_add(Duration::from_nanos(u64::try_from(jitter).unwrap_or_default()))
    }

    /// For how long nothing has succeeded.
    pub(super) fn failing_for(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_half_a_minute_and_never_shrink_below_their_base() {
        let (mut backoff, now) = (Backoff::new(), Instant::now());
        let waits: Vec<_> = (0..12).map(|try_| backoff.failed(now, if try_ % 2 == 0 { 0 } else { u32::MAX })).collect();
        assert_eq!(waits[0], FIRST);
        assert_eq!(waits[1], FIRST * 3);
        assert!(waits.iter().all(|wait| *wait <= LONGEST + LONGEST / 2), "{waits:?}");
        assert_eq!(waits[10], LONGEST);
    }

    #[test]
    fn a_success_ends_the_outage_and_only_time_the_waits() {
        let (mut backoff, now) = (Backoff::new(), Instant::now());
        for _ in 0..3 {
            let _ = backoff.failed(now, 0);
        }
        let later = now + Duration::from_secs(5);
        assert_eq!(backoff.failing_for(later), Duration::from_secs(5));
        backoff.succeeded(later);
        assert_eq!(backoff.failing_for(later), Duration::ZERO);
        assert_eq!(backoff.failed(later, 0), FIRST * 8);
        backoff.succeeded(later + Duration::from_mins(5));
        assert_eq!(backoff.failed(later + Duration::from_mins(5), 0), FIRST);
    }
}
