//! The stop signal of a command that runs as a service: the end of its stdin.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

/// A stdin without data that ends when a token is cancelled.
#[derive(Clone, Debug)]
pub(super) struct StopStdin(pub(super) CancellationToken);

impl IsTerminal for StopStdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for StopStdin {
    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(Ended(Box::pin(self.0.clone().cancelled_owned())))
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for StopStdin {
    async fn ready(&mut self) {
        self.0.cancelled().await;
    }
}

impl InputStream for StopStdin {
    fn read(&mut self, _size: usize) -> StreamResult<Bytes> {
        if self.0.is_cancelled() { Err(StreamError::Closed) } else { Ok(Bytes::new()) }
    }
}

struct Ended(Pin<Box<WaitForCancellationFutureOwned>>);

impl AsyncRead for Ended {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, _buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}
