//! The events of a watch, cut from the answer's body: one JSON object a line.
//!
//! Threat: hundreds of watches, in each of which the server begins a line of megabytes. Each watch may hold a short
//! line. Long lines need a slot, of which there are few; without one, the rest of the line stays on the connection.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::error::WatchError;
use super::object::{WatchedObject, check_version};
use crate::cluster::client::AnswerBody;
use crate::cluster::error::ClusterError;

/// The most bytes of a line. API servers accept objects of at most 3 MiB, and etcd of 1.5 MiB in its own encoding. JSON
/// takes more, and the event wraps the object.
pub(super) const MAX_LINE: usize = 4 << 20;
/// The most bytes of an incomplete line without a slot. Most objects have some kilobytes.
const SHORT: usize = 32 << 10;
/// The time for the rest of a long line, so that a server that sends half of one does not occupy the slot for ever.
const WHOLE_WITHIN: Duration = Duration::from_secs(30);

/// A failure to read the next lines.
#[derive(Debug)]
pub(super) enum LineError {
    /// The body failed.
    Body(ClusterError),
    /// A line is too long.
    TooLong,
    /// A long line was not whole within this time.
    Late(Duration),
}

/// A body that is cut into lines.
pub(super) struct Lines {
    body: AnswerBody,
    rest: BytesMut,
    /// The bytes of `rest` that were searched for the end of a line.
    searched: usize,
    slots: Arc<Semaphore>,
    /// The slot of a long line, until the line has been stored.
    slot: Option<OwnedSemaphorePermit>,
}

impl Lines {
    /// Makes the lines of a body; each long line occupies a slot.
    pub(super) fn of(body: AnswerBody, slots: &Arc<Semaphore>) -> Self {
        Self { body, rest: BytesMut::new(), searched: 0, slots: Arc::clone(slots), slot: None }
    }

    /// Waits for at least one line and returns all that are there, or none at the end of the body. An incomplete line
    /// at the end is no event. The caller has stored and dropped the previous lines by now.
    pub(super) async fn next(&mut self) -> Result<Vec<Bytes>, LineError> {
        // A large buffer of a large event or a burst is not kept while the watch is idle.
        self.rest = BytesMut::from(&*self.rest);
        self.slot = None;
        loop {
            let lines = self.cut();
            if !lines.is_empty() {
                return Ok(lines);
            }
            if self.rest.len() > SHORT {
                return self.long().await;
            }
            if !self.more().await? {
                return Ok(Vec::new());
            }
        }
    }

    /// Returns the lines after a long one is complete.
    async fn long(&mut self) -> Result<Vec<Bytes>, LineError> {
        // The semaphore is never closed.
        self.slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        timeout(WHOLE_WITHIN, self.whole()).await.map_err(|_| LineError::Late(WHOLE_WITHIN))?
    }

    async fn whole(&mut self) -> Result<Vec<Bytes>, LineError> {
        loop {
            let lines = self.cut();
            if !lines.is_empty() {
                return Ok(lines);
            }
            if self.rest.len() > MAX_LINE {
                return Err(LineError::TooLong);
            }
            if !self.more().await? {
                return Ok(Vec::new());
            }
        }
    }

    /// Reads on. Returns false at the end of the body.
    async fn more(&mut self) -> Result<bool, LineError> {
        let piece = self.body.next().await.map_err(LineError::Body)?;
        self.rest.extend_from_slice(piece.as_deref().unwrap_or_default());
        Ok(piece.is_some())
    }

    /// Returns the beginning of a body that is no stream of events, of at most `most` bytes.
    pub(super) async fn all_of(mut body: AnswerBody, most: usize) -> Result<Bytes, ClusterError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = body.next().await? {
            if whole.len().saturating_add(piece.len()) > most {
                break;
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    fn cut(&mut self) -> Vec<Bytes> {
        let mut lines = Vec::new();
        while let Some(length) = self.end_of_line() {
            let line = self.rest.split_to(length).freeze();
            self.rest.advance(1);
            self.searched = 0;
            if !line.trim_ascii().is_empty() {
                lines.push(line);
            }
        }
        self.searched = self.rest.len();
        lines
    }

    fn end_of_line(&self) -> Option<usize> {
        let unsearched = self.rest.get(self.searched..)?;
        unsearched.iter().position(|byte| *byte == b'\n').map(|at| at.saturating_add(self.searched))
    }
}

/// One parsed event of a watch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Applied(WatchedObject),
    Deleted(WatchedObject),
    /// All changes up to this version were sent.
    Bookmark(String),
    /// The server ends the watch: the code of its status, and the status.
    Error(u16, Bytes),
    /// An event of an unknown type.
    Other,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Marked {
    metadata: Version,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    resource_version: String,
}

#[derive(Deserialize)]
struct Code {
    #[serde(default)]
    code: u16,
}

impl Event {
    pub(super) fn read(line: &[u8]) -> Result<Self, WatchError> {
        Self::parse(line).map_err(|error| WatchError::Unreadable(error.to_string().into()))
    }

    fn parse(line: &[u8]) -> Result<Self, serde_json::Error> {
        let Line { r#type, object } = serde_json::from_slice(line)?;
        let object = object.get();
        Ok(match &*r#type {
            "ADDED" | "MODIFIED" => Self::Applied(WatchedObject::read(object.as_bytes())?),
            "DELETED" => Self::Deleted(WatchedObject::read(object.as_bytes())?),
            "BOOKMARK" => {
                let version = serde_json::from_str::<Marked>(object)?.metadata.resource_version;
                check_version(&version)?;
                Self::Bookmark(version)
            }
            "ERROR" => {
                let Code { code } = serde_json::from_str(object)?;
                Self::Error(code, Bytes::copy_from_slice(object.as_bytes()))
            }
            _ => Self::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_type_of_event_is_told_apart() {
        let read = |line: &str| Event::read(line.as_bytes()).unwrap();
        let object = r#"{"metadata":{"name":"a","resourceVersion":"7"}}"#;
        let known = WatchedObject::read(object.as_bytes()).unwrap();
        assert_eq!(read(&format!(r#"{{"type":"ADDED","object":{object}}}"#)), Event::Applied(known));
        assert!(matches!(read(&format!(r#"{{"object":{object},"type":"DELETED"}}"#)), Event::Deleted(_)));
        let bookmark = r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"12"}}}"#;
        assert_eq!(read(bookmark), Event::Bookmark("12".into()));
        let expired = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#;
        assert!(matches!(read(expired), Event::Error(410, _)));
        assert_eq!(read(r#"{"type":"LATER","object":{}}"#), Event::Other);
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        for line in ["", "{", "null", r#"{"type":"ADDED"}"#, r#"{"type":"ADDED","object":{}}"#, r#"{"type":7}"#] {
            assert!(Event::read(line.as_bytes()).is_err(), "{line}");
        }
    }
}
