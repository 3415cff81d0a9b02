//! One call of a command: an instance of its own, under the grant's limits.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::Store;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{StdinStream, StdoutStream};
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxBuilder};

use super::load::Extension;
use super::output::{Outputs, Sink, inherited_stderr, inherited_stdout};
use super::run_error::{RunError, reached_by_growth};
use super::state::State;
use crate::engine::{CpuMeter, Limiter, OutOfCpu};
use crate::policy::{Limit, Reached};

/// The most random bytes that one host call gives, about a millisecond's work. wasmtime-wasi would make 64 MiB at once,
/// and hold a thread that other guests need for as long.
const RANDOM: u64 = 256 << 10;

/// What one call is given.
#[derive(Default)]
pub struct Invocation {
    arguments: Vec<String>,
    wasi: WasiCtxBuilder,
    stdout: Option<Sink>,
    stderr: Option<Sink>,
}

impl Invocation {
    /// A call without arguments, whose output goes nowhere.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds arguments; the first that the guest sees is always its extension's name.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Gives the guest something to read; without it stdin is at its end.
    #[must_use]
    pub fn stdin(mut self, stream: impl StdinStream + 'static) -> Self {
        self.wasi.stdin(stream);
        self
    }

    /// Takes what the guest writes to stdout, at the rate of its grant. The stream must not block where it is called,
    /// and must bound what it keeps, in however small pieces that comes: [`BufferedOutput`](super::BufferedOutput) does
    /// both.
    #[must_use]
    pub fn stdout(mut self, stream: impl StdoutStream + 'static) -> Self {
        self.stdout = Some(Sink::new(stream, false));
        self
    }

    /// Takes what the guest writes to stderr, as [`Invocation::stdout`] does.
    #[must_use]
    pub fn stderr(mut self, stream: impl StdoutStream + 'static) -> Self {
        self.stderr = Some(Sink::new(stream, false));
        self
    }

    /// Takes what the guest writes to stderr, as [`Invocation::stderr`] does, in whole lines. Each begins with the
    /// extension's name, and its control characters are escaped, so that it cannot be taken for a line of the host's.
    /// The rate of the grant counts the lines as they are passed on.
    #[must_use]
    pub fn named_stderr(mut self, stream: impl StdoutStream + 'static) -> Self {
        self.stderr = Some(Sink::new(stream, true));
        self
    }

    /// Passes the guest's stdout on to this process's.
    #[must_use]
    pub fn inherit_stdout(self) -> Self {
        self.stdout(inherited_stdout())
    }

    /// Passes the guest's stdout and stderr on to this process's, as they are. A host whose log or audit goes to one of
    /// the two gives the guest another stream, or [`Invocation::named_stderr`]: a guest can print what looks like a
    /// line of the host's.
    #[must_use]
    pub fn inherit_output(self) -> Self {
        self.inherit_stdout().stderr(inherited_stderr())
    }
}

/// How a call ended that the guest itself ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The guest's exit code; 0 when its `run` returned `ok`, 1 when it returned an error.
    pub code: i32,
    /// CPU time of guest code and of the host calls on its thread.
    pub cpu: Duration,
    /// Time from the call to its end.
    pub elapsed: Duration,
    /// Linear memory that the instance held at its end, in bytes.
    pub memory: usize,
    /// A limit that it ran into and lived with: a growth that was refused, output that had to wait.
    pub reached: Option<Reached>,
}

/// What `wasi:cli/run` returned, or why it did not.
enum Ended {
    Returned(Result<(), ()>),
    Failed(wasmtime::Error),
    NotInstantiated(wasmtime::Error),
}

impl Extension {
    /// Calls the component's `wasi:cli/run` once, in a fresh instance.
    ///
    /// The call ends at the grant's deadline or when its CPU time is spent, whatever the guest or a host call that it
    /// waits in does. Dropping the future ends it at once. A limit that it ran into is told in the log and the audit,
    /// too; of one that many calls run into, now and then with its number.
    ///
    /// # Errors
    /// Says how the guest was ended.
    pub async fn run(&self, call: Invocation) -> Result<Outcome, RunError> {
        let mut outputs = Outputs::of(self.name());
        let ended = self.run_once(call, &mut outputs).await;
        outputs.drain().await;
        let reached = match &ended {
            Ok(outcome) => outcome.reached,
            Err(error) => error.reached(),
        };
        if let Some(reached) = reached {
            self.pod.gate().tell_limit(reached, ended.is_err());
        }
        ended
    }

    async fn run_once(&self, call: Invocation, outputs: &mut Outputs) -> Result<Outcome, RunError> {
        let begun = Instant::now();
        let instances = self.limits.instances;
        let _place = self.places.try_acquire().map_err(|_| RunError::Busy { instances })?;
        let mut store = self.store(call, outputs, begun);
        let (ended, cpu) = self.drive(&mut store, begun).await?;
        let limiter = &store.data().limiter;
        let reached = limiter.hit().map(reached_by_growth).or_else(|| self.slowed(outputs));
        let outcome = |code| Outcome { code, cpu, elapsed: begun.elapsed(), memory: limiter.held(), reached };
        match ended {
            Ended::Returned(result) => Ok(outcome(i32::from(result.is_err()))),
            Ended::Failed(error) => match error.downcast_ref::<I32Exit>() {
                Some(exit) => Ok(outcome(exit.0)),
                None => Err(RunError::of_trap(error, limiter, &self.limits, RunError::Trap)),
            },
            Ended::NotInstantiated(error) => {
                Err(RunError::of_trap(error, limiter, &self.limits, RunError::Instantiate))
            }
        }
    }

    fn slowed(&self, outputs: &Outputs) -> Option<Reached> {
        outputs.slowed().then(|| self.limits.reached(Limit::LogBytesPerSecond)).flatten()
    }

    async fn drive(&self, store: &mut Store<State>, begun: Instant) -> Result<(Ended, Duration), RunError> {
        let turn = self.runtime.engine.take_turns(store, self.name());
        let guest: Pin<Box<dyn Future<Output = Ended> + Send + '_>> = Box::pin(async {
            let command = match self.command.instantiate_async(&mut *store).await {
                Ok(command) => command,
                Err(error) => return Ended::NotInstantiated(error),
            };
            match command.wasi_cli_run().call_run(&mut *store).await {
                Ok(result) => Ended::Returned(result),
                Err(error) => Ended::Failed(error),
            }
        });
        let mut metered = CpuMeter::new(guest, self.limits.cpu, turn);
        let deadline = self.limits.deadline;
        let left = deadline.saturating_sub(begun.elapsed());
        match tokio::time::timeout(left, &mut metered).await {
            Ok(Ok(ended)) => Ok((ended, metered.spent())),
            Ok(Err(OutOfCpu { budget })) => Err(RunError::Cpu { budget }),
            Err(_elapsed) => Err(RunError::Deadline { deadline }),
        }
    }

    fn store(&self, call: Invocation, outputs: &mut Outputs, begun: Instant) -> Store<State> {
        let limits = &self.limits;
        let handles = size(limits.handles.into());
        let mut table = ResourceTable::new();
        table.set_max_capacity(handles);
        let memory = size(limits.memory).min(self.runtime.engine.memory_ceiling());
        let limiter = Limiter::new(memory, size(limits.table_elements.into())).memories(size(limits.memories.into()));
        let pod = match begun.checked_add(limits.deadline) {
            Some(ends) => self.pod.clone().until(ends.into_std()),
            None => self.pod.clone(),
        };
        let state = State { table, wasi: self.wasi(call, outputs), files: self.mounts.open(), pod, limiter };
        let mut store = Store::new(self.runtime.engine.wasmtime(), state);
        store.limiter(|state| &mut state.limiter);
        // The table above counts what the host holds for the guest, this what the guest holds of its own resources.
        store.set_max_component_handles(handles);
        store.set_hostcall_fuel(size(limits.hostcall_bytes));
        store
    }

    fn wasi(&self, call: Invocation, outputs: &mut Outputs) -> WasiCtx {
        let Invocation { arguments, mut wasi, stdout, stderr } = call;
        wasi.arg(self.name()).args(&arguments).max_random_size(RANDOM);
        // Nor would any address be let through: but a socket that leads nowhere is a file of the host's all the same.
        wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        if let Some(stream) = stdout {
            wasi.stdout(outputs.metered(stream, &self.meter));
        }
        if let Some(stream) = stderr {
            wasi.stderr(outputs.metered(stream, &self.meter));
        }
        for name in &self.grant.env {
            if let Some(value) = self.runtime.variables.get(name) {
                wasi.env(name, value);
            }
        }
        wasi.build()
    }
}

/// A limit as a size of this machine.
fn size(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
