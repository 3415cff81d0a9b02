#![allow(clippy::unwrap_used, clippy::expect_used)]

use num_bigint::BigInt;
use proptest::prelude::*;

use super::{Quantity, QuantityError};

fn quantity(text: &str) -> Quantity {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn prints_as_the_api_server_does() {
    let table = [
        ("0", "0"),
        ("-0", "0"),
        ("000", "0"),
        ("0Ki", "0"),
        ("0.0", "0"),
        ("1", "1"),
        ("+1", "1"),
        ("1000m", "1"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("1.", "1"),
        ("1.5", "1500m"),
        ("1500", "1500"),
        ("1000", "1k"),
        ("15000", "15k"),
        ("1.5Gi", "1536Mi"),
        ("1024Ki", "1Mi"),
        ("1023Ki", "1023Ki"),
        ("1Ki", "1Ki"),
        ("0.5Ki", "512"),
        ("1.0001Ki", "1024102400u"),
        ("0.1Mi", "104857600m"),
        ("100m", "100m"),
        ("0.1m", "100u"),
        ("0.0000000001", "1n"),
        ("-0.0000000001", "-1n"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("1E+3", "1e3"),
        ("1e-3", "1e-3"),
        ("12e6", "12e6"),
        ("1e4", "10e3"),
        ("1e0", "1"),
        ("1E", "1E"),
        ("1e30", "1e30"),
        ("1e-400", "1e-9"),
        ("-1.5Gi", "-1536Mi"),
        ("-100m", "-100m"),
        ("9223372036854775807", "9223372036854775807"),
        ("100Ei", "9223372036854775807"),
        ("8Ei", "9223372036854775807"),
        ("7Ei", "7Ei"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("2000E", "2000E"),
    ];
    for (text, canonical) in table {
        assert_eq!(quantity(text).to_string(), canonical, "{text}");
        assert_eq!(quantity(canonical), quantity(text), "{text} read back");
    }
}

#[test]
fn says_what_is_wrong_in_the_words_of_the_api_server() {
    for text in
        ["", " 1", "1 ", "abc", "1.1.M", "1+1.0M", "0.1am", "1x", "--1", "1..", "+", ".", "Ki", "1e1e", "1\u{0661}"]
    {
        assert_eq!(text.parse::<Quantity>(), Err(QuantityError::Format), "{text}");
    }
    for text in [
        "100ki",
        "1i",
        ".5i",
        "-3.01i",
        "-3.01e-",
        "0.1mi",
        "1K",
        "1e",
        "1KiB".trim_end_matches('B').trim_end_matches('i'),
        "1mm",
        "1+3",
        "1e99999999999999999999",
    ] {
        assert_eq!(text.parse::<Quantity>(), Err(QuantityError::Suffix), "{text}");
    }
    assert_eq!("1KiB".parse::<Quantity>(), Err(QuantityError::Format));
    assert_eq!("1e2147483647".parse::<Quantity>(), Err(QuantityError::TooLarge));
    assert_eq!("0e2147483647".parse::<Quantity>(), Ok(Quantity::default()));
    assert_eq!("9".repeat(257).parse::<Quantity>(), Err(QuantityError::TooLong));
    assert_eq!(QuantityError::Suffix.to_string(), "unable to parse quantity's suffix");
}

#[test]
fn divides_as_the_downward_api_does() {
    let table = [
        ("250m", "1", 1),
        ("250m", "0", 1),
        ("250m", "1m", 250),
        ("0.2505", "1m", 251),
        ("64Mi", "1Mi", 64),
        ("64Mi", "1", 67_108_864),
        ("64Mi", "1M", 68),
        ("1", "1Ei", 1),
        ("0", "1m", 0),
        ("-5", "1", 0),
        ("-5", "0", 0),
        ("1e30", "1m", i64::MAX),
        ("9223372036854775807", "1", i64::MAX),
        ("9223372036854775806", "1", i64::MAX - 1),
        ("9223372036854775807", "1E", 10),
    ];
    for (value, divisor, expected) in table {
        assert_eq!(quantity(value).divide_rounding_up(&quantity(divisor)), expected, "{value} / {divisor}");
    }
}

#[test]
fn rounds_to_whole_units_upwards() {
    assert_eq!(quantity("1.2").ceil(), 2);
    assert_eq!(quantity("-1.2").ceil(), -1);
    assert_eq!(quantity("1e30").ceil(), i64::MAX);
    assert_eq!(quantity("-1e30").ceil(), -i64::MAX);
    assert_eq!(quantity("0.0001").to_millis(), 1);
    assert_eq!(quantity("1.5Ki").to_u64_bytes(), Some(1536));
    assert_eq!(quantity("-1").to_u64_bytes(), None);
    assert_eq!(quantity("18446744073709551615").to_u64_bytes(), Some(u64::MAX));
    assert_eq!(quantity("18446744073709551616").to_u64_bytes(), None);
    assert_eq!(quantity("100u").rounded_up_to_milli().to_string(), "1m");
}

#[test]
fn is_read_from_json_as_text_or_number() {
    let read = |json: &str| serde_json::from_str::<Quantity>(json);
    assert_eq!(read("\" 64Mi \"").unwrap(), quantity("64Mi"));
    assert_eq!(read("2").unwrap(), quantity("2"));
    assert_eq!(read("-2").unwrap(), quantity("-2"));
    assert_eq!(read("0.5").unwrap(), quantity("500m"));
    assert!(read("\"100ki\"").unwrap_err().to_string().contains("unable to parse quantity's suffix"));
    assert!(read("[]").is_err());
    assert_eq!(serde_json::to_string(&quantity("1024Ki")).unwrap(), "\"1Mi\"");
}

/// A quantity's parts, and its value in nano-units by the model.
fn model() -> impl Strategy<Value = (String, BigInt)> {
    let suffix = prop_oneof![
        (0..10_usize).prop_map(|at| (super::DECIMAL[at].0.to_string(), 10_u32, super::DECIMAL[at].1)),
        (0..6_usize).prop_map(|at| (super::BINARY[at].0.to_string(), 2, super::BINARY[at].1)),
        (-20..40_i64).prop_map(|exponent| (format!("e{exponent}"), 10, exponent)),
    ];
    (any::<bool>(), "[0-9]{1,25}", "[0-9]{0,15}", suffix).prop_map(|(negative, whole, fraction, suffix)| {
        let (name, base, exponent) = suffix;
        let text = format!("{}{whole}.{fraction}{name}", if negative { "-" } else { "" });
        let mut numerator: BigInt = format!("{whole}{fraction}").parse().unwrap();
        numerator *= BigInt::from(10).pow(9);
        let mut denominator = BigInt::from(10).pow(u32::try_from(fraction.len()).unwrap());
        let power = BigInt::from(base).pow(u32::try_from(exponent.unsigned_abs()).unwrap());
        if exponent < 0 {
            denominator *= power;
        } else {
            numerator *= power;
        }
        let mut nanos: BigInt = (numerator + &denominator - 1) / denominator;
        if base == 2 {
            nanos = nanos.min(BigInt::from(i64::MAX) * 1_000_000_000);
        }
        (text, if negative { -nanos } else { nanos })
    })
}

fn model_ceil(value: &BigInt, divisor: &BigInt) -> i64 {
    if *value <= BigInt::ZERO {
        return 0;
    }
    i64::try_from((value + divisor - 1) / divisor).unwrap_or(i64::MAX)
}

proptest! {
    #[test]
    fn divides_as_big_integers_do((text, value) in model(), (divisor_text, divisor) in model()) {
        let unit = BigInt::from(1_000_000_000);
        let divisor = if divisor > BigInt::ZERO { divisor } else { unit };
        let answer = quantity(&text).divide_rounding_up(&quantity(&divisor_text));
        prop_assert_eq!(answer, model_ceil(&value, &divisor), "{} / {}", text, divisor_text);
    }

    #[test]
    fn compares_as_big_integers_do((left_text, left) in model(), (right_text, right) in model()) {
        prop_assert_eq!(quantity(&left_text).cmp(&quantity(&right_text)), left.cmp(&right));
    }

    #[test]
    fn rounds_as_big_integers_do((text, value) in model()) {
        prop_assert_eq!(quantity(&text).ceil().max(0), model_ceil(&value, &BigInt::from(1_000_000_000)));
        prop_assert_eq!(quantity(&text).to_millis().max(0), model_ceil(&value, &BigInt::from(1_000_000)));
    }

    #[test]
    fn what_is_printed_is_read_back_and_printed_the_same((text, _) in model()) {
        let quantity_read = quantity(&text);
        let printed = quantity_read.to_string();
        prop_assert!(!printed.contains('.'));
        prop_assert_eq!(&quantity(&printed), &quantity_read);
        prop_assert_eq!(quantity(&printed).to_string(), printed);
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,40}") {
        let _ = text.parse::<Quantity>();
    }

    #[test]
    fn any_text_like_a_quantity_is_answered(text in "[-+0-9.eEinumkKMGTP]{0,30}") {
        if let Ok(read) = text.parse::<Quantity>() {
            prop_assert_eq!(quantity(&read.to_string()), read);
        }
    }
}
