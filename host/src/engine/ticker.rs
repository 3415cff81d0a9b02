//! The clock that interrupts guests: a thread that advances the engine's epoch about once a millisecond while any
//! guest's code runs, and sleeps otherwise. A guest that waits in a host call needs no clock: its deadline is a timer
//! of its own. A thousand guests that wait for days cause no wake-ups.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::EngineWeak;

/// The time between two epochs. A spinning guest holds its thread for this long before its neighbours are served.
pub(super) const EPOCH: Duration = Duration::from_millis(1);

#[derive(Default)]
struct State {
    /// The number of guests whose code runs at this moment.
    running: AtomicUsize,
    /// The number of epochs that have passed.
    epochs: AtomicU64,
    asleep: AtomicBool,
    stopped: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl State {
    fn wake(&self) {
        // Taking the lock orders this after the sleeper's last look at `running`, so that no wake-up is lost.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    /// Waits until a guest runs.
    fn sleep(&self) {
        if self.running.load(Ordering::SeqCst) > 0 {
            return;
        }
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.asleep.store(true, Ordering::SeqCst);
        while self.running.load(Ordering::SeqCst) == 0 && !self.stopped.load(Ordering::SeqCst) {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

/// The owner of the clock's thread; dropping it ends the thread.
pub(crate) struct Ticker {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start(engine: EngineWeak) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("attache-epochs".into()).spawn(move || tick(&shared, &engine))?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// Returns a handle with which guests start and stop the clock.
    pub(super) fn clock(&self) -> Clock {
        Clock(Arc::clone(&self.state))
    }

    /// Returns the number of epochs that have passed.
    pub(super) fn epochs(&self) -> u64 {
        self.state.epochs.load(Ordering::Relaxed)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        self.state.wake();
        if let Some(thread) = self.thread.take() {
            // The thread runs no code that panics, and a failed join changes nothing for the engine that goes away.
            let _ = thread.join();
        }
    }
}

/// Advances the epoch once for each millisecond in which a guest's code runs, and at most once more. A call that
/// follows another within a millisecond mostly finds the thread awake, which saves a system call.
fn tick(state: &State, engine: &EngineWeak) {
    while !state.stopped.load(Ordering::SeqCst) {
        // Only the weak handle is held meanwhile, so that this thread does not keep the engine alive.
        state.sleep();
        std::thread::sleep(EPOCH);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
        state.epochs.fetch_add(1, Ordering::Relaxed);
    }
}

/// A handle that keeps the clock running while guests run.
#[derive(Clone)]
pub(super) struct Clock(Arc<State>);

impl Clock {
    /// Records that a guest's code starts on this thread: epochs pass until [`Clock::end`].
    pub(super) fn begin(&self) {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        if self.0.asleep.load(Ordering::SeqCst) {
            self.0.wake();
        }
    }

    /// Records that the code of one guest has stopped.
    pub(super) fn end(&self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Clock").field(&self.0.running).finish()
    }
}
