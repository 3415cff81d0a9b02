//! An artefact that the operator pins by its digest.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::super::MAX_ARTEFACT;
use super::{Artefact, ArtefactError, CHUNK, NewArtefact};

impl Artefact {
    /// Copies an artefact to memory that nobody can change, and checks its SHA-256 digest.
    ///
    /// Threat: a file that changes between the check and the mapping. The copy is loaded, not the file.
    ///
    /// # Errors
    /// Fails if the digest differs, or if the file cannot be read.
    pub fn pinned(file: impl Read, sha256: &[u8; 32]) -> Result<Self, ArtefactError> {
        let mut copy = nameless().map_err(ArtefactError::Read)?;
        let found = copied(file.take(MAX_ARTEFACT.saturating_add(1)), &mut copy).map_err(ArtefactError::Read)?;
        if found != *sha256 {
            return Err(ArtefactError::Pinned { pinned: hex::encode(sha256), found: hex::encode(found) });
        }
        Self::sealed(copy).map_err(ArtefactError::Read)
    }

    /// Takes the artefact that this host's compiler has written to a draft.
    pub(crate) fn drafted(draft: NewArtefact) -> io::Result<Self> {
        match draft {
            NewArtefact::Nameless(file) => Self::sealed(file),
            NewArtefact::Named(file) => {
                let (file, path) = file.keep().map_err(|error| error.error)?;
                // The file is held open, and its name is removed so that nobody else finds it.
                let _ = std::fs::remove_file(&path);
                Ok(Self { file, path, compilation: None })
            }
        }
    }

    /// Takes the file of a draft that could not be kept. Its name no longer exists.
    pub(crate) fn unkept(file: File) -> Self {
        Self { file, path: PathBuf::new(), compilation: None }
    }

    fn sealed(file: File) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::SealFlags;
            let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
            rustix::fs::fcntl_add_seals(&file, seals)?;
        }
        Ok(Self { file, path: PathBuf::new(), compilation: None })
    }
}

/// Creates a file without a name that can be sealed.
pub(super) fn nameless() -> io::Result<File> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::MemfdFlags;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        Ok(File::from(rustix::fs::memfd_create("attache-artefact", flags)?))
    }
    #[cfg(not(target_os = "linux"))]
    tempfile::tempfile()
}

/// Copies a whole file. Returns its digest.
pub(super) fn copied(mut from: impl Read, to: &mut File) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk)?;
        let read = chunk.get(..read).unwrap_or_default();
        if read.is_empty() {
            return Ok(hasher.finalize().into());
        }
        hasher.update(read);
        to.write_all(read)?;
    }
}
