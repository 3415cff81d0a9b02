//! The mounts of a container: host directories and files, and their paths in the container.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use attache_base::volume::{File, RelativePath};
use serde_json::Value;

use super::KubeletError;
use super::env::{Environment, expand};
use super::pod::{ContentError, text};
use super::volumes::{FileSource, Files, VolumeFile, directory, kind};

/// One mount of a container.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MountPoint {
    /// The volume's name.
    pub volume: String,
    /// The source of the mount: a directory of the host, or one file if the mount's `subPath` names one.
    pub host_path: PathBuf,
    /// The absolute path in the container.
    pub mount_path: String,
    /// The part of the volume that is mounted, from `subPath` or `subPathExpr` with its variables replaced. Such a
    /// mount of a volume that the kubelet writes never updates.
    pub sub_path: Option<String>,
    /// True if the container may not write. Volumes that the kubelet writes are always read-only.
    pub read_only: bool,
    /// The files of the mount when the pod was started, by their paths in the volume. Other files came later, from a
    /// whole `ConfigMap` or Secret. Empty for an `emptyDir`.
    pub files: Vec<VolumeFile>,
    /// The files that the pod's spec asks for and this kubelet does not write.
    pub left_out: Vec<VolumeFile>,
}

impl MountPoint {
    /// Returns the definitions of those files that hold Downward API content, as written in the pod's spec.
    pub fn downward_items(&self) -> impl Iterator<Item = &Value> {
        self.files.iter().filter(|file| file.source == FileSource::DownwardApi).map(|file| &file.item)
    }

    /// Returns whether the mount is a single file of a volume that the kubelet writes.
    pub fn is_file(&self) -> bool {
        self.sub_path.is_some() && self.files.iter().any(|file| Some(&file.path) == self.sub_path.as_ref())
    }
}

/// A mount of a volume that this kubelet does not have: storage, the host's directories, drivers, images.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AbsentMount {
    /// The volume's name.
    pub volume: String,
    /// The kind of the volume, as its field in the pod's spec is named: `persistentVolumeClaim`, `hostPath`, …
    pub kind: String,
    /// The path in the container: the `mountPath`, or the `devicePath` of a block device.
    pub mount_path: String,
}

/// The mounts of one container.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) present: Vec<MountPoint>,
    pub(super) absent: Vec<AbsentMount>,
}

/// The volumes of a pod on disk.
pub(super) struct Disk<'a> {
    /// The pod's directory.
    pub(super) pod: &'a Path,
    /// The volumes of the spec.
    pub(super) volumes: &'a [Value],
    /// The files of the volumes that the kubelet writes, by the volume's name.
    pub(super) files: &'a BTreeMap<String, Files>,
}

impl Disk<'_> {
    /// Returns the mounts of a container, in the order of its spec. The target of a `subPath` is copied now and never
    /// updates.
    pub(super) fn mounts(&self, container: &Value, env: &Environment) -> Result<Mounts, KubeletError> {
        let each = |field: &str| container.get(field).and_then(Value::as_array).into_iter().flatten();
        let mut mounts = Mounts::default();
        for (index, mount) in each("volumeMounts").enumerate() {
            let volume = self.volume(text(mount, "name"))?;
            match directory(volume) {
                Some(directory) => {
                    let own: PathBuf =
                        ["volume-subpaths", text(volume, "name"), text(container, "name"), &index.to_string()]
                            .iter()
                            .collect();
                    mounts.present.push(self.mount(mount, &directory, &own, env)?);
                }
                None => mounts.absent.push(absent(volume, text(mount, "mountPath"))),
            }
        }
        for device in each("volumeDevices") {
            let volume = self.volume(text(device, "name"))?;
            mounts.absent.push(absent(volume, text(device, "devicePath")));
        }
        Ok(mounts)
    }

    fn volume(&self, name: &str) -> Result<&Value, KubeletError> {
        let found = self.volumes.iter().find(|volume| text(volume, "name") == name);
        found.ok_or_else(|| KubeletError::NoVolume(name.into()))
    }

    /// Returns a mount of the volume in `directory`. A copy of a part of the volume goes to `own`. Both are below the
    /// pod's directory.
    fn mount(
        &self,
        mount: &Value,
        directory: &Path,
        own: &Path,
        env: &Environment,
    ) -> Result<MountPoint, KubeletError> {
        let name = text(mount, "name");
        let whole = self.pod.join(directory);
        let sub_path = sub_path(mount, env);
        let sub_path = sub_path.map_err(|source| KubeletError::Volume { volume: name.into(), source })?;
        let host_path = match &sub_path {
            None => whole,
            Some(path) => self.part(name, &whole, path, &self.pod.join(own))?,
        };
        let files = self.files.get(name);
        let read_only = mount.get("readOnly").and_then(Value::as_bool).unwrap_or(false);
        Ok(MountPoint {
            volume: name.into(),
            host_path,
            mount_path: text(mount, "mountPath").to_owned(),
            read_only: read_only || files.is_some(),
            files: files.map(|files| files.at(sub_path.as_ref())).unwrap_or_default(),
            left_out: files.map(|files| files.left_out_of(sub_path.as_ref())).unwrap_or_default(),
            sub_path: sub_path.map(|path| path.to_string()),
        })
    }

    /// Returns a part of a volume: the live directory of an `emptyDir`, or else a copy in a directory of its own.
    fn part(&self, volume: &str, whole: &Path, path: &RelativePath, own: &Path) -> Result<PathBuf, KubeletError> {
        let Some(files) = self.files.get(volume) else {
            let part = whole.join(path);
            make(&part)?;
            return Ok(part);
        };
        make(own)?;
        if let Some(file) = files.projections.get(path) {
            let copy = own.join(path.elements().last().unwrap_or_default());
            copy_file(&copy, file)?;
            return Ok(copy);
        }
        let below = format!("{path}/");
        for (path, file) in &files.projections {
            if let Some(rest) = path.as_str().strip_prefix(&below) {
                let copy = own.join(rest);
                make(copy.parent().unwrap_or(own))?;
                copy_file(&copy, file)?;
            }
        }
        Ok(own.to_path_buf())
    }
}

fn absent(volume: &Value, mount_path: &str) -> AbsentMount {
    AbsentMount { volume: text(volume, "name").into(), kind: kind(volume).into(), mount_path: mount_path.into() }
}

fn sub_path(mount: &Value, env: &Environment) -> Result<Option<RelativePath>, ContentError> {
    let expression = text(mount, "subPathExpr");
    let path = if expression.is_empty() { text(mount, "subPath").to_owned() } else { expand(expression, &[env]) };
    if path.is_empty() { Ok(None) } else { Ok(Some(RelativePath::new(&path)?)) }
}

fn make(directory: &Path) -> Result<(), KubeletError> {
    fs::create_dir_all(directory).map_err(KubeletError::files("make", directory))
}

fn copy_file(path: &Path, file: &File) -> Result<(), KubeletError> {
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

    use super::{Disk, Environment, KubeletError, Mounts};
    use crate::kubelet::volumes::{FileSource, Files};

    fn mounted(mounts: &Value) -> (tempfile::TempDir, Result<Mounts, KubeletError>) {
        let directory = tempfile::tempdir().unwrap();
        let volumes = [
            json!({"name": "info", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}),
            json!({"name": "scratch", "emptyDir": {}}),
            json!({"name": "disk", "persistentVolumeClaim": {"claimName": "c"}}),
        ];
        let mut files = Files::default();
        let mut add = |path: &str, text: &str, mode, source| {
            files.add(path, text.into(), mode, (source, &json!({"path": path}))).unwrap();
        };
        add("labels", "l", 0o440, FileSource::DownwardApi);
        add("deep/a", "a", 0o644, FileSource::ConfigMap);
        add("deep/er/b", "b", 0o644, FileSource::DownwardApi);
        files.leave_out("deep/ca.pem", FileSource::ClusterTrustBundle, &json!({}));
        let files = BTreeMap::from([("info".to_owned(), files)]);
        let disk = Disk { pod: directory.path(), volumes: &volumes, files: &files };
        let env = Environment::from([("POD_NAME".into(), "p".into())]);
        let devices = json!([{"name": "disk", "devicePath": "/dev/xvda"}]);
        let mounts = disk.mounts(&json!({"name": "main", "volumeMounts": mounts, "volumeDevices": devices}), &env);
        (directory, mounts)
    }

    #[test]
    fn a_mount_shows_a_volume_at_a_path() {
        let (directory, mounts) = mounted(&json!([
            {"name": "info", "mountPath": "/etc/podinfo"},
            {"name": "scratch", "mountPath": "/tmp"},
            {"name": "scratch", "mountPath": "/ro", "readOnly": true},
        ]));
        let mounts = mounts.unwrap().present;
        assert_eq!(mounts[0].host_path, directory.path().join("volumes/kubernetes.io~downward-api/info"));
        let items: Vec<_> = mounts[0].downward_items().map(|item| item["path"].clone()).collect();
        assert_eq!(items, ["deep/er/b", "labels"]);
        assert_eq!((mounts[0].files.len(), mounts[0].left_out.len()), (3, 1));
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
        let mounts = mounts.unwrap().present;
        assert_eq!(fs::read_to_string(&mounts[0].host_path).unwrap(), "l");
        assert_eq!(fs::metadata(&mounts[0].host_path).unwrap().permissions().mode() & 0o777, 0o440);
        let seen: Vec<_> =
            mounts.iter().map(|mount| (mount.files.len(), mount.left_out.len(), mount.is_file())).collect();
        assert_eq!(seen, [(1, 0, true), (2, 1, false), (0, 0, false), (0, 0, false)]);
        let parts: Vec<_> = mounts.iter().map(|mount| mount.sub_path.as_deref()).collect();
        assert_eq!(parts, [Some("labels"), Some("deep"), Some("none"), Some("of/p")]);
        assert_eq!(fs::read_to_string(mounts[1].host_path.join("er/b")).unwrap(), "b");
        assert_eq!(fs::read_dir(&mounts[2].host_path).unwrap().count(), 0);
        assert!(mounts[3].host_path.ends_with("scratch/of/p") && mounts[3].host_path.is_dir());
    }

    #[test]
    fn a_mount_of_a_volume_that_is_not_to_be_had_is_named() {
        let (_directory, mounts) = mounted(&json!([
            {"name": "disk", "mountPath": "/data", "subPath": "../x"}, {"name": "scratch", "mountPath": "/tmp"},
        ]));
        let mounts = mounts.unwrap();
        assert_eq!(mounts.present.len(), 1);
        let absent = mounts.absent.iter().map(|mount| (&*mount.volume, &*mount.kind, &*mount.mount_path));
        let expected = [("disk", "persistentVolumeClaim", "/data"), ("disk", "persistentVolumeClaim", "/dev/xvda")];
        assert_eq!(absent.collect::<Vec<_>>(), expected);
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
