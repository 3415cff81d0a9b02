//! The manifests: read, judged, and loaded into the API server.

use anyhow::{Context, bail};
use attache::devcluster::DevCluster;
use attache::devcluster::manifest::{self, Document};
use attache::devcluster::validation;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The namespace of an object that names none, as with kubectl.
const DEFAULT_NAMESPACE: &str = "default";

/// Which pod to play.
pub(super) struct PodName {
    pub(super) namespace: String,
    pub(super) name: String,
    /// Whose place an extension takes if none is asked for.
    pub(super) first_container: String,
}

/// The objects, in the order in which they are loaded.
pub(super) struct Manifests {
    documents: Vec<Document>,
    pub(super) pod: Option<PodName>,
}

impl Manifests {
    /// Reads all files. The pod is the only one in its file; what stands beside it is loaded before it.
    pub(super) fn read(files: &[PathBuf], pod: Option<&Path>) -> anyhow::Result<Self> {
        let mut documents = Vec::new();
        for file in files {
            documents.extend(read(file)?);
        }
        let Some(file) = pod else { return Ok(Self { documents, pod: None }) };
        let (mut pods, others): (Vec<_>, Vec<_>) = read(file)?.into_iter().partition(is_pod);
        let name = match pods.as_slice() {
            [pod] => PodName::of(pod),
            [] => bail!("there is no Pod in {}: --pod takes the manifest of one", file.display()),
            [_, second, ..] => bail!("{}: a second Pod; --pod takes the manifest of one", second.place("kind")),
        };
        documents.extend(others);
        documents.append(&mut pods);
        Ok(Self { documents, pod: Some(name) })
    }

    /// Loads them as an administrator does with `kubectl create`.
    pub(super) fn load(&self, cluster: &DevCluster) -> anyhow::Result<()> {
        self.documents.iter().try_for_each(|document| {
            let loaded = cluster.load([document.object().clone()]);
            loaded.with_context(|| format!("{} is refused", document.place("")))
        })
    }
}

impl PodName {
    fn of(pod: &Document) -> Self {
        let namespace = if pod.namespace().is_empty() { DEFAULT_NAMESPACE } else { pod.namespace() };
        let first = pod.object().pointer("/spec/containers/0/name").and_then(Value::as_str);
        Self {
            namespace: namespace.to_owned(),
            name: pod.name().to_owned(),
            first_container: first.unwrap_or_default().to_owned(),
        }
    }
}

fn is_pod(document: &Document) -> bool {
    document.kind() == "Pod" && document.api_version() == "v1"
}

/// Reads a file and judges what is in it as the API server will, since only here is it known where each field stands.
fn read(file: &Path) -> anyhow::Result<Vec<Document>> {
    let documents = manifest::load([file])?;
    for document in &documents {
        validation::document(document)
            .with_context(|| format!("{} {:?} is refused", document.kind(), document.name()))?;
    }
    Ok(documents)
}
