//! The protocol between a host and its compiler's process.
//!
//! The task is a variable of the process, the component its stdin, the artefact its stdout. Its stderr has lines of
//! JSON: the first reports the memory it may take, the last reports the end. All other lines are output of a compiler
//! that crashed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::{EngineSettings, Needs};

/// The variable that holds the task.
pub(super) const TASK: &str = "ATTACHE_COMPILER_TASK";

/// The component that is to be compiled, and the bounds for it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Task {
    pub(super) settings: EngineSettings,
    /// The component's size in bytes. Size and digest make sure that the compiled component is the one that the host
    /// has judged.
    pub(super) size: u64,
    pub(super) sha256: String,
    /// The maximum that an instance may need.
    pub(super) most: Needs,
    /// The maximum of memory that compiling may take, in bytes.
    pub(super) memory: u64,
    /// The directory below which control groups are looked up.
    pub(super) root: PathBuf,
    pub(super) allocator: Allocator,
}

/// The way in which the compiler assigns registers to values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allocator {
    /// Good code. The memory grows with the square of a function's size.
    Backtracking,
    /// One pass. The code is larger and slower, and large functions take a tenth of the time and memory.
    SinglePass,
}

/// A message of a compiler's process.
///
/// The content has a member of its own: a text cannot stand beside the tag.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "said", content = "of")]
pub(super) enum Said {
    /// Compiling begins.
    #[serde(rename_all = "camelCase")]
    Begins {
        /// The memory that the process may take, in bytes.
        memory: u64,
        /// The limit that leaves no more memory than that; `None` where the task's own limit holds.
        bounded_by: Option<String>,
    },
    /// The limits leave too little memory, from the beginning or later.
    #[serde(rename_all = "camelCase")]
    NoRoom {
        /// The limit, and the memory that it leaves.
        bounded_by: String,
    },
    /// The artefact is written.
    Done(Done),
    /// An instance would need too much.
    Needs(Needs),
    /// The component differs from the one that the host has judged.
    Changed,
    /// The artefact could not be written, for this reason.
    Unwritten(String),
    /// There is no artefact, for this reason.
    Refused(String),
}

/// The result of compiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Done {
    pub(super) needs: Needs,
    /// The time it took, in milliseconds.
    pub(super) took: u64,
    /// The maximum of memory that the process held, in bytes; `None` where the system does not report it.
    pub(super) peak: Option<u64>,
    /// The artefact's size in bytes.
    pub(super) size: u64,
}
