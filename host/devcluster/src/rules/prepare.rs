//! The values of an object that the server decides by itself: addresses, priorities, the first status.
//!
//! They do not belong to the client, so they are set after managed fields are recorded.

use serde_json::{Map, Value, json};

use crate::model::fresh::{new_uid, now};
use crate::model::resources::Type;
use crate::rules::defaults::{TEMPLATE_GENERATION, below, each, is_set, labels_of_template, or, text, unless_set};

/// The node ports of services.
const NODE_PORTS: std::ops::Range<u64> = 30000..32768;

/// Completes a new object.
pub(crate) fn new(of: &Type, value: &mut Value) {
    let (group, kind) = (of.group.as_str(), of.kind.as_str());
    let Some(map) = value.as_object_mut() else { return };
    match (group, kind) {
        ("", "Pod") => pod(map),
        ("", "Namespace") => namespace(map),
        ("", "Service") => {
            if let Some(spec) = below(map, "spec") {
                addresses(spec);
            }
        }
        ("", "PersistentVolume") => {
            if let Some(status) = below(map, "status") {
                or(status, "phase", "Pending");
                unless_set(status, "lastPhaseTransitionTime", now());
            }
        }
        ("", "PersistentVolumeClaim") => {
            if let Some(status) = below(map, "status") {
                or(status, "phase", "Pending");
            }
        }
        ("batch", "Job") => job(map),
        ("apps", "DaemonSet") => count_templates(map, 1),
        _ => {}
    }
}

/// Completes a changed object with the values decided before.
pub(crate) fn changed(of: &Type, old: &Value, new: &mut Value) {
    let (Some(before), Some(map)) = (old.get("spec").and_then(Value::as_object), new.as_object_mut()) else { return };
    match (of.group.as_str(), of.kind.as_str()) {
        ("", "Service") => {
            if let Some(spec) = below(map, "spec") {
                give_up_addresses(before, spec);
                keep_addresses(before, spec);
                addresses(spec);
            }
        }
        ("apps", "DaemonSet") => {
            let count = old["metadata"]["annotations"][TEMPLATE_GENERATION].as_str().and_then(|text| text.parse().ok());
            let same = map.get("spec").and_then(|spec| spec.get("template")) == before.get("template");
            count_templates(map, count.unwrap_or(1_i64).saturating_add(i64::from(!same)));
        }
        _ => {}
    }
}

fn count_templates(map: &mut Map<String, Value>, count: i64) {
    if let Some(all) = below(map, "metadata").and_then(|metadata| below(metadata, "annotations")) {
        all.insert(TEMPLATE_GENERATION.to_owned(), count.to_string().into());
    }
}

fn namespace(map: &mut Map<String, Value>) {
    let name = map.get("metadata").and_then(|metadata| metadata.get("name")).cloned().unwrap_or_default();
    if let Some(labels) = below(map, "metadata").and_then(|metadata| below(metadata, "labels")) {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name);
    }
    if let Some(spec) = below(map, "spec") {
        unless_set(spec, "finalizers", json!(["kubernetes"]));
    }
    if let Some(status) = below(map, "status") {
        or(status, "phase", "Active");
    }
}

fn needs_address(spec: &Map<String, Value>) -> bool {
    matches!(text(spec, "type"), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn needs_node_ports(spec: &Map<String, Value>) -> bool {
    match text(spec, "type") {
        "NodePort" => true,
        "LoadBalancer" => spec.get("allocateLoadBalancerNodePorts") != Some(&false.into()),
        _ => false,
    }
}

/// Sets the addresses and ports that a service lacks. Nothing is routed here: they only have to look real, and to
/// differ between services.
fn addresses(spec: &mut Map<String, Value>) {
    if !needs_address(spec) {
        return;
    }
    // A service without addresses and without a selector may have endpoints of either family.
    let either = text(spec, "clusterIP") == "None" && !is_set(spec, "selector");
    or(spec, "ipFamilies", if either { json!(["IPv4", "IPv6"]) } else { json!(["IPv4"]) });
    or(spec, "ipFamilyPolicy", if either { "RequireDualStack" } else { "SingleStack" });
    let uid = new_uid();
    let number = |at: usize| uid.get(at..at + 2).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(9);
    let first = spec.get("clusterIPs").and_then(|all| all.get(0)).cloned();
    or(spec, "clusterIP", first.unwrap_or_else(|| format!("10.96.{}.{}", number(0), number(2)).into()));
    let address = spec.get("clusterIP").cloned().unwrap_or_default();
    or(spec, "clusterIPs", json!([address]));
    if needs_node_ports(spec) {
        let span = NODE_PORTS.end.saturating_sub(NODE_PORTS.start);
        let from = number(4).saturating_mul(256).saturating_add(number(6));
        for (at, port) in (0u64..).zip(each(spec, "ports")) {
            let number = NODE_PORTS.start.saturating_add(from.saturating_add(at) % span);
            or(port, "nodePort", number);
        }
    }
}

/// Removes from a service the addresses that its new type does not have, unless the client sets them anew.
fn give_up_addresses(old: &Map<String, Value>, new: &mut Map<String, Value>) {
    let mut gone: Vec<&str> = Vec::new();
    if needs_address(old) && !needs_address(new) {
        gone.extend(["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]);
    }
    if needs_node_ports(old) && !needs_node_ports(new) {
        gone.push("externalTrafficPolicy");
        let ports = old.get("ports").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let same = |number: &Value| ports.iter().any(|port| port.get("nodePort") == Some(number));
        for port in each(new, "ports") {
            if port.get("nodePort").is_some_and(same) {
                port.remove("nodePort");
            }
        }
    }
    for field in gone.into_iter().filter(|field| old.get(*field) == new.get(*field)).collect::<Vec<_>>() {
        new.remove(field);
    }
}

/// Keeps the addresses and ports of a service that the client does not set again.
fn keep_addresses(old: &Map<String, Value>, new: &mut Map<String, Value>) {
    if needs_address(old) && needs_address(new) {
        for field in ["clusterIP", "ipFamilies", "ipFamilyPolicy"] {
            if let Some(value) = old.get(field) {
                or(new, field, value.clone());
            }
        }
        if let Some(all) = old.get("clusterIPs").filter(|_| old.get("clusterIP") == new.get("clusterIP")) {
            or(new, "clusterIPs", all.clone());
        }
    }
    if needs_node_ports(old) && needs_node_ports(new) {
        let ports = old.get("ports").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for port in each(new, "ports") {
            let same = |one: &&Value| ["port", "protocol"].iter().all(|field| one.get(*field) == port.get(*field));
            if let Some(number) = ports.iter().find(same).and_then(|one| one.get("nodePort")) {
                or(port, "nodePort", number.clone());
            }
        }
    }
}

fn job(map: &mut Map<String, Value>) {
    let metadata =
        |name: &str| map.get("metadata").and_then(|metadata| metadata.get(name)).cloned().unwrap_or_default();
    let (uid, name) = (metadata("uid"), metadata("name"));
    let Some(spec) = below(map, "spec") else { return };
    if spec.get("manualSelector") == Some(&true.into()) {
        return;
    }
    let labels =
        below(spec, "template").and_then(|pod| below(pod, "metadata")).and_then(|metadata| below(metadata, "labels"));
    if let Some(labels) = labels {
        for (key, value) in [
            ("batch.kubernetes.io/controller-uid", &uid),
            ("batch.kubernetes.io/job-name", &name),
            ("controller-uid", &uid),
            ("job-name", &name),
        ] {
            or(labels, key, value.clone());
        }
    }
    if let Some(labels) = below(spec, "selector").and_then(|selector| below(selector, "matchLabels")) {
        or(labels, "batch.kubernetes.io/controller-uid", uid);
    }
    let labels = spec.get("template").and_then(|pod| pod.pointer("/metadata/labels")).cloned();
    labels_of_template(map, labels);
}

fn pod(map: &mut Map<String, Value>) {
    let Some(spec) = below(map, "spec") else { return };
    unless_set(spec, "preemptionPolicy", "PreemptLowerPriority");
    unless_set(spec, "priority", 0);
    tolerate(spec, "node.kubernetes.io/not-ready");
    tolerate(spec, "node.kubernetes.io/unreachable");
    let class = quality_of_service(spec);
    if let Some(status) = below(map, "status") {
        or(status, "phase", "Pending");
        or(status, "qosClass", class);
    }
}

/// Adds the toleration by which a pod stays for five minutes on a node that is in trouble.
fn tolerate(spec: &mut Map<String, Value>, key: &str) {
    let toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
    unless_set(spec, "tolerations", json!([]));
    let covers = |one: &Value| {
        let names = one["key"] == key || (one["key"].is_null() && one["operator"] == "Exists");
        names && (one["effect"].is_null() || one["effect"] == "NoExecute")
    };
    if let Some(list) = spec.get_mut("tolerations").and_then(Value::as_array_mut)
        && !list.iter().any(covers)
    {
        list.push(toleration);
    }
}

fn quality_of_service(spec: &Map<String, Value>) -> &'static str {
    let lists = ["containers", "initContainers"];
    let whole = Value::Object(spec.clone());
    let containers: Vec<&Value> = if crate::rules::pod_resources::are_set(&whole) {
        vec![&whole]
    } else {
        lists.iter().filter_map(|list| spec.get(*list).and_then(Value::as_array)).flatten().collect()
    };
    let amount = |container: &Value, kind: &str, name: &str| container["resources"][kind].get(name).cloned();
    let named = ["cpu", "memory"];
    let any = containers.iter().any(|container| {
        let asks =
            |name: &&str| amount(container, "requests", name).is_some() || amount(container, "limits", name).is_some();
        named.iter().any(asks)
    });
    let guaranteed = containers.iter().all(|container| {
        named.iter().all(|name| {
            let limit = amount(container, "limits", name);
            limit.is_some() && amount(container, "requests", name).is_none_or(|request| Some(request) == limit)
        })
    });
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
