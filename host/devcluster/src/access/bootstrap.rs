//! The objects of a new cluster: namespaces, default roles and their bindings.

use serde_json::{Value, json};

/// The namespaces of every cluster.
pub(crate) const NAMESPACES: &[&str] = &["default", "kube-node-lease", "kube-public", "kube-system"];

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];

/// The resources of a namespace that the role `view` may read, by group. Secrets, roles and bindings are not among
/// them.
const VIEWED: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "configmaps",
            "endpoints",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "pods",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "serviceaccounts",
            "services",
            "services/status",
        ],
    ),
    (
        "",
        &[
            "bindings",
            "events",
            "limitranges",
            "namespaces/status",
            "pods/log",
            "pods/status",
            "replicationcontrollers/status",
            "resourcequotas",
            "resourcequotas/status",
        ],
    ),
    ("", &["namespaces"]),
    ("discovery.k8s.io", &["endpointslices"]),
    (
        "apps",
        &[
            "controllerrevisions",
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
    ("batch", &["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
    ("policy", &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
    ("networking.k8s.io", &["ingresses", "ingresses/status", "networkpolicies"]),
];

/// The resources of a namespace that the role `edit` may write, by group.
const EDITED: &[(&str, &[&str])] = &[
    ("", &["pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"]),
    ("", &["pods/eviction"]),
    (
        "",
        &[
            "configmaps",
            "events",
            "persistentvolumeclaims",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "secrets",
            "serviceaccounts",
            "services",
            "services/proxy",
        ],
    ),
    ("", &["serviceaccounts/token"]),
    (
        "apps",
        &[
            "daemonsets",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("batch", &["cronjobs", "jobs"]),
    ("policy", &["poddisruptionbudgets"]),
    ("networking.k8s.io", &["ingresses", "networkpolicies"]),
    ("coordination.k8s.io", &["leases"]),
];

fn rules(table: &[(&str, &[&str])], verbs: &[&str]) -> Vec<Value> {
    let rule =
        |(group, resources): &(&str, &[&str])| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    table.iter().map(rule).collect()
}

fn urls(paths: &[&str]) -> Vec<Value> {
    vec![json!({"nonResourceURLs": paths, "verbs": ["get"]})]
}

fn role(name: &str, aggregate: Option<&str>, rules: Vec<Value>) -> Value {
    let mut role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
        "rules": rules,
    });
    if let Some(label) = aggregate {
        role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {format!("rbac.authorization.k8s.io/aggregate-to-{label}"): "true"}}]});
    }
    role
}

fn binding(name: &str, groups: &[&str]) -> Value {
    let subject = |group: &&str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group});
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": groups.iter().map(subject).collect::<Vec<_>>(),
    })
}

/// Returns the default roles and bindings of a real cluster that matter to programs in a pod.
pub(crate) fn roles() -> Vec<Value> {
    let all = vec![
        json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}),
        json!({"nonResourceURLs": ["*"], "verbs": ["*"]}),
    ];
    let view = rules(VIEWED, READ);
    let secrets = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": READ});
    let edit: Vec<Value> = rules(EDITED, WRITE).into_iter().chain(view.clone()).chain([secrets]).collect();
    let delegated = rules(&[("rbac.authorization.k8s.io", &["rolebindings", "roles"])], &[READ, WRITE].concat());
    let review = rules(&[("authorization.k8s.io", &["localsubjectaccessreviews"])], &["create"]);
    let admin = edit.iter().cloned().chain(delegated).chain(review).collect();
    let basic = vec![
        json!({"apiGroups": ["authorization.k8s.io"], "verbs": ["create"],
               "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]}),
        json!({"apiGroups": ["authentication.k8s.io"], "verbs": ["create"], "resources": ["selfsubjectreviews"]}),
    ];
    let discovery = urls(&[
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
    ]);
    let public = urls(&["/healthz", "/livez", "/readyz", "/version", "/version/"]);
    let issuer = urls(&[
        "/.well-known/openid-configuration",
        "/.well-known/openid-configuration/",
        "/openid/v1/jwks",
        "/openid/v1/jwks/",
    ]);
    vec![
        role("cluster-admin", None, all),
        role("admin", Some("admin"), admin),
        role("edit", Some("edit"), edit),
        role("view", Some("view"), view),
        role("system:basic-user", None, basic),
        role("system:discovery", None, discovery),
        role("system:public-info-viewer", None, public),
        role("system:service-account-issuer-discovery", None, issuer),
        binding("cluster-admin", &["system:masters"]),
        binding("system:basic-user", &["system:authenticated"]),
        binding("system:discovery", &["system:authenticated"]),
        binding("system:public-info-viewer", &["system:authenticated", "system:unauthenticated"]),
        binding("system:service-account-issuer-discovery", &["system:serviceaccounts"]),
    ]
}
