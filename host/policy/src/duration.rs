//! Durations as Go writes them: `5s`, `1m30s`, `500ms`, `1.5s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// The units, longest name first, so that `ms` is not read as `m` and a stray `s`.
const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A duration that is read and printed as Go's `time.Duration` is, without signs.
///
/// ```
/// use std::time::Duration;
/// use attache_policy::GoDuration;
///
/// let GoDuration(time) = "1m30s".parse()?;
/// assert_eq!(time, Duration::from_secs(90));
/// # Ok::<(), attache_policy::DurationError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoDuration(pub Duration);

/// The reason why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DurationError {
    /// The text does not have the form of a duration.
    #[error("a duration is a number and one of ns, us, ms, s, m, h, such as `500ms` or `1m30s`")]
    Format,
    /// The duration is longer than 584 years.
    #[error("the duration is too long")]
    TooLong,
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        // The one number that Go takes without a unit.
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let mut rest = text;
        let mut nanos: u64 = 0;
        while !rest.is_empty() {
            let (part, after) = take_part(rest)?;
            nanos = nanos.checked_add(part).ok_or(DurationError::TooLong)?;
            rest = after;
        }
        if text.is_empty() { Err(DurationError::Format) } else { Ok(Self(Duration::from_nanos(nanos))) }
    }
}

/// Returns the first number with its unit in nanoseconds, and the rest of the text.
fn take_part(text: &str) -> Result<(u64, &str), DurationError> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or(DurationError::Format)?;
    let (number, rest) = text.split_at_checked(end).ok_or(DurationError::Format)?;
    let end = rest.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(rest.len());
    let (name, after) = rest.split_at_checked(end).ok_or(DurationError::Format)?;
    let (_, unit) = UNITS.iter().find(|(known, _)| *known == name).ok_or(DurationError::Format)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return Err(DurationError::Format);
    }
    let whole: u64 = whole.parse().map_err(|_| DurationError::TooLong)?;
    let nanos = whole.checked_mul(*unit).ok_or(DurationError::TooLong)?;
    Ok((nanos.checked_add(fraction_of(fraction, *unit)).ok_or(DurationError::TooLong)?, after))
}

/// Returns `0.fraction` of a unit, rounded down to nanoseconds.
fn fraction_of(fraction: &str, unit: u64) -> u64 {
    let digit = |place: u8| u64::from(place.saturating_sub(b'0'));
    let step = |(sum, scale): (u64, u64), byte: u8| {
        let scale = scale / 10;
        (sum.saturating_add(scale.saturating_mul(digit(byte))), scale)
    };
    fraction.bytes().fold((0, unit), step).0
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        if nanos == 0 {
            return f.write_str("0s");
        }
        let mut rest = nanos;
        for (name, unit) in UNITS.iter().rev().filter(|(name, _)| *name != "µs") {
            let count = rest / unit;
            if count > 0 {
                write!(f, "{count}{name}")?;
            }
            rest %= unit;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_read_as_in_go() {
        for (text, nanos) in [
            ("5s", 5_000_000_000),
            ("1m30s", 90_000_000_000),
            ("500ms", 500_000_000),
            ("1.5s", 1_500_000_000),
            ("0.25h", 900_000_000_000),
            ("10us", 10_000),
            ("10µs", 10_000),
            ("7ns", 7),
            ("1h1ms", 3_600_001_000_000),
            ("0s", 0),
            ("0", 0),
        ] {
            assert_eq!(text.parse::<GoDuration>().unwrap().0, Duration::from_nanos(nanos), "{text}");
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "5",
            "00",
            "s",
            "5 s",
            "-5s",
            "+5s",
            ".5s",
            "5.s",
            "1.2.3s",
            "5S",
            "5min",
            "1d",
            "99999999999h",
            "5s ",
            "½s",
        ] {
            assert!(text.parse::<GoDuration>().is_err(), "{text}");
        }
    }

    #[test]
    fn printing_and_reading_is_the_same() {
        for nanos in [1, 999, 1_000_000, 1_500_000_000, 90_000_000_000, 3_600_000_000_000, u64::MAX] {
            let duration = GoDuration(Duration::from_nanos(nanos));
            assert_eq!(duration.to_string().parse::<GoDuration>().unwrap(), duration);
        }
        assert_eq!(GoDuration(Duration::from_secs(90)).to_string(), "1m30s");
    }
}
