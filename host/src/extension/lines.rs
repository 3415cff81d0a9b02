//! A guest's output as lines that begin with the extension's name.
//!
//! Threats: a guest that prints text that looks like a record of the audit or a line of the log; a guest that leaves a
//! line unfinished, so that the next record is unreadable; a guest that prints only line breaks, each of which becomes
//! a line with a name. So only whole lines are passed on, each with its extension's name before it and its control
//! characters escaped. The rate of the grant counts these lines, not the bytes that they were made of.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use attache_base::untrusted::page;
use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::telemetry::legible_name;

/// The maximum length of a line as it is passed on, in bytes; a longer line becomes several.
const LONGEST_LINE: usize = 8 << 10;

/// The maximum that a guest may write at once, in bytes.
const PIECE: usize = 4 << 10;

/// The maximum size of a piece of line breaks alone after their names are added, in bytes.
const LARGEST: usize = 64 << 10;

/// The converter from bytes to named lines.
pub(super) struct Lines {
    extension: String,
    partial: Vec<u8>,
}

impl Lines {
    pub(super) fn of(extension: &str) -> Self {
        Self { extension: legible_name(extension), partial: Vec::new() }
    }

    /// Returns the maximum of bytes that may be added at once.
    fn piece(&self) -> usize {
        (LARGEST / self.extension.len().saturating_add(2)).clamp(1, PIECE)
    }

    /// Adds bytes, and writes the lines that they complete to `whole`; the rest is kept.
    fn add(&mut self, bytes: &[u8], whole: &mut BytesMut) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.partial);
                self.put(&line, whole);
            } else if self.partial.len() >= LONGEST_LINE {
                let rest = self.partial.split_off(whole_letters(&self.partial));
                let line = std::mem::replace(&mut self.partial, rest);
                self.put(&line, whole);
            }
        }
    }

    fn put(&self, line: &[u8], out: &mut BytesMut) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let shown = page(&*String::from_utf8_lossy(line), usize::MAX);
        let mut rest = &*shown;
        loop {
            let (piece, left) = rest.split_at(rest.floor_char_boundary(LONGEST_LINE));
            let line = format!("{}| {piece}", self.extension);
            out.extend_from_slice(line.trim_end_matches(' ').as_bytes());
            out.extend_from_slice(b"\n");
            if left.is_empty() {
                return;
            }
            rest = left;
        }
    }

    /// Writes the last line, which has no line break.
    fn end(&mut self, out: &mut BytesMut) {
        let line = std::mem::take(&mut self.partial);
        if !line.is_empty() {
            self.put(&line, out);
        }
    }
}

/// Returns the number of bytes before an incomplete letter at the end; bytes that are not UTF-8 count as complete.
fn whole_letters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

/// The lines of a stream: an unfinished line, and whole lines that the stream behind has not taken yet.
pub(super) struct Waiting {
    lines: Lines,
    whole: BytesMut,
    /// Set after a flush was requested, until everything before it has been passed on.
    flush: bool,
}

/// The lines of one call, shared by all handles of its stream.
#[derive(Clone)]
pub(super) struct SharedLines(Arc<Mutex<Waiting>>);

impl SharedLines {
    pub(super) fn of(extension: &str) -> Self {
        Self(Arc::new(Mutex::new(Waiting { lines: Lines::of(extension), whole: BytesMut::new(), flush: false })))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of bytes that are not passed on yet.
    pub(super) fn len(&self) -> usize {
        let waiting = self.waiting();
        waiting.whole.len().saturating_add(waiting.lines.partial.len())
    }

    /// Takes the rest of the guest's output, including its unfinished last line.
    pub(super) fn rest(&self) -> Bytes {
        let Waiting { lines, whole, .. } = &mut *self.waiting();
        lines.end(whole);
        whole.split().freeze()
    }
}

impl Waiting {
    /// Passes on as much as the stream takes. Returns whether that was all.
    fn pass_on(&mut self, to: &mut dyn OutputStream) -> StreamResult<bool> {
        while !self.whole.is_empty() {
            let room = to.check_write()?;
            if room == 0 {
                return Ok(false);
            }
            to.write(self.whole.split_to(room.min(self.whole.len())).freeze())?;
        }
        if std::mem::take(&mut self.flush) {
            to.flush()?;
        }
        Ok(true)
    }
}

/// A stream that adds a name to its guest's lines.
pub(super) struct NamedLines<S> {
    pub(super) stream: S,
    pub(super) lines: SharedLines,
}

impl<S: StdoutStream> IsTerminal for NamedLines<S> {
    /// Returns false, because colours would be escaped.
    fn is_terminal(&self) -> bool {
        false
    }
}

impl<S: StdoutStream> StdoutStream for NamedLines<S> {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(LineStream { inner: self.stream.p2_stream(), lines: self.lines.clone() })
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        self.stream.async_stream()
    }
}

struct LineStream {
    inner: Box<dyn OutputStream>,
    lines: SharedLines,
}

impl LineStream {
    fn pass_on(&mut self) -> StreamResult<bool> {
        self.lines.waiting().pass_on(&mut *self.inner)
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for LineStream {
    fn check_write(&mut self) -> StreamResult<usize> {
        if !self.pass_on()? {
            return Ok(0);
        }
        let room = self.inner.check_write()?;
        Ok(room.min(self.lines.waiting().lines.piece()))
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let Waiting { lines, whole, .. } = &mut *self.lines.waiting();
        if bytes.len() > lines.piece() || !(whole.is_empty() || bytes.is_empty()) {
            return Err(StreamError::trap("wrote more than check-write had allowed"));
        }
        lines.add(&bytes, whole);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.lines.waiting().flush = true;
        self.pass_on().map(drop)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LineStream {
    async fn ready(&mut self) {
        // An error counts as ready too: the next `check_write` returns it.
        while let Ok(false) = self.pass_on() {
            self.inner.ready().await;
        }
        self.inner.ready().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(bytes: impl AsRef<[u8]>) -> String {
        String::from_utf8(bytes.as_ref().to_vec()).unwrap()
    }

    fn added(lines: &mut Lines, bytes: &[u8]) -> String {
        let mut whole = BytesMut::new();
        lines.add(bytes, &mut whole);
        text(whole)
    }

    fn end(lines: &mut Lines) -> String {
        let mut whole = BytesMut::new();
        lines.end(&mut whole);
        text(whole)
    }

    #[test]
    fn each_line_says_whose_it_is_and_an_unfinished_one_waits() {
        let mut lines = Lines::of("card");
        assert_eq!(added(&mut lines, b"one\r\n\ntw"), "card| one\ncard|\n");
        assert_eq!(added(&mut lines, b"o\tbe \x1b[31mred\x1b[0m\n{"), "card| two\tbe \\u{1b}[31mred\\u{1b}[0m\n");
        assert_eq!(end(&mut lines), "card| {\n");
    }

    #[test]
    fn a_line_without_an_end_becomes_several() {
        let mut lines = Lines::of("card");
        let piece = "é".repeat(PIECE / 2);
        let all: String = (0..8).map(|_| added(&mut lines, piece.as_bytes())).collect();
        assert_eq!(all.lines().count(), 4);
        assert!(all.lines().all(|line| line.starts_with("card| é") && !line.contains('\u{fffd}')));
        assert!(end(&mut lines).is_empty());
    }

    #[test]
    fn bytes_that_are_no_letters_are_shown_as_such() {
        assert_eq!(added(&mut Lines::of("card"), b"\xff\xfe\n"), "card| \u{fffd}\u{fffd}\n");
    }

    #[test]
    fn a_line_that_is_long_once_it_is_escaped_becomes_several() {
        let mut lines = Lines::of("card");
        let all = added(&mut lines, &[&[0x1b; PIECE][..], b"\n"].concat());
        assert!(all.lines().count() > 1 && all.lines().all(|line| line.len() <= LONGEST_LINE + 6), "{all}");
        assert_eq!(all.matches("\\u{1b}").count() + all.lines().count() - 1, PIECE, "one is cut at each end of a line");
    }

    #[test]
    fn line_breaks_alone_become_no_more_than_is_allowed_for() {
        for name in ["a", &"x".repeat(63), &"x".repeat(253)] {
            let mut lines = Lines::of(name);
            let piece = lines.piece();
            assert!(added(&mut lines, &vec![b'\n'; piece]).len() <= LARGEST, "{name}");
        }
    }
}
