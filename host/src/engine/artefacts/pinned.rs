//! An artefact that its operator pins by its digest.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::super::MAX_ARTEFACT;
use super::{Artefact, ArtefactError, CHUNK, NewArtefact};

impl Artefact {
    /// Copies an artefact to where nobody can change it, and checks that it has this SHA-256 digest.
    ///
    /// Threat: a file that is another one when it is mapped than when it was checked. What is loaded is the copy.
    ///
    /// # Errors
    /// Fails when the digest is another, or the file cannot be read.
    pub fn pinned(file: impl Read, sha256: &[u8; 32]) -> Result<Self, ArtefactError> {
        let mut copy = nameless().map_err(ArtefactError::Read)?;
        let found = copied(file.take(MAX_ARTEFACT.saturating_add(1)), &mut copy).map_err(ArtefactError::Read)?;
        if found != *sha256 {
            return Err(ArtefactError::Pinned { pinned: hex::encode(sha256), found: hex::encode(found) });
        }
        Self::sealed(copy).map_err(ArtefactError::Read)
    }

    /// Takes what this host's own compiler has written to a draft without a name.
    pub(crate) fn drafted(draft: NewArtefact) -> io::Result<Self> {
        match draft {
            NewArtefact::Nameless(file) => Self::sealed(file),
            NewArtefact::Named(file) => {
                let (file, path) = file.keep().map_err(|error| error.error)?;
                // It is held open, and nobody else is to find it.
                let _ = std::fs::remove_file(&path);
                Ok(Self { file, path, compilation: None })
            }
        }
    }

    /// Takes what a draft with a name held that could not be kept: nobody else finds the file by then.
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

/// Makes a file without a name that can be sealed.
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

/// Copies all of a file. Returns its digest.
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
