//! Calls of commands: components that export `wasi:cli/run`.

use std::time::Duration;

use tokio::time::Instant;
use wasmtime::Store;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::{Command, CommandPre};

use super::bounds::{Budget, Failure, Usage};
use super::call_error::CallError;
use super::invocation::Invocation;
use super::load::Extension;
use super::state::State;
use crate::policy::LimitHit;

/// The end of a command's call that the guest itself ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// The guest's exit code; 0 when its `run` returned `ok`, 1 when it returned an error.
    pub code: i32,
    /// The CPU time of guest code and of the host calls on its thread.
    pub cpu: Duration,
    /// The time from the call to its end.
    pub elapsed: Duration,
    /// The linear memory that the instance held at its end, in bytes.
    pub memory: usize,
    /// A limit that the guest reached without failing: a refused growth, or output that had to wait.
    pub reached: Option<LimitHit>,
}

impl Outcome {
    fn new(code: i32, usage: Usage) -> Self {
        let Usage { cpu, elapsed, memory, reached } = usage;
        Self { code, cpu, elapsed, memory, reached }
    }
}

impl Extension<CommandPre<State>> {
    /// Calls the component's `wasi:cli/run` once, in a fresh instance.
    ///
    /// The call ends at the grant's deadline or when its CPU time is used up, even while the guest waits in a host
    /// call. Dropping the future ends the call at once. A limit that the guest reached is logged and recorded in the
    /// audit. If many calls reach the limit, only some records are written, with the number of calls.
    ///
    /// # Errors
    /// Fails with the limit or trap that ended the guest. An exit of the guest is no error, whatever its code.
    pub async fn run(&self, invocation: Invocation) -> Result<Outcome, CallError> {
        let done = self.call_with(invocation, (), exit_code).await?;
        Ok(Outcome::new(done.value, done.usage))
    }
}

impl Extension<CommandPre<State>> {
    /// Calls the component's `wasi:cli/run` once, for as long as it runs: a service.
    ///
    /// No deadline and no sum of CPU time ends the call. In each window as long as the grant's `deadline`, it may use
    /// the grant's `cpu`; beyond that it is paused until the rate gives it more. Dropping the future ends the call at
    /// once.
    ///
    /// # Errors
    /// Fails with the limit or trap that ended the guest. An exit of the guest is no error, whatever its code.
    pub async fn run_as_service(&self, invocation: Invocation) -> Result<Outcome, CallError> {
        let begun = Instant::now();
        let instance = self.bounds.instance(invocation, ())?;
        let step = async |store: &mut Store<State>| {
            let command = self.world.instantiate_async(&mut *store).await.map_err(Failure::Instantiate)?;
            exit_code(&command, store).await.map_err(Failure::Work)
        };
        let (code, usage, _instance) = self.bounds.drive(instance, begun, Budget::Service, step).await?;
        Ok(Outcome::new(code, usage))
    }
}

async fn exit_code(command: &Command, store: &mut Store<State>) -> wasmtime::Result<i32> {
    match command.wasi_cli_run().call_run(store).await {
        Ok(result) => Ok(i32::from(result.is_err())),
        Err(error) => error.downcast_ref::<I32Exit>().map(|exit| exit.0).ok_or(error),
    }
}
