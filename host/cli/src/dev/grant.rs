//! The development grant, for an extension without a grant of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use attache::policy::{CredentialsMode, CredentialsMount, Grant, MAX_PODINFO_MOUNTS, MountPath, PodInfoMount, Rule};
use attache_devcluster::kubelet::{Container, FileSource, MountPoint, VolumeFile};

use super::sandbox;
use crate::grants;
use crate::stderr::say;

/// The deadline: an extension under development may wait for its author.
const DEADLINE: Duration = Duration::from_hours(1);

/// The CPU time: a guest that runs away is still stopped after a minute.
const CPU: Duration = Duration::from_mins(1);

/// Makes and prints the development grant: the container's Downward API volume and env, reading in the pod's namespace,
/// and the credentials that code written for a container looks for. RBAC still judges the pod's service account.
pub(super) fn development(component: &Path, namespace: &str, container: &Container) -> anyhow::Result<Grant> {
    let mut grant = grants::read(None, component)?;
    grant.podinfo = podinfo(container)?;
    // All variables of the manifest, and the kubelet's variables that clients look for. The rest are links from the
    // days of Docker, whose names even contain the port.
    grant.env = container.env.keys().filter(|name| !container.links.contains(*name)).cloned().collect();
    if sandbox::service_account_mount(container).is_some() {
        grant.api.push(reading(namespace));
        grant.credentials.mode = CredentialsMode::Scoped;
    }
    grant.limits.deadline = DEADLINE;
    grant.limits.cpu = CPU;
    print(&grant);
    Ok(grant)
}

/// Returns the mounts of Downward API files, as many as a grant may have, without those that lie within another mount.
fn podinfo(container: &Container) -> anyhow::Result<Vec<PodInfoMount>> {
    let account = CredentialsMount::default().mount_path;
    let mut mounts: Vec<PodInfoMount> = Vec::new();
    for mount in sandbox::podinfo_mounts(container) {
        let path = mount.mount_path.parse::<MountPath>();
        let mount_path = path.with_context(|| format!("the mount path {:?}", mount.mount_path))?;
        let within = mount_path.overlaps(&account) || mounts.iter().any(|one| one.mount_path.overlaps(&mount_path));
        if !within && mounts.len() < MAX_PODINFO_MOUNTS {
            mounts.push(PodInfoMount { mount_path, items: downward_files(mount), sub_path: mount.sub_path.clone() });
        }
    }
    Ok(mounts)
}

/// Returns the Downward API files of a volume that also holds others, such as secrets; `None` if all of its files are
/// Downward API files.
fn downward_files(mount: &MountPoint) -> Option<Vec<String>> {
    let is_downward = |file: &&VolumeFile| file.source == FileSource::DownwardApi;
    let mixed = !mount.files.iter().all(|file| is_downward(&file));
    mixed.then(|| mount.files.iter().filter(is_downward).map(|file| file.path.clone()).collect())
}

fn reading(namespace: &str) -> Rule {
    Rule::default().api_groups(["*"]).resources(["*"]).verbs(["get", "list", "watch"]).namespaces([namespace])
}

fn print(grant: &Grant) {
    say!("No --grant is given; this development grant holds, and is a start for one of your own:");
    say!("");
    for line in grant.to_yaml().lines() {
        say!("  {line}");
    }
    say!("");
}
