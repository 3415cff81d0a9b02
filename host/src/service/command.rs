//! The trigger `command`: runs `wasi:cli/run` for as long as the pod runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::backoff::Backoff;
use super::runner::Runner;
use super::status::State;
use super::stop::StopStdin;
use super::version::Version;
use crate::extension::{CallError, Outcome};
use crate::policy::{RestartPolicy, Trigger};

/// The end of one run of the command.
enum Ended {
    /// The command ended by itself.
    Itself(Result<Outcome, CallError>),
    /// A newer version took over.
    Replaced,
    /// The extension is stopping.
    Stopped,
}

/// Runs and restarts the command until the extension is stopped.
pub(super) async fn keep(mut runner: Runner) {
    let first = Arc::clone(&runner.newest.borrow());
    let mut backoff = Backoff::new(&first.definition.manifest.restart);
    drop(first);
    loop {
        let version = Arc::clone(&runner.newest.borrow_and_update());
        let begun = Instant::now();
        let called = match run(&mut runner, &version).await {
            Ended::Stopped => return,
            Ended::Replaced => continue,
            Ended::Itself(called) => called,
        };
        let restart = version.definition.manifest.restart;
        let ended = runner.ended(&called);
        let again = match restart.policy {
            RestartPolicy::Never => false,
            RestartPolicy::OnFailure => ended.is_err(),
            _ => true,
        };
        let reason = ended.as_ref().err().map_or("it ended by itself", String::as_str);
        let pause = if again {
            let pause = backoff.pause(&restart, begun.elapsed());
            runner.reporter.enter(State::Waiting, format!("{reason}; starts again in {:.1}s", pause.as_secs_f64()));
            pause
        } else {
            let state = if ended.is_ok() { State::Stopped } else { State::Failed };
            runner.reporter.enter(state, reason);
            Duration::MAX
        };
        tokio::select! {
            () = runner.stop.cancelled() => return,
            // A new version may work.
            changed = runner.newest.changed() => if changed.is_err() { return },
            () = sleep(pause) => runner.reporter.count(|counts| counts.restarts += 1),
        }
    }
}

async fn run(runner: &mut Runner, version: &Version) -> Ended {
    let (Some(extension), Trigger::Command { args }) = (version.command(), &version.definition.manifest.trigger) else {
        runner.stop.cancelled().await;
        return Ended::Stopped;
    };
    let asked = runner.stop.child_token();
    let invocation = runner.invocation(version, args).stdin(StopStdin(asked.clone()));
    let mut running = std::pin::pin!(extension.run_as_service(invocation));
    runner.reporter.enter(State::Ready, "runs");
    let ended = tokio::select! {
        ended = &mut running => return Ended::Itself(ended),
        () = runner.stop.cancelled() => Ended::Stopped,
        changed = runner.newest.changed() => if changed.is_ok() { Ended::Replaced } else { Ended::Stopped },
    };
    // The end of its stdin asks the guest to stop. After the grace period the guest is ended.
    asked.cancel();
    if let Ok(called) = timeout(runner.stop_grace, running).await {
        let _ = runner.ended(&called);
    }
    ended
}
