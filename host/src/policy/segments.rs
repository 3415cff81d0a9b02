//! The path of a request: taken apart into plain segments, written anew from them.
//!
//! Threat: a name that smuggles in another segment (`..%2fsecrets`), or a spelling that a proxy on the way reads in another
//! way than the server. A segment is made of plain RFC 3986 path characters only, so its encoded and decoded spelling are
//! the same and no reader has anything left to decode.

use percent_encoding::percent_decode_str;

use super::{InvalidRequest, query::escapes_are_whole};

/// The segments of a path, and whether a slash ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segments {
    pub(super) list: Vec<String>,
    /// It means something only below another server's path (`services/NAME/proxy/`) and in non-resource paths.
    pub(super) trailing_slash: bool,
}

impl Segments {
    /// Takes a raw path, which starts with `/`, apart.
    pub(super) fn parse(path: &str) -> Result<Self, InvalidRequest> {
        let inner = path.strip_prefix('/').ok_or(InvalidRequest::NotAPath)?;
        if inner.is_empty() {
            return Ok(Self { list: Vec::new(), trailing_slash: true });
        }
        let (inner, trailing_slash) = inner.strip_suffix('/').map_or((inner, false), |cut| (cut, true));
        let list = inner.split('/').map(segment).collect::<Result<_, _>>()?;
        Ok(Self { list, trailing_slash })
    }

    /// The path again, in its one spelling.
    pub(super) fn write(&self, keep_trailing_slash: bool) -> String {
        let mut path = String::with_capacity(self.list.iter().map(|part| part.len().saturating_add(1)).sum());
        for part in &self.list {
            path.push('/');
            path.push_str(part);
        }
        if path.is_empty() || (self.trailing_slash && keep_trailing_slash) {
            path.push('/');
        }
        path
    }
}

/// Decodes one segment of a path.
fn segment(raw: &str) -> Result<String, InvalidRequest> {
    if !escapes_are_whole(raw) {
        return Err(InvalidRequest::Escape(super::shown(raw)));
    }
    if raw.contains('%') {
        // No client encodes a dot; one who does hides a dot segment or a file's ending from a filter.
        if let Some(byte) = escaped_bytes(raw).find(|byte| *byte == b'.' || !is_path_byte(*byte)) {
            return Err(InvalidRequest::HiddenByte { byte });
        }
    }
    let decoded: Vec<u8> = percent_decode_str(raw).collect();
    let decoded = String::from_utf8(decoded).map_err(|_| InvalidRequest::Escape(super::shown(raw)))?;
    check(&decoded)?;
    Ok(decoded)
}

/// The bytes that the escapes of `raw` stand for.
fn escaped_bytes(raw: &str) -> impl Iterator<Item = u8> {
    raw.split('%').skip(1).filter_map(|after| u8::from_str_radix(after.get(..2)?, 16).ok())
}

/// Whether `part`, in clear, is one plain path segment.
pub(super) fn check(part: &str) -> Result<(), InvalidRequest> {
    match part {
        "" => Err(InvalidRequest::EmptySegment),
        "." | ".." => Err(InvalidRequest::DotSegment),
        _ => match part.bytes().position(|byte| !is_path_byte(byte)) {
            Some(at) => Err(InvalidRequest::Byte { byte: part.as_bytes().get(at).copied().unwrap_or_default(), at }),
            None => Ok(()),
        },
    }
}

/// RFC 3986's `pchar` without the percent sign, and without what Kubernetes' names do not use and shells, templates or
/// old routers read specially: `$ & ' ( ) ;`.
pub(super) fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!*+,=:@".contains(&byte)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn plain_paths_come_back_as_they_were() {
        for path in ["/", "/api", "/api/v1/namespaces/a/pods", "/apis/", "/x/system:node", "/a/b~!*+,=:@"] {
            assert_eq!(Segments::parse(path).unwrap().write(true), path);
        }
    }

    #[test]
    fn harmless_escapes_are_undone() {
        assert_eq!(Segments::parse("/clusterroles/system%3anode").unwrap().write(true), "/clusterroles/system:node");
    }

    #[test]
    fn tricks_are_refused() {
        for path in [
            "",
            "api",
            "//",
            "//api",
            "/api//v1",
            "/api/v1//",
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/a/%2e%2e/b",
            "/a/%2E/b",
            "/a%2fb",
            "/a%5cb",
            "/a%00",
            "/a%0d%0ab",
            "/a%25",
            "/a%252fb",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a\\b",
            "/a b",
            "/a%20b",
            "/\u{e9}",
            "/%c3%a9",
            "/a%3fb",
            "/a%23b",
            "/a\"b",
            "/a<b",
            "/a%7fb",
            "/a%2ejson",
            "/a;b",
            "/$(A)",
            "/a&b",
            "/a'b",
            "/a%3bb",
        ] {
            assert!(Segments::parse(path).is_err(), "{path}");
        }
    }
}
