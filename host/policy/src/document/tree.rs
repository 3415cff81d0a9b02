//! A YAML document as a tree in which each node knows its location.

use std::fmt;

use attache_base::untrusted::is_hidden;
use attache_base::{Location, yaml};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error, MergeKeyPolicy, Options, Spanned};

use super::{DocumentError, Problem};

/// The largest document, in bytes. The longest RBAC rules in practice are a few KiB.
const MAX_DOCUMENT: usize = 256 * 1024;

/// The most of the parser's message that an error repeats, in characters.
const MAX_REASON: usize = 300;

/// The most that aliases may add, in parser events: enough to repeat a rule, too little for an alias bomb.
const MAX_REPLAYED: usize = 10_000;

/// One node of the document.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) location: Location,
    pub(super) value: Value,
}

/// The content of a node.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    /// Text, and plain numbers and booleans as they were written.
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A field's name and its location.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) location: Location,
    pub(super) name: String,
}

impl Node {
    /// Parses the one document of a text; `noun` is the word for it in an error.
    pub(super) fn parse(text: &str, noun: &'static str) -> Result<Self, DocumentError> {
        if text.len() > MAX_DOCUMENT {
            let problem = Problem::TooLarge { noun, limit: MAX_DOCUMENT };
            return Err(DocumentError::new(Location::new(1, 1), "", problem));
        }
        let raw: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
            DocumentError::new(yaml::location(&error).unwrap_or_default(), "", problem(&error, noun))
        })?;
        Ok(Self::from_raw(raw, text))
    }

    fn from_raw(raw: Spanned<Raw>, text: &str) -> Self {
        let location = raw.referenced.into();
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Text(written) => Value::Text(written),
            Raw::Plain(fallback) => Value::Text(written_at(raw.defined, text).unwrap_or(fallback)),
            Raw::List(items) => Value::List(items.into_iter().map(|item| Self::from_raw(item, text)).collect()),
            Raw::Map(fields) => Value::Map(fields.into_iter().map(|field| Self::field(field, text)).collect()),
        };
        Self { location, value }
    }

    fn field((key, value): (Spanned<String>, Spanned<Raw>), text: &str) -> (Key, Self) {
        (Key { location: key.referenced.into(), name: key.value }, Self::from_raw(value, text))
    }
}

/// Returns the text of a number or a boolean as it was written: `1e3` is a quantity, and must not become a float.
fn written_at(location: serde_saphyr::Location, text: &str) -> Option<String> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
    text.get(start..end).map(|written| written.trim().to_owned()).filter(|written| !written.is_empty())
}

/// Returns the parser's error. The parser repeats unknown words of any length.
fn problem(error: &Error, noun: &'static str) -> Problem {
    if matches!(error.without_snippet(), Error::MultipleDocuments { .. }) {
        return Problem::ManyDocuments { noun };
    }
    let message = yaml::message(error);
    let letters = message.chars().take(MAX_REASON);
    Problem::Yaml(letters.map(|letter| if is_hidden(letter) { ' ' } else { letter }).collect())
}

fn options() -> Options {
    let mut options = yaml::options(MAX_REPLAYED);
    // `Cursor::fields` refuses them, with the field's name.
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.merge_keys = MergeKeyPolicy::Error;
    options.strict_booleans = true;
    options.reject_unsupported_tags = true;
    options
}

/// A node as the parser returns it.
enum Raw {
    Null,
    Text(String),
    Plain(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Raw::Map(fields))
    }
}
