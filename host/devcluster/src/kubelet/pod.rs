//! The pod from the kubelet's view: the values of its Downward API fields.

use std::collections::BTreeMap;

use attache_base::quantity::Quantity;
use serde_json::Value;

use crate::model::quote::quoted;
use crate::rules::validation::subscript;

/// An error for content that a pod refers to and that is missing or invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// A config map or a secret is missing.
    #[error("{kind} {name:?} not found")]
    NoObject {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// The name of the object.
        name: String,
    },
    /// The object lacks a key.
    #[error("{kind} {name:?} has no key {key:?}")]
    NoKey {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// The name of the object.
        name: String,
        /// The key.
        key: String,
    },
    /// The data under a key is invalid.
    #[error("the data of {kind} {name:?} under {key:?} is {fault}")]
    BadData {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// The name of the object.
        name: String,
        /// The key.
        key: String,
        /// The fault: `not base64`, `not UTF-8`.
        fault: &'static str,
    },
    /// A variable refers to a file that an init container would write.
    #[error("volume {volume:?} has no file {path:?}: no init container is run that would write it")]
    NoFile {
        /// The volume.
        volume: String,
        /// The file's path in the volume.
        path: String,
    },
    /// A resource field names a container that the pod does not have.
    #[error("container {0:?} not found")]
    NoContainer(String),
    /// A field path has no value here.
    #[error("field {0:?} is not supported")]
    Field(String),
    /// A quantity of the pod cannot be read.
    #[error("{0}: {1}")]
    Quantity(String, #[source] attache_base::quantity::QuantityError),
    /// A path of a file is invalid.
    #[error(transparent)]
    Path(#[from] attache_base::volume::InvalidPath),
    /// A projected token was not requested before the sync. This never happens, since both come from one pod.
    #[error("no token for audience {0:?}")]
    NoToken(String),
}

/// The allocatable resources of a node: the limits of containers that set none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocatable {
    /// CPUs.
    pub cpu: Quantity,
    /// Bytes of memory.
    pub memory: Quantity,
    /// Bytes of scratch space.
    pub ephemeral_storage: Quantity,
}

impl Default for Allocatable {
    /// Returns the resources of a small node: 4 CPUs, 8 GiB and 100 GiB.
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Self { cpu: 4.into(), memory: (8 * GIB).into(), ephemeral_storage: (100 * GIB).into() }
    }
}

impl Allocatable {
    fn get(&self, resource: &str) -> Option<&Quantity> {
        match resource {
            "cpu" => Some(&self.cpu),
            "memory" => Some(&self.memory),
            "ephemeral-storage" => Some(&self.ephemeral_storage),
            _ => None,
        }
    }
}

/// A pod and its node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pod<'a> {
    pub(super) object: &'a Value,
    pub(super) node: &'a Allocatable,
}

impl<'a> Pod<'a> {
    pub(super) fn text(&self, pointer: &str) -> &'a str {
        self.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn list(&self, pointer: &str) -> &'a [Value] {
        self.object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.list("/spec/containers").iter().chain(self.list("/spec/initContainers"))
    }

    pub(super) fn container(&self, name: &str) -> Option<&'a Value> {
        self.containers().find(|container| text(container, "name") == name)
    }

    fn is_init_container(&self, name: &str) -> bool {
        self.list("/spec/initContainers").iter().any(|container| text(container, "name") == name)
    }

    /// Returns the value of a `fieldRef` [`pkg/fieldpath/fieldpath.go`; `pkg/kubelet/kubelet_pods.go`].
    pub(super) fn field(&self, path: &str) -> Result<String, ContentError> {
        if let Some((map, key)) = subscript(path) {
            return match map {
                "metadata.labels" => Ok(self.map("labels").remove(key).unwrap_or_default().to_owned()),
                "metadata.annotations" => Ok(self.map("annotations").remove(key).unwrap_or_default().to_owned()),
                _ => Err(ContentError::Field(path.into())),
            };
        }
        let list = |pointer, inner| {
            let items = self.list(pointer).iter().map(|item| text(item, inner));
            items.collect::<Vec<_>>().join(",")
        };
        Ok(match path {
            "metadata.name" => self.text("/metadata/name").into(),
            "metadata.namespace" => self.text("/metadata/namespace").into(),
            "metadata.uid" => self.text("/metadata/uid").into(),
            "metadata.labels" => lines(&self.map("labels")),
            "metadata.annotations" => lines(&self.map("annotations")),
            "spec.nodeName" | "spec.host" => self.text("/spec/nodeName").into(),
            "spec.serviceAccountName" => self.text("/spec/serviceAccountName").into(),
            "status.hostIP" => self.text("/status/hostIP").into(),
            "status.hostIPs" => list("/status/hostIPs", "ip"),
            "status.podIP" => self.text("/status/podIP").into(),
            "status.podIPs" => list("/status/podIPs", "ip"),
            _ => return Err(ContentError::Field(path.into())),
        })
    }

    fn map(&self, name: &str) -> BTreeMap<&'a str, &'a str> {
        let map = self.object.pointer(&format!("/metadata/{name}")).and_then(Value::as_object);
        map.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())).collect()
    }

    /// Returns the value of a `resourceFieldRef` for a file, which names its container.
    pub(super) fn resource_of_file(&self, selector: &Value) -> Result<String, ContentError> {
        self.resource(selector, text(selector, "containerName"), Fallback::PodAndNode)
    }

    /// Returns the value of a `resourceFieldRef` for a variable of the container `own`, the default if no container is
    /// named.
    ///
    /// The real kubelet completes the limits of `own` and of the pod's main containers only. An init container that
    /// another container's variable names keeps its missing limit, which is 0 [`pkg/kubelet/kubelet_pods.go`,
    /// `containerResourceRuntimeValue`].
    pub(super) fn resource_of_variable(&self, selector: &Value, own: &str) -> Result<String, ContentError> {
        match text(selector, "containerName") {
            "" => self.resource(selector, own, Fallback::PodAndNode),
            named if self.is_init_container(named) => self.resource(selector, named, Fallback::None),
            named => self.resource(selector, named, Fallback::PodAndNode),
        }
    }

    fn resource(&self, selector: &Value, name: &str, fallback: Fallback) -> Result<String, ContentError> {
        let container = self.container(name).ok_or_else(|| ContentError::NoContainer(name.into()))?;
        let resource = text(selector, "resource");
        let amount = match (resource.split_once('.'), fallback) {
            (Some(("limits", resource)), Fallback::PodAndNode) => self.limit(container, resource)?,
            (Some(("limits", resource)), Fallback::None) => amount(container, "limits", resource)?.unwrap_or_default(),
            (Some(("requests", resource)), _) => request(container, resource)?,
            _ => return Err(ContentError::Field(resource.into())),
        };
        let divisor = quantity(selector.get("divisor"), "divisor")?.unwrap_or_default();
        Ok(amount.divide_rounding_up(&divisor).to_string())
    }

    /// Returns a container's limit. Where it is missing or zero, the pod's own limit counts (KEP-2837, for CPU and
    /// memory). Where that is missing or zero too, the node's allocatable counts. Huge pages have no such fallback
    /// [`pkg/kubelet/kubelet_resources.go`, `defaultPodLimitsForDownwardAPI`].
    fn limit(&self, container: &Value, resource: &str) -> Result<Quantity, ContentError> {
        let spec = self.object.get("spec").filter(|_| POD_LEVEL.contains(&resource));
        let holders = std::iter::once(container).chain(spec);
        for holder in holders {
            if let Some(limit) = amount(holder, "limits", resource)?.filter(|limit| !limit.is_zero()) {
                return Ok(limit);
            }
        }
        Ok(self.node.get(resource).cloned().unwrap_or_default())
    }
}

/// The resources that a pod may limit as a whole, of those that the node has a limit for.
const POD_LEVEL: [&str; 2] = ["cpu", "memory"];

/// The source of a limit that a container lacks.
#[derive(Clone, Copy)]
enum Fallback {
    None,
    PodAndNode,
}

/// Returns a container's request. A missing request is the limit, as the API server fills it in.
fn request(container: &Value, resource: &str) -> Result<Quantity, ContentError> {
    let set = amount(container, "requests", resource)?;
    Ok(match set {
        Some(request) => request,
        None => amount(container, "limits", resource)?.unwrap_or_default(),
    })
}

/// Returns an entry of the `resources` of a container, or of the pod's spec.
fn amount(holder: &Value, list: &str, resource: &str) -> Result<Option<Quantity>, ContentError> {
    let value = holder.get("resources").and_then(|resources| resources.get(list)?.get(resource));
    quantity(value, &format!("{list}.{resource}"))
}

fn quantity(value: Option<&Value>, field: &str) -> Result<Option<Quantity>, ContentError> {
    let failed = |error| ContentError::Quantity(field.into(), error);
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => text.trim().parse().map(Some).map_err(failed),
        Some(value) => value.to_string().parse().map(Some).map_err(failed),
    }
}

/// Returns the file of all labels or annotations: sorted by key, no newline after the last
/// [`pkg/fieldpath/fieldpath.go`, `FormatMap`].
fn lines(map: &BTreeMap<&str, &str>) -> String {
    let lines: Vec<_> = map.iter().map(|(key, value)| format!("{key}={}", quoted(value))).collect();
    lines.join("\n")
}

pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::{Allocatable, ContentError, Pod};

    fn object() -> Value {
        json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u",
                "labels": {"b": "2", "a.example.com/x": "1", "B": "3"},
                "annotations": {"multi": "one\ntwo \"three\"\n", "UPPER/Case": "v"}},
            "spec": {"nodeName": "node", "serviceAccountName": "sa", "containers": [
                {"name": "main", "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}, "requests": {"cpu": "125m"}}},
                {"name": "bare", "resources": {"limits": {"cpu": "0"}}},
            ], "initContainers": [{"name": "init", "resources": {"limits": {"cpu": 2}}}]},
            "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "hostIP": "192.0.2.1", "hostIPs": [{"ip": "192.0.2.1"}]},
        })
    }

    #[test]
    fn every_field_has_its_value() {
        let (object, node) = (object(), Allocatable::default());
        let pod = Pod { object: &object, node: &node };
        let table = [
            ("metadata.name", "p"),
            ("metadata.namespace", "n"),
            ("metadata.uid", "u"),
            ("metadata.labels", "B=\"3\"\na.example.com/x=\"1\"\nb=\"2\""),
            ("metadata.annotations", "UPPER/Case=\"v\"\nmulti=\"one\\ntwo \\\"three\\\"\\n\""),
            ("metadata.labels['a.example.com/x']", "1"),
            ("metadata.labels['none']", ""),
            ("metadata.annotations['UPPER/Case']", "v"),
            ("metadata.annotations['multi']", "one\ntwo \"three\"\n"),
            ("spec.nodeName", "node"),
            ("spec.serviceAccountName", "sa"),
            ("status.podIP", "10.0.0.1"),
            ("status.podIPs", "10.0.0.1,fd00::1"),
            ("status.hostIP", "192.0.2.1"),
            ("status.hostIPs", "192.0.2.1"),
        ];
        for (path, expected) in table {
            assert_eq!(pod.field(path).as_deref(), Ok(expected), "{path}");
        }
        assert_eq!(pod.field("status.phase"), Err(ContentError::Field("status.phase".into())));
        let bare = json!({"metadata": {"name": "p"}});
        assert_eq!(Pod { object: &bare, node: &node }.field("metadata.labels").as_deref(), Ok(""));
    }

    #[test]
    fn resources_are_divided_rounded_up_and_limited_by_the_node() {
        let (object, node) = (object(), Allocatable::default());
        let pod = Pod { object: &object, node: &node };
        let table = [
            ("main", "limits.cpu", "1m", "250"),
            ("main", "limits.cpu", "", "1"),
            ("main", "requests.cpu", "1m", "125"),
            ("main", "limits.memory", "1Mi", "64"),
            ("main", "requests.memory", "1Mi", "64"),
            ("main", "limits.ephemeral-storage", "1Gi", "100"),
            ("main", "requests.ephemeral-storage", "1", "0"),
            ("main", "limits.hugepages-2Mi", "1", "0"),
            ("bare", "limits.cpu", "1m", "4000"),
            ("bare", "limits.memory", "", "8589934592"),
            ("bare", "requests.memory", "", "0"),
            ("init", "limits.cpu", "1", "2"),
        ];
        for (container, resource, divisor, expected) in table {
            let divisor = if divisor.is_empty() { Value::Null } else { divisor.into() };
            let selector = json!({"containerName": container, "resource": resource, "divisor": divisor});
            assert_eq!(pod.resource_of_file(&selector).as_deref(), Ok(expected), "{container} {resource}");
            assert_eq!(pod.resource_of_variable(&selector, "x").as_deref(), Ok(expected), "{container} {resource}");
        }
        assert_eq!(pod.resource_of_variable(&json!({"resource": "limits.cpu"}), "init").as_deref(), Ok("2"));
        assert_eq!(
            pod.resource_of_variable(&json!({"containerName": "none", "resource": "limits.cpu"}), "main"),
            Err(ContentError::NoContainer("none".into()))
        );
        assert!(matches!(pod.resource_of_variable(&json!({"resource": "cpu"}), "main"), Err(ContentError::Field(_))));
    }

    #[test]
    fn a_missing_limit_is_the_pods_and_then_the_nodes() {
        let object = |of_pod: Value| {
            json!({"spec": {"resources": of_pod, "containers": [
                {"name": "bare"}, {"name": "zero", "resources": {"limits": {"cpu": "0", "memory": 0}}},
                {"name": "own", "resources": {"limits": {"cpu": "50m", "memory": "1Gi"}}},
            ], "initContainers": [{"name": "first"}]}})
        };
        let node = Allocatable::default();
        let limits = json!({"limits": {"cpu": "500m", "memory": "96Mi", "hugepages-2Mi": "4Mi"}});
        let zero = json!({"limits": {"cpu": "0", "ephemeral-storage": "1Gi"}});
        let table = [
            (&limits, "bare", "limits.cpu", "1m", "500"),
            (&limits, "bare", "limits.memory", "1Mi", "96"),
            (&limits, "zero", "limits.cpu", "1m", "500"),
            (&limits, "zero", "limits.memory", "1Mi", "96"),
            (&limits, "first", "limits.memory", "1Mi", "96"),
            (&limits, "own", "limits.cpu", "1m", "50"),
            (&limits, "own", "limits.memory", "1Mi", "1024"),
            (&limits, "bare", "limits.ephemeral-storage", "1Gi", "100"),
            (&limits, "bare", "limits.hugepages-2Mi", "1Mi", "0"),
            (&limits, "bare", "requests.cpu", "1m", "0"),
            (&limits, "bare", "requests.memory", "1", "0"),
            (&zero, "bare", "limits.cpu", "1m", "4000"),
            (&zero, "bare", "limits.memory", "1Mi", "8192"),
            (&zero, "bare", "limits.ephemeral-storage", "1Gi", "100"),
        ];
        for (of_pod, container, resource, divisor, expected) in table {
            let (object, selector) = (object(of_pod.clone()), json!({"resource": resource, "divisor": divisor}));
            let pod = Pod { object: &object, node: &node };
            let own = pod.resource_of_variable(&selector, container);
            assert_eq!(own.as_deref(), Ok(expected), "{of_pod} {container} {resource}");
            let named = json!({"containerName": container, "resource": resource, "divisor": divisor});
            assert_eq!(pod.resource_of_file(&named), own, "{of_pod} {container} {resource}");
        }
        let object = object(limits);
        let of_init = json!({"containerName": "first", "resource": "limits.cpu"});
        let named = Pod { object: &object, node: &node }.resource_of_variable(&of_init, "bare");
        assert_eq!(named.as_deref(), Ok("0"), "the kubelet completes no other container's init container");
    }
}
