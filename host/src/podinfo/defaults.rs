//! The meanings of files and variables by their names, for hosts without the pod spec.
//!
//! Only names with a clear meaning and unit are here: the names of the examples in the Kubernetes documentation, names
//! that contain their unit, and names that most charts use. A bound with the wrong unit is worse than none, so `cpu`
//! and `MEMORY_LIMIT` have no meaning without the spec. Bounds by name belong to the container in which the host runs.

use super::field::{Bound, Field, Map, Meaning, ResourceField};
use super::item::FileSource;
use crate::volume::RelativePath;

/// Millicores in a core, the unit of a CPU bound without a divisor.
const CORE: u64 = 1000;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Files that hold a field of the pod.
const FIELD_FILES: [(&str, Field); 11] = [
    ("labels", Field::All(Map::Labels)),
    ("annotations", Field::All(Map::Annotations)),
    ("name", Field::Name),
    ("podName", Field::Name),
    ("pod_name", Field::Name),
    ("namespace", Field::Namespace),
    ("podNamespace", Field::Namespace),
    ("pod_namespace", Field::Namespace),
    ("uid", Field::Uid),
    ("podUid", Field::Uid),
    ("pod_uid", Field::Uid),
];

/// Files that hold a bound, with the unit of their number. `cpu_limit` and the like are the files of the
/// documentation's example, with its divisors `1m` and `1Mi`.
const BOUND_FILES: [(&str, ResourceField, u64); 12] = [
    ("cpu_limit", ResourceField::CpuLimit, 1),
    ("cpu_request", ResourceField::CpuRequest, 1),
    ("mem_limit", ResourceField::MemoryLimit, MIB),
    ("mem_request", ResourceField::MemoryRequest, MIB),
    ("cpuLimit", ResourceField::CpuLimit, 1),
    ("cpuRequest", ResourceField::CpuRequest, 1),
    ("memLimit", ResourceField::MemoryLimit, MIB),
    ("memRequest", ResourceField::MemoryRequest, MIB),
    ("containerCpuLimitMilliCores", ResourceField::CpuLimit, 1),
    ("containerCpuRequestMilliCores", ResourceField::CpuRequest, 1),
    ("containerMemoryLimitBytes", ResourceField::MemoryLimit, 1),
    ("containerMemoryRequestBytes", ResourceField::MemoryRequest, 1),
];

/// Variables that hold a field of the pod. The documentation's examples put `MY_` before the names, which is accepted
/// too.
const FIELD_VARIABLES: [(&str, Field); 13] = [
    ("POD_NAME", Field::Name),
    ("POD_NAMESPACE", Field::Namespace),
    ("POD_UID", Field::Uid),
    ("POD_IP", Field::PodIp),
    ("POD_IPS", Field::PodIps),
    ("POD_SERVICE_ACCOUNT", Field::ServiceAccount),
    ("POD_SERVICE_ACCOUNT_NAME", Field::ServiceAccount),
    ("SERVICE_ACCOUNT", Field::ServiceAccount),
    ("SERVICE_ACCOUNT_NAME", Field::ServiceAccount),
    ("HOST_IP", Field::HostIp),
    ("HOST_IPS", Field::HostIps),
    ("NODE_IP", Field::HostIp),
    ("NODE_NAME", Field::NodeName),
];

/// Variables that hold a bound: those of the documentation, which have no divisor, and those that contain their unit.
const BOUND_VARIABLES: [(&str, ResourceField, u64); 10] = [
    ("MY_CPU_LIMIT", ResourceField::CpuLimit, CORE),
    ("MY_CPU_REQUEST", ResourceField::CpuRequest, CORE),
    ("MY_MEM_LIMIT", ResourceField::MemoryLimit, 1),
    ("MY_MEM_REQUEST", ResourceField::MemoryRequest, 1),
    ("CONTAINER_CPU_LIMIT_MILLICORES", ResourceField::CpuLimit, 1),
    ("CONTAINER_CPU_REQUEST_MILLICORES", ResourceField::CpuRequest, 1),
    ("CONTAINER_MEMORY_LIMIT_BYTES", ResourceField::MemoryLimit, 1),
    ("CONTAINER_MEMORY_REQUEST_BYTES", ResourceField::MemoryRequest, 1),
    ("CONTAINER_MEMORY_LIMIT_KIBIBYTES", ResourceField::MemoryLimit, KIB),
    ("CONTAINER_MEMORY_REQUEST_KIBIBYTES", ResourceField::MemoryRequest, KIB),
];

/// Returns every file that has a meaning by its name.
pub(super) fn file_sources() -> Vec<FileSource> {
    let fields = FIELD_FILES.into_iter().map(|(path, field)| (path, Meaning::Field(field)));
    let bounds = BOUND_FILES.into_iter().map(|(path, field, unit)| (path, own_bound(field, unit)));
    let source = |(path, meaning)| Some(FileSource { path: RelativePath::new(path).ok()?, meaning });
    fields.chain(bounds).filter_map(source).collect()
}

/// Returns the meaning of a variable by its name, if it has one.
pub(super) fn variable_meaning(name: &str) -> Option<Meaning> {
    let bound = BOUND_VARIABLES.into_iter().find(|(known, ..)| *known == name);
    if let Some((_, field, unit)) = bound {
        return Some(own_bound(field, unit));
    }
    let plain = name.strip_prefix("MY_").unwrap_or(name);
    let (_, field) = FIELD_VARIABLES.into_iter().find(|(known, _)| *known == plain)?;
    Some(Meaning::Field(field))
}

fn own_bound(field: ResourceField, unit: u64) -> Meaning {
    Meaning::Resource(Bound { container: None, field, unit })
}

#[cfg(test)]
#[path = "defaults_tests.rs"]
mod tests;
