//! One reader of a store.

use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::watch;

use super::error::WatchError;
use super::hub::Hub;
use super::object::{WatchedObject, key};
use super::replay::{Batch, Position};
use super::store::{Phase, State, Store};
use crate::gate::FollowerPermit;

pub use super::replay::WatchEvent;

/// The most bytes of JSON that one read returns; the last object may exceed it. The host copies them to the guest, and
/// holds them twice meanwhile.
const MAX_READ: u64 = 1 << 20;

/// One guest's reader of a collection. It takes a few hundred bytes, whatever the size of the collection and the lag of
/// the reader. Drop ends it.
#[derive(Debug)]
pub struct Follower {
    store: Arc<Store>,
    hub: Arc<Hub>,
    moved: watch::Receiver<()>,
    position: Position,
    permit: FollowerPermit,
}

/// Some objects of a store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StorePage {
    /// The objects in the order of their keys.
    pub objects: Vec<Arc<WatchedObject>>,
    /// The key after which the next objects come; `None` after the last.
    pub cursor: Option<String>,
    /// The latest version of the collection that the host has.
    pub version: String,
}

impl Follower {
    pub(super) fn new(store: Arc<Store>, hub: Arc<Hub>, permit: FollowerPermit) -> Self {
        let moved = store.moved();
        Self { store, hub, moved, position: Position::new(), permit }
    }

    /// Returns up to `most` waiting events, or none. Never blocks. Large events may be split over several reads.
    ///
    /// # Errors
    /// [`WatchError`], which every later read returns as well.
    pub fn read(&mut self, most: usize) -> Result<Vec<WatchEvent>, WatchError> {
        // Marked before reading, so that a change meanwhile counts as new.
        self.moved.mark_unchanged();
        let state = self.store.read();
        if !is_live(&state)? {
            return Ok(Vec::new());
        }
        let mut batch = Batch::new(most, MAX_READ, self.permit.piece_limit());
        self.position.read(&state, &mut batch)?;
        drop(state);
        let events = batch.into_events();
        self.permit.record_bytes(events.iter().map(length).fold(0, u64::saturating_add));
        Ok(events)
    }

    /// Returns whether [`Follower::read`] would return something.
    pub fn is_ready(&self) -> bool {
        let state = self.store.read();
        is_live(&state).map_or(true, |live| live && self.position.has_more(&state))
    }

    /// Waits until [`Follower::read`] would return something. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        loop {
            self.moved.mark_unchanged();
            if self.is_ready() {
                return;
            }
            if self.moved.changed().await.is_err() {
                // Unreachable: this reader holds the store, which holds the sender.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until the first list is complete. The wait ends: an upstream that cannot fill its store ends the store.
    ///
    /// # Errors
    /// When the watch has ended.
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

    /// Returns one object as the store has it; `None` if there is none, or before the store is filled.
    ///
    /// # Errors
    /// When the watch has ended, or the object is larger than may be passed on.
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
            self.permit.record_bytes(length);
        }
        Ok(found)
    }

    /// Returns up to `most` objects after a key, fewer if they are large, and none before the store is filled.
    ///
    /// # Errors
    /// When the watch has ended, or an object is larger than may be passed on.
    pub fn list(&mut self, after: Option<&str>, most: usize) -> Result<StorePage, WatchError> {
        let state = self.store.read();
        let live = is_live(&state)?;
        let largest = self.permit.piece_limit();
        let mut page = StorePage { objects: Vec::new(), cursor: None, version: state.version.clone() };
        let mut bytes = 0_u64;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let objects = state.objects.range::<str, _>((from, Bound::Unbounded)).map(|(_, kept)| &kept.object);
        for object in objects.take_while(|_| live) {
            if page.objects.len() >= most || bytes >= MAX_READ.min(largest) {
                page.cursor = page.objects.last().map(|last| last.key().to_string());
                break;
            }
            let length = u64::try_from(object.json().len()).unwrap_or(u64::MAX);
            if length > largest {
                return Err(WatchError::TooLarge(largest));
            }
            bytes = bytes.saturating_add(length);
            page.objects.push(Arc::clone(object));
        }
        drop(state);
        self.permit.record_bytes(bytes);
        Ok(page)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.hub.left(&self.store);
    }
}

fn is_live(state: &State) -> Result<bool, WatchError> {
    match &state.phase {
        Phase::Filling => Ok(false),
        Phase::Live => Ok(true),
        Phase::Over(why) => Err(why.clone()),
    }
}

fn length(event: &WatchEvent) -> u64 {
    match event {
        WatchEvent::Applied(object) | WatchEvent::Deleted(object) => {
            u64::try_from(object.json().len()).unwrap_or(u64::MAX)
        }
        WatchEvent::Resync | WatchEvent::Synced => 0,
    }
}
