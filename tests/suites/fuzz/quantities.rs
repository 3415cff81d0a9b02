//! Quantities: exact, ordered, and printed in one form.

use attache::quantity::Quantity;

use super::mutation::Words;
use super::search::{kind_of, search};

const SEEDS: &[&str] = &[
    "0",
    "1",
    "250m",
    "64Mi",
    "1.5Gi",
    "-100m",
    "1e3",
    "1E-3",
    "12E6",
    "100n",
    "+.5",
    "7Ei",
    "9223372036854775807",
    "1e-400",
];

const WORDS: Words = Words(&[
    "0", "1", "9", "00000", "99999999", ".", "-", "+", "e", "E", "e-", "E+", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "k",
    "M", "G", "T", "P", "n", "u", "m", "ki", "mi", "K", "i",
]);

#[test]
fn a_quantity_that_is_taken_prints_and_counts_as_itself() {
    let units: Vec<Quantity> = ["1", "1m", "1k", "1Mi", "1n", "0"].iter().map(|text| text.parse().unwrap()).collect();
    let one: Quantity = "1".parse().unwrap();
    let mut last = one.clone();
    search("Quantity", SEEDS, &WORDS, |input, _| {
        let text = String::from_utf8_lossy(input);
        let quantity: Quantity = match text.parse() {
            Ok(quantity) => quantity,
            Err(error) => return kind_of(&format!("{error}")),
        };
        let printed = quantity.to_string();
        let again: Quantity = printed.parse().unwrap_or_else(|error| panic!("{text} prints as {printed}: {error}"));
        // What is above the largest int64 and written with a binary suffix is held there, as the server does.
        if !printed.starts_with("9223372036854775807") && !printed.starts_with("-9223372036854775807") {
            assert_eq!(again, quantity, "{text} prints as {printed}");
        }
        assert_eq!(again.to_string(), printed, "{text}");
        assert!(printed.len() < 1200, "{} bytes", printed.len());
        assert_eq!(quantity.cmp(&last), last.cmp(&quantity).reverse());
        for unit in &units {
            let times = quantity.divide_rounding_up(unit);
            assert!(
                times >= 0 && (times > 0) == (!quantity.is_zero() && !quantity.is_negative()),
                "{text} / {unit}: {times}"
            );
        }
        assert_eq!(quantity.ceil().max(0), quantity.divide_rounding_up(&one), "{text}");
        if let Some(bytes) = quantity.to_u64_bytes() {
            assert_eq!(i64::try_from(bytes).unwrap_or(i64::MAX), quantity.ceil().max(0), "{text}");
        }
        last = quantity;
        format!(
            "taken: {} {}",
            printed.trim_matches(|letter: char| letter.is_ascii_digit() || letter == '-'),
            printed.len().min(40) / 4
        )
    });
}
