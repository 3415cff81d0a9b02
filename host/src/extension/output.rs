//! The output of a guest on its way out: metered, and never blocking a thread that others need.
//!
//! Threat: a guest that floods the log with its output, or that stalls the host by printing into a pipe that nobody
//! reads. The extension's rate makes its writes wait, as a slow pipe would. Nothing is lost, and the deadline covers
//! the wait. A write that is allowed goes out whole, on credit: some guests take half a write for all of it, and would
//! lose the rest.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::time::Instant;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::buffered::BufferedOutput;
use super::lines::{NamedLines, SharedLines};
use crate::telemetry::LogThrottle;

/// The maximum of one write of a guest, in bytes; wasmtime-wasi takes as much from a stream at once.
const PIECE: usize = 64 << 10;

/// The bytes that a waiting writer waits for, so that it does not wake for each byte.
const WORTHWHILE: u64 = 1 << 10;

/// The maximum of time for a guest's last output after its end. Output that a slower reader has not taken is lost.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// The rate of one extension's output, for all its calls together. After a pause it takes one second's worth at once.
/// The last write of that may exceed what is left, and later writes wait until the debt is paid.
pub(super) struct Meter {
    /// The rate in bytes a second; 0 discards all output.
    rate: u64,
    bucket: Mutex<Bucket>,
    /// The number of streams. Each may be about to write a piece that is not counted yet, so they share one piece: of a
    /// thousand streams, all uncounted pieces together are less than eight (a harmonic series).
    streams: AtomicUsize,
    /// The warnings about calls whose last output was lost.
    unread: LogThrottle<()>,
}

#[derive(Debug)]
struct Bucket {
    /// The available bytes; a value below 0 is what was written on credit.
    bytes: i64,
    filled: Instant,
}

impl Meter {
    pub(super) fn new(rate: u64) -> Self {
        let bucket = Mutex::new(Bucket { bytes: signed(rate), filled: Instant::now() });
        Self { rate, bucket, streams: AtomicUsize::new(0), unread: LogThrottle::default() }
    }

    /// Returns the bytes that one stream may write now, or the time to wait for some. The rate must not be 0.
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
        // The time of a fraction of a byte is kept, or a guest that asks often would get nothing.
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

/// A stream for a guest's output, as an [`Invocation`](super::Invocation) holds it.
pub(super) struct Sink {
    stream: Box<dyn StdoutStream>,
    /// A clone of the stream, if it can report its unwritten bytes.
    buffer: Option<BufferedOutput>,
    /// Set if each line begins with the extension's name.
    named: bool,
}

impl Sink {
    pub(super) fn new(stream: impl StdoutStream + 'static, named: bool) -> Self {
        let buffer = as_any(&stream).downcast_ref::<BufferedOutput>().cloned();
        Self { stream: Box::new(stream), buffer, named }
    }
}

fn as_any<T: Any>(of: &T) -> &dyn Any {
    of
}

/// The events on the streams of one call.
#[derive(Debug, Default)]
struct Noted {
    /// Set after the guest had to wait for the rate.
    slowed: AtomicBool,
    /// Set after the guest has written bytes that were not waited for yet.
    wrote: AtomicBool,
}

/// The outputs of one call, as its host sees them. Bytes that are unwritten when they are dropped are reported.
pub(super) struct Outputs {
    extension: String,
    all: Vec<Output>,
    noted: Arc<Noted>,
    /// Set if the last output has not gone out in time.
    late: bool,
}

impl Drop for Outputs {
    fn drop(&mut self) {
        let unwritten: usize = self.all.iter().map(Output::unwritten).sum();
        let Some(meter) = self.all.first().map(|output| &output.meter).filter(|_| self.late || unwritten > 0) else {
            return;
        };
        // For many calls, only some warnings are logged.
        if let Some(times) = meter.unread.note(()) {
            let extension = &*self.extension;
            tracing::warn!(
                extension,
                bytes = unwritten,
                times,
                "nobody reads the guest's output: the last of it is lost"
            );
        }
    }
}

struct Output {
    stream: Box<dyn OutputStream>,
    buffer: Option<BufferedOutput>,
    lines: Option<SharedLines>,
    meter: Arc<Meter>,
    /// The rest of the guest's output that no stream has taken.
    rest: Bytes,
}

impl Output {
    fn unwritten(&self) -> usize {
        let lines = self.lines.as_ref().filter(|_| self.meter.rate > 0).map_or(0, SharedLines::len);
        let buffered = self.buffer.as_ref().map_or(0, BufferedOutput::unwritten);
        buffered.saturating_add(lines).saturating_add(self.rest.len())
    }

    /// Writes the rest of the guest's output on credit, which delays its next writes.
    async fn drain(&mut self) -> StreamResult<()> {
        self.rest = self.lines.as_ref().filter(|_| self.meter.rate > 0).map_or_else(Bytes::new, SharedLines::rest);
        self.meter.take(self.rest.len());
        while !self.rest.is_empty() {
            let room = self.stream.write_ready().await?;
            self.stream.write(self.rest.split_to(room.min(self.rest.len())))?;
        }
        self.stream.flush()?;
        self.stream.write_ready().await.map(drop)
    }
}

impl Outputs {
    pub(super) fn of(extension: &str) -> Self {
        Self { extension: extension.to_owned(), all: Vec::new(), noted: Arc::default(), late: false }
    }

    /// Puts the extension's meter before a stream, and its name before each line if the sink is named.
    pub(super) fn metered(&mut self, sink: Sink, meter: &Arc<Meter>) -> GuestOutput {
        let Sink { stream, buffer, named } = sink;
        let lines = named.then(|| SharedLines::of(&self.extension));
        let (own, meter) = (stream.p2_stream(), Arc::clone(meter));
        let output =
            Output { stream: own, buffer, lines: lines.clone(), meter: Arc::clone(&meter), rest: Bytes::new() };
        self.all.push(output);
        let stream = Metered { stream, meter, noted: Arc::clone(&self.noted) };
        match lines {
            Some(lines) => GuestOutput::Lines(NamedLines { stream, lines }),
            None => GuestOutput::Bytes(stream),
        }
    }

    /// Resets the events at the start of a call: those of an earlier call of the instance do not count.
    pub(super) fn begin(&mut self) {
        self.noted.slowed.store(false, Ordering::Relaxed);
        self.late = false;
    }

    /// Returns whether the guest had to wait for the rate.
    pub(super) fn slowed(&self) -> bool {
        self.noted.slowed.load(Ordering::Relaxed)
    }

    /// Waits for the last output to go out, at most [`LAST_OUTPUT`]. Without output it does not wait.
    pub(super) async fn drain(&mut self) {
        if !self.noted.wrote.swap(false, Ordering::Relaxed) {
            return;
        }
        let all = async {
            for output in &mut self.all {
                // After the reader has gone, an error here is expected.
                let _ = output.drain().await;
            }
        };
        self.late = tokio::time::timeout(LAST_OUTPUT, all).await.is_err();
    }
}

/// A guest's stdout or stderr.
pub(super) enum GuestOutput {
    Bytes(Metered),
    Lines(NamedLines<Metered>),
}

impl GuestOutput {
    fn stream(&self) -> &dyn StdoutStream {
        match self {
            Self::Bytes(stream) => stream,
            Self::Lines(stream) => stream,
        }
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        self.stream().is_terminal()
    }
}

impl StdoutStream for GuestOutput {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        self.stream().p2_stream()
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        self.stream().async_stream()
    }
}

/// A guest's stdout or stderr behind its extension's meter.
pub(super) struct Metered {
    stream: Box<dyn StdoutStream>,
    meter: Arc<Meter>,
    noted: Arc<Noted>,
}

impl IsTerminal for Metered {
    fn is_terminal(&self) -> bool {
        self.stream.is_terminal()
    }
}

impl StdoutStream for Metered {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        let (meter, noted) = (Arc::clone(&self.meter), Arc::clone(&self.noted));
        meter.streams.fetch_add(1, Ordering::Relaxed);
        Box::new(MeteredStream { inner: self.stream.p2_stream(), meter, noted, permit: 0 })
    }

    /// Returns a sink that discards everything, so that nothing passes by the meter: this stream belongs to WASI 0.3,
    /// which no guest is linked with.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

struct MeteredStream {
    inner: Box<dyn OutputStream>,
    meter: Arc<Meter>,
    noted: Arc<Noted>,
    /// The bytes that may be written before the next `check_write`.
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
        // An empty write is dropped here, so that no stream behind this one has to keep it.
        if bytes.is_empty() || self.is_silent() {
            return Ok(());
        }
        let left = self.permit.checked_sub(bytes.len());
        self.permit = left.ok_or_else(|| StreamError::trap("wrote more than check-write had allowed"))?;
        self.meter.take(bytes.len());
        self.noted.wrote.store(true, Ordering::Relaxed);
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
            self.noted.slowed.store(true, Ordering::Relaxed);
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

/// Returns this process's stdout, written to by a thread for blocking work.
///
/// wasmtime-wasi's own stdout writes on the calling thread. A pipe that nobody reads would then block a thread that
/// other guests need, and no deadline could end it.
pub(super) fn inherited_stdout() -> BufferedOutput {
    BufferedOutput::new(tokio::io::stdout()).terminal(std::io::IsTerminal::is_terminal(&std::io::stdout()))
}

/// Returns this process's stderr, as [`inherited_stdout`] returns its stdout.
pub(super) fn inherited_stderr() -> BufferedOutput {
    BufferedOutput::new(tokio::io::stderr()).terminal(std::io::IsTerminal::is_terminal(&std::io::stderr()))
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
        let mut outputs = Outputs::of("card");
        let pipe = wasmtime_wasi::p2::pipe::MemoryOutputPipe::new(1 << 20);
        let metered = outputs.metered(Sink::new(pipe, false), &meter);
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
