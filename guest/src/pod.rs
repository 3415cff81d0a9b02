//! What the pod knows about itself through the Downward API.
//!
//! A value is `None` when the pod does not project it or when the grant does not name it; a guest cannot tell the
//! two apart.
//!
//! ```no_run
//! use attache_guest::pod;
//!
//! # fn main() -> Result<(), pod::Error> {
//! if let Some(zone) = pod::label("topology.kubernetes.io/zone")? {
//!     println!("in zone {zone}");
//! }
//! # Ok(())
//! # }
//! ```

mod changes;
mod snapshot;

use crate::bindings::attache::pod::metadata as wit;

pub use changes::{Changes, follow};
pub use snapshot::Snapshot;

/// Why a reading of the pod's metadata failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The projected file exists, but its content could not be understood.
    #[error("pod metadata could not be understood: {0}")]
    Malformed(String),
    /// The projected file could not be read.
    #[error("pod metadata could not be read: {0}")]
    Unreadable(String),
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::Malformed(text) => Self::Malformed(text),
            wit::Error::Unreadable(text) => Self::Unreadable(text),
        }
    }
}

/// Facts that stay as they are while the pod lives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// `metadata.name`.
    pub name: Option<String>,
    /// `metadata.namespace`.
    pub namespace: Option<String>,
    /// `metadata.uid`.
    pub uid: Option<String>,
    /// `spec.serviceAccountName`.
    pub service_account: Option<String>,
    /// `spec.nodeName`.
    pub node_name: Option<String>,
    /// `status.podIPs`, primary address first; empty when not projected.
    pub pod_ips: Vec<String>,
    /// `status.hostIPs`, primary address first; empty when not projected.
    pub host_ips: Vec<String>,
}

impl From<wit::Identity> for Identity {
    fn from(identity: wit::Identity) -> Self {
        Self {
            name: identity.name,
            namespace: identity.namespace,
            uid: identity.uid,
            service_account: identity.service_account,
            node_name: identity.node_name,
            pod_ips: identity.pod_ips,
            host_ips: identity.host_ips,
        }
    }
}

/// A request or limit that the pod projects with `resourceFieldRef`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceField {
    /// `requests.cpu`.
    CpuRequest,
    /// `limits.cpu`.
    CpuLimit,
    /// `requests.memory`.
    MemoryRequest,
    /// `limits.memory`.
    MemoryLimit,
    /// `requests.ephemeral-storage`.
    EphemeralStorageRequest,
    /// `limits.ephemeral-storage`.
    EphemeralStorageLimit,
    /// `requests.hugepages-<size>`; the payload is the size, such as `2Mi`.
    HugepagesRequest(String),
    /// `limits.hugepages-<size>`; the payload is the size, such as `2Mi`.
    HugepagesLimit(String),
}

impl From<ResourceField> for wit::ResourceField {
    fn from(field: ResourceField) -> Self {
        match field {
            ResourceField::CpuRequest => Self::CpuRequest,
            ResourceField::CpuLimit => Self::CpuLimit,
            ResourceField::MemoryRequest => Self::MemoryRequest,
            ResourceField::MemoryLimit => Self::MemoryLimit,
            ResourceField::EphemeralStorageRequest => Self::EphemeralStorageRequest,
            ResourceField::EphemeralStorageLimit => Self::EphemeralStorageLimit,
            ResourceField::HugepagesRequest(size) => Self::HugepagesRequest(size),
            ResourceField::HugepagesLimit(size) => Self::HugepagesLimit(size),
        }
    }
}

/// One file of the pod's Downward API volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Path below the mount, such as `labels`. Read it with `std::fs`.
    pub path: String,
    /// Permission bits as the volume's `mode` or `defaultMode` set them, such as `0o644`: WASI's own file status has
    /// no place for them.
    pub mode: u32,
}

/// Returns who the pod is and where it runs.
///
/// # Errors
///
/// A projected file that holds one of the facts is unreadable or malformed.
pub fn identity() -> Result<Identity, Error> {
    Ok(wit::get_identity()?.into())
}

/// Returns the newest labels and annotations. What files project is from one update of the pod; what an environment
/// variable alone projects is as it was when the container started.
///
/// # Errors
///
/// The projected file of labels or annotations is unreadable or malformed.
///
/// ```no_run
/// # use attache_guest::pod;
/// # fn main() -> Result<(), pod::Error> {
/// let snapshot = pod::snapshot()?;
/// for (key, value) in &snapshot.labels {
///     println!("{key}={value}");
/// }
/// # Ok(())
/// # }
/// ```
pub fn snapshot() -> Result<Snapshot, Error> {
    Ok(wit::get_snapshot()?.into())
}

/// Returns the newest value of one label; `None` where the pod lacks it or does not project it. A label that is
/// projected by itself and is empty is `None` as well: Kubernetes projects an empty text for a label that the pod
/// lacks, too.
///
/// Cheap: the host answers from a copy that it keeps up to date, so there is no need to keep one in the guest.
///
/// # Errors
///
/// The projected file that holds the label is unreadable or malformed.
pub fn label(key: &str) -> Result<Option<String>, Error> {
    Ok(wit::get_label(key)?)
}

/// Returns the newest value of one annotation; as cheap as [`label`].
///
/// # Errors
///
/// The projected file that holds the annotation is unreadable or malformed.
pub fn annotation(key: &str) -> Result<Option<String>, Error> {
    Ok(wit::get_annotation(key)?)
}

/// Returns a bound of the named container: millicores for CPU, bytes for all else.
///
/// Kubernetes rounds up to the divisor in the pod spec, so a coarse divisor gives a coarse bound.
///
/// # Errors
///
/// The projected file that holds the bound is unreadable or malformed.
///
/// ```no_run
/// # use attache_guest::pod::{self, ResourceField};
/// # fn main() -> Result<(), pod::Error> {
/// let limit = pod::resource_bound("app", ResourceField::MemoryLimit)?;
/// let cache_bytes = limit.map_or(8 << 20, |bytes| bytes / 4);
/// # Ok(())
/// # }
/// ```
pub fn resource_bound(container: &str, field: ResourceField) -> Result<Option<u64>, Error> {
    Ok(wit::get_resource_bound(container, &field.into())?)
}

/// Returns the projected files that the grant names, sorted by path.
///
/// # Errors
///
/// The volume could not be read.
pub fn files() -> Result<Vec<File>, Error> {
    let file = |wit::File { path, mode }| File { path, mode };
    Ok(wit::get_files()?.into_iter().map(file).collect())
}
