//! One collection as it is now, and its latest changes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use super::budget::{Budget, Held};
use super::error::WatchError;
use super::history::{Change, History};
use super::object::WatchedObject;
use super::scope::Scope;

/// Objects by their keys.
pub(super) type Objects = BTreeMap<Arc<str>, Kept>;

/// An object of a store.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) object: Arc<WatchedObject>,
    /// The number of the list that last had the object.
    list: u64,
}

/// The budget is spent, and an object was not stored. With it, the store would hold this many bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full(pub(super) u64);

/// The phase of a store.
#[derive(Debug)]
pub(super) enum Phase {
    /// The first list is not complete.
    Filling,
    /// The store has the state of the server, with the delay of a watch.
    Live,
    /// The store has ended and is empty.
    Over(WatchError),
}

/// One collection, shared by all its followers.
#[derive(Debug)]
pub(super) struct Store {
    scope: Scope,
    state: RwLock<State>,
    moved: watch::Sender<()>,
    followers: watch::Sender<usize>,
}

/// The content of a store.
#[derive(Debug)]
pub(super) struct State {
    pub(super) objects: Objects,
    pub(super) history: History,
    pub(super) phase: Phase,
    /// The server's version of the collection: nothing in the store is older.
    pub(super) version: String,
    /// The number of lists so far.
    lists: u64,
    held: Held,
}

impl Store {
    pub(super) fn new(scope: Scope, budget: &Arc<Budget>) -> Arc<Self> {
        let state = State {
            objects: Objects::new(),
            history: History::default(),
            phase: Phase::Filling,
            version: String::new(),
            lists: 0,
            held: Held::nothing(budget),
        };
        let (moved, followers) = (watch::Sender::new(()), watch::Sender::new(0));
        Arc::new(Self { scope, state: RwLock::new(state), moved, followers })
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns the number of followers, which only the hub changes.
    pub(super) fn followers(&self) -> &watch::Sender<usize> {
        &self.followers
    }

    /// Returns a channel that changes when there is something new to read.
    pub(super) fn moved(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    // A panic under the lock leaves the state readable, so poison is ignored.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.read().phase, Phase::Live)
    }

    /// Begins a list, the first or a later one. Objects of a list that broke off stay.
    pub(super) fn begin_list(&self) {
        let mut state = self.write();
        state.lists = state.lists.saturating_add(1);
    }

    /// Stores one object of a list in place of its earlier state, so that a list needs memory only for what it changes.
    /// Followers of a live store get the change.
    pub(super) fn take_in(&self, object: &Arc<WatchedObject>) -> Result<(), Full> {
        self.write().take_in(object)
    }

    /// Ends a list at this version, and removes objects that the list did not have.
    pub(super) fn end_list(&self, version: &str) {
        let mut state = self.write();
        state.remove_unlisted();
        version.clone_into(&mut state.version);
        if matches!(state.phase, Phase::Filling) {
            state.phase = Phase::Live;
        }
        drop(state);
        self.wake();
    }

    /// Wakes the followers that wait for something to read.
    pub(super) fn wake(&self) {
        self.moved.send_replace(());
    }

    /// Applies changes in the order of the server and removes them from `changes`: all, or those before the one for
    /// which there is no room.
    pub(super) fn apply(&self, changes: &mut VecDeque<Change>) -> Result<(), Full> {
        let mut state = self.write();
        let mut applied = Ok(());
        while let Some(change) = changes.front() {
            applied = state.apply(change);
            if applied.is_err() {
                break;
            }
            change.object().version().clone_into(&mut state.version);
            changes.pop_front();
        }
        drop(state);
        self.wake();
        applied
    }

    /// Returns the bytes that the store holds.
    pub(super) fn bytes(&self) -> u64 {
        self.read().held.bytes()
    }

    /// Clears the history. Returns whether there was any.
    pub(super) fn forget_history(&self) -> bool {
        let mut state = self.write();
        let forgotten = state.history.forget();
        state.held.give_back(forgotten);
        forgotten > 0
    }

    /// Sets the version of a bookmark, up to which the server has sent all events.
    pub(super) fn bookmark(&self, version: &str) {
        version.clone_into(&mut self.write().version);
    }

    /// Ends the store, unless it has ended: frees its content and wakes its followers.
    pub(super) fn end(&self, why: WatchError) {
        let mut state = self.write();
        if matches!(state.phase, Phase::Over(_)) {
            return;
        }
        state.phase = Phase::Over(why);
        state.objects = Objects::new();
        state.history.forget();
        let held = state.held.bytes();
        state.held.give_back(held);
        drop(state);
        self.wake();
    }
}

impl State {
    fn take_in(&mut self, object: &Arc<WatchedObject>) -> Result<(), Full> {
        let known = self.objects.get(object.key()).map(|known| Arc::clone(&known.object));
        if let Some(known) = known.filter(|known| known.was_replaced_by(object)) {
            self.remove(&known);
        }
        self.put(object)
    }

    fn apply(&mut self, change: &Change) -> Result<(), Full> {
        match change {
            Change::Applied(object) => return self.put(object),
            Change::Deleted(object) => self.remove(object),
        }
        Ok(())
    }

    fn put(&mut self, object: &Arc<WatchedObject>) -> Result<(), Full> {
        // The end of the store has given back its bytes.
        if matches!(self.phase, Phase::Over(_)) {
            return Ok(());
        }
        let list = self.lists;
        let mut before = 0;
        if let Some(known) = self.objects.get_mut(object.key()) {
            known.list = list;
            before = known.object.cost();
            if known.object.is_at(object) {
                return Ok(());
            }
        }
        self.exchange(before, object.cost())?;
        self.objects.insert(Arc::clone(object.key()), Kept { object: Arc::clone(object), list });
        self.remember(Change::Applied(Arc::clone(object)));
        Ok(())
    }

    fn remove(&mut self, object: &Arc<WatchedObject>) {
        let Some(known) = self.objects.remove(object.key()) else { return };
        self.held.give_back(known.object.cost());
        self.remember(Change::Deleted(Arc::clone(object)));
    }

    fn remove_unlisted(&mut self) {
        let unlisted = self.objects.values().filter(|known| known.list != self.lists);
        let unlisted: Vec<_> = unlisted.map(|known| Arc::clone(&known.object)).collect();
        unlisted.iter().for_each(|object| self.remove(object));
    }

    /// Adds a change to the history. Without room for it, followers start again.
    fn remember(&mut self, change: Change) {
        if matches!(self.phase, Phase::Filling) {
            return;
        }
        let forgotten =
            if self.held.take(change.object().cost()) { self.history.push(change) } else { self.history.pass_over() };
        self.held.give_back(forgotten);
    }

    /// Holds `after` bytes in place of `before`. Without room, the history goes first.
    fn exchange(&mut self, before: u64, after: u64) -> Result<(), Full> {
        if self.held.exchange(before, after) {
            return Ok(());
        }
        let forgotten = self.history.forget();
        self.held.give_back(forgotten);
        if self.held.exchange(before, after) {
            return Ok(());
        }
        Err(Full(self.held.bytes().saturating_sub(before).saturating_add(after)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::policy::ApiRequest;

    fn object(name: &str, uid: &str, version: u32) -> WatchedObject {
        let text = format!(r#"{{"metadata":{{"name":"{name}","uid":"{uid}","resourceVersion":"{version}"}}}}"#);
        WatchedObject::read(text.as_bytes()).unwrap()
    }

    fn store(bytes: u64) -> (Arc<Store>, Arc<Budget>) {
        let scope = Scope::of(ApiRequest::builder().resource("", "v1", "nodes")).unwrap();
        let budget = Budget::new(bytes);
        (Store::new(scope, &budget), budget)
    }

    fn list(store: &Store, version: &str, objects: impl IntoIterator<Item = WatchedObject>) {
        store.begin_list();
        objects.into_iter().for_each(|object| store.take_in(&Arc::new(object)).unwrap());
        store.end_list(version);
    }

    /// The changes that are remembered.
    fn told(store: &Store) -> Vec<String> {
        let state = store.read();
        let changes = (state.history.first()..).map_while(|number| state.history.at(number));
        let told = changes.map(|change| match change {
            Change::Applied(object) => format!("+{}@{}", object.key(), object.version()),
            Change::Deleted(object) => format!("-{}@{}", object.key(), object.version()),
        });
        told.collect()
    }

    #[test]
    fn a_second_list_is_told_as_what_changed_since_the_first() {
        let (store, budget) = store(1 << 20);
        list(&store, "1", ["a", "b", "c", "d"].map(|name| object(name, "u", 1)));
        assert!(told(&store).is_empty() && store.is_live());
        let used = budget.used();
        let second = [object("a", "u", 1), object("b", "u", 2), object("c", "other", 3), object("e", "u", 4)];
        list(&store, "9", second);
        assert_eq!(told(&store), ["+b@2", "-c@1", "+c@3", "+e@4", "-d@1"]);
        assert_eq!(store.read().objects.len(), 4);
        assert_eq!(store.read().version, "9", "the list's, and not that of an object in it");
        assert!(budget.used() > used, "history costs");
        store.end(WatchError::Stopped);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_list_that_is_begun_anew_takes_back_what_the_broken_one_had_alone() {
        let (store, budget) = store(1 << 20);
        let take_in = |name: &str| store.take_in(&Arc::new(object(name, "u", 1))).unwrap();
        store.begin_list();
        take_in("a");
        take_in("b");
        list(&store, "2", [object("b", "u", 1)]);
        assert_eq!(store.read().objects.keys().map(|key| &**key).collect::<Vec<_>>(), ["b"]);
        assert_eq!(budget.used(), object("b", "u", 1).cost());
        store.begin_list();
        take_in("c");
        list(&store, "3", [object("b", "u", 1)]);
        assert_eq!(told(&store), ["+c@1", "-c@1"]);
    }

    #[test]
    fn a_list_in_which_everything_has_changed_needs_no_more_room_than_it_takes() {
        let names = ["a", "b", "c"];
        let (store, budget) = store(object("a", "u", 1).cost() * 3);
        list(&store, "1", names.map(|name| object(name, "u", 1)));
        list(&store, "2", names.map(|name| object(name, "u", 2)));
        assert_eq!(budget.used(), budget.ceiling());
        let state = store.read();
        assert!(state.objects.values().all(|kept| kept.object.version() == "2"));
        assert_eq!(
            (state.history.first(), state.history.next()),
            (3, 3),
            "who has read three changes less starts over"
        );
    }

    #[test]
    fn what_changes_nothing_is_not_told() {
        let (store, _) = store(1 << 20);
        list(&store, "1", [object("a", "u", 5)]);
        let mut changes: VecDeque<_> =
            [Change::Applied(object("a", "u", 5).into()), Change::Deleted(object("b", "u", 1).into())].into();
        store.apply(&mut changes).unwrap();
        assert_eq!(store.read().history.next(), 0);
    }

    #[test]
    fn history_goes_before_objects_and_then_there_is_no_room() {
        let cost = object("a0", "u", 1).cost();
        let (store, budget) = store(cost * 6);
        list(&store, "1", []);
        let change = |number: u32| Change::Applied(Arc::new(object(&format!("a{number}"), "u", 1)));
        let mut changes: VecDeque<_> = (0..8).map(change).collect();
        assert_eq!(store.apply(&mut changes), Err(Full(cost * 7)));
        let state = store.read();
        assert_eq!((state.objects.len(), changes.len()), (6, 2), "all of it is objects'");
        assert!(budget.used() <= budget.ceiling());
    }

    #[test]
    fn a_list_that_does_not_fit_is_within_the_budget_and_gives_it_back() {
        let (store, budget) = store(object("a0", "u", 1).cost() * 2);
        store.begin_list();
        let take_in = |name: &str| store.take_in(&Arc::new(object(name, "u", 1)));
        assert_eq!(
            [take_in("a0"), take_in("a1"), take_in("a2")],
            [Ok(()), Ok(()), Err(Full(budget.ceiling() / 2 * 3))]
        );
        assert_eq!(budget.used(), budget.ceiling());
        store.end(WatchError::Stopped);
        assert_eq!((take_in("a3"), budget.used()), (Ok(()), 0));
    }
}
