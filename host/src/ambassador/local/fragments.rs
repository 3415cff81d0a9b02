//! Request lines that hold a fragment.
//!
//! Threat: a target whose end is dropped before anybody has looked at it: the reader of URIs cuts it off at a `#`, and
//! the request would be answered as another than was sent. So the bytes of a connection are looked at on their way in.
//! Only the beginning of each line that may be a request's is, and a number is kept of those with a `#`. A body may
//! have such a line too: then a later request for the same target is refused once.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The number of such lines that are remembered of one connection: clients send one request after another, so it is
/// one.
const REMEMBERED: usize = 16;

/// The longest method that is looked at, in bytes.
const MAX_METHOD: usize = 16;

/// Stands in a request whose target had a fragment.
#[derive(Clone, Copy, Debug)]
pub(super) struct HadFragment;

/// What has been seen of one connection. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Fragments(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    at: At,
    hash: Fnv,
    found: VecDeque<u64>,
}

/// Where in a line the last byte was.
#[derive(Clone, Copy, Default)]
enum At {
    /// In what may be a method, after so many letters.
    Method(usize),
    /// Behind the space that ends it.
    Space,
    /// In the target.
    Target,
    /// In what is of no interest, until the line ends.
    #[default]
    Rest,
}

/// FNV-1a: texts that are alike have one number, which is all that is asked of it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn with(self, byte: u8) -> Self {
        Self((self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

impl Seen {
    fn read(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.iter();
        while let Some(byte) = bytes.next() {
            if *byte == b'\n' {
                (self.at, self.hash) = (At::Method(0), Fnv::default());
                continue;
            }
            self.at = match (self.at, *byte) {
                (At::Method(length), byte) if byte.is_ascii_uppercase() && length < MAX_METHOD => {
                    At::Method(length + 1)
                }
                (At::Method(1..), b' ') => At::Space,
                (At::Space, b'/') | (At::Target, b'!' | b'"' | b'$'..=b'~' | 0x80..) => At::Target,
                (At::Target, b'#') => {
                    self.remember();
                    At::Rest
                }
                _ => At::Rest,
            };
            self.hash = self.hash.with(*byte);
            if matches!(self.at, At::Rest) {
                // Bodies are mostly this: the next line begins where this one ends.
                let rest = bytes.as_slice();
                let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                bytes = rest.get(end..).unwrap_or_default().iter();
            }
        }
    }

    fn remember(&mut self) {
        if self.found.len() == REMEMBERED {
            self.found.pop_front();
        }
        self.found.push_back(self.hash.0);
    }
}

impl Fragments {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks a request whose target had a fragment.
    pub(super) fn mark<B>(&self, request: &mut Request<B>) {
        let mut seen = self.seen();
        if seen.found.is_empty() {
            return;
        }
        let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let line = request.method().as_str().bytes().chain([b' ']).chain(target.bytes());
        let Fnv(hash) = line.fold(Fnv::default(), Fnv::with);
        if let Some(index) = seen.found.iter().position(|found| *found == hash) {
            seen.found.remove(index);
            request.extensions_mut().insert(HadFragment);
        }
    }
}

/// A connection that is looked at.
pub(super) struct Watched<S> {
    stream: S,
    fragments: Fragments,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S) -> (Self, Fragments) {
        let fragments = Fragments::default();
        fragments.seen().at = At::Method(0);
        (Self { stream, fragments: fragments.clone() }, fragments)
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.fragments.seen().read(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn marked(pieces: &[&str], line: &str) -> bool {
        let (_, fragments) = Watched::new(tokio::io::empty());
        pieces.iter().for_each(|piece| fragments.seen().read(piece.as_bytes()));
        let (method, target) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(target).body(()).unwrap();
        fragments.mark(&mut request);
        request.extensions().get::<HadFragment>().is_some()
    }

    #[test]
    fn a_fragment_is_seen_however_the_line_comes() {
        for pieces in [
            &["GET /api/v1/pods#x HTTP/1.1\r\nHost: a\r\n\r\n"][..],
            &["\r\nGET /api/v1/pods# HTTP/1.1\r\n"],
            &["GE", "T /api", "/v1/pods", "#x HTTP/1.1\r\n"],
            &["POST /x HTTP/1.1\r\nHost: a\r\n\r\n{\"a\":1}\nGET /api/v1/pods#x HTTP/1.1\r\n"],
            &["GET /api/v1/pods#x HTTP/1.1\n\nGET /other HTTP/1.1\r\n"],
        ] {
            assert!(marked(pieces, "GET /api/v1/pods"), "{pieces:?}");
        }
        assert!(marked(&["GET /a?watch=1#&watch=0 HTTP/1.1\r\n"], "GET /a?watch=1"));
    }

    #[test]
    fn other_lines_are_let_be() {
        for pieces in [
            &["GET /api/v1/pods HTTP/1.1\r\nX: GET /api/v1/pods#\r\n\r\n"][..],
            &["GET /api/v1/pods HTTP/1.1\r\n\r\n# GET /api/v1/pods#\n  GET /api/v1/pods#"],
            &["POST /api/v1/pods#x HTTP/1.1\r\n"],
            &["GET /api/v1/pods/p#x HTTP/1.1\r\n"],
        ] {
            assert!(!marked(pieces, "GET /api/v1/pods"), "{pieces:?}");
        }
    }
}
