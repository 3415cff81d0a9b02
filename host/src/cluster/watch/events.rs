//! One watch of the server, and its events on their way into the store.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::response::Parts;
use tokio::time::{Instant, timeout, timeout_at};

use super::error::WatchError;
use super::history::Change;
use super::lines::{Event, LineError, Lines};
use super::retry_policy::Trouble;
use super::store::Full;
use super::upstream::{PAGE_BYTES, Upstream, random};
use crate::cluster::client::{AnswerBody, Payload, retry_after};
use crate::cluster::error::ClusterError;
use crate::cluster::status::ServerStatus;
use crate::cluster::unavailable::Unavailable;

/// The life that the server is asked to give one watch, in seconds, and the most that is added at random: as the
/// clients do that most servers see.
const WATCH_SECONDS: u64 = 240;
const MORE_SECONDS: u64 = 60;

/// The time after that at which the host ends the watch itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// The shortest life of a watch that succeeded. A shorter watch counts as a failure even if it had events, so that a
/// server that cuts each watch is not asked again without a backoff.
const MIN_LIFE: Duration = Duration::from_millis(500);

/// The time for the body of a refusal, and the bytes that are read of it: it is a status and a sentence.
const REFUSAL_WITHIN: Duration = Duration::from_secs(10);
const REFUSAL_BYTES: usize = 64 << 10;

impl Upstream {
    /// Watches from a version on, until the watch ends.
    pub(super) async fn watch(&mut self, version: &str) -> Result<(), Trouble> {
        let began = Instant::now();
        let seconds = WATCH_SECONDS.saturating_add(u64::from(random()) % MORE_SECONDS);
        let request = self.store.scope().changes(version, seconds)?;
        let permit = self.cluster.admitted(&self.gate, request).await?;
        let (head, body) = self.cluster.send(permit, Payload::none()).await?.into_parts();
        if !head.status.is_success() {
            return Err(refused(&head, body).await);
        }
        let end = began.checked_add(Duration::from_secs(seconds).saturating_add(PATIENCE)).unwrap_or(began);
        let taken = self.take_events(Lines::of(body, self.hub.long_events()), end).await;
        if began.elapsed() >= MIN_LIFE {
            self.backoff.settled();
            return taken;
        }
        taken.and(Err(Trouble::Cut))
    }

    /// Applies events until the body ends, or `end` comes.
    async fn take_events(&mut self, mut lines: Lines, end: Instant) -> Result<(), Trouble> {
        let mut silent = true;
        loop {
            let next = timeout_at(end, self.next_lines(&mut lines, silent)).await;
            let Ok(next) = next else { return Ok(()) };
            silent = false;
            let next = next.map_err(|error| self.unread(error))?;
            if next.is_empty() {
                return Ok(());
            }
            let mut changes = VecDeque::with_capacity(next.len());
            let ended = next.iter().try_for_each(|line| self.understand(line, &mut changes));
            self.apply(changes)?;
            ended?;
            self.succeeded();
        }
    }

    /// Returns the next lines. A watch that is `silent` from its beginning counts as a success after [`MIN_LIFE`].
    async fn next_lines(&mut self, lines: &mut Lines, silent: bool) -> Result<Vec<Bytes>, LineError> {
        let mut next = pin!(lines.next());
        if silent {
            if let Ok(next) = timeout(MIN_LIFE, &mut next).await {
                return next;
            }
            self.succeeded();
        }
        next.await
    }

    fn unread(&self, error: LineError) -> Trouble {
        match error {
            LineError::Body(error) => error.into(),
            LineError::TooLong => Trouble::Fatal(WatchError::TooLarge(PAGE_BYTES)),
            LineError::Late(after) => {
                let address = self.cluster.address().to_owned();
                ClusterError::from(Unavailable::Deadline { address, step: "finish an event", after }).into()
            }
        }
    }

    /// Reads an event. Changes are collected, to be applied together.
    fn understand(&mut self, line: &[u8], changes: &mut VecDeque<Change>) -> Result<(), Trouble> {
        match Event::read(line).map_err(Trouble::Fatal)? {
            Event::Applied(object) => changes.push_back(Change::Applied(Arc::new(object))),
            Event::Deleted(object) => changes.push_back(Change::Deleted(Arc::new(object))),
            Event::Bookmark(version) => {
                self.store.bookmark(&version);
                self.version = Some(version);
                return Ok(());
            }
            Event::Error(code, status) => {
                let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return Err(ClusterError::Refused(Box::new(ServerStatus::read(code, status))).into());
            }
            Event::Other => return Ok(()),
        }
        if let Some(change) = changes.back() {
            self.version = Some(change.object().version().to_owned());
        }
        Ok(())
    }

    /// Applies changes. Where there is no room, other stores make some.
    fn apply(&self, mut changes: VecDeque<Change>) -> Result<(), Trouble> {
        while let Err(Full(wanted)) = self.store.apply(&mut changes) {
            self.make_room(wanted)?;
        }
        Ok(())
    }
}

/// Returns the trouble of a list or watch that the server refused.
pub(super) async fn refused(head: &Parts, body: AnswerBody) -> Trouble {
    // The body of a refusal is short; a longer one is cut.
    let read = timeout(REFUSAL_WITHIN, Lines::all_of(body, REFUSAL_BYTES)).await.ok().and_then(Result::ok);
    let status = head.status;
    let refusal = read.map_or_else(|| ServerStatus::without_body(status), |bytes| ServerStatus::read(status, bytes));
    Trouble::from(ClusterError::Refused(Box::new(refusal))).asking(retry_after(&head.headers))
}
