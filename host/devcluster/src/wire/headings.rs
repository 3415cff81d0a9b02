//! The headings of the built-in types' tables, in the words of a real server.

use serde_json::{Value, json};

use crate::model::resources::Type;

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
    "Data contains the configuration data. Each key must consist of alphanumeric characters, '-', '_' or \
         '.'. Values with non-UTF-8 byte sequences must use the BinaryData field. The keys stored in Data must \
         not overlap with the keys in the BinaryData field, this is enforced during validation process.",
)];
const SECRET: &[Heading] = &[
    shown(
        "Type",
        "string",
        "Used to facilitate programmatic handling of secret data. More info: \
         https://kubernetes.io/docs/concepts/configuration/secret/#secret-types",
    ),
    shown(
        "Data",
        "string",
        "Data contains the secret data. Each key must consist of alphanumeric characters, '-', '_' or '.'. The \
         serialized form of the secret data is a base64 encoded string, representing the arbitrary (possibly \
         non-string) data value here. Described in https://tools.ietf.org/html/rfc4648#section-4",
    ),
];
const POD: &[Heading] = &[
    shown("Ready", "string", "The aggregate readiness state of this pod for accepting traffic."),
    shown("Status", "string", "The aggregate status of the containers in this pod."),
    shown(
        "Restarts",
        "string",
        "The number of times the containers in this pod have been restarted and when the last container in this \
         pod has restarted.",
    ),
    wide("IP", "podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated."),
    wide(
        "Node",
        "NodeName indicates in which node this pod is scheduled. If empty, this pod is a candidate for \
         scheduling by the scheduler defined in schedulerName. Once this field is set, the kubelet for this \
         node becomes responsible for the lifecycle of this pod. This field should not be used to express a \
         desire for the pod to be scheduled on a specific node. \
         https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename",
    ),
    wide(
        "Nominated Node",
        "nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be \
         scheduled right away as preemption victims receive their graceful termination periods. This field does \
         not guarantee that the pod will be scheduled on this node. Scheduler may decide to place the pod \
         elsewhere if other nodes become available sooner. Scheduler may also decide to give the resources on \
         this node to a higher priority pod that is created after preemption. As a result, this field may be \
         different than PodSpec.nodeName when the pod is scheduled.",
    ),
    wide(
        "Readiness Gates",
        "If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its \
         containers are ready AND all conditions specified in the readiness gates have status equal to \"True\" \
         More info: https://git.k8s.io/enhancements/keps/sig-network/580-pod-readiness-gates",
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
        "Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this \
         deployment.",
    ),
    CONTAINERS,
    IMAGES,
    wide(
        "Selector",
        "Label selector for pods. Existing ReplicaSets whose pods are selected by this will be the ones \
         affected by this deployment. It must match the pod template's labels.",
    ),
];
const REPLICA_SET: &[Heading] = &[
    shown(
        "Desired",
        "integer",
        "Replicas is the number of desired pods. This is a pointer to distinguish between explicit zero and \
         unspecified. Defaults to 1. More info: \
         https://kubernetes.io/docs/concepts/workloads/controllers/replicaset",
    ),
    shown(
        "Current",
        "integer",
        "Replicas is the most recently observed number of non-terminating pods. More info: \
         https://kubernetes.io/docs/concepts/workloads/controllers/replicaset",
    ),
    shown("Ready", "integer", "The number of non-terminating pods targeted by this ReplicaSet with a Ready Condition."),
    CONTAINERS,
    IMAGES,
    wide(
        "Selector",
        "Selector is a label query over pods that should match the replica count. Label keys and values that \
         must match in order to be controlled by this replica set. It must match the pod template's labels. \
         More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
    ),
];
const STATEFUL_SET: &[Heading] = &[shown("Ready", "string", "Number of the pod with ready state"), CONTAINERS, IMAGES];
const JOB: &[Heading] = &[
    shown("Status", "string", "Status of the job."),
    shown(
        "Completions",
        "string",
        "The number of pods which reached phase Succeeded. The value increases monotonically for a given spec. \
         However, it may decrease in reaction to scale down of elastic indexed jobs.",
    ),
    shown("Duration", "string", "Time required to complete the job."),
    CONTAINERS,
    IMAGES,
    wide(
        "Selector",
        "A label query over pods that should match the pod count. Normally, the system sets this field for you. \
         More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
    ),
];
const CRON_JOB: &[Heading] = &[
    shown("Schedule", "string", "The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron."),
    shown(
        "Timezone",
        "string",
        "The time zone name for the given schedule, see \
         https://en.wikipedia.org/wiki/List_of_tz_database_time_zones. If not specified, this will default to \
         the time zone of the kube-controller-manager process. The set of valid time zone names and the time \
         zone offset is loaded from the system-wide time zone database by the API server during CronJob \
         validation and the controller manager during execution. If no system-wide time zone database can be \
         found a bundled version of the database is used instead. If the time zone name becomes invalid during \
         the lifetime of a CronJob or due to a change in host configuration, the controller will stop creating \
         new new Jobs and will create a system event with the reason UnknownTimeZone. More information can be \
         found in https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#time-zones",
    ),
    shown(
        "Suspend",
        "boolean",
        "This flag tells the controller to suspend subsequent executions, it does not apply to already started \
         executions.  Defaults to false.",
    ),
    shown("Active", "integer", "A list of pointers to currently running jobs."),
    shown("Last Schedule", "string", "Information when was the last time the job was successfully scheduled."),
    CONTAINERS,
    IMAGES,
    wide(
        "Selector",
        "A label query over pods that should match the pod count. Normally, the system sets this field for you. \
         More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
    ),
];
const SERVICE: &[Heading] = &[
    shown(
        "Type",
        "string",
        "type determines how the Service is exposed. Defaults to ClusterIP. Valid options are ExternalName, \
         ClusterIP, NodePort, and LoadBalancer. \"ClusterIP\" allocates a cluster-internal IP address for \
         load-balancing to endpoints. Endpoints are determined by the selector or if that is not specified, by \
         manual construction of an Endpoints object or EndpointSlice objects. If clusterIP is \"None\", no \
         virtual IP is allocated and the endpoints are published as a set of endpoints rather than a virtual \
         IP. \"NodePort\" builds on ClusterIP and allocates a port on every node which routes to the same \
         endpoints as the clusterIP. \"LoadBalancer\" builds on NodePort and creates an external load-balancer \
         (if supported in the current cloud) which routes to the same endpoints as the clusterIP. \
         \"ExternalName\" aliases this service to the specified externalName. Several other fields do not apply \
         to ExternalName services. More info: \
         https://kubernetes.io/docs/concepts/services-networking/service/#publishing-services-service-types",
    ),
    shown(
        "Cluster-IP",
        "string",
        "clusterIP is the IP address of the service and is usually assigned randomly. If an address is \
         specified manually, is in-range (as per system configuration), and is not in use, it will be allocated \
         to the service; otherwise creation of the service will fail. This field may not be changed through \
         updates unless the type field is also being changed to ExternalName (which requires this field to be \
         blank) or the type field is being changed from ExternalName (in which case this field may optionally \
         be specified, as describe above).  Valid values are \"None\", empty string (\"\"), or a valid IP \
         address. Setting this to \"None\" makes a \"headless service\" (no virtual IP), which is useful when \
         direct endpoint connections are preferred and proxying is not required.  Only applies to types \
         ClusterIP, NodePort, and LoadBalancer. If this field is specified when creating a Service of type \
         ExternalName, creation will fail. This field will be wiped when updating a Service to type \
         ExternalName. More info: \
         https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies",
    ),
    shown(
        "External-IP",
        "string",
        "externalIPs is a list of IP addresses for which nodes in the cluster will also accept traffic for this \
         service.  These IPs are not managed by Kubernetes.  The user is responsible for ensuring that traffic \
         arrives at a node with this IP.  A common example is external load-balancers that are not part of the \
         Kubernetes system.",
    ),
    shown(
        "Port(s)",
        "string",
        "The list of ports that are exposed by this service. More info: \
         https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies",
    ),
    wide(
        "Selector",
        "Route service traffic to pods with label keys and values matching this selector. If empty or not \
         present, the service is assumed to have an external process managing its endpoints, which Kubernetes \
         will not modify. Only applies to types ClusterIP, NodePort, and LoadBalancer. Ignored if type is \
         ExternalName. More info: https://kubernetes.io/docs/concepts/services-networking/service/",
    ),
];
const NAMESPACE: &[Heading] = &[shown("Status", "string", "The status of the namespace")];
const NODE: &[Heading] = &[
    shown("Status", "string", "The status of the node"),
    shown("Roles", "string", "The roles of the node"),
    shown("Version", "string", "Kubelet Version reported by the node."),
];
const BINDING: &[Heading] = &[
    shown(
        "Role",
        "string",
        "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the \
         RoleRef cannot be resolved, the Authorizer must return an error.",
    ),
    wide("Users", "Users in the roleBinding"),
    wide("Groups", "Groups in the roleBinding"),
    wide("ServiceAccounts", "ServiceAccounts in the roleBinding"),
];
const CREATED: &[Heading] = &[shown(
    "Created At",
    "date",
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not \
         guaranteed to be set in happens-before order across separate operations. Clients may not set this \
         value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null \
         for lists. More info: \
         https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
)];
const EVENT: &[Heading] = &[
    shown("Type", "string", "Type of this event (Normal, Warning), new types could be added in the future"),
    shown(
        "Reason",
        "string",
        "This should be a short, machine understandable string that gives the reason for the transition into \
         the object's current status.",
    ),
    shown("Object", "string", "The object that this event is about."),
    shown("Message", "string", "A human-readable description of the status of this operation."),
];
const LEASE: &[Heading] = &[shown(
    "Holder",
    "string",
    "holderIdentity contains the identity of the holder of a current lease. If Coordinated Leader Election \
         is used, the holder identity must be equal to the elected LeaseCandidate.metadata.name field.",
)];

/// Returns the headings between the name and the age, and those that only `-o wide` shows.
pub(crate) fn columns(of: &Type) -> &'static [Heading] {
    match (of.group.as_str(), of.kind.as_str()) {
        ("", "ConfigMap") => CONFIG_MAP,
        ("", "Secret") => SECRET,
        ("", "Pod") => POD,
        ("", "Service") => SERVICE,
        ("", "Namespace") => NAMESPACE,
        ("", "Node") => NODE,
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

/// Returns whether the table has an age. Roles and definitions have a column for the time of creation instead.
pub(crate) fn has_age(of: &Type) -> bool {
    columns(of).first().is_none_or(|heading| heading.name != "Created At")
}
