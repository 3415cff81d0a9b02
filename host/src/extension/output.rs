//! What a guest prints, on its way out: metered, and never waited for on a thread that others need.
//!
//! Threat: a guest that floods the log with its output, or that stalls the host by printing into a pipe that nobody reads.
//! The extension's rate makes its writes wait, as a slow pipe would; nothing is lost, and the deadline covers the wait. A
//! write that may go out goes out whole, on credit: a guest that takes half a write for all of it would lose the rest.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::time::Instant;
use wasmtime_wasi::cli::{AsyncStdoutStream, IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// The most that a guest may write at once, in bytes: what wasmtime-wasi takes from a stream at once too.
const PIECE: usize = 64 << 10;

/// A writer that has to wait waits for this many bytes, so that it does not come back for each.
const WORTHWHILE: u64 = 1 << 10;

/// How long what the guest had printed may take to go out after its end. A reader that stalls longer loses it.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// The rate of one extension's output, for all its calls together. After a pause it takes one second's worth at once, and
/// the last write of that may be larger than what is left: what is written after it waits until that is made up for.
#[derive(Debug)]
pub(super) struct Meter {
    /// Bytes a second; 0 silences.
    rate: u64,
    bucket: Mutex<Bucket>,
    /// How many streams there are. Each may be about to write a piece that nothing has been taken for yet, so they share
    /// one: with a thousand of them, all of these together are less than eight pieces (of a harmonic series).
    streams: AtomicUsize,
}

#[derive(Debug)]
struct Bucket {
    /// Below 0 is what was written on credit.
    bytes: i64,
    filled: Instant,
}

impl Meter {
    pub(super) fn new(rate: u64) -> Self {
        let bucket = Mutex::new(Bucket { bytes: signed(rate), filled: Instant::now() });
        Self { rate, bucket, streams: AtomicUsize::new(0) }
    }

    /// How many bytes one stream may write now, or how long to wait for some. The rate is not 0.
    fn allowed(&self, now: Instant) -> Result<usize, Duration> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        self.fill(&mut bucket, now);
        if bucket.bytes > 0 {
            return Ok((PIECE / self.streams.load(Ordering::Relaxed).max(1)).max(1));
        }
        Err(self.time_for(bucket.bytes.unsigned_abs().saturating_add(WORTHWHILE.min(self.rate))))
    }

    fn take(&self, written: usize) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.bytes = bucket.bytes.saturating_sub_unsigned(written as u64);
    }

    fn fill(&self, bucket: &mut Bucket, now: Instant) {
        let passed = now.saturating_duration_since(bucket.filled);
        let gained = passed.as_nanos().saturating_mul(self.rate.into()) / 1_000_000_000;
        let gained = u64::try_from(gained).unwrap_or(u64::MAX);
        if gained == 0 {
            return;
        }
        let full = signed(self.rate);
        bucket.bytes = bucket.bytes.saturating_add(signed(gained)).min(full);
        // The time of what is less than a byte is kept, else a guest that asks often would get nothing.
        bucket.filled = if bucket.bytes == full { now } else { bucket.filled + self.time_for(gained) };
    }

    fn time_for(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes).saturating_mul(1_000_000_000).div_ceil(self.rate.max(1).into());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The outputs of one call, as its host sees them.
#[derive(Default)]
pub(super) struct Outputs {
    streams: Vec<Box<dyn OutputStream>>,
    slowed: Arc<AtomicBool>,
}

impl Outputs {
    /// Puts the extension's meter before a stream.
    pub(super) fn metered(&mut self, stream: Box<dyn StdoutStream>, meter: &Arc<Meter>) -> Metered {
        self.streams.push(stream.p2_stream());
        Metered { stream, meter: Arc::clone(meter), slowed: Arc::clone(&self.slowed) }
    }

    /// Whether the guest had to wait for the rate.
    pub(super) fn slowed(&self) -> bool {
        self.slowed.load(Ordering::Relaxed)
    }

    /// Waits for what was printed to go out, for a moment.
    pub(super) async fn drain(&mut self) {
        let all = async {
            for stream in &mut self.streams {
                // Where the reader has gone there is nobody to write to.
                if stream.flush().is_ok() {
                    let _ = stream.write_ready().await;
                }
            }
        };
        if tokio::time::timeout(LAST_OUTPUT, all).await.is_err() {
            tracing::warn!("nobody reads the guest's output: the last of it is lost");
        }
    }
}

/// A guest's stdout or stderr behind its extension's meter.
pub(super) struct Metered {
    stream: Box<dyn StdoutStream>,
    meter: Arc<Meter>,
    slowed: Arc<AtomicBool>,
}

impl IsTerminal for Metered {
    fn is_terminal(&self) -> bool {
        self.stream.is_terminal()
    }
}

impl StdoutStream for Metered {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        let (meter, slowed) = (Arc::clone(&self.meter), Arc::clone(&self.slowed));
        meter.streams.fetch_add(1, Ordering::Relaxed);
        Box::new(MeteredStream { inner: self.stream.p2_stream(), meter, slowed, permit: 0 })
    }

    /// Of WASI 0.3, which no guest is linked with: it takes nothing, rather than passing by the meter.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

struct MeteredStream {
    inner: Box<dyn OutputStream>,
    meter: Arc<Meter>,
    slowed: Arc<AtomicBool>,
    /// Bytes that may be written before the next question.
    permit: usize,
}

impl MeteredStream {
    fn is_silent(&self) -> bool {
        self.meter.rate == 0
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for MeteredStream {
    fn check_write(&mut self) -> StreamResult<usize> {
        if self.is_silent() {
            return Ok(PIECE);
        }
        self.permit = self.inner.check_write()?;
        if self.permit > 0 {
            self.permit = self.permit.min(self.meter.allowed(Instant::now()).unwrap_or(0));
        }
        Ok(self.permit)
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if self.is_silent() {
            return Ok(());
        }
        let left = self.permit.checked_sub(bytes.len());
        self.permit = left.ok_or_else(|| StreamError::trap("wrote more than check-write had allowed"))?;
        self.meter.take(bytes.len());
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        if self.is_silent() { Ok(()) } else { self.inner.flush() }
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for MeteredStream {
    async fn ready(&mut self) {
        while !self.is_silent()
            && let Err(wait) = self.meter.allowed(Instant::now())
        {
            self.slowed.store(true, Ordering::Relaxed);
            tokio::time::sleep(wait).await;
        }
        self.inner.ready().await;
    }
}

impl Drop for MeteredStream {
    fn drop(&mut self) {
        self.meter.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// This process's stdout or stderr, written to by a thread for blocking work.
///
/// wasmtime-wasi's own writes where it is called: a pipe that nobody reads would then hold a thread that other guests
/// need, and no deadline could end it.
pub(super) struct Inherited {
    stream: AsyncStdoutStream,
    terminal: bool,
}

impl Inherited {
    pub(super) fn stdout() -> Self {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
        Self { stream: AsyncStdoutStream::new(PIECE, tokio::io::stdout()), terminal }
    }

    pub(super) fn stderr() -> Self {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        Self { stream: AsyncStdoutStream::new(PIECE, tokio::io::stderr()), terminal }
    }
}

impl IsTerminal for Inherited {
    fn is_terminal(&self) -> bool {
        self.terminal
    }
}

impl StdoutStream for Inherited {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        self.stream.p2_stream()
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        self.stream.async_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all that the meter gives at one time, in pieces of a byte.
    fn got(meter: &Meter, now: Instant) -> usize {
        (0..usize::MAX).take_while(|_| meter.allowed(now).inspect(|_| meter.take(1)).is_ok()).count()
    }

    #[test]
    fn a_meter_gives_a_second_at_once_and_then_its_rate() {
        let (meter, now) = (Meter::new(1000), Instant::now());
        assert_eq!(got(&meter, now), 1000);
        assert_eq!(meter.allowed(now), Err(Duration::from_secs(1)));
        assert_eq!(got(&meter, now + Duration::from_millis(250)), 250);
        assert_eq!(got(&meter, now + Duration::from_secs(100)), 1000);
    }

    #[test]
    fn a_meter_that_is_asked_often_gives_as_much() {
        let (meter, begun) = (Meter::new(10), Instant::now());
        assert_eq!(got(&meter, begun), 10);
        let asked = (0..2000).map(|millis| begun + Duration::from_millis(millis));
        let got: usize = asked.map(|now| got(&meter, now)).sum();
        assert!((18..=20).contains(&got), "{got}");
    }

    #[test]
    fn a_write_goes_out_whole_and_is_made_up_for() {
        let (meter, now) = (Meter::new(1000), Instant::now());
        meter.take(999);
        assert_eq!(meter.allowed(now), Ok(PIECE));
        meter.take(2001);
        assert_eq!(meter.allowed(now), Err(Duration::from_secs(3)));
        assert!(meter.allowed(now + Duration::from_millis(1999)).is_err());
        assert_eq!(got(&meter, now + Duration::from_secs(3)), 1000);
    }

    #[test]
    fn many_streams_share_a_piece() {
        let meter = Arc::new(Meter::new(1 << 16));
        let mut outputs = Outputs::default();
        let metered = outputs.metered(Box::new(wasmtime_wasi::p2::pipe::MemoryOutputPipe::new(1 << 20)), &meter);
        let mut streams: Vec<_> = (0..1024).map(|_| metered.p2_stream()).collect();
        let mut allowed = 0;
        for stream in &mut streams {
            allowed += stream.check_write().unwrap_or(0);
        }
        assert_eq!(allowed, PIECE);
        drop(streams);
        assert_eq!(metered.p2_stream().check_write().unwrap_or(0), PIECE);
    }
}
