//! A connection that is read message by message.
//!
//! Nothing behind a head is forwarded before the length of its body is known (see
//! [`Framing`](super::framing::Framing)). A connection that waits for a head is closed when that takes too long, or to
//! make room (see [`Heads`](super::heads::Heads)).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::HEAD_WITHIN;
use super::heads::Head;

/// A connection that is read message by message, and whose heads are counted.
pub(super) struct Counted<S> {
    stream: S,
    head: Head,
    /// The bytes that were read with a head and come behind it.
    rest: Bytes,
    /// The current wait, and the end of its time once its head has begun.
    ends: Option<(u64, Pin<Box<Sleep>>)>,
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S, head: Head) -> Self {
        Self { stream, head, rest: Bytes::new(), ends: None }
    }

    /// Returns the connection, and the bytes that were read and not forwarded.
    pub(super) fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.rest)
    }

    /// Fails once the connection has to go, even while it only writes. So a client that reads nothing keeps no slot.
    fn closed(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.poll_check(cx) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Fails if the connection may not wait any longer.
    fn poll_check(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((ticket, begun)) = self.head.waits() else {
            self.ends = None;
            return Poll::Ready(Ok(()));
        };
        let waits = self.head.poll_waits(ticket, cx.waker());
        if waits == Poll::Ready(false) {
            let why = "closed to make room for other clients";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)));
        }
        if begun && self.ends.as_ref().is_none_or(|(of, _)| *of != ticket) {
            self.ends = Some((ticket, Box::pin(sleep(HEAD_WITHIN))));
        }
        let late = |(of, end): &mut (u64, Pin<Box<Sleep>>)| *of == ticket && end.as_mut().poll(cx).is_ready();
        if self.ends.as_mut().is_some_and(late) {
            let why = "the head of a request did not come in time";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        waits.map(|_| Ok(()))
    }

    fn read_rest(&mut self, buffer: &mut ReadBuf<'_>) {
        let room = self.rest.len().min(buffer.remaining());
        let taken = self.head.read(self.rest.get(..room).unwrap_or_default());
        buffer.put_slice(&self.rest.split_to(taken));
        if !self.rest.has_remaining() {
            self.rest = Bytes::new();
        }
    }
}

impl<S: AsyncRead + Unpin> Counted<S> {
    /// Reads a piece of a head. The bytes behind the head are kept.
    fn poll_piece(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>, limit: usize) -> Poll<io::Result<()>> {
        let mut piece = ReadBuf::new(buffer.initialize_unfilled_to(limit));
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
        let taken = self.head.read(piece.filled());
        self.rest = Bytes::copy_from_slice(piece.filled().get(taken..).unwrap_or_default());
        buffer.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_check(cx))?;
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        let limit = self.head.limit(room)?;
        if self.rest.has_remaining() {
            self.read_rest(buffer);
        } else if limit < room {
            ready!(self.poll_piece(cx, buffer, limit))?;
        } else {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
            let taken = self.head.read(buffer.filled().get(before..).unwrap_or_default());
            let read = buffer.filled().get(before.saturating_add(taken)..).unwrap_or_default();
            self.rest = Bytes::copy_from_slice(read);
            buffer.set_filled(before.saturating_add(taken));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.closed(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.closed(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.closed(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
