//! The stores of a host by what they hold, who follows them, and which are given up.

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

/// The most collections that are watched. Each is a connection and a task here, and a watch at the server.
const MAX_STORES: usize = 256;
/// The most of them that go on with nobody following: enough for the guests of a pod that run again and again, and few
/// enough that a guest which follows one selection after the other leaves no trail of watches at the server.
const MAX_DESERTED: usize = 16;
/// The most pages of lists that are in memory together, besides what is stored of them: four upstreams that fill their
/// stores keep a processor busy.
const MAX_PAGES: usize = 4;
/// The most long events that are in memory together while they come in. They are rare, and a watch that waits for its
/// turn loses nothing.
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
    /// Since when nobody follows.
    left: Option<Instant>,
}

impl Entry {
    /// Ends it at once: its memory is wanted now, not when its task comes to its end.
    fn end(self, why: WatchError) {
        self.upstream.abort();
        self.store.end(why);
    }
}

/// How much a host watches at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchFigures {
    /// Collections that are watched, each by one watch of the server.
    pub upstreams: usize,
    /// Those who follow them.
    pub followers: usize,
    /// Bytes of the budget that are held.
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

    /// A place for each page that is in memory.
    pub(super) fn pages(&self) -> &Semaphore {
        &self.pages
    }

    /// A place for each long event that is in memory.
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
            if !self.relieve(None) {
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

    /// One follower less.
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
            self.relieve(None);
        }
    }

    /// Takes a store out that nobody follows, so that nobody will. Whether it did.
    pub(super) fn retire(&self, store: &Arc<Store>) -> bool {
        let mut stores = self.stores();
        let deserted = *store.followers().borrow() == 0;
        if deserted && own(&mut stores, store).is_some() {
            stores.remove(store.scope().watch().target());
        }
        deserted
    }

    /// Takes a store out that is over: who follows from now on has a new one.
    pub(super) fn forget(&self, store: &Arc<Store>) {
        let mut stores = self.stores();
        if own(&mut stores, store).is_some() {
            stores.remove(store.scope().watch().target());
        }
    }

    /// Gives the store up that nobody follows for the longest time, but not `except`. Whether there was one.
    pub(super) fn relieve(&self, except: Option<&Arc<Store>>) -> bool {
        let mut stores = self.stores();
        let other = |entry: &Entry| except.is_none_or(|except| !Arc::ptr_eq(except, &entry.store));
        let left = |(key, entry): (&Arc<str>, &Entry)| Some((entry.left.filter(|_| other(entry))?, Arc::clone(key)));
        let Some((_, key)) = stores.iter().filter_map(left).min() else { return false };
        let Some(entry) = stores.remove(&key) else { return false };
        drop(stores);
        entry.end(WatchError::Stopped);
        true
    }

    /// Makes room in the budget for a store that is to hold `wanted` bytes: of what nobody follows, else of what is
    /// remembered for slow readers, else of the largest store. Whether there was any; else the one that asks is the
    /// largest itself.
    pub(super) fn make_room(&self, asking: &Arc<Store>, wanted: u64) -> bool {
        self.relieve(Some(asking)) || self.forget_histories() || self.end_largest(asking, wanted)
    }

    fn forget_histories(&self) -> bool {
        let stores: Vec<_> = self.stores().values().map(|entry| Arc::clone(&entry.store)).collect();
        stores.iter().filter(|store| store.forget_history()).count() > 0
    }

    /// Ends the store that holds the most, if that is more than `wanted`: who needs little does not pay for who takes
    /// most.
    fn end_largest(&self, asking: &Arc<Store>, wanted: u64) -> bool {
        let mut stores = self.stores();
        let others = stores.iter().filter(|(_, entry)| !Arc::ptr_eq(asking, &entry.store));
        let largest = others.map(|(key, entry)| (entry.store.bytes(), Arc::clone(key))).max();
        let Some((_, key)) = largest.filter(|(bytes, _)| *bytes > wanted) else { return false };
        let Some(entry) = stores.remove(&key) else { return false };
        drop(stores);
        let why = WatchError::Overflow(self.budget.ceiling());
        self.tell_end(&entry.store, &why);
        entry.end(why);
        true
    }

    /// Tells the operator that a watch is over. Guests end as many as they begin, so of many some are told.
    pub(super) fn tell_end(&self, store: &Store, why: &WatchError) {
        if let Some(untold) = self.log.note() {
            let path = store.scope().shown();
            tracing::warn!(path, error = %chain(why), untold, "a watch is over");
        }
    }

    /// How many lines on watches were not logged before the next one, if that one is.
    pub(super) fn log(&self) -> Option<u64> {
        self.log.note()
    }

    pub(super) fn figures(&self) -> WatchFigures {
        let stores = self.stores();
        let followers = stores.values().map(|entry| *entry.store.followers().borrow()).sum();
        WatchFigures { upstreams: stores.len(), followers, bytes: self.budget.used() }
    }
}

/// The entry of this very store; another may have its place by now.
fn own<'a>(stores: &'a mut HashMap<Arc<str>, Entry>, store: &Arc<Store>) -> Option<&'a mut Entry> {
    stores.get_mut(store.scope().watch().target()).filter(|entry| Arc::ptr_eq(&entry.store, store))
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

impl ApiClient {
    /// Follows a collection for whom the permit was made, beginning with a full replay. The first who follows has the
    /// server listed and watched; all others share that. Call it in a tokio runtime.
    ///
    /// # Errors
    /// When the permit is for something else, or too many collections are watched. What goes wrong with the server is
    /// told by [`Follower::read`].
    pub fn follow(&self, scope: &Scope, permit: FollowerPermit) -> Result<Follower, WatchError> {
        if permit.request() != scope.watch() {
            return Err(WatchError::Invalid("the permit is for another request".into()));
        }
        self.hub().follow(self, scope, permit)
    }

    /// How much this client watches.
    pub fn watch_figures(&self) -> WatchFigures {
        self.hub().figures()
    }
}
