//! The signals that end a sidecar.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;

/// The numbers of SIGINT and SIGTERM, for the exit code.
const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;

/// Waits for SIGINT or SIGTERM.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for a signal. Returns the end of the process that the signal asks for.
    pub(crate) async fn arrive(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Signal(SIGINT),
            _ = self.terminate.recv() => Exit::Signal(SIGTERM),
        }
    }
}
