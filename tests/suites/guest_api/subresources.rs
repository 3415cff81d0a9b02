//! Parts of objects, and acts on them.

use serde_json::{Value, json};

use super::{DEMO, Stage};

const PODS: &str = "v1/pods";
const DEPLOYMENTS: &str = "apps/v1/deployments";

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "demo"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn deployment() -> Value {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "demo"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}})
}

#[tokio::test]
async fn a_status_is_written_without_the_rest() {
    let stage = Stage::new().with([pod("p")]);
    let patch = r#"{"metadata":{"labels":{"x":"y"}},"spec":{"nodeName":"n"},"status":{"message":"hello"}}"#;
    let patched = stage.done(&["patch", "merge", PODS, "demo", "p", patch, "--in", "status"]).await;
    assert_eq!(patched["status"]["message"], "hello");
    assert!(patched["spec"]["nodeName"].is_null(), "{patched}");
    let mut whole = stage.done(&["get", PODS, "demo", "p"]).await;
    whole["status"]["reason"] = "Because".into();
    let replaced = stage.done(&["replace", PODS, "demo", "p", &whole.to_string(), "--in", "status"]).await;
    assert_eq!(replaced["status"]["reason"], "Because");
    let stale = stage.refused(&["replace", PODS, "demo", "p", &whole.to_string(), "--in", "status"]).await;
    assert_eq!(stale["case"], "Conflict");
}

#[tokio::test]
async fn a_scale_is_read_replaced_and_patched() {
    let stage = Stage::new().with([deployment()]);
    let scale = stage.done(&["get", DEPLOYMENTS, "demo", "d", "--in", "scale"]).await;
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(1)));
    let three = stage.done(&["replace", DEPLOYMENTS, "demo", "d", r#"{"spec":{"replicas":3}}"#, "--in", "scale"]).await;
    assert_eq!(three["spec"]["replicas"], 3);
    stage.done(&["patch", "merge", DEPLOYMENTS, "demo", "d", r#"{"spec":{"replicas":5}}"#, "--in", "scale"]).await;
    assert_eq!(stage.done(&["get", DEPLOYMENTS, "demo", "d"]).await["spec"]["replicas"], 5);
    let wrong = stage.refused(&["replace", DEPLOYMENTS, "demo", "d", &deployment().to_string(), "--in", "scale"]).await;
    assert_eq!(wrong["error"], "invalid", "{wrong}");
}

#[tokio::test]
async fn an_eviction_names_its_pod() {
    let stage = Stage::new().with([pod("p"), pod("q")]);
    stage.done(&["create", PODS, "demo", r#"{"metadata":{"name":"p"}}"#, "--in", "eviction", "--dry-run"]).await;
    stage.done(&["get", PODS, "demo", "p"]).await;
    stage.done(&["create", PODS, "demo", r#"{"metadata":{"name":"p"}}"#, "--in", "eviction"]).await;
    assert_eq!(stage.refused(&["get", PODS, "demo", "p"]).await["case"], "NotFound");
    let nameless = stage.refused(&["create", PODS, "demo", "{}", "--in", "eviction"]).await;
    assert_eq!(nameless["error"], "invalid", "{nameless}");
    let elsewhere = r#"{"metadata":{"name":"q","namespace":"other"}}"#;
    let refused = stage.refused(&["create", PODS, "demo", elsewhere, "--in", "eviction"]).await;
    assert_eq!(refused["error"], "invalid", "{refused}");
}

#[tokio::test]
async fn a_subresource_is_no_collection() {
    let stage = Stage::new().with([pod("p")]);
    let refused = stage.refused(&["delete-all", PODS, "demo", "", "", "--in", "status"]).await;
    assert_eq!(refused["error"], "invalid");
    assert_eq!(stage.asked(), [], "nothing was asked");
}

#[tokio::test]
async fn a_star_does_not_cover_tokens() {
    let stage = Stage::new();
    let words = ["create", "v1/serviceaccounts", "demo", r#"{"metadata":{"name":"ext"}}"#, "--in", "token"];
    let denied = stage.call(DEMO, &words).await;
    assert_eq!(denied["error"], "denied", "{denied}");
    assert!(denied["message"].as_str().unwrap().contains("serviceaccounts/token"), "{denied}");
    let named =
        r#"{api: [{apiGroups: [""], resources: [serviceaccounts/token], verbs: [create], namespaces: [demo]}]}"#;
    let token = stage.call(named, &words).await;
    assert_eq!(token["ok"]["kind"], "TokenRequest", "{token}");
}
