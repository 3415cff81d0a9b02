//! Connections of one socket that wait for the head of a request.
//!
//! Threat: clients that connect and send nothing, or half a head, before any grant is asked. Each holds a connection
//! and a buffer. Here all heads of one socket share one budget of bytes, a head that has begun has to be complete soon,
//! and where connections run out the one that has waited longest is closed.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::framing::Framing;

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

/// The part of one connection in [`Heads`], and the position in what its client sends. Clones are the same
/// connection's.
#[derive(Clone)]
pub(super) struct Head(Arc<Connection>);

struct Connection {
    heads: Arc<Heads>,
    state: Mutex<State>,
}

struct State {
    framing: Framing,
    /// The bytes of the next head that have come already.
    begun: usize,
    /// The number of the wait for that head; `None` while a request is in progress.
    ticket: Option<u64>,
    /// The number of requests in progress: at most one with HTTP/1.1.
    answering: usize,
    /// Woken when no request is in progress any more.
    idle: Option<Waker>,
}

impl Head {
    /// A connection that waits for its first head.
    pub(super) fn first(heads: Arc<Heads>) -> Self {
        let ticket = Some(heads.wait(0));
        let state = State { framing: Framing::new(), begun: 0, ticket, answering: 0, idle: None };
        Self(Arc::new(Connection { heads, state: Mutex::new(state) }))
    }

    /// Notes that a head is complete, and how long the body behind it is, where that is known. The connection waits for
    /// the next head when the result is dropped.
    pub(super) fn arrived(&self, body: Option<u64>) -> Answering {
        let fragment = self.0.state().framing.head_is_read(body);
        self.answering(fragment)
    }

    /// Notes a request of HTTP/2, whose heads are not read here. The connection waits when the results of all calls are
    /// dropped.
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

    /// Returns the number of this wait, or wakes the caller when the connection waits.
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

    /// Reads on. Returns the number of bytes that belong to the same head or body.
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

    /// The most bytes that may be read next, of as many as there is room for.
    pub(super) fn limit(&self, room: usize) -> io::Result<usize> {
        match self.0.state().framing.limit(room) {
            0 if room > 0 => Err(io::Error::new(io::ErrorKind::InvalidData, "the head of a request has no clear end")),
            limit => Ok(limit),
        }
    }

    /// The number of this wait, and whether the head has begun; `None` while a request is under way.
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

/// A request under way, from its head to the end of its answer.
pub(super) struct Answering {
    head: Head,
    fragment: bool,
}

impl Answering {
    /// Returns whether the target had a fragment, which the reader of HTTP has cut off.
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

    /// The bytes of heads that are waited for, and of those that are given up.
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
