//! Guests that flood the API server, or put together requests that mean something else than they say.

use std::collections::BTreeMap;
use std::sync::Arc;

use attache::policy::Limit;
use serde_json::Value;

use super::stage::{Stage, opening, run};
use super::{Attack, attacks};

pub(crate) const ALL: &[Attack] = attacks! {
    "flood of requests" => requests,
    "flood of requests that are denied" => denied,
    "flood of names of types" => types,
    "flood of discovery" => discovery,
    "flood of metadata" => metadata,
    "watches that are kept" => watches,
    "flood of watches" => flood_of_watches,
    "enormous names, selectors and cursors" => enormous,
    "an object of hundreds of thousands of members" => members,
    "requests that smuggle others" => smuggle,
};

/// Records of one extension that a flood may leave: its rate and burst, and those of its refusals.
const RECORDS: usize = 400;

async fn flooded(stage: &Stage, what: &str) -> (String, Vec<Value>) {
    let extension = stage.guest("flood", &opening("{deadline: 10s, cpu: 500ms}")).await;
    let ran = run(&extension, &[what]).await;
    let reached = ran.ended.as_ref().expect_err("it floods without end").reached().unwrap();
    assert!(matches!(reached.limit, Limit::Cpu | Limit::Deadline), "{reached}");
    (format!("stopped at {reached}"), stage.audit.of("attacker"))
}

fn with_verdict<'a>(records: &'a [Value], verdict: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["verdict"] == verdict).collect()
}

async fn requests(stage: Arc<Stage>) -> String {
    let (stopped, records) = flooded(&stage, "requests").await;
    let (allowed, throttled) = (with_verdict(&records, "allowed"), with_verdict(&records, "throttled"));
    stage.told(Limit::RequestsPerSecond, false);
    // 40 at once, then 20 a second for at most ten seconds.
    assert!((40..=240).contains(&allowed.len()), "{}", allowed.len());
    assert!(records.len() <= RECORDS, "{}", records.len());
    assert!(throttled[0]["reason"].as_str().unwrap().contains("requestsPerSecond: 20"), "{}", throttled[0]);
    let untold: u64 = throttled.iter().filter_map(|record| record["unrecorded"].as_u64()).sum();
    format!("{} sent, throttled ({} recorded, {untold} counted), {stopped}", allowed.len(), throttled.len())
}

async fn denied(stage: Arc<Stage>) -> String {
    let (stopped, records) = flooded(&stage, "denied").await;
    assert_eq!(with_verdict(&records, "allowed").len(), 0);
    assert!(with_verdict(&records, "denied").len() >= 20);
    assert!(records.len() <= RECORDS, "{}", records.len());
    format!("{} denied, the rest throttled, {stopped}", with_verdict(&records, "denied").len())
}

/// An unknown type makes the host ask the server anew, which it does once a second for all guests together.
async fn types(stage: Arc<Stage>) -> String {
    let (stopped, _) = flooded(&stage, "types").await;
    let asked = stage.audit.of("attache").len();
    assert!(asked <= 40, "the host asked {asked} times");
    format!("the host asked {asked} times, {stopped}")
}

async fn discovery(stage: Arc<Stage>) -> String {
    let (stopped, _) = flooded(&stage, "discovery").await;
    let asked = stage.audit.of("attache").len();
    assert!(asked <= 40, "the host asked {asked} times");
    format!("the host asked {asked} times, {stopped}")
}

async fn metadata(stage: Arc<Stage>) -> String {
    let (stopped, records) = flooded(&stage, "metadata").await;
    assert_eq!(records.len(), 1, "only the limit: {records:?}");
    stopped
}

async fn watching(stage: &Stage, what: &str) -> (String, Vec<Value>) {
    let spec = "{podinfo: {}, api: [{apiGroups: [''], resources: [pods], verbs: [list, watch], namespaces: [demo]}], \
         limits: {deadline: 5s, cpu: 2s}}";
    let extension = stage.guest("leak", spec).await;
    let ran = run(&extension, &[what]).await;
    assert_eq!(ran.ended.as_ref().unwrap().code, 0);
    (ran.out.trim().to_owned(), stage.audit.of("attacker"))
}

async fn watches(stage: Arc<Stage>) -> String {
    let (taken, records) = watching(&stage, "watches").await;
    assert_eq!(taken, "8 taken");
    assert_eq!(with_verdict(&records, "too-many")[0]["reason"], "watches: 8");
    stage.told(Limit::Watches, false);
    format!("{taken}, one more refused at watches: 8")
}

/// Each selection is a list and a watch of the host, so the guest's own rate bounds them. Few of the watches that the
/// guest dropped continue.
async fn flood_of_watches(stage: Arc<Stage>) -> String {
    let (taken, records) = watching(&stage, "turns").await;
    let throttled = with_verdict(&records, "throttled");
    assert!(throttled[0]["reason"].as_str().unwrap().contains("burst: 40"), "{}", throttled[0]);
    let watches: usize = taken.strip_suffix(" taken").unwrap().parse().unwrap();
    let asked = stage.audit.of("attache").len();
    assert!(asked <= 4 * watches, "the host asked {asked} times for {watches} watches");
    let figures = stage.cluster.watch_figures();
    assert!(figures.upstreams <= 16 && figures.followers == 0, "{figures:?}");
    format!("{taken}, then throttled; the host asked {asked} times, and goes on with {}", figures.upstreams)
}

async fn enormous(stage: Arc<Stage>) -> String {
    let extension = stage.guest("enormous", &opening("{memory: 64Mi, cpu: 5s, deadline: 30s, burst: 100}")).await;
    let mut answered = BTreeMap::new();
    for what in ["resolve", "namespace", "name", "subresource", "labels", "fields", "cursor"] {
        let ran = run(&extension, &[what, "4000000"]).await;
        assert_eq!(ran.ended.as_ref().unwrap().code, 0, "{what}: {}", ran.out);
        // The error is short, because it goes into the guest's own log.
        let line = ran.out.trim();
        let length: usize = line.split(' ').rev().nth(1).unwrap().parse().unwrap_or_else(|_| panic!("{what}: {line}"));
        assert!(line.starts_with("refused: invalid") && length < 1000, "{what}: {line}");
        *answered.entry("invalid").or_insert(0) += 1;
    }
    assert_eq!(with_verdict(&stage.audit.of("attacker"), "allowed").len(), 0, "nothing was sent");
    format!("{answered:?}, nothing sent")
}

/// A body is read on the guest's thread before it is sent.
async fn members(stage: Arc<Stage>) -> String {
    let spec = opening("{cpu: 10s, deadline: 30s}").replace("[get, list]", "[create]");
    let extension = stage.guest("enormous", &spec).await;
    let ran = run(&extension, &["members", "250000"]).await;
    let outcome = ran.ended.as_ref().unwrap();
    let line = ran.out.trim();
    assert!(line.starts_with("refused: ") || line == "done", "{line}");
    format!("{line}, {} ms of CPU time", outcome.cpu.as_millis())
}

async fn smuggle(stage: Arc<Stage>) -> String {
    let limits = "{cpu: 20s, deadline: 50s, requestsPerSecond: 100000, burst: 100000, logBytesPerSecond: 1Mi}";
    let extension = stage.guest("smuggle", &opening(limits)).await;
    let ran = run(&extension, &[]).await;
    assert_eq!(ran.ended.as_ref().unwrap().code, 0);
    assert!(!ran.out.contains("hidden"));
    let records = stage.audit.of("attacker");
    let allowed = with_verdict(&records, "allowed");
    for record in &allowed {
        let of = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            [of("group"), of("resource"), of("subresource"), of("namespace")],
            ["", "pods", "", "demo"],
            "{record}"
        );
        assert!(matches!(of("verb").as_str(), "get" | "list"), "{record}");
        let path = of("path");
        let under = format!("/api/{}/namespaces/demo/pods", of("version"));
        let rest = path.strip_prefix(&under).unwrap_or_else(|| panic!("{record}"));
        assert!(rest.matches('/').count() <= 1 && !rest.contains(['%', '?', '\\']), "{record}");
    }
    let invalid = ran.out.lines().filter(|line| line.ends_with(": invalid")).count();
    let refused = ran.out.lines().filter(|line| line.ends_with(": denied")).count();
    assert!(invalid > 100, "{}", ran.out);
    format!("{invalid} invalid, {refused} denied, {} sent: all of them plain reads of pods in demo", allowed.len())
}
