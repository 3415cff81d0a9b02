//! A limit by its name, its value, and a limit that an extension hit.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Limit;
use crate::duration::GoDuration;

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The value of a limit. It prints as a grant writes it: `64Mi`, `1m30s`, `8`.
///
/// ```
/// use attache_policy::LimitValue;
///
/// assert_eq!(LimitValue::Bytes(64 << 20).to_string(), "64Mi");
/// ```
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
    /// Writes a plain number where no suffix is needed, so that YAML needs no quotes.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(number) => serializer.serialize_u64(*number),
            Self::Bytes(bytes) if *bytes == 0 || !bytes.is_multiple_of(1024) => serializer.serialize_u64(*bytes),
            Self::Bytes(_) | Self::Time(_) => serializer.collect_str(self),
        }
    }
}

/// A limit that an extension hit.
///
/// ```
/// use attache_policy::{Limit, Limits};
///
/// let hit = Limits::default().reached(Limit::Handles).expect("a grant sets it");
/// assert_eq!(hit.to_string(), "handles: 1024");
/// assert_eq!(hit.remedy(), "raise limits.handles in its grant to allow more");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitHit {
    /// The limit.
    pub limit: Limit,
    /// The value that it allows.
    pub allowed: LimitValue,
}

impl LimitHit {
    /// Returns the place where the limit is raised, as the end of a sentence for an operator.
    pub fn remedy(&self) -> String {
        if self.limit.is_of_host() {
            return "the host sets it for all its extensions".to_owned();
        }
        format!("raise limits.{} in its grant to allow more", self.limit)
    }
}

impl fmt::Display for LimitHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.limit, self.allowed)
    }
}

/// Returns a number of bytes with the largest binary suffix that loses nothing.
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
    fn a_limit_that_was_hit_prints_its_name_and_its_value() {
        let printed = |limit, allowed| LimitHit { limit, allowed }.to_string();
        assert_eq!(printed(Limit::Memory, LimitValue::Bytes(64 << 20)), "memory: 64Mi");
        assert_eq!(printed(Limit::Deadline, LimitValue::Time(Duration::from_secs(90))), "deadline: 1m30s");
        assert_eq!(printed(Limit::Handles, LimitValue::Count(1024)), "handles: 1024");
    }

    #[test]
    fn only_a_grants_limits_are_raised_in_a_grant() {
        for (limit, remedy) in [(Limit::Cpu, "raise limits.cpu in its grant"), (Limit::Stack, "the host sets it")] {
            assert!(LimitHit { limit, allowed: LimitValue::Count(1) }.remedy().starts_with(remedy), "{limit}");
        }
    }
}
