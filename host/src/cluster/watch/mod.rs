//! Watches that are shared: one list and watch of the server for a collection, however many follow it.
//!
//! ```text
//! guest ── gate ── Permit ── Follower ─┐
//! guest ── gate ── Permit ── Follower ─┼── store of a Scope ── upstream ── host's gate ── Permit ── API server
//! guest ── gate ── Permit ── Follower ─┘     (one budget for all stores)
//! ```
//!
//! Threats, and what stops each:
//! - A store that is filled under one grant and read under a lesser one. A store is found by nothing but the request
//!   that the gate let through for this very follower: type, namespace and selectors ([`Scope`]). Who may see one name
//!   has to select that name, as RBAC has it, and so has a store in which there is nothing else.
//! - A guest that does not read. It is a number in a store's short history; when the history has moved on it starts
//!   over with what there is now ([`WatchEvent::Resync`]). Nothing is queued for it and nobody waits for it.
//! - A collection without an end. All stores share one budget in bytes; where it is spent, stores that nobody follows
//!   are given up, the one left alone the longest first, then what is remembered for slow readers, and then the largest
//!   store fails, with an error that says so, whichever it was that needed more.
//! - A guest that follows one selection after the other and leaves each. Its own rate bounds how many it opens; of
//!   those that nobody follows any more only a few go on.
//! - A server that goes away, forgets, or says no. See `upstream`.
//!
//! | file | holds |
//! | --- | --- |
//! | `scope` | what is followed |
//! | `hub` | the stores by their scope: who follows, which are given up |
//! | `store`, `history`, `object` | one collection as it is now, and what has changed lately |
//! | `budget` | bytes, of all stores together |
//! | `upstream`, `fill`, `lines`, `trouble`, `backoff` | keeping a store like the server |
//! | `follower`, `replay` | one reader's place |
//! | `metrics` | figures for a scraper |

mod backoff;
mod budget;
mod error;
mod fill;
mod follower;
mod history;
mod hub;
mod lines;
#[cfg(feature = "metrics")]
mod metrics;
mod object;
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

/// Bytes of all stores together by default: ten thousand pods of the usual size, and a third of the memory that a
/// sidecar is commonly given.
pub const DEFAULT_STORE_BYTES: u64 = 64 << 20;

/// How long an upstream goes on by default after its last follower has left: guests that run to their end and are
/// started again find their store warm.
pub const DEFAULT_LINGER: Duration = Duration::from_secs(10);

/// How long a store that was whole once goes on by default while the server answers 403 or 404 and nothing else. A
/// server that starts says so until it has read roles and definitions, which takes seconds; a right that was taken away
/// is then gone for a minute longer than it has to be, in which nothing new is learnt.
pub const DEFAULT_FORBIDDEN_FOR: Duration = Duration::from_mins(1);

/// How a host keeps what it watches.
///
/// Besides `bytes`, memory is taken by what is on its way in. At most four pages of lists are in memory together and
/// two long events (above 32 KiB), each of at most 4 MiB, and of each one object a second time while it is stored: 24
/// MiB, and 48 MiB where objects are as large as pages. Each watch, of 256 at most, may have the beginning of a short
/// event and what its connection has read ahead, 160 KiB together; a watch in which nothing happens has neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchSettings {
    /// The most bytes of all stores together, by the size of their objects as JSON and what it takes to keep them.
    pub bytes: u64,
    /// How long an upstream goes on after its last follower has left.
    pub linger: Duration,
    /// How long a store that was whole once goes on while the server answers 403 or 404 and nothing else, as one that
    /// starts does.
    pub forbidden_for: Duration,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self { bytes: DEFAULT_STORE_BYTES, linger: DEFAULT_LINGER, forbidden_for: DEFAULT_FORBIDDEN_FOR }
    }
}
