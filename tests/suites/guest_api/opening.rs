//! Opening a collection: known types, and the errors of unknown types.

use serde_json::{Value, json};

use super::{DEMO, Stage};

const NAMESPACES: &str = "v1/namespaces";
/// The pod's own namespace, as an object.
const OWN: &str =
    r#"{api: [{apiGroups: [""], resources: [namespaces], verbs: [get, create, patch], namespaces: [demo]}]}"#;

async fn open(stage: &Stage, spec: &str, of: &str, namespace: &str) -> Value {
    let (_, out) = stage.run("api-calls", spec, &["open", of, namespace]).await;
    serde_json::from_str(&out).unwrap()
}

#[tokio::test]
async fn the_pods_own_namespace_is_an_object_as_any_other() {
    let stage = Stage::new();
    let own = stage.call(OWN, &["get", NAMESPACES, "-", "demo"]).await;
    assert_eq!((&own["ok"]["kind"], &own["ok"]["metadata"]["name"]), (&json!("Namespace"), &json!("demo")));
    let labels = r#"{"metadata":{"labels":{"tried":"yes"}}}"#;
    for words in [["patch", "merge", NAMESPACES, "-", "demo", labels], ["apply", NAMESPACES, "-", "demo", labels, "me"]]
    {
        let patched = stage.call(OWN, &words).await;
        assert_eq!(patched["ok"]["metadata"]["labels"]["tried"], "yes", "{patched}");
    }
    for words in [
        &["get", NAMESPACES, "-", "default"][..],
        &["delete", NAMESPACES, "-", "demo"],
        &["delete-all", NAMESPACES, "-", "", ""],
    ] {
        assert_eq!(stage.call(OWN, words).await["error"], "denied", "{words:?}");
    }
}

#[tokio::test]
async fn namespaces_are_in_no_namespace() {
    let stage = Stage::new();
    let answer = open(&stage, OWN, NAMESPACES, "demo").await;
    assert_eq!(answer["error"], "invalid", "{answer}");
    assert_eq!(open(&stage, OWN, NAMESPACES, "-").await, json!({"ok": null}));
    assert_eq!(stage.asked(), [], "nothing was asked");
}

#[tokio::test]
async fn what_is_not_open_at_all_is_told_with_a_rule_that_opens_little() {
    let stage = Stage::new();
    let denied = open(&stage, DEMO, "v1/secrets", "demo").await;
    let said = "nothing is granted on secrets in namespace demo; it needs a rule such as {apiGroups: [\"\"], \
                resources: [secrets], verbs: [get], namespaces: [demo]}, with the verbs that are used";
    assert_eq!((&denied["error"], denied["message"].as_str()), (&json!("denied"), Some(said)));
    assert_eq!(open(&stage, DEMO, NAMESPACES, "-").await, json!({"ok": null}));
    // It is recorded as any refusal is.
    let lines = stage.lines();
    assert_eq!(
        (lines.len(), lines[0].verdict, lines[0].path.as_str()),
        (1, "denied", "/api/v1/namespaces/demo/secrets")
    );
}

#[tokio::test]
async fn asking_around_spends_the_rate() {
    let stage = Stage::new();
    let poor = OWN.replace("}]}", "}], limits: {requestsPerSecond: 1, burst: 2}}");
    let (_, out) = stage.run("api-calls", &poor, &["repeat", "3", "open", "v1/pods", "demo"]).await;
    let errors = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["error"].clone());
    assert_eq!(errors.collect::<Vec<_>>(), ["denied", "denied", "throttled"]);
}
