//! Kubernetes resource quantities, exactly.
//!
//! `250m`, `64Mi`, `1.5G` and `1e30` are all quantities. They are kept as a whole number of nano-units, the finest step
//! of the API server, so only values that the server rounds are rounded here. Written from
//! `staging/src/k8s.io/apimachinery/pkg/api/resource/quantity.go` of Kubernetes.
//!
//! ```
//! use attache_base::quantity::Quantity;
//!
//! let limit: Quantity = "1.5Gi".parse()?;
//! assert_eq!(limit.to_string(), "1536Mi");
//! assert_eq!(limit.divide_rounding_up(&"1Mi".parse()?), 1536);
//! # Ok::<(), attache_base::quantity::QuantityError>(())
//! ```

mod json;
mod natural;
mod syntax;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use self::natural::Natural;
use self::syntax::{BINARY, DECIMAL, Notation, Parts, split};

/// The longest text of a quantity, in bytes. No real quantity has more than some twenty. Without a bound a guest could
/// make the host multiply numbers of a million digits.
const MAX_TEXT: usize = 256;

/// The largest power of ten in `1e…`, for the same reason. The largest number that any field of a pod can use
/// is 2⁶³−1, below `1e19`.
const MAX_EXPONENT: i64 = 512;

/// The decimal places of a quantity: nano-units. Finer ones are rounded away from zero, as the server does.
const PLACES: i64 = 9;

/// Nano-units in one unit.
const NANOS: u32 = 1_000_000_000;

/// Nano-units in one milli-unit.
const NANOS_IN_MILLI: u32 = 1_000_000;

/// The reason why a text is no quantity. The messages are the API server's where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text does not begin with a number, or something follows the suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number is well formed, but the suffix does not exist, such as `ki`.
    #[error("unable to parse quantity's suffix")]
    Suffix,
    /// The text has more bytes than any sensible quantity.
    #[error("quantity is longer than {MAX_TEXT} bytes")]
    TooLong,
    /// The exponent is larger than any field can use.
    #[error("quantity's exponent is larger than {MAX_EXPONENT}")]
    TooLarge,
}

/// An exact resource quantity, as Kubernetes takes it, from 1 nano-unit up.
///
/// Quantities are compared and hashed by value (`1000m` equals `1`). They print in canonical form, as the API server
/// prints them: no fraction, the largest suffix that loses nothing, the notation in which they were written. There is
/// one deviation: above 999 E the server's printer loses the exponent; this one keeps the `E` and prints more digits.
#[derive(Clone)]
pub struct Quantity {
    negative: bool,
    nanos: Natural,
    notation: Notation,
}

impl Quantity {
    /// Returns the quotient of this quantity and the divisor, rounded up: the rule for a resource field of the Downward
    /// API. The result is from 0 to `i64::MAX`. A divisor that is zero or less counts as 1
    /// (`pkg/api/v1/resource/helpers.go`).
    pub fn divide_rounding_up(&self, divisor: &Self) -> i64 {
        if !self.is_positive() {
            return 0;
        }
        let unit = Natural::from(u64::from(NANOS));
        let divisor = if divisor.is_positive() { &divisor.nanos } else { &unit };
        smallest_multiple(divisor, &self.nanos)
    }

    /// Returns the smallest whole number that is not below this quantity, within the range of `i64`.
    pub fn ceil(&self) -> i64 {
        if !self.negative {
            return saturated(&self.nanos.divided_rounding_up(NANOS));
        }
        saturated(&self.nanos.divided(NANOS).0).saturating_neg()
    }

    /// Returns the quantity in thousandths, rounded up, within the range of `i64`: millicores of a CPU.
    pub fn to_millis(&self) -> i64 {
        if !self.negative {
            return saturated(&self.nanos.divided_rounding_up(NANOS_IN_MILLI));
        }
        saturated(&self.nanos.divided(NANOS_IN_MILLI).0).saturating_neg()
    }

    /// Returns the quantity as a number of bytes, rounded up; `None` if it is negative or does not fit.
    pub fn to_u64_bytes(&self) -> Option<u64> {
        if self.negative { None } else { self.nanos.divided_rounding_up(NANOS).to_u64() }
    }

    /// Returns the same quantity rounded to thousandths, away from zero. The API server does so for each entry of a
    /// resource list [`pkg/apis/core/v1/defaults.go`, `SetDefaults_ResourceList`].
    #[must_use]
    pub fn rounded_up_to_milli(&self) -> Self {
        let millis = self.nanos.divided_rounding_up(NANOS_IN_MILLI);
        Self { nanos: millis.times_plus(NANOS_IN_MILLI, 0), ..self.clone() }
    }

    /// Returns the sum, in the notation of this quantity. A negative quantity counts as zero.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let counted = |one: &Self| if one.negative { Natural::from(0) } else { one.nanos.clone() };
        Self::new(false, counted(self).plus(&counted(other)), self.notation)
    }

    /// Returns whether the quantity is 0.
    pub fn is_zero(&self) -> bool {
        self.nanos.is_zero()
    }

    /// Returns whether the quantity is below 0.
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    fn is_positive(&self) -> bool {
        !self.negative && !self.is_zero()
    }

    /// Returns a quantity; the only place that makes one, so that zero has no sign.
    fn new(negative: bool, nanos: Natural, notation: Notation) -> Self {
        Self { negative: negative && !nanos.is_zero(), nanos, notation }
    }

    /// Returns whether the quantity prints in binary. The server prints small numbers and fractions in decimal even
    /// when they were written in binary.
    fn prints_binary(&self) -> bool {
        let bound = Natural::from(1024).times_plus(NANOS, 0);
        self.notation == Notation::Binary && self.nanos >= bound && self.nanos.divided(NANOS).1 == 0
    }
}

/// Returns the smallest `n` with `n·unit >= total`, at most `i64::MAX`. Bisection needs no long division: 63 products
/// of small numbers.
fn smallest_multiple(unit: &Natural, total: &Natural) -> i64 {
    let (mut low, mut high) = (0_u64, i64::MAX.unsigned_abs());
    while low < high {
        let middle = low.midpoint(high);
        if unit.times(middle) >= *total {
            high = middle;
        } else {
            low = middle.saturating_add(1);
        }
    }
    i64::try_from(low).unwrap_or(i64::MAX)
}

fn saturated(number: &Natural) -> i64 {
    number.to_u64().and_then(|number| i64::try_from(number).ok()).unwrap_or(i64::MAX)
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        if text.len() > MAX_TEXT {
            return Err(QuantityError::TooLong);
        }
        let parts = split(text)?;
        Ok(Self::new(parts.negative, nanos(&parts)?, parts.suffix.notation))
    }
}

fn nanos(parts: &Parts<'_>) -> Result<Natural, QuantityError> {
    let digits = parts.whole.bytes().chain(parts.fraction.bytes());
    let digits =
        digits.fold(Natural::default(), |number, digit| number.times_plus(10, u32::from(digit.saturating_sub(b'0'))));
    let places = i64::try_from(parts.fraction.len()).unwrap_or(i64::MAX);
    if parts.suffix.notation == Notation::Binary {
        let power = u32::try_from(parts.suffix.exponent).unwrap_or(0);
        let nanos = scaled(&digits.times_power_of_two(power), PLACES.saturating_sub(places))?;
        // The server caps binary quantities at the largest int64, and only those.
        return Ok(nanos.min(Natural::from(i64::MAX.unsigned_abs()).times_plus(NANOS, 0)));
    }
    scaled(&digits, parts.suffix.exponent.saturating_add(PLACES).saturating_sub(places))
}

/// Returns `digits·10^exponent`, rounded up to a whole number.
fn scaled(digits: &Natural, exponent: i64) -> Result<Natural, QuantityError> {
    if digits.is_zero() {
        return Ok(Natural::default());
    }
    if exponent > MAX_EXPONENT.saturating_add(PLACES) {
        return Err(QuantityError::TooLarge);
    }
    let power = u32::try_from(exponent.unsigned_abs()).unwrap_or(u32::MAX);
    Ok(if exponent < 0 { digits.shifted_down_rounding_up(power) } else { digits.times_power_of_ten(power) })
}

impl fmt::Display for Quantity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return out.write_str("0");
        }
        if self.negative {
            out.write_str("-")?;
        }
        if self.prints_binary() { self.write_binary(out) } else { self.write_decimal(out) }
    }
}

impl Quantity {
    fn write_binary(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = u32::try_from(BINARY.len()).unwrap_or(0);
        let (number, times) = self.nanos.divided(NANOS).0.without_factor(1024, limit);
        let listed = |times: u32| BINARY.get(usize::try_from(times.checked_sub(1)?).ok()?);
        let suffix = listed(times).map_or("", |(name, _)| *name);
        write!(out, "{}{suffix}", number.to_decimal())
    }

    fn write_decimal(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exponential = self.notation == Notation::Exponent;
        let limit = if exponential { u32::MAX } else { u32::try_from(DECIMAL.len()).unwrap_or(0).saturating_sub(1) };
        let (number, times) = self.nanos.without_factor(1000, limit);
        let exponent = i64::from(times).saturating_mul(3).saturating_sub(PLACES);
        let digits = number.to_decimal();
        if exponential && exponent != 0 {
            return write!(out, "{digits}e{exponent}");
        }
        let suffix = DECIMAL.iter().find(|(_, power)| *power == exponent).map_or("", |(name, _)| *name);
        write!(out, "{digits}{suffix}")
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Quantity({self})")
    }
}

impl Default for Quantity {
    /// Zero.
    fn default() -> Self {
        Self::from(0)
    }
}

impl From<u64> for Quantity {
    fn from(units: u64) -> Self {
        Self::new(false, Natural::from(units).times_plus(NANOS, 0), Notation::Decimal)
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.nanos.cmp(&other.nanos),
            (true, true) => other.nanos.cmp(&self.nanos),
            (negative, _) => {
                if negative {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
        }
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl std::hash::Hash for Quantity {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.negative, &self.nanos).hash(state);
    }
}

#[cfg(test)]
mod tests;
