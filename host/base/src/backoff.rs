//! The arithmetic of backoff: waits that double, and a random part that keeps callers apart.

use std::time::Duration;

/// Returns the wait doubled `times` times.
pub fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX))
}

/// Returns the wait with a share of it added, at most one in `part`. `random` is any number; the share grows with it.
///
/// ```
/// use std::time::Duration;
/// use attache_base::backoff::with_jitter;
///
/// let wait = Duration::from_secs(4);
/// assert_eq!(with_jitter(wait, 4, 0), wait);
/// assert_eq!(with_jitter(wait, 4, u32::MAX), Duration::from_secs(5));
/// ```
pub fn with_jitter(wait: Duration, part: u32, random: u32) -> Duration {
    let most = wait.checked_div(part).unwrap_or_default();
    let nanos = most.as_nanos().saturating_mul(u128::from(random)) / u128::from(u32::MAX);
    wait.saturating_add(u64::try_from(nanos).map_or(most, Duration::from_nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_do_not_overflow() {
        let waits = [0, 1, 5, 31, 32, u32::MAX].map(|times| doubled(Duration::from_millis(50), times).as_millis());
        assert_eq!(waits[..3], [50, 100, 1600]);
        assert!(waits.is_sorted(), "{waits:?}");
        assert_eq!(doubled(Duration::MAX, 1), Duration::MAX);
    }

    #[test]
    fn jitter_never_shortens_a_wait() {
        for wait in [Duration::ZERO, Duration::from_nanos(3), Duration::from_secs(10), Duration::MAX] {
            for random in [0, 1, u32::MAX / 2, u32::MAX] {
                let jittered = with_jitter(wait, 2, random);
                assert!(jittered >= wait && jittered <= wait.saturating_add(wait / 2), "{wait:?} {random}");
            }
        }
        assert_eq!(with_jitter(Duration::from_secs(1), 0, 9), Duration::from_secs(1));
    }
}
