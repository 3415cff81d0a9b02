//! Metering the CPU time of a guest.
//!
//! Epochs interrupt a guest, but they count wall-clock time: a busy machine would eat a guest's budget. So the time is
//! read from the thread's own CPU clock around each poll of the guest's future: guest code and the host calls that it
//! makes on its thread count, waiting does not.

use super::Turn;
use rustix::time::{ClockId, clock_gettime};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The guest used all of its CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest has used all of its {budget:?} of CPU time")]
pub struct OutOfCpu {
    /// The budget that it had.
    pub budget: Duration,
}

/// Polls a guest's future until it ends or its CPU budget does.
///
/// A guest that spins comes back here at every epoch, because its store yields there; without that the budget would
/// never be looked at.
pub struct CpuMeter<F> {
    guest: F,
    budget: Duration,
    spent: Duration,
    turn: Turn,
}

impl<F: Future + Unpin> CpuMeter<F> {
    /// Meters `guest`.
    pub fn new(guest: F, budget: Duration) -> Self {
        Self { guest, budget, spent: Duration::ZERO, turn: Turn::default() }
    }

    /// Passes the guest's turn on whenever it stops running.
    #[must_use]
    pub fn in_turn(self, turn: Turn) -> Self {
        Self { turn, ..self }
    }

    /// Returns the CPU time that the guest has spent.
    pub fn spent(&self) -> Duration {
        self.spent
    }
}

impl<F: Future + Unpin> Future for CpuMeter<F> {
    type Output = Result<F::Output, OutOfCpu>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let before = thread_cpu_time();
        self.turn.begin();
        let polled = Pin::new(&mut self.guest).poll(cx);
        self.turn.pass_on();
        self.spent = self.spent.saturating_add(thread_cpu_time().saturating_sub(before));
        match polled {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending if self.spent >= self.budget => Poll::Ready(Err(OutOfCpu { budget: self.budget })),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn thread_cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanoseconds)
}
