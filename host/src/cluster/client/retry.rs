//! The decision to retry a request: a pure function of an answer, a clock and a deadline.
//!
//! As in client-go, a request to an overloaded server is retried only with a `Retry-After`, which the server sends when
//! it has not acted on the request. Beyond client-go, the wait respects the caller's deadline: where `Retry-After` is
//! later, the caller gets the refusal at once instead of a wait that cannot succeed.

use std::time::Duration;

use attache_base::backoff::{doubled, with_jitter};
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

/// The most tries of one request, as in client-go: one and ten more.
const MAX_TRIES: u32 = 11;
/// The wait after `Retry-After: 0`, doubled with each try so that a server cannot make the host spin.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The divisor of the random part that is added to a wait: up to a quarter, so that callers do not retry together.
const JITTER_PART: u32 = 4;

/// The tries of one request.
#[derive(Debug)]
pub(super) struct Tries {
    /// True if the request changes nothing, so that it may be retried after it may have reached the server.
    safe: bool,
    /// The number of retries after 401 that are left.
    renewals: u32,
    deadline: Instant,
    made: u32,
    broken_once: bool,
}

impl Tries {
    pub(super) fn new(safe: bool, deadline: Instant) -> Self {
        Self { safe, renewals: u32::from(safe), deadline, made: 1, broken_once: false }
    }

    /// Allows a retry after 401 for a request that the API server answers itself: a 401 then means that nothing was
    /// done. Behind `proxy` a 401 may come from a pod, which may have acted.
    #[must_use]
    pub(super) fn renewable(self) -> Self {
        Self { renewals: 1, ..self }
    }

    /// Makes the tries of a request that cannot be sent twice.
    pub(super) fn once(deadline: Instant) -> Self {
        Self { made: MAX_TRIES, ..Self::new(false, deadline) }
    }

    /// Allows no retry but those after 401, for a caller with rules of its own. A 401 is about the host's token and not
    /// about the caller.
    #[must_use]
    pub(super) fn handed_back(self) -> Self {
        Self { made: MAX_TRIES, safe: false, ..self }
    }

    /// Returns the wait before a retry after this answer; `None` returns the answer to the caller.
    ///
    /// 429 and 503 with `Retry-After` mean that nothing was done, so that any request is retried. Other failures, such
    /// as 504 and the 500 of slow storage (`apierrors.NewServerTimeout`), do not mean that.
    pub(super) fn after_answer(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        now: Instant,
        random: impl FnOnce() -> u32,
    ) -> Option<Duration> {
        let worth_it = match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => true,
            failed => failed.is_server_error() && self.safe,
        };
        let asked = retry_after(headers)?;
        if !worth_it || self.made >= MAX_TRIES {
            return None;
        }
        let least = doubled(FIRST_WAIT, self.made.saturating_sub(1));
        let wait = with_jitter(asked.max(least), JITTER_PART, random());
        if now.checked_add(wait)? >= self.deadline {
            return None;
        }
        self.made = self.made.saturating_add(1);
        Some(wait)
    }

    /// Returns whether to retry after 401 with another token: once, and only if nothing can have been done.
    pub(super) fn after_unauthorized(&mut self) -> bool {
        let left = self.renewals.checked_sub(1);
        self.renewals = left.unwrap_or_default();
        left.is_some()
    }

    /// Returns whether to retry after a connection broke off before its answer: once, for a request that changes
    /// nothing.
    ///
    /// An API server that restarts cuts the idle connections of its clients, and the next request fails on one.
    pub(super) fn after_breaking_off(&mut self) -> bool {
        let first = !self.broken_once;
        self.broken_once = true;
        self.safe && first
    }
}

/// Returns `Retry-After` in seconds, the only form that Kubernetes sends; any other form counts as missing.
pub(in crate::cluster) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse::<u64>().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn headers(retry_after: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry_after.parse().unwrap());
        headers
    }

    fn tries(safe: bool, seconds: u64) -> (Tries, Instant) {
        let now = Instant::now();
        (Tries::new(safe, now + Duration::from_secs(seconds)), now)
    }

    #[test]
    fn the_servers_wait_is_kept_and_never_shortened() {
        let (mut tries, now) = tries(false, 60);
        for random in [0, u32::MAX / 2, u32::MAX] {
            let wait = tries.after_answer(StatusCode::TOO_MANY_REQUESTS, &headers("2"), now, || random).unwrap();
            assert!(wait >= Duration::from_secs(2) && wait <= Duration::from_millis(2500), "{wait:?}");
        }
    }

    #[test]
    fn a_wait_past_the_deadline_is_not_begun() {
        let (mut tries, now) = tries(true, 5);
        assert_eq!(tries.after_answer(StatusCode::TOO_MANY_REQUESTS, &headers("5"), now, || 0), None);
        assert_eq!(
            tries.after_answer(StatusCode::TOO_MANY_REQUESTS, &headers("18446744073709551615"), now, || 9),
            None
        );
    }

    #[test]
    fn only_an_overloaded_server_that_says_when_is_asked_again() {
        let (mut tries, now) = tries(true, 60);
        for code in [200, 400, 401, 403, 404, 409] {
            assert_eq!(
                tries.after_answer(StatusCode::from_u16(code).unwrap(), &headers("1"), now, || 0),
                None,
                "{code}"
            );
        }
        assert_eq!(tries.after_answer(StatusCode::SERVICE_UNAVAILABLE, &HeaderMap::new(), now, || 0), None);
        for no_seconds in ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "soon", ""] {
            assert_eq!(tries.after_answer(StatusCode::SERVICE_UNAVAILABLE, &headers(no_seconds), now, || 0), None);
        }
    }

    #[test]
    fn a_server_that_failed_may_have_acted_so_only_reading_is_repeated() {
        for code in [500, 502, 504] {
            let failed = StatusCode::from_u16(code).unwrap();
            let (mut reading, now) = tries(true, 60);
            assert!(reading.after_answer(failed, &headers("1"), now, || 0).is_some(), "{code}");
            assert_eq!(reading.after_answer(failed, &HeaderMap::new(), now, || 0), None, "{code}");
            let (mut writing, now) = tries(false, 60);
            assert_eq!(writing.after_answer(failed, &headers("1"), now, || 0), None, "{code}");
        }
    }

    #[test]
    fn a_server_that_says_zero_for_ever_is_left_alone_after_eleven_tries() {
        let (mut tries, now) = tries(true, 3600);
        let waits: Vec<_> =
            std::iter::from_fn(|| tries.after_answer(StatusCode::TOO_MANY_REQUESTS, &headers("0"), now, || 0))
                .collect();
        assert_eq!(waits.len(), 10);
        assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
    }

    #[test]
    fn a_new_token_or_connection_is_tried_once_and_only_where_that_is_safe() {
        let (mut reading, _) = tries(true, 60);
        assert!(reading.after_unauthorized() && !reading.after_unauthorized());
        assert!(reading.after_breaking_off() && !reading.after_breaking_off());
        let (mut writing, _) = tries(false, 60);
        assert!(!writing.after_unauthorized() && !writing.after_breaking_off());
        let mut handed_back = tries(true, 60).0.renewable().handed_back();
        assert!(!handed_back.after_breaking_off() && handed_back.after_unauthorized());
        let busy = StatusCode::TOO_MANY_REQUESTS;
        assert_eq!(handed_back.after_answer(busy, &headers("1"), Instant::now(), || 0), None);
        let mut writing = tries(false, 60).0.renewable();
        assert!(writing.after_unauthorized() && !writing.after_unauthorized() && !writing.after_breaking_off());
    }
}
