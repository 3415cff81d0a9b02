//! The engine of this process, its compiler, and the folder of compiled components.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use attache::engine::{Artefacts, CompilerProcess, DEFAULT_CAPACITY, Engine, EngineSettings};
use attache::extension::{Runtime, RuntimeBuilder};
use attache::policy::Limits;
use attache::telemetry::chain;

use crate::options;

/// The first argument of a process of this program that compiles for another one. It is no command, since no user types
/// it.
pub(crate) const COMPILER: &str = "compile-for-host";

/// The instances of the engine. One process runs one extension, and each instance has room for the largest grant.
const INSTANCES: u32 = 8;

/// The variable that names the folder of compiled components. clap does not read it: `--no-cache` would contradict a
/// variable that is set for all runs.
const CACHE: &str = "ATTACHE_CACHE";

/// The advice for a host that cannot keep compiled components.
const ADVICE: &str = "compiled components are not kept, so each start compiles anew: say --cache DIR, a volume that can \
                      be written to and is not mounted noexec, or --no-cache";

/// Starts a runtime builder with the engine, its compiler and the folder of compiled components.
pub(crate) fn runtime(arguments: &options::Artefacts) -> anyhow::Result<RuntimeBuilder> {
    let runtime = runtime_without_folder(arguments)?;
    if arguments.no_cache {
        return Ok(runtime);
    }
    Ok(match arguments.cache.clone().or_else(folder_of_variable) {
        Some(folder) => in_folder(runtime, &folder),
        None => in_user_cache(runtime),
    })
}

/// Starts a runtime builder with the engine and its compiler.
pub(crate) fn runtime_without_folder(arguments: &options::Artefacts) -> anyhow::Result<RuntimeBuilder> {
    let ceiling = Limits::ceiling();
    let elements = usize::try_from(ceiling.table_elements).unwrap_or(usize::MAX);
    let settings = EngineSettings::default().instances(INSTANCES).table_elements(elements);
    let settings = settings.memories(ceiling.memories).core_instances(ceiling.core_instances);
    let engine = Engine::new(&settings)?;
    let compiler = CompilerProcess::this_program([COMPILER]).context("cannot find this program's own file")?;
    let compiler = arguments.compiler_memory.into_iter().fold(compiler, CompilerProcess::memory);
    Ok(Runtime::builder().engine(engine).compiler(compiler))
}

/// Opens the folder that `attache compile` fills. A folder in which nothing can be kept is an error.
pub(crate) fn folder_to_fill(arguments: &options::Artefacts) -> anyhow::Result<Artefacts> {
    let folder = arguments.cache.clone().or_else(folder_of_variable).or_else(user_cache);
    let folder = folder.context("neither HOME nor XDG_CACHE_HOME is set: say --cache DIR, or -o FILE")?;
    let artefacts = Artefacts::open_own(&folder, DEFAULT_CAPACITY).context("nothing can be kept")?;
    warn_of_own_folder(&artefacts, &folder);
    if artefacts.is_read_only() {
        bail!("nothing can be kept in {}, which is another user's: say --cache DIR, or -o FILE", folder.display());
    }
    Ok(artefacts)
}

/// Returns the folder that [`CACHE`] names.
fn folder_of_variable() -> Option<PathBuf> {
    std::env::var_os(CACHE).filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// Uses a named folder, or a folder of this user's own below it. A folder that cannot be used is a warning: a volume
/// may be mounted in any way.
fn in_folder(runtime: RuntimeBuilder, folder: &Path) -> RuntimeBuilder {
    let artefacts = match Artefacts::open_own(folder, DEFAULT_CAPACITY) {
        Ok(artefacts) => artefacts,
        Err(error) => {
            tracing::warn!("{}: {ADVICE}", chain(&error));
            return runtime;
        }
    };
    warn_of_own_folder(&artefacts, folder);
    runtime.artefacts(artefacts)
}

/// Logs the folder that replaces one to which other users may write.
fn warn_of_own_folder(artefacts: &Artefacts, folder: &Path) {
    if artefacts.path() != folder {
        let (own, folder) = (artefacts.path().display(), folder.display());
        tracing::warn!(
            "others may write to {folder}: compiled components are kept in {own}, which is this user's alone"
        );
    }
}

/// Uses the user's cache folder. Its absence is a warning: the file system of a sidecar is often read-only.
fn in_user_cache(runtime: RuntimeBuilder) -> RuntimeBuilder {
    let Some(folder) = user_cache() else {
        tracing::warn!("neither HOME nor XDG_CACHE_HOME is set: {ADVICE}");
        return runtime;
    };
    match Artefacts::open(&folder, DEFAULT_CAPACITY) {
        Ok(artefacts) => runtime.artefacts(artefacts),
        Err(error) => {
            tracing::warn!("{}: {ADVICE}", chain(&error));
            runtime
        }
    }
}

/// Returns the user's cache folder, by the XDG base directory specification.
fn user_cache() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("attache"))
}
