//! Changes of the API that reach the files.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use attache_devcluster::Fault;
use serde_json::{Value, json};

use crate::manifests::{FULL, SMALL};
use crate::stage::{CREDENTIALS, PODS, Stage, host_path, mount, until, until_reads};

#[tokio::test]
async fn a_label_changed_through_the_api_shows_in_the_file() -> Result<()> {
    let stage = Stage::new(SMALL)?;
    let pod = stage.start("small").await?;
    let labels = host_path(&pod, "/etc/podinfo")?.join("labels");
    let then = host_path(&pod, "/labels-then")?;
    stage.label("small", json!({"app": "db", "new": "line\u{e9}"})).await.map_or(Ok(()), |_| bail!("not a label"))?;
    stage.label("small", json!({"app": "db", "new": "yes"})).await?;
    until_reads(&pod, &labels, "app=\"db\"\nnew=\"yes\"").await?;
    stage.label("small", json!({"app": null, "new": null})).await?;
    until_reads(&pod, &labels, "").await?;
    ensure!(fs::read_to_string(then)? == "app=\"web\"", "a subPath mount never updates");
    ensure!(pod.object().context("no pod")?["metadata"]["labels"].get("app").is_none());
    Ok(())
}

#[tokio::test]
async fn config_maps_and_secrets_are_read_again() -> Result<()> {
    let stage = Stage::new(FULL)?;
    let pod = stage.kubelet().sync_period(Duration::from_millis(50)).start("default", "full").await?;
    let settings = host_path(&pod, "/etc/settings")?;
    let change = json!({"data": {"colour": "red", "shape": null, "size": "xl"}});
    stage.admin("PATCH", "/api/v1/namespaces/default/configmaps/settings", change).await?;
    until_reads(&pod, &settings.join("size"), "xl").await?;
    ensure!(fs::read_to_string(settings.join("colour"))? == "red");
    ensure!(!settings.join("shape").exists(), "a key that is gone is still read");
    // A volume with a missing key keeps its content, and so does a volume whose object is deleted.
    ensure!(fs::read_to_string(host_path(&pod, "/etc/some")?.join("a/b"))? == "blue");
    stage.admin("DELETE", "/api/v1/namespaces/default/secrets/keys", Value::Null).await?;
    stage.label("full", json!({"app": "late"})).await?;
    until_reads(&pod, &host_path(&pod, "/etc/podinfo")?.join("app"), "late").await?;
    ensure!(fs::read_to_string(host_path(&pod, "/etc/keys")?.join("password"))? == "open-sesame");
    Ok(())
}

#[tokio::test]
async fn the_service_accounts_token_is_there_and_rotates() -> Result<()> {
    let stage = Stage::new(SMALL)?;
    let pod = stage.kubelet().token_period(Duration::from_millis(50)).start("default", "small").await?;
    let credentials = mount(&pod, CREDENTIALS)?;
    ensure!(credentials.read_only);
    let read = |name: &str| fs::read_to_string(credentials.host_path.join(name));
    ensure!(read("namespace")? == "default");
    ensure!(read("ca.crt")? == stage.cluster.ca_pem());
    let first = read("token")?;
    ensure!(stage.status_for(&first).await? == 200);
    until(&pod, || Ok(read("token").is_ok_and(|token| token != first))).await?;
    let second = read("token")?;
    ensure!(stage.status_for(&second).await? == 200 && stage.status_for(&first).await? == 200);
    // Revoked tokens are no obstacle: the next ones are good.
    stage.cluster.faults().rotate_tokens()?;
    ensure!(stage.status_for(&first).await? == 401);
    let revoked = read("token")?;
    until(&pod, || Ok(read("token").is_ok_and(|token| token != revoked && token != second))).await?;
    ensure!(stage.status_for(&read("token")?).await? == 200);
    Ok(())
}

#[tokio::test]
async fn a_new_ca_reaches_the_volume_and_the_kubelet_itself() -> Result<()> {
    let stage = Stage::new(SMALL)?;
    let pod = stage.kubelet().sync_period(Duration::from_millis(50)).start("default", "small").await?;
    let ca = host_path(&pod, CREDENTIALS)?.join("ca.crt");
    stage.cluster.faults().rotate_ca()?;
    until_reads(&pod, &ca, &stage.cluster.ca_pem()).await?;
    Ok(())
}

#[tokio::test]
async fn trouble_with_the_api_server_delays_a_label_and_loses_none() -> Result<()> {
    let stage = Stage::new(SMALL)?;
    let pod = stage.start("small").await?;
    let labels = host_path(&pod, "/etc/podinfo")?.join("labels");
    let faults = stage.cluster.faults();
    faults.reset_connections();
    stage.label("small", json!({"app": "one"})).await?;
    until_reads(&pod, &labels, "app=\"one\"").await?;
    faults.restart(Duration::from_millis(20))?;
    stage.label("small", json!({"app": "two"})).await?;
    until_reads(&pod, &labels, "app=\"two\"").await?;
    faults.expire_history();
    faults.reset_connections();
    faults.next(Fault::Unavailable(None), &format!("{PODS}?"), 1);
    stage.label("small", json!({"app": "three"})).await?;
    until_reads(&pod, &labels, "app=\"three\"").await?;
    Ok(())
}
