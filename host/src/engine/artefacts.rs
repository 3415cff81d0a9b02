//! Compiled components, kept on disk and mapped from there.
//!
//! Loading an artefact runs whatever machine code it holds, so the folder is trusted like the binary itself, and
//! checked like it: the folder and each file must belong to this user and be writable by nobody else, links are not
//! followed, and what is loaded is the very file that was checked, by its descriptor. A digest beside each file finds
//! truncation and decay; it is no defence against somebody who can write there as this user, and nothing could be.
//!
//! A file's name is the digest of the component's bytes and of the engine's fingerprint, so a changed component,
//! another wasmtime or another processor simply finds nothing.

use super::Engine;
use rustix::fs::{AtFlags, Mode, OFlags, Timestamps};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// All artefacts together, in bytes; the least recently used go first. A hundred large extensions fit.
pub const DEFAULT_CAPACITY: u64 = 1 << 30;

/// Permission bits that let others than the owner write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// How much is read at a time while a digest is checked.
const CHUNK: usize = 64 << 10;

/// Why a folder of artefacts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    /// The folder could not be made or opened.
    #[error("cannot open the artefact folder {}", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else could put machine code there.
    #[error("will not load machine code from {}: it must belong to this user (uid {uid}) and be writable by nobody else; \
             it belongs to uid {owner} with mode {mode:o}", path.display())]
    Untrusted {
        /// The folder or file.
        path: PathBuf,
        /// This process's effective user.
        uid: u32,
        /// Whose it is.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// An artefact could not be read or written.
    #[error("cannot keep an artefact in {}", path.display())]
    Store {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A folder of compiled components.
#[derive(Debug)]
pub struct Artefacts {
    path: PathBuf,
    folder: File,
    capacity: u64,
}

/// A compiled component on disk, checked and held open.
#[derive(Debug)]
pub struct Artefact {
    file: File,
    path: PathBuf,
}

impl Artefact {
    /// Returns a path that leads to exactly the file that was checked, whatever has become of its name since.
    pub fn path(&self) -> PathBuf {
        if cfg!(target_os = "linux") {
            PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
        } else {
            self.path.clone()
        }
    }
}

impl Artefacts {
    /// Opens a folder, making it (mode 0700) where it is missing. `capacity` is in bytes.
    ///
    /// # Errors
    /// Fails when it cannot be made or opened, or when others may write to it.
    pub fn open(path: &Path, capacity: u64) -> Result<Self, ArtefactError> {
        let failed = |source| ArtefactError::Open { path: path.to_owned(), source };
        std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
            .create(path)
            .map_err(failed)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let folder = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed(e.into()))?);
        let artefacts = Self { path: path.to_owned(), folder, capacity };
        artefacts.trust(&artefacts.folder, path)?;
        Ok(artefacts)
    }

    /// Finds what `engine` once compiled from the component with this SHA-256. A damaged one counts as missing.
    ///
    /// # Errors
    /// Fails when the file is there but others may write to it.
    pub fn find(&self, engine: &Engine, component: &[u8; 32]) -> Result<Option<Artefact>, ArtefactError> {
        let name = name(engine, component);
        let path = self.path.join(format!("{name}.cwasm"));
        let Ok(mut file) = self.open_file(&format!("{name}.cwasm")) else { return Ok(None) };
        self.trust(&file, &path)?;
        let Ok(mut recorded) = self.open_file(&format!("{name}.sha256")) else { return Ok(None) };
        let mut expected = [0; 32];
        if recorded.read_exact(&mut expected).is_err() || digest(&mut file).ok() != Some(expected) {
            return Ok(None);
        }
        // Marks it as used, for the choice of what to drop; a read-only folder only loses that.
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let _ = rustix::fs::futimens(&file, &Timestamps { last_access: now, last_modification: now });
        Ok(Some(Artefact { file, path }))
    }

    /// Keeps what `engine` compiled, and drops the least recently used artefacts beyond the capacity.
    ///
    /// # Errors
    /// Fails when the folder cannot be written to.
    pub fn keep(&self, engine: &Engine, component: &[u8; 32], compiled: &[u8]) -> Result<(), ArtefactError> {
        let name = name(engine, component);
        let stored = self
            .place(&format!("{name}.cwasm"), compiled)
            .and_then(|()| self.place(&format!("{name}.sha256"), &Sha256::digest(compiled)));
        stored.map_err(|source| ArtefactError::Store { path: self.path.clone(), source })?;
        self.trim();
        Ok(())
    }

    /// Writes under a name of its own, then renames: a reader sees the whole file or none.
    fn place(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.path)?;
        file.write_all(content)?;
        file.persist(self.path.join(name)).map_err(|error| error.error)?;
        Ok(())
    }

    fn open_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY | OFlags::NONBLOCK;
        Ok(File::from(rustix::fs::openat(&self.folder, name, flags, Mode::empty())?))
    }

    fn trust(&self, file: &File, path: &Path) -> Result<(), ArtefactError> {
        let failed = |source| ArtefactError::Open { path: path.to_owned(), source };
        let found = file.metadata().map_err(failed)?;
        let uid = rustix::process::geteuid().as_raw();
        if found.uid() == uid && found.mode() & WRITABLE_BY_OTHERS == 0 {
            return Ok(());
        }
        let (owner, mode) = (found.uid(), found.mode() & 0o7777);
        Err(ArtefactError::Untrusted { path: path.to_owned(), uid, owner, mode })
    }

    fn trim(&self) {
        let Ok(entries) = std::fs::read_dir(&self.path) else { return };
        let mut files: Vec<_> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "cwasm"))
            .filter_map(|entry| Some((entry.metadata().ok()?, entry.file_name())))
            .collect();
        files.sort_by_key(|(found, _)| std::cmp::Reverse(found.modified().ok()));
        let mut total = 0_u64;
        for (found, name) in files {
            total = total.saturating_add(found.len());
            if total > self.capacity {
                // Whoever has it mapped keeps it; another process may have dropped it just now.
                let _ = rustix::fs::unlinkat(&self.folder, &name, AtFlags::empty());
                let _ = rustix::fs::unlinkat(&self.folder, Path::new(&name).with_extension("sha256"), AtFlags::empty());
            }
        }
    }
}

fn name(engine: &Engine, component: &[u8; 32]) -> String {
    let mut key = Sha256::new();
    key.update(component);
    key.update(engine.fingerprint().to_le_bytes());
    hex::encode(key.finalize())
}

fn digest(file: &mut File) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hasher.finalize().into()),
            read => hasher.update(chunk.get(..read).unwrap_or_default()),
        }
    }
}
