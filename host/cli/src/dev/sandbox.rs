//! From what a container would have seen to what the runtime is made with.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use attache::cluster::{ApiClientSettings, KubeconfigContext};
use attache::credentials::{DEFAULT_DIR, ServiceAccount};
use attache::extension::RuntimeBuilder;
use attache::podinfo::{EnvField, Item, PodInfo, PodVolume};
use attache::policy::{CredentialsMode, Grant, MountPath, PodInfoMount};
use attache::telemetry::Audit;
use attache_devcluster::kubelet::{Container, FileSource, MountPoint};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api_server::{self, Asker};
use crate::settings::{self, Variables};
use crate::stderr::say;

/// The mounts with Downward API files, in the container's order: whole volumes and single files. The service account's
/// volume has such a file too, its namespace, and is none of them.
pub(super) fn podinfo_mounts(container: &Container) -> impl Iterator<Item = &MountPoint> {
    let mounts = container.mounts.iter().filter(|mount| !is_at(mount, DEFAULT_DIR));
    mounts.filter(|mount| (mount.sub_path.is_none() || mount.is_file()) && mount.downward_items().next().is_some())
}

/// The mount of the service account's volume, if the pod has one.
pub(super) fn service_account_mount(container: &Container) -> Option<&MountPoint> {
    container.mounts.iter().find(|mount| is_at(mount, DEFAULT_DIR))
}

/// Returns whether a mount is at this path, of which `/run` and `/var/run` are one directory.
fn is_at(mount: &MountPoint, path: &str) -> bool {
    let (own, path) = (mount.mount_path.parse::<MountPath>(), path.parse::<MountPath>());
    own.is_ok_and(|own| path.is_ok_and(|path| own.canonical() == path.canonical()))
}

/// Gives the runtime as much of the container as the grant asks for, and resolves the grant's `$(…)`.
pub(super) async fn furnish(
    runtime: RuntimeBuilder,
    grant: Grant,
    name: &str,
    container: &Container,
    elsewhere: Option<&KubeconfigContext>,
    audit: &Arc<dyn Audit>,
) -> anyhow::Result<(RuntimeBuilder, Grant)> {
    let account = service_account_mount(container).map(|mount| mount.host_path.clone());
    let account = ServiceAccount::at(account.unwrap_or_else(|| DEFAULT_DIR.into()));
    let grant = api_server::resolved(grant, &container.env, &Asker::Account(account.clone()))?;
    settings::tell_empty_promises(&grant, &container.env);
    let mut runtime = runtime.variables(container.env.clone()).pod_info(podinfo(&grant, name, container)?);
    if let Some(mount) = service_account_mount(container)
        && grant.credentials.mode != CredentialsMode::None
    {
        runtime = runtime.service_account(&mount.host_path);
    }
    if !grant.api.is_empty() {
        let variable = |name: &str| container.env.get(name).cloned();
        let settings = match elsewhere {
            None => ApiClientSettings::in_cluster(variable, account, Arc::clone(audit))?,
            // Where it is and whom to trust is the kubeconfig's to say, who asks is the pod's account.
            Some(context) => {
                context.settings(Arc::clone(audit)).credentials(context.credentials.clone().as_account(&account))
            }
        };
        runtime = runtime.cluster(api_server::reach(settings, Duration::ZERO).await?);
    }
    warn_of_the_rest(&grant, container);
    Ok((runtime, grant))
}

/// The mount of the container that a mount of the grant shows.
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

/// What the pod tells of itself. The manifest says what each file is, so that nothing is guessed by its name.
fn podinfo(grant: &Grant, name: &str, container: &Container) -> anyhow::Result<PodInfo> {
    let env: Vec<EnvField> = read_all(&container.downward_env)?;
    let mut builder = PodInfo::builder().container(name).env(env).variables(container.env.clone());
    for asked in &grant.podinfo {
        let mount = podinfo_volume(asked, name, container)?;
        let items: Vec<Item> = read_all(mount.downward_items())?;
        settings::tell_missing_items(asked, &mount.host_path);
        let volume = PodVolume::new(asked.mount_path.clone(), &mount.host_path).items(items);
        builder = builder.mount(mount.sub_path.iter().fold(volume, PodVolume::sub_path));
    }
    builder.build().context("the Downward API items of the pod")
}

fn read_all<'e, T: DeserializeOwned>(entries: impl IntoIterator<Item = &'e Value>) -> anyhow::Result<Vec<T>> {
    let read = entries.into_iter().map(|entry| serde_json::from_value(entry.clone()));
    read.collect::<Result<_, _>>().context("an entry of the pod's spec for the Downward API")
}

/// Says which of the container's mounts the guest does not get.
fn warn_of_the_rest(grant: &Grant, container: &Container) {
    for mount in &container.mounts {
        let shown = grant.podinfo.iter().any(|asked| is_at(mount, asked.mount_path.as_str()));
        if !shown && !is_at(mount, DEFAULT_DIR) {
            let why = match mount.downward_items().next() {
                Some(_) => "the grant does not name it: add it to `podinfo`",
                None => "a grant has no place for it",
            };
            say!("Volume {:?} at {} is not mounted: {why}.", mount.volume, mount.mount_path);
        }
        tell_left_out(mount);
    }
    for mount in &container.absent {
        let (volume, path, kind) = (&mount.volume, &mount.mount_path, &mount.kind);
        say!("Volume {volume:?} at {path} is not mounted: it is of kind {kind}, which `dev` does not have.");
    }
}

/// Says which files of a mount are not written.
fn tell_left_out(mount: &MountPoint) {
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

/// Says what the container has, for a person who looks at it without an extension.
pub(super) fn tell(name: &str, container: &Container) {
    say!("");
    say!("Container {name:?} has these mounts:");
    for mount in &container.mounts {
        say!("  {} is {}", mount.mount_path, mount.host_path.display());
    }
    for mount in &container.absent {
        say!("  {} is volume {:?} of kind {}, which `dev` does not have", mount.mount_path, mount.volume, mount.kind);
    }
    container.mounts.iter().for_each(tell_left_out);
    say!("and this env:");
    let variables: &Variables = &container.env;
    for (name, value) in variables {
        say!("  {name}={value}");
    }
    say!("All stays up until Ctrl-C, or until the pod is deleted.");
}
