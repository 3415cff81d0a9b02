//! watch: the changes of a collection, as they happen.
//!
//! A watch is a position in its type's history. It sleeps until the history grows, reads the new events, and sends
//! those in its selection. An event is encoded once for all watches. Nothing is queued for a slow client: a watch whose
//! position has left the history ends with 410, and the client starts over.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::model::collection::{Collection, Compacted, Part};
use crate::model::event::{Event, EventType};
use crate::model::object::Object;
use crate::model::object::partial;
use crate::model::resources::Type;
use crate::model::selectors::Selection;
use crate::model::status::ApiError;
use crate::server::api::{Api, Call};
use crate::server::http::Phase;
use crate::server::read::{revision, too_large};
use crate::wire::answer::{Answer, Representation};
use crate::wire::show::in_version;
use crate::wire::table;

/// The number of events that are read from the history at a time, so that a watch far behind holds no lock for long.
const BATCH: usize = 256;

/// The number of bytes that are sent at a time when many events wait.
const CHUNK: usize = 64 * 1024;

/// The life of a watch if the client sets none: the middle of a real server's half an hour to an hour.
const LIFE: Duration = Duration::from_mins(45);

/// The time between the last bookmark and the end of a watch that asks for them.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// The end of a watch's sleep.
enum Woken {
    Changed,
    Stopped,
    Timed,
}

struct Watcher {
    api: Arc<Api>,
    of: Arc<Type>,
    collection: Arc<Collection>,
    prefix: String,
    selection: Selection,
    representation: Representation,
    /// The revision at which the stream began; a bookmark that is no newer is useless.
    began: u64,
    /// The newest revision that the client knows.
    seen: u64,
    ready: VecDeque<Bytes>,
    changed: watch::Receiver<u64>,
    phase: watch::Receiver<Phase>,
    end: Instant,
    next_bookmark: Option<Instant>,
    columns_told: bool,
    ended: bool,
}

impl Api {
    pub(crate) fn watch(self: &Arc<Self>, call: &Call<'_>) -> Result<Answer, ApiError> {
        let query = call.query;
        let fields = match call.at.name.as_str() {
            "" => query.get("fieldSelector").to_owned(),
            name => format!("metadata.name={name}"),
        };
        let selection = Selection::parse(&call.of, query.get("labelSelector"), &fields)?;
        let start = revision(query.get("resourceVersion"))?.unwrap_or(0);
        let initial = initial_events(call, start)?;
        let collection = self.store.collection(&call.of);
        let now = Instant::now();
        let life = query.number("timeoutSeconds").filter(|seconds| *seconds != 0).map_or(LIFE, Duration::from_secs);
        let end = now.checked_add(life).unwrap_or(now + LIFE);
        let bookmarks = query.flag("allowWatchBookmarks");
        let mut watcher = Watcher {
            api: Arc::clone(self),
            of: Arc::clone(&call.of),
            prefix: if call.namespace().is_empty() { String::new() } else { format!("{}/", call.namespace()) },
            selection,
            representation: call.accept.representation,
            began: start,
            seen: start,
            ready: VecDeque::new(),
            changed: collection.subscribe(),
            phase: self.phase.read().unwrap_or_else(PoisonError::into_inner).clone(),
            end,
            next_bookmark: bookmarks.then(|| next_bookmark(now, end, self.behaviour.bookmarks)),
            columns_told: false,
            ended: false,
            collection,
        };
        if start > self.store.revision() {
            return Err(too_large(start, self.store.revision()));
        }
        if initial {
            watcher.send_present(query.flag("sendInitialEvents") && bookmarks);
        }
        let lines = stream::unfold(watcher, |mut watcher| async move {
            let chunk = watcher.next().await?;
            Some((Ok(chunk), watcher))
        });
        Ok(Answer::stream("application/json", lines))
    }
}

/// Returns whether the watch begins with the existing objects.
fn initial_events(call: &Call<'_>, start: u64) -> Result<bool, ApiError> {
    let (query, rule) = (call.query, call.query.get("resourceVersionMatch"));
    let forbidden = |field: &str, why: &str| {
        let message = format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: Forbidden: {why}");
        Err(ApiError::new(422, "Invalid", message))
    };
    if !query.has("sendInitialEvents") {
        return match rule {
            "" => Ok(start == 0),
            _ => forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ),
        };
    }
    if rule != "NotOlderThan" {
        return forbidden(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        );
    }
    Ok(query.flag("sendInitialEvents"))
}

/// Returns the time of the next bookmark: after the interval, or shortly before the end if that is sooner.
fn next_bookmark(now: Instant, end: Instant, interval: Duration) -> Instant {
    let last = end.checked_sub(LAST_BOOKMARK).unwrap_or(now);
    let next = now.checked_add(interval).unwrap_or(last);
    if now < last { next.min(last) } else { end + interval }
}

impl Watcher {
    /// Returns the next bytes for the client; `None` when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(chunk) = self.take_ready() {
                return Some(chunk);
            }
            if self.ended {
                return None;
            }
            // Marked as seen before the history is read, so that a change between the two wakes the sleep below.
            self.changed.borrow_and_update();
            match self.collection.events_after(self.seen, BATCH) {
                Err(Compacted(floor)) => self.send_expired(floor),
                Ok(events) if !events.is_empty() => events.iter().for_each(|event| self.consider(event)),
                // All changes up to the server's end have been sent.
                Ok(_) if self.phase.borrow().ends_streams() => self.ended = true,
                Ok(_) => self.sleep().await,
            }
        }
    }

    async fn sleep(&mut self) {
        let bookmark = self.next_bookmark.unwrap_or(self.end);
        let woken = tokio::select! {
            _ = self.changed.changed() => Woken::Changed,
            _ = self.phase.wait_for(|phase| phase.ends_streams()) => Woken::Stopped,
            () = sleep_until(bookmark.min(self.end)) => Woken::Timed,
        };
        match woken {
            Woken::Changed => {}
            // Without a sender no phase can follow, and each wait would be over at once.
            Woken::Stopped => self.ended |= self.phase.has_changed().is_err(),
            Woken::Timed => self.tick(),
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if now >= self.end {
            self.ended = true;
        } else if self.next_bookmark.is_some_and(|at| now >= at) {
            self.send_bookmark(false);
            self.next_bookmark = Some(next_bookmark(now, self.end, self.api.behaviour.bookmarks));
        }
    }

    /// Takes the pending bytes: one event as it was encoded, or many in one piece.
    fn take_ready(&mut self) -> Option<Bytes> {
        let first = self.ready.pop_front()?;
        if self.ready.is_empty() {
            return Some(first);
        }
        let mut chunk = BytesMut::from(&*first);
        while chunk.len() < CHUNK {
            let Some(next) = self.ready.pop_front() else { break };
            chunk.extend_from_slice(&next);
        }
        Some(chunk.freeze())
    }

    fn consider(&mut self, event: &Event) {
        self.seen = event.revision;
        let concerns = |object: &Object| {
            let inside = self.prefix.strip_suffix('/').is_none_or(|namespace| *object.namespace == *namespace);
            inside && self.selection.matches(object)
        };
        let before = event.previous.as_deref().is_some_and(concerns);
        let after = !event.deleted && concerns(&event.object);
        let event_type = match (before, after) {
            (false, false) => return,
            (false, true) => EventType::Added,
            (true, true) => EventType::Modified,
            (true, false) => EventType::Deleted,
        };
        let frame = if self.representation == Representation::Object
            && event.object.json().starts_with(self.of.head().as_bytes())
        {
            event.frame(event_type)
        } else {
            self.frame(event_type, &event.shown(event_type))
        };
        self.ready.push_back(frame);
    }

    fn frame(&mut self, event_type: EventType, object: &Object) -> Bytes {
        match self.representation {
            Representation::Object => event_type.frame(&in_version(&self.of, object)),
            Representation::Partial => event_type.frame(&crate::model::object::ordered(&partial(object), false)),
            Representation::Table => {
                let mut one = table::of_one(&self.of, object);
                if std::mem::replace(&mut self.columns_told, true) {
                    one["columnDefinitions"] = Value::Null;
                }
                event_type.frame(&crate::model::object::ordered(&one, false))
            }
        }
    }

    /// Sends all existing objects as added.
    fn send_present(&mut self, bookmark: bool) {
        let part = Part { prefix: &self.prefix, ..Part::default() };
        let Ok(listing) = self.api.store.list(&self.collection, &part, |object| self.selection.matches(object)) else {
            return;
        };
        (self.began, self.seen) = (listing.revision, listing.revision);
        for object in &listing.items {
            let frame = self.frame(EventType::Added, object);
            self.ready.push_back(frame);
        }
        if bookmark {
            self.send_bookmark(true);
        }
    }

    fn send_bookmark(&mut self, initial_end: bool) {
        // No change of this type between `seen` and its newest is unsent; other types' revisions do no harm.
        if !initial_end && self.collection.newest() <= self.seen {
            self.seen = self.seen.max(self.settled());
        }
        if !initial_end && self.seen <= self.began {
            return;
        }
        let mut metadata = json!({"resourceVersion": self.seen.to_string()});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": self.of.kind, "apiVersion": self.of.api_version(), "metadata": metadata});
        let line = json!({"type": "BOOKMARK", "object": object});
        self.ready.push_back(format!("{line}\n").into());
    }

    /// Returns a revision up to which all changes of this type have been sent.
    fn settled(&self) -> u64 {
        let revision = self.api.store.revision();
        if self.collection.newest() <= self.seen { revision } else { self.seen }
    }

    fn send_expired(&mut self, floor: u64) {
        let error = ApiError::expired(format!("too old resource version: {} ({floor})", self.seen));
        self.ready.push_back(format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", error.body()).into());
        self.ended = true;
    }
}
