//! The parts of discovery, some of which may be missing.
//!
//! A group may be an aggregated API, whose backend may be down or hang. Such a group must not delay requests for other
//! groups. Where each version has a document of its own, all are fetched at once. Documents that come late are left to
//! a background task, and a version that failed last time is not waited for. A caller that asks for a type of such a
//! group waits for this group alone, and gets an error that names it.
//!
//! Threat: a server with hundreds of versions whose documents are endless or large. Each document is cut, few are
//! fetched at once, one is read at a time, and at most [`MAX_TYPES`] types are kept of all together.

use std::sync::Arc;
use std::time::Duration;

use attache_base::untrusted::line;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::StatusCode;
use tokio::time::{Instant, timeout};

use super::catalogue::{Fetched, granted};
use super::client::{Payload, retry_after};
use super::connect::ApiClient;
use super::discovery::{Discovery, MAX_TYPES, MissingGroup, ResourceInfo};
use super::documents::PlainVersion;
use super::error::ClusterError;
use super::unavailable::Unavailable;
use crate::telemetry::MAX_TEXT;

/// The time for the document of one version. Only the background task waits this long.
const VERSION_WITHIN: Duration = Duration::from_secs(10);
/// The time that a caller waits for the late document of a group that it asks for. Guests mostly have a deadline of
/// seconds, and should get the error that names the group before it.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// The most bytes of the document of one version. That of the core group, the longest of a real server, has 10 KiB.
const MAX_DOCUMENT: u64 = 1 << 20;
/// The time without a document after which the missing ones count as late; at least this many times the time that the
/// list of groups took, since the server may be far away.
const QUIET: Duration = Duration::from_millis(250);
const AS_SLOW: u32 = 4;
/// The most versions that are fetched at once. Each takes a connection and holds a document.
const AT_ONCE: usize = 16;
/// The time after which a version that failed is fetched again, and the longest `Retry-After` that is obeyed.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
const LONGEST_ASKED: Duration = Duration::from_mins(1);

/// One version of a group, or all types of an aggregated document.
#[derive(Clone, Debug)]
pub(super) struct Part {
    version: PlainVersion,
    /// The types of the last good answer.
    types: Vec<ResourceInfo>,
    state: State,
    /// True after the failure was logged.
    logged: bool,
}

/// The state of a part.
#[derive(Clone, Debug)]
enum State {
    Known,
    /// Being fetched; the answer is there by this time.
    Asked(Instant),
    /// Failed; fetched again after `again`.
    Down {
        why: Arc<str>,
        again: Instant,
    },
}

/// A failure to fetch the document of a version.
struct Failed {
    error: ClusterError,
    retry_after: Option<Duration>,
}

impl From<ClusterError> for Failed {
    fn from(error: ClusterError) -> Self {
        Self { error, retry_after: None }
    }
}

type Answer = (PlainVersion, Result<Vec<ResourceInfo>, Failed>);

impl Part {
    /// Makes a part of all types of an aggregated document.
    pub(super) fn whole(types: Vec<ResourceInfo>) -> Self {
        Self { version: PlainVersion::default(), types, state: State::Known, logged: false }
    }

    /// Makes a part of a version that the server lists without its types.
    pub(super) fn stale(version: PlainVersion) -> Self {
        let state = State::Down { why: "the API server cannot reach it".into(), again: Instant::now() };
        Self { version, types: Vec::new(), state, logged: false }
    }

    pub(super) fn types(&self) -> &[ResourceInfo] {
        &self.types
    }

    /// Returns the group, if its types are unknown.
    pub(super) fn missing(&self) -> Option<MissingGroup> {
        let why = match &self.state {
            State::Asked(_) if self.types.is_empty() => "it has not answered so far".into(),
            State::Down { why, .. } if self.types.is_empty() => Arc::clone(why),
            _ => return None,
        };
        let (group, version) = (self.version.group().to_owned(), self.version.version().to_owned());
        Some(MissingGroup { group, version, why })
    }

    fn is_asked(&self, now: Instant) -> bool {
        matches!(self.state, State::Asked(by) if now < by)
    }

    fn is_due(&self, now: Instant) -> bool {
        match self.state {
            State::Known => false,
            State::Asked(by) => now >= by,
            State::Down { again, .. } => now >= again,
        }
    }

    /// Stores an answer, with at most `room` types.
    fn take(&mut self, answer: Result<Vec<ResourceInfo>, Failed>, room: usize) {
        let group = self.version.name();
        match answer {
            Ok(mut types) => {
                types.truncate(room);
                if std::mem::take(&mut self.logged) {
                    tracing::warn!(group, "an API group answers again");
                }
                (self.types, self.state) = (types, State::Known);
            }
            Err(Failed { error, retry_after }) => {
                if !std::mem::replace(&mut self.logged, true) {
                    let error = crate::telemetry::chain(&error);
                    let (group, error) = (line(&group, MAX_TEXT), line(&error, MAX_TEXT));
                    tracing::warn!(group, error, "an API group does not answer; it is asked again later");
                }
                let wait = retry_after.map_or(AGAIN_AFTER, |asked| asked.clamp(AGAIN_AFTER, LONGEST_ASKED));
                let now = Instant::now();
                let again = now.checked_add(wait).unwrap_or(now);
                self.state = State::Down { why: error.guest_text().into(), again };
            }
        }
    }
}

impl Fetched {
    /// Stores the answer of one version, if the server still has the version.
    fn take(&mut self, version: &PlainVersion, answer: Result<Vec<ResourceInfo>, Failed>) {
        let others = self.parts().filter(|part| part.version != *version).map(|part| part.types.len()).sum();
        let room = MAX_TYPES.saturating_sub(others);
        if let Some(part) = self.parts_mut().find(|part| part.version == *version) {
            part.take(answer, room);
        }
    }
}

/// The versions to fetch, and the parts that hold their answers.
pub(super) struct Asking {
    parts: Vec<Part>,
    /// Versions that answered last time, or are new.
    sound: Vec<PlainVersion>,
    doubtful: Vec<PlainVersion>,
}

impl Asking {
    /// Keeps the last answer of each version until the next is there.
    pub(super) fn of(versions: Vec<PlainVersion>, known: &[Part]) -> Self {
        let (now, by) = (Instant::now(), answered_by(versions.len()));
        let (mut sound, mut doubtful) = (Vec::new(), Vec::new());
        let part = |version: PlainVersion| {
            let Some(old) = known.iter().find(|part| part.version == version) else {
                sound.push(version.clone());
                return Part { version, types: Vec::new(), state: State::Asked(by), logged: false };
            };
            if !old.is_asked(now) {
                if matches!(old.state, State::Known) { &mut sound } else { &mut doubtful }.push(version);
            }
            let state = if old.is_asked(now) { old.state.clone() } else { State::Asked(by) };
            Part { state, ..old.clone() }
        };
        let parts = versions.into_iter().map(part).collect();
        Self { parts, sound, doubtful }
    }
}

/// Returns the time by which the answers of so many versions are there.
fn answered_by(versions: usize) -> Instant {
    let rounds = u32::try_from(versions / AT_ONCE).unwrap_or(u32::MAX).saturating_add(2);
    let now = Instant::now();
    now.checked_add(VERSION_WITHIN.saturating_mul(rounds)).unwrap_or(now)
}

impl ApiClient {
    /// Fetches versions. Returns each with its answer, or with its last answer if it is late. `took` is the time that
    /// the server took to list the versions.
    ///
    /// # Errors
    /// When the server does not answer, rather than one of its groups.
    pub(super) async fn fetch_parts(&self, asking: Asking, took: Duration) -> Result<Vec<Part>, ClusterError> {
        let Asking { parts, sound, doubtful } = asking;
        let mut fetched = Fetched::of_parts(parts);
        let quiet = QUIET.max(took.saturating_mul(AS_SLOW));
        let mut answers = self.answers(sound);
        let rest = loop {
            match timeout(quiet, answers.next()).await {
                Ok(None) => break None,
                Ok(Some((_, Err(Failed { error, .. })))) if is_the_servers(&error) => return Err(error),
                Ok(Some((version, answer))) => fetched.take(&version, answer),
                Err(_) => break Some(answers),
            }
        };
        if rest.is_some() || !doubtful.is_empty() {
            self.leave(rest.unwrap_or_else(|| stream::empty().boxed()).chain(self.answers(doubtful)).boxed());
        }
        Ok(fetched.into_parts())
    }

    /// Waits for the late groups that `wanted` selects. With `anew`, those that are due are fetched first.
    pub(super) async fn hear(&self, wanted: impl Fn(&MissingGroup) -> bool, anew: bool) {
        let mut settled = self.catalogue().settled();
        let is_wanted = |part: &Part| part.missing().is_some_and(|missing| wanted(&missing));
        if anew {
            let now = Instant::now();
            let mut fetched = self.catalogue().fetched().lock().await;
            let due: Vec<_> = fetched.parts_mut().filter(|part| is_wanted(part) && part.is_due(now)).collect();
            let by = answered_by(due.len());
            let due = due.into_iter().map(|part| {
                part.state = State::Asked(by);
                part.version.clone()
            });
            let due: Vec<_> = due.collect();
            if !due.is_empty() {
                self.leave(self.answers(due));
            }
        }
        let heard = async {
            loop {
                let now = Instant::now();
                let asked =
                    self.catalogue().fetched().lock().await.parts().any(|part| is_wanted(part) && part.is_asked(now));
                if !asked || settled.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(HEARD_WITHIN, heard).await;
    }

    fn answers(&self, versions: Vec<PlainVersion>) -> BoxStream<'static, Answer> {
        let cluster = self.clone();
        let answer = move |version: PlainVersion| {
            let cluster = cluster.clone();
            async move {
                let answer = cluster.fetch_version(&version).await;
                (version, answer)
            }
        };
        stream::iter(versions).map(answer).buffer_unordered(AT_ONCE).boxed()
    }

    /// Stores answers as they come, in a background task.
    fn leave(&self, mut answers: BoxStream<'static, Answer>) {
        let cluster = self.clone();
        tokio::spawn(async move {
            while let Some((version, answer)) = answers.next().await {
                let mut fetched = cluster.catalogue().fetched().lock().await;
                fetched.take(&version, answer);
                cluster.catalogue().renew(&fetched);
            }
        });
    }

    async fn fetch_version(&self, version: &PlainVersion) -> Result<Vec<ResourceInfo>, Failed> {
        let path = version.path();
        let permit = self.permit(&path).await?;
        let once = Payload { as_it_comes: true, ..Payload::none().within(VERSION_WITHIN.min(self.deadline())) };
        let (head, body) = self.send(permit, once).await?.into_parts();
        if head.status != StatusCode::OK {
            let error = granted(head.status, body, MAX_DOCUMENT).await.err();
            let error = error.unwrap_or_else(|| ClusterError::TooLarge(MAX_DOCUMENT));
            return Err(Failed { error, retry_after: retry_after(&head.headers) });
        }
        let bytes = granted(head.status, body, MAX_DOCUMENT).await?;
        Ok(version.read(&bytes).map_err(|source| ClusterError::Discovery { path, source })?)
    }
}

/// Returns whether the failure is one of the server, and not only of a group.
fn is_the_servers(error: &ClusterError) -> bool {
    let ClusterError::Unavailable(why) = error else { return false };
    !matches!(why, Unavailable::Deadline { .. } | Unavailable::BrokenOff { .. } | Unavailable::Busy(_))
}

/// Returns the discovery of all parts.
pub(super) fn together<'a>(parts: impl Iterator<Item = &'a Part> + Clone) -> Discovery {
    let types = parts.clone().flat_map(|part| part.types().iter().cloned()).collect();
    Discovery::new(types).with_missing(parts.filter_map(Part::missing).collect())
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::cluster::status::ServerStatus;

    fn refused(retry_after: Option<u64>) -> Failed {
        let error = ClusterError::Refused(Box::new(ServerStatus::without_body(StatusCode::SERVICE_UNAVAILABLE)));
        Failed { error, retry_after: retry_after.map(Duration::from_secs) }
    }

    fn types(number: usize) -> Vec<ResourceInfo> {
        vec![ResourceInfo::default(); number]
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_that_failed_is_asked_for_again_when_the_server_says_or_after_some_seconds() {
        for (asked, due) in [(None, 5), (Some(0), 5), (Some(30), 30), (Some(86400), 60)] {
            let mut part = Part::stale(PlainVersion::default());
            assert!(part.is_due(Instant::now()), "nobody has asked for it yet");
            part.take(Err(refused(asked)), MAX_TYPES);
            for (seconds, expected) in [(due - 1, false), (1, true)] {
                tokio::time::advance(Duration::from_secs(seconds)).await;
                assert_eq!(part.is_due(Instant::now()), expected, "{asked:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_known_stays_and_what_failed_is_not_waited_for_the_next_time() {
        let version = PlainVersion::default();
        let mut part = Part::stale(version.clone());
        part.take(Ok(types(3)), 2);
        assert_eq!((part.types().len(), part.missing()), (2, None), "no more than there is room for");
        let again = |part: &Part| {
            let asking = Asking::of(vec![version.clone()], std::slice::from_ref(part));
            (asking.sound.len(), asking.doubtful.len(), asking.parts)
        };
        assert!(matches!(again(&part), (1, 0, _)));
        part.take(Err(refused(None)), MAX_TYPES);
        assert_eq!((part.types().len(), part.missing()), (2, None), "its types are as they were");
        let (sound, doubtful, parts) = again(&part);
        assert_eq!((sound, doubtful), (0, 1));
        assert!(matches!(again(&parts[0]), (0, 0, _)), "while it is asked for nobody else asks");
        tokio::time::advance(VERSION_WITHIN * 3).await;
        assert!(matches!(again(&parts[0]), (0, 1, _)), "whoever asked is gone");
    }
}
