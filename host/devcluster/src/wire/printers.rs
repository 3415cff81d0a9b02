//! The cells of the built-in types' tables, as a real server fills them.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::resources::Type;
pub(crate) use crate::wire::headings::{Heading, columns, has_age};

/// Returns the cells under [`columns`].
pub(crate) fn cells(of: &Type, value: &Value) -> Vec<Value> {
    let at = |path: &str| value.pointer(path).cloned().unwrap_or(Value::Null);
    let number = |path: &str| value.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    match (of.group.as_str(), of.kind.as_str()) {
        ("", "ConfigMap") => vec![(count(value, "/data") + count(value, "/binaryData")).into()],
        ("", "Secret") => vec![at("/type"), count(value, "/data").into()],
        ("", "Pod") => pod(value),
        ("", "Service") => service(value),
        ("", "Namespace") => vec![at("/status/phase")],
        ("", "Node") => vec!["Ready".into(), "<none>".into(), at("/status/nodeInfo/kubeletVersion")],
        ("" | "events.k8s.io", "Event") => {
            let object = format!(
                "{}/{}",
                text(value, "/involvedObject/kind").to_lowercase(),
                text(value, "/involvedObject/name")
            );
            vec![at("/type"), at("/reason"), object.into(), at("/message")]
        }
        ("apps", "Deployment") => {
            let ready = format!("{}/{}", number("/status/readyReplicas"), number("/spec/replicas"));
            let mut cells = vec![
                ready.into(),
                number("/status/updatedReplicas").into(),
                number("/status/availableReplicas").into(),
            ];
            cells.extend(template(value));
            cells.push(selector(value.pointer("/spec/selector")));
            cells
        }
        ("apps", "ReplicaSet") => {
            let mut cells: Vec<Value> = ["/spec/replicas", "/status/replicas", "/status/readyReplicas"]
                .map(|path| number(path).into())
                .to_vec();
            cells.extend(template(value));
            cells.push(selector(value.pointer("/spec/selector")));
            cells
        }
        ("apps", "StatefulSet") => {
            let ready = format!("{}/{}", number("/status/readyReplicas"), number("/spec/replicas"));
            std::iter::once(ready.into()).chain(template(value)).collect()
        }
        ("batch", "Job") => job(value),
        ("batch", "CronJob") => cron_job(value),
        ("coordination.k8s.io", "Lease") => vec![at("/spec/holderIdentity")],
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => binding(value),
        ("rbac.authorization.k8s.io" | "apiextensions.k8s.io", _) => vec![at("/metadata/creationTimestamp")],
        _ => Vec::new(),
    }
}

/// Returns the condition of a row beside its cells: a pod that is done.
pub(crate) fn conditions(of: &Type, value: &Value) -> Option<Value> {
    if !of.group.is_empty() || of.kind != "Pod" {
        return None;
    }
    let (reason, message) = match text(value, "/status/phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn count(value: &Value, path: &str) -> usize {
    match value.pointer(path) {
        Some(Value::Object(map)) => map.len(),
        Some(Value::Array(list)) => list.len(),
        _ => 0,
    }
}

fn or_none(text: &str) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

fn joined<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

/// Returns the names and images of a template's containers.
fn template(value: &Value) -> [Value; 2] {
    let containers = list(value, "/spec/template/spec/containers");
    let of = |name: &str| joined(containers.iter().map(|one| one[name].as_str().unwrap_or_default())).into();
    [of("name"), of("image")]
}

fn selector(selector: Option<&Value>) -> Value {
    let pair = |(key, value): (&String, &Value)| format!("{key}={}", value.as_str().unwrap_or_default());
    let labels = selector.and_then(|selector| selector.get("matchLabels").unwrap_or(selector).as_object());
    let parts: Vec<String> = labels.into_iter().flatten().filter(|(_, value)| value.is_string()).map(pair).collect();
    or_none(&parts.join(","))
}

fn pod(value: &Value) -> Vec<Value> {
    let statuses = list(value, "/status/containerStatuses");
    let ready = statuses.iter().filter(|status| status["ready"] == true).count();
    let restarts: i64 = statuses.iter().filter_map(|status| status["restartCount"].as_i64()).sum();
    let total = list(value, "/spec/containers").len();
    let gates = list(value, "/spec/readinessGates");
    let gates = if gates.is_empty() { "<none>".to_owned() } else { format!("0/{}", gates.len()) };
    vec![
        format!("{ready}/{total}").into(),
        pod_status(value, statuses).into(),
        restarts.to_string().into(),
        or_none(text(value, "/status/podIP")),
        or_none(text(value, "/spec/nodeName")),
        or_none(text(value, "/status/nominatedNodeName")),
        gates.into(),
    ]
}

fn pod_status(value: &Value, statuses: &[Value]) -> String {
    if value.pointer("/metadata/deletionTimestamp").is_some() {
        return "Terminating".to_owned();
    }
    let gated = list(value, "/status/conditions").iter().find(|one| one["reason"] == "SchedulingGated");
    let reasons = ["/state/waiting/reason", "/state/terminated/reason"];
    let told = statuses.iter().rev().find_map(|status| reasons.iter().find_map(|path| status.pointer(path)?.as_str()));
    let phase = match text(value, "/status/phase") {
        "" => "Unknown",
        phase => phase,
    };
    let reason = text(value, "/status/reason");
    match (gated, told) {
        (Some(_), _) => "SchedulingGated".to_owned(),
        (None, Some(told)) => told.to_owned(),
        (None, None) if !reason.is_empty() => reason.to_owned(),
        (None, None) if phase == "Succeeded" => "Completed".to_owned(),
        (None, None) if phase == "Failed" => "Error".to_owned(),
        (None, None) => phase.to_owned(),
    }
}

fn service(value: &Value) -> Vec<Value> {
    let port = |port: &Value| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let number = port["port"].as_i64().unwrap_or(0);
        match port["nodePort"].as_i64() {
            Some(node) if node != 0 => format!("{number}:{node}/{protocol}"),
            _ => format!("{number}/{protocol}"),
        }
    };
    let ports: Vec<String> = list(value, "/spec/ports").iter().map(port).collect();
    let external = joined(list(value, "/spec/externalIPs").iter().filter_map(Value::as_str));
    vec![
        or_none(text(value, "/spec/type")),
        or_none(text(value, "/spec/clusterIP")),
        or_none(&external),
        or_none(&ports.join(",")),
        selector(value.pointer("/spec/selector")),
    ]
}

fn job(value: &Value) -> Vec<Value> {
    let holds =
        |kind: &str| list(value, "/status/conditions").iter().any(|one| one["type"] == kind && one["status"] == "True");
    let status = if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if value.pointer("/metadata/deletionTimestamp").is_some() {
        "Terminating"
    } else if holds("Suspended") {
        "Suspended"
    } else {
        "Running"
    };
    let succeeded = value.pointer("/status/succeeded").and_then(Value::as_i64).unwrap_or(0);
    let wanted = value.pointer("/spec/completions").and_then(Value::as_i64).unwrap_or(1);
    let mut cells = vec![status.into(), format!("{succeeded}/{wanted}").into(), job_duration(value)];
    cells.extend(template(value));
    cells.push(selector(value.pointer("/spec/selector")));
    cells
}

fn job_duration(value: &Value) -> Value {
    let time = |path: &str| text(value, path).parse::<jiff::Timestamp>().ok();
    let Some(start) = time("/status/startTime") else { return "".into() };
    match time("/status/completionTime") {
        Some(end) => duration(end.as_second().saturating_sub(start.as_second())).into(),
        None => age(value.pointer("/status/startTime")),
    }
}

fn cron_job(value: &Value) -> Vec<Value> {
    let suspended = value.pointer("/spec/suspend").and_then(Value::as_bool).unwrap_or(false);
    let last = value.pointer("/status/lastScheduleTime").map_or_else(|| "<none>".into(), |time| age(Some(time)));
    let containers = list(value, "/spec/jobTemplate/spec/template/spec/containers");
    let of = |name: &str| joined(containers.iter().map(|one| one[name].as_str().unwrap_or_default())).into();
    vec![
        text(value, "/spec/schedule").into(),
        or_none(text(value, "/spec/timeZone")),
        (if suspended { "True" } else { "False" }).into(),
        count(value, "/status/active").into(),
        last,
        of("name"),
        of("image"),
        selector(value.pointer("/spec/jobTemplate/spec/selector")),
    ]
}

fn binding(value: &Value) -> Vec<Value> {
    let subjects = list(value, "/subjects");
    let of = |kind: &str| {
        let named = subjects.iter().filter(|one| one["kind"] == kind);
        let name = |one: &Value| match one["namespace"].as_str() {
            Some(namespace) => format!("{namespace}/{}", one["name"].as_str().unwrap_or_default()),
            None => one["name"].as_str().unwrap_or_default().to_owned(),
        };
        Value::from(named.map(name).collect::<Vec<_>>().join(", "))
    };
    let role = format!("{}/{}", text(value, "/roleRef/kind"), text(value, "/roleRef/name"));
    vec![role.into(), of("User"), of("Group"), of("ServiceAccount")]
}

/// Returns the age of a time, as `kubectl` writes it.
pub(crate) fn age(time: Option<&Value>) -> Value {
    let parsed = time.and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
    let Some(then) = parsed else { return "<unknown>".into() };
    duration(Timestamp::now().as_second().saturating_sub(then.as_second())).into()
}

/// Formats a duration in at most two units; the smaller one only while it matters.
pub(crate) fn duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let both = |big: i64, unit: char, small: i64, small_unit: char| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{small_unit}"),
    };
    match seconds {
        ..0 => "<invalid>".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => both(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => both(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => both(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => both(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}
