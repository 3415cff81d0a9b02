//! The sandbox for a container of the manifest: its mounts, its variables, and the volumes left out.

use std::path::PathBuf;

use anyhow::{Context, bail};
use attache::credentials::DEFAULT_DIR;
use attache::podinfo::{EnvField, Item, PodInfo, PodVolume};
use attache::policy::{Grant, MountPath, PodInfoMount};
use attache_devcluster::kubelet::{Container, FileSource, MountPoint};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::grants::warn_of_missing_items;
use crate::stderr::say;
use crate::surroundings::{Variables, Volumes};

/// Returns the mounts with Downward API files, in the container's order: whole volumes and single files. The service
/// account's volume is left out, although its namespace file is such a file.
pub(super) fn podinfo_mounts(container: &Container) -> impl Iterator<Item = &MountPoint> {
    let mounts = container.mounts.iter().filter(|mount| !is_at(mount, DEFAULT_DIR));
    mounts.filter(|mount| (mount.sub_path.is_none() || mount.is_file()) && mount.downward_items().next().is_some())
}

/// Returns the mount of the service account's volume, if the pod has one.
pub(super) fn service_account_mount(container: &Container) -> Option<&MountPoint> {
    container.mounts.iter().find(|mount| is_at(mount, DEFAULT_DIR))
}

/// Returns whether a mount is at this path. `/run` and `/var/run` are one directory.
fn is_at(mount: &MountPoint, path: &str) -> bool {
    let (own, path) = (mount.mount_path.parse::<MountPath>(), path.parse::<MountPath>());
    own.is_ok_and(|own| path.is_ok_and(|path| own.canonical() == path.canonical()))
}

/// The Downward API volumes of a played container, and its service account's.
pub(crate) struct ContainerVolumes<'a> {
    /// The container's name.
    pub(crate) name: &'a str,
    /// The container.
    pub(crate) container: &'a Container,
}

impl ContainerVolumes<'_> {
    /// Returns the directory of the service account's volume, if the pod has one.
    pub(crate) fn service_account(&self) -> Option<PathBuf> {
        service_account_mount(self.container).map(|mount| mount.host_path.clone())
    }

    /// Returns the container's variables.
    pub(crate) fn variables(&self) -> &Variables {
        &self.container.env
    }
}

impl Volumes for ContainerVolumes<'_> {
    /// Returns the metadata of the pod. The manifest gives the meaning of each file, so no name is interpreted.
    fn pod_info(&self, grant: &Grant, variables: &Variables) -> anyhow::Result<PodInfo> {
        let env: Vec<EnvField> = read_all(&self.container.downward_env)?;
        let mut builder = PodInfo::builder().container(self.name).env(env).variables(variables.clone());
        for asked in &grant.podinfo {
            let mount = podinfo_volume(asked, self.name, self.container)?;
            let items: Vec<Item> = read_all(mount.downward_items())?;
            warn_of_missing_items(asked, &mount.host_path);
            let volume = PodVolume::new(asked.mount_path.clone(), &mount.host_path).items(items);
            builder = builder.mount(mount.sub_path.iter().fold(volume, PodVolume::sub_path));
        }
        builder.build().context("the Downward API items of the pod")
    }
}

/// Returns the mount of the container that a mount of the grant shows.
fn podinfo_volume<'a>(asked: &PodInfoMount, name: &str, container: &'a Container) -> anyhow::Result<&'a MountPoint> {
    let path = asked.mount_path.as_str();
    match podinfo_mounts(container).find(|mount| is_at(mount, path)) {
        Some(found) if found.sub_path == asked.sub_path => Ok(found),
        Some(MountPoint { sub_path: Some(file), .. }) => {
            bail!(
                "container {name:?} of the manifest mounts a single file at {path}: the grant has to say subPath: {file}"
            )
        }
        Some(_) => {
            bail!("container {name:?} of the manifest mounts a whole volume at {path}: the grant has no subPath there")
        }
        None => {
            let there: Vec<_> = podinfo_mounts(container).map(|mount| mount.mount_path.as_str()).collect();
            let there =
                if there.is_empty() { "none at all".to_owned() } else { format!("one at {}", there.join(" and ")) };
            bail!(
                "the grant mounts a Downward API volume at {path}, but container {name:?} of the manifest has {there}"
            )
        }
    }
}

fn read_all<'e, T: DeserializeOwned>(entries: impl IntoIterator<Item = &'e Value>) -> anyhow::Result<Vec<T>> {
    let read = entries.into_iter().map(|entry| serde_json::from_value(entry.clone()));
    read.collect::<Result<_, _>>().context("an entry of the pod's spec for the Downward API")
}

/// Prints the mounts of the container that the guest does not get.
pub(super) fn warn_of_the_rest(grant: &Grant, container: &Container) {
    for mount in &container.mounts {
        let shown = grant.podinfo.iter().any(|asked| is_at(mount, asked.mount_path.as_str()));
        if !shown && !is_at(mount, DEFAULT_DIR) {
            let why = match mount.downward_items().next() {
                Some(_) => "the grant does not name it: add it to `podinfo`",
                None => "a grant has no place for it",
            };
            say!("Volume {:?} at {} is not mounted: {why}.", mount.volume, mount.mount_path);
        }
        print_left_out(mount);
    }
    for mount in &container.absent {
        let (volume, path, kind) = (&mount.volume, &mount.mount_path, &mount.kind);
        say!("Volume {volume:?} at {path} is not mounted: it is of kind {kind}, which `dev` does not have.");
    }
}

/// Prints the files of a mount that the guest does not get.
fn print_left_out(mount: &MountPoint) {
    for file in &mount.left_out {
        let source = match file.source {
            FileSource::ClusterTrustBundle => "a clusterTrustBundle",
            FileSource::PodCertificate => "a podCertificate",
            _ => "a source",
        };
        let (file, volume) = (&file.path, &mount.volume);
        say!("Volume {volume:?} lacks its file {file:?}: it comes of {source}, which `dev` does not have.");
    }
}

/// Prints the container's mounts and variables, for a user without an extension.
pub(super) fn print(name: &str, container: &Container) {
    say!("");
    say!("Container {name:?} has these mounts:");
    for mount in &container.mounts {
        say!("  {} is {}", mount.mount_path, mount.host_path.display());
    }
    for mount in &container.absent {
        say!("  {} is volume {:?} of kind {}, which `dev` does not have", mount.mount_path, mount.volume, mount.kind);
    }
    container.mounts.iter().for_each(print_left_out);
    say!("and this env:");
    let variables: &Variables = &container.env;
    for (name, value) in variables {
        say!("  {name}={value}");
    }
    say!("All stays up until Ctrl-C, or until the pod is deleted.");
}
