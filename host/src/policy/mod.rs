//! What an extension may do: pure judgement, no I/O.
//!
//! [`ApiRequest`] says what a request asks for, [`Grant`] what an extension may ask for, and [`Grant::judge`] compares them.
//! Nothing here reads a file, waits or knows about wasmtime.

mod build;
mod field_selector;
mod grant;
mod invalid;
mod judgement;
mod limits;
mod query;
mod request;
mod rules;
mod segments;

pub use build::{MAX_NAME, PathBuilder};
pub use grant::{Grant, GrantError};
pub use invalid::InvalidRequest;
pub use judgement::Verdict;
pub use limits::Limits;
pub use query::MAX_PARAMETERS;
pub use request::{ApiRequest, MAX_TARGET, ResourcePath};
pub use rules::Rule;

/// How much of a guest's text a message repeats, in characters: enough to recognise it, too little to flood a log.
const SHOWN: usize = 80;

/// A guest's text as it may stand in a message: cut, and without control characters.
fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
