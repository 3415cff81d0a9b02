//! The columns of the built-in types, as a real server's tables have them.

use serde_json::{Value, json};

use super::resources::Type;
use super::table::{age, duration};

/// The heading of a column.
pub(crate) struct Heading {
    name: &'static str,
    kind: &'static str,
    description: &'static str,
    pub(crate) priority: i64,
}

impl Heading {
    pub(crate) fn json(&self) -> Value {
        json!({"name": self.name, "type": self.kind, "format": "", "description": self.description,
               "priority": self.priority})
    }
}

const fn shown(name: &'static str, kind: &'static str, description: &'static str) -> Heading {
    Heading { name, kind, description, priority: 0 }
}

const fn wide(name: &'static str, description: &'static str) -> Heading {
    Heading { name, kind: "string", description, priority: 1 }
}

const CONFIG_MAP: &[Heading] = &[shown(
    "Data",
    "string",
    "Data contains the configuration data. Each key must consist of alphanumeric characters, '-', '_' or '.'. Values \
     with non-UTF-8 byte sequences must use the BinaryData field. The keys stored in Data must not overlap with the \
     keys in the BinaryData field, this is enforced during validation process.",
)];
const SECRET: &[Heading] = &[
    shown("Type", "string", "Used to facilitate programmatic handling of secret data."),
    shown("Data", "string", "Data contains the secret data."),
];
const POD: &[Heading] = &[
    shown("Ready", "string", "The aggregate readiness state of this pod for accepting traffic."),
    shown("Status", "string", "The aggregate status of the containers in this pod."),
    shown(
        "Restarts",
        "string",
        "The number of times the containers in this pod have been restarted and when the last container in this pod \
         has restarted.",
    ),
    wide("IP", "podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated."),
    wide(
        "Node",
        "NodeName indicates in which node this pod is scheduled. If empty, this pod is a candidate for scheduling by \
         the scheduler defined in schedulerName. Once this field is set, the kubelet for this node becomes responsible \
         for the lifecycle of this pod. This field should not be used to express a desire for the pod to be scheduled \
         on a specific node. https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename",
    ),
    wide(
        "Nominated Node",
        "nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled right \
         away as preemption victims receive their graceful termination periods. This field does not guarantee that the \
         pod will be scheduled on this node. Scheduler may decide to place the pod elsewhere if other nodes become \
         available sooner. Scheduler may also decide to give the resources on this node to a higher priority pod that \
         is created after preemption. As a result, this field may be different than PodSpec.nodeName when the pod is \
         scheduled.",
    ),
    wide(
        "Readiness Gates",
        "If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its containers \
         are ready AND all conditions specified in the readiness gates have status equal to \"True\" More info: \
         https://git.k8s.io/enhancements/keps/sig-network/580-pod-readiness-gates",
    ),
];
const CONTAINERS: Heading = wide("Containers", "Names of each container in the template.");
const IMAGES: Heading = wide("Images", "Images referenced by each container in the template.");
const DEPLOYMENT: &[Heading] = &[
    shown("Ready", "string", "Number of the pod with ready state"),
    shown(
        "Up-to-date",
        "string",
        "Total number of non-terminating pods targeted by this deployment that have the desired template spec.",
    ),
    shown(
        "Available",
        "string",
        "Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this deployment.",
    ),
    CONTAINERS,
    IMAGES,
    wide(
        "Selector",
        "Label selector for pods. Existing ReplicaSets whose pods are selected by this will be the ones affected by \
         this deployment. It must match the pod template's labels.",
    ),
];
const REPLICA_SET: &[Heading] = &[
    shown("Desired", "integer", "Replicas is the number of desired pods."),
    shown("Current", "integer", "Replicas is the most recently observed number of non-terminating pods."),
    shown("Ready", "integer", "The number of non-terminating pods targeted by this ReplicaSet with a Ready Condition."),
    CONTAINERS,
    IMAGES,
    wide("Selector", "Selector is a label query over pods that should match the replica count."),
];
const STATEFUL_SET: &[Heading] = &[shown("Ready", "string", "Number of the pod with ready state"), CONTAINERS, IMAGES];
const JOB: &[Heading] = &[
    shown("Status", "string", "Status of the job."),
    shown("Completions", "string", "Number of the pod that reached completion."),
    shown("Duration", "string", "Time required to complete the job."),
    CONTAINERS,
    IMAGES,
    wide("Selector", "A label query over pods that should match the pod count."),
];
const CRON_JOB: &[Heading] = &[
    shown("Schedule", "string", "The schedule in Cron format."),
    shown("Timezone", "string", "The time zone name for the given schedule."),
    shown("Suspend", "boolean", "This flag tells the controller to suspend subsequent executions."),
    shown("Active", "integer", "A list of pointers to currently running jobs."),
    shown("Last Schedule", "string", "Information when was the last time the job was successfully scheduled."),
    CONTAINERS,
    IMAGES,
    wide("Selector", "A label query over pods that should match the pod count."),
];
const SERVICE: &[Heading] = &[
    shown("Type", "string", "type determines how the Service is exposed."),
    shown("Cluster-IP", "string", "clusterIP is the IP address of the service."),
    shown(
        "External-IP",
        "string",
        "externalIPs is a list of IP addresses for which nodes in the cluster accept traffic.",
    ),
    shown("Port(s)", "string", "The list of ports that are exposed by this service."),
    wide("Selector", "Route service traffic to pods with label keys and values matching this selector."),
];
const NAMESPACE: &[Heading] = &[shown("Status", "string", "The status of the namespace")];
const NODE: &[Heading] = &[
    shown("Status", "string", "The status of the node"),
    shown("Roles", "string", "The roles of the node"),
    shown("Version", "string", "Kubelet Version reported by the node."),
];
const SERVICE_ACCOUNT: &[Heading] =
    &[shown("Secrets", "string", "Secrets is a list of the secrets in the same namespace.")];
const BINDING: &[Heading] = &[
    shown(
        "Role",
        "string",
        "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace.",
    ),
    wide("Users", "Users in the roleBinding"),
    wide("Groups", "Groups in the roleBinding"),
    wide("ServiceAccounts", "ServiceAccounts in the roleBinding"),
];
const CREATED: &[Heading] =
    &[shown("Created At", "date", "CreationTimestamp is a timestamp representing the server time.")];
const EVENT: &[Heading] = &[
    shown("Type", "string", "Type of this event (Normal, Warning)."),
    shown("Reason", "string", "This should be a short, machine understandable string."),
    shown("Object", "string", "The object that this event is about."),
    shown("Message", "string", "A human-readable description of the status of this operation."),
];
const LEASE: &[Heading] =
    &[shown("Holder", "string", "holderIdentity contains the identity of the holder of a current lease.")];

/// The headings between the name and the age, and those that only `-o wide` shows.
pub(crate) fn columns(of: &Type) -> &'static [Heading] {
    match (of.group.as_str(), of.kind.as_str()) {
        ("", "ConfigMap") => CONFIG_MAP,
        ("", "Secret") => SECRET,
        ("", "Pod") => POD,
        ("", "Service") => SERVICE,
        ("", "Namespace") => NAMESPACE,
        ("", "Node") => NODE,
        ("", "ServiceAccount") => SERVICE_ACCOUNT,
        ("" | "events.k8s.io", "Event") => EVENT,
        ("apps", "Deployment") => DEPLOYMENT,
        ("apps", "ReplicaSet") => REPLICA_SET,
        ("apps", "StatefulSet") => STATEFUL_SET,
        ("batch", "Job") => JOB,
        ("batch", "CronJob") => CRON_JOB,
        ("coordination.k8s.io", "Lease") => LEASE,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => BINDING,
        ("rbac.authorization.k8s.io" | "apiextensions.k8s.io", _) => CREATED,
        _ => &[],
    }
}

/// Roles and definitions tell the time of their creation itself.
pub(crate) fn has_age(of: &Type) -> bool {
    columns(of).first().is_none_or(|heading| heading.name != "Created At")
}

/// The cells under [`columns`].
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
        ("", "ServiceAccount") => vec![count(value, "/secrets").into()],
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

/// What a row says of an object beside its cells: that a pod is done.
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

/// The names and images of a template's containers.
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
