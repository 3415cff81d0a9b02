//! What a guest does when an epoch has passed: it lets its neighbours go first.
//!
//! Threat: guests that spin, many of them, each yielding as it should: with eight in a thread's queue, whoever else is
//! in it waits for eight milliseconds at each of its steps. So a guest that has run for a whole epoch goes on only in
//! its turn (see `turns`), and there are fewer turns than threads. A guest that mostly waits needs none: epochs that
//! pass meanwhile are not its own. What it runs between two waits is added up and forgotten slowly, so that one that
//! waits for nothing shortly before each epoch comes to its turn as one that spins does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::{Store, UpdateDeadline};

use super::ticker::{Clock, EPOCH};
use super::turns::{Permit, Turns};

/// How much faster a guest runs up what it owes than it waits it off. With one in nine of a thread's time free, the
/// calls that an extension may have at once by default (16) do not fill two threads.
const FORGOTTEN: u32 = 8;

impl Turns {
    /// Makes a store's guest yield its thread at each epoch, and go on only in turn.
    ///
    /// It yields as `tokio::task::yield_now` does: behind all tasks that are ready, and behind the driver of timers and
    /// sockets. Were it only put back into the queue, a guest that spins would let the driver come to its turn at every
    /// 61st epoch, and its neighbours' answers would lie there for as long.
    pub(super) fn take_in<T: 'static>(&self, store: &mut Store<T>, extension: &str, clock: Clock) -> CpuTurn {
        let (turns, extension, turn) = (self.clone(), Arc::<str>::from(extension), CpuTurn::new(clock));
        let next = turn.clone();
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            if next.owes_none() {
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

/// The turn of one guest: held while it runs, and never while it waits. Epochs pass for it while it runs.
#[derive(Clone, Debug)]
pub struct CpuTurn {
    run: Arc<Mutex<Run>>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Run {
    permit: Option<Permit>,
    /// When it was last let run; `None` while it waits.
    since: Option<Instant>,
    /// When it last stopped running.
    stopped: Option<Instant>,
    /// For how long it has run without a turn, less what it has waited off.
    owed: Duration,
}

impl CpuTurn {
    fn new(clock: Clock) -> Self {
        Self { run: Arc::default(), clock }
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a turn, which pays for all that was run before.
    fn hold(&self, permit: Option<Permit>) {
        let mut run = self.run();
        run.permit = permit;
        run.owed = Duration::ZERO;
    }

    /// Returns whether the guest has run for less than an epoch since its last turn, not counting what it has waited
    /// off.
    fn owes_none(&self) -> bool {
        let run = self.run();
        run.since.is_some_and(|since| run.owed.saturating_add(since.elapsed()) < EPOCH)
    }

    /// Notes that the guest is let run, until the answer is dropped.
    pub(super) fn begin(&self) -> EpochGuard<'_> {
        self.clock.begin();
        let (mut run, now) = (self.run(), Instant::now());
        let waited = run.stopped.map_or(Duration::ZERO, |stopped| now.saturating_duration_since(stopped));
        run.owed = run.owed.saturating_sub(waited / FORGOTTEN);
        run.since = Some(now);
        drop(run);
        EpochGuard(self)
    }

    /// Lets the next one go on: the guest has stopped running, for whatever reason.
    fn pass_on(&self) {
        self.clock.end();
        let mut run = self.run();
        let now = Instant::now();
        let ran = run.since.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        run.owed = run.owed.saturating_add(ran);
        run.stopped = Some(now);
        run.permit = None;
    }
}

/// A guest that is let run on this thread.
pub(super) struct EpochGuard<'a>(&'a CpuTurn);

impl Drop for EpochGuard<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}
