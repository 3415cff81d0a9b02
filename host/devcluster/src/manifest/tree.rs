//! A parsed document with the line and column of each value.

use std::collections::BTreeMap;
use std::fmt;

use attache_base::Location;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

/// The content of a node.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Scalar(Value),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

/// A value and its location, counted from 1. A field of a map has the location of its key, unless its value begins on
/// the same line: then the location of the value.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) line: u64,
    pub(super) column: u64,
}

impl From<Spanned<Content>> for Node {
    fn from(spanned: Spanned<Content>) -> Self {
        Self { line: spanned.referenced.line(), column: spanned.referenced.column(), content: spanned.value }
    }
}

impl Node {
    fn field(key: &Spanned<String>, value: Spanned<Content>) -> Self {
        let node = Self::from(value);
        let (line, column) = (key.referenced.line(), key.referenced.column());
        if node.line == line || line == 0 { node } else { Self { line, column, ..node } }
    }

    /// Returns the location of the value in its file.
    pub(super) fn location(&self) -> Location {
        Location::new(self.line, self.column)
    }

    pub(super) fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => items.iter().map(Self::to_value).collect(),
            Content::Map(fields) => fields.iter().map(|(key, node)| (key.clone(), node.to_value())).collect(),
        }
    }

    /// Returns the nodes of the field `items`.
    pub(super) fn into_items(self) -> Vec<Self> {
        let Content::Map(mut fields) = self.content else { return Vec::new() };
        match fields.remove("items").map(|items| items.content) {
            Some(Content::List(items)) => items,
            _ => Vec::new(),
        }
    }

    /// Returns the node at the path, or the innermost existing one on the way to it.
    pub(super) fn innermost(&self, path: &str) -> &Self {
        match self.step(path.trim_start_matches('.')) {
            Some((node, rest)) => node.innermost(rest),
            None => self,
        }
    }

    fn step<'n, 'p>(&'n self, path: &'p str) -> Option<(&'n Self, &'p str)> {
        let (subscript, rest) = path.strip_prefix('[').and_then(|inner| inner.split_once(']')).unzip();
        match (&self.content, subscript) {
            (Content::List(items), Some(index)) => Some((items.get(index.parse::<usize>().ok()?)?, rest?)),
            (Content::Map(fields), Some(key)) => Some((fields.get(key)?, rest?)),
            // Keys may have dots in them, so the longest key that fits is taken.
            (Content::Map(fields), None) => {
                let fits = fields.iter().filter_map(|(key, node)| Some((node, path.strip_prefix(key.as_str())?)));
                fits.filter(|(_, rest)| rest.is_empty() || rest.starts_with(['.', '[']))
                    .min_by_key(|(_, rest)| rest.len())
            }
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyContent)
    }
}

struct AnyContent;

impl<'de> Visitor<'de> for AnyContent {
    type Value = Content;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<Spanned<Content>>()? {
            items.push(item.into());
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let node = Node::field(&key, map.next_value()?);
            fields.insert(key.value, node);
        }
        Ok(Content::Map(fields))
    }
}
