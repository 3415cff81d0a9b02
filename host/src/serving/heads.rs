//! The connections of one listener that wait for the head of a request.
//!
//! Threat: clients that connect and send nothing, or half a head, before any request is judged. Each holds a connection
//! and a buffer. All heads of one listener share one budget of bytes. A head that has begun has to be complete soon.
//! Where connections run out, the one that has waited longest is closed.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::framing::Framing;

/// The waiting connections of one listener.
pub(super) struct Heads {
    /// The most bytes of all heads together.
    limit: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    bytes: usize,
    /// The waiting connections, oldest first. A connection that misses its entry has to close.
    waiting: BTreeMap<u64, Entry>,
    /// The bytes of connections that have to close and have not done so yet, and their sum.
    closing: BTreeMap<u64, usize>,
    closing_bytes: usize,
    /// The connections that may read on when those are closed.
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

    /// Closes the connection that has waited longest among those that `fit`.
    fn close_oldest(&mut self, fit: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let oldest = self.waiting.iter().find(|(_, entry)| fit(entry)).map(|(ticket, _)| *ticket)?;
        let entry = self.remove(oldest)?;
        if entry.bytes > 0 {
            self.closing.insert(oldest, entry.bytes);
            self.closing_bytes = self.closing_bytes.saturating_add(entry.bytes);
        }
        Some(entry)
    }

    /// Removes a connection. Returns the wakers of the connections that may read on.
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

    /// Stores the waker that is woken when the connection has to close. Returns whether the connection may read on. It
    /// is pending while connections that have to close still hold bytes.
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

    /// Counts bytes of a head. Beyond the budget, connections with the oldest heads are closed.
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

/// One connection's entry in [`Heads`], and the position in the bytes of its client. Clones belong to one connection.
#[derive(Clone)]
pub(super) struct Head(Arc<Connection>);

struct Connection {
    heads: Arc<Heads>,
    state: Mutex<State>,
}

struct State {
    framing: Framing,
    /// The received bytes of the next head.
    begun: usize,
    /// The number of this wait; `None` while a request is in progress.
    ticket: Option<u64>,
    /// The number of requests in progress: at most one with HTTP/1.1.
    answering: usize,
    /// Woken when no request is in progress any more.
    idle: Option<Waker>,
}

impl Head {
    /// Makes the entry of a connection that waits for its first head.
    pub(super) fn first(heads: Arc<Heads>) -> Self {
        let ticket = Some(heads.wait(0));
        let state = State { framing: Framing::new(), begun: 0, ticket, answering: 0, idle: None };
        Self(Arc::new(Connection { heads, state: Mutex::new(state) }))
    }

    /// Ends the wait for a head, with the length of its body where that is known. The connection waits for the next
    /// head when the result is dropped.
    pub(super) fn arrived(&self, body: Option<u64>) -> Answering {
        let fragment = self.0.state().framing.head_is_read(body);
        self.answering(fragment)
    }

    /// Ends the wait for a request of HTTP/2, whose heads are not read here. The connection waits again when the
    /// results of all calls are dropped.
    pub(super) fn stream_opened(&self) -> Answering {
        self.answering(false)
    }

    fn answering(&self, fragment: bool) -> Answering {
        let mut state = self.0.state();
        let ticket = state.ticket.take();
        state.begun = 0;
        state.answering = state.answering.saturating_add(1);
        drop(state);
        if let Some(ticket) = ticket {
            self.0.heads.leave(ticket);
        }
        Answering { head: self.clone(), fragment }
    }

    /// Returns the number of this wait. While a request is in progress, stores the waker for the end of the last
    /// request.
    pub(super) fn note_idle(&self, waker: &Waker) -> Option<u64> {
        let mut state = self.0.state();
        if state.ticket.is_none() {
            match &mut state.idle {
                Some(known) => known.clone_from(waker),
                unknown => *unknown = Some(waker.clone()),
            }
        }
        state.ticket
    }

    /// Reads on. Returns the number of bytes that belong to this head or body.
    pub(super) fn read(&self, bytes: &[u8]) -> usize {
        let mut state = self.0.state();
        let in_head = state.framing.is_in_head();
        let taken = state.framing.read(bytes);
        if in_head {
            state.begun = state.begun.saturating_add(taken);
            if let Some(ticket) = state.ticket {
                drop(state);
                self.0.heads.count(ticket, taken);
            }
        }
        taken
    }

    /// Returns the largest number of bytes that may be read next, up to `room`.
    pub(super) fn limit(&self, room: usize) -> io::Result<usize> {
        match self.0.state().framing.limit(room) {
            0 if room > 0 => Err(io::Error::new(io::ErrorKind::InvalidData, "the head of a request has no clear end")),
            limit => Ok(limit),
        }
    }

    /// Returns the number of this wait, and whether the head has begun; `None` while a request is in progress.
    pub(super) fn waits(&self) -> Option<(u64, bool)> {
        let state = self.0.state();
        state.ticket.map(|ticket| (ticket, state.begun > 0))
    }
}

impl Head {
    /// Returns whether this wait may go on; see [`Heads::poll_waits`].
    pub(super) fn poll_waits(&self, ticket: u64, waker: &Waker) -> Poll<bool> {
        self.0.heads.poll_waits(ticket, waker)
    }
}

impl Connection {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let ticket = self.state().ticket;
        if let Some(ticket) = ticket {
            self.heads.leave(ticket);
        }
    }
}

/// A request in progress, from its head to the end of its answer.
pub(super) struct Answering {
    head: Head,
    fragment: bool,
}

impl Answering {
    /// Returns whether the target had a fragment, which the parser of HTTP has cut off.
    pub(super) fn had_fragment(&self) -> bool {
        self.fragment
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let Connection { heads, .. } = &*self.head.0;
        let mut state = self.head.0.state();
        state.answering = state.answering.saturating_sub(1);
        if state.answering > 0 || state.ticket.is_some() {
            return;
        }
        state.ticket = Some(heads.wait(state.begun));
        let idle = state.idle.take();
        drop(state);
        idle.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll_waits(head: &Head) -> Poll<bool> {
        head.waits().map_or(Poll::Ready(false), |(ticket, _)| head.0.heads.poll_waits(ticket, Waker::noop()))
    }

    fn waits(head: &Head) -> bool {
        poll_waits(head) != Poll::Ready(false)
    }

    fn read(head: &Head, bytes: usize) {
        assert_eq!(head.read(&vec![b'x'; bytes]), bytes);
    }

    /// Returns the bytes of waiting heads, and of connections that have to close.
    fn held(heads: &Heads) -> (usize, usize) {
        let table = heads.table();
        (table.bytes, table.closing_bytes)
    }

    #[test]
    fn beyond_the_budget_the_oldest_head_is_given_up_and_idle_connections_are_not() {
        let heads = Heads::new(100);
        let [idle, first, second] = [(); 3].map(|()| Head::first(Arc::clone(&heads)));
        read(&first, 60);
        read(&second, 40);
        assert!(waits(&first) && waits(&second));
        read(&second, 1);
        assert_eq!([&idle, &first, &second].map(waits), [true, false, true]);
        // Nobody reads on while the one that was given up has not noticed.
        assert_eq!((poll_waits(&second), poll_waits(&idle)), (Poll::Pending, Poll::Pending));
        drop(first);
        assert_eq!((poll_waits(&second), poll_waits(&idle)), (Poll::Ready(true), Poll::Ready(true)));
        // One head alone may not go beyond it either.
        read(&second, 60);
        assert_eq!([&idle, &second].map(waits), [true, false]);
        drop(second);
        assert_eq!(held(&heads), (0, 0));
        assert_eq!(poll_waits(&idle), Poll::Ready(true));
    }

    #[test]
    fn room_is_made_by_who_has_waited_longest_and_never_by_who_is_answered() {
        let heads = Heads::new(100);
        let [answered, old, new] = [(); 3].map(|()| Head::first(Arc::clone(&heads)));
        assert_eq!(answered.read(b"\n\nGET / HTTP/1.1\n\nmore"), 18);
        let answering = answered.arrived(Some(4));
        assert!(!answering.had_fragment());
        assert_eq!(answered.read(b"more of it"), 4);
        heads.close_oldest();
        assert!(!waits(&old) && waits(&new));
        read(&answered, 30);
        drop(answering);
        assert!(waits(&answered));
        assert_eq!(heads.table().bytes, 30, "the beginning of the next head");
        heads.close_oldest();
        assert!(!waits(&new) && waits(&answered));
        drop(answered);
        assert_eq!(held(&heads), (0, 0));
        assert!(heads.table().waiting.is_empty());
    }
}
