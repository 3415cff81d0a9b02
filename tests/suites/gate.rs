//! The gate: nothing passes it unjudged, unmetered or unrecorded.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use attache::gate::{Channel, Gate, GateError, Permit};
use attache::policy::{ApiRequest, Grant, Limit};
use attache::telemetry::{Audit, AuditRecord, LimitRecord};
use http::Method;
use serde_json::{Value, json};

/// An audit that keeps every record as JSON, and limits apart.
#[derive(Default)]
struct Kept(Mutex<Vec<Value>>, Mutex<Vec<Value>>);

impl Audit for Kept {
    fn record(&self, line: &AuditRecord<'_>) {
        self.0.lock().unwrap().push(serde_json::to_value(line).unwrap());
    }

    fn limit(&self, line: &LimitRecord<'_>) {
        self.1.lock().unwrap().push(serde_json::to_value(line).unwrap());
    }
}

impl Kept {
    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Returns the limits in the records, each with its number of times.
    fn limits(&self) -> Vec<(String, u64)> {
        let told = self.1.lock().unwrap();
        let of = |line: &Value| (line["limit"].as_str().unwrap().to_owned(), line["times"].as_u64().unwrap_or(1));
        told.iter().map(of).collect()
    }
}

/// Makes a gate that allows reads of pods in `demo` under these limits. Returns the gate and its records.
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

/// Removes the fields of a record that differ from run to run.
fn without_times(mut record: Value) -> Value {
    let fields = record.as_object_mut().unwrap();
    assert!(fields.remove("time").unwrap().as_str().unwrap().ends_with('Z'));
    assert!(fields.remove("durationMicros").unwrap().is_u64());
    record
}

#[test]
fn a_permit_is_recorded_once_when_it_is_dropped() {
    let (gate, kept) = gate("burst: 100");
    let mut permit = gate.admit(Channel::WasiHttp, get("/api/v1/namespaces/demo/pods/a?pretty=true")).unwrap();
    assert_eq!(permit.request().target(), "/api/v1/namespaces/demo/pods/a?pretty=true");
    assert_eq!(permit.response_limit(), 8 << 20);
    permit.record_status(200);
    permit.record_bytes(1000);
    permit.record_bytes(24);
    assert!(kept.take().is_empty());
    drop(permit);
    let records = kept.take();
    assert_eq!(records.len(), 1);
    assert_eq!(
        without_times(records[0].clone()),
        json!({
            "extension": "test", "way": "wasi-http", "verb": "get", "group": "", "version": "v1", "resource": "pods",
            "namespace": "demo", "name": "a", "path": POD, "verdict": "allowed", "rule": 0, "status": 200, "bytes": 1024,
        })
    );
}

#[test]
fn a_request_that_got_no_answer_is_recorded_without_a_status() {
    let (gate, kept) = gate("burst: 100");
    drop(gate.admit(Channel::Api, get(POD)).unwrap());
    let record = without_times(kept.take().remove(0));
    assert_eq!((record.get("status"), &record["bytes"]), (None, &json!(0)));
}

#[test]
fn a_permit_is_recorded_and_released_also_when_its_holder_panics() {
    let (gate, kept) = gate("burst: 100");
    let holder = gate.clone();
    let outcome = thread::spawn(move || {
        let _permit = holder.admit(Channel::Api, get(POD)).unwrap();
        panic!("on purpose");
    })
    .join();
    assert!(outcome.is_err());
    assert_eq!((kept.take().len(), gate.in_flight()), (1, 0));
}

#[test]
fn a_denial_is_recorded_at_once_and_names_the_rule_that_is_needed() {
    let (gate, kept) = gate("burst: 100");
    let refusal = gate.admit(Channel::Api, get("/api/v1/namespaces/demo/secrets/s")).unwrap_err();
    let said = "get secrets s in namespace demo is not granted; it needs the rule {apiGroups: [\"\"], resources: [secrets], \
                verbs: [get], namespaces: [demo], resourceNames: [s]}";
    assert_eq!(refusal, GateError::Denied(said.into()));
    let record = without_times(kept.take().remove(0));
    assert_eq!((&record["verdict"], &record["reason"], record.get("rule")), (&json!("denied"), &json!(said), None));
    assert_eq!(gate.in_flight(), 0);
}

#[test]
fn no_more_requests_are_under_way_than_the_limit() {
    let (gate, kept) = gate("burst: 100, inFlight: 2");
    let first = gate.admit(Channel::Api, get(POD)).unwrap();
    let _second = gate.clone().admit(Channel::Proxy, get(POD)).unwrap();
    assert_eq!(gate.admit(Channel::Api, get(POD)).unwrap_err(), GateError::TooMany { limit: 2 });
    assert_eq!(kept.take()[0]["verdict"], json!("too-many"));
    drop(first);
    assert_eq!(gate.in_flight(), 1);
    drop(gate.admit(Channel::Api, get(POD)).unwrap());
}

#[test]
fn the_limit_holds_when_many_threads_ask_at_once() {
    let (gate, kept) = gate("requestsPerSecond: 100000, burst: 100000, inFlight: 3");
    let worker = |gate: Gate| {
        move || {
            for _ in 0..500 {
                if let Ok(permit) = gate.admit(Channel::Api, get(POD)) {
                    assert!(gate.in_flight() <= 3);
                    drop(permit);
                }
            }
        }
    };
    let threads: Vec<_> = (0..8).map(|_| thread::spawn(worker(gate.clone()))).collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!((gate.in_flight(), kept.take().len()), (0, 8 * 500));
}

#[test]
fn beyond_the_burst_a_request_is_told_how_long_to_wait() {
    let (gate, kept) = gate("requestsPerSecond: 1, burst: 3");
    for _ in 0..3 {
        drop(gate.admit(Channel::Api, get(POD)).unwrap());
    }
    let Err(GateError::Throttled(wait)) = gate.admit(Channel::Api, get(POD)) else { panic!("not throttled") };
    assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
    assert_eq!(kept.take()[3]["verdict"], json!("throttled"));
}

#[test]
fn limits_are_told_at_once_and_then_by_their_number() {
    let (gate, kept) = gate("requestsPerSecond: 1, burst: 3, inFlight: 1, watches: 0");
    let mut first = gate.admit(Channel::Api, get(POD)).unwrap();
    first.record_limit(Limit::ResponseBytes);
    assert!(matches!(gate.admit(Channel::Api, get(POD)), Err(GateError::TooMany { limit: 1 })));
    assert!(gate.admit(Channel::Api, get("/api/v1/namespaces/demo/pods?watch=1")).is_err());
    drop(first);
    for _ in 0..500 {
        assert!(matches!(gate.admit(Channel::Api, get(POD)), Err(GateError::Throttled(_))));
    }
    let of = |name: &str, times: u64| (name.to_owned(), times);
    let told = [of("responseBytes", 1), of("inFlight", 1), of("requestsPerSecond", 1)];
    assert_eq!(kept.limits(), told);
    drop(gate);
    assert_eq!(kept.limits()[3..], [of("requestsPerSecond", 499)]);
}

#[test]
fn the_rate_comes_back() {
    let (gate, _) = gate("requestsPerSecond: 100, burst: 1");
    drop(gate.admit(Channel::Api, get(POD)).unwrap());
    let end = Instant::now() + Duration::from_secs(10);
    let mut admitted = gate.admit(Channel::Api, get(POD)).is_ok();
    while !admitted && Instant::now() < end {
        thread::yield_now();
        admitted = gate.admit(Channel::Api, get(POD)).is_ok();
    }
    assert!(admitted);
}

#[test]
fn denied_requests_spend_the_rate_too() {
    let (gate, _) = gate("requestsPerSecond: 1, burst: 2");
    for _ in 0..2 {
        assert!(matches!(gate.admit(Channel::Api, get("/api/v1/secrets")), Err(GateError::Denied(_))));
    }
    assert!(matches!(gate.admit(Channel::Api, get(POD)), Err(GateError::Throttled(_))));
}

#[test]
fn a_permit_goes_from_thread_to_thread() {
    fn sendable<T: Send + Sync + 'static>() {}
    sendable::<Gate>();
    sendable::<Permit>();
}

#[test]
fn a_target_beyond_the_grants_limit_is_refused_with_its_name() {
    let (gate, kept) = gate("targetBytes: 1Ki");
    let long = format!("/api/v1/namespaces/demo/pods?labelSelector={}", "a".repeat(1024));
    let refusal = gate.admit(Channel::Api, get(&long)).unwrap_err();
    assert_eq!(refusal, GateError::TargetTooLong { limit: 1024 });
    assert!(refusal.to_string().contains("limits.targetBytes"), "{refusal}");
    let record = kept.take().remove(0);
    assert_eq!((&record["verdict"], &record["reason"]), (&json!("invalid"), &json!("targetBytes: 1Ki")));
    assert_eq!(kept.limits(), [("targetBytes".to_owned(), 1)]);
    drop(gate.admit(Channel::Api, get(POD)).unwrap());
}
