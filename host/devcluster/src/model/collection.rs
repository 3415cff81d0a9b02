//! The objects of one type, and their recent changes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use crate::model::event::Event;
use crate::model::object::Object;

/// The largest history of one type, in bytes of past objects: enough for ten thousand pods to change once.
const HISTORY_BYTES: usize = 64 << 20;

/// The objects of one type.
#[derive(Debug)]
pub(crate) struct Collection {
    rows: RwLock<Rows>,
    changed: watch::Sender<u64>,
    /// A count of writes and restores. Data derived from the table is stale when the count has changed.
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct Rows {
    objects: BTreeMap<Box<str>, Arc<Object>>,
    /// The keys of each owner's objects, by the owner's identity.
    owned: HashMap<Box<str>, BTreeSet<Box<str>>>,
    history: VecDeque<Arc<Event>>,
    history_bytes: usize,
    /// The revision of the newest change that has left the history.
    floor: u64,
}

/// The error for a revision from before the history, with the newest forgotten revision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compacted(pub(crate) u64);

/// A part of a type's objects, in the order of their keys, as of one revision.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) revision: u64,
    pub(crate) items: Vec<Arc<Object>>,
    /// The key of the last item, if more follow.
    pub(crate) more_after: Option<Box<str>>,
    /// The number of items that follow.
    pub(crate) remaining: usize,
}

/// The part of a type's objects that a list asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part<'a> {
    /// The prefix of the keys: `NAMESPACE/`, or nothing.
    pub(crate) prefix: &'a str,
    /// The whole key after which the part begins.
    pub(crate) after: Option<&'a str>,
    /// The revision of the list; the newest if `None`.
    pub(crate) at: Option<u64>,
    /// The largest number of items; 0 is all.
    pub(crate) limit: usize,
}

impl Collection {
    pub(super) fn new() -> Self {
        Self { rows: RwLock::default(), changed: watch::Sender::new(0), generation: AtomicU64::new(0) }
    }

    /// Returns a part of the objects. `newest` is called while no write can change them.
    pub(super) fn list(
        &self,
        newest: impl FnOnce() -> u64,
        part: &Part<'_>,
        matches: impl Fn(&Object) -> bool,
    ) -> Result<Listing, Compacted> {
        let rows = read(&self.rows);
        let now = newest();
        let revision = part.at.unwrap_or(now);
        if revision < rows.floor {
            return Err(Compacted(rows.floor));
        }
        let newest = rows.history.back().map_or(0, |event| event.revision);
        if revision >= newest {
            return Ok(collect(rows.range(part), part, revision, matches));
        }
        let past = rows.range_at(part, revision);
        Ok(collect(past.iter().map(|(key, object)| (&**key, object)), part, revision, matches))
    }

    /// Returns the object at `key`.
    pub(crate) fn get(&self, key: &str) -> Option<Arc<Object>> {
        read(&self.rows).objects.get(key).cloned()
    }

    /// Returns the keys of the objects that this identity owns.
    pub(crate) fn owned_by(&self, uid: &str) -> Vec<String> {
        let rows = read(&self.rows);
        rows.owned.get(uid).into_iter().flatten().map(std::string::ToString::to_string).collect()
    }

    /// Returns a channel that changes with every write.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Returns the count of writes and restores.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Returns the revision of the newest change of this type.
    pub(crate) fn newest(&self) -> u64 {
        *self.changed.borrow()
    }

    /// Returns up to `most` changes after `revision`, oldest first.
    ///
    /// # Errors
    /// [`Compacted`] when some of these changes have left the history.
    pub(crate) fn events_after(&self, revision: u64, most: usize) -> Result<Vec<Arc<Event>>, Compacted> {
        let rows = read(&self.rows);
        if revision < rows.floor {
            return Err(Compacted(rows.floor));
        }
        let from = rows.history.partition_point(|event| event.revision <= revision);
        Ok(rows.history.range(from..).take(most).cloned().collect())
    }

    pub(super) fn put(
        &self,
        key: &str,
        object: &Arc<Object>,
        previous: Option<Arc<Object>>,
        revision: u64,
        most: usize,
    ) {
        let mut rows = write(&self.rows);
        rows.insert(key, object);
        rows.remember(Event::new(key, object, previous, revision, false), most);
    }

    pub(super) fn remove(&self, key: &str, object: &Arc<Object>, previous: Arc<Object>, revision: u64, most: usize) {
        let mut rows = write(&self.rows);
        rows.take(key);
        rows.remember(Event::new(key, object, Some(previous), revision, true), most);
    }

    /// Restores an object without an event.
    pub(super) fn restore(&self, key: &str, object: &Arc<Object>) {
        write(&self.rows).insert(key, object);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Notifies watches and derived data of a write at `revision`.
    pub(super) fn publish(&self, revision: u64) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.changed.send_replace(revision);
    }

    pub(super) fn compact(&self, revision: u64) {
        let mut rows = write(&self.rows);
        rows.history.clear();
        rows.history_bytes = 0;
        rows.floor = revision;
    }
}

impl Rows {
    fn insert(&mut self, key: &str, object: &Arc<Object>) {
        self.take(key);
        for owner in &object.owners {
            self.owned.entry(owner.clone()).or_default().insert(key.into());
        }
        self.objects.insert(key.into(), Arc::clone(object));
    }

    fn take(&mut self, key: &str) {
        let Some(before) = self.objects.remove(key) else { return };
        for owner in &before.owners {
            if let Some(keys) = self.owned.get_mut(owner) {
                keys.remove(key);
                if keys.is_empty() {
                    self.owned.remove(owner);
                }
            }
        }
    }

    fn remember(&mut self, event: Arc<Event>, most: usize) {
        self.history_bytes = self.history_bytes.saturating_add(event.size());
        self.history.push_back(event);
        while self.history.len() > most || self.history_bytes > HISTORY_BYTES {
            let Some(oldest) = self.history.pop_front() else { break };
            self.history_bytes = self.history_bytes.saturating_sub(oldest.size());
            self.floor = oldest.revision;
        }
    }

    fn range<'a>(&'a self, part: &'a Part<'_>) -> impl Iterator<Item = (&'a str, &'a Arc<Object>)> {
        let from = match part.after {
            Some(key) => Bound::Excluded(key),
            None => Bound::Included(part.prefix),
        };
        self.objects
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(part.prefix))
            .map(|(key, object)| (&**key, object))
    }

    /// Returns a past range: the present with all later changes undone.
    fn range_at(&self, part: &Part<'_>, revision: u64) -> BTreeMap<Box<str>, Arc<Object>> {
        let mut past: BTreeMap<Box<str>, Arc<Object>> =
            self.range(part).map(|(key, object)| (key.into(), Arc::clone(object))).collect();
        let wanted = |key: &str| key.starts_with(part.prefix) && part.after.is_none_or(|after| key > after);
        let later = self.history.iter().rev().take_while(|event| event.revision > revision);
        for event in later.filter(|event| wanted(&event.key)) {
            match &event.previous {
                Some(previous) => past.insert(event.key.clone(), Arc::clone(previous)),
                None => past.remove(&event.key),
            };
        }
        past
    }
}

fn collect<'a>(
    entries: impl Iterator<Item = (&'a str, &'a Arc<Object>)>,
    part: &Part<'_>,
    revision: u64,
    matches: impl Fn(&Object) -> bool,
) -> Listing {
    let mut listing = Listing { revision, items: Vec::new(), more_after: None, remaining: 0 };
    let mut last: Option<&str> = None;
    for (key, object) in entries.filter(|(_, object)| matches(object)) {
        if part.limit != 0 && listing.items.len() >= part.limit {
            listing.more_after = last.map(Into::into);
            listing.remaining = listing.remaining.saturating_add(1);
            continue;
        }
        last = Some(key);
        listing.items.push(Arc::clone(object));
    }
    listing
}

pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
