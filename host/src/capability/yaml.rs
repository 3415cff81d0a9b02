//! JSON in the form that the API server's parser of YAML 1.1 reads, for a server-side apply.
//!
//! Question: does the server read what was meant? JSON is almost YAML. The parser (`go.yaml.in/yaml/v2`, below
//! `sigs.k8s.io/yaml`) refuses the rest or reads it differently: escapes of surrogates, control characters beyond
//! ASCII, line breaks beyond those of JSON, and white space between tokens in some places. So strings are written anew,
//! and white space is left out. Everything else keeps its bytes, numbers above all.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

/// Writes a JSON text so that a parser of YAML 1.1 reads the text's own value.
///
/// # Errors
/// Fails if a string contains half of a surrogate pair. The caller has checked that the rest is JSON.
pub(super) fn readable(json: &str) -> Result<String, serde_json::Error> {
    let mut written = Vec::with_capacity(json.len());
    let mut rest = json;
    while let Some((before, from)) = rest.find('"').and_then(|at| rest.split_at_checked(at)) {
        let (string, after) = from.split_at_checked(literal(from)).unwrap_or((from, ""));
        written.extend(without_space(before));
        let text: Cow<'_, str> = serde_json::from_str(string)?;
        text.serialize(&mut Serializer::with_formatter(&mut written, Printable))?;
        rest = after;
    }
    written.extend(without_space(rest));
    // Strings come from strings, and JSON has only ASCII between them.
    String::from_utf8(written).map_err(|error| serde_json::Error::io(io::Error::other(error)))
}

/// Returns the length of the string at the beginning of a text, quotes included.
fn literal(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |inner| inner.saturating_add(2))
}

fn without_space(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().filter(|byte| !byte.is_ascii_whitespace())
}

/// Writes the characters that YAML 1.1 does not accept as escapes that it accepts.
struct Printable;

impl Formatter for Printable {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, odd)) = rest.char_indices().find(|(_, letter)| !is_plain(*letter)) {
            let (before, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
            writer.write_all(before.as_bytes())?;
            // All of them lie in the Basic Multilingual Plane.
            write!(writer, "\\u{:04x}", u32::from(odd))?;
            rest = from.get(odd.len_utf8()..).unwrap_or_default();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Returns whether a character may stand unescaped: printable (YAML 1.1, section 5.1), no line break (section 5.4), and
/// no byte order mark.
fn is_plain(letter: char) -> bool {
    matches!(letter, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
        && !matches!(letter, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    #[test]
    fn what_yaml_would_read_otherwise_is_written_so_that_it_does_not() {
        let table = [
            (r#"{"a":"\ud83d\ude00"}"#, r#"{"a":"😀"}"#),
            ("{\"a\":\"😀 é 中 \u{a0}\"}", "{\"a\":\"😀 é 中 \u{a0}\"}"),
            ("{\"a\":\"x\u{7f}\u{80}\u{85}\u{9f}y\"}", r#"{"a":"x\u007f\u0080\u0085\u009fy"}"#),
            ("{\"\u{2028}\":\"\u{2029}\u{feff}\u{fffe}\u{ffff}\"}", r#"{"\u2028":"\u2029\ufeff\ufffe\uffff"}"#),
            (r#"["\u0000\b\t\n\f\r\u001f\"\\\/"]"#, r#"["\u0000\b\t\n\f\r\u001f\"\\/"]"#),
            ("\t{\r\n \"a \\\" {\" \n:\t[ ] , \"b\\\\\" : { } }\n", r#"{"a \" {":[],"b\\":{}}"#),
            (
                "[ 18446744073709551616 , 1.10 , 1e400 , -0 , true , null ]",
                "[18446744073709551616,1.10,1e400,-0,true,null]",
            ),
            (r#"{"\"" : "\\", "\\\"" : "" }"#, r#"{"\"":"\\","\\\"":""}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2}"#),
            ("", ""),
        ];
        for (given, expected) in table {
            assert_eq!(readable(given).unwrap(), expected, "{given}");
        }
    }

    #[test]
    fn half_of_a_character_is_none() {
        for text in [r#"{"a":"\ud83d"}"#, r#"["\ude00"]"#, r#"{"\ud83dx":1}"#] {
            assert!(readable(text).is_err(), "{text}");
        }
    }

    /// Any JSON, with the characters that YAML treats specially in its strings.
    fn json() -> impl Strategy<Value = Value> {
        let odd =
            prop::sample::select(vec!['"', '\\', '\n', '\u{7f}', '\u{85}', '\u{2028}', '\u{feff}', '\u{ffff}', '😀']);
        let text = prop::collection::vec(prop_oneof![any::<char>(), odd], 0..12).prop_map(String::from_iter);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            let members = prop::collection::vec((text.clone(), inner.clone()), 0..5);
            prop_oneof![
                prop::collection::vec(inner, 0..5).prop_map(Value::from),
                members.prop_map(|members| Value::from(Map::from_iter(members))),
            ]
        })
    }

    /// Writes JSON as Python's `json.dumps` does, with escapes for all but ASCII.
    fn in_ascii(json: &str) -> String {
        let escaped = |letter: char| {
            letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>()
        };
        json.chars().map(|letter| if letter.is_ascii() { letter.into() } else { escaped(letter) }).collect()
    }

    proptest! {
        #[test]
        fn what_is_written_has_the_same_value_and_only_what_yaml_prints(value in json()) {
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap(), in_ascii(&value.to_string())] {
                let written = readable(&text).unwrap();
                prop_assert!(written.chars().all(is_plain), "{written:?}");
                // A number is not read exactly as it was written, so both are read.
                let [given, read] = [&text, &written].map(|text| serde_json::from_str::<Value>(text).unwrap());
                prop_assert_eq!(read, given);
                // A text without need of escapes stays as it is.
                prop_assert_eq!(&readable(&written).unwrap(), &written);
            }
        }

        #[test]
        fn no_text_is_too_odd_to_be_looked_at(text in any::<String>()) {
            let found = readable(&text);
            if serde_json::from_str::<Value>(&text).is_ok() {
                prop_assert!(found.is_ok());
            }
        }
    }
}
