//! Requests that change an object and may create it.
//!
//! Threat: an extension that may change an object creates one under the same rule. The API server creates by a PUT
//! where the type's strategy allows it (`AllowCreateOnUpdate`), and by each server-side apply. It then authorises
//! `create` for the service account, which may have more rights than one extension. So such a request is judged for
//! `create` here too. At this time it is not known whether the object exists.

use super::ResourcePath;

/// The built-in types that a PUT never creates, by group: `AllowCreateOnUpdate` in the `strategy.go` of `pkg/registry`
/// of Kubernetes 1.36, of apiextensions-apiserver and of kube-aggregator. The other built-in types are created by a
/// PUT: `endpoints`, `events`, `limitranges`, `services`, `leases`, `leasecandidates`, `runtimeclasses`, `roles`,
/// `rolebindings`, `clusterroles`, `clusterrolebindings`. A type that is in no row may belong to an aggregated API
/// server, which decides for itself, so it counts as created by a PUT. So do custom resources, which have the same
/// paths.
const ONLY_CHANGED: [(&str, &[&str]); 16] = [
    (
        "",
        &[
            "configmaps",
            "namespaces",
            "nodes",
            "persistentvolumeclaims",
            "persistentvolumes",
            "pods",
            "podtemplates",
            "replicationcontrollers",
            "resourcequotas",
            "secrets",
            "serviceaccounts",
        ],
    ),
    (
        "admissionregistration.k8s.io",
        &[
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicybindings",
            "mutatingwebhookconfigurations",
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "validatingwebhookconfigurations",
        ],
    ),
    ("apiextensions.k8s.io", &["customresourcedefinitions"]),
    ("apiregistration.k8s.io", &["apiservices"]),
    ("apps", &["controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"]),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("batch", &["cronjobs", "jobs"]),
    ("certificates.k8s.io", &["certificatesigningrequests"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("flowcontrol.apiserver.k8s.io", &["flowschemas", "prioritylevelconfigurations"]),
    ("internal.apiserver.k8s.io", &["storageversions"]),
    ("networking.k8s.io", &["ingressclasses", "ingresses", "ipaddresses", "networkpolicies", "servicecidrs"]),
    ("policy", &["poddisruptionbudgets"]),
    ("resource.k8s.io", &["deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices"]),
    ("scheduling.k8s.io", &["priorityclasses"]),
    ("storage.k8s.io", &["csidrivers", "csinodes", "csistoragecapacities", "storageclasses", "volumeattachments"]),
];

/// Subresources that change their object and make none, whatever type has them: those of the built-in types, of which
/// `status` and `scale` are all that a custom resource has.
const PARTS: [&str; 8] =
    ["status", "scale", "finalize", "approval", "ephemeralcontainers", "resize", "proxy", "eviction"];

/// Returns whether a PUT there may create.
pub(super) fn by_update(path: &ResourcePath) -> bool {
    match path.subresource.as_deref() {
        // Its store goes by the strategy of services themselves (`pkg/registry/core/service/strategy.go`).
        Some("status") if path.group.is_empty() && path.resource == "services" => true,
        Some(part) => !PARTS.contains(&part),
        None => !is_only_changed(&path.group, &path.resource),
    }
}

/// Returns whether a server-side apply there may create: of whole objects always.
pub(super) fn by_apply(path: &ResourcePath) -> bool {
    path.subresource.is_none() || by_update(path)
}

fn is_only_changed(group: &str, resource: &str) -> bool {
    ONLY_CHANGED.iter().any(|(known, types)| *known == group && types.contains(&resource))
}
