//! The refusal of an API server: a `Status` object, a line of plain text, or nothing readable.

use attache_base::untrusted::is_hidden;
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;

/// The most characters of a message from a body that is no `Status`.
///
/// A page of HTML from a load balancer would bury a guest's log; its first lines are enough to recognise it.
const MAX_PLAIN_MESSAGE: usize = 1024;

/// A refusal by the API server. Its text is the server's own, and a guest may read it: the guest made the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason, such as `NotFound`; derived from the code where the server gave none.
    pub reason: String,
    /// The message for people.
    pub message: String,
    /// The `Status` object as it came, if the server sent one.
    pub body: Option<Bytes>,
}

/// The fields of `metav1.Status` that we read; every one may be missing or null.
#[derive(Deserialize)]
struct StatusObject {
    kind: Option<String>,
    message: Option<String>,
    reason: Option<String>,
}

impl ServerStatus {
    /// Reads the refusal `code` with this body. The code in the body is ignored.
    pub fn read(code: StatusCode, body: Bytes) -> Self {
        match serde_json::from_slice::<StatusObject>(&body) {
            Ok(object) if object.kind.as_deref() == Some("Status") => Self {
                code: code.as_u16(),
                reason: object.reason.filter(|text| !text.is_empty()).unwrap_or_else(|| derived_reason(code)),
                message: object.message.filter(|text| !text.is_empty()).unwrap_or_else(|| bare_message(code)),
                body: Some(body),
            },
            _ => Self::bare(code, &plain_text(&body)),
        }
    }

    /// Makes a refusal whose body could not be read.
    pub fn without_body(code: StatusCode) -> Self {
        Self::bare(code, "")
    }

    fn bare(code: StatusCode, text: &str) -> Self {
        let message = if text.is_empty() { bare_message(code) } else { text.to_owned() };
        Self { code: code.as_u16(), reason: derived_reason(code), message, body: None }
    }
}

impl std::fmt::Display for ServerStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} {})", self.message, self.code, self.reason)
    }
}

fn bare_message(code: StatusCode) -> String {
    if code.is_redirection() {
        return format!("the server answered {code}, and redirects are not followed");
    }
    format!("the server answered {code} without saying why")
}

/// Returns the text of a body without control characters, cut at [`MAX_PLAIN_MESSAGE`].
fn plain_text(body: &[u8]) -> String {
    // One character takes at most four bytes, so this much of the body is enough to fill a message.
    let start = body.get(..MAX_PLAIN_MESSAGE.saturating_mul(4)).unwrap_or(body);
    let text = String::from_utf8_lossy(start);
    let readable = text.chars().map(|c| if is_hidden(c) { ' ' } else { c });
    readable.take(MAX_PLAIN_MESSAGE).collect::<String>().trim().to_owned()
}

/// Returns the reason for a code: as `NewGenericServerResponse` in apimachinery's `pkg/api/errors/errors.go`, and for
/// 409, 410 and 413 the reason that API servers give most often.
fn derived_reason(code: StatusCode) -> String {
    let reason = match code.as_u16() {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        409 => "Conflict",
        410 => "Gone",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        500.. => "InternalError",
        _ => "Unknown",
    };
    reason.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(code: u16, body: &'static str) -> ServerStatus {
        ServerStatus::read(StatusCode::from_u16(code).unwrap_or_default(), Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn a_status_object_is_kept_whole() {
        let text = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}"#;
        let status = read(401, text);
        assert_eq!(
            (status.code, status.reason.as_str(), status.message.as_str()),
            (401, "Unauthorized", "Unauthorized")
        );
        assert_eq!(status.body.as_deref(), Some(text.as_bytes()));
    }

    #[test]
    fn what_the_server_left_out_is_derived_from_the_code() {
        let status = read(410, r#"{"kind":"Status","reason":null,"message":""}"#);
        assert_eq!((status.reason.as_str(), status.code), ("Gone", 410));
        assert!(status.message.contains("410"), "{status}");
    }

    #[test]
    fn the_code_of_the_answer_counts() {
        assert_eq!(read(403, r#"{"kind":"Status","code":200,"reason":"Forbidden"}"#).code, 403);
    }

    #[test]
    fn plain_text_becomes_the_message() {
        let status = read(404, "404 page not found\n");
        assert_eq!(status.to_string(), "404 page not found (404 NotFound)");
        assert_eq!(status.body, None);
    }

    #[test]
    fn another_object_is_no_status() {
        let status = read(500, r#"{"kind":"Pod","message":"x","reason":"y"}"#);
        assert_eq!((status.reason.as_str(), status.body), ("InternalError", None));
    }

    #[test]
    fn garbage_is_survived_and_cut() {
        for body in ["", "{", "[]", "null", "\u{0}\u{1}", r#"{"kind":["Status"]}"#] {
            assert_eq!(read(422, body).reason, "Invalid");
        }
        let long = ServerStatus::read(StatusCode::BAD_GATEWAY, Bytes::from(vec![0xff; 1 << 20]));
        assert!(long.message.chars().count() <= MAX_PLAIN_MESSAGE);
    }

    #[test]
    fn a_redirect_says_that_nobody_follows_it() {
        assert!(read(302, "").message.contains("not followed"));
    }
}
