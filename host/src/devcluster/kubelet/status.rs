//! What the kubelet tells the API of a pod: the patches of its status.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::pod::text;

/// How a pod's containers ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code of all its containers; 0 makes the pod `Succeeded`, anything else `Failed`.
    pub exit_code: i32,
    /// What there is to say about it.
    pub message: Option<String>,
}

impl Outcome {
    /// The exit code alone.
    pub const fn exit(exit_code: i32) -> Self {
        Self { exit_code, message: None }
    }

    const fn phase(&self) -> &'static str {
        if self.exit_code == 0 { "Succeeded" } else { "Failed" }
    }
}

/// A time as the API writes it: UTC, whole seconds.
fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Gives the pod its addresses, unless its status has some: the env needs them before anything is told.
pub(super) fn address(pod: &mut Value, pod_ips: &[IpAddr], host_ips: &[IpAddr]) {
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

/// The patch that says that the pod runs. `pod` has its addresses already.
pub(super) fn running(pod: &Value, now: Timestamp) -> Value {
    let time = written(now);
    let kept = |field: &str| pod.pointer(&format!("/status/{field}")).cloned().unwrap_or_default();
    let state = json!({"running": {"startedAt": time}});
    let done = json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": time, "finishedAt": time}});
    json!({"status": {
        "phase": "Running",
        "startTime": time,
        "podIP": kept("podIP"), "podIPs": kept("podIPs"), "hostIP": kept("hostIP"), "hostIPs": kept("hostIPs"),
        "conditions": conditions(true, &time),
        "initContainerStatuses": statuses(pod, "initContainers", &done, false),
        "containerStatuses": statuses(pod, "containers", &state, true),
    }})
}

/// The patch that says that the pod has ended.
pub(super) fn ended(pod: &Value, outcome: &Outcome, started: Timestamp, now: Timestamp) -> Value {
    let time = written(now);
    let reason = if outcome.exit_code == 0 { "Completed" } else { "Error" };
    let mut terminated = json!({
        "exitCode": outcome.exit_code, "reason": reason, "startedAt": written(started), "finishedAt": time,
    });
    if let (Some(message), Some(fields)) = (&outcome.message, terminated.as_object_mut()) {
        fields.insert("message".into(), message.as_str().into());
    }
    json!({"status": {
        "phase": outcome.phase(),
        "conditions": conditions(false, &time),
        "containerStatuses": statuses(pod, "containers", &json!({"terminated": terminated}), false),
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
        })
    };
    containers.map(status).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jiff::Timestamp;
    use serde_json::json;

    use super::{Outcome, address, ended, running};

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

        let outcome = Outcome { exit_code: 126, message: Some("trap".into()) };
        let status = ended(&pod, &outcome, now, now)["status"].clone();
        assert_eq!(status["phase"], "Failed");
        let terminated = &status["containerStatuses"][0]["state"]["terminated"];
        assert_eq!(
            (&terminated["exitCode"], &terminated["reason"], &terminated["message"]),
            (&json!(126), &json!("Error"), &json!("trap"))
        );
        assert_eq!(ended(&pod, &Outcome::exit(0), now, now)["status"]["phase"], "Succeeded");
    }
}
