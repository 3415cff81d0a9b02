//! How a call failed, and which limit was the cause.

use std::time::Duration;

use wasmtime::component::ResourceTableError;
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::bounds::Failure;
use super::session::SessionEnd;
use crate::capability::http::resource_limits;
use crate::engine::{Ceiling, GUEST_STACK, Limiter};
use crate::policy::{Limit, LimitHit, LimitValue, Limits};

/// How a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
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
    /// It trapped at a limit, or after it had run into one that may be the cause.
    #[error("the guest trapped after it hit its limit of {reached}: {}", reached.remedy())]
    Limit {
        /// What it hit.
        reached: LimitHit,
        /// The trap and where in the guest it happened.
        #[source]
        trap: wasmtime::Error,
    },
    /// The guest trapped, or the closure of the call returned this error.
    #[error("the guest trapped")]
    Trap(#[source] wasmtime::Error),
    /// The guest exited, in a world that is not a command's.
    #[error("the guest exited with code {code}")]
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// As many calls of the extension as its grant allows are under way.
    #[error("{instances} calls are under way: raise limits.instances in the grant to allow more")]
    Busy {
        /// The limit.
        instances: u32,
    },
    /// No instance could be made: its memory is larger than its limit, or the host runs as many as it can.
    #[error("the guest could not be instantiated")]
    Instantiate(#[source] wasmtime::Error),
    /// The session serves no further call.
    #[error("the session is over: {0}")]
    SessionOver(SessionEnd),
    /// The caller is on no Tokio runtime that has timers, without which no deadline would hold.
    #[error("calls need a Tokio runtime with timers: build it with `enable_all`, and call from within it")]
    NoTimers,
    /// The caller's Tokio runtime has no I/O, without which the requests that the grant opens cannot be made.
    #[error("the grant opens requests, which need a Tokio runtime with I/O: build it with `enable_all`")]
    NoIo,
}

impl CallError {
    /// The limit that ended the call, if one did.
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
        // A refused growth is no reason for an error that is the embedder's own.
        let of_guest = matches!(failure, Failure::Instantiate(_)) || trap.is::<Trap>() || trap.is::<WasmBacktrace>();
        let growth = || limiter.hit().filter(|_| of_guest).map(reached_by_growth);
        match (limit_of(trap, limits).or_else(growth), failure) {
            (Some(reached), Failure::Instantiate(trap) | Failure::Work(trap)) => Self::Limit { reached, trap },
            (None, Failure::Instantiate(error)) => Self::Instantiate(error),
            (None, Failure::Work(trap)) => Self::Trap(trap),
        }
    }
}

/// What a refused growth says.
pub(super) fn reached_by_growth(ceiling: Ceiling) -> LimitHit {
    match ceiling {
        Ceiling::Memory(bytes) => LimitHit { limit: Limit::Memory, allowed: LimitValue::Bytes(bytes as u64) },
        Ceiling::Tables(elements) => {
            LimitHit { limit: Limit::TableElements, allowed: LimitValue::Count(elements as u64) }
        }
    }
}

/// What wasmtime says where it has a sentence of its own and no type for it. The suite of hostile guests sees to it
/// that these stay its words.
const SENTENCES: [(&str, Limit); 3] = [
    ("store handle limit exceeded", Limit::Handles),
    ("total size of fields exceeds limit", Limit::HeaderBytes),
    ("fuel allocated for hostcalls has been exhausted", Limit::HostcallBytes),
];

/// The limit that a trap names itself.
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
