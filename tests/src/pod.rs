//! Directories as the kubelet lays them out for a pod, made by hand.
//!
//! The layout is written here once more, apart from the host's own writer, so that a test of the host does not
//! compare a mistake with itself.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The link to the directory that holds what is current.
const DATA: &str = "..data";

/// A folder that stands for a container's root, removed when dropped.
#[derive(Debug)]
pub struct PodTree {
    root: TempDir,
}

impl PodTree {
    /// Makes an empty pod directory.
    ///
    /// # Errors
    ///
    /// Fails if the temporary folder cannot be made.
    pub fn new() -> io::Result<Self> {
        let root = tempfile::tempdir()?;
        Ok(Self { root })
    }

    /// Returns the pod's folder.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Lays out a volume at a path of the container, such as `/etc/podinfo`, from paths and contents.
    ///
    /// # Errors
    ///
    /// Fails if the files cannot be written.
    pub fn volume(&self, mount: &str, files: &[(&str, &str)]) -> io::Result<Volume> {
        Volume::lay(self.root.path().join(mount.trim_start_matches('/')), files)
    }

    /// Lays out a Downward API volume at its customary path.
    ///
    /// # Errors
    ///
    /// Fails if the files cannot be written.
    pub fn podinfo(&self, files: &[(&str, &str)]) -> io::Result<Volume> {
        self.volume("/etc/podinfo", files)
    }

    /// Lays out a service-account volume at its usual path.
    ///
    /// # Errors
    ///
    /// Fails if the files cannot be written.
    pub fn service_account(&self, token: &str, ca_crt: &str, namespace: &str) -> io::Result<Volume> {
        let files = [("token", token), ("ca.crt", ca_crt), ("namespace", namespace)];
        self.volume("/var/run/secrets/kubernetes.io/serviceaccount", &files)
    }
}

/// A volume in the layout of the kubelet's atomic writer:
/// `labels -> ..data/labels`, `..data -> ..2026_01_01_00_00_00.000000001`.
#[derive(Debug)]
pub struct Volume {
    path: PathBuf,
    swaps: u32,
}

impl Volume {
    /// Lays out a new volume, and makes its folder.
    ///
    /// # Errors
    ///
    /// Fails if the files cannot be written.
    pub fn lay(path: impl Into<PathBuf>, files: &[(&str, &str)]) -> io::Result<Self> {
        let path = path.into();
        fs::create_dir_all(&path)?;
        let mut volume = Self { path, swaps: 0 };
        volume.swap(files)?;
        Ok(volume)
    }

    /// Returns the path of the volume on the host.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces all files atomically, in the kubelet's order: make the new directory, swap `..data`, add new links,
    /// remove stale links, remove the old directory.
    ///
    /// # Errors
    ///
    /// Fails if the files cannot be written.
    pub fn swap(&mut self, files: &[(&str, &str)]) -> io::Result<()> {
        let old = fs::read_link(self.path.join(DATA)).ok();
        self.swaps += 1;
        let new = format!("..2026_01_01_00_00_00.{:09}", self.swaps);
        for (path, content) in files {
            write(&self.path.join(&new).join(path), content)?;
        }
        symlink(&new, self.path.join("..data_tmp"))?;
        fs::rename(self.path.join("..data_tmp"), self.path.join(DATA))?;
        self.link(files)?;
        self.unlink(files)?;
        old.map_or(Ok(()), |old| fs::remove_dir_all(self.path.join(old)))
    }

    /// Sets the permission bits of one file, as an item's `mode` would.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn set_mode(&self, path: &str, mode: u32) -> io::Result<()> {
        fs::set_permissions(self.path.join(DATA).join(path), Permissions::from_mode(mode))
    }

    fn link(&self, files: &[(&str, &str)]) -> io::Result<()> {
        for name in files.iter().map(|(path, _)| first(path)) {
            let link = self.path.join(name);
            if fs::symlink_metadata(&link).is_err() {
                symlink(Path::new(DATA).join(name), link)?;
            }
        }
        Ok(())
    }

    fn unlink(&self, files: &[(&str, &str)]) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let is_current = files.iter().any(|(path, _)| first(path) == name);
            if !is_current && !name.starts_with("..") {
                fs::remove_file(self.path.join(name))?;
            }
        }
        Ok(())
    }
}

/// Returns the first element of a projected path, which is the name of the link.
fn first(path: &str) -> &str {
    path.split_once('/').map_or(path, |(first, _)| first)
}

fn write(path: &Path, content: &str) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, content)?;
    fs::set_permissions(path, Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(volume: &Volume) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(volume.path())?;
        let names: io::Result<Vec<_>> =
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect();
        names.map(|mut names| {
            names.sort();
            names
        })
    }

    #[test]
    fn a_swap_replaces_files_and_leaves_nothing_of_the_old_ones() -> io::Result<()> {
        let pod = PodTree::new()?;
        let mut podinfo = pod.podinfo(&[("labels", "a=\"1\""), ("nested/name", "web")])?;
        assert_eq!(names(&podinfo)?, ["..2026_01_01_00_00_00.000000001", "..data", "labels", "nested"]);
        assert_eq!(fs::read_to_string(podinfo.path().join("nested/name"))?, "web");

        podinfo.swap(&[("labels", "a=\"2\"")])?;
        assert_eq!(names(&podinfo)?, ["..2026_01_01_00_00_00.000000002", "..data", "labels"]);
        assert_eq!(fs::read_to_string(pod.root().join("etc/podinfo/labels"))?, "a=\"2\"");
        Ok(())
    }
}
