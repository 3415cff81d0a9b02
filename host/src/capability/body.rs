//! What a guest sends to be stored, held against the call that sends it.
//!
//! Question: does the body speak of the object that was judged? The API server asks too; here a guest hears of its
//! mistake without a request. The bytes that are sent are the guest's own, or what was read of them written anew.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use bytes::Bytes;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

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
    /// A member stands twice, or in a second spelling.
    #[error("the body's {field} stands twice, as {again:?}: readers take one, the other or both of them")]
    Doubled {
        /// Such as `metadata.name`.
        field: &'static str,
        /// How it stands there again.
        again: String,
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

/// A body that begins as what it should be. Of anything else the parser would make a message that repeats all of it,
/// escaped: a guest's megabytes several times over.
fn begun_by<'a>(first: char, what: &'static str, body: &'a [u8]) -> Result<&'a str, BodyError> {
    let text = text(body)?;
    let begins = text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with(first);
    if begins { Ok(text) } else { Err(BodyError::NotJson { what, found: "it begins as something else".to_owned() }) }
}

/// The members of an object in their order, borrowed from its text: a body of megabytes may have hundreds of thousands,
/// and a map of those takes longer than a thread that others wait for may be held. Those that are looked at stand once:
/// see
/// [`Fields::refuse_doubled`].
#[derive(Default)]
struct Fields<'a>(Vec<(Cow<'a, str>, Cow<'a, RawValue>)>);

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Refuses a member that stands twice.
    ///
    /// Threat: a body that says one thing to this reader and another to the API server. Of a member that stands twice
    /// Go takes the last text, but merges objects, so a name in the first of two `metadata` would count there. And to
    /// find out the kind of an object it does not look at case.
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

    /// Puts a member in the place of the one of this name.
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

/// Returns whether Go's `encoding/json` takes two names for one: without case, which folds `K` (the Kelvin sign) and
/// `ſ` too.
fn folded_alike(one: &str, other: &str) -> bool {
    let folded = |letter: char| match letter {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        letter => letter.to_ascii_lowercase(),
    };
    one.chars().map(folded).eq(other.chars().map(folded))
}

/// The group of an `apiVersion`; empty for the core group.
fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _version)| group)
}
