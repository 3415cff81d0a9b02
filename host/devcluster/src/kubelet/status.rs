//! The patches of a pod's status.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::pod::text;

/// The end of a pod's containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Termination {
    /// The exit code of all its containers; 0 makes the pod `Succeeded`, anything else `Failed`.
    pub exit_code: i32,
    /// A message for people.
    pub message: Option<String>,
}

impl Termination {
    /// Makes an outcome with an exit code alone.
    pub const fn exit(exit_code: i32) -> Self {
        Self { exit_code, message: None }
    }

    const fn phase(&self) -> &'static str {
        if self.exit_code == 0 { "Succeeded" } else { "Failed" }
    }
}

/// Formats a time as the API does: UTC, whole seconds.
fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Gives the pod its addresses, unless its status has some. The env needs them before any status is reported. A pod in
/// its node's network has the node's addresses.
pub(super) fn address(pod: &mut Value, pod_ips: &[IpAddr], host_ips: &[IpAddr]) {
    let in_hosts_network = pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
    let pod_ips = if in_hosts_network { host_ips } else { pod_ips };
    let Some(object) = pod.as_object_mut() else { return };
    let status = object.entry("status").or_insert_with(|| json!({}));
    let Some(status) = status.as_object_mut() else { return };
    for (one, all, addresses) in [("podIP", "podIPs", pod_ips), ("hostIP", "hostIPs", host_ips)] {
        let list: Vec<_> = addresses.iter().map(|address| json!({"ip": address.to_string()})).collect();
        if let Some(first) = addresses.first() {
            status.entry(one).or_insert_with(|| first.to_string().into());
            let of_one = json!([{"ip": status.get(one)}]);
            status.entry(all).or_insert_with(|| {
                if of_one.pointer("/0/ip") == list.first().and_then(|ip| ip.get("ip")) { list.into() } else { of_one }
            });
        }
    }
}

/// Returns the patch that reports the pod as running. `pod` has its addresses already.
pub(super) fn running(pod: &Value, now: Timestamp) -> Value {
    let time = written(now);
    let kept = |field: &str| pod.pointer(&format!("/status/{field}")).cloned().unwrap_or_default();
    let state = json!({"running": {"startedAt": time}});
    let done = json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": time, "finishedAt": time}});
    json!({"status": {
        "phase": "Running",
        "observedGeneration": generation(pod),
        "startTime": time,
        "podIP": kept("podIP"), "podIPs": kept("podIPs"), "hostIP": kept("hostIP"), "hostIPs": kept("hostIPs"),
        "conditions": conditions(true, &time),
        "resources": of_spec(pod, "/spec/resources"),
        "initContainerStatuses": init_statuses(pod, &state, &done),
        "containerStatuses": statuses(pod, "containers", &state, true),
    }})
}

/// Returns the patch that reports the spec's resources as those of the containers. After an in-place resize they apply
/// at once, since nothing runs. Returns nothing if the status has them already.
///
/// The patch names the pod's version, so that it fails if the status has been changed meanwhile.
pub(super) fn resized(pod: &Value) -> Option<Value> {
    let mut status = json!({"observedGeneration": generation(pod), "resources": of_spec(pod, "/spec/resources")});
    for (list, told) in [("containers", "containerStatuses"), ("initContainers", "initContainerStatuses")] {
        let Some(told_of) = pod.pointer(&format!("/status/{told}")).and_then(Value::as_array) else { continue };
        let mut statuses = told_of.clone();
        for status in statuses.iter_mut().filter_map(Value::as_object_mut) {
            let name = status.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            if let Some(resources) = resources(pod, list, &name) {
                status.insert("resources".into(), resources);
            }
        }
        status.as_object_mut()?.insert(told.to_owned(), statuses.into());
    }
    let told = |field: &str| pod.pointer(&format!("/status/{field}")).unwrap_or(&Value::Null);
    let changed = |field: &&str| status.get(*field).is_some_and(|new| new != told(field));
    let version = pod.pointer("/metadata/resourceVersion")?;
    let any = ["resources", "containerStatuses", "initContainerStatuses"].iter().any(changed);
    any.then(|| json!({"metadata": {"resourceVersion": version}, "status": status}))
}

fn generation(pod: &Value) -> Value {
    of_spec(pod, "/metadata/generation")
}

fn of_spec(pod: &Value, pointer: &str) -> Value {
    pod.pointer(pointer).cloned().unwrap_or_default()
}

/// Returns the resources of a container in the spec.
fn resources(pod: &Value, list: &str, name: &str) -> Option<Value> {
    let containers = pod.pointer(&format!("/spec/{list}")).and_then(Value::as_array)?;
    containers.iter().find(|container| text(container, "name") == name)?.get("resources").cloned()
}

/// Returns the statuses of init containers. A sidecar (an init container that is always restarted) runs; the others are
/// done.
fn init_statuses(pod: &Value, running: &Value, done: &Value) -> Value {
    let up = statuses(pod, "initContainers", running, true);
    let down = statuses(pod, "initContainers", done, false);
    let specs = pod.pointer("/spec/initContainers").and_then(Value::as_array).into_iter().flatten();
    let each = specs.zip(up.as_array().into_iter().flatten()).zip(down.as_array().into_iter().flatten());
    each.map(|((spec, up), down)| if text(spec, "restartPolicy") == "Always" { up } else { down }).cloned().collect()
}

/// Returns the patch that reports the pod's end.
pub(super) fn ended(pod: &Value, outcome: &Termination, started: Timestamp, now: Timestamp) -> Value {
    let time = written(now);
    let reason = if outcome.exit_code == 0 { "Completed" } else { "Error" };
    let mut terminated = json!({
        "exitCode": outcome.exit_code, "reason": reason, "startedAt": written(started), "finishedAt": time,
    });
    if let (Some(message), Some(fields)) = (&outcome.message, terminated.as_object_mut()) {
        fields.insert("message".into(), message.as_str().into());
    }
    let terminated = json!({"terminated": terminated});
    json!({"status": {
        "phase": outcome.phase(),
        "observedGeneration": generation(pod),
        "conditions": conditions(false, &time),
        "containerStatuses": statuses(pod, "containers", &terminated, false),
    }})
}

fn conditions(up: bool, time: &str) -> Value {
    let condition = |kind: &str, holds: bool| {
        let status = if holds { "True" } else { "False" };
        let mut condition = json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": time});
        if let (false, Some(fields)) = (holds, condition.as_object_mut()) {
            fields.insert("reason".into(), "PodCompleted".into());
        }
        condition
    };
    json!([
        condition("PodReadyToStartContainers", up),
        condition("Initialized", true),
        condition("Ready", up),
        condition("ContainersReady", up),
        condition("PodScheduled", true),
    ])
}

fn statuses(pod: &Value, list: &str, state: &Value, up: bool) -> Value {
    let containers = pod.pointer(&format!("/spec/{list}")).and_then(Value::as_array).into_iter().flatten();
    let uid = pod.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    let status = |container: &Value| {
        let name = text(container, "name");
        json!({
            "name": name, "image": text(container, "image"), "imageID": "", "containerID": format!("attache://{uid}/{name}"),
            "ready": up, "started": up, "restartCount": 0, "lastState": {}, "state": state,
            "resources": container.get("resources").cloned().unwrap_or_else(|| json!({})),
        })
    };
    containers.map(status).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jiff::Timestamp;
    use serde_json::json;

    use super::{Termination, address, ended, resized, running};

    #[test]
    fn a_pod_gets_the_addresses_that_it_lacks() {
        let (ours, hosts) = (["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()], ["192.0.2.1".parse().unwrap()]);
        let mut fresh = json!({});
        address(&mut fresh, &ours, &hosts);
        assert_eq!(
            fresh["status"],
            json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "hostIP": "192.0.2.1", "hostIPs": [{"ip": "192.0.2.1"}]})
        );
        let mut set = json!({"status": {"podIP": "10.9.9.9"}});
        address(&mut set, &ours, &hosts);
        assert_eq!(set["status"]["podIPs"], json!([{"ip": "10.9.9.9"}]));
        let mut hosted = json!({"spec": {"hostNetwork": true}});
        address(&mut hosted, &ours, &hosts);
        assert_eq!(hosted["status"]["podIP"], "192.0.2.1");
    }

    #[test]
    fn a_pod_runs_and_ends() {
        let pod = json!({"metadata": {"uid": "u"}, "spec": {"containers": [{"name": "a", "image": "i"}], "initContainers": [{"name": "b"}]}, "status": {"podIP": "10.0.0.1"}});
        let now: Timestamp = "2026-03-01T12:00:00.5Z".parse().unwrap();
        let status = running(&pod, now)["status"].clone();
        assert_eq!(
            (&status["phase"], &status["podIP"], &status["startTime"]),
            (&json!("Running"), &json!("10.0.0.1"), &json!("2026-03-01T12:00:00Z"))
        );
        assert_eq!(status["containerStatuses"][0]["state"]["running"]["startedAt"], "2026-03-01T12:00:00Z");
        assert_eq!(status["containerStatuses"][0]["ready"], true);
        assert_eq!(status["initContainerStatuses"][0]["state"]["terminated"]["reason"], "Completed");

        let outcome = Termination { exit_code: 126, message: Some("trap".into()) };
        let status = ended(&pod, &outcome, now, now)["status"].clone();
        assert_eq!(status["phase"], "Failed");
        let terminated = &status["containerStatuses"][0]["state"]["terminated"];
        assert_eq!(
            (&terminated["exitCode"], &terminated["reason"], &terminated["message"]),
            (&json!(126), &json!("Error"), &json!("trap"))
        );
        assert_eq!(ended(&pod, &Termination::exit(0), now, now)["status"]["phase"], "Succeeded");
    }

    #[test]
    fn a_sidecar_runs_on() {
        let pod = json!({"spec": {"containers": [{"name": "a"}], "initContainers": [
            {"name": "once"}, {"name": "always", "restartPolicy": "Always"},
        ]}});
        let status = running(&pod, Timestamp::UNIX_EPOCH)["status"]["initContainerStatuses"].clone();
        assert_eq!((&status[0]["name"], &status[0]["ready"]), (&json!("once"), &json!(false)));
        assert!(status[0]["state"]["terminated"].is_object());
        assert_eq!((&status[1]["name"], &status[1]["ready"]), (&json!("always"), &json!(true)));
        assert!(status[1]["state"]["running"].is_object());
    }

    #[test]
    fn a_resize_is_told_once() {
        let mut pod = json!({
            "metadata": {"resourceVersion": "7", "generation": 1},
            "spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "250m"}}}, {"name": "b", "resources": {}}]},
        });
        pod["status"] = running(&pod, Timestamp::UNIX_EPOCH)["status"].clone();
        assert_eq!(pod["status"]["containerStatuses"][0]["resources"], json!({"limits": {"cpu": "250m"}}));
        assert_eq!(resized(&pod), None, "nothing has changed");
        pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "500m".into();
        pod["spec"]["resources"] = json!({"limits": {"cpu": "1"}});
        pod["metadata"]["generation"] = 2.into();
        let patch = resized(&pod).unwrap();
        assert_eq!(patch["metadata"], json!({"resourceVersion": "7"}));
        let status = &patch["status"];
        assert_eq!(
            (&status["observedGeneration"], &status["resources"]),
            (&json!(2), &json!({"limits": {"cpu": "1"}}))
        );
        assert_eq!(status["containerStatuses"][0]["resources"], json!({"limits": {"cpu": "500m"}}));
        assert!(status["containerStatuses"][0]["state"]["running"].is_object(), "all else stays");
        assert_eq!(status["containerStatuses"][1], pod["status"]["containerStatuses"][1]);
    }
}
