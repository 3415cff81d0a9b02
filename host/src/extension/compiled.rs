//! The way from a component's source to its machine code: a kept or pinned artefact, or the compiler.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::Component;

use super::drivers::Drivers;
use super::load::{LoadError, blocking};
use super::needs;
use super::runtime::{Runtime, Shared};
use super::source::{Kind, Source};
use crate::engine::{Allocator, Artefact, ArtefactError, Artefacts, Compilation, EngineError, Needs, NewArtefact};
use crate::policy::Grant;
use crate::telemetry::chain;

/// A component that was compiled ahead of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Precompiled {
    /// The SHA-256 digest of the component's file.
    pub component_sha256: [u8; 32],
    /// The SHA-256 digest of the artefact's file, by which a grant pins it.
    pub artefact_sha256: [u8; 32],
    /// The costs of compiling.
    pub compilation: Compilation,
}

impl<D> Runtime<D> {
    /// Compiles a component and writes the artefact, for machines that load it under a grant that pins it. Returns the
    /// digests and the costs of compiling.
    ///
    /// # Errors
    /// Fails if the file is not a component that can be compiled, or if the artefact cannot be written.
    pub async fn compile_file(&self, path: &Path, artefact: &Path) -> Result<Precompiled, LoadError> {
        let shared = &self.shared;
        let source = shared.open(path).await?;
        let component_sha256 = source.sha256;
        if source.kind == Kind::Artefact {
            return Err(LoadError::Compiled);
        }
        let grant = Grant::nothing("any");
        let most = shared.engine.room();
        let (draft, compilation) = shared.compile(Arc::new(source), most, &grant).await?;
        let target = artefact.to_owned();
        let written = move || {
            let failed = |source| LoadError::Write { path: target.clone(), source };
            draft.copy_to(&target).map_err(failed)
        };
        let artefact_sha256 = blocking(written).await??;
        Ok(Precompiled { component_sha256, artefact_sha256, compilation })
    }
}

impl Shared {
    /// Maps the component's artefact, or compiles the component and keeps the artefact. Returns the costs of compiling,
    /// now or when the artefact was made. The costs of an artefact that was made elsewhere are unknown.
    pub(super) async fn component(
        self: &Arc<Self>,
        source: Source,
        grant: &Grant,
    ) -> Result<(Component, Option<Compilation>), LoadError> {
        let (runtime, source) = (Arc::clone(self), Arc::new(source));
        if source.kind == Kind::Artefact {
            let component = blocking(move || runtime.pinned(&source)).await??;
            needs::check_artefact(&component, grant, self)?;
            return Ok((component, None));
        }
        let sha256 = source.sha256;
        if let Some((component, compilation)) = blocking(move || runtime.kept(&sha256)).await?? {
            needs::check(&compilation.needs, grant, self)?;
            return Ok((component, Some(compilation)));
        }
        let most = needs::most(grant, self);
        let (draft, compilation) = self.compile(Arc::clone(&source), most, grant).await?;
        let runtime = Arc::clone(self);
        let component = blocking(move || runtime.keep(&sha256, draft, &compilation)).await??;
        Ok((component, Some(compilation)))
    }

    async fn compile(
        self: &Arc<Self>,
        source: Arc<Source>,
        most: Needs,
        grant: &Grant,
    ) -> Result<(NewArtefact, Compilation), LoadError> {
        let shared = Arc::clone(self);
        let draft = blocking(move || draft(shared.artefacts.as_ref())).await?.map_err(EngineError::Write)?;
        let in_folder = matches!(draft, NewArtefact::Named(_));
        let compiled = match self.compile_to(draft, Arc::clone(&source), most).await? {
            // The volume of the folder may be full.
            Err(EngineError::Write(why)) if in_folder => {
                tell_unkept(&why);
                let nameless = NewArtefact::nameless().map_err(EngineError::Write)?;
                self.compile_to(nameless, source, most).await?
            }
            compiled => compiled,
        };
        compiled.map_err(|error| needs::explained(error, grant, self))
    }

    async fn compile_to(
        self: &Arc<Self>,
        draft: NewArtefact,
        source: Arc<Source>,
        most: Needs,
    ) -> Result<Result<(NewArtefact, Compilation), EngineError>, LoadError> {
        if let Some(process) = &self.compiler {
            if !Drivers::of_this_runtime().all() {
                return Err(LoadError::NoRuntime);
            }
            let compiled = process.compile(&self.engine, source.input(), &most, draft.file()).await;
            return Ok(compiled.map(|compilation| (draft, compilation)));
        }
        let shared = Arc::clone(self);
        let compiling = move || {
            let begun = Instant::now();
            let (compiled, needs) = shared.engine.compile(source.bytes().unwrap_or_default(), &most)?;
            draft.file().write_all(&compiled).map_err(EngineError::Write)?;
            let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let compilation =
                Compilation { needs, milliseconds, peak_memory: None, allocator: Allocator::Backtracking };
            Ok((draft, compilation))
        };
        blocking(compiling).await
    }

    fn kept(&self, sha256: &[u8; 32]) -> Result<Option<(Component, Compilation)>, LoadError> {
        let Some(artefacts) = &self.artefacts else { return Ok(None) };
        let found = match artefacts.find(&self.engine, sha256) {
            // The file's mode may differ from its folder's: an unreadable artefact counts as missing.
            Err(error @ ArtefactError::Open { .. }) => {
                tracing::warn!(error = %chain(&error), "a kept artefact cannot be read: the component is compiled again");
                return Ok(None);
            }
            found => found?,
        };
        let Some(artefact) = found else { return Ok(None) };
        let Some(compilation) = artefact.compilation().copied() else { return Ok(None) };
        match self.map(&artefact) {
            Ok(component) => Ok(Some((component, compilation))),
            Err(error) => {
                let error = crate::telemetry::legible(&*format!("{error:#}"));
                tracing::warn!(%error, "a kept artefact cannot be loaded: the component is compiled again");
                Ok(None)
            }
        }
    }

    fn keep(&self, sha256: &[u8; 32], draft: NewArtefact, compilation: &Compilation) -> Result<Component, LoadError> {
        let draft = match (draft, &self.artefacts) {
            (NewArtefact::Named(file), Some(artefacts)) => {
                let held = file.as_file().try_clone().map_err(EngineError::Write)?;
                match artefacts.keep(&self.engine, sha256, file, compilation) {
                    Ok(artefact) => return self.map(&artefact).map_err(LoadError::Load),
                    // The volume may be full. The compiled component is complete, and runs.
                    Err(error) => tell_unkept(&error),
                }
                return self.map(&Artefact::unkept(held)).map_err(LoadError::Load);
            }
            (draft, _) => draft,
        };
        let artefact = Artefact::drafted(draft).map_err(EngineError::Write)?;
        self.map(&artefact).map_err(LoadError::Load)
    }

    fn pinned(&self, source: &Source) -> Result<Component, LoadError> {
        let reader = source.reader().map_err(EngineError::Write)?;
        let artefact = Artefact::pinned(reader, &source.sha256)?;
        self.map(&artefact).map_err(LoadError::OtherEngine)
    }

    #[expect(unsafe_code, reason = "loads machine code that this host's own engine wrote, or that its operator pins")]
    fn map(&self, artefact: &Artefact) -> wasmtime::Result<Component> {
        // SAFETY: an `Artefact` is one of three things. First, a file in a folder that only this user and root can
        // write to, checked by its descriptor and against its digest. `Engine::compile` or its process wrote it, and
        // nobody writes to it again: a newer artefact takes its name by a rename. Second, what they have just written
        // to a file without a name. Third, a sealed copy whose digest the operator has pinned: the operator vouches for
        // it, as for the host's program.
        unsafe { Component::deserialize_file(self.engine.wasmtime(), artefact.path()) }
    }
}

/// Creates a file for a compilation, in the folder of artefacts if there is one that can be written to.
fn draft(artefacts: Option<&Artefacts>) -> io::Result<NewArtefact> {
    match artefacts.map(Artefacts::draft) {
        Some(Ok(Some(draft))) => return Ok(draft),
        Some(Err(error)) => tell_unkept(&error),
        Some(Ok(None)) => {
            let folder = artefacts.map(|artefacts| artefacts.path().display().to_string()).unwrap_or_default();
            tracing::warn!(
                %folder,
                "the folder of compiled components is another user's and has nothing of this component for this version and \
                 processor, so each start compiles anew"
            );
        }
        None => {}
    }
    NewArtefact::nameless()
}

fn tell_unkept(error: &(dyn std::error::Error + 'static)) {
    tracing::warn!(error = %chain(error), "the compiled component is not kept, so each start compiles anew");
}
