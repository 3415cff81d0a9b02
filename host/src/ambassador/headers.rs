//! What the headers of a request may say.
//!
//! Threat: headers that change who asks. The API server takes `Impersonate-*` from whoever may impersonate, and the
//! `X-Remote-*` of the request-header authenticator from whoever holds a front proxy's certificate; a request with one
//! of these is refused loudly, since dropping it would answer as somebody other than was meant. Forwarding headers
//! (`Forwarded`, `X-Forwarded-*`, `Via`), cookies and all others that are not named here never reach the server.

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

use crate::serving::asks_for_upgrade;

/// How many headers a request may have: what hyper reads at most.
pub(super) const MAX_HEADERS: usize = 100;

/// How large all headers of a request together may be, in bytes. Servers commonly stop at 8 to 16 KiB; a bound token
/// takes one to two.
pub(super) const MAX_HEADER_BYTES: usize = 32 << 10;

/// Headers by which another server says on whose behalf it asks.
const IDENTITY: [&str; 2] = ["impersonate-", "x-remote-"];

/// Headers that may stand in a request once only: what the second says could be read as what the first does.
const SINGLE: [HeaderName; 3] = [AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE];

/// Why a request is refused for its headers.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeaderFault {
    /// A header says who asks.
    #[error("the header {0} asks on behalf of another, which nobody may here: each asks as itself")]
    Identity(HeaderName),
    /// It asks to leave HTTP for another protocol, and no such upgrade is passed on here.
    #[error(
        "this upgrade to another protocol is not passed on: only `attache proxy` passes upgrades on, to WebSocket and \
         SPDY/3.1, of exec, attach, portforward, proxy, watches and logs that are followed"
    )]
    Upgrade,
    /// Its headers for an upgrade have two readings or none.
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
    /// There are more than [`MAX_HEADERS`].
    #[error("more than {MAX_HEADERS} headers")]
    TooMany,
    /// They are larger than [`MAX_HEADER_BYTES`].
    #[error("the headers are larger than {MAX_HEADER_BYTES} bytes")]
    TooLarge,
}

/// Checks all that does not depend on who asks.
///
/// # Errors
/// The first fault that is found.
pub(super) fn check(headers: &HeaderMap) -> Result<(), HeaderFault> {
    check_apart_from_upgrade(headers)?;
    if asks_for_upgrade(headers) { Err(HeaderFault::Upgrade) } else { Ok(()) }
}

/// The same, for a request whose upgrade is checked elsewhere.
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

/// Checks how many headers there are and how large they are.
///
/// # Errors
/// [`HeaderFault::TooMany`] or [`HeaderFault::TooLarge`].
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

/// The bearer token, if the request has one.
///
/// # Errors
/// [`HeaderFault::NoBearer`] for another scheme, or for bytes that no token has.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, HeaderFault> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(HeaderFault::NoBearer)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Some(token.trim())) } else { Err(HeaderFault::NoBearer) }
}

/// What forms of the answer are wanted, all `Accept` headers in one.
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

/// What the body is.
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
