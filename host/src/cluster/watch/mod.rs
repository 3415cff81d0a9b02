//! Shared watches: one list and watch of the server for a collection, for any number of followers.
//!
//! ```text
//! guest ── gate ── Permit ── Follower ─┐
//! guest ── gate ── Permit ── Follower ─┼── store of a Scope ── upstream ── host's gate ── Permit ── API server
//! guest ── gate ── Permit ── Follower ─┘     (one budget for all stores)
//! ```
//!
//! Threats, and what stops each:
//! - A store that is filled under one grant and read under a lesser one. A follower gets the store of the request that
//!   the gate let through for this follower: type, namespace and selectors ([`Scope`]). A guest that may see one name
//!   has to select that name, as under RBAC, and so gets a store with nothing else in it.
//! - A guest that does not read. The store keeps a position for it in a short history. When the history has moved on,
//!   the guest starts again with the present objects ([`WatchEvent::Resync`]). Nothing is queued or held up for a
//!   guest.
//! - A collection without an end. All stores share one budget in bytes. When the budget is spent, stores without
//!   followers are evicted, those longest without first; then histories; then the largest store ends, with an error.
//! - A guest that follows one selection after the other and leaves each. Its own rate bounds the number of selections;
//!   only a few stores without followers are kept.
//! - A server that goes away, forgets versions, or refuses. See `upstream`.
//!
//! | file | holds |
//! | --- | --- |
//! | `scope` | the collection that is followed |
//! | `hub` | the stores by their scope: followers, eviction |
//! | `store`, `history`, `object` | one collection as it is now, and its latest changes |
//! | `budget` | the bytes of all stores together |
//! | `upstream`, `fill`, `events`, `lines` | the list and watch of the server for one store |
//! | `retry_policy`, `backoff`, `pause` | failures: which are retried, and after how long |
//! | `follower`, `replay` | one reader and its position |
//! | `metrics` | figures for a scraper |

mod backoff;
mod budget;
mod error;
mod events;
mod fill;
mod follower;
mod history;
mod hub;
mod lines;
#[cfg(feature = "metrics")]
mod metrics;
mod object;
mod pause;
mod replay;
mod retry_policy;
mod scope;
mod store;
mod upstream;

use std::time::Duration;

pub use error::WatchError;
pub use follower::{Follower, StorePage, WatchEvent};
pub(super) use hub::Hub;
pub use hub::WatchFigures;
pub use object::WatchedObject;
pub use scope::Scope;

/// The default bytes of all stores together: ten thousand pods of the usual size, and a third of the memory that a
/// sidecar commonly has.
pub const DEFAULT_STORE_BYTES: u64 = 64 << 20;

/// The default time that a store is kept after its last follower has left. Guests that end and start again find it
/// warm.
pub const DEFAULT_LINGER: Duration = Duration::from_secs(10);

/// The default time that a filled store is kept while the server answers 403 or 404 and nothing else. A starting server
/// answers so for seconds, until it has read roles and definitions. After a right is revoked, followers keep the old
/// objects for this time and get no new ones.
pub const DEFAULT_FORBIDDEN_FOR: Duration = Duration::from_mins(1);

/// The settings of shared watches.
///
/// Besides `bytes`, incoming data takes memory. At most four pages of lists and two long events (above 32 KiB) are in
/// memory together, each of at most 4 MiB, and one object of each a second time while it is stored: 24 MiB, or 48 MiB
/// where objects are as large as pages. Each of at most 256 watches may hold the beginning of a short event and the
/// read-ahead of its connection, 160 KiB together. An idle watch holds neither.
///
/// ```
/// use attache::cluster::watch::WatchSettings;
///
/// let settings = WatchSettings::new().bytes(16 << 20); // for `ApiClientSettings::watches`
/// # drop(settings);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchSettings {
    /// The most bytes of all stores together: the JSON of their objects, and the memory to keep it.
    pub bytes: u64,
    /// The time that a store is kept after its last follower has left.
    pub linger: Duration,
    /// The time that a filled store is kept while the server answers 403 or 404 and nothing else, as a starting server
    /// does.
    pub forbidden_for: Duration,
}

impl WatchSettings {
    /// Makes settings with the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the most bytes of all stores together.
    #[must_use]
    pub fn bytes(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }

    /// Sets the time that a store is kept after its last follower has left.
    #[must_use]
    pub fn linger(self, linger: Duration) -> Self {
        Self { linger, ..self }
    }

    /// Sets the time that a filled store is kept while the server answers 403 or 404 and nothing else.
    #[must_use]
    pub fn forbidden_for(self, span: Duration) -> Self {
        Self { forbidden_for: span, ..self }
    }
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self { bytes: DEFAULT_STORE_BYTES, linger: DEFAULT_LINGER, forbidden_for: DEFAULT_FORBIDDEN_FOR }
    }
}
