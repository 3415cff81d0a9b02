//! The query of a request: split as Go's `net/url` splits it, and written anew from the parts.
//!
//! Threat: a parameter that the gate reads differently from the API server (`watch` doubled, half-encoded, behind a
//! `;`). An ambiguous query is refused; any other is sent in one canonical spelling.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::InvalidRequest;

/// The most query parameters of one request. The API's own options number about twenty; the search for doubled ones is
/// quadratic and must stay small.
pub(super) const MAX_PARAMETERS: usize = 64;

/// All bytes but RFC 3986's unreserved characters, which are encoded: no reader then has a delimiter to disagree about.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The decoded parameters of a query, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses a raw query without its `?`.
    pub(super) fn parse(raw: &str) -> Result<Self, InvalidRequest> {
        let mut query = Self::default();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            query.push(decode(key)?, decode(value)?)?;
        }
        Ok(query)
    }

    /// Adds one decoded parameter.
    pub(super) fn push(&mut self, key: String, value: String) -> Result<(), InvalidRequest> {
        if self.0.len() >= MAX_PARAMETERS {
            return Err(InvalidRequest::TooManyParameters { limit: MAX_PARAMETERS });
        }
        if key.is_empty() {
            return Err(InvalidRequest::Nameless);
        }
        if key.chars().chain(value.chars()).any(char::is_control) {
            return Err(InvalidRequest::Control(super::shown(&key)));
        }
        self.0.push((key, value));
        Ok(())
    }

    /// Returns the value of the first parameter of this name, as the server does.
    pub(super) fn first(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Refuses a name that stands twice, except the parameters that are lists on the server.
    pub(super) fn refuse_doubled(&self, lists: &[&str]) -> Result<(), InvalidRequest> {
        for (index, (key, _)) in self.0.iter().enumerate() {
            let doubled = self.0.iter().skip(index.saturating_add(1)).any(|(other, _)| other == key);
            if doubled && !lists.contains(&key.as_str()) {
                return Err(InvalidRequest::Doubled(super::shown(key)));
            }
        }
        Ok(())
    }

    /// Appends `?key=value&…` in canonical encoding, or nothing.
    pub(super) fn write(&self, target: &mut String) {
        for (index, (key, value)) in self.0.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target.extend(utf8_percent_encode(key, ENCODED));
            target.push('=');
            target.extend(utf8_percent_encode(value, ENCODED));
        }
    }
}

/// Refuses bytes that are not valid in a query which the API server reads. `at` is the offset of the query in the
/// target.
pub(super) fn check_bytes(raw: &str, at: usize) -> Result<(), InvalidRequest> {
    // Go drops a parameter with a `;` in it, other readers split at it.
    match raw.bytes().position(|byte| byte == b';') {
        Some(offset) => Err(InvalidRequest::Byte { byte: b';', at: at.saturating_add(offset) }),
        None => check_raw(raw, at),
    }
}

/// Refuses bytes that are not valid in a target: control characters, spaces, non-ASCII bytes, backslashes, quotes and
/// angle brackets.
pub(super) fn check_raw(raw: &str, at: usize) -> Result<(), InvalidRequest> {
    let odd = |byte: &u8| !byte.is_ascii_graphic() || b"\\\"<>".contains(byte);
    match raw.bytes().enumerate().find(|(_, byte)| odd(byte)) {
        Some((offset, byte)) => Err(InvalidRequest::Byte { byte, at: at.saturating_add(offset) }),
        None => Ok(()),
    }
}

/// Decodes a text as Go's `url.QueryUnescape`: `+` is a space, every `%` must have two digits.
fn decode(raw: &str) -> Result<String, InvalidRequest> {
    let broken = || InvalidRequest::Escape(super::shown(raw));
    if !escapes_are_whole(raw) {
        return Err(broken());
    }
    let spaced: Cow<'_, str> = if raw.contains('+') { raw.replace('+', " ").into() } else { raw.into() };
    percent_decode_str(&spaced).decode_utf8().map(Cow::into_owned).map_err(|_| broken())
}

/// Returns whether each `%` is followed by two hexadecimal digits.
pub(super) fn escapes_are_whole(raw: &str) -> bool {
    raw.split('%').skip(1).all(|after| {
        let mut digits = after.bytes();
        matches!((digits.next(), digits.next()), (Some(a), Some(b)) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn canonical(raw: &str) -> Result<String, InvalidRequest> {
        let mut out = String::new();
        Query::parse(raw)?.write(&mut out);
        Ok(out)
    }

    #[test]
    fn one_spelling_comes_out() {
        for (raw, sent) in [
            ("", ""),
            ("&&", ""),
            ("watch", "?watch="),
            ("w%61tch=1", "?watch=1"),
            ("labelSelector=a%3Db,c+in+(d)", "?labelSelector=a%3Db%2Cc%20in%20%28d%29"),
            ("a=1&a=2", "?a=1&a=2"),
            ("x=%F0%9F%A6%80", "?x=%F0%9F%A6%80"),
            ("x=a=b", "?x=a%3Db"),
        ] {
            assert_eq!(canonical(raw).unwrap(), sent, "{raw}");
        }
    }

    #[test]
    fn broken_spellings_are_refused() {
        for raw in ["a=%", "a=%2", "a=%zz", "%=1", "a=%ff", "=1", "a=%0d%0a", "a=%00", "%0a=1"] {
            assert!(canonical(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn more_parameters_than_the_limit_are_refused() {
        let raw = vec!["a=1"; MAX_PARAMETERS + 1].join("&");
        assert_eq!(canonical(&raw), Err(InvalidRequest::TooManyParameters { limit: MAX_PARAMETERS }));
    }

    #[test]
    fn only_lists_may_be_doubled() {
        let query = Query::parse("command=a&command=b").unwrap();
        assert_eq!(query.refuse_doubled(&["command"]), Ok(()));
        assert_eq!(query.refuse_doubled(&[]), Err(InvalidRequest::Doubled("command".into())));
    }
}
