//! What a host and its compiler's process say to each other.
//!
//! The task is a variable of the process, the component its stdin, the artefact its stdout. On its stderr are lines of
//! JSON: first what it may take, last how it ended. Other lines are what the compiler itself says of its end.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::{EngineSettings, Needs};

/// The variable that holds the task.
pub(super) const TASK: &str = "ATTACHE_COMPILER_TASK";

/// What is to be compiled, and within what.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Task {
    pub(super) settings: EngineSettings,
    /// The component's size in bytes, and its SHA-256 in hex: what the host has judged is what is compiled.
    pub(super) size: u64,
    pub(super) sha256: String,
    /// The most that an instance may need.
    pub(super) most: Needs,
    /// The most memory that compiling may take, in bytes.
    pub(super) memory: u64,
    /// Where control groups are looked for.
    pub(super) root: PathBuf,
    pub(super) allocator: Allocator,
}

/// The way in which the compiler gives registers to values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allocator {
    /// Good code. It takes memory by the square of a function's size.
    Backtracking,
    /// In one pass: more and slower code, for a tenth of the time and memory where functions are large.
    SinglePass,
}

/// What a compiler's process says.
///
/// The content has a member of its own: a text cannot stand beside the tag.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "said", content = "of")]
pub(super) enum Said {
    /// It begins.
    #[serde(rename_all = "camelCase")]
    Begins {
        /// The memory that it lets itself take, in bytes.
        memory: u64,
        /// Whose limit leaves no more than that; nothing where it is the task's own.
        bounded_by: Option<String>,
    },
    /// What the limits leave is too little, or has become so.
    #[serde(rename_all = "camelCase")]
    NoRoom {
        /// Whose limit it is and what it leaves.
        bounded_by: String,
    },
    /// The artefact is written.
    Done(Done),
    /// An instance would need too much.
    Needs(Needs),
    /// The component is not the one that the host has judged.
    Changed,
    /// The artefact could not be written, and this is why.
    Unwritten(String),
    /// There is no artefact, and this is why.
    Refused(String),
}

/// What compiling took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Done {
    pub(super) needs: Needs,
    /// In milliseconds.
    pub(super) took: u64,
    /// The most memory that the process held, in bytes; nothing where the system does not say.
    pub(super) peak: Option<u64>,
    /// The artefact's size in bytes.
    pub(super) size: u64,
}
