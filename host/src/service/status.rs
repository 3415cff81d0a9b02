//! The state of each extension, and what its calls came to.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::extension::CallError;
use crate::policy::LimitHit;

/// The state of an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum State {
    /// Its first version is being loaded.
    Loading,
    /// Its trigger calls it.
    Ready,
    /// It is started again after a pause.
    Waiting,
    /// It takes no more calls, and those under way finish.
    Draining,
    /// It is over.
    Stopped,
    /// It needs a person: it could not be loaded, or ended for good with a failure.
    Failed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One change of an extension's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Transition {
    /// The extension.
    pub name: String,
    /// The state that it is in now.
    pub state: State,
    /// Why, for a person.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// What an extension's calls came to, since the host started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Counts {
    /// Calls that began.
    pub calls: u64,
    /// Calls that failed: by a trap, at a limit, or with an exit code that is not 0.
    pub failed: u64,
    /// Calls that were refused because too many were under way.
    pub refused: u64,
    /// Calls that were due and did not begin.
    pub missed: u64,
    /// Restarts.
    pub restarts: u64,
    /// Versions that took over from another.
    pub reloads: u64,
    /// CPU time of calls that ended by themselves, in milliseconds.
    pub cpu_milliseconds: u64,
}

/// One extension, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Its trigger, as the manifest names it.
    pub trigger: &'static str,
    /// Its state.
    pub state: State,
    /// Why it is in that state.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// The SHA-256 digest of the component's file, in hex; empty until a version is loaded.
    pub component_sha256: String,
    /// The SHA-256 digest of the grant as it is in force, in hex.
    pub grant_sha256: String,
    /// Why the newest version did not take over; `None` when it did.
    pub reload_error: Option<String>,
    /// What its calls came to.
    pub counts: Counts,
}

/// The status of one extension, shared with what changes it.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    status: Arc<Mutex<Status>>,
    transitions: broadcast::Sender<Transition>,
}

impl Reporter {
    pub(super) fn new(name: &str, trigger: &'static str, transitions: broadcast::Sender<Transition>) -> Self {
        let status = Status {
            name: name.to_owned(),
            trigger,
            state: State::Loading,
            reason: String::new(),
            since: Timestamp::now(),
            component_sha256: String::new(),
            grant_sha256: String::new(),
            reload_error: None,
            counts: Counts::default(),
        };
        Self { status: Arc::new(Mutex::new(status)), transitions }
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> Status {
        self.lock().clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.lock());
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.lock().counts);
    }

    /// Enters a state, logs it and sends it to those who listen.
    pub(super) fn enter(&self, state: State, reason: impl Into<String>) {
        let transition = {
            let mut status = self.lock();
            (status.state, status.reason, status.since) = (state, reason.into(), Timestamp::now());
            Transition { name: status.name.clone(), state, reason: status.reason.clone(), at: status.since }
        };
        let (extension, reason) = (&*transition.name, &*transition.reason);
        match state {
            State::Failed => tracing::error!(extension, %state, reason, "extension"),
            State::Waiting => tracing::warn!(extension, %state, reason, "extension"),
            _ => tracing::info!(extension, %state, reason, "extension"),
        }
        // Nobody has to listen.
        let _ = self.transitions.send(transition);
    }

    /// Counts a call that ended.
    pub(super) fn ended<T>(&self, call: &Result<T, CallError>, cpu: std::time::Duration, failed: bool) {
        self.count(|counts| {
            counts.calls += 1;
            counts.cpu_milliseconds += u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX);
            counts.failed += u64::from(failed);
            counts.refused += u64::from(matches!(call, Err(CallError::Busy { .. })));
        });
    }
}

/// Says how a call ended, within one line.
pub(super) fn reason_of(error: &CallError) -> String {
    match error.reached() {
        Some(LimitHit { limit, allowed }) => format!("{}: {allowed}", limit.name()),
        None => crate::telemetry::legible(&crate::telemetry::chain(error).to_string()),
    }
}
