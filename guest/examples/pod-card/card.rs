//! A card: headed sections of aligned columns, in plain text.

use std::fmt::{self, Display};
use std::iter;

/// A list of sections.
#[derive(Default)]
pub(crate) struct Card {
    sections: Vec<Section>,
}

/// A heading with rows.
pub(crate) struct Section {
    heading: String,
    rows: Vec<Vec<String>>,
}

impl Card {
    /// Adds a section and returns it.
    pub(crate) fn section(&mut self, heading: impl Into<String>) -> &mut Section {
        let section = Section { heading: heading.into(), rows: Vec::new() };
        let at = self.sections.len();
        self.sections.push(section);
        &mut self.sections[at]
    }
}

impl Section {
    /// Adds a row of cells.
    pub(crate) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        let cells = cells.iter().map(|cell| printable(cell)).collect();
        self.rows.push(cells);
    }

    /// Adds a row with the reason why something is not on the card.
    pub(crate) fn note(&mut self, reason: impl Display) {
        self.row([&format!("({reason})")]);
    }

    /// Returns the width of each column. The last cell of a row needs no padding and does not count, so a long value
    /// in a narrow table leaves the other rows aligned.
    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for row in &self.rows {
            let padded = row.len().saturating_sub(1);
            widths.resize(widths.len().max(padded), 0);
            for (width, cell) in widths.iter_mut().zip(&row[..padded]) {
                *width = cell.chars().count().max(*width);
            }
        }
        widths
    }
}

impl Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, section) in self.sections.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            section.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.heading)?;
        let widths = self.widths();
        for row in &self.rows {
            write_row(f, row, &widths)?;
        }
        Ok(())
    }
}

/// Writes one row. The further lines of the last cell are aligned under its first line.
fn write_row(f: &mut fmt::Formatter<'_>, row: &[String], widths: &[usize]) -> fmt::Result {
    let Some((last, padded)) = row.split_last() else {
        return Ok(());
    };
    let mut line = String::from("  ");
    for (cell, width) in padded.iter().zip(widths) {
        line.push_str(cell);
        let gap = width + 2 - cell.chars().count();
        line.extend(iter::repeat_n(' ', gap));
    }
    let indent = line.chars().count();
    let mut parts = last.lines();
    line.push_str(parts.next().unwrap_or_default());
    writeln!(f, "{}", line.trim_end())?;
    parts.try_for_each(|part| writeln!(f, "{:indent$}{part}", ""))
}

/// Makes a value safe for a terminal, since an annotation may contain escape sequences. Line ends and tabs stay.
fn printable(value: &str) -> String {
    let is_shown = |c: &char| matches!(c, '\n' | '\t') || !c.is_control();
    value.chars().map(|c| if is_shown(&c) { c } else { '\u{fffd}' }).collect()
}
