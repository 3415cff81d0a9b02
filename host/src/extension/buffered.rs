//! A bounded buffer before a writer that may be slow.
//!
//! Threat: a guest that writes in pieces of no or one byte. wasmtime-wasi's `AsyncStdoutStream` keeps each piece apart.
//! That takes some hundred bytes of the host's memory for one of the guest's, and pieces without bytes have no bound at
//! all. Here pieces are joined as they come, and unwritten bytes never exceed [`ROOM`].

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

/// The maximum of unwritten bytes: as many as a pipe of the kernel holds.
const ROOM: usize = 64 << 10;

/// A stream for a guest's output, in which at most 64 KiB wait to be written, however small the pieces are.
///
/// Clones are cheap and share the buffer. Bytes that are unwritten when the last clone is dropped are lost.
///
/// ```no_run
/// use attache::extension::{BufferedOutput, Invocation};
///
/// # async fn call() {
/// let call = Invocation::new().stdout(BufferedOutput::new(tokio::io::sink()));
/// # }
/// ```
#[derive(Clone)]
pub struct BufferedOutput {
    handle: Arc<Handle>,
    terminal: bool,
}

/// The owner of the writing task; dropping it ends the task.
struct Handle {
    shared: Arc<Shared>,
    _task: AbortOnDropJoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified when there are bytes to write, or a flush to do.
    work: Notify,
    /// Notified when bytes were written or flushed.
    done: Notify,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// The number of bytes that the task is writing.
    writing: usize,
    flushing: bool,
    /// Set after the writer has failed.
    closed: bool,
}

impl State {
    fn unwritten(&self) -> usize {
        self.waiting.len().saturating_add(self.writing)
    }

    fn room(&self) -> usize {
        if self.flushing { 0 } else { ROOM.saturating_sub(self.unwritten()) }
    }

    fn is_ready(&self) -> bool {
        self.closed || self.room() > 0
    }
}

/// The next step of the writing task.
enum Job {
    Write,
    Flush,
    Wait,
}

impl BufferedOutput {
    /// Starts a task that writes to `writer`, which must not block when it is polled.
    pub fn new(writer: impl AsyncWrite + Send + 'static) -> Self {
        let shared = Arc::<Shared>::default();
        let task = spawn(write_all(Arc::clone(&shared), writer));
        Self { handle: Arc::new(Handle { shared, _task: task }), terminal: false }
    }

    /// Sets whether the guest sees a terminal. The default is no.
    #[must_use]
    pub fn terminal(self, terminal: bool) -> Self {
        Self { terminal, ..self }
    }

    /// Returns the number of unwritten bytes.
    pub fn unwritten(&self) -> usize {
        self.handle.shared.state().unwritten()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the next step. Bytes to write are moved to `piece`, whose allocation is reused for the next ones.
    fn next(&self, piece: &mut Vec<u8>) -> Job {
        let mut state = self.state();
        if !state.waiting.is_empty() {
            piece.clear();
            std::mem::swap(&mut state.waiting, piece);
            state.writing = piece.len();
            return Job::Write;
        }
        if state.flushing { Job::Flush } else { Job::Wait }
    }

    fn finish(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.done.notify_waiters();
    }
}

async fn write_all(shared: Arc<Shared>, writer: impl AsyncWrite) {
    let (mut writer, mut piece) = (pin!(writer), Vec::new());
    loop {
        let done = match shared.next(&mut piece) {
            Job::Write => writer.write_all(&piece).await.map(|()| shared.finish(|state| state.writing = 0)),
            Job::Flush => writer.flush().await.map(|()| shared.finish(|state| state.flushing = false)),
            Job::Wait => {
                shared.work.notified().await;
                Ok(())
            }
        };
        if done.is_err() {
            return shared.finish(|state| *state = State { closed: true, ..State::default() });
        }
    }
}

impl IsTerminal for BufferedOutput {
    fn is_terminal(&self) -> bool {
        self.terminal
    }
}

impl StdoutStream for BufferedOutput {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Stream(Arc::clone(&self.handle)))
    }

    /// Returns a sink: this stream belongs to WASI 0.3, which no guest is linked with.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

/// A guest's handle of the buffer. The guest does not see why the writer failed: the stream is closed, like a pipe
/// without a reader.
struct Stream(Arc<Handle>);

#[wasmtime_wasi::async_trait]
impl OutputStream for Stream {
    fn check_write(&mut self) -> StreamResult<usize> {
        let state = self.0.shared.state();
        if state.closed { Err(StreamError::Closed) } else { Ok(state.room()) }
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut state = self.0.shared.state();
        if state.closed {
            return Err(StreamError::Closed);
        }
        if bytes.len() > state.room() {
            return Err(StreamError::trap("wrote more than check-write had allowed"));
        }
        if !bytes.is_empty() {
            state.waiting.extend_from_slice(&bytes);
            drop(state);
            self.0.shared.work.notify_one();
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        let mut state = self.0.shared.state();
        if state.closed {
            return Err(StreamError::Closed);
        }
        if !state.flushing {
            state.flushing = true;
            drop(state);
            self.0.shared.work.notify_one();
        }
        Ok(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {
        loop {
            let mut done = pin!(self.0.shared.done.notified());
            // From here on each change wakes this task, so none is missed between the check and the wait.
            done.as_mut().enable();
            if self.0.shared.state().is_ready() {
                return;
            }
            done.await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt, duplex};

    #[tokio::test]
    async fn what_waits_is_bounded_however_small_its_pieces() {
        let (mut reader, writer) = duplex(1);
        let output = BufferedOutput::new(writer);
        let mut stream = output.p2_stream();
        for _ in 0..100_000 {
            stream.write(Bytes::new()).unwrap();
        }
        assert_eq!(output.unwritten(), 0);
        let mut written = 0;
        while stream.check_write().unwrap() > 0 {
            stream.write(Bytes::from_static(b"x")).unwrap();
            written += 1;
        }
        assert_eq!((written, output.unwritten()), (ROOM, ROOM));
        assert!(output.handle.shared.state().waiting.capacity() <= 2 * ROOM);
        let all = tokio::spawn(async move {
            let mut read = vec![0; ROOM];
            reader.read_exact(&mut read).await.map(|_| reader)
        });
        stream.flush().unwrap();
        assert_eq!(stream.write_ready().await.unwrap(), ROOM);
        assert_eq!(output.unwritten(), 0);
        drop(all.await.unwrap().unwrap());
        stream.write(Bytes::from_static(b"x")).unwrap();
        stream.ready().await;
        while stream.check_write().is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(matches!(stream.write(Bytes::new()), Err(StreamError::Closed)));
    }
}
