//! The drivers of the caller's Tokio runtime: timers, and I/O.
//!
//! Threat: the runtime of a caller lacks a driver, so that no deadline ends a guest, or a guest's request panics the
//! host. So each call checks for the drivers that it needs before its guest runs.
//!
//! Tokio reports a missing driver only by a panic. A probe creates one timer and one socket and catches that panic,
//! once for each thread and runtime. The panic hook of the process sees the panic. A process that is built with `panic
//! = "abort"` ends there.

use std::cell::Cell;
use std::panic::catch_unwind;
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::runtime::{Handle, Id};

use super::call_error::CallError;

/// The drivers of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Drivers {
    timers: bool,
    io: bool,
}

thread_local! {
    /// The last probed runtime of those that this thread works for.
    static KNOWN: Cell<Option<(Id, Drivers)>> = const { Cell::new(None) };
}

impl Drivers {
    /// Returns the drivers of the current runtime; none without a runtime.
    pub(super) fn of_this_runtime() -> Self {
        let Ok(handle) = Handle::try_current() else { return Self { timers: false, io: false } };
        match KNOWN.get() {
            Some((known, drivers)) if known == handle.id() => drivers,
            _ => {
                let drivers = Self::probe();
                KNOWN.set(Some((handle.id(), drivers)));
                drivers
            }
        }
    }

    fn probe() -> Self {
        let timers = catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).is_ok();
        // An error of the system is no sign of a missing driver; only a panic is.
        let io = catch_unwind(|| drop(UnixDatagram::unbound())).is_ok();
        Self { timers, io }
    }

    /// Returns whether both drivers exist.
    pub(super) fn all(self) -> bool {
        self.timers && self.io
    }

    /// Fails without timers, and without I/O if the call needs it.
    pub(super) fn check(self, needs_io: bool) -> Result<(), CallError> {
        match self {
            Self { timers: false, .. } => Err(CallError::NoTimers),
            Self { io: false, .. } if needs_io => Err(CallError::NoIo),
            _ => Ok(()),
        }
    }
}
