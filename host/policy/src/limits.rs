//! How much an extension may use.
//!
//! Threat: an extension that takes what its neighbours or its host need. Each bound stands in the grant, has a default
//! that suits an extension that reads a few objects and answers, and is capped by a ceiling that the host sets
//! ([`Limits::ceiling`]). Where a limit is reached, the operator is told its name and its number ([`LimitHit`]): in the
//! error that ends the call, in a log line of the target `attache::limits`, and in the audit log.

use std::time::Duration;

use attache_base::quantity::Quantity;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::limit::{Limit, LimitHit, LimitValue, binary};
use super::{GrantError, MAX_TARGET, cursor::Cursor, duration::GoDuration};

/// The fields of `spec.limits`.
const FIELDS: &[&str] = &[
    "memory",
    "deadline",
    "cpu",
    "requestsPerSecond",
    "burst",
    "inFlight",
    "responseBytes",
    "watches",
    "handles",
    "logBytesPerSecond",
    "tableElements",
    "memories",
    "coreInstances",
    "instances",
    "hostcallBytes",
    "requestBytes",
    "headerBytes",
    "targetBytes",
];

/// One page of linear memory: no instance has less.
const PAGE: u64 = 64 << 10;

/// The least that a host call may copy from a guest: output comes in pieces of 4 KiB, and a name fits beside it.
const LEAST_HOSTCALL: u64 = 8 << 10;

/// The least of headers: a token, a host and a content type.
const LEAST_HEADERS: u64 = 4 << 10;

/// The least of a target: the path of an object in a namespace, with the longest names.
const LEAST_TARGET: u64 = 1 << 10;

/// The longest call: a year, for commands that run for as long as their pod.
const YEAR: Duration = Duration::from_hours(24 * 365);

/// The most CPU time of one call: what such a command has used after months of waiting for events.
const DAY: Duration = Duration::from_hours(24);

/// The most requests a second: more than an API server answers to all its clients.
const REQUESTS: u32 = 10_000;

/// The most requests under way, or watches open: each takes some tens of kilobytes of the host's memory.
const AT_ONCE: u32 = 4096;

/// Bounds on what one extension uses. Each has a safe default and stands in the grant under the same name in camel
/// case.
///
/// | limit | default | host's ceiling unless it says otherwise | at the limit |
/// | --- | --- | --- | --- |
/// | `memory` | 64Mi | 1Gi, and the engine's | `memory.grow` fails; most guests then abort |
/// | `tableElements` | 100000 | 1000000, and the engine's | `table.grow` fails |
/// | `memories` | 8 | 64, and the engine's | the component is not loaded |
/// | `coreInstances` | 200 | 1000, and the engine's | the component is not loaded |
/// | stack | 512Ki | the engine's, the same for all | the call traps |
/// | `instances` | 16 | 1000, and the engine's | one more call is refused |
/// | `cpu` | 1s | 24h | the call is stopped; a guest that spins yields each millisecond until then |
/// | `deadline` | 5s | 8760h | the call is stopped, in its own code or in any host call |
/// | `handles` | 1024 | 16384 | the call traps |
/// | requests, responses and sets of headers of `wasi:http` | 128 | 128, the same for all | the call traps |
/// | `hostcallBytes` | 8Mi | 128Mi | the call traps |
/// | `logBytesPerSecond` | 64Ki | 16Mi | writes to stdout and stderr wait; 0 silences them |
/// | `requestsPerSecond`, `burst` | 20, 40 | 10000 each | `throttled`, with the time to wait |
/// | `inFlight` | 8 | 4096 | `throttled` |
/// | `requestBytes` | 3Mi, the API server's own limit | 64Mi | the request is not sent |
/// | `responseBytes` | 8Mi | 256Mi | the answer is cut off: `too-large` |
/// | `headerBytes` | 64Ki | 1Mi | the request is not sent |
/// | `targetBytes` | 63Ki, which a selector of a thousand names has room in | 63Ki | the request is not sent |
/// | `watches` | 8 | 4096 | one more watch is refused |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance, in bytes.
    pub memory: u64,
    /// From the start of a call to its end, guest code and host calls together. Another value than the default also
    /// ends connections that the local proxy has upgraded to another protocol.
    pub deadline: Duration,
    /// Time that the guest's own code, and the host calls on its thread, run in one call.
    pub cpu: Duration,
    /// Requests to the API server a second, steadily.
    pub requests_per_second: u32,
    /// Requests to the API server at once after a pause.
    pub burst: u32,
    /// Requests to the API server that may be under way together.
    pub in_flight: u32,
    /// Bytes of one answer's body.
    pub response_bytes: u64,
    /// Watches open together; 0 allows none.
    pub watches: u32,
    /// Resources that one instance holds handles to: those of the host, such as streams, and its own.
    pub handles: u32,
    /// Bytes of standard output, standard error and log lines a second, of all calls of the extension together; 0
    /// silences.
    pub log_bytes_per_second: u64,
    /// Elements of all tables of one instance together.
    pub table_elements: u32,
    /// Linear memories of one instance: each composed component has one of its own.
    pub memories: u32,
    /// Core modules that one instance of the component makes instances of, each as often as it does.
    pub core_instances: u32,
    /// Calls of the extension under way together; each has an instance of its own.
    pub instances: u32,
    /// Bytes that the host sets aside for the arguments of one host call.
    pub hostcall_bytes: u64,
    /// Bytes of one request's body.
    pub request_bytes: u64,
    /// Bytes of the headers of one request or answer, names and values together.
    pub header_bytes: u64,
    /// Bytes of the path and the query of one request, as they are sent.
    pub target_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            deadline: Duration::from_secs(5),
            cpu: Duration::from_secs(1),
            requests_per_second: 20,
            burst: 40,
            in_flight: 8,
            response_bytes: 8 << 20,
            watches: 8,
            handles: 1024,
            log_bytes_per_second: 64 << 10,
            table_elements: 100_000,
            memories: 8,
            core_instances: 200,
            instances: 16,
            hostcall_bytes: 8 << 20,
            request_bytes: 3 << 20,
            header_bytes: 64 << 10,
            target_bytes: MAX_TARGET as u64,
        }
    }
}

impl Limits {
    /// What no grant reaches beyond on a host that sets no ceiling of its own: more than an extension has use for, and
    /// what one that is granted it by mistake still cannot bring a host down with. A host sets another one, higher or
    /// lower, with `RuntimeBuilder::ceiling`; one for strangers' grants is far lower.
    pub fn ceiling() -> Self {
        Self {
            memory: 1 << 30,
            deadline: YEAR,
            cpu: DAY,
            requests_per_second: REQUESTS,
            burst: REQUESTS,
            in_flight: AT_ONCE,
            response_bytes: 256 << 20,
            watches: AT_ONCE,
            handles: 16_384,
            log_bytes_per_second: 16 << 20,
            table_elements: 1_000_000,
            memories: 64,
            core_instances: 1000,
            instances: 1000,
            hostcall_bytes: 128 << 20,
            request_bytes: 64 << 20,
            header_bytes: 1 << 20,
            target_bytes: MAX_TARGET as u64,
        }
    }

    /// The smaller of each bound: what a grant asks for, within what the host allows.
    #[must_use]
    pub fn capped_by(&self, ceiling: &Self) -> Self {
        Self {
            memory: self.memory.min(ceiling.memory),
            deadline: self.deadline.min(ceiling.deadline),
            cpu: self.cpu.min(ceiling.cpu),
            requests_per_second: self.requests_per_second.min(ceiling.requests_per_second),
            burst: self.burst.min(ceiling.burst),
            in_flight: self.in_flight.min(ceiling.in_flight),
            response_bytes: self.response_bytes.min(ceiling.response_bytes),
            watches: self.watches.min(ceiling.watches),
            handles: self.handles.min(ceiling.handles),
            log_bytes_per_second: self.log_bytes_per_second.min(ceiling.log_bytes_per_second),
            table_elements: self.table_elements.min(ceiling.table_elements),
            memories: self.memories.min(ceiling.memories),
            core_instances: self.core_instances.min(ceiling.core_instances),
            instances: self.instances.min(ceiling.instances),
            hostcall_bytes: self.hostcall_bytes.min(ceiling.hostcall_bytes),
            request_bytes: self.request_bytes.min(ceiling.request_bytes),
            header_bytes: self.header_bytes.min(ceiling.header_bytes),
            target_bytes: self.target_bytes.min(ceiling.target_bytes),
        }
    }

    /// How much a limit allows; `None` for those that are the host's own, such as the stack.
    pub fn allowed(&self, limit: Limit) -> Option<LimitValue> {
        let count = |number: u32| LimitValue::Count(number.into());
        Some(match limit {
            Limit::Memory => LimitValue::Bytes(self.memory),
            Limit::Deadline => LimitValue::Time(self.deadline),
            Limit::Cpu => LimitValue::Time(self.cpu),
            Limit::RequestsPerSecond => count(self.requests_per_second),
            Limit::Burst => count(self.burst),
            Limit::InFlight => count(self.in_flight),
            Limit::ResponseBytes => LimitValue::Bytes(self.response_bytes),
            Limit::Watches => count(self.watches),
            Limit::Handles => count(self.handles),
            Limit::LogBytesPerSecond => LimitValue::Bytes(self.log_bytes_per_second),
            Limit::TableElements => count(self.table_elements),
            Limit::Memories => count(self.memories),
            Limit::CoreInstances => count(self.core_instances),
            Limit::Instances => count(self.instances),
            Limit::HostcallBytes => LimitValue::Bytes(self.hostcall_bytes),
            Limit::RequestBytes => LimitValue::Bytes(self.request_bytes),
            Limit::HeaderBytes => LimitValue::Bytes(self.header_bytes),
            Limit::TargetBytes => LimitValue::Bytes(self.target_bytes),
            Limit::Stack | Limit::HttpResources | Limit::Tables | Limit::Metadata => return None,
        })
    }

    /// A limit of these that was reached; `None` for those that are the host's own.
    pub fn reached(&self, limit: Limit) -> Option<LimitHit> {
        self.allowed(limit).map(|allowed| LimitHit { limit, allowed })
    }

    /// Those of these bounds that are lower than `asked` has them, for the operator to be told.
    pub fn lower_than<'a>(&'a self, asked: &'a Self) -> impl Iterator<Item = LimitHit> + 'a {
        let lowered = |limit: &Limit| self.allowed(*limit) != asked.allowed(*limit);
        Limit::ALL.into_iter().filter(lowered).filter_map(|limit| self.reached(limit))
    }

    /// Reads `spec.limits`; what is not written keeps its default.
    pub(super) fn decode(at: Cursor<'_>) -> Result<Self, GrantError> {
        let fields = at.fields(FIELDS)?;
        let default = Self::default();
        let bytes = |limit: Limit, least: u64, otherwise: u64| {
            Ok(fields.read(limit.name(), |at| bytes(&at, least))?.unwrap_or(otherwise))
        };
        let count = |limit: Limit, least: u32, otherwise: u32| {
            Ok(fields.read(limit.name(), |at| count(&at, least))?.unwrap_or(otherwise))
        };
        let time =
            |limit: Limit, otherwise: Duration| Ok(fields.read(limit.name(), |at| time(&at))?.unwrap_or(otherwise));
        Ok(Self {
            memory: bytes(Limit::Memory, PAGE, default.memory)?,
            deadline: time(Limit::Deadline, default.deadline)?,
            cpu: time(Limit::Cpu, default.cpu)?,
            requests_per_second: count(Limit::RequestsPerSecond, 1, default.requests_per_second)?,
            burst: count(Limit::Burst, 1, default.burst)?,
            in_flight: count(Limit::InFlight, 1, default.in_flight)?,
            response_bytes: bytes(Limit::ResponseBytes, 1, default.response_bytes)?,
            watches: count(Limit::Watches, 0, default.watches)?,
            handles: count(Limit::Handles, 1, default.handles)?,
            log_bytes_per_second: bytes(Limit::LogBytesPerSecond, 0, default.log_bytes_per_second)?,
            table_elements: count(Limit::TableElements, 1, default.table_elements)?,
            memories: count(Limit::Memories, 1, default.memories)?,
            core_instances: count(Limit::CoreInstances, 1, default.core_instances)?,
            instances: count(Limit::Instances, 1, default.instances)?,
            hostcall_bytes: bytes(Limit::HostcallBytes, LEAST_HOSTCALL, default.hostcall_bytes)?,
            request_bytes: bytes(Limit::RequestBytes, 1, default.request_bytes)?,
            header_bytes: bytes(Limit::HeaderBytes, LEAST_HEADERS, default.header_bytes)?,
            target_bytes: bytes(Limit::TargetBytes, LEAST_TARGET, default.target_bytes)?,
        })
    }
}

impl Serialize for Limits {
    /// Writes those limits that are not the default.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let default = Self::default();
        let changed = Limit::ALL.into_iter().filter(|limit| self.allowed(*limit) != default.allowed(*limit));
        let changed: Vec<_> = changed.collect();
        let mut map = serializer.serialize_map(Some(changed.len()))?;
        for limit in changed {
            map.serialize_entry(limit.name(), &self.allowed(limit))?;
        }
        map.end()
    }
}

fn bytes(at: &Cursor<'_>, least: u64) -> Result<u64, GrantError> {
    let bytes = at.parse::<Quantity>()?.to_u64_bytes();
    match bytes {
        Some(bytes) if bytes >= least => Ok(bytes),
        _ => Err(at.invalid(at.words()?, format!("must be from {} to 16 Ei", binary(least)))),
    }
}

fn count(at: &Cursor<'_>, least: u32) -> Result<u32, GrantError> {
    let count = at.parse::<u32>()?;
    if count >= least { Ok(count) } else { Err(at.invalid(at.words()?, format!("must be at least {least}"))) }
}

fn time(at: &Cursor<'_>) -> Result<Duration, GrantError> {
    let GoDuration(time) = at.parse()?;
    if time.is_zero() { Err(at.invalid(at.words()?, "must be longer than nothing")) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_lowers_and_never_raises() {
        let ceiling = Limits { memory: 1 << 20, watches: 100, ..Limits::default() };
        let capped = Limits { handles: 1, ..Limits::default() }.capped_by(&ceiling);
        assert_eq!((capped.memory, capped.watches, capped.handles), (1 << 20, 8, 1));
        assert_eq!(capped.capped_by(&ceiling), capped);
    }

    #[test]
    fn each_limit_stands_in_the_grant_under_its_name() {
        assert_eq!(Limit::ALL.map(Limit::name), FIELDS);
    }

    #[test]
    fn the_defaults_are_within_the_ceiling() {
        assert_eq!(Limits::default().capped_by(&Limits::ceiling()), Limits::default());
    }

    #[test]
    fn what_a_ceiling_lowers_is_told() {
        let asked = Limits { memory: 2 << 30, handles: 20_000, ..Limits::default() };
        let capped = asked.capped_by(&Limits::ceiling());
        let told: Vec<_> = capped.lower_than(&asked).map(|reached| reached.to_string()).collect();
        assert_eq!(told, ["memory: 1Gi", "handles: 16384"]);
    }
}
