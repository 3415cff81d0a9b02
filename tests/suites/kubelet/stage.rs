//! A cluster with a kubelet, and waits for its files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use attache_devcluster::kubelet::{Kubelet, MountPoint, RunningPod};
use attache_devcluster::{DevCluster, DevClusterSettings, manifest};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Client;

/// The longest wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";

/// The path of the credentials in every container.
pub(crate) const CREDENTIALS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A cluster and a node's directory.
pub(crate) struct Stage {
    pub(crate) cluster: Arc<DevCluster>,
    pub(crate) root: TempDir,
}

impl Stage {
    pub(crate) fn new(yaml: &str) -> Result<Self> {
        let cluster = DevCluster::start(DevClusterSettings::default())?;
        let documents = manifest::parse(yaml, "pod.yaml")?;
        cluster.load(documents.into_iter().map(manifest::Document::into_object))?;
        Ok(Self { cluster: Arc::new(cluster), root: tempfile::tempdir()? })
    }

    pub(crate) fn kubelet(&self) -> Kubelet {
        let cluster = Arc::clone(&self.cluster);
        let kubelet = Kubelet::builder(self.cluster.url(), self.cluster.admin_token());
        kubelet.authority_from(move || cluster.ca_pem()).root(self.root.path())
    }

    pub(crate) async fn start(&self, pod: &str) -> Result<RunningPod> {
        Ok(self.kubelet().start("default", pod).await?)
    }

    pub(crate) async fn admin(&self, method: &str, target: &str, body: Value) -> Result<Value> {
        let reply = Client::new(&self.cluster).ask(self.cluster.admin_token(), method, target, &body).await?;
        ensure!(reply.status.is_success(), "{method} {target}: {} {:?}", reply.status, reply.body);
        Ok(reply.json())
    }

    /// Returns the status of a request with a token.
    pub(crate) async fn status_for(&self, token: &str) -> Result<u16> {
        let reply = Client::new(&self.cluster).ask(token, "GET", "/api", &Value::Null).await?;
        Ok(reply.status.as_u16())
    }

    pub(crate) async fn label(&self, pod: &str, labels: Value) -> Result<Value> {
        self.admin("PATCH", &format!("{PODS}/{pod}"), json!({"metadata": {"labels": labels}})).await
    }

    pub(crate) fn is_empty(&self) -> Result<bool> {
        let pods = self.root.path().join("pods");
        Ok(!pods.exists() || fs::read_dir(pods)?.next().is_none())
    }
}

pub(crate) fn mount(pod: &RunningPod, path: &str) -> Result<MountPoint> {
    let main = pod.container("main").context("no container main")?;
    main.mounts.iter().find(|mount| mount.mount_path == path).cloned().with_context(|| format!("nothing at {path}"))
}

pub(crate) fn host_path(pod: &RunningPod, path: &str) -> Result<PathBuf> {
    Ok(mount(pod, path)?.host_path)
}

/// Returns `MODE CONTENT` of a file, through all links.
pub(crate) fn shown(path: &Path) -> Result<String> {
    let mode = fs::metadata(path).with_context(|| path.display().to_string())?.permissions().mode() & 0o777;
    Ok(format!("{mode:o} {}", String::from_utf8_lossy(&fs::read(path)?)))
}

/// Waits until `holds`, which is called again after each write of a volume.
pub(crate) async fn until(pod: &RunningPod, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let mut versions = pod.versions();
    let wait = async {
        while !holds()? {
            versions.changed().await.context("the volumes are no longer kept")?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, wait).await.context("the files did not change in time")?
}

pub(crate) async fn until_reads(pod: &RunningPod, path: &Path, content: &str) -> Result<()> {
    // Between two versions a file may be missing for one moment.
    until(pod, || Ok(fs::read_to_string(path).is_ok_and(|text| text == content))).await
}
