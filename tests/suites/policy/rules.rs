//! Rules: the requests that each covers.

use attache::policy::{ApiRequest, Grant, Limits};
use http::Method;

use crate::{allows, check};

#[test]
fn a_grant_of_nothing_allows_nothing() {
    let grant = Grant::nothing("none");
    for line in ["GET /", "GET /version", "GET /api/v1/namespaces/demo/pods", "GET /api/v1/nodes"] {
        assert!(!allows(&grant, line), "{line}");
    }
    assert!(!grant.opens("", "pods"));
    assert_eq!(grant.limits, Limits::default());
}

#[test]
fn a_rule_without_namespaces_holds_in_the_pods_own() {
    check(
        &[r#"{apiGroups: [""], resources: [pods], verbs: [get, list]}"#],
        &[
            "GET /api/v1/namespaces/demo/pods",
            "GET /api/v1/namespaces/demo/pods/a",
            "HEAD /api/v1/namespaces/demo/pods/a",
        ],
        &[
            "GET /api/v1/pods",
            "GET /api/v1/namespaces/other/pods",
            "GET /api/v1/namespaces/demo/pods/a/log",
            "GET /api/v1/namespaces/demo/pods?watch=1",
            "GET /api/v1/watch/namespaces/demo/pods",
            "GET /apis/apps/v1/namespaces/demo/pods",
            "POST /api/v1/namespaces/demo/pods",
            "DELETE /api/v1/namespaces/demo/pods/a",
            "DELETE /api/v1/namespaces/demo/pods",
        ],
    );
}

#[test]
fn all_namespaces_at_once_and_cluster_scoped_objects_need_the_star() {
    check(
        &[r#"{apiGroups: [""], resources: [pods, nodes], verbs: [list, get], namespaces: [demo, other]}"#],
        &["GET /api/v1/namespaces/other/pods"],
        &["GET /api/v1/pods", "GET /api/v1/nodes", "GET /api/v1/nodes/a"],
    );
    check(
        &[r#"{apiGroups: [""], resources: [pods, nodes], verbs: [list, get], namespaces: ["*"]}"#],
        &["GET /api/v1/pods", "GET /api/v1/nodes", "GET /api/v1/nodes/a", "GET /api/v1/namespaces/any/pods"],
        &["GET /api/v1/namespaces"],
    );
}

#[test]
fn a_namespace_object_lies_in_itself() {
    check(
        &[r#"{apiGroups: [""], resources: [namespaces], verbs: [get, list]}"#],
        &["GET /api/v1/namespaces/demo"],
        &["GET /api/v1/namespaces", "GET /api/v1/namespaces/other", "GET /api/v1/namespaces/demo/status"],
    );
}

#[test]
fn names_restrict_lists_only_where_the_field_selector_names_one() {
    check(
        &[r#"{apiGroups: [""], resources: [configmaps], verbs: ["*"], resourceNames: [a]}"#],
        &[
            "GET /api/v1/namespaces/demo/configmaps/a",
            "PUT /api/v1/namespaces/demo/configmaps/a",
            "GET /api/v1/namespaces/demo/configmaps?fieldSelector=metadata.name%3Da",
            "GET /api/v1/namespaces/demo/configmaps?watch=true&fieldSelector=metadata.name=a",
            "DELETE /api/v1/namespaces/demo/configmaps?fieldSelector=metadata.name=a",
        ],
        &[
            "GET /api/v1/namespaces/demo/configmaps/b",
            "GET /api/v1/namespaces/demo/configmaps",
            "GET /api/v1/namespaces/demo/configmaps?fieldSelector=metadata.name=b",
            "GET /api/v1/namespaces/demo/configmaps?fieldSelector=metadata.name!=a",
            "GET /api/v1/namespaces/demo/configmaps?fieldSelector=metadata.namespace=a",
            "GET /api/v1/watch/namespaces/demo/configmaps?fieldSelector=metadata.name=a",
            "DELETE /api/v1/namespaces/demo/configmaps",
            "POST /api/v1/namespaces/demo/configmaps",
        ],
    );
}

#[test]
fn creation_below_a_named_object_is_restricted_by_its_name() {
    check(
        &[r#"{apiGroups: [""], resources: [pods/eviction], verbs: [create], resourceNames: [a]}"#],
        &["POST /api/v1/namespaces/demo/pods/a/eviction"],
        &["POST /api/v1/namespaces/demo/pods/b/eviction", "POST /api/v1/namespaces/demo/pods"],
    );
}

#[test]
fn names_may_be_any_path_segment_and_are_judged_as_the_server_reads_them() {
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    check(
        &[
            r#"{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [get, list], namespaces: ["*"], resourceNames: ["admin (all)", "a|b", "rôle", "DOMAIN\\ops", "cost$", "a;b"]}"#,
        ],
        &[
            &format!("GET {roles}/admin%20(all)"),
            &format!("GET {roles}/admin%20%28all%29"),
            &format!("GET {roles}/a|b"),
            &format!("GET {roles}/a%7Cb"),
            &format!("GET {roles}/%61%7cb/"),
            &format!("GET {roles}/r%C3%B4le"),
            &format!("GET {roles}/DOMAIN%5Cops"),
            &format!("GET {roles}/cost$"),
            &format!("GET {roles}/a;b"),
            &format!("GET {roles}?fieldSelector=metadata.name%3Da%7Cb"),
        ],
        &[&format!("GET {roles}/admin"), &format!("GET {roles}/a"), &format!("GET {roles}/b"), &format!("GET {roles}")],
    );
    for line in ["a%2Fb", "..%2Fsecrets", "%2e%2e", "a%25b", "a%0d%0ab", "a%e2%80%aeb", "a%00", "$(X)"] {
        let target = format!("{roles}/{line}");
        assert!(ApiRequest::parse(&Method::GET, &target).is_err(), "{target}");
    }
}

#[test]
fn metrics_are_granted_by_their_names() {
    let external = "/apis/external.metrics.k8s.io/v1beta1/namespaces/demo";
    let custom = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/demo";
    check(
        &[
            r#"{apiGroups: [external.metrics.k8s.io], resources: ["pubsub.googleapis.com|subscription|Undelivered"], verbs: [list]}"#,
            r#"{apiGroups: [custom.metrics.k8s.io], resources: ["pods/http|requests"], verbs: [get]}"#,
        ],
        &[
            &format!("GET {external}/pubsub.googleapis.com%7Csubscription%7CUndelivered"),
            &format!("GET {external}/pubsub.googleapis.com|subscription|Undelivered?labelSelector=a%3Db"),
            &format!("GET {custom}/pods/*/http%7Crequests"),
            &format!("GET {custom}/pods/p/http|requests"),
        ],
        &[
            &format!("GET {external}/pubsub.googleapis.com%7Csubscription%7Cundelivered"),
            &format!("GET {external}/pubsub.googleapis.com"),
            &format!("GET {custom}/pods/*/http"),
        ],
    );
}

#[test]
fn a_star_before_a_subresource_covers_it_on_every_type() {
    check(
        &[r#"{apiGroups: [apps], resources: ["*/scale"], verbs: [get]}"#],
        &["GET /apis/apps/v1/namespaces/demo/deployments/a/scale"],
        &["GET /apis/apps/v1/namespaces/demo/deployments/a", "GET /apis/apps/v1/namespaces/demo/deployments/a/status"],
    );
}

#[test]
fn paths_are_granted_by_path() {
    check(
        &[r#"{nonResourceURLs: [/version, "/openapi/*"], verbs: [get]}"#],
        &["GET /version", "GET /openapi/v3", "GET /openapi/v3/apis/apps/v1?hash=1", "GET /openapi/"],
        &["GET /openapi", "GET /version/", "GET /versions", "HEAD /version", "POST /version", "GET /api/v1/namespaces"],
    );
    check(
        &[r#"{nonResourceURLs: ["*"], verbs: ["*"]}"#],
        &["GET /", "HEAD /healthz", "GET /apis/apps/v1"],
        &["GET /api/v1/namespaces", "GET /apis/apps/v1/namespaces/demo/deployments"],
    );
}
