//! Compiled components, kept on disk and mapped from there.
//!
//! Loading an artefact runs the machine code in it. The folder is therefore trusted like the binary itself, and checked
//! like it. The folder and each file must belong to this user or to root, and nobody else may be able to write to them.
//! Links are not followed. A checked file stays open and is loaded by its descriptor. A digest beside each file reveals
//! truncation and decay. The digest is no defence against an attacker with this user's rights, and nothing could be. A
//! folder of root, as in a container's image, serves other users read-only.
//!
//! The name of a file is the digest of the component's bytes and of the engine's fingerprint. A changed component,
//! another wasmtime or another processor therefore finds nothing. A single artefact outside of the folder is loaded if
//! the operator pins its digest, from a copy that nobody can change ([`Artefact::pinned`]).

mod pinned;

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, StatVfsMountFlags, Timestamps};
use sha2::{Digest, Sha256};

use super::Engine;
use super::compiler::Compilation;

/// The size of all artefacts together, in bytes. Beyond it, the least recently used are evicted. A hundred large
/// extensions fit.
pub const DEFAULT_CAPACITY: u64 = 1 << 30;

/// The permission bits that let users other than the owner write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The size of one read while a digest is checked, in bytes.
const CHUNK: usize = 64 << 10;

/// The maximum length of the record beside an artefact, in bytes: a digest and some numbers.
const MAX_RECORD: u64 = 4 << 10;

/// The owner of the files that an image brings.
const ROOT: u32 = 0;

/// An error of a folder of artefacts, or of an artefact in it.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    /// The folder could not be created or opened.
    #[error("cannot open the artefact folder {}", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// Another user could place machine code in the folder or change the file.
    #[error("will not load machine code from {}: it must belong to this user (uid {uid}) or root, and be writable by nobody else; \
             it belongs to uid {owner} with mode {mode:o}", path.display())]
    Untrusted {
        /// The folder or file.
        path: PathBuf,
        /// This process's effective user.
        uid: u32,
        /// The owner's user ID.
        owner: u32,
        /// The permission bits.
        mode: u32,
    },
    /// The artefact's digest is not the pinned digest.
    #[error("the artefact's SHA-256 is {found}, and {pinned} is pinned")]
    Pinned {
        /// The pinned digest, in hex.
        pinned: String,
        /// The file's digest, in hex.
        found: String,
    },
    /// An artefact could not be read.
    #[error("cannot read the artefact")]
    Read(#[source] io::Error),
    /// The folder's file system does not allow machine code to be mapped.
    #[error("{} is on a file system that is mounted noexec, from which no machine code can be mapped", path.display())]
    NoExec {
        /// The folder.
        path: PathBuf,
    },
    /// An artefact could not be written to the folder.
    #[error("cannot keep an artefact in {}", path.display())]
    Store {
        /// The folder.
        path: PathBuf,
        /// The error of the system.
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
    /// Set where the folder belongs to another user.
    read_only: bool,
}

/// The beginning of the names of incomplete files.
const DRAFT: &str = ".new-";

/// The age from which an incomplete file is a leftover: three times the default of
/// [`COMPILER_TIME`](super::COMPILER_TIME).
const LEFTOVER: Duration = Duration::from_mins(15);

/// A compiled component, checked and held open.
#[derive(Debug)]
pub struct Artefact {
    file: File,
    path: PathBuf,
    compilation: Option<Compilation>,
}

impl Artefact {
    /// Returns a path to exactly the checked file, even if its name has been given to another file since.
    pub fn path(&self) -> PathBuf {
        by_descriptor(&self.file, &self.path)
    }

    /// Returns what compiling took and what an instance needs. The result is `None` for an artefact that was compiled
    /// elsewhere.
    pub fn compilation(&self) -> Option<&Compilation> {
        self.compilation.as_ref()
    }
}

/// A file that an artefact is written to before it has its name.
#[derive(Debug)]
pub(crate) enum NewArtefact {
    /// A file in a folder of artefacts.
    Named(tempfile::NamedTempFile),
    /// A file without a name, in memory where the system has such files.
    Nameless(File),
}

impl NewArtefact {
    /// Makes a file without a name.
    pub(crate) fn nameless() -> io::Result<Self> {
        pinned::nameless().map(Self::Nameless)
    }

    /// Copies the content to a file at `path`, which other users may read. Returns its SHA-256 digest.
    pub(crate) fn copy_to(&self, path: &Path) -> io::Result<[u8; 32]> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        let mut target = tempfile::Builder::new().prefix(DRAFT).permissions(readable).tempfile_in(folder)?;
        let mut from = self.file();
        from.rewind()?;
        let sha256 = pinned::copied(&mut from, target.as_file_mut())?;
        target.persist(path).map_err(|error| error.error)?;
        Ok(sha256)
    }

    pub(crate) fn file(&self) -> &File {
        match self {
            Self::Named(file) => file.as_file(),
            Self::Nameless(file) => file,
        }
    }
}

impl Artefacts {
    /// Opens a folder, and creates it with mode 0700 where it is missing. `capacity` is in bytes.
    ///
    /// A folder of root is read-only for other users.
    ///
    /// # Errors
    /// Fails if the folder cannot be created or opened, if its file system is mounted `noexec`, or if other users may
    /// write to it.
    pub fn open(path: &Path, capacity: u64) -> Result<Self, ArtefactError> {
        let failed = |source| ArtefactError::Open { path: path.to_owned(), source };
        std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
            .create(path)
            .map_err(failed)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let folder = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed(e.into()))?);
        let owner = trust(&folder, path)?;
        let read_only = owner != rustix::process::geteuid().as_raw();
        let mounted = rustix::fs::fstatvfs(&folder).map_err(|error| failed(error.into()))?;
        if mounted.f_flag.contains(StatVfsMountFlags::NOEXEC) {
            return Err(ArtefactError::NoExec { path: path.to_owned() });
        }
        let artefacts = Self { path: path.to_owned(), folder, capacity, read_only };
        artefacts.remove_leftovers();
        Ok(artefacts)
    }

    /// Removes the incomplete files of hosts that were killed while they compiled.
    fn remove_leftovers(&self) {
        if self.read_only {
            return;
        }
        let Ok(entries) = std::fs::read_dir(self.here()) else { return };
        let is_old = |entry: &std::fs::DirEntry| {
            let modified = entry.metadata().and_then(|found| found.modified());
            modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > LEFTOVER))
        };
        let drafts = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(DRAFT.as_bytes()));
        for entry in drafts.filter(is_old) {
            // Another process may have removed the file in the meantime.
            let _ = rustix::fs::unlinkat(&self.folder, entry.file_name(), AtFlags::empty());
        }
    }

    /// Opens a folder as [`Artefacts::open`] does. Other users may be able to write to the folder, as to an `emptyDir`
    /// of Kubernetes. Then this user's own folder below it is used, `attache-UID`, which is created with mode 0700.
    ///
    /// # Errors
    /// Fails like [`Artefacts::open`], for the folder that is used.
    pub fn open_own(path: &Path, capacity: u64) -> Result<Self, ArtefactError> {
        match Self::open(path, capacity) {
            Err(ArtefactError::Untrusted { uid, mode, .. }) if mode & WRITABLE_BY_OTHERS != 0 => {
                Self::open(&path.join(format!("attache-{uid}")), capacity)
            }
            opened => opened,
        }
    }

    /// Returns whether the folder belongs to root and this process runs as another user. Nothing is kept in such a
    /// folder.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finds the artefact that `engine` compiled from the component with this SHA-256 digest. A damaged artefact counts
    /// as missing.
    ///
    /// # Errors
    /// Fails if the file exists but other users may write to it, or if it cannot be opened.
    pub fn find(&self, engine: &Engine, component: &[u8; 32]) -> Result<Option<Artefact>, ArtefactError> {
        let name = name(engine, component);
        let path = self.path.join(format!("{name}.cwasm"));
        let mut file = match self.open_file(&format!("{name}.cwasm")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ArtefactError::Open { path, source }),
        };
        trust(&file, &path)?;
        let Ok(recorded) = self.open_file(&format!("{name}.sha256")) else { return Ok(None) };
        let mut record = Vec::new();
        let read = recorded.take(MAX_RECORD).read_to_end(&mut record);
        let Some((expected, rest)) = read.ok().and(record.split_first_chunk::<32>()) else { return Ok(None) };
        let Ok(compilation) = serde_json::from_slice(rest) else { return Ok(None) };
        if digest(&mut file).ok() != Some(*expected) {
            return Ok(None);
        }
        // Marks the artefact as used, for eviction. In a read-only folder the mark fails, and nothing is evicted there.
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let _ = rustix::fs::futimens(&file, &Timestamps { last_access: now, last_modification: now });
        Ok(Some(Artefact { file, path, compilation: Some(compilation) }))
    }

    /// Creates a file for an artefact that is to be kept. Returns `None` for a read-only folder.
    ///
    /// # Errors
    /// Fails if the folder cannot be written to.
    pub(crate) fn draft(&self) -> Result<Option<NewArtefact>, ArtefactError> {
        if self.read_only {
            return Ok(None);
        }
        let made = self.temporary();
        made.map(|file| Some(NewArtefact::Named(file))).map_err(|source| self.unstored(source))
    }

    /// Keeps an artefact that `engine` compiled, and evicts the least recently used artefacts beyond the capacity.
    ///
    /// # Errors
    /// Fails if the folder cannot be written to.
    pub(crate) fn keep(
        &self,
        engine: &Engine,
        component: &[u8; 32],
        mut draft: tempfile::NamedTempFile,
        compilation: &Compilation,
    ) -> Result<Artefact, ArtefactError> {
        let name = name(engine, component);
        let path = self.path.join(format!("{name}.cwasm"));
        let stored = (|| {
            draft.as_file_mut().rewind()?;
            let mut record = digest(draft.as_file_mut())?.to_vec();
            serde_json::to_writer(&mut record, compilation)?;
            let file = draft.persist(self.here().join(format!("{name}.cwasm"))).map_err(|error| error.error)?;
            self.place(&format!("{name}.sha256"), &record)?;
            Ok(file)
        })();
        let file = stored.map_err(|source| self.unstored(source))?;
        self.trim();
        Ok(Artefact { file, path, compilation: Some(*compilation) })
    }

    fn unstored(&self, source: io::Error) -> ArtefactError {
        ArtefactError::Store { path: self.path.clone(), source }
    }

    /// Writes to a temporary file, then renames it: a reader sees the whole file or none.
    fn place(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut file = self.temporary()?;
        file.write_all(content)?;
        file.persist(self.here().join(name)).map_err(|error| error.error)?;
        Ok(())
    }

    /// Creates an incomplete file. Other users may read it where they may enter the folder: a component's machine code
    /// is no secret, and the folder of an image, filled by root, serves other users.
    fn temporary(&self) -> io::Result<tempfile::NamedTempFile> {
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        tempfile::Builder::new().prefix(DRAFT).permissions(readable).tempfile_in(self.here())
    }

    /// Returns a path to exactly the checked folder.
    fn here(&self) -> PathBuf {
        by_descriptor(&self.folder, &self.path)
    }

    fn open_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY | OFlags::NONBLOCK;
        Ok(File::from(rustix::fs::openat(&self.folder, name, flags, Mode::empty())?))
    }

    fn trim(&self) {
        let Ok(entries) = std::fs::read_dir(self.here()) else { return };
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
                // A process that has mapped the file keeps it. Another process may have removed it in the meantime.
                let _ = rustix::fs::unlinkat(&self.folder, &name, AtFlags::empty());
                let _ = rustix::fs::unlinkat(&self.folder, Path::new(&name).with_extension("sha256"), AtFlags::empty());
            }
        }
    }
}

/// Returns the owner of a file or folder. Fails if users other than this one and root may write to it.
fn trust(file: &File, path: &Path) -> Result<u32, ArtefactError> {
    let failed = |source| ArtefactError::Open { path: path.to_owned(), source };
    let found = file.metadata().map_err(failed)?;
    let uid = rustix::process::geteuid().as_raw();
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    if (owner == uid || owner == ROOT) && mode & WRITABLE_BY_OTHERS == 0 {
        return Ok(owner);
    }
    Err(ArtefactError::Untrusted { path: path.to_owned(), uid, owner, mode })
}

/// Returns a path to an open file or folder. The path stays valid when the name, or a folder above, is given to
/// something else.
fn by_descriptor(open: &File, path: &Path) -> PathBuf {
    if cfg!(target_os = "linux") {
        PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()))
    } else {
        path.to_owned()
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
