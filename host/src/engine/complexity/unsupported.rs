//! The features that this host lacks, found before the compiler reports them in its own words.

use wasmparser::{CanonicalFunction, CanonicalOption, Payload};

use super::{ComponentTooComplex, Stop};

/// The part of a name that is shown, in characters.
const SHOWN: usize = 80;

/// Refuses WASI 0.3 in a section of a component. Names are checked only in the outermost component.
pub(super) fn look(payload: &Payload<'_>, outermost: bool) -> Result<(), Stop> {
    match payload {
        Payload::ComponentImportSection(imports) if outermost => {
            for import in imports.clone() {
                refuse_wasi_03(import?.name.name)?;
            }
        }
        Payload::ComponentExportSection(exports) if outermost => {
            for export in exports.clone() {
                refuse_wasi_03(export?.name.name)?;
            }
        }
        Payload::ComponentCanonicalSection(functions) => {
            for function in functions.clone() {
                if is_async(&function?) {
                    return Err(ComponentTooComplex::Async.into());
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Refuses a name such as `wasi:http/handler@0.3.0-rc-2026-03-15`. The name is untrusted text, so it is shown escaped
/// and cut.
fn refuse_wasi_03(name: &str) -> Result<(), ComponentTooComplex> {
    let wasi = name.strip_prefix("wasi:").and_then(|rest| rest.split_once('@'));
    match wasi {
        Some((_, version)) if version == "0.3" || version.starts_with("0.3.") => {
            let shown: String = name.chars().take(SHOWN).flat_map(char::escape_default).collect();
            Err(ComponentTooComplex::Wasi03(shown))
        }
        _ => Ok(()),
    }
}

/// Returns whether a canonical function is beyond WASI 0.2, which has lifted and lowered functions without `async`, and
/// handles of resources.
fn is_async(function: &CanonicalFunction) -> bool {
    match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => {
            options.iter().any(|option| matches!(option, CanonicalOption::Async | CanonicalOption::Callback(_)))
        }
        CanonicalFunction::ResourceNew { .. }
        | CanonicalFunction::ResourceDrop { .. }
        | CanonicalFunction::ResourceRep { .. } => false,
        _ => true,
    }
}
