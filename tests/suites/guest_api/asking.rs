//! Asking what one may do, and what types there are.

use attache_devcluster::Fault;
use serde_json::{Value, json};

use super::{DEMO, Stage, widgets};

async fn may(stage: &Stage, spec: &str, words: [&str; 4]) -> Value {
    let answer = stage.call(spec, &[&["can-i"][..], &words].concat()).await;
    answer.get("ok").cloned().unwrap_or(answer)
}

#[tokio::test]
async fn the_grant_is_asked_first_and_then_the_server() {
    let stage = Stage::new();
    let table = [
        (["get", "v1/configmaps", "demo", "-"], true),
        (["deletecollection", "v1/configmaps", "demo", "-"], true),
        (["create", "v1/pods:eviction", "demo", "-"], true),
        (["update", "apps/v1/deployments:scale", "demo", "web"], true),
        // The grant has no such namespace, and nothing of secrets.
        (["get", "v1/configmaps", "default", "-"], false),
        (["get", "v1/configmaps", "-", "-"], false),
        (["get", "v1/secrets", "demo", "hidden"], false),
        // The grant's star covers them, the service account may not.
        (["get", "v1/endpoints", "demo", "-"], false),
        (["delete", "networking.k8s.io/v1/ingresses", "demo", "web"], false),
    ];
    for (words, expected) in table {
        assert_eq!(may(&stage, DEMO, words).await, json!(expected), "{words:?}");
    }
}

#[tokio::test]
async fn a_verb_is_a_short_word() {
    let stage = Stage::new();
    for verb in [&"a".repeat(64), "Get", "", "get list"] {
        let answer = may(
            &stage,
            r#"{api: [{apiGroups: ["*"], resources: ["*"], verbs: ["*"], namespaces: [demo]}]}"#,
            [verb, "v1/configmaps", "demo", "-"],
        )
        .await;
        assert_eq!(answer["error"], "invalid", "{answer}");
    }
}

#[tokio::test]
async fn a_rule_for_some_names_does_not_answer_for_all() {
    let stage = Stage::new();
    let named =
        r#"{api: [{apiGroups: [""], resources: [configmaps], verbs: [get], namespaces: [demo], resourceNames: [a]}]}"#;
    for (name, expected) in [("a", true), ("b", false), ("-", false)] {
        assert_eq!(may(&stage, named, ["get", "v1/configmaps", "demo", name]).await, json!(expected), "{name}");
    }
}

#[tokio::test]
async fn the_question_is_recorded_as_the_hosts_and_what_the_grant_denies_is_not_asked() {
    let stage = Stage::new();
    may(&stage, DEMO, ["get", "v1/configmaps", "default", "-"]).await;
    assert_eq!(stage.lines(), []);
    may(&stage, DEMO, ["get", "v1/configmaps", "demo", "-"]).await;
    let [line] = stage.lines().try_into().unwrap();
    assert_eq!((line.extension.as_str(), line.way, line.verb.as_str()), ("attache", "host", "create"));
    assert_eq!(line.path, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
}

#[tokio::test]
async fn a_question_that_is_none_is_invalid() {
    let stage = Stage::new();
    for words in [
        ["GET", "v1/configmaps", "demo", "-"],
        ["", "v1/configmaps", "demo", "-"],
        ["get", "v1/configmaps", "demo", "a/b"],
        ["get", "v1/configmaps", "Demo!", "-"],
    ] {
        let answer = may(&stage, DEMO, words).await;
        assert_eq!(answer["error"], "invalid", "{words:?}: {answer}");
    }
    assert_eq!(stage.lines(), []);
}

#[tokio::test]
async fn asking_costs_of_the_guests_own_rate() {
    let stage = Stage::new();
    let poor = r#"{api: [{apiGroups: [""], resources: [configmaps], verbs: [get], namespaces: [demo]}],
        limits: {requestsPerSecond: 1, burst: 1}}"#;
    let words = ["repeat", "2", "can-i", "get", "v1/configmaps", "demo", "-"];
    let (_, out) = stage.run("api-writes", poor, &words).await;
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["ok"], &lines[1]["error"]), (&json!(true), &json!("throttled")), "{out}");
}

async fn resolve(stage: &Stage, name: &str) -> Value {
    let (_, out) = stage.run("api-calls", DEMO, &["resolve", name]).await;
    serde_json::from_str(&out).unwrap()
}

#[tokio::test]
async fn a_type_is_found_by_any_of_its_names_as_soon_as_it_is_there() {
    let stage = Stage::new();
    for name in ["deploy", "Deployment", "deployments", "deployment", "apps/deploy", "deployments.v1.apps"] {
        assert_eq!(resolve(&stage, name).await["ok"]["of"], "apps/v1/deployments", "{name}");
    }
    let stage = stage.with([widgets()]);
    for name in ["wg", "Widget", "widget", "widgets.example.com", "widgets.v1.example.com"] {
        assert_eq!(resolve(&stage, name).await["ok"]["of"], "example.com/v1/widgets", "{name}");
    }
}

#[tokio::test]
async fn an_ambiguous_name_is_said_to_be_and_its_meanings_are_listed() {
    let mut other = widgets();
    other["metadata"]["name"] = "widgets.example.org".into();
    other["spec"]["group"] = "example.org".into();
    let stage = Stage::new().with([widgets(), other]);
    let answer = resolve(&stage, "widgets").await;
    assert_eq!(answer["error"], "invalid");
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("widgets.v1.example.com") && message.contains("widgets.v1.example.org"), "{message}");
    assert_eq!(resolve(&stage, "widgets.example.org").await["ok"]["of"], "example.org/v1/widgets");
    let unknown = resolve(&stage, "gadgets").await;
    assert_eq!(unknown["error"], "invalid", "{unknown}");
}

#[tokio::test]
async fn an_hour_of_the_servers_that_comes_after_the_runs_end_is_told_at_once() {
    let stage = Stage::new();
    let spec = r#"{api: [{apiGroups: [""], resources: [configmaps], verbs: [get, create], namespaces: [demo]}],
                   limits: {deadline: 10s}}"#;
    stage.server.faults().always(Fault::TooManyRequests(20), "/api/v1/namespaces/demo/configmaps");
    let (outcome, out) = stage.run("api-calls", spec, &["get", "v1/configmaps", "demo", "a"]).await;
    assert!(outcome.is_ok() && out.contains("429"), "{outcome:?}: {out}");
    let written = stage.call(spec, &["create", "v1/configmaps", "demo", r#"{"metadata":{"name":"a"}}"#]).await;
    assert_eq!(written["code"], 429, "{written}");
    let path = "/api/v1/namespaces/demo/configmaps/a";
    let (outcome, out) = stage.run("http-calls", spec, &["GET", "https", "kubernetes", path]).await;
    assert!(outcome.is_ok() && out.contains("\"status\":429"), "{outcome:?}: {out}");
}
