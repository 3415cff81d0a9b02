//! New values: identities, secrets, suffixes of generated names, times.

use jiff::Timestamp;

/// The letters of generated names. There are no vowels, so that no words come out.
const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The length of the suffix of a generated name.
const SUFFIX_LENGTH: usize = 5;

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        // Without the system's randomness the clock has to do: these are names, not secrets.
        let clock = Timestamp::now().as_nanosecond().to_le_bytes();
        bytes.iter_mut().zip(clock.iter().cycle()).for_each(|(byte, tick)| *byte = *tick);
    }
    bytes
}

/// Returns a new random identity (UUID, version 4).
pub(crate) fn new_uid() -> String {
    let mut bytes = random::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

/// Returns a random secret as hexadecimal digits.
pub(crate) fn new_secret() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

/// Returns the suffix of a generated name.
pub(crate) fn suffix() -> String {
    let letter = |byte: &u8| SUFFIX_LETTERS.get(usize::from(*byte) % SUFFIX_LETTERS.len()).copied().unwrap_or(b'x');
    random::<SUFFIX_LENGTH>().iter().map(|byte| char::from(letter(byte))).collect()
}

/// Returns the time in whole seconds, in the form of objects.
pub(crate) fn now() -> String {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// Returns the time in `seconds` from now.
pub(crate) fn later(seconds: i64) -> String {
    let at = Timestamp::now().as_second().saturating_add(seconds);
    Timestamp::from_second(at).map_or_else(|_| now(), |time| time.to_string())
}
