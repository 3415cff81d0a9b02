//! The syntax of a quantity: sign, decimal digits with a point, suffix.
//!
//! The grammar and the three messages are those of the API server
//! (`staging/src/k8s.io/apimachinery/pkg/api/resource/quantity.go` and `suffix.go`).

use super::QuantityError;

/// The notation in which a quantity was written and is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notation {
    /// `n u m (none) k M G T P E`: powers of 1000.
    Decimal,
    /// `Ki Mi Gi Ti Pi Ei`: powers of 1024.
    Binary,
    /// `e3`, `E-6`: any power of ten.
    Exponent,
}

/// The factor of a suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suffix {
    pub(super) notation: Notation,
    /// A power of two for [`Notation::Binary`], else a power of ten.
    pub(super) exponent: i64,
}

/// The parts of a written quantity.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    pub(super) negative: bool,
    pub(super) whole: &'a str,
    pub(super) fraction: &'a str,
    pub(super) suffix: Suffix,
}

/// Suffix and power of ten, smallest first. `E` is exa here; only with digits after it is it an exponent.
pub(super) const DECIMAL: [(&str, i64); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

/// Suffix and power of two, smallest first.
pub(super) const BINARY: [(&str, i64); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

pub(super) fn split(text: &str) -> Result<Parts<'_>, QuantityError> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, rest) = leading_digits(unsigned);
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => leading_digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() || !looks_like_suffix(suffix) {
        return Err(QuantityError::Format);
    }
    Ok(Parts { negative, whole, fraction, suffix: interpret(suffix)? })
}

fn leading_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Returns whether the text has the form of a suffix. The server reports a bad form and an unknown suffix differently.
fn looks_like_suffix(text: &str) -> bool {
    let rest = text.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    rest.bytes().all(|byte| byte.is_ascii_digit())
}

fn interpret(text: &str) -> Result<Suffix, QuantityError> {
    let listed = |table: &[(&str, i64)]| table.iter().find(|(name, _)| *name == text).map(|(_, exponent)| *exponent);
    if let Some(exponent) = listed(&DECIMAL) {
        return Ok(Suffix { notation: Notation::Decimal, exponent });
    }
    if let Some(exponent) = listed(&BINARY) {
        return Ok(Suffix { notation: Notation::Binary, exponent });
    }
    let exponent = text.strip_prefix(['e', 'E']).and_then(|digits| digits.parse().ok());
    exponent.map(|exponent| Suffix { notation: Notation::Exponent, exponent }).ok_or(QuantityError::Suffix)
}
