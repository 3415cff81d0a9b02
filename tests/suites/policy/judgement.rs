//! Verdicts: the rule that allows, and the rule that is needed.

use attache::policy::{Grant, ResourcePath, Verdict};

use crate::{allows, request, rules};

#[test]
fn the_first_rule_that_covers_a_request_is_named() {
    let grant = rules(&[
        r#"{apiGroups: [""], resources: [pods], verbs: [get]}"#,
        r#"{apiGroups: [""], resources: ["*"], verbs: [get]}"#,
    ]);
    assert_eq!(grant.judge(&request("GET /api/v1/namespaces/demo/pods/a")), Verdict::Allowed { rule: 0 });
    assert_eq!(grant.judge(&request("GET /api/v1/namespaces/demo/services/a")), Verdict::Allowed { rule: 1 });
}

#[test]
fn a_denial_names_the_rule_that_is_needed_and_that_rule_suffices() {
    for (line, needed) in [
        (
            "GET /api/v1/namespaces/demo/pods",
            r#"{apiGroups: [""], resources: [pods], verbs: [list], namespaces: [demo]}"#,
        ),
        (
            "GET /apis/apps/v1/namespaces/demo/deployments/web/scale",
            "{apiGroups: [apps], resources: [deployments/scale], verbs: [get], namespaces: [demo], resourceNames: [web]}",
        ),
        ("GET /api/v1/nodes?watch=1", r#"{apiGroups: [""], resources: [nodes], verbs: [watch], namespaces: ["*"]}"#),
        (
            "POST /api/v1/namespaces/demo/secrets",
            r#"{apiGroups: [""], resources: [secrets], verbs: [create], namespaces: [demo]}"#,
        ),
        (
            "GET /api/v1/proxy/nodes/a",
            r#"{apiGroups: [""], resources: [nodes], verbs: [proxy], namespaces: ["*"], resourceNames: [a]}"#,
        ),
        ("HEAD /healthz", r#"{nonResourceURLs: ["/healthz"], verbs: [head]}"#),
    ] {
        let Verdict::Denied { reason, needed: rule } = Grant::nothing("none").judge(&request(line)) else {
            panic!("{line}")
        };
        let said = rule.to_string();
        assert_eq!(said, needed);
        assert!(reason.ends_with(&said), "{reason}");
        assert!(allows(&rules(&[&said]), line), "{said} must allow {line}");
    }
}

#[test]
fn a_type_is_open_when_any_rule_names_it_or_a_subresource_of_it() {
    let grant = rules(&[
        r#"{apiGroups: [""], resources: [pods/log, secrets], verbs: [get]}"#,
        r#"{apiGroups: [apps], resources: ["*"], verbs: [list], namespaces: [other]}"#,
    ]);
    for (group, plural, open) in [
        ("", "pods", true),
        ("", "secrets", true),
        ("", "services", false),
        ("apps", "deployments", true),
        ("apps", "secrets", false),
    ] {
        assert_eq!(grant.opens(group, plural), open, "{group}/{plural}");
    }
}

#[test]
fn a_collection_is_open_when_any_verb_is_and_else_the_smallest_rule_is_named() {
    let grant = rules(&[
        r#"{apiGroups: [""], resources: [pods/log, namespaces], verbs: [get]}"#,
        r#"{apiGroups: [apps], resources: ["*"], verbs: [list], namespaces: [other]}"#,
    ]);
    let opening = |grant: &Grant, path: &str| grant.judge_opening(request(&format!("GET {path}")).resource().unwrap());
    for (path, rule) in [
        ("/api/v1/namespaces/demo/pods", 0),
        ("/apis/apps/v1/namespaces/other/deployments", 1),
        // Each lies in itself, so none is the place of all.
        ("/api/v1/namespaces", 0),
    ] {
        assert_eq!(opening(&grant, path), Verdict::Allowed { rule }, "{path}");
    }
    for (path, said) in [
        (
            "/api/v1/namespaces/other/pods",
            r#"pods in namespace other; it needs a rule such as {apiGroups: [""], resources: [pods], verbs: [get], namespaces: [other]}, "#,
        ),
        (
            "/apis/apps/v1/deployments",
            r#"deployments.apps in the whole cluster; it needs a rule such as {apiGroups: [apps], resources: [deployments], verbs: [get], namespaces: ["*"]}, "#,
        ),
    ] {
        let Verdict::Denied { reason, needed } = opening(&grant, path) else { panic!("{path}") };
        assert!(reason.starts_with(&format!("nothing is granted on {said}")), "{reason}");
        let enough = rules(&[&needed.to_string()]);
        assert_eq!(opening(&enough, path), Verdict::Allowed { rule: 0 }, "{needed}");
    }
    let Verdict::Denied { needed, .. } = opening(&Grant::nothing("none"), "/api/v1/namespaces") else { panic!("open") };
    assert_eq!(needed.namespaces, ["$(POD_NAMESPACE)"]);
}

#[test]
fn a_question_is_answered_as_the_request_would_be_and_without_a_name_for_all_objects() {
    let grant = rules(&[
        "{apiGroups: [''], resources: [pods, pods/log], verbs: [get], namespaces: [demo], resourceNames: [a]}",
        "{apiGroups: [apps], resources: ['*'], verbs: ['*'], namespaces: [demo]}",
    ]);
    for line in [
        "GET /api/v1/namespaces/demo/pods/a",
        "GET /api/v1/namespaces/demo/pods/a/log",
        "GET /api/v1/namespaces/demo/pods/b",
        "PUT /api/v1/namespaces/demo/pods/a",
        "DELETE /apis/apps/v1/namespaces/demo/deployments",
        "DELETE /apis/apps/v1/deployments",
        "PATCH /apis/apps/v1/namespaces/demo/deployments/d/scale",
    ] {
        let request = request(line);
        let asked = grant.allows(request.verb(), request.resource().unwrap());
        assert_eq!(asked, matches!(grant.judge(&request), Verdict::Allowed { .. }), "{line}");
    }
    let named = request("GET /api/v1/namespaces/demo/pods/a");
    let every = ResourcePath { name: None, ..named.resource().unwrap().clone() };
    assert!(!grant.allows("get", &every), "a rule for one name is none for all");
}
