//! The parts of discovery, and those that the server has no answer for.
//!
//! A group may be an aggregated API, whose backend is somebody else's and may be down or hang. Such a group costs
//! nobody else anything: where each version has a document of its own, all are asked for at once, what is silent while
//! the others answer is left to a task of its own, and a version that failed last time is not waited for at all.
//! Whoever asks for a type of such a group waits for its own answer alone, and gets an error that names the group.
//!
//! Threat: a server with hundreds of versions whose documents are endless or large. Each is cut, few are asked for at
//! once, one is read at a time, and of all together [`MAX_TYPES`] types are kept.

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

/// How long the document of one version may take. Only a task of its own waits for as long.
const VERSION_WITHIN: Duration = Duration::from_secs(10);
/// How long whoever asks for a type of a version waits for its document, which others no longer wait for. A guest has
/// mostly no more than some seconds, in which it is to hear which group it is.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// The largest document of one version, in bytes: that of the core group, which is the longest of a real server, has 10
/// KiB.
const MAX_DOCUMENT: u64 = 1 << 20;
/// How long no document comes before those that are still to come are no longer waited for; and no less than this many
/// times as long as the list of groups took, for the server may be far away.
const QUIET: Duration = Duration::from_millis(250);
const AS_SLOW: u32 = 4;
/// How many versions are asked for at once. Each is a connection and holds a document.
const AT_ONCE: usize = 16;
/// After what time a version that failed may be asked for again, and for how long a server that says when
/// (`Retry-After`) is obeyed at most.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
const LONGEST_ASKED: Duration = Duration::from_mins(1);

/// What is known of one version of a group, or of all that one document holds.
#[derive(Clone, Debug)]
pub(super) struct Part {
    version: PlainVersion,
    /// The last that the server said of it.
    types: Vec<ResourceInfo>,
    state: State,
    /// Whether the operator was told that it is down.
    told: bool,
}

/// Whether a part is as the server last said.
#[derive(Clone, Debug)]
enum State {
    Known,
    /// It is asked for, and the answer is there by then.
    Asked(Instant),
    /// It could not be had.
    Down {
        why: Arc<str>,
        again: Instant,
    },
}

/// Why the document of a version could not be had.
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
    /// All types of one document.
    pub(super) fn whole(types: Vec<ResourceInfo>) -> Self {
        Self { version: PlainVersion::default(), types, state: State::Known, told: false }
    }

    /// A version that the server lists without being able to say what is in it.
    pub(super) fn stale(version: PlainVersion) -> Self {
        let state = State::Down { why: "the API server cannot reach it".into(), again: Instant::now() };
        Self { version, types: Vec::new(), state, told: false }
    }

    pub(super) fn types(&self) -> &[ResourceInfo] {
        &self.types
    }

    /// The group, where nothing is known of its types.
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

    /// Takes an answer in, with no more types than there is room for.
    fn take(&mut self, answer: Result<Vec<ResourceInfo>, Failed>, room: usize) {
        let group = self.version.name();
        match answer {
            Ok(mut types) => {
                types.truncate(room);
                if std::mem::take(&mut self.told) {
                    tracing::warn!(group, "an API group answers again");
                }
                (self.types, self.state) = (types, State::Known);
            }
            Err(Failed { error, retry_after }) => {
                if !std::mem::replace(&mut self.told, true) {
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
    /// Takes the answer of one version in, if the server still has it.
    fn take(&mut self, version: &PlainVersion, answer: Result<Vec<ResourceInfo>, Failed>) {
        let others = self.parts().filter(|part| part.version != *version).map(|part| part.types.len()).sum();
        let room = MAX_TYPES.saturating_sub(others);
        if let Some(part) = self.parts_mut().find(|part| part.version == *version) {
            part.take(answer, room);
        }
    }
}

/// What is asked for of a list of versions.
pub(super) struct Asking {
    parts: Vec<Part>,
    /// Those that answered last time, or were not there.
    sound: Vec<PlainVersion>,
    doubtful: Vec<PlainVersion>,
}

impl Asking {
    /// Keeps what is known of each version until its answer is there.
    pub(super) fn of(versions: Vec<PlainVersion>, known: &[Part]) -> Self {
        let (now, by) = (Instant::now(), answered_by(versions.len()));
        let (mut sound, mut doubtful) = (Vec::new(), Vec::new());
        let part = |version: PlainVersion| {
            let Some(old) = known.iter().find(|part| part.version == version) else {
                sound.push(version.clone());
                return Part { version, types: Vec::new(), state: State::Asked(by), told: false };
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

/// By when the answers of so many versions are there.
fn answered_by(versions: usize) -> Instant {
    let rounds = u32::try_from(versions / AT_ONCE).unwrap_or(u32::MAX).saturating_add(2);
    let now = Instant::now();
    now.checked_add(VERSION_WITHIN.saturating_mul(rounds)).unwrap_or(now)
}

impl ApiClient {
    /// Asks for versions and returns what is known of each: the server's answer, or what was known before and is still
    /// asked for. `took` is how long the server took to list them.
    ///
    /// # Errors
    /// When it is the server that does not answer, and not a group.
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

    /// Waits for the groups that `wanted` names and that are asked for; with `anew`, those whose time has come are
    /// asked for.
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

    /// Takes answers in as they come, in a task of its own.
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

/// Returns whether nothing of the server can be had, and not only one of its groups.
fn is_the_servers(error: &ClusterError) -> bool {
    let ClusterError::Unavailable(why) = error else { return false };
    !matches!(why, Unavailable::Deadline { .. } | Unavailable::BrokenOff { .. } | Unavailable::Busy(_))
}

/// The types of all parts.
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
