//! The upstream of one store: its list and watch of the server, and the response to each failure.
//!
//! | event | response |
//! | --- | --- |
//! | the watch ends after its time | a new watch from the last version, of an event or a bookmark |
//! | the connection breaks, the server is away, 429, 5xx | a new watch, after a backoff that grows to ten seconds |
//! | the connection is refused | a new watch, after a backoff that grows to two seconds |
//! | 401, 403, 404 | retried for a while, see `retry_policy`; a store without a first list ends at once at 403 and 404 |
//! | 401, 403, a certificate that is not accepted | retried, and at once when a file of the credentials changes |
//! | 429 or 503 with `Retry-After` | retried no sooner than that, up to two minutes |
//! | 500 or 504 five times at one version, as a status or as an event | as at 410 |
//! | 410, as a status or as an event | a new list, the first time at once; followers get what has changed |
//! | other refusals, or those above for too long | the store ends, its followers get the error, its memory is freed |
//! | no room, an object too large, nonsense | the store ends |
//!
//! While the server stays away, a store with followers is kept: it holds the newest state that this host has. The first
//! list has to succeed within the client's deadline. An interruption that lasts is logged once, and once when it is
//! over.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::backoff::{Backoff, Cost};
use super::error::WatchError;
use super::hub::Hub;
use super::lines::MAX_LINE;
use super::pause::{deserted, until_changed};
use super::retry_policy::{Denial, Denials, Trouble, cost, fatal, is_about_credentials, is_about_version};
use super::store::Store;
use crate::cluster::connect::ApiClient;
use crate::cluster::error::ClusterError;
use crate::gate::Gate;
use crate::telemetry::chain;

/// The most bytes of a page of a list. Where five hundred objects have more, the host asks for fewer. Every object that
/// fits a line fits a page.
pub(super) const PAGE_BYTES: u64 = MAX_LINE as u64;

/// The time without a success after which the interruption is logged: a server that restarts is back sooner as a rule.
const LOGGED_AFTER: Duration = Duration::from_secs(3);

/// The number of failures inside the server, one after the other at one version, after which the collection is listed
/// again. A list costs the server more than a watch, but a version that it cannot serve would leave followers stale.
const MAX_FAILURES: u32 = 5;

/// The task that keeps one store.
pub(super) struct Upstream {
    pub(super) cluster: ApiClient,
    pub(super) hub: Arc<Hub>,
    pub(super) store: Arc<Store>,
    pub(super) gate: Gate,
    /// The version from which to watch; `None` lists first.
    pub(super) version: Option<String>,
    pub(super) backoff: Backoff,
    denials: Denials,
    /// The number of failures in a row that may be about the version.
    failures: u32,
    /// True after the interruption was logged.
    logged: bool,
    /// The changes of the credentials' files, from the first failure on that they may mend.
    changes: Option<watch::Receiver<u64>>,
}

/// A pause after a failure.
struct Pause {
    length: Duration,
    /// True for a pause that ends when the credentials change.
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
            logged: false,
            changes: None,
        }
    }

    /// Keeps the store until it is deserted or ends.
    pub(super) async fn run(mut self) {
        let ending = Ending { hub: Arc::clone(&self.hub), store: Arc::clone(&self.store) };
        let linger = self.hub.settings().linger;
        let why = tokio::select! {
            why = self.keep() => why,
            () = deserted(&ending.hub, &ending.store, linger) => WatchError::Stopped,
        };
        if !matches!(why, WatchError::Stopped) {
            ending.hub.log_end(&ending.store, &why);
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
            match self.pause_after(trouble) {
                Ok(pause) if pause.for_credentials => until_changed(pause.length, self.changes()).await,
                Ok(pause) => sleep(pause.length).await,
                Err(why) => return why,
            }
        }
    }

    /// Returns the pause after this trouble, or the error that ends the store.
    fn pause_after(&mut self, trouble: Trouble) -> Result<Pause, WatchError> {
        let now = Instant::now();
        let mut for_credentials = false;
        let length = match trouble {
            Trouble::Fatal(why) => return Err(why),
            Trouble::Passing(error, asked) => {
                let wait = self.backoff.failed(now, random(), cost(&error));
                // Added, so that hosts that were asked to wait equally long do not come back together.
                let wait = asked.map_or(wait, |asked| asked.saturating_add(wait));
                if self.is_lost(&error, now, wait) {
                    return Err(fatal(*error));
                }
                self.log_failure(&error, now, wait);
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

    /// Counts a failure that may be about the version. After [`MAX_FAILURES`] the collection is listed again.
    fn count(&mut self, error: &ClusterError) {
        if is_about_version(error) {
            self.failures = self.failures.saturating_add(1);
        }
        if self.failures >= MAX_FAILURES {
            (self.version, self.failures) = (None, 0);
        }
    }

    /// Returns whether the store ends, because the failure has lasted too long or cannot pass.
    fn is_lost(&mut self, error: &ClusterError, now: Instant, wait: Duration) -> bool {
        let denial = Denial::of(error);
        let denied_for = self.denials.note(denial, now);
        match (self.store.is_live(), denial) {
            // There is no sign that this was ever allowed.
            (false, Some(Denial::Forbidden)) => true,
            (false, _) => self.backoff.failing_for(now).saturating_add(wait) >= self.cluster.deadline(),
            (true, Some(denial)) => denied_for >= denial.patience(self.hub.settings()),
            (true, None) => false,
        }
    }

    /// Notes a success: a page of a list, an event of a watch, or a watch that stays open without events. A watch that
    /// was only accepted is none, since its first event may be a 410.
    pub(super) fn succeeded(&mut self) {
        if std::mem::take(&mut self.logged) {
            let (path, after) = (self.store.scope().shown(), self.backoff.failing_for(Instant::now()));
            if let Some(unlogged) = self.hub.sample_log() {
                tracing::warn!(path, ?after, untold = unlogged, "a watch goes on");
            }
        }
        self.backoff.succeeded();
        self.denials = Denials::default();
    }

    /// Logs a failure: once as a warning, after [`LOGGED_AFTER`] without a success.
    fn log_failure(&mut self, error: &ClusterError, now: Instant, wait: Duration) {
        let (path, since, error) = (self.store.scope().shown(), self.backoff.failing_for(now), chain(error));
        if since >= LOGGED_AFTER && !self.logged {
            self.logged = true;
            if let Some(unlogged) = self.hub.sample_log() {
                tracing::warn!(path, %error, ?since, untold = unlogged, "a watch is interrupted");
            }
        } else {
            tracing::debug!(path, %error, ?wait, "a watch is interrupted");
        }
    }

    /// Makes other stores give up memory for this one, which is to hold `wanted` bytes.
    pub(super) fn make_room(&self, wanted: u64) -> Result<(), Trouble> {
        if self.hub.make_room(&self.store, wanted) {
            return Ok(());
        }
        Err(Trouble::Fatal(WatchError::Overflow(self.hub.budget().ceiling())))
    }
}

/// Returns random bits. Where the system has none, all upstreams wait equally long, which is no worse than no jitter.
pub(super) fn random() -> u32 {
    getrandom::u32().unwrap_or_default()
}
