//! Turns for guests that run without pause.
//!
//! Threat: an extension that spins in as many calls as it may have, so that every other guest waits behind all of them.
//! So each extension has a line of its own, and the lines are served in rotation.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The free turns, and the guests that wait for one. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Mutex<Waiting>>);

#[derive(Debug)]
struct Waiting {
    free: usize,
    /// The lines by the extension's name; no line is empty. The next turn goes to the first guest of the first line.
    lines: VecDeque<(Arc<str>, Line)>,
}

type Line = VecDeque<oneshot::Sender<Permit>>;

/// A turn. Dropping it frees the turn.
#[derive(Debug)]
pub(super) struct Permit(Option<Turns>);

impl Turns {
    /// Returns one turn fewer than there are processors, so that one processor is free for all other work.
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::of(processors.saturating_sub(1).max(1))
    }

    fn of(free: usize) -> Self {
        Self(Arc::new(Mutex::new(Waiting { free, lines: VecDeque::new() })))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn permit(&self) -> Permit {
        Permit(Some(self.clone()))
    }

    /// Waits for a turn of this extension. Dropping the future leaves the line.
    pub(super) async fn wait(&self, extension: &Arc<str>) -> Option<Permit> {
        let called = {
            let mut waiting = self.waiting();
            if waiting.free > 0 {
                waiting.free -= 1;
                return Some(self.permit());
            }
            waiting.join(extension)
        };
        called.await.ok()
    }

    fn pass_on(&self) {
        loop {
            let next = {
                let mut waiting = self.waiting();
                let Some(next) = waiting.next() else {
                    waiting.free += 1;
                    return;
                };
                next
            };
            match next.send(self.permit()) {
                Ok(()) => return,
                // The receiver has given up: the turn goes to the next guest, and must not be passed on twice.
                Err(mut permit) => drop(permit.0.take()),
            }
        }
    }
}

impl Waiting {
    fn join(&mut self, extension: &Arc<str>) -> oneshot::Receiver<Permit> {
        let (call, called) = oneshot::channel();
        match self.lines.iter_mut().find(|(of, _)| of == extension) {
            Some((_, line)) => line.push_back(call),
            None => self.lines.push_back((Arc::clone(extension), Line::from([call]))),
        }
        called
    }

    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        let (extension, mut line) = self.lines.pop_front()?;
        let next = line.pop_front();
        if !line.is_empty() {
            self.lines.push_back((extension, line));
        }
        next
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn an_extension_with_many_calls_gets_no_more_turns_than_one_with_one() {
        let turns = Turns::of(1);
        let (many, one): (Arc<str>, Arc<str>) = ("many".into(), "one".into());
        let held = turns.wait(&many).now_or_never().unwrap().unwrap();
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(turns.wait(&many))).collect();
        waiting.iter_mut().for_each(|waits| assert!(waits.now_or_never().is_none()));
        let mut neighbour = Box::pin(turns.wait(&one));
        assert!(neighbour.as_mut().now_or_never().is_none());
        drop(held);
        let first = waiting[0].as_mut().now_or_never().unwrap().unwrap();
        assert!(neighbour.as_mut().now_or_never().is_none());
        drop(first);
        assert!(neighbour.now_or_never().unwrap().is_some(), "it is the neighbour's turn, not the third of the many");
    }

    #[test]
    fn a_turn_of_one_who_has_given_up_is_the_next_ones() {
        let turns = Turns::of(1);
        let name: Arc<str> = "any".into();
        let held = turns.wait(&name).now_or_never().unwrap().unwrap();
        let mut gone: Vec<_> = (0..2).map(|_| Box::pin(turns.wait(&name))).collect();
        gone.iter_mut().for_each(|waits| assert!(waits.now_or_never().is_none()));
        let mut called = gone.pop().unwrap();
        drop(gone);
        drop(held);
        // It has been called, and gives up before it answers.
        assert_eq!(turns.waiting().free, 0);
        assert!(called.as_mut().now_or_never().unwrap().is_some());
        assert_eq!(turns.waiting().free, 1);
    }
}
