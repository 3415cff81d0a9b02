//! The events of a watch, cut out of the answer's body: one JSON object a line.
//!
//! Threat: hundreds of watches, in each of which the server begins a line of megabytes. Each may hold a short one, and
//! as few as there are places a long one; the others leave it on their connections until there is a place.

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

/// The longest line, in bytes. The API server takes no object above 3 MiB and etcd none above 1.5 MiB as it stores
/// them; JSON makes more of the latter, and the event goes around it.
pub(super) const MAX_LINE: usize = 4 << 20;
/// How much of a line that is not whole a watch may hold without a place for it, in bytes: most objects have some
/// kilobytes.
const SHORT: usize = 32 << 10;
/// How long the rest of a long line may take, so that a server that sends half of one does not keep its place from
/// others.
const WHOLE_WITHIN: Duration = Duration::from_secs(30);

/// Why there is no next event.
#[derive(Debug)]
pub(super) enum LineError {
    /// The body failed.
    Body(ClusterError),
    /// A line is too long.
    TooLong,
    /// A long line was not whole within this time.
    Late(Duration),
}

/// Cuts a body into lines.
pub(super) struct Lines {
    body: AnswerBody,
    rest: BytesMut,
    /// How much of `rest` is known to hold no end of a line.
    searched: usize,
    places: Arc<Semaphore>,
    /// That of a long line, while it comes and until it is taken in.
    place: Option<OwnedSemaphorePermit>,
}

impl Lines {
    /// Cuts this body; each long line takes a place.
    pub(super) fn of(body: AnswerBody, places: &Arc<Semaphore>) -> Self {
        Self { body, rest: BytesMut::new(), searched: 0, places: Arc::clone(places), place: None }
    }

    /// All lines that are there, at least one; waits for it. Empty at the end of the body; what follows the last line's
    /// end is cut off and no event. What was returned before has been taken in and dropped by now.
    pub(super) async fn next(&mut self) -> Result<Vec<Bytes>, LineError> {
        // A buffer that a large event or a burst of them took is not kept while nothing happens.
        self.rest = BytesMut::from(&*self.rest);
        self.place = None;
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

    /// The lines that there are when a long one is whole.
    async fn long(&mut self) -> Result<Vec<Bytes>, LineError> {
        // Closed by nobody.
        self.place = Arc::clone(&self.places).acquire_owned().await.ok();
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

    /// Reads on; false at the end of the body.
    async fn more(&mut self) -> Result<bool, LineError> {
        let piece = self.body.next().await.map_err(LineError::Body)?;
        self.rest.extend_from_slice(piece.as_deref().unwrap_or_default());
        Ok(piece.is_some())
    }

    /// A whole body that is no stream of events, up to a number of bytes.
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

/// One event of a watch, understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Applied(WatchedObject),
    Deleted(WatchedObject),
    /// Nothing has changed up to this version.
    Bookmark(String),
    /// The server ends the watch: the code of its status, and the status.
    Error(u16, Bytes),
    /// Of a type that did not exist when this was written.
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
