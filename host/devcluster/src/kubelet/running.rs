//! A pod that runs: what its containers see, and its end.

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
use super::status::{self, Outcome};
use super::sync::Directory;
use super::{KubeletError, tell};

/// What a container of a running pod sees.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Container {
    /// Its environment. It never updates.
    pub env: Environment,
    /// The names of those variables that tell of services in the manner of Docker's links: all of theirs but
    /// `…_SERVICE_HOST` and `…_SERVICE_PORT`.
    pub links: BTreeSet<String>,
    /// Its mounts, in the order of its spec.
    pub mounts: Vec<MountPoint>,
    /// Its mounts of volumes that this kubelet does not have, in the order of its spec, block devices last.
    pub absent: Vec<AbsentMount>,
    /// Those entries of its spec's `env` that are filled from the pod's fields, as they stand there.
    pub downward_env: Vec<Value>,
}

/// A pod whose volumes are on disk and kept up to date. Dropping it lets go of the pod and removes the files, but
/// tells the API nothing; [`RunningPod::stop`] does.
#[derive(Debug)]
pub struct RunningPod {
    pub(super) client: Client,
    pub(super) path: String,
    pub(super) started: Timestamp,
    pub(super) containers: BTreeMap<String, Container>,
    pub(super) pod: watch::Receiver<Option<Value>>,
    pub(super) versions: watch::Receiver<u64>,
    /// Whether the pod's end is somebody else's to report.
    pub(super) observing: bool,
    pub(super) _tasks: Tasks,
    // After the tasks: nothing may write below it once it is removed.
    pub(super) directory: Held,
}

impl RunningPod {
    /// The containers and init containers, by name.
    pub fn containers(&self) -> &BTreeMap<String, Container> {
        &self.containers
    }

    /// One container.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.get(name)
    }

    /// The pod's newest state; nothing once it is gone from the API.
    pub fn object(&self) -> Option<Value> {
        self.pod.borrow().clone()
    }

    /// The directory of the pod's volumes.
    pub fn directory(&self) -> &Path {
        self.directory.0.path()
    }

    /// Counts the volumes written since the start: a change means that some file has.
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.versions.clone()
    }

    /// Waits until the pod in the API is as wanted, and returns true; returns false once the pod is gone.
    pub async fn wait_for(&self, wanted: impl Fn(&Value) -> bool) -> bool {
        let mut pod = self.pod.clone();
        let reached = pod.wait_for(|pod| pod.as_ref().is_none_or(&wanted)).await;
        reached.is_ok_and(|pod| pod.is_some())
    }

    /// Waits until the pod is gone from the API, or is being deleted.
    pub async fn deleted(&self) {
        let mut pod = self.pod.clone();
        let going = |pod: &Option<Value>| pod.as_ref().is_none_or(is_being_deleted);
        // An error says that the pod is no longer followed, which only happens after it is gone.
        let _ = pod.wait_for(going).await;
    }

    /// Reports the end of the containers, releases the pod and removes its files. A pod that is being deleted is then
    /// deleted with grace 0, as a kubelet does after the containers have stopped. It is no error if the pod is gone
    /// already.
    ///
    /// # Errors
    /// [`KubeletError::Api`] if the status could not be told, or the pod not be deleted; the files are removed all
    /// the same.
    pub async fn stop(self, outcome: &Outcome) -> Result<(), KubeletError> {
        let Some(object) = self.object().filter(|_| !self.observing) else { return Ok(()) };
        let patch = status::ended(&object, outcome, self.started, Timestamp::now());
        if let Err(error) = tell(&self.client, &self.path, &patch).await {
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

/// Returns whether the API says that a pod is being deleted.
fn is_being_deleted(pod: &Value) -> bool {
    pod.pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string)
}

fn unless_gone(error: KubeletError) -> Result<(), KubeletError> {
    match error {
        KubeletError::Api { source, .. } if source.is_about_another() => Ok(()),
        error => Err(error),
    }
}

/// Tasks that end with what they serve.
#[derive(Debug)]
pub(super) struct Tasks(pub(super) [AbortHandle; 2]);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// A directory that is removed with what it serves.
#[derive(Debug)]
pub(super) struct Held(pub(super) Directory);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.remove();
    }
}
