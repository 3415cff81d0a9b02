//! The writer: one new dated directory, one rename.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::path::RelativePath;
use super::version::{current_name, same_content};
use super::{DATA_LINK, File, NEXT_DATA_LINK, VolumeError};

/// The mode of a dated directory and of the directories below it: every user of the files has to reach them.
const DIRECTORY_MODE: u32 = 0o755;

/// The permission bits of a file's mode. A volume's files are never set-user-id.
const FILE_MODE_BITS: u32 = 0o777;

/// The random characters at the end of a dated directory's name, so that two names within a second differ.
const RANDOM_CHARACTERS: usize = 10;

/// Writes sets of files into a volume so that a reader sees all of one set or all of the next.
///
/// A directory has one writer: two at once would delete each other's files. A write that fails leaves the version in
/// force as it is.
///
/// ```
/// use std::collections::BTreeMap;
/// use attache_base::volume::{AtomicWriter, File, RelativePath, Version};
///
/// let directory = tempfile::tempdir()?;
/// let labels = RelativePath::new("labels")?;
/// let file = File { data: b"app=\"web\"".to_vec(), mode: 0o644 };
/// assert!(AtomicWriter::open(directory.path())?.write(&BTreeMap::from([(labels.clone(), file.clone())]))?);
/// assert_eq!(Version::newest(directory.path())?.read(&labels)?.data, file.data);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AtomicWriter {
    volume: PathBuf,
}

impl AtomicWriter {
    /// Returns a writer for the directory, which must exist.
    ///
    /// # Errors
    /// [`VolumeError::Io`], if it is not a directory.
    pub fn open(volume: impl Into<PathBuf>) -> Result<Self, VolumeError> {
        let volume = volume.into();
        fs::read_dir(&volume).map_err(VolumeError::io("open the volume", &volume))?;
        Ok(Self { volume })
    }

    /// Returns the volume's directory.
    pub fn directory(&self) -> &Path {
        &self.volume
    }

    /// Replaces the volume's files by these. Returns whether anything was written: nothing is if the volume has these
    /// files already, with the same content and modes.
    ///
    /// # Errors
    /// [`VolumeError::Io`] names the step that failed.
    pub fn write(&self, files: &BTreeMap<RelativePath, File>) -> Result<bool, VolumeError> {
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

    /// Writes the files into a new dated directory, which deletes itself if a step fails.
    fn write_version(&self, files: &BTreeMap<RelativePath, File>) -> Result<tempfile::TempDir, VolumeError> {
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

    fn link(&self, files: &BTreeMap<RelativePath, File>) -> Result<(), VolumeError> {
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

    /// Removes links that are stale. A plain file in the volume is not the writer's, and stays.
    fn unlink_stale(&self, files: &BTreeMap<RelativePath, File>) -> Result<(), VolumeError> {
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

fn tops(files: &BTreeMap<RelativePath, File>) -> BTreeSet<&str> {
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

fn write_file(path: &Path, file: &File) -> Result<(), VolumeError> {
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
