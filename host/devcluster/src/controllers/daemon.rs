//! DaemonSets [`pkg/controller/daemon/util/daemonset_util.go`].

use serde_json::{Value, json};

use super::{Surroundings, template};

/// Returns the pod of a DaemonSet on one node, with the tolerations that keep it there in every condition of the node.
pub(super) fn pod(owner: &Value, around: Surroundings<'_>) -> Value {
    let of_pods = &owner["spec"]["template"];
    let mut made = template::pod(owner, of_pods, &template::stem(owner));
    template::set(&mut made, "labels", "controller-revision-hash", &template::hash(of_pods));
    let generation = owner["metadata"]["generation"].as_u64().unwrap_or(1);
    template::set(&mut made, "labels", "pod-template-generation", &generation.to_string());
    let spec = &mut made["spec"];
    let mut tolerated = vec![
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    ];
    if spec["hostNetwork"] == true {
        tolerated.push(("network-unavailable", "NoSchedule"));
    }
    for (taint, effect) in tolerated {
        tolerate(spec, json!({"key": format!("node.kubernetes.io/{taint}"), "operator": "Exists", "effect": effect}));
    }
    bind(spec, around.node);
    made
}

fn tolerate(spec: &mut Value, toleration: Value) {
    if !spec["tolerations"].is_array() {
        spec["tolerations"] = json!([]);
    }
    let Some(list) = spec["tolerations"].as_array_mut() else { return };
    let same =
        |one: &Value| ["key", "operator", "effect", "value"].iter().all(|field| one[*field] == toleration[*field]);
    match list.iter_mut().find(|one| same(one)) {
        Some(one) => *one = toleration,
        None => list.push(toleration),
    }
}

/// Replaces all node terms by a match on the node's name.
fn bind(spec: &mut Value, node: &str) {
    let term = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]});
    template::map(template::map(spec, "affinity"), "nodeAffinity")["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({"nodeSelectorTerms": [term]});
}
