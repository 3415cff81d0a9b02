//! `attache compile`: compiles a component ahead of time.

use std::io::Write;

use anyhow::bail;
use attache::engine::{Allocator, Compilation};
use attache::policy::{ComponentPin, Grant};

use crate::args;
use crate::engine;
use crate::exit::{Exit, WrongCommandLine};
use crate::stderr::say;

pub(crate) async fn compile(arguments: args::Compile) -> anyhow::Result<Exit> {
    if let Some(output) = &arguments.output {
        let runtime = engine::runtime_without_folder(&arguments.artefacts)?.build()?;
        let made = runtime.compile_file(&arguments.component, output).await?;
        say!("{} is {}", output.display(), took(&made.compilation));
        let pin = ComponentPin::new(made.component_sha256).artefact(made.artefact_sha256);
        writeln!(std::io::stdout(), "component: {}", flow(&pin)?)?;
        return Ok(Exit::Done);
    }
    if arguments.artefacts.no_cache {
        bail!(WrongCommandLine::new("nothing would be kept: say -o FILE, or --cache DIR"));
    }
    let folder = engine::folder_to_fill(&arguments.artefacts)?;
    let runtime = engine::runtime_without_folder(&arguments.artefacts)?.artefacts(folder).build()?;
    let found = runtime.inspect_file(&arguments.component, &Grant::nothing("any")).await?;
    if let Some(compilation) = &found.compilation {
        say!("{} is {}", arguments.component.display(), took(compilation));
    }
    if !runtime.has_kept(&found)? {
        bail!("{} is compiled, and could not be kept: say --cache DIR, or -o FILE", arguments.component.display());
    }
    Ok(Exit::Done)
}

/// Returns a pin as a line of a grant. Digests are quoted: without quotes, a digest of digits alone would be a number.
fn flow(pin: &ComponentPin) -> anyhow::Result<String> {
    let json = serde_json::to_string(pin)?;
    Ok(["sha256", "artefactSha256"].iter().fold(json, |line, field| {
        line.replace(&format!("\"{field}\":"), &format!("{field}: ")).replace(",artefact", ", artefact")
    }))
}

/// Returns the time and memory of a compilation as text.
pub(crate) fn took(compilation: &Compilation) -> String {
    let seconds = std::time::Duration::from_millis(compilation.milliseconds).as_secs_f64();
    let memory = compilation.peak_memory.map(|bytes| format!(" and {} MiB of memory", bytes.div_ceil(1 << 20)));
    let how = match compilation.allocator {
        Allocator::SinglePass => {
            ": its functions are too large for the better way within usual memory, so its code is larger and slower \
             (--compiler-memory gives it more)"
        }
        Allocator::Backtracking => "",
    };
    format!("compiled in {seconds:.2} s{}{how}", memory.unwrap_or_default())
}
