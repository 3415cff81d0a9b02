//! Grants: what a file may say, and what each rule covers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use attache::policy::{ApiRequest, CredentialsMode, Grant, Limits, ResolveError, ResourcePath, Verdict};
use http::{HeaderValue, Method};

/// A grant whose `spec` is `spec`, indented by two spaces.
fn grant(spec: &str) -> String {
    format!("apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata:\n  name: test\nspec:\n{spec}")
}

/// The grant of the given lines of `api`, in a pod of the namespace `demo`.
fn rules(lines: &[&str]) -> Grant {
    let api = lines.join("\n  - ");
    let own = |name: &str| (name == "POD_NAMESPACE").then(|| "demo".to_owned());
    Grant::parse(&grant(&format!("  api:\n  - {api}\n"))).unwrap().resolve(own).unwrap()
}

/// `GET /path` and the like.
fn request(line: &str) -> ApiRequest {
    let (method, target) = line.split_once(' ').unwrap();
    ApiRequest::parse(&Method::from_bytes(method.as_bytes()).unwrap(), target).expect(line)
}

fn allows(grant: &Grant, line: &str) -> bool {
    matches!(grant.judge(&request(line)), Verdict::Allowed { .. })
}

/// Checks that a grant allows the first requests and denies the others.
fn check(rule: &[&str], allowed: &[&str], denied: &[&str]) {
    let grant = rules(rule);
    for line in allowed {
        assert!(allows(&grant, line), "{rule:?} must allow {line}");
    }
    for line in denied {
        assert!(!allows(&grant, line), "{rule:?} must deny {line}");
    }
}

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

#[test]
fn stars_never_cover_what_hands_out_power() {
    let powers = [
        "GET /api/v1/namespaces/demo/secrets",
        "GET /api/v1/namespaces/demo/secrets/a",
        "GET /api/v1/secrets?watch=1",
        "DELETE /api/v1/namespaces/demo/secrets",
        "POST /api/v1/namespaces/demo/serviceaccounts/a/token",
        "POST /api/v1/namespaces/demo/pods/a/exec",
        "GET /api/v1/namespaces/demo/pods/a/exec?command=sh",
        "GET /api/v1/namespaces/demo/pods/a/attach",
        "POST /api/v1/namespaces/demo/pods/a/portforward",
        "GET /api/v1/namespaces/demo/pods/a/proxy",
        "GET /api/v1/namespaces/demo/pods/a/proxy/metrics",
        "GET /api/v1/namespaces/demo/services/a/proxy/",
        "GET /api/v1/nodes/a/proxy/logs",
        "GET /api/v1/proxy/namespaces/demo/services/a/x",
        "GET /apis/example.com/v1/namespaces/demo/things/a/proxy",
        "GET /apis/example.com/v1/namespaces/demo/secrets",
    ];
    check(
        &[r#"{apiGroups: ["*"], resources: ["*"], verbs: ["*"], namespaces: ["*"]}"#],
        &["GET /api/v1/namespaces/demo/serviceaccounts/a", "PATCH /apis/apps/v1/namespaces/demo/deployments/a/scale"],
        &powers,
    );
}

/// The grant of every star that there is.
const STARS: &str = r#"{apiGroups: ["*"], resources: ["*"], verbs: ["*"], namespaces: ["*"]}"#;

#[test]
fn a_star_answers_nothing_about_somebody_else() {
    for group in ["authorization.k8s.io", "authorization.example.com"] {
        let post = |rest: &str| format!("POST /apis/{group}/v1/{rest}");
        check(
            &[STARS],
            &[&post("selfsubjectaccessreviews"), &post("selfsubjectrulesreviews"), &post("selfsubjectreviews")],
            &[
                &post("subjectaccessreviews"),
                &post("namespaces/demo/localsubjectaccessreviews"),
                &post("tokenreviews"),
                &post("subjectaccessreviews/x"),
            ],
        );
    }
    check(
        &["{apiGroups: [authorization.k8s.io], resources: [localsubjectaccessreviews], verbs: [create]}"],
        &["POST /apis/authorization.k8s.io/v1/namespaces/demo/localsubjectaccessreviews"],
        &["POST /apis/authorization.k8s.io/v1/subjectaccessreviews"],
    );
}

#[test]
fn a_star_makes_nobody_else_of_an_extension() {
    let csr = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let pcr = "/apis/certificates.k8s.io/v1beta1/namespaces/demo/podcertificaterequests";
    check(
        &[STARS],
        &[&format!("POST {csr}"), &format!("GET {csr}/a"), &format!("DELETE {csr}/a")],
        &[
            "POST /api/v1/namespaces/demo/serviceaccounts/a/token",
            "POST /apis/example.com/v1/namespaces/demo/robots/a/token",
            &format!("PUT {csr}/a/approval"),
            &format!("PATCH {csr}/a/approval"),
            &format!("GET {csr}/a/approval"),
            &format!("PUT {csr}/a/status"),
            &format!("PATCH {csr}/a/status"),
            &format!("POST {pcr}"),
            &format!("PUT {pcr}/a/status"),
            &format!("GET {pcr}/a"),
            "GET /apis/certificates.k8s.io/v1/signers/a",
        ],
    );
    let named = r#"{apiGroups: [certificates.k8s.io], resources: [certificatesigningrequests/approval], verbs: ["*"], namespaces: ["*"]}"#;
    check(&[named], &[&format!("PUT {csr}/a/approval")], &[&format!("PUT {csr}/a/status"), &format!("GET {csr}/a")]);
    // `*/status` and `*/scale` are ordinary, but for that of certificates.
    check(
        &[r#"{apiGroups: ["*"], resources: ["*/status"], verbs: ["*"], namespaces: ["*"]}"#],
        &["PATCH /apis/apps/v1/namespaces/demo/deployments/a/status"],
        &[&format!("PATCH {csr}/a/status"), &format!("PATCH {pcr}/a/status")],
    );
}

#[test]
fn a_star_puts_an_extension_in_nobodys_way() {
    for (group, plural) in [
        ("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations"),
        ("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations"),
        ("admissionregistration.k8s.io/v1", "mutatingadmissionpolicies"),
        ("admissionregistration.k8s.io/v1", "mutatingadmissionpolicybindings"),
        ("apiregistration.k8s.io/v1", "apiservices"),
        ("certificates.k8s.io/v1beta1", "clustertrustbundles"),
    ] {
        let line = |method: &str, rest: &str| format!("{method} /apis/{group}/{plural}{rest}");
        check(
            &[STARS],
            &[&line("GET", ""), &line("GET", "/a"), &line("GET", "?watch=1")],
            &[&line("POST", ""), &line("PUT", "/a"), &line("PATCH", "/a"), &line("DELETE", "/a"), &line("DELETE", "")],
        );
        let (group, _) = group.split_once('/').unwrap();
        let named = format!("{{apiGroups: [{group}], resources: [{plural}], verbs: [\"*\"], namespaces: [\"*\"]}}");
        check(&[&named], &[&line("POST", ""), &line("PATCH", "/a")], &[]);
    }
}

#[test]
fn a_star_runs_nothing_in_another_container() {
    let pod = "/api/v1/namespaces/demo/pods/a";
    check(
        &[STARS],
        &[&format!("PATCH {pod}/resize"), &format!("POST {pod}/eviction"), &format!("GET {pod}/log")],
        &[
            &format!("PUT {pod}/ephemeralcontainers"),
            &format!("PATCH {pod}/ephemeralcontainers"),
            &format!("GET {pod}/exec?command=id"),
            &format!("POST {pod}/attach"),
            &format!("GET {pod}/portforward"),
            &format!("GET {pod}/proxy/x"),
            "GET /api/v1/nodes/n/proxy/exec/demo/a/c",
            "PUT /api/v1/namespaces/demo/services/s/proxy/x",
        ],
    );
    for subresource in ["exec", "attach", "portforward", "proxy", "ephemeralcontainers", "token", "approval"] {
        let spec = format!("  api: [{{apiGroups: ['*'], resources: ['*/{subresource}'], verbs: [get]}}]\n");
        let error = Grant::parse(&grant(&spec)).expect_err(subresource).to_string();
        assert!(error.contains("name the resource"), "{error}");
    }
}

#[test]
fn a_star_stands_for_no_verb_that_no_request_has() {
    let grant = rules(&[STARS]);
    let pods = request("GET /api/v1/namespaces/demo/pods/a");
    for verb in [
        "impersonate",
        "impersonate:user-info",
        "impersonate:serviceaccount",
        "impersonate:arbitrary-node",
        "impersonate-on:user-info:get",
        "bind",
        "escalate",
        "approve",
        "sign",
        "attest",
        "use",
        "proxy",
        "associated-node:update",
    ] {
        assert!(!grant.allows(verb, pods.resource().unwrap()), "{verb}");
    }
    for verb in ["impersonate:user-info", "impersonate-on:user-info:get", "sign", "use"] {
        let spec = format!("  api: [{{apiGroups: [''], resources: [pods], verbs: ['{verb}']}}]\n");
        assert!(Grant::parse(&self::grant(&spec)).is_err(), "{verb}");
    }
    assert!(grant.allows("deletecollection", pods.resource().unwrap()));
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
fn what_hands_out_power_is_granted_by_name() {
    check(
        &[
            r#"{apiGroups: [""], resources: [secrets, pods/exec, nodes/proxy, serviceaccounts/token], verbs: ["*"], namespaces: ["*"]}"#,
        ],
        &[
            "GET /api/v1/namespaces/demo/secrets/a",
            "POST /api/v1/namespaces/demo/pods/a/exec",
            "GET /api/v1/nodes/a/proxy/metrics",
            "POST /api/v1/namespaces/demo/serviceaccounts/a/token",
        ],
        &[
            "GET /api/v1/namespaces/demo/pods/a/attach",
            "GET /api/v1/namespaces/demo/pods/a/proxy",
            "GET /api/v1/proxy/nodes/a",
        ],
    );
    check(
        &[r#"{apiGroups: [""], resources: [nodes], verbs: [proxy], namespaces: ["*"]}"#],
        &["GET /api/v1/proxy/nodes/a/b/c"],
        &["GET /api/v1/nodes/a/proxy/b/c"],
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

#[test]
fn a_grant_without_its_namespace_filled_in_matches_nothing() {
    let unresolved =
        Grant::parse(&grant("  api:\n  - {apiGroups: [\"\"], resources: [pods], verbs: [get]}\n")).unwrap();
    assert!(!allows(&unresolved, "GET /api/v1/namespaces/demo/pods/a"));
    assert!(ApiRequest::parse(&Method::GET, "/api/v1/namespaces/$(POD_NAMESPACE)/pods/a").is_err());
}

#[test]
fn a_variable_is_filled_in_with_a_name_and_nothing_else() {
    let text = grant(
        "  api:\n  - apiGroups: ['']\n    resources: [pods]\n    verbs: [get]\n    namespaces: [\"team-$(TEAM)\"]\n",
    );
    let parsed = Grant::parse(&text).unwrap();
    let filled = parsed.clone().resolve(|name| (name == "TEAM").then(|| "a".to_owned())).unwrap();
    assert_eq!(filled.api[0].namespaces, ["team-a"]);
    assert!(
        matches!(parsed.clone().resolve(|_| None), Err(ResolveError::Unknown { variable, .. }) if variable == "TEAM")
    );
    for value in ["*", "a/b", "A", "$(TEAM)", "a b", ""] {
        let outcome = parsed.clone().resolve(|_| Some(value.to_owned()));
        assert!(matches!(outcome, Err(ResolveError::Invalid { .. })), "{value}");
    }
    let own = Grant::parse(&grant("  api:\n  - {apiGroups: [''], resources: [pods], verbs: [get]}\n")).unwrap();
    assert!(own.resolve(|_| Some("*".to_owned())).is_err());
}

#[test]
fn each_mistake_in_a_grant_is_named_with_line_column_and_field() {
    for (spec, message) in [
        (
            "  api:\n  - apiGroups: [\"\"]\n    verb: [get]\n",
            "8:5: spec.api[0].verb: unknown field, expected one of `apiGroups`, `resources`, `verbs`, `namespaces`, \
             `resourceNames`, `nonResourceURLs`; did you mean `verbs`?",
        ),
        ("  apis: []\n", "6:3: spec.apis: unknown field"),
        ("  api: []\n", "6:8: spec.api: must not be empty"),
        ("  api:\n", "spec.api: must not be empty"),
        ("  api: {}\n", "6:8: spec.api: expected a list"),
        ("  api: [{}]\n", "6:9: spec.api[0].apiGroups: the field is missing"),
        ("  api: [text]\n", "6:9: spec.api[0]: expected fields"),
        ("  api: [{apiGroups: [''], resources: [], verbs: [get]}]\n", "spec.api[0].resources: must not be empty"),
        ("  api: [{apiGroups: [''], resources: [pods]}]\n", "spec.api[0].verbs: the field is missing"),
        ("  api: [{apiGroups: [''], resources: [pods], verbs: [read]}]\n", "spec.api[0].verbs[0]: `read` is unknown"),
        ("  api: [{apiGroups: [''], resources: [pods], verbs: [lst]}]\n", "did you mean `list`?"),
        ("  api: [{apiGroups: [''], resources: [pods], verbs: [GET]}]\n", "did you mean `get`?"),
        (
            "  api: [{apiGroups: [''], resources: [Pods], verbs: [get]}]\n",
            "spec.api[0].resources[0]: `Pods` is not valid",
        ),
        ("  api: [{apiGroups: [''], resources: ['pods/*'], verbs: [get]}]\n", "`pods/*` is not valid"),
        ("  api: [{apiGroups: [''], resources: ['po*'], verbs: [get]}]\n", "`po*` is not valid"),
        ("  api: [{apiGroups: [''], resources: ['*/exec'], verbs: [get]}]\n", "name the resource"),
        ("  api: [{apiGroups: [''], resources: ['*/proxy'], verbs: [get]}]\n", "name the resource"),
        ("  api: [{apiGroups: [''], resources: [pods/log/x], verbs: [get]}]\n", "is not valid"),
        ("  api: [{apiGroups: [''], resources: [pods/], verbs: [get]}]\n", "is not valid"),
        ("  api: [{apiGroups: [''], resources: [a..b/.., pods], verbs: [get]}]\n", "is not valid"),
        ("  api: [{apiGroups: [Apps], resources: [pods], verbs: [get]}]\n", "spec.api[0].apiGroups[0]"),
        ("  api: [{apiGroups: [''], resources: [pods], verbs: [get], namespaces: ['a*']}]\n", "namespaces[0]"),
        (
            "  api: [{apiGroups: [''], resources: [pods], verbs: [get], namespaces: []}]\n",
            "namespaces: must not be empty",
        ),
        ("  api: [{apiGroups: [''], resources: [pods], verbs: [get], namespaces: ['$(A']}]\n", "namespaces[0]"),
        ("  api: [{apiGroups: [''], resources: [pods], verbs: [get], namespaces: ['$A']}]\n", "namespaces[0]"),
        ("  api: [{apiGroups: [''], resources: [pods], verbs: [get], resourceNames: ['*']}]\n", "resourceNames[0]"),
        ("  api: [{apiGroups: [''], resources: [pods], verbs: [get], resourceNames: [a/b]}]\n", "resourceNames[0]"),
        ("  api: [{nonResourceURLs: [version], verbs: [get]}]\n", "nonResourceURLs[0]"),
        ("  api: [{nonResourceURLs: ['/a*b'], verbs: [get]}]\n", "nonResourceURLs[0]"),
        ("  api: [{nonResourceURLs: [/a/../b], verbs: [get]}]\n", "nonResourceURLs[0]"),
        ("  api: [{nonResourceURLs: [/version], verbs: [list]}]\n", "verbs[0]: `list` is unknown"),
        (
            "  api: [{nonResourceURLs: [/version], verbs: [get], resources: [pods]}]\n",
            "cannot stand beside `nonResourceURLs`",
        ),
        ("  limits: {memory: 64MiB}\n", "6:20: spec.limits.memory: `64MiB` is not valid"),
        ("  limits: {memory: 1Ki}\n", "must be from 64Ki"),
        ("  limits: {memory: -1Gi}\n", "spec.limits.memory"),
        ("  limits: {memory: 1e30}\n", "spec.limits.memory"),
        ("  limits: {deadline: 5}\n", "spec.limits.deadline: `5` is not valid"),
        ("  limits: {deadline: 0s}\n", "longer than nothing"),
        ("  limits: {burst: 0}\n", "must be at least 1"),
        ("  limits: {burst: -1}\n", "spec.limits.burst"),
        ("  limits: {burst: 1.5}\n", "spec.limits.burst"),
        ("  limits: {burst: 4294967296}\n", "spec.limits.burst"),
        ("  limits: {cpus: 1s}\n", "did you mean `cpu`?"),
        ("  credentials: all\n", "6:16: spec.credentials: `all` is unknown, expected one of `none`, `scoped`, `real`"),
        ("  credentials: {mountPath: /a}\n", "spec.credentials.mode: the field is missing"),
        ("  credentials:\n", "spec.credentials: must not be empty"),
        ("  podinfo:\n", "spec.podinfo: must not be empty"),
        ("  podinfo: {mountPath: etc}\n", "spec.podinfo.mountPath"),
        ("  podinfo: {mountPath: /}\n", "spec.podinfo.mountPath"),
        ("  podinfo: {items: [../x]}\n", "spec.podinfo.items[0]"),
        ("  podinfo: {items: []}\n", "spec.podinfo.items: must not be empty"),
        ("  podinfo: {mountPath: /var/run}\n  credentials: real\n", "overlaps"),
        ("  env: ['*']\n", "spec.env[0]"),
        ("  env: [A=B]\n", "spec.env[0]"),
        ("  env: A\n", "spec.env: expected a list"),
        ("  component: {sha256: abc}\n", "64 hexadecimal digits"),
        ("  component: {}\n", "spec.component.sha256: the field is missing"),
        ("  egress: [hooks.example.com]\n", "spec.egress[0]"),
        ("  egress: ['https://a/b']\n", "spec.egress[0]"),
        ("  egress: [\"https://a\"\n", "not valid YAML"),
        ("  env: [A]\n  env: [B]\n", "7:3: spec.env: the field is given twice"),
        ("  env: &a [A]\n  <<: *a\n", "not valid YAML"),
        ("  env: !custom [A]\n", "not valid YAML"),
        ("  env: [A]\n---\nkind: Grant\n", "a file holds one grant"),
    ] {
        let error = Grant::parse(&grant(spec)).expect_err(spec).to_string();
        assert!(error.contains(message), "{spec}\n{error}\nshould say: {message}");
    }
}

#[test]
fn a_file_that_is_no_grant_is_refused() {
    for (text, message) in [
        ("", "must not be empty"),
        ("[]", "expected fields"),
        ("kind: Grant\n", "apiVersion: the field is missing"),
        ("apiVersion: v1\n", "1:13: apiVersion: `v1` is unknown, expected one of `attache.dev/v1alpha1`"),
        ("apiVersion: attache.dev/v1alpha1\nkind: Role\n", "2:7: kind: `Role` is unknown"),
        ("apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata: {name: A_b}\nspec: {}\n", "metadata.name: `A_b`"),
        (
            "apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata: {name: a, labels: {}}\nspec: {}\n",
            "metadata.labels: unknown field",
        ),
        ("apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata: {name: a}\n", "spec: the field is missing"),
        ("a: [", "not valid YAML"),
        ("\u{0}", "not valid YAML"),
    ] {
        let error = Grant::parse(text).expect_err(text).to_string();
        assert!(error.contains(message), "{text:?}\n{error}\nshould say: {message}");
    }
    assert!(Grant::parse(&"#".repeat(1 << 20)).expect_err("too large").to_string().contains("at most"));
}

#[test]
fn an_alias_bomb_is_refused_in_good_time() {
    let level = |level: usize| format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 4].join(", "));
    let bomb = format!("a0: &a0 [x]\n{}", (1..30).map(level).collect::<Vec<_>>().concat());
    assert!(Grant::parse(&bomb).is_err());
    assert!(Grant::parse(&"[".repeat(100_000)).is_err());
    assert!(Grant::parse(&"a: ".repeat(50_000)).is_err());
}

/// The grant of the design, with every field.
const WHOLE: &str = r#"apiVersion: attache.dev/v1alpha1
kind: Grant
metadata: {name: pod-card}
spec:
  component: {sha256: "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789abcdef"}
  podinfo: {mountPath: /etc/podinfo, items: [labels, cpu_limit]}
  env: [POD_NAME, POD_NAMESPACE]
  credentials: {mode: scoped, mountPath: /run/creds}
  api:
  - apiGroups: [""]
    resources: [pods, pods/log]
    verbs: [get, list, watch]
    namespaces: ["$(POD_NAMESPACE)"]
    resourceNames: []
  - {apiGroups: ["*"], resources: ["*"], verbs: ["*"], namespaces: ["*"]}
  - {nonResourceURLs: [/version, "/openapi/*"], verbs: [get]}
  egress: ["https://hooks.example.com", "http://[::1]:8080"]
  limits: {memory: 128Mi, deadline: 1m30s, cpu: 500ms, requestsPerSecond: 5, burst: 6, inFlight: 7,
           responseBytes: 1e6, watches: 0, handles: 9, logBytesPerSecond: 0}
"#;

#[test]
fn every_field_of_a_grant_is_read() {
    let grant = Grant::parse(WHOLE).unwrap();
    assert_eq!(grant.component.unwrap().sha256().unwrap()[..2], [0x01, 0x23]);
    assert_eq!(grant.podinfo[0].items.as_deref().unwrap(), ["labels", "cpu_limit"]);
    assert_eq!(grant.credentials.mode, CredentialsMode::Scoped);
    assert_eq!(grant.credentials.mount_path.as_str(), "/run/creds");
    assert_eq!(grant.api.len(), 3);
    assert!(grant.egress.permits("https", "hooks.example.com", 443));
    assert_eq!((grant.limits.memory, grant.limits.response_bytes), (128 << 20, 1_000_000));
    assert_eq!(grant.limits.deadline.as_millis(), 90_000);
    assert_eq!(grant.limits.cpu.as_millis(), 500);
}

#[test]
fn a_printed_grant_reads_back_as_the_same() {
    for text in [WHOLE.to_owned(), grant("  {}\n"), grant("  credentials: real\n  podinfo: {}\n")] {
        let parsed = Grant::parse(&text).unwrap();
        let printed = parsed.to_yaml();
        assert_eq!(Grant::parse(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}")), parsed, "{printed}");
    }
    let nothing = Grant::nothing("none");
    assert_eq!(nothing.to_yaml(), "apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata:\n  name: none\nspec: {}\n");
}
