//! The path of a request: split into segments, and written anew from them.
//!
//! Threat: a name that smuggles in another segment (`..%2fsecrets`), or a spelling that a proxy on the way reads in
//! another way than the server. A segment is decoded once, holds nothing that a reader could cut at, and is encoded in
//! one way only.
//!
//! Behind `…/proxy/` a backend reads the rest of the path, which is kept byte for byte. It is only checked for dot
//! segments, by which a reader on the way could climb out of it.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{InvalidRequest, query::escapes_are_whole};

/// The bytes of a segment that are encoded: all but those of [`is_path_byte`].
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// The segments after which `/namespaces/NAME` still means the namespace itself.
pub(super) const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// The most times that a reader on the way may decode the part of a path that a backend reads. A deeper encoding has no
/// use, and is refused.
const MAX_DECODINGS: usize = 4;

/// The decoded segments of a path, and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segments {
    pub(super) list: Vec<String>,
    /// The text behind the slash after `…/proxy`, as it was sent.
    pub(super) tail: Option<String>,
    /// Set for a slash at the end. It has a meaning only in non-resource paths.
    pub(super) trailing_slash: bool,
}

impl Segments {
    /// Parses a raw path, which starts with `/`.
    pub(super) fn parse(path: &str) -> Result<Self, InvalidRequest> {
        let inner = path.strip_prefix('/').ok_or(InvalidRequest::NotAPath)?;
        let mut found = Self { list: Vec::new(), tail: None, trailing_slash: false };
        let mut rest = Some(inner);
        while let Some(text) = rest {
            if text.is_empty() {
                found.trailing_slash = true;
                break;
            }
            let (raw, after) = text.split_once('/').map_or((text, None), |(raw, after)| (raw, Some(after)));
            found.list.push(segment(raw)?);
            if let Some(tail) = after.filter(|_| is_relayed(&found.list)) {
                check_tail(tail)?;
                found.tail = Some(tail.to_owned());
                break;
            }
            rest = after;
        }
        Ok(found)
    }

    /// Returns the path in its one spelling.
    pub(super) fn write(&self, keep_trailing_slash: bool) -> String {
        let mut path = written(self.list.iter().map(String::as_str));
        if let Some(tail) = &self.tail {
            path.push('/');
            path.push_str(tail);
        } else if path.is_empty() || (self.trailing_slash && keep_trailing_slash) {
            path.push('/');
        }
        path
    }
}

/// Returns the path of these segments, in its one spelling.
pub(super) fn written<'a>(list: impl IntoIterator<Item = &'a str>) -> String {
    let mut path = String::new();
    for part in list {
        path.push('/');
        path.extend(utf8_percent_encode(part, ENCODED));
    }
    path
}

/// Returns the check of names in a group. In the core group all names are plain. Elsewhere they may be any path
/// segment: roles, certificate signing requests, metrics, the types of aggregated API servers.
pub(super) fn naming(group: &str) -> fn(&str) -> Result<(), InvalidRequest> {
    if group.is_empty() { check } else { check_name }
}

/// Returns whether a backend reads the rest of a path after these segments: `…/RESOURCE/NAME/proxy`, and the old
/// `…/proxy/…/NAME`.
pub(super) fn is_relayed(list: &[String]) -> bool {
    let rest = match list {
        [api, _, rest @ ..] if api == "api" => rest,
        [apis, _, _, rest @ ..] if apis == "apis" => rest,
        _ => return false,
    };
    match rest {
        [watch, ..] if watch == "watch" => false,
        [proxy, rest @ ..] if proxy == "proxy" => {
            let (_, parts) = split_namespace(rest);
            // The namespace before a resource looks like an object until the resource has come.
            parts.len() == 2 && !rest.first().is_some_and(|first| first == "namespaces" && parts.len() == rest.len())
        }
        rest => matches!(split_namespace(rest).1, [_, _, proxy] if proxy == "proxy"),
    }
}

/// Splits `namespaces/NAMESPACE/` off, where a resource follows it.
pub(super) fn split_namespace(rest: &[String]) -> (Option<&str>, &[String]) {
    match rest {
        [first, namespace, after @ ..] if first == "namespaces" => match after.first() {
            Some(next) if !NAMESPACE_SUBRESOURCES.contains(&next.as_str()) => (Some(namespace), after),
            _ => (Some(namespace), rest),
        },
        _ => (None, rest),
    }
}

/// Decodes one segment of a path.
pub(super) fn segment(raw: &str) -> Result<String, InvalidRequest> {
    if !escapes_are_whole(raw) {
        return Err(InvalidRequest::Escape(super::shown(raw)));
    }
    // No client encodes a dot, except to hide a dot segment or a file's ending from a filter.
    let hidden = |byte: &u8| matches!(byte, b'.' | b'/' | b'%') || byte.is_ascii_control();
    if let Some(byte) = escaped_bytes(raw).find(hidden) {
        return Err(InvalidRequest::HiddenByte { byte });
    }
    let decoded: Vec<u8> = percent_decode_str(raw).collect();
    let decoded = String::from_utf8(decoded).map_err(|_| InvalidRequest::Escape(super::shown(raw)))?;
    check_name(&decoded)?;
    Ok(decoded)
}

/// Returns the bytes that the escapes of `raw` stand for.
fn escaped_bytes(raw: &str) -> impl Iterator<Item = u8> {
    raw.split('%').skip(1).filter_map(|after| u8::from_str_radix(after.get(..2)?, 16).ok())
}

/// Checks that the decoded `part` is one plain path segment.
pub(super) fn check(part: &str) -> Result<(), InvalidRequest> {
    check_name(part)?;
    match part.bytes().position(|byte| !is_path_byte(byte)) {
        Some(at) => Err(InvalidRequest::Byte { byte: part.as_bytes().get(at).copied().unwrap_or_default(), at }),
        None => Ok(()),
    }
}

/// Checks that the decoded `part` is a path segment by the rules of Kubernetes
/// (`apimachinery/pkg/api/validation/path`): anything but `.`, `..` and texts with `/` or `%`.
///
/// Invisible characters are refused too, because they would stand in records. So are `$(`, with which a grant names a
/// variable, and [lookalikes](plain) of refused characters.
pub(super) fn check_name(part: &str) -> Result<(), InvalidRequest> {
    let odd = |letter: &char| matches!(letter, '/' | '%') || !is_visible(*letter);
    let read = plain(part);
    match part {
        "" => Err(InvalidRequest::EmptySegment),
        _ if read.split('\\').any(is_dots) => Err(InvalidRequest::DotSegment),
        _ if part.contains("$(") || part.chars().chain(read.chars()).any(|letter| odd(&letter)) => {
            Err(InvalidRequest::Part { what: "path segment", value: super::shown(part) })
        }
        _ => Ok(()),
    }
}

/// Returns whether a byte is RFC 3986's `pchar`, without the percent sign and without the bytes that shells, templates
/// or old routers read specially: `$ & ' ( ) ;`.
pub(super) fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!*+,=:@".contains(&byte)
}

/// Returns whether this character is visible: no control character, no other space than U+0020, nothing that turns the
/// direction of writing or has no width. The standard library has that table for `escape_debug`, which applies it to
/// every character but the first.
fn is_visible(letter: char) -> bool {
    match letter {
        ' '..='~' => true,
        _ => String::from_iter(['x', letter]).escape_debug().nth(1) == Some(letter),
    }
}

/// Checks the rest of a path that a backend reads.
///
/// Threat: a reader on the way (a load balancer before the API server), or the backend itself, that resolves dot
/// segments and so makes `…/proxy/../../secrets` another request. So no dot segment may come out of it, however often
/// it is decoded, nor by an encoding that readers differ on: overlong UTF-8, other encodings than UTF-8, `%u002e`, and
/// [lookalikes](plain) of the dot and the slash.
fn check_tail(raw: &str) -> Result<(), InvalidRequest> {
    let broken = || InvalidRequest::Escape(super::shown(raw));
    if !escapes_are_whole(raw) {
        return Err(broken());
    }
    if let Some(at) = raw.bytes().position(|byte| byte == b'`') {
        return Err(InvalidRequest::Byte { byte: b'`', at });
    }
    let mut text = raw.to_owned();
    for _ in 0..=MAX_DECODINGS {
        if let Some(byte) = text.bytes().find(u8::is_ascii_control) {
            return Err(InvalidRequest::HiddenByte { byte });
        }
        if text.split(['/', '\\']).any(is_dots) {
            return Err(InvalidRequest::DotSegment);
        }
        if has_wide_escape(&text) {
            return Err(broken());
        }
        let decoded = percent_decode_str(&text).decode_utf8().map_err(|_| broken())?;
        let decoded = plain(&decoded).into_owned();
        if decoded == text {
            return Ok(());
        }
        text = decoded;
    }
    Err(broken())
}

/// Returns whether there is an escape of four digits, `%u002e`, which some readers know.
fn has_wide_escape(text: &str) -> bool {
    let digits = |after: &str| after.bytes().take(4).filter(u8::is_ascii_hexdigit).count() == 4;
    text.split('%').skip(1).any(|after| after.strip_prefix(['u', 'U']).is_some_and(digits))
}

/// Returns a text with the lookalikes of a dot, a slash, a backslash and a percent sign replaced: the characters that
/// Unicode's compatibility forms (NFKC) and the tables of Windows' code pages replace so.
fn plain(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\u{ff0e}' | '\u{fe52}' | '\u{2024}' => plain.push('.'),
            '\u{2025}' => plain.push_str(".."),
            '\u{ff0f}' | '\u{2044}' | '\u{2215}' => plain.push('/'),
            '\u{ff3c}' | '\u{fe68}' | '\u{2216}' => plain.push('\\'),
            '\u{ff05}' | '\u{fe6a}' => plain.push('%'),
            other => plain.push(other),
        }
    }
    plain.into()
}

/// Returns whether a segment is `.` or `..`. Some readers cut a segment at a `;`, a `?` or a `#` first, and spaces off
/// its ends.
fn is_dots(segment: &str) -> bool {
    let name = segment.split([';', '?', '#']).next().unwrap_or_default();
    matches!(name.trim(), "." | "..")
}

#[cfg(test)]
mod tests;
