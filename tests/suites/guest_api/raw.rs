//! Raw requests by the SDK: the same gate, and bodies that stream.

use serde_json::{Value, json};

use super::{DEMO, Stage, config_map};

/// Sends a request, and returns the first line of the output, which is the status, and the rest.
async fn ask(stage: &Stage, spec: &str, words: &[&str]) -> (String, String) {
    let (_, out) = stage.run("http-sdk", spec, words).await;
    let (head, body) = out.split_once('\n').unwrap_or((&out, ""));
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_path_alone_is_one_of_the_api_servers() {
    let stage = Stage::new().with([config_map("a", json!({"k": "v"}))]);
    for uri in ["/api/v1/namespaces/demo/configmaps/a", "https://kubernetes/api/v1/namespaces/demo/configmaps/a"] {
        let (head, body) = ask(&stage, DEMO, &["GET", uri]).await;
        assert_eq!(head, "200 application/json");
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["data"]["k"], "v");
    }
}

#[tokio::test]
async fn a_body_is_sent_whole() {
    let stage = Stage::new();
    // More than is written at once.
    let long = "x".repeat(50_000);
    let body = config_map("b", json!({"k": long})).to_string();
    let (head, _) = ask(&stage, DEMO, &["POST", "/api/v1/namespaces/demo/configmaps", &body]).await;
    assert_eq!(head, "201 application/json");
    let stored = stage.done(&["get", "v1/configmaps", "demo", "b"]).await;
    assert_eq!(stored["data"]["k"].as_str().map(str::len), Some(long.len()));
}

#[tokio::test]
async fn a_log_is_read_and_a_watch_is_followed_line_by_line() {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "demo"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    pod["metadata"]["annotations"] = json!({"devcluster.attache.dev/log": "one\ntwo\nthree"});
    let stage = Stage::new().with([pod, config_map("a", json!({}))]);
    let logs = r#"{api: [{apiGroups: [""], resources: [pods/log, pods], verbs: [get, watch], namespaces: [demo]}]}"#;
    let (head, body) = ask(&stage, logs, &["GET", "/api/v1/namespaces/demo/pods/p/log"]).await;
    assert!(head.starts_with("200 text/plain") && body == "one\ntwo\nthree\n", "{head} {body}");
    let watch = ["GET", "/api/v1/namespaces/demo/pods?watch=true&resourceVersion=0", "--lines", "1"];
    let (head, body) = ask(&stage, logs, &watch).await;
    assert_eq!(head, "200 application/json");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["type"], "ADDED", "{body}");
}

#[tokio::test]
async fn what_the_grant_denies_is_told_as_the_server_would() {
    let stage = Stage::new();
    let (head, body) = ask(&stage, DEMO, &["GET", "/api/v1/namespaces/default/configmaps"]).await;
    assert_eq!(head, "403 application/json");
    assert!(body.contains("needs the rule"), "{body}");
    let (head, _) = ask(&stage, DEMO, &["GET", "https://example.com/"]).await;
    assert_eq!(head, "error: the grant does not open this destination");
}
