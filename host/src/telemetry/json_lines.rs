//! Audit records as JSON, one a line, written by a thread of its own.
//!
//! Threat: a log that stalls (a full pipe, a slow disk) and stalls the extensions with it. Callers put lines into a
//! bounded queue and go on. Lines that find it full are counted, and the count is written when there is room again.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::audit::to_the_microsecond;
use super::{Audit, AuditRecord, LimitRecord};

/// The most waiting lines: some 8 MiB of the longest lines, or 1 MiB of usual ones, which is a second of heavy traffic.
const QUEUE: usize = 2048;

/// The time for the last lines at the end. A log that accepts nothing in this time is stalled.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The time for the number of lost lines after that, if the log has accepted something meanwhile.
const LAST_NUMBER: Duration = Duration::from_secs(5);

/// An [`Audit`] that writes records as JSON lines.
///
/// Records that find the queue full are counted, together with the unrecorded refusals that they stand for. The number
/// is written when there is room: `{"time": …, "lost": N}`. Drop waits at most two seconds for the lines in the queue;
/// then the number of the others is written in their place.
///
/// ```
/// use attache::telemetry::JsonLines;
/// use std::sync::Arc;
///
/// let audit = Arc::new(JsonLines::new(std::io::sink())?);
/// // For `RuntimeBuilder::audit` and `ApiClientSettings`. At the end of the process:
/// audit.finish();
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct JsonLines {
    /// `None` after the end.
    queue: RwLock<Option<SyncSender<Line>>>,
    progress: Arc<Progress>,
    /// Closes when the thread has ended.
    ended: Mutex<Receiver<()>>,
}

/// A line, and the number of decisions that are lost with it.
struct Line {
    text: Vec<u8>,
    stands_for: u64,
}

#[derive(Default)]
struct Progress {
    lost: AtomicU64,
    /// Lines that the writer accepted.
    written: AtomicU64,
    /// True at the end, when only the number of lines is written.
    hurried: AtomicBool,
}

impl JsonLines {
    /// Starts the thread that writes to `writer`.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn new(writer: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE);
        let (end, ended) = channel();
        let progress = Arc::<Progress>::default();
        let mut pen = Pen { writer, progress: Arc::clone(&progress), complained: false };
        thread::Builder::new().name("attache-audit".into()).spawn(move || {
            pen.run(&lines);
            drop(end);
        })?;
        Ok(Self { queue: RwLock::new(Some(queue)), progress, ended: Mutex::new(ended) })
    }

    /// Writes the queue as drop does, for a process that ends while references remain. Later records are lost.
    pub fn finish(&self) {
        if self.queue.write().unwrap_or_else(PoisonError::into_inner).take().is_none() {
            return;
        }
        let written = || self.progress.written.load(Ordering::Relaxed);
        let (ended, before) = (self.ended.lock().unwrap_or_else(PoisonError::into_inner), written());
        if ended.recv_timeout(LAST_LINES) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        self.progress.hurried.store(true, Ordering::Relaxed);
        let stalled = written() == before;
        if stalled || ended.recv_timeout(LAST_NUMBER) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the audit log takes no more lines; the last ones are lost");
        }
    }

    fn put(&self, line: &impl Serialize, stands_for: u64) {
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner);
        if queue.as_ref().is_none_or(|queue| queue.try_send(Line { text, stands_for }).is_err()) {
            self.progress.lost.fetch_add(stands_for, Ordering::Relaxed);
        }
    }
}

impl Audit for JsonLines {
    fn record(&self, line: &AuditRecord<'_>) {
        self.put(line, line.unrecorded.saturating_add(1));
    }

    fn limit(&self, line: &LimitRecord<'_>) {
        self.put(line, 1);
    }

    fn unrecorded(&self, extension: &str, unrecorded: u64) {
        self.put(&Refusals { time: Timestamp::now(), extension, unrecorded }, unrecorded);
    }
}

/// The number of refusals without a record.
#[derive(Serialize)]
struct Refusals<'a> {
    #[serde(serialize_with = "to_the_microsecond")]
    time: Timestamp,
    extension: &'a str,
    unrecorded: u64,
}

impl Drop for JsonLines {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The writer of the thread.
struct Pen<W> {
    writer: W,
    progress: Arc<Progress>,
    complained: bool,
}

impl<W: Write> Pen<W> {
    fn run(&mut self, lines: &Receiver<Line>) {
        while let Ok(line) = lines.recv() {
            self.take(&line);
            // Flushed when the queue is empty, so that a reader sees each line at once. Under steady load, flushed
            // after a queue's worth of lines, so that a reader sees the number of lost ones.
            for line in lines.try_iter().take(QUEUE) {
                self.take(&line);
            }
            if !self.progress.hurried.load(Ordering::Relaxed) {
                self.flush();
            }
        }
        self.flush();
    }

    /// Writes a line, or counts it as lost.
    fn take(&mut self, line: &Line) {
        if self.progress.hurried.load(Ordering::Relaxed) || !self.write(&line.text) {
            self.progress.lost.fetch_add(line.stands_for, Ordering::Relaxed);
        }
    }

    fn write(&mut self, line: &[u8]) -> bool {
        let written = self.writer.write_all(line);
        let taken = self.complain(written);
        self.progress.written.fetch_add(u64::from(taken), Ordering::Relaxed);
        taken
    }

    fn flush(&mut self) {
        let lost = self.progress.lost.swap(0, Ordering::Relaxed);
        let now = Timestamp::now();
        if lost > 0 && !self.write(format!("{{\"time\":\"{now:.6}\",\"lost\":{lost}}}\n").as_bytes()) {
            self.progress.lost.fetch_add(lost, Ordering::Relaxed);
        }
        let flushed = self.writer.flush();
        self.complain(flushed);
    }

    /// Logs once that the audit log is broken. A log line for each record would break the log too.
    fn complain(&mut self, outcome: io::Result<()>) -> bool {
        let Err(error) = outcome else { return true };
        if !std::mem::replace(&mut self.complained, true) {
            tracing::error!(%error, "cannot write to the audit log");
        }
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::telemetry::Channel;
    use http::Method;
    use std::sync::Condvar;

    /// A writer that takes nothing until its gate is open.
    #[derive(Clone, Default)]
    struct Gated(Arc<Log>);

    #[derive(Default)]
    struct Log {
        state: Mutex<(bool, Vec<u8>)>,
        changed: Condvar,
    }

    impl Gated {
        fn open(&self) {
            self.0.state.lock().unwrap().0 = true;
            self.0.changed.notify_all();
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.state.lock().unwrap().1.clone()).unwrap()
        }
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.changed.wait_while(self.0.state.lock().unwrap(), |state| !state.0).unwrap();
            state.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn record(audit: &JsonLines, times: usize) {
        for _ in 0..times {
            audit.record(&AuditRecord::of_invalid(Timestamp::UNIX_EPOCH, "e", Channel::Api, &Method::GET, "/x"));
        }
    }

    fn kept(text: &str) -> usize {
        text.lines().filter(|line| line.contains("\"verdict\"")).count()
    }

    /// The sum of the numbers of lost lines.
    fn lost(text: &str) -> usize {
        let number = |line: &str| Some(line.split_once("\"lost\":")?.1.trim_end_matches('}').parse::<usize>().unwrap());
        text.lines().filter_map(number).sum()
    }

    #[test]
    fn all_lines_are_written_before_drop_returns() {
        let log = Gated::default();
        log.open();
        let audit = JsonLines::new(log.clone()).unwrap();
        record(&audit, 100);
        drop(audit);
        assert_eq!(log.text().lines().count(), 100);
    }

    #[test]
    fn a_log_that_stalls_costs_lines_and_says_how_many() {
        let log = Gated::default();
        let audit = JsonLines::new(log.clone()).unwrap();
        record(&audit, QUEUE + 500);
        log.open();
        drop(audit);
        let text = log.text();
        let lost: u64 = text
            .lines()
            .filter_map(|line| Some(line.split_once("\"lost\":")?.1.trim_end_matches('}').parse::<u64>().unwrap()))
            .sum();
        let kept = text.lines().filter(|line| line.contains("\"verdict\"")).count();
        assert_eq!(kept + usize::try_from(lost).unwrap(), QUEUE + 500);
        assert!(lost >= 499, "{lost}");
    }

    /// Takes some lines, and then one a tenth of a second, as a reader does that is slower than what is written.
    #[test]
    fn a_log_that_is_slow_at_the_end_has_the_number_of_what_it_lacks() {
        #[derive(Clone, Default)]
        struct Slow(Arc<Mutex<Vec<u8>>>);
        impl Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                thread::sleep(Duration::from_millis(100));
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let log = Slow::default();
        let audit = JsonLines::new(log.clone()).unwrap();
        record(&audit, QUEUE);
        audit.finish();
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), kept(&text) + 1);
        assert_eq!(kept(&text) + lost(&text), QUEUE);
        record(&audit, 1);
        drop(audit);
        assert_eq!(log.0.lock().unwrap().len(), text.len(), "it is over");
    }

    #[test]
    fn what_a_lost_record_tells_of_is_lost_with_it() {
        let log = Gated::default();
        let audit = JsonLines::new(log.clone()).unwrap();
        for _ in 0..QUEUE + 100 {
            let record = AuditRecord::of_invalid(Timestamp::UNIX_EPOCH, "e", Channel::Api, &Method::GET, "/x");
            audit.record(&AuditRecord { unrecorded: 10, ..record });
        }
        audit.unrecorded("e", 7);
        log.open();
        drop(audit);
        let text = log.text();
        assert_eq!(kept(&text) * 11 + lost(&text), (QUEUE + 100) * 11 + 7);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_told_when_there_is_room() {
        #[derive(Clone, Default)]
        struct Full(Arc<Mutex<(usize, Vec<u8>)>>);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let (refused, text) = &mut *self.0.lock().unwrap();
                if *refused < 5 {
                    *refused += 1;
                    return Err(io::ErrorKind::StorageFull.into());
                }
                text.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let log = Full::default();
        let audit = JsonLines::new(log.clone()).unwrap();
        record(&audit, 20);
        drop(audit);
        let text = String::from_utf8(log.0.lock().unwrap().1.clone()).unwrap();
        assert_eq!(kept(&text) + lost(&text), 20, "{text}");
    }

    #[test]
    fn a_broken_log_is_no_reason_to_stop() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::StorageFull.into())
            }
        }
        record(&JsonLines::new(Broken).unwrap(), 10);
    }
}
