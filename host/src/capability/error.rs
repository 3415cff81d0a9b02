//! The result of a failure: a typed error where the guest can cause and correct it, a trap where the guest's handle is
//! broken or this host has a bug.

use std::sync::LazyLock;
use std::time::Duration;

use wasmtime::component::ResourceTableError;

use super::bindings::{api, metadata};
use crate::cluster::{ClusterError, ResolveError, ServerStatus};
use crate::gate::GateError;
use crate::policy::InvalidRequest;
use crate::telemetry::{LogThrottle, chain};

/// The log lines about failures of all guests together, throttled. Their common cause is the server.
static TOLD: LazyLock<LogThrottle<&'static str>> = LazyLock::new(LogThrottle::default);

/// An error of a call of `attache:pod/api`.
#[derive(Debug)]
pub enum ApiError {
    /// The guest gets this error.
    Typed(api::Error),
    /// The guest's call traps.
    Trap(wasmtime::Error),
}

/// An error of a call of `attache:pod/metadata`.
#[derive(Debug)]
pub enum MetadataError {
    /// The guest gets this error.
    Typed(metadata::Error),
    /// The guest's call traps.
    Trap(wasmtime::Error),
}

impl ApiError {
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::Typed(api::Error::Invalid(message.into()))
    }

    pub(super) fn denied(message: impl Into<String>) -> Self {
        Self::Typed(api::Error::Denied(message.into()))
    }

    pub(super) fn is_too_large(&self) -> bool {
        matches!(self, Self::Typed(api::Error::TooLarge(_)))
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::Typed(api::Error::Unavailable(message.into()))
    }
}

impl From<ResourceTableError> for ApiError {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl From<ResourceTableError> for MetadataError {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl From<GateError> for ApiError {
    fn from(refusal: GateError) -> Self {
        Self::Typed(match refusal {
            GateError::Denied(rule) => api::Error::Denied(rule),
            GateError::TooManyWatches { .. } => api::Error::Denied(refusal.to_string()),
            GateError::TargetTooLong { .. } => api::Error::Invalid(refusal.to_string()),
            GateError::Throttled(wait) | GateError::HostThrottled(wait) => api::Error::Throttled(nanoseconds(wait)),
            GateError::TooMany { .. } => api::Error::Throttled(nanoseconds(IN_FLIGHT_WAIT)),
        })
    }
}

/// The wait before a retry while too many requests run: about the time of one request.
const IN_FLIGHT_WAIT: Duration = Duration::from_millis(10);

fn nanoseconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)
}

impl From<ClusterError> for ApiError {
    fn from(error: ClusterError) -> Self {
        let text = error.guest_text();
        Self::Typed(match error {
            ClusterError::Refused(status) => api::Error::Refused((*status).into()),
            ClusterError::TooLarge(limit) => api::Error::TooLarge(limit),
            ClusterError::Name(ResolveError::Down { .. }) => api::Error::Unavailable(text),
            ClusterError::BodyTooLarge(_) | ClusterError::Invalid(_) | ClusterError::Name(_) => {
                api::Error::Invalid(text)
            }
            ClusterError::Unavailable(_)
            | ClusterError::Discovery { .. }
            | ClusterError::Request(_)
            | ClusterError::Gate(_)
            | ClusterError::Review(_) => {
                // The guest gets no more than this. The reason is for the operator.
                if let Some(times) = TOLD.note(error.kind()) {
                    tracing::warn!(error = %chain(&error), times, "the API server could not be asked");
                }
                api::Error::Unavailable(text)
            }
        })
    }
}

impl From<ServerStatus> for api::Status {
    fn from(status: ServerStatus) -> Self {
        Self { code: status.code, reason: status.reason, message: status.message, body: status.body.map(Into::into) }
    }
}

impl From<InvalidRequest> for ApiError {
    fn from(error: InvalidRequest) -> Self {
        Self::invalid(error.to_string())
    }
}
