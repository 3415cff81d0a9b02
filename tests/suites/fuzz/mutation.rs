//! The mutations that make a text from other texts.

/// Numbers that look random: SplitMix64.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`, or 0 where there is none.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % (bound.max(1) as u64)).unwrap()
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// Words of the grammar, and what attackers put between them.
pub(crate) struct Words(pub(crate) &'static [&'static str]);

/// Bytes that readers treat in their own way, whatever they read.
const ODD: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b"%",
    b"%%",
    b"%2f",
    b"%2e",
    b"%00",
    b"\\",
    b"/",
    b"//",
    b"..",
    b"\"",
    b"'",
    b"`",
    b"$(",
    b")",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b": ",
    b",",
    b"&",
    b"*",
    b"!",
    b"|",
    b">",
    b"#",
    b"?",
    b"=",
    b";",
    b"+",
    b"-",
    b"~",
    b"\x7f",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    "\u{202e}".as_bytes(),
    "\u{ff0f}".as_bytes(),
    "\u{e9}".as_bytes(),
    b"0",
    b"-1",
    b"9223372036854775807",
    b"18446744073709551616",
    b"1e9999",
    b"NaN",
];

/// The longest input that is made, in bytes: beyond the bound of each reader, so that the bound is tried too.
const LONGEST: usize = 300 << 10;

impl Words {
    /// Breaks a text in one to four places.
    pub(crate) fn mutate(&self, text: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
        let mut mutated = text.to_vec();
        for _ in 0..=dice.below(4) {
            self.break_once(&mut mutated, other, dice);
        }
        mutated.truncate(LONGEST);
        mutated
    }

    fn break_once(&self, text: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
        let at = dice.below(text.len() + 1);
        let end = (at + dice.below(12)).min(text.len());
        match dice.below(10) {
            0 => drop(text.splice(at..at, [u8::try_from(dice.below(256)).unwrap()])),
            1 => drop(text.drain(at..end)),
            2 if at < text.len() => text[at] ^= 1 << dice.below(8),
            3 => {
                let piece = text[at..end].to_vec();
                let to = dice.below(text.len() + 1);
                drop(text.splice(to..to, piece));
            }
            4 => {
                let from = dice.below(other.len());
                let piece = &other[from..(from + dice.below(40)).min(other.len())];
                drop(text.splice(at..end, piece.iter().copied()));
            }
            5 => drop(text.splice(at..end, dice.pick(ODD).iter().copied())),
            6 => self.bomb(text, at, dice),
            7 => text.truncate(at),
            _ => drop(text.splice(at..end, dice.pick(self.0).bytes())),
        }
    }

    /// Repeats a word: depth, length and number are what a reader may forget to bound.
    fn bomb(&self, text: &mut Vec<u8>, at: usize, dice: &mut Dice) {
        let word = if dice.one_in(2) { dice.pick(ODD) } else { dice.pick(self.0).as_bytes() };
        let most = if dice.one_in(20) { 100_000 } else { 200 };
        let piece = word.repeat(dice.below(most));
        drop(text.splice(at..at, piece));
    }
}
