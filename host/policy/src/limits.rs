//! Bounds on the resources of an extension.
//!
//! Threat: an extension that takes resources from its neighbours or its host. Each bound stands in the grant, is capped
//! by the host's ceiling ([`Limits::ceiling`]), and has a default that suits a small extension, which reads a few
//! objects and answers. A limit that is hit is reported by its name and its value ([`LimitHit`]): in the error that
//! ends the call, in a log line of the target `attache::limits`, and in the audit log.
//!
//! [The table](self#the-table) below is the only place that lists the limits; [`table`] makes the rest of it.

mod limit;
mod table;

use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

pub use self::limit::{LimitHit, LimitValue};
use self::table::{Measure, limits};
use crate::MAX_TARGET;
use crate::document::{Cursor, DocumentError};

const KI: u64 = 1 << 10;
const MI: u64 = 1 << 20;
const GI: u64 = 1 << 30;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// One page of linear memory: no instance has less.
const PAGE: u64 = 64 * KI;

/// The shortest time: longer than nothing.
const NANOSECOND: Duration = Duration::from_nanos(1);

/// The most requests a second: more than an API server answers to all its clients.
const REQUESTS: u32 = 10_000;

/// The most requests under way, or watches open: each takes some tens of kilobytes of the host's memory.
const AT_ONCE: u32 = 4096;

/// [`MAX_TARGET`], which is also the default: a selector of a thousand names has room in it.
const TARGET: u64 = MAX_TARGET as u64;

limits! {
    grant {
        /// The linear memory of one instance, in bytes. Beyond it `memory.grow` fails; most guests then abort.
        Memory "memory" memory: u64 = 64 * MI, from PAGE, up to GI;
        /// The time from the start of a call to its end, guest code and host calls together. At its end the call is
        /// stopped, in its own code or in any host call. A value other than the default also ends connections that the
        /// local proxy has upgraded to another protocol. The ceiling is a year, for commands that run as long as their
        /// pod.
        Deadline "deadline" deadline: Duration = 5 * SECOND, from NANOSECOND, up to HOUR * 8760;
        /// The time that the guest's own code, and the host calls on its thread, run in one call. At its end the call
        /// is stopped; until then a guest that spins yields each millisecond. The ceiling is what a command has used
        /// after months of waiting for events.
        Cpu "cpu" cpu: Duration = SECOND, from NANOSECOND, up to HOUR * 24;
        /// Requests to the API server a second, steadily. Beyond it a request is throttled, with the time to wait.
        RequestsPerSecond "requestsPerSecond" requests_per_second: u32 = 20, from 1, up to REQUESTS;
        /// Requests to the API server at once after a pause. Beyond it a request is throttled, with the time to wait.
        Burst "burst" burst: u32 = 40, from 1, up to REQUESTS;
        /// Requests to the API server under way together. Beyond it a request is throttled.
        InFlight "inFlight" in_flight: u32 = 8, from 1, up to AT_ONCE;
        /// The body of one answer, in bytes. A longer one is cut off: `too-large`.
        ResponseBytes "responseBytes" response_bytes: u64 = 8 * MI, from 1, up to 256 * MI;
        /// Watches open together; 0 allows none. One more is refused.
        Watches "watches" watches: u32 = 8, from 0, up to AT_ONCE;
        /// Resources that one instance holds handles to: those of the host, such as streams, and its own. One more
        /// traps.
        Handles "handles" handles: u32 = 1024, from 1, up to 16_384;
        /// Standard output, standard error and log lines of all calls together, in bytes a second; 0 silences them.
        /// Beyond it writes wait.
        LogBytesPerSecond "logBytesPerSecond" log_bytes_per_second: u64 = 64 * KI, from 0, up to 16 * MI;
        /// The elements of all tables of one instance together. Beyond it `table.grow` fails.
        TableElements "tableElements" table_elements: u32 = 100_000, from 1, up to 1_000_000;
        /// The linear memories of one instance: each composed component has one of its own. A component with more is
        /// not loaded.
        Memories "memories" memories: u32 = 8, from 1, up to 64;
        /// The instances of core modules that one instance consists of. A component with more is not loaded.
        CoreInstances "coreInstances" core_instances: u32 = 200, from 1, up to 1000;
        /// Calls of the extension under way together, each with an instance of its own. One more call is refused.
        Instances "instances" instances: u32 = 16, from 1, up to 1000;
        /// The bytes that the host sets aside for the arguments of one host call. Beyond it the call traps. Output
        /// comes in pieces of 4 KiB, and a name fits beside one in the least value.
        HostcallBytes "hostcallBytes" hostcall_bytes: u64 = 8 * MI, from 8 * KI, up to 128 * MI;
        /// The body of one request, in bytes; the default is the API server's own limit. A request with more is not
        /// sent.
        RequestBytes "requestBytes" request_bytes: u64 = 3 * MI, from 1, up to 64 * MI;
        /// The headers of one request or answer, names and values together, in bytes. A request with more is not sent.
        /// The least value has room for a token, a host and a content type.
        HeaderBytes "headerBytes" header_bytes: u64 = 64 * KI, from 4 * KI, up to MI;
        /// The path and the query of one request as they are sent, in bytes. A request with more is not sent. The least
        /// value has room for the path of an object in a namespace, with the longest names.
        TargetBytes "targetBytes" target_bytes: u64 = TARGET, from KI, up to TARGET;
    }
    host {
        /// The tables of one instance.
        Tables "tables";
        /// The memory that the engine keeps of one instance beside its memories and tables.
        Metadata "metadata";
        /// The native stack of guest code: wasmtime fixes it once for all. Beyond it the call traps.
        Stack "stack";
        /// The requests, responses and sets of headers of `wasi:http` that one instance holds. One more traps.
        HttpResources "httpResources";
    }
}

impl Limits {
    /// Returns this limit with its value, as a limit that was hit; `None` for the host's own limits.
    pub fn reached(&self, limit: Limit) -> Option<LimitHit> {
        self.allowed(limit).map(|allowed| LimitHit { limit, allowed })
    }

    /// Returns the limits in which these differ from `asked`, with their values here.
    ///
    /// After [`Limits::capped_by`] those are the limits that the ceiling has lowered.
    pub fn lower_than<'a>(&'a self, asked: &'a Self) -> impl Iterator<Item = LimitHit> + 'a {
        let lowered = |limit: &Limit| self.allowed(*limit) != asked.allowed(*limit);
        Limit::ALL.into_iter().filter(lowered).filter_map(|limit| self.reached(limit))
    }
}

impl Serialize for Limits {
    /// Writes the limits that are not the default.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_lowers_and_never_raises() {
        let ceiling = Limits::default().memory(MI).watches(100);
        let capped = Limits::default().handles(1).capped_by(&ceiling);
        assert_eq!((capped.memory, capped.watches, capped.handles), (MI, 8, 1));
        assert_eq!(capped.capped_by(&ceiling), capped);
    }

    #[test]
    fn the_defaults_are_within_the_ceiling() {
        assert_eq!(Limits::default().capped_by(&Limits::ceiling()), Limits::default());
    }

    #[test]
    fn what_a_ceiling_lowers_is_listed() {
        let asked = Limits::default().memory(2 * GI).handles(20_000);
        let capped = asked.capped_by(&Limits::ceiling());
        let lowered: Vec<_> = capped.lower_than(&asked).map(|hit| hit.to_string()).collect();
        assert_eq!(lowered, ["memory: 1Gi", "handles: 16384"]);
    }

    #[test]
    fn each_limit_has_one_name_and_its_value_unless_it_is_the_hosts() {
        for (index, limit) in Limit::ALL.into_iter().enumerate() {
            assert!(Limit::ALL.iter().skip(index + 1).all(|other| other.name() != limit.name()), "{limit}");
            assert!(!limit.is_of_host() && Limits::ceiling().reached(limit).is_some(), "{limit}");
        }
        for limit in [Limit::Tables, Limit::Metadata, Limit::Stack, Limit::HttpResources] {
            assert!(limit.is_of_host() && Limits::ceiling().reached(limit).is_none(), "{limit}");
        }
    }
}
