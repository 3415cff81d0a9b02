//! Errors of reading the pod's own facts.

use std::sync::Arc;

use super::syntax::SyntaxError;
use crate::volume::VolumeError;

/// The cause of a failed reading. The error ends when its cause is repaired, because the next reading starts afresh.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PodInfoError {
    /// A projected file or variable exists, but its content could not be understood.
    #[error("podinfo {origin} is malformed")]
    Malformed {
        /// The file or variable, such as `file labels` or `variable MY_CPU_LIMIT`.
        origin: String,
        /// The fault of its content.
        #[source]
        fault: Fault,
    },
    /// The volume, or a file of it, could not be read: not mounted yet, gone, or forbidden.
    #[error("podinfo cannot be read")]
    Unreadable(#[source] Arc<VolumeError>),
}

/// A fault of a projected value. Holds nothing of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A line of labels or annotations does not fit the syntax.
    #[error(transparent)]
    Syntax(SyntaxError),
    /// The value is larger than Kubernetes allows.
    #[error("larger than {limit} bytes")]
    TooLarge {
        /// The bound, in bytes.
        limit: usize,
    },
    /// A resource field is not a decimal number.
    #[error("not a whole decimal number")]
    NotANumber,
    /// A resource field times its divisor does not fit into 64 bits.
    #[error("the number times its divisor is too large")]
    Overflow,
}

impl PodInfoError {
    /// Returns whether reading again may help although the volume has not changed.
    pub(super) fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable(_))
    }

    /// Returns whether `other` has the same content, so that it need not be reported twice.
    pub(super) fn says_as(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

impl From<VolumeError> for PodInfoError {
    fn from(error: VolumeError) -> Self {
        Self::Unreadable(Arc::new(error))
    }
}
