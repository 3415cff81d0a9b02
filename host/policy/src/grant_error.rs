//! What is wrong with a grant, and where.

use std::fmt;

use thiserror::Error;

use super::Location;

/// Why a grant is not valid. It prints as `7:5: spec.api[0].verb: unknown field, …`; put the file's name and a colon
/// before it and an editor can jump there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantError {
    place: Location,
    field: String,
    problem: Problem,
}

impl GrantError {
    pub(super) fn new(place: Location, field: &str, problem: Problem) -> Self {
        Self { place, field: field.to_owned(), problem }
    }

    /// Where in the file.
    pub fn place(&self) -> Location {
        self.place
    }

    /// The field, such as `spec.api[0].verbs`; empty when the document itself is at fault.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.line > 0 {
            write!(f, "{}: ", self.place)?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        self.problem.fmt(f)
    }
}

impl std::error::Error for GrantError {}

/// What is wrong with a field of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// The text is not one YAML document.
    #[error("not valid YAML: {0}")]
    Yaml(String),
    /// A second document follows.
    #[error("a file holds one grant; put the others into files of their own")]
    ManyDocuments,
    /// The field stands there twice.
    #[error("the field is given twice")]
    Doubled,
    /// The file is larger than any grant.
    #[error("a grant has at most {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// No such field exists here.
    #[error("unknown field, expected one of {}{}", listed(.expected), suggested(.nearest.as_ref()))]
    UnknownField {
        /// The fields that exist here.
        expected: &'static [&'static str],
        /// The one that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A value that is none of those which exist.
    #[error("`{value}` is unknown, expected one of {}{}", listed(.expected), suggested(.nearest.as_ref()))]
    UnknownValue {
        /// What was written.
        value: String,
        /// The values that exist.
        expected: &'static [&'static str],
        /// The one that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A field that must be there is not.
    #[error("the field is missing")]
    Missing,
    /// A field is there and says nothing.
    #[error("must not be empty")]
    Empty,
    /// A list where text is expected, or the like.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A value that is not valid for its field.
    #[error("`{value}` is not valid: {why}")]
    Invalid {
        /// What was written.
        value: String,
        /// Why it is not valid.
        why: String,
    },
    /// Two fields that exclude each other.
    #[error("cannot stand beside `{0}`")]
    Excludes(&'static str),
}

/// The nearest of the known words, if one is near enough to be a slip of the pen.
pub(super) fn nearest(word: &str, known: &'static [&'static str]) -> Option<&'static str> {
    let near = |candidate: &&'static str| {
        let distance = distance(&word.to_lowercase(), &candidate.to_lowercase());
        Some((distance, *candidate)).filter(|_| distance <= 2 && distance < candidate.len())
    };
    known.iter().filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// How many letters to insert, delete or replace to make one word into the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, letter) in from.chars().enumerate() {
        let mut next = vec![above.saturating_add(1)];
        for (other, pair) in to.iter().zip(row.windows(2)) {
            let (replace, insert) = match pair {
                [diagonal, over] => (diagonal.saturating_add(usize::from(*other != letter)), over.saturating_add(1)),
                _ => (usize::MAX, usize::MAX),
            };
            let delete = next.last().map_or(usize::MAX, |left| left.saturating_add(1));
            next.push(replace.min(insert).min(delete));
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
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
