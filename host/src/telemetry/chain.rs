//! An error with all that caused it, on one line, as a log has it.
//!
//! Threat: a guest that writes into the operator's log or terminal. The names of its functions stand in the backtrace of a
//! trap, and may be any text: line breaks, which look like lines of the host's own, or a terminal's commands.

use std::error::Error;
use std::fmt::{self, Write};

use super::letters::is_hidden;

/// The longest text of one error, in bytes. A backtrace of a hundred frames has some 10 KiB.
const LONGEST: usize = 16 << 10;

/// Shows an error and its causes, joined by colons, on one line.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl fmt::Display + 'a {
    Chain(error)
}

/// A text that may hold a guest's words, as a person can read it on a terminal: cut, and with all hidden letters but line
/// break and tabulator escaped.
pub fn legible(text: &(impl fmt::Display + ?Sized)) -> String {
    let mut page = Page { shown: String::new(), left: Left(LONGEST) };
    if write!(page, "{text}").is_err() {
        page.shown.push('…');
    }
    page.shown
}

/// How much more may be written, in bytes. A text that does not fit is an error, so that whoever writes it stops there: it
/// may be one that never ends.
struct Left(usize);

impl Left {
    fn take(&mut self, letter: char) -> fmt::Result {
        self.0 = self.0.checked_sub(letter.len_utf8()).ok_or(fmt::Error)?;
        Ok(())
    }
}

fn put(letter: char, out: &mut impl Write) -> fmt::Result {
    if is_hidden(letter) { write!(out, "{}", letter.escape_unicode()) } else { out.write_char(letter) }
}

/// A writer that lets no hidden letter but line break and tabulator through, and stops at [`LONGEST`].
struct Page {
    shown: String,
    left: Left,
}

impl Write for Page {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            self.left.take(letter)?;
            if matches!(letter, '\n' | '\t') { self.shown.push(letter) } else { put(letter, &mut self.shown)? }
        }
        Ok(())
    }
}

/// A writer that lets no hidden letter through, and stops at [`LONGEST`].
struct OneLine<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    left: Left,
    full: bool,
}

impl OneLine<'_, '_> {
    fn chain(&mut self, error: &(dyn Error + 'static)) -> fmt::Result {
        write!(self, "{error}")?;
        let mut cause = error.source();
        while let Some(error) = cause {
            write!(self, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            self.left.take(letter).inspect_err(|_| self.full = true)?;
            match letter {
                '\n' => self.out.write_str("\\n")?,
                letter => put(letter, self.out)?,
            }
        }
        Ok(())
    }
}

struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = OneLine { out: f, left: Left(LONGEST), full: false };
        let written = line.chain(self.0);
        if line.full { Ok(()) } else { written }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn an_error_is_one_line_whatever_it_says() {
        let error = io::Error::other("a\nb\u{1b}[31m\u{202e}");
        assert_eq!(chain(&error).to_string(), "a\\nb\\u{1b}[31m\\u{202e}");
        let long = io::Error::other("x".repeat(LONGEST * 2));
        assert_eq!(chain(&long).to_string().len(), LONGEST);
    }

    /// Says a word for ever, unless it is stopped.
    #[derive(Debug)]
    struct Endless;

    impl fmt::Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            loop {
                f.write_str("word ")?;
            }
        }
    }

    impl Error for Endless {}

    #[test]
    fn a_text_without_an_end_is_stopped() {
        assert!(chain(&Endless).to_string().len() <= LONGEST);
        assert!(legible(&Endless).ends_with('…'));
    }

    #[test]
    fn a_text_for_a_terminal_keeps_its_lines_and_nothing_else_that_acts() {
        assert_eq!(legible("plain\ntext"), "plain\ntext");
        assert_eq!(legible("a\u{1b}]0;x\u{7}\r\n"), "a\\u{1b}]0;x\\u{7}\\u{d}\n");
        assert_eq!(legible("so\u{ad}ft \u{61c}\u{e0041}\u{180e}"), "so\\u{ad}ft \\u{61c}\\u{e0041}\\u{180e}");
        assert!(legible(&"é".repeat(LONGEST)).ends_with("é…"));
    }
}
