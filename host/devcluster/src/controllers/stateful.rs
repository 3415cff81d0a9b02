//! StatefulSets [`pkg/controller/statefulset/stateful_set_utils.go`].

use serde_json::{Value, json};

use super::{Surroundings, template};

/// Returns the first pod of a StatefulSet, with its own name, hostname and claims.
pub(super) fn pod(owner: &Value, _: Surroundings<'_>) -> Value {
    let spec = &owner["spec"];
    let ordinal = spec["ordinals"]["start"].as_u64().unwrap_or(0);
    let (set, name) = (template::name(owner), format!("{}-{ordinal}", template::name(owner)));
    let mut made = template::pod(owner, &spec["template"], &template::stem(owner));
    made["metadata"]["name"] = name.as_str().into();
    template::set(&mut made, "labels", "statefulset.kubernetes.io/pod-name", &name);
    template::set(&mut made, "labels", "apps.kubernetes.io/pod-index", &ordinal.to_string());
    let revision = format!("{set}-{}", template::hash(&spec["template"]));
    template::set(&mut made, "labels", "controller-revision-hash", &revision);
    made["spec"]["volumes"] = volumes(spec, &name).into();
    made["spec"]["hostname"] = name.into();
    if let Some(service) = spec["serviceName"].as_str().filter(|service| !service.is_empty()) {
        made["spec"]["subdomain"] = service.into();
    }
    made
}

/// Returns one volume for each claim template, in place of a volume of that name in the pod's template, followed by the
/// template's other volumes.
fn volumes(spec: &Value, pod: &str) -> Vec<Value> {
    let each = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let claims = each(&spec["volumeClaimTemplates"]);
    let name = |claim: &Value| template::name(claim).to_owned();
    let volume = |claim: &Value| json!({"name": name(claim), "persistentVolumeClaim": {"claimName": format!("{}-{pod}", name(claim))}});
    let others = each(&spec["template"]["spec"]["volumes"]).into_iter();
    let others = others.filter(|volume| !claims.iter().any(|claim| volume["name"].as_str() == Some(&name(claim))));
    claims.iter().map(volume).chain(others).collect()
}
