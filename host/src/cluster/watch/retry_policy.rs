//! The failures of a list or a watch, and the time for which each is retried.
//!
//! A starting server refuses requests that it allows a moment later: with 401 before it has the tokens, 403 before it
//! has read the roles, 404 before it serves custom resources and aggregated APIs. Only time shows whether a refusal
//! passes, so a filled store is kept for a while. Its followers have its present objects, and get no new ones if the
//! right was revoked.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::WatchSettings;
use super::backoff::Cost;
use super::error::WatchError;
use crate::cluster::error::ClusterError;
use crate::cluster::unavailable::Unavailable;
use crate::policy::InvalidRequest;

/// The time for which 401 is retried. A kubelet replaces an invalid token when it renews it, within the token's life of
/// an hour, and needs some minutes to write it. After that, the account is gone.
const UNAUTHORIZED_FOR: Duration = Duration::from_mins(65);

/// The longest `Retry-After` that is obeyed. Stores are stale meanwhile, and a proxy that asks for a day does not
/// consider that.
const LONGEST_ASKED: Duration = Duration::from_mins(2);

/// The failure of a list or a watch.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server has forgotten the version or the cursor.
    Expired,
    /// The failure may pass. If the server sent one, with its `Retry-After`.
    Passing(Box<ClusterError>, Option<Duration>),
    /// The watch ended as soon as it began.
    Cut,
    /// The failure ends the store.
    Fatal(WatchError),
}

impl From<ClusterError> for Trouble {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::Refused(status) => match status.code {
                410 => Self::Expired,
                401 | 403 | 404 | 408 | 429 | 500.. => Self::Passing(Box::new(ClusterError::Refused(status)), None),
                _ => Self::Fatal(WatchError::Refused(status)),
            },
            ClusterError::Unavailable(_) => Self::Passing(Box::new(error), None),
            other => Self::Fatal(fatal(other)),
        }
    }
}

impl From<serde_json::Error> for Trouble {
    fn from(error: serde_json::Error) -> Self {
        Self::Fatal(WatchError::Unreadable(error.to_string().into()))
    }
}

impl From<InvalidRequest> for Trouble {
    fn from(error: InvalidRequest) -> Self {
        Self::Fatal(WatchError::Invalid(error.to_string().into()))
    }
}

impl Trouble {
    /// Sets the server's `Retry-After`, up to [`LONGEST_ASKED`].
    pub(super) fn asking(self, retry_after: Option<Duration>) -> Self {
        match self {
            Self::Passing(error, _) => Self::Passing(error, retry_after.map(|wait| wait.min(LONGEST_ASKED))),
            other => other,
        }
    }
}

/// Returns whether a failure may be about the version: an error inside the server. A proxy that cannot reach the server
/// (502), and a server that accepts nothing at the moment (503), are not about a version.
pub(super) fn is_about_version(error: &ClusterError) -> bool {
    matches!(error, ClusterError::Refused(status) if status.code >= 500 && !matches!(status.code, 502 | 503))
}

/// Returns the cost of a retry after this failure. A refused connection costs nothing, and neither does a refusal
/// before any work. A 401 is work: the server may ask a webhook about the token.
pub(super) fn cost(error: &ClusterError) -> Cost {
    match error {
        ClusterError::Unavailable(Unavailable::ConnectionRefused { .. } | Unavailable::Credentials(_)) => Cost::Nothing,
        ClusterError::Refused(status) if matches!(status.code, 403 | 404) => Cost::Nothing,
        _ => Cost::Work,
    }
}

/// Returns whether other credentials may help, so that a retry is due as soon as their files change.
pub(super) fn is_about_credentials(error: &ClusterError) -> bool {
    match error {
        ClusterError::Refused(status) => matches!(status.code, 401 | 403),
        ClusterError::Unavailable(why) => matches!(
            why,
            Unavailable::Certificate { .. }
                | Unavailable::Unshown { .. }
                | Unavailable::Tls { .. }
                | Unavailable::Credentials(_)
        ),
        _ => false,
    }
}

/// Returns the error that followers get when the store ends.
pub(super) fn fatal(error: ClusterError) -> WatchError {
    match error {
        ClusterError::Refused(status) => WatchError::Refused(status),
        ClusterError::Unavailable(why) => WatchError::Unavailable(Arc::new(why)),
        ClusterError::TooLarge(limit) => WatchError::TooLarge(limit),
        other => WatchError::Invalid(other.to_string().into()),
    }
}

/// A refusal for lack of identity or rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// 401: the server does not accept the credentials.
    Unauthorized,
    /// 403 or 404: the account lacks the right, or the type does not exist.
    Forbidden,
}

impl Denial {
    pub(super) fn of(error: &ClusterError) -> Option<Self> {
        let ClusterError::Refused(status) = error else { return None };
        match status.code {
            401 => Some(Self::Unauthorized),
            403 | 404 => Some(Self::Forbidden),
            _ => None,
        }
    }

    /// Returns the time for which a filled store retries.
    pub(super) fn patience(self, settings: &WatchSettings) -> Duration {
        match self {
            Self::Unauthorized => UNAUTHORIZED_FOR,
            Self::Forbidden => settings.forbidden_for,
        }
    }
}

/// The latest denial, and the time since which the server has answered so and not otherwise. Other answers and failures
/// reset the time: a server that was away for long has all its time to start.
#[derive(Debug, Default)]
pub(super) struct Denials(Option<(Denial, Instant)>);

impl Denials {
    /// Notes a failure. Returns the time for which the denial has lasted.
    pub(super) fn note(&mut self, denial: Option<Denial>, now: Instant) -> Duration {
        let known = self.0.map(|(known, _)| known);
        if known != denial {
            self.0 = denial.map(|denial| (denial, now));
        }
        self.0.map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_denial_without_anything_between_adds_up() {
        let (mut denials, begin) = (Denials::default(), Instant::now());
        let (forbidden, unauthorized) = (Some(Denial::Forbidden), Some(Denial::Unauthorized));
        let table = [
            (0, forbidden, 0),
            (9, forbidden, 9),
            (10, None, 0),
            (11, forbidden, 0),
            (20, unauthorized, 0),
            (50, unauthorized, 30),
            (60, forbidden, 0),
            (65, forbidden, 5),
        ];
        for (at, denial, expected) in table {
            let denied_for = denials.note(denial, begin + Duration::from_secs(at));
            assert_eq!(denied_for, Duration::from_secs(expected), "at {at} s");
        }
    }
}
