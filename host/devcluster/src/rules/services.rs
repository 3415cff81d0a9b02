//! Validation of services.
//!
//! The rules and words are those of `pkg/apis/core/validation` of Kubernetes 1.36, limited to ports and addresses.

use std::net::IpAddr;

use serde_json::Value;

use crate::model::status::StatusCause;

/// Returns the faults of a service.
pub(crate) fn problems(value: &Value) -> Vec<StatusCause> {
    let spec = &value["spec"];
    let mut causes = Vec::new();
    let headless = spec["clusterIP"] == "None";
    let has_ports = spec["ports"].as_array().is_some_and(|ports| !ports.is_empty());
    if !has_ports && !headless && spec["type"] != "ExternalName" {
        causes.push(StatusCause::required("spec.ports", ""));
    }
    for (at, address) in spec["clusterIPs"].as_array().into_iter().flatten().enumerate() {
        let text = address.as_str().unwrap_or_default();
        if text != "None" && text.parse::<IpAddr>().is_err() {
            let rule = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            causes.push(StatusCause::invalid(format!("spec.clusterIPs[{at}]"), address, rule));
        }
    }
    let balanced = value["status"]["loadBalancer"]["ingress"].as_array().is_some_and(|list| !list.is_empty());
    if balanced && spec["type"] != "LoadBalancer" {
        let rule = "may only be used when `spec.type` is 'LoadBalancer'";
        causes.push(StatusCause::forbidden("status.loadBalancer.ingress", rule));
    }
    causes
}

/// Returns the fault of a changed cluster IP. A service keeps its address while it has one.
pub(crate) fn fixed(old: &Value, new: &Value) -> Option<StatusCause> {
    let first = |value: &Value| {
        let spec = &value["spec"];
        let needs = spec["type"] != "ExternalName";
        spec["clusterIP"].as_str().filter(|text| needs && !text.is_empty()).map(str::to_owned)
    };
    let (before, after) = (first(old)?, first(new)?);
    let shown = serde_json::json!([after]);
    (before != after).then(|| StatusCause::invalid("spec.clusterIPs[0]", &shown, "may not change once set"))
}
