//! The manifests: read, judged, and loaded into the API server.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use attache_devcluster::DevCluster;
use attache_devcluster::controllers;
use attache_devcluster::kubelet::NODE_NAME;
use attache_devcluster::manifest::{self, Document};
use attache_devcluster::validation;
use jiff::Timestamp;
use serde_json::Value;

/// The played pod, as the API server stores it.
pub(super) struct PodName {
    pub(super) namespace: String,
    pub(super) name: String,
    /// The container that an extension replaces by default.
    pub(super) first_container: String,
}

/// The objects, in the order in which they are loaded.
pub(super) struct Manifests {
    documents: Vec<Document>,
    /// A Pod, or an object with a template from which a controller creates pods.
    played: Option<Document>,
}

impl Manifests {
    /// Reads all files. The pod to play is the only pod in its file, or comes from the only pod template there. Other
    /// objects in the file are loaded before it.
    pub(super) fn read(files: &[PathBuf], pod: Option<&Path>) -> anyhow::Result<Self> {
        let mut documents = Vec::new();
        for file in files {
            documents.extend(read(file)?);
        }
        let Some(file) = pod else { return Ok(Self { documents, played: None }) };
        let mut beside = read(file)?;
        let played = beside.remove(position(&beside, file)?);
        documents.extend(beside);
        Ok(Self { documents, played: Some(played) })
    }

    /// Loads the objects as an administrator does with `kubectl create`, and creates the pod to play as its controllers
    /// would.
    pub(super) fn load(&self, cluster: &DevCluster) -> anyhow::Result<Option<PodName>> {
        for document in &self.documents {
            cluster.load_document(document)?;
        }
        let Some(document) = &self.played else { return Ok(None) };
        let mut played = cluster.load_document(document)?;
        while let Some(child) = controllers::first_child(&played, NODE_NAME, Timestamp::now()) {
            let kind = child["kind"].as_str().unwrap_or_default().to_owned();
            let made = cluster.load_one(child);
            played = made.with_context(|| format!("the {kind} of {} is refused", document.location("")))?;
        }
        Ok(Some(PodName::of(&played)))
    }
}

/// Reads the only object of a file, which must be a Pod: an object in another user's cluster is created and deleted
/// with the run.
pub(super) fn alone(file: &Path) -> anyhow::Result<Value> {
    let documents = read(file)?;
    if let [pod] = documents.as_slice()
        && is_pod(pod)
    {
        return Ok(pod.object().clone());
    }
    if let Some(maker) = documents.iter().find(|document| makes_pods(document)) {
        bail!(
            "{}: in a cluster that is there only a Pod is played, and this is a {kind}: the cluster's own controllers would make \
             the pods of a {kind}, and nodes would run them. Give the manifest of a Pod; one that is there already is \
             played as it is stored",
            maker.location("kind"),
            kind = maker.kind(),
        )
    }
    bail!(
        "{} is to hold one Pod and nothing else, for a cluster that is there: apply the others with kubectl",
        file.display()
    )
}

/// Returns the index of the document to play: a Pod if there is one, else an object that creates pods.
fn position(documents: &[Document], file: &Path) -> anyhow::Result<usize> {
    let all = |fits: fn(&Document) -> bool| -> Vec<usize> {
        documents.iter().enumerate().filter(|(_, document)| fits(document)).map(|(index, _)| index).collect()
    };
    let (pods, makers) = (all(is_pod), all(makes_pods));
    let second =
        |index: usize| documents.get(index).map(|document| document.location("kind").to_string()).unwrap_or_default();
    match (pods.as_slice(), makers.as_slice()) {
        ([pod], _) => Ok(*pod),
        ([_, other, ..], _) => bail!("{}: a second Pod; --pod takes the manifest of one", second(*other)),
        ([], [maker]) => Ok(*maker),
        ([], [_, other, ..]) => bail!("{}: a second pod template; --pod takes the manifest of one", second(*other)),
        ([], []) => bail!(
            "there is no Pod in {}, nor an object with a pod template: --pod takes the manifest of one",
            file.display()
        ),
    }
}

impl PodName {
    pub(super) fn of(pod: &Value) -> Self {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
            first_container: text("/spec/containers/0/name"),
        }
    }
}

fn is_pod(document: &Document) -> bool {
    document.kind() == "Pod" && document.api_version() == "v1"
}

fn makes_pods(document: &Document) -> bool {
    controllers::makes_pods(document.api_version(), document.kind())
}

/// Returns a document's kind and name, or kind and `generateName`, for messages.
fn called(document: &Document) -> String {
    let kind = document.kind();
    let generated = document.object().pointer("/metadata/generateName").and_then(Value::as_str).unwrap_or_default();
    match (document.name(), generated) {
        ("", "") => format!("a {kind} without a name"),
        ("", generated) => format!("{kind} with the generateName {generated:?}"),
        (name, _) => format!("{kind} {name:?}"),
    }
}

/// Reads a file and validates its objects as the API server will, because only here the position of each field is
/// known.
fn read(file: &Path) -> anyhow::Result<Vec<Document>> {
    let documents = manifest::load([file])?;
    for document in &documents {
        validation::document(document).with_context(|| format!("{} is refused", called(document)))?;
    }
    Ok(documents)
}
