//! The task that keeps one extension.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::status::{Reporter, State};
use super::version::{Newest, Version};
use crate::extension::{CallError, Invocation, Outcome};
use crate::policy::Trigger;

/// The function that completes the invocation of each call, given the extension's name.
pub(super) type Prepare = Arc<dyn Fn(Invocation, &str) -> Invocation + Send + Sync>;

/// The state of the task that keeps one extension.
#[derive(Clone)]
pub(super) struct Runner {
    pub(super) newest: Newest,
    pub(super) reporter: Reporter,
    pub(super) prepare: Prepare,
    /// The token that is cancelled to stop the extension.
    pub(super) stop: CancellationToken,
    /// The time that a command has to end after it was asked to stop.
    pub(super) stop_grace: Duration,
}

impl Runner {
    /// Keeps the extension until it is stopped.
    pub(super) async fn keep(self) {
        let version = Arc::clone(&self.newest.borrow());
        match &version.definition.manifest.trigger {
            Trigger::Command { .. } => super::command::keep(self).await,
            Trigger::Schedule(_) => super::schedule::keep(self).await,
            Trigger::PodInfo { .. } => super::podinfo::keep(self).await,
            // The router calls it for requests.
            _ => self.wait().await,
        }
    }

    async fn wait(self) {
        self.reporter.enter(State::Ready, "serves requests");
        self.stop.cancelled().await;
    }

    /// Returns the invocation of one call, with its arguments, environment variables and streams.
    pub(super) fn invocation(&self, version: &Version, arguments: &[String]) -> Invocation {
        (self.prepare)(version.invocation(arguments), &version.definition.manifest.name)
    }

    /// Calls the command once, within the grant's deadline, and counts it.
    pub(super) async fn call(&self, version: &Version, arguments: &[String]) -> Result<(), String> {
        let Some(extension) = version.command() else { return Ok(()) };
        let called = extension.run(self.invocation(version, arguments)).await;
        self.ended(&called)
    }

    /// Counts a call that ended. Fails with the reason if the call failed.
    pub(super) fn ended(&self, called: &Result<Outcome, CallError>) -> Result<(), String> {
        let failure = match called {
            Ok(outcome) if outcome.code == 0 => None,
            Ok(outcome) => Some(format!("exit code {}", outcome.code)),
            Err(error) => Some(super::status::reason_of(error)),
        };
        let cpu = called.as_ref().map_or(Duration::ZERO, |outcome| outcome.cpu);
        self.reporter.ended(called, cpu, failure.is_some());
        failure.map_or(Ok(()), Err)
    }
}
