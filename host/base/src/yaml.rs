//! The options and the errors that all readers of YAML share.
//!
//! Threat: an error that repeats the text around a fault. The text may be a kubeconfig with a token in it, and a log is
//! no place for one. No reader here shows snippets.

use serde_saphyr::{Error, Options};

use crate::Location;

impl From<serde_saphyr::Location> for Location {
    fn from(at: serde_saphyr::Location) -> Self {
        Self::new(at.line(), at.column())
    }
}

/// Returns the reader's options without snippets. Aliases may add at most `replayed` events, which stops an alias bomb.
pub fn options(replayed: usize) -> Options {
    let mut options = Options::default();
    options.with_snippet = false;
    options.alias_limits.max_total_replayed_events = replayed;
    options
}

/// Returns the location at which the reader gave up, if it is known.
pub fn location(error: &Error) -> Option<Location> {
    error.location().map(Location::from)
}

/// Returns the reader's message without a snippet and without the location. The message may repeat a word of the text,
/// of any length.
pub fn message(error: &Error) -> String {
    let message = error.without_snippet().to_string();
    let at = location(error).map(|at| format!(" at line {}, column {}", at.line, at.column));
    at.and_then(|at| message.strip_suffix(&at).map(str::to_owned)).unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_location_apart_and_shows_no_snippet() {
        let read = serde_saphyr::from_str_with_options::<Vec<u8>>("- 1\n- [secret\n", options(10));
        let error = read.err().map(|error| (location(&error).map(|at| at.line), message(&error)));
        let (line, message) = error.unwrap_or_default();
        assert!(line.is_some() && !message.is_empty());
        assert!(!message.contains("secret") && !message.contains(" at line "), "{message}");
    }
}
