//! The set-up of tests that play a manifest: pods and workloads in files, and `attache dev` for them.

use std::path::{Path, PathBuf};
use std::process::Command;

use attache_tests::guest;
use tempfile::TempDir;

use super::{command, end};

/// A container with its labels, annotations and name from the downward API.
pub(crate) const CONTAINER: &str = r"
      containers:
      - name: main
        image: registry.invalid/x:1
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        volumeMounts: [{name: podinfo, mountPath: /etc/podinfo}]
      volumes:
      - name: podinfo
        downwardAPI:
          items:
          - {path: labels, fieldRef: {fieldPath: metadata.labels}}
          - {path: annotations, fieldRef: {fieldPath: metadata.annotations}}
";

pub(crate) fn written(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    file
}

pub(crate) fn dev(pod: &Path) -> Command {
    let mut dev = command(["dev", "--pod"]);
    dev.arg(pod);
    dev
}

/// Returns a pod with this `spec`.
pub(crate) fn pod(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: tried, labels: {{app: web}}}}\nspec:{spec}")
}

/// Returns a pod template with that container, written after so many spaces. `more` stands before its containers.
pub(crate) fn template(indent: &str, more: &str) -> String {
    let text = format!("template:\n  metadata: {{labels: {{app: web}}}}\n  spec:{more}{CONTAINER}");
    text.lines().map(|line| format!("{indent}{line}\n")).collect()
}

/// Returns a workload whose spec is `spec` and a template.
pub(crate) fn workload(version: &str, kind: &str, spec: &str, template: &str) -> String {
    format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: web}}\nspec:\n{spec}{template}")
}

/// Returns the output of a guest that runs in place of the container.
pub(crate) fn told(file: &Path) -> String {
    end(dev(file).arg(guest("cat-labels")).args(["--", "--env"])).printed().to_owned()
}
