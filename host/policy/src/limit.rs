//! The names of limits, and what one allows.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::duration::GoDuration;

/// A limit, by the name that a grant gives it under `spec.limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Linear memory of one instance.
    Memory,
    /// Elements of all tables of one instance.
    TableElements,
    /// Linear memories of one instance.
    Memories,
    /// Instances of core modules that one instance consists of.
    CoreInstances,
    /// Tables of one instance. It is the engine's, the same for all.
    Tables,
    /// What the engine keeps of one instance beside its memories and tables. It is the engine's, the same for all.
    Metadata,
    /// Native stack of guest code. It is the engine's, for wasmtime fixes it once for all: no grant varies it.
    Stack,
    /// Calls of the extension under way together.
    Instances,
    /// CPU time of one call.
    Cpu,
    /// Time from a call's start to its end.
    Deadline,
    /// Resources that one instance holds handles to.
    Handles,
    /// Requests, responses and sets of headers of `wasi:http` that one instance holds. It is the host's, the same for
    /// all.
    HttpResources,
    /// What the host sets aside for the arguments of one host call.
    HostcallBytes,
    /// Output a second.
    LogBytesPerSecond,
    /// Requests a second.
    RequestsPerSecond,
    /// Requests at once after a pause.
    Burst,
    /// Requests under way together.
    InFlight,
    /// The body of one request.
    RequestBytes,
    /// The body of one answer.
    ResponseBytes,
    /// The headers of one request or answer.
    HeaderBytes,
    /// Path and query of one request.
    TargetBytes,
    /// Watches open together.
    Watches,
}

impl Limit {
    /// Every limit that a grant sets, in the order in which a grant is written.
    pub const ALL: [Self; 18] = [
        Self::Memory,
        Self::Deadline,
        Self::Cpu,
        Self::RequestsPerSecond,
        Self::Burst,
        Self::InFlight,
        Self::ResponseBytes,
        Self::Watches,
        Self::Handles,
        Self::LogBytesPerSecond,
        Self::TableElements,
        Self::Memories,
        Self::CoreInstances,
        Self::Instances,
        Self::HostcallBytes,
        Self::RequestBytes,
        Self::HeaderBytes,
        Self::TargetBytes,
    ];

    /// The name in a grant, in logs and in audit records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::TableElements => "tableElements",
            Self::Memories => "memories",
            Self::CoreInstances => "coreInstances",
            Self::Tables => "tables",
            Self::Metadata => "metadata",
            Self::Stack => "stack",
            Self::Instances => "instances",
            Self::Cpu => "cpu",
            Self::Deadline => "deadline",
            Self::Handles => "handles",
            Self::HttpResources => "httpResources",
            Self::HostcallBytes => "hostcallBytes",
            Self::LogBytesPerSecond => "logBytesPerSecond",
            Self::RequestsPerSecond => "requestsPerSecond",
            Self::Burst => "burst",
            Self::InFlight => "inFlight",
            Self::RequestBytes => "requestBytes",
            Self::ResponseBytes => "responseBytes",
            Self::HeaderBytes => "headerBytes",
            Self::TargetBytes => "targetBytes",
            Self::Watches => "watches",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much a limit allows. It prints as a grant writes it: `64Mi`, `1m30s`, `8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitValue {
    /// Bytes.
    Bytes(u64),
    /// A time.
    Time(Duration),
    /// A number of things.
    Count(u64),
}

impl fmt::Display for LimitValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.write_str(&binary(*bytes)),
            Self::Time(time) => GoDuration(*time).fmt(f),
            Self::Count(count) => count.fmt(f),
        }
    }
}

impl Serialize for LimitValue {
    /// A plain number where no suffix is needed, so that YAML needs no quotes.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(number) => serializer.serialize_u64(*number),
            Self::Bytes(bytes) if *bytes == 0 || !bytes.is_multiple_of(1024) => serializer.serialize_u64(*bytes),
            Self::Bytes(_) | Self::Time(_) => serializer.collect_str(self),
        }
    }
}

/// A limit that an extension ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitHit {
    /// Which one.
    pub limit: Limit,
    /// How much it allows.
    pub allowed: LimitValue,
}

impl LimitHit {
    /// Who can raise it, as an end of a sentence for an operator.
    pub fn remedy(&self) -> String {
        match self.limit {
            Limit::Stack | Limit::HttpResources | Limit::Tables | Limit::Metadata => {
                "the host sets it for all its extensions".to_owned()
            }
            limit => format!("raise limits.{limit} in its grant to allow more"),
        }
    }
}

impl fmt::Display for LimitHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.limit, self.allowed)
    }
}

/// A number of bytes with the largest binary suffix that loses nothing.
pub(super) fn binary(bytes: u64) -> String {
    let suffixes = [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    let exact = |(_, shift): &(&str, u32)| bytes > 0 && bytes.trailing_zeros() >= *shift;
    suffixes
        .into_iter()
        .find(exact)
        .map_or_else(|| bytes.to_string(), |(name, shift)| format!("{}{name}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_print_with_the_largest_exact_suffix() {
        for (bytes, text) in
            [(0, "0"), (1, "1"), (1000, "1000"), (1024, "1Ki"), (64 << 20, "64Mi"), (1536, "1536"), (3 << 30, "3Gi")]
        {
            assert_eq!(binary(bytes), text);
        }
    }

    #[test]
    fn a_limit_that_was_reached_is_told_by_name_and_number() {
        let told = |limit, allowed| LimitHit { limit, allowed }.to_string();
        assert_eq!(told(Limit::Memory, LimitValue::Bytes(64 << 20)), "memory: 64Mi");
        assert_eq!(told(Limit::Deadline, LimitValue::Time(Duration::from_secs(90))), "deadline: 1m30s");
        assert_eq!(told(Limit::Handles, LimitValue::Count(1024)), "handles: 1024");
    }
}
