//! Where one reader stands: in the replay of what is there, and in the history of what changes.
//!
//! A replay walks the objects by their keys, a batch at a time, while the collection changes. What a reader knows is
//! always this: all keys up to where it stands, as they were at one moment. Before it walks on, that moment is brought
//! up to now by the history: changes of keys that it knows are told, those of keys to come are passed over, for it will
//! meet them.

use std::ops::Bound;
use std::sync::Arc;

use super::error::WatchError;
use super::history::Change;
use super::object::WatchedObject;
use super::store::State;

/// What a follower is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// A full replay begins; objects not replayed before `Synced` are gone.
    Resync,
    /// The replay is complete.
    Synced,
    /// The object is new, different, or part of the replay.
    Applied(Arc<WatchedObject>),
    /// The object is gone; this is its last state.
    Deleted(Arc<WatchedObject>),
}

/// A reader's place.
#[derive(Debug)]
pub(super) struct Place {
    /// The number of the next change to read.
    next: u64,
    replay: Replay,
}

#[derive(Debug)]
enum Replay {
    /// It is to begin.
    Due,
    /// Everything up to this key is told.
    UpTo(Option<Arc<str>>),
    Complete,
}

/// What is read at a time.
#[derive(Debug)]
pub(super) struct Batch {
    told: Vec<WatchEvent>,
    most: usize,
    bytes_left: u64,
    /// The most bytes of one object.
    largest: u64,
}

impl Batch {
    pub(super) fn new(most: usize, bytes: u64, largest: u64) -> Self {
        Self { told: Vec::new(), most, bytes_left: bytes, largest }
    }

    pub(super) fn told(self) -> Vec<WatchEvent> {
        self.told
    }

    fn has_room(&self) -> bool {
        self.told.len() < self.most && self.bytes_left > 0
    }

    fn tell(&mut self, told: WatchEvent) -> Result<(), WatchError> {
        if let WatchEvent::Applied(object) | WatchEvent::Deleted(object) = &told {
            let length = u64::try_from(object.json().len()).unwrap_or(u64::MAX);
            if length > self.largest {
                return Err(WatchError::TooLarge(self.largest));
            }
            self.bytes_left = self.bytes_left.saturating_sub(length);
        }
        self.told.push(told);
        Ok(())
    }
}

impl Place {
    /// At the beginning.
    pub(super) fn new() -> Self {
        Self { next: 0, replay: Replay::Due }
    }

    /// Whether [`Place::read`] would tell something of a store that is live.
    pub(super) fn has_more(&self, state: &State) -> bool {
        self.next < state.history.next() || !matches!(self.replay, Replay::Complete)
    }

    /// Reads on, as far as there is room in the batch.
    pub(super) fn read(&mut self, state: &State, batch: &mut Batch) -> Result<(), WatchError> {
        if !batch.has_room() {
            return Ok(());
        }
        if matches!(self.replay, Replay::Due) || self.next < state.history.first() {
            batch.tell(WatchEvent::Resync)?;
            (self.next, self.replay) = (state.history.next(), Replay::UpTo(None));
        }
        self.catch_up(state, batch)?;
        if self.next == state.history.next() { self.walk(state, batch) } else { Ok(()) }
    }

    fn catch_up(&mut self, state: &State, batch: &mut Batch) -> Result<(), WatchError> {
        while batch.has_room() {
            let Some(change) = state.history.at(self.next) else { break };
            if self.knows(change.object().key()) {
                batch.tell(match change {
                    Change::Applied(object) => WatchEvent::Applied(Arc::clone(object)),
                    Change::Deleted(object) => WatchEvent::Deleted(Arc::clone(object)),
                })?;
            }
            self.next = self.next.saturating_add(1);
        }
        Ok(())
    }

    fn knows(&self, key: &Arc<str>) -> bool {
        match &self.replay {
            Replay::Due | Replay::UpTo(None) => false,
            Replay::UpTo(Some(last)) => key <= last,
            Replay::Complete => true,
        }
    }

    fn walk(&mut self, state: &State, batch: &mut Batch) -> Result<(), WatchError> {
        let Replay::UpTo(last) = &mut self.replay else { return Ok(()) };
        let after = last.clone().map_or(Bound::Unbounded, Bound::Excluded);
        for (key, kept) in state.objects.range::<Arc<str>, _>((after, Bound::Unbounded)) {
            if !batch.has_room() {
                return Ok(());
            }
            batch.tell(WatchEvent::Applied(Arc::clone(&kept.object)))?;
            *last = Some(Arc::clone(key));
        }
        if batch.has_room() {
            batch.tell(WatchEvent::Synced)?;
            self.replay = Replay::Complete;
        }
        Ok(())
    }
}
