//! The stored form of objects: fields that are dropped, and defaults that are added.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::stage::{Stage, deployment, map, play};

async fn default_account(stage: &Stage) -> Result<()> {
    let account = format!("{}/default", stage.core("serviceaccounts"));
    stage.until(true, async || Ok(stage.ask("GET", &account, Value::Null).await?.status.is_success())).await
}

#[tokio::test]
async fn null_and_empty_members_are_left_out() -> Result<()> {
    play(async |stage| {
        default_account(stage).await?;
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "initContainers": null, "containers": [{"name": "c", "image": "x", "env": []}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        }});
        let pod = stage.done("POST", &stage.core("pods"), pod).await?;
        ensure!(pod["spec"].get("initContainers").is_none(), "{pod}");
        ensure!(pod["spec"]["containers"][0].get("env").is_none(), "{pod}");
        ensure!(pod["spec"]["containers"][0]["resources"] == json!({}), "{pod}");
        ensure!(pod["spec"]["volumes"][0] == json!({"name": "v", "emptyDir": {}}), "{pod}");
        let mut empty = map("m", json!({}));
        empty["data"] = json!({});
        empty["binaryData"] = Value::Null;
        let stored = stage.done("POST", &stage.maps(), empty).await?;
        ensure!(stored.get("data").is_none() && stored.get("binaryData").is_none(), "{stored}");
        ensure!(
            stored["metadata"].get("labels").is_none() && stored["metadata"].get("managedFields").is_none(),
            "{stored}"
        );
        let none = json!({"metadata": {"name": "n"}, "data": {"a": null}});
        ensure!(stage.done("POST", &stage.maps(), none).await?["data"] == json!({"a": ""}));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn structs_are_there_so_that_a_patch_can_add_below_them() -> Result<()> {
    play(async |stage| {
        let service = json!({"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
        let service = stage.done("POST", &stage.core("services"), service).await?;
        ensure!(service["status"] == json!({"loadBalancer": {}}), "{service}");
        let target = format!("{}/s/status", stage.core("services"));
        let add = json!([{"op": "add", "path": "/status/loadBalancer/ingress", "value": [{"ip": "192.0.2.1"}]}]);
        let patched = stage.done("PATCH", &target, add).await?;
        ensure!(patched["status"]["loadBalancer"]["ingress"][0]["ip"] == "192.0.2.1", "{patched}");

        let deployments = stage.group("apps/v1", "deployments");
        let made = stage.done("POST", &deployments, deployment("d", &["main"])).await?;
        ensure!(made["status"] == json!({}), "{made}");
        let add = json!([{"op": "add", "path": "/status/replicas", "value": 3}]);
        let patched = stage.done("PATCH", &format!("{deployments}/d/status"), add).await?;
        ensure!(patched["status"]["replicas"] == 3, "{patched}");
        let role = json!({"metadata": {"name": "r"}});
        let role = stage.done("POST", &stage.group("rbac.authorization.k8s.io/v1", "roles"), role).await?;
        ensure!(role.get("rules") == Some(&Value::Null), "{role}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn only_pods_ask_for_what_they_are_limited_to() -> Result<()> {
    play(async |stage| {
        default_account(stage).await?;
        let limits = json!({"limits": {"cpu": "1000m", "memory": "1024Mi"}});
        let mut template = deployment("d", &["main"]);
        template["spec"]["template"]["spec"]["containers"][0]["resources"] = limits.clone();
        let template = stage.done("POST", &stage.group("apps/v1", "deployments"), template).await?;
        let canonical = json!({"cpu": "1", "memory": "1Gi"});
        let resources = &template["spec"]["template"]["spec"]["containers"][0]["resources"];
        ensure!(*resources == json!({"limits": canonical}), "{resources}");
        let pod = |name: &str, own: &Value, whole: Option<&Value>| {
            let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x", "resources": own}]}});
            if let Some(whole) = whole {
                pod["spec"]["resources"] = whole.clone();
            }
            pod
        };
        let one = stage.done("POST", &stage.core("pods"), pod("p", &limits, None)).await?;
        let asked = json!({"limits": canonical, "requests": canonical});
        ensure!(one["spec"]["containers"][0]["resources"] == asked && one["status"]["qosClass"] == "Guaranteed", "{one}");
        let whole = stage.done("POST", &stage.core("pods"), pod("q", &json!({}), Some(&limits))).await?;
        ensure!(whole["spec"]["resources"] == asked && whole["status"]["qosClass"] == "Guaranteed", "{whole}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn defaults_are_those_of_the_type() -> Result<()> {
    play(async |stage| {
        let claim = json!({"metadata": {"name": "v"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        let template = deployment("d", &["main"])["spec"]["template"].clone();
        let set = json!({"metadata": {"name": "s"}, "spec": {"serviceName": "x", "selector": {"matchLabels": {"app": "d"}},
            "template": template, "volumeClaimTemplates": [claim]}});
        let set = stage.done("POST", &stage.group("apps/v1", "statefulsets"), set).await?;
        ensure!(set["spec"]["updateStrategy"] == json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}), "{set}");
        let claim = &set["spec"]["volumeClaimTemplates"][0];
        ensure!(claim["kind"] == "PersistentVolumeClaim" && claim["status"]["phase"] == "Pending", "{set}");
        let daemon = json!({"metadata": {"name": "s"}, "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": template}});
        let daemon = stage.done("POST", &stage.group("apps/v1", "daemonsets"), daemon).await?;
        let count = &daemon["metadata"]["annotations"]["deprecated.daemonset.template.generation"];
        ensure!(*count == "1" && daemon["status"]["numberReady"] == 0, "{daemon}");
        let scaler = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
        let scaler = stage.done("POST", &stage.group("autoscaling/v2", "horizontalpodautoscalers"), scaler).await?;
        ensure!(scaler["spec"]["minReplicas"] == 1 && scaler["spec"]["metrics"][0]["resource"]["name"] == "cpu", "{scaler}");
        let policy = json!({"metadata": {"name": "n"}, "spec": {"podSelector": {}}});
        let policy = stage.done("POST", &stage.group("networking.k8s.io/v1", "networkpolicies"), policy).await?;
        ensure!(policy["spec"]["policyTypes"] == json!(["Ingress"]), "{policy}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn times_are_read_as_strictly_as_they_are_written() -> Result<()> {
    play(async |stage| {
        let leases = stage.group("coordination.k8s.io/v1", "leases");
        let lease = |time: &str| json!({"metadata": {"name": "l"}, "spec": {"renewTime": time}});
        for time in ["2026-01-02", "2026-01-02T03:04:05Z", "2026-13-02T03:04:05.000000Z", "nonsense"] {
            let (refused, status) = stage.refused("POST", &leases, lease(time)).await?;
            ensure!(refused == "400 BadRequest", "{time}: {status}");
        }
        let stored = stage.done("POST", &leases, lease("2026-01-02T03:04:05.123456+02:00")).await?;
        ensure!(stored["spec"]["renewTime"] == "2026-01-02T01:04:05.123456Z", "{stored}");
        let (refused, status) =
            stage.refused("PATCH", &format!("{leases}/l"), json!({"spec": {"leaseDurationSeconds": 0}})).await?;
        ensure!(
            refused == "422 Invalid" && status["details"]["causes"][0]["field"] == "spec.leaseDurationSeconds",
            "{status}"
        );
        let stale = json!({"metadata": {"name": "m", "creationTimestamp": "yesterday"}});
        ensure!(stage.refused("POST", &stage.maps(), stale).await?.0 == "400 BadRequest");
        Ok(())
    })
    .await
}
