//! The `continue` tokens of paged lists, in a real server's own format.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::model::status::ApiError;

/// The position of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    v: String,
    /// The revision that all pages show; -1 for the newest.
    rv: i64,
    start: String,
}

/// The format's name for itself.
const FORMAT: &str = "meta.k8s.io/v1";

/// The content of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resume {
    /// The revision; `None` for the newest.
    pub(crate) revision: Option<u64>,
    /// The whole key after which the list continues.
    pub(crate) after: String,
}

/// Returns the token that continues after `key`, for a list of the keys that begin with `prefix`.
pub(crate) fn token(prefix: &str, key: &str, revision: u64) -> String {
    let rest = key.strip_prefix(prefix).unwrap_or(key);
    encode(i64::try_from(revision).unwrap_or(i64::MAX), format!("/{rest}\0"))
}

/// Returns the token that continues at the newest revision instead.
fn inconsistent(prefix: &str, after: &str) -> String {
    encode(-1, format!("{}\0", after.strip_prefix(prefix).unwrap_or(after)))
}

fn encode(rv: i64, start: String) -> String {
    let token = Token { v: FORMAT.to_owned(), rv, start };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

/// Parses a token of a list of the keys that begin with `prefix`.
///
/// # Errors
/// 400 for a token that no server issued.
pub(crate) fn resume(prefix: &str, text: &str) -> Result<Resume, ApiError> {
    let unfit = |why: &str| ApiError::bad_request(format!("continue key is not valid: {why}"));
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|error| unfit(&error.to_string()))?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|error| unfit(&error.to_string()))?;
    if token.v != FORMAT {
        return Err(unfit("server does not recognize this encoded version"));
    }
    let start = token.start.trim_start_matches('/');
    let start = start.strip_suffix('\0').filter(|start| !start.is_empty()).ok_or_else(|| unfit("no start key"))?;
    if token.rv == 0 {
        return Err(unfit("incorrect encoded start resourceVersion"));
    }
    Ok(Resume { revision: u64::try_from(token.rv).ok(), after: format!("{prefix}{start}") })
}

/// 410: the revision of the token has been compacted. The answer has a token that continues at the newest revision.
pub(crate) fn expired(prefix: &str, after: &str) -> ApiError {
    let mut error = ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    error.resume = Some(inconsistent(prefix, after).into());
    error
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn tokens_are_written_as_a_real_server_writes_them() {
        let recorded = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NjYyLCJzdGFydCI6Ii9jbS0xMFx1MDAwMCJ9";
        assert_eq!(token("demo/", "demo/cm-10", 662), recorded);
        let read = resume("demo/", recorded).unwrap();
        assert_eq!(read, Resume { revision: Some(662), after: "demo/cm-10".into() });
        assert_eq!(
            inconsistent("demo/", "demo/cm-10"),
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiY20tMTBcdTAwMDAifQ"
        );
    }

    #[test]
    fn what_no_server_issued_is_refused() {
        for text in ["x", "e30", "!!!"] {
            assert_eq!(resume("", text).unwrap_err().code, 400, "{text}");
        }
    }
}
