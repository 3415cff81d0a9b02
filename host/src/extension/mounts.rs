//! The directories that a grant mounts into its guest.
//!
//! Threat: a guest that reaches beyond a mount, or writes into one. A mount is a read-only preopened directory of
//! wasmtime-wasi, which resolves every path beneath it (`openat2` with `RESOLVE_BENEATH`), so that `..` and links that
//! lead out are refused while those of the kubelet's atomic writer work. A mount that is narrowed to some items is a
//! copy that holds nothing else, so there is no name by which the rest could be reached.

use super::run_error::RunError;
use super::runtime::Inner;
use super::scoped::ScopedVolume;
use crate::ambassador::ScopedTokens;
use crate::credentials::CredentialsError;
use crate::podinfo::PodInfo;
use crate::policy::{CredentialsMode, Grant};
use crate::volume::{AtomicWriter, FileProjection, InvalidPath, RelativePath, VolumeError, read_consistently};
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::task::AbortHandle;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

/// Why a mount that a grant names cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// This host was not told of such a volume.
    #[error("the grant mounts {what} at {guest_path}, and this host has none")]
    Absent {
        /// The volume, for people.
        what: &'static str,
        /// Where the guest would see it.
        guest_path: String,
    },
    /// What goes into scoped credentials beside the token cannot be read.
    #[error("cannot make scoped credentials")]
    Account(#[from] CredentialsError),
    /// The system has no randomness for a token.
    #[error("cannot make a scoped token: {0}")]
    NoRandomness(String),
    /// The grant narrows the volume to a name that no file of a volume can have.
    #[error("podinfo.items names {name:?}")]
    Item {
        /// The name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: InvalidPath,
    },
    /// A volume of the guest's own could not be written.
    #[error("cannot write the guest's copy of {}", volume.display())]
    Copy {
        /// The volume.
        volume: PathBuf,
        /// The step that failed.
        #[source]
        source: VolumeError,
    },
    /// There is no place for a volume of the guest's own.
    #[error("cannot make a folder for the guest's volume")]
    Folder(#[source] std::io::Error),
}

/// What one extension's instances are given of the host's file system.
pub(super) struct Mounts {
    list: Vec<(PathBuf, String)>,
    _copy: Option<Copy>,
    scoped: Option<ScopedVolume>,
}

impl Mounts {
    /// Prepares the grant's mounts. `pod` is what the grant opens of the pod; its changes renew a narrowed copy.
    pub(super) fn of(host: &Inner, grant: &Grant, pod: &PodInfo) -> Result<Self, MountError> {
        let mut list = Vec::new();
        let (mut copy, mut scoped) = (None, None);
        if let Some(mount) = &grant.podinfo {
            let guest_path = mount.mount_path.as_str().to_owned();
            let volume = present(host.podinfo.as_deref(), "the Downward API volume", &guest_path)?;
            let directory = match &mount.items {
                None => volume.to_owned(),
                Some(items) => copy.insert(Copy::of(volume, items, pod)?).directory(),
            };
            list.push((directory, guest_path));
        }
        match grant.credentials.mode {
            CredentialsMode::None => {}
            CredentialsMode::Scoped => {
                let guest_path = grant.credentials.mount_path.as_str().to_owned();
                let account = present(host.service_account.as_deref(), "the service-account volume", &guest_path)?;
                let volume = scoped.insert(ScopedVolume::of(account, host.rotation)?);
                list.push((volume.directory(), guest_path));
            }
            CredentialsMode::Real => {
                let guest_path = grant.credentials.mount_path.as_str().to_owned();
                let volume = present(host.service_account.as_deref(), "the service-account volume", &guest_path)?;
                tracing::warn!(
                    extension = grant.name,
                    "is given the pod's own token (credentials: real): what it does with it elsewhere passes no gate"
                );
                list.push((volume.to_owned(), guest_path));
            }
        }
        Ok(Self { list, _copy: copy, scoped })
    }

    /// The tokens that the guest is given as files, if it is given scoped ones.
    pub(super) fn tokens(&self) -> Option<&ScopedTokens> {
        self.scoped.as_ref().map(ScopedVolume::tokens)
    }

    /// Opens the mounts for one instance. They are opened anew each time: a volume may have been remounted.
    pub(super) fn open(&self, wasi: &mut WasiCtxBuilder) -> Result<(), RunError> {
        for (directory, guest_path) in &self.list {
            let opened = wasi.preopened_dir(directory, guest_path, FsPerms::ReadOnly);
            opened.map_err(|source| RunError::Mount { guest_path: guest_path.clone(), source })?;
        }
        Ok(())
    }
}

fn present<'a>(volume: Option<&'a Path>, what: &'static str, guest_path: &str) -> Result<&'a Path, MountError> {
    volume.ok_or_else(|| MountError::Absent { what, guest_path: guest_path.to_owned() })
}

/// A new folder for a guest's volume, which no other user of the machine may look into.
pub(super) fn own_folder() -> std::io::Result<TempDir> {
    tempfile::Builder::new().prefix("attache-").permissions(Permissions::from_mode(0o700)).tempdir()
}

/// A copy of some items of a volume, in the layout of the volume, renewed as the volume is.
struct Copy {
    folder: TempDir,
    renewal: AbortHandle,
}

impl Copy {
    fn of(volume: &Path, items: &[String], pod: &PodInfo) -> Result<Self, MountError> {
        let item =
            |name: &String| RelativePath::new(name).map_err(|source| MountError::Item { name: name.clone(), source });
        let items = items.iter().map(item).collect::<Result<Vec<_>, _>>()?;
        let folder = own_folder().map_err(MountError::Folder)?;
        let failed = |source| MountError::Copy { volume: volume.to_owned(), source };
        let writer = AtomicWriter::open(folder.path()).map_err(failed)?;
        copy(volume, &items, &writer).map_err(failed)?;
        let mut changes = pod.follow();
        let volume = volume.to_owned();
        let renewal = tokio::spawn(async move {
            // The first change is the state that was just copied; copying it again writes nothing.
            loop {
                changes.changed().await;
                if let Err(error) = changes.next().map(drop) {
                    tracing::warn!(error = %crate::telemetry::chain(&error), "the pod's metadata cannot be followed");
                }
                if let Err(error) = copy(&volume, &items, &writer) {
                    tracing::warn!(error = %crate::telemetry::chain(&error), "a guest's mount could not be renewed");
                }
            }
        });
        Ok(Self { folder, renewal: renewal.abort_handle() })
    }

    fn directory(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// Copies what is there of the items: an item that the volume does not have is no file, as in a container.
fn copy(volume: &Path, items: &[RelativePath], writer: &AtomicWriter) -> Result<bool, VolumeError> {
    let files = read_consistently(volume, |version| {
        let mut files = BTreeMap::new();
        for item in items {
            match version.read(item) {
                Ok(file) => drop(files.insert(item.clone(), FileProjection { data: file.data, mode: file.mode })),
                Err(VolumeError::Missing { .. }) if version.is_current() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    })?;
    writer.write(&files)
}
