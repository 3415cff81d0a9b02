//! What a guest does when an epoch has passed: it lets its neighbours go first.
//!
//! Threat: guests that spin, many of them, each yielding as it should: with eight in a thread's queue, whoever else is in it
//! waits for eight milliseconds at each of its steps. So a guest that has run for a whole epoch goes on only in its turn (see
//! `turns`), and there are fewer turns than threads. A guest that waits in a host call, or runs for less than a millisecond between two
//! such waits, needs none: epochs that pass while it waits are not its own.

use super::ticker::EPOCH;
use super::turns::{Permit, Turns};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use wasmtime::{Store, UpdateDeadline};

impl Turns {
    /// As [`yield_each_epoch`], and goes on only in turn.
    pub(super) fn take_in<T: 'static>(&self, store: &mut Store<T>, extension: &str) -> Turn {
        let (turns, extension, turn) = (self.clone(), Arc::<str>::from(extension), Turn::default());
        let next = turn.clone();
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            if next.has_just_begun() {
                return Ok(UpdateDeadline::Continue(1));
            }
            let (turns, extension, turn) = (turns.clone(), Arc::clone(&extension), next.clone());
            let going_on = async move {
                tokio::task::yield_now().await;
                turn.hold(turns.wait(&extension).await);
            };
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(going_on)))
        });
        turn
    }
}

/// The turn of one guest: held while it runs, and never while it waits.
#[derive(Clone, Debug, Default)]
pub struct Turn(Arc<Mutex<Run>>);

#[derive(Debug, Default)]
struct Run {
    permit: Option<Permit>,
    /// When it was last let run; `None` while it waits.
    since: Option<Instant>,
}

impl Turn {
    fn run(&self) -> MutexGuard<'_, Run> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, permit: Option<Permit>) {
        self.run().permit = permit;
    }

    /// Whether the guest has run for less than an epoch since it last waited.
    fn has_just_begun(&self) -> bool {
        self.run().since.is_some_and(|since| since.elapsed() < EPOCH)
    }

    /// Notes that the guest is let run.
    pub(super) fn begin(&self) {
        self.run().since = Some(Instant::now());
    }

    /// Lets the next one go on: the guest has stopped running, for whatever reason.
    pub(super) fn pass_on(&self) {
        *self.run() = Run::default();
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
