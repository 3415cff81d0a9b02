//! Writing: one new dated directory, one rename.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::path::RelativePath;
use super::version::{current_name, same_content};
use super::{DATA_LINK, NEXT_DATA_LINK, VolumeError};

/// The mode of a dated directory and of those below it: whoever may use the files must be able to get to them.
const DIRECTORY_MODE: u32 = 0o755;

/// The permission bits of a file's mode. A volume's files are never set-user-id.
const FILE_MODE_BITS: u32 = 0o777;

/// How many random characters end the name of a dated directory, so that two within a second differ.
const RANDOM_CHARACTERS: usize = 10;

/// One file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProjection {
    /// The whole content.
    pub data: Vec<u8>,
    /// The permission bits, whatever the umask.
    pub mode: u32,
}

/// Writes sets of files into a volume so that a reader sees all of one set or all of the next.
///
/// One writer to a directory: two at once would delete each other's work. A write that fails leaves the version that
/// was in force.
#[derive(Debug)]
pub struct AtomicWriter {
    volume: PathBuf,
}

impl AtomicWriter {
    /// A writer for the directory, which must exist.
    ///
    /// # Errors
    /// [`VolumeError::Io`], if it is not a directory.
    pub fn open(volume: impl Into<PathBuf>) -> Result<Self, VolumeError> {
        let volume = volume.into();
        fs::read_dir(&volume).map_err(VolumeError::io("open the volume", &volume))?;
        Ok(Self { volume })
    }

    /// The volume's directory.
    pub fn directory(&self) -> &Path {
        &self.volume
    }

    /// Makes these the volume's files: all of them, and no others. Gives whether anything was written; files that are
    /// there already with the same content and mode cause none.
    ///
    /// # Errors
    /// [`VolumeError::Io`] names the step that failed.
    pub fn write(&self, files: &BTreeMap<RelativePath, FileProjection>) -> Result<bool, VolumeError> {
        let previous = current_name(&self.volume)?;
        if previous.is_some() && same_content(&self.volume, files) {
            return Ok(false);
        }
        let next = self.write_version(files)?;
        self.put_in_force(next)?;
        self.link(files)?;
        self.unlink_stale(files)?;
        if let Some(previous) = previous {
            let path = self.volume.join(previous);
            fs::remove_dir_all(&path).map_err(VolumeError::io("remove the old version", &path))?;
        }
        Ok(true)
    }

    /// The dated directory with the files in it; it deletes itself if a step fails.
    fn write_version(&self, files: &BTreeMap<RelativePath, FileProjection>) -> Result<tempfile::TempDir, VolumeError> {
        let stamp = jiff::Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S.").to_string();
        let directory = tempfile::Builder::new()
            .prefix(&stamp)
            .rand_bytes(RANDOM_CHARACTERS)
            .tempdir_in(&self.volume)
            .map_err(VolumeError::io("make a dated directory in", &self.volume))?;
        set_mode(directory.path(), DIRECTORY_MODE)?;
        for (path, file) in files {
            make_parents(directory.path(), path)?;
            write_file(&directory.path().join(path), file)?;
        }
        Ok(directory)
    }

    fn put_in_force(&self, version: tempfile::TempDir) -> Result<(), VolumeError> {
        let next = self.volume.join(NEXT_DATA_LINK);
        // A writer that was killed at this point leaves the link behind; it would stop every later write.
        remove_if_there(&next)?;
        let name = version.path().file_name().unwrap_or_default();
        symlink(name, &next).map_err(VolumeError::io("make the link", &next))?;
        let data = self.volume.join(DATA_LINK);
        fs::rename(&next, &data).map_err(VolumeError::io("put in force the link", &data))?;
        // From here on the directory is the volume's content, and no longer ours to delete.
        let _ = version.keep();
        Ok(())
    }

    fn link(&self, files: &BTreeMap<RelativePath, FileProjection>) -> Result<(), VolumeError> {
        for top in tops(files) {
            let link = self.volume.join(top);
            match symlink(Path::new(DATA_LINK).join(top), &link) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(VolumeError::io("make the link", link)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Only links are removed: a plain file that somebody else put into the volume is not the writer's.
    fn unlink_stale(&self, files: &BTreeMap<RelativePath, FileProjection>) -> Result<(), VolumeError> {
        let kept = tops(files);
        let entries = fs::read_dir(&self.volume).map_err(VolumeError::io("list", &self.volume))?;
        for entry in entries {
            let entry = entry.map_err(VolumeError::io("list", &self.volume))?;
            let name = entry.file_name();
            let stale = name.to_str().is_none_or(|name| !name.starts_with("..") && !kept.contains(name));
            if stale && entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                remove_if_there(&entry.path())?;
            }
        }
        Ok(())
    }
}

fn tops(files: &BTreeMap<RelativePath, FileProjection>) -> BTreeSet<&str> {
    files.keys().map(RelativePath::top).collect()
}

fn make_parents(directory: &Path, path: &RelativePath) -> Result<(), VolumeError> {
    let mut parent = directory.to_path_buf();
    let mut elements = path.elements().peekable();
    while let Some(element) = elements.next() {
        if elements.peek().is_none() {
            break;
        }
        parent.push(element);
        match fs::create_dir(&parent) {
            Ok(()) => set_mode(&parent, DIRECTORY_MODE)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(VolumeError::io("make the directory", parent)(error)),
        }
    }
    Ok(())
}

fn write_file(path: &Path, file: &FileProjection) -> Result<(), VolumeError> {
    let mut handle = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(VolumeError::io("create", path))?;
    handle.write_all(&file.data).map_err(VolumeError::io("write", path))?;
    set_mode(path, file.mode & FILE_MODE_BITS)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), VolumeError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(VolumeError::io("set the mode of", path))
}

fn remove_if_there(path: &Path) -> Result<(), VolumeError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(VolumeError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
