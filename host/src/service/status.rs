//! The state of each extension, and the counts of its calls.

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
    /// The first version is being loaded.
    Loading,
    /// The extension runs, or its trigger can call it.
    Ready,
    /// The command is restarted after a pause.
    Waiting,
    /// The extension gets no more calls, and its calls in progress may finish.
    Draining,
    /// The extension has ended.
    Stopped,
    /// An operator has to act: the extension could not be loaded, or has failed and is not restarted.
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
    /// The extension's name.
    pub name: String,
    /// The new state.
    pub state: State,
    /// The reason for the change, as text for operators.
    pub reason: String,
    /// The time of the change.
    pub at: Timestamp,
}

/// The counts of an extension's calls since the host started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Counts {
    /// Calls that have ended, including failed and refused calls.
    pub calls: u64,
    /// Calls that failed because of a trap, a limit, or an exit code that is not 0. Includes refused calls.
    pub failed: u64,
    /// Calls that were refused because too many were in progress.
    pub refused: u64,
    /// Scheduled calls that were due and did not begin.
    pub missed: u64,
    /// Restarts of the command.
    pub restarts: u64,
    /// Versions that replaced an earlier version.
    pub reloads: u64,
    /// CPU time of calls that returned, in milliseconds.
    pub cpu_milliseconds: u64,
}

/// The status of one extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Status {
    /// The extension's name.
    pub name: String,
    /// The trigger's name in the manifest.
    pub trigger: &'static str,
    /// The extension's state.
    pub state: State,
    /// The reason for the state, as text for operators.
    pub reason: String,
    /// The time at which the extension entered the state.
    pub since: Timestamp,
    /// The SHA-256 digest of the component's file, in hex. Empty until a version is loaded.
    pub component_sha256: String,
    /// The SHA-256 digest of the grant with all variables resolved, in hex. Empty until a version is loaded.
    pub grant_sha256: String,
    /// The reason for which the newest version did not take over, or `None` if it did.
    pub reload_error: Option<String>,
    /// The counts of the extension's calls.
    pub counts: Counts,
}

/// A shared handle to the status of one extension.
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

    /// Enters a state, logs it, and sends it to all listeners.
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
        // There may be no listener.
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

/// Returns the reason for which a call failed, in one line.
pub(super) fn reason_of(error: &CallError) -> String {
    match error.reached() {
        Some(LimitHit { limit, allowed }) => format!("{}: {allowed}", limit.name()),
        None => crate::telemetry::legible(&crate::telemetry::chain(error).to_string()),
    }
}
