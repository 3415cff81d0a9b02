//! Trouble on demand: what an API server does to its clients on a bad day.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use crate::model::status::ApiError;

/// What happens to a request in place of, or before, its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The answer comes this much later.
    Latency(Duration),
    /// The connection breaks off without an answer.
    Reset,
    /// 401, as for a token that has been revoked.
    Unauthorized,
    /// 403 to everybody, as a server that starts answers before it has read the roles.
    Forbidden,
    /// 404, as a server that starts answers before it serves what was defined in it.
    NotFound,
    /// 429 with a `Retry-After` of so many seconds.
    TooManyRequests(u32),
    /// 500.
    Internal,
    /// 503; with a `Retry-After` if there is a number of seconds.
    Unavailable(Option<u32>),
}

/// A fault for requests of some sort, a number of times.
#[derive(Debug)]
struct Planned {
    fault: Fault,
    path: String,
    /// `None` is for ever.
    times: Option<u32>,
}

/// Faults are planned here and happen to the requests that come; see [`DevCluster::faults`](crate::DevCluster::faults).
#[derive(Debug)]
pub(crate) struct Faults {
    planned: Mutex<VecDeque<Planned>>,
    reset: watch::Sender<u64>,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self { planned: Mutex::default(), reset: watch::Sender::new(0) }
    }

    /// Plans `fault` for requests whose path begins with `path`.
    pub(crate) fn plan(&self, fault: Fault, path: &str, times: Option<u32>) {
        let planned = Planned { fault, path: path.to_owned(), times };
        self.planned.lock().unwrap_or_else(PoisonError::into_inner).push_back(planned);
    }

    /// Plans nothing any more.
    pub(crate) fn clear(&self) {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Breaks all connections off.
    pub(crate) fn reset_connections(&self) {
        self.reset.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Changes when all connections are to break off.
    pub(crate) fn reset_signal(&self) -> watch::Receiver<u64> {
        self.reset.subscribe()
    }

    /// The fault that happens to a request with this path.
    pub(crate) fn take(&self, path: &str) -> Option<Fault> {
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        let at = planned.iter().position(|one| path.starts_with(&one.path))?;
        let found = planned.get_mut(at)?;
        let fault = found.fault.clone();
        if let Some(times) = &mut found.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                planned.remove(at);
            }
        }
        Some(fault)
    }
}

impl Fault {
    /// The error that is answered, for those that are one.
    pub(crate) fn error(&self) -> Option<ApiError> {
        match self {
            Self::Latency(_) | Self::Reset => None,
            Self::Unauthorized => Some(ApiError::unauthorized()),
            Self::Forbidden => Some(ApiError::new(403, "Forbidden", "forbidden: no role has been read yet")),
            Self::NotFound => Some(ApiError::no_page()),
            Self::TooManyRequests(seconds) => {
                let mut error = ApiError::new(429, "TooManyRequests", "Too many requests, please try again later.")
                    .with_details(json!({"retryAfterSeconds": seconds}));
                error.retry_after = Some(*seconds);
                Some(error)
            }
            Self::Internal => Some(ApiError::internal("a fault was asked for")),
            Self::Unavailable(seconds) => {
                let mut error =
                    ApiError::new(503, "ServiceUnavailable", "the server is currently unable to handle the request");
                error.retry_after = *seconds;
                if let Some(seconds) = seconds {
                    error = error.with_details(json!({"retryAfterSeconds": seconds}));
                }
                Some(error)
            }
        }
    }
}
