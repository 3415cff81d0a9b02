//! The mounts of a guest, as its grant names them.
//!
//! Threat: a guest that reaches beyond a mount, writes into one, or reads content that its grant does not name. A mount
//! is a directory in memory, and its content is decided file by file. Of a Downward API volume, only known Downward API
//! content is shown; of the service account's volume, only what `credentials` allows. All other files are not even
//! read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::runtime::Shared;
use super::scoped::ScopedVolume;
use crate::ambassador::ScopedTokens;
use crate::capability::filesystem::{Directory, FilesystemCtx, Mount, Root};
use crate::credentials::CredentialsError;
use crate::policy::{CredentialsMode, Grant, PodInfoMount};
use crate::telemetry::{chain, legible, legible_name};
use crate::volume::{Choice, KeptVersion, KeptVolume, MAX_LEFT_OUT, RelativePath, VolumeError, read_single};

/// The reason for which a mount of a grant is not available.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// This host has no such volume.
    #[error("the grant mounts {what} at {guest_path}, and this host has none")]
    Absent {
        /// The volume, described for people.
        what: &'static str,
        /// The path in the guest.
        guest_path: String,
    },
    /// The files beside the token of scoped credentials cannot be read.
    #[error("cannot make scoped credentials")]
    Account(#[from] CredentialsError),
    /// The system has no randomness for a token.
    #[error("cannot make a scoped token: {0}")]
    NoRandomness(String),
    /// The volume cannot be read, or is not a volume.
    #[error("cannot mount {} at {guest_path}", host_path.display())]
    Volume {
        /// The volume on the host.
        host_path: PathBuf,
        /// The path in the guest.
        guest_path: String,
        /// The step that failed.
        #[source]
        source: VolumeError,
    },
}

/// The host's files that the instances of one extension see.
pub(super) struct Mounts {
    root: Root,
    scoped: Option<Arc<ScopedVolume>>,
}

impl Mounts {
    /// Prepares the grant's mounts.
    pub(super) fn of(host: &Shared, grant: &Grant) -> Result<Self, MountError> {
        let mut root = Root::new();
        for mount in &grant.podinfo {
            root = podinfo(host, &grant.name, mount, root)?;
        }
        let guest_path = grant.credentials.mount_path.as_str();
        let account =
            || host.service_account.as_deref().ok_or_else(|| absent("the service-account volume", guest_path));
        let mut scoped = None;
        match grant.credentials.mode {
            CredentialsMode::None => {}
            CredentialsMode::Scoped => {
                let volume = scoped.insert(Arc::new(ScopedVolume::of(account()?, host.rotation)?));
                root = root.with_mount(guest_path, Arc::clone(volume) as Arc<dyn Mount>);
            }
            CredentialsMode::Real => {
                let volume = VolumeMount::open(&grant.name, guest_path, account()?, Everything)?;
                root = root.with_mount(guest_path, Arc::new(volume));
                tracing::warn!(
                    extension = grant.name,
                    "is given the pod's own token (credentials: real): what it does with it elsewhere passes no gate"
                );
            }
        }
        Ok(Self { root, scoped })
    }

    /// Returns the tokens of the guest's files, if the guest has scoped credentials.
    pub(super) fn tokens(&self) -> Option<&ScopedTokens> {
        self.scoped.as_ref().map(|volume| volume.tokens())
    }

    /// Returns the file system of one instance.
    pub(super) fn open(&self) -> FilesystemCtx {
        FilesystemCtx::new(self.root.clone())
    }
}

fn absent(what: &'static str, guest_path: &str) -> MountError {
    MountError::Absent { what, guest_path: guest_path.to_owned() }
}

/// Adds one Downward API volume, or one file of it, to the root.
fn podinfo(host: &Shared, extension: &str, mount: &PodInfoMount, root: Root) -> Result<Root, MountError> {
    let guest_path = mount.mount_path.as_str();
    let mounted = host.pod.mounted(mount).ok_or_else(|| absent("a Downward API volume", guest_path))?;
    let Some(path) = mounted.sub_path().cloned() else {
        let host_path = mounted.host_path().to_owned();
        let volume = VolumeMount::open(extension, guest_path, &host_path, mounted)?;
        return Ok(root.with_mount(guest_path, Arc::new(volume)));
    };
    let read = read_single(mounted.host_path(), &path);
    let data = read.map_err(|source| failed(mounted.host_path(), guest_path, source))?;
    if mounted.knows(&path) && mounted.admits(&path, &data) {
        return Ok(root.with_file(guest_path, data));
    }
    report(extension, guest_path, &[path]);
    Ok(root)
}

fn failed(host_path: &Path, guest_path: &str, source: VolumeError) -> MountError {
    MountError::Volume { host_path: host_path.to_owned(), guest_path: guest_path.to_owned(), source }
}

/// The maximum of left-out files that are remembered for one mount: those of four versions without a common file.
const MAX_REPORTED: usize = 4 * MAX_LEFT_OUT;

/// The maximum of file names in one warning.
const MAX_NAMES: usize = 8;

fn report(extension: &str, mount: &str, left_out: &[RelativePath]) {
    let names: Vec<_> = left_out.iter().take(MAX_NAMES).map(|path| legible_name(path.as_str())).collect();
    let (files, number) = (names.join(" "), left_out.len());
    tracing::warn!(
        extension,
        mount,
        files,
        number,
        "files of this volume are not shown: they are not known to be Downward API content. Say what they hold with \
         --podinfo-items, if they are"
    );
}

/// A choice of all files of a volume.
#[derive(Clone, Copy)]
struct Everything;

impl Choice for Everything {
    fn names(&self, _path: &RelativePath) -> bool {
        true
    }

    fn knows(&self, _path: &RelativePath) -> bool {
        true
    }

    fn admits(&self, _path: &RelativePath, _data: &[u8]) -> bool {
        true
    }
}

/// A volume of the kubelet, as one extension sees it.
struct VolumeMount<C> {
    extension: String,
    guest_path: String,
    volume: KeptVolume<C>,
    laid: Mutex<Laid>,
}

/// The newest version of a volume, as a directory.
struct Laid {
    version: Arc<KeptVersion>,
    directory: Arc<Directory>,
    /// The files that were reported as left out, at most [`MAX_REPORTED`].
    reported: BTreeSet<RelativePath>,
}

impl<C: Choice> VolumeMount<C> {
    fn open(extension: &str, guest_path: &str, host_path: &Path, choice: C) -> Result<Self, MountError> {
        let volume = KeptVolume::open(host_path, choice).map_err(|source| failed(host_path, guest_path, source))?;
        let version = volume.newest();
        let directory = Arc::new(Directory::of_volume(&version));
        let mount = Self {
            extension: extension.to_owned(),
            guest_path: guest_path.to_owned(),
            volume,
            laid: Mutex::new(Laid { version: Arc::clone(&version), directory, reported: BTreeSet::new() }),
        };
        mount.report(&version, &mut mount.laid.lock().unwrap_or_else(PoisonError::into_inner).reported);
        Ok(mount)
    }

    /// Reports each left-out file once, up to [`MAX_REPORTED`] files.
    fn report(&self, version: &KeptVersion, reported: &mut BTreeSet<RelativePath>) {
        let room = MAX_REPORTED.saturating_sub(reported.len());
        let new = version.left_out.iter().filter(|path| !reported.contains(path)).take(room);
        let new: Vec<_> = new.cloned().collect();
        if !new.is_empty() {
            report(&self.extension, &self.guest_path, &new);
        }
        reported.extend(new);
    }
}

impl<C: Choice + Send + Sync> Mount for VolumeMount<C> {
    fn newest(&self) -> Arc<Directory> {
        let mut laid = self.laid.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.volume.newest();
        if let Some(error) = self.volume.take_error() {
            let (extension, mount, error) = (&self.extension, &self.guest_path, legible(&chain(&error)));
            tracing::warn!(extension, mount, error, "a mounted volume cannot be read: the guest sees its last version");
        }
        if !Arc::ptr_eq(&laid.version, &version) {
            laid.directory = Arc::new(Directory::of_volume(&version));
            self.report(&version, &mut laid.reported);
            laid.version = version;
        }
        Arc::clone(&laid.directory)
    }
}
