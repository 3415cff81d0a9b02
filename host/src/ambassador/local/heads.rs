//! Connections of one socket that wait for the head of a request.
//!
//! Threat: clients that connect and send nothing, or half a head, before any grant is asked. Each holds a connection
//! and a buffer. Here all heads of one socket share one budget of bytes, a head that has begun has to be complete soon,
//! and where connections run out the one that has waited longest is closed.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a head may take from its first byte to its last. A client has all of it before it connects.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// The connections of one socket that wait.
pub(super) struct Heads {
    /// The most bytes of all heads together.
    limit: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    bytes: usize,
    /// By the order in which they began to wait. A connection that finds itself missing is over.
    waiting: BTreeMap<u64, Entry>,
    /// The bytes of connections that are over and do not know it yet, and their sum.
    closing: BTreeMap<u64, usize>,
    closing_bytes: usize,
    /// Connections that read on when those are gone.
    paused: BTreeMap<u64, Waker>,
}

#[derive(Default)]
struct Entry {
    bytes: usize,
    waker: Option<Waker>,
}

impl Table {
    fn remove(&mut self, ticket: u64) -> Option<Entry> {
        let entry = self.waiting.remove(&ticket)?;
        self.paused.remove(&ticket);
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        Some(entry)
    }

    /// Closes the connection that has waited longest of those that `fit`.
    fn close_oldest(&mut self, fit: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let oldest = self.waiting.iter().find(|(_, entry)| fit(entry)).map(|(ticket, _)| *ticket)?;
        let entry = self.remove(oldest)?;
        if entry.bytes > 0 {
            self.closing.insert(oldest, entry.bytes);
            self.closing_bytes = self.closing_bytes.saturating_add(entry.bytes);
        }
        Some(entry)
    }

    /// Takes a connection out, whatever has become of it. Returns who may read on.
    fn leave(&mut self, ticket: u64) -> BTreeMap<u64, Waker> {
        self.remove(ticket);
        let Some(bytes) = self.closing.remove(&ticket) else { return BTreeMap::new() };
        self.closing_bytes = self.closing_bytes.saturating_sub(bytes);
        std::mem::take(&mut self.paused)
    }
}

impl Heads {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, table: Mutex::default() })
    }

    /// Closes the connection that has waited longest, to make room for another.
    pub(super) fn close_oldest(&self) {
        let closed = self.table().close_oldest(|_| true);
        wake(closed);
    }

    fn wait(&self, bytes: usize) -> u64 {
        let mut table = self.table();
        let ticket = table.next;
        table.next = table.next.saturating_add(1);
        table.waiting.insert(ticket, Entry::default());
        drop(table);
        self.count(ticket, bytes);
        ticket
    }

    /// Notes who is to be woken when the connection is closed. Returns whether it may read on; not yet, while
    /// connections that are closed for their heads still hold them.
    fn poll_waits(&self, ticket: u64, waker: &Waker) -> Poll<bool> {
        let mut table = self.table();
        let full = table.bytes.saturating_add(table.closing_bytes) > self.limit;
        let Some(entry) = table.waiting.get_mut(&ticket) else { return Poll::Ready(false) };
        match &mut entry.waker {
            Some(known) => known.clone_from(waker),
            unknown => *unknown = Some(waker.clone()),
        }
        if full {
            table.paused.insert(ticket, waker.clone());
            return Poll::Pending;
        }
        Poll::Ready(true)
    }

    fn leave(&self, ticket: u64) {
        let resumed = self.table().leave(ticket);
        resumed.into_values().for_each(Waker::wake);
    }

    /// Counts bytes of a head. Beyond the budget the oldest head is given up, and so on.
    fn count(&self, ticket: u64, bytes: usize) {
        let mut table = self.table();
        if let Some(entry) = table.waiting.get_mut(&ticket) {
            entry.bytes = entry.bytes.saturating_add(bytes);
            table.bytes = table.bytes.saturating_add(bytes);
        }
        let mut closed = Vec::new();
        while table.bytes > self.limit {
            let Some(entry) = table.close_oldest(|entry| entry.bytes > 0) else { break };
            closed.push(entry);
        }
        drop(table);
        wake(closed);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(closed: impl IntoIterator<Item = Entry>) {
    closed.into_iter().filter_map(|entry| entry.waker).for_each(Waker::wake);
}

/// The part of one connection in [`Heads`]. Clones are the same connection's.
#[derive(Clone)]
pub(super) struct Head(Arc<Connection>);

struct Connection {
    heads: Arc<Heads>,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
enum State {
    /// The number of the wait. What was read last may hold the beginning of the head after the one that is waited for.
    Waiting { ticket: u64, last_read: usize },
    /// A request is under way. What was read last may be the beginning of the next head.
    UnderWay { last_read: usize },
}

impl Head {
    /// A connection that waits for its first head.
    pub(super) fn first(heads: Arc<Heads>) -> Self {
        let state = Mutex::new(State::Waiting { ticket: heads.wait(0), last_read: 0 });
        Self(Arc::new(Connection { heads, state }))
    }

    /// Notes that a head is complete. The connection waits for the next one when the result is dropped.
    pub(super) fn arrived(&self) -> Answering {
        let mut state = self.0.state();
        if let State::Waiting { ticket, last_read } = *state {
            *state = State::UnderWay { last_read };
            drop(state);
            self.0.heads.leave(ticket);
        }
        Answering(self.clone())
    }

    fn read(&self, bytes: usize) {
        let mut state = self.0.state();
        match &mut *state {
            State::Waiting { ticket, last_read } => {
                *last_read = bytes;
                let ticket = *ticket;
                drop(state);
                self.0.heads.count(ticket, bytes);
            }
            State::UnderWay { last_read } => *last_read = bytes,
        }
    }

    /// The number of this wait; `None` while a request is under way.
    fn ticket(&self) -> Option<u64> {
        match *self.0.state() {
            State::Waiting { ticket, .. } => Some(ticket),
            State::UnderWay { .. } => None,
        }
    }
}

impl Connection {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let state = *self.state();
        if let State::Waiting { ticket, .. } = state {
            self.heads.leave(ticket);
        }
    }
}

/// A request under way, from its head to the end of its answer.
pub(super) struct Answering(Head);

impl Drop for Answering {
    fn drop(&mut self) {
        let Connection { heads, .. } = &*self.0.0;
        let mut state = self.0.0.state();
        if let State::UnderWay { last_read } = *state {
            *state = State::Waiting { ticket: heads.wait(last_read), last_read };
        }
    }
}

/// A connection whose heads are counted.
pub(super) struct Counted<S> {
    stream: S,
    head: Head,
    /// The wait of a head that has begun, and its end.
    begun: Option<(u64, Pin<Box<Sleep>>)>,
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S, head: Head) -> Self {
        Self { stream, head, begun: None }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Fails where the connection waits and may not go on waiting.
    /// Fails once the connection has to go, also while it only writes: a client that reads nothing keeps no place.
    fn closed(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.poll_check(cx) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    fn poll_check(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(ticket) = self.head.ticket() else {
            self.begun = None;
            return Poll::Ready(Ok(()));
        };
        let waits = self.head.0.heads.poll_waits(ticket, cx.waker());
        if waits == Poll::Ready(false) {
            let why = "closed to make room for other clients";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)));
        }
        let late = |(begun, end): &mut (u64, Pin<Box<Sleep>>)| *begun == ticket && end.as_mut().poll(cx).is_ready();
        if self.begun.as_mut().is_some_and(late) {
            let why = "the head of a request did not come in time";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        waits.map(|_| Ok(()))
    }

    fn note(&mut self, bytes: usize, cx: &mut Context<'_>) {
        self.head.read(bytes);
        let Some(ticket) = self.head.ticket().filter(|_| bytes > 0) else { return };
        if self.begun.as_ref().is_none_or(|(begun, _)| *begun != ticket) {
            let mut end = Box::pin(sleep(HEAD_WITHIN));
            // It wakes the connection from the first time it is polled.
            let _ = end.as_mut().poll(cx);
            self.begun = Some((ticket, end));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_check(cx))?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if matches!(read, Poll::Ready(Ok(()))) {
            let bytes = buffer.filled().len().saturating_sub(before);
            self.note(bytes, cx);
        }
        read
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

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(head: &Head) -> bool {
        head.ticket().is_some_and(|ticket| head.0.heads.poll_waits(ticket, Waker::noop()) != Poll::Ready(false))
    }

    /// The bytes of heads that are waited for, and of those that are given up.
    fn held(heads: &Heads) -> (usize, usize) {
        let table = heads.table();
        (table.bytes, table.closing_bytes)
    }

    #[test]
    fn beyond_the_budget_the_oldest_head_is_given_up_and_idle_connections_are_not() {
        let heads = Heads::new(100);
        let [idle, first, second] = [(); 3].map(|()| Head::first(Arc::clone(&heads)));
        first.read(60);
        second.read(40);
        assert!(waits(&first) && waits(&second));
        second.read(1);
        assert_eq!([&idle, &first, &second].map(waits), [true, false, true]);
        // Nobody reads on while the one that was given up has not noticed.
        let reads = |head: &Head| head.0.heads.poll_waits(head.ticket().unwrap_or_default(), Waker::noop());
        assert_eq!((reads(&second), reads(&idle)), (Poll::Pending, Poll::Pending));
        drop(first);
        assert_eq!((reads(&second), reads(&idle)), (Poll::Ready(true), Poll::Ready(true)));
        // One head alone may not go beyond it either.
        second.read(60);
        assert_eq!([&idle, &second].map(waits), [true, false]);
        drop(second);
        assert_eq!(held(&heads), (0, 0));
        assert_eq!(reads(&idle), Poll::Ready(true));
    }

    #[test]
    fn room_is_made_by_who_has_waited_longest_and_never_by_who_is_answered() {
        let heads = Heads::new(100);
        let [answered, old, new] = [(); 3].map(|()| Head::first(Arc::clone(&heads)));
        let answering = answered.arrived();
        heads.close_oldest();
        assert!(!waits(&old) && waits(&new));
        answered.read(30);
        drop(answering);
        assert!(waits(&answered));
        assert_eq!(heads.table().bytes, 30, "it may be the beginning of the next head");
        heads.close_oldest();
        assert!(!waits(&new) && waits(&answered));
        drop(answered);
        assert_eq!(held(&heads), (0, 0));
        assert!(heads.table().waiting.is_empty());
    }
}
