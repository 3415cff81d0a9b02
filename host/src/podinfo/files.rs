//! The files of the volumes and their permission bits.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::error::PodInfoError;
use super::record::VolumeSource;
use super::view::Sight;
use crate::volume::{RelativePath, Version, VolumeError, read_consistently};

/// One file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectedFile {
    /// The path below the mount, such as `labels`.
    pub path: String,
    /// Permission bits, such as `0o644`: the item's `mode`, or else the volume's `defaultMode`.
    pub mode: u32,
}

/// Returns the files of all volumes that are shown, which are those with a known meaning, sorted by path.
pub(super) fn shown(volumes: &[VolumeSource], sight: &Sight) -> Result<Vec<ProjectedFile>, PodInfoError> {
    let mut files = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let mut paths: Vec<_> = volume.files.iter().map(|file| &file.path).collect();
        paths.retain(|path| sight.shows_file(index, path));
        files.extend(of_volume(volume, &paths)?);
    }
    files.sort_by(|one: &ProjectedFile, other| one.path.cmp(&other.path));
    files.dedup();
    Ok(files)
}

fn of_volume(volume: &VolumeSource, paths: &[&RelativePath]) -> Result<Vec<ProjectedFile>, VolumeError> {
    let dir = &volume.host_path;
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    if let (Some(path), false) = (&volume.sub_path, dir.is_dir()) {
        let found = fs::symlink_metadata(dir).ok().filter(fs::Metadata::is_file);
        return Ok(found.map(|status| projected(path, &status)).into_iter().collect());
    }
    read_consistently(dir, |version| {
        let base = version.name().map_or_else(|| dir.to_owned(), |name| dir.join(name));
        let files: Result<Vec<_>, _> = paths.iter().map(|path| status(version, &base, path)).collect();
        Ok(files?.into_iter().flatten().collect())
    })
}

fn projected(path: &RelativePath, status: &fs::Metadata) -> ProjectedFile {
    ProjectedFile { path: path.to_string(), mode: status.permissions().mode() & 0o777 }
}

/// Returns the file, if it exists and is a regular file. An error starts the reading over, because the version is being
/// deleted.
fn status(version: &Version, base: &Path, path: &RelativePath) -> Result<Option<ProjectedFile>, VolumeError> {
    match fs::symlink_metadata(base.join(path)) {
        Ok(status) if status.is_file() => Ok(Some(projected(path, &status))),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound && version.is_current() => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(VolumeError::Missing { path: path.as_ref().to_owned() })
        }
        Err(source) => Err(VolumeError::Io { step: "look at", path: base.join(path), source }),
    }
}
