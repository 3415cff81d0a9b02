//! The format in which guests for tests print the outcome of a call.

use attache_guest::api::{Error, Status};
use serde_json::{Value, json};

/// Prints an outcome as one line of JSON: `{"ok": …}` or `{"error": CASE, …}`.
pub fn print(outcome: Result<Value, Error>) {
    let line = match outcome {
        Ok(value) => json!({ "ok": value }),
        Err(error) => described(&error),
    };
    println!("{line}");
}

/// Returns an error with the name of its case and all that it carries.
fn described(error: &Error) -> Value {
    match error {
        Error::Denied(text) => json!({ "error": "denied", "message": text }),
        Error::Throttled { retry_after } => {
            json!({ "error": "throttled", "retryAfterSeconds": retry_after.as_secs_f64() })
        }
        Error::TooLarge { limit } => json!({ "error": "too-large", "limit": limit }),
        Error::Invalid(text) => json!({ "error": "invalid", "message": text }),
        Error::NotFound(status) => refused("NotFound", status),
        Error::AlreadyExists(status) => refused("AlreadyExists", status),
        Error::Conflict(status) => refused("Conflict", status),
        Error::Forbidden(status) => refused("Forbidden", status),
        Error::Refused(status) => refused("Refused", status),
        Error::Unavailable(text) => json!({ "error": "unavailable", "message": text }),
        Error::Decode(error) => json!({ "error": "decode", "message": error.to_string() }),
    }
}

fn refused(case: &str, status: &Status) -> Value {
    json!({
        "error": "refused",
        "case": case,
        "code": status.code,
        "reason": status.reason,
        "message": status.message,
        "body": status.body(),
    })
}
