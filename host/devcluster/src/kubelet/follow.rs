//! Following one pod: a watch that is opened again whenever it ends.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::watch;

use super::chain;
use super::client::{Client, ClientError, MAX_ANSWER};

/// The time for which the server is asked to keep a watch open, in seconds. client-go asks for 5 to 10 minutes.
const WATCH_SECONDS: u64 = 290;

/// The longest silence of a watch. It is longer than [`WATCH_SECONDS`], so that only a watch on a dead server ends by
/// it.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS + 30);

/// The first and the longest backoff before a watch is opened again after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The end of a watch.
enum End {
    /// The watch ran its time and continues from its position.
    Over,
    /// The position has expired, so the pod is read again.
    Expired,
    /// The pod is gone.
    Deleted,
}

/// Keeps `latest` at the pod's newest state until the pod is gone. Then `latest` becomes nothing for good. Ends early
/// only when `latest` has no receivers.
pub(super) async fn follow(client: Client, paths: Paths, latest: watch::Sender<Option<Value>>) {
    let mut pause = FIRST_PAUSE;
    // After a failure of any kind the pod is read once: the server may be another one, with another history.
    let mut anew = false;
    let mut away = false;
    while !latest.is_closed() {
        let round =
            if anew { refresh(&client, &paths, &latest).await } else { watch_once(&client, &paths, &latest).await };
        match round {
            Ok(End::Deleted) => {
                latest.send_replace(None);
                return;
            }
            Ok(end) => {
                if std::mem::take(&mut away) {
                    tracing::warn!("the API server answers again, and the pod is followed");
                }
                anew = matches!(end, End::Expired);
                pause = FIRST_PAUSE;
            }
            Err(error) => {
                // A watch may break off at any time. Only a pod that cannot be read afterwards is logged.
                if anew && !std::mem::replace(&mut away, true) {
                    let error = chain(&error);
                    tracing::warn!(%error, "the pod cannot be followed: its files stay as they are until the API server answers");
                }
                tracing::debug!(error = %chain(&error), "the watch of the pod ended");
                anew = true;
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The pod's paths in the API.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    /// The path of the pod.
    pub(super) pod: String,
    /// The path of the pods of its namespace, with a field selector of its name.
    pub(super) watch: String,
    /// The UID: another pod of that name is another pod.
    pub(super) uid: String,
}

async fn refresh(client: &Client, paths: &Paths, latest: &watch::Sender<Option<Value>>) -> Result<End, ClientError> {
    let pod = client.find(&paths.pod).await?.filter(|pod| uid(pod) == paths.uid);
    let Some(pod) = pod else { return Ok(End::Deleted) };
    latest.send_replace(Some(pod));
    Ok(End::Over)
}

async fn watch_once(client: &Client, paths: &Paths, latest: &watch::Sender<Option<Value>>) -> Result<End, ClientError> {
    let version = latest.borrow().as_ref().map(|pod| version(pod).to_owned()).unwrap_or_default();
    let target = format!(
        "{}&watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}",
        paths.watch
    );
    let mut lines = Lines::new(client.stream(&target).await?);
    loop {
        let line = tokio::select! {
            line = lines.next() => line?,
            () = latest.closed() => return Ok(End::Over),
        };
        let Some(line) = line else { return Ok(End::Over) };
        if let Some(end) = take(&line, paths, latest)? {
            return Ok(end);
        }
    }
}

/// Takes one event. Returns the end if the event ends the watch.
fn take(line: &[u8], paths: &Paths, latest: &watch::Sender<Option<Value>>) -> Result<Option<End>, ClientError> {
    let mut event: Value = serde_json::from_slice(line)?;
    let object = event.get_mut("object").map(Value::take).unwrap_or_default();
    match event.get("type").and_then(Value::as_str) {
        // The server reports an expired version with HTTP status 200 and this event.
        Some("ERROR") => return Ok(Some(End::Expired)),
        Some("BOOKMARK") => {
            let version = version(&object).to_owned();
            latest.send_if_modified(|pod| {
                set_version(pod, &version);
                false
            });
        }
        Some("DELETED") if uid(&object) == paths.uid => return Ok(Some(End::Deleted)),
        Some("ADDED" | "MODIFIED") if uid(&object) == paths.uid => {
            latest.send_replace(Some(object));
        }
        Some("ADDED" | "MODIFIED") => return Ok(Some(End::Deleted)),
        _ => {}
    }
    Ok(None)
}

fn set_version(pod: &mut Option<Value>, version: &str) {
    let held = pod.as_mut().and_then(|pod| pod.pointer_mut("/metadata/resourceVersion"));
    if let Some(held) = held.filter(|_| !version.is_empty()) {
        *held = version.into();
    }
}

pub(super) fn uid(object: &Value) -> &str {
    object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default()
}

fn version(object: &Value) -> &str {
    object.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default()
}

/// The lines of a watch's body.
struct Lines {
    body: Incoming,
    pending: Vec<u8>,
}

impl Lines {
    fn new(body: Incoming) -> Self {
        Self { body, pending: Vec::new() }
    }

    /// Returns the next line, or nothing at the end. A partial line is kept when the future is dropped.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let rest = self.pending.split_off(end.saturating_add(1));
                return Ok(Some(std::mem::replace(&mut self.pending, rest)));
            }
            if self.pending.len() > MAX_ANSWER {
                return Err(ClientError::Exchange("an event of the watch is too large".into()));
            }
            let frame = tokio::time::timeout(SILENCE, self.body.frame()).await.map_err(|_| ClientError::Deadline)?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(ClientError::Exchange(error.into())),
                Some(Ok(frame)) => self.pending.extend(frame.into_data().unwrap_or_default()),
            }
        }
    }
}
