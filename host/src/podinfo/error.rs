//! Why a reading of the pod's own facts failed.

use std::sync::Arc;

use super::syntax::SyntaxError;
use crate::volume::VolumeError;

/// Why a reading failed. It goes away by itself once what was wrong is mended: the next reading starts afresh.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PodInfoError {
    /// A projected file or variable exists, but its content could not be understood.
    #[error("podinfo {origin} is malformed")]
    Malformed {
        /// Which: `file labels`, `variable MY_CPU_LIMIT`.
        origin: String,
        /// What is wrong with it.
        #[source]
        fault: Fault,
    },
    /// The volume, or a file of it, could not be read: not mounted yet, gone, or forbidden.
    #[error("podinfo cannot be read")]
    Unreadable(#[source] Arc<VolumeError>),
}

/// What is wrong with a projected value. Holds nothing of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A line of labels or annotations does not fit the syntax.
    #[error(transparent)]
    Syntax(SyntaxError),
    /// It is larger than Kubernetes lets such a value be.
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
    /// Whether reading again may help without the volume having changed.
    pub(super) fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable(_))
    }

    /// Whether `other` says the same, so that nobody needs to hear it twice.
    pub(super) fn says_as(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

impl From<VolumeError> for PodInfoError {
    fn from(error: VolumeError) -> Self {
        Self::Unreadable(Arc::new(error))
    }
}
