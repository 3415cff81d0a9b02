//! What one extension may do.

use thiserror::Error;

use super::{Limits, Rule};

/// What one extension may do: everything that is not in it is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The name of the grant, which is also what audit calls the extension by.
    pub name: String,
    /// What it may ask of the API server.
    pub api: Vec<Rule>,
    /// How much it may use.
    pub limits: Limits,
}

/// Why a grant is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{line}:{column}: {message}")]
pub struct GrantError {
    line: u64,
    column: u64,
    message: String,
}

impl Grant {
    /// The grant that opens nothing: arguments, standard output and standard error only.
    pub fn nothing(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            api: Vec::new(),
            limits: Limits::default(),
        }
    }
}
