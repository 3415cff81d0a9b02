//! Untrusted text, escaped and cut for a log, a terminal, a message or a record.
//!
//! Threat: text of a guest, a server or a manifest that adds lines of its own, moves a terminal's cursor, changes the
//! direction of the text after it, or has no end. Every text of this kind goes through here before it is shown: hidden
//! letters are escaped, and the text is cut at a limit while it is being written.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

/// The longest name that is shown, in characters. The name of an interface has some 40.
const LONGEST_NAME: usize = 200;

/// The most of a text that a message repeats, in characters: enough to recognise it, too little to flood a log.
const LONGEST_WORD: usize = 80;

/// The hidden letters of Unicode 16 in order: `Default_Ignorable_Code_Point`, format characters (`Cf`), and separators
/// of lines and paragraphs (`Zl`, `Zp`). Control characters are not among them.
const HIDDEN: [(char, char); 25] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Returns whether a letter is hidden: it controls a terminal, changes the direction or the position of other letters,
/// or has no width.
pub fn is_hidden(letter: char) -> bool {
    let listed = || HIDDEN.iter().any(|(first, last)| (*first..=*last).contains(&letter));
    letter.is_control() || !letter.is_ascii() && listed()
}

/// A writer that escapes hidden letters and stops at a limit.
///
/// A letter that does not fit is an error, so that the caller stops there: the text may never end.
///
/// ```
/// use std::fmt::Write;
/// use attache_base::untrusted::Harmless;
///
/// let mut out = String::new();
/// let mut harmless = Harmless::line(&mut out, 8);
/// assert!(harmless.write_str("a\nb and more").is_err() && harmless.is_full());
/// assert_eq!(out, "a\\nb and");
/// ```
pub struct Harmless<W> {
    out: W,
    left: usize,
    weigh: fn(&str) -> usize,
    breaks: bool,
    full: bool,
}

impl<W: Write> Harmless<W> {
    /// Returns a writer of one line of at most `most` bytes.
    pub fn line(out: W, most: usize) -> Self {
        Self { out, left: most, weigh: str::len, breaks: false, full: false }
    }

    /// Returns whether some of the text did not fit.
    pub fn is_full(&self) -> bool {
        self.full
    }

    fn put(&mut self, piece: &str) -> fmt::Result {
        let Some(left) = self.left.checked_sub((self.weigh)(piece)) else {
            self.full = true;
            return Err(fmt::Error);
        };
        self.left = left;
        self.out.write_str(piece)
    }
}

impl<W: Write> Write for Harmless<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter {
                '\n' if !self.breaks => self.put("\\n")?,
                '\n' | '\t' if self.breaks => self.put(letter.encode_utf8(&mut [0; 4]))?,
                letter if is_hidden(letter) => self.put(&letter.escape_unicode().to_string())?,
                letter => self.put(letter.encode_utf8(&mut [0; 4]))?,
            }
        }
        Ok(())
    }
}

fn shown(text: &(impl Display + ?Sized), most: usize, weigh: fn(&str) -> usize, breaks: bool) -> String {
    let mut shown = String::new();
    let mut harmless = Harmless { out: &mut shown, left: most, weigh, breaks, full: false };
    let written = write!(harmless, "{text}");
    if written.is_err() || harmless.full {
        shown.push('…');
    }
    shown
}

fn letters(text: &str) -> usize {
    text.chars().count()
}

/// Returns a text on one line of at most `most` bytes.
pub fn line(text: &(impl Display + ?Sized), most: usize) -> String {
    shown(text, most, str::len, false)
}

/// Returns a text of at most `most` bytes; line breaks and tabulators stay.
pub fn page(text: &(impl Display + ?Sized), most: usize) -> String {
    shown(text, most, str::len, true)
}

/// Returns the part of a word that a message repeats.
pub fn word(text: &str) -> String {
    shown(text, LONGEST_WORD, letters, false)
}

/// Returns a name that a guest may have chosen, such as the name of an import, for use within a line: line breaks and
/// hidden letters are escaped, and a long name is cut.
pub fn legible_name(name: &str) -> String {
    shown(name, LONGEST_NAME, letters, false)
}

/// Returns the same JSON value with the hidden letters in its strings escaped, so that a terminal can show it.
pub fn legible_json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter == '\n' || !is_hidden(letter) {
            shown.push(letter);
        } else {
            let units =
                letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            shown.push_str(&units);
        }
    }
    shown
}

/// Returns the beginning of a text, at most `most` bytes.
pub fn beginning(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

/// Returns the beginning of a text for a record: ASCII without spaces, quotes and control characters.
pub fn in_record(text: &str, most: usize) -> Cow<'_, str> {
    let text = beginning(text, most);
    if text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        text.into()
    } else {
        text.escape_default().to_string().into()
    }
}

/// Returns the beginning of a sentence for a record: ASCII without control characters. The quotes stay, and the
/// record's writer escapes them.
pub fn sentence_in_record(text: &str, most: usize) -> Cow<'_, str> {
    let text = beginning(text, most);
    let plain = |letter: char| letter == ' ' || letter.is_ascii_graphic();
    if text.chars().all(plain) {
        return text.into();
    }
    let escaped = |letter: char| if plain(letter) { letter.into() } else { letter.escape_default().to_string() };
    beginning(&text.chars().map(escaped).collect::<String>(), most).to_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hidden_letters_are_in_order() {
        assert!(HIDDEN.is_sorted_by(|before, after| before.1 < after.0), "each range ends before the next begins");
        assert!(HIDDEN.iter().all(|(first, last)| first <= last));
    }

    #[test]
    fn what_acts_or_takes_no_room_is_hidden_and_what_is_seen_is_not() {
        let hidden = "\0\t\n\u{1b}\u{7f}\u{85}\u{ad}\u{34f}\u{605}\u{61c}\u{1160}\u{180e}\u{200b}\u{2029}\u{202e}\u{2065}\
                      \u{3164}\u{fe0f}\u{feff}\u{fffb}\u{110bd}\u{1343f}\u{1bca3}\u{1d17a}\u{e0001}\u{e007f}\u{e01ef}";
        assert_eq!(hidden.chars().find(|letter| !is_hidden(*letter)), None);
        let seen = " ~é\u{a0}ßאعक日本\u{2014}…\u{fffd}😀";
        assert_eq!(seen.chars().find(|letter| is_hidden(*letter)), None);
    }

    #[test]
    fn a_name_stays_within_its_line() {
        assert_eq!(legible_name("attache:pod/api@0.1.0"), "attache:pod/api@0.1.0");
        assert_eq!(legible_name("url=<a\r\n{\u{1b}[31m\u{e0041}>"), "url=<a\\u{d}\\n{\\u{1b}[31m\\u{e0041}>");
    }

    #[test]
    fn a_json_text_says_the_same_without_hidden_letters() {
        let says = "a\u{9b}31m\u{202e}\u{e0041}é";
        let text = serde_json::to_string_pretty(&[says]).unwrap_or_default();
        let shown = legible_json(&text);
        assert!(shown.contains("\\u009b31m\\u202e\\udb40\\udc41é"), "{shown}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&shown).ok(), Some([says.to_owned()]));
    }

    #[test]
    fn a_name_is_cut_where_it_is_shown_too_long() {
        let exact = "é".repeat(LONGEST_NAME);
        assert_eq!(legible_name(&exact), exact);
        assert_eq!(legible_name(&format!("{exact}x")), format!("{exact}…"));
        let escaped = legible_name(&"\u{1b}".repeat(100_000));
        assert_eq!(escaped, format!("{}…", "\\u{1b}".repeat(33)));
    }
}
