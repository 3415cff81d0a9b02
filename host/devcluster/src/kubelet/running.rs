//! A running pod: the env and mounts of its containers, and its end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::client::{Call, Client};
use super::env::Environment;
use super::follow::uid;
use super::mounts::{AbsentMount, MountPoint};
use super::status::{self, Termination};
use super::sync::Directory;
use super::{KubeletError, patch_status};

/// The env and mounts of a container of a running pod.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Container {
    /// The environment. It never updates.
    pub env: Environment,
    /// The names of the service variables in the manner of Docker links: all but `…_SERVICE_HOST` and `…_SERVICE_PORT`.
    pub links: BTreeSet<String>,
    /// The mounts, in the order of the spec.
    pub mounts: Vec<MountPoint>,
    /// The mounts of volumes that this kubelet does not have, in the order of the spec, block devices last.
    pub absent: Vec<AbsentMount>,
    /// The entries of the spec's `env` that are filled from the pod's fields, as written in the spec.
    pub downward_env: Vec<Value>,
}

/// A pod whose volumes are on disk and kept fresh. [`RunningPod::stop`] reports the end to the API server. Dropping the
/// value releases the pod and removes the files, but reports nothing.
#[derive(Debug)]
pub struct RunningPod {
    pub(super) client: Client,
    pub(super) path: String,
    pub(super) started: Timestamp,
    pub(super) containers: BTreeMap<String, Container>,
    pub(super) pod: watch::Receiver<Option<Value>>,
    pub(super) versions: watch::Receiver<u64>,
    /// True if another kubelet reports the pod's end.
    pub(super) observing: bool,
    pub(super) _tasks: Tasks,
    // Dropped after the tasks: nothing may write below the directory once it is removed.
    pub(super) directory: Held,
}

impl RunningPod {
    /// Returns the containers and init containers, by name.
    pub fn containers(&self) -> &BTreeMap<String, Container> {
        &self.containers
    }

    /// Returns one container.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.get(name)
    }

    /// Returns the pod's newest state; nothing once the pod is gone from the API.
    pub fn object(&self) -> Option<Value> {
        self.pod.borrow().clone()
    }

    /// Returns the directory of the pod's volumes.
    pub fn directory(&self) -> &Path {
        self.directory.0.path()
    }

    /// Returns a count of the volumes written since the start. A change means that some file has changed.
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.versions.clone()
    }

    /// Waits until the pod's state is as wanted, and returns true. Returns false once the pod is gone.
    pub async fn wait_for(&self, wanted: impl Fn(&Value) -> bool) -> bool {
        let mut pod = self.pod.clone();
        let reached = pod.wait_for(|pod| pod.as_ref().is_none_or(&wanted)).await;
        reached.is_ok_and(|pod| pod.is_some())
    }

    /// Waits until the pod is gone from the API, or is being deleted.
    pub async fn deleted(&self) {
        let mut pod = self.pod.clone();
        let going = |pod: &Option<Value>| pod.as_ref().is_none_or(is_being_deleted);
        // An error means that the pod is no longer followed, which only happens after it is gone.
        let _ = pod.wait_for(going).await;
    }

    /// Reports the end of the containers, releases the pod and removes its files. A pod that is being deleted is then
    /// deleted with grace period 0, as a kubelet does after the containers have stopped. A pod that is gone already is
    /// no error.
    ///
    /// # Errors
    /// [`KubeletError::Api`] if the status could not be reported or the pod could not be deleted. The files are removed
    /// in any case.
    pub async fn stop(self, outcome: &Termination) -> Result<(), KubeletError> {
        let Some(object) = self.object().filter(|_| !self.observing) else { return Ok(()) };
        let patch = status::ended(&object, outcome, self.started, Timestamp::now());
        if let Err(error) = patch_status(&self.client, &self.path, &patch).await {
            return unless_gone(error);
        }
        if !is_being_deleted(&object) {
            return Ok(());
        }
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": uid(&object)},
        });
        let deleted = self.client.object(&self.path, Call::Delete(&options)).await;
        deleted.map(drop).map_err(KubeletError::api("delete the pod")).or_else(unless_gone)
    }
}

/// Returns whether the pod is being deleted in the API.
fn is_being_deleted(pod: &Value) -> bool {
    pod.pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string)
}

fn unless_gone(error: KubeletError) -> Result<(), KubeletError> {
    match error {
        KubeletError::Api { source, .. } if source.is_about_another() => Ok(()),
        error => Err(error),
    }
}

/// Tasks that are aborted when the value is dropped.
#[derive(Debug)]
pub(super) struct Tasks(pub(super) [AbortHandle; 2]);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// A directory that is removed when the value is dropped.
#[derive(Debug)]
pub(super) struct Held(pub(super) Directory);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.remove();
    }
}
