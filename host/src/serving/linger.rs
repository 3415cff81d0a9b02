//! The end of a connection.
//!
//! A refused client gets its answer before it has sent its whole request. A socket that is closed with unread bytes
//! loses the answer: the system resets the connection, and the client may see the reset in place of the answer.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;

use super::stream::Stream;

/// The time for which a client may go on sending after its answer, as with Go's server.
const LINGER: Duration = Duration::from_millis(500);

/// The bytes that are discarded at a time meanwhile.
const THROWN_AWAY: usize = 8 << 10;

/// A connection that is read for a while between the last sent byte and its end, except while the server stops. A
/// client that is gone, or has closed its side, ends it at once.
pub(super) struct Lingering {
    stream: Stream,
    /// The bytes that were read already, to know the protocol.
    ahead: Bytes,
    stopping: CancellationToken,
    /// The end of the wait, from the last sent byte on.
    ends: Option<Pin<Box<Sleep>>>,
}

impl Lingering {
    pub(super) fn new(stream: Stream, ahead: Bytes, stopping: CancellationToken) -> Self {
        Self { stream, ahead, stopping, ends: None }
    }

    /// Returns the connection, and the bytes that were read to know the protocol and not forwarded.
    pub(super) fn into_parts(self) -> (Stream, Bytes) {
        (self.stream, self.ahead)
    }

    /// Reads and discards. Returns whether bytes came.
    fn poll_throw_away(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut thrown_away = [MaybeUninit::uninit(); THROWN_AWAY];
        let mut buffer = ReadBuf::uninit(&mut thrown_away);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
        Poll::Ready(read.is_ok() && !buffer.filled().is_empty())
    }
}

impl AsyncRead for Lingering {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.has_remaining() {
            let taken = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(taken));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Lingering {
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
        if self.ends.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.ends = Some(Box::pin(sleep(LINGER)));
        }
        while !self.stopping.is_cancelled() {
            if self.ends.as_mut().is_none_or(|ends| ends.as_mut().poll(cx).is_ready()) {
                break;
            }
            if !ready!(self.poll_throw_away(cx)) {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}
