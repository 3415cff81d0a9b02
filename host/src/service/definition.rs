//! The definition of an extension, read from files.

use std::io;
use std::path::{Path, PathBuf};

use crate::policy::{DocumentError, ExtensionManifest, Grant, GrantSource, Problem};

/// The largest size of a manifest or grant, in bytes. The reader of YAML has the same limit.
const MAX_FILE: u64 = 256 << 10;

/// The reason for which a definition cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// A manifest or a grant is not valid.
    #[error("{}:{error}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The error and its location in the file.
        error: DocumentError,
    },
    /// The manifest and its grant pin different components.
    #[error("{}: the manifest and its grant pin two different components", path.display())]
    TwoPins {
        /// The manifest.
        path: PathBuf,
    },
}

impl DefinitionError {
    /// Returns whether the file is a grant. Grants are often in the same folder as the manifests that name them.
    pub(super) fn is_of_a_grant(&self) -> bool {
        let Self::Invalid { error, .. } = self else { return false };
        error.field() == "kind" && matches!(error.problem(), Problem::Invalid { value, .. } if value == "Grant")
    }
}

/// The definition of one extension: its manifest, its grant, and the folder that its paths are relative to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Definition {
    /// The manifest.
    pub manifest: ExtensionManifest,
    /// The grant, read from its file if the manifest names one. The grant has the manifest's name.
    pub grant: Grant,
    /// The folder that paths in the manifest are relative to.
    pub folder: PathBuf,
    /// The files that the definition was read from: the manifest and the grant's file, if any.
    pub files: Vec<PathBuf>,
}

impl Definition {
    /// Makes a definition from a manifest in memory.
    ///
    /// # Errors
    /// Fails if the grant's file cannot be read or is not valid, or if the manifest and the grant pin different
    /// components.
    pub fn new(manifest: ExtensionManifest, folder: impl Into<PathBuf>) -> Result<Self, DefinitionError> {
        let folder = folder.into();
        let mut files = Vec::new();
        let mut grant = match &manifest.grant {
            GrantSource::Inline(grant) => Grant::clone(grant),
            GrantSource::File(name) => {
                let path = folder.join(name);
                let grant = Grant::parse(&read(&path)?);
                files.push(path.clone());
                grant.map_err(|error| DefinitionError::Invalid { path, error })?
            }
            _ => Grant::nothing(manifest.name.as_str()),
        };
        match (manifest.pin, grant.component) {
            (Some(pin), None) => grant.component = Some(pin),
            (Some(pin), Some(other)) if pin != other => return Err(DefinitionError::TwoPins { path: folder }),
            _ => {}
        }
        grant.name.clone_from(&manifest.name);
        Ok(Self { manifest, grant, folder, files })
    }

    /// Reads a definition from a manifest's file.
    ///
    /// # Errors
    /// Fails if the manifest or the grant's file cannot be read or is not valid, or if they pin different components.
    pub fn read(path: &Path) -> Result<Self, DefinitionError> {
        let manifest = ExtensionManifest::parse(&read(path)?);
        let manifest = manifest.map_err(|error| DefinitionError::Invalid { path: path.to_owned(), error })?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut definition = Self::new(manifest, folder)?;
        definition.files.insert(0, path.to_owned());
        Ok(definition)
    }

    /// Returns the path of the component's file.
    pub fn component(&self) -> PathBuf {
        self.folder.join(&self.manifest.file)
    }
}

fn read(path: &Path) -> Result<String, DefinitionError> {
    let failed = |source| DefinitionError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE {
        let why = format!("it has {size} bytes, and at most {MAX_FILE} are read");
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, why)));
    }
    std::fs::read_to_string(path).map_err(failed)
}
