//! The syntax of a projected file of all labels or all annotations.
//!
//! Each line is one entry, `key="value"`, with the value as Go's `strconv.Quote` writes it: a value of many lines is
//! one line here. Newer kubelets sort by key and older ones sorted whole lines; any order is accepted.
//!
//! **Bytes that are not UTF-8**, raw or as `\xNN`, become U+FFFD, one for each maximal run that cannot be text. The API
//! server stores no such bytes, so only a file made by hand has them. A guest's strings are Unicode, and losing one
//! byte is less surprising than losing the whole file. `\xNN` escapes that together form a character become that
//! character.
//!
//! A malformed line is an error with its number, and is never skipped: half of the labels would look like all of them.

use std::collections::BTreeMap;

/// Keys with their values, sorted by the bytes of the key.
pub type Pairs = Vec<(String, String)>;

/// A syntax error in a file of labels or annotations. Holds nothing of the file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct SyntaxError {
    /// The line, from 1.
    pub line: usize,
    /// The fault of the line.
    pub reason: Reason,
}

/// The fault of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// There is no `=`.
    #[error("no `=` between key and value")]
    NoEquals,
    /// Nothing stands before the `=`.
    #[error("the key is empty")]
    EmptyKey,
    /// An earlier line has the same key.
    #[error("the key stands on an earlier line too")]
    DuplicateKey,
    /// The value does not begin with a double quote.
    #[error("the value is not in double quotes")]
    NotQuoted,
    /// The line ends inside the quotes.
    #[error("the closing quote is missing")]
    Unterminated,
    /// Something follows the closing quote.
    #[error("text after the closing quote")]
    TrailingText,
    /// A backslash with a letter that Go does not know there.
    #[error("an escape that Go does not write")]
    UnknownEscape,
    /// `\x`, `\u`, `\U` or an octal escape without all of its digits.
    #[error("an escape with too few or wrong digits")]
    WrongDigits,
    /// A surrogate, a number above U+10FFFF, or an octal number above 377.
    #[error("an escape that is no character")]
    NoCharacter,
}

/// Reads the content of a file of all labels or all annotations.
///
/// # Errors
/// At the first line that is not `key="value"`, with its number.
pub fn parse(content: &[u8]) -> Result<Pairs, SyntaxError> {
    let mut pairs = BTreeMap::new();
    for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let failed = |reason| SyntaxError { line: index.saturating_add(1), reason };
        if line.is_empty() {
            continue;
        }
        let (key, value) = parse_line(line).map_err(failed)?;
        if pairs.insert(key, value).is_some() {
            return Err(failed(Reason::DuplicateKey));
        }
    }
    Ok(pairs.into_iter().collect())
}

fn parse_line(line: &[u8]) -> Result<(String, String), Reason> {
    let mut halves = line.splitn(2, |byte| *byte == b'=');
    let key = halves.next().unwrap_or_default();
    let quoted = halves.next().ok_or(Reason::NoEquals)?;
    if key.is_empty() {
        return Err(Reason::EmptyKey);
    }
    Ok((text(key.to_vec()), unquote(quoted)?))
}

fn unquote(quoted: &[u8]) -> Result<String, Reason> {
    let mut rest = quoted.strip_prefix(b"\"").ok_or(Reason::NotQuoted)?;
    let mut value = Vec::with_capacity(quoted.len());
    loop {
        let (byte, after) = rest.split_first().ok_or(Reason::Unterminated)?;
        rest = match byte {
            b'"' if after.is_empty() => return Ok(text(value)),
            b'"' => return Err(Reason::TrailingText),
            b'\\' => unescape(after, &mut value)?,
            _ => {
                value.push(*byte);
                after
            }
        };
    }
}

/// Reads one escape, without its backslash, into `value`. Returns the rest of the text.
fn unescape<'a>(escape: &'a [u8], value: &mut Vec<u8>) -> Result<&'a [u8], Reason> {
    let (kind, rest) = escape.split_first().ok_or(Reason::Unterminated)?;
    let byte = match kind {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' | b'"' => *kind,
        b'x' => return push_byte(digits(rest, 2, 16)?, value),
        b'0'..=b'7' => return push_byte(digits(escape, 3, 8)?, value),
        b'u' => return push_character(digits(rest, 4, 16)?, value),
        b'U' => return push_character(digits(rest, 8, 16)?, value),
        _ => return Err(Reason::UnknownEscape),
    };
    value.push(byte);
    Ok(rest)
}

/// Returns the number in the first `count` digits, and the rest of the text.
fn digits(text: &[u8], count: usize, radix: u32) -> Result<(u32, &[u8]), Reason> {
    let (digits, rest) = text.split_at_checked(count).ok_or(Reason::WrongDigits)?;
    let number = digits.iter().try_fold(0_u32, |number, digit| {
        let digit = char::from(*digit).to_digit(radix)?;
        number.checked_mul(radix)?.checked_add(digit)
    });
    Ok((number.ok_or(Reason::WrongDigits)?, rest))
}

fn push_byte<'a>((number, rest): (u32, &'a [u8]), value: &mut Vec<u8>) -> Result<&'a [u8], Reason> {
    value.push(u8::try_from(number).map_err(|_| Reason::NoCharacter)?);
    Ok(rest)
}

fn push_character<'a>((number, rest): (u32, &'a [u8]), value: &mut Vec<u8>) -> Result<&'a [u8], Reason> {
    let character = char::from_u32(number).ok_or(Reason::NoCharacter)?;
    value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(rest)
}

/// Returns the bytes as text, with U+FFFD for bytes that are not UTF-8.
pub(super) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
#[path = "syntax_tests.rs"]
mod tests;
