//! The objects that a cluster's controllers make of others, as pure functions.
//!
//! [`first_child`] leads from an object with a pod template to the pod, one owner at a time: `CronJob` → `Job` →
//! `Pod`, `Deployment` → `ReplicaSet` → `Pod`, and from a `StatefulSet`, `DaemonSet`, `ReplicaSet` or
//! `ReplicationController` to the pod directly. Names, labels, annotations, env and volumes are those of the
//! controllers of Kubernetes 1.36, with two differences. The hash in a name differs, because the real hash depends on
//! the way in which Go prints structs. A Job's pod has no finalizer, because there is no Job controller that would
//! remove it.

mod batch;
mod daemon;
mod replicas;
mod stateful;
mod template;

use jiff::Timestamp;
use serde_json::Value;

/// Returns whether objects of this type have a pod template from which a controller makes pods.
///
/// ```
/// use attache_devcluster::controllers::makes_pods;
///
/// assert!(makes_pods("apps/v1", "Deployment"));
/// assert!(!makes_pods("v1", "Pod"));
/// ```
pub fn makes_pods(api_version: &str, kind: &str) -> bool {
    maker(api_version, kind).is_some()
}

/// Returns the first object that the controller of `owner` makes, or nothing if objects of its type make no pods.
///
/// `owner` has to come from the API server, because the child names its UID. `node` is the node for the pod of a
/// `DaemonSet`, and `now` is the time at which a `CronJob` is due.
///
/// ```
/// use attache_devcluster::controllers::first_child;
/// use serde_json::json;
///
/// let set = json!({
///     "apiVersion": "apps/v1", "kind": "StatefulSet",
///     "metadata": {"name": "db", "namespace": "default", "uid": "8d1c"},
///     "spec": {"serviceName": "db", "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": []}}},
/// });
/// let pod = first_child(&set, "node-1", jiff::Timestamp::now()).ok_or("no controller")?;
/// assert_eq!(pod["metadata"]["name"], "db-0");
/// assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "8d1c");
/// # Ok::<(), &str>(())
/// ```
pub fn first_child(owner: &Value, node: &str, now: Timestamp) -> Option<Value> {
    let text = |field: &str| owner[field].as_str().unwrap_or_default();
    let make = maker(text("apiVersion"), text("kind"))?;
    Some(make(owner, Surroundings { node, now }))
}

/// The facts that a controller knows beside the owner.
#[derive(Clone, Copy)]
struct Surroundings<'a> {
    node: &'a str,
    now: Timestamp,
}

type Maker = fn(&Value, Surroundings<'_>) -> Value;

fn maker(api_version: &str, kind: &str) -> Option<Maker> {
    Some(match (api_version, kind) {
        ("apps/v1", "Deployment") => replicas::replica_set,
        ("apps/v1", "ReplicaSet") | ("v1", "ReplicationController") => replicas::pod,
        ("apps/v1", "StatefulSet") => stateful::pod,
        ("apps/v1", "DaemonSet") => daemon::pod,
        ("batch/v1", "Job") => batch::pod,
        ("batch/v1", "CronJob") => batch::job,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
