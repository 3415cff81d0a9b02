//! The types of object that a kube-apiserver 1.36 serves, as in discovery.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The verbs of a type that is stored.
pub(crate) const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// The verbs of a namespace, which has no `deletecollection`.
const NO_COLLECTION: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
/// The verbs of a type that is answered and not stored.
const ASKED: &[&str] = &["create"];
/// The verbs of the one read-only type.
const SEEN: &[&str] = &["get", "list"];
/// The verbs of a subresource that is a part of its object.
pub(crate) const PART: &[&str] = &["get", "patch", "update"];
const PROXIED: &[&str] = &["create", "delete", "get", "patch", "update"];
const STREAMED: &[&str] = &["create", "get"];
const READ: &[&str] = &["get"];
const UPDATED: &[&str] = &["update"];

/// A part of an object, or an act on it, with a path of its own.
#[derive(Debug, Clone)]
pub(crate) struct Subresource {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) verbs: Vec<String>,
}

/// One type of object in one version.
#[derive(Debug, Clone)]
pub(crate) struct Type {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) subresources: Vec<Subresource>,
    /// The additions of a custom type; `None` for a built-in type.
    pub(crate) custom: Option<Custom>,
}

/// The facts of a CRD about one version of its type.
#[derive(Debug, Clone)]
pub(crate) struct Custom {
    /// The columns that `kubectl get` prints beside the name.
    pub(crate) columns: Vec<Column>,
    /// The paths for field selectors.
    pub(crate) selectable: Vec<String>,
    /// The structural schema, or null.
    pub(crate) schema: Value,
    /// The paths for `scale`: specReplicasPath, statusReplicasPath, labelSelectorPath.
    pub(crate) scale: BTreeMap<String, String>,
}

impl Type {
    /// Returns `GROUP/VERSION`, or the version alone in the core group.
    pub(crate) fn api_version(&self) -> String {
        join_version(&self.group, &self.version)
    }

    /// Returns the beginning of the JSON of an object of this type and version.
    pub(crate) fn head(&self) -> String {
        format!(r#"{{"kind":"{}","apiVersion":"{}","#, self.kind, self.api_version())
    }

    /// Returns `PLURAL.GROUP`, or the plural alone in the core group: the name in errors.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Returns the details of an error about the object `name`, or about the type if the name is empty.
    pub(crate) fn details(&self, name: &str) -> Value {
        let mut details = json!({"kind": self.plural});
        if !name.is_empty() {
            details["name"] = name.into();
        }
        if !self.group.is_empty() {
            details["group"] = self.group.as_str().into();
        }
        details
    }

    /// Returns whether objects of this type are stored.
    pub(crate) fn stored(&self) -> bool {
        self.verbs.iter().any(|verb| verb == "watch")
    }

    /// Returns the subresource of that name.
    pub(crate) fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// Returns whether the type's status is written by its own path only.
    pub(crate) fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// Returns eight bytes of a hash of the stored version, by which clients detect a change.
    pub(crate) fn storage_version_hash(&self) -> String {
        let (group, version) = match (self.group.as_str(), self.kind.as_str()) {
            ("events.k8s.io", "Event") => ("", "v1"),
            ("autoscaling", _) => ("autoscaling", "v2"),
            (group, _) => (group, self.version.as_str()),
        };
        let sum = Sha256::digest(format!("{group}/{version}/{}", self.kind));
        let head = sum.get(..8).unwrap_or_default();
        base64::engine::general_purpose::STANDARD.encode(head)
    }
}

/// Returns `GROUP/VERSION` in the form of `apiVersion`.
pub(crate) fn join_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// One line of the table below.
struct Row(
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    char,
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
    &'static str,
);

const EXTENSIONS: &[&str] = &["api-extensions"];
const ALL_CATEGORY: &[&str] = &["all"];

/// Group, version, kind, plural, `N`amespaced or `C`luster, short names, categories, verbs, subresources. The order is
/// the order of discovery.
#[rustfmt::skip]
const BUILT_IN: &[Row] = &[
    Row("", "v1", "Binding", "bindings", 'N', &[], &[], ASKED, ""),
    Row("", "v1", "ComponentStatus", "componentstatuses", 'C', &["cs"], &[], SEEN, ""),
    Row("", "v1", "ConfigMap", "configmaps", 'N', &["cm"], &[], ALL, ""),
    Row("", "v1", "Endpoints", "endpoints", 'N', &["ep"], &[], ALL, ""),
    Row("", "v1", "Event", "events", 'N', &["ev"], &[], ALL, ""),
    Row("", "v1", "LimitRange", "limitranges", 'N', &["limits"], &[], ALL, ""),
    Row("", "v1", "Namespace", "namespaces", 'C', &["ns"], &[], NO_COLLECTION, "finalize status"),
    Row("", "v1", "Node", "nodes", 'C', &["no"], &[], ALL, "proxy status"),
    Row("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", 'N', &["pvc"], &[], ALL, "status"),
    Row("", "v1", "PersistentVolume", "persistentvolumes", 'C', &["pv"], &[], ALL, "status"),
    Row("", "v1", "Pod", "pods", 'N', &["po"], ALL_CATEGORY, ALL,
        "attach binding ephemeralcontainers eviction exec log portforward proxy resize status"),
    Row("", "v1", "PodTemplate", "podtemplates", 'N', &[], &[], ALL, ""),
    Row("", "v1", "ReplicationController", "replicationcontrollers", 'N', &["rc"], ALL_CATEGORY, ALL, "scale status"),
    Row("", "v1", "ResourceQuota", "resourcequotas", 'N', &["quota"], &[], ALL, "status"),
    Row("", "v1", "Secret", "secrets", 'N', &[], &[], ALL, ""),
    Row("", "v1", "ServiceAccount", "serviceaccounts", 'N', &["sa"], &[], ALL, "token"),
    Row("", "v1", "Service", "services", 'N', &["svc"], ALL_CATEGORY, ALL, "proxy status"),
    Row("apiregistration.k8s.io", "v1", "APIService", "apiservices", 'C', &[], EXTENSIONS, ALL, "status"),
    Row("apps", "v1", "ControllerRevision", "controllerrevisions", 'N', &[], &[], ALL, ""),
    Row("apps", "v1", "DaemonSet", "daemonsets", 'N', &["ds"], ALL_CATEGORY, ALL, "status"),
    Row("apps", "v1", "Deployment", "deployments", 'N', &["deploy"], ALL_CATEGORY, ALL, "scale status"),
    Row("apps", "v1", "ReplicaSet", "replicasets", 'N', &["rs"], ALL_CATEGORY, ALL, "scale status"),
    Row("apps", "v1", "StatefulSet", "statefulsets", 'N', &["sts"], ALL_CATEGORY, ALL, "scale status"),
    Row("events.k8s.io", "v1", "Event", "events", 'N', &["ev"], &[], ALL, ""),
    Row("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", 'C', &[], &[], ASKED, ""),
    Row("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", 'C', &[], &[], ASKED, ""),
    Row("authorization.k8s.io", "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", 'N', &[], &[], ASKED, ""),
    Row("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", 'C', &[], &[], ASKED, ""),
    Row("authorization.k8s.io", "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", 'C', &[], &[], ASKED, ""),
    Row("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", 'C', &[], &[], ASKED, ""),
    Row("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", 'N', &["hpa"], ALL_CATEGORY, ALL, "status"),
    Row("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", 'N', &["hpa"], ALL_CATEGORY, ALL, "status"),
    Row("batch", "v1", "CronJob", "cronjobs", 'N', &["cj"], ALL_CATEGORY, ALL, "status"),
    Row("batch", "v1", "Job", "jobs", 'N', &[], ALL_CATEGORY, ALL, "status"),
    Row("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests", 'C', &["csr"], &[], ALL, "approval status"),
    Row("networking.k8s.io", "v1", "IngressClass", "ingressclasses", 'C', &[], &[], ALL, ""),
    Row("networking.k8s.io", "v1", "Ingress", "ingresses", 'N', &["ing"], &[], ALL, "status"),
    Row("networking.k8s.io", "v1", "IPAddress", "ipaddresses", 'C', &["ip"], &[], ALL, ""),
    Row("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", 'N', &["netpol"], &[], ALL, ""),
    Row("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", 'C', &[], &[], ALL, "status"),
    Row("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", 'N', &["pdb"], &[], ALL, "status"),
    Row("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", 'C', &[], &[], ALL, ""),
    Row("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", 'C', &[], &[], ALL, ""),
    Row("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", 'N', &[], &[], ALL, ""),
    Row("rbac.authorization.k8s.io", "v1", "Role", "roles", 'N', &[], &[], ALL, ""),
    Row("storage.k8s.io", "v1", "CSIDriver", "csidrivers", 'C', &[], &[], ALL, ""),
    Row("storage.k8s.io", "v1", "CSINode", "csinodes", 'C', &[], &[], ALL, ""),
    Row("storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities", 'N', &[], &[], ALL, ""),
    Row("storage.k8s.io", "v1", "StorageClass", "storageclasses", 'C', &["sc"], &[], ALL, ""),
    Row("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", 'C', &[], &[], ALL, "status"),
    Row("storage.k8s.io", "v1", "VolumeAttributesClass", "volumeattributesclasses", 'C', &["vac"], &[], ALL, ""),
    Row("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy", "mutatingadmissionpolicies", 'C', &[], EXTENSIONS, ALL, ""),
    Row("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", 'C', &[], EXTENSIONS, ALL, ""),
    Row("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", 'C', &[], EXTENSIONS, ALL, ""),
    Row("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", 'C', &[], EXTENSIONS, ALL, "status"),
    Row("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", 'C', &[], EXTENSIONS, ALL, ""),
    Row("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", 'C', &[], EXTENSIONS, ALL, ""),
    Row("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", 'C', &["crd", "crds"], EXTENSIONS, ALL, "status"),
    Row("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", 'C', &["pc"], &[], ALL, ""),
    Row("coordination.k8s.io", "v1", "Lease", "leases", 'N', &[], &[], ALL, ""),
    Row("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", 'C', &[], &[], ALL, ""),
    Row("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", 'N', &[], &[], ALL, ""),
    Row("resource.k8s.io", "v1", "DeviceClass", "deviceclasses", 'C', &[], &[], ALL, ""),
    Row("resource.k8s.io", "v1", "ResourceClaim", "resourceclaims", 'N', &[], &[], ALL, "status"),
    Row("resource.k8s.io", "v1", "ResourceClaimTemplate", "resourceclaimtemplates", 'N', &[], &[], ALL, ""),
    Row("resource.k8s.io", "v1", "ResourceSlice", "resourceslices", 'C', &[], &[], ALL, ""),
    Row("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema", "flowschemas", 'C', &[], &[], ALL, "status"),
    Row("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations", 'C', &[], &[], ALL, "status"),
];

/// Returns all built-in types, in the order of discovery.
pub(crate) fn built_in() -> Vec<Type> {
    BUILT_IN.iter().map(Row::build).collect()
}

impl Row {
    fn build(&self) -> Type {
        let Self(group, version, kind, plural, scope, short_names, categories, verbs, subresources) = self;
        Type {
            group: (*group).to_owned(),
            version: (*version).to_owned(),
            kind: (*kind).to_owned(),
            list_kind: format!("{kind}List"),
            plural: (*plural).to_owned(),
            singular: kind.to_ascii_lowercase(),
            namespaced: *scope == 'N',
            verbs: owned(verbs),
            short_names: owned(short_names),
            categories: owned(categories),
            subresources: subresources.split_whitespace().map(|name| subresource(kind, name)).collect(),
            custom: None,
        }
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn subresource(kind: &str, name: &str) -> Subresource {
    let ((group, version, kind), verbs) = match (kind, name) {
        ("Pod", "attach") => (("", "", "PodAttachOptions"), STREAMED),
        ("Pod", "binding") => (("", "", "Binding"), ASKED),
        ("Pod", "eviction") => (("policy", "v1", "Eviction"), ASKED),
        ("Pod", "exec") => (("", "", "PodExecOptions"), STREAMED),
        ("Pod", "log") => (("", "", "Pod"), READ),
        ("Pod", "portforward") => (("", "", "PodPortForwardOptions"), STREAMED),
        ("Pod", "proxy") => (("", "", "PodProxyOptions"), PROXIED),
        ("Node", "proxy") => (("", "", "NodeProxyOptions"), PROXIED),
        ("Service", "proxy") => (("", "", "ServiceProxyOptions"), PROXIED),
        ("ServiceAccount", "token") => (("authentication.k8s.io", "v1", "TokenRequest"), ASKED),
        ("Namespace", "finalize") => (("", "", "Namespace"), UPDATED),
        (_, "scale") => (("autoscaling", "v1", "Scale"), PART),
        (kind, _) => (("", "", kind), PART),
    };
    Subresource {
        name: name.to_owned(),
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        verbs: owned(verbs),
    }
}

/// One column of a table.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) format: String,
    pub(crate) description: String,
    pub(crate) priority: i64,
    /// The path of the value, in the JSONPath of a CRD.
    pub(crate) path: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(kind: &str) -> Option<Type> {
        built_in().into_iter().find(|found| found.kind == kind)
    }

    #[test]
    fn the_storage_version_hash_is_the_real_servers() {
        let hash = |kind| find(kind).map(|found| found.storage_version_hash());
        assert_eq!(hash("ConfigMap").as_deref(), Some("qFsyl6wFWjQ="));
        assert_eq!(hash("Job").as_deref(), Some("mudhfqk/qZY="));
    }

    #[test]
    fn errors_name_the_group() {
        assert_eq!(find("Job").map(|found| found.qualified()).as_deref(), Some("jobs.batch"));
        assert_eq!(find("Pod").map(|found| found.qualified()).as_deref(), Some("pods"));
    }
}
