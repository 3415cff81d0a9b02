//! The search: inputs that are answered in a new way are kept.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::mutation::{Dice, Words};

/// The default time for which each reader is tried, in seconds. The environment may set another.
const SECONDS: u64 = 2;

/// The default seed of the dice. The environment may set another. With the same seed, each run tries the same inputs,
/// for as long as it has time.
const SEED: u64 = 20_261_124;

/// The longest time of a reader for one input: many times the time of the longest valid input without optimisation.
const SOON: Duration = Duration::from_secs(2);

/// Inputs that are kept at most.
const KEPT: usize = 4096;

/// Calls `read` with inputs that are made from `seeds`. `read` checks its own properties, and returns the kind of its
/// answer, which is equal for similar inputs.
pub(crate) fn search(name: &str, seeds: &[&str], words: &Words, mut read: impl FnMut(&[u8], &mut Dice) -> String) {
    let seed = number("ATTACHE_FUZZ_SEED").unwrap_or(SEED);
    let seconds = number("ATTACHE_FUZZ_SECONDS").unwrap_or(SECONDS);
    let (mut dice, begun) = (Dice::new(seed), Instant::now());
    let mut kept: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    let (mut kinds, mut tried) = (HashSet::new(), 0_u64);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let fresh = usize::try_from(tried).ok().filter(|turn| *turn < seeds.len()).map(|turn| kept[turn].clone());
        let input = fresh.unwrap_or_else(|| {
            let (one, other) = (dice.below(kept.len()), dice.below(kept.len()));
            words.mutate(&kept[one], &kept[other], &mut dice)
        });
        tried += 1;
        let kind = answered(name, seed, &input, || read(&input, &mut dice));
        if kinds.insert(kind) && kept.len() < KEPT {
            kept.push(input);
        }
    }
    println!("{name}: {tried} inputs, {} kinds of answers, seed {seed}", kinds.len());
}

/// Returns the answer of a reader. Reports the input if the reader panics or is slow.
fn answered(name: &str, seed: u64, input: &[u8], read: impl FnOnce() -> String) -> String {
    let begun = Instant::now();
    let answer = catch_unwind(AssertUnwindSafe(read));
    let shown = || input.escape_ascii().to_string();
    let kind = answer.unwrap_or_else(|_| panic!("{name}: seed {seed}, input \"{:.4000}\"", shown()));
    assert!(begun.elapsed() < SOON, "{name}: {:?} for {} bytes: \"{:.500}\"", begun.elapsed(), input.len(), shown());
    kind
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Returns the kind of an error's text: the text without numbers and quoted parts.
pub(crate) fn kind_of(error: &str) -> String {
    let mut kind = String::new();
    let mut quoted = false;
    for letter in error.chars().take(400) {
        if letter == '`' || letter == '"' {
            quoted = !quoted;
        } else if !quoted && !letter.is_ascii_digit() && kind.len() < 40 {
            kind.push(letter);
        }
    }
    kind
}

/// Asserts that a message is fit for a log: short, and without control characters.
pub(crate) fn assert_tellable(message: &str) {
    assert!(message.len() < 4000, "{} bytes: {:.200}", message.len(), message);
    assert!(!message.chars().any(|letter| letter.is_control() && letter != '\n'), "{message:?}");
}
