//! One call of a command: an instance of its own, under the grant's limits.

use super::load::Extension;
use super::state::State;
use crate::engine::{Ceiling, CpuMeter, Limiter, OutOfCpu};
use std::pin::Pin;
use std::time::{Duration, Instant};
use wasmtime::Store;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{StdinStream, StdoutStream};
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxBuilder};

/// What one call is given.
#[derive(Default)]
pub struct Invocation {
    arguments: Vec<String>,
    wasi: WasiCtxBuilder,
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

    /// Takes what the guest writes to stdout.
    #[must_use]
    pub fn stdout(mut self, stream: impl StdoutStream + 'static) -> Self {
        self.wasi.stdout(stream);
        self
    }

    /// Takes what the guest writes to stderr.
    #[must_use]
    pub fn stderr(mut self, stream: impl StdoutStream + 'static) -> Self {
        self.wasi.stderr(stream);
        self
    }

    /// Passes the guest's stdout and stderr on to this process's.
    #[must_use]
    pub fn inherit_output(self) -> Self {
        self.stdout(wasmtime_wasi::cli::stdout()).stderr(wasmtime_wasi::cli::stderr())
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
}

/// How a call ended that the guest did not end itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It ran past the grant's `deadline`, in its own code or in a host call.
    #[error("the guest was stopped at its deadline of {deadline:?}: raise limits.deadline in its grant to allow more")]
    Deadline {
        /// The deadline.
        deadline: Duration,
    },
    /// It used up the grant's `cpu`.
    #[error("the guest was stopped after {budget:?} of CPU time: raise limits.cpu in its grant to allow more")]
    Cpu {
        /// The budget.
        budget: Duration,
    },
    /// It trapped, after it had run into a ceiling that may be the cause.
    #[error("the guest trapped after it hit its limit of {ceiling}: raise limits.memory in its grant to allow more")]
    Ceiling {
        /// What it hit.
        ceiling: Ceiling,
        /// The trap and where in the guest it happened.
        #[source]
        trap: wasmtime::Error,
    },
    /// It trapped.
    #[error("the guest trapped")]
    Trap(#[source] wasmtime::Error),
    /// No instance could be made: its memory is larger than its limit, or the host runs as many as it can.
    #[error("the guest could not be instantiated")]
    Instantiate(#[source] wasmtime::Error),
    /// A directory that the grant mounts could not be opened.
    #[error("cannot mount {guest_path} into the guest")]
    Mount {
        /// Where the guest would have seen it.
        guest_path: String,
        /// What the system said.
        #[source]
        source: wasmtime::Error,
    },
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
    /// waits in does. Dropping the future ends it at once.
    ///
    /// # Errors
    /// Says how the guest was ended.
    pub async fn run(&self, call: Invocation) -> Result<Outcome, RunError> {
        let begun = Instant::now();
        let mut store = self.store(call)?;
        let _running = self.runtime.engine.running();
        let (ended, cpu) = self.drive(&mut store).await?;
        let limiter = &store.data().limiter;
        let outcome = |code| Outcome { code, cpu, elapsed: begun.elapsed(), memory: limiter.held() };
        match ended {
            Ended::Returned(result) => Ok(outcome(i32::from(result.is_err()))),
            Ended::Failed(error) => match (error.downcast_ref::<I32Exit>(), limiter.hit()) {
                (Some(exit), _) => Ok(outcome(exit.0)),
                (None, Some(ceiling)) => Err(RunError::Ceiling { ceiling, trap: error }),
                (None, None) => Err(RunError::Trap(error)),
            },
            Ended::NotInstantiated(error) => match limiter.hit() {
                Some(ceiling) => Err(RunError::Ceiling { ceiling, trap: error }),
                None => Err(RunError::Instantiate(error)),
            },
        }
    }

    async fn drive(&self, store: &mut Store<State>) -> Result<(Ended, Duration), RunError> {
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
        let mut metered = CpuMeter::new(guest, self.limits.cpu);
        let deadline = self.limits.deadline;
        match tokio::time::timeout(deadline, &mut metered).await {
            Ok(Ok(ended)) => Ok((ended, metered.spent())),
            Ok(Err(OutOfCpu { budget })) => Err(RunError::Cpu { budget }),
            Err(_elapsed) => Err(RunError::Deadline { deadline }),
        }
    }

    fn store(&self, call: Invocation) -> Result<Store<State>, RunError> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(self.limits.handles).unwrap_or(usize::MAX));
        let memory =
            usize::try_from(self.limits.memory).unwrap_or(usize::MAX).min(self.runtime.engine.memory_ceiling());
        let state = State { table, wasi: self.wasi(call)?, pod: self.pod.clone(), limiter: Limiter::new(memory) };
        let mut store = Store::new(self.runtime.engine.wasmtime(), state);
        store.limiter(|state| &mut state.limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        Ok(store)
    }

    fn wasi(&self, call: Invocation) -> Result<WasiCtx, RunError> {
        let Invocation { arguments, mut wasi } = call;
        wasi.arg(self.name()).args(&arguments);
        for name in &self.grant.env {
            if let Some(value) = self.runtime.variables.get(name) {
                wasi.env(name, value);
            }
        }
        self.mounts.open(&mut wasi)?;
        Ok(wasi.build())
    }
}
