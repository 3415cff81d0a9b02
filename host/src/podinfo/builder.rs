//! Puts a [`PodInfo`] together.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::PodInfo;
use super::defaults;
use super::field::Meaning;
use super::follow::Following;
use super::item::{self, EnvField, Item, ItemError};
use super::record::{Record, Sources, Variable, VolumeSource};
use super::view::Sight;
use crate::policy::MountPath;
use crate::volume::RelativePath;

/// One Downward API volume as a container sees it, or a single file of it.
///
/// ```
/// use attache::podinfo::{PodInfo, PodVolume};
///
/// let labels = PodVolume::new("/etc/podlabels".parse()?, "/etc/podlabels");
/// let zone = PodVolume::new("/etc/app/zone".parse()?, "/etc/app/zone").sub_path("zone");
/// let pod = PodInfo::builder().mount(labels).mount(zone).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PodVolume {
    mount_path: MountPath,
    host_path: PathBuf,
    sub_path: Option<String>,
    items: Option<Vec<Item>>,
}

impl PodVolume {
    /// Returns a volume that containers see at `mount_path` and that lies at `host_path` on the host.
    pub fn new(mount_path: MountPath, host_path: impl Into<PathBuf>) -> Self {
        Self { mount_path, host_path: host_path.into(), sub_path: None, items: None }
    }

    /// Mounts a single file of the volume, by its path in the volume. `host_path` is the volume's directory, or the
    /// file itself, as in a container that mounts it. The file is read once: as in Kubernetes it never changes.
    #[must_use]
    pub fn sub_path(mut self, path: impl Into<String>) -> Self {
        self.sub_path = Some(path.into());
        self
    }

    /// Sets the pod spec's `downwardAPI.items` of this volume. Without this call, files have the meanings of their
    /// names.
    #[must_use]
    pub fn items(mut self, items: Vec<Item>) -> Self {
        self.items = Some(items);
        self
    }
}

/// The shortest poll period: without a pause the thread would do nothing else.
const SHORTEST_POLL_PERIOD: Duration = Duration::from_millis(1);

/// The projected files and variables, and the way to follow them. Without a volume and variables, a pod knows nothing
/// of itself.
#[derive(Debug, Default)]
pub struct PodInfoBuilder {
    volume: Option<PathBuf>,
    mounts: Vec<PodVolume>,
    items: Option<Vec<Item>>,
    env: Option<Vec<EnvField>>,
    variables: Vec<(String, String)>,
    container: Option<String>,
    following: Following,
}

impl PodInfoBuilder {
    /// Sets the directory of the pod's only Downward API volume. Guests see the volume wherever their grant mounts it.
    /// It may appear later, disappear, and appear again.
    #[must_use]
    pub fn volume(mut self, dir: impl Into<PathBuf>) -> Self {
        self.volume = Some(dir.into());
        self
    }

    /// Adds one of several volumes, or a single file of one, by the path where the container sees it.
    #[must_use]
    pub fn mount(mut self, volume: PodVolume) -> Self {
        self.mounts.push(volume);
        self
    }

    /// Sets the pod spec's `downwardAPI.items`, for each volume that has no items of its own. Without this call, files
    /// have the meanings of their names, see [the module](super).
    #[must_use]
    pub fn items(mut self, items: Vec<Item>) -> Self {
        self.items = Some(items);
        self
    }

    /// Sets the pod spec's `env` of the own container. Without this call, variables have the meanings of their names,
    /// see [the module](super).
    #[must_use]
    pub fn env(mut self, env: Vec<EnvField>) -> Self {
        self.env = Some(env);
        self
    }

    /// Adds the variables with which the container was started. If two have the same name, the later one counts.
    #[must_use]
    pub fn variables<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        self.variables.extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Sets the name of the own container, to which variables without `containerName` belong.
    #[must_use]
    pub fn container(mut self, name: impl Into<String>) -> Self {
        self.container = Some(name.into());
        self
    }

    /// Sets the time between two looks at the volume where inotify reports nothing. The default is
    /// [`POLL_PERIOD`](super::POLL_PERIOD), the minimum 1 ms.
    #[must_use]
    pub fn poll_period(mut self, period: Duration) -> Self {
        self.following.poll_period = period.max(SHORTEST_POLL_PERIOD);
        self
    }

    /// Never uses inotify, but looks at the volume every [`poll_period`](Self::poll_period). This is for file systems
    /// on which inotify does not work although the host does not know that.
    #[must_use]
    pub fn without_inotify(mut self) -> Self {
        self.following.inotify = false;
        self
    }

    /// Reads the volume for the first time. A volume that cannot be read is no error here, since it may come.
    ///
    /// # Errors
    /// At the first item or variable that an API server would refuse.
    pub fn build(self) -> Result<PodInfo, ItemError> {
        let sources = Sources {
            volumes: volumes(self.volume, self.mounts, self.items.as_deref())?,
            variables: variables(self.variables, self.env.as_deref())?,
            container: self.container.filter(|name| !name.is_empty()),
        };
        let sight = Sight::all(sources.volumes.len());
        let record = Arc::new(Record::new(sources, self.following));
        let view = record.view(sight);
        Ok(PodInfo { record, view })
    }
}

fn volumes(
    only: Option<PathBuf>,
    mounts: Vec<PodVolume>,
    items: Option<&[Item]>,
) -> Result<Vec<VolumeSource>, ItemError> {
    let files = |items: Option<&[Item]>| items.map_or_else(|| Ok(defaults::file_sources()), item::file_sources);
    let mut volumes = Vec::new();
    for mount in mounts {
        let sub_path = mount.sub_path.as_deref().map(RelativePath::new).transpose()?;
        let mut files = files(mount.items.as_deref().or(items))?;
        if let Some(path) = &sub_path {
            files.retain(|file| file.path == *path);
        }
        volumes.push(VolumeSource { host_path: mount.host_path, mount_path: Some(mount.mount_path), sub_path, files });
    }
    if let Some(host_path) = only {
        volumes.push(VolumeSource { host_path, mount_path: None, sub_path: None, files: files(items)? });
    }
    Ok(volumes)
}

/// Returns the variables that hold a fact of the pod, in the order of the spec. Without a spec they are sorted by name.
fn variables(given: Vec<(String, String)>, env: Option<&[EnvField]>) -> Result<Vec<Variable>, ItemError> {
    let mut values: HashMap<String, String> = given.into_iter().collect();
    let Some(env) = env else {
        let mut meant: Vec<_> = values
            .into_iter()
            .filter_map(|(name, value)| {
                defaults::variable_meaning(&name).map(|meaning| Variable { name, value, meaning })
            })
            .collect();
        meant.sort_by(|one, other| one.name.cmp(&other.name));
        return Ok(meant);
    };
    let mut meanings: Vec<(&str, Option<Meaning>)> = Vec::with_capacity(env.len());
    for field in env {
        // Kubernetes lets a name stand twice, and gives the container the later value.
        meanings.retain(|(name, _)| *name != field.name);
        meanings.push((&field.name, field.meaning()?));
    }
    let meant =
        meanings.into_iter().filter_map(|(name, meaning)| Some((name.to_owned(), values.remove(name)?, meaning?)));
    Ok(meant.map(|(name, value, meaning)| Variable { name, value, meaning }).collect())
}
