//! This process's stderr, which the host's log and messages, the audit and the guest share.
//!
//! Threats: a guest that prints what looks like a record of the audit or a line of the log; one that leaves a line unfinished,
//! so that the next record is none; a reader that stalls, so that whoever writes next waits for ever, past each deadline. So
//! one thread writes whole lines. Each of the guest's begins with its extension's name, and its control characters are
//! escaped. The host never waits: what does not fit is counted, and the number is told. Guest and audit wait, each where
//! nobody else does, and take none of the room that the host has.
//!
//! Where nothing of the host's is on stderr (`--log off`, and the audit elsewhere) the guest's bytes go there as they are.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc as waiting};
use std::time::Duration;

use anyhow::Context;
use attache::telemetry::{legible, legible_name};
use tokio::io::{AsyncReadExt, AsyncWrite, DuplexStream, duplex};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tracing::level_filters::LevelFilter;
use wasmtime_wasi::cli::{AsyncStdoutStream, IsTerminal, StdoutStream};
use wasmtime_wasi::p2::OutputStream;

/// The host's lines that may wait. A line has some 200 bytes, and 16 KiB at most.
const HOST_LINES: usize = 1024;

/// Pieces of the guest's and of the audit that may wait, of at most some megabytes together.
const OTHER_PIECES: usize = 16;

/// How much of the guest's output is looked at together, in bytes. If all of it are line breaks, each becomes a line with a
/// name.
const PIECE: usize = 4 << 10;

/// The guest's longest line, in bytes; a longer one becomes several.
const LONGEST_LINE: usize = 8 << 10;

/// What a guest may write before it waits, in bytes.
const ROOM: usize = 64 << 10;

/// How long the end of the process waits for the last lines. A reader that takes none in this time takes none at all.
const LAST_LINES: Duration = Duration::from_secs(1);

/// A process has one stderr, so there is one of these.
static STDERR: OnceLock<Stderr> = OnceLock::new();

struct Stderr {
    host: Sender<Said>,
    others: Sender<Vec<u8>>,
    lost: AtomicU64,
}

/// What the host hands to the thread.
enum Said {
    Line(Vec<u8>),
    /// All that was said before is to be written, and then this one told.
    End(waiting::SyncSender<()>),
}

/// Starts the thread that writes. To be called once, before anything is said.
pub(crate) fn start() -> anyhow::Result<()> {
    let ((host, lines), (others, pieces)) = (channel(HOST_LINES), channel(OTHER_PIECES));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    if STDERR.set(Stderr { host, others, lost: AtomicU64::new(0) }).is_ok() {
        let write = move || runtime.block_on(write_all(lines, pieces));
        std::thread::Builder::new()
            .name("attache-stderr".into())
            .spawn(write)
            .context("cannot start the thread that writes to stderr")?;
    }
    Ok(())
}

async fn write_all(mut lines: Receiver<Said>, mut pieces: Receiver<Vec<u8>>) {
    loop {
        tokio::select! {
            biased;
            Some(said) = lines.recv() => match said {
                Said::Line(line) => write(&line),
                Said::End(told) => {
                    while let Ok(piece) = pieces.try_recv() {
                        write(&piece);
                    }
                    drop(told);
                }
            },
            Some(piece) = pieces.recv() => write(&piece),
            else => return,
        }
    }
}

fn write(bytes: &[u8]) {
    // Where the reader has gone there is nobody to tell.
    let _ = io::stderr().write_all(bytes);
    let lost = STDERR.get().map_or(0, |stderr| stderr.lost.swap(0, Ordering::Relaxed));
    if lost > 0 {
        let _ = writeln!(io::stderr(), "{lost} lines of the host's log are lost: stderr was not read fast enough");
    }
}

/// Says a line of the host's own. It never waits.
pub(crate) fn put_line(line: fmt::Arguments<'_>) {
    put(format!("{line}\n").into_bytes());
}

fn put(line: Vec<u8>) {
    match STDERR.get() {
        None => drop(io::stderr().write_all(&line)),
        Some(stderr) => {
            if stderr.host.try_send(Said::Line(line)).is_err() {
                stderr.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Waits for the last lines to be written, for a moment.
pub(crate) fn end() {
    let Some(stderr) = STDERR.get() else { return };
    let (told, ended) = waiting::sync_channel(0);
    if stderr.host.try_send(Said::End(told)).is_ok() {
        // Nothing is ever sent: it ends when the other side is dropped, or when time is up.
        let _ = ended.recv_timeout(LAST_LINES);
    }
}

/// Says a line of the host's own, as `eprintln!` does.
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
        let taken = STDERR.get().map(|stderr| stderr.others.blocking_send(record.to_vec()));
        if matches!(taken, Some(Ok(()))) { Ok(record.len()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes on what a guest prints, until all that write to the stream are gone.
pub(crate) struct Passing(JoinHandle<()>);

impl Passing {
    /// Waits for that, for a moment.
    pub(crate) async fn end(self) {
        let _ = tokio::time::timeout(LAST_LINES, self.0).await;
    }
}

/// A guest's stderr; `audited` says whether the audit is on this process's too.
pub(crate) fn of_guest(extension: &str, audited: bool) -> (GuestStderr, Passing) {
    let alone = !audited && LevelFilter::current() == LevelFilter::OFF;
    let (ours, theirs) = duplex(ROOM);
    let lines = (!alone).then(|| Lines::of(extension));
    let passing = Passing(tokio::spawn(pass_on(ours, lines)));
    let terminal = alone && IsTerminal::is_terminal(&io::stderr());
    (GuestStderr { stream: AsyncStdoutStream::new(ROOM, theirs), terminal }, passing)
}

/// What the guest writes to. Where its lines get a name it is told that this is no terminal: colours would be escaped.
pub(crate) struct GuestStderr {
    stream: AsyncStdoutStream,
    terminal: bool,
}

impl IsTerminal for GuestStderr {
    fn is_terminal(&self) -> bool {
        self.terminal
    }
}

impl StdoutStream for GuestStderr {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        self.stream.p2_stream()
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        self.stream.async_stream()
    }
}

async fn pass_on(mut from: DuplexStream, mut lines: Option<Lines>) {
    let Some(stderr) = STDERR.get() else { return };
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let bytes = piece.get(..length).unwrap_or_default();
        let whole = lines.as_mut().map_or_else(|| bytes.to_vec(), |lines| lines.add(bytes));
        if !whole.is_empty() && stderr.others.send(whole).await.is_err() {
            return;
        }
    }
    let rest = lines.map(Lines::end).unwrap_or_default();
    let _ = stderr.others.send(rest).await;
}

/// Makes lines that say whose they are.
struct Lines {
    extension: String,
    partial: Vec<u8>,
}

impl Lines {
    fn of(extension: &str) -> Self {
        Self { extension: legible_name(extension), partial: Vec::new() }
    }

    /// The lines that are whole with these bytes; the rest is kept.
    fn add(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut whole = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.partial);
                self.put(&line, &mut whole);
            } else if self.partial.len() >= LONGEST_LINE {
                let rest = self.partial.split_off(whole_letters(&self.partial));
                let line = std::mem::replace(&mut self.partial, rest);
                self.put(&line, &mut whole);
            }
        }
        whole
    }

    fn put(&self, line: &[u8], out: &mut Vec<u8>) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = format!("{}| {}", self.extension, legible(&*String::from_utf8_lossy(line)));
        out.extend_from_slice(line.trim_end_matches(' ').as_bytes());
        out.push(b'\n');
    }

    /// The last line, which nothing has ended.
    fn end(self) -> Vec<u8> {
        let mut last = Vec::new();
        if !self.partial.is_empty() {
            self.put(&self.partial, &mut last);
        }
        last
    }
}

/// How many of these bytes are whole letters, as far as they are letters at all.
fn whole_letters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn added(lines: &mut Lines, bytes: &[u8]) -> String {
        String::from_utf8(lines.add(bytes)).unwrap()
    }

    #[test]
    fn each_line_says_whose_it_is_and_an_unfinished_one_waits() {
        let mut lines = Lines::of("card");
        assert_eq!(added(&mut lines, b"one\r\n\ntw"), "card| one\ncard|\n");
        assert_eq!(added(&mut lines, b"o\tbe \x1b[31mred\x1b[0m\n{"), "card| two\tbe \\u{1b}[31mred\\u{1b}[0m\n");
        assert_eq!(String::from_utf8(lines.end()).unwrap(), "card| {\n");
    }

    #[test]
    fn a_line_without_an_end_becomes_several() {
        let mut lines = Lines::of("card");
        let piece = "é".repeat(PIECE / 2);
        let all: String = (0..8).map(|_| added(&mut lines, piece.as_bytes())).collect();
        assert_eq!(all.lines().count(), 4);
        assert!(all.lines().all(|line| line.starts_with("card| é") && !line.contains('\u{fffd}')));
        assert!(lines.end().is_empty());
    }

    #[test]
    fn bytes_that_are_no_letters_are_shown_as_such() {
        assert_eq!(added(&mut Lines::of("card"), b"\xff\xfe\n"), "card| \u{fffd}\u{fffd}\n");
    }
}
