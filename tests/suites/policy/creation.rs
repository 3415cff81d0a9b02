//! Requests that may create: an apply, and a PUT of some types.

use attache::policy::{ApiRequest, Grant, Verdict};
use http::HeaderValue;

use crate::{check, request, rules};

#[test]
fn an_apply_needs_create_and_patch_by_name() {
    const PATCH: &str = r#"{apiGroups: [""], resources: ["*"], verbs: [patch]}"#;
    const CREATE: &str = r#"{apiGroups: [""], resources: [configmaps], verbs: [create], resourceNames: [a]}"#;
    let apply = |line: &str, content_type: &'static str| {
        request(line).with_content_type(Some(&HeaderValue::from_static(content_type)))
    };
    let judged = |rule: &[&str], asked: &ApiRequest| match rules(rule).judge(asked) {
        Verdict::Allowed { rule } => Ok(rule),
        Verdict::Denied { needed, .. } => Err(needed.verbs),
    };
    let map = "PATCH /api/v1/namespaces/demo/configmaps/a";
    for types in [
        "application/apply-patch+yaml",
        "application/apply-patch+cbor",
        "Application/Apply-Patch+YAML; charset=utf-8",
        " application/apply-patch+yaml",
        "application/apply-patch",
    ] {
        let asked = apply(map, types);
        assert_eq!(judged(&[PATCH], &asked), Err(vec!["create".to_owned()]), "{types}");
        assert_eq!(judged(&[CREATE], &asked), Err(vec!["patch".to_owned()]), "{types}");
        assert_eq!(judged(&[CREATE, PATCH], &asked), Ok(1), "{types}");
    }
    let other = apply("PATCH /api/v1/namespaces/demo/configmaps/b", "application/apply-patch+yaml");
    assert_eq!(judged(&[CREATE, PATCH], &other), Err(vec!["create".to_owned()]));
    assert_eq!(judged(&[CREATE], &other), Err(vec!["create".to_owned(), "patch".to_owned()]));
    // What is no apply, or creates nothing, needs no more than its verb.
    let status = "PATCH /api/v1/namespaces/demo/configmaps/a/status";
    for asked in [
        request(map),
        apply(map, "application/merge-patch+json"),
        apply(map, "application/json; x=application/apply-patch+yaml"),
        apply("PATCH /apis/apps/v1/namespaces/demo/deployments/a/status", "application/apply-patch+yaml"),
        apply(status, "application/apply-patch+yaml"),
    ] {
        let all = r#"{apiGroups: ["*"], resources: ["*"], verbs: [patch]}"#;
        assert_eq!(judged(&[all], &asked), Ok(0), "{asked:?}");
    }
}

/// Paths of objects that a PUT makes on an API server of 1.36 where there are none, or may make.
const MADE_BY_PUT: [&str; 17] = [
    "/api/v1/namespaces/demo/services/a",
    "/api/v1/namespaces/demo/services/a/status",
    "/api/v1/namespaces/demo/endpoints/a",
    "/api/v1/namespaces/demo/events/a",
    "/apis/events.k8s.io/v1/namespaces/demo/events/a",
    "/api/v1/namespaces/demo/limitranges/a",
    "/apis/coordination.k8s.io/v1/namespaces/demo/leases/a",
    "/apis/coordination.k8s.io/v1beta1/namespaces/demo/leasecandidates/a",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/demo/roles/a",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/demo/rolebindings/a",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles/a",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/a",
    "/apis/node.k8s.io/v1/runtimeclasses/a",
    // Not built in: a custom resource, an aggregated API server's type, and a part that no custom resource has.
    "/apis/example.com/v1/namespaces/demo/widgets/a",
    "/apis/image.openshift.io/v1/namespaces/demo/imagestreamtags/a",
    "/apis/example.com/v1/namespaces/demo/widgets/a/parts",
    "/api/v1/namespaces/demo/things-of-tomorrow/a",
];

#[test]
fn a_put_that_may_create_needs_create_and_update_by_name() {
    let update = r#"{apiGroups: ["*"], resources: ["*", "*/status", "*/parts"], verbs: [update], namespaces: ["*"]}"#;
    let create = update.replace("[update]", "[create]").replace('}', ", resourceNames: [a]}");
    for path in MADE_BY_PUT {
        let put = request(&format!("PUT {path}"));
        let judged = |rule: &[&str]| match rules(rule).judge(&put) {
            Verdict::Allowed { rule } => Ok(rule),
            Verdict::Denied { needed, .. } => Err(needed.verbs),
        };
        assert_eq!(judged(&[update]), Err(vec!["create".to_owned()]), "{path}");
        assert_eq!(judged(&[&create]), Err(vec!["update".to_owned()]), "{path}");
        assert_eq!(judged(&[&create, update]), Ok(1), "{path}");
        let other = request(&format!("PUT {}", path.replacen("/a", "/b", 2).replace("/bpi", "/api")));
        assert!(matches!(rules(&[&create, update]).judge(&other), Verdict::Denied { .. }), "{other:?}");
        let asked = |rules: &Grant| rules.allows("update", put.resource().unwrap());
        assert_eq!((asked(&rules(&[update])), asked(&rules(&[&create, update]))), (false, true), "{path}");
        let Verdict::Denied { needed, reason } = Grant::nothing("none").judge(&put) else { panic!("{path}") };
        assert!(reason.contains("verbs: [create, update]"), "{reason}");
        assert!(matches!(rules(&[&needed.to_string()]).judge(&put), Verdict::Allowed { .. }), "{needed}");
    }
}

#[test]
fn a_put_that_only_changes_needs_update_alone() {
    check(
        &[
            r#"{apiGroups: ["*"], resources: ["*", secrets, customresourcedefinitions, "*/status", "*/scale"], verbs: [update], namespaces: ["*"]}"#,
        ],
        &[
            "PUT /api/v1/namespaces/demo/configmaps/a",
            "PUT /api/v1/namespaces/demo/secrets/a",
            "PUT /api/v1/namespaces/demo/pods/a",
            "PUT /api/v1/namespaces/demo/pods/a/status",
            "PUT /api/v1/namespaces/demo/pods/a/resize",
            "PUT /api/v1/namespaces/demo/finalize",
            "PUT /api/v1/nodes/a",
            "PUT /apis/apps/v1/namespaces/demo/deployments/a",
            "PUT /apis/apps/v1/namespaces/demo/deployments/a/scale",
            "PUT /apis/batch/v1/namespaces/demo/jobs/a",
            "PUT /apis/discovery.k8s.io/v1/namespaces/demo/endpointslices/a",
            "PUT /apis/networking.k8s.io/v1/namespaces/demo/ingresses/a",
            "PUT /apis/policy/v1/namespaces/demo/poddisruptionbudgets/a",
            "PUT /apis/apiextensions.k8s.io/v1/customresourcedefinitions/a",
            "PUT /apis/example.com/v1/namespaces/demo/widgets/a/status",
            "PUT /apis/example.com/v1/namespaces/demo/widgets/a/scale",
        ],
        &[],
    );
}
