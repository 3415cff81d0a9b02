//! Injected faults: the bad days of an API server.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use crate::model::status::ApiError;

/// A fault in place of an answer, or before it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The answer is delayed.
    Latency(Duration),
    /// The connection breaks without an answer.
    Reset,
    /// 401, as for a token that has been revoked.
    Unauthorized,
    /// 403 for every client, as from a server that answers before it has read the roles.
    Forbidden,
    /// 404, as from a server that answers before it serves its custom types.
    NotFound,
    /// 429 with a `Retry-After` of so many seconds.
    TooManyRequests(u32),
    /// 500.
    Internal,
    /// 503, with a `Retry-After` if there is a number of seconds.
    Unavailable(Option<u32>),
}

/// A fault for a path prefix, a number of times.
#[derive(Debug)]
struct Planned {
    fault: Fault,
    path: String,
    /// The remaining requests; `None` is without end.
    times: Option<u32>,
}

/// The planned faults; see [`DevCluster::faults`](crate::DevCluster::faults).
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

    /// Removes all planned faults.
    pub(crate) fn clear(&self) {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Breaks all connections.
    pub(crate) fn reset_connections(&self) {
        self.reset.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Returns a channel that changes when all connections are to break.
    pub(crate) fn reset_signal(&self) -> watch::Receiver<u64> {
        self.reset.subscribe()
    }

    /// Takes the fault for a request with this path.
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
    /// Returns the error of a fault that is one.
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
