//! Each owner's child: names, labels, notes, env, volumes.

#![allow(clippy::unwrap_used)]

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{first_child, makes_pods};

fn owner(kind: &str, spec: &Value) -> Value {
    let version = match kind {
        "ReplicationController" => "v1",
        "Job" | "CronJob" => "batch/v1",
        _ => "apps/v1",
    };
    json!({
        "apiVersion": version, "kind": kind, "spec": spec,
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "generation": 3, "annotations": {"team": "a"}},
    })
}

fn template() -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}, "annotations": {"note": "n"}},
        "spec": {"containers": [{"name": "main"}], "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]},
    })
}

fn child(owner: &Value) -> Value {
    let now: Timestamp = "2026-03-01T12:34:56Z".parse().unwrap();
    first_child(owner, "node-1", now).unwrap()
}

fn labels(object: &Value) -> Vec<String> {
    let labels = object["metadata"]["labels"].as_object().unwrap().iter();
    labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap())).collect()
}

#[test]
fn a_deployment_makes_a_replica_set_and_that_a_pod() {
    let spec = json!({"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template(),
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}}});
    let deployment = owner("Deployment", &spec);
    let mut set = child(&deployment);
    let name = set["metadata"]["name"].as_str().unwrap().to_owned();
    let hash = name.strip_prefix("web-").unwrap().to_owned();
    assert!((8..=10).contains(&hash.len()), "{hash}");
    assert_eq!(labels(&set), ["app=web".to_owned(), format!("pod-template-hash={hash}")]);
    assert_eq!(set["spec"]["selector"]["matchLabels"], json!({"app": "web", "pod-template-hash": hash}));
    assert_eq!(
        set["metadata"]["annotations"],
        json!({
            "team": "a", "deployment.kubernetes.io/desired-replicas": "3", "deployment.kubernetes.io/max-replicas": "4",
            "deployment.kubernetes.io/revision": "1",
        })
    );
    assert_eq!(
        set["metadata"]["ownerReferences"][0],
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u-1", "controller": true, "blockOwnerDeletion": true,
        })
    );
    assert_eq!(child(&deployment), set, "the same template has the same hash");
    set["metadata"]["uid"] = "u-2".into();
    let pod = child(&set);
    assert_eq!(pod["metadata"]["generateName"], format!("{name}-"));
    assert_eq!(labels(&pod), ["app=web".to_owned(), format!("pod-template-hash={hash}")]);
    assert_eq!(pod["metadata"]["annotations"], json!({"note": "n"}));
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "u-2");
    assert_eq!(pod["spec"], template()["spec"]);
}

#[test]
fn a_replication_controller_makes_a_pod() {
    let pod = child(&owner("ReplicationController", &json!({"template": template()})));
    assert_eq!((&pod["metadata"]["generateName"], &pod["metadata"]["namespace"]), (&json!("web-"), &json!("shop")));
    assert_eq!(labels(&pod), ["app=web"]);
}

#[test]
fn a_stateful_set_makes_a_pod_with_an_identity() {
    let spec = json!({"serviceName": "db", "ordinals": {"start": 5}, "template": template(),
        "volumeClaimTemplates": [{"metadata": {"name": "data"}}]});
    let pod = child(&owner("StatefulSet", &spec));
    assert_eq!(pod["metadata"]["name"], "web-5");
    let found = labels(&pod);
    assert_eq!(found[..2], ["app=web", "apps.kubernetes.io/pod-index=5"]);
    assert!(found[2].starts_with("controller-revision-hash=web-"), "{found:?}");
    assert_eq!(found[3], "statefulset.kubernetes.io/pod-name=web-5");
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("web-5"), &json!("db")));
    assert_eq!(
        pod["spec"]["volumes"],
        json!([
            {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-5"}}, {"name": "tmp", "emptyDir": {}},
        ])
    );
}

#[test]
fn a_daemon_sets_pod_goes_to_its_node_and_stays() {
    let mut of_pods = template();
    of_pods["spec"]["hostNetwork"] = true.into();
    of_pods["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    let pod = child(&owner("DaemonSet", &json!({"template": of_pods})));
    let found = labels(&pod);
    assert!(found[1].starts_with("controller-revision-hash="), "{found:?}");
    assert_eq!(found[2], "pod-template-generation=3");
    let required = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(required["nodeSelectorTerms"][0]["matchFields"][0]["values"], json!(["node-1"]));
    let tolerations = pod["spec"]["tolerations"].as_array().unwrap();
    assert_eq!((tolerations.len(), &tolerations[7]["key"]), (8, &json!("node.kubernetes.io/network-unavailable")));
}

#[test]
fn a_cron_job_makes_a_job_for_its_minute_and_that_a_pod() {
    let spec = json!({"timeZone": "Europe/Berlin", "jobTemplate": {
        "metadata": {"labels": {"kind": "nightly"}}, "spec": {"template": template()}}});
    let job = child(&owner("CronJob", &spec));
    assert_eq!(job["metadata"]["name"], "web-29539474");
    assert_eq!(labels(&job), ["kind=nightly"]);
    let due = &job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"];
    assert_eq!(due, "2026-03-01T12:34:00Z");
    assert_eq!(child(&job)["metadata"]["generateName"], "web-29539474-");
}

#[test]
fn an_indexed_jobs_pod_knows_its_index() {
    let index = "batch.kubernetes.io/job-completion-index";
    let pod =
        child(&owner("Job", &json!({"completionMode": "Indexed", "backoffLimitPerIndex": 1, "template": template()})));
    assert_eq!((&pod["metadata"]["generateName"], &pod["spec"]["hostname"]), (&json!("web-0-"), &json!("web-0")));
    assert_eq!((&pod["metadata"]["labels"][index], &pod["metadata"]["annotations"][index]), (&json!("0"), &json!("0")));
    assert_eq!(pod["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"], "0");
    let variable = &pod["spec"]["containers"][0]["env"][0];
    assert_eq!(variable["name"], "JOB_COMPLETION_INDEX");
    assert_eq!(variable["valueFrom"]["fieldRef"]["fieldPath"], format!("metadata.labels['{index}']"));
    let plain = child(&owner("Job", &json!({"completionMode": "NonIndexed", "template": template()})));
    assert!(plain["spec"]["containers"][0].get("env").is_none() && plain["metadata"]["labels"].get(index).is_none());
}

#[test]
fn what_makes_no_pods_has_no_child() {
    for (version, kind) in [("v1", "Pod"), ("v1", "Service"), ("extensions/v1beta1", "Deployment"), ("", "")] {
        assert!(!makes_pods(version, kind), "{kind}");
        assert_eq!(first_child(&json!({"apiVersion": version, "kind": kind}), "n", Timestamp::UNIX_EPOCH), None);
    }
}
