//! Requests without an answer of the server, and the answer that their callers get instead: a `Status` of the
//! Kubernetes API, which every client library reads as an error.

use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Response, StatusCode};
use serde::Serialize;
use thiserror::Error;

use super::headers::HeaderFault;
use super::upload::UploadFault;
use super::{AnswerBody, own_body};
use crate::cluster::{ClusterError, ResolveError, Unavailable};
use crate::gate::{Gate, GateError};
use crate::policy::InvalidRequest;
use crate::telemetry::chain;

/// The wait before a retry while too many requests run, or too many watches are open. The header knows only whole
/// seconds.
const PLACE_WAIT: Duration = Duration::from_secs(1);

/// The reason why a request got no answer of the server.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request could not be understood.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// A header is not for a caller to set.
    #[error(transparent)]
    Header(#[from] HeaderFault),
    /// The token is not one of the extension's.
    #[error("the bearer token is not one that this host gave to this extension")]
    Unauthorized,
    /// There is a token, and the channel takes none.
    #[error(
        "no credentials are taken here, since all is asked with the proxy's own: leave the header authorization out (kubectl: \
         --server, and a kubeconfig without a user)"
    )]
    NoCredentials,
    /// The gate did not admit the request.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The body is larger than the grant allows, in bytes.
    #[error("the body is larger than {0} bytes")]
    BodyTooLarge(u64),
    /// The body broke off.
    #[error("the body broke off")]
    BodyBrokenOff,
    /// The body did not come in time.
    #[error("the body did not come in time")]
    BodyLate,
    /// The maximum number of connections have left HTTP.
    #[error("as many connections are upgraded to another protocol as this proxy serves at once: close one")]
    TooManyUpgrades,
    /// The host is not connected to an API server.
    #[error("this host is not connected to an API server")]
    NotConnected,
    /// The server gave no answer.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl From<UploadFault> for RequestError {
    fn from(fault: UploadFault) -> Self {
        match fault {
            UploadFault::TooLarge(limit) => Self::BodyTooLarge(limit),
            UploadFault::BrokenOff => Self::BodyBrokenOff,
            UploadFault::Late => Self::BodyLate,
        }
    }
}

/// A `metav1.Status` of a failure.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusObject<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    status: &'static str,
    message: &'a str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    code: u16,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    retry_after_seconds: u64,
}

impl RequestError {
    /// Returns the HTTP status.
    pub fn code(&self) -> StatusCode {
        match self {
            Self::Invalid(InvalidRequest::Method(_)) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Invalid(InvalidRequest::TooLong { .. }) | Self::Gate(GateError::TargetTooLong { .. }) => {
                StatusCode::URI_TOO_LONG
            }
            Self::Header(HeaderFault::Upgrade) => StatusCode::NOT_IMPLEMENTED,
            Self::Header(HeaderFault::TooMany | HeaderFault::TooLarge) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Header(HeaderFault::Identity(_)) | Self::Gate(GateError::Denied(_)) => StatusCode::FORBIDDEN,
            Self::Header(HeaderFault::NoBearer | HeaderFault::BearerProtocol)
            | Self::Unauthorized
            | Self::NoCredentials => StatusCode::UNAUTHORIZED,
            Self::Invalid(_)
            | Self::Header(HeaderFault::Doubled(_) | HeaderFault::BadUpgrade(_))
            | Self::BodyBrokenOff => StatusCode::BAD_REQUEST,
            Self::Gate(_) | Self::TooManyUpgrades => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyLate => StatusCode::REQUEST_TIMEOUT,
            Self::NotConnected => StatusCode::SERVICE_UNAVAILABLE,
            Self::Cluster(error) => code_of(error),
        }
    }

    /// Returns the wait before a retry, where a retry helps.
    fn retry_after(&self) -> Option<u64> {
        let wait = match self {
            Self::Gate(GateError::Throttled(wait) | GateError::HostThrottled(wait)) => *wait,
            Self::Gate(GateError::TooMany { .. } | GateError::TooManyWatches { .. }) | Self::TooManyUpgrades => {
                PLACE_WAIT
            }
            _ => return None,
        };
        Some(wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1))
    }

    /// Returns the text for the caller, without addresses, paths or credentials of the host.
    fn message(&self) -> String {
        match self {
            Self::Cluster(error) => error.guest_text(),
            other => other.to_string(),
        }
    }

    /// Logs for the operator what the caller does not get.
    pub(super) fn log(&self, gate: &Gate) {
        if let Self::Cluster(error) = self {
            gate.report_failure(error.kind(), &chain(error));
        }
    }

    /// Returns the answer. The answer to HEAD has no body.
    pub fn into_response(self, method: &Method) -> Response<AnswerBody> {
        let (code, retry_after) = (self.code(), self.retry_after());
        let mut response = Response::new(own_body(self.body(code, retry_after, method)));
        *response.status_mut() = code;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }

    fn body(&self, code: StatusCode, retry_after: Option<u64>, method: &Method) -> Vec<u8> {
        if *method == Method::HEAD {
            return Vec::new();
        }
        let status = StatusObject {
            kind: "Status",
            api_version: "v1",
            metadata: Empty {},
            status: "Failure",
            message: &self.message(),
            reason: reason_of(code),
            details: retry_after.map(|retry_after_seconds| Details { retry_after_seconds }),
            code: code.as_u16(),
        };
        // Serialising text and numbers cannot fail.
        serde_json::to_vec(&status).unwrap_or_default()
    }
}

fn code_of(error: &ClusterError) -> StatusCode {
    match error {
        ClusterError::Refused(status) => StatusCode::from_u16(status.code).unwrap_or(StatusCode::BAD_GATEWAY),
        ClusterError::Unavailable(why) => match why {
            Unavailable::Deadline { .. } => StatusCode::GATEWAY_TIMEOUT,
            Unavailable::Certificate { .. }
            | Unavailable::Unshown { .. }
            | Unavailable::Tls { .. }
            | Unavailable::BrokenOff { .. }
            | Unavailable::Switched { .. } => StatusCode::BAD_GATEWAY,
            Unavailable::Name { .. }
            | Unavailable::ConnectionRefused { .. }
            | Unavailable::Unreachable { .. }
            | Unavailable::Files { .. }
            | Unavailable::Credentials(_)
            | Unavailable::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        },
        ClusterError::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        ClusterError::Name(ResolveError::Down { .. }) => StatusCode::SERVICE_UNAVAILABLE,
        ClusterError::Invalid(_) | ClusterError::Name(_) => StatusCode::BAD_REQUEST,
        ClusterError::TooLarge(_)
        | ClusterError::Discovery { .. }
        | ClusterError::Request(_)
        | ClusterError::Gate(_)
        | ClusterError::Review(_) => StatusCode::BAD_GATEWAY,
    }
}

/// Returns the reason for a code, from `apimachinery/pkg/apis/meta/v1/types.go` where it has one.
fn reason_of(code: StatusCode) -> &'static str {
    match code.as_u16() {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        405 => "MethodNotAllowed",
        408 | 504 => "Timeout",
        413 | 414 | 431 => "RequestEntityTooLarge",
        429 => "TooManyRequests",
        501 => "NotImplemented",
        502 => "BadGateway",
        503 => "ServiceUnavailable",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn told(refused: RequestError) -> Value {
        let (code, after) = (refused.code(), refused.retry_after());
        serde_json::from_slice(&refused.body(code, after, &Method::GET)).unwrap()
    }

    #[test]
    fn a_refusal_is_a_status_of_the_kubernetes_api() {
        let expected = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "it needs the rule {}", "reason": "Forbidden", "code": 403});
        assert_eq!(told(GateError::Denied("it needs the rule {}".into()).into()), expected);
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_too_short() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2)] {
            let refused = RequestError::from(GateError::Throttled(Duration::from_millis(millis)));
            assert_eq!(refused.retry_after(), Some(seconds));
            let response = refused.into_response(&Method::GET);
            assert_eq!(
                (response.status().as_u16(), response.headers()[RETRY_AFTER].to_str().unwrap()),
                (429, &*seconds.to_string())
            );
        }
        for refusal in [GateError::TooMany { limit: 1 }, GateError::TooManyWatches { limit: 1 }] {
            assert_eq!(told(refusal.into())["details"]["retryAfterSeconds"], 1);
        }
    }

    #[test]
    fn the_hosts_addresses_are_not_told() {
        let refused = ClusterError::from(Unavailable::ConnectionRefused { address: "10.9.8.7:443".into() });
        let told = told(refused.into());
        assert_eq!((&told["code"], &told["reason"]), (&json!(503), &json!("ServiceUnavailable")));
        assert!(!told["message"].as_str().unwrap().contains("10.9"), "{told}");
    }
}
