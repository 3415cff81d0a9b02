//! The reader: one version of a volume, whole.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, fstat, openat, readlinkat};
use rustix::io::Errno;

use super::path::RelativePath;
use super::{DATA_LINK, File, VolumeError};

/// The most that is read of one file, in bytes. An API object has at most some 1.5 MiB (etcd's limit), and quoting
/// a label or an annotation makes at most four bytes of one.
pub const MAX_FILE: u64 = 8 << 20;

/// The number of tries of one read. A kubelet writes a volume every minute or so, so that two updates within one read
/// hardly ever happen.
const TRIES: u32 = 16;

/// The most files of a version; the items of a volume are written by hand.
const MAX_FILES: usize = 4096;

/// The deepest directory of a version. A path of 4096 bytes has room for more, but no volume nests so.
const MAX_DEPTH: usize = 64;

/// The buffer for directory entries, in bytes: some forty names at once.
const LISTING_ROOM: usize = 4096;

/// One version of a volume, held open. Files that are read through it belong together, even if the volume is updated
/// meanwhile. After the version was deleted, its files are [`VolumeError::Missing`], and [`read_consistently`] starts
/// over.
#[derive(Debug)]
pub struct Version {
    volume: PathBuf,
    name: Option<String>,
    directory: OwnedFd,
}

impl Version {
    /// Returns the version in force. A directory without `..data` is its own only version, so that a tree made by hand
    /// works too.
    ///
    /// # Errors
    /// [`VolumeError::Io`] if there is no such volume, [`VolumeError::Escapes`] if `..data` leads out of it.
    pub fn newest(volume: &Path) -> Result<Self, VolumeError> {
        for _ in 0..TRIES {
            let name = current_name(volume)?;
            match open_directory(volume, name.as_deref()) {
                Ok(directory) => return Ok(Self { volume: volume.into(), name, directory }),
                // Deleted between reading the link and following it.
                Err(Errno::NOENT) if name.is_some() => {}
                Err(error) => return Err(VolumeError::io("open the volume", volume)(error.into())),
            }
        }
        Err(VolumeError::Restless { path: volume.into(), tries: TRIES })
    }

    /// Returns the name of the dated directory; `None` if the volume has no `..data`.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns whether the volume still shows this version.
    pub fn is_current(&self) -> bool {
        current_name(&self.volume).is_ok_and(|name| name == self.name)
    }

    /// Reads one file. No link is followed: in a dated directory the kubelet makes none.
    ///
    /// # Errors
    /// [`VolumeError::Missing`], [`VolumeError::Escapes`] for a link or a device, [`VolumeError::TooLarge`].
    pub fn read(&self, path: &RelativePath) -> Result<File, VolumeError> {
        let failed = |error: Errno| self.failure(path.as_ref(), error);
        let file = self.open(path).map_err(failed)?;
        read_plain(file, &self.volume.join(path))
    }

    /// Returns the paths of all files, sorted. Entries that are neither file nor directory are left out, and so are
    /// names that are not UTF-8 or not valid in a volume.
    ///
    /// # Errors
    /// [`VolumeError::TooMany`] beyond 4096 files or 64 levels.
    pub fn files(&self) -> Result<Vec<RelativePath>, VolumeError> {
        let found = self.walk()?.into_iter().filter(|(_, kind)| *kind == FileType::RegularFile);
        Ok(found.map(|(path, _)| path).collect())
    }

    /// Returns the paths of all entries that are no directories, sorted: links and pipes too, which [`Version::read`]
    /// refuses.
    pub(super) fn entries(&self) -> Result<Vec<RelativePath>, VolumeError> {
        Ok(self.walk()?.into_iter().map(|(path, _)| path).collect())
    }

    fn walk(&self) -> Result<Vec<(RelativePath, FileType)>, VolumeError> {
        let mut found = Vec::new();
        let mut pending = vec![String::new()];
        let mut seen = 0;
        while let Some(directory) = pending.pop() {
            let entries = match self.list(&directory) {
                // A directory that the host may not read holds nothing that it could show.
                Err(VolumeError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::PermissionDenied && !directory.is_empty() =>
                {
                    Vec::new()
                }
                entries => entries?,
            };
            seen += entries.len();
            if seen > MAX_FILES || directory.matches('/').count() > MAX_DEPTH {
                return Err(VolumeError::TooMany { path: self.volume.clone() });
            }
            for (name, kind) in entries {
                let path = format!("{directory}{name}");
                match (kind, RelativePath::new(&path)) {
                    (FileType::Directory, Ok(_)) => pending.push(format!("{path}/")),
                    (kind, Ok(path)) => found.push((path, kind)),
                    (_, Err(_)) => {}
                }
            }
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(found)
    }

    fn list(&self, path: &str) -> Result<Vec<(String, FileType)>, VolumeError> {
        let failed = |error: Errno| self.failure(Path::new(path), error);
        let directory = match RelativePath::new(path) {
            Ok(path) => self.open(&path).map_err(failed)?,
            Err(_) => step(&self.directory, ".").map_err(failed)?,
        };
        let mut room = Vec::with_capacity(LISTING_ROOM);
        let mut entries = RawDir::new(&directory, room.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(failed)?;
            let Some(name) = entry.file_name().to_str().ok().filter(|name| !matches!(*name, "." | "..")) else {
                continue;
            };
            if names.len() > MAX_FILES {
                return Err(VolumeError::TooMany { path: self.volume.clone() });
            }
            names.push((name.to_owned(), entry.file_type()));
        }
        Ok(names)
    }

    fn open(&self, path: &RelativePath) -> Result<OwnedFd, Errno> {
        let mut elements = path.elements();
        let first = step(&self.directory, elements.next().unwrap_or("."))?;
        elements.try_fold(first, |directory, element| step(&directory, element))
    }

    fn failure(&self, path: &Path, error: Errno) -> VolumeError {
        match error {
            Errno::NOENT | Errno::STALE => VolumeError::Missing { path: path.into() },
            // What a link gives when it may not be followed: LOOP at the end of a path, NOTDIR inside.
            Errno::LOOP | Errno::NOTDIR => VolumeError::Escapes { path: self.volume.join(path) },
            error => VolumeError::io("read", self.volume.join(path))(error.into()),
        }
    }
}

/// Opens one element, never following a link and never waiting for a FIFO's other end.
fn step(directory: &OwnedFd, element: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(directory, element, flags, Mode::empty())
}

fn open_directory(volume: &Path, name: Option<&str>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, volume, flags, Mode::empty())?;
    match name {
        Some(name) => openat(&root, name, flags | OFlags::NOFOLLOW, Mode::empty()),
        None => Ok(root),
    }
}

/// Reads an open file whole, if it is a plain one. `path` is for the errors.
pub(super) fn read_plain(file: OwnedFd, path: &Path) -> Result<File, VolumeError> {
    let status = fstat(&file).map_err(|error| VolumeError::io("look at", path)(error.into()))?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(VolumeError::Escapes { path: path.into() });
    }
    let data = read_bounded(file, path)?;
    Ok(File { data, mode: Mode::from_raw_mode(status.st_mode).bits() })
}

fn read_bounded(file: OwnedFd, path: &Path) -> Result<Vec<u8>, VolumeError> {
    let mut data = Vec::new();
    let mut bounded = std::fs::File::from(file).take(MAX_FILE.saturating_add(1));
    let length = bounded.read_to_end(&mut data).map_err(VolumeError::io("read", path))?;
    if u64::try_from(length).is_ok_and(|length| length <= MAX_FILE) {
        Ok(data)
    } else {
        Err(VolumeError::TooLarge { path: path.into() })
    }
}

/// Returns the name in `..data`, if it is there. Fails unless it is one name directly in the volume.
pub(super) fn current_name(volume: &Path) -> Result<Option<String>, VolumeError> {
    let link = volume.join(DATA_LINK);
    let target = match readlinkat(CWD, &link, Vec::new()) {
        Ok(target) => target,
        Err(Errno::NOENT) => return Ok(None),
        // Copying a volume with its links followed leaves a plain directory in the link's place.
        Err(Errno::INVAL) => return Ok(Some(DATA_LINK.into())),
        Err(error) => return Err(VolumeError::io("read the link", link)(error.into())),
    };
    let name = target.to_str().ok().filter(|name| is_single_element(name));
    name.map(|name| Some(name.to_owned())).ok_or(VolumeError::Escapes { path: link })
}

pub(super) fn is_single_element(name: &str) -> bool {
    Path::new(name).file_name() == Some(OsStr::new(name))
}

/// Returns whether the volume has exactly these files, with this content and these modes.
pub(super) fn same_content(volume: &Path, files: &BTreeMap<RelativePath, File>) -> bool {
    let same = |version: &Version| {
        version.files().is_ok_and(|found| found.iter().eq(files.keys()))
            && files.iter().all(|(path, file)| {
                version.read(path).is_ok_and(|read| read.data == file.data && read.mode == file.mode & 0o777)
            })
    };
    Version::newest(volume).is_ok_and(|version| same(&version))
}

/// Runs a read on the newest version, and again on the next if the version was deleted meanwhile. So all files of one
/// run belong together.
///
/// # Errors
/// The read's own error; [`VolumeError::Restless`] if the volume was rewritten during each of 16 tries.
pub fn read_consistently<T>(
    volume: &Path,
    mut read: impl FnMut(&Version) -> Result<T, VolumeError>,
) -> Result<T, VolumeError> {
    for _ in 0..TRIES {
        let version = Version::newest(volume)?;
        match read(&version) {
            Err(VolumeError::Missing { .. }) if !version.is_current() => {}
            answer => return answer,
        }
    }
    Err(VolumeError::Restless { path: volume.into(), tries: TRIES })
}
