//! Metering the CPU time of a guest.
//!
//! Epochs interrupt a guest, but they count wall-clock time: a busy machine would eat a guest's budget. So the time is
//! read from the thread's own CPU clock around each poll of the guest's future: guest code and the host calls that it
//! makes on its thread count, waiting does not.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::CpuTurn;

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
/// never be looked at. Epochs pass only while guests run in here: its [`CpuTurn`] sees to both.
pub struct CpuMeter<F> {
    guest: F,
    budget: Duration,
    spent: Duration,
    turn: CpuTurn,
}

impl<F: Future + Unpin> CpuMeter<F> {
    /// Meters `guest`, whose store gave this turn ([`Engine::schedule`](super::Engine::schedule)). The turn is
    /// passed on whenever the guest stops running.
    pub fn new(guest: F, budget: Duration, turn: CpuTurn) -> Self {
        Self { guest, budget, spent: Duration::ZERO, turn }
    }

    /// Returns the CPU time that the guest has spent.
    pub fn spent(&self) -> Duration {
        self.spent
    }
}

impl<F: Future + Unpin> Future for CpuMeter<F> {
    type Output = Result<F::Output, OutOfCpu>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { guest, budget, spent, turn } = self.get_mut();
        let before = thread_cpu_time();
        // It stops running where its code panics, too.
        let running = turn.begin();
        let polled = Pin::new(guest).poll(cx);
        drop(running);
        *spent = spent.saturating_add(thread_cpu_time().saturating_sub(before));
        match polled {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending if *spent >= *budget => Poll::Ready(Err(OutOfCpu { budget: *budget })),
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
