//! The end of a shared watch.

use std::sync::Arc;

use thiserror::Error;

use crate::cluster::status::ServerStatus;
use crate::cluster::unavailable::Unavailable;

/// The reason for which a shared watch has ended. Cheap to clone: all followers of a store get it.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The API server refused the list or the watch.
    #[error("the API server refused: {0}")]
    Refused(Box<ServerStatus>),
    /// The watched objects of this host exceed its budget, in bytes, and this store was the largest.
    #[error(
        "all that this host watches is more than the {0} bytes that it keeps, and this is the largest part: select fewer"
    )]
    Overflow(u64),
    /// One object is larger than may be passed on, in bytes.
    #[error("an object is larger than {0} bytes")]
    TooLarge(u64),
    /// The API server could not be asked at the beginning of the watch.
    #[error("the API server is unavailable")]
    Unavailable(#[source] Arc<Unavailable>),
    /// A list or an event of the server cannot be read.
    #[error("what the API server sends cannot be read: {0}")]
    Unreadable(Arc<str>),
    /// The host already watches as many collections as it can.
    #[error("this host watches {0} collections, which is all it does")]
    TooMany(usize),
    /// The scope makes no request, or is another than that of the permit.
    #[error("this cannot be watched: {0}")]
    Invalid(Arc<str>),
    /// The host has stopped this watch.
    #[error("the host has stopped to watch")]
    Stopped,
}
