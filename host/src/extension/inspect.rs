//! The imports and exports of a component, compared with its grant.

use std::path::Path;

use serde::Serialize;

use super::imports::Import;
use super::load::LoadError;
use super::runtime::Runtime;
use crate::engine::Compilation;
use crate::policy::Grant;

/// The imports and exports of a component, and the obstacles to running it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// The SHA-256 digest in hex, as a grant's `component.sha256` pins it.
    pub sha256: String,
    /// The size in bytes.
    pub size: u64,
    /// The imports, each with its status under the grant.
    pub imports: Vec<Import>,
    /// The exports.
    pub exports: Vec<Export>,
    /// The obstacles to running the component under the grant; empty if there are none.
    pub lacks: Vec<String>,
    /// The costs of compiling, now or when the artefact was made; `None` for an artefact that was made elsewhere.
    pub compilation: Option<Compilation>,
}

/// One export of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Export {
    /// The name, such as `wasi:cli/run@0.2.12`.
    pub name: String,
    /// The command that calls the export, if there is one.
    pub called_by: Option<String>,
}

impl Export {
    fn of(name: &str) -> Self {
        let called_by = name.starts_with("wasi:cli/run@0.2").then(|| "attache run".to_owned());
        Self { name: name.to_owned(), called_by }
    }
}

impl<D> Runtime<D> {
    /// Returns whether the folder of artefacts holds the artefact of an inspected component.
    ///
    /// # Errors
    /// Fails if the artefact is not trusted, or cannot be opened.
    pub fn has_kept(&self, component: &Inspection) -> Result<bool, LoadError> {
        let mut sha256 = [0; 32];
        let Ok(()) = hex::decode_to_slice(&component.sha256, &mut sha256) else { return Ok(false) };
        let Some(artefacts) = &self.shared.artefacts else { return Ok(false) };
        Ok(artefacts.find(&self.shared.engine, &sha256)?.is_some())
    }

    /// Reads the component in a file and compares it with `grant`, without running any of it.
    ///
    /// # Errors
    /// Fails if the file is not a component that can be compiled. A grant that does not fit is no error here.
    pub async fn inspect_file(&self, path: &Path, grant: &Grant) -> Result<Inspection, LoadError> {
        let source = self.shared.open(path).await?;
        let pinned = match source.check(grant) {
            Err(pinned @ LoadError::Pinned { .. }) => Some(pinned.to_string()),
            other => other.map(|()| None)?,
        };
        let (sha256, size) = (hex::encode(source.sha256), source.size);
        let (component, compilation) = self.shared.component(source, grant).await?;
        let imports = self.shared.imports(&component, grant);
        let lacks = pinned.into_iter().chain(imports.iter().filter_map(Import::lack)).collect();
        let ty = component.component_type();
        Ok(Inspection {
            sha256,
            size,
            exports: ty.exports(self.engine().wasmtime()).map(|(name, _)| Export::of(name)).collect(),
            imports,
            lacks,
            compilation,
        })
    }
}
