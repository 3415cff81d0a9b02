//! The parts of a gate that only this crate uses.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use serde_json::{Value, json};

use super::*;

/// Keeps every record as JSON.
#[derive(Default)]
struct Kept(Mutex<Vec<Value>>);

impl Audit for Kept {
    fn record(&self, line: &AuditRecord<'_>) {
        self.0.lock().unwrap().push(serde_json::to_value(line).unwrap());
    }
}

impl Kept {
    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// A gate that allows pods in `demo` to be read, under these limits, and its records.
fn gate(limits: &str) -> (Gate, Arc<Kept>) {
    let grant = format!(
        "apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata: {{name: test}}\nspec:\n  api:\n  \
         - {{apiGroups: [''], resources: [pods], verbs: [get, list], namespaces: [demo]}}\n  limits: {{{limits}}}\n"
    );
    let kept = Arc::new(Kept::default());
    (Gate::new("test", Arc::new(Grant::parse(&grant).unwrap()), kept.clone()), kept)
}

fn get(target: &str) -> ApiRequest {
    ApiRequest::parse(&Method::GET, target).unwrap()
}

const POD: &str = "/api/v1/namespaces/demo/pods/a";

#[test]
fn what_cannot_be_understood_is_recorded_without_its_query() {
    let (gate, kept) = gate("burst: 100");
    let target = "/api/v1/namespaces/demo/pods/%2e%2e/secrets\r\n{\"verdict\":\"allowed\"}?token=secret";
    let error = ApiRequest::parse(&Method::GET, target).unwrap_err();
    gate.refuse_invalid(Channel::WasiHttp, &Method::GET, target, &error);
    let record = kept.take().remove(0);
    assert_eq!((&record["verdict"], &record["verb"]), (&json!("invalid"), &json!("GET")));
    assert_eq!(
        record["path"],
        json!("/api/v1/namespaces/demo/pods/%2e%2e/secrets\\r\\n{\\\"verdict\\\":\\\"allowed\\\"}")
    );
}

#[test]
fn the_hosts_gate_opens_discovery_and_nothing_else() {
    let gate = Gate::for_host(None, Arc::new(Kept::default()));
    let admitted = |request: ApiRequest| gate.admit(Channel::Host, request).is_ok();
    for target in ["/version", "/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1"] {
        assert!(admitted(get(target)), "{target}");
    }
    for target in ["/", "/openapi/v2", "/metrics", "/versions", "/api/v1/pods", "/apis/apps/v1/deployments", POD] {
        assert!(!admitted(get(target)), "{target}");
    }
    assert!(!admitted(ApiRequest::parse(&Method::POST, "/api").unwrap()));
}

#[test]
fn the_gate_of_reviews_opens_questions_about_oneself_and_nothing_else() {
    let kept = Arc::new(Kept::default());
    let gate = Gate::for_reviews(None, kept.clone());
    let post = |path: &str| ApiRequest::parse(&Method::POST, path).unwrap();
    drop(gate.admit(Channel::Host, post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")).unwrap());
    assert_eq!((&kept.take()[0]["extension"], gate.in_flight()), (&json!("attache"), 0));
    for path in [
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        "/apis/authentication.k8s.io/v1/tokenreviews",
        "/api/v1/namespaces/demo/pods",
    ] {
        assert!(matches!(gate.admit(Channel::Host, post(path)), Err(GateError::Denied(_))), "{path}");
    }
    assert!(matches!(gate.admit(Channel::Host, get("/version")), Err(GateError::Denied(_))));
}

#[test]
fn what_is_spent_without_a_request_counts_and_is_not_recorded() {
    let (gate, kept) = gate("requestsPerSecond: 1, burst: 2");
    gate.spend().unwrap();
    drop(gate.admit(Channel::Api, get("/api/v1/namespaces/demo/pods")).unwrap());
    assert_eq!(kept.take().len(), 1);
    assert!(matches!(gate.spend(), Err(GateError::Throttled(_))));
    assert!(kept.take().is_empty());
}

#[test]
fn a_reason_is_recorded_as_far_as_a_line_has_room_for_it() {
    let (gate, kept) = gate("burst: 100");
    // One byte before the cut, so that it falls within a character of two.
    let long = format!("x{}", "\u{e9}".repeat(5_000));
    gate.refuse(Channel::Proxy, &Method::GET, POD, Decision::Invalid, &long).unwrap();
    let record = kept.take().remove(0);
    let reason = record["reason"].as_str().unwrap();
    assert!(long.starts_with(reason) && (1_000..=1_024).contains(&reason.len()), "{}", reason.len());
}
