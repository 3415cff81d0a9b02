//! The defaults of built-in types, struct by struct.
//!
//! A default belongs to the client: the creator of an object owns its defaults. Values that the server decides by
//! itself, such as a service's address, are set by [`prepare`](crate::rules::prepare) and have no owner.

use serde_json::{Map, Value, json};

use crate::model::resources::Type;
use crate::model::types::{self, Shape, Struct};

/// The permissions of a volume's files: 0644.
pub(crate) const MODE: i64 = 420;

/// The annotation in which a daemon set counts the changes of its template.
pub(crate) const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Sets `field` to `value` if the field is missing or empty.
pub(crate) fn or(map: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    let says_nothing = |value: &Value| value.is_null() || value == "" || *value == 0;
    if map.get(field).is_none_or(says_nothing) {
        map.insert(field.to_owned(), value.into());
    }
}

/// Sets `field`, a pointer, to `value` if the field is missing. A zero counts as set.
pub(crate) fn unless_set(map: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    if map.get(field).is_none_or(Value::is_null) {
        map.insert(field.to_owned(), value.into());
    }
}

pub(crate) fn text<'a>(map: &'a Map<String, Value>, field: &str) -> &'a str {
    map.get(field).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn is_set(map: &Map<String, Value>, field: &str) -> bool {
    map.get(field).is_some_and(|value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    })
}

/// Returns the map at `field`, and makes it if there is none.
pub(crate) fn below<'a>(map: &'a mut Map<String, Value>, field: &str) -> Option<&'a mut Map<String, Value>> {
    unless_set(map, field, json!({}));
    map.get_mut(field).and_then(Value::as_object_mut)
}

pub(crate) fn each<'a>(
    map: &'a mut Map<String, Value>,
    field: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    map.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Fills in the type's defaults.
pub(crate) fn complete(of: &Type, value: &mut Value) {
    if let Some(custom) = &of.custom {
        return crate::model::custom_schema::fill(&custom.schema, value);
    }
    let known = types::of_kind(&of.api_version(), &of.kind);
    if let (Some((name, known)), Some(map)) = (known, value.as_object_mut()) {
        structure(name, known, map);
    }
}

fn structure(name: &str, known: &'static Struct, map: &mut Map<String, Value>) {
    of_struct(name, map);
    for field in &known.fields {
        if let Some(value) = map.get_mut(field.name) {
            descend(&field.shape, value);
        }
    }
}

fn descend(shape: &'static Shape, value: &mut Value) {
    match (shape, value) {
        (Shape::Struct(name), Value::Object(map)) => {
            if let Some(known) = types::named(name) {
                structure(name, known, map);
            }
        }
        (Shape::List { item, .. }, Value::Array(list)) => list.iter_mut().for_each(|value| descend(item, value)),
        (Shape::Map { item, .. }, Value::Object(map)) => map.values_mut().for_each(|value| descend(item, value)),
        _ => {}
    }
}

/// Fills in the defaults of one struct, without those of the structs in it.
fn of_struct(name: &str, map: &mut Map<String, Value>) {
    match name {
        "Deployment" => _ = below(map, "spec").map(deployment),
        "ReplicaSet" => _ = below(map, "spec").map(|spec| unless_set(spec, "replicas", 1)),
        "ReplicationController" => replication_controller(map),
        "StatefulSet" => _ = below(map, "spec").map(stateful_set),
        "DaemonSet" => {
            _ = below(map, "spec").map(daemon_set);
            if let Some(all) = below(map, "metadata").and_then(|metadata| below(metadata, "annotations")) {
                or(all, TEMPLATE_GENERATION, "0");
            }
        }
        "Job" => job(map),
        "CronJobSpec" => {
            or(map, "concurrencyPolicy", "Allow");
            unless_set(map, "suspend", false);
            unless_set(map, "successfulJobsHistoryLimit", 3);
            unless_set(map, "failedJobsHistoryLimit", 1);
        }
        "PodFailurePolicyOnPodConditionsPattern" => or(map, "status", "True"),
        "Namespace" => namespace(map),
        "Secret" => secret(map),
        "ServiceSpec" => service(map),
        "PersistentVolumeSpec" => {
            or(map, "persistentVolumeReclaimPolicy", "Retain");
            unless_set(map, "volumeMode", "Filesystem");
        }
        "PersistentVolumeClaimSpec" => unless_set(map, "volumeMode", "Filesystem"),
        "PersistentVolumeStatus" | "PersistentVolumeClaimStatus" => or(map, "phase", "Pending"),
        "LimitRangeItem" => limit_range(map),
        "CustomResourceDefinitionSpec" => definition(map),
        "RoleRef" => or(map, "apiGroup", RBAC),
        "Subject.rbac.v1" if matches!(text(map, "kind"), "User" | "Group") => or(map, "apiGroup", RBAC),
        "NetworkPolicyPort" | "EndpointPort.core.v1" => or(map, "protocol", "TCP"),
        "EndpointPort.discovery.v1" => {
            unless_set(map, "name", "");
            unless_set(map, "protocol", "TCP");
        }
        "NetworkPolicySpec" if !is_set(map, "policyTypes") => {
            let types = if is_set(map, "egress") { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            map.insert("policyTypes".to_owned(), types);
        }
        "IngressClassParametersReference" => unless_set(map, "scope", "Cluster"),
        "PriorityClass" => unless_set(map, "preemptionPolicy", "PreemptLowerPriority"),
        "StorageClass" => {
            unless_set(map, "reclaimPolicy", "Delete");
            unless_set(map, "volumeBindingMode", "Immediate");
        }
        "CSIDriverSpec" => csi_driver(map),
        "HorizontalPodAutoscalerSpec.autoscaling.v1" => unless_set(map, "minReplicas", 1),
        "HorizontalPodAutoscalerSpec.autoscaling.v2" => autoscaler(map),
        name => admission(name, map),
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";

/// Fills in the defaults of admission and flow control, or else those of pods.
fn admission(name: &str, map: &mut Map<String, Value>) {
    match name {
        "ValidatingWebhook" | "MutatingWebhook" | "MatchResources" => {
            unless_set(map, "matchPolicy", "Equivalent");
            unless_set(map, "namespaceSelector", json!({}));
            unless_set(map, "objectSelector", json!({}));
            if name != "MatchResources" {
                unless_set(map, "failurePolicy", "Fail");
                unless_set(map, "timeoutSeconds", 10);
            }
            if name == "MutatingWebhook" {
                unless_set(map, "reinvocationPolicy", "Never");
            }
        }
        "RuleWithOperations" | "NamedRuleWithOperations" => unless_set(map, "scope", "*"),
        "ServiceReference.admissionregistration.v1"
        | "ServiceReference.apiextensions.v1"
        | "ServiceReference.apiregistration.v1" => unless_set(map, "port", 443),
        "ValidatingAdmissionPolicySpec" | "MutatingAdmissionPolicySpec" => unless_set(map, "failurePolicy", "Fail"),
        "FlowSchemaSpec" => or(map, "matchingPrecedence", 1000),
        "ExemptPriorityLevelConfiguration" => {
            unless_set(map, "nominalConcurrencyShares", 0);
            unless_set(map, "lendablePercent", 0);
        }
        "LimitedPriorityLevelConfiguration" => {
            unless_set(map, "nominalConcurrencyShares", 30);
            unless_set(map, "lendablePercent", 0);
        }
        "QueuingConfiguration" => {
            or(map, "handSize", 8);
            or(map, "queues", 64);
            or(map, "queueLengthLimit", 50);
        }
        "ExactDeviceRequest" | "DeviceSubRequest" => {
            or(map, "allocationMode", "ExactCount");
            if text(map, "allocationMode") == "ExactCount" {
                or(map, "count", 1);
            }
        }
        name => crate::rules::pod_defaults::of_struct(name, map),
    }
}

fn namespace(map: &mut Map<String, Value>) {
    let name = map.get("metadata").and_then(|metadata| metadata.get("name")).cloned();
    if let Some(name) = name.filter(|name| name != "")
        && let Some(labels) = below(map, "metadata").and_then(|metadata| below(metadata, "labels"))
    {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name);
    }
    if let Some(status) = below(map, "status") {
        or(status, "phase", "Active");
    }
}

fn secret(map: &mut Map<String, Value>) {
    or(map, "type", "Opaque");
    let Some(plain) = map.remove("stringData") else { return };
    let Some(data) = below(map, "data") else { return };
    for (key, text) in plain.as_object().into_iter().flatten() {
        use base64::Engine as _;
        let text = text.as_str().unwrap_or_default();
        data.insert(key.clone(), base64::engine::general_purpose::STANDARD.encode(text).into());
    }
}

fn service(spec: &mut Map<String, Value>) {
    or(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => _ = spec.remove("sessionAffinityConfig"),
        "ClientIP" => {
            let config = below(spec, "sessionAffinityConfig").and_then(|config| below(config, "clientIP"));
            if let Some(config) = config {
                unless_set(config, "timeoutSeconds", 10800);
            }
        }
        _ => {}
    }
    or(spec, "type", "ClusterIP");
    for port in each(spec, "ports") {
        or(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or_default();
        or(port, "targetPort", number);
    }
    let open = is_set(spec, "externalIPs") && text(spec, "type") == "ClusterIP";
    if open || matches!(text(spec, "type"), "NodePort" | "LoadBalancer") {
        or(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(text(spec, "type"), "ClusterIP" | "NodePort" | "LoadBalancer") {
        unless_set(spec, "internalTrafficPolicy", "Cluster");
    }
    if text(spec, "type") == "LoadBalancer" {
        unless_set(spec, "allocateLoadBalancerNodePorts", true);
    }
}

fn deployment(spec: &mut Map<String, Value>) {
    unless_set(spec, "replicas", 1);
    if let Some(strategy) = below(spec, "strategy") {
        or(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = below(strategy, "rollingUpdate")
        {
            unless_set(rolling, "maxSurge", "25%");
            unless_set(rolling, "maxUnavailable", "25%");
        }
    }
    unless_set(spec, "revisionHistoryLimit", 10);
    unless_set(spec, "progressDeadlineSeconds", 600);
}

fn replication_controller(map: &mut Map<String, Value>) {
    let labels = map.get("spec").and_then(|spec| spec.pointer("/template/metadata/labels")).cloned();
    if let Some(spec) = below(map, "spec") {
        unless_set(spec, "replicas", 1);
        if let Some(labels) = labels.clone().filter(|_| !is_set(spec, "selector")) {
            spec.insert("selector".to_owned(), labels);
        }
    }
    labels_of_template(map, labels);
}

/// Sets missing labels to those of the template.
pub(crate) fn labels_of_template(map: &mut Map<String, Value>, labels: Option<Value>) {
    if let Some(metadata) = below(map, "metadata")
        && let Some(labels) = labels.filter(|_| !is_set(metadata, "labels"))
    {
        metadata.insert("labels".to_owned(), labels);
    }
}

fn stateful_set(spec: &mut Map<String, Value>) {
    or(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = below(spec, "updateStrategy") {
        if text(strategy, "type").is_empty() {
            or(strategy, "type", "RollingUpdate");
            unless_set(strategy, "rollingUpdate", json!({}));
        }
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut)
        {
            unless_set(rolling, "partition", 0);
        }
    }
    if let Some(retention) = below(spec, "persistentVolumeClaimRetentionPolicy") {
        or(retention, "whenDeleted", "Retain");
        or(retention, "whenScaled", "Retain");
    }
    unless_set(spec, "replicas", 1);
    unless_set(spec, "revisionHistoryLimit", 10);
    for claim in each(spec, "volumeClaimTemplates") {
        claim.insert("apiVersion".to_owned(), "v1".into());
        claim.insert("kind".to_owned(), "PersistentVolumeClaim".into());
        if let Some(status) = below(claim, "status") {
            or(status, "phase", "Pending");
        }
    }
}

fn daemon_set(spec: &mut Map<String, Value>) {
    if let Some(strategy) = below(spec, "updateStrategy") {
        or(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = below(strategy, "rollingUpdate")
        {
            unless_set(rolling, "maxUnavailable", 1);
            unless_set(rolling, "maxSurge", 0);
        }
    }
    unless_set(spec, "revisionHistoryLimit", 10);
}

fn job(map: &mut Map<String, Value>) {
    let labels = map.get("spec").and_then(|spec| spec.pointer("/template/metadata/labels")).cloned();
    if let Some(spec) = below(map, "spec") {
        if spec.get("parallelism").is_none_or(Value::is_null) {
            unless_set(spec, "completions", 1);
        }
        unless_set(spec, "parallelism", 1);
        let retries = if is_set(spec, "backoffLimitPerIndex") { i32::MAX } else { 6 };
        unless_set(spec, "backoffLimit", retries);
        unless_set(spec, "completionMode", "NonIndexed");
        unless_set(spec, "suspend", false);
        let replacement = if is_set(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        unless_set(spec, "podReplacementPolicy", replacement);
        unless_set(spec, "manualSelector", false);
    }
    labels_of_template(map, labels);
}

fn limit_range(map: &mut Map<String, Value>) {
    if text(map, "type") != "Container" {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        let given = map.get(from).and_then(Value::as_object).cloned().unwrap_or_default();
        if let Some(to) = below(map, to) {
            given.into_iter().for_each(|(name, amount)| unless_set(to, &name, amount));
        }
    }
}

fn csi_driver(spec: &mut Map<String, Value>) {
    unless_set(spec, "attachRequired", true);
    for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
        unless_set(spec, field, false);
    }
    unless_set(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if !is_set(spec, "volumeLifecycleModes") {
        spec.insert("volumeLifecycleModes".to_owned(), json!(["Persistent"]));
    }
}

fn autoscaler(spec: &mut Map<String, Value>) {
    unless_set(spec, "minReplicas", 1);
    if !is_set(spec, "metrics") {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        spec.insert("metrics".to_owned(), json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]));
    }
    let Some(behavior) = spec.get_mut("behavior").and_then(Value::as_object_mut) else { return };
    let all = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let rules = [
        ("scaleUp", Some(0), json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, all])),
        ("scaleDown", None, json!([all])),
    ];
    for (name, window, policies) in rules {
        let Some(rules) = below(behavior, name) else { continue };
        if let Some(window) = window {
            unless_set(rules, "stabilizationWindowSeconds", window);
        }
        unless_set(rules, "selectPolicy", "Max");
        unless_set(rules, "policies", policies);
    }
}

fn definition(spec: &mut Map<String, Value>) {
    unless_set(spec, "conversion", json!({"strategy": "None"}));
    if let Some(names) = below(spec, "names") {
        let kind = text(names, "kind").to_owned();
        or(names, "singular", kind.to_ascii_lowercase());
        if !kind.is_empty() {
            or(names, "listKind", format!("{kind}List"));
        }
    }
}
