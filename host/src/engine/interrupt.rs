//! The turns of guests after an epoch: neighbours go first.
//!
//! Threat: many guests that spin, each yielding as it should. With eight in a thread's queue, every other task there
//! waits for eight milliseconds at each of its steps. So a guest that has run for a whole epoch waits for its turn (see
//! `turns`), and there are fewer turns than threads. A guest that mostly waits needs no turn: epochs that pass while it
//! waits are not its own. The time that a guest runs between two waits is its debt, and the debt decays slowly. A guest
//! that briefly waits before each epoch therefore needs a turn, as a spinning guest does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::{Store, UpdateDeadline};

use super::ticker::{Clock, EPOCH};
use super::turns::{Permit, Turns};

/// To stay free of debt, a guest must be idle for 8/9 of the time. The calls that an extension may have at once by
/// default (16) then fill less than two threads.
const FORGOTTEN: u32 = 8;

impl Turns {
    /// Makes a store's guest yield its thread at each epoch, and continue only in turn.
    ///
    /// The guest yields as `tokio::task::yield_now` does: behind all tasks that are ready, and behind the driver of
    /// timers and sockets. If it were only put back into the queue, a spinning guest would let the driver run at every
    /// 61st epoch only, and its neighbours' responses would wait for as long.
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

/// The turn of one guest, which it holds only while it runs. Epochs pass while the guest runs.
#[derive(Clone, Debug)]
pub struct CpuTurn {
    run: Arc<Mutex<Run>>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Run {
    permit: Option<Permit>,
    /// The start of the current run; `None` while the guest waits.
    since: Option<Instant>,
    /// The end of the last run.
    stopped: Option<Instant>,
    /// The guest's debt: the time that it has run without a turn, less the decay while it waited.
    owed: Duration,
}

impl CpuTurn {
    fn new(clock: Clock) -> Self {
        Self { run: Arc::default(), clock }
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a turn, which clears the debt.
    fn hold(&self, permit: Option<Permit>) {
        let mut run = self.run();
        run.permit = permit;
        run.owed = Duration::ZERO;
    }

    /// Returns whether the guest's debt, including the current run, is less than an epoch.
    fn owes_none(&self) -> bool {
        let run = self.run();
        run.since.is_some_and(|since| run.owed.saturating_add(since.elapsed()) < EPOCH)
    }

    /// Records that the guest runs, until the returned guard is dropped.
    pub(super) fn begin(&self) -> EpochGuard<'_> {
        self.clock.begin();
        let (mut run, now) = (self.run(), Instant::now());
        let waited = run.stopped.map_or(Duration::ZERO, |stopped| now.saturating_duration_since(stopped));
        run.owed = run.owed.saturating_sub(waited / FORGOTTEN);
        run.since = Some(now);
        drop(run);
        EpochGuard(self)
    }

    /// Frees the turn for the next guest, because this one has stopped running, for whatever reason.
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

/// The mark of a guest that runs on this thread.
pub(super) struct EpochGuard<'a>(&'a CpuTurn);

impl Drop for EpochGuard<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}
