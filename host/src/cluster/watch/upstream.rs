//! Keeping one store like the server: list, watch, and what to do when that fails.
//!
//! | what happens | what is done |
//! | --- | --- |
//! | the watch ends after its time | it is taken up at the last version, told by an event or a bookmark |
//! | the connection breaks, the server is away, 429, 5xx | the same, after a wait that grows to ten seconds |
//! | nothing listens there | the same, after a wait that grows to two seconds |
//! | 401, 403, 404 | the same for a while, see `trouble`; a store that has not been whole yet is over at once at 403 and 404 |
//! | 401, 403, a certificate that is not accepted | the same, and at once when a file of the credentials changes |
//! | 429 or 503 with `Retry-After` | the same, after no less than that, up to two minutes |
//! | 500 or 504 again and again, as a status or as an event, at one version | after five of them as at 410 |
//! | 410, as a status or as an event | the collection is listed again, the first time at once, and followers are told what has changed |
//! | other refusals, or those for too long | the store is over; its followers are told, and nothing of it is left |
//! | no room, an object too large, nonsense | the same |
//!
//! A server that stays away is waited for as long as somebody follows, for what is in the store is then the newest that
//! anybody here knows. The first filling has to succeed within the client's deadline. Of an interruption that lasts the
//! operator is told once, and once more when it is over.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::response::Parts;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::backoff::{Backoff, Cost};
use super::error::WatchError;
use super::history::Change;
use super::hub::Hub;
use super::lines::{Event, LineError, Lines, MAX_LINE};
use super::retry_policy::{Denial, Denials, Trouble, cost, fatal, is_about_credentials, is_about_version};
use super::store::{Full, Store};
use crate::cluster::client::{AnswerBody, Payload, retry_after};
use crate::cluster::connect::ApiClient;
use crate::cluster::error::ClusterError;
use crate::cluster::status::ServerStatus;
use crate::cluster::unavailable::Unavailable;
use crate::gate::Gate;
use crate::telemetry::chain;

/// How long the server is asked to let one watch live, in seconds, and up to how much longer at random: as the clients
/// that most servers see.
const WATCH_SECONDS: u64 = 240;
const MORE_SECONDS: u64 = 60;
/// How much longer than that it is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// A watch that ends sooner than this counts as a failure, whatever it told: a server that cuts each one is not asked
/// anew without a pause.
const MIN_LIFE: Duration = Duration::from_millis(500);
/// The largest page of a list, in bytes. Where five hundred objects are more, fewer are asked for; one fits that fits a
/// line.
const PAGE_BYTES: u64 = MAX_LINE as u64;
/// How long the body of a refusal is waited for, and how many bytes of it are read: it is a status and a sentence.
const REFUSAL_WITHIN: Duration = Duration::from_secs(10);
const REFUSAL_BYTES: usize = 64 << 10;

/// How long a change of the credentials is left alone: a token and a CA are written one after the other.
const WRITTEN_WITHIN: Duration = Duration::from_millis(100);

/// How long nothing succeeds before the operator is told: a server that restarts is back before as a rule.
const TOLD_AFTER: Duration = Duration::from_secs(3);

/// How often in a row the watch of one version may fail by an error inside the server before the collection is listed
/// anew. A list costs the server more than a watch, and a version that it cannot serve costs followers everything.
const MAX_FAILURES: u32 = 5;

/// Keeps one store.
pub(super) struct Upstream {
    pub(super) cluster: ApiClient,
    pub(super) hub: Arc<Hub>,
    pub(super) store: Arc<Store>,
    pub(super) gate: Gate,
    /// From which version on to watch; `None` lists first.
    version: Option<String>,
    backoff: Backoff,
    denials: Denials,
    /// How often in a row the watch of one version failed by what may be that version's fault.
    failures: u32,
    /// Whether the operator was told that nothing succeeds.
    told: bool,
    /// The changes of the credentials' files, from the first failure on that they may mend.
    changes: Option<watch::Receiver<u64>>,
}

/// A pause after a failure.
struct Pause {
    length: Duration,
    /// Whether it ends when the credentials change.
    for_credentials: bool,
}

/// Ends the store however its task ends.
struct Ending {
    hub: Arc<Hub>,
    store: Arc<Store>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.hub.forget(&self.store);
        self.store.end(WatchError::Stopped);
    }
}

impl Upstream {
    pub(super) fn new(cluster: ApiClient, hub: Arc<Hub>, store: Arc<Store>) -> Self {
        let gate = Gate::for_store(cluster.rate().cloned(), hub.audit(), store.scope().list(), PAGE_BYTES);
        Self {
            cluster,
            hub,
            store,
            gate,
            version: None,
            backoff: Backoff::new(),
            denials: Denials::default(),
            failures: 0,
            told: false,
            changes: None,
        }
    }

    /// Keeps the store until nobody follows it any more, or it is over.
    pub(super) async fn run(mut self) {
        let ending = Ending { hub: Arc::clone(&self.hub), store: Arc::clone(&self.store) };
        let linger = self.hub.settings().linger;
        let why = tokio::select! {
            why = self.keep() => why,
            () = deserted(&ending, linger) => WatchError::Stopped,
        };
        if !matches!(why, WatchError::Stopped) {
            ending.hub.tell_end(&ending.store, &why);
        }
        ending.hub.forget(&ending.store);
        ending.store.end(why);
    }

    async fn keep(&mut self) -> WatchError {
        loop {
            let before = self.version.clone();
            let step = match &before {
                None => self.fill().await.map(|version| self.version = Some(version)),
                Some(version) => self.watch(version).await,
            };
            if step.is_ok() || self.version != before {
                self.failures = 0;
            }
            let Err(trouble) = step else { continue };
            match self.borne(trouble) {
                Ok(pause) if pause.for_credentials => until_changed(pause.length, self.changes()).await,
                Ok(pause) => sleep(pause.length).await,
                Err(why) => return why,
            }
        }
    }

    /// How long to wait after this, or why not to go on.
    fn borne(&mut self, trouble: Trouble) -> Result<Pause, WatchError> {
        let now = Instant::now();
        let mut for_credentials = false;
        let length = match trouble {
            Trouble::Fatal(why) => return Err(why),
            Trouble::Passing(error, asked) => {
                let wait = self.backoff.failed(now, random(), cost(&error));
                // Added, so that those who were all asked to wait equally long do not come back together.
                let wait = asked.map_or(wait, |asked| asked.saturating_add(wait));
                if self.is_lost(&error, now, wait) {
                    return Err(fatal(*error));
                }
                self.tell(&error, now, wait);
                self.count(&error);
                for_credentials = asked.is_none() && is_about_credentials(&error);
                wait
            }
            Trouble::Expired => {
                self.version = None;
                self.backoff.expired(now, random())
            }
            Trouble::Cut => {
                let wait = self.backoff.failed(now, random(), Cost::Work);
                self.backoff.succeeded();
                wait
            }
        };
        Ok(Pause { length, for_credentials })
    }

    fn changes(&mut self) -> Option<&mut watch::Receiver<u64>> {
        if self.changes.is_none() {
            self.changes = self.cluster.credential_changes();
        }
        self.changes.as_mut()
    }

    /// Counts the failures of one version; after enough of them the collection is listed anew.
    fn count(&mut self, error: &ClusterError) {
        if is_about_version(error) {
            self.failures = self.failures.saturating_add(1);
        }
        if self.failures >= MAX_FAILURES {
            (self.version, self.failures) = (None, 0);
        }
    }

    /// Returns whether there is no point in waiting so long after a failure that passes as a rule.
    fn is_lost(&mut self, error: &ClusterError, now: Instant, wait: Duration) -> bool {
        let denial = Denial::of(error);
        let denied_for = self.denials.note(denial, now);
        match (self.store.is_live(), denial) {
            // Nothing says that this was ever otherwise.
            (false, Some(Denial::Forbidden)) => true,
            (false, _) => self.backoff.failing_for(now).saturating_add(wait) >= self.cluster.deadline(),
            (true, Some(denial)) => denied_for >= denial.patience(self.hub.settings()),
            (true, None) => false,
        }
    }

    /// The server has given what was asked for: a page of a list, an event of a watch, or a watch in which nothing
    /// happens. That it has taken a watch alone says nothing, for it may go on to say that it has forgotten where that
    /// begins.
    pub(super) fn succeeded(&mut self) {
        if std::mem::take(&mut self.told) {
            let (path, after) = (self.store.scope().shown(), self.backoff.failing_for(Instant::now()));
            if let Some(untold) = self.hub.log() {
                tracing::warn!(path, ?after, untold, "a watch goes on");
            }
        }
        self.backoff.succeeded();
        self.denials = Denials::default();
    }

    /// Tells the operator of a failure: once, when nothing has succeeded for a while.
    fn tell(&mut self, error: &ClusterError, now: Instant, wait: Duration) {
        let (path, since, error) = (self.store.scope().shown(), self.backoff.failing_for(now), chain(error));
        if since >= TOLD_AFTER && !self.told {
            self.told = true;
            if let Some(untold) = self.hub.log() {
                tracing::warn!(path, %error, ?since, untold, "a watch is interrupted");
            }
        } else {
            tracing::debug!(path, %error, ?wait, "a watch is interrupted");
        }
    }

    /// Watches from a version on, until the watch ends.
    async fn watch(&mut self, version: &str) -> Result<(), Trouble> {
        let began = Instant::now();
        let seconds = WATCH_SECONDS.saturating_add(u64::from(random()) % MORE_SECONDS);
        let request = self.store.scope().changes(version, seconds)?;
        let permit = self.cluster.admitted(&self.gate, request).await?;
        let (head, body) = self.cluster.send(permit, Payload::none()).await?.into_parts();
        if !head.status.is_success() {
            return Err(refused(&head, body).await);
        }
        let end = began.checked_add(Duration::from_secs(seconds).saturating_add(PATIENCE)).unwrap_or(began);
        let told = self.take_events(Lines::of(body, self.hub.long_events()), end).await;
        if began.elapsed() >= MIN_LIFE {
            self.backoff.settled();
            return told;
        }
        told.and(Err(Trouble::Cut))
    }

    /// Takes events in until the body ends, or `end` comes.
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

    /// The next lines. A watch that is `silent` from its beginning on counts as one that goes on when it has lived for
    /// a while.
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

    /// Reads an event; changes are collected, to be applied together.
    fn understand(&mut self, line: &[u8], changes: &mut VecDeque<Change>) -> Result<(), Trouble> {
        match Event::read(line).map_err(Trouble::Fatal)? {
            Event::Applied(object) => changes.push_back(Change::Applied(Arc::new(object))),
            Event::Deleted(object) => changes.push_back(Change::Deleted(Arc::new(object))),
            Event::Bookmark(version) => {
                self.store.reached(&version);
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

    /// Applies changes; where there is no room, other stores make some.
    fn apply(&self, mut changes: VecDeque<Change>) -> Result<(), Trouble> {
        while let Err(Full(wanted)) = self.store.apply(&mut changes) {
            self.make_room(wanted)?;
        }
        Ok(())
    }

    /// Has other stores make room for this one, which is to hold `wanted` bytes.
    pub(super) fn make_room(&self, wanted: u64) -> Result<(), Trouble> {
        if self.hub.make_room(&self.store, wanted) {
            return Ok(());
        }
        Err(Trouble::Fatal(WatchError::Overflow(self.hub.budget().ceiling())))
    }
}

/// What the server said when it refused a list or a watch.
pub(super) async fn refused(head: &Parts, body: AnswerBody) -> Trouble {
    // A refusal's own body is short; one without an end is not waited for.
    let read = timeout(REFUSAL_WITHIN, Lines::all_of(body, REFUSAL_BYTES)).await.ok().and_then(Result::ok);
    let status = head.status;
    let told = read.map_or_else(|| ServerStatus::without_body(status), |bytes| ServerStatus::read(status, bytes));
    Trouble::from(ClusterError::Refused(Box::new(told))).asking(retry_after(&head.headers))
}

/// Waits for as long, or until a file of the credentials has changed and whoever writes it had time to write the
/// others.
async fn until_changed(wait: Duration, changes: Option<&mut watch::Receiver<u64>>) {
    let changed = async {
        let Some(changes) = changes else { return std::future::pending().await };
        match changes.changed().await {
            Ok(()) => sleep(WRITTEN_WITHIN).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = sleep(wait) => {}
        () = changed => {}
    }
}

/// Comes when nobody has followed for a while, and nobody will.
async fn deserted(ending: &Ending, linger: Duration) {
    let mut followers = ending.store.followers().subscribe();
    loop {
        let empty = followers.wait_for(|count| *count == 0).await.is_ok();
        let again = timeout(linger, followers.wait_for(|count| *count > 0)).await.is_ok();
        if empty && !again && ending.hub.retire(&ending.store) {
            return;
        }
    }
}

/// Where the system gives no random bits, upstreams wait equally long, which is no worse than no jitter.
fn random() -> u32 {
    getrandom::u32().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_credentials_ends_a_wait_and_nothing_else_does() {
        let (sender, mut changes) = watch::channel(0_u64);
        let began = Instant::now();
        until_changed(Duration::from_secs(10), Some(&mut changes)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(10));
        let change = async {
            sleep(Duration::from_secs(1)).await;
            sender.send_replace(1);
        };
        tokio::join!(until_changed(Duration::from_secs(10), Some(&mut changes)), change);
        assert_eq!(began.elapsed(), Duration::from_secs(11) + WRITTEN_WITHIN);
        drop(sender);
        until_changed(Duration::from_secs(10), Some(&mut changes)).await;
        until_changed(Duration::from_secs(10), None).await;
        assert_eq!(began.elapsed(), Duration::from_secs(31) + WRITTEN_WITHIN);
    }
}
