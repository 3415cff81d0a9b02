//! Field paths and resources, which the pod spec uses for the content of a file or a variable.

use std::fmt;
use std::str::FromStr;

use crate::quantity::Quantity;

/// An invalid `fieldRef` or `resourceFieldRef`. The API server refuses the same one when the pod is created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The Downward API has no such field: `metadata.generation`, or `matadata.labels`.
    #[error("field label not supported: {0}")]
    UnknownField(String),
    /// The field exists for variables only: `spec.nodeName`.
    #[error("{0} is for variables, not for files")]
    EnvOnly(String),
    /// The field exists for files only: all of `metadata.labels`.
    #[error("{0} is for files, not for variables")]
    VolumeOnly(String),
    /// The resource is none of `limits.` or `requests.` with `cpu`, `memory`, `ephemeral-storage`, `hugepages-SIZE`.
    #[error("resource not supported: {0}")]
    UnknownResource(String),
    /// Kubernetes does not allow this divisor for the resource.
    #[error("divisor {divisor} is not allowed for {resource}")]
    Divisor {
        /// The divided resource, such as `limits.cpu`.
        resource: String,
        /// The divisor, in canonical form.
        divisor: String,
    },
    /// A file's `resourceFieldRef` names no container.
    #[error("containerName is required in a volume")]
    NoContainer,
    /// There is neither of the two references, or there are both.
    #[error("exactly one of fieldRef and resourceFieldRef is required")]
    NotOneReference,
}

/// One of the pod's two maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Map {
    Labels,
    Annotations,
}

/// One field of the pod [`pkg/fieldpath/fieldpath.go`, `pkg/apis/core/validation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Name,
    Namespace,
    Uid,
    /// All labels or annotations.
    All(Map),
    /// The label or annotation with this key.
    One(Map, String),
    ServiceAccount,
    NodeName,
    HostIp,
    HostIps,
    PodIp,
    PodIps,
}

impl Field {
    /// Returns the field that a file's `fieldPath` names.
    pub(super) fn of_file(path: &str) -> Result<Self, FieldError> {
        match Self::parse(path)? {
            field @ (Self::Name | Self::Namespace | Self::Uid | Self::All(_) | Self::One(..)) => Ok(field),
            _ => Err(FieldError::EnvOnly(path.to_owned())),
        }
    }

    /// Returns the field that a variable's `fieldPath` names.
    pub(super) fn of_variable(path: &str) -> Result<Self, FieldError> {
        match Self::parse(path)? {
            Self::All(_) => Err(FieldError::VolumeOnly(path.to_owned())),
            field => Ok(field),
        }
    }

    fn parse(path: &str) -> Result<Self, FieldError> {
        let known = match split_subscript(path) {
            ("metadata.labels", Some(key)) => Some(Self::One(Map::Labels, key.to_owned())),
            ("metadata.annotations", Some(key)) => Some(Self::One(Map::Annotations, key.to_owned())),
            (_, Some(_)) => None,
            (path, None) => Self::plain(path),
        };
        known.ok_or_else(|| FieldError::UnknownField(path.to_owned()))
    }

    fn plain(path: &str) -> Option<Self> {
        Some(match path {
            "metadata.name" => Self::Name,
            "metadata.namespace" => Self::Namespace,
            "metadata.uid" => Self::Uid,
            "metadata.labels" => Self::All(Map::Labels),
            "metadata.annotations" => Self::All(Map::Annotations),
            "spec.serviceAccountName" => Self::ServiceAccount,
            "spec.nodeName" => Self::NodeName,
            "status.hostIP" => Self::HostIp,
            "status.hostIPs" => Self::HostIps,
            "status.podIP" => Self::PodIp,
            "status.podIPs" => Self::PodIps,
            _ => return None,
        })
    }
}

/// Splits a path before its subscript, which starts at the first `['` and ends in `']`. An empty key makes no
/// subscript.
fn split_subscript(path: &str) -> (&str, Option<&str>) {
    let split = path.strip_suffix("']").and_then(|path| path.split_once("['"));
    match split {
        Some((field, key)) if !key.is_empty() => (field, Some(key)),
        _ => (path, None),
    }
}

/// A request or limit of a container that `resourceFieldRef` can project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceField {
    /// `requests.cpu`
    CpuRequest,
    /// `limits.cpu`
    CpuLimit,
    /// `requests.memory`
    MemoryRequest,
    /// `limits.memory`
    MemoryLimit,
    /// `requests.ephemeral-storage`
    EphemeralStorageRequest,
    /// `limits.ephemeral-storage`
    EphemeralStorageLimit,
    /// `requests.hugepages-SIZE`; the payload is the page size, such as `2Mi`.
    HugepagesRequest(String),
    /// `limits.hugepages-SIZE`; the payload is the page size, such as `2Mi`.
    HugepagesLimit(String),
}

impl FromStr for ResourceField {
    type Err = FieldError;

    fn from_str(resource: &str) -> Result<Self, FieldError> {
        let pages = |kind: &str| {
            let size = resource.strip_prefix(kind)?.strip_prefix("hugepages-")?;
            size.parse::<Quantity>().is_ok().then(|| size.to_owned())
        };
        Ok(match resource {
            "requests.cpu" => Self::CpuRequest,
            "limits.cpu" => Self::CpuLimit,
            "requests.memory" => Self::MemoryRequest,
            "limits.memory" => Self::MemoryLimit,
            "requests.ephemeral-storage" => Self::EphemeralStorageRequest,
            "limits.ephemeral-storage" => Self::EphemeralStorageLimit,
            _ => match (pages("requests."), pages("limits.")) {
                (Some(size), _) => Self::HugepagesRequest(size),
                (_, Some(size)) => Self::HugepagesLimit(size),
                _ => return Err(FieldError::UnknownResource(resource.to_owned())),
            },
        })
    }
}

impl fmt::Display for ResourceField {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CpuRequest => out.write_str("requests.cpu"),
            Self::CpuLimit => out.write_str("limits.cpu"),
            Self::MemoryRequest => out.write_str("requests.memory"),
            Self::MemoryLimit => out.write_str("limits.memory"),
            Self::EphemeralStorageRequest => out.write_str("requests.ephemeral-storage"),
            Self::EphemeralStorageLimit => out.write_str("limits.ephemeral-storage"),
            Self::HugepagesRequest(size) => write!(out, "requests.hugepages-{size}"),
            Self::HugepagesLimit(size) => write!(out, "limits.hugepages-{size}"),
        }
    }
}

impl ResourceField {
    fn is_cpu(&self) -> bool {
        matches!(self, Self::CpuRequest | Self::CpuLimit)
    }
}

/// A projected bound: the bounded resource, and the unit of the number in the file or variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bound {
    /// The container; `None` is the container to which the variables belong.
    pub(super) container: Option<String>,
    pub(super) field: ResourceField,
    /// Millicores for CPU, bytes for all else.
    pub(super) unit: u64,
}

/// Divisors that the API server accepts, in canonical form (`pkg/apis/core/validation/validation.go`).
const CPU_DIVISORS: [&str; 2] = ["1m", "1"];
const BYTE_DIVISORS: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

impl Bound {
    /// Reads a bound as the pod spec writes it. Without a divisor, or with zero, the divisor is Kubernetes' default: 1,
    /// for whole cores or bytes.
    pub(super) fn new(
        container: Option<String>,
        resource: &str,
        divisor: Option<&Quantity>,
    ) -> Result<Self, FieldError> {
        let field: ResourceField = resource.parse()?;
        let divisor = divisor.filter(|divisor| !divisor.is_zero()).cloned().unwrap_or_else(|| Quantity::from(1));
        let allowed: &[&str] = if field.is_cpu() { &CPU_DIVISORS } else { &BYTE_DIVISORS };
        let refused = || FieldError::Divisor { resource: resource.to_owned(), divisor: divisor.to_string() };
        if !allowed.contains(&divisor.to_string().as_str()) {
            return Err(refused());
        }
        let unit = if field.is_cpu() { u64::try_from(divisor.to_millis()).ok() } else { divisor.to_u64_bytes() };
        Ok(Self { container, field, unit: unit.ok_or_else(refused)? })
    }

    /// Returns `number` in this bound's unit as millicores or bytes; `None` if that does not fit into 64 bits.
    pub(super) fn scaled(&self, number: u64) -> Option<u64> {
        number.checked_mul(self.unit)
    }
}

/// The content of one file or variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    Field(Field),
    Resource(Bound),
}

impl Meaning {
    /// Returns whether this is all of `map`.
    pub(super) fn is_all(&self, map: Map) -> bool {
        *self == Self::Field(Field::All(map))
    }

    /// Returns the key, if this is one entry of `map`.
    pub(super) fn key(&self, map: Map) -> Option<&str> {
        match self {
            Self::Field(Field::One(of, key)) if *of == map => Some(key),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "field_tests.rs"]
mod tests;
