//! `attache inspect`: what a component imports and exports, and what its grant lacks.

use crate::args::{self, Format};
use crate::exit::Exit;
use crate::settings;
use attache::extension::{Inspection, Standing};
use std::io::Write;

pub(crate) async fn inspect(arguments: args::Inspect) -> anyhow::Result<Exit> {
    let grant = settings::grant(arguments.grant.as_deref(), &arguments.component)?;
    let runtime = settings::runtime(&arguments.artefacts)?.build()?;
    let found = runtime.inspect_file(&arguments.component, &grant).await?;
    let mut out = std::io::stdout().lock();
    match arguments.output.output {
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&found)?)?,
        Format::Table => table(&found, &mut out)?,
    }
    Ok(if found.lacks.is_empty() { Exit::Done } else { Exit::Refused })
}

fn table(found: &Inspection, out: &mut impl Write) -> std::io::Result<()> {
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
    writeln!(out, "\nThe grant does not fit:")?;
    found.lacks.iter().try_for_each(|lack| writeln!(out, "- {lack}"))
}
