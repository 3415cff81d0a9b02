//! The trigger `podinfo`: calls `wasi:cli/run` at the start, and when labels or annotations of the pod change.
//!
//! The guest reads labels and annotations from its mounts or from `attache:pod/metadata`. Changes during a call lead to
//! one further call.

use std::sync::Arc;

use super::runner::Runner;
use super::status::State;
use crate::policy::Trigger;

/// Calls the command at each change until the extension is stopped.
pub(super) async fn keep(mut runner: Runner) {
    loop {
        let version = Arc::clone(&runner.newest.borrow_and_update());
        let Trigger::PodInfo { args } = &version.definition.manifest.trigger else { return };
        let mut changes = version.pod_info().follow();
        // The first call sees the first snapshot.
        let _ = changes.next();
        let replaced = loop {
            let called = tokio::select! {
                called = runner.call(&version, args) => called,
                () = runner.stop.cancelled() => return,
            };
            match called {
                Ok(()) => runner.reporter.enter(State::Ready, "waits for a change of labels or annotations"),
                Err(why) => runner.reporter.enter(State::Ready, format!("the last call failed: {why}")),
            }
            tokio::select! {
                () = runner.stop.cancelled() => return,
                changed = runner.newest.changed() => break changed.is_ok(),
                () = changes.changed() => drop(changes.next()),
            }
        };
        if !replaced {
            return;
        }
    }
}
