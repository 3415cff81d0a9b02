//! The Downward API volumes of this process's pod, and the flags that name others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use attache::podinfo::{Item, PodInfo, PodVolume};
use attache::policy::{Grant, MountPath, PodInfoMount};

use crate::exit::WrongCommandLine;
use crate::grants::{text, warn_of_missing_items};
use crate::surroundings::{OUTSIDE, Variables, Volumes};

/// One `--podinfo`: a directory, and the mount path for which it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedVolume {
    mount_path: Option<MountPath>,
    directory: PathBuf,
}

impl FromStr for NamedVolume {
    type Err = std::convert::Infallible;

    /// Reads `[MOUNTPATH=]DIR`. If the text before `=` is no mount path, the whole text is a directory.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = text.split_once('=').and_then(|(path, directory)| Some((path.parse().ok()?, directory)));
        Ok(match named {
            Some((path, directory)) => Self { mount_path: Some(path), directory: directory.into() },
            None => Self { mount_path: None, directory: text.into() },
        })
    }
}

/// The directories of the pod's Downward API volumes, and the meaning of their files.
#[derive(Default)]
pub(crate) struct PodVolumes {
    /// The directory of the one volume, whatever its mount path.
    only: Option<PathBuf>,
    /// Directories by canonical mount path.
    named: BTreeMap<String, PathBuf>,
    /// A file with a list of `downwardAPI.items`.
    items: Option<PathBuf>,
}

impl PodVolumes {
    /// Sorts the volumes of the command line.
    ///
    /// # Errors
    /// When two volumes have the same mount path, or two have none.
    pub(crate) fn of(volumes: &[NamedVolume], items: Option<&Path>) -> Result<Self, WrongCommandLine> {
        let mut sorted = Self { items: items.map(Path::to_owned), ..Self::default() };
        for NamedVolume { mount_path, directory } in volumes {
            match mount_path {
                Some(path) => {
                    if sorted.named.insert(path.canonical().to_owned(), directory.clone()).is_some() {
                        return Err(WrongCommandLine::new(format!("--podinfo: {path} is given twice")));
                    }
                }
                None => {
                    if sorted.only.replace(directory.clone()).is_some() {
                        let directory = directory.display();
                        let advice = "say MOUNTPATH=DIR where there are several";
                        return Err(WrongCommandLine::new(format!("--podinfo {directory}: {advice}")));
                    }
                }
            }
        }
        Ok(sorted)
    }

    /// Compares the flags with the grant.
    fn check(&self, grant: &Grant) -> anyhow::Result<()> {
        if self.only.is_some() && grant.podinfo.len() > 1 {
            bail!("--podinfo: the grant mounts {} volumes, so say MOUNTPATH=DIR for each", grant.podinfo.len());
        }
        if self.only.is_some() && grant.podinfo.is_empty() {
            tracing::warn!(
                "--podinfo is not used: the grant mounts no Downward API volume (`podinfo: {{}}` in its spec does)"
            );
        }
        let is_mounted = |path: &String| grant.podinfo.iter().any(|mount| mount.mount_path.canonical() == path);
        match self.named.keys().find(|path| !is_mounted(path)) {
            Some(path) => bail!("--podinfo {path}=…: the grant mounts nothing there"),
            None => Ok(()),
        }
    }

    /// Returns the directory or file on the host that a mount of the grant shows.
    fn host_path(&self, mount: &PodInfoMount) -> anyhow::Result<PathBuf> {
        let named = self.named.get(mount.mount_path.canonical()).or(self.only.as_ref());
        let path = named.cloned().unwrap_or_else(|| PathBuf::from(mount.mount_path.as_str()));
        let there = if mount.sub_path.is_some() { path.exists() } else { path.is_dir() };
        if !there {
            bail!(
                "the grant mounts the pod's Downward API volume, and there is none at {}: mount it there in the pod spec, \
                 or say --podinfo DIR. {OUTSIDE}",
                path.display()
            );
        }
        Ok(path)
    }
}

impl Volumes for PodVolumes {
    fn pod_info(&self, grant: &Grant, variables: &Variables) -> anyhow::Result<PodInfo> {
        self.check(grant)?;
        let mut builder = PodInfo::builder().variables(variables.clone());
        for mount in &grant.podinfo {
            let host_path = self.host_path(mount)?;
            warn_of_missing_items(mount, &host_path);
            let volume = PodVolume::new(mount.mount_path.clone(), host_path);
            builder = builder.mount(mount.sub_path.iter().fold(volume, PodVolume::sub_path));
        }
        if let Some(file) = &self.items {
            let text = text(file).with_context(|| format!("cannot read {}", file.display()))?;
            let items: Vec<Item> = serde_saphyr::from_str(&text)
                .with_context(|| format!("{} is not a list of `downwardAPI.items`", file.display()))?;
            builder = builder.items(items);
        }
        builder.build().context("the Downward API items are not valid")
    }
}
