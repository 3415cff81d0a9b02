//! The metadata of the guest's own pod, from the Downward API.
//!
//! A value is `None` when the pod does not project it, or when the grant does not name it. A guest cannot distinguish
//! the two. The host keeps the values in memory and updates them while the pod lives.
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

/// The reason why a read of the pod's metadata failed.
///
/// The error ends when its cause does: the next call after that succeeds.
///
/// ```no_run
/// use attache_guest::pod;
///
/// match pod::label("tier") {
///     Ok(Some(tier)) => println!("tier {tier}"),
///     Ok(None) => println!("no tier, or not in the grant"),
///     Err(pod::Error::Malformed(fault) | pod::Error::Unreadable(fault)) => eprintln!("{fault}"),
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A projected file or variable exists, but its content does not have the form that Kubernetes writes. The text
    /// names the file or variable and the fault.
    #[error("pod metadata could not be understood: {0}")]
    Malformed(String),
    /// A volume of the pod, or a file in it, could not be read.
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

/// Properties of the pod that do not change while the pod lives.
///
/// ```no_run
/// # fn main() -> Result<(), attache_guest::pod::Error> {
/// use attache_guest::pod::{self, Identity};
///
/// let Identity { name, namespace, .. } = pod::identity()?;
/// println!("{}/{}", namespace.as_deref().unwrap_or("?"), name.as_deref().unwrap_or("?"));
/// # Ok(())
/// # }
/// ```
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
    /// `status.podIPs`, or `status.podIP` if only that is projected. The primary address comes first; the list is empty
    /// when neither is projected.
    pub pod_ips: Vec<String>,
    /// `status.hostIPs`, or `status.hostIP` if only that is projected. The primary address comes first; the list is
    /// empty when neither is projected.
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

/// A request or limit of a container that the pod projects with `resourceFieldRef`.
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
    /// `requests.hugepages-<size>`. The payload is the page size, such as `2Mi`.
    HugepagesRequest(String),
    /// `limits.hugepages-<size>`. The payload is the page size, such as `2Mi`.
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

/// A file of a Downward API volume of the pod; made by [`files`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The path below the mount, such as `labels`. Read the file with `std::fs`.
    pub path: String,
    /// The permission bits of the file, such as `0o644`: the `mode` of its item, or else the `defaultMode` of the
    /// volume. The file status of WASI has no field for them.
    pub mode: u32,
}

/// Returns the name of the pod, its namespace, node and addresses.
///
/// # Errors
///
/// Fails if a file with one of these values is unreadable or malformed, and no variable projects the same value.
pub fn identity() -> Result<Identity, Error> {
    Ok(wit::get_identity()?.into())
}

/// Returns the newest labels and annotations.
///
/// # Errors
///
/// Fails if a projected file of labels or annotations is unreadable or malformed.
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

/// Returns the newest value of one label, or `None` if the pod lacks it or does not project it.
///
/// The result is also `None` for a label that is projected by itself and has an empty value. Kubernetes projects an
/// empty text for a label that the pod lacks. The host answers from memory, so a guest need not keep a copy.
///
/// # Errors
///
/// Fails if a projected file of labels is unreadable or malformed.
pub fn label(key: &str) -> Result<Option<String>, Error> {
    Ok(wit::get_label(key)?)
}

/// Returns the newest value of one annotation, or `None` if the pod lacks it or does not project it.
///
/// The result is also `None` for an annotation that is projected by itself and has an empty value. The host answers
/// from memory.
///
/// # Errors
///
/// Fails if a projected file of annotations is unreadable or malformed.
pub fn annotation(key: &str) -> Result<Option<String>, Error> {
    Ok(wit::get_annotation(key)?)
}

/// Returns a request or limit of the named container: millicores for CPU, bytes for every other field.
///
/// An empty name means the guest's own container. The result is `None` when the pod does not project the field. When
/// the container has no limit, Kubernetes projects the pod's limit or what the node can allocate. Kubernetes rounds up
/// to the divisor in the pod spec, so a coarse divisor gives a coarse bound.
///
/// # Errors
///
/// Fails if the file or variable with the bound is unreadable or not a number, or if the bound does not fit into 64
/// bits.
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

/// Returns the Downward API files that the grant opens, of all its mounts, sorted by path.
///
/// # Errors
///
/// Fails if a volume cannot be read.
///
/// ```no_run
/// # use attache_guest::pod;
/// # fn main() -> Result<(), pod::Error> {
/// for file in pod::files()? {
///     println!("{:04o} {}", file.mode, file.path);
/// }
/// # Ok(())
/// # }
/// ```
pub fn files() -> Result<Vec<File>, Error> {
    let file = |wit::File { path, mode }| File { path, mode };
    Ok(wit::get_files()?.into_iter().map(file).collect())
}
