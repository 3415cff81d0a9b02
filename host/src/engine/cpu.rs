//! A meter of the CPU time of a guest.
//!
//! Epochs interrupt a guest, but they count wall-clock time: a busy machine would eat a guest's budget. So the time is
//! read from the thread's own CPU clock around each poll of the guest's future. Guest code counts, and so do the host
//! calls that it makes on its thread. Waiting does not count.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Sleep;

use super::CpuTurn;
use super::ticker::EPOCH;

/// The guest used all of its CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest has used all of its {budget:?} of CPU time")]
pub struct OutOfCpu {
    /// The guest's budget.
    pub budget: Duration,
}

/// The CPU time that a guest may use in each window, for guests that run for as long as their pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuRate {
    /// The CPU time for each window; all of it may be used at once.
    pub budget: Duration,
    /// The length of a window.
    pub window: Duration,
}

/// A future that polls a guest's future until the guest or its CPU budget ends.
///
/// A guest that spins returns here at every epoch, because its store yields there; without that the budget would never
/// be checked. The [`CpuTurn`] makes the store yield, and makes epochs pass while guests run in here.
pub struct CpuMeter<F> {
    guest: F,
    budget: Budget,
    spent: Duration,
    turn: CpuTurn,
}

enum Budget {
    /// The guest ends after it has used this much CPU time.
    Sum(Duration),
    /// The guest pauses after it has used more than the rate gives.
    Rate(Bucket),
}

/// The available CPU time, in nanoseconds; a value below 0 is what one poll used beyond it.
struct Bucket {
    rate: CpuRate,
    nanos: i128,
    filled: Instant,
    /// The pause, while there is one.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Bucket {
    fn new(rate: CpuRate) -> Self {
        Self { rate, nanos: nanos(rate.budget), filled: Instant::now(), pause: None }
    }

    /// Adds the CPU time that the rate gives for the elapsed time.
    fn fill(&mut self) {
        let now = Instant::now();
        let passed = nanos(now.saturating_duration_since(self.filled));
        let gained = passed.saturating_mul(nanos(self.rate.budget)) / nanos(self.rate.window).max(1);
        self.nanos = self.nanos.saturating_add(gained).min(nanos(self.rate.budget));
        self.filled = now;
    }

    /// Waits until CPU time is available again, at least a twentieth of a window's.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            self.fill();
            if self.nanos > 0 {
                return Poll::Ready(());
            }
            let wanted = (nanos(self.rate.budget) / 20).max(1).saturating_sub(self.nanos);
            let wait = wanted.saturating_mul(nanos(self.rate.window)) / nanos(self.rate.budget).max(1);
            let wait = Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)).max(EPOCH);
            self.pause = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }
}

fn nanos(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX)
}

impl<F: Future + Unpin> CpuMeter<F> {
    /// Meters `guest` and ends it after it has used `budget`. The turn must come from its store
    /// ([`Engine::schedule`](super::Engine::schedule)). It is passed on whenever the guest stops running.
    pub fn new(guest: F, budget: Duration, turn: CpuTurn) -> Self {
        Self { guest, budget: Budget::Sum(budget), spent: Duration::ZERO, turn }
    }

    /// Meters `guest` as [`CpuMeter::new`] does, but pauses it whenever it has used more than the rate gives, and never
    /// ends it.
    pub fn at_rate(guest: F, rate: CpuRate, turn: CpuTurn) -> Self {
        Self { guest, budget: Budget::Rate(Bucket::new(rate)), spent: Duration::ZERO, turn }
    }

    /// Returns the CPU time that the guest has used.
    pub fn spent(&self) -> Duration {
        self.spent
    }
}

impl<F: Future + Unpin> Future for CpuMeter<F> {
    type Output = Result<F::Output, OutOfCpu>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { guest, budget, spent, turn } = self.get_mut();
        if let Budget::Rate(bucket) = budget {
            std::task::ready!(bucket.poll_ready(cx));
        }
        let before = thread_cpu_time();
        // The guard also stops the clock when the guest's code panics.
        let running = turn.begin();
        let polled = Pin::new(guest).poll(cx);
        drop(running);
        let used = thread_cpu_time().saturating_sub(before);
        *spent = spent.saturating_add(used);
        match (polled, budget) {
            (Poll::Ready(output), _) => Poll::Ready(Ok(output)),
            (Poll::Pending, Budget::Sum(budget)) if *spent >= *budget => Poll::Ready(Err(OutOfCpu { budget: *budget })),
            (Poll::Pending, Budget::Sum(_)) => Poll::Pending,
            (Poll::Pending, Budget::Rate(bucket)) => {
                bucket.nanos = bucket.nanos.saturating_sub(nanos(used));
                Poll::Pending
            }
        }
    }
}

fn thread_cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanoseconds)
}
