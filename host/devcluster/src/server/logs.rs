//! `log` of a pod: no container writes any here, so the text comes from the pod's annotations.
//!
//! The annotation [`LOG`] is the log of all containers, and `….CONTAINER` that of one. [`PREVIOUS`] is the log of the
//! container that ran before. A line may begin with an RFC 3339 time and a space, as a container runtime writes it.
//! `sinceSeconds` and `sinceTime` use that time, and only `timestamps` shows it. A line without a time has the pod's.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures::stream;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::watch;

use crate::model::collection::Collection;
use crate::model::status::ApiError;
use crate::server::api::{Api, Call};
use crate::server::http::Phase;
use crate::wire::answer::Answer;

/// The annotation with a pod's log; `devcluster.attache.dev/log.CONTAINER` for one of several containers.
pub(crate) const LOG: &str = "devcluster.attache.dev/log";

/// The annotation with the log of the previous container, for `previous`.
const PREVIOUS: &str = "devcluster.attache.dev/previous-log";

impl Api {
    /// Answers with the log of a container: the text of the pod's annotation, or a real server's answer without a
    /// kubelet.
    pub(crate) fn log(self: &Arc<Self>, call: &Call<'_>) -> Result<Answer, ApiError> {
        let collection = self.store.collection(&call.of);
        let found = collection.get(&call.key());
        let pod = found.ok_or_else(|| ApiError::not_found(&call.of, &call.at.name))?.value();
        let name = call.at.name.as_str();
        let container = container(&pod, name, call.query.get("container"))?;
        let lines = Lines::of(call, &pod)?;
        if call.query.flag("previous") {
            let missing = || format!("previous terminated container {container:?} in pod {name:?} not found");
            let text = annotation(&pod, PREVIOUS, &container).ok_or_else(|| ApiError::bad_request(missing()))?;
            return Ok(Answer::text(200, lines.first(text)));
        }
        let Some(text) = annotation(&pod, LOG, &container) else { return without_log(call, &pod, &container) };
        if !call.query.flag("follow") {
            return Ok(Answer::text(200, lines.first(text)));
        }
        let follower = Follower {
            changed: collection.subscribe(),
            phase: self.phase.read().unwrap_or_else(PoisonError::into_inner).clone(),
            key: call.key(),
            uid: pod["metadata"]["uid"].clone(),
            room: lines.limit,
            collection,
            container,
            lines,
            read: 0,
        };
        let chunks = stream::unfold(follower, |mut follower| async move {
            let chunk = follower.next().await?;
            Some((Ok(chunk), follower))
        });
        Ok(Answer::stream("text/plain; charset=utf-8", chunks))
    }
}

/// Answers for a pod without a log: nothing while it is on no node, and else the failure to reach the node's kubelet.
fn without_log(call: &Call<'_>, pod: &Value, container: &str) -> Result<Answer, ApiError> {
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        return Ok(Answer::empty(204));
    }
    let url = format!("https://127.0.0.1:10250/containerLogs/{}/{}/{container}", call.namespace(), call.at.name);
    let message = format!("Get \"{url}\": dial tcp 127.0.0.1:10250: connect: connection refused");
    Err(ApiError::new(500, "", message))
}

/// Returns the container of a request: the named one, or the only one that is no init container
/// [`pkg/registry/core/pod/strategy.go`].
fn container(pod: &Value, name: &str, given: &str) -> Result<String, ApiError> {
    let names = |list: &str| -> Vec<&str> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers.filter_map(|container| container["name"].as_str()).collect()
    };
    let (main, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    if !given.is_empty() {
        let known = [&main, &init, &ephemeral].iter().any(|list| list.contains(&given));
        let unknown = || ApiError::bad_request(format!("container {given} is not valid for pod {name}"));
        return if known { Ok(given.to_owned()) } else { Err(unknown()) };
    }
    if let [one] = main.as_slice() {
        return Ok((*one).to_owned());
    }
    let mut message = format!("a container name must be specified for pod {name}, choose one of: [{}]", main.join(" "));
    if !init.is_empty() {
        message = format!("{message} or one of the init containers: [{}]", init.join(" "));
    }
    Err(ApiError::bad_request(message))
}

fn annotation<'a>(pod: &'a Value, name: &str, container: &str) -> Option<&'a str> {
    let annotations = &pod["metadata"]["annotations"];
    annotations[format!("{name}.{container}")].as_str().or_else(|| annotations[name].as_str())
}

/// The options of a log: the lines to show, and their form.
#[derive(Debug, Clone)]
struct Lines {
    since: Option<Timestamp>,
    timestamps: bool,
    tail: Option<usize>,
    /// The largest number of bytes.
    limit: usize,
    /// The time of lines without one.
    usual: Timestamp,
}

impl Lines {
    fn of(call: &Call<'_>, pod: &Value) -> Result<Self, ApiError> {
        let query = call.query;
        let seconds = query.number("sinceSeconds").and_then(|seconds| i64::try_from(seconds).ok());
        let ago = seconds.and_then(|seconds| Timestamp::now().checked_sub(SignedDuration::from_secs(seconds)).ok());
        let time: Option<Timestamp> = query.get("sinceTime").parse().ok();
        if ago.is_some() && time.is_some() {
            let message = format!(
                "PodLogOptions {:?} is invalid: sinceTime: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
                call.at.name
            );
            return Err(ApiError::new(422, "Invalid", message));
        }
        let number = |name: &str| query.number(name).and_then(|number| usize::try_from(number).ok());
        let made = pod["metadata"]["creationTimestamp"].as_str().and_then(|time| time.parse().ok());
        Ok(Self {
            since: ago.or(time),
            timestamps: query.flag("timestamps"),
            tail: number("tailLines"),
            limit: number("limitBytes").unwrap_or(usize::MAX),
            usual: made.unwrap_or(Timestamp::UNIX_EPOCH),
        })
    }

    /// Returns the lines to show of the initial text.
    fn first(&self, text: &str) -> String {
        let lines = self.shown(text);
        let skipped = self.tail.map_or(0, |tail| lines.len().saturating_sub(tail));
        cut(lines.into_iter().skip(skipped).collect(), self.limit)
    }

    fn shown(&self, text: &str) -> Vec<String> {
        text.lines().filter_map(|line| self.line(line)).collect()
    }

    fn line(&self, line: &str) -> Option<String> {
        let told = line.split_once(' ').and_then(|(time, rest)| Some((time.parse::<Timestamp>().ok()?, rest)));
        let (time, rest) = told.unwrap_or((self.usual, line));
        let recent = self.since.is_none_or(|since| time >= since);
        recent.then(|| if self.timestamps { format!("{time} {rest}\n") } else { format!("{rest}\n") })
    }
}

/// Cuts a text to `limit` bytes, at the end of a character.
fn cut(mut text: String, limit: usize) -> String {
    text.truncate(text.floor_char_boundary(limit));
    text
}

/// A client that follows the log.
struct Follower {
    collection: Arc<Collection>,
    changed: watch::Receiver<u64>,
    phase: watch::Receiver<Phase>,
    key: String,
    uid: Value,
    container: String,
    lines: Lines,
    /// The bytes of the annotation that were processed.
    read: usize,
    /// The bytes that may still be sent.
    room: usize,
}

impl Follower {
    /// Returns the next piece; nothing when the pod no longer runs, or is gone.
    async fn next(&mut self) -> Option<Bytes> {
        while self.room > 0 {
            // Marked as seen before the pod is read, so that a change between the two wakes the sleep below.
            self.changed.borrow_and_update();
            let pod = self.collection.get(&self.key).map(|pod| pod.value());
            let pod = pod.filter(|pod| pod["metadata"]["uid"] == self.uid)?;
            let news = self.news(annotation(&pod, LOG, &self.container).unwrap_or_default());
            if !news.is_empty() {
                self.room = self.room.saturating_sub(news.len());
                return Some(news.into());
            }
            if pod["status"]["phase"] != "Running" || self.phase.borrow().ends_streams() {
                return None;
            }
            tokio::select! {
                changed = self.changed.changed() => changed.ok()?,
                _ = self.phase.wait_for(|phase| phase.ends_streams()) => {}
            }
        }
        None
    }

    /// Returns the text that was added since the last call.
    fn news(&mut self, text: &str) -> String {
        let first = self.read == 0;
        // A text that was replaced by another one is not a continuation.
        let fresh = text.get(self.read..).unwrap_or_default();
        self.read = text.len().max(self.read);
        if first { self.lines.first(fresh) } else { cut(self.lines.shown(fresh).concat(), self.room) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn lines() -> Lines {
        Lines { since: None, timestamps: false, tail: None, limit: usize::MAX, usual: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn lines_are_chosen_by_time_number_and_bytes() {
        let text = "2026-01-01T00:00:00Z one\n2026-01-01T00:00:10Z zwö\nplain\n";
        let since = "2026-01-01T00:00:05Z".parse().ok();
        let table = [
            (lines(), "one\nzwö\nplain\n"),
            (Lines { since, ..lines() }, "zwö\n"),
            (Lines { tail: Some(2), ..lines() }, "zwö\nplain\n"),
            (Lines { tail: Some(0), ..lines() }, ""),
            (Lines { limit: 7, ..lines() }, "one\nzw"),
            (Lines { timestamps: true, tail: Some(1), ..lines() }, "1970-01-01T00:00:00Z plain\n"),
        ];
        for (lines, expected) in table {
            assert_eq!(lines.first(text), expected, "{lines:?}");
        }
    }

    #[test]
    fn the_container_is_the_one_named_or_the_only_one() {
        let one = json!({"spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]}});
        let two = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        assert_eq!(container(&one, "p", "").unwrap(), "a");
        assert_eq!(container(&two, "p", "i").unwrap(), "i");
        let told = |pod: &Value, given: &str| container(pod, "p", given).unwrap_err().message;
        assert_eq!(
            told(&two, ""),
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
        assert_eq!(told(&one, "x"), "container x is not valid for pod p");
    }
}
