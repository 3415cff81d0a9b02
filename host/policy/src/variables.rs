//! `$(VARIABLE)` in a grant, replaced by values of the pod.
//!
//! Threat: a value that widens its rule, such as a namespace called `*`. The result is checked again by the rule of its
//! field: a name, never a pattern.

use attache_base::names::is_label;
use thiserror::Error;

use super::{Grant, rules::ALL, segments};

/// The reason why a variable of a grant could not be replaced.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The variable has no value.
    #[error("{field}: `{text}` names the variable {variable}, which has no value here")]
    Unknown {
        /// The field, such as `spec.api[0].namespaces[0]`.
        field: String,
        /// The text in the grant.
        text: String,
        /// The variable.
        variable: String,
    },
    /// The value makes no valid name.
    #[error("{field}: `{text}` becomes `{value}`, which is no name")]
    Invalid {
        /// The field, such as `spec.api[0].namespaces[0]`.
        field: String,
        /// The text in the grant.
        text: String,
        /// The text with the value in it.
        value: String,
    },
}

/// A part of a text: plain, or the name of a variable.
enum Part<'a> {
    Plain(&'a str),
    Variable(&'a str),
}

impl Grant {
    /// Returns the same grant with each `$(VARIABLE)` in `namespaces` and `resourceNames` replaced by its value.
    ///
    /// # Errors
    /// [`ResolveError`] if a variable has no value, or if its value makes no name: it is empty, is `*`, or has a slash.
    pub fn resolve(mut self, value_of: impl Fn(&str) -> Option<String>) -> Result<Self, ResolveError> {
        for (index, rule) in self.api.iter_mut().enumerate() {
            resolve_all(
                &mut rule.namespaces,
                &value_of,
                |name| name == ALL || is_label(name),
                || format!("spec.api[{index}].namespaces"),
            )?;
            resolve_all(&mut rule.resource_names, &value_of, is_name, || format!("spec.api[{index}].resourceNames"))?;
        }
        Ok(self)
    }
}

fn is_name(name: &str) -> bool {
    segments::check_name(name).is_ok()
}

fn resolve_all(
    texts: &mut [String],
    value_of: &impl Fn(&str) -> Option<String>,
    valid: impl Fn(&str) -> bool,
    field: impl Fn() -> String,
) -> Result<(), ResolveError> {
    for (index, text) in texts.iter_mut().enumerate().filter(|(_, text)| text.contains("$(")) {
        let field = || format!("{}[{index}]", field());
        let value = fill(text, value_of).map_err(|variable| ResolveError::Unknown {
            field: field(),
            text: text.clone(),
            variable,
        })?;
        if value == ALL || !valid(&value) {
            return Err(ResolveError::Invalid { field: field(), text: text.clone(), value: super::shown(&value) });
        }
        *text = value;
    }
    Ok(())
}

/// Returns a text with values for its variables. The error is the variable that has none.
fn fill(text: &str, value_of: &impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let Some(parts) = parts(text) else { return Ok(text.to_owned()) };
    let value = |part: &Part<'_>| match part {
        Part::Plain(plain) => Ok((*plain).to_owned()),
        Part::Variable(name) => value_of(name).ok_or_else(|| (*name).to_owned()),
    };
    parts.iter().map(value).collect()
}

/// Splits a text at its variables; `None` if a variable is not closed or has no valid name.
fn parts(text: &str) -> Option<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once("$(") {
        let (name, after) = after.split_once(')')?;
        if !is_variable(name) {
            return None;
        }
        parts.extend([Part::Plain(plain), Part::Variable(name)]);
        rest = after;
    }
    parts.push(Part::Plain(rest));
    Some(parts)
}

/// Returns whether a text is the name of an environment variable, as in shells and in Kubernetes' `$(VAR)`.
fn is_variable(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Returns whether a text is valid as it is, or would be with a plain letter for each of its variables.
pub(super) fn is_template(text: &str, valid: impl Fn(&str) -> bool) -> bool {
    if !text.contains("$(") {
        return valid(text);
    }
    parts(text).is_some_and(|_| fill(text, &|_| Some("v".to_owned())).is_ok_and(|filled| valid(&filled)))
}
