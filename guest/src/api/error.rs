//! Why a call of the API failed.

use std::time::Duration;

use serde_json::Value;

use crate::bindings::attache::pod::api as wit;

/// Why a call failed.
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
    /// The grant does not allow it; the API server was not asked. The text says which rule would, or that as many
    /// watches are open as may be.
    #[error("denied by the grant: {0}")]
    Denied(String),
    /// The grant's rate is spent.
    #[error("throttled: try again in {retry_after:?}")]
    Throttled {
        /// When a call will be let through again.
        retry_after: Duration,
    },
    /// The answer, or an object of a watch, is larger than the grant allows; or all that the host watches, for
    /// whomever, is more than it keeps, and this watch was the largest part of it.
    #[error("more than {limit} bytes: what the grant allows of an answer, or the host keeps of all that it watches")]
    TooLarge {
        /// The grant's limit or the host's, in bytes.
        limit: u64,
    },
    /// A name, selector or body is not valid; the API server was not asked.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// The API server knows no such object, or no such type (404).
    #[error("refused by the API server: {0}")]
    NotFound(Status),
    /// The API server has an object of this name (409 `AlreadyExists`).
    #[error("refused by the API server: {0}")]
    AlreadyExists(Status),
    /// The object was changed since it was read, or a field of it belongs to another manager (409).
    #[error("refused by the API server: {0}")]
    Conflict(Status),
    /// The service account may not, by the API server's own rules (403).
    #[error("refused by the API server: {0}")]
    Forbidden(Status),
    /// The API server refused for another reason.
    #[error("refused by the API server: {0}")]
    Refused(Status),
    /// The API server could not be reached, or broke off.
    #[error("API server unavailable: {0}")]
    Unavailable(String),
    /// The object came, but is not of the type that was asked for.
    #[error("the object is of another shape than was asked for")]
    Decode(#[from] serde_json::Error),
}

impl Error {
    /// Whether the API server says that there is no such object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }

    /// Whether the object was changed since it was read, or belongs to another manager.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }

    /// What the API server said, if it was the one to refuse.
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

/// What the API server said when it refused a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code} {reason}: {message}")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable cause, such as `NotFound` or `Conflict`.
    pub reason: String,
    /// For people; its wording may change.
    pub message: String,
    /// The whole `Status` object as JSON, when the server sent one.
    body: Option<Vec<u8>>,
}

impl Status {
    /// The whole `Status` object, when the server sent one: its `details` say which object and which fields.
    pub fn body(&self) -> Option<Value> {
        serde_json::from_slice(self.body.as_deref()?).ok()
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
    fn a_wait_is_told_in_time_and_not_in_nanoseconds() {
        let error = Error::from(wit::Error::Throttled(1_500_000_000));
        assert_eq!(error.to_string(), "throttled: try again in 1.5s");
    }
}
