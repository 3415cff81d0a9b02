//! This process's stderr, which the host's log and messages, the audit and the guest share.
//!
//! Threats: output that delays or replaces the audit; a reader that stalls, so that each writer waits for ever, past
//! each deadline; a line that is cut, so that the next record is unreadable. So one thread writes whole lines, and
//! takes a line only when stderr has room: first the audit's, then the host's, then the guest's. The host never waits:
//! lines without room are counted, and their number is reported when there is room. Audit and guest wait, each in a
//! thread or task of its own. At the end of the process the remaining lines are written for a moment, and then the
//! number of lost ones.
//!
//! If nothing of the host's is on stderr (`--log off`, and the audit elsewhere), the guest's bytes go there unchanged.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use attache::telemetry::legible;
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::Notify;

/// The most lines of the host that wait. A line has some 200 bytes.
const HOST_LINES: usize = 1024;

/// The most bytes of the host that wait: few of its lines have the maximum length.
const HOST_BYTES: usize = 1 << 20;

/// The most records of the audit that wait here. The audit's own queue holds the others.
const RECORDS: usize = 4;

/// The most pieces of the guest's output that wait, of some kilobytes each.
const PIECES: usize = 16;

/// The time at the end of the process for the last lines, and then again for the number of lost lines if the reader has
/// read something. A reader that takes nothing in this time takes nothing at all.
const LAST_LINES: Duration = Duration::from_secs(1);
const LAST_NUMBER: Duration = Duration::from_secs(5);

/// The stderr of the process, which has only one.
static STDERR: OnceLock<Stderr> = OnceLock::new();

#[derive(Default)]
struct Stderr {
    queues: Mutex<Queues>,
    /// Signalled when there is something to write.
    filled: Condvar,
    /// Signalled when a record of the audit was taken, or the thread has ended.
    taken: Condvar,
    /// Signalled when a piece of the guest's was taken.
    passed: Notify,
}

#[derive(Default)]
struct Queues {
    audit: VecDeque<Vec<u8>>,
    host: VecDeque<Vec<u8>>,
    host_bytes: usize,
    guest: VecDeque<Vec<u8>>,
    /// The lost lines of the host, and the lost bytes of the guest.
    lost: (u64, u64),
    /// The time after which only the numbers of lost lines are written.
    ends: Option<Instant>,
    ended: bool,
    /// The number of writes so far.
    written: u64,
}

impl Queues {
    fn is_empty(&self) -> bool {
        self.audit.is_empty() && self.host.is_empty() && self.guest.is_empty() && self.lost == (0, 0)
    }

    /// Returns the next bytes to write.
    fn next(&mut self) -> Option<Vec<u8>> {
        if let Some(record) = self.audit.pop_front() {
            return Some(record);
        }
        if self.ends.is_some_and(|ends| Instant::now() >= ends) {
            self.give_up();
        }
        if let Some(number) = self.number() {
            return Some(number);
        }
        if let Some(line) = self.host.pop_front() {
            self.host_bytes = self.host_bytes.saturating_sub(line.len());
            return Some(line);
        }
        self.guest.pop_front()
    }

    /// Counts all waiting lines as lost.
    fn give_up(&mut self) {
        let lines = u64::try_from(self.host.len()).unwrap_or(u64::MAX);
        let bytes = self.guest.iter().map(|piece| piece.len() as u64).sum();
        self.lost = (self.lost.0.saturating_add(lines), self.lost.1.saturating_add(bytes));
        self.host.clear();
        self.guest.clear();
    }

    /// Returns a line with the number of lost lines.
    fn number(&mut self) -> Option<Vec<u8>> {
        const WHY: &str = "stderr was not read fast enough";
        let told = match std::mem::take(&mut self.lost) {
            (0, 0) => return None,
            (lines, 0) => format!("{lines} lines of the host's log are lost: {WHY}\n"),
            (0, bytes) => format!("{bytes} bytes of the guest's output are lost: {WHY}\n"),
            (lines, bytes) => {
                format!("{lines} lines of the host's log and {bytes} bytes of the guest's output are lost: {WHY}\n")
            }
        };
        Some(told.into_bytes())
    }
}

/// Starts the thread that writes. Must be called once, before any output.
pub(crate) fn start() -> anyhow::Result<()> {
    if STDERR.set(Stderr::default()).is_ok()
        && let Some(stderr) = STDERR.get()
    {
        std::thread::Builder::new()
            .name("attache-stderr".into())
            .spawn(|| stderr.write_all())
            .context("cannot start the thread that writes to stderr")?;
    }
    Ok(())
}

impl Stderr {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self) {
        loop {
            let idle = |queues: &mut Queues| queues.is_empty() && queues.ends.is_none();
            drop(self.filled.wait_while(self.queues(), idle).unwrap_or_else(PoisonError::into_inner));
            // The next line is chosen when stderr has room: a record that arrives during the wait goes first.
            wait_for_room();
            let mut queues = self.queues();
            let next = queues.next();
            queues.ended |= next.is_none() && queues.ends.is_some();
            let ended = queues.ended;
            drop(queues);
            self.taken.notify_all();
            self.passed.notify_one();
            match next {
                Some(bytes) => {
                    write(&bytes);
                    let mut queues = self.queues();
                    queues.written = queues.written.saturating_add(1);
                }
                None if ended => return,
                None => {}
            }
        }
    }

    fn wait_for_end<'a>(&self, queues: MutexGuard<'a, Queues>, most: Duration) -> MutexGuard<'a, Queues> {
        let waited = self.taken.wait_timeout_while(queues, most, |queues| !queues.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Queues a line of the host's own.
    fn put(&self, line: Vec<u8>) {
        let mut queues = self.queues();
        let bytes = queues.host_bytes.saturating_add(line.len());
        if queues.host.len() >= HOST_LINES || bytes > HOST_BYTES || queues.ended {
            queues.lost.0 = queues.lost.0.saturating_add(1);
        } else {
            queues.host_bytes = bytes;
            queues.host.push_back(line);
        }
        drop(queues);
        self.filled.notify_one();
    }

    /// Waits for room, and queues a record of the audit.
    fn put_record(&self, record: &[u8]) -> io::Result<()> {
        let full = |queues: &mut Queues| queues.audit.len() >= RECORDS && !queues.ended;
        let mut queues = self.taken.wait_while(self.queues(), full).unwrap_or_else(PoisonError::into_inner);
        if queues.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        queues.audit.push_back(record.to_vec());
        drop(queues);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for room, and queues the first `whole` bytes, which are whole lines of the guest.
    async fn pass_on(&self, waiting: &mut Vec<u8>, whole: usize) {
        while !self.take(waiting, whole) {
            self.passed.notified().await;
        }
        self.filled.notify_one();
    }

    fn take(&self, waiting: &mut Vec<u8>, whole: usize) -> bool {
        let mut queues = self.queues();
        let room = queues.guest.len() < PIECES;
        if room {
            let rest = waiting.split_off(whole);
            queues.guest.push_back(std::mem::replace(waiting, rest));
        }
        room
    }

    /// Counts bytes of the guest that are not passed on.
    fn lose(&self, bytes: usize) {
        let mut queues = self.queues();
        queues.lost.1 = queues.lost.1.saturating_add(bytes as u64);
        drop(queues);
        self.filled.notify_one();
    }
}

/// Waits until stderr takes a piece at once; a pipe then takes 4 KiB. Without a reader, returns at once.
fn wait_for_room() {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    while matches!(poll(&mut fds, None), Err(rustix::io::Errno::INTR)) {}
}

fn write(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match io::stderr().write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            // Another process with the same pipe may have made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for_room(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Without a reader there is no place for a report.
            Err(_) => return,
        }
    }
}

/// Queues a line of the host's own, without waiting. The line stays one line whatever it contains, such as the text of
/// a manifest or a guest.
pub(crate) fn put_line(line: fmt::Arguments<'_>) {
    put_page(&legible(&line).replace('\n', "\\n"));
}

/// Queues lines that are legible already.
pub(crate) fn put_page(page: &str) {
    put(format!("{page}\n").into_bytes());
}

fn put(line: Vec<u8>) {
    match STDERR.get() {
        None => drop(io::stderr().write_all(&line)),
        Some(stderr) => stderr.put(line),
    }
}

/// Waits a moment until the last lines are written, and the number of lost lines.
pub(crate) fn end() {
    let Some(stderr) = STDERR.get() else { return };
    let mut queues = stderr.queues();
    queues.ends = Some(Instant::now() + LAST_LINES);
    let before = queues.written;
    stderr.filled.notify_one();
    let queues = stderr.wait_for_end(queues, LAST_LINES);
    if !queues.ended && queues.written != before {
        drop(stderr.wait_for_end(queues, LAST_NUMBER));
    }
}

/// Prints a line of the host's own, as `eprintln!` does; line breaks in it are escaped.
macro_rules! say {
    ($($words:tt)*) => { $crate::stderr::put_line(format_args!($($words)*)) };
}
pub(crate) use say;

/// The writer of the log. An event comes in one piece.
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        put(event.to_vec());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The writer of the audit, which has a thread of its own and may wait.
pub(crate) struct Records;

impl Write for Records {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let stderr = STDERR.get().ok_or(io::ErrorKind::BrokenPipe)?;
        stderr.put_record(record).map(|()| record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes on the first `whole` bytes of a guest's output; the rest stays.
pub(crate) async fn pass_on(waiting: &mut Vec<u8>, whole: usize) {
    if let Some(stderr) = STDERR.get() {
        stderr.pass_on(waiting, whole).await;
    }
}

/// Counts bytes of a guest's output that are not passed on.
pub(crate) fn lose(bytes: usize) {
    if let (Some(stderr), 1..) = (STDERR.get(), bytes) {
        stderr.lose(bytes);
    }
}
