//! The pod as the kubelet sees it: the values of its Downward API fields.

use std::collections::BTreeMap;

use serde_json::Value;

use super::quote::quoted;
use crate::devcluster::validation::subscript;
use crate::quantity::Quantity;

/// What a pod asks for and does not get.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// A config map or a secret is not there.
    #[error("{kind} {name:?} not found")]
    NoObject {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It is there, but lacks a key.
    #[error("{kind} {name:?} has no key {key:?}")]
    NoKey {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// The data under a key is not what it has to be.
    #[error("the data of {kind} {name:?} under {key:?} is {fault}")]
    BadData {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The key.
        key: String,
        /// What is wrong: `not base64`, `not UTF-8`.
        fault: &'static str,
    },
    /// A resource field names a container that the pod has not.
    #[error("container {0:?} not found")]
    NoContainer(String),
    /// A field path that has no value here.
    #[error("field {0:?} is not supported")]
    Field(String),
    /// A quantity of the pod cannot be read.
    #[error("{0}: {1}")]
    Quantity(String, #[source] crate::quantity::QuantityError),
    /// A volume of a kind that needs more than files.
    #[error("volume {volume:?} is of kind {kind}, which this kubelet has not: it has downwardAPI, projected, configMap, secret and emptyDir")]
    Kind {
        /// The volume.
        volume: String,
        /// Its kind.
        kind: String,
    },
    /// A path of a file is none.
    #[error(transparent)]
    Path(#[from] crate::volume::InvalidPath),
    /// A projected token was not asked for beforehand. Never happens, for both are read from the same pod.
    #[error("no token for audience {0:?}")]
    NoToken(String),
}

/// What a node has to give to its pods: what limits are where a container sets none.
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
    /// A small node: 4 CPUs, 8 GiB and 100 GiB.
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

/// A pod and the node that it is on.
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

    /// The value of a `fieldRef` [`pkg/fieldpath/fieldpath.go`; `pkg/kubelet/kubelet_pods.go`].
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

    /// The value of a `resourceFieldRef`, of the container that it names or else of `own`.
    pub(super) fn resource(&self, selector: &Value, own: &str) -> Result<String, ContentError> {
        let name = Some(text(selector, "containerName")).filter(|name| !name.is_empty()).unwrap_or(own);
        let container = self.container(name).ok_or_else(|| ContentError::NoContainer(name.into()))?;
        let resource = text(selector, "resource");
        let amount = match resource.split_once('.') {
            Some(("limits", resource)) => self.limit(container, resource)?,
            Some(("requests", resource)) => request(container, resource)?,
            _ => return Err(ContentError::Field(resource.into())),
        };
        let divisor = quantity(selector.get("divisor"), "divisor")?.unwrap_or_default();
        Ok(amount.divide_rounding_up(&divisor).to_string())
    }

    /// A limit that is not set, or zero, is what the node has to give; of huge pages it gives none.
    fn limit(&self, container: &Value, resource: &str) -> Result<Quantity, ContentError> {
        let set = amount(container, "limits", resource)?.filter(|limit| !limit.is_zero());
        Ok(set.or_else(|| self.node.get(resource).cloned()).unwrap_or_default())
    }
}

/// A request that is not set is the limit, as the API server fills it in.
fn request(container: &Value, resource: &str) -> Result<Quantity, ContentError> {
    let set = amount(container, "requests", resource)?;
    Ok(match set {
        Some(request) => request,
        None => amount(container, "limits", resource)?.unwrap_or_default(),
    })
}

fn amount(container: &Value, list: &str, resource: &str) -> Result<Option<Quantity>, ContentError> {
    let value = container.get("resources").and_then(|resources| resources.get(list)?.get(resource));
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

/// The file of all labels or annotations: sorted by key, no newline after the last
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
            assert_eq!(pod.resource(&selector, "x").as_deref(), Ok(expected), "{container} {resource}");
        }
        assert_eq!(pod.resource(&json!({"resource": "limits.cpu"}), "init").as_deref(), Ok("2"));
        assert_eq!(
            pod.resource(&json!({"containerName": "none", "resource": "limits.cpu"}), "main"),
            Err(ContentError::NoContainer("none".into()))
        );
        assert!(matches!(pod.resource(&json!({"resource": "cpu"}), "main"), Err(ContentError::Field(_))));
    }
}
