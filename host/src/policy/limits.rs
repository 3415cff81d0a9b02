//! How much an extension may use.

use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{GrantError, cursor::Cursor, duration::GoDuration};
use crate::quantity::Quantity;

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
];

/// One page of linear memory: no instance has less.
const PAGE: u64 = 64 << 10;

/// Bounds on what one extension uses. Each has a safe default and stands in the grant under the same name in camel case.
///
/// The defaults suit an extension that reads a few objects and answers; the host caps what a grant asks for with
/// [`Limits::capped_by`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance, in bytes. Default 64 MiB.
    pub memory: u64,
    /// From the start of a call to its end, guest code and host calls together. Default 5 s.
    pub deadline: Duration,
    /// Time that the guest's own code runs in one call. Default 1 s.
    pub cpu: Duration,
    /// Requests to the API server a second, steadily. Default 20.
    pub requests_per_second: u32,
    /// Requests to the API server at once after a pause. Default 40.
    pub burst: u32,
    /// Requests to the API server that may be under way together. Default 8.
    pub in_flight: u32,
    /// Bytes of one answer's body. Default 8 MiB.
    pub response_bytes: u64,
    /// Watches open together. Default 8; 0 allows none.
    pub watches: u32,
    /// Resources that the guest holds handles to. Default 1024.
    pub handles: u32,
    /// Bytes of standard output, standard error and log lines a second. Default 64 KiB; 0 silences.
    pub log_bytes_per_second: u64,
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
        }
    }
}

impl Limits {
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
        }
    }

    /// Reads `spec.limits`; what is not written keeps its default.
    pub(super) fn decode(at: Cursor<'_>) -> Result<Self, GrantError> {
        let fields = at.fields(FIELDS)?;
        let default = Self::default();
        let bytes = |name: &str, least: u64, otherwise: u64| {
            Ok(fields.read(name, |at| bytes(&at, least))?.unwrap_or(otherwise))
        };
        let count = |name: &str, least: u32, otherwise: u32| {
            Ok(fields.read(name, |at| count(&at, least))?.unwrap_or(otherwise))
        };
        let time = |name: &str, otherwise: Duration| Ok(fields.read(name, |at| time(&at))?.unwrap_or(otherwise));
        Ok(Self {
            memory: bytes("memory", PAGE, default.memory)?,
            deadline: time("deadline", default.deadline)?,
            cpu: time("cpu", default.cpu)?,
            requests_per_second: count("requestsPerSecond", 1, default.requests_per_second)?,
            burst: count("burst", 1, default.burst)?,
            in_flight: count("inFlight", 1, default.in_flight)?,
            response_bytes: bytes("responseBytes", 1, default.response_bytes)?,
            watches: count("watches", 0, default.watches)?,
            handles: count("handles", 1, default.handles)?,
            log_bytes_per_second: bytes("logBytesPerSecond", 0, default.log_bytes_per_second)?,
        })
    }

    /// The limits as a grant writes them, in the order of the fields.
    fn written(&self) -> [(&'static str, Written); 10] {
        [
            ("memory", Written::bytes(self.memory)),
            ("deadline", Written::Text(GoDuration(self.deadline).to_string())),
            ("cpu", Written::Text(GoDuration(self.cpu).to_string())),
            ("requestsPerSecond", Written::Number(self.requests_per_second.into())),
            ("burst", Written::Number(self.burst.into())),
            ("inFlight", Written::Number(self.in_flight.into())),
            ("responseBytes", Written::bytes(self.response_bytes)),
            ("watches", Written::Number(self.watches.into())),
            ("handles", Written::Number(self.handles.into())),
            ("logBytesPerSecond", Written::bytes(self.log_bytes_per_second)),
        ]
    }
}

/// A limit as a grant writes it.
#[derive(PartialEq, serde::Serialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Number(u64),
}

impl Written {
    /// A plain number where no suffix fits, so that it needs no quotes.
    fn bytes(bytes: u64) -> Self {
        if bytes.is_multiple_of(1024) && bytes > 0 { Self::Text(binary(bytes)) } else { Self::Number(bytes) }
    }
}

impl Serialize for Limits {
    /// Writes those limits that are not the default.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let default = Self::default().written();
        let changed = self.written().into_iter().zip(default).filter(|(own, default)| own != default);
        let changed: Vec<_> = changed.map(|(own, _)| own).collect();
        let mut map = serializer.serialize_map(Some(changed.len()))?;
        for (name, value) in &changed {
            map.serialize_entry(name, value)?;
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

/// A number of bytes with the largest binary suffix that loses nothing.
fn binary(bytes: u64) -> String {
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
    fn a_ceiling_lowers_and_never_raises() {
        let ceiling = Limits { memory: 1 << 20, watches: 100, ..Limits::default() };
        let capped = Limits { handles: 1, ..Limits::default() }.capped_by(&ceiling);
        assert_eq!((capped.memory, capped.watches, capped.handles), (1 << 20, 8, 1));
        assert_eq!(capped.capped_by(&ceiling), capped);
    }

    #[test]
    fn bytes_print_with_the_largest_exact_suffix() {
        for (bytes, text) in
            [(0, "0"), (1, "1"), (1000, "1000"), (1024, "1Ki"), (64 << 20, "64Mi"), (1536, "1536"), (3 << 30, "3Gi")]
        {
            assert_eq!(binary(bytes), text);
        }
    }
}
