//! Watches of a collection.

use std::marker::PhantomData;
use std::time::Duration;
use std::vec;

use serde::de::DeserializeOwned;

use super::{Collection, Error, Page, Selector};
use crate::bindings::attache::pod::api as wit;
use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::io::poll::{self, Pollable};

/// The number of events in one read from the host: one call for a burst, and a small buffer in the guest.
const BATCH: u32 = 256;

/// A change in a watched collection; made by [`Watch`].
///
/// A guest with its own copy of the collection clears the copy at [`Event::Resync`] and then applies each event. The
/// copy is complete from [`Event::Synced`] on.
///
/// ```no_run
/// use std::collections::BTreeMap;
/// use attache_guest::api::Event;
/// use serde_json::Value;
///
/// fn apply(copy: &mut BTreeMap<String, Value>, event: Event<Value>) {
///     match event {
///         Event::Resync => copy.clear(),
///         Event::Applied(object) => drop(copy.insert(object["metadata"]["name"].to_string(), object)),
///         Event::Deleted(object) => drop(copy.remove(&object["metadata"]["name"].to_string())),
///         Event::Synced => println!("{} objects", copy.len()),
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<T> {
    /// A full replay begins, at the start or after missed events. Objects that the replay does not contain before
    /// [`Event::Synced`] no longer exist.
    Resync,
    /// The replay is complete.
    Synced,
    /// The object was added or changed, or is part of the replay. The payload is its new state.
    Applied(T),
    /// The object was deleted, or no longer matches the selector. The payload is its last state.
    Deleted(T),
}

impl Collection {
    /// Starts to watch the selected objects, beginning with a full replay.
    ///
    /// The host reconnects by itself. A guest that reads too slowly receives [`Event::Resync`] and a new replay.
    ///
    /// The grant must open both `list` and `watch`. If the grant opens them for certain names only, select one of these
    /// names with `Selector::all().fields("metadata.name=…")`.
    ///
    /// # Errors
    ///
    /// - [`Error::Denied`] if the grant does not allow the watch, or if the guest has as many watches open as the grant
    ///   allows.
    /// - [`Error::Throttled`] if the grant's rate is exceeded.
    /// - [`Error::Invalid`] if the selector is not valid.
    /// - [`Error::Unavailable`] if the host has no API server or cannot keep another watch.
    ///
    /// ```no_run
    /// use attache_guest::api::{Collection, Error, Event, ResourceType, Selector};
    /// use serde_json::Value;
    ///
    /// fn print(namespace: &str) -> Result<(), Error> {
    ///     let maps = Collection::namespaced(&ResourceType::core("v1", "configmaps"), namespace)?;
    ///     for event in maps.watch::<Value>(&Selector::labels("app=web"))? {
    ///         match event? {
    ///             Event::Applied(map) => println!("{} is now {}", map["metadata"]["name"], map["data"]),
    ///             Event::Deleted(map) => println!("{} is gone", map["metadata"]["name"]),
    ///             Event::Resync | Event::Synced => {}
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn watch<T>(&self, select: &Selector) -> Result<Watch<T>, Error> {
        let handle = self.handle.watch(&select.into())?;
        let ready = handle.subscribe();
        Ok(Watch { ready, handle, waiting: Vec::new().into_iter(), over: false, of: PhantomData })
    }
}

/// The changes of a collection, in order, and the host's copy of the collection; made by [`Collection::watch`].
///
/// The iterator ends only after an error: `next` blocks in the host, without using CPU, until there is an event. An
/// object that does not deserialise to `T` is an error in its place, and the iterator continues. Every other error is
/// the last item.
#[derive(Debug)]
pub struct Watch<T> {
    // Declared, and so dropped, before the resource that it is a child of: the host traps on the other order.
    ready: Pollable,
    handle: wit::Watch,
    waiting: vec::IntoIter<wit::WatchEvent>,
    over: bool,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Watch<T> {
    /// Returns the next event if one waits, or else `None`. Never blocks.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`]. Every case except [`Error::Decode`] ends the watch.
    pub fn waiting(&mut self) -> Result<Option<Event<T>>, Error> {
        if self.waiting.as_slice().is_empty() && !self.over {
            let read = self.handle.read(BATCH);
            self.over = read.is_err();
            self.waiting = read?.into_iter();
        }
        self.waiting.next().map(Event::try_from).transpose()
    }

    /// Waits for the next event, for at most `patience`. Returns `None` if there was none in that time, or if the watch
    /// has ended.
    ///
    /// # Errors
    ///
    /// The errors of [`waiting`](Self::waiting).
    pub fn next_within(&mut self, patience: Duration) -> Result<Option<Event<T>>, Error> {
        let nanoseconds = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let deadline = monotonic_clock::subscribe_duration(nanoseconds);
        loop {
            if let Some(event) = self.waiting()? {
                return Ok(Some(event));
            }
            if self.over || deadline.ready() {
                return Ok(None);
            }
            poll::poll(&[&self.ready, &deadline]);
        }
    }

    /// Returns one object of the host's copy. The host sends no request, and the call does not count against the
    /// grant's rate.
    ///
    /// The copy is as new as the host's watch: usually some milliseconds behind the API server. While the API server is
    /// away, the copy stays as it was. The first call waits until the copy is complete.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`]; [`Error::NotFound`] if the copy does not contain the object.
    ///
    /// ```no_run
    /// use attache_guest::api::{Collection, Error, ResourceType, Selector};
    /// use serde_json::Value;
    ///
    /// fn all_there(namespace: &str, names: &[&str]) -> Result<bool, Error> {
    ///     let maps = Collection::namespaced(&ResourceType::core("v1", "configmaps"), namespace)?;
    ///     let copy = maps.watch::<Value>(&Selector::all())?;
    ///     Ok(names.iter().all(|name| copy.get(name).is_ok()))
    /// }
    /// ```
    pub fn get(&self, name: &str) -> Result<T, Error> {
        Ok(serde_json::from_slice(&self.handle.get(None, name)?)?)
    }

    /// Returns one object of the host's copy, for a watch of all namespaces.
    ///
    /// # Errors
    ///
    /// The errors of [`get`](Self::get).
    pub fn get_in(&self, namespace: &str, name: &str) -> Result<T, Error> {
        Ok(serde_json::from_slice(&self.handle.get(Some(namespace), name)?)?)
    }

    /// Returns one page of the host's copy, sorted by namespace and name, and the cursor of the next page.
    ///
    /// A page has at most `limit` objects; 0 means 500, which is also the maximum. `cursor` is the cursor of the
    /// previous call, or `None` for the first page. The returned cursor is `None` after the last page. The pages are
    /// not from one moment: an object that is created between two calls may be missing.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`].
    ///
    /// ```no_run
    /// use attache_guest::api::{Error, Watch};
    /// use serde_json::Value;
    ///
    /// fn count(watch: &Watch<Value>) -> Result<usize, Error> {
    ///     let (mut count, mut cursor) = (0, None);
    ///     loop {
    ///         let (page, next) = watch.list(0, cursor.as_deref())?;
    ///         count += page.items.len();
    ///         match next {
    ///             Some(next) => cursor = Some(next),
    ///             None => return Ok(count),
    ///         }
    ///     }
    /// }
    /// ```
    pub fn list(&self, limit: u32, cursor: Option<&str>) -> Result<(Page<T>, Option<String>), Error> {
        let mut page = self.handle.list(limit, cursor)?;
        let next = page.cursor.take();
        Ok((page.try_into()?, next))
    }
}

impl<T> Watch<T> {
    /// Returns one object of the host's copy as JSON.
    ///
    /// # Errors
    ///
    /// The errors of [`get`](Self::get), except [`Error::Decode`].
    pub fn get_json(&self, name: &str) -> Result<Vec<u8>, Error> {
        Ok(self.handle.get(None, name)?)
    }
}

impl<T: DeserializeOwned> Iterator for Watch<T> {
    type Item = Result<Event<T>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.waiting().transpose() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            self.ready.block();
        }
    }
}

impl<T: DeserializeOwned> TryFrom<wit::WatchEvent> for Event<T> {
    type Error = Error;

    fn try_from(event: wit::WatchEvent) -> Result<Self, Error> {
        Ok(match event {
            wit::WatchEvent::Resync => Self::Resync,
            wit::WatchEvent::Synced => Self::Synced,
            wit::WatchEvent::Applied(json) => Self::Applied(serde_json::from_slice(&json)?),
            wit::WatchEvent::Deleted(json) => Self::Deleted(serde_json::from_slice(&json)?),
        })
    }
}
