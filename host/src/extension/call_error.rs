//! The errors of calls, and the limits that cause them.

use std::time::Duration;

use wasmtime::component::ResourceTableError;
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::bounds::Failure;
use super::session::SessionEnd;
use crate::capability::http::resource_limits;
use crate::engine::{Ceiling, GUEST_STACK, Limiter};
use crate::policy::{Limit, LimitHit, LimitValue, Limits};

/// The failure of a call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The call ran past the grant's `deadline`, in guest code or in a host call.
    #[error("the guest was stopped at its deadline of {deadline:?}: raise limits.deadline in its grant to allow more")]
    Deadline {
        /// The deadline.
        deadline: Duration,
    },
    /// The call used up the grant's `cpu`.
    #[error("the guest was stopped after {budget:?} of CPU time: raise limits.cpu in its grant to allow more")]
    Cpu {
        /// The budget.
        budget: Duration,
    },
    /// The guest trapped at a limit, or after it had reached a limit that may be the cause.
    #[error("the guest trapped after it hit its limit of {reached}: {}", reached.remedy())]
    Limit {
        /// The limit that the guest reached.
        reached: LimitHit,
        /// The trap, and where in the guest it happened.
        #[source]
        trap: wasmtime::Error,
    },
    /// The guest trapped, or the closure of the call returned this error.
    #[error("the guest trapped")]
    Trap(#[source] wasmtime::Error),
    /// The guest exited, in a world other than that of a command.
    #[error("the guest exited with code {code}")]
    Exited {
        /// The exit code.
        code: i32,
    },
    /// As many calls of the extension are running as its grant allows.
    #[error("{instances} calls are under way: raise limits.instances in the grant to allow more")]
    Busy {
        /// The limit.
        instances: u32,
    },
    /// No instance could be made: its memory is larger than its limit, or the host runs as many instances as it can.
    #[error("the guest could not be instantiated")]
    Instantiate(#[source] wasmtime::Error),
    /// The session serves no further calls.
    #[error("the session is over: {0}")]
    SessionOver(SessionEnd),
    /// The caller has no Tokio runtime with timers, without which no deadline would hold.
    #[error("calls need a Tokio runtime with timers: build it with `enable_all`, and call from within it")]
    NoTimers,
    /// The caller's Tokio runtime has no I/O, which the requests that the grant opens need.
    #[error("the grant opens requests, which need a Tokio runtime with I/O: build it with `enable_all`")]
    NoIo,
}

impl CallError {
    /// Returns the limit that ended the call, if a limit did.
    pub fn reached(&self) -> Option<LimitHit> {
        let reached = |limit, allowed| Some(LimitHit { limit, allowed });
        match self {
            Self::Deadline { deadline } => reached(Limit::Deadline, LimitValue::Time(*deadline)),
            Self::Cpu { budget } => reached(Limit::Cpu, LimitValue::Time(*budget)),
            Self::Limit { reached, .. } => Some(*reached),
            Self::Busy { instances } => reached(Limit::Instances, LimitValue::Count((*instances).into())),
            Self::Trap(_)
            | Self::Exited { .. }
            | Self::Instantiate(_)
            | Self::SessionOver(_)
            | Self::NoTimers
            | Self::NoIo => None,
        }
    }

    /// Finds the limit behind a failure, if there is one.
    pub(super) fn of_failure(failure: Failure, limiter: &Limiter, limits: &Limits) -> Self {
        let (Failure::Instantiate(trap) | Failure::Work(trap)) = &failure;
        if let Some(exit) = trap.downcast_ref::<I32Exit>() {
            return Self::Exited { code: exit.0 };
        }
        // A refused growth does not explain an error of the embedder's own.
        let of_guest = matches!(failure, Failure::Instantiate(_)) || trap.is::<Trap>() || trap.is::<WasmBacktrace>();
        let growth = || limiter.hit().filter(|_| of_guest).map(reached_by_growth);
        match (limit_of(trap, limits).or_else(growth), failure) {
            (Some(reached), Failure::Instantiate(trap) | Failure::Work(trap)) => Self::Limit { reached, trap },
            (None, Failure::Instantiate(error)) => Self::Instantiate(error),
            (None, Failure::Work(trap)) => Self::Trap(trap),
        }
    }
}

/// Returns the limit behind a refused growth.
pub(super) fn reached_by_growth(ceiling: Ceiling) -> LimitHit {
    match ceiling {
        Ceiling::Memory(bytes) => LimitHit { limit: Limit::Memory, allowed: LimitValue::Bytes(bytes as u64) },
        Ceiling::Tables(elements) => {
            LimitHit { limit: Limit::TableElements, allowed: LimitValue::Count(elements as u64) }
        }
    }
}

/// The errors of wasmtime that have a message but no type. The suite of hostile guests fails when wasmtime changes a
/// message.
const SENTENCES: [(&str, Limit); 3] = [
    ("store handle limit exceeded", Limit::Handles),
    ("total size of fields exceeds limit", Limit::HeaderBytes),
    ("fuel allocated for hostcalls has been exhausted", Limit::HostcallBytes),
];

/// Returns the limit that the trap itself names.
fn limit_of(trap: &wasmtime::Error, limits: &Limits) -> Option<LimitHit> {
    if let Some(Trap::StackOverflow) = trap.downcast_ref() {
        return Some(LimitHit { limit: Limit::Stack, allowed: LimitValue::Bytes(GUEST_STACK as u64) });
    }
    if trap.is::<resource_limits::Full>() {
        return Some(LimitHit {
            limit: Limit::HttpResources,
            allowed: LimitValue::Count(resource_limits::MOST as u64),
        });
    }
    if let Some(ResourceTableError::Full) = trap.downcast_ref() {
        return limits.reached(Limit::Handles);
    }
    let cause = trap.root_cause().to_string();
    let named = SENTENCES.iter().find(|(sentence, _)| cause.contains(sentence));
    named.and_then(|(_, limit)| limits.reached(*limit))
}
