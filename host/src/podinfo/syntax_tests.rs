//! Tables for every rule of the syntax, and its inverse as a property.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::{Reason, SyntaxError, parse};

fn pairs(list: &[(&str, &str)]) -> super::Pairs {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    list.iter().map(owned).collect()
}

#[test]
fn a_file_as_the_kubelet_writes_it() {
    let content = b"cluster=\"test-cluster1\"\nrack=\"rack-22\"\nzone=\"us-est-coast\"";
    let expected = pairs(&[("cluster", "test-cluster1"), ("rack", "rack-22"), ("zone", "us-est-coast")]);
    assert_eq!(parse(content), Ok(expected));
}

#[test]
fn any_order_is_taken_and_the_answer_is_sorted_by_key() {
    // Whole lines sorted: `a-b=` comes before `a=`, because `-` is less than `=`.
    let by_line = b"a-b=\"2\"\na.b=\"3\"\na=\"1\"\n";
    let expected = pairs(&[("a", "1"), ("a-b", "2"), ("a.b", "3")]);
    assert_eq!(parse(by_line), Ok(expected));
}

#[test]
fn an_empty_map_is_an_empty_file() {
    for content in ["", "\n", "\n\n"] {
        assert_eq!(parse(content.as_bytes()), Ok(Vec::new()), "{content:?}");
    }
}

#[test]
fn every_escape_of_go_is_undone() {
    let table: &[(&str, &str)] = &[
        (r"", ""),
        (r"plain", "plain"),
        (r"\a\b\f\n\r\t\v", "\x07\x08\x0c\n\r\t\x0b"),
        (r#"\\ \""#, "\\ \""),
        (r"\x00\x7f", "\0\x7f"),
        (r"\x41\x4a\x4A", "AJJ"),
        (r"\101\000", "A\0"),
        (r"\u00e9\u2028", "\u{e9}\u{2028}"),
        (r"\U0001f600\U0010ffff", "\u{1f600}\u{10ffff}"),
        (r"\xc3\xa9", "é"),
        ("é ünïcode 한국", "é ünïcode 한국"),
        ("a\tb", "a\tb"),
        (r"multi \nline \nvalue\n", "multi \nline \nvalue\n"),
        ("a=b=c", "a=b=c"),
        ("it's", "it's"),
    ];
    for (quoted, value) in table {
        let line = format!("k=\"{quoted}\"");
        assert_eq!(parse(line.as_bytes()), Ok(pairs(&[("k", value)])), "{line}");
    }
}

#[test]
fn bytes_that_are_no_text_become_replacement_characters() {
    let table: &[(&[u8], &str)] = &[
        (br"a\xffb", "a\u{fffd}b"),
        (b"a\xffb", "a\u{fffd}b"),
        (br"\377\376", "\u{fffd}\u{fffd}"),
        (b"\xe2\x82", "\u{fffd}"),
        (br"\xc3", "\u{fffd}"),
        // Half of a character raw, half as an escape: together they are the character.
        (b"\xc3\\xa9", "é"),
    ];
    for (quoted, value) in table {
        let line = [b"k=\"", *quoted, b"\""].concat();
        assert_eq!(parse(&line), Ok(pairs(&[("k", value)])), "{quoted:?}");
    }
    assert_eq!(parse(b"k\xff=\"\""), Ok(pairs(&[("k\u{fffd}", "")])));
}

#[test]
fn a_line_that_does_not_fit_is_an_error_with_its_number() {
    let table: &[(&str, Reason)] = &[
        ("key", Reason::NoEquals),
        (" ", Reason::NoEquals),
        ("=\"v\"", Reason::EmptyKey),
        ("first=\"again\"", Reason::DuplicateKey),
        ("k=", Reason::NotQuoted),
        ("k=v", Reason::NotQuoted),
        ("k= \"v\"", Reason::NotQuoted),
        ("k='v'", Reason::NotQuoted),
        ("k=`v`", Reason::NotQuoted),
        ("k=\"", Reason::Unterminated),
        ("k=\"v", Reason::Unterminated),
        ("k=\"v\\", Reason::Unterminated),
        ("k=\"v\\\"", Reason::Unterminated),
        ("k=\"v\" ", Reason::TrailingText),
        ("k=\"v\"\r", Reason::TrailingText),
        ("k=\"v\"w\"", Reason::TrailingText),
        (r#"k="\q""#, Reason::UnknownEscape),
        (r#"k="\'""#, Reason::UnknownEscape),
        (r#"k="\8""#, Reason::UnknownEscape),
        (r#"k="\x4""#, Reason::WrongDigits),
        (r#"k="\xg0""#, Reason::WrongDigits),
        (r#"k="\x+1""#, Reason::WrongDigits),
        (r#"k="\18a""#, Reason::WrongDigits),
        (r#"k="\u12"#, Reason::WrongDigits),
        (r#"k="\U0001f60""#, Reason::WrongDigits),
        (r#"k="\400""#, Reason::NoCharacter),
        (r#"k="\ud800""#, Reason::NoCharacter),
        (r#"k="\U00110000""#, Reason::NoCharacter),
        (r#"k="\Uffffffff""#, Reason::NoCharacter),
    ];
    for (line, reason) in table {
        let content = format!("first=\"1\"\n\n{line}");
        let expected = SyntaxError { line: 3, reason: *reason };
        assert_eq!(parse(content.as_bytes()), Err(expected), "{line:?}");
    }
}

#[test]
fn an_error_says_the_line_and_nothing_of_the_content() {
    let error = parse(b"a=\"1\"\nsecret=\"hunter2").unwrap_err();
    assert_eq!(error.to_string(), "line 2: the closing quote is missing");
}

/// Writes as Go's `strconv.Quote` does, made from its description in Go's documentation and from nothing in the module.
/// What is printable is kept for ASCII and a few scripts only: Go's full table differs, both forms mean the same.
fn go_quote(bytes: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|character| quote_character(character, &mut quoted));
        for byte in chunk.invalid() {
            write!(quoted, "\\x{byte:02x}").unwrap();
        }
    }
    quoted + "\""
}

fn quote_character(character: char, quoted: &mut String) {
    match character {
        '"' | '\\' => quoted.extend(['\\', character]),
        ' '..='~' | '\u{a1}'..='\u{ac}' | '가'..='힣' | '😀' => quoted.push(character),
        '\x07' => quoted.push_str("\\a"),
        '\x08' => quoted.push_str("\\b"),
        '\x0c' => quoted.push_str("\\f"),
        '\n' => quoted.push_str("\\n"),
        '\r' => quoted.push_str("\\r"),
        '\t' => quoted.push_str("\\t"),
        '\x0b' => quoted.push_str("\\v"),
        '\0'..='\x7f' => write!(quoted, "\\x{:02x}", u32::from(character)).unwrap(),
        '\u{80}'..='\u{ffff}' => write!(quoted, "\\u{:04x}", u32::from(character)).unwrap(),
        _ => write!(quoted, "\\U{:08x}", u32::from(character)).unwrap(),
    }
}

fn written(map: &BTreeMap<String, Vec<u8>>) -> String {
    let lines: Vec<_> = map.iter().map(|(key, value)| format!("{key}={}", go_quote(value))).collect();
    lines.join("\n")
}

proptest! {
    #[test]
    fn what_was_quoted_reads_back_the_same(
        map in prop::collection::btree_map("[a-z0-9A-Z./_-]{1,20}", any::<String>(), 0..8)
    ) {
        let bytes = map.iter().map(|(key, value)| (key.clone(), value.clone().into_bytes())).collect();
        let expected: Vec<_> = map.into_iter().collect();
        prop_assert_eq!(parse(written(&bytes).as_bytes()), Ok(expected));
    }

    #[test]
    fn any_bytes_read_back_as_their_lossy_text(value in prop::collection::vec(any::<u8>(), 0..64)) {
        let expected = String::from_utf8_lossy(&value).into_owned();
        let content = written(&BTreeMap::from([("k".to_owned(), value)]));
        prop_assert_eq!(parse(content.as_bytes()), Ok(vec![("k".to_owned(), expected)]));
    }

    #[test]
    fn no_content_makes_it_panic(content in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = parse(&content);
    }

    #[test]
    fn nothing_near_the_syntax_makes_it_panic(content in r#"[a=\\"xuU0-9\n]{0,64}"#) {
        let _ = parse(content.as_bytes());
    }
}
