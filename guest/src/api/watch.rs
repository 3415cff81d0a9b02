//! Following a collection.

use std::marker::PhantomData;
use std::time::Duration;
use std::vec;

use serde::de::DeserializeOwned;

use super::{Collection, Error, Page, Selector};
use crate::bindings::attache::pod::api as wit;
use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::io::poll::{self, Pollable};

/// Events that are taken from the host at a time.
const BATCH: u32 = 256;

/// A change in a watched collection.
///
/// A caller with a copy of the collection clears it at [`Event::Resync`], takes in and throws out what follows, and
/// trusts it from [`Event::Synced`] on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<T> {
    /// A full replay begins: at the start, and when events were missed. Objects that are not replayed are gone.
    Resync,
    /// The replay is complete.
    Synced,
    /// The object is new, has changed, or is part of the replay.
    Applied(T),
    /// The object was deleted, or is no longer selected; this is its last state.
    Deleted(T),
}

impl Collection {
    /// Follows the selected objects, beginning with a full replay. The host reconnects by itself; a slow reader is told
    /// to start over.
    ///
    /// The grant has to open both `list` and `watch`. Where it opens them for some names only, select one of these with
    /// `Selector::all().fields("metadata.name=…")`.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`], also where as many watches are open as the grant allows; [`Error::Invalid`] for a selector
    /// that is none.
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

/// Changes in a collection, in order, and the host's copy of it; made by [`Collection::watch`].
///
/// As an iterator it has no end of its own: `next` blocks in the host, at no cost, until something happens. An object
/// that cannot be read as a `T` is an error in its place; any other error is the last item.
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
    /// Returns the next event if one waits; never blocks.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]. All but [`Error::Decode`] end the watch.
    pub fn waiting(&mut self) -> Result<Option<Event<T>>, Error> {
        if self.waiting.as_slice().is_empty() && !self.over {
            let read = self.handle.read(BATCH);
            self.over = read.is_err();
            self.waiting = read?.into_iter();
        }
        self.waiting.next().map(Event::try_from).transpose()
    }

    /// Waits for the next event, for `patience` at most; `None` when there was none.
    ///
    /// # Errors
    ///
    /// As [`waiting`](Self::waiting).
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

    /// Reads one object from the host's copy: without asking the API server, and without spending the grant's rate.
    ///
    /// The copy is as new as the host's watch, as a rule some milliseconds behind the API server. The first call waits
    /// until it is whole.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]; [`Error::NotFound`] when the copy has no such object.
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

    /// As [`get`](Self::get), for a watch of all namespaces.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn get_in(&self, namespace: &str, name: &str) -> Result<T, Error> {
        Ok(serde_json::from_slice(&self.handle.get(Some(namespace), name)?)?)
    }

    /// Reads a page of at most `limit` objects (500 at most, as which 0 counts) from the host's copy, ordered by
    /// namespace and name, after the `cursor` of the page before; returns the page and the cursor of the next.
    ///
    /// # Errors
    ///
    /// Any of [`Error`].
    pub fn list(&self, limit: u32, cursor: Option<&str>) -> Result<(Page<T>, Option<String>), Error> {
        let mut page = self.handle.list(limit, cursor)?;
        let next = page.cursor.take();
        Ok((page.try_into()?, next))
    }
}

impl<T> Watch<T> {
    /// As [`get`](Self::get), and leaves the object as JSON.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
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
