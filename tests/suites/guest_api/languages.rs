//! A file of the pod and three calls (identity, list, apply) from guests in other languages.

use attache_built::languages::{self, Example};
use serde_json::{Value, json};

use super::Stage;

/// An interpreter comes with each: it is larger and slower to begin than a guest in Rust.
const SPEC: &str = r#"{podinfo: {mountPath: /etc/podinfo}, env: [POD_NAME, POD_NAMESPACE], api: [
    {apiGroups: [""], resources: [pods], verbs: [list], namespaces: [demo]},
    {apiGroups: [""], resources: [configmaps], verbs: [create, patch], namespaces: [demo]}],
    limits: {memory: 256Mi, deadline: 1m, cpu: 30s}}"#;

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "demo"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

async fn greets(example: Example, greeting: &str) {
    let Some(guest) = example.ready().unwrap() else { return };
    // Compiling an interpreter takes the better part of a minute, so it is kept from one run of the tests to the next.
    let stage = Stage::keeping(&languages::folder().join("artefacts")).with([pod("web-0"), pod("web-1")]);
    let (outcome, out) = stage.run_file(&guest, SPEC, &[]).await;
    assert_eq!(outcome.unwrap().code, 0, "{out}");
    assert!(out.contains("I am web-0 in demo") && out.contains("pods: web-0, web-1"), "{out}");
    let name = format!("hello-from-{}", example.language.name());
    let stored = stage.done(&["get", "v1/configmaps", "demo", &name]).await;
    assert_eq!(stored["data"]["greeting"], greeting);
    assert_eq!(stored["metadata"]["managedFields"][0]["manager"], "hello-pod");
    assert!(out.contains("labels: tier=\"web\""), "{out}");

    // Without the last rule, the guest prints the rule that the error names.
    let less = SPEC.replace("verbs: [create, patch]", "verbs: [get]");
    let (outcome, out) = stage.run_file(&guest, &less, &[]).await;
    assert_eq!(outcome.unwrap().code, 1, "{out}");
    assert!(out.contains("verbs: [create, patch]"), "{out}");

    // Without the mount, there is no such file.
    let less = SPEC.replace("podinfo: {mountPath: /etc/podinfo}, ", "");
    let (outcome, out) = stage.run_file(&guest, &less, &[]).await;
    assert_eq!(outcome.unwrap().code, 0, "{out}");
    assert!(out.contains("labels: none ("), "{out}");
}

#[tokio::test]
async fn a_guest_in_python_makes_the_three_calls() {
    greets(Example::HELLO_PYTHON, "hello from Python, web-0").await;
}

#[tokio::test]
async fn a_guest_in_javascript_makes_the_three_calls() {
    greets(Example::HELLO_JAVASCRIPT, "hello from JavaScript, web-0").await;
}
