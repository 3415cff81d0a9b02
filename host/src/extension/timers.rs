//! Whether the caller's async runtime can end a call in time.

use std::cell::Cell;
use std::panic::catch_unwind;
use std::time::Duration;

use tokio::runtime::{Handle, Id};

use super::call_error::CallError;

thread_local! {
    /// The runtime that was last found to have timers, of those that this thread works for.
    static KNOWN: Cell<Option<Id>> = const { Cell::new(None) };
}

/// Fails unless this code runs on a Tokio runtime with timers: without them no deadline would end a guest.
///
/// Tokio says that timers are missing by a panic alone, so a first timer is made where its panic is caught.
pub(super) fn check() -> Result<(), CallError> {
    let runtime = Handle::try_current().map_err(|_| CallError::NoTimers)?.id();
    if KNOWN.get() == Some(runtime) {
        return Ok(());
    }
    let made = catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO)));
    made.map_err(|_| CallError::NoTimers)?;
    KNOWN.set(Some(runtime));
    Ok(())
}
