//! The one place that puts together all bounds of a guest.
//!
//! Threat: a way to run a guest that forgets one of its limits. Every instance gets its store here, whether of a
//! command, of an embedder's world or of a session, and every step of it is driven here.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wasmtime::Store;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::WasiCtx;

use super::call_error::{CallError, reached_by_growth};
use super::drivers::Drivers;
use super::invocation::Invocation;
use super::mounts::{MountError, Mounts};
use super::output::{Meter, Outputs};
use super::runtime::Shared;
use super::state::State;
use crate::capability::PodCtx;
use crate::engine::{CpuMeter, CpuRate, CpuTurn, Limiter, OutOfCpu};
use crate::gate::Gate;
use crate::policy::{Grant, Limit, LimitHit, Limits};

/// The maximum of random bytes in one host call, about a millisecond's work. wasmtime-wasi would make 64 MiB at once,
/// and block a thread that other guests need.
const RANDOM: u64 = 256 << 10;

/// The grant and the bounds that all calls of one extension share.
pub(super) struct Bounds {
    pub(super) shared: Arc<Shared>,
    pub(super) grant: Arc<Grant>,
    pub(super) limits: Limits,
    pub(super) mounts: Mounts,
    pub(super) pod: PodCtx,
    /// One permit for each instance that may live at once.
    pub(super) slots: Arc<Semaphore>,
    pub(super) meter: Arc<Meter>,
    /// The digest of the loaded file.
    pub(super) sha256: [u8; 32],
}

/// The cost of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The CPU time of guest code and of the host calls on its thread.
    pub cpu: Duration,
    /// The time from the call to its end.
    pub elapsed: Duration,
    /// The linear memory that the instance held at the end, in bytes.
    pub memory: usize,
    /// A limit that the guest reached without failing: a refused growth, or output that had to wait.
    pub reached: Option<LimitHit>,
}

/// The bounds on the duration and the CPU time of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Budget {
    /// The grant's `deadline` and `cpu` end the call.
    Call,
    /// Nothing ends the call. In each window as long as the grant's `deadline`, it may use the grant's `cpu`.
    Service,
}

/// The failure of a guest's step, before its cause is known.
pub(super) enum Failure {
    /// No instance could be made.
    Instantiate(wasmtime::Error),
    /// The guest trapped, or the embedder's closure failed.
    Work(wasmtime::Error),
}

/// One instance, with a store within all limits of the grant.
pub(super) struct Instance<D: 'static> {
    pub(super) store: Store<State<D>>,
    turn: CpuTurn,
    outputs: Outputs,
    _slot: OwnedSemaphorePermit,
}

impl Bounds {
    /// Combines what the grant opens and bounds, within the host's ceiling.
    pub(super) fn new(shared: &Arc<Shared>, mut grant: Grant, sha256: [u8; 32]) -> Result<Self, MountError> {
        let limits = shared.capped(&grant);
        // The gate meters by the grant, so the grant's limits must be within the ceiling as well.
        grant.limits.clone_from(&limits);
        let grant = Arc::new(grant);
        let gate =
            Gate::within(shared.rate.clone(), grant.name.as_str(), Arc::clone(&grant), Arc::clone(&shared.audit));
        let mut pod = PodCtx::new(&shared.pod, gate)
            .with_egress(shared.egress.clone())
            .with_server_variables(|name| shared.variables.get(name).cloned());
        if let Some(cluster) = &shared.cluster {
            pod = pod.with_cluster(cluster.clone());
        }
        let mounts = Mounts::of(shared, &grant)?;
        if let Some(tokens) = mounts.tokens() {
            pod = pod.with_tokens(tokens.clone());
        }
        // One slot for each instance that the limits allow; the ceiling accounts for the instances of the engine.
        let slots = Arc::new(Semaphore::new(usize::try_from(limits.instances).unwrap_or(Semaphore::MAX_PERMITS)));
        let meter = Arc::new(Meter::new(limits.log_bytes_per_second));
        Ok(Self { shared: Arc::clone(shared), grant, limits, mounts, pod, slots, meter, sha256 })
    }

    /// Makes the store of a new instance.
    pub(super) fn instance<D: Send>(&self, invocation: Invocation, data: D) -> Result<Instance<D>, CallError> {
        self.check_runtime()?;
        let slot = self.slot()?;
        let limits = &self.limits;
        let handles = size(limits.handles.into());
        let mut outputs = Outputs::of(&self.grant.name);
        let mut table = ResourceTable::new();
        table.set_max_capacity(handles);
        let memory = size(limits.memory).min(self.shared.engine.memory_ceiling());
        let limiter = Limiter::new(memory, size(limits.table_elements.into())).memories(size(limits.memories.into()));
        let wasi = self.wasi(invocation, &mut outputs);
        let state = State { table, wasi, files: self.mounts.open(), pod: self.pod.clone(), limiter, data };
        let mut store = Store::new(self.shared.engine.wasmtime(), state);
        store.limiter(|state| &mut state.limiter);
        // The table above counts what the host holds for the guest. This limit counts the handles of the guest's own
        // resources.
        store.set_max_component_handles(handles);
        store.set_hostcall_fuel(size(limits.hostcall_bytes));
        let turn = self.shared.engine.schedule(&mut store, &self.grant.name);
        Ok(Instance { store, turn, outputs, _slot: slot })
    }

    /// Fails unless this code runs on a Tokio runtime with the drivers that a call needs.
    pub(super) fn check_runtime(&self) -> Result<(), CallError> {
        let requests = !self.grant.api.is_empty() && self.shared.cluster.is_some();
        Drivers::of_this_runtime().check(requests || !self.grant.egress.is_empty())
    }

    fn slot(&self) -> Result<OwnedSemaphorePermit, CallError> {
        Arc::clone(&self.slots).try_acquire_owned().map_err(|_all_taken| {
            let busy = CallError::Busy { instances: self.limits.instances };
            if let Some(reached) = busy.reached() {
                self.pod.gate().report_limit_hit(reached, true);
            }
            busy
        })
    }

    /// Runs one call in an instance, until the call, its deadline or its CPU time ends.
    ///
    /// A call that fails drops its instance, so the instance is returned only with a result.
    pub(super) async fn drive<D: Send, R>(
        &self,
        mut instance: Instance<D>,
        begun: Instant,
        budget: Budget,
        work: impl AsyncFnOnce(&mut Store<State<D>>) -> Result<R, Failure>,
    ) -> Result<(R, Usage, Instance<D>), CallError> {
        let ended = self.metered(&mut instance, begun, budget, work).await;
        instance.outputs.drain().await;
        let ended = ended.map(|(result, cpu)| {
            let reached = self.lived_with(&instance);
            let memory = instance.store.data().limiter.held();
            (result, Usage { cpu, elapsed: begun.elapsed(), memory, reached })
        });
        let reached = match &ended {
            Ok((_, usage)) => usage.reached,
            Err(error) => error.reached(),
        };
        if let Some(reached) = reached {
            self.pod.gate().report_limit_hit(reached, ended.is_err());
        }
        ended.map(|(result, usage)| (result, usage, instance))
    }

    async fn metered<D: Send, R>(
        &self,
        instance: &mut Instance<D>,
        begun: Instant,
        budget: Budget,
        work: impl AsyncFnOnce(&mut Store<State<D>>) -> Result<R, Failure>,
    ) -> Result<(R, Duration), CallError> {
        let (store, deadline) = (&mut instance.store, self.limits.deadline);
        store.data_mut().limiter.forget_hit();
        instance.outputs.begin();
        if let (Budget::Call, Some(ends)) = (budget, begun.checked_add(deadline)) {
            store.data_mut().pod = self.pod.clone().until(ends.into_std());
        }
        let (ended, cpu) = {
            let (work, turn) = (pin!(work(&mut *store)), instance.turn.clone());
            let mut guest = match budget {
                Budget::Call => CpuMeter::new(work, self.limits.cpu, turn),
                Budget::Service => {
                    let rate = CpuRate { budget: self.limits.cpu, window: deadline };
                    CpuMeter::at_rate(work, rate, turn)
                }
            };
            let left = match budget {
                Budget::Call => deadline.saturating_sub(begun.elapsed()),
                Budget::Service => Duration::MAX,
            };
            match tokio::time::timeout(left, &mut guest).await {
                Ok(Ok(ended)) => (ended, guest.spent()),
                Ok(Err(OutOfCpu { budget })) => return Err(CallError::Cpu { budget }),
                Err(_elapsed) => return Err(CallError::Deadline { deadline }),
            }
        };
        match ended {
            Ok(result) => Ok((result, cpu)),
            Err(failure) => Err(CallError::of_failure(failure, &store.data().limiter, &self.limits)),
        }
    }

    fn lived_with<D>(&self, instance: &Instance<D>) -> Option<LimitHit> {
        let slowed = || instance.outputs.slowed().then(|| self.limits.reached(Limit::LogBytesPerSecond)).flatten();
        instance.store.data().limiter.hit().map(reached_by_growth).or_else(slowed)
    }

    fn wasi(&self, invocation: Invocation, outputs: &mut Outputs) -> WasiCtx {
        let Invocation { arguments, env, mut wasi, stdout, stderr } = invocation;
        wasi.arg(&self.grant.name).args(&arguments).max_random_size(RANDOM);
        // No address would be let through anyway, but even a socket that leads nowhere occupies a file descriptor of
        // the host.
        wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        if let Some(stream) = stdout {
            wasi.stdout(outputs.metered(stream, &self.meter));
        }
        if let Some(stream) = stderr {
            wasi.stderr(outputs.metered(stream, &self.meter));
        }
        for name in self.grant.env.iter().filter(|name| !env.contains_key(*name)) {
            if let Some(value) = self.shared.variables.get(name) {
                wasi.env(name, value);
            }
        }
        for (name, value) in env {
            wasi.env(name, value);
        }
        wasi.build()
    }
}

/// Converts a limit to a size of this machine.
fn size(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
