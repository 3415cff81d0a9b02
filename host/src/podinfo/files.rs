//! The volume's files and their permission bits.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::error::PodInfoError;
use super::record::Sources;
use super::view::Sight;
use crate::volume::{RelativePath, Version, VolumeError, read_consistently};

/// One file of the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectedFile {
    /// Below the mount, such as `labels`.
    pub path: String,
    /// Permission bits, such as `0o644`: the item's `mode`, or else the volume's `defaultMode`.
    pub mode: u32,
}

/// The files shown: those of the items, or all of the volume's where no items are known. Sorted by path.
pub(super) fn shown(dir: &Path, sources: &Sources, sight: &Sight) -> Result<Vec<ProjectedFile>, PodInfoError> {
    let files = read_consistently(dir, |version| {
        let mut paths = if sources.configured {
            sources.files.iter().map(|file| file.path.clone()).collect()
        } else {
            version.files()?
        };
        paths.retain(|path| sight.shows_file(path));
        paths.sort();
        let base = version.name().map_or_else(|| dir.to_owned(), |name| dir.join(name));
        let files: Result<Vec<_>, _> = paths.iter().map(|path| status(version, &base, path)).collect();
        Ok(files?.into_iter().flatten().collect())
    });
    files.map_err(PodInfoError::from)
}

/// The file, if it is there and is one. The error starts over: the version is being deleted.
fn status(version: &Version, base: &Path, path: &RelativePath) -> Result<Option<ProjectedFile>, VolumeError> {
    match fs::symlink_metadata(base.join(path)) {
        Ok(status) if status.is_file() => {
            Ok(Some(ProjectedFile { path: path.to_string(), mode: status.permissions().mode() & 0o777 }))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound && version.is_current() => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(VolumeError::Missing { path: path.as_ref().to_owned() })
        }
        Err(source) => Err(VolumeError::Io { step: "look at", path: base.join(path), source }),
    }
}
