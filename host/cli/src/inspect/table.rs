//! The result as a table, for a human reader.

use std::io::{Result, Write};

use attache::extension::{ImportStatus, Inspection};
use attache::telemetry::legible_name;

use super::{Access, Report};
use crate::compile::took;

/// The widest column of names, in characters. The names of interfaces fit; a longer name is followed by its text
/// without padding.
const WIDEST: usize = 64;

pub(super) fn write(report: &Report, out: &mut impl Write) -> Result<()> {
    if let Some(found) = &report.component {
        component(found, out)?;
    }
    match &report.access {
        Some(access) => write_access(access, out),
        None => Ok(()),
    }
}

fn component(found: &Inspection, out: &mut impl Write) -> Result<()> {
    writeln!(out, "sha256  {}\nsize    {} bytes", found.sha256, found.size)?;
    if let Some(compilation) = &found.compilation {
        writeln!(out, "machine code  {}", took(compilation))?;
    }
    writeln!(out)?;
    let names: Vec<_> = found.imports.iter().map(|import| legible_name(&import.name)).collect();
    let width = width("IMPORT", &names);
    writeln!(out, "{:width$}  STANDING", "IMPORT")?;
    for (name, import) in names.iter().zip(&found.imports) {
        let standing = match &import.standing {
            ImportStatus::Granted => "granted".to_owned(),
            ImportStatus::Lacks(needs) => format!("not granted: {needs}"),
            ImportStatus::Unknown => "this host does not have it".to_owned(),
        };
        writeln!(out, "{name:width$}  {standing}")?;
    }
    exports(found, out)?;
    if found.lacks.is_empty() {
        return writeln!(out, "\nThe grant has all that it imports.");
    }
    writeln!(out, "\nThe grant does not fit (--draft prints one to begin with):")?;
    found.lacks.iter().try_for_each(|lack| writeln!(out, "- {lack}"))
}

fn exports(found: &Inspection, out: &mut impl Write) -> Result<()> {
    let names: Vec<_> = found.exports.iter().map(|export| legible_name(&export.name)).collect();
    let width = width("EXPORT", &names);
    writeln!(out, "\n{:width$}  CALLED BY", "EXPORT")?;
    for (name, export) in names.iter().zip(&found.exports) {
        writeln!(out, "{name:width$}  {}", export.called_by.as_deref().unwrap_or("nothing in this host"))?;
    }
    Ok(())
}

/// Returns the width of the column under `head`.
fn width(head: &str, names: &[String]) -> usize {
    let widths = names.iter().map(|name| name.chars().count());
    widths.max().unwrap_or(0).clamp(head.len(), WIDEST)
}

fn write_access(access: &Access, out: &mut impl Write) -> Result<()> {
    if access.beyond.is_empty() {
        return writeln!(out, "\n{} says that {} may do all that the grant opens.", access.server, access.account);
    }
    writeln!(out, "\nThe grant opens what {} would refuse to {}:", access.server, access.account)?;
    access.beyond.iter().try_for_each(|rule| writeln!(out, "- {rule}"))?;
    if access.incomplete {
        writeln!(
            out,
            "The server could not list all that the account may do, so some of it may be allowed after all."
        )?;
    }
    writeln!(out, "`attache inspect --grant FILE --rbac NAMESPACE:NAME` prints the roles that it needs.")
}
