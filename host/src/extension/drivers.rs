//! The drivers of the caller's Tokio runtime: timers, and I/O.
//!
//! Threat: a guest that no deadline ends, or whose request panics the host, because the runtime of its caller lacks a
//! driver. So each call checks for what it needs before its guest runs.
//!
//! Tokio reports a missing driver by a panic alone. A probe makes one timer and one socket where that panic is caught,
//! once for each thread and runtime; the panic hook of the process sees it. A process that is built with
//! `panic = "abort"` ends there.

use std::cell::Cell;
use std::panic::catch_unwind;
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::runtime::{Handle, Id};

use super::call_error::CallError;

/// What a runtime has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Drivers {
    timers: bool,
    io: bool,
}

thread_local! {
    /// The runtime that was probed last, of those that this thread works for.
    static KNOWN: Cell<Option<(Id, Drivers)>> = const { Cell::new(None) };
}

impl Drivers {
    /// Returns what the runtime has that this code runs on; nothing on none.
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
        // A system that gives no socket has not said that there is no driver.
        let io = catch_unwind(|| drop(UnixDatagram::unbound())).is_ok();
        Self { timers, io }
    }

    /// Returns whether both are there.
    pub(super) fn all(self) -> bool {
        self.timers && self.io
    }

    /// Fails without timers, and without I/O where the call needs that.
    pub(super) fn check(self, needs_io: bool) -> Result<(), CallError> {
        match self {
            Self { timers: false, .. } => Err(CallError::NoTimers),
            Self { io: false, .. } if needs_io => Err(CallError::NoIo),
            _ => Ok(()),
        }
    }
}
