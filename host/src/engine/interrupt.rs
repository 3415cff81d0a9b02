//! What a guest does when an epoch has passed: it lets its neighbours go first.
//!
//! Threat: guests that spin, many of them, each yielding as it should: with eight in a thread's queue, whoever else is in it
//! waits for eight milliseconds at each of its steps. So a guest that has run for a whole epoch goes on only in its turn, and
//! there are fewer turns than threads. A guest that waits in a host call, or ends within its first millisecond, needs none.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{Store, UpdateDeadline};

/// Turns for guests that run on and on: one less than there are processors, so that one is free for all others.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Arc::new(Semaphore::new(processors.saturating_sub(1).max(1))))
    }

    /// As [`yield_each_epoch`], and goes on only in turn.
    pub(super) fn take_in<T: 'static>(&self, store: &mut Store<T>) -> Turn {
        let (turns, turn) = (Arc::clone(&self.0), Turn::default());
        let next = turn.clone();
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            let (turns, turn) = (Arc::clone(&turns), next.clone());
            let going_on = async move {
                tokio::task::yield_now().await;
                turn.hold(turns.acquire_owned().await.ok());
            };
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(going_on)))
        });
        turn
    }
}

/// The turn of one guest: held while it runs, and never while it waits.
#[derive(Clone, Debug, Default)]
pub struct Turn(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Turn {
    fn hold(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }

    /// Lets the next one go on: the guest has stopped running, for whatever reason.
    pub(super) fn pass_on(&self) {
        self.hold(None);
    }
}

/// Makes a store's guest yield its thread at each epoch, about once a millisecond, for as long as it runs.
///
/// It yields as `tokio::task::yield_now` does: behind all tasks that are ready, and behind the driver of timers and
/// sockets. Were it only put back into the queue, a guest that spins would let the driver come to its turn at every
/// 61st epoch, and its neighbours' answers would lie there for as long.
pub fn yield_each_epoch<T: 'static>(store: &mut Store<T>) {
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))));
}
