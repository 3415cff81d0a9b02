//! A natural number of any size, with the few operations that quantities need.
//!
//! A quantity such as `1e30` has 39 digits of nano-units, which is more than any built-in integer holds. The numbers
//! stay small (the parser bounds their digits and exponents), so the plain school methods do.

use std::cmp::Ordering;

/// The bits of a limb.
const LIMB_BITS: u32 = 32;

/// The number is `Σ limbs[i]·2³²ⁱ`; the highest limb is never 0, so that equal numbers have equal limbs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Natural {
    limbs: Vec<u32>,
}

/// Returns the lower half of a double limb. The cast cuts off only the upper half, which [`high`] returns.
#[allow(clippy::cast_possible_truncation)]
const fn low(double: u64) -> u32 {
    (double & 0xffff_ffff) as u32
}

const fn high(double: u64) -> u64 {
    double >> LIMB_BITS
}

impl Natural {
    pub(super) fn is_zero(&self) -> bool {
        self.limbs.is_empty()
    }

    /// `self·factor + addend`.
    pub(super) fn times_plus(&self, factor: u32, addend: u32) -> Self {
        let mut limbs = Vec::with_capacity(self.limbs.len().saturating_add(1));
        let mut carry = u64::from(addend);
        for limb in &self.limbs {
            // (2³²−1)² + (2³²−1) still fits in 64 bits, so nothing wraps.
            let sum = u64::from(*limb).wrapping_mul(u64::from(factor)).wrapping_add(carry);
            limbs.push(low(sum));
            carry = high(sum);
        }
        limbs.push(low(carry));
        Self::trimmed(limbs)
    }

    /// `self·10^exponent`.
    pub(super) fn times_power_of_ten(&self, exponent: u32) -> Self {
        (0..exponent).fold(self.clone(), |number, _| number.times_plus(10, 0))
    }

    /// `self·2^exponent`.
    pub(super) fn times_power_of_two(&self, exponent: u32) -> Self {
        (0..exponent).fold(self.clone(), |number, _| number.times_plus(2, 0))
    }

    /// `self·factor`.
    pub(super) fn times(&self, factor: u64) -> Self {
        let mut upper = vec![0];
        upper.extend(self.times_plus(low(high(factor)), 0).limbs);
        self.times_plus(low(factor), 0).plus(&Self::trimmed(upper))
    }

    /// `self + other`.
    pub(super) fn plus(&self, other: &Self) -> Self {
        let length = self.limbs.len().max(other.limbs.len());
        let limb = |number: &Self, at: usize| u64::from(number.limbs.get(at).copied().unwrap_or(0));
        let mut carry = 0_u64;
        let mut limbs = Vec::with_capacity(length.saturating_add(1));
        for at in 0..length {
            let sum = limb(self, at).wrapping_add(limb(other, at)).wrapping_add(carry);
            limbs.push(low(sum));
            carry = high(sum);
        }
        limbs.push(low(carry));
        Self::trimmed(limbs)
    }

    /// Returns the quotient and the remainder by a divisor that is not 0 (0 counts as 1).
    pub(super) fn divided(&self, divisor: u32) -> (Self, u32) {
        let divisor = u64::from(divisor.max(1));
        let mut remainder = 0_u64;
        let mut quotient = self.limbs.clone();
        for limb in quotient.iter_mut().rev() {
            let dividend = (remainder << LIMB_BITS) | u64::from(*limb);
            *limb = low(dividend.checked_div(divisor).unwrap_or(0));
            remainder = dividend.checked_rem(divisor).unwrap_or(0);
        }
        (Self::trimmed(quotient), low(remainder))
    }

    /// Returns the quotient, rounded up.
    pub(super) fn divided_rounding_up(&self, divisor: u32) -> Self {
        let (quotient, remainder) = self.divided(divisor);
        if remainder == 0 { quotient } else { quotient.times_plus(1, 1) }
    }

    /// `self/10^exponent` rounded up.
    pub(super) fn shifted_down_rounding_up(&self, exponent: u32) -> Self {
        let mut number = self.clone();
        let mut lost = false;
        for _ in 0..exponent {
            let (quotient, remainder) = number.divided(10);
            lost |= remainder != 0;
            number = quotient;
            if number.is_zero() {
                break;
            }
        }
        if lost { number.times_plus(1, 1) } else { number }
    }

    /// Divides by the factor as often as there is no remainder, at most `limit` times. Returns the number of divisions,
    /// too.
    pub(super) fn without_factor(&self, factor: u32, limit: u32) -> (Self, u32) {
        let mut number = self.clone();
        let mut times = 0;
        while times < limit && !number.is_zero() {
            let (quotient, remainder) = number.divided(factor);
            if remainder != 0 {
                break;
            }
            number = quotient;
            times = times.saturating_add(1);
        }
        (number, times)
    }

    /// Returns the number, if it fits.
    pub(super) fn to_u64(&self) -> Option<u64> {
        match self.limbs.as_slice() {
            [] => Some(0),
            [one] => Some(u64::from(*one)),
            [lower, upper] => Some((u64::from(*upper) << LIMB_BITS) | u64::from(*lower)),
            _ => None,
        }
    }

    /// Returns the decimal digits, without leading zeros; `0` for zero.
    pub(super) fn to_decimal(&self) -> String {
        const CHUNK: u32 = 1_000_000_000;
        let mut chunks = Vec::new();
        let mut rest = self.clone();
        while !rest.is_zero() {
            let (quotient, remainder) = rest.divided(CHUNK);
            chunks.push(remainder);
            rest = quotient;
        }
        let first = chunks.pop().unwrap_or(0).to_string();
        chunks.iter().rev().fold(first, |text, chunk| format!("{text}{chunk:09}"))
    }

    fn trimmed(mut limbs: Vec<u32>) -> Self {
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        Self { limbs }
    }
}

impl From<u64> for Natural {
    fn from(number: u64) -> Self {
        Self::trimmed(vec![low(number), low(high(number))])
    }
}

impl Ord for Natural {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_length = self.limbs.len().cmp(&other.limbs.len());
        by_length.then_with(|| self.limbs.iter().rev().cmp(other.limbs.iter().rev()))
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
