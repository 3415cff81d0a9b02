//! Each kind of write, and the stored object after it.

use serde_json::{Value, json};

use super::{Stage, config_map, widgets};

const MAPS: &str = "v1/configmaps";

#[tokio::test]
async fn an_object_is_created_and_read_back() {
    let stage = Stage::new();
    let made = stage.done(&["create", MAPS, "demo", r#"{"metadata":{"name":"a"},"data":{"k":"v"}}"#]).await;
    assert_eq!((&made["kind"], &made["data"]["k"]), (&json!("ConfigMap"), &json!("v")));
    let read = stage.done(&["get", MAPS, "demo", "a"]).await;
    assert_eq!(read, made);
    // Who wrote it stands in the object: the extension, by its grant's name.
    assert_eq!(made["metadata"]["managedFields"][0]["manager"], "tried");
}

#[tokio::test]
async fn a_name_is_made_up_from_its_stem() {
    let stage = Stage::new();
    let made = stage.done(&["create", MAPS, "demo", r#"{"metadata":{"generateName":"a-"}}"#]).await;
    assert!(made["metadata"]["name"].as_str().unwrap().len() > 2, "{made}");
}

#[tokio::test]
async fn an_object_is_replaced_unless_somebody_was_faster() {
    let stage = Stage::new().with([config_map("a", json!({"k": "1"}))]);
    let first = stage.done(&["get", MAPS, "demo", "a"]).await;
    let with = |value: &str| {
        let mut object = first.clone();
        object["data"]["k"] = value.into();
        object.to_string()
    };
    let second = stage.done(&["replace", MAPS, "demo", "a", &with("2")]).await;
    assert_eq!(second["data"]["k"], "2");
    let late = stage.refused(&["replace", MAPS, "demo", "a", &with("3")]).await;
    assert_eq!((&late["case"], &late["reason"], &late["code"]), (&json!("Conflict"), &json!("Conflict"), &json!(409)));
    let status = &late["body"];
    assert_eq!((&status["kind"], &status["details"]["name"]), (&json!("Status"), &json!("a")), "{late}");
    // Without a resourceVersion the last write wins. Type and name are filled in.
    let last = stage.done(&["replace", MAPS, "demo", "a", r#"{"data":{"k":"4"}}"#]).await;
    assert_eq!((&last["kind"], &last["data"]["k"]), (&json!("ConfigMap"), &json!("4")));
}

#[tokio::test]
async fn each_form_of_patch_does_what_it_is_for() {
    let container = |name: &str| json!({"name": name, "image": name});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container("one")]}});
    let stage = Stage::new().with([
        config_map("a", json!({"keep": "1", "drop": "2"})),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "demo"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}),
    ]);
    let merged = stage.done(&["patch", "merge", MAPS, "demo", "a", r#"{"data":{"drop":null,"new":"3"}}"#]).await;
    assert_eq!(merged["data"], json!({"keep": "1", "new": "3"}));
    let operations = r#"[{"op":"test","path":"/data/new","value":"3"},{"op":"remove","path":"/data/new"}]"#;
    let patched = stage.done(&["patch", "json", MAPS, "demo", "a", operations]).await;
    assert_eq!(patched["data"], json!({"keep": "1"}));
    let again = stage.refused(&["patch", "json", MAPS, "demo", "a", operations]).await;
    assert_eq!((&again["code"], &again["reason"]), (&json!(422), &json!("Invalid")), "{again}");
    let added = r#"{"spec":{"template":{"spec":{"containers":[{"name":"two","image":"two"}]}}}}"#;
    let both = stage.done(&["patch", "strategic", "apps/v1/deployments", "demo", "d", added]).await;
    assert_eq!(both["spec"]["template"]["spec"]["containers"].as_array().map(Vec::len), Some(2), "{both}");
}

#[tokio::test]
async fn an_apply_creates_and_keeps_off_what_others_own_unless_forced() {
    let stage = Stage::new();
    let mine = stage.done(&["apply", MAPS, "demo", "a", r#"{"data":{"k":"mine"}}"#, "me"]).await;
    assert_eq!(mine["data"]["k"], "mine");
    let theirs = [MAPS, "demo", "a", r#"{"data":{"k":"theirs"}}"#, "them"];
    let conflict = stage.refused(&[&["apply"][..], &theirs].concat()).await;
    assert_eq!((&conflict["case"], &conflict["code"]), (&json!("Conflict"), &json!(409)), "{conflict}");
    let cause = &conflict["body"]["details"]["causes"][0];
    assert!(cause["message"].as_str().unwrap().contains("me") && cause["field"] == ".data.k", "{conflict}");
    let forced = stage.done(&[&["apply"][..], &theirs, &["--force"]].concat()).await;
    assert_eq!(forced["data"]["k"], "theirs");
    let managers: Vec<_> = forced["metadata"]["managedFields"].as_array().unwrap().iter().collect();
    assert!(managers.iter().any(|entry| entry["manager"] == "them" && entry["operation"] == "Apply"), "{forced}");
}

#[tokio::test]
async fn an_apply_says_what_was_meant_to_a_parser_of_yaml() {
    let stage = Stage::new();
    for text in
        [r"\ud83d\ude00", "😀", r"a\u007f\u0085\u2028\ufeff\u0000b", "a\u{7f}\u{85}\u{2028}\u{2029}\u{feff}\u{ffff}b"]
    {
        let object = format!("{{\"data\"\n:\t{{\"k\": \"{text}\"}}}}");
        let meant: Value = serde_json::from_str(&object).unwrap();
        let stored = stage.done(&["apply", MAPS, "demo", "a", &object, "me", "--force"]).await;
        assert_eq!(stored["data"], meant["data"], "{text}");
    }
    let half = stage.refused(&["apply", MAPS, "demo", "a", r#"{"data":{"k":"\ud83d"}}"#, "me"]).await;
    assert_eq!(half["error"], "invalid", "{half}");
}

#[tokio::test]
async fn deletes_take_what_they_name_and_no_more() {
    let labelled = |name: &str, app: &str| {
        let mut object = config_map(name, json!({}));
        object["metadata"]["labels"] = json!({"app": app});
        object
    };
    let stage = Stage::new().with([labelled("a", "x"), labelled("b", "x"), labelled("c", "x"), labelled("d", "y")]);
    stage.done(&["delete", MAPS, "demo", "a"]).await;
    let gone = stage.refused(&["delete", MAPS, "demo", "a"]).await;
    assert_eq!((&gone["case"], &gone["code"]), (&json!("NotFound"), &json!(404)));
    stage.done(&["delete-all", MAPS, "demo", "app=x", "metadata.name=b"]).await;
    stage.refused(&["get", MAPS, "demo", "b"]).await;
    stage.done(&["get", MAPS, "demo", "c"]).await;
    stage.done(&["delete-all", MAPS, "demo", "app=x", ""]).await;
    stage.refused(&["get", MAPS, "demo", "c"]).await;
    stage.done(&["get", MAPS, "demo", "d"]).await;
    let verbs: Vec<_> = stage.asked().into_iter().map(|(verb, _)| verb).collect();
    assert!(verbs.contains(&"deletecollection".to_owned()), "{verbs:?}");
}

#[tokio::test]
async fn only_what_was_meant_is_deleted() {
    let stage = Stage::new().with([config_map("a", json!({}))]);
    let read = stage.done(&["get", MAPS, "demo", "a"]).await;
    let text = |field: &str| read["metadata"][field].as_str().unwrap().to_owned();
    let (uid, version) = (text("uid"), text("resourceVersion"));
    stage.done(&["patch", "merge", MAPS, "demo", "a", r#"{"data":{"k":"v"}}"#]).await;
    for other in [["--uid", "00000000-0000-0000-0000-000000000000"], ["--version", &version]] {
        let refused = stage.refused(&[&["delete", MAPS, "demo", "a"][..], &other].concat()).await;
        assert_eq!((&refused["case"], &refused["code"]), (&json!("Conflict"), &json!(409)), "{refused}");
    }
    stage.done(&["delete", MAPS, "demo", "a", "--uid", &uid, "--dry-run"]).await;
    stage.done(&["delete", MAPS, "demo", "a", "--uid", &uid]).await;
    assert_eq!(stage.refused(&["get", MAPS, "demo", "a"]).await["case"], "NotFound");
}

#[tokio::test]
async fn a_pod_that_is_given_no_time_to_stop_is_gone_at_once() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "demo"},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
    let stage = Stage::new().with([pod]);
    stage.done(&["delete", "v1/pods", "demo", "p", "--grace", "0"]).await;
    assert_eq!(stage.refused(&["get", "v1/pods", "demo", "p"]).await["case"], "NotFound");
}

#[tokio::test]
async fn what_was_deleted_is_deleted_however_long_the_answer_is() {
    let narrow = super::DEMO.replace("}]}", "}], limits: {responseBytes: 4Ki}}");
    let large = |name: &str| config_map(name, json!({"x": "x".repeat(3000)}));
    let mut held = config_map("held", json!({"x": "x".repeat(5000)}));
    held["metadata"]["finalizers"] = json!(["example.com/held"]);
    let stage = Stage::new().with([large("a"), large("b"), held]);
    // What waits for its finalizer is answered with the whole object.
    for words in [&["delete", MAPS, "demo", "held"][..], &["delete-all", MAPS, "demo", "", ""]] {
        assert_eq!(stage.call(&narrow, words).await, json!({"ok": null}), "{words:?}");
    }
    assert_eq!(stage.refused(&["get", MAPS, "demo", "a"]).await["case"], "NotFound");
    assert!(stage.done(&["get", MAPS, "demo", "held"]).await["metadata"]["deletionTimestamp"].is_string());
    // A refusal keeps the server's message.
    let gone = stage.call(&narrow, &["delete", MAPS, "demo", "a"]).await;
    assert_eq!((&gone["case"], &gone["body"]["details"]["name"]), (&json!("NotFound"), &json!("a")), "{gone}");
}

#[tokio::test]
async fn what_is_deleted_lies_in_a_namespace_if_its_type_does() {
    let stage = Stage::new().with([config_map("a", json!({}))]);
    let all = r#"{api: [{apiGroups: ["*"], resources: ["*"], verbs: ["*"], namespaces: ["*"]}]}"#;
    for words in
        [&["delete", MAPS, "-", "a"][..], &["delete-all", MAPS, "-", "", ""], &["delete", "v1/nodes", "demo", "n"]]
    {
        let invalid = stage.call(all, words).await;
        assert_eq!(invalid["error"], "invalid", "{words:?}: {invalid}");
    }
    assert_eq!(stage.asked(), [], "nothing was asked");
}

#[tokio::test]
async fn what_a_deleted_object_owns_goes_or_stays_as_was_asked() {
    for (propagation, stays) in [("orphan", true), ("background", false), ("foreground", false)] {
        let stage = Stage::new().with([config_map("owner", json!({}))]);
        let owner = stage.done(&["get", MAPS, "demo", "owner"]).await;
        let mut owned = config_map("owned", json!({}));
        owned["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner",
            "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true}]);
        stage.done(&["create", MAPS, "demo", &owned.to_string()]).await;
        stage.done(&["delete", MAPS, "demo", "owner", "--propagation", propagation]).await;
        let left = stage.call(super::DEMO, &["get", MAPS, "demo", "owned"]).await;
        assert_eq!(left.get("ok").is_some(), stays, "{propagation}: {left}");
    }
}

#[tokio::test]
async fn a_dry_run_is_answered_and_stores_nothing() {
    let stage = Stage::new().with([config_map("a", json!({"k": "1"}))]);
    let made = stage.done(&["create", MAPS, "demo", r#"{"metadata":{"name":"b"}}"#, "--dry-run"]).await;
    assert_eq!(made["metadata"]["name"], "b");
    stage.refused(&["get", MAPS, "demo", "b"]).await;
    let taken = stage.refused(&["create", MAPS, "demo", r#"{"metadata":{"name":"a"}}"#, "--dry-run"]).await;
    assert_eq!(taken["case"], "AlreadyExists");
    let patch = r#"{"data":{"k":"2"}}"#;
    let patched = stage.done(&["patch", "merge", MAPS, "demo", "a", patch, "--dry-run"]).await;
    assert_eq!(patched["data"]["k"], "2");
    stage.done(&["replace", MAPS, "demo", "a", patch, "--dry-run"]).await;
    stage.done(&["apply", MAPS, "demo", "a", patch, "me", "--force", "--dry-run"]).await;
    stage.done(&["delete", MAPS, "demo", "a", "--dry-run"]).await;
    stage.done(&["delete-all", MAPS, "demo", "", "", "--dry-run"]).await;
    assert_eq!(stage.done(&["get", MAPS, "demo", "a"]).await["data"]["k"], "1");
}

#[tokio::test]
async fn a_custom_resource_is_written_as_any_other() {
    const WIDGETS: &str = "example.com/v1/widgets";
    let stage = Stage::new();
    // The host has read its discovery before there is such a type.
    stage.done(&["create", MAPS, "demo", r#"{"metadata":{"name":"a"}}"#]).await;
    let stage = stage.with([widgets()]);
    let made = stage.done(&["create", WIDGETS, "demo", r#"{"metadata":{"name":"w"},"spec":{"replicas":1}}"#]).await;
    assert_eq!((&made["kind"], &made["apiVersion"]), (&json!("Widget"), &json!("example.com/v1")));
    let merged = stage.done(&["patch", "merge", WIDGETS, "demo", "w", r#"{"spec":{"colour":"red"}}"#]).await;
    assert_eq!(merged["spec"], json!({"replicas": 1, "colour": "red"}));
    let applied = stage.done(&["apply", WIDGETS, "demo", "w", r#"{"spec":{"size":3}}"#, "me"]).await;
    assert_eq!(applied["spec"]["size"], 3);
    let status =
        stage.done(&["patch", "merge", WIDGETS, "demo", "w", r#"{"status":{"ok":true}}"#, "--in", "status"]).await;
    assert_eq!((&status["status"]["ok"], &status["spec"]["size"]), (&json!(true), &json!(3)));
    let scaled =
        stage.done(&["patch", "merge", WIDGETS, "demo", "w", r#"{"spec":{"replicas":5}}"#, "--in", "scale"]).await;
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(5)));
    let strategic = stage.refused(&["patch", "strategic", WIDGETS, "demo", "w", "{}"]).await;
    assert_eq!(strategic["code"], 415, "{strategic}");
    stage.done(&["delete", WIDGETS, "demo", "w"]).await;
    assert_eq!(stage.refused(&["get", WIDGETS, "demo", "w"]).await["case"], "NotFound");
}
