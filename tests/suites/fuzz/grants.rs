//! `Grant::parse`: a valid grant is written and read back unchanged, and an error has a location in the text.

use attache::policy::Grant;

use super::mutation::Words;
use super::search::{assert_tellable, kind_of, search};

const SEEDS: &[&str] = &[
    r#"apiVersion: attache.dev/v1alpha1
kind: Grant
metadata: {name: pod-card}
spec:
  component: {sha256: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
  podinfo: {mountPath: /etc/podinfo, items: [labels]}
  env: [POD_NAME, POD_NAMESPACE]
  credentials: {mode: scoped, mountPath: /run/creds}
  api:
  - apiGroups: ["", apps]
    resources: [pods, pods/log, "*/scale", secrets]
    verbs: [get, list, watch]
    namespaces: ["$(POD_NAMESPACE)", demo]
    resourceNames: [a, "system:b"]
  - {nonResourceURLs: [/version, "/openapi/*"], verbs: [get]}
  egress: ["https://hooks.example.com:8443", "http://[::1]"]
  limits: {memory: 64Mi, deadline: 1m30s, cpu: 1s, requestsPerSecond: 20, burst: 40, inFlight: 8, responseBytes: 8Mi,
           watches: 8, handles: 1024, logBytesPerSecond: 64Ki, tableElements: 9, instances: 3, hostcallBytes: 1Mi,
           requestBytes: 5, headerBytes: 8Ki}
"#,
    "{apiVersion: attache.dev/v1alpha1, kind: Grant, metadata: {name: x}, spec: {}}",
    "apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata:\n  name: a.b\nspec:\n  api: &rules\n  - apiGroups: [\"*\"]\n    \
     resources: [\"*\"]\n    verbs: [\"*\"]\n    namespaces: [\"*\"]\n",
];

const WORDS: Words = Words(&[
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "!x ",
    "|\n",
    ">-\n",
    "---\n",
    "...\n",
    "# ",
    "%YAML 1.2\n",
    "? ",
    "null",
    "~",
    "true",
    "yes",
    "0x1F",
    "1e3",
    "spec:",
    "api:",
    "limits:",
    "memory: ",
    "64Mi",
    "deadline: ",
    "1h1m",
    "env: ",
    "credentials: real",
    "podinfo: {}",
    "mountPath: ",
    "/etc/../x",
    "namespaces: ",
    "\"*\"",
    "$(POD_NAMESPACE)",
    "$(",
    "nonResourceURLs: ",
    "/version",
    "/*",
    "verbs: ",
    "resources: ",
    "*/exec",
    "egress: ",
    "https://",
    "http://[::1]:0",
    "sha256: ",
    "\\u0000",
    "\\x41",
    "\u{feff}",
]);

#[test]
fn a_grant_that_is_taken_reads_back_the_same() {
    search("Grant::parse", SEEDS, &WORDS, |input, _| {
        let text = String::from_utf8_lossy(input);
        match Grant::parse(&text) {
            Ok(grant) => {
                let written = grant.to_yaml();
                assert_eq!(Grant::parse(&written).as_ref(), Ok(&grant), "{written}");
                let parts = [
                    !grant.podinfo.is_empty(),
                    grant.component.is_some(),
                    grant.env.is_empty(),
                    grant.egress.is_empty(),
                ];
                format!("taken: {parts:?} {:?} {}", grant.credentials.mode, grant.api.len().min(5))
            }
            Err(error) => {
                assert_tellable(&error.to_string());
                let lines = u64::try_from(text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count()).unwrap();
                assert!(error.location().line <= lines + 1, "{error} in {lines} lines");
                kind_of(&error.to_string())
            }
        }
    });
}

/// The value of a variable in a rule is one name, never more.
#[test]
fn no_value_of_a_variable_widens_a_grant() {
    let text = "{apiVersion: attache.dev/v1alpha1, kind: Grant, metadata: {name: t}, spec: {api: [{apiGroups: [''], \
         resources: [pods], verbs: [get], namespaces: ['$(A)', 'x-$(A)'], resourceNames: ['$(A)']}]}}";
    let grant = Grant::parse(text).unwrap();
    let words = Words(&["*", "demo", "-", ".", "/", "..", "$(A)", "$(B)", "a/b", "system:x", "%2f", "A", "_"]);
    search("Grant::resolve", &["demo", "kube-system", "*", ""], &words, |input, _| {
        let value = String::from_utf8_lossy(input).into_owned();
        match grant.clone().resolve(|_| Some(value.clone())) {
            Ok(resolved) => {
                let rule = &resolved.api[0];
                let named = rule.namespaces.iter().chain(&rule.resource_names);
                assert!(
                    named.clone().all(|name| !name.is_empty() && name != "*" && !name.contains(['/', '$', '%'])),
                    "{rule:?}"
                );
                assert_eq!((&rule.namespaces[0], &rule.namespaces[1]), (&value, &format!("x-{value}")));
                format!("taken: {}", value.len().min(70) / 10)
            }
            Err(error) => {
                assert_tellable(&error.to_string());
                kind_of(&error.to_string())
            }
        }
    });
}
