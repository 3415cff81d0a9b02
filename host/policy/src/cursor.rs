//! Walks the tree of a grant and knows the name of the field that it stands on.

use std::str::FromStr;

use super::{
    GrantError,
    grant_error::{Problem, nearest},
    tree::{Key, Node, Value},
};

/// One node of the document and the way to it.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    node: &'a Node,
    field: String,
}

/// The fields of a map.
pub(super) struct Fields<'a> {
    at: Cursor<'a>,
    fields: &'a [(Key, Node)],
}

impl<'a> Cursor<'a> {
    pub(super) fn root(node: &'a Node) -> Self {
        Self { node, field: String::new() }
    }

    /// An error about this node.
    pub(super) fn fail(&self, problem: Problem) -> GrantError {
        GrantError::new(self.node.place, &self.field, problem)
    }

    /// An error about this node's text.
    pub(super) fn invalid(&self, value: &str, why: impl Into<String>) -> GrantError {
        self.fail(Problem::Invalid { value: super::shown(value), why: why.into() })
    }

    /// The first field of this name, whatever stands beside it.
    pub(super) fn peek(&self, name: &str) -> Option<Self> {
        let Value::Map(fields) = &self.node.value else { return None };
        let (_, node) = fields.iter().find(|(key, _)| key.name == name)?;
        Some(Self { node, field: below(&self.field, name) })
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    pub(super) fn is_empty_list(&self) -> bool {
        matches!(&self.node.value, Value::List(items) if items.is_empty())
    }

    /// The node as a map that has no other fields than these.
    pub(super) fn fields(self, known: &'static [&'static str]) -> Result<Fields<'a>, GrantError> {
        let Value::Map(fields) = &self.node.value else { return Err(self.mismatch("fields")) };
        for (key, _) in fields {
            if !known.contains(&key.name.as_str()) {
                let problem = Problem::UnknownField { expected: known, nearest: nearest(&key.name, known) };
                return Err(GrantError::new(key.place, &below(&self.field, &super::shown(&key.name)), problem));
            }
        }
        self.refuse_doubled(fields)?;
        Ok(Fields { at: self, fields })
    }

    fn refuse_doubled(&self, fields: &[(Key, Node)]) -> Result<(), GrantError> {
        for (index, (key, _)) in fields.iter().enumerate() {
            if fields.iter().take(index).any(|(earlier, _)| earlier.name == key.name) {
                return Err(GrantError::new(key.place, &below(&self.field, &key.name), Problem::Doubled));
            }
        }
        Ok(())
    }

    /// The node as text; a number or a boolean counts as the text that was written.
    pub(super) fn text(&self) -> Result<&'a str, GrantError> {
        match &self.node.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.mismatch("text")),
        }
    }

    /// The node as text that says something.
    pub(super) fn words(&self) -> Result<&'a str, GrantError> {
        let text = self.text()?;
        if text.is_empty() { Err(self.fail(Problem::Empty)) } else { Ok(text) }
    }

    /// The node as a list with at least one item.
    pub(super) fn items(&self) -> Result<Vec<Self>, GrantError> {
        let Value::List(items) = &self.node.value else { return Err(self.mismatch("a list")) };
        if items.is_empty() {
            return Err(self.fail(Problem::Empty));
        }
        let item = |(index, node)| Self { node, field: format!("{}[{index}]", self.field) };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// Each item of a list, decoded.
    pub(super) fn each<T>(&self, decode: impl Fn(&Self) -> Result<T, GrantError>) -> Result<Vec<T>, GrantError> {
        self.items()?.iter().map(decode).collect()
    }

    /// The text, parsed.
    pub(super) fn parse<T: FromStr>(&self) -> Result<T, GrantError>
    where
        T::Err: std::fmt::Display,
    {
        let text = self.words()?;
        text.parse().map_err(|why: T::Err| self.invalid(text, why.to_string()))
    }

    /// The text, which must be one of these.
    pub(super) fn one_of(&self, known: &'static [&'static str]) -> Result<&'static str, GrantError> {
        let text = self.words()?;
        known.iter().copied().find(|word| *word == text).ok_or_else(|| {
            let nearest = nearest(text, known);
            self.fail(Problem::UnknownValue { value: super::shown(text), expected: known, nearest })
        })
    }

    fn mismatch(&self, expected: &'static str) -> GrantError {
        self.fail(match self.node.value {
            Value::Null => Problem::Empty,
            _ => Problem::Expected(expected),
        })
    }
}

impl<'a> Fields<'a> {
    /// An error about the map itself.
    pub(super) fn fail(&self, problem: Problem) -> GrantError {
        self.at.fail(problem)
    }

    /// The field of this name, if it was written.
    pub(super) fn get(&self, name: &str) -> Option<Cursor<'a>> {
        let found = self.fields.iter().find(|(key, _)| key.name == name);
        found.map(|(_, node)| Cursor { node, field: below(&self.at.field, name) })
    }

    /// The field of this name, which must be there.
    pub(super) fn need(&self, name: &str) -> Result<Cursor<'a>, GrantError> {
        let missing = || GrantError::new(self.at.node.place, &below(&self.at.field, name), Problem::Missing);
        self.get(name).ok_or_else(missing)
    }

    /// The field of this name decoded, if it was written.
    pub(super) fn read<T>(
        &self,
        name: &str,
        decode: impl FnOnce(Cursor<'a>) -> Result<T, GrantError>,
    ) -> Result<Option<T>, GrantError> {
        self.get(name).map(decode).transpose()
    }
}

fn below(field: &str, name: &str) -> String {
    if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") }
}
