//! What a guest sends to be stored, held against the call that sends it.
//!
//! Question: does the body speak of the object that was judged? The API server asks too; here a guest hears of its mistake
//! without a request. The bytes that are sent are the guest's own, or what was read of them written anew.

use bytes::Bytes;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use std::borrow::Cow;
use std::fmt::{self, Write as _};

use super::yaml;
use crate::cluster::ObjectKind;

/// The largest body in bytes: what the API server takes (`MaxRequestBodyBytes` in apiserver's `pkg/server/config.go`).
pub(super) const MAX_BODY: usize = 3 << 20;

/// How much of a guest's text a message repeats, in characters.
const SHOWN: usize = 80;

/// Why a body is not sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// It is larger than any that the server takes.
    #[error("the body has {0} bytes; the API server takes {MAX_BODY} at most")]
    TooLarge(usize),
    /// It is no text.
    #[error("the body is not UTF-8")]
    NotUtf8(#[source] std::str::Utf8Error),
    /// It is not what was asked for.
    #[error("the body is no JSON {what}: {found}")]
    NotJson {
        /// What it should be.
        what: &'static str,
        /// What the parser found, cut: it repeats the guest's own words.
        found: String,
    },
    /// A field has another type.
    #[error("the body's {field} is no {what}")]
    Mistyped {
        /// Such as `metadata.name`.
        field: &'static str,
        /// What it should be.
        what: &'static str,
    },
    /// It speaks of something else than the call does.
    #[error("the body's {field} is {found:?}, but the call is for {expected:?}")]
    Disagrees {
        /// Such as `metadata.name`.
        field: &'static str,
        /// What the body says, cut.
        found: String,
        /// What it has to say.
        expected: String,
    },
    /// It does not say what it is created below.
    #[error("the body needs metadata.name: it says of which object the subresource is")]
    Nameless,
}

impl BodyError {
    fn not_json(what: &'static str, source: &serde_json::Error) -> Self {
        let mut found = Cut(String::new());
        // It fails where the text is cut.
        let _ = write!(found, "{source}");
        Self::NotJson { what, found: found.0 }
    }
}

/// A text that takes [`SHOWN`] bytes and then no more: what would be written beyond is not even made.
struct Cut(String);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = SHOWN.saturating_sub(self.0.len());
        let fits = text.get(..text.floor_char_boundary(room)).unwrap_or_default();
        self.0.push_str(fits);
        if fits.len() < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// What a body has to agree with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place<'a> {
    /// `None` where the server does not say.
    pub(super) kind: Option<&'a ObjectKind>,
    /// Whether `kind` is a subresource's: several versions of those are taken in one place.
    pub(super) is_subresource: bool,
    /// The name in the path.
    pub(super) name: Option<&'a str>,
    /// The namespace in the path.
    pub(super) namespace: Option<&'a str>,
}

/// Takes an object that is to be stored whole. What it leaves out of its type and its name is filled in.
pub(super) fn object(body: Vec<u8>, place: Place<'_>) -> Result<Bytes, BodyError> {
    let mut read = Members::read(&body)?;
    read.check(place)?;
    let written = read.fill(place).then(|| read.write());
    Ok(written.unwrap_or(body).into())
}

/// Takes an object that is to be applied: as [`object`], and written so that the server's parser of YAML reads it.
pub(super) fn applied(body: Vec<u8>, place: Place<'_>) -> Result<Bytes, BodyError> {
    let whole = object(body, place)?;
    let written = yaml::readable(text(&whole)?).map_err(|source| BodyError::not_json("object", &source))?;
    Ok(written.into())
}

/// Takes a part of an object: what it says of its type and name has to agree, and may be left out.
pub(super) fn part(body: Vec<u8>, place: Place<'_>) -> Result<Bytes, BodyError> {
    Members::read(&body)?.check(place)?;
    Ok(body.into())
}

/// Takes the operations of a JSON patch (RFC 6902).
pub(super) fn operations(body: Vec<u8>) -> Result<Bytes, BodyError> {
    #[derive(Deserialize)]
    struct Operation<'a> {
        #[serde(borrow, rename = "op")]
        _op: Cow<'a, str>,
        #[serde(borrow, rename = "path")]
        _path: Cow<'a, str>,
    }
    let what = "array of operations, each with `op` and `path`";
    let _: Vec<Operation<'_>> =
        serde_json::from_str(begun_by('[', what, &body)?).map_err(|source| BodyError::not_json(what, &source))?;
    Ok(body.into())
}

/// The `metadata.name` of an object that is created below another.
pub(super) fn name(body: &[u8]) -> Result<String, BodyError> {
    let read = Members::read(body)?;
    Ok(word(&read.metadata, "name", "metadata.name")?.ok_or(BodyError::Nameless)?.into_owned())
}

fn text(body: &[u8]) -> Result<&str, BodyError> {
    if body.len() > MAX_BODY {
        return Err(BodyError::TooLarge(body.len()));
    }
    std::str::from_utf8(body).map_err(BodyError::NotUtf8)
}

/// A body that begins as what it should be. Of anything else the parser would make a message that repeats all of it, escaped:
/// a guest's megabytes several times over.
fn begun_by<'a>(first: char, what: &'static str, body: &'a [u8]) -> Result<&'a str, BodyError> {
    let text = text(body)?;
    let begins = text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with(first);
    if begins { Ok(text) } else { Err(BodyError::NotJson { what, found: "it begins as something else".to_owned() }) }
}

/// The members of an object in their order, borrowed from its text: a body of megabytes may have hundreds of thousands, and a
/// map of those takes longer than a thread that others wait for may be held. Of a member that stands twice the last counts,
/// as for the API server.
#[derive(Default)]
struct Fields<'a>(Vec<(Cow<'a, str>, Cow<'a, RawValue>)>);

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    fn get(&self, name: &str) -> Option<&Cow<'a, RawValue>> {
        self.0.iter().rev().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    /// Puts a member in the place of all of this name.
    fn set(&mut self, name: &'static str, value: Box<RawValue>) {
        self.0.retain(|(member, _)| member != name);
        self.0.push((name.into(), Cow::Owned(value)));
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    fields.0.push((name, Cow::Borrowed(value)));
                }
                Ok(fields)
            }
        }

        from.deserialize_map(Reader)
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// A member's name: `Cow` alone would be read as an owned one.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// An object, read no deeper than needed.
struct Members<'a> {
    top: Fields<'a>,
    metadata: Fields<'a>,
}

impl<'a> Members<'a> {
    fn read(body: &'a [u8]) -> Result<Self, BodyError> {
        let top =
            Fields::read(begun_by('{', "object", body)?).map_err(|source| BodyError::not_json("object", &source))?;
        let mistyped = || BodyError::Mistyped { field: "metadata", what: "object" };
        let metadata = match top.get("metadata") {
            Some(Cow::Borrowed(metadata)) if metadata.get().starts_with('{') => {
                Fields::read(metadata.get()).map_err(|_| mistyped())?
            }
            Some(other) if other.get() != "null" => return Err(mistyped()),
            _ => Fields::default(),
        };
        Ok(Self { top, metadata })
    }

    fn check(&self, place: Place<'_>) -> Result<(), BodyError> {
        let kind = place.kind.map(|of| of.kind.as_str());
        agree("kind", word(&self.top, "kind", "kind")?, kind)?;
        agree("metadata.name", word(&self.metadata, "name", "metadata.name")?, place.name)?;
        let namespace = word(&self.metadata, "namespace", "metadata.namespace")?;
        // In a path without one there is none to disagree with but none at all.
        agree("metadata.namespace", namespace, place.namespace.or(Some("")))?;
        let version = word(&self.top, "apiVersion", "apiVersion")?;
        let expected = place.kind.map(|of| of.api_version.as_str());
        match (&version, expected) {
            (Some(found), Some(expected)) if place.is_subresource && group(found) == group(expected) => Ok(()),
            _ => agree("apiVersion", version, expected),
        }
    }

    /// Fills in what is missing; whether anything was.
    fn fill(&mut self, place: Place<'_>) -> bool {
        let mut filled = false;
        if let Some(kind) = place.kind {
            filled |= put(&mut self.top, "kind", &kind.kind);
            filled |= put(&mut self.top, "apiVersion", &kind.api_version);
        }
        if let Some(name) = place.name
            && put(&mut self.metadata, "name", name)
        {
            filled |= to_raw_value(&self.metadata).map(|metadata| self.top.set("metadata", metadata)).is_ok();
        }
        filled
    }

    fn write(&self) -> Vec<u8> {
        // What was read as JSON has nothing that cannot be written as JSON.
        serde_json::to_vec(&self.top).unwrap_or_default()
    }
}

/// The text of a field; `None` when it is missing, null or empty, which the API server takes for the same.
fn word<'a>(of: &'a Fields<'_>, name: &str, field: &'static str) -> Result<Option<Cow<'a, str>>, BodyError> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Word<'a>(#[serde(borrow)] Option<Cow<'a, str>>);
    let Some(value) = of.get(name).map(|value| value.get()) else { return Ok(None) };
    let mistyped = || BodyError::Mistyped { field, what: "string" };
    if !value.starts_with('"') && value != "null" {
        return Err(mistyped());
    }
    let Word(word) = serde_json::from_str(value).map_err(|_| mistyped())?;
    Ok(word.filter(|word| !word.is_empty()))
}

fn agree(field: &'static str, found: Option<Cow<'_, str>>, expected: Option<&str>) -> Result<(), BodyError> {
    match (found, expected) {
        (Some(found), Some(expected)) if found != expected => {
            let found = found.chars().take(SHOWN).collect();
            Err(BodyError::Disagrees { field, found, expected: expected.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Puts a text where none is; whether none was.
fn put(fields: &mut Fields<'_>, name: &'static str, text: &str) -> bool {
    let missing = fields.get(name).is_none_or(|value| matches!(value.get(), "null" | "\"\""));
    match to_raw_value(text) {
        Ok(text) if missing => {
            fields.set(name, text);
            true
        }
        _ => false,
    }
}

/// The group of an `apiVersion`; empty for the core group.
fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _version)| group)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config_map() -> ObjectKind {
        ObjectKind::new("", "v1", "ConfigMap")
    }

    fn stored(body: &str, name: Option<&str>) -> Result<String, String> {
        let kind = config_map();
        let place = Place { kind: Some(&kind), name, namespace: Some("demo"), ..Place::default() };
        match object(body.into(), place) {
            Ok(bytes) => Ok(String::from_utf8(bytes.into()).unwrap()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_body_that_says_everything_goes_out_byte_for_byte() {
        let body = "{ \"kind\":\"ConfigMap\",\"apiVersion\" : \"v1\", \"metadata\": {\"namespace\":\"demo\", \"name\":\"a\"}}\n";
        assert_eq!(stored(body, Some("a")).unwrap(), body);
    }

    #[test]
    fn what_is_left_out_of_type_and_name_is_filled_in() {
        let table = [
            ("{}", r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}"#),
            (r#"{"metadata":null,"kind":""}"#, r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}"#),
            (
                r#"{"data":{"k": "v" },"metadata":{"labels":{"x":"y"}},"kind":"ConfigMap"}"#,
                r#"{"data":{"k": "v" },"kind":"ConfigMap","apiVersion":"v1","metadata":{"labels":{"x":"y"},"name":"a"}}"#,
            ),
        ];
        for (body, expected) in table {
            assert_eq!(stored(body, Some("a")).unwrap(), expected, "{body}");
        }
        assert_eq!(stored("{}", None).unwrap(), r#"{"kind":"ConfigMap","apiVersion":"v1"}"#);
    }

    #[test]
    fn what_is_applied_is_filled_in_and_written_for_a_parser_of_yaml() {
        let kind = config_map();
        let place = Place { kind: Some(&kind), name: Some("a"), ..Place::default() };
        let written =
            applied(br#"{ "data": {"k": "\ud83d\ude00\u007f", "n": 12345678901234567890123} }"#.to_vec(), place);
        let expected = r#"{"data":{"k":"😀\u007f","n":12345678901234567890123},"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}"#;
        assert_eq!(written.unwrap(), expected);
        assert!(matches!(applied(br#"{"data":{"k":"\ud83d"}}"#.to_vec(), place), Err(BodyError::NotJson { .. })));
    }

    #[test]
    fn what_speaks_of_something_else_is_refused_by_its_field() {
        let table = [
            (r#"{"kind":"Secret"}"#, "kind is \"Secret\""),
            (r#"{"kind":"ConfigMap","kind":"Secret"}"#, "kind is \"Secret\""),
            (r#"{"apiVersion":"v2"}"#, "apiVersion is \"v2\""),
            (r#"{"metadata":{"name":"b"}}"#, "metadata.name is \"b\", but the call is for \"a\""),
            (r#"{"metadata":{"namespace":"other"}}"#, "metadata.namespace is \"other\""),
            (r#"{"metadata":[]}"#, "metadata is no object"),
            (r#"{"metadata":{"name":7}}"#, "metadata.name is no string"),
            (r#"{"kind":true}"#, "kind is no string"),
            ("[]", "no JSON object"),
            ("{", "no JSON object"),
            ("", "no JSON object"),
            ("{} {}", "no JSON object"),
            ("null", "no JSON object"),
        ];
        for (body, expected) in table {
            let error = stored(body, Some("a")).unwrap_err();
            assert!(error.contains(expected), "{body}: {error}");
        }
        let long = "\u{7f}".repeat(10_000);
        for body in [
            format!(r#"{{"kind":"{long}"}}"#),
            format!(r#""{long}""#),
            format!(r#"{{"metadata":"{long}"}}"#),
            format!(r#"{{"a":1,"{long}":}}"#),
        ] {
            assert!(stored(&body, None).unwrap_err().len() < 600, "{}", body.len());
        }
        for body in [format!(r#""{long}""#), format!(r#"["{long}"]"#), format!(r#"[{{"op":["{long}"]}}]"#)] {
            assert!(operations(body.into()).unwrap_err().to_string().len() < 200);
        }
    }

    #[test]
    fn an_object_of_no_namespace_names_none() {
        let kind = ObjectKind::new("", "v1", "Node");
        let place = Place { kind: Some(&kind), ..Place::default() };
        assert!(object(br#"{"metadata":{"namespace":"demo"}}"#.to_vec(), place).is_err());
        assert!(object(br#"{"metadata":{"namespace":""}}"#.to_vec(), place).is_ok());
    }

    #[test]
    fn a_subresource_takes_another_version_of_its_kind() {
        let kind = ObjectKind::new("policy", "v1", "Eviction");
        let place = Place { kind: Some(&kind), is_subresource: true, name: Some("p"), ..Place::default() };
        assert!(object(br#"{"apiVersion":"policy/v1beta1","kind":"Eviction"}"#.to_vec(), place).is_ok());
        assert!(object(br#"{"apiVersion":"v1","kind":"Eviction"}"#.to_vec(), place).is_err());
        assert_eq!(name(br#"{"metadata":{"name":"p"}}"#).unwrap(), "p");
        assert!(matches!(name(b"{}"), Err(BodyError::Nameless)));
    }

    #[test]
    fn what_is_no_text_or_too_long_is_refused() {
        let place = Place::default();
        assert!(matches!(object(b"{\"a\":\"\xff\"}".to_vec(), place), Err(BodyError::NotUtf8(_))));
        assert!(matches!(object(vec![b' '; MAX_BODY + 1], place), Err(BodyError::TooLarge(_))));
        assert!(matches!(operations(vec![b' '; MAX_BODY + 1]), Err(BodyError::TooLarge(_))));
    }

    #[test]
    fn a_json_patch_is_a_list_of_operations() {
        assert!(operations(br#"[{"op":"add","path":"/data/\u0061","value":{"x":[1]}}]"#.to_vec()).is_ok());
        for body in ["{}", r#"[{"op":"add"}]"#, "[7]", "", r#"{"op":"add","path":"/"}"#] {
            assert!(operations(body.into()).is_err(), "{body}");
        }
    }
}
