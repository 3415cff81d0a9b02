//! The changes of objects, as history keeps them and watches send them.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::model::object::Object;

/// One change of one object.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) revision: u64,
    pub(crate) key: Box<str>,
    /// The object after the change, or its last state under the revision of its deletion.
    pub(crate) object: Arc<Object>,
    /// The object before the change.
    pub(crate) previous: Option<Arc<Object>>,
    pub(crate) deleted: bool,
    frames: [OnceLock<Bytes>; 3],
}

/// The type of a watch event, from one watch's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventType {
    Added,
    Modified,
    Deleted,
}

impl EventType {
    /// Returns the type as written in the stream.
    pub(crate) fn word(self) -> &'static str {
        match self {
            EventType::Added => "ADDED",
            EventType::Modified => "MODIFIED",
            EventType::Deleted => "DELETED",
        }
    }

    /// Returns one line of a watch.
    pub(crate) fn frame(self, json: &[u8]) -> Bytes {
        let mut line = Vec::with_capacity(json.len() + 40);
        line.extend_from_slice(br#"{"type":""#);
        line.extend_from_slice(self.word().as_bytes());
        line.extend_from_slice(br#"","object":"#);
        line.extend_from_slice(json);
        line.extend_from_slice(b"}\n");
        line.into()
    }
}

impl Event {
    pub(crate) fn new(
        key: &str,
        object: &Arc<Object>,
        previous: Option<Arc<Object>>,
        revision: u64,
        deleted: bool,
    ) -> Arc<Self> {
        let frames = [OnceLock::new(), OnceLock::new(), OnceLock::new()];
        Arc::new(Self { revision, key: key.into(), object: Arc::clone(object), previous, deleted, frames })
    }

    /// Returns the watch line of this event, encoded once for all watches.
    pub(crate) fn frame(&self, event_type: EventType) -> Bytes {
        let slot = match event_type {
            EventType::Added => &self.frames[0],
            EventType::Modified => &self.frames[1],
            EventType::Deleted => &self.frames[2],
        };
        slot.get_or_init(|| event_type.frame(self.shown(event_type).json())).clone()
    }

    /// Returns the object in the watch's event. An object that left a selection is shown as it was, under the revision
    /// of the change.
    pub(crate) fn shown(&self, event_type: EventType) -> Arc<Object> {
        match (&self.previous, event_type) {
            (Some(previous), EventType::Deleted) if !self.deleted => Arc::new(previous.renumbered(self.revision)),
            _ => Arc::clone(&self.object),
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.object.size()
    }
}
