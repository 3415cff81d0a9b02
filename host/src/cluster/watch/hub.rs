//! The stores of a host by their scope, their followers, and eviction.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::WatchSettings;
use super::budget::Budget;
use super::error::WatchError;
use super::follower::Follower;
use super::scope::Scope;
use super::store::Store;
use super::upstream::Upstream;
use crate::cluster::connect::ApiClient;
use crate::gate::FollowerPermit;
use crate::telemetry::{Audit, Sampled, chain};

/// The most collections that are watched. Each takes a connection and a task here, and a watch at the server.
const MAX_STORES: usize = 256;
/// The most stores without followers: enough for the guests of a pod that run again and again, and few enough for a
/// guest that follows one selection after the other not to leave a trail of watches at the server.
const MAX_DESERTED: usize = 16;
/// The most pages of lists that are in memory together, besides the stored objects. Four upstreams that fill their
/// stores keep a processor busy.
const MAX_PAGES: usize = 4;
/// The most long events that are in memory together while they arrive. They are rare, and a watch that waits for a slot
/// loses nothing.
const MAX_LONG_EVENTS: usize = 2;

/// All stores of one client.
pub(in crate::cluster) struct Hub {
    stores: Mutex<HashMap<Arc<str>, Entry>>,
    budget: Arc<Budget>,
    settings: WatchSettings,
    audit: Arc<dyn Audit>,
    pages: Semaphore,
    long_events: Arc<Semaphore>,
    log: Sampled,
}

struct Entry {
    store: Arc<Store>,
    upstream: AbortHandle,
    /// The time at which the last follower left.
    left: Option<Instant>,
}

impl Entry {
    /// Ends the store at once, before its task ends: the memory is needed now.
    fn end(self, why: WatchError) {
        self.upstream.abort();
        self.store.end(why);
    }
}

/// The extent of a host's shared watches at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchFigures {
    /// Watched collections, each with one watch of the server.
    pub upstreams: usize,
    /// Followers of the collections.
    pub followers: usize,
    /// Bytes of the budget in use.
    pub bytes: u64,
}

impl Hub {
    pub(in crate::cluster) fn new(settings: WatchSettings, audit: Arc<dyn Audit>) -> Arc<Self> {
        let budget = Budget::new(settings.bytes);
        let (pages, long_events) = (Semaphore::new(MAX_PAGES), Arc::new(Semaphore::new(MAX_LONG_EVENTS)));
        Arc::new(Self { stores: Mutex::default(), budget, settings, audit, pages, long_events, log: Sampled::lines() })
    }

    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(super) fn settings(&self) -> &WatchSettings {
        &self.settings
    }

    pub(super) fn audit(&self) -> Arc<dyn Audit> {
        Arc::clone(&self.audit)
    }

    /// Returns the slots for pages in memory.
    pub(super) fn pages(&self) -> &Semaphore {
        &self.pages
    }

    /// Returns the slots for long events in memory.
    pub(super) fn long_events(&self) -> &Arc<Semaphore> {
        &self.long_events
    }

    fn stores(&self) -> MutexGuard<'_, HashMap<Arc<str>, Entry>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(
        self: &Arc<Self>,
        cluster: &ApiClient,
        scope: &Scope,
        permit: FollowerPermit,
    ) -> Result<Follower, WatchError> {
        let key = scope.watch().target();
        let mut stores = self.stores();
        if !stores.contains_key(key) && stores.len() >= MAX_STORES {
            drop(stores);
            if !self.evict(None) {
                return Err(WatchError::TooMany(MAX_STORES));
            }
            stores = self.stores();
        }
        let runtime = Handle::try_current().map_err(|_| WatchError::Stopped)?;
        let entry = stores.entry(key.into()).or_insert_with(|| {
            let store = Store::new(scope.clone(), &self.budget);
            let upstream = Upstream::new(cluster.clone(), Arc::clone(self), Arc::clone(&store));
            let upstream = runtime.spawn(upstream.run()).abort_handle();
            Entry { store, upstream, left: None }
        });
        entry.left = None;
        entry.store.followers().send_modify(|count| *count = count.saturating_add(1));
        Ok(Follower::new(Arc::clone(&entry.store), Arc::clone(self), permit))
    }

    /// Counts a follower that has left.
    pub(super) fn left(&self, store: &Arc<Store>) {
        let mut stores = self.stores();
        store.followers().send_modify(|count| *count = count.saturating_sub(1));
        if *store.followers().borrow() > 0 {
            return;
        }
        if let Some(entry) = own(&mut stores, store) {
            entry.left = Some(Instant::now());
        }
        let deserted = stores.values().filter(|entry| entry.left.is_some()).count();
        drop(stores);
        if deserted > MAX_DESERTED {
            self.evict(None);
        }
    }

    /// Removes a store without followers, so that it gets none. Returns whether it was removed.
    pub(super) fn retire(&self, store: &Arc<Store>) -> bool {
        let mut stores = self.stores();
        let deserted = *store.followers().borrow() == 0;
        if deserted && own(&mut stores, store).is_some() {
            stores.remove(store.scope().watch().target());
        }
        deserted
    }

    /// Removes a store that has ended. Later followers get a new one.
    pub(super) fn forget(&self, store: &Arc<Store>) {
        let mut stores = self.stores();
        if own(&mut stores, store).is_some() {
            stores.remove(store.scope().watch().target());
        }
    }

    /// Evicts the store that has been without followers for the longest time, but not `except`. Returns whether there
    /// was one.
    pub(super) fn evict(&self, except: Option<&Arc<Store>>) -> bool {
        let mut stores = self.stores();
        let other = |entry: &Entry| except.is_none_or(|except| !Arc::ptr_eq(except, &entry.store));
        let left = |(key, entry): (&Arc<str>, &Entry)| Some((entry.left.filter(|_| other(entry))?, Arc::clone(key)));
        let Some((_, key)) = stores.iter().filter_map(left).min() else { return false };
        let Some(entry) = stores.remove(&key) else { return false };
        drop(stores);
        entry.end(WatchError::Stopped);
        true
    }

    /// Makes room in the budget for a store that is to hold `wanted` bytes: by evicting a store without followers, else
    /// by clearing histories, else by ending the largest store. Returns false if the asking store is the largest.
    pub(super) fn make_room(&self, asking: &Arc<Store>, wanted: u64) -> bool {
        self.evict(Some(asking)) || self.forget_histories() || self.end_largest(asking, wanted)
    }

    fn forget_histories(&self) -> bool {
        let stores: Vec<_> = self.stores().values().map(|entry| Arc::clone(&entry.store)).collect();
        stores.iter().filter(|store| store.forget_history()).count() > 0
    }

    /// Ends the largest store, if it holds more than `wanted`: small stores do not pay for large ones.
    fn end_largest(&self, asking: &Arc<Store>, wanted: u64) -> bool {
        let mut stores = self.stores();
        let others = stores.iter().filter(|(_, entry)| !Arc::ptr_eq(asking, &entry.store));
        let largest = others.map(|(key, entry)| (entry.store.bytes(), Arc::clone(key))).max();
        let Some((_, key)) = largest.filter(|(bytes, _)| *bytes > wanted) else { return false };
        let Some(entry) = stores.remove(&key) else { return false };
        drop(stores);
        let why = WatchError::Overflow(self.budget.ceiling());
        self.log_end(&entry.store, &why);
        entry.end(why);
        true
    }

    /// Logs that a watch has ended. Guests can cause many, so the lines are sampled.
    pub(super) fn log_end(&self, store: &Store, why: &WatchError) {
        if let Some(untold) = self.log.note() {
            let path = store.scope().shown();
            tracing::warn!(path, error = %chain(why), untold, "a watch is over");
        }
    }

    /// Returns the number of lines on watches that were not logged before, if the next one is to be.
    pub(super) fn sample_log(&self) -> Option<u64> {
        self.log.note()
    }

    pub(super) fn figures(&self) -> WatchFigures {
        let stores = self.stores();
        let followers = stores.values().map(|entry| *entry.store.followers().borrow()).sum();
        WatchFigures { upstreams: stores.len(), followers, bytes: self.budget.used() }
    }
}

/// Returns the entry of this store; another store may have its key by now.
fn own<'a>(stores: &'a mut HashMap<Arc<str>, Entry>, store: &Arc<Store>) -> Option<&'a mut Entry> {
    stores.get_mut(store.scope().watch().target()).filter(|entry| Arc::ptr_eq(&entry.store, store))
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

impl ApiClient {
    /// Follows a collection under a permit, beginning with a full replay. The first follower starts the list and watch
    /// of the server; the others share it. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the permit is for another scope, or too many collections are watched. Failures of the server come from
    /// [`Follower::read`].
    pub fn follow(&self, scope: &Scope, permit: FollowerPermit) -> Result<Follower, WatchError> {
        if permit.request() != scope.watch() {
            return Err(WatchError::Invalid("the permit is for another request".into()));
        }
        self.hub().follow(self, scope, permit)
    }

    /// Returns the extent of this client's shared watches.
    pub fn watch_figures(&self) -> WatchFigures {
        self.hub().figures()
    }
}
