//! Locations in files.

use std::fmt;
use std::sync::Arc;

/// A location in a text file. It prints as `file:line:column`, or as `line:column` without a file.
///
/// ```
/// use attache_base::Location;
///
/// let at = Location::new(7, 5);
/// assert_eq!(at.to_string(), "7:5");
/// assert_eq!(at.in_file("grant.yaml").to_string(), "grant.yaml:7:5");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Location {
    /// The file, as it was named; `None` where the caller names it.
    pub file: Option<Arc<str>>,
    /// The line, from 1; 0 where it is not known.
    pub line: u64,
    /// The column in characters, from 1; 0 where it is not known.
    pub column: u64,
}

impl Location {
    /// Returns a location without a file.
    pub fn new(line: u64, column: u64) -> Self {
        Self { file: None, line, column }
    }

    /// Returns the same location in this file.
    #[must_use]
    pub fn in_file(self, file: impl Into<Arc<str>>) -> Self {
        Self { file: Some(file.into()), ..self }
    }

    /// Returns whether the line is known.
    pub fn is_known(&self) -> bool {
        self.line > 0
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
        }
        write!(f, "{}:{}", self.line, self.column)
    }
}
