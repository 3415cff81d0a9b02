//! Audit records as JSON, one a line, written by a thread of its own.
//!
//! A log that stalls (a full pipe, a slow disk) must not stall the extensions. Callers put lines into a bounded queue and go
//! on; lines that find it full are counted, and the count is written when there is room again.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{Audit, AuditRecord, LimitRecord};

/// How many lines may wait. At the longest line that is some 8 MiB; at the usual one 1 MiB, a second of heavy traffic.
const QUEUE: usize = 2048;

/// How long a drop waits for the last lines. A log that takes nothing in this time takes nothing at all.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Writes audit records as JSON lines. Drop waits for the lines in the queue, for two seconds at most.
pub struct JsonLines {
    /// Present until drop.
    queue: Option<SyncSender<Vec<u8>>>,
    lost: Arc<AtomicU64>,
    /// Closes when the thread has ended. Only drop looks at it; the lock is there because a receiver is not `Sync`.
    ended: Mutex<Receiver<()>>,
}

impl JsonLines {
    /// Starts the thread that writes to `writer`.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn new(writer: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE);
        let (end, ended) = channel();
        let lost = Arc::new(AtomicU64::new(0));
        let mut pen = Pen { writer, lost: Arc::clone(&lost), complained: false };
        thread::Builder::new().name("attache-audit".into()).spawn(move || {
            pen.run(&lines);
            drop(end);
        })?;
        Ok(Self { queue: Some(queue), lost, ended: Mutex::new(ended) })
    }
}

impl JsonLines {
    fn put(&self, line: &impl Serialize) {
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        if self.queue.as_ref().is_none_or(|queue| queue.try_send(text).is_err()) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Audit for JsonLines {
    fn record(&self, line: &AuditRecord<'_>) {
        self.put(line);
    }

    fn limit(&self, line: &LimitRecord<'_>) {
        self.put(line);
    }
}

impl Drop for JsonLines {
    fn drop(&mut self) {
        self.queue = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(LAST_LINES) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the audit log takes no more lines; the last ones are lost");
        }
    }
}

/// The thread's side.
struct Pen<W> {
    writer: W,
    lost: Arc<AtomicU64>,
    complained: bool,
}

impl<W: Write> Pen<W> {
    fn run(&mut self, lines: &Receiver<Vec<u8>>) {
        while let Ok(line) = lines.recv() {
            self.write(&line);
            // A reader of the log sees a line when nothing more is waiting, not when a buffer happens to be full.
            while let Ok(line) = lines.try_recv() {
                self.write(&line);
            }
            self.flush();
        }
        self.flush();
    }

    fn write(&mut self, line: &[u8]) {
        let written = self.writer.write_all(line);
        self.complain(written);
    }

    fn flush(&mut self) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let now = Timestamp::now();
            self.write(format!("{{\"time\":\"{now:.6}\",\"lost\":{lost}}}\n").as_bytes());
        }
        let flushed = self.writer.flush();
        self.complain(flushed);
    }

    /// Says once that the log is broken: once for each line would make a second broken log.
    fn complain(&mut self, outcome: io::Result<()>) {
        match outcome {
            Err(error) if !self.complained => {
                tracing::error!(%error, "cannot write to the audit log");
                self.complained = true;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::telemetry::Way;
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
            audit.record(&AuditRecord::of_invalid(Timestamp::UNIX_EPOCH, "e", Way::Api, &Method::GET, "/x"));
        }
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
