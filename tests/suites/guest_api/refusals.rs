//! Refused requests: refused by the gate or the server, and the errors that the guest gets.

use serde_json::{Value, json};

use super::{DEMO, Stage, config_map};

const MAPS: &str = "v1/configmaps";
/// Reading only.
const READING: &str = r#"{api: [{apiGroups: [""], resources: [configmaps], verbs: [get], namespaces: [demo]}]}"#;

#[tokio::test]
async fn a_denial_names_the_smallest_rule_and_the_server_is_not_asked() {
    let stage = Stage::new().with([config_map("a", json!({}))]);
    let rule = |verb: &str, name: &str| {
        format!("{{apiGroups: [\"\"], resources: [configmaps], verbs: [{verb}], namespaces: [demo]{name}}}")
    };
    let named = ", resourceNames: [a]";
    let table: [(&[&str], String); 6] = [
        (&["create", MAPS, "demo", r#"{"metadata":{"name":"a"}}"#], rule("create", "")),
        (&["replace", MAPS, "demo", "a", "{}"], rule("update", named)),
        (&["patch", "merge", MAPS, "demo", "a", "{}"], rule("patch", named)),
        (&["apply", MAPS, "demo", "a", "{}", "me"], rule("create, patch", named)),
        (&["delete", MAPS, "demo", "a"], rule("delete", named)),
        (&["delete-all", MAPS, "demo", "", ""], rule("deletecollection", "")),
    ];
    for (words, needed) in table {
        let denied = stage.call(READING, words).await;
        assert_eq!(denied["error"], "denied", "{denied}");
        let message = denied["message"].as_str().unwrap();
        assert!(message.contains(&needed), "{words:?}: {message}");
        // The rule is good as it stands.
        let spec = format!("{{api: [{needed}]}}");
        let allowed = stage.call(&spec, &[words, &["--dry-run"]].concat()).await;
        assert_ne!(allowed["error"], "denied", "{spec}: {allowed}");
    }
    let mut lines = stage.lines().into_iter().filter(|line| line.verdict == "denied");
    assert!(lines.all(|line| line.status.is_none()));
}

#[tokio::test]
async fn an_apply_needs_the_right_to_create_for_it_may() {
    let stage = Stage::new().with([config_map("there", json!({}))]);
    let patching = READING.replace("[get]", "[patch]");
    for name in ["there", "not-there"] {
        let denied = stage.call(&patching, &["apply", MAPS, "demo", name, "{}", "me"]).await;
        let needed = format!("verbs: [create], namespaces: [demo], resourceNames: [{name}]}}");
        assert!(denied["message"].as_str().unwrap().ends_with(&needed), "{denied}");
    }
    stage.call(&patching, &["patch", "merge", MAPS, "demo", "there", "{}"]).await["ok"].as_object().unwrap();
    // Two rules are as good as one, and one for a name lets nothing else be made.
    let both = r#"{api: [{apiGroups: [""], resources: [configmaps], verbs: [patch], namespaces: [demo]},
        {apiGroups: [""], resources: [configmaps], verbs: [create], namespaces: [demo], resourceNames: [mine]}]}"#;
    stage.call(both, &["apply", MAPS, "demo", "mine", "{}", "me"]).await["ok"].as_object().unwrap();
    for words in [
        &["apply", MAPS, "demo", "other", "{}", "me"][..],
        &["create", MAPS, "demo", r#"{"metadata":{"name":"mine"}}"#],
    ] {
        assert_eq!(stage.call(both, words).await["error"], "denied", "{words:?}");
    }
    // No subresource is made by an apply.
    let status = r#"{api: [{apiGroups: [""], resources: [pods/status], verbs: [patch], namespaces: [demo]}]}"#;
    let answer = stage.call(status, &["apply", "v1/pods", "demo", "p", "{}", "me", "--in", "status"]).await;
    assert_eq!(answer["case"], "NotFound", "{answer}");
}

#[tokio::test]
async fn a_replacement_that_may_create_needs_the_right_to_create() {
    const LEASES: &str = "coordination.k8s.io/v1/leases";
    let stage = Stage::new();
    let updating = r#"{api: [{apiGroups: ["*"], resources: [leases, services, widgets], verbs: [get, update], namespaces: [demo]}]}"#;
    for of in [LEASES, "v1/services", "example.com/v1/widgets"] {
        let denied = stage.call(updating, &["replace", of, "demo", "mine", "{}"]).await;
        let message = denied["message"].as_str().unwrap();
        assert!(message.ends_with("verbs: [create], namespaces: [demo], resourceNames: [mine]}"), "{denied}");
    }
    let both = updating.replace("}]}", "}, {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create], namespaces: [demo], resourceNames: [mine]}]}");
    let body = r#"{"spec":{"holderIdentity":"me"}}"#;
    assert_ne!(stage.call(&both, &["replace", LEASES, "demo", "mine", body]).await["error"], "denied");
    assert_eq!(stage.call(&both, &["replace", LEASES, "demo", "other", body]).await["error"], "denied");
    let named = r#"{"metadata":{"name":"mine"},"spec":{}}"#;
    assert_eq!(stage.call(&both, &["create", LEASES, "demo", named]).await["error"], "denied");
}

#[tokio::test]
async fn a_name_is_any_path_segment_and_no_more() {
    const ROLES: &str = "rbac.authorization.k8s.io/v1/clusterroles";
    let stage = Stage::new();
    let spec = r#"{api: [{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [get],
        namespaces: ["*"], resourceNames: ["view (all)|x"]}]}"#;
    let answer = stage.call(spec, &["get", ROLES, "-", "view (all)|x"]).await;
    assert_eq!((&answer["error"], &answer["code"]), (&json!("refused"), &json!(403)), "{answer}");
    let line = stage.lines().into_iter().find(|line| line.way == "api").unwrap();
    assert_eq!(line.path, "/apis/rbac.authorization.k8s.io/v1/clusterroles/view%20%28all%29%7Cx");
    for name in ["view", "view (all)", "x"] {
        assert_eq!(stage.call(spec, &["get", ROLES, "-", name]).await["error"], "denied", "{name}");
    }
    for name in ["a/b", "..", "a%2fb", "a\nb", "a\u{202e}b", "$(X)", ""] {
        assert_eq!(stage.call(spec, &["get", ROLES, "-", name]).await["error"], "invalid", "{name:?}");
    }
}

#[tokio::test]
async fn the_servers_own_rules_come_after_the_grants() {
    let stage = Stage::new();
    let all = r#"{api: [{apiGroups: [""], resources: [secrets, configmaps], verbs: ["*"], namespaces: ["*"]}]}"#;
    for words in [
        ["delete", "v1/secrets", "demo", "hidden"],
        ["create", "v1/secrets", "demo", r#"{"metadata":{"name":"s"}}"#],
        ["create", MAPS, "default", r#"{"metadata":{"name":"s"}}"#],
    ] {
        let refused = stage.call(all, &words).await;
        assert_eq!((&refused["case"], &refused["code"]), (&json!("Forbidden"), &json!(403)), "{refused}");
        assert_eq!(refused["body"]["reason"], "Forbidden", "{refused}");
    }
}

#[tokio::test]
async fn a_body_that_speaks_of_something_else_is_not_sent() {
    let stage = Stage::new().with([config_map("a", json!({}))]);
    let bodies = [
        ("[]", "JSON object"),
        ("7", "JSON object"),
        ("null", "JSON object"),
        (r#"{"kind":"Secret"}"#, "kind"),
        (r#"{"apiVersion":"apps/v1"}"#, "apiVersion"),
        (r#"{"metadata":{"namespace":"other"}}"#, "metadata.namespace"),
        (r#"{"metadata":{"name":"b"}}"#, "metadata.name"),
        (r#"{"metadata":"b"}"#, "metadata"),
    ];
    for (body, field) in bodies {
        let mut calls = vec![
            vec!["replace", MAPS, "demo", "a", body],
            vec!["patch", "merge", MAPS, "demo", "a", body],
            vec!["patch", "strategic", MAPS, "demo", "a", body],
            vec!["apply", MAPS, "demo", "a", body, "me"],
        ];
        // What is created has no name to disagree with.
        if field != "metadata.name" {
            calls.push(vec!["create", MAPS, "demo", body]);
        }
        for words in calls {
            invalid(&stage, &words, field).await;
        }
    }
    invalid(&stage, &["patch", "json", MAPS, "demo", "a", "{}"], "array of operations").await;
    invalid(&stage, &["apply", MAPS, "demo", "a", "{}", ""], "field manager").await;
    assert_eq!(stage.asked(), [], "nothing was asked");
}

async fn invalid(stage: &Stage, words: &[&str], says: &str) -> Value {
    let refused = stage.call(DEMO, words).await;
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(refused["error"] == "invalid" && message.contains(says), "{words:?}: {refused}");
    refused
}

#[tokio::test]
async fn a_place_that_the_type_does_not_live_in_is_not_written_to() {
    let stage = Stage::new();
    let all = r#"{api: [{apiGroups: ["*"], resources: ["*"], verbs: ["*"], namespaces: ["*"]}]}"#;
    for (of, namespace) in [(MAPS, "-"), ("v1/nodes", "demo")] {
        let refused = stage.call(all, &["create", of, namespace, r#"{"metadata":{"name":"x"}}"#]).await;
        assert_eq!(refused["error"], "invalid", "{of}: {refused}");
    }
    for name in ["a/b", "..", "", "a?x=y"] {
        let refused = stage.call(DEMO, &["delete", MAPS, "demo", name]).await;
        assert_eq!(refused["error"], "invalid", "{name:?}: {refused}");
    }
}

#[tokio::test]
async fn a_body_larger_than_the_server_takes_is_not_sent() {
    let stage = Stage::new();
    let refused = stage.call(DEMO, &["large", MAPS, "demo", "3145728"]).await;
    assert_eq!(refused["error"], "invalid", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("3145728 at most"), "{refused}");
    assert_eq!(stage.asked(), []);
    // One that fits is the server's to judge.
    stage.call(DEMO, &["large", MAPS, "demo", "1100000"]).await;
    assert_eq!(stage.asked().len(), 1);
}

#[tokio::test]
async fn a_body_that_the_server_refuses_comes_back_with_its_causes() {
    let stage = Stage::new();
    let refused = stage.refused(&["create", MAPS, "demo", r#"{"metadata":{"name":"UPPER"}}"#]).await;
    assert_eq!((&refused["code"], &refused["reason"]), (&json!(422), &json!("Invalid")));
    assert_eq!(refused["body"]["details"]["causes"][0]["field"], "metadata.name", "{refused}");
    let refused = stage.refused(&["patch", "merge", MAPS, "demo", "nobody", "{}"]).await;
    assert_eq!(refused["case"], "NotFound");
}

#[tokio::test]
async fn every_write_is_recorded_once_with_its_verb() {
    let stage = Stage::new();
    stage.done(&["create", MAPS, "demo", r#"{"metadata":{"name":"a"}}"#]).await;
    stage.done(&["replace", MAPS, "demo", "a", "{}"]).await;
    stage.done(&["patch", "merge", MAPS, "demo", "a", "{}"]).await;
    stage.done(&["delete", MAPS, "demo", "a"]).await;
    stage.done(&["delete-all", MAPS, "demo", "", ""]).await;
    let lines = stage.lines().into_iter().filter(|line| line.way == "api");
    let seen: Vec<_> = lines.map(|line| (line.verb, line.status)).collect();
    let expected = [("create", 201), ("update", 200), ("patch", 200), ("delete", 200), ("deletecollection", 200)];
    assert_eq!(seen, expected.map(|(verb, status)| (verb.to_owned(), Some(status))));
}
