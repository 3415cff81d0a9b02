//! The clock that interrupts guests: a thread that moves the engine's epoch about once a millisecond while the code of
//! any guest runs on any thread, and sleeps otherwise. A guest that waits in a host call needs no clock: the deadline
//! that ends it is a timer of its own, and a thousand that wait for days wake nobody.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::EngineWeak;

/// The time between two epochs: how long a spinning guest holds its thread before its neighbours are served.
pub(super) const EPOCH: Duration = Duration::from_millis(1);

#[derive(Default)]
struct State {
    /// Guests whose code runs at this moment.
    running: AtomicUsize,
    /// Epochs that have passed.
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

/// Owns the thread; dropping it ends the thread.
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

    /// Returns a handle for what lets guests run.
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

/// One epoch for each millisecond in which a guest's code runs, and at most one more after it. A call that follows
/// another within a millisecond mostly finds the thread awake, and saves the system call that wakes it.
fn tick(state: &State, engine: &EngineWeak) {
    while !state.stopped.load(Ordering::SeqCst) {
        // Only the weak handle is kept meanwhile: this thread must not be what keeps an engine alive.
        state.sleep();
        std::thread::sleep(EPOCH);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
        state.epochs.fetch_add(1, Ordering::Relaxed);
    }
}

/// Lets epochs pass while guests run.
#[derive(Clone)]
pub(super) struct Clock(Arc<State>);

impl Clock {
    /// Notes that a guest's code runs from now on, on this thread: epochs pass until [`Clock::end`].
    pub(super) fn begin(&self) {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        if self.0.asleep.load(Ordering::SeqCst) {
            self.0.wake();
        }
    }

    /// Notes that the code of one of the guests that run has stopped.
    pub(super) fn end(&self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Clock").field(&self.0.running).finish()
    }
}
