//! Faults of a document, and their locations.

use std::fmt;

use attache_base::Location;
use thiserror::Error;

/// The largest number of letters that a typing error changes.
const SLIP: usize = 2;

/// The first fault of a document. It prints as `7:5: spec.api[0].verb: unknown field, …`; with the file's name and a
/// colon before it an editor can jump there.
///
/// ```
/// use attache_policy::Grant;
///
/// let text = "apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata: {name: a}\nspec:\n  limits: {cpus: 1s}\n";
/// let error = Grant::parse(text).unwrap_err();
/// assert_eq!((error.location().line, error.field()), (5, "spec.limits.cpus"));
/// assert!(error.to_string().ends_with("did you mean `cpu`?"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentError(Box<Fault>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    location: Location,
    field: String,
    problem: Problem,
}

impl DocumentError {
    pub(super) fn new(location: Location, field: &str, problem: Problem) -> Self {
        Self(Box::new(Fault { location, field: field.to_owned(), problem }))
    }

    /// Returns the location of the fault.
    pub fn location(&self) -> &Location {
        &self.0.location
    }

    /// Returns the field, such as `spec.api[0].verbs`; empty where the fault is in the document itself.
    pub fn field(&self) -> &str {
        &self.0.field
    }

    /// Returns the fault.
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.location.is_known() {
            write!(f, "{}: ", self.0.location)?;
        }
        if !self.0.field.is_empty() {
            write!(f, "{}: ", self.0.field)?;
        }
        self.0.problem.fmt(f)
    }
}

impl std::error::Error for DocumentError {}

/// A fault of a document or of one of its fields.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The text is not one YAML document.
    #[error("not valid YAML: {0}")]
    Yaml(String),
    /// A second document follows.
    #[error("a file holds one {noun}; put the others into files of their own")]
    ManyDocuments {
        /// The kind of document, as a noun.
        noun: &'static str,
    },
    /// The field is written twice.
    #[error("the field is given twice")]
    Doubled,
    /// The text is larger than any document.
    #[error("the file of one {noun} has at most {limit} bytes")]
    TooLarge {
        /// The kind of document, as a noun.
        noun: &'static str,
        /// The limit, in bytes.
        limit: usize,
    },
    /// No such field exists here.
    #[error("unknown field, expected one of {}{}", listed(.expected), suggested(.nearest.as_ref()))]
    UnknownField {
        /// The fields that exist here.
        expected: &'static [&'static str],
        /// The field that was probably meant.
        nearest: Option<&'static str>,
    },
    /// No such value exists for the field.
    #[error("`{value}` is unknown, expected one of {}{}", listed(.expected), suggested(.nearest.as_ref()))]
    UnknownValue {
        /// The value as it was written.
        value: String,
        /// The values that exist.
        expected: &'static [&'static str],
        /// The value that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A required field is missing.
    #[error("the field is missing")]
    Missing,
    /// The field has no content.
    #[error("must not be empty")]
    Empty,
    /// The field has another type, such as a list instead of text.
    #[error("expected {0}")]
    Expected(&'static str),
    /// The value is not valid for its field.
    #[error("`{value}` is not valid: {why}")]
    Invalid {
        /// The value as it was written.
        value: String,
        /// The reason why it is not valid.
        why: String,
    },
    /// Two fields exclude each other.
    #[error("cannot stand beside `{0}`")]
    Excludes(&'static str),
}

/// Returns the nearest of the known words, if it is near enough to be a typing error.
pub(super) fn nearest(word: &str, known: &'static [&'static str]) -> Option<&'static str> {
    let near = |candidate: &&'static str| {
        let distance = strsim::levenshtein(&word.to_lowercase(), &candidate.to_lowercase());
        Some((distance, *candidate)).filter(|_| distance <= SLIP && distance < candidate.len())
    };
    known.iter().filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn suggested(nearest: Option<&&'static str>) -> String {
    nearest.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        const KNOWN: &[&str] = &["verbs", "resources", "apiGroups", "get", "list"];
        for (word, meant) in [
            ("verb", Some("verbs")),
            ("ressources", Some("resources")),
            ("apigroups", Some("apiGroups")),
            ("lst", Some("list")),
            ("x", None),
            ("", None),
            ("namespace", None),
        ] {
            assert_eq!(nearest(word, KNOWN), meant, "{word}");
        }
    }
}
