//! A node of a document's tree, with the path of its field for errors.

use std::str::FromStr;

use super::error::nearest;
use super::tree::{Key, Node, Value};
use super::{DocumentError, Problem};

/// One node of a document and the path of its field.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    node: &'a Node,
    field: String,
}

/// The fields of a map.
pub(crate) struct Fields<'a> {
    at: Cursor<'a>,
    fields: &'a [(Key, Node)],
}

impl<'a> Cursor<'a> {
    pub(super) fn root(node: &'a Node) -> Self {
        Self { node, field: String::new() }
    }

    /// Returns an error about this node.
    pub(crate) fn fail(&self, problem: Problem) -> DocumentError {
        DocumentError::new(self.node.location.clone(), &self.field, problem)
    }

    /// Returns an error about this node's text.
    pub(crate) fn invalid(&self, value: &str, why: impl Into<String>) -> DocumentError {
        self.fail(Problem::Invalid { value: crate::shown(value), why: why.into() })
    }

    /// Returns the first field of this name, whatever stands beside it.
    pub(super) fn peek(&self, name: &str) -> Option<Self> {
        let Value::Map(fields) = &self.node.value else { return None };
        let (_, node) = fields.iter().find(|(key, _)| key.name == name)?;
        Some(Self { node, field: below(&self.field, name) })
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    pub(crate) fn is_empty_list(&self) -> bool {
        matches!(&self.node.value, Value::List(items) if items.is_empty())
    }

    /// Returns the fields of a map. Fails if it has a field that is not `known`.
    pub(crate) fn fields(self, known: &'static [&'static str]) -> Result<Fields<'a>, DocumentError> {
        let Value::Map(fields) = &self.node.value else { return Err(self.mismatch("fields")) };
        for (key, _) in fields {
            if !known.contains(&key.name.as_str()) {
                let problem = Problem::UnknownField { expected: known, nearest: nearest(&key.name, known) };
                return Err(DocumentError::new(
                    key.location.clone(),
                    &below(&self.field, &crate::shown(&key.name)),
                    problem,
                ));
            }
        }
        self.refuse_doubled(fields)?;
        Ok(Fields { at: self, fields })
    }

    fn refuse_doubled(&self, fields: &[(Key, Node)]) -> Result<(), DocumentError> {
        for (index, (key, _)) in fields.iter().enumerate() {
            if fields.iter().take(index).any(|(earlier, _)| earlier.name == key.name) {
                return Err(DocumentError::new(key.location.clone(), &below(&self.field, &key.name), Problem::Doubled));
            }
        }
        Ok(())
    }

    /// Returns the node as text; a number or a boolean counts as the text that was written.
    pub(crate) fn text(&self) -> Result<&'a str, DocumentError> {
        match &self.node.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.mismatch("text")),
        }
    }

    /// Returns the node as text that is not empty.
    pub(crate) fn words(&self) -> Result<&'a str, DocumentError> {
        let text = self.text()?;
        if text.is_empty() { Err(self.fail(Problem::Empty)) } else { Ok(text) }
    }

    /// Returns the items of a list that is not empty.
    pub(crate) fn items(&self) -> Result<Vec<Self>, DocumentError> {
        let Value::List(items) = &self.node.value else { return Err(self.mismatch("a list")) };
        if items.is_empty() {
            return Err(self.fail(Problem::Empty));
        }
        let item = |(index, node)| Self { node, field: format!("{}[{index}]", self.field) };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// Decodes each item of a list that is not empty.
    pub(crate) fn each<T>(&self, decode: impl Fn(&Self) -> Result<T, DocumentError>) -> Result<Vec<T>, DocumentError> {
        self.items()?.iter().map(decode).collect()
    }

    /// Parses the text.
    pub(crate) fn parse<T: FromStr>(&self) -> Result<T, DocumentError>
    where
        T::Err: std::fmt::Display,
    {
        let text = self.words()?;
        text.parse().map_err(|why: T::Err| self.invalid(text, why.to_string()))
    }

    /// Returns the text. Fails if it is not one of `known`.
    pub(crate) fn one_of(&self, known: &'static [&'static str]) -> Result<&'static str, DocumentError> {
        let text = self.words()?;
        known.iter().copied().find(|word| *word == text).ok_or_else(|| {
            let nearest = nearest(text, known);
            self.fail(Problem::UnknownValue { value: crate::shown(text), expected: known, nearest })
        })
    }

    fn mismatch(&self, expected: &'static str) -> DocumentError {
        self.fail(match self.node.value {
            Value::Null => Problem::Empty,
            _ => Problem::Expected(expected),
        })
    }
}

impl<'a> Fields<'a> {
    /// Returns an error about the map itself.
    pub(crate) fn fail(&self, problem: Problem) -> DocumentError {
        self.at.fail(problem)
    }

    /// Returns the field of this name, if it was written.
    pub(crate) fn get(&self, name: &str) -> Option<Cursor<'a>> {
        let found = self.fields.iter().find(|(key, _)| key.name == name);
        found.map(|(_, node)| Cursor { node, field: below(&self.at.field, name) })
    }

    /// Returns the field of this name. Fails if it is missing.
    pub(crate) fn need(&self, name: &str) -> Result<Cursor<'a>, DocumentError> {
        let missing =
            || DocumentError::new(self.at.node.location.clone(), &below(&self.at.field, name), Problem::Missing);
        self.get(name).ok_or_else(missing)
    }

    /// Decodes the field of this name, if it was written.
    pub(crate) fn read<T>(
        &self,
        name: &str,
        decode: impl FnOnce(Cursor<'a>) -> Result<T, DocumentError>,
    ) -> Result<Option<T>, DocumentError> {
        self.get(name).map(decode).transpose()
    }
}

fn below(field: &str, name: &str) -> String {
    if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") }
}
