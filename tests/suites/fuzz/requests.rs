//! `ApiRequest::parse`: what it takes is what the server acts on.

use attache::policy::{ApiRequest, Grant, MAX_TARGET, Verdict};
use http::Method;

use super::mutation::Words;
use super::requestinfo::{self, Reading, judged};
use super::search::{assert_tellable, kind_of, search};

const SEEDS: &[&str] = &[
    "GET /",
    "GET /version",
    "GET /api/v1/namespaces/demo/pods/a",
    "GET /api/v1/namespaces/demo/pods?limit=5&labelSelector=a%3Db,c+in+(d)&continue=x",
    "GET /api/v1/namespaces/demo/pods?watch=1&resourceVersion=0&fieldSelector=metadata.name%3Da",
    "GET /api/v1/watch/namespaces/demo/pods/a",
    "GET /api/v1/proxy/namespaces/demo/services/s/x/y?a=1&a=2",
    "GET /api/v1/namespaces/demo/pods/a/log?follow=true&container=c",
    "GET /api/v1/nodes/n/proxy/logs/kubelet.log",
    "GET /api/v1/namespaces/demo/services/s/proxy/a%2Fb/f(1);v=2?sig=a+b%2Bc&flag",
    "GET /apis/rbac.authorization.k8s.io/v1/clusterroles/admin%20(all)%7Cx",
    "GET /apis/external.metrics.k8s.io/v1beta1/namespaces/demo/a|b",
    "POST /api/v1/namespaces/demo/pods/a/exec?command=a&command=b",
    "PUT /api/v1/namespaces/demo/finalize",
    "DELETE /apis/apps/v1/namespaces/demo/deployments?fieldSelector=metadata.name=a,status.phase!=b",
    "PATCH /apis/rbac.authorization.k8s.io/v1/clusterroles/system%3anode?force=true&dryRun=All",
    "HEAD /apis/custom.metrics.k8s.io/v1beta2/namespaces/n/pods/*/http_requests",
    "GET /api/v1/namespaces/demo/status?watch",
    "GET /api/v1/pods?fieldSelector=metadata.name%5C%3Da,metadata.name==b",
];

const WORDS: Words = Words(&[
    "GET ",
    "POST ",
    "HEAD ",
    "DELETE ",
    "PUT ",
    "/api",
    "/apis",
    "/v1",
    "/watch",
    "/proxy",
    "/namespaces",
    "/demo",
    "/pods",
    "/secrets",
    "/status",
    "/finalize",
    "/exec",
    "/log",
    "/a",
    "?watch",
    "?watch=1",
    "&watch=0",
    "&watch=false",
    "&watch=FALSE",
    "&w%61tch=1",
    "?fieldSelector=",
    "&fieldSelector=metadata.name=a",
    "metadata.name=",
    "metadata.name==",
    "%3d",
    "%2c",
    ",",
    "\\,",
    "\\=",
    "!=",
    "%5c",
    "&limit=1",
    "&dryRun=All",
    "&command=x",
    "%70ods",
    "%7c",
    "|",
    "%20(",
    "/proxy/",
    "%2e%2e",
    "%2f",
    "%252f",
    "http://evil",
    "//evil/api",
    "#",
    ";",
    "*",
    "$(X)",
    "system:x",
]);

/// Reads pods in `demo`, and nothing else.
fn reader() -> Grant {
    Grant::parse(
        "{apiVersion: attache.dev/v1alpha1, kind: Grant, metadata: {name: t}, spec: {api: [{apiGroups: [''], \
         resources: [pods], verbs: [get, list, watch], namespaces: [demo], resourceNames: [a]}]}}",
    )
    .unwrap()
}

#[test]
fn what_is_judged_is_what_the_server_acts_on() {
    let reader = reader();
    search("ApiRequest::parse", SEEDS, &WORDS, |input, _| {
        let text = String::from_utf8_lossy(input);
        let (method, target) = text.split_once(' ').unwrap_or(("GET", &text));
        let Ok(method) = Method::from_bytes(method.as_bytes()) else { return "no method".to_owned() };
        match ApiRequest::parse(&method, target) {
            Ok(request) => taken(&reader, &request, target),
            Err(error) => {
                assert_tellable(&error.to_string());
                kind_of(&error.to_string())
            }
        }
    });
}

fn taken(reader: &Grant, request: &ApiRequest, asked: &str) -> String {
    let (method, sent) = (request.method(), request.target());
    let judged = judged(request);
    assert_eq!(requestinfo::read(method.as_str(), sent).as_ref(), Some(&judged), "sent: {sent}");
    assert_eq!(requestinfo::read(method.as_str(), asked).as_ref(), Some(&judged), "asked: {asked}");
    // One spelling, which reads as itself, and which no proxy on the way has a choice about.
    assert_eq!(ApiRequest::parse(method, sent).as_ref(), Ok(request));
    assert!(sent.len() <= MAX_TARGET && sent.starts_with('/') && !sent.starts_with("//"));
    let head = requestinfo::before_backend(request);
    if head == request.path() {
        assert!(sent.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"#;<>`^{}|".contains(&byte)), "{sent}");
        assert!(sent.matches('?').count() <= 1, "{sent}");
    }
    assert!(sent.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"#<>".contains(&byte)), "{sent}");
    assert!(!head.contains(['?', ';', '|', '`', '^', '{', '}']), "{sent}");
    assert!(!["%2e", "%2f", "%25"].iter().any(|escape| head.to_lowercase().contains(escape)), "{sent}");
    assert!(request.resource().is_some_and(|at| !at.group.is_empty()) || !head.contains('%'), "{sent}");
    assert!(!request.path().split('/').any(|part| part == "." || part == ".."), "{sent}");
    if let Verdict::Allowed { .. } = reader.judge(request) {
        let Reading::Resource { verb, type_of, namespace, name } = &judged else { panic!("a path is allowed: {sent}") };
        assert!(matches!(verb.as_str(), "get" | "list" | "watch") && !request.is_mutating(), "{sent}");
        assert_eq!([&type_of[0], &type_of[2], &type_of[3], namespace, name], ["", "pods", "", "demo", "a"], "{sent}");
    }
    let shape = match &judged {
        Reading::Path(verb, path) => format!("{verb} path of {}", path.split('/').count().min(6)),
        Reading::Resource { verb, type_of, namespace, name } => {
            let parts = [&type_of[0], &type_of[3], namespace, name].map(|part| if part.is_empty() { '-' } else { '+' });
            format!("{verb} {parts:?} {} {}", sent.matches('&').count().min(4), asked == sent)
        }
    };
    format!("taken: {shape}")
}
