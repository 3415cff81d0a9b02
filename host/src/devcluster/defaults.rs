//! The values that a server fills in where a client says nothing.

use serde_json::{Map, Value, json};

use super::admission::new_uid;
use super::resources::Type;

/// Puts `value` at `field` of a map where there is nothing.
fn or(map: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(map) = map.as_object_mut()
        && map.get(field).is_none_or(Value::is_null)
    {
        map.insert(field.to_owned(), value.into());
    }
}

/// The map at `field`, made if there is none.
fn map<'a>(value: &'a mut Value, field: &str) -> &'a mut Value {
    if !value[field].is_object() {
        value[field] = json!({});
    }
    &mut value[field]
}

fn each<'a>(value: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Fills in what the type's defaults say.
pub(crate) fn complete(of: &Type, value: &mut Value) {
    match (of.group.as_str(), of.kind.as_str()) {
        ("", "Pod") => pod(value),
        ("", "Namespace") => namespace(value),
        ("", "Secret") => secret(value),
        ("", "Service") => service(value),
        ("apps", "Deployment") => deployment(value),
        ("apps", "ReplicaSet") => replicas(value),
        ("apps", "StatefulSet") => stateful_set(value),
        ("apps", "DaemonSet") => daemon_set(value),
        ("batch", "Job") => job(value),
        ("batch", "CronJob") => cron_job(value),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => binding(value),
        ("apiextensions.k8s.io", _) => definition(value),
        _ => {}
    }
    if let Some(custom) = &of.custom {
        super::custom_schema::fill(&custom.schema, value);
    }
}

fn namespace(value: &mut Value) {
    let name = value["metadata"]["name"].clone();
    map(&mut value["metadata"], "labels")["kubernetes.io/metadata.name"] = name;
    or(map(value, "spec"), "finalizers", json!(["kubernetes"]));
    or(map(value, "status"), "phase", "Active");
}

fn secret(value: &mut Value) {
    or(value, "type", "Opaque");
    let Some(plain) = value.as_object_mut().and_then(|secret| secret.remove("stringData")) else { return };
    let data = map(value, "data");
    for (key, text) in plain.as_object().into_iter().flatten() {
        use base64::Engine as _;
        let text = text.as_str().unwrap_or_default();
        data[key.as_str()] = base64::engine::general_purpose::STANDARD.encode(text).into();
    }
}

fn service(value: &mut Value) {
    let spec = map(value, "spec");
    or(spec, "type", "ClusterIP");
    or(spec, "sessionAffinity", "None");
    for port in each(spec, "ports") {
        or(port, "protocol", "TCP");
        let number = port["port"].clone();
        or(port, "targetPort", number);
    }
    if spec["type"] == "ExternalName" {
        return;
    }
    or(spec, "internalTrafficPolicy", "Cluster");
    or(spec, "ipFamilies", json!(["IPv4"]));
    or(spec, "ipFamilyPolicy", "SingleStack");
    if spec["clusterIP"].as_str().is_none_or(str::is_empty) {
        // Nothing is routed here: the address only has to look like one and to differ from the next.
        let uid = new_uid();
        let byte = |at: usize| uid.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(9);
        spec["clusterIP"] = format!("10.96.{}.{}", byte(0), byte(2)).into();
    }
    let address = spec["clusterIP"].clone();
    or(spec, "clusterIPs", json!([address]));
}

fn deployment(value: &mut Value) {
    let spec = map(value, "spec");
    or(spec, "replicas", 1);
    or(spec, "revisionHistoryLimit", 10);
    or(spec, "progressDeadlineSeconds", 600);
    let strategy = map(spec, "strategy");
    or(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = map(strategy, "rollingUpdate");
        or(rolling, "maxSurge", "25%");
        or(rolling, "maxUnavailable", "25%");
    }
    template(spec);
}

fn replicas(value: &mut Value) {
    let spec = map(value, "spec");
    or(spec, "replicas", 1);
    template(spec);
}

fn stateful_set(value: &mut Value) {
    let spec = map(value, "spec");
    or(spec, "replicas", 1);
    or(spec, "podManagementPolicy", "OrderedReady");
    or(spec, "revisionHistoryLimit", 10);
    let strategy = map(spec, "updateStrategy");
    or(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        or(map(strategy, "rollingUpdate"), "partition", 0);
    }
    let retention = map(spec, "persistentVolumeClaimRetentionPolicy");
    or(retention, "whenDeleted", "Retain");
    or(retention, "whenScaled", "Retain");
    template(spec);
}

fn daemon_set(value: &mut Value) {
    let spec = map(value, "spec");
    or(spec, "revisionHistoryLimit", 10);
    let strategy = map(spec, "updateStrategy");
    or(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = map(strategy, "rollingUpdate");
        or(rolling, "maxSurge", 0);
        or(rolling, "maxUnavailable", 1);
    }
    template(spec);
}

fn job(value: &mut Value) {
    let (uid, name) = (value["metadata"]["uid"].clone(), value["metadata"]["name"].clone());
    let spec = map(value, "spec");
    job_spec(spec);
    if spec["manualSelector"] == true {
        return;
    }
    or(spec, "manualSelector", false);
    let labels = map(map(map(spec, "template"), "metadata"), "labels");
    for (key, value) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ] {
        or(labels, key, value.clone());
    }
    or(spec, "selector", json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
}

fn job_spec(spec: &mut Value) {
    or(spec, "parallelism", 1);
    if spec["completionMode"] != "Indexed" {
        or(spec, "completions", 1);
    }
    or(spec, "backoffLimit", 6);
    or(spec, "completionMode", "NonIndexed");
    or(spec, "suspend", false);
    or(
        spec,
        "podReplacementPolicy",
        if spec.get("podFailurePolicy").is_some() { "Failed" } else { "TerminatingOrFailed" },
    );
    template(spec);
}

fn cron_job(value: &mut Value) {
    let spec = map(value, "spec");
    or(spec, "concurrencyPolicy", "Allow");
    or(spec, "suspend", false);
    or(spec, "successfulJobsHistoryLimit", 3);
    or(spec, "failedJobsHistoryLimit", 1);
    // The template of a job is completed when the job is made; only its pods are completed here.
    template(map(map(spec, "jobTemplate"), "spec"));
}

fn binding(value: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    or(map(value, "roleRef"), "apiGroup", GROUP);
    for subject in each(value, "subjects") {
        if matches!(subject["kind"].as_str(), Some("User" | "Group")) {
            or(subject, "apiGroup", GROUP);
        }
    }
}

fn definition(value: &mut Value) {
    let spec = map(value, "spec");
    or(spec, "conversion", json!({"strategy": "None"}));
    let names = map(spec, "names");
    let kind = names["kind"].as_str().unwrap_or_default().to_owned();
    or(names, "singular", kind.to_ascii_lowercase());
    or(names, "listKind", format!("{kind}List"));
}

fn template(spec: &mut Value) {
    let pod = map(map(spec, "template"), "spec");
    pod_spec(pod);
}

fn pod(value: &mut Value) {
    let spec = map(value, "spec");
    pod_spec(spec);
    super::pod_resources::complete(spec);
    or(spec, "enableServiceLinks", true);
    or(spec, "preemptionPolicy", "PreemptLowerPriority");
    or(spec, "priority", 0);
    tolerate(spec, "node.kubernetes.io/not-ready");
    tolerate(spec, "node.kubernetes.io/unreachable");
    let class = quality_of_service(spec);
    let status = map(value, "status");
    or(status, "phase", "Pending");
    or(status, "qosClass", class);
}

/// A pod stays for five minutes on a node that is in trouble.
fn tolerate(spec: &mut Value, key: &str) {
    let toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
    or(spec, "tolerations", json!([]));
    if let Some(list) = spec["tolerations"].as_array_mut()
        && !list.iter().any(|one| one["key"] == key || (one["key"].is_null() && one["operator"] == "Exists"))
    {
        list.push(toleration);
    }
}

fn quality_of_service(spec: &Value) -> &'static str {
    let lists = ["containers", "initContainers"];
    let containers: Vec<&Value> = if super::pod_resources::are_set(spec) {
        vec![spec]
    } else {
        lists.iter().filter_map(|list| spec[*list].as_array()).flatten().collect()
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

fn pod_spec(spec: &mut Value) {
    or(spec, "restartPolicy", "Always");
    or(spec, "terminationGracePeriodSeconds", 30);
    or(spec, "dnsPolicy", "ClusterFirst");
    or(spec, "securityContext", json!({}));
    or(spec, "schedulerName", "default-scheduler");
    if let Some(name) = spec["serviceAccountName"].as_str().filter(|name| !name.is_empty()).map(str::to_owned) {
        or(spec, "serviceAccount", name);
    }
    for list in ["containers", "initContainers"] {
        each(spec, list).for_each(container);
    }
    each(spec, "volumes").for_each(volume);
}

fn container(value: &mut Value) {
    or(value, "resources", json!({}));
    or(value, "terminationMessagePath", "/dev/termination-log");
    or(value, "terminationMessagePolicy", "File");
    let image = value["image"].as_str().unwrap_or_default();
    let latest = match image.rsplit('/').next().unwrap_or_default().split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => !image.contains('@'),
    };
    or(value, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    for port in each(value, "ports") {
        or(port, "protocol", "TCP");
    }
    let limits = value["resources"]["limits"].as_object().cloned().unwrap_or_default();
    if !limits.is_empty() {
        let requests = map(&mut value["resources"], "requests");
        limits.into_iter().for_each(|(name, amount)| or(requests, &name, amount));
    }
    for variable in each(value, "env") {
        if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef") {
            or(field, "apiVersion", "v1");
        }
        if let Some(field) = variable.pointer_mut("/valueFrom/resourceFieldRef") {
            or(field, "divisor", "0");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if value[probe].is_object() {
            let probe = &mut value[probe];
            for (field, number) in
                [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
            {
                or(probe, field, number);
            }
            if probe["httpGet"].is_object() {
                or(&mut probe["httpGet"], "path", "/");
                or(&mut probe["httpGet"], "scheme", "HTTP");
            }
        }
    }
}

fn volume(value: &mut Value) {
    /// 0644.
    const MODE: i64 = 420;
    let sources: Map<String, Value> = value.as_object().cloned().unwrap_or_default();
    for kind in ["configMap", "secret", "downwardAPI", "projected"].iter().filter(|kind| sources.contains_key(**kind)) {
        if value[*kind].is_object() {
            or(&mut value[*kind], "defaultMode", MODE);
        }
    }
    each(&mut value["downwardAPI"], "items").for_each(item);
    for source in each(&mut value["projected"], "sources") {
        each(&mut source["downwardAPI"], "items").for_each(item);
        if source["serviceAccountToken"].is_object() {
            or(&mut source["serviceAccountToken"], "expirationSeconds", 3600);
        }
        remove_null(source, "downwardAPI");
        remove_null(source, "serviceAccountToken");
    }
    remove_null(value, "downwardAPI");
    remove_null(value, "projected");
    if sources.len() == 1 {
        value["emptyDir"] = json!({});
    }
}

/// Looking for a field by index makes it; what was only looked for goes again.
fn remove_null(value: &mut Value, field: &str) {
    if value.get(field).is_some_and(Value::is_null)
        && let Some(map) = value.as_object_mut()
    {
        map.remove(field);
    }
}

fn item(value: &mut Value) {
    if value["fieldRef"].is_object() {
        or(&mut value["fieldRef"], "apiVersion", "v1");
    }
    if value["resourceFieldRef"].is_object() {
        or(&mut value["resourceFieldRef"], "divisor", "0");
    }
}
