//! Powers: what a star never covers.

use attache::policy::Grant;

use crate::{check, grant, request, rules};

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
        assert!(Grant::parse(&crate::grant(&spec)).is_err(), "{verb}");
    }
    assert!(grant.allows("deletecollection", pods.resource().unwrap()));
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
