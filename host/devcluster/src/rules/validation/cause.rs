//! A cause of refusal, and the walk over an object that finds it.

use std::fmt;

use serde_json::Value;

use crate::model::quote::quoted;

/// What kind of fault a field has, by the name that `Status.details.causes[].reason` has for it
/// (`apimachinery/pkg/util/validation/field/errors.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The field has to be there.
    Required,
    /// The value breaks a rule.
    Invalid,
    /// The value is none of the allowed ones.
    NotSupported,
    /// The value names something that is not there.
    NotFound,
    /// The value is there twice.
    Duplicate,
    /// The field may not be given.
    Forbidden,
}

impl Reason {
    /// The reason in a `Status`: `FieldValueInvalid` and so on.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::NotFound => "FieldValueNotFound",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
        }
    }
}

/// One cause of a 422. Printed as the server lists it: `field: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The field as the server names it. For an item of a Downward API volume the server leaves out `items[N]`.
    pub field: String,
    /// What kind of fault.
    pub reason: Reason,
    /// What is wrong, without the field: `Invalid value: "x": must be …`.
    pub message: String,
    /// The field's true path in the object, for pointing at its place in a file.
    pub at: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.field, self.message)
    }
}

/// A field of the object under judgement: its value (null if it is not there) and its two paths.
#[derive(Debug, Clone)]
pub(super) struct Field<'a> {
    pub(super) value: &'a Value,
    path: String,
    at: String,
}

impl<'a> Field<'a> {
    pub(super) fn new(value: &'a Value, path: &str) -> Self {
        Self { value, path: path.into(), at: path.into() }
    }

    pub(super) fn child(&self, name: &str) -> Self {
        let value = self.value.get(name).unwrap_or(&Value::Null);
        Self { value, path: format!("{}.{name}", self.path), at: format!("{}.{name}", self.at) }
    }

    /// The elements of a list; none if it is no list.
    pub(super) fn items(&self) -> Vec<Self> {
        let items = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        let item = |(index, value)| Self {
            value,
            path: format!("{}[{index}]", self.path),
            at: format!("{}[{index}]", self.at),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// The elements of the list `name`, told by the server as if they were this field itself.
    pub(super) fn anonymous_items(&self, name: &str) -> Vec<Self> {
        let items = self.child(name).items();
        items.into_iter().map(|item| Self { path: self.path.clone(), ..item }).collect()
    }

    /// This field, but told by the server as a child of `other`.
    pub(super) fn told_below(&self, other: &Self, name: &str) -> Self {
        Self { path: format!("{}.{name}", other.path), ..self.clone() }
    }

    /// The true path in the object.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// The text, empty if it is not there.
    pub(super) fn text_or_empty(&self) -> &'a str {
        self.text().unwrap_or_default()
    }

    /// Whether the field is given at all: null is as good as nothing.
    pub(super) fn is_given(&self) -> bool {
        !self.value.is_null()
    }
}

/// The causes found so far.
#[derive(Debug, Default)]
pub(super) struct Causes(Vec<Cause>);

impl Causes {
    pub(super) fn into_list(self) -> Vec<Cause> {
        self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn push(&mut self, field: &Field<'_>, reason: Reason, message: String) {
        self.0.push(Cause { field: field.path.clone(), reason, message, at: field.at.clone() });
    }

    pub(super) fn required(&mut self, field: &Field<'_>, detail: &str) {
        let separator = if detail.is_empty() { "" } else { ": " };
        self.push(field, Reason::Required, format!("Required value{separator}{detail}"));
    }

    pub(super) fn invalid(&mut self, field: &Field<'_>, value: &(impl Shown + ?Sized), rule: impl AsRef<str>) {
        self.push(field, Reason::Invalid, format!("Invalid value: {}: {}", value.shown(), rule.as_ref()));
    }

    /// One cause for each rule that the value breaks.
    pub(super) fn broken(&mut self, field: &Field<'_>, value: &str, rules: Vec<String>) {
        for rule in rules {
            self.invalid(field, value, rule);
        }
    }

    pub(super) fn not_supported(&mut self, field: &Field<'_>, value: &str, supported: &[&str]) {
        let supported: Vec<_> = supported.iter().map(|value| quoted(value)).collect();
        let supported = supported.join(", ");
        let message = format!("Unsupported value: {}: supported values: {supported}", quoted(value));
        self.push(field, Reason::NotSupported, message);
    }

    pub(super) fn not_found(&mut self, field: &Field<'_>, value: &str) {
        self.push(field, Reason::NotFound, format!("Not found: {}", quoted(value)));
    }

    pub(super) fn duplicate(&mut self, field: &Field<'_>, value: &str) {
        self.push(field, Reason::Duplicate, format!("Duplicate value: {}", quoted(value)));
    }

    pub(super) fn forbidden(&mut self, field: &Field<'_>, detail: &str) {
        self.push(field, Reason::Forbidden, format!("Forbidden: {detail}"));
    }
}

/// How a bad value is told: texts quoted as Go does, numbers bare.
pub(super) trait Shown {
    fn shown(&self) -> String;
}

impl Shown for str {
    fn shown(&self) -> String {
        quoted(self)
    }
}

impl Shown for i64 {
    fn shown(&self) -> String {
        self.to_string()
    }
}
