//! Deployments, ReplicaSets and ReplicationControllers [`pkg/controller/deployment/sync.go`, `getNewReplicaSet`;
//! `pkg/controller/replicaset/replica_set.go`].

use serde_json::{Value, json};

use super::{Surroundings, template};

const HASH: &str = "pod-template-hash";

/// The annotations that are not copied from a Deployment to its ReplicaSet, since they describe the Deployment alone.
const OWN_NOTES: [&str; 3] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
    "deprecated.deployment.rollback.revision",
];

/// Returns the first ReplicaSet of a Deployment.
pub(super) fn replica_set(owner: &Value, _: Surroundings<'_>) -> Value {
    let spec = &owner["spec"];
    let hash = template::hash(&spec["template"]);
    let mut pods = spec["template"].clone();
    template::set(&mut pods, "labels", HASH, &hash);
    let mut selector = spec["selector"].clone();
    template::map(&mut selector, "matchLabels")[HASH] = hash.as_str().into();
    let mut made = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", template::name(owner)), "namespace": owner["metadata"]["namespace"],
            "labels": pods["metadata"]["labels"], "ownerReferences": [template::reference(owner)],
        },
        "spec": {"replicas": spec["replicas"], "selector": selector, "template": pods},
    });
    if let Some(seconds) = spec.get("minReadySeconds") {
        made["spec"]["minReadySeconds"] = seconds.clone();
    }
    let notes = owner["metadata"]["annotations"].as_object().into_iter().flatten();
    for (key, value) in notes.filter(|(key, _)| !OWN_NOTES.contains(&key.as_str())) {
        template::set(&mut made, "annotations", key, value.as_str().unwrap_or_default());
    }
    let replicas = spec["replicas"].as_u64().unwrap_or(1);
    for (key, value) in [
        ("deployment.kubernetes.io/desired-replicas", replicas),
        ("deployment.kubernetes.io/max-replicas", replicas.saturating_add(surge(spec, replicas))),
        ("deployment.kubernetes.io/revision", 1),
    ] {
        template::set(&mut made, "annotations", key, &value.to_string());
    }
    made
}

/// Returns the number of pods beyond the replicas while a Deployment rolls out. `maxSurge` is a number or a percentage,
/// which is rounded up.
fn surge(spec: &Value, replicas: u64) -> u64 {
    let surge = &spec["strategy"]["rollingUpdate"]["maxSurge"];
    let percent = surge.as_str().and_then(|text| text.strip_suffix('%')?.parse::<u64>().ok());
    surge.as_u64().or_else(|| Some(replicas.saturating_mul(percent?).div_ceil(100))).unwrap_or(0)
}

/// Returns the first pod of a ReplicaSet or a ReplicationController.
pub(super) fn pod(owner: &Value, _: Surroundings<'_>) -> Value {
    template::pod(owner, &owner["spec"]["template"], &template::stem(owner))
}
