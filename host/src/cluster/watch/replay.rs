//! The position of one reader: in the replay of the objects, and in the history of changes.
//!
//! A replay goes through the objects by their keys, a batch at a time, while the collection changes. A reader always
//! knows all keys up to its position, as they were at one moment. Before the reader goes on, the history brings that
//! moment up to now: changes of known keys become events, and changes of later keys are skipped, since the replay comes
//! to these keys itself.

use std::ops::Bound;
use std::sync::Arc;

use super::error::WatchError;
use super::history::Change;
use super::object::WatchedObject;
use super::store::State;

/// An event of a collection.
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

/// A reader's position.
#[derive(Debug)]
pub(super) struct Position {
    /// The number of the next change to read.
    next: u64,
    replay: Replay,
}

#[derive(Debug)]
enum Replay {
    /// The replay has not begun.
    Due,
    /// The reader has all objects up to this key.
    UpTo(Option<Arc<str>>),
    Complete,
}

/// The events of one read.
#[derive(Debug)]
pub(super) struct Batch {
    events: Vec<WatchEvent>,
    most: usize,
    bytes_left: u64,
    /// The most bytes of one object.
    largest: u64,
}

impl Batch {
    pub(super) fn new(most: usize, bytes: u64, largest: u64) -> Self {
        Self { events: Vec::new(), most, bytes_left: bytes, largest }
    }

    pub(super) fn into_events(self) -> Vec<WatchEvent> {
        self.events
    }

    fn has_room(&self) -> bool {
        self.events.len() < self.most && self.bytes_left > 0
    }

    fn push(&mut self, event: WatchEvent) -> Result<(), WatchError> {
        if let WatchEvent::Applied(object) | WatchEvent::Deleted(object) = &event {
            let length = u64::try_from(object.json().len()).unwrap_or(u64::MAX);
            if length > self.largest {
                return Err(WatchError::TooLarge(self.largest));
            }
            self.bytes_left = self.bytes_left.saturating_sub(length);
        }
        self.events.push(event);
        Ok(())
    }
}

impl Position {
    /// Makes a position before the replay.
    pub(super) fn new() -> Self {
        Self { next: 0, replay: Replay::Due }
    }

    /// Returns whether [`Position::read`] would return events of a live store.
    pub(super) fn has_more(&self, state: &State) -> bool {
        self.next < state.history.next() || !matches!(self.replay, Replay::Complete)
    }

    /// Reads on, as far as the batch has room.
    pub(super) fn read(&mut self, state: &State, batch: &mut Batch) -> Result<(), WatchError> {
        if !batch.has_room() {
            return Ok(());
        }
        if matches!(self.replay, Replay::Due) || self.next < state.history.first() {
            batch.push(WatchEvent::Resync)?;
            (self.next, self.replay) = (state.history.next(), Replay::UpTo(None));
        }
        self.catch_up(state, batch)?;
        if self.next == state.history.next() { self.walk(state, batch) } else { Ok(()) }
    }

    fn catch_up(&mut self, state: &State, batch: &mut Batch) -> Result<(), WatchError> {
        while batch.has_room() {
            let Some(change) = state.history.at(self.next) else { break };
            if self.knows(change.object().key()) {
                batch.push(match change {
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
            batch.push(WatchEvent::Applied(Arc::clone(&kept.object)))?;
            *last = Some(Arc::clone(key));
        }
        if batch.has_room() {
            batch.push(WatchEvent::Synced)?;
            self.replay = Replay::Complete;
        }
        Ok(())
    }
}
