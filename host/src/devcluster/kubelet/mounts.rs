//! The mounts of a container: which directory or file of the host is seen where.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::KubeletError;
use super::env::{Environment, expand};
use super::pod::{ContentError, text};
use super::volumes::{Files, directory, downward_items};
use crate::volume::{FileProjection, RelativePath};

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// The volume's name.
    pub volume: String,
    /// What is mounted: a directory of the host, or one file if the mount's `subPath` names one.
    pub host_path: PathBuf,
    /// Where the container sees it: an absolute path.
    pub mount_path: String,
    /// Whether the container may not write; always so for volumes that the kubelet writes.
    pub read_only: bool,
    /// The Downward API items of the volume as they stand in the pod's spec; none for other volumes, and none for a
    /// mount with a `subPath`, which never updates.
    pub downward_items: Vec<Value>,
}

/// The volumes of a pod on disk.
pub(super) struct Disk<'a> {
    /// The pod's directory.
    pub(super) pod: &'a Path,
    /// The volumes of the spec.
    pub(super) volumes: &'a [Value],
    /// The files of those that the kubelet writes, by the volume's name.
    pub(super) files: &'a BTreeMap<String, Files>,
}

impl Disk<'_> {
    /// The mounts of a container, in the order of its spec. What a `subPath` names is copied now and stays as it is.
    pub(super) fn mounts(&self, container: &Value, env: &Environment) -> Result<Vec<MountPoint>, KubeletError> {
        let mounts = container.get("volumeMounts").and_then(Value::as_array).into_iter().flatten();
        mounts.enumerate().map(|(index, mount)| self.mount(container, env, index, mount)).collect()
    }

    fn mount(
        &self,
        container: &Value,
        env: &Environment,
        index: usize,
        mount: &Value,
    ) -> Result<MountPoint, KubeletError> {
        let name = text(mount, "name");
        let volume = self.volumes.iter().find(|volume| text(volume, "name") == name);
        let volume = volume.ok_or_else(|| KubeletError::NoVolume(name.into()))?;
        let content = |source| KubeletError::Volume { volume: name.into(), source };
        let whole = self.pod.join(directory(volume).map_err(content)?);
        let (host_path, downward_items) = match sub_path(mount, env).map_err(content)? {
            None => (whole, downward_items(volume)),
            Some(path) => {
                let own: PathBuf =
                    ["volume-subpaths", name, text(container, "name"), &index.to_string()].iter().collect();
                (self.part(name, &whole, &path, &self.pod.join(own))?, Vec::new())
            }
        };
        let read_only = mount.get("readOnly").and_then(Value::as_bool).unwrap_or(false);
        let read_only = read_only || self.files.contains_key(name);
        let mount_path = text(mount, "mountPath").to_owned();
        Ok(MountPoint { volume: name.into(), host_path, mount_path, read_only, downward_items })
    }

    /// A part of a volume: the live directory of an `emptyDir`, or else a copy in a directory of its own.
    fn part(&self, volume: &str, whole: &Path, path: &RelativePath, own: &Path) -> Result<PathBuf, KubeletError> {
        let Some(files) = self.files.get(volume) else {
            let part = whole.join(path);
            make(&part)?;
            return Ok(part);
        };
        make(own)?;
        if let Some(file) = files.get(path) {
            let copy = own.join(path.elements().last().unwrap_or_default());
            copy_file(&copy, file)?;
            return Ok(copy);
        }
        let below = format!("{path}/");
        for (path, file) in files {
            if let Some(rest) = path.as_str().strip_prefix(&below) {
                let copy = own.join(rest);
                make(copy.parent().unwrap_or(own))?;
                copy_file(&copy, file)?;
            }
        }
        Ok(own.to_path_buf())
    }
}

fn sub_path(mount: &Value, env: &Environment) -> Result<Option<RelativePath>, ContentError> {
    let expression = text(mount, "subPathExpr");
    let path = if expression.is_empty() { text(mount, "subPath").to_owned() } else { expand(expression, &[env]) };
    if path.is_empty() { Ok(None) } else { Ok(Some(RelativePath::new(&path)?)) }
}

fn make(directory: &Path) -> Result<(), KubeletError> {
    fs::create_dir_all(directory).map_err(KubeletError::files("make", directory))
}

fn copy_file(path: &Path, file: &FileProjection) -> Result<(), KubeletError> {
    fs::write(path, &file.data).map_err(KubeletError::files("write", path))?;
    let mode = fs::Permissions::from_mode(file.mode & 0o777);
    fs::set_permissions(path, mode).map_err(KubeletError::files("set the mode of", path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use serde_json::{Value, json};

    use super::{Disk, Environment, KubeletError, MountPoint};
    use crate::volume::{FileProjection, RelativePath};

    fn mounted(mounts: &Value) -> (tempfile::TempDir, Result<Vec<MountPoint>, KubeletError>) {
        let directory = tempfile::tempdir().unwrap();
        let volumes = [
            json!({"name": "info", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}),
            json!({"name": "scratch", "emptyDir": {}}),
        ];
        let file = |text: &str, mode| FileProjection { data: text.into(), mode };
        let files = BTreeMap::from([
            (RelativePath::new("labels").unwrap(), file("l", 0o440)),
            (RelativePath::new("deep/a").unwrap(), file("a", 0o644)),
            (RelativePath::new("deep/er/b").unwrap(), file("b", 0o644)),
        ]);
        let files = BTreeMap::from([("info".to_owned(), files)]);
        let disk = Disk { pod: directory.path(), volumes: &volumes, files: &files };
        let env = Environment::from([("POD_NAME".into(), "p".into())]);
        let mounts = disk.mounts(&json!({"name": "main", "volumeMounts": mounts}), &env);
        (directory, mounts)
    }

    #[test]
    fn a_mount_shows_a_volume_at_a_path() {
        let (directory, mounts) = mounted(&json!([
            {"name": "info", "mountPath": "/etc/podinfo"},
            {"name": "scratch", "mountPath": "/tmp"},
            {"name": "scratch", "mountPath": "/ro", "readOnly": true},
        ]));
        let mounts = mounts.unwrap();
        assert_eq!(mounts[0].host_path, directory.path().join("volumes/kubernetes.io~downward-api/info"));
        assert_eq!(mounts[0].downward_items[0]["path"], "labels");
        let shown: Vec<_> = mounts.iter().map(|mount| (mount.mount_path.as_str(), mount.read_only)).collect();
        assert_eq!(shown, [("/etc/podinfo", true), ("/tmp", false), ("/ro", true)]);
    }

    #[test]
    fn what_a_sub_path_names_is_a_copy() {
        let (_directory, mounts) = mounted(&json!([
            {"name": "info", "mountPath": "/f", "subPath": "labels"},
            {"name": "info", "mountPath": "/d", "subPath": "deep"},
            {"name": "info", "mountPath": "/none", "subPath": "none"},
            {"name": "scratch", "mountPath": "/s", "subPathExpr": "of/$(POD_NAME)"},
        ]));
        let mounts = mounts.unwrap();
        assert_eq!(fs::read_to_string(&mounts[0].host_path).unwrap(), "l");
        assert_eq!(fs::metadata(&mounts[0].host_path).unwrap().permissions().mode() & 0o777, 0o440);
        assert!(mounts[0].downward_items.is_empty());
        assert_eq!(fs::read_to_string(mounts[1].host_path.join("er/b")).unwrap(), "b");
        assert_eq!(fs::read_dir(&mounts[2].host_path).unwrap().count(), 0);
        assert!(mounts[3].host_path.ends_with("scratch/of/p") && mounts[3].host_path.is_dir());
    }

    #[test]
    fn a_mount_of_nothing_or_out_of_the_volume_is_refused() {
        let told = |mount: Value| mounted(&json!([mount])).1.unwrap_err().to_string();
        assert_eq!(told(json!({"name": "none", "mountPath": "/x"})), "the pod has no volume \"none\"");
        assert_eq!(
            told(json!({"name": "scratch", "mountPath": "/x", "subPath": "../.."})),
            "volume \"scratch\" cannot be set up"
        );
    }
}
