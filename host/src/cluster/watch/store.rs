//! One collection as it is now, and what has changed in it lately.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use super::budget::{Budget, Held};
use super::error::WatchError;
use super::history::{Change, History};
use super::object::WatchedObject;
use super::scope::Scope;

/// Objects by their keys.
pub(super) type Objects = BTreeMap<Arc<str>, Arc<WatchedObject>>;

/// The budget is spent; what was to be stored is not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The budget is spent; this object was not taken in.
#[derive(Debug)]
pub(super) struct NoRoom(pub(super) Box<WatchedObject>);

/// Whether a store can be read.
#[derive(Debug)]
pub(super) enum Standing {
    /// It has not been whole yet.
    Filling,
    /// It is as the server was lately.
    Live,
    /// It holds nothing and will not again.
    Over(WatchError),
}

/// One collection. All who follow it share it.
#[derive(Debug)]
pub(super) struct Store {
    scope: Scope,
    state: RwLock<State>,
    moved: watch::Sender<()>,
    followers: watch::Sender<usize>,
}

/// What is in a store.
#[derive(Debug)]
pub(super) struct State {
    pub(super) objects: Objects,
    pub(super) history: History,
    pub(super) standing: Standing,
    /// The server's version of the collection.
    pub(super) version: String,
    held: Held,
}

/// A list on its way in.
#[derive(Debug)]
pub(super) struct Incoming {
    objects: Objects,
    held: Held,
}

impl Store {
    pub(super) fn new(scope: Scope, budget: &Arc<Budget>) -> Arc<Self> {
        let state = State {
            objects: Objects::new(),
            history: History::default(),
            standing: Standing::Filling,
            version: String::new(),
            held: Held::nothing(budget),
        };
        let (moved, followers) = (watch::Sender::new(()), watch::Sender::new(0));
        Arc::new(Self { scope, state: RwLock::new(state), moved, followers })
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// How many follow; changed by the hub alone.
    pub(super) fn followers(&self) -> &watch::Sender<usize> {
        &self.followers
    }

    /// Tells when there is something new to read.
    pub(super) fn moved(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    // A panic in between leaves the state whole enough to be read, so a lock's poison means nothing here.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.read().standing, Standing::Live)
    }

    /// Begins to take a list in.
    pub(super) fn incoming(&self, budget: &Arc<Budget>) -> Incoming {
        Incoming { objects: Objects::new(), held: Held::nothing(budget) }
    }

    /// Takes one object of a list in. One that is here already, in the same state, costs nothing a second time.
    pub(super) fn take_in(&self, incoming: &mut Incoming, object: WatchedObject) -> Result<(), NoRoom> {
        let state = self.read();
        let kept = state.objects.get(object.key()).filter(|known| known.is_at(&object));
        let object = match kept {
            Some(known) => Arc::clone(known),
            None if incoming.held.take(object.cost()) => Arc::new(object),
            None => return Err(NoRoom(Box::new(object))),
        };
        incoming.objects.insert(Arc::clone(object.key()), object);
        Ok(())
    }

    /// The list is whole. The first one is the store; of a later one the changes are returned that lead to it, to be
    /// applied: those that happened while nobody watched.
    pub(super) fn install(&self, incoming: Incoming, version: &str) -> VecDeque<Change> {
        let mut state = self.write();
        let changes = match state.standing {
            Standing::Filling => {
                state.objects = incoming.objects;
                state.held.absorb(incoming.held);
                state.standing = Standing::Live;
                VecDeque::new()
            }
            Standing::Live => differences(&state.objects, &incoming.objects),
            Standing::Over(_) => VecDeque::new(),
        };
        version.clone_into(&mut state.version);
        drop(state);
        self.moved.send_replace(());
        changes
    }

    /// Applies changes in their order, and takes those away that it applied: all, or those before the one for which there
    /// is no room.
    pub(super) fn apply(&self, changes: &mut VecDeque<Change>) -> Result<(), Full> {
        let mut state = self.write();
        let mut applied = Ok(());
        while let Some(change) = changes.front() {
            applied = state.apply(change.clone());
            if applied.is_err() {
                break;
            }
            changes.pop_front();
        }
        drop(state);
        self.moved.send_replace(());
        applied
    }

    /// Notes how far the server has told everything.
    pub(super) fn reached(&self, version: &str) {
        version.clone_into(&mut self.write().version);
    }

    /// Ends the store, unless it is over already: lets go of everything in it and tells its followers.
    pub(super) fn end(&self, why: WatchError) {
        let mut state = self.write();
        if matches!(state.standing, Standing::Over(_)) {
            return;
        }
        state.standing = Standing::Over(why);
        state.objects = Objects::new();
        state.history.forget();
        let held = state.held.bytes();
        state.held.give_back(held);
        drop(state);
        self.moved.send_replace(());
    }
}

impl State {
    fn apply(&mut self, change: Change) -> Result<(), Full> {
        let known = self.objects.get(change.object().key());
        match (&change, known) {
            (Change::Applied(object), Some(known)) if known.is_at(object) => return Ok(()),
            (Change::Deleted(_), None) => return Ok(()),
            _ => {}
        }
        let cost = change.object().cost();
        let kept = if matches!(change, Change::Applied(_)) { cost } else { 0 };
        self.make_room(cost.saturating_add(kept))?;
        let object = change.object();
        let before = match &change {
            Change::Applied(_) => self.objects.insert(Arc::clone(object.key()), Arc::clone(object)),
            Change::Deleted(_) => self.objects.remove(object.key()),
        };
        object.version().clone_into(&mut self.version);
        self.held.give_back(before.map_or(0, |before| before.cost()));
        let forgotten = self.history.push(change);
        self.held.give_back(forgotten);
        Ok(())
    }

    /// What is remembered for slow readers goes before what is there for all.
    fn make_room(&mut self, bytes: u64) -> Result<(), Full> {
        if self.held.take(bytes) {
            return Ok(());
        }
        let forgotten = self.history.forget();
        self.held.give_back(forgotten);
        if self.held.take(bytes) { Ok(()) } else { Err(Full) }
    }
}

/// The changes that lead from one state of a collection to another.
fn differences(from: &Objects, to: &Objects) -> VecDeque<Change> {
    let gone = from.iter().filter(|(key, _)| !to.contains_key(*key));
    let mut changes: VecDeque<_> = gone.map(|(_, object)| Change::Deleted(Arc::clone(object))).collect();
    for (key, object) in to {
        match from.get(key) {
            Some(known) if known.is_at(object) => continue,
            Some(known) if known.was_replaced_by(object) => changes.push_back(Change::Deleted(Arc::clone(known))),
            _ => {}
        }
        changes.push_back(Change::Applied(Arc::clone(object)));
    }
    changes
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

    fn fill(store: &Store, budget: &Arc<Budget>, objects: impl IntoIterator<Item = WatchedObject>) -> Vec<String> {
        let mut incoming = store.incoming(budget);
        objects.into_iter().for_each(|object| store.take_in(&mut incoming, object).unwrap());
        let mut changes = store.install(incoming, "1");
        let told = changes.iter().map(|change| match change {
            Change::Applied(object) => format!("+{}@{}", object.key(), object.version()),
            Change::Deleted(object) => format!("-{}@{}", object.key(), object.version()),
        });
        let told = told.collect();
        store.apply(&mut changes).unwrap();
        told
    }

    #[test]
    fn a_second_list_is_told_as_what_changed_since_the_first() {
        let (store, budget) = store(1 << 20);
        let first = ["a", "b", "c", "d"].map(|name| object(name, "u", 1));
        assert!(fill(&store, &budget, first).is_empty() && store.is_live());
        let used = budget.used();
        let second = [object("a", "u", 1), object("b", "u", 2), object("c", "other", 3), object("e", "u", 4)];
        assert_eq!(fill(&store, &budget, second), ["-d@1", "+b@2", "-c@1", "+c@3", "+e@4"]);
        assert_eq!(store.read().objects.len(), 4);
        assert!(budget.used() > used, "history costs");
        store.end(WatchError::Stopped);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_changes_nothing_is_not_told() {
        let (store, budget) = store(1 << 20);
        fill(&store, &budget, [object("a", "u", 5)]);
        let mut changes: VecDeque<_> =
            [Change::Applied(object("a", "u", 5).into()), Change::Deleted(object("b", "u", 1).into())].into();
        store.apply(&mut changes).unwrap();
        assert_eq!(store.read().history.next(), 0);
    }

    #[test]
    fn history_goes_before_objects_and_then_there_is_no_room() {
        let cost = object("a0", "u", 1).cost();
        let (store, budget) = store(cost * 6);
        fill(&store, &budget, []);
        let change = |number: u32| Change::Applied(Arc::new(object(&format!("a{number}"), "u", 1)));
        let mut changes: VecDeque<_> = (0..8).map(change).collect();
        assert_eq!(store.apply(&mut changes), Err(Full));
        let state = store.read();
        assert_eq!((state.objects.len(), changes.len()), (5, 3), "one place more is the last change's");
        assert!(budget.used() <= budget.ceiling());
    }

    #[test]
    fn a_list_that_does_not_fit_leaves_the_budget_as_it_was() {
        let (store, budget) = store(object("a0", "u", 1).cost() * 2);
        let mut incoming = store.incoming(&budget);
        store.take_in(&mut incoming, object("a0", "u", 1)).unwrap();
        store.take_in(&mut incoming, object("a1", "u", 1)).unwrap();
        assert!(store.take_in(&mut incoming, object("a2", "u", 1)).is_err());
        drop(incoming);
        assert_eq!(budget.used(), 0);
    }
}
