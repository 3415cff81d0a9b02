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
///     Err(Error::Refused(status)) if status.code == 404 => println!("no settings yet"),
///     Err(error) => return Err(error),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The grant does not allow it; the API server was not asked. The text says which rule would.
    #[error("denied by the grant: {0}")]
    Denied(String),
    /// The grant's rate is spent.
    #[error("throttled: try again in {retry_after:?}")]
    Throttled {
        /// When a call will be let through again.
        retry_after: Duration,
    },
    /// The answer is larger than the grant allows.
    #[error("the answer is larger than the {limit} bytes that the grant allows")]
    TooLarge {
        /// The grant's limit, in bytes.
        limit: u64,
    },
    /// A name, selector or body is not valid; the API server was not asked.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// The API server refused.
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
        matches!(self, Self::Refused(status) if status.code == 404)
    }
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::Denied(text) => Self::Denied(text),
            wit::Error::Throttled(nanoseconds) => Self::Throttled { retry_after: Duration::from_nanos(nanoseconds) },
            wit::Error::TooLarge(limit) => Self::TooLarge { limit },
            wit::Error::Invalid(text) => Self::Invalid(text),
            wit::Error::Refused(status) => Self::Refused(status.into()),
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
    fn a_status_gives_its_details_and_nothing_for_a_text_that_is_not_json() {
        let body = |text| match refusal(409, "Conflict", text) {
            Error::Refused(status) => status.body(),
            other => panic!("not a refusal: {other}"),
        };
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
