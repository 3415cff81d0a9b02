//! The store of the API server: the objects of each type, and their recent changes.
//!
//! One writer at a time gives every change its resource version. Readers of a type wait only while a finished object is
//! put in its slot. History is bounded. A watch or a continued list from before it is `Expired`, as with a real server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde_json::Value;

use crate::model::collection::{Collection, Compacted, Listing, Part, read, write};
use crate::model::object::Object;
use crate::model::resources::Type;
use crate::model::status::ApiError;
use crate::model::versions;

/// The largest object, in bytes: etcd's limit for one request.
const OBJECT_BYTES: usize = 3 << 19;

/// The objects of all types and the counter of changes.
#[derive(Debug)]
pub(crate) struct Store {
    writer: Mutex<()>,
    revision: AtomicU64,
    collections: RwLock<HashMap<String, Arc<Collection>>>,
    bytes: AtomicUsize,
    most_bytes: usize,
    most_events: usize,
}

/// The decision about an object.
pub(crate) enum Change {
    /// The object stays as it is; the client gets this one.
    Keep(Arc<Object>),
    /// The object is replaced.
    Put(Value),
    /// The object is removed.
    Remove,
}

/// The result of a write.
pub(crate) enum Written {
    Kept(Arc<Object>),
    Created(Arc<Object>),
    Updated(Arc<Object>),
    Removed(Arc<Object>),
}

impl Written {
    /// Returns the object as it is now, or as it last was.
    pub(crate) fn object(self) -> Arc<Object> {
        match self {
            Self::Kept(object) | Self::Created(object) | Self::Updated(object) | Self::Removed(object) => object,
        }
    }
}

impl Store {
    /// Makes an empty store that holds at most `most_bytes` of objects and keeps the last `most_events` changes of each
    /// type.
    pub(crate) fn new(most_bytes: usize, most_events: usize) -> Self {
        Self {
            writer: Mutex::new(()),
            revision: AtomicU64::new(1),
            collections: RwLock::default(),
            bytes: AtomicUsize::new(0),
            most_bytes,
            most_events,
        }
    }

    /// Returns the revision of the newest change.
    pub(crate) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Returns the table of a type; all versions of a type share one.
    pub(crate) fn collection(&self, of: &Type) -> Arc<Collection> {
        let (_, name) = versions::kept(of);
        if let Some(found) = read(&self.collections).get(&name) {
            return Arc::clone(found);
        }
        Arc::clone(write(&self.collections).entry(name).or_insert_with(|| Arc::new(Collection::new())))
    }

    /// Changes the object at `key` by the decision of `change`. No other write runs meanwhile. `change` may read the
    /// store, but not write.
    ///
    /// # Errors
    /// Returns the error of `change`, or that the store is full; nothing is changed then.
    pub(crate) fn write(
        &self,
        of: &Type,
        key: &str,
        change: impl FnOnce(Option<&Arc<Object>>) -> Result<Change, ApiError>,
    ) -> Result<Written, ApiError> {
        let collection = self.collection(of);
        let _turn = self.turn();
        let before = collection.get(key);
        let revision = self.revision().saturating_add(1);
        match change(before.as_ref())? {
            Change::Keep(object) => Ok(Written::Kept(object)),
            Change::Put(value) => {
                let object = Arc::new(Object::build(of, &value, revision));
                self.account(before.as_deref(), &object)?;
                collection.put(key, &object, before.clone(), revision, self.most_events);
                self.publish(&collection, revision);
                Ok(if before.is_some() { Written::Updated(object) } else { Written::Created(object) })
            }
            Change::Remove => {
                let Some(before) = before else {
                    return Err(ApiError::internal("an object vanished while it was deleted"));
                };
                self.bytes.fetch_sub(before.size(), Ordering::Relaxed);
                let object = Arc::new(before.renumbered(revision));
                collection.remove(key, &object, before, revision, self.most_events);
                self.publish(&collection, revision);
                Ok(Written::Removed(object))
            }
        }
    }

    /// Restores an object with its former revision, as from a backup. Watches get no event.
    pub(crate) fn restore(&self, of: &Type, key: &str, value: &Value, revision: u64) {
        let collection = self.collection(of);
        let _turn = self.turn();
        let object = Arc::new(Object::build(of, value, revision));
        self.bytes.fetch_add(object.size(), Ordering::Relaxed);
        collection.restore(key, &object);
        self.revision.fetch_max(revision, Ordering::AcqRel);
    }

    /// Drops the history of every type, as a compaction does.
    pub(crate) fn compact(&self) {
        let _turn = self.turn();
        let revision = self.revision();
        for collection in read(&self.collections).values() {
            collection.compact(revision);
        }
    }

    /// Counts a change without an object, such as a compaction or a lease of the server itself.
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

    /// Publishes a revision. Readers see it only once the change is in its table and the watches are notified. So
    /// neither a list nor a bookmark ever claims a revision whose changes it lacks.
    fn publish(&self, collection: &Collection, revision: u64) {
        collection.publish(revision);
        self.revision.store(revision, Ordering::Release);
    }

    /// Returns a part of the collection's objects.
    ///
    /// # Errors
    /// [`Compacted`] when the revision is older than the history.
    pub(crate) fn list(
        &self,
        collection: &Collection,
        part: &Part<'_>,
        matches: impl Fn(&Object) -> bool,
    ) -> Result<Listing, Compacted> {
        collection.list(|| self.revision(), part, matches)
    }
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
        let collection = store.collection(&config_maps());
        let listing = store.list(&collection, part, |_| true).unwrap();
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
        let collection = store.collection(&config_maps());
        let listing = store.list(&collection, &part, |_| true).unwrap();
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
        let collection = store.collection(&config_maps());
        assert_eq!(collection.events_after(first, 10).unwrap_err().0, second);
        assert_eq!(collection.events_after(second, 10).unwrap().len(), 2);
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
