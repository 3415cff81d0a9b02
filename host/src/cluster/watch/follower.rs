//! One reader of a store.

use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::watch;

use super::error::WatchError;
use super::hub::Hub;
use super::object::{WatchedObject, key};
use super::replay::{Batch, Place};
use super::store::{Standing, State, Store};
use crate::gate::FollowerPermit;

pub use super::replay::WatchEvent;

/// The most bytes that are read at a time, by the objects' JSON; the last object may exceed it. What a guest asks for
/// is copied into it at once, and is in the host's memory twice while it is.
const MAX_READ: u64 = 1 << 20;

/// Follows a collection for one guest. It costs a few hundred bytes, however much the collection holds and however far
/// the reader is behind; dropping it lets go.
#[derive(Debug)]
pub struct Follower {
    store: Arc<Store>,
    hub: Arc<Hub>,
    moved: watch::Receiver<()>,
    place: Place,
    permit: FollowerPermit,
}

/// Some objects of a store.
#[derive(Clone, Debug)]
pub struct StorePage {
    /// In the order of their keys.
    pub objects: Vec<Arc<WatchedObject>>,
    /// The key after which the next ones come; `None` when these were the last.
    pub cursor: Option<String>,
    /// The server's version of the collection, as far as the host knows.
    pub version: String,
}

impl Follower {
    pub(super) fn new(store: Arc<Store>, hub: Arc<Hub>, permit: FollowerPermit) -> Self {
        let moved = store.moved();
        Self { store, hub, moved, place: Place::new(), permit }
    }

    /// Returns up to `most` waiting events; none when none waits. Never blocks. Fewer than wait are returned when they
    /// are large.
    ///
    /// # Errors
    /// [`WatchError`], after which the same is returned for ever.
    pub fn read(&mut self, most: usize) -> Result<Vec<WatchEvent>, WatchError> {
        // Marked before it is looked: what comes in between is then new again.
        self.moved.mark_unchanged();
        let state = self.store.read();
        if !is_live(&state)? {
            return Ok(Vec::new());
        }
        let mut batch = Batch::new(most, MAX_READ, self.permit.piece_limit());
        self.place.read(&state, &mut batch)?;
        drop(state);
        let told = batch.told();
        self.permit.told(told.iter().map(length).fold(0, u64::saturating_add));
        Ok(told)
    }

    /// Whether [`Follower::read`] would return something.
    pub fn is_ready(&self) -> bool {
        let state = self.store.read();
        is_live(&state).map_or(true, |live| live && self.place.has_more(&state))
    }

    /// Waits until [`Follower::read`] would return something. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        loop {
            self.moved.mark_unchanged();
            if self.is_ready() {
                return;
            }
            if self.moved.changed().await.is_err() {
                // Not reached: this reader holds the store, which holds the sender.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until the store has been whole once. It ends: an upstream that cannot fill its store gives up.
    ///
    /// # Errors
    /// When the watch is over.
    pub async fn filled(&mut self) -> Result<(), WatchError> {
        loop {
            self.moved.mark_unchanged();
            if is_live(&self.store.read())? {
                return Ok(());
            }
            if self.moved.changed().await.is_err() {
                return Err(WatchError::Stopped);
            }
        }
    }

    /// One object as the store has it; `None` when it has none, also before it is filled.
    ///
    /// # Errors
    /// When the watch is over, or the object is larger than may be passed on.
    pub fn get(&mut self, namespace: Option<&str>, name: &str) -> Result<Option<Arc<WatchedObject>>, WatchError> {
        let state = self.store.read();
        let live = is_live(&state)?;
        let found = state.objects.get(key(namespace.unwrap_or_default(), name).as_str());
        let found = found.filter(|_| live).map(|kept| Arc::clone(&kept.object));
        drop(state);
        if let Some(object) = &found {
            let length = u64::try_from(object.json().len()).unwrap_or(u64::MAX);
            if length > self.permit.piece_limit() {
                return Err(WatchError::TooLarge(self.permit.piece_limit()));
            }
            self.permit.told(length);
        }
        Ok(found)
    }

    /// Up to `most` objects of the store that come after a key; none before it is filled. Fewer are returned when they
    /// are large.
    ///
    /// # Errors
    /// When the watch is over, or an object is larger than may be passed on.
    pub fn list(&mut self, after: Option<&str>, most: usize) -> Result<StorePage, WatchError> {
        let state = self.store.read();
        let live = is_live(&state)?;
        let largest = self.permit.piece_limit();
        let mut copies = StorePage { objects: Vec::new(), cursor: None, version: state.version.clone() };
        let mut bytes = 0_u64;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let objects = state.objects.range::<str, _>((from, Bound::Unbounded)).map(|(_, kept)| &kept.object);
        for object in objects.take_while(|_| live) {
            if copies.objects.len() >= most || bytes >= MAX_READ.min(largest) {
                copies.cursor = copies.objects.last().map(|last| last.key().to_string());
                break;
            }
            let length = u64::try_from(object.json().len()).unwrap_or(u64::MAX);
            if length > largest {
                return Err(WatchError::TooLarge(largest));
            }
            bytes = bytes.saturating_add(length);
            copies.objects.push(Arc::clone(object));
        }
        drop(state);
        self.permit.told(bytes);
        Ok(copies)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.hub.left(&self.store);
    }
}

fn is_live(state: &State) -> Result<bool, WatchError> {
    match &state.standing {
        Standing::Filling => Ok(false),
        Standing::Live => Ok(true),
        Standing::Over(why) => Err(why.clone()),
    }
}

fn length(told: &WatchEvent) -> u64 {
    match told {
        WatchEvent::Applied(object) | WatchEvent::Deleted(object) => {
            u64::try_from(object.json().len()).unwrap_or(u64::MAX)
        }
        WatchEvent::Resync | WatchEvent::Synced => 0,
    }
}
