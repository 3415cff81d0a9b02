//! Grants as files: what is read, what is refused, what is printed.

use attache::policy::{ApiRequest, CredentialsMode, Grant, ResolveError};
use http::Method;

use crate::{allows, grant};

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
        (
            "apiVersion: attache.dev/v1alpha1\nkind: Role\n",
            "2:7: kind: `Role` is not valid: this is the manifest of another object",
        ),
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
