//! The clock that interrupts guests: a thread that moves the engine's epoch about once a millisecond while any guest
//! runs, and sleeps while none does, so that an idle sidecar wakes nobody.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use wasmtime::EngineWeak;

/// The time between two epochs: how long a spinning guest holds its thread before its neighbours are served.
pub(super) const EPOCH: Duration = Duration::from_millis(1);

/// Epochs without a running guest before the thread sleeps. Waking it costs a system call, which back-to-back short
/// calls should not pay each time.
const IDLE_EPOCHS: u32 = 100;

#[derive(Default)]
struct State {
    running: AtomicUsize,
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

    fn sleep(&self) {
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

    pub(crate) fn running(&self) -> Running {
        self.state.running.fetch_add(1, Ordering::SeqCst);
        if self.state.asleep.load(Ordering::SeqCst) {
            self.state.wake();
        }
        Running { state: Arc::clone(&self.state) }
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

fn tick(state: &State, engine: &EngineWeak) {
    let mut idle = 0;
    while !state.stopped.load(Ordering::SeqCst) {
        std::thread::sleep(EPOCH);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
        if state.running.load(Ordering::SeqCst) > 0 {
            idle = 0;
            continue;
        }
        idle += 1;
        if idle >= IDLE_EPOCHS {
            // Only the weak handle is kept while asleep: this thread must not be what keeps an engine alive.
            drop(engine);
            state.sleep();
            idle = 0;
        }
    }
}

/// A guest that runs; epochs pass while any such value lives.
#[must_use = "epochs stop when this is dropped"]
pub struct Running {
    state: Arc<State>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.state.running.fetch_sub(1, Ordering::SeqCst);
    }
}
