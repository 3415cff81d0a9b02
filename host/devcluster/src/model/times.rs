//! Times in objects, parsed as strictly as a real server parses them.

use jiff::Timestamp;

/// The layout of a time in whole seconds, in the notation of Go's package `time`.
const SECONDS: &[&str] = &["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05", "Z07:00"];
/// The layout of a time in microseconds.
const MICROSECONDS: &[&str] = &["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05", ".000000", "Z07:00"];

/// Converts a time into its stored form: UTC, with microseconds or in whole seconds.
///
/// # Errors
/// Returns a real server's message for an invalid time.
pub(crate) fn kept(text: &str, micro: bool) -> Result<String, String> {
    let layout = if micro { MICROSECONDS } else { SECONDS };
    check(text, layout, micro)?;
    let time: Timestamp = text.parse().map_err(|_| format!("parsing time {text:?}: day out of range"))?;
    if micro {
        return Ok(time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
    }
    Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn check(text: &str, layout: &[&str], micro: bool) -> Result<(), String> {
    let mut rest = text;
    for part in layout {
        let stuck =
            |at: &str| format!("parsing time {text:?} as {:?}: cannot parse {at:?} as {part:?}", layout.concat());
        let taken = match *part {
            "Z07:00" => zone(rest),
            ".000000" => digits(rest.strip_prefix('.').unwrap_or_default(), 6).map(|length| length + 1),
            "-" | "T" | ":" => rest.starts_with(part).then_some(1),
            number => digits(rest, number.len()),
        };
        let taken = taken.ok_or_else(|| stuck(rest))?;
        let (value, tail) = rest.split_at_checked(taken).ok_or_else(|| stuck(rest))?;
        let number: u32 = value.parse().unwrap_or(0);
        let wrong = match *part {
            "01" if !(1..=12).contains(&number) => "month",
            "02" if number == 0 || number > 31 => "day",
            "15" if number > 23 => "hour",
            "04" if number > 59 => "minute",
            "05" if number > 59 => "second",
            _ => "",
        };
        if !wrong.is_empty() {
            return Err(format!("parsing time {text:?}: {wrong} out of range"));
        }
        rest = tail;
        if *part == "05" && !micro {
            rest = without_fraction(rest);
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(format!("parsing time {text:?}: extra text: {rest:?}")) }
}

/// Drops a fraction, which may follow whole seconds.
fn without_fraction(rest: &str) -> &str {
    match rest.strip_prefix('.') {
        Some(fraction) if fraction.starts_with(|c: char| c.is_ascii_digit()) => {
            fraction.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        _ => rest,
    }
}

fn digits(text: &str, count: usize) -> Option<usize> {
    text.get(..count)?.bytes().all(|byte| byte.is_ascii_digit()).then_some(count)
}

fn zone(text: &str) -> Option<usize> {
    if text.starts_with('Z') {
        return Some(1);
    }
    let rest = text.strip_prefix(['+', '-'])?;
    let (hours, minutes) = (rest.get(..2)?, rest.get(3..5)?);
    (digits(hours, 2).is_some() && rest.get(2..3) == Some(":") && digits(minutes, 2).is_some()).then_some(6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_in_utc() {
        assert_eq!(kept("2026-01-02T03:04:05.123456+02:00", true).as_deref(), Ok("2026-01-02T01:04:05.123456Z"));
        assert_eq!(kept("2026-01-02T03:04:05.1234567Z", false).as_deref(), Ok("2026-01-02T03:04:05Z"));
        assert_eq!(kept("2026-01-02T03:04:05+02:00", false).as_deref(), Ok("2026-01-02T01:04:05Z"));
    }

    #[test]
    fn what_is_no_time_is_refused_in_a_real_servers_words() {
        let layout = "\"2006-01-02T15:04:05.000000Z07:00\"";
        let stuck = [
            ("2026-01-02", "\"\" as \"T\""),
            ("2026-01-02T03:04:05Z", "\"Z\" as \".000000\""),
            ("2026-01-02T03:04:05+02:00", "\"+02:00\" as \".000000\""),
            ("2026-01-02T03:04:05.1234567Z", "\"7Z\" as \"Z07:00\""),
            ("nonsense", "\"nonsense\" as \"2006\""),
            ("", "\"\" as \"2006\""),
        ];
        for (text, at) in stuck {
            assert_eq!(kept(text, true), Err(format!("parsing time {text:?} as {layout}: cannot parse {at}")));
        }
        let outside =
            [("2026-13-02T03:04:05Z", "month"), ("2026-02-30T03:04:05Z", "day"), ("2026-02-03T25:04:05Z", "hour")];
        for (text, part) in outside {
            assert_eq!(kept(text, false), Err(format!("parsing time {text:?}: {part} out of range")));
        }
        assert!(kept("2026-01-02T03:04:05é", false).is_err() && kept("2026-01-02T03:04:05+0é:00", false).is_err());
    }
}
