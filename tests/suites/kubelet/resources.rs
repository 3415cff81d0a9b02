//! Limits of containers, pods and nodes in files and variables.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::client::Client;
use crate::manifests::LIMITED;
use crate::stage::{PATIENCE, PODS, Stage, host_path, until_reads};

#[tokio::test]
async fn a_container_without_a_limit_has_its_pods_and_else_its_nodes() -> Result<()> {
    let stage = Stage::new(LIMITED)?;
    let pod = stage.start("limited").await?;
    let all = host_path(&pod, "/etc/all")?;
    for (file, expected) in [
        ("cpu_limit", "500"),
        ("mem_limit", "96"),
        ("mem_request", "0"),
        ("own_cpu", "250"),
        ("own_mem", "96"),
        ("scratch", "100"),
    ] {
        let found = fs::read_to_string(all.join(file))?;
        ensure!(found == expected, "{file}: {found}");
    }
    let env = &pod.container("main").context("no main")?.env;
    for (name, expected) in [("CPU", "500"), ("MEMORY", "96"), ("ASKED", "0"), ("OTHERS", "250")] {
        ensure!(env.get(name).is_some_and(|value| value == expected), "{name}: {:?}", env.get(name));
    }
    let object = pod.object().context("no pod")?;
    ensure!(object["spec"]["resources"]["requests"] == json!({"cpu": "250m", "memory": "96Mi"}), "{object}");
    ensure!(object["spec"]["containers"][0]["resources"] == json!({}), "{object}");
    ensure!(object["status"]["qosClass"] == "Burstable", "{object}");
    ensure!(object["status"]["initContainerStatuses"][0]["state"]["running"].is_object(), "{object}");
    Ok(())
}

#[tokio::test]
async fn an_in_place_resize_reaches_every_file_and_the_status_but_no_variable() -> Result<()> {
    let stage = Stage::new(LIMITED)?;
    let pod = stage.kubelet().sync_period(Duration::from_millis(50)).start("default", "limited").await?;
    let all = host_path(&pod, "/etc/all")?;
    let told = stage.admin("GET", &format!("{PODS}/limited"), Value::Null).await?["status"].clone();
    ensure!(told["containerStatuses"][1]["resources"]["limits"]["cpu"] == "250m", "{told}");
    let change = json!({"spec": {
        "resources": {"limits": {"memory": "128Mi"}},
        "containers": [{"name": "main", "image": "registry.invalid/x:1", "resources": {"limits": {"cpu": "100m"}}},
                       {"name": "own", "image": "registry.invalid/x:1", "resources": {"limits": {"cpu": "400m"}}}],
    }});
    let (target, media) = (format!("{PODS}/limited/resize"), "application/strategic-merge-patch+json");
    let token = stage.cluster.admin_token();
    let answer = Client::new(&stage.cluster).ask_as(token, "PATCH", &target, media, change.to_string()).await?;
    ensure!(answer.status.is_success(), "{:?}", answer.body);
    for (file, expected) in [("cpu_limit", "100"), ("mem_limit", "128"), ("own_cpu", "400"), ("own_mem", "128")] {
        until_reads(&pod, &all.join(file), expected).await?;
    }
    stage.admin("PATCH", "/api/v1/namespaces/default/configmaps/settings", json!({"data": {"colour": "red"}})).await?;
    until_reads(&pod, &all.join("colour"), "red").await?;
    ensure!(pod.container("main").context("no main")?.env["CPU"] == "500", "a variable never follows");
    let resized = |object: &Value| {
        let status = &object["status"];
        status["containerStatuses"][0]["resources"]["limits"]["cpu"] == "100m"
            && status["containerStatuses"][1]["resources"]["limits"]["cpu"] == "400m"
            && status["resources"]["limits"]["memory"] == "128Mi"
            && status["containerStatuses"][0]["state"]["running"].is_object()
            && status["observedGeneration"] == object["metadata"]["generation"]
    };
    let told = tokio::time::timeout(PATIENCE, pod.wait_for(resized)).await;
    ensure!(told.is_ok_and(|told| told), "the status did not change in time: {:?}", pod.object());
    Ok(())
}
