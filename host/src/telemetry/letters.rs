//! Letters that do something to the text around them, or cannot be seen in it, and the names that are shown without them.

/// The longest name that is shown, in characters. A name of an interface has some 40.
const LONGEST_NAME: usize = 200;

/// What Unicode 16 has as `Default_Ignorable_Code_Point`, as format characters (`Cf`), or as separators of lines and
/// paragraphs (`Zl`, `Zp`), in order. Control characters are not among them.
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

/// Whether a letter acts instead of being seen: it controls a terminal, changes the direction or the place of what follows,
/// or takes no room.
pub(super) fn is_hidden(letter: char) -> bool {
    let listed = || HIDDEN.iter().any(|(first, last)| (*first..=*last).contains(&letter));
    letter.is_control() || !letter.is_ascii() && listed()
}

/// A name that a guest may have chosen, such as that of an import, as it can stand within a line: line breaks and hidden
/// letters escaped, and cut.
pub fn legible_name(name: &str) -> String {
    let (mut shown, mut left) = (String::new(), LONGEST_NAME);
    for letter in name.chars() {
        let piece = piece(letter);
        let Some(rest) = left.checked_sub(piece.chars().count()) else {
            shown.push('…');
            break;
        };
        shown.push_str(&piece);
        left = rest;
    }
    shown
}

fn piece(letter: char) -> String {
    match letter {
        '\n' => "\\n".to_owned(),
        letter if is_hidden(letter) => letter.escape_unicode().to_string(),
        letter => letter.into(),
    }
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
    fn a_name_is_cut_where_it_is_shown_too_long() {
        let exact = "é".repeat(LONGEST_NAME);
        assert_eq!(legible_name(&exact), exact);
        assert_eq!(legible_name(&format!("{exact}x")), format!("{exact}…"));
        let escaped = legible_name(&"\u{1b}".repeat(100_000));
        assert_eq!(escaped, format!("{}…", "\\u{1b}".repeat(33)));
    }
}
