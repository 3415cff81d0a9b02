//! The errors of the API.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::bindings::attache::pod::api as wit;

/// The reason why a call failed.
///
/// ```no_run
/// use attache_guest::api::{Collection, Error, ResourceType};
/// use serde_json::Value;
///
/// # fn main() -> Result<(), Error> {
/// let config_maps = Collection::namespaced(&ResourceType::core("v1", "configmaps"), "default")?;
/// match config_maps.get::<Value>("settings") {
///     Ok(settings) => println!("{}", settings["data"]),
///     Err(Error::Denied(rule)) => eprintln!("the grant lacks a rule: {rule}"),
///     Err(Error::Throttled { retry_after }) => std::thread::sleep(retry_after),
///     Err(Error::NotFound(_)) => println!("no settings yet"),
///     Err(error) => return Err(error),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The grant does not allow the call, and nothing was sent. The text names the rule that would allow it. The case
    /// also means that the guest has as many watches open as the grant allows; the text then says so.
    #[error("denied by the grant: {0}")]
    Denied(String),
    /// The call exceeds the rate of the grant or of the whole host, or the number of requests that the grant allows at
    /// one time. Nothing was sent.
    #[error("throttled: try again in {retry_after:?}")]
    Throttled {
        /// The time after which to retry.
        retry_after: Duration,
    },
    /// The answer, or an object of a watch, exceeds the grant's `responseBytes`. For a watch, the case also means that
    /// all objects that the host watches for all guests exceed the host's own limit, and this watch had the largest
    /// share.
    #[error("more than {limit} bytes: what the grant allows of an answer, or the host keeps of all that it watches")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// A name, selector, verb or body is not valid, or the request exceeds the grant's `requestBytes` or `targetBytes`.
    /// Nothing was sent.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// The API server has no such object or no such type (404).
    #[error("refused by the API server: {0}")]
    NotFound(Status),
    /// The API server already has an object of this name (409 `AlreadyExists`).
    #[error("refused by the API server: {0}")]
    AlreadyExists(Status),
    /// The object has changed since it was read, or another field manager owns a field (409).
    #[error("refused by the API server: {0}")]
    Conflict(Status),
    /// The API server's RBAC does not allow the request to the service account (403).
    #[error("refused by the API server: {0}")]
    Forbidden(Status),
    /// The API server refused the request for another reason.
    #[error("refused by the API server: {0}")]
    Refused(Status),
    /// The API server, or the API group of the type, did not answer, or did not answer completely. Other causes are an
    /// answer that cannot be parsed, a host without an API server, and a watch that the host cannot keep. A write may
    /// have been stored despite this error.
    #[error("API server unavailable: {0}")]
    Unavailable(String),
    /// The object does not deserialise to the Rust type of the call. After a write, the change is stored.
    #[error("the object is of another shape than was asked for")]
    Decode(#[from] serde_json::Error),
}

impl Error {
    /// Returns true for [`Error::NotFound`].
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }

    /// Returns true for [`Error::Conflict`].
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }

    /// Returns the API server's answer if the API server refused the request.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::NotFound(status)
            | Self::AlreadyExists(status)
            | Self::Conflict(status)
            | Self::Forbidden(status)
            | Self::Refused(status) => Some(status),
            _ => None,
        }
    }
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::Denied(text) => Self::Denied(text),
            wit::Error::Throttled(nanoseconds) => Self::Throttled { retry_after: Duration::from_nanos(nanoseconds) },
            wit::Error::TooLarge(limit) => Self::TooLarge { limit },
            wit::Error::Invalid(text) => Self::Invalid(text),
            wit::Error::Refused(status) => Status::from(status).into(),
            wit::Error::Unavailable(text) => Self::Unavailable(text),
        }
    }
}

/// The API server's answer to a request that it refused; made by [`Error::status`].
///
/// ```no_run
/// use attache_guest::api::{Error, Status};
///
/// fn fields(error: &Error) -> Vec<String> {
///     let body = error.status().and_then(Status::body).unwrap_or_default();
///     let causes = body["details"]["causes"].as_array().cloned().unwrap_or_default();
///     causes.iter().map(|cause| cause["field"].to_string()).collect()
/// }
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code} {reason}: {message}")]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason, such as `NotFound` or `Conflict`.
    pub reason: String,
    /// The description for people. Its wording may change between releases.
    pub message: String,
    /// The whole `Status` object as JSON, if the API server sent one.
    body: Option<Vec<u8>>,
}

impl Status {
    /// Returns the whole `Status` object if the API server sent one. Its `details` name the object and the fields.
    pub fn body(&self) -> Option<Value> {
        serde_json::from_slice(self.body.as_deref()?).ok()
    }
}

impl fmt::Debug for Status {
    /// Writes the body as text: `main` prints an error that it returns in this form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, reason, message, body } = self;
        let body = body.as_deref().map(String::from_utf8_lossy);
        let mut status = f.debug_struct("Status");
        status.field("code", code).field("reason", reason).field("message", message).field("body", &body).finish()
    }
}

impl From<wit::Status> for Status {
    fn from(status: wit::Status) -> Self {
        Self { code: status.code, reason: status.reason, message: status.message, body: status.body }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        match (status.code, status.reason.as_str()) {
            (403, _) => Self::Forbidden(status),
            (404, _) => Self::NotFound(status),
            (409, "AlreadyExists") => Self::AlreadyExists(status),
            (409, _) => Self::Conflict(status),
            _ => Self::Refused(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: u16, reason: &str, body: Option<&str>) -> Error {
        let status = wit::Status {
            code,
            reason: reason.into(),
            message: "jobs \"x\" is not there".into(),
            body: body.map(|text| text.as_bytes().to_vec()),
        };
        wit::Error::Refused(status).into()
    }

    #[test]
    fn a_refusal_reads_as_the_server_worded_it() {
        assert_eq!(
            refusal(404, "NotFound", None).to_string(),
            "refused by the API server: 404 NotFound: jobs \"x\" is not there"
        );
        assert!(refusal(404, "NotFound", None).is_not_found());
        assert!(!refusal(403, "Forbidden", None).is_not_found());
    }

    #[test]
    fn what_a_guest_acts_on_has_a_case_of_its_own() {
        assert!(matches!(refusal(403, "Forbidden", None), Error::Forbidden(_)));
        assert!(matches!(refusal(409, "AlreadyExists", None), Error::AlreadyExists(_)));
        assert!(matches!(refusal(409, "Conflict", None), Error::Conflict(_)));
        assert!(matches!(refusal(422, "Invalid", None), Error::Refused(_)));
        assert_eq!(refusal(422, "Invalid", None).status().map(|status| status.code), Some(422));
        assert_eq!(Error::Invalid("x".into()).status(), None);
    }

    #[test]
    fn a_status_gives_its_details_and_nothing_for_a_text_that_is_not_json() {
        let body = |text| refusal(409, "Conflict", text).status().and_then(Status::body);
        assert_eq!(body(Some(r#"{"details":{"name":"x"}}"#)).map(|b| b["details"]["name"] == "x"), Some(true));
        assert_eq!(body(Some("no json")), None);
        assert_eq!(body(None), None);
    }

    #[test]
    fn an_error_that_main_returns_shows_the_body_as_text() {
        let shown = format!("{:?}", refusal(409, "Conflict", Some(r#"{"kind":"Status"}"#)));
        assert!(shown.contains(r#"{\"kind\":\"Status\"}"#), "{shown}");
    }

    #[test]
    fn a_wait_is_told_in_time_and_not_in_nanoseconds() {
        let error = Error::from(wit::Error::Throttled(1_500_000_000));
        assert_eq!(error.to_string(), "throttled: try again in 1.5s");
    }
}
