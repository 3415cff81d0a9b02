//! The checks of a body that a guest sends to be stored.
//!
//! Question: is the body about the object that was judged? The API server checks this too. Here a guest gets the error
//! without a request. The server gets the guest's own bytes, or bytes written anew from what was read.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use bytes::Bytes;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::yaml;
use crate::cluster::ObjectKind;

/// The largest body in bytes, as in the API server (`MaxRequestBodyBytes` in apiserver's `pkg/server/config.go`).
pub(super) const MAX_BODY: usize = 3 << 20;

/// The longest piece of a guest's text in a message, in characters.
const SHOWN: usize = 80;

/// The reason why a body is not sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// The body is larger than the server's maximum.
    #[error("the body has {0} bytes; the API server takes {MAX_BODY} at most")]
    TooLarge(usize),
    /// The body is no text.
    #[error("the body is not UTF-8")]
    NotUtf8(#[source] std::str::Utf8Error),
    /// The body is of another kind than required.
    #[error("the body is no JSON {what}: {found}")]
    NotJson {
        /// The required kind.
        what: &'static str,
        /// The parser's error, cut because it repeats the guest's own words.
        found: String,
    },
    /// A field has another type.
    #[error("the body's {field} is no {what}")]
    Mistyped {
        /// The field, such as `metadata.name`.
        field: &'static str,
        /// The required type.
        what: &'static str,
    },
    /// A field differs from the call.
    #[error("the body's {field} is {found:?}, but the call is for {expected:?}")]
    Disagrees {
        /// The field, such as `metadata.name`.
        field: &'static str,
        /// The value in the body, cut.
        found: String,
        /// The required value.
        expected: String,
    },
    /// A member occurs twice, or in a second spelling.
    #[error("the body's {field} stands twice, as {again:?}: readers take one, the other or both of them")]
    Doubled {
        /// The member, such as `metadata.name`.
        field: &'static str,
        /// The second spelling.
        again: String,
    },
    /// The body does not name the object below which it is created.
    #[error("the body needs metadata.name: it says of which object the subresource is")]
    Nameless,
}

impl BodyError {
    fn not_json(what: &'static str, source: &serde_json::Error) -> Self {
        let mut found = Cut(String::new());
        // Writing fails where the text is cut.
        let _ = write!(found, "{source}");
        Self::NotJson { what, found: found.0 }
    }
}

/// A text that takes [`SHOWN`] bytes and then fails, so that no longer text is made.
struct Cut(String);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = SHOWN.saturating_sub(self.0.len());
        let fits = text.get(..text.floor_char_boundary(room)).unwrap_or_default();
        self.0.push_str(fits);
        if fits.len() < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The facts with which a body has to agree.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place<'a> {
    /// The kind; `None` where the server does not name it.
    pub(super) kind: Option<&'a ObjectKind>,
    /// The kind is a subresource's. Several versions of such a kind are accepted in one location.
    pub(super) is_subresource: bool,
    /// The name in the path.
    pub(super) name: Option<&'a str>,
    /// The namespace in the path.
    pub(super) namespace: Option<&'a str>,
}

/// Reads an object that is to be stored whole. Missing parts of its type and name are filled in.
pub(super) fn object(body: Vec<u8>, place: Place<'_>) -> Result<Bytes, BodyError> {
    let mut read = Members::read(&body)?;
    read.check(place)?;
    let written = read.fill(place).then(|| read.write());
    Ok(written.unwrap_or(body).into())
}

/// Reads an object that is to be applied, as [`object`] does. It is written so that the server's parser of YAML reads
/// it.
pub(super) fn applied(body: Vec<u8>, place: Place<'_>) -> Result<Bytes, BodyError> {
    let whole = object(body, place)?;
    let written = yaml::readable(text(&whole)?).map_err(|source| BodyError::not_json("object", &source))?;
    Ok(written.into())
}

/// Reads a part of an object. Its type and name have to agree with the call, and may be missing.
pub(super) fn part(body: Vec<u8>, place: Place<'_>) -> Result<Bytes, BodyError> {
    Members::read(&body)?.check(place)?;
    Ok(body.into())
}

/// Reads the operations of a JSON patch (RFC 6902).
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

/// Returns the `metadata.name` of an object that is created below another.
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

/// Checks the first character of a body. For a wrong one, the parser's message would repeat the whole body, escaped:
/// several times a guest's megabytes.
fn begun_by<'a>(first: char, what: &'static str, body: &'a [u8]) -> Result<&'a str, BodyError> {
    let text = text(body)?;
    let begins = text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with(first);
    if begins { Ok(text) } else { Err(BodyError::NotJson { what, found: "it begins as something else".to_owned() }) }
}

/// The members of an object in their order, borrowed from its text. A body of megabytes may have hundreds of thousands
/// of members, and a map of those would hold a shared thread for too long. The members that are checked occur once: see
/// [`Fields::refuse_doubled`].
#[derive(Default)]
struct Fields<'a>(Vec<(Cow<'a, str>, Cow<'a, RawValue>)>);

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Refuses a member that occurs twice.
    ///
    /// Threat: a body that this reader and the API server read differently. Go uses the last text of a repeated member,
    /// but merges objects. So a name in the first of two `metadata` would count there. Go also ignores case where it
    /// reads the kind of an object.
    fn refuse_doubled(&self, name: &str, field: &'static str, any_case: bool) -> Result<(), BodyError> {
        let spells = |member: &str| member == name || (any_case && folded_alike(member, name));
        let mut found = self.0.iter().map(|(member, _)| member).filter(|member| spells(member));
        let again = found.clone().find(|member| *member != name).or(found.nth(1));
        match again {
            Some(again) => Err(BodyError::Doubled { field, again: again.chars().take(SHOWN).collect() }),
            None => Ok(()),
        }
    }

    fn get(&self, name: &str) -> Option<&Cow<'a, RawValue>> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    /// Replaces the member of this name.
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

/// A member's name. A plain `Cow` would always be read as an owned string.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// An object, read only as deep as needed.
struct Members<'a> {
    top: Fields<'a>,
    metadata: Fields<'a>,
}

impl<'a> Members<'a> {
    fn read(body: &'a [u8]) -> Result<Self, BodyError> {
        let top =
            Fields::read(begun_by('{', "object", body)?).map_err(|source| BodyError::not_json("object", &source))?;
        top.refuse_doubled("kind", "kind", true)?;
        top.refuse_doubled("apiVersion", "apiVersion", true)?;
        top.refuse_doubled("metadata", "metadata", false)?;
        let mistyped = || BodyError::Mistyped { field: "metadata", what: "object" };
        let metadata = match top.get("metadata") {
            Some(Cow::Borrowed(metadata)) if metadata.get().starts_with('{') => {
                Fields::read(metadata.get()).map_err(|_| mistyped())?
            }
            Some(other) if other.get() != "null" => return Err(mistyped()),
            _ => Fields::default(),
        };
        metadata.refuse_doubled("name", "metadata.name", false)?;
        metadata.refuse_doubled("namespace", "metadata.namespace", false)?;
        Ok(Self { top, metadata })
    }

    fn check(&self, place: Place<'_>) -> Result<(), BodyError> {
        let kind = place.kind.map(|of| of.kind.as_str());
        agree("kind", word(&self.top, "kind", "kind")?, kind)?;
        agree("metadata.name", word(&self.metadata, "name", "metadata.name")?, place.name)?;
        let namespace = word(&self.metadata, "namespace", "metadata.namespace")?;
        // A path without a namespace agrees only with a body without one.
        agree("metadata.namespace", namespace, place.namespace.or(Some("")))?;
        let version = word(&self.top, "apiVersion", "apiVersion")?;
        let expected = place.kind.map(|of| of.api_version.as_str());
        match (&version, expected) {
            (Some(found), Some(expected)) if place.is_subresource && group(found) == group(expected) => Ok(()),
            _ => agree("apiVersion", version, expected),
        }
    }

    /// Fills in what is missing. Returns whether anything was.
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
        // A value that was read from JSON can be written as JSON.
        serde_json::to_vec(&self.top).unwrap_or_default()
    }
}

/// Returns the text of a field; `None` when it is missing, null or empty, which the API server treats alike.
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

/// Sets a text where there is none. Returns whether there was none.
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

/// Returns whether Go's `encoding/json` treats two names as one. It ignores case, and folds `K` (the Kelvin sign) and
/// `ſ` too.
fn folded_alike(one: &str, other: &str) -> bool {
    let folded = |letter: char| match letter {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        letter => letter.to_ascii_lowercase(),
    };
    one.chars().map(folded).eq(other.chars().map(folded))
}

/// Returns the group of an `apiVersion`; empty for the core group.
fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _version)| group)
}
