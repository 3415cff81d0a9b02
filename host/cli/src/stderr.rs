//! This process's stderr, which the host's log and messages, the audit and the guest share.
//!
//! Threats: output that holds the audit up or takes its place; a reader that stalls, so that whoever writes next waits
//! for ever, past each deadline; a line that is cut, so that the next record is none. So one thread writes whole lines,
//! and takes one only when stderr has room: first the audit's, then the host's, then the guest's. The host never waits:
//! what does not fit is counted, and the number is reported when there is room. Audit and guest wait, each where nobody
//! else does. What is left when the process ends is written for a moment, and then its number.
//!
//! Where nothing of the host's is on stderr (`--log off`, and the audit elsewhere) the guest's bytes go there as they
//! are.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use attache::telemetry::legible;
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::Notify;

/// The host's lines that may wait. A line has some 200 bytes.
const HOST_LINES: usize = 1024;

/// The host's bytes that may wait: few of its lines are as long as they may be.
const HOST_BYTES: usize = 1 << 20;

/// Records of the audit that may wait here. Its own queue holds the others.
const RECORDS: usize = 4;

/// Pieces of the guest's that may wait, of some kilobytes each.
const PIECES: usize = 16;

/// How long the end of the process waits for the last lines, and then for the number of those that are lost, if
/// something was read meanwhile. A reader that takes nothing in this time takes nothing at all.
const LAST_LINES: Duration = Duration::from_secs(1);
const LAST_NUMBER: Duration = Duration::from_secs(5);

/// A process has one stderr, so there is one of these.
static STDERR: OnceLock<Stderr> = OnceLock::new();

#[derive(Default)]
struct Stderr {
    queues: Mutex<Queues>,
    /// There is something to write.
    filled: Condvar,
    /// A record of the audit was taken, or all is over.
    taken: Condvar,
    /// A piece of the guest's was taken.
    passed: Notify,
}

#[derive(Default)]
struct Queues {
    audit: VecDeque<Vec<u8>>,
    host: VecDeque<Vec<u8>>,
    host_bytes: usize,
    guest: VecDeque<Vec<u8>>,
    /// Lines of the host's that are lost, and bytes of the guest's.
    lost: (u64, u64),
    /// After this only numbers are written.
    ends: Option<Instant>,
    ended: bool,
    /// How often something was written.
    written: u64,
}

impl Queues {
    fn is_empty(&self) -> bool {
        self.audit.is_empty() && self.host.is_empty() && self.guest.is_empty() && self.lost == (0, 0)
    }

    /// What is written next.
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

    /// Counts what waits as lost.
    fn give_up(&mut self) {
        let lines = u64::try_from(self.host.len()).unwrap_or(u64::MAX);
        let bytes = self.guest.iter().map(|piece| piece.len() as u64).sum();
        self.lost = (self.lost.0.saturating_add(lines), self.lost.1.saturating_add(bytes));
        self.host.clear();
        self.guest.clear();
    }

    /// A line about what is lost.
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

/// Starts the thread that writes. To be called once, before anything is said.
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
            // What is written is chosen when it can be: a record that comes meanwhile goes first.
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

    /// Says a line of the host's own.
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

    /// Waits for room, and says a record of the audit.
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

    /// Waits for room, and takes so many of the guest's bytes, which are whole lines.
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

    /// Counts bytes of the guest's that are not passed on.
    fn lose(&self, bytes: usize) {
        let mut queues = self.queues();
        queues.lost.1 = queues.lost.1.saturating_add(bytes as u64);
        drop(queues);
        self.filled.notify_one();
    }
}

/// Waits until stderr takes a piece at once: where it is a pipe, of 4 KiB. Where the reader is gone, nothing is waited
/// for.
fn wait_for_room() {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    while matches!(poll(&mut fds, None), Err(rustix::io::Errno::INTR)) {}
}

fn write(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match io::stderr().write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            // Who shares the pipe may have made it so.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for_room(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Where the reader has gone there is nobody to tell.
            Err(_) => return,
        }
    }
}

/// Says a line of the host's own. It never waits. It stays one line, whatever is in it: a manifest's text, or a
/// guest's.
pub(crate) fn put_line(line: fmt::Arguments<'_>) {
    put_page(&legible(&line).replace('\n', "\\n"));
}

/// Says lines that are legible already.
pub(crate) fn put_page(page: &str) {
    put(format!("{page}\n").into_bytes());
}

fn put(line: Vec<u8>) {
    match STDERR.get() {
        None => drop(io::stderr().write_all(&line)),
        Some(stderr) => stderr.put(line),
    }
}

/// Waits for the last lines to be written, for a moment, and for the number of those that are not.
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

/// Says a line of the host's own, as `eprintln!` does; line breaks in it are shown as such.
macro_rules! say {
    ($($words:tt)*) => { $crate::stderr::put_line(format_args!($($words)*)) };
}
pub(crate) use say;

/// Where the log goes. An event comes in one piece.
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

/// Where the audit goes: it has a thread of its own, which may wait.
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

/// Passes on so many bytes of what a guest has printed; the rest stays.
pub(crate) async fn pass_on(waiting: &mut Vec<u8>, whole: usize) {
    if let Some(stderr) = STDERR.get() {
        stderr.pass_on(waiting, whole).await;
    }
}

/// Counts what a guest has printed and is not passed on.
pub(crate) fn lose(bytes: usize) {
    if let (Some(stderr), 1..) = (STDERR.get(), bytes) {
        stderr.lose(bytes);
    }
}
