//! Errors with their causes, and texts of guests, as a log or a terminal can show them.
//!
//! Threat: a guest that writes into the operator's log or terminal. The names of its functions appear in the backtrace
//! of a trap, and may be any text: line breaks that look like lines of the host, or commands of a terminal.

use std::error::Error;
use std::fmt::{self, Write};

use attache_base::untrusted::{Harmless, line, page};

/// The most bytes of an error on one line of a log.
const LONGEST_LINE: usize = 1 << 10;

/// The most bytes of an error for a person. A backtrace of a hundred frames has some 10 KiB.
const LONGEST: usize = 16 << 10;

/// Returns an error and its causes, joined by colons, on one line, cut after 1 KiB.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl fmt::Display + 'a {
    Chain(error)
}

/// Returns a text that may hold a guest's words as a terminal can show it: cut after 16 KiB, and with all hidden
/// letters but line break and tabulator escaped.
pub fn legible(text: &(impl fmt::Display + ?Sized)) -> String {
    page(text, LONGEST)
}

/// Returns a text that may hold a guest's words as one line of a log can show it: cut after 1 KiB, and with line breaks
/// and hidden letters escaped.
pub fn legible_line(text: &(impl fmt::Display + ?Sized)) -> String {
    line(text, LONGEST_LINE)
}

struct Chain<'a>(&'a (dyn Error + 'static));

impl Chain<'_> {
    fn write(&self, line: &mut impl Write) -> fmt::Result {
        write!(line, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(line, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Harmless::line(f, LONGEST_LINE);
        let written = self.write(&mut line);
        if line.is_full() { Ok(()) } else { written }
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
        assert_eq!(chain(&long).to_string().len(), LONGEST_LINE);
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
        assert!(chain(&Endless).to_string().len() <= LONGEST_LINE);
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
