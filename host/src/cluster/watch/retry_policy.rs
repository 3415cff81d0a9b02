//! What goes wrong with a list or a watch, and for how long that is borne.
//!
//! A server that has just started says no to whom it lets in a moment later: 401 before it knows the tokens, 403 before
//! it has read the roles, 404 before it serves the types of custom resources and of aggregated APIs. Whether that
//! passes is only to be known by waiting, so a store that was whole once bears it for a while: its followers have what
//! is in it, and whoever really lost the right learns nothing new meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::WatchSettings;
use super::backoff::Cost;
use super::error::WatchError;
use crate::cluster::error::ClusterError;
use crate::cluster::unavailable::Unavailable;
use crate::policy::InvalidRequest;

/// How long 401 is borne. A token that is worth nothing any more is replaced when a kubelet renews it, within its life
/// of an hour, and not before; the time after that is the kubelet's to write it. Beyond, there is no such account.
const UNAUTHORIZED_FOR: Duration = Duration::from_mins(65);

/// The longest wait that a server may ask for: what is followed is then as old, and a proxy that asks for a day has not
/// thought of that.
const LONGEST_ASKED: Duration = Duration::from_mins(2);

/// Why a step failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server has forgotten what was asked for.
    Expired,
    /// It may go better later, and not before this long, if the server said so.
    Passing(Box<ClusterError>, Option<Duration>),
    /// The watch ended as soon as it began.
    Cut,
    /// It will not.
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
    /// The same, where the server says when to ask again (`Retry-After`). It is believed up to [`LONGEST_ASKED`].
    pub(super) fn asking(self, retry_after: Option<Duration>) -> Self {
        match self {
            Self::Passing(error, _) => Self::Passing(error, retry_after.map(|wait| wait.min(LONGEST_ASKED))),
            other => other,
        }
    }
}

/// Returns whether a failure may be one of the version that was asked for, and not of the server: an error inside it.
/// One that stands
/// before it and cannot reach it (502), or that takes nothing at the moment (503), says nothing of a version.
pub(super) fn is_about_version(error: &ClusterError) -> bool {
    matches!(error, ClusterError::Refused(status) if status.code >= 500 && !matches!(status.code, 502 | 503))
}

/// The cost of asking again after this failure. A connection that nobody takes costs nothing, and neither does a
/// refusal that comes before any work is done. 401 is not one: whether a token is worth something may be a question to
/// others.
pub(super) fn cost(error: &ClusterError) -> Cost {
    match error {
        ClusterError::Unavailable(Unavailable::ConnectionRefused { .. } | Unavailable::Credentials(_)) => Cost::Nothing,
        ClusterError::Refused(status) if matches!(status.code, 403 | 404) => Cost::Nothing,
        _ => Cost::Work,
    }
}

/// Returns whether other credentials may mend it, so that it is worth asking again as soon as their files change.
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

/// What followers are told of an error that nothing mends.
pub(super) fn fatal(error: ClusterError) -> WatchError {
    match error {
        ClusterError::Refused(status) => WatchError::Refused(status),
        ClusterError::Unavailable(why) => WatchError::Unavailable(Arc::new(why)),
        ClusterError::TooLarge(limit) => WatchError::TooLarge(limit),
        other => WatchError::Invalid(other.to_string().into()),
    }
}

/// How the server says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// 401: it does not know who asks.
    Unauthorized,
    /// 403 or 404: it knows no right to this, or no such thing.
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

    /// How long it is borne by a store that was whole once.
    pub(super) fn patience(self, settings: &WatchSettings) -> Duration {
        match self {
            Self::Unauthorized => UNAUTHORIZED_FOR,
            Self::Forbidden => settings.forbidden_for,
        }
    }
}

/// Since when the server has said the same no and nothing else. What comes in between begins the time anew, failures
/// too: a server that was away for long, and now starts, has all its time to start.
#[derive(Debug, Default)]
pub(super) struct Denials(Option<(Denial, Instant)>);

impl Denials {
    /// Notes what a failure was; returns for how long it has been that.
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
