//! Why a watch is over.

use std::sync::Arc;

use thiserror::Error;

use crate::cluster::status::ServerStatus;
use crate::cluster::unavailable::Unavailable;

/// Why a watch is over. All followers of a store are told the same, so it is cheap to clone.
#[derive(Clone, Debug, Error)]
pub enum WatchError {
    /// The API server refused the list or the watch.
    #[error("the API server refused: {0}")]
    Refused(Box<ServerStatus>),
    /// All that this host watches is more than it keeps, in bytes, and this was the largest part of it.
    #[error(
        "all that this host watches is more than the {0} bytes that it keeps, and this is the largest part: select fewer"
    )]
    Overflow(u64),
    /// One object is larger than what may be passed on, in bytes.
    #[error("an object is larger than {0} bytes")]
    TooLarge(u64),
    /// The API server could not be asked when the watch began.
    #[error("the API server is unavailable")]
    Unavailable(#[source] Arc<Unavailable>),
    /// What the server sends is no list or no event.
    #[error("what the API server sends cannot be read: {0}")]
    Unreadable(Arc<str>),
    /// As many collections are watched as this host watches.
    #[error("this host watches {0} collections, which is all it does")]
    TooMany(usize),
    /// A scope that cannot be asked for, or that is not the one of the permit.
    #[error("this cannot be watched: {0}")]
    Invalid(Arc<str>),
    /// The host stopped to watch.
    #[error("the host has stopped to watch")]
    Stopped,
}
