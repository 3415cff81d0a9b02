//! The demo's manifests: a cluster takes them, and the pod's account may read what its card shows.

use std::time::Duration;

use anyhow::{Context, Result};
use attache_built::guests;
use attache_devcluster::{DevCluster, DevClusterSettings, manifest};

const MANIFESTS: [&str; 3] = ["access.yaml", "workloads.yaml", "pod.yaml"];

fn documents() -> Result<Vec<manifest::Document>> {
    let folder = guests::workspace().join("tests/manifests/demo");
    Ok(manifest::load(MANIFESTS.map(|file| folder.join(file)))?)
}

#[test]
fn the_demo_s_manifests_are_accepted_and_its_account_exists() -> Result<()> {
    let cluster = DevCluster::start(DevClusterSettings::default())?;
    cluster.load(documents()?.into_iter().map(manifest::Document::into_object))?;
    let pod = "kubernetes-downwardapi-volume-example";
    cluster.token_for_pod("default", "pod-card", pod, Duration::from_mins(1))?;
    Ok(())
}

#[test]
fn a_mode_in_octal_is_read_as_one() -> Result<()> {
    let documents = documents()?;
    let pod = documents.last().context("no pod")?.object();
    let items = &pod["spec"]["volumes"][0]["downwardAPI"]["items"];
    assert_eq!(items[4]["path"], "mem_limit");
    assert_eq!(items[4]["mode"], 0o440);
    Ok(())
}
