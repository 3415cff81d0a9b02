//! The start and the end of a pod: status, deletion, errors, rights.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use attache_devcluster::kubelet::{Kubelet, KubeletError, Termination};
use serde_json::{Value, json};

use crate::manifests::{FULL, SMALL};
use crate::stage::{CREDENTIALS, PATIENCE, PODS, Stage, host_path, until_reads};

#[tokio::test]
async fn the_status_says_that_it_runs_and_how_it_ended() -> Result<()> {
    for (outcome, phase, reason) in [
        (Termination::exit(0), "Succeeded", "Completed"),
        (Termination { exit_code: 126, message: Some("unreachable executed".into()) }, "Failed", "Error"),
    ] {
        let stage = Stage::new(SMALL)?;
        let pod = stage.start("small").await?;
        let running = stage.admin("GET", &format!("{PODS}/small"), Value::Null).await?;
        ensure!(running["status"]["phase"] == "Running" && running["spec"]["nodeName"] == "attache", "{running}");
        ensure!(running["status"]["containerStatuses"][0]["state"]["running"].is_object());
        let directory = pod.directory().to_owned();
        pod.stop(&outcome).await?;
        ensure!(!directory.exists() && stage.is_empty()?);
        let ended = stage.admin("GET", &format!("{PODS}/small"), Value::Null).await?;
        ensure!(ended["status"]["phase"] == phase, "{ended}");
        let terminated = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
        ensure!(terminated["exitCode"] == outcome.exit_code && terminated["reason"] == reason, "{terminated}");
        let again = stage.kubelet().start("default", "small").await;
        ensure!(matches!(&again, Err(KubeletError::Ended { phase: told, .. }) if told == phase), "{again:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_deleted_pod_is_let_go_with_its_token() -> Result<()> {
    let stage = Stage::new(SMALL)?;
    let pod = stage.start("small").await?;
    let token = fs::read_to_string(host_path(&pod, CREDENTIALS)?.join("token"))?;
    stage.admin("DELETE", &format!("{PODS}/small"), Value::Null).await?;
    tokio::time::timeout(PATIENCE, pod.deleted()).await.context("the deletion was not seen")?;
    pod.stop(&Termination::exit(0)).await?;
    let gone = stage.admin("GET", &format!("{PODS}/small"), Value::Null).await;
    ensure!(gone.is_err_and(|error| error.to_string().contains("404")), "a kubelet lets its pod go for good");
    ensure!(stage.is_empty()?, "files stay");
    ensure!(stage.status_for(&token).await? == 401, "the token outlives its pod");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_set_up_says_why_and_leaves_nothing_behind() -> Result<()> {
    let volume = |source: &str| {
        SMALL.replace("downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}", source)
    };
    let cases = [
        (volume("configMap: {name: nowhere}"), "volume \"podinfo\" cannot be set up: configmap \"nowhere\" not found"),
        (volume("secret: {secretName: nowhere}"), "volume \"podinfo\" cannot be set up: secret \"nowhere\" not found"),
        (
            SMALL.replace(
                "    volumeMounts:",
                "    env: [{name: A, valueFrom: {configMapKeyRef: {name: nowhere, key: a}}}]\n    volumeMounts:",
            ),
            "the env of container \"main\" cannot be made: configmap \"nowhere\" not found",
        ),
    ];
    for (yaml, words) in cases {
        let stage = Stage::new(&yaml)?;
        let Err(error) = stage.start("small").await else { bail!("started, in spite of {words}") };
        let told = format!("{error:#}");
        ensure!(told.contains(words), "{told}");
        ensure!(stage.is_empty()?, "files stay after: {words}");
        let pod = stage.admin("GET", &format!("{PODS}/small"), Value::Null).await?;
        ensure!(pod["status"]["phase"] == "Pending", "{pod}");
    }
    let stage = Stage::new(SMALL)?;
    ensure!(matches!(stage.kubelet().start("default", "none").await, Err(KubeletError::NoPod { .. })));
    ensure!(matches!(stage.kubelet().start("default", "../x").await, Err(KubeletError::Name(_))));
    let stranger =
        Kubelet::builder(stage.cluster.url(), "no-token").authority(stage.cluster.ca_pem()).root(stage.root.path());
    let Err(error) = stranger.start("default", "small").await else { bail!("a stranger got the pod") };
    ensure!(format!("{:#}", anyhow::Error::new(error)).contains("401"));
    Ok(())
}

#[tokio::test]
async fn a_kubelet_needs_no_more_than_the_rights_of_a_node() -> Result<()> {
    let stage = Stage::new(FULL)?;
    stage.cluster.load([
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "node"}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "node"}, "rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["pods/binding", "serviceaccounts/token"], "verbs": ["create"]},
            {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]},
            {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["get"]},
        ]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "node"},
               "roleRef": {"kind": "Role", "name": "node"},
               "subjects": [{"kind": "ServiceAccount", "name": "node", "namespace": "default"}]}),
    ])?;
    let token = stage.cluster.token_for("default", "node", Duration::from_mins(5))?;
    let kubelet =
        Kubelet::builder(stage.cluster.url(), token).authority(stage.cluster.ca_pem()).root(stage.root.path());
    let pod = kubelet.start("default", "full").await?;
    let labels = host_path(&pod, "/etc/podinfo")?.join("app");
    stage.label("full", json!({"app": "seen"})).await?;
    until_reads(&pod, &labels, "seen").await?;
    pod.stop(&Termination::exit(0)).await?;
    Ok(())
}
