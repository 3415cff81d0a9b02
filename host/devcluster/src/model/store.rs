//! What the API server keeps: the objects of each type, and the changes of the recent past.
//!
//! One writer at a time gives every change its place in one order (the resource version); readers of a type are held
//! up only for the moment in which a finished object is put in its place. The past is bounded: what falls out of it
//! makes a watch or a continued list `Expired`, as with a real server.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use crate::model::object::Object;
use crate::model::resources::Type;
use crate::model::status::ApiError;
use crate::model::versions;

/// The bytes of past objects that one type keeps for its watchers: enough for ten thousand pods to change once.
const HISTORY_BYTES: usize = 64 << 20;

/// The bytes of one object: as many as etcd takes in one request.
const OBJECT_BYTES: usize = 3 << 19;

/// All types' objects and the counter of changes.
#[derive(Debug)]
pub(crate) struct Store {
    writer: Mutex<()>,
    revision: AtomicU64,
    tables: RwLock<HashMap<String, Arc<Table>>>,
    bytes: AtomicUsize,
    most_bytes: usize,
    most_events: usize,
}

/// The objects of one type.
#[derive(Debug)]
pub(crate) struct Table {
    rows: RwLock<Rows>,
    changed: watch::Sender<u64>,
    /// Counts what was written or restored, so that what is made from the table can be kept until it changes.
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct Rows {
    objects: BTreeMap<Box<str>, Arc<Object>>,
    /// The keys of the objects that each owner has, by its identity.
    owned: HashMap<Box<str>, BTreeSet<Box<str>>>,
    history: VecDeque<Arc<Event>>,
    history_bytes: usize,
    /// The revision of the newest change that is forgotten.
    floor: u64,
}

/// One change of one object.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) revision: u64,
    key: Box<str>,
    /// The object after the change, or its last state under the revision of its deletion.
    pub(crate) object: Arc<Object>,
    /// The object before the change.
    pub(crate) previous: Option<Arc<Object>>,
    pub(crate) deleted: bool,
    frames: [OnceLock<Bytes>; 3],
}

/// What a watcher is told of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Added,
    Modified,
    Deleted,
}

impl Told {
    /// The word of the wire.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Told::Added => "ADDED",
            Told::Modified => "MODIFIED",
            Told::Deleted => "DELETED",
        }
    }

    /// One line of a watch.
    pub(crate) fn frame(self, json: &[u8]) -> Bytes {
        let mut line = Vec::with_capacity(json.len() + 40);
        line.extend_from_slice(br#"{"type":""#);
        line.extend_from_slice(self.word().as_bytes());
        line.extend_from_slice(br#"","object":"#);
        line.extend_from_slice(json);
        line.extend_from_slice(b"}\n");
        line.into()
    }
}

impl Event {
    /// The line that tells of this event; written once for all watchers.
    pub(crate) fn frame(&self, told: Told) -> Bytes {
        let slot = match told {
            Told::Added => &self.frames[0],
            Told::Modified => &self.frames[1],
            Told::Deleted => &self.frames[2],
        };
        slot.get_or_init(|| told.frame(self.shown(told).json())).clone()
    }

    /// The object that the watcher sees: what left a selection is seen as it was, under the number of the change.
    pub(crate) fn shown(&self, told: Told) -> Arc<Object> {
        match (&self.previous, told) {
            (Some(previous), Told::Deleted) if !self.deleted => Arc::new(previous.renumbered(self.revision)),
            _ => Arc::clone(&self.object),
        }
    }

    fn size(&self) -> usize {
        self.object.size()
    }
}

/// What is to become of an object.
pub(crate) enum Change {
    /// It stays as it is; this is what the client is told.
    Keep(Arc<Object>),
    /// It becomes this.
    Put(Value),
    /// It goes.
    Remove,
}

/// What became of an object.
pub(crate) enum Written {
    Kept(Arc<Object>),
    Created(Arc<Object>),
    Updated(Arc<Object>),
    Removed(Arc<Object>),
}

impl Written {
    /// The object as it is now, or as it last was.
    pub(crate) fn object(self) -> Arc<Object> {
        match self {
            Self::Kept(object) | Self::Created(object) | Self::Updated(object) | Self::Removed(object) => object,
        }
    }
}

/// The change asked for lies in the forgotten past; the newest forgotten revision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forgotten(pub(crate) u64);

/// A part of a type's objects, in order of their keys, all as of one revision.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) revision: u64,
    pub(crate) items: Vec<Arc<Object>>,
    /// The key of the last item, where more follow.
    pub(crate) more_after: Option<Box<str>>,
    /// How many follow.
    pub(crate) remaining: usize,
}

/// Which part is wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part<'a> {
    /// What the keys begin with: `NAMESPACE/`, or nothing.
    pub(crate) prefix: &'a str,
    /// The whole key to begin after.
    pub(crate) after: Option<&'a str>,
    /// The revision to look at; the newest if `None`.
    pub(crate) at: Option<u64>,
    /// How many items at most; 0 is all.
    pub(crate) limit: usize,
}

impl Store {
    /// An empty store that refuses to hold more than `most_bytes` of objects and forgets what is more than
    /// `most_events` changes of a type ago.
    pub(crate) fn new(most_bytes: usize, most_events: usize) -> Self {
        Self {
            writer: Mutex::new(()),
            revision: AtomicU64::new(1),
            tables: RwLock::default(),
            bytes: AtomicUsize::new(0),
            most_bytes,
            most_events,
        }
    }

    /// The number of the newest change.
    pub(crate) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// The table of a type; all versions of a type share one.
    pub(crate) fn table(&self, of: &Type) -> Arc<Table> {
        let (_, name) = versions::kept(of);
        if let Some(found) = read(&self.tables).get(&name) {
            return Arc::clone(found);
        }
        Arc::clone(write(&self.tables).entry(name).or_insert_with(|| Arc::new(Table::new())))
    }

    /// Changes the object at `key` to what `change` makes of it. `change` sees the object as nobody can change it
    /// meanwhile, and may look at the store, but not write.
    ///
    /// # Errors
    /// That of `change`, or that the store is full; nothing is changed then.
    pub(crate) fn write(
        &self,
        of: &Type,
        key: &str,
        change: impl FnOnce(Option<&Arc<Object>>) -> Result<Change, ApiError>,
    ) -> Result<Written, ApiError> {
        let table = self.table(of);
        let _turn = self.turn();
        let before = table.get(key);
        let revision = self.revision().saturating_add(1);
        match change(before.as_ref())? {
            Change::Keep(object) => Ok(Written::Kept(object)),
            Change::Put(value) => {
                let object = Arc::new(Object::build(of, &value, revision));
                self.account(before.as_deref(), &object)?;
                table.put(key, &object, before.clone(), revision, self.most_events);
                self.publish(&table, revision);
                Ok(if before.is_some() { Written::Updated(object) } else { Written::Created(object) })
            }
            Change::Remove => {
                let Some(before) = before else {
                    return Err(ApiError::internal("an object vanished while it was deleted"));
                };
                self.bytes.fetch_sub(before.size(), Ordering::Relaxed);
                let object = Arc::new(before.renumbered(revision));
                table.remove(key, &object, before, revision, self.most_events);
                self.publish(&table, revision);
                Ok(Written::Removed(object))
            }
        }
    }

    /// Puts an object back under the revision that it had, as one restores a backup. Watchers are not told.
    pub(crate) fn restore(&self, of: &Type, key: &str, value: &Value, revision: u64) {
        let table = self.table(of);
        let _turn = self.turn();
        let object = Arc::new(Object::build(of, value, revision));
        self.bytes.fetch_add(object.size(), Ordering::Relaxed);
        write(&table.rows).insert(key, &object);
        table.generation.fetch_add(1, Ordering::AcqRel);
        self.revision.fetch_max(revision, Ordering::AcqRel);
    }

    /// Forgets the past of every type, as a compaction does.
    pub(crate) fn compact(&self) {
        let _turn = self.turn();
        let revision = self.revision();
        for table in read(&self.tables).values() {
            table.compact(revision);
        }
    }

    /// Counts a change that belongs to no object, as a compaction or a lease of the server itself does.
    pub(crate) fn tick(&self) -> u64 {
        let _turn = self.turn();
        self.revision.fetch_add(1, Ordering::AcqRel).saturating_add(1)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn account(&self, before: Option<&Object>, after: &Object) -> Result<(), ApiError> {
        if after.json().len() > OBJECT_BYTES {
            return Err(ApiError::new(500, "", "etcdserver: request is too large"));
        }
        let freed = before.map_or(0, Object::size);
        let total = self.bytes.load(Ordering::Relaxed).saturating_sub(freed).saturating_add(after.size());
        if total > self.most_bytes && after.size() > freed {
            return Err(ApiError::new(500, "", "etcdserver: mvcc: database space exceeded"));
        }
        self.bytes.store(total, Ordering::Relaxed);
        Ok(())
    }

    /// Readers see the new number only once the change is in its table and its watchers know, so that neither a list
    /// nor a bookmark ever claims a revision whose changes it lacks.
    fn publish(&self, table: &Table, revision: u64) {
        table.generation.fetch_add(1, Ordering::AcqRel);
        table.changed.send_replace(revision);
        self.revision.store(revision, Ordering::Release);
    }

    /// A part of the table's objects.
    ///
    /// # Errors
    /// [`Forgotten`] when the revision is older than what is kept.
    pub(crate) fn list(
        &self,
        table: &Table,
        part: &Part<'_>,
        matches: impl Fn(&Object) -> bool,
    ) -> Result<Listing, Forgotten> {
        let rows = read(&table.rows);
        let now = self.revision();
        let revision = part.at.unwrap_or(now);
        if revision < rows.floor {
            return Err(Forgotten(rows.floor));
        }
        let newest = rows.history.back().map_or(0, |event| event.revision);
        if revision >= newest {
            return Ok(collect(rows.range(part), part, revision, matches));
        }
        let past = rows.range_at(part, revision);
        Ok(collect(past.iter().map(|(key, object)| (&**key, object)), part, revision, matches))
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

impl Table {
    fn new() -> Self {
        Self { rows: RwLock::default(), changed: watch::Sender::new(0), generation: AtomicU64::new(0) }
    }

    /// The object at `key`.
    pub(crate) fn get(&self, key: &str) -> Option<Arc<Object>> {
        read(&self.rows).objects.get(key).cloned()
    }

    /// The keys of the objects that the object of this identity owns.
    pub(crate) fn owned_by(&self, uid: &str) -> Vec<String> {
        let rows = read(&self.rows);
        rows.owned.get(uid).into_iter().flatten().map(std::string::ToString::to_string).collect()
    }

    /// Tells of changes as they come.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How often the table was written or restored.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The number of the newest change of this type.
    pub(crate) fn newest(&self) -> u64 {
        *self.changed.borrow()
    }

    /// Up to `most` changes after `revision`, oldest first.
    ///
    /// # Errors
    /// [`Forgotten`] when there were others that are not kept any more.
    pub(crate) fn events_after(&self, revision: u64, most: usize) -> Result<Vec<Arc<Event>>, Forgotten> {
        let rows = read(&self.rows);
        if revision < rows.floor {
            return Err(Forgotten(rows.floor));
        }
        let from = rows.history.partition_point(|event| event.revision <= revision);
        Ok(rows.history.range(from..).take(most).cloned().collect())
    }

    fn put(&self, key: &str, object: &Arc<Object>, previous: Option<Arc<Object>>, revision: u64, most: usize) {
        let mut rows = write(&self.rows);
        rows.insert(key, object);
        rows.remember(Event::new(key, object, previous, revision, false), most);
    }

    fn remove(&self, key: &str, object: &Arc<Object>, previous: Arc<Object>, revision: u64, most: usize) {
        let mut rows = write(&self.rows);
        rows.take(key);
        rows.remember(Event::new(key, object, Some(previous), revision, true), most);
    }

    fn compact(&self, revision: u64) {
        let mut rows = write(&self.rows);
        rows.history.clear();
        rows.history_bytes = 0;
        rows.floor = revision;
    }
}

impl Event {
    fn new(key: &str, object: &Arc<Object>, previous: Option<Arc<Object>>, revision: u64, deleted: bool) -> Arc<Self> {
        let frames = [OnceLock::new(), OnceLock::new(), OnceLock::new()];
        Arc::new(Self { revision, key: key.into(), object: Arc::clone(object), previous, deleted, frames })
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

    /// The same range as it was: the present with all later changes undone.
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

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::model::resources::built_in;

    fn config_maps() -> Type {
        built_in().into_iter().find(|of| of.kind == "ConfigMap").unwrap()
    }

    fn put(store: &Store, name: &str, text: &str) -> u64 {
        let value = json!({"metadata": {"name": name, "namespace": "demo"}, "data": {"text": text}});
        let key = format!("demo/{name}");
        store.write(&config_maps(), &key, |_| Ok(Change::Put(value))).unwrap().object().revision
    }

    fn names(store: &Store, part: &Part<'_>) -> Vec<String> {
        let table = store.table(&config_maps());
        let listing = store.list(&table, part, |_| true).unwrap();
        listing.items.iter().map(|item| item.name.to_string()).collect()
    }

    #[test]
    fn a_list_at_a_revision_shows_what_was_then() {
        let store = Store::new(1 << 20, 100);
        put(&store, "a", "1");
        let then = put(&store, "b", "1");
        put(&store, "c", "1");
        put(&store, "a", "2");
        store.write(&config_maps(), "demo/b", |_| Ok(Change::Remove)).unwrap();
        assert_eq!(names(&store, &Part::default()), ["a", "c"]);
        let part = Part { at: Some(then), prefix: "demo/", ..Part::default() };
        assert_eq!(names(&store, &part), ["a", "b"]);
        let table = store.table(&config_maps());
        let listing = store.list(&table, &part, |_| true).unwrap();
        assert_eq!(listing.items[0].value()["data"]["text"], "1");
        assert_eq!(names(&store, &Part { after: Some("demo/a"), ..part }), ["b"]);
    }

    #[test]
    fn the_past_is_bounded_and_says_so() {
        let store = Store::new(1 << 20, 2);
        let first = put(&store, "a", "1");
        let second = put(&store, "a", "2");
        put(&store, "a", "3");
        put(&store, "a", "4");
        let table = store.table(&config_maps());
        assert_eq!(table.events_after(first, 10).unwrap_err().0, second);
        assert_eq!(table.events_after(second, 10).unwrap().len(), 2);
    }

    #[test]
    fn a_full_store_refuses_to_grow_and_still_shrinks() {
        let store = Store::new(2_000, 10);
        put(&store, "a", &"x".repeat(1_000));
        let value = json!({"metadata": {"name": "b", "namespace": "demo"}, "data": {"text": "x".repeat(1_000)}});
        let refused = store.write(&config_maps(), "demo/b", |_| Ok(Change::Put(value)));
        assert_eq!(refused.err().unwrap().message, "etcdserver: mvcc: database space exceeded");
        put(&store, "a", "small");
    }

    #[test]
    fn a_deletion_is_told_under_its_own_number() {
        let store = Store::new(1 << 20, 10);
        put(&store, "a", "1");
        let written = store.write(&config_maps(), "demo/a", |_| Ok(Change::Remove)).unwrap();
        let object = written.object();
        assert_eq!(object.value()["metadata"]["resourceVersion"], object.revision.to_string());
    }
}
