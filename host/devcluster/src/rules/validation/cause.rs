//! A cause of refusal, and the walk over an object that finds it.

use std::fmt;

use serde_json::Value;

use crate::model::quote::quoted;

/// The type of a cause, named as in `Status.details.causes[].reason`
/// (`apimachinery/pkg/util/validation/field/errors.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CauseType {
    /// The field is required.
    Required,
    /// The value breaks a rule.
    Invalid,
    /// The value is not among the allowed ones.
    NotSupported,
    /// The value refers to something that is missing.
    NotFound,
    /// The value occurs twice.
    Duplicate,
    /// The field is not allowed.
    Forbidden,
}

impl CauseType {
    /// Returns the reason in a `Status`: `FieldValueInvalid` and so on.
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

/// One cause of a 422. It is printed in the server's form: `field: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The field's path in the server's answer. For an item of a Downward API volume the server leaves out `items[N]`.
    pub field: String,
    /// The type of the cause.
    pub reason: CauseType,
    /// The message, without the field: `Invalid value: "x": must be …`.
    pub message: String,
    /// The field's true path in the object, by which it is located in a file.
    pub at: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.field, self.message)
    }
}

/// A field of the object under judgement: its value (null if missing) and its two paths.
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

    /// Returns the elements of a list; none if it is no list.
    pub(super) fn items(&self) -> Vec<Self> {
        let items = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        let item = |(index, value)| Self {
            value,
            path: format!("{}[{index}]", self.path),
            at: format!("{}[{index}]", self.at),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// Returns the elements of the list `name`, reported under the path of this field itself.
    pub(super) fn anonymous_items(&self, name: &str) -> Vec<Self> {
        let items = self.child(name).items();
        items.into_iter().map(|item| Self { path: self.path.clone(), ..item }).collect()
    }

    /// Returns this field, reported as a child of `other`.
    pub(super) fn reported_below(&self, other: &Self, name: &str) -> Self {
        Self { path: format!("{}.{name}", other.path), ..self.clone() }
    }

    /// Returns the true path in the object.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// Returns the text, or an empty one if it is missing.
    pub(super) fn text_or_empty(&self) -> &'a str {
        self.text().unwrap_or_default()
    }

    /// Returns whether the field is set; null counts as missing.
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

    fn push(&mut self, field: &Field<'_>, reason: CauseType, message: String) {
        self.0.push(Cause { field: field.path.clone(), reason, message, at: field.at.clone() });
    }

    pub(super) fn required(&mut self, field: &Field<'_>, detail: &str) {
        let separator = if detail.is_empty() { "" } else { ": " };
        self.push(field, CauseType::Required, format!("Required value{separator}{detail}"));
    }

    pub(super) fn invalid(&mut self, field: &Field<'_>, value: &(impl Shown + ?Sized), rule: impl AsRef<str>) {
        self.push(field, CauseType::Invalid, format!("Invalid value: {}: {}", value.shown(), rule.as_ref()));
    }

    /// Adds one cause for each rule that the value breaks.
    pub(super) fn broken(&mut self, field: &Field<'_>, value: &str, rules: Vec<String>) {
        for rule in rules {
            self.invalid(field, value, rule);
        }
    }

    pub(super) fn not_supported(&mut self, field: &Field<'_>, value: &str, supported: &[&str]) {
        let supported: Vec<_> = supported.iter().map(|value| quoted(value)).collect();
        let supported = supported.join(", ");
        let message = format!("Unsupported value: {}: supported values: {supported}", quoted(value));
        self.push(field, CauseType::NotSupported, message);
    }

    pub(super) fn not_found(&mut self, field: &Field<'_>, value: &str) {
        self.push(field, CauseType::NotFound, format!("Not found: {}", quoted(value)));
    }

    pub(super) fn duplicate(&mut self, field: &Field<'_>, value: &str) {
        self.push(field, CauseType::Duplicate, format!("Duplicate value: {}", quoted(value)));
    }

    pub(super) fn forbidden(&mut self, field: &Field<'_>, detail: &str) {
        self.push(field, CauseType::Forbidden, format!("Forbidden: {detail}"));
    }
}

/// The form of a bad value in a message: texts quoted as in Go, numbers bare.
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
