//! What was found out, for a person.

use super::{Access, Report};
use attache::extension::{Inspection, Standing};
use std::io::{Result, Write};

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
    writeln!(out, "sha256  {}\nsize    {} bytes\n", found.sha256, found.size)?;
    let width = found.imports.iter().map(|import| import.name.len()).max().unwrap_or(0).max("IMPORT".len());
    writeln!(out, "{:width$}  STANDING", "IMPORT")?;
    for import in &found.imports {
        let standing = match &import.standing {
            Standing::Granted => "granted".to_owned(),
            Standing::Lacks(needs) => format!("not granted: {needs}"),
            Standing::Unknown => "this host does not have it".to_owned(),
        };
        writeln!(out, "{:width$}  {standing}", import.name)?;
    }
    let width = found.exports.iter().map(|export| export.name.len()).max().unwrap_or(0).max("EXPORT".len());
    writeln!(out, "\n{:width$}  CALLED BY", "EXPORT")?;
    for export in &found.exports {
        writeln!(out, "{:width$}  {}", export.name, export.called_by.as_deref().unwrap_or("nothing in this host"))?;
    }
    if found.lacks.is_empty() {
        return writeln!(out, "\nThe grant has all that it imports.");
    }
    writeln!(out, "\nThe grant does not fit (--draft prints one to begin with):")?;
    found.lacks.iter().try_for_each(|lack| writeln!(out, "- {lack}"))
}

fn write_access(access: &Access, out: &mut impl Write) -> Result<()> {
    if access.beyond.is_empty() {
        return writeln!(out, "\nThe service account may do all that the grant opens, says {}.", access.server);
    }
    writeln!(out, "\nThe grant opens what {} would refuse to the service account:", access.server)?;
    access.beyond.iter().try_for_each(|rule| writeln!(out, "- {rule}"))?;
    if access.incomplete {
        writeln!(
            out,
            "The server could not list all that the account may do, so some of it may be allowed after all."
        )?;
    }
    writeln!(out, "`attache inspect --grant FILE --rbac NAMESPACE:NAME` prints the roles that it needs.")
}
