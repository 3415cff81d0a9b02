//! The bound on informational answers (1xx) before an answer.
//!
//! Threat: a server that sends informational answers without end. The HTTP client skips each of them and reads the
//! next, so that one connection blocks the thread of others. The connection is cut at [`MAX_INFORMATIONAL`]; the size
//! of each head is bounded by the client's read buffer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};

use http::{Extensions, Request};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, capture_connection};

/// The most informational answers before the answer itself. Real servers send one or two (100, 103).
const MAX_INFORMATIONAL: u32 = 16;

/// A handle that cuts one connection. Clones cut this connection too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut(Arc<AtomicBool>);

impl Cut {
    fn is_called(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Cuts the connection at too many informational answers to `request`.
    pub(crate) fn bound<B>(self, request: &mut Request<B>) {
        bound(request, move || self.0.store(true, Ordering::Release));
    }

    /// Does as [`Cut::bound`] for a request whose connection comes from a pool of [`Cuttable`] connections.
    pub(crate) fn bound_pooled<B>(request: &mut Request<B>) {
        let captured = capture_connection(request);
        bound(request, move || {
            let mut extras = Extensions::new();
            if let Some(connected) = &*captured.connection_metadata() {
                connected.get_extras(&mut extras);
            }
            if let Some(Self(cut)) = extras.get::<Self>() {
                cut.store(true, Ordering::Release);
            }
        });
    }
}

fn bound<B>(request: &mut Request<B>, cut: impl Fn() + Send + Sync + 'static) {
    let number = AtomicU32::new(0);
    hyper::ext::on_informational(request, move |_| {
        if number.fetch_add(1, Ordering::Relaxed) >= MAX_INFORMATIONAL {
            cut();
        }
    });
}

/// A connection that fails to read after it is cut.
#[derive(Debug)]
pub(crate) struct Cuttable<S> {
    stream: S,
    cut: Cut,
}

impl<S> Cuttable<S> {
    pub(crate) fn new(stream: S, cut: Cut) -> Self {
        Self { stream, cut }
    }
}

impl<S: Read + Unpin> Read for Cuttable<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.cut.is_called() {
            let why = format!("it sent more than {MAX_INFORMATIONAL} informational answers (1xx) before its answer");
            return Poll::Ready(Err(io::Error::other(why)));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: Write + Unpin> Write for Cuttable<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
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

impl<S: Connection> Connection for Cuttable<S> {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.cut.clone())
    }
}
