//! The checks of a request's headers.
//!
//! Threat: headers that change the identity of the caller. The API server accepts `Impersonate-*` from every account
//! that may impersonate. It accepts `X-Remote-*` (the request-header authenticator) from every holder of a front
//! proxy's certificate. A request with one of these is refused, because without the header it would be answered for
//! another user than meant. Forwarding headers (`Forwarded`, `X-Forwarded-*`, `Via`), cookies and all headers that are
//! not named here never reach the server.

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

use crate::serving::asks_for_upgrade;

/// The largest number of headers of a request: hyper's own maximum.
pub(super) const MAX_HEADERS: usize = 100;

/// The largest size of all headers of a request together, in bytes. Servers commonly stop at 8 to 16 KiB, and a bound
/// token takes one to two.
pub(super) const MAX_HEADER_BYTES: usize = 32 << 10;

/// The beginnings of headers with which another server names the user of a request.
const IDENTITY: [&str; 2] = ["impersonate-", "x-remote-"];

/// Headers that a request may have only once. One reader takes the first value, another the second.
const SINGLE: [HeaderName; 3] = [AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE];

/// A fault in the headers of a request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// A header names another user.
    #[error("the header {0} asks on behalf of another, which nobody may here: each asks as itself")]
    Identity(HeaderName),
    /// The request asks for an upgrade to another protocol, which is not forwarded here.
    #[error(
        "this upgrade to another protocol is not passed on: only `attache proxy` passes upgrades on, to WebSocket and \
         SPDY/3.1, of exec, attach, portforward, proxy, watches and logs that are followed"
    )]
    Upgrade,
    /// The headers for an upgrade have two readings or none.
    #[error("the headers that ask for an upgrade cannot be understood: {0}")]
    BadUpgrade(&'static str),
    /// A WebSocket's subprotocol is a bearer token.
    #[error("the header sec-websocket-protocol holds a bearer token: who asks is known by the way it comes")]
    BearerProtocol,
    /// A header stands twice.
    #[error("the header {0} stands more than once")]
    Doubled(HeaderName),
    /// `Authorization` is no bearer token.
    #[error("the header authorization holds no bearer token")]
    NoBearer,
    /// There are more than 100 headers.
    #[error("more than {MAX_HEADERS} headers")]
    TooMany,
    /// The headers have more than 32 KiB together.
    #[error("the headers are larger than {MAX_HEADER_BYTES} bytes")]
    TooLarge,
}

/// Checks all headers that do not depend on the caller.
///
/// # Errors
/// Returns the first fault.
pub(super) fn check(headers: &HeaderMap) -> Result<(), HeaderFault> {
    check_apart_from_upgrade(headers)?;
    if asks_for_upgrade(headers) { Err(HeaderFault::Upgrade) } else { Ok(()) }
}

/// Checks the headers as [`check`] does, for a request whose upgrade is checked elsewhere.
pub(super) fn check_apart_from_upgrade(headers: &HeaderMap) -> Result<(), HeaderFault> {
    check_size(headers)?;
    let identity = |name: &&HeaderName| IDENTITY.iter().any(|start| name.as_str().starts_with(start));
    if let Some(name) = headers.keys().find(identity) {
        return Err(HeaderFault::Identity(name.clone()));
    }
    match SINGLE.into_iter().find(|name| headers.get_all(name).iter().nth(1).is_some()) {
        Some(name) => Err(HeaderFault::Doubled(name)),
        None => Ok(()),
    }
}

/// Checks the number and the size of the headers.
///
/// # Errors
/// Returns [`HeaderFault::TooMany`] or [`HeaderFault::TooLarge`].
pub(super) fn check_size(headers: &HeaderMap) -> Result<(), HeaderFault> {
    if headers.len() > MAX_HEADERS {
        return Err(HeaderFault::TooMany);
    }
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len().saturating_add(value.len());
    if headers.iter().map(bytes).fold(0_usize, usize::saturating_add) > MAX_HEADER_BYTES {
        return Err(HeaderFault::TooLarge);
    }
    Ok(())
}

/// Returns the bearer token, if the request has one.
///
/// # Errors
/// Returns [`HeaderFault::NoBearer`] for another scheme, or for bytes that no token has.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, HeaderFault> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(HeaderFault::NoBearer)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Some(token.trim())) } else { Err(HeaderFault::NoBearer) }
}

/// Returns the accepted forms of the answer: all `Accept` headers in one.
pub(super) fn accept(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut all = headers.get_all(ACCEPT).iter();
    let first = all.next()?;
    let rest: Vec<_> = all.map(HeaderValue::as_bytes).collect();
    if rest.is_empty() {
        return Some(first.clone());
    }
    let joined = rest.iter().fold(first.as_bytes().to_vec(), |all, one| [all.as_slice(), b", ", one].concat());
    HeaderValue::from_bytes(&joined).ok()
}

/// Returns the type of the body.
pub(super) fn content_type(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(CONTENT_TYPE).cloned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn map(list: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        list.iter().map(pair).collect()
    }

    #[test]
    fn who_asks_cannot_be_said_in_a_header() {
        for name in [
            "Impersonate-User",
            "impersonate-group",
            "IMPERSONATE-UID",
            "Impersonate-Extra-Scopes",
            "X-Remote-User",
            "x-remote-group",
            "X-Remote-Extra-Any",
        ] {
            assert!(matches!(check(&map(&[(name, "x")])), Err(HeaderFault::Identity(_))), "{name}");
        }
        assert_eq!(check(&map(&[("x-forwarded-for", "10.0.0.1"), ("x-real-ip", "1"), ("cookie", "a")])), Ok(()));
    }

    #[test]
    fn every_way_to_ask_for_an_upgrade_is_seen() {
        for list in [
            [("upgrade", "websocket")],
            [("connection", "Upgrade")],
            [("connection", "keep-alive , UPGRADE")],
            [("http2-settings", "")],
        ] {
            assert_eq!(check(&map(&list)), Err(HeaderFault::Upgrade), "{list:?}");
        }
        assert_eq!(check(&map(&[("connection", "keep-alive, close")])), Ok(()));
    }

    #[test]
    fn what_may_stand_once_stands_once() {
        for name in ["authorization", "content-length", "content-type"] {
            assert!(matches!(check(&map(&[(name, "1"), (name, "1")])), Err(HeaderFault::Doubled(_))), "{name}");
        }
    }

    #[test]
    fn too_many_or_too_large_is_refused() {
        let many: HeaderMap = (0..=MAX_HEADERS)
            .map(|number| (HeaderName::try_from(format!("a{number}")).unwrap(), HeaderValue::from_static("")))
            .collect();
        assert_eq!(check(&many), Err(HeaderFault::TooMany));
        assert_eq!(check(&map(&[("a", &"x".repeat(MAX_HEADER_BYTES))])), Err(HeaderFault::TooLarge));
    }

    #[test]
    fn only_a_bearer_token_is_one() {
        assert_eq!(bearer(&map(&[])), Ok(None));
        assert_eq!(bearer(&map(&[("authorization", "Bearer abc")])), Ok(Some("abc")));
        assert_eq!(bearer(&map(&[("authorization", "bearer  abc ")])), Ok(Some("abc")));
        for value in ["abc", "Basic abc", "", "Bearer", "Bearerabc", "Bearer\tabc"] {
            assert_eq!(bearer(&map(&[("authorization", value)])), Err(HeaderFault::NoBearer), "{value}");
        }
    }

    #[test]
    fn all_accept_headers_become_one() {
        assert_eq!(accept(&map(&[])), None);
        assert_eq!(accept(&map(&[("accept", "a/b"), ("accept", "c/d;q=1")])).unwrap(), "a/b, c/d;q=1");
    }
}
