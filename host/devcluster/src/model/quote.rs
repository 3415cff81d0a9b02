//! Go's `strconv.Quote`, by which the files of labels and annotations are written.

use std::fmt::Write as _;

/// Returns the text in double quotes, as Go's `%q` writes it.
///
/// Escaped are `"` and `\`, the seven control characters that have a letter, other control characters below U+0080 as
/// `\xNN`, and characters outside Go's `unicode.IsPrint` as `\uNNNN` or `\UNNNNNNNN` [Go `src/strconv/quote.go`,
/// `appendEscapedRune`].
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(2));
    out.push('"');
    for c in text.chars() {
        push(&mut out, c);
    }
    out.push('"');
    out
}

fn push(out: &mut String, c: char) {
    let letter = match c {
        '"' | '\\' => Some(c),
        '\x07' => Some('a'),
        '\x08' => Some('b'),
        '\x0c' => Some('f'),
        '\n' => Some('n'),
        '\r' => Some('r'),
        '\t' => Some('t'),
        '\x0b' => Some('v'),
        _ => None,
    };
    let code = u32::from(c);
    // Writing to a String cannot fail.
    let _ = match letter {
        Some(letter) => write!(out, "\\{letter}"),
        None if is_print(c) => write!(out, "{c}"),
        None if c.is_ascii() => write!(out, "\\x{code:02x}"),
        None if code <= 0xffff => write!(out, "\\u{code:04x}"),
        None => write!(out, "\\U{code:08x}"),
    };
}

/// Returns Go's `unicode.IsPrint`: letters, marks, numbers, punctuation, symbols, and of the spaces only U+0020.
///
/// The standard library has that table too: `escape_debug` uses it for every character but the first of a text
/// (`library/core/src/unicode/printable.py` leaves out the categories Cc, Cf, Cs, Co, Cn, Zl, Zp and Zs, except the
/// plain space). Its Unicode version may be newer than that of a given server's Go. The two then differ in characters
/// that were assigned between.
fn is_print(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    let pair: String = ['x', c].into_iter().collect();
    pair.escape_debug().nth(1) == Some(c)
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn quotes_as_go_does() {
        let table = [
            ("", r#""""#),
            ("plain text", r#""plain text""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("'", r#""'""#),
            ("\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#),
            ("\0\x01\x1f\x7f", r#""\x00\x01\x1f\x7f""#),
            ("\u{80}\u{a0}\u{ad}", r#""\u0080\u00a0\u00ad""#),
            ("\u{200b}\u{2028}\u{2029}\u{feff}", r#""\u200b\u2028\u2029\ufeff""#),
            ("\u{3000}", r#""\u3000""#),
            ("\u{e000}\u{10ffff}\u{f0000}", r#""\ue000\U0010ffff\U000f0000""#),
            ("\u{fffd}", "\"\u{fffd}\""),
            ("\u{378}", r#""\u0378""#),
            ("é한글🎉", "\"é한글🎉\""),
            ("e\u{301}", "\"e\u{301}\""),
            ("\u{301}", "\"\u{301}\""),
            ("\u{1d400}\u{e0001}", "\"\u{1d400}\\U000e0001\""),
            ("\u{600}", r#""\u0600""#),
        ];
        for (text, expected) in table {
            assert_eq!(quoted(text), expected, "{text:?}");
        }
    }
}
